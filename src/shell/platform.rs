//! The ports on the platform.

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, RequestInit, RequestRedirect, Response};

use futures_util::future::{Either, select};
use std::pin::pin;
use std::rc::Rc;

use crate::inbound::request::Secret;
use crate::runtime::limits::Usage;
use crate::runtime::message::Message;
use crate::runtime::metrics::Series;
use crate::runtime::observe::Event;
use crate::runtime::ports::{
    ANSWER_HEAD_BYTES, Call, CallAnswer, CallFailure, Calls, Clock, Database, DatabaseFailure,
    Entropy, FlagStore, Invocation, KeyStore, KvFailure, Queue, QueueFailure, Row, Signatures,
    Sink, Statement, Store, Visited,
};
use crate::token::SignatureCheck;

/// Of one invocation; clones are of the same.
#[derive(Clone)]
pub(super) struct WorkerPlatform {
    env: worker::Env,
    usage: Rc<Usage>,
}

impl WorkerPlatform {
    pub(super) fn new(env: worker::Env) -> Self {
        Self {
            env,
            usage: Rc::default(),
        }
    }
}

impl WorkerPlatform {
    fn queue_of(&self, message: &Message) -> Result<worker::Queue, QueueFailure> {
        let binding = match message {
            Message::Job { .. } => "JOB_QUEUE",
            Message::Reconcile { .. }
            | Message::Marker { .. }
            | Message::Open { .. }
            | Message::Settle { .. }
            | Message::Gap => "MIRROR_QUEUE",
        };
        self.env.queue(binding).map_err(|_| QueueFailure)
    }
}

impl Invocation for WorkerPlatform {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn memory_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 65_536;
        core::arch::wasm32::memory_size::<0>() as u64 * PAGE_BYTES
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
        let drawn = global
            .crypto()
            .and_then(|crypto| crypto.get_random_values_with_u8_array(&mut bytes));
        if drawn.is_err() {
            // An id that is no draw would make two writes one: this instance ends instead.
            web_sys::console::error_1(&"the platform gives no random numbers".into());
            std::process::abort();
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
        self.usage.count_batch(statements.len());
        super::d1::batch(&self.env, store, statements).await
    }
}

impl Queue for WorkerPlatform {
    async fn send(&self, message: &Message, delay_s: u32) -> Result<(), QueueFailure> {
        let queue = self.queue_of(message)?;
        self.usage.count_subrequest();
        let message = worker::MessageBuilder::new(message.clone())
            .delay_seconds(delay_s)
            .build();
        queue.send(message).await.map_err(|_| QueueFailure)
    }

    async fn send_batch(&self, messages: &[Message], delay_s: u32) -> Result<(), QueueFailure> {
        let Some(first) = messages.first() else {
            return Ok(());
        };
        let queue = self.queue_of(first)?;
        self.usage.count_subrequest();
        let batch = worker::BatchMessageBuilder::new()
            .messages(messages.iter().cloned())
            .delay_seconds(delay_s)
            .build();
        queue.send_batch(batch).await.map_err(|_| QueueFailure)
    }
}

impl FlagStore for WorkerPlatform {
    async fn flags(&self, keys: &[String]) -> Result<Vec<(String, Option<String>)>, KvFailure> {
        self.usage.count_subrequest();
        super::kv::read_all(&self.env, "FLAGS", keys).await
    }

    async fn flag_names(&self) -> Result<Vec<String>, KvFailure> {
        self.usage.count_subrequest();
        super::kv::names(&self.env, "FLAGS").await
    }

    async fn put_flag(&self, key: &str, value: &str) -> Result<(), KvFailure> {
        self.usage.count_subrequest();
        super::kv::write(&self.env, "FLAGS", key, value).await
    }
}

impl KeyStore for WorkerPlatform {
    async fn imported_keys(&self) -> Result<Option<String>, KvFailure> {
        self.usage.count_subrequest();
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
        self.within(&call, async |response| answer(&call, response).await)
            .await
    }

    async fn visit(&self, call: Call) -> Result<Visited, CallFailure> {
        self.within(&call, async |response| visited(&call, response).await)
            .await
    }
}

impl WorkerPlatform {
    /// The call and the reading of its answer, within the call's deadline.
    async fn within<T>(
        &self,
        call: &Call,
        read: impl AsyncFnOnce(Response) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        self.usage.count_subrequest();
        let abort = AbortController::new().map_err(|_| CallFailure::Unreachable)?;
        let answer = pin!(async { read(send(call, &abort).await?).await });
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

async fn send(call: &Call, abort: &AbortController) -> Result<Response, CallFailure> {
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
    let response = JsFuture::from(global.fetch_with_str_and_init(&call.url, &init))
        .await
        .map_err(|_| CallFailure::Unreachable)?;
    Ok(response.unchecked_into())
}

async fn answer(call: &Call, response: Response) -> Result<CallAnswer, CallFailure> {
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
        body: body(call, &response).await?,
    })
}

async fn visited(call: &Call, response: Response) -> Result<Visited, CallFailure> {
    let headers = response.headers();
    Ok(Visited {
        status: response.status(),
        location: headers.get("location").ok().flatten(),
        cookies: set_cookies(&headers).unwrap_or_default(),
        body: body(call, &response).await?,
    })
}

/// Each line on its own, which `get` would join.
fn set_cookies(headers: &Headers) -> Option<Vec<Secret<String>>> {
    let method = js_sys::Reflect::get(headers, &"getSetCookie".into()).ok()?;
    let lines = method.dyn_into::<js_sys::Function>().ok()?;
    let lines: js_sys::Array = lines.call0(headers).ok()?.dyn_into().ok()?;
    Some(
        lines
            .iter()
            .filter_map(|line| line.as_string())
            .map(Secret)
            .collect(),
    )
}

async fn body(call: &Call, response: &Response) -> Result<String, CallFailure> {
    let text = read_text(response, call.max_bytes).await;
    text.map_err(|unread| match unread {
        Unread::Broken => CallFailure::Unreadable,
        Unread::TooLarge(head) => CallFailure::TooLarge { head },
    })
}

fn max_age(cache_control: &str) -> Option<u32> {
    cache_control
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok())
}

/// Why a body is not at hand as text.
pub(super) enum Unread {
    /// It broke off, or is no UTF-8.
    Broken,
    /// How it begins.
    TooLarge(String),
}

/// The body as text.
pub(super) async fn read_text(response: &Response, max_bytes: usize) -> Result<String, Unread> {
    let Some(body) = response.body() else {
        return Ok(String::new());
    };
    let read = super::stream::read(&body, max_bytes);
    let read = read.await.map_err(|_| Unread::Broken)?;
    if let Some(reader) = &read.reader {
        // The rest is not wanted; a failure to say so changes nothing.
        let _ = reader.cancel();
        let head = read.bytes(ANSWER_HEAD_BYTES);
        return Err(Unread::TooLarge(
            String::from_utf8_lossy(&head).into_owned(),
        ));
    }
    String::from_utf8(read.bytes(read.n_bytes)).map_err(|_| Unread::Broken)
}
