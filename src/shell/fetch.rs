//! One request: hand it to the core, and hand back what it says.

mod pass_on;

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{Headers, Request, Response, ResponseInit, Url};

use crate::inbound::Inbound;
use crate::inbound::request::Method;
use crate::runtime::answer::Answer;
use crate::runtime::ports::Background;
use crate::serve::execute::Reply;
use crate::serve::service;

use super::config::deployment;
use super::exchange::WorkerExchange;
use super::platform::WorkerPlatform;

pub(super) fn serve(request: Request, env: worker::Env, worker_context: JsValue) -> Promise {
    let method = request.method();
    let inbound = Inbound::read(Method::parse(&method), request.url(), |url| {
        Url::new(url).ok().map(|url| url.href())
    });
    if let Some(answer) = pass_on::pass_on(&request, &inbound, &env, &worker_context) {
        return answer;
    }
    let outlives_its_client = inbound.outlives_its_client();
    let worker_context = Rc::new(worker::Context::new(worker_context.unchecked_into()));
    let behind = Rc::clone(&worker_context);
    let promise = future_to_promise(async move {
        let deployment = deployment(&env);
        let platform = WorkerPlatform::new(env);
        let mut exchange = WorkerExchange::new(request, method);
        let reply = service::handle_request(
            &platform,
            &*worker_context,
            &deployment,
            &inbound,
            &mut exchange,
        );
        match reply.await {
            Reply::Own(answer) => build(&answer).map(JsValue::from),
            Reply::Forwarded => exchange
                .into_response()
                .map(JsValue::from)
                .ok_or(JsValue::NULL),
        }
    });
    if outlives_its_client {
        let waited = JsFuture::from(promise.clone());
        behind.go_on(async move {
            // The outcome is the client's; here it only has to come to an end.
            let _ = waited.await;
        });
    }
    promise
}

fn build(answer: &Answer) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &answer.headers {
        // Of cookies there may be several.
        headers.append(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(answer.status);
    init.set_headers(&headers);
    let body = (!matches!(answer.status, 204 | 304)).then_some(answer.body.as_str());
    Response::new_with_opt_str_and_init(body, &init)
}
