//! The certificate: what was found before a hand-over, on one page that nobody can change
//! unseen.
//!
//! Made of a green checklist, or one that is waived by name, and a comparison that left
//! nothing unexplained. Canonical JSON: members in the order of their names, no spaces,
//! whole numbers and texts alone (RFC 8785 says the same of these). Its SHA-256 is kept in
//! the proxy's database and among the evidence of the gates; it is of the term that it
//! leads out of, and holds for 24 hours from the oldest finding on.

pub mod kept;
pub mod population;
/// For `dwp`, on the operator's machine.
#[cfg(not(target_arch = "wasm32"))]
pub mod verify;

use serde_json::{Value as Json, json};

use self::population::Population;
use crate::handover::gates::{self, Facts, Waiver};
use crate::operate::checklist::Checklist;
use crate::operate::checks::{Check, MAX_AGE_MS};
use crate::runtime::digest::digest;

const KIND: &str = "dual-write-proxy certificate";
const VERSION: i64 = 1;

/// Why none is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Checks that are neither green nor waived.
    NotGreen(Vec<String>),
    /// What is to be said of the comparison.
    Equality(&'static str),
}

/// What it is made of.
pub struct Findings<'a> {
    pub checklist: &'a Checklist,
    pub facts: &'a Facts,
    pub job: i64,
    pub population: &'a Population,
}

/// Whether there is enough for one.
pub fn may_be_made(checklist: &Checklist, facts: &Facts) -> Result<(), Missing> {
    let not_green: Vec<_> = checklist
        .checks
        .iter()
        .filter(|check| !check.is_green() && waiver(check, facts).is_none())
        .map(|check| check.name.to_owned())
        .collect();
    if !not_green.is_empty() {
        return Err(Missing::NotGreen(not_green));
    }
    let Some(equality) = &facts.equality else {
        return Err(Missing::Equality("Both sides were never compared."));
    };
    let Some(finished_at_ms) = equality.finished_at_ms.filter(|_| equality.is_done) else {
        return Err(Missing::Equality(
            "The last comparison did not come to its end.",
        ));
    };
    if checklist.now_ms - finished_at_ms > MAX_AGE_MS {
        return Err(Missing::Equality(
            "The last comparison is older than 24 hours.",
        ));
    }
    if equality.n_compared == 0 {
        return Err(Missing::Equality("The last comparison met nobody."));
    }
    if equality.n_unexplained > 0 {
        return Err(Missing::Equality(
            "Of some users nobody knows why both sides differ.",
        ));
    }
    Ok(())
}

/// By name, or of the checklist as a whole where that may be.
fn waiver<'a>(check: &Check, facts: &'a Facts) -> Option<&'a Waiver> {
    let of_checklist = facts.waivers.iter().filter(|one| one.gate == "checklist");
    of_checklist
        .filter(|one| {
            one.name == check.name
                || (one.name.is_empty() && gates::may_be_waived_whole("checklist"))
        })
        .max_by_key(|one| one.name.len())
}

/// One that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What goes into the file.
    pub text: String,
    pub digest: String,
    /// When the oldest of what it rests on was found.
    pub at_ms: i64,
    pub valid_until_ms: i64,
}

pub fn make(findings: &Findings<'_>) -> Certificate {
    let Findings {
        checklist,
        facts,
        job,
        population,
    } = findings;
    let finished_at_ms = facts.equality.as_ref().and_then(|one| one.finished_at_ms);
    // A check that was waived is as young as its waiver lets it be.
    let green = checklist.checks.iter().filter(|check| check.is_green());
    let times = green.filter_map(|check| check.at).chain(finished_at_ms);
    let at_ms = times.min().unwrap_or(checklist.now_ms);
    let valid_until_ms = at_ms + MAX_AGE_MS;
    let checks: Vec<_> = checklist
        .checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name, "state": check.state, "at": check.at,
                "figures": check.figures, "why": check.why,
            })
        })
        .collect();
    let body = json!({
        "kind": KIND,
        "version": VERSION,
        "term": checklist.term,
        "made_at": checklist.now_ms,
        "valid_until": valid_until_ms,
        "checks": checks,
        "equality": {
            "job": job,
            "finished_at": finished_at_ms,
            "compared": facts.equality.as_ref().map(|one| one.n_compared),
            "unexplained": facts.equality.as_ref().map(|one| one.n_unexplained),
        },
        "population": {
            "users": population.n_users, "logto": population.logto, "mgpass": population.mgpass,
        },
        "waivers": facts.waivers,
    });
    let digest = digest(&canonical(&body));
    let whole = json!({ "certificate": body, "sha256": digest });
    Certificate {
        text: format!("{}\n", canonical(&whole)),
        digest,
        at_ms,
        valid_until_ms,
    }
}

/// Members of objects are held in the order of their names.
fn canonical(value: &Json) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests;
