//! The counts of isolates written down behind the requests, and read again.
//!
//! The database is one of its own: counting never competes with the outbox.
//! `samples` holds slots of time for the guard and is short-lived; `totals` only
//! grow, as a scraper expects.

use serde_json::json;

use crate::operate::dependencies;
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Statement, Store};

const ADD_SAMPLES: &str = "INSERT INTO samples (slot, metric, operation, backend, label, count) \
     SELECT ?1, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), \
     json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(?2) WHERE true \
     ON CONFLICT (slot, metric, operation, backend, label) DO UPDATE SET count = count + excluded.count";
const ADD_TOTALS: &str = "INSERT INTO totals (metric, operation, backend, label, count) \
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), \
     json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(?1) WHERE true \
     ON CONFLICT (metric, operation, backend, label) DO UPDATE SET count = count + excluded.count";
const SELECT_TOTALS: &str = "SELECT metric, operation, backend, label, count FROM totals ORDER BY metric, operation, backend, label";
const SELECT_SAMPLES: &str = "SELECT metric, operation, backend, label, sum(count) AS count FROM samples \
     WHERE slot >= ?1 GROUP BY metric, operation, backend, label";
const PURGE_SAMPLES: &str = "DELETE FROM samples WHERE slot < ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    ADD_SAMPLES,
    ADD_TOTALS,
    SELECT_TOTALS,
    SELECT_SAMPLES,
    PURGE_SAMPLES,
];

const RETENTION_MS: i64 = 6 * 3_600_000;

pub fn totals() -> Statement {
    Statement::new(SELECT_TOTALS, vec![])
}

/// Counts of all slots from an instant on.
pub fn samples(since_ms: i64) -> Statement {
    Statement::new(SELECT_SAMPLES, vec![since_ms.into()])
}

pub fn purge(now_ms: i64) -> Statement {
    Statement::new(PURGE_SAMPLES, vec![(now_ms - RETENTION_MS).into()])
}

/// Waits until a burst is over, then writes down what this isolate has counted.
pub async fn flush_later<P: Platform>(platform: &P, context: &Context<'_>) {
    platform.sleep(context.settings.metrics_flush_ms).await;
    flush(platform, context).await;
}

/// Twice is not harmless here: a batch that was applied and reported as failed is
/// counted again. Figures may be a little high, never silently low.
pub async fn flush<P: Platform>(platform: &P, context: &Context<'_>) {
    dependencies::flush(platform, context).await;
    let counts = context.isolate.metrics.borrow_mut().take();
    if counts.is_empty() {
        return;
    }
    let rows: Vec<_> = counts
        .iter()
        .map(|(series, count)| {
            json!([
                series.metric.name(),
                series.operation,
                series.backend,
                series.label,
                count
            ])
        })
        .collect();
    let rows = json!(rows).to_string();
    let slot_ms = context.settings.guard.slot_ms();
    let slot = platform.now_ms().div_euclid(slot_ms) * slot_ms;
    let batch = vec![
        Statement::new(ADD_SAMPLES, vec![slot.into(), rows.clone().into()]),
        Statement::new(ADD_TOTALS, vec![rows.into()]),
    ];
    match platform.batch(Store::Metrics, batch).await {
        Ok(_) => counts
            .iter()
            .for_each(|(series, count)| platform.point(series, *count)),
        Err(failure) => {
            context.isolate.metrics.borrow_mut().put_back(counts);
            platform.emit(&Event::MetricsDelayed {
                step: "flush",
                code: failure.code(),
            });
        }
    }
}
