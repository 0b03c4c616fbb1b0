//! Passwords that are carried to mgPass: a person's decision, the check on the probe account,
//! and what became of them. Counts and codes; never a password, never whose.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::Api;
use super::failure::Failure;
use super::job::Health;
use super::words::{columns, instant, number, plural, printable};
use super::{Output, Result};

#[derive(Debug, Subcommand)]
pub enum Carry {
    /// What is set, decided and checked, and how many were carried
    Status,
    /// Notes the privacy decision: who took it, and why
    Allow(Allow),
    /// Takes the decision back; what was carried stays, and goes on being watched
    Forbid,
    /// Tries it on the probe account: `{password}` alone, sessions, sign-in, no mail
    Check {
        /// You have looked into the probe account's mailbox after a good check, and mgPass had sent nothing
        #[arg(long, requires = "by")]
        mailbox_empty: bool,
        /// Who has looked
        #[arg(long)]
        by: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Allow {
    /// Who decided, by name
    #[arg(long)]
    by: String,
    /// Where the decision is written down, or why it was taken
    #[arg(long)]
    reason: String,
}

pub fn run(api: &Api, output: Output, command: &Carry) -> Result {
    match command {
        Carry::Status => status(api, output),
        Carry::Allow(allow) => {
            let query = [("by", &*allow.by), ("reason", &*allow.reason)];
            shown(output, &api.post("carry/allow", &query)?)
        }
        Carry::Forbid => shown(output, &api.post("carry/forbid", &[])?),
        Carry::Check {
            mailbox_empty: true,
            by,
        } => {
            let by = by.as_deref().unwrap_or_default();
            shown(output, &api.post("carry/confirm", &[("by", by)])?)
        }
        Carry::Check { .. } => check(api, output),
    }
}

fn status(api: &Api, output: Output) -> Result {
    let found = api.get("carry", &[])?;
    shown(output, &found)
}

fn shown(output: Output, found: &Value) -> Result {
    output.show_as(found, || summary(found))?;
    let n_owed = found.get("void_owed").and_then(Value::as_u64);
    Ok(Health::clean_if(n_owed == Some(0)))
}

fn summary(found: &Value) -> String {
    let text = |path: &str| found.pointer(path).and_then(Value::as_str).map(printable);
    let at = |path: &str| found.pointer(path).and_then(Value::as_i64).map(instant);
    let n = |name: &str| number(found.get(name).and_then(Value::as_u64).unwrap_or(0));
    let decision = match (text("/decision/by"), at("/decision/at")) {
        (Some(by), Some(at)) => {
            let reason = text("/decision/reason").unwrap_or_default();
            format!("{by} at {at}: {reason}")
        }
        _ => "none; `dwp carry allow --by NAME --reason TEXT`".to_owned(),
    };
    let is_passed = found.pointer("/check/passed").and_then(Value::as_bool);
    let check = match (is_passed, at("/check/at")) {
        (Some(true), Some(at)) => {
            let by = text("/check/by").unwrap_or_default();
            format!("passed, of {at}; mailbox looked at by {by}")
        }
        (_, Some(at)) => format!("not passed, of {at}"),
        _ => "never; `dwp carry check`".to_owned(),
    };
    let mut lines = vec![
        ("decision", decision),
        ("check", check),
        ("carried", n("carried")),
        ("under way", n("under_way")),
        ("void owed", n("void_owed")),
    ];
    if let Some(setting) = text("/setting") {
        lines.insert(0, ("PASSWORD_CARRY", setting));
    }
    let reasons = found.get("not_carried").and_then(Value::as_object);
    let reasons: Vec<_> = reasons
        .into_iter()
        .flatten()
        .map(|(reason, n)| format!("{} {}", printable(reason), n))
        .collect();
    if !reasons.is_empty() {
        lines.push(("not carried", reasons.join(", ")));
    }
    let lines = lines.iter().map(|(name, value)| {
        let line = columns(&[(*name, 16), (&**value, 0)]);
        format!("{line}\n")
    });
    lines.collect()
}

fn check(api: &Api, output: Output) -> Result {
    let found = api.post("carry/check", &[])?;
    let facts = found.get("facts").and_then(Value::as_object);
    let facts = facts.ok_or(Failure::Unreadable("facts"))?;
    let is_good = found.get("is_good").and_then(Value::as_bool) == Some(true);
    output.show_as(&found, || {
        let answers: Vec<_> = facts
            .iter()
            .filter_map(|(name, outcome)| Some((name, outcome.as_str()?)))
            .collect();
        let n_bad = answers.iter().filter(|(_, outcome)| *outcome != "ok").count();
        let mut shown: String = answers
            .iter()
            .map(|(name, outcome)| {
                let cells = [(&*printable(name), 24), (&*printable(outcome), 0)];
                format!("{}\n", columns(&cells))
            })
            .collect();
        shown.push_str(&match is_good {
            true => "Now look into the probe account's mailbox. If mgPass has sent nothing: `dwp carry check --mailbox-empty --by NAME`, within the hour.\n".to_owned(),
            false => format!("{}; passwords are not carried.\n", plural(n_bad as u64, "answer is not good", "answers are not good")),
        });
        shown
    })?;
    Ok(Health::clean_if(is_good))
}
