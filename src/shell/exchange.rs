//! One client's request on the platform. Bodies stay JavaScript streams: they are
//! handed on, never copied into wasm, but for the bounded reads that a rule asks for.

use futures_util::future::{Either, select};
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, ReadableStreamDefaultReader, Request, RequestInit, Response, ResponseInit,
};

use crate::runtime::ports::{AnswerCopy, Backend, BodyFailure, CallFailure, Exchange, Forward};

use super::platform::read_text;

pub(super) struct WorkerExchange {
    request: Request,
    method: String,
    held: Held,
    response: Option<Response>,
}

/// The request's body, as far as it was read.
enum Held {
    Nothing,
    Whole(Uint8Array),
    /// Too long to be held: what was read of it, and then the rest.
    Rejoined(JsValue),
}

impl WorkerExchange {
    pub(super) fn new(request: Request, method: String) -> Self {
        Self {
            request,
            method,
            held: Held::Nothing,
            response: None,
        }
    }

    pub(super) fn into_response(self) -> Option<Response> {
        self.response
    }
}

/// What `outbound.js` is told, a line each. No host: it goes to mgPass.
pub(super) fn facts(forward: &Forward<'_>) -> String {
    let secret = forward.origin_secret.map_or("", |secret| &secret.0);
    let host = match forward.backend {
        Backend::Logto => forward.host,
        Backend::Mgpass => "",
    };
    [&forward.url, host, forward.scheme, secret].join("\n")
}

#[wasm_bindgen(module = "/src/shell/outbound.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn outbound(request: &Request, facts: &str, held: Option<&JsValue>)
    -> Result<Request, JsValue>;
    #[wasm_bindgen(js_name = withCookie)]
    fn with_cookie(response: &Response, line: &str) -> Response;
    #[wasm_bindgen(js_name = withoutCookies)]
    fn without_cookies(response: &Response) -> Response;
    fn rejoined(chunks: Vec<Uint8Array>, reader: &ReadableStreamDefaultReader) -> JsValue;
}

impl Exchange for WorkerExchange {
    type Copy = ResponseCopy;

    fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }

    async fn hold_body(&mut self, max_bytes: usize) -> Result<(), BodyFailure> {
        // A stream can be read once.
        match &self.held {
            Held::Whole(_) => return Ok(()),
            Held::Rejoined(_) => return Err(BodyFailure::TooLarge),
            Held::Nothing => {}
        }
        // No request of these can be made of held bytes; the stream goes on as it came.
        if matches!(self.method.as_str(), "GET" | "HEAD") {
            return Ok(());
        }
        let Some(stream) = self.request.body() else {
            return Ok(());
        };
        let declared = self.header("content-length");
        let declared = declared.and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > max_bytes) {
            return Err(BodyFailure::TooLarge);
        }
        let read = super::stream::read(&stream, max_bytes);
        let read = read.await.map_err(|_| BodyFailure::Incomplete)?;
        if let Some(reader) = &read.reader {
            self.held = Held::Rejoined(rejoined(read.chunks, reader));
            return Err(BodyFailure::TooLarge);
        }
        self.held = Held::Whole(join(&read.chunks, read.n_bytes));
        Ok(())
    }

    fn held_text(&self) -> Option<String> {
        match &self.held {
            Held::Whole(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            Held::Nothing | Held::Rejoined(_) => None,
        }
    }

    fn held_bytes(&self) -> Option<Vec<u8>> {
        match &self.held {
            Held::Whole(bytes) => Some(bytes.to_vec()),
            Held::Nothing | Held::Rejoined(_) => None,
        }
    }

    async fn forward(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure> {
        // The client's request with Logto's URL, its own bytes and our headers.
        let held: Option<&JsValue> = match &self.held {
            Held::Nothing => None,
            Held::Whole(bytes) => Some(bytes),
            Held::Rejoined(stream) => Some(stream),
        };
        let outbound =
            outbound(&self.request, &facts(forward), held).map_err(|_| CallFailure::Unreachable)?;
        let global = js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>();
        let response: Response = match forward.deadline_ms {
            None => JsFuture::from(global.fetch_with_request(&outbound)).await,
            Some(deadline_ms) => {
                let abort = AbortController::new().map_err(|_| CallFailure::Unreachable)?;
                let init = RequestInit::new();
                init.set_signal(Some(&abort.signal()));
                let answer = JsFuture::from(global.fetch_with_request_and_init(&outbound, &init));
                match select(answer, super::timer::sleep(deadline_ms)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => {
                        abort.abort();
                        return Err(CallFailure::TimedOut);
                    }
                }
            }
        }
        .map_err(|_| CallFailure::Unreachable)?
        .unchecked_into();
        let status = response.status();
        self.response = Some(match forward.backend {
            Backend::Logto => response,
            Backend::Mgpass => without_cookies(&response),
        });
        Ok(status)
    }

    fn add_answer_cookie(&mut self, line: &str) {
        if let Some(response) = self.response.take() {
            self.response = Some(with_cookie(&response, line));
        }
    }

    fn answer_header(&self, name: &str) -> Option<String> {
        self.response.as_ref()?.headers().get(name).ok().flatten()
    }

    fn set_answer_header(&mut self, name: &'static str, value: &str) {
        // The headers of a fetched response cannot be changed; its body goes on as it is.
        let marked = self.response.as_ref().and_then(|response| {
            let init: &ResponseInit = response.unchecked_ref();
            let body = response.body();
            let marked =
                Response::new_with_opt_readable_stream_and_init(body.as_ref(), init).ok()?;
            marked.headers().set(name, value).ok()?;
            Some(marked)
        });
        if marked.is_some() {
            self.response = marked;
        }
    }

    fn tee_answer(&mut self) -> Option<ResponseCopy> {
        self.response.as_ref()?.clone().ok().map(ResponseCopy)
    }
}

pub(super) struct ResponseCopy(Response);

impl AnswerCopy for ResponseCopy {
    async fn text(self, max_bytes: usize) -> Option<String> {
        read_text(&self.0, max_bytes).await.ok()
    }
}

fn join(chunks: &[Uint8Array], length: usize) -> Uint8Array {
    match chunks {
        [only] => only.clone(),
        _ => {
            let joined =
                Uint8Array::new(&ArrayBuffer::new(u32::try_from(length).unwrap_or(u32::MAX)));
            let mut offset = 0;
            for chunk in chunks {
                joined.set(chunk, offset);
                offset += chunk.length();
            }
            joined
        }
    }
}
