//! One client's request on the platform. Bodies stay JavaScript streams: they are
//! handed on, never copied into wasm, but for the bounded reads that a rule asks for.

use futures_util::future::{Either, select};
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, Request, RequestInit, Response,
};

use crate::inbound::request::Method;
use crate::runtime::ports::{AnswerCopy, BodyFailure, CallFailure, Exchange, Forward};

use super::platform::read_text;

pub(super) struct WorkerExchange {
    request: Request,
    url: String,
    method: String,
    held: Option<Uint8Array>,
    response: Option<Response>,
}

impl WorkerExchange {
    pub(super) fn new(request: Request) -> Self {
        let url = request.url();
        let method = request.method();
        Self {
            request,
            url,
            method,
            held: None,
            response: None,
        }
    }

    pub(super) fn into_response(self) -> Option<Response> {
        self.response
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }
}

/// What `outbound.js` is told, a line each.
pub(super) fn facts(forward: &Forward<'_>) -> String {
    let secret = forward.origin_secret.map_or("", |secret| &secret.0);
    [&forward.url, forward.host, forward.scheme, secret].join("\n")
}

#[wasm_bindgen(module = "/src/shell/outbound.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn outbound(
        request: &Request,
        facts: &str,
        held: Option<&Uint8Array>,
    ) -> Result<Request, JsValue>;
}

impl Exchange for WorkerExchange {
    type Copy = ResponseCopy;

    fn method(&self) -> Method {
        Method::parse(&self.method)
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }

    async fn hold_body(&mut self, max_bytes: usize) -> Result<(), BodyFailure> {
        let Some(stream) = self.request.body() else {
            return Ok(());
        };
        let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
        let mut chunks = Vec::new();
        let mut length = 0_usize;
        loop {
            let step = JsFuture::from(reader.read())
                .await
                .map_err(|_| BodyFailure::Incomplete)?;
            let member = |name: &str| {
                js_sys::Reflect::get(&step, &name.into()).unwrap_or(JsValue::UNDEFINED)
            };
            if member("done").is_truthy() {
                break;
            }
            let chunk: Uint8Array = member("value")
                .dyn_into()
                .map_err(|_| BodyFailure::Incomplete)?;
            length += chunk.length() as usize;
            if length > max_bytes {
                // The rest is not wanted; a failure to say so changes nothing.
                let _ = reader.cancel();
                return Err(BodyFailure::TooLarge);
            }
            chunks.push(chunk);
        }
        self.held = Some(join(&chunks, length));
        Ok(())
    }

    fn held_text(&self) -> Option<String> {
        String::from_utf8(self.held.as_ref()?.to_vec()).ok()
    }

    async fn forward(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure> {
        // The client's request with Logto's URL, its own bytes and our headers.
        let outbound = outbound(&self.request, &facts(forward), self.held.as_ref())
            .map_err(|_| CallFailure::Unreachable)?;
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
        self.response = Some(response);
        Ok(status)
    }

    fn answer_cookies(&self) -> Vec<String> {
        let Some(response) = &self.response else {
            return Vec::new();
        };
        set_cookies(&response.headers())
    }

    fn tee_answer(&mut self) -> Option<ResponseCopy> {
        self.response.as_ref()?.clone().ok().map(ResponseCopy)
    }
}

pub(super) struct ResponseCopy(Response);

impl AnswerCopy for ResponseCopy {
    async fn text(self, max_bytes: usize) -> Option<String> {
        read_text(&self.0, max_bytes).await
    }
}

fn set_cookies(headers: &Headers) -> Vec<String> {
    // `getSetCookie` keeps the lines apart; it is younger than web-sys knows.
    let lines = js_sys::Reflect::get(headers, &"getSetCookie".into())
        .ok()
        .and_then(|function| function.dyn_into::<js_sys::Function>().ok())
        .and_then(|function| function.call0(headers).ok())
        .map(|lines| js_sys::Array::from(&lines));
    lines
        .map(|lines| lines.iter().filter_map(|line| line.as_string()).collect())
        .unwrap_or_default()
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
