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

use serde_json::{Value as Json, json};

use self::kept::Recorded;
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
        return Err(Missing::Equality("The last comparison did not come to its end."));
    };
    if checklist.now_ms - finished_at_ms > MAX_AGE_MS {
        return Err(Missing::Equality("The last comparison is older than 24 hours."));
    }
    if equality.n_compared == 0 {
        return Err(Missing::Equality("The last comparison met nobody."));
    }
    if equality.n_unexplained > 0 {
        return Err(Missing::Equality("Of some users nobody knows why both sides differ."));
    }
    Ok(())
}

/// By name, or of the checklist as a whole where that may be.
fn waiver<'a>(check: &Check, facts: &'a Facts) -> Option<&'a Waiver> {
    let of_checklist = facts.waivers.iter().filter(|one| one.gate == "checklist");
    of_checklist
        .filter(|one| one.name == check.name || (one.name.is_empty() && gates::may_be_waived_whole("checklist")))
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

/// Why a file is no good certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is no certificate of the dual-write proxy")]
    NoCertificate,
    #[error("it was edited: its text is not the one that its digest was made of")]
    Edited,
    #[error("this proxy has not recorded it: it is of another proxy, or its digest was forged")]
    NotRecorded,
    #[error("it is of term {of}, and this is term {now}: make a new one")]
    OtherTerm { of: i64, now: i64 },
    #[error("it has expired: what it rests on is older than 24 hours")]
    Expired,
}

impl Refusal {
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Edited => "certificate_edited",
            Self::NotRecorded => "certificate_not_recorded",
            Self::OtherTerm { .. } => "certificate_of_other_term",
            Self::Expired => "certificate_expired",
        }
    }
}

/// The digest to ask the proxy about.
///
/// # Errors
/// When the file alone shows that it is none, or was edited.
pub fn digest_of(text: &str) -> Result<String, Refusal> {
    let whole: Json = serde_json::from_str(text).map_err(|_| Refusal::NoCertificate)?;
    let body = whole.get("certificate").ok_or(Refusal::NoCertificate)?;
    let given = whole.get("sha256").and_then(Json::as_str);
    let given = given.ok_or(Refusal::NoCertificate)?;
    if body.get("kind").and_then(Json::as_str) != Some(KIND) {
        return Err(Refusal::NoCertificate);
    }
    // To the byte: what is said twice, or in another way, might read otherwise elsewhere.
    let is_canonical = text.trim_end_matches('\n') == canonical(&whole);
    match is_canonical && digest(&canonical(body)) == given {
        true => Ok(given.to_owned()),
        false => Err(Refusal::Edited),
    }
}

/// # Errors
/// When the proxy does not know it, or it does not count any more.
pub fn verify(recorded: Option<Recorded>, term: i64, now_ms: i64) -> Result<Recorded, Refusal> {
    let recorded = recorded.ok_or(Refusal::NotRecorded)?;
    if recorded.term != term {
        return Err(Refusal::OtherTerm {
            of: recorded.term,
            now: term,
        });
    }
    if now_ms > recorded.valid_until_ms {
        return Err(Refusal::Expired);
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests;
