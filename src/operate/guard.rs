//! The guard: every minute it judges mgPass-served reads against Logto-served ones
//! and stops a ramp that goes wrong.
//!
//! A stop writes the KV key `guard`; the operator's own values stay untouched, and
//! deleting `guard` lifts it. What happened before the lifting is not judged again.

use serde::Serialize;
use serde_json::json;

use crate::inbound::classify::{Kind, OPERATIONS, Operation};
use crate::operate::metrics;
use crate::policy::flags::{Flags, Share, Stage};
use crate::policy::guard::{BOUNDS_MS, Side, Tuning, UNBOUNDED, Verdict, Window, judge};
use crate::runtime::context::Context;
use crate::runtime::metrics::{Cohort, Metric};
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const SELECT_WINDOW: &str = "SELECT metric, operation, backend, label, sum(count) AS count FROM samples \
     WHERE slot >= max(?1, coalesce((SELECT max(at) FROM verdicts WHERE reason = 'stopped' OR verdict = 'stop'), 0)) \
     GROUP BY metric, operation, backend, label";
const KEEP_VERDICT: &str =
    "INSERT INTO verdicts (at, verdict, reason, figures) VALUES (?1, ?2, ?3, ?4)";
const PURGE_VERDICTS: &str = "DELETE FROM verdicts WHERE at < ?1";
const SELECT_VERDICTS: &str =
    "SELECT at, verdict, reason, figures FROM verdicts ORDER BY id DESC LIMIT ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SELECT_WINDOW, KEEP_VERDICT, PURGE_VERDICTS, SELECT_VERDICTS];

const RETENTION_MS: i64 = 30 * 86_400_000;

pub fn verdicts(limit: i64) -> Statement {
    Statement::new(SELECT_VERDICTS, vec![limit.into()])
}

/// One run of cron. Harmless twice: the same figures give the same verdict, and a
/// second `guard` of the same content changes nothing.
pub async fn run<P: Platform>(platform: &P, context: &Context<'_>, flags: &Flags) {
    let now_ms = platform.now_ms();
    if !is_ramping(flags) {
        let _ = platform
            .batch(Store::Metrics, vec![metrics::purge(now_ms)])
            .await;
        return;
    }
    let tuning = &context.settings.guard;
    let since = Statement::new(SELECT_WINDOW, vec![(now_ms - tuning.window_ms).into()]);
    let (window, verdict, reason) = match platform.batch(Store::Metrics, vec![since]).await {
        Err(failure) => {
            platform.emit(&Event::MetricsDelayed {
                step: "guard",
                code: failure.code(),
            });
            (Window::default(), Verdict::Hold, "no_metrics")
        }
        Ok(results) => {
            let window = parse_window(results.first().map(Vec::as_slice).unwrap_or_default());
            let (verdict, reason) = match flags.guard {
                Some(_) => (Verdict::Hold, "stopped"),
                None => judge(&window, tuning),
            };
            (window, verdict, reason)
        }
    };
    let figures = Figures::of(&window, tuning, flags);
    // The window begins anew after a kept stop: one that was not written must not be
    // kept as such, or the next run would have nothing to judge by.
    let kept = match verdict {
        Verdict::Stop if !stop(platform, reason).await => (Verdict::Hold, "stop_not_written"),
        Verdict::Pass | Verdict::Hold | Verdict::Stop => (verdict, reason),
    };
    platform.emit(&Event::GuardJudged {
        verdict: verdict.name(),
        reason,
        n_mgpass: figures.mgpass.reads,
        n_logto: figures.logto.reads,
        n_compared: figures.compared,
    });
    let keep = vec![
        now_ms.into(),
        kept.0.name().into(),
        kept.1.into(),
        json!(figures).to_string().into(),
    ];
    let batch = vec![
        Statement::new(KEEP_VERDICT, keep),
        Statement::new(PURGE_VERDICTS, vec![(now_ms - RETENTION_MS).into()]),
        metrics::purge(now_ms),
    ];
    if let Err(failure) = platform.batch(Store::Metrics, batch).await {
        platform.emit(&Event::MetricsDelayed {
            step: "verdict",
            code: failure.code(),
        });
    }
}

/// Whether it is written; else the next run comes to the same verdict and tries again.
async fn stop<P: Platform>(platform: &P, reason: &'static str) -> bool {
    let value = json!({ "cap_percent": "0", "reason": reason }).to_string();
    let is_written = platform.put_flag("guard", &value).await.is_ok();
    let outcome = if is_written { "written" } else { "not_written" };
    platform.emit(&Event::GuardStopped { reason, outcome });
    is_written
}

/// Whether anybody is to be served by mgPass at all.
fn is_ramping(flags: &Flags) -> bool {
    flags.stage == Stage::DualWrite
        && OPERATIONS
            .iter()
            .filter(|row| row.kind == Kind::Read)
            .any(|row| flags.read_share(row.operation) > Share::NONE)
}

/// Rows of counts, whatever slots they are of.
pub(crate) fn parse_window<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Window {
    let mut window = Window::default();
    for row in rows {
        let Some((kind, metric, (label, count))) = (|| {
            let kind = Operation::from_name(&text(row, "operation")?)?.kind();
            let metric = Metric::from_name(&text(row, "metric")?)?;
            let counted = (text(row, "label")?, integer(row, "count")?);
            matches!(kind, Kind::Read | Kind::Write(_)).then_some((kind, metric, counted))
        })() else {
            continue;
        };
        let backend = text(row, "backend").unwrap_or_default();
        let is_fallback = backend == Cohort::Fallback.name() && kind == Kind::Read;
        let side = if kind != Kind::Read {
            Some(&mut window.writes)
        } else if backend == Cohort::Logto.name() {
            Some(&mut window.logto)
        } else if is_fallback || backend == Cohort::Mgpass.name() {
            Some(&mut window.mgpass)
        } else {
            None
        };
        match (metric, side) {
            (Metric::Requests, Some(side)) => {
                side.reads += count;
                if is_fallback || label == "5xx" {
                    side.failures += count;
                }
            }
            (Metric::Latency, Some(side)) => {
                let index = BOUNDS_MS
                    .iter()
                    .position(|bound| label == bound.to_string())
                    .unwrap_or(BOUNDS_MS.len());
                debug_assert!(index < BOUNDS_MS.len() || label == UNBOUNDED);
                if let Some(slot) = side.durations.get_mut(index) {
                    *slot += count;
                }
            }
            (Metric::Compared, _) if label == "match" => window.compared += count,
            (Metric::Compared, _) if label == "mismatch" => {
                window.compared += count;
                window.mismatched += count;
            }
            _ => {}
        }
    }
    window
}

#[derive(Serialize)]
struct Figures {
    window_ms: i64,
    logto: SideFigures,
    mgpass: SideFigures,
    compared: i64,
    mismatched: i64,
    /// Every read that mgPass may serve was to be served by it.
    all_reads_shared: bool,
}

#[derive(Serialize)]
struct SideFigures {
    reads: i64,
    failures: i64,
    p95_ms: Option<i64>,
}

impl Figures {
    fn of(window: &Window, tuning: &Tuning, flags: &Flags) -> Self {
        let side = |side: &Side| SideFigures {
            reads: side.reads,
            failures: side.failures,
            p95_ms: side.p95_ms(),
        };
        Self {
            window_ms: tuning.window_ms,
            logto: side(&window.logto),
            mgpass: side(&window.mgpass),
            compared: window.compared,
            mismatched: window.mismatched,
            all_reads_shared: flags.are_all_reads_shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_read_from_counted_rows() {
        let rows: Vec<Row> = [
            ("requests", "users.get", "logto", "2xx", 10),
            ("requests", "users.get", "mgpass", "2xx", 5),
            ("requests", "users.get_identity", "mgpass", "5xx", 1),
            ("requests", "users.get", "fallback", "2xx", 2),
            ("requests", "users.get", "mgpass_as_caller", "5xx", 9),
            ("requests", "users.patch", "logto", "5xx", 9),
            ("requests", "users.create", "mgpass", "2xx", 4),
            ("latency", "users.create", "mgpass", "50", 4),
            ("requests", "pass_through", "logto", "2xx", 70),
            ("latency", "users.get", "fallback", "inf", 2),
            ("compared", "users.get", "", "match", 7),
            ("compared", "users.get", "", "mismatch", 1),
            ("compared", "users.get", "", "fenced", 4),
        ]
        .into_iter()
        .map(|(metric, operation, backend, label, count)| {
            let row = json!({ "metric": metric, "operation": operation, "backend": backend, "label": label, "count": count });
            row.as_object().unwrap().clone()
        })
        .collect();
        let window = parse_window(&rows);
        assert_eq!((window.logto.reads, window.logto.failures), (10, 0));
        assert_eq!((window.mgpass.reads, window.mgpass.failures), (8, 3));
        assert_eq!(window.mgpass.durations.last(), Some(&2));
        assert_eq!((window.compared, window.mismatched), (8, 1));
        assert_eq!((window.writes.reads, window.writes.failures), (13, 9));
        assert_eq!(window.writes.p95_ms(), Some(50));
    }
}
