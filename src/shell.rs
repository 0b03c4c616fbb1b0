//! The platform's entry points. They decide nothing: each reads the bindings,
//! calls one flow and hands back what it says.

mod analytics;
mod background;
mod config;
mod console;
pub mod crypto;
mod d1;
mod exchange;
mod fetch;
mod kv;
mod platform;
mod queue;
mod stream;
mod timer;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::event;

use crate::runtime::message::Message;
use crate::serve::service;

use self::config::deployment;
use self::platform::WorkerPlatform;

#[event(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// Not by `#[event(fetch)]`: that makes a future of every request.
#[wasm_bindgen(js_name = fetch)]
pub fn on_fetch(
    request: web_sys::Request,
    env: worker::Env,
    worker_context: JsValue,
) -> js_sys::Promise {
    fetch::serve(request, env, worker_context)
}

#[event(queue)]
async fn on_queue(
    batch: worker::MessageBatch<Message>,
    env: worker::Env,
    _: worker::Context,
) -> worker::Result<()> {
    let deployment = deployment(&env);
    let platform = WorkerPlatform::new(env);
    queue::deliver(&platform, &deployment, &batch).await;
    Ok(())
}

#[event(scheduled)]
async fn on_cron(_: worker::ScheduledEvent, env: worker::Env, _: worker::ScheduleContext) {
    let deployment = deployment(&env);
    let platform = WorkerPlatform::new(env);
    service::handle_cron(&platform, &deployment).await;
}
