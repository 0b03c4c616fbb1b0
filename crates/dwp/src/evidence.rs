//! The evidence before a hand-over: the checklist, a test of the webhooks, the certificate.

use core::time::Duration;
use std::path::PathBuf;
use std::{fs, thread};

use clap::Subcommand;
use dual_write_proxy::operate::certificate::kept::Recorded;
use dual_write_proxy::operate::certificate::verify::{digest_of, verify};
use dual_write_proxy::operate::checklist::COSTLY;
use serde_json::{Value, json};

use super::api::{Api, pace, patiently};
use super::failure::Failure;
use super::files;
use super::job::Health;
use super::words::{ago, instant, number, printable};
use super::{Output, Result};

const POLL: Duration = Duration::from_secs(2);
/// The proxy says after a minute that a side is silent.
const POLLS: u32 = 40;
/// Steps that did not answer are asked for again.
const PATIENCE: u32 = 10;

#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// Causes one at each side by the probe account, and waits up to a minute for both
    Test,
}

#[derive(Debug, Subcommand)]
pub enum Certificate {
    /// Makes one of a green checklist and a passed report; the proxy records its digest
    Make {
        /// A new file; without it on standard output
        file: Option<PathBuf>,
    },
    /// Whether a certificate is the recorded one, of this term, and young enough
    Verify { file: PathBuf },
}

pub fn checklist(api: &Api, output: Output, is_run: bool) -> Result {
    let checklist = match is_run {
        true => {
            for name in COSTLY {
                eprintln!("{name} ...");
                let query = [("check", name)];
                patiently(PATIENCE, || api.post("checklist/run", &query))?;
            }
            api.post("checklist/run", &[("conclude", "true")])?
        }
        false => api.get("checklist", &[])?,
    };
    output.show_as(&checklist, || checklist_text(&checklist))?;
    let is_green = checklist.get("is_green").and_then(Value::as_bool);
    Ok(Health::clean_if(is_green == Some(true)))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn integer(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

fn checklist_text(checklist: &Value) -> String {
    let now_ms = integer(checklist, "/now").unwrap_or_default();
    let checks = checklist.get("checks").and_then(Value::as_array);
    checks
        .into_iter()
        .flatten()
        .map(|check| check_text(check, now_ms))
        .collect()
}

fn check_text(check: &Value, now_ms: i64) -> String {
    let age = integer(check, "/at").map_or_else(|| "never".to_owned(), |at_ms| ago(at_ms, now_ms));
    let mut shown = format!(
        "{:<9} {:<15} {}  ({age})\n{:26}{}\n",
        text(check, "name"),
        text(check, "state").replace('_', " ").to_uppercase(),
        text(check, "title"),
        "",
        text(check, "why"),
    );
    let remedy = text(check, "do");
    if !remedy.is_empty() {
        shown.push_str(&format!("{:26}To do: {remedy}\n", ""));
    }
    shown
}

pub fn webhooks(api: &Api, output: Output, command: &Webhooks) -> Result {
    let Webhooks::Test = command;
    let begun = api.post("webhooks/test", &[])?;
    let mut check = begun.get("check").cloned().unwrap_or_default();
    for n_looks in 0..POLLS {
        if text(&check, "state") != "idle" {
            break;
        }
        thread::sleep(pace(n_looks, POLL));
        let checklist = api.get("checklist", &[])?;
        let checks = checklist.get("checks").and_then(Value::as_array);
        let found = checks
            .into_iter()
            .flatten()
            .find(|check| text(check, "name") == "webhooks");
        check = found.cloned().unwrap_or_default();
    }
    output.show_as(&check, || hooks_text(&check))?;
    Ok(Health::clean_if(text(&check, "state") == "green"))
}

fn hooks_text(check: &Value) -> String {
    let side = |name: &str| {
        let test = check.pointer(&format!("/figures/{name}/test"));
        let test = test.cloned().unwrap_or_default();
        let outcome = match (test.get("heard"), test.get("failure")) {
            (Some(Value::Bool(true)), _) => "heard".to_owned(),
            (_, Some(Value::String(code))) => format!("not caused: {}", printable(code)),
            _ => "not heard".to_owned(),
        };
        format!("{name:<8} {:<24} {outcome}\n", text(&test, "kind"))
    };
    format!(
        "{}{}{}\n",
        side("logto"),
        side("mgpass"),
        text(check, "why")
    )
}

pub fn certificate(api: &Api, output: Output, command: &Certificate) -> Result {
    match command {
        Certificate::Make { file } => make(api, output, file.as_ref()),
        Certificate::Verify { file } => check(api, output, file),
    }
}

fn make(api: &Api, output: Output, file: Option<&PathBuf>) -> Result {
    let made = loop {
        let step = patiently(PATIENCE, || api.post("certificate", &[]))?;
        match integer(&step, "/read") {
            Some(n_read) => eprintln!(
                "{} users read",
                number(u64::try_from(n_read).unwrap_or_default())
            ),
            None => break step,
        }
    };
    let whole = made.get("text").and_then(Value::as_str);
    let whole = whole.ok_or(Failure::Unreadable("certificate"))?;
    match file {
        Some(file) => files::write(file, whole)?,
        None if matches!(output, Output::Text) => Output::write(whole)?,
        None => {}
    }
    if let Output::Json = output {
        output.document(&made)?;
    } else {
        let until_ms = integer(&made, "/valid_until").unwrap_or_default();
        eprintln!(
            "SHA-256 {}, of term {}, {} users, valid until {}",
            text(&made, "sha256"),
            integer(&made, "/term").unwrap_or_default(),
            integer(&made, "/users").unwrap_or_default(),
            instant(until_ms),
        );
    }
    Ok(Health::Clean)
}

fn check(api: &Api, output: Output, file: &PathBuf) -> Result {
    let whole = fs::read_to_string(file).map_err(|error| Failure::Read(file.clone(), error))?;
    let verdict = match digest_of(&whole) {
        Err(refusal) => Err(refusal),
        Ok(digest) => {
            let found = api.get("certificate", &[("sha256", &digest)])?;
            let of = |name: &str| integer(&found, name).ok_or(Failure::Unreadable("certificate"));
            let recorded = match found.get("recorded") {
                Some(Value::Object(_)) => Some(Recorded {
                    term: of("/recorded/term")?,
                    made_at_ms: of("/recorded/made_at")?,
                    valid_until_ms: of("/recorded/valid_until")?,
                }),
                _ => None,
            };
            verify(recorded, of("/term")?, of("/now")?)
        }
    };
    match verdict {
        Ok(recorded) => {
            let document = json!({
                "valid": true, "term": recorded.term, "made_at": recorded.made_at_ms, "valid_until": recorded.valid_until_ms,
            });
            output.show_as(&document, || {
                format!(
                    "valid: of term {}, made {}, until {}\n",
                    recorded.term,
                    instant(recorded.made_at_ms),
                    instant(recorded.valid_until_ms)
                )
            })?;
            Ok(Health::Clean)
        }
        Err(refusal) => {
            let document =
                json!({ "valid": false, "code": refusal.code(), "why": refusal.to_string() });
            output.show_as(&document, || format!("not valid: {refusal}\n"))?;
            Ok(Health::NeedsAPerson)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_says_its_state_its_age_and_what_to_do() {
        let checklist = json!({ "now": 3_600_000, "checks": [
            { "name": "console", "title": "All are shown", "state": "nothing_sampled", "why": "Nobody.", "do": "Import.", "at": 0 },
            { "name": "audit", "title": "Entries", "state": "green", "why": "Good.", "do": "", "at": null },
        ]});
        let shown = checklist_text(&checklist);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "console   NOTHING SAMPLED All are shown  (1 h ago)",
                "                          Nobody.",
                "                          To do: Import.",
                "audit     GREEN           Entries  (never)",
                "                          Good.",
            ]
        );
    }
}
