//! Bodies read to their end, or to a bound. What is read stays JavaScript's until it is
//! known to be wanted: the program's memory never shrinks again.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader};

pub(super) struct Read {
    pub(super) chunks: Vec<Uint8Array>,
    pub(super) n_bytes: usize,
    /// Where it was longer than it may be: for the rest.
    pub(super) reader: Option<ReadableStreamDefaultReader>,
}

impl Read {
    /// Copied into the program's memory, once: their first `n_bytes`.
    pub(super) fn bytes(&self, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes.min(self.n_bytes)];
        let mut rest = bytes.as_mut_slice();
        for chunk in &self.chunks {
            let (part, later) = rest.split_at_mut(rest.len().min(chunk.length() as usize));
            chunk.subarray(0, part.len() as u32).copy_to(part);
            rest = later;
        }
        bytes
    }
}

/// # Errors
/// When the stream breaks off.
pub(super) async fn read(stream: &ReadableStream, max_bytes: usize) -> Result<Read, JsValue> {
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut read = Read {
        chunks: Vec::new(),
        n_bytes: 0,
        reader: None,
    };
    loop {
        let step = JsFuture::from(reader.read()).await?;
        let member = |name: &str| js_sys::Reflect::get(&step, &name.into());
        if member("done")?.is_truthy() {
            return Ok(read);
        }
        let chunk: Uint8Array = member("value")?.dyn_into()?;
        read.n_bytes += chunk.length() as usize;
        read.chunks.push(chunk);
        if read.n_bytes > max_bytes {
            read.reader = Some(reader);
            return Ok(read);
        }
    }
}
