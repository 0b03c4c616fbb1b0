//! The ports on the platform.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestInit, RequestRedirect, Response,
};

use futures_util::future::{Either, select};
use std::pin::pin;

use crate::runtime::message::Message;
use crate::runtime::metrics::Series;
use crate::runtime::observe::Event;
use crate::runtime::ports::{
    Call, CallAnswer, CallFailure, Calls, Clock, Database, DatabaseFailure, Entropy, FlagStore,
    KeyStore, KvFailure, Queue, QueueFailure, Row, Signatures, Sink, Statement, Store,
};
use crate::token::SignatureCheck;

const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct WorkerPlatform {
    env: worker::Env,
}

impl WorkerPlatform {
    pub(super) fn new(env: worker::Env) -> Self {
        Self { env }
    }
}

impl Clock for WorkerPlatform {
    fn now_ms(&self) -> i64 {
        js_sys::Date::now() as i64
    }

    async fn sleep(&self, duration_ms: u32) {
        super::timer::sleep(duration_ms).await;
    }
}

impl Entropy for WorkerPlatform {
    fn random_u64(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        let global = js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>();
        if let Ok(crypto) = global.crypto() {
            // Fails only above 64 KiB.
            let _ = crypto.get_random_values_with_u8_array(&mut bytes);
        }
        u64::from_le_bytes(bytes)
    }
}

impl Sink for WorkerPlatform {
    fn emit(&self, event: &Event<'_>) {
        super::console::emit(event);
    }

    fn point(&self, series: &Series, count: i64) {
        super::analytics::write(&self.env, series, count);
    }
}

impl Database for WorkerPlatform {
    fn is_bound(&self, store: Store) -> bool {
        super::d1::is_bound(&self.env, store)
    }

    async fn batch(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        super::d1::batch(&self.env, store, statements).await
    }
}

impl Queue for WorkerPlatform {
    async fn send(&self, message: &Message, delay_s: u32) -> Result<(), QueueFailure> {
        let binding = match message {
            Message::Job { .. } => "JOB_QUEUE",
            Message::Reconcile { .. } | Message::Open { .. } | Message::Settle { .. } => {
                "MIRROR_QUEUE"
            }
        };
        let queue = self.env.queue(binding).map_err(|_| QueueFailure)?;
        let message = worker::MessageBuilder::new(message.clone())
            .delay_seconds(delay_s)
            .build();
        queue.send(message).await.map_err(|_| QueueFailure)
    }
}

impl FlagStore for WorkerPlatform {
    async fn flags(&self, keys: &[String]) -> Result<Vec<(String, Option<String>)>, KvFailure> {
        super::kv::read_all(&self.env, "FLAGS", keys).await
    }

    async fn put_flag(&self, key: &str, value: &str) -> Result<(), KvFailure> {
        super::kv::write(&self.env, "FLAGS", key, value).await
    }
}

impl KeyStore for WorkerPlatform {
    async fn imported_keys(&self) -> Result<Option<String>, KvFailure> {
        super::kv::read(&self.env, "KEYS", "logto").await
    }
}

impl Signatures for WorkerPlatform {
    async fn verify(&self, check: &SignatureCheck<'_>) -> bool {
        super::crypto::verify(check).await.unwrap_or(false)
    }
}

impl Calls for WorkerPlatform {
    async fn call(&self, call: Call) -> Result<CallAnswer, CallFailure> {
        let abort = AbortController::new().map_err(|_| CallFailure::Unreachable)?;
        let answer = pin!(exchange(&call, &abort));
        let deadline = pin!(self.sleep(call.deadline_ms));
        match select(answer, deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                abort.abort();
                Err(CallFailure::TimedOut)
            }
        }
    }
}

async fn exchange(call: &Call, abort: &AbortController) -> Result<CallAnswer, CallFailure> {
    let init = RequestInit::new();
    init.set_method(call.method);
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&abort.signal()));
    let headers = Headers::new().map_err(|_| CallFailure::Unreachable)?;
    for (name, value) in &call.headers {
        headers
            .set(name, &value.0)
            .map_err(|_| CallFailure::Unreachable)?;
    }
    init.set_headers(&headers);
    if let Some(body) = &call.body {
        init.set_body(&JsValue::from_str(&body.0));
    }
    let global = js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>();
    let response: Response = JsFuture::from(global.fetch_with_str_and_init(&call.url, &init))
        .await
        .map_err(|_| CallFailure::Unreachable)?
        .unchecked_into();
    let header = |name: &str| response.headers().get(name).ok().flatten();
    let retry_after_s = header("retry-after").and_then(|text| text.parse().ok());
    let max_age_s = header("cache-control").as_deref().and_then(max_age);
    let total = header("total-number").and_then(|text| text.parse().ok());
    let is_json = header("content-type").is_some_and(|kind| kind.contains("json"));
    Ok(CallAnswer {
        status: response.status(),
        retry_after_s,
        max_age_s,
        total,
        is_json,
        body: read_text(&response, MAX_ANSWER_BYTES)
            .await
            .ok_or(CallFailure::Unreadable)?,
    })
}

fn max_age(cache_control: &str) -> Option<u32> {
    cache_control
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok())
}

/// The body as text; `None` when it breaks off, is too long or is no UTF-8.
pub(super) async fn read_text(response: &Response, max_bytes: usize) -> Option<String> {
    let Some(body) = response.body() else {
        return Some(String::new());
    };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut bytes = Vec::new();
    loop {
        let step = JsFuture::from(reader.read()).await.ok()?;
        let is_done = js_sys::Reflect::get(&step, &"done".into())
            .ok()?
            .is_truthy();
        if is_done {
            return String::from_utf8(bytes).ok();
        }
        let chunk: Uint8Array = js_sys::Reflect::get(&step, &"value".into())
            .ok()?
            .dyn_into()
            .ok()?;
        if bytes.len() + chunk.length() as usize > max_bytes {
            // The rest is not wanted; a failure to say so changes nothing.
            let _ = reader.cancel();
            return None;
        }
        bytes.extend_from_slice(&chunk.to_vec());
    }
}
