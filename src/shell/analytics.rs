//! Analytics Engine, where the binding `ANALYTICS` is set.

use js_sys::{Array, Function, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::runtime::metrics::Series;

/// Best effort: the platform samples and drops points itself.
pub(super) fn write(env: &worker::Env, series: &Series, count: i64) {
    let _ = try_write(env, series, count);
}

fn try_write(env: &worker::Env, series: &Series, count: i64) -> Option<()> {
    let dataset = Reflect::get(env, &"ANALYTICS".into()).ok()?;
    let write: Function = Reflect::get(&dataset, &"writeDataPoint".into())
        .ok()?
        .dyn_into()
        .ok()?;
    let text = |text: &str| JsValue::from_str(text);
    let blobs = Array::of4(
        &text(series.metric.name()),
        &text(series.operation),
        &text(series.backend),
        &text(series.label),
    );
    let point = Object::new();
    Reflect::set(&point, &"blobs".into(), &blobs).ok()?;
    let doubles = Array::of1(&JsValue::from_f64(count as f64));
    Reflect::set(&point, &"doubles".into(), &doubles).ok()?;
    let indexes = Array::of1(&text(series.operation));
    Reflect::set(&point, &"indexes".into(), &indexes).ok()?;
    write.call1(&dataset, &point).ok()?;
    Some(())
}
