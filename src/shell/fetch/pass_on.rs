//! What no rule claims goes to Logto and back without a future of Rust's: the promise is
//! `fetch`'s own, and one closure per isolate hears how each request went. What a
//! cancelled request leaves behind is JavaScript's alone, and collected with it.

use js_sys::Promise;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Request, Response};

use crate::inbound::classify::Operation;
use crate::inbound::request::Target;
use crate::runtime::context::Surroundings;
use crate::runtime::ports::CallFailure;
use crate::serve::execute::{Executed, Reply, pass_through};

use super::{build, close, request_id};
use crate::shell::config::Deployment;
use crate::shell::exchange::{ResponseCopy, facts};
use crate::shell::platform::WorkerPlatform;

type Told = dyn Fn(Request, JsValue, JsValue, f64, u16) -> Option<Response>;

#[wasm_bindgen(module = "/src/shell/outbound.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = passOn)]
    fn send(
        request: &Request,
        facts: &str,
        env: &JsValue,
        context: &JsValue,
        began_ms: f64,
        told: &Closure<Told>,
    ) -> Result<Promise, JsValue>;
}

thread_local! {
    static TOLD: Closure<Told> = Closure::new(told);
}

/// `None`: this request takes more than that.
pub(super) fn pass_on(
    request: &Request,
    target: &Target<'_>,
    operation: Operation,
    env: &worker::Env,
    context: &JsValue,
) -> Option<Promise> {
    let deployment = Deployment::of(env);
    let began_ms = js_sys::Date::now();
    if !deployment.isolate.has_fresh_flags(began_ms as i64) {
        return None;
    }
    let forward = pass_through::begin(&deployment.settings, target, operation)?;
    let sent = TOLD.with(|told| send(request, &facts(&forward), env, context, began_ms, told));
    Some(sent.unwrap_or_else(|_| {
        let answer = told(
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
fn told(
    request: Request,
    env: JsValue,
    context: JsValue,
    began_ms: f64,
    status: u16,
) -> Option<Response> {
    let env = worker::Env::from(env);
    let deployment = Deployment::of(&env);
    let platform = WorkerPlatform::new(env);
    let request_id = request_id(&platform);
    let around = Surroundings {
        settings: &deployment.settings,
        context: deployment.context(),
        flags: deployment.isolate.last_flags(),
        request_id: &request_id,
        began_ms: began_ms as i64,
    };
    let executed: Executed<ResponseCopy> = if status == 0 {
        pass_through::end(&around, &request.url(), Err(CallFailure::Unreachable))
    } else {
        pass_through::end(&around, "", Ok(status))
    };
    let context = worker::Context::new(context.unchecked_into());
    close(&platform, &deployment, &context, &around, &executed);
    match executed.reply {
        Reply::Own(answer) => build(&answer).ok(),
        Reply::Forwarded => None,
    }
}
