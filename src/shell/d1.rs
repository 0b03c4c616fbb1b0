//! D1.

use wasm_bindgen::JsValue;

use crate::runtime::ports::{DatabaseFailure, Row, Statement, Store, Value};

fn binding(store: Store) -> &'static str {
    match store {
        Store::Proxy => "DB",
        Store::Mgpass => "MGPASS_DB",
        Store::Metrics => "METRICS_DB",
        Store::Rewards => "REWARDS_DB",
    }
}

pub(super) fn is_bound(env: &worker::Env, store: Store) -> bool {
    env.d1(binding(store)).is_ok()
}

pub(super) async fn batch(
    env: &worker::Env,
    store: Store,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
    let database = env
        .d1(binding(store))
        .map_err(|_| DatabaseFailure::Unavailable)?;
    let prepared = statements
        .into_iter()
        .map(|statement| {
            let values: Vec<_> = statement.values.into_iter().map(to_js).collect();
            database.prepare(statement.sql).bind(&values)
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| DatabaseFailure::Refused)?;
    let results = database
        .batch(prepared)
        .await
        .map_err(|error| classify(&error))?;
    results
        .iter()
        .map(|result| {
            result
                .results::<Row>()
                .map_err(|_| DatabaseFailure::Refused)
        })
        .collect()
}

fn to_js(value: Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        // Exact up to 2^53: sequence numbers and milliseconds.
        Value::Integer(number) => JsValue::from_f64(number as f64),
        Value::Text(text) => JsValue::from_str(&text),
    }
}

/// D1 tells kinds of errors apart by text alone; SQLite's own end with its code. What
/// is not known is taken for an outage, which loses nothing.
fn classify(error: &worker::Error) -> DatabaseFailure {
    let text = error.to_string();
    let says = |part: &str| text.contains(part);
    if says("constraint failed") || says("SQLITE_CONSTRAINT") {
        DatabaseFailure::Constraint
    } else if says("SQLITE_TOOBIG") {
        DatabaseFailure::TooLarge
    } else if says("SQLITE_ERROR") || says("SQLITE_MISMATCH") {
        // Of the statement's own: no such table or column, a sum that overflows.
        DatabaseFailure::Refused
    } else {
        DatabaseFailure::Unavailable
    }
}
