//! Events to the platform's log: one line each.

use wasm_bindgen::JsValue;

use crate::runtime::observe::{Event, Level};

pub(super) fn emit(event: &Event<'_>) {
    let line = JsValue::from_str(&event.to_line());
    match event.level() {
        Level::Info => web_sys::console::log_1(&line),
        Level::Warn => web_sys::console::warn_1(&line),
        Level::Error => web_sys::console::error_1(&line),
    }
}
