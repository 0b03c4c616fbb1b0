//! The totals, and how things stood in the newest minute, in Prometheus's text format
//! (0.0.4).

use std::fmt::Write;

use crate::policy::guard::{BOUNDS_MS, UNBOUNDED};
use crate::runtime::metrics::Metric;
use crate::runtime::ports::Row;
use crate::runtime::sql::{integer, text};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name, kind of the last label, help. The histogram is written by itself.
const COUNTERS: &[(Metric, &str, &str, &str)] = &[
    (
        Metric::Requests,
        "requests_total",
        "status",
        "Requests by operation, cohort and status class.",
    ),
    (
        Metric::Plans,
        "read_plans_total",
        "reason",
        "Reads by the reason of their plan.",
    ),
    (
        Metric::Fallbacks,
        "fallbacks_total",
        "code",
        "Reads that left mgPass for Logto within the request.",
    ),
    (
        Metric::Compared,
        "comparisons_total",
        "outcome",
        "Reads also made of the other backend.",
    ),
    (
        Metric::Mismatches,
        "mismatches_total",
        "class",
        "Differences that a second pair of reads confirmed.",
    ),
    (
        Metric::Ignored,
        "ignored_differences_total",
        "rule",
        "Differences of a known cause.",
    ),
];

/// Name, its label and the label's value, help, column of the newest minute, and what of
/// its unit makes one of the metric's. What is not known has no line.
type Gauge = (
    &'static str,
    Option<(&'static str, &'static str)>,
    &'static str,
    &'static str,
    f64,
);
const GAUGES: &[Gauge] = &[
    (
        "timeline_timestamp_seconds",
        None,
        "The newest minute that cron has kept; the other gauges are of it.",
        "slot",
        1_000.0,
    ),
    (
        "read_share_ratio",
        Some(("kind", "asked")),
        "Share of reads for mgPass: asked for, and what stage and brakes leave of it.",
        "asked_bps",
        10_000.0,
    ),
    (
        "read_share_ratio",
        Some(("kind", "allowed")),
        "",
        "allowed_bps",
        10_000.0,
    ),
    (
        "waiting_intents",
        None,
        "Writes that are not at mgPass yet, without those of parked users.",
        "n_open",
        1.0,
    ),
    (
        "waiting_oldest_seconds",
        None,
        "Age of the oldest of them.",
        "oldest_ms",
        1_000.0,
    ),
    (
        "parked_users",
        None,
        "Users who wait for a person.",
        "n_parked",
        1.0,
    ),
    (
        "users",
        Some(("kind", "ready")),
        "Users whom the mirror keeps, and those of them who may be read at mgPass.",
        "n_ready",
        1.0,
    ),
    ("users", Some(("kind", "mirrored")), "", "n_mirrored", 1.0),
];

struct Total {
    metric: Metric,
    operation: String,
    backend: String,
    label: String,
    count: i64,
}

/// `newest`: of the timeline.
pub fn render(rows: &[Row], newest: Option<&Row>) -> String {
    let totals: Vec<_> = rows.iter().filter_map(parse).collect();
    let mut out = String::new();
    for (metric, name, label, help) in COUNTERS {
        header(&mut out, name, "counter", help);
        for total in totals.iter().filter(|total| total.metric == *metric) {
            let labels = labels(total, Some((label, &total.label)));
            line(&mut out, name, &labels, total.count);
        }
    }
    histogram(&mut out, &totals);
    gauges(&mut out, newest);
    out
}

// Exact: counts and times are far below 2^53. Writing to a String cannot fail.
fn gauges(out: &mut String, newest: Option<&Row>) {
    for (name, label, help, column, per_unit) in GAUGES {
        if !help.is_empty() {
            header(out, name, "gauge", help);
        }
        let value = newest.and_then(|row| integer(row, column));
        if let Some(value) = value {
            let labels = label.map(|(name, value)| format!("{{{name}=\"{value}\"}}"));
            let labels = labels.unwrap_or_default();
            let _ = writeln!(out, "dual_write_{name}{labels} {}", value as f64 / per_unit);
        }
    }
    header(out, "stage_info", "gauge", "Stage and authority in force.");
    let of = |name: &str| newest.and_then(|row| text(row, name));
    if let Some(stage) = of("stage") {
        let authority = of("authority").unwrap_or_default();
        let _ = writeln!(
            out,
            "dual_write_stage_info{{stage=\"{stage}\",authority=\"{authority}\"}} 1"
        );
    }
}

fn histogram(out: &mut String, totals: &[Total]) {
    let name = "request_duration_milliseconds";
    header(
        out,
        name,
        "histogram",
        "Time to the answer, by operation and cohort.",
    );
    for sum in totals
        .iter()
        .filter(|total| total.metric == Metric::LatencySumMs)
    {
        let in_bucket = |bound: &str| {
            totals
                .iter()
                .filter(|total| {
                    total.metric == Metric::Latency
                        && total.operation == sum.operation
                        && total.backend == sum.backend
                        && total.label == bound
                })
                .map(|total| total.count)
                .sum::<i64>()
        };
        let mut below = 0;
        for bound in BOUNDS_MS {
            let bound = bound.to_string();
            below += in_bucket(&bound);
            line(
                out,
                &format!("{name}_bucket"),
                &labels(sum, Some(("le", &bound))),
                below,
            );
        }
        below += in_bucket(UNBOUNDED);
        line(
            out,
            &format!("{name}_bucket"),
            &labels(sum, Some(("le", "+Inf"))),
            below,
        );
        line(out, &format!("{name}_sum"), &labels(sum, None), sum.count);
        line(out, &format!("{name}_count"), &labels(sum, None), below);
    }
}

fn parse(row: &Row) -> Option<Total> {
    Some(Total {
        metric: Metric::from_name(&text(row, "metric")?)?,
        operation: text(row, "operation")?,
        backend: text(row, "backend")?,
        label: text(row, "label")?,
        count: integer(row, "count")?,
    })
}

// Writing to a String cannot fail.
fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP dual_write_{name} {help}\n# TYPE dual_write_{name} {kind}"
    );
}

fn line(out: &mut String, name: &str, labels: &str, value: i64) {
    let _ = writeln!(out, "dual_write_{name}{{{labels}}} {value}");
}

/// All values are names of our own: nothing to escape.
fn labels(total: &Total, last: Option<(&str, &str)>) -> String {
    let mut pairs = vec![format!("operation=\"{}\"", total.operation)];
    if !total.backend.is_empty() {
        pairs.push(format!("backend=\"{}\"", total.backend));
    }
    if let Some((name, value)) = last {
        pairs.push(format!("{name}=\"{value}\""));
    }
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_and_a_cumulative_histogram() {
        let rows: Vec<Row> = [
            ("requests", "mgpass", "2xx", 3),
            ("latency", "mgpass", "10", 2),
            ("latency", "mgpass", "inf", 1),
            ("latency_sum_ms", "mgpass", "", 7_012),
            ("plans", "", "fence", 4),
        ]
        .into_iter()
        .map(|(metric, backend, label, count)| {
            let row = json!({ "metric": metric, "operation": "users.get", "backend": backend, "label": label, "count": count });
            row.as_object().unwrap().clone()
        })
        .collect();
        let newest = json!({
            "slot": 60_000, "stage": "dual_write", "authority": "logto", "asked_bps": 2_500, "allowed_bps": 0,
            "n_open": 3, "oldest_ms": 1_500, "n_parked": 0, "n_ready": null, "n_mirrored": null,
        });
        let text = render(&rows, newest.as_object());
        for expected in [
            "dual_write_requests_total{operation=\"users.get\",backend=\"mgpass\",status=\"2xx\"} 3\n",
            "dual_write_read_plans_total{operation=\"users.get\",reason=\"fence\"} 4\n",
            "_bucket{operation=\"users.get\",backend=\"mgpass\",le=\"5\"} 0\n",
            "_bucket{operation=\"users.get\",backend=\"mgpass\",le=\"6400\"} 2\n",
            "_bucket{operation=\"users.get\",backend=\"mgpass\",le=\"+Inf\"} 3\n",
            "_sum{operation=\"users.get\",backend=\"mgpass\"} 7012\n",
            "_count{operation=\"users.get\",backend=\"mgpass\"} 3\n",
            "dual_write_timeline_timestamp_seconds 60\n",
            "dual_write_read_share_ratio{kind=\"asked\"} 0.25\n",
            "dual_write_read_share_ratio{kind=\"allowed\"} 0\n",
            "dual_write_waiting_intents 3\n",
            "dual_write_waiting_oldest_seconds 1.5\n",
            "dual_write_parked_users 0\n",
            "dual_write_stage_info{stage=\"dual_write\",authority=\"logto\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected} not in\n{text}");
        }
        assert!(!text.contains("dual_write_users{"), "unknown is not 0");
        assert_eq!(text.matches("# TYPE dual_write_users gauge").count(), 1);
    }
}
