//! A ramp plan: begun, looked at, paused, resumed, aborted. The proxy carries it out;
//! this command may end.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::Api;
use super::flag::Note;
use super::job::Health;
use super::words::{ago, columns, duration, instant, number, percent};
use super::{Output, Result};

#[derive(Debug, Subcommand)]
pub enum Ramp {
    /// Begins a plan; each step is taken after a `pass` of the guard's, cron does it
    Start(Start),
    /// Where the plan stands, and what it waits for
    Status,
    /// Leaves the share as it is; no step is taken
    Pause(Turn),
    /// Goes on from the share in force, also after an abort
    Resume(Turn),
    /// Ends the plan and goes back to the last share that passed, or to 0
    Abort(Turn),
}

#[derive(Debug, Args)]
pub struct Start {
    /// Shares in percent, rising, such as 1,5,10,25,50,100
    #[arg(long)]
    steps: String,
    /// How long each share stays at least, such as 30m, 2h, 90s
    #[arg(long, default_value = "30m", value_parser = parse_seconds)]
    hold: u32,
    /// Reads that mgPass must have answered in a step; the guard's own minimum else
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    min_reads: Option<u32>,
    #[command(flatten)]
    note: Note,
}

#[derive(Debug, Args)]
pub struct Turn {
    #[command(flatten)]
    note: Note,
}

/// A whole number of seconds, minutes, hours or days.
fn parse_seconds(text: &str) -> std::result::Result<u32, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (text.get(..at).unwrap_or(""), unit),
        _ => (text, 's'),
    };
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err("a number with s, m, h or d behind it".to_owned()),
    };
    let seconds = digits
        .parse::<u32>()
        .ok()
        .and_then(|count| count.checked_mul(factor));
    match seconds {
        Some(seconds @ 1..=2_592_000) => Ok(seconds),
        Some(_) => Err("between 1 second and 30 days".to_owned()),
        None => Err("a number with s, m, h or d behind it".to_owned()),
    }
}

impl Ramp {
    pub fn run(&self, api: &Api, output: Output) -> Result {
        let answer = match self {
            Self::Start(start) => {
                let (hold, min_reads) = (start.hold.to_string(), start.min_reads);
                let min_reads = min_reads.map(|reads| reads.to_string());
                let note = start.note.query();
                let mut query = vec![("steps", start.steps.as_str()), ("hold_s", &hold)];
                query.extend(min_reads.as_deref().map(|reads| ("min_reads", reads)));
                query.extend(note.iter().map(|(name, text)| (*name, text.as_str())));
                api.post("ramp/start", &query)?
            }
            Self::Status => api.get("ramp", &[])?,
            Self::Pause(turn) => turn.order(api, "ramp/pause")?,
            Self::Resume(turn) => turn.order(api, "ramp/resume")?,
            Self::Abort(turn) => turn.order(api, "ramp/abort")?,
        };
        let plan = answer.get("ramp").cloned().unwrap_or_default();
        output.show_as(&answer, || shown(&plan))?;
        let asked = matches!(self, Self::Status);
        Ok(Health::clean_if(!asked || !needs_a_person(&plan)))
    }
}

impl Turn {
    fn order(&self, api: &Api, route: &str) -> std::result::Result<Value, super::Failure> {
        let note = self.note.query();
        let query: Vec<_> = note
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        api.post(route, &query)
    }
}

fn text<'a>(plan: &'a Value, name: &str) -> Option<&'a str> {
    plan.get(name).and_then(Value::as_str)
}

fn integer(plan: &Value, name: &str) -> Option<i64> {
    plan.get(name).and_then(Value::as_i64)
}

/// It went back, or rests, and not by an operator's word.
fn needs_a_person(plan: &Value) -> bool {
    matches!(text(plan, "state"), Some("paused" | "aborted"))
        && text(plan, "why") != Some("by_hand")
}

/// Of the status.
pub fn line(plan: &Value, now_ms: i64) -> String {
    let Some(state) = text(plan, "state") else {
        return "no plan".to_owned();
    };
    let share = |name: &str| integer(plan, name).map(percent);
    let steps = plan.get("steps_bps").and_then(Value::as_array);
    let mut line = format!(
        "plan {} {state}: {} in force, {} of {} steps",
        integer(plan, "id").unwrap_or(0),
        share("in_force_bps").unwrap_or_default(),
        integer(plan, "n_taken").unwrap_or(0),
        steps.map_or(0, Vec::len),
    );
    if let Some(why) = text(plan, "why") {
        line.push_str(&format!(", because of {why}"));
    }
    if let Some(waits_for) = text(plan, "waits_for") {
        let next = share("next_bps").map_or("the end".to_owned(), |next| next);
        line.push_str(&format!(
            "; waits for {} before {next}",
            waits(waits_for, plan)
        ));
    }
    if let Some(at) = integer(plan, "moved_at") {
        line.push_str(&format!("; moved {}", ago(at, now_ms)));
    }
    line
}

fn waits(code: &str, plan: &Value) -> String {
    let of = |name: &str| integer(plan, name).unwrap_or(0);
    match code {
        "hold" => format!("the hold of {}", duration(of("hold_ms"))),
        "too_few_reads" => format!(
            "reads ({} of {})",
            number(of("reads").unsigned_abs()),
            number(of("min_reads").unsigned_abs())
        ),
        "not_seen_yet" => "KV to show the share".to_owned(),
        "no_verdict" => "a verdict of the guard's".to_owned(),
        "cron" => "cron".to_owned(),
        reason => format!("a pass ({reason})"),
    }
}

fn shown(plan: &Value) -> String {
    if plan.is_null() {
        return "there was never a plan; `dwp ramp start --steps 1,5,10,25,50,100` begins one\n"
            .to_owned();
    }
    let moved_at = integer(plan, "moved_at").unwrap_or(0);
    let mut shown = format!("{}\n", line(plan, moved_at).replace("; moved 0 s ago", ""));
    let steps = plan.get("steps_bps").and_then(Value::as_array);
    let steps = steps
        .into_iter()
        .flatten()
        .filter_map(Value::as_i64)
        .map(percent);
    shown.push_str(&format!(
        "steps {}; each stays for at least {} and {} reads\n",
        steps.collect::<Vec<_>>().join(", "),
        duration(integer(plan, "hold_ms").unwrap_or(0)),
        number(integer(plan, "min_reads").unwrap_or(0).unsigned_abs()),
    ));
    let log = plan.get("log").and_then(Value::as_array);
    for entry in log.into_iter().flatten() {
        let at = integer(entry, "at").map(instant).unwrap_or_default();
        let share = integer(entry, "share").map(percent).unwrap_or_default();
        shown.push_str(&format!(
            "{}\n",
            columns(&[
                (&at, 23),
                (text(entry, "what").unwrap_or_default(), 8),
                (&share, 7),
                (text(entry, "why").unwrap_or_default(), 16),
                (text(entry, "actor").unwrap_or_default(), 0),
            ])
        ));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hold_is_a_number_with_its_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("2h", 7_200),
            ("1d", 86_400),
            ("45", 45),
        ] {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for text in ["", "0", "m", "5w", "31d", "1.5h", "-1m", "99999999999s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_line_says_where_it_stands_and_what_it_waits_for() {
        let mut plan = json!({
            "id": 3, "state": "running", "why": null, "steps_bps": [100, 5_000, 10_000], "n_taken": 1, "in_force_bps": 100, "next_bps": 5_000,
            "waits_for": "too_few_reads", "reads": 12, "min_reads": 1_000, "hold_ms": 1_800_000, "moved_at": 60_000, "log": [],
        });
        assert_eq!(
            line(&plan, 120_000),
            "plan 3 running: 1 % in force, 1 of 3 steps; waits for reads (12 of 1,000) before 50 %; moved 1 min ago"
        );
        plan["state"] = json!("aborted");
        plan["why"] = json!("latency");
        plan["waits_for"] = json!(null);
        assert_eq!(
            line(&plan, 60_000),
            "plan 3 aborted: 1 % in force, 1 of 3 steps, because of latency; moved 0 s ago"
        );
        assert!(needs_a_person(&plan));
        plan["why"] = json!("by_hand");
        assert!(!needs_a_person(&plan));
        assert_eq!(line(&Value::Null, 0), "no plan");
    }
}
