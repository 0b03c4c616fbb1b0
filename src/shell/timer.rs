//! Waiting. A timer that is no longer waited for is taken back.
//!
//! Not `worker::Delay`: it takes the platform's timer for a number, which it need not
//! be, and a development build stops at that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(handler: &Function, duration_ms: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

pub(super) struct Sleep {
    fired: JsFuture,
    timer: JsValue,
}

pub(super) fn sleep(duration_ms: u32) -> Sleep {
    let mut timer = JsValue::UNDEFINED;
    let fired = Promise::new(&mut |resolve, _| timer = set_timeout(&resolve, duration_ms));
    Sleep {
        fired: JsFuture::from(fired),
        timer,
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // It is never rejected.
        Pin::new(&mut self.fired).poll(context).map(|_| ())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        clear_timeout(&self.timer);
    }
}
