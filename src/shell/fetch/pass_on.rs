//! What no rule claims goes to Logto and back without a future of Rust's: the promise is
//! `fetch`'s own, and one closure per isolate hears how each request went. What a
//! cancelled request leaves behind is JavaScript's alone, and collected with it.

use js_sys::Promise;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Request, Response};

use crate::inbound::Inbound;
use crate::runtime::ports::CallFailure;
use crate::serve::service;

use super::build;
use crate::shell::config::deployment;
use crate::shell::exchange::facts;
use crate::shell::platform::WorkerPlatform;

type Answered = dyn Fn(Request, JsValue, JsValue, f64, u16) -> Option<Response>;

#[wasm_bindgen(module = "/src/shell/outbound.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = passOn)]
    fn send(
        request: &Request,
        facts: &str,
        env: &JsValue,
        context: &JsValue,
        began_ms: f64,
        answered: &Closure<Answered>,
    ) -> Result<Promise, JsValue>;
}

thread_local! {
    static ANSWERED: Closure<Answered> = Closure::new(answered);
}

/// `None`: this request takes more than that.
pub(super) fn pass_on(
    request: &Request,
    inbound: &Inbound,
    env: &worker::Env,
    context: &JsValue,
) -> Option<Promise> {
    let deployment = deployment(env);
    let began_ms = js_sys::Date::now();
    let forward = service::begin_pass_through(&deployment, inbound, began_ms as i64)?;
    let facts = facts(&forward);
    let sent = ANSWERED.with(|heard| send(request, &facts, env, context, began_ms, heard));
    Some(sent.unwrap_or_else(|_| {
        let answer = answered(
            Clone::clone(request),
            env.into(),
            context.clone(),
            began_ms,
            0,
        );
        Promise::resolve(&JsValue::from(answer))
    }))
}

/// `status` is 0 where Logto gave no answer: then the proxy's own is returned.
fn answered(
    request: Request,
    env: JsValue,
    context: JsValue,
    began_ms: f64,
    status: u16,
) -> Option<Response> {
    let env = worker::Env::from(env);
    let deployment = deployment(&env);
    let platform = WorkerPlatform::new(env);
    let context = worker::Context::new(context.unchecked_into());
    let outcome = match status {
        0 => Err(CallFailure::Unreachable),
        status => Ok(status),
    };
    let own = service::end_pass_through(
        &platform,
        &context,
        &deployment,
        began_ms as i64,
        outcome,
        || request.url(),
    );
    own.and_then(|answer| build(&answer).ok())
}
