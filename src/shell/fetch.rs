//! One request: read the bindings, run the flow, hand back what it says.

mod pass_on;

use std::cell::Cell;
use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{Headers, Request, Response, ResponseInit};

use crate::auth::{authenticate, forward_auth};
use crate::inbound::classify::{Kind, Operation, classify};
use crate::inbound::request::Target;
use crate::operate::{admin, metrics};
use crate::runtime::answer::{Answer, own_error};
use crate::runtime::context::Surroundings;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Clock, Entropy, Exchange, Sink};
use crate::runtime::snapshot::{self, Refresh};
use crate::serve::afterwards;
use crate::serve::execute::{Executed, Reply, execute};

use super::config::Deployment;
use super::exchange::WorkerExchange;
use super::platform::WorkerPlatform;

pub(super) fn serve(request: Request, env: worker::Env, worker_context: JsValue) -> Promise {
    let exchange = WorkerExchange::new(request);
    let mut is_write = false;
    if let Some(target) = Target::parse(exchange.url()) {
        let operation = classify(exchange.method(), target.path).operation;
        let passed_on = pass_on::pass_on(
            exchange.request(),
            &target,
            operation,
            &env,
            &worker_context,
        );
        if let Some(answer) = passed_on {
            return answer;
        }
        is_write = matches!(operation.kind(), Kind::Write(_));
    }
    let worker_context = worker::Context::new(worker_context.unchecked_into());
    if !is_write {
        return future_to_promise(async move {
            run(exchange, env, &worker_context).await.map(JsValue::from)
        });
    }
    // A client that hangs up must not cut a recorded write off from its settling.
    let worker_context = Rc::new(worker_context);
    let kept = Rc::clone(&worker_context);
    let promise =
        future_to_promise(async move { run(exchange, env, &kept).await.map(JsValue::from) });
    let waited = promise.clone();
    worker_context.wait_until(async move {
        // The outcome is the client's; here it only has to come to an end.
        let _ = JsFuture::from(waited).await;
    });
    promise
}

async fn run(
    mut exchange: WorkerExchange,
    env: worker::Env,
    worker_context: &worker::Context,
) -> Result<Response, JsValue> {
    let deployment = Deployment::of(&env);
    let platform = WorkerPlatform::new(env);
    let began_ms = platform.now_ms();
    let (flags, refresh) = snapshot::current(&platform, &deployment.isolate).await;
    if refresh == Refresh::BehindTheRequest {
        let (deployment, platform) = (Rc::clone(&deployment), platform.clone());
        worker_context.wait_until(async move {
            snapshot::read(&platform, &deployment.isolate).await;
        });
    }
    let request_id = request_id(&platform);
    let around = Surroundings {
        settings: &deployment.settings,
        context: deployment.context(),
        flags,
        request_id: &request_id,
        began_ms,
    };
    let mut executed = if deployment.settings.logto_origin.is_empty() {
        own_error(
            Operation::PassThrough,
            ProxyError::Misconfigured,
            "/",
            &around,
        )
        .into()
    } else {
        let ours = match forward_auth::route(&platform, &around, &exchange).await {
            Some(answered) => Some(answered),
            None => admin::route(&platform, &around, &mut exchange).await,
        };
        match ours {
            Some(answered) => answered.into(),
            None => execute(&platform, &around, &mut exchange).await,
        }
    };
    close(&platform, &deployment, worker_context, &around, &executed);
    if let Some(afterwards) = executed.afterwards.take() {
        let (deployment, platform) = (Rc::clone(&deployment), platform.clone());
        worker_context.wait_until(async move {
            let context = deployment.context();
            afterwards::carry_out(&platform, &deployment.isolate, context.as_ref(), afterwards)
                .await;
        });
    }
    let owed = deployment.isolate.take_owed_key_fetches();
    if !owed.is_empty() {
        let deployment = Rc::clone(&deployment);
        worker_context.wait_until(async move {
            if let Some(context) = deployment.context() {
                authenticate::fetch_owed_keys(&platform, &context, owed).await;
            }
        });
    }
    match executed.reply {
        Reply::Own(answer) => build(&answer),
        Reply::Forwarded => exchange.into_response().ok_or(JsValue::NULL),
    }
}

/// The request's line and its share in the metrics, which are flushed behind it when due.
fn close<C>(
    platform: &WorkerPlatform,
    deployment: &Rc<Deployment>,
    worker_context: &worker::Context,
    around: &Surroundings<'_>,
    executed: &Executed<C>,
) {
    let now_ms = platform.now_ms();
    let duration_ms = now_ms - around.began_ms;
    platform.emit(&executed.done(around, duration_ms));
    let is_flushing = {
        let mut metrics = deployment.isolate.metrics.borrow_mut();
        metrics.observe(&executed.observation(duration_ms));
        metrics.book(now_ms)
    };
    if is_flushing {
        let (deployment, platform) = (Rc::clone(deployment), platform.clone());
        worker_context.wait_until(async move {
            if let Some(context) = deployment.context() {
                metrics::flush_later(&platform, &context).await;
            }
        });
    }
}

fn build(answer: &Answer) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &answer.headers {
        headers.set(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(answer.status);
    init.set_headers(&headers);
    let body = (!matches!(answer.status, 204 | 304)).then_some(answer.body.as_str());
    Response::new_with_opt_str_and_init(body, &init)
}

thread_local! {
    static ISOLATE_ID: Cell<u64> = const { Cell::new(0) };
    static COUNTER: Cell<u32> = const { Cell::new(0) };
}

/// Unique without a random draw per request: the isolate's own draw and a count.
fn request_id(platform: &WorkerPlatform) -> String {
    if ISOLATE_ID.get() == 0 {
        ISOLATE_ID.set(platform.random_u64() | 1);
    }
    COUNTER.set(COUNTER.get().wrapping_add(1));
    format!(
        "{:010x}{:06x}",
        ISOLATE_ID.get() >> 24,
        COUNTER.get() & 0xff_ffff
    )
}
