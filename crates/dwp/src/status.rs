//! The status for people, in one screen: what is wrong first. What is wrong the proxy
//! says itself; here it is only shown.

use serde_json::{Value, json};

use super::api::Api;
use super::job::{Health, Job, Kind};
use super::words::{ago, duration, duration_ms, instant, number, percent, plural, printable};
use super::{Output, Result, cutover, ramp};

/// A person is needed where something does not work, or somebody has to look.
pub fn run(api: &Api, output: Output) -> Result {
    let status = api.get("status", &[])?;
    let needs_a_person = problems(&status)
        .iter()
        .any(|problem| text(problem, "severity") != Some("notice"));
    let job = |kind: Kind| {
        let jobs = status.get("jobs").and_then(Value::as_array);
        let found = jobs.and_then(|jobs| {
            let mut jobs = jobs.iter();
            jobs.find(|job| text(job, "kind") == Some(kind.name()))
        });
        (
            kind.name().to_owned(),
            found.cloned().unwrap_or(Value::Null),
        )
    };
    let jobs: serde_json::Map<String, Value> = Kind::ALL.into_iter().map(job).collect();
    output.show_as(&json!({ "status": &status, "jobs": jobs }), || {
        screen(&status)
    })?;
    Ok(Health::clean_if(!needs_a_person))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn integer(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// A proxy that says nothing of them is an older one, and not well known.
fn problems(status: &Value) -> Vec<Value> {
    match status.get("problems").and_then(Value::as_array) {
        Some(problems) => problems.clone(),
        None => vec![json!({
            "code": "older_proxy", "severity": "warning", "since": null,
            "what": "The proxy that answers is older than this command: it does not say what is wrong.",
            "do": "Use the command of its version, or deploy.",
        })],
    }
}

fn screen(status: &Value) -> String {
    let mut screen = format!("{}\n\n", heading(status));
    screen.push_str(&problems_text(status));
    let now_ms = integer(status, "/now").unwrap_or_default();
    if let Some(line) = cutover::line(status) {
        screen.push_str(&format!("{:<9} {line}\n", "cutover"));
    }
    for (name, line) in [
        ("reads", reads(status)),
        ("logto", side(status, "logto")),
        ("mgpass", side(status, "mgpass")),
        ("verdict", verdict(status, now_ms)),
        ("backlog", backlog(status)),
        ("parked", parked(status)),
        ("passwords", passwords(status)),
        ("findings", findings(status)),
        ("report", report(status)),
        (
            "ramp",
            ramp::line(status.get("ramp").unwrap_or(&Value::Null), now_ms),
        ),
        ("flags", flags(status)),
    ] {
        screen.push_str(&format!("{name:<9} {line}\n"));
    }
    for job in list(status, "jobs") {
        if let Ok(job) = serde_json::from_value::<Job>(job.clone()) {
            screen.push_str(&format!("{:<9} {}\n", "job", job.headline()));
        }
    }
    screen
}

fn heading(status: &Value) -> String {
    let holder = status.pointer("/authority/holder").and_then(Value::as_str);
    let of_authority = status.pointer("/authority/stage").and_then(Value::as_str);
    let stage = match holder {
        Some("mgpass" | "alone") => of_authority,
        _ => text(status, "stage"),
    };
    let stage = stage.unwrap_or("unknown");
    let since = integer(status, "/authority/since").map(|at| format!(" since {}", instant(at)));
    let whose = match holder {
        Some("logto") => "Logto is the source of truth",
        Some("mgpass") => "mgPass is the source of truth",
        Some("alone") => "mgPass is the source of truth, and Logto is not asked any more",
        Some("draining" | "returning") => "the source of truth is changing",
        _ => "the source of truth is not known",
    };
    let since = since.filter(|_| holder.is_some()).unwrap_or_default();
    format!("stage {stage}; {whose}{since}")
}

/// What is wrong and what to do, the worst first.
pub fn problems_text(status: &Value) -> String {
    let problems = problems(status);
    if problems.is_empty() {
        return "nothing is wrong\n\n".to_owned();
    }
    let now_ms = integer(status, "/now").unwrap_or_default();
    let mut shown = String::new();
    for problem in &problems {
        let since = integer(problem, "/since").map(|at| format!(" [{}]", ago(at, now_ms)));
        shown.push_str(&format!(
            "{}: {}{}\n    {}\n",
            text(problem, "severity")
                .unwrap_or("warning")
                .to_uppercase(),
            printable(text(problem, "what").unwrap_or_default()),
            since.unwrap_or_default(),
            printable(text(problem, "do").unwrap_or_default()),
        ));
    }
    shown.push('\n');
    shown
}

/// Asked and realised.
fn reads(status: &Value) -> String {
    let Some(reads) = status.get("reads") else {
        return "-".to_owned();
    };
    let bps = |name: &str| reads.get(name).and_then(Value::as_i64);
    let mut line = format!("asked {}", percent(bps("asked_bps").unwrap_or(0)));
    match bps("allowed_bps") {
        Some(allowed) if Some(allowed) != bps("asked_bps") => {
            line.push_str(&format!(", of which {} are allowed", percent(allowed)));
        }
        _ => {}
    }
    let window = reads.get("window_ms").and_then(Value::as_i64);
    match (bps("realised_bps"), window) {
        (Some(realised), Some(window)) => line.push_str(&format!(
            "; realised {} within {}",
            percent(realised),
            duration(window)
        )),
        (None, Some(window)) => line.push_str(&format!("; no reads within {}", duration(window))),
        _ => line.push_str("; not measured"),
    }
    let users = |name| {
        reads
            .pointer(&format!("/users/{name}"))
            .and_then(Value::as_u64)
    };
    if let (Some(ready), Some(mirrored)) = (users("ready"), users("mirrored")) {
        line.push_str(&format!(
            "; {} of {} eligible",
            number(ready),
            plural(mirrored, "user", "users")
        ));
    }
    line
}

/// The same as a line of its own, behind a change of a flag.
pub fn reads_line(status: &Value) -> String {
    format!("reads: {}\n", reads(status))
}

fn side(status: &Value, name: &str) -> String {
    let Some(side) = status.pointer(&format!("/reads/{name}")) else {
        return "-".to_owned();
    };
    let of = |name: &str| side.get(name).and_then(Value::as_i64);
    let n_reads = of("reads").unwrap_or(0);
    if n_reads == 0 {
        return "no reads".to_owned();
    }
    let at_most = |name: &str| match of(name) {
        Some(above) if above > 1_000_000 => "above 6.4 s".to_owned(),
        Some(ms) => format!("at most {}", duration_ms(ms)),
        None => "-".to_owned(),
    };
    format!(
        "{}, errors {}; half of them {}, 95 of 100 {}",
        plural(n_reads.unsigned_abs(), "read", "reads"),
        percent(of("failure_bps").unwrap_or(0)),
        at_most("p50_ms"),
        at_most("p95_ms"),
    )
}

fn verdict(status: &Value, now_ms: i64) -> String {
    match list(status, "verdicts").first() {
        None => "none yet: the guard judges while a percentage is above 0".to_owned(),
        Some(verdict) => format!(
            "{} ({}), {}",
            text(verdict, "verdict").unwrap_or("-"),
            text(verdict, "reason").unwrap_or("-"),
            ago(integer(verdict, "/at").unwrap_or(now_ms), now_ms)
        ),
    }
}

fn backlog(status: &Value) -> String {
    let Some(n_open) = integer(status, "/outbox/n_open") else {
        return "not known".to_owned();
    };
    match (n_open, integer(status, "/outbox/oldest_ms")) {
        (0, _) => "none".to_owned(),
        (n, None) => plural(n.unsigned_abs(), "write", "writes"),
        (n, Some(oldest)) => format!(
            "{}, the oldest for {}",
            plural(n.unsigned_abs(), "write", "writes"),
            duration(oldest)
        ),
    }
}

fn parked(status: &Value) -> String {
    let groups = list(status, "parked");
    if groups.is_empty() {
        return "nobody".to_owned();
    }
    let each = groups.iter().map(|group| {
        let list = match (text(group, "list"), group.get("dry_run")) {
            (Some("points"), _) => " (points)",
            (_, Some(Value::Bool(true))) => " (dry run)",
            _ => "",
        };
        let n = integer(group, "/n").unwrap_or(0).unsigned_abs();
        format!(
            "{} {}{list}",
            text(group, "reason").unwrap_or("-"),
            number(n)
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Of carried ones alone; `dwp readiness` has all roads.
fn passwords(status: &Value) -> String {
    let n = |name: &str| {
        let n = integer(status, &format!("/passwords/{name}"));
        number(n.unwrap_or(0).unsigned_abs())
    };
    match integer(status, "/passwords/carried") {
        None => "not known".to_owned(),
        Some(_) => format!("carried {}, to be voided {}", n("carried"), n("void_owed")),
    }
}

fn findings(status: &Value) -> String {
    let found = list(status, "found").iter().map(|group| {
        let n = integer(group, "/n").unwrap_or(0).unsigned_abs();
        format!("{} {}", text(group, "code").unwrap_or("-"), number(n))
    });
    let read = list(status, "findings").len() as u64;
    let read =
        (read > 0).then(|| format!("compared reads differ in {}", plural(read, "way", "ways")));
    let all: Vec<_> = found.chain(read).collect();
    match all.is_empty() {
        true => "none within a day".to_owned(),
        false => all.join(", "),
    }
}

fn report(status: &Value) -> String {
    let Some(report) = status.get("report").filter(|report| !report.is_null()) else {
        return "never compared".to_owned();
    };
    let age = integer(report, "/age_ms").map(|age| format!(", {} ago", duration(age)));
    let age = age.unwrap_or_default();
    match report.get("is_equal").and_then(Value::as_bool) {
        Some(true) => format!("equal{age}"),
        Some(false) => {
            let of = |name: &str| integer(report, name).unwrap_or(0).unsigned_abs();
            format!(
                "{} differ, {} of them for no known reason{age}",
                number(of("/n_differing")),
                number(of("/n_unexplained"))
            )
        }
        None => format!("{}{age}", text(report, "state").unwrap_or("-")),
    }
}

/// What is set, as KV holds it.
fn flags(status: &Value) -> String {
    let set = list(status, "flags").iter().filter_map(|flag| {
        let value = text(flag, "value")?;
        Some(format!("{}={}", text(flag, "key")?, printable(value)))
    });
    let set: Vec<_> = set.collect();
    match set.is_empty() {
        true => "all absent".to_owned(),
        false => set.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        json!({
            "now": 1_800_000_100_000_i64, "stage": "dual_write", "authority": { "holder": "logto", "since": 1_800_000_000_000_i64 },
            "problems": [{ "code": "flag_refused", "severity": "warning", "since": 1_800_000_040_000_i64, "what": "stage is \"x\".", "do": "Mend it." }],
            "reads": {
                "asked_bps": 2_500, "allowed_bps": 0, "realised_bps": 1_250, "window_ms": 300_000, "users": { "ready": 9_000, "mirrored": 10_000 },
                "logto": { "reads": 0 }, "mgpass": { "reads": 1_234, "failure_bps": 50, "p50_ms": 25, "p95_ms": 4_294_967_295_i64 },
            },
            "verdicts": [{ "at": 1_800_000_080_000_i64, "verdict": "hold", "reason": "too_few_reads" }],
            "outbox": { "n_open": 3, "oldest_ms": 90_000 }, "parked": [{ "list": "points", "dry_run": false, "reason": "unknown_user", "n": 2 }],
            "passwords": { "carried": 7, "void_owed": 1 },
            "found": [{ "code": "differs", "n": 1_000 }], "findings": [{}], "jobs": [],
            "report": { "state": "done", "is_equal": false, "n_differing": 4, "n_unexplained": 1, "age_ms": 7_200_000 },
            "ramp": null, "flags": [{ "key": "stage", "value": "dual_write" }, { "key": "salt", "value": null }],
        })
    }

    #[test]
    fn one_screen_says_it_all_in_words() {
        let screen = screen(&status());
        for line in [
            "stage dual_write; Logto is the source of truth since 2027-01-15 08:00:00 UTC\n",
            "WARNING: stage is \"x\". [1 min ago]\n    Mend it.\n",
            "reads     asked 25 %, of which 0 % are allowed; realised 12.5 % within 5 min; 9,000 of 10,000 users eligible\n",
            "logto     no reads\n",
            "mgpass    1,234 reads, errors 0.5 %; half of them at most 25 ms, 95 of 100 above 6.4 s\n",
            "verdict   hold (too_few_reads), 20 s ago\n",
            "backlog   3 writes, the oldest for 1 min 30 s\n",
            "parked    unknown_user 2 (points)\n",
            "passwords carried 7, to be voided 1\n",
            "findings  differs 1,000, compared reads differ in 1 way\n",
            "report    4 differ, 1 of them for no known reason, 2 h ago\n",
            "ramp      no plan\n",
            "flags     stage=dual_write\n",
        ] {
            assert!(screen.contains(line), "{line:?} not in\n{screen}");
        }
        assert!(screen.lines().count() <= 24, "{screen}");
        assert!(!screen.contains("18000000"), "{screen}");
    }

    /// The flag is a wish then, and what it lets the proxy do is no stage of the migration.
    #[test]
    fn after_the_hand_over_the_stage_is_that_of_the_authority() {
        for (holder, stage, expected) in [
            (
                "logto",
                "dual_write",
                "stage shadow; Logto is the source of truth since ",
            ),
            (
                "draining",
                "dual_write",
                "stage shadow; the source of truth is changing since ",
            ),
            (
                "mgpass",
                "cutover",
                "stage cutover; mgPass is the source of truth since ",
            ),
            (
                "alone",
                "cleanup",
                "stage cleanup; mgPass is the source of truth, and Logto is not asked any more since ",
            ),
        ] {
            let status = json!({ "stage": "shadow", "authority": { "holder": holder, "stage": stage, "since": 1 } });
            assert!(
                heading(&status).starts_with(expected),
                "{}",
                heading(&status)
            );
        }
    }

    #[test]
    fn an_older_proxy_is_not_taken_for_a_well_one() {
        assert_eq!(problems(&json!({ "stage": "off" })).len(), 1);
        assert_eq!(problems(&json!({ "problems": [] })).len(), 0);
    }
}
