//! Numbers, times and JSON as text for people.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;

pub type Counts = BTreeMap<String, u64>;

/// 1234567 as 1,234,567.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// Milliseconds in the two units that matter.
pub fn duration(ms: i64) -> String {
    let s = ms.max(0) / 1_000;
    let (large, unit, small, small_unit) = match s {
        0..60 => return format!("{s} s"),
        60..3_600 => (s / 60, "min", s % 60, "s"),
        3_600..86_400 => (s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => (s / 86_400, "d", s % 86_400 / 3_600, "h"),
    };
    if small == 0 {
        format!("{large} {unit}")
    } else {
        format!("{large} {unit} {small} {small_unit}")
    }
}

/// Basis points as percent.
pub fn percent(bps: i64) -> String {
    let (whole, rest) = (bps / 100, bps % 100);
    match rest {
        0 => format!("{whole} %"),
        _ if rest % 10 == 0 => format!("{whole}.{} %", rest / 10),
        _ => format!("{whole}.{rest:02} %"),
    }
}

/// An instant in epoch milliseconds, to the second.
pub fn instant(ms: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)) {
        Ok(at) => format!(
            "{} {:02}:{:02}:{:02} UTC",
            at.date(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        Err(_) => "-".to_owned(),
    }
}

/// How long before `now_ms`.
pub fn ago(at_ms: i64, now_ms: i64) -> String {
    format!("{} ago", duration(now_ms - at_ms))
}

/// Cells at least so wide, and never without a gap.
pub fn columns(cells: &[(&str, usize)]) -> String {
    let mut line = String::new();
    for (text, width) in cells {
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(&format!("{:<width$}", printable(text)));
    }
    line.truncate(line.trim_end().len());
    line
}

/// A longer cell does not push the columns of all lines apart.
const MAX_ALIGNED: usize = 40;

/// Lines whose columns are as wide as their widest cell.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let n_columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let widths = cells.map(|cell| printable(cell).chars().count());
        widths.max().unwrap_or(0).min(MAX_ALIGNED)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells: Vec<_> = cells
            .iter()
            .map(String::as_str)
            .zip(widths.iter().copied())
            .collect();
        format!("{}\n", columns(&cells))
    };
    lines.iter().map(line).collect()
}

/// Counts by name, the greatest first.
pub fn by_count(counts: &Counts) -> Vec<(&str, u64)> {
    let mut list: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    list.sort_by(|(one, n), (other, m)| m.cmp(n).then(one.cmp(other)));
    list
}

pub fn table(counts: &Counts) -> String {
    by_count(counts)
        .iter()
        .map(|(name, count)| format!("{:>10}  {name}\n", number(*count)))
        .collect()
}

/// Any JSON, a member a line, indented; objects in lists take one line each.
pub fn outline(value: &Value) -> String {
    let mut text = String::new();
    write_outline(value, 0, &mut text);
    text
}

fn write_outline(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::Object(inner) if !inner.is_empty() => {
                        text.push_str(&format!("{indent}{name}:\n"));
                        write_outline(member, depth + 1, text);
                    }
                    Value::Array(items) if items.iter().any(Value::is_object) => {
                        text.push_str(&format!("{indent}{name}:\n"));
                        write_outline(member, depth + 1, text);
                    }
                    plain => text.push_str(&format!("{indent}{name}: {}\n", named(name, plain))),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&format!("{indent}- {}\n", inline(item)));
            }
        }
        plain => text.push_str(&format!("{indent}{}\n", inline(plain))),
    }
}

/// A number by what its name says that it counts.
fn named(name: &str, value: &Value) -> String {
    let Some(number) = value.as_i64() else {
        return inline(value);
    };
    let ends_with = |end: &str| name == end || name.ends_with(&format!("_{end}"));
    let is_time = ["at", "since", "until", "now", "sunset"]
        .into_iter()
        .any(ends_with);
    match number {
        0 if is_time => "-".to_owned(),
        // The proxy's own are milliseconds; seconds are tokens' and mgPass's.
        100_000_000_000.. if is_time => instant(number),
        1_000_000_000.. if is_time => instant(number * 1_000),
        _ if ends_with("ms") => duration_ms(number),
        _ if ends_with("bps") => percent(number),
        _ if ends_with("bytes") => format!("{:.1} MB", number as f64 / 1_000_000.0),
        _ => number.to_string(),
    }
}

/// Shorter than a second counts here.
pub fn duration_ms(ms: i64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ => duration(ms),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| format!("{name}={}", named(name, member)))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A control character could rewrite the operator's terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, text) in [
            (-5, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn shares_and_instants_are_for_people() {
        for (bps, text) in [
            (0, "0 %"),
            (10_000, "100 %"),
            (1_250, "12.5 %"),
            (5, "0.05 %"),
        ] {
            assert_eq!(percent(bps), text);
        }
        assert_eq!(instant(1_800_000_000_999), "2027-01-15 08:00:00 UTC");
        assert_eq!(ago(1_000, 62_000), "1 min 1 s ago");
    }

    #[test]
    fn columns_never_run_together() {
        assert_eq!(columns(&[("u1", 6), ("x", 0)]), "u1      x");
        assert_eq!(
            columns(&[("longer-than-6", 6), ("x", 3)]),
            "longer-than-6  x"
        );
        assert_eq!(columns(&[("a", 3), ("", 3)]), "a");
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            aligned(&[line(["a", "12345", "x"]), line(["bcd", "1", ""])]),
            "a    12345  x\nbcd  1\n"
        );
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn an_outline_has_no_bare_milliseconds_or_basis_points() {
        let text = outline(&json!({
            "since": 1_800_000_000_000_i64, "finished_at": 0, "sunset": 1_800_000_000,
            "oldest_ms": 90_000, "p95_ms": 25, "read_bps": 1_250, "paused_until": null,
            "memory_bytes": 2_500_000, "epoch": 3,
            "log": [{ "at": 1_800_000_000_000_i64, "share": 5 }],
        }));
        for line in [
            "since: 2027-01-15 08:00:00 UTC",
            "finished_at: -",
            "sunset: 2027-01-15 08:00:00 UTC",
            "oldest_ms: 1 min 30 s",
            "p95_ms: 25 ms",
            "read_bps: 12.5 %",
            "paused_until: -",
            "memory_bytes: 2.5 MB",
            "epoch: 3",
            "- at=2027-01-15 08:00:00 UTC share=5",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn an_outline_shows_every_member_and_no_control_character() {
        let text = outline(&json!({
            "stage": "dual_write", "outbox": { "n_open": 0, "oldest_ms": null },
            "findings": [{ "subject": "u\u{1b}[2J1" }], "kids": [],
        }));
        assert_eq!(
            text,
            "findings:\n  - subject=u\u{fffd}[2J1\nkids: none\noutbox:\n  n_open: 0\n  oldest_ms: -\nstage: dual_write\n"
        );
    }
}
