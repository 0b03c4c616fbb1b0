//! The stage after the hand-over, as the proxy sees it: a screen that is drawn again, or
//! lines for a log. What it speaks for the proxy says; nothing here does anything.

use core::time::Duration;
use std::io::IsTerminal;

use serde_json::Value;

use super::api::{Api, patiently};
use super::failure::Failure;
use super::job::Health;
use super::words::{duration, duration_ms, instant, number, percent, plural, printable};
use super::{Output, Result, status};

const POLL: Duration = Duration::from_secs(5);
/// Without a terminal the whole is said so often, and whenever the advice changes.
const POLLS_A_BLOCK: u32 = 120;
/// A proxy that is down is waited for.
const PATIENCE: u32 = 600;

/// Until Logto is the authority again; with `--once` or `--json` a single look. Whoever
/// waits for it hears by the exit status whether a person is needed.
pub fn watch(api: &Api, output: Output, once: bool) -> Result {
    if once || output == Output::Json {
        let status = api.get("status", &[])?;
        let cutover = at(&status, "/cutover");
        output.show_as(cutover, || block(&status))?;
        return Ok(Health::clean_if(is_well(cutover)));
    }
    let redraws = std::io::stdout().is_terminal();
    let (mut said, mut n_polls, mut shown_before) = (String::new(), 0_u32, false);
    loop {
        let status = patiently(PATIENCE, || api.get("status", &[]))?;
        let cutover = at(&status, "/cutover");
        if cutover.is_null() {
            if !shown_before {
                return Err(Failure::NotNow(
                    "Logto is the authority: there is nothing to watch before a hand-over",
                ));
            }
            Output::write(&block(&status))?;
            return Ok(Health::Clean);
        }
        shown_before = true;
        let advice = format!("{} {}", text(cutover, "advice"), text(cutover, "reason"));
        if redraws {
            Output::write(&format!("\x1b[H\x1b[2J{}", block(&status)))?;
        } else if advice != said || n_polls.is_multiple_of(POLLS_A_BLOCK) {
            Output::write(&format!("{}\n", block(&status)))?;
        }
        said = advice;
        n_polls += 1;
        std::thread::sleep(POLL);
    }
}

fn is_well(cutover: &Value) -> bool {
    matches!(text(cutover, "advice"), "stay" | "unknown")
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default()
}

fn integer(value: &Value, pointer: &str) -> Option<i64> {
    at(value, pointer).as_i64()
}

/// For the screen of `dwp status`: one line, or none.
pub fn line(status: &Value) -> Option<String> {
    let cutover = status.get("cutover").filter(|cutover| !cutover.is_null())?;
    let users = integer(cutover, "/debt/users").unwrap_or(0).unsigned_abs();
    Some(format!(
        "{}; Logto lacks something of {}",
        headline(cutover, integer(status, "/now").unwrap_or_default()),
        plural(users, "user", "users")
    ))
}

fn headline(cutover: &Value, now_ms: i64) -> String {
    if let Some(code) = cutover.get("failure").and_then(Value::as_str) {
        return format!("cannot be read ({})", printable(code));
    }
    let advice = text(cutover, "advice").to_uppercase().replace('_', " ");
    let lasts = integer(cutover, "/advice_since")
        .map(|since| format!(", for {}", duration(now_ms - since)))
        .unwrap_or_default();
    format!("{advice} {}{lasts}", printable(text(cutover, "reason")))
}

fn block(status: &Value) -> String {
    let cutover = at(status, "/cutover");
    let now_ms = integer(status, "/now").unwrap_or_default();
    if cutover.is_null() {
        return "Logto is the authority: there is nothing to watch.\n".to_owned();
    }
    let mut block = format!("{}\n", headline(cutover, now_ms));
    if cutover.get("failure").is_some() {
        return block;
    }
    let since = integer(cutover, "/since").unwrap_or(now_ms);
    let mut lines = vec![(
        "since",
        format!("{}, {}", instant(since), duration(now_ms - since)),
    )];
    if let Some(failing) = integer(cutover, "/mgpass_failing_since") {
        let lasts = duration(now_ms - failing);
        lines.push((
            "mgpass",
            format!("its database has not answered for {lasts}"),
        ));
    }
    lines.extend([
        ("reads", requests(cutover, "reads")),
        ("writes", requests(cutover, "writes")),
        ("strays", strays(cutover)),
        ("debt", debt(cutover, now_ms)),
        (
            "log",
            age(cutover, "/log_read_ms_ago", "read", "not read yet"),
        ),
        (
            "walk",
            age(
                cutover,
                "/walk_began_ms_ago",
                "over everybody since",
                "not over everybody yet",
            ),
        ),
        ("points", points(cutover)),
    ]);
    for (name, line) in lines {
        block.push_str(&format!("{name:<9} {line}\n"));
    }
    // What to do stands with what is wrong.
    let problems = status::problems_text(status);
    block.push_str(&format!("\n{problems}"));
    block
}

/// Since, before, and lately.
fn requests(cutover: &Value, kind: &str) -> String {
    let course = at(cutover, &format!("/requests/{kind}"));
    if course.is_null() {
        return "not known".to_owned();
    }
    let side = |when: &str| {
        let side = at(course, &format!("/{when}"));
        let n = integer(side, &format!("/{kind}"))
            .unwrap_or(0)
            .unsigned_abs();
        if n == 0 {
            return format!("none {when}");
        }
        let slowest = match integer(side, "/p95_ms") {
            Some(above) if above > 1_000_000 => "above 6.4 s".to_owned(),
            Some(ms) => format!("at most {}", duration_ms(ms)),
            None => "-".to_owned(),
        };
        format!(
            "{} {when}, errors {}, 95 of 100 {slowest}",
            number(n),
            percent(integer(side, "/failure_bps").unwrap_or(0)),
        )
    };
    ["since", "before", "lately"].map(side).join("; ")
}

fn strays(cutover: &Value) -> String {
    let each = at(cutover, "/strays").as_array().into_iter().flatten();
    let each: Vec<_> = each
        .map(|row| {
            let n = integer(row, "/n").unwrap_or(0).unsigned_abs();
            format!("{} {}", printable(text(row, "source")), number(n))
        })
        .collect();
    match each.is_empty() {
        true => "none".to_owned(),
        false => each.join(", "),
    }
}

fn debt(cutover: &Value, now_ms: i64) -> String {
    let users = integer(cutover, "/debt/users").unwrap_or(0).unsigned_abs();
    let as_of = match integer(cutover, "/debt/right_as_of") {
        Some(at) => format!("right as of {} ago", duration(now_ms - at)),
        None => "not known for sure yet".to_owned(),
    };
    let each = at(cutover, "/debt/classes")
        .as_array()
        .into_iter()
        .flatten();
    let each: Vec<_> = each
        .map(|row| {
            let n = integer(row, "/users").unwrap_or(0).unsigned_abs();
            format!("{} {}", printable(text(row, "class")), number(n))
        })
        .collect();
    match each.is_empty() {
        true => format!("none; {as_of}"),
        false => format!(
            "{}: {}; {as_of}",
            plural(users, "user", "users"),
            each.join(", ")
        ),
    }
}

fn age(cutover: &Value, pointer: &str, what: &str, never: &str) -> String {
    match integer(cutover, pointer) {
        Some(ms) => format!("{what} {} ago", duration(ms)),
        None => never.to_owned(),
    }
}

fn points(cutover: &Value) -> String {
    let points = at(cutover, "/points");
    if points.is_null() {
        return "not read".to_owned();
    }
    let of = |pointer: &str| integer(points, pointer).unwrap_or(0);
    let is_unchanged = of("/first/imported") == of("/last/imported")
        && of("/first/imported_sum") == of("/last/imported_sum");
    format!(
        "{} imported, {}; {} of mgPass's own; {} adrift, {} after the hand-over",
        number(of("/last/imported").unsigned_abs()),
        if is_unchanged { "unchanged" } else { "CHANGED" },
        number((of("/last/entries") - of("/last/imported")).unsigned_abs()),
        plural(of("/last/adrift").unsigned_abs(), "balance", "balances"),
        number(of("/first/adrift").unsigned_abs()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        let side = |name: &str, n: i64| json!({ name: n, "failures": 0, "failure_bps": 0, "p50_ms": 25, "p95_ms": 50 });
        let points = |imported: i64| json!({ "imported": imported, "imported_sum": 9, "entries": imported + 13, "adrift": 1 });
        json!({
            "now": 1_800_000_100_000_i64,
            "problems": [],
            "cutover": {
                "since": 1_799_982_000_000_i64, "advice": "go_back", "reason": "write_errors", "advice_since": 1_800_000_040_000_i64,
                "mgpass_failing_since": null,
                "requests": {
                    "reads": { "before": side("reads", 0), "since": side("reads", 12_431), "lately": side("reads", 602) },
                    "writes": { "before": side("writes", 9), "since": side("writes", 8), "lately": side("writes", 7) },
                },
                "strays": [{ "source": "walk", "n": 2, "since": 1 }],
                "debt": { "users": 3, "classes": [{ "class": "born_at_mgpass", "users": 2, "since": 1 }, { "class": "held", "users": 1, "since": 1 }], "right_as_of": 1_800_000_060_000_i64 },
                "log_read_ms_ago": 40_000, "walk_began_ms_ago": null,
                "points": { "first": points(1_204), "last": points(1_204), "read_at": 1 },
            },
        })
    }

    #[test]
    fn one_block_says_it_all_in_words() {
        let block = block(&status());
        for line in [
            "GO BACK write_errors, for 1 min\n",
            "since     2027-01-15 03:00:00 UTC, 5 h 1 min\n",
            "reads     12,431 since, errors 0 %, 95 of 100 at most 50 ms; none before; 602 lately, errors 0 %, 95 of 100 at most 50 ms\n",
            "strays    walk 2\n",
            "debt      3 users: born_at_mgpass 2, held 1; right as of 40 s ago\n",
            "log       read 40 s ago\n",
            "walk      not over everybody yet\n",
            "points    1,204 imported, unchanged; 13 of mgPass's own; 1 balance adrift, 1 after the hand-over\n",
            "nothing is wrong\n",
        ] {
            assert!(block.contains(line), "{line:?} not in\n{block}");
        }
        assert_eq!(
            line(&status()).unwrap(),
            "GO BACK write_errors, for 1 min; Logto lacks something of 3 users"
        );
    }

    #[test]
    fn changed_points_and_what_cannot_be_read_are_not_hidden() {
        let mut changed = status();
        changed["cutover"]["points"]["last"]["imported"] = json!(1_203);
        assert!(block(&changed).contains("1,203 imported, CHANGED"));
        let failed = json!({ "now": 1, "cutover": { "failure": "database_unavailable" } });
        assert_eq!(block(&failed), "cannot be read (database_unavailable)\n");
        assert!(!is_well(at(&failed, "/cutover")));
        let before = json!({ "now": 1, "cutover": null });
        assert!(block(&before).starts_with("Logto is the authority"));
        assert_eq!(line(&before), None);
    }
}
