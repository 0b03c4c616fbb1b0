//! The gates of stage `cleanup`, from which on nobody asks Logto anything: facts in, a
//! verdict for each by name, with what to do.
//!
//! Pure, and of the same form as the gates before a hand-over (`handover::gates`), by
//! which they are shown, waived and kept in the log. What nobody knows is shut.

pub mod facts;
pub mod notes;

use serde::Serialize;

use crate::handover::gates::{self, EVIDENCE_MS, Evidence, Gate, Named, Shut, Waiver};
use crate::handover::row::Authority;
use crate::handover::wish::LATE_MS;
use crate::policy::cutover::{Points, PointsChange};
use crate::policy::flags::Stage;
use crate::runtime::digest::digest;
use crate::runtime::settings::Least;

/// In the order in which they are shown.
pub const NAMES: [&str; 10] = [
    "flag",
    "days",
    "dependencies",
    "residue",
    "checklist",
    "points",
    "refresh_tokens",
    "keys",
    "issuer",
    "certificate",
];

/// Isolates that know nothing yet go by the flag; what is lost with the residue nobody has.
const NEVER_WAIVED: [&str; 2] = ["flag", "residue"];
const WAIVED_BY_NAME: [&str; 2] = ["dependencies", "checklist"];

const DAY_MS: i64 = 24 * 3_600_000;

pub fn may_be_waived_whole(gate: &str) -> bool {
    NAMES.contains(&gate) && !NEVER_WAIVED.contains(&gate)
}

/// One of what it is about alone: an application, a check.
pub fn may_be_waived_by_name(gate: &str) -> bool {
    WAIVED_BY_NAME.contains(&gate)
}

/// What an operator named or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub name: String,
    pub until: i64,
    pub how: String,
    pub digest: String,
    pub n: i64,
    pub actor: String,
    pub at_ms: i64,
}

/// The imported keys of Logto, as the edge believes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// When Logto stops issuing; `None`: nobody has said.
    pub stops_ms: Option<i64>,
    pub sunset_ms: i64,
}

/// All that the gates go by. Times by the database's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    pub least: Least,
    /// What KV says as this isolate read it.
    #[serde(skip)]
    pub asked_stage: Option<Stage>,
    /// When mgPass became the authority in this term, or stayed it after an attempt to
    /// go back.
    pub handed_over_ms: Option<i64>,
    /// Applications that needed Logto within the quiet hours, and are not waived by name.
    pub dependencies: Named,
    pub notes: Vec<Note>,
    /// Mirrored users with residue that was written after what became of it was noted;
    /// `None`: mgPass's database did not answer.
    pub residue_after: Option<i64>,
    pub evidence: Vec<Evidence>,
    /// As first and as last read in this term.
    pub points: Option<(Points, Points)>,
    /// There were points to import.
    pub has_points: bool,
    pub keys: Option<Keys>,
    /// Logto's documents are kept.
    pub issuer_kept_ms: Option<i64>,
    pub waivers: Vec<Waiver>,
}

pub fn judge(authority: &Authority, facts: &Facts) -> Vec<Gate> {
    NAMES
        .into_iter()
        .map(|name| {
            let verdict = judge_one(name, authority, facts);
            gates::gate(name, verdict, &facts.waivers, may_be_waived_whole(name))
        })
        .collect()
}

/// SHA-256 of what the gates saw.
pub fn evidence_digest(facts: &Facts) -> String {
    digest(&serde_json::json!(facts).to_string())
}

fn judge_one(name: &'static str, authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    match name {
        "flag" => flag(authority, facts),
        "days" => days(authority, facts),
        "dependencies" => dependencies(facts),
        "residue" => residue(facts),
        "checklist" => checklist(authority, facts),
        "points" => points(facts),
        "refresh_tokens" => refresh_tokens(authority, facts),
        "keys" => keys(authority, facts),
        "issuer" => match facts.issuer_kept_ms {
            Some(_) => Ok("Logto's discovery document and public keys are kept.".to_owned()),
            None => shut(
                "Logto's discovery document and public keys are not kept.",
                "`dwp cleanup keep-issuer`, while Logto answers.",
            ),
        },
        _ => certificate(authority, facts),
    }
}

fn shut<T>(why: impl Into<String>, remedy: &'static str) -> Result<T, Shut> {
    Err((why.into(), remedy, Vec::new()))
}

/// A place may be late: by then none is that shows an isolate an older value.
fn flag(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const SET: &str =
        "`npx wrangler kv key put --remote --binding FLAGS stage cleanup`, and wait two minutes.";
    if facts.asked_stage != Some(Stage::Cleanup) {
        return shut(
            "The key `stage` does not say `cleanup`: a new isolate would ask Logto before anybody tells it not to.",
            SET,
        );
    }
    let changed_ms = authority.kv_before.map(|(_, since_ms)| since_ms);
    let is_everywhere = authority.kv_stage == Some(Stage::Cleanup)
        && changed_ms.is_none_or(|changed_ms| authority.now_ms - changed_ms >= LATE_MS);
    match is_everywhere {
        true => Ok("The key `stage` says `cleanup`, everywhere.".to_owned()),
        false => shut(
            "The key `stage` has said `cleanup` for less than two minutes.",
            SET,
        ),
    }
}

fn days(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const WAIT: &str =
        "Wait; `CLEANUP_AFTER_DAYS` says how long, and an attempt to go back begins it anew.";
    let Some(since_ms) = facts.handed_over_ms else {
        return shut("It is not known when mgPass became the authority.", WAIT);
    };
    let (is, least) = (
        authority.now_ms - since_ms,
        i64::from(facts.least.days) * DAY_MS,
    );
    let (n_days, n_least) = (is / DAY_MS, facts.least.days);
    match is >= least {
        true => Ok(format!(
            "{n_days} days since the hand-over without a return."
        )),
        false => shut(
            format!("{n_days} of {n_least} days since the hand-over without a return."),
            WAIT,
        ),
    }
}

fn dependencies(facts: &Facts) -> Result<String, Shut> {
    let (found, hours) = (&facts.dependencies, facts.least.quiet_hours);
    match found.n {
        0 => Ok(format!("Nobody needed Logto for {hours} hours.")),
        n => {
            let words = match n {
                1 => "application has",
                _ => "applications have",
            };
            Err((
                format!("{n} {words} needed Logto within {hours} hours (`dwp app list`)."),
                "Move them, or waive each by name: from then on nothing answers what they ask.",
                found.names.clone(),
            ))
        }
    }
}

fn residue(facts: &Facts) -> Result<String, Shut> {
    const DO: &str = "`dwp cleanup residue --to metadata`, or `--to FILE` for an encrypted file.";
    let Some(note) = facts.note("residue") else {
        return shut(
            "What only Logto had a place for (usernames, profiles, raw phones) was neither moved to mgPass's metadata nor exported.",
            DO,
        );
    };
    match facts.residue_after {
        None => shut("mgPass's database did not answer.", "Try again."),
        // Who changes afterwards is taken along before anything is cleared.
        Some(n_after) => Ok(format!(
            "Of {} users: {}; {n_after} changed since, who are asked for again before clearing.",
            note.n, note.how
        )),
    }
}

fn checklist(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const RUN: &str = "`dwp checklist --run`, mend what is not green, or waive each check by name.";
    let found = facts
        .evidence
        .iter()
        .find(|found| found.kind == "checklist");
    let Some(found) = found.filter(|found| found.term == authority.term) else {
        return shut("There is no checklist of this term.", RUN);
    };
    if authority.now_ms - found.at_ms > EVIDENCE_MS {
        return shut("The checklist is older than 24 hours.", RUN);
    }
    let is_waived = |name: &str| {
        let mut waivers = facts.waivers.iter();
        waivers.any(|waiver| waiver.gate == "checklist" && waiver.name == name)
    };
    let not_green = found.not_green.iter().filter(|name| !is_waived(name));
    let not_green: Vec<_> = not_green.cloned().collect();
    match not_green.len() {
        0 => Ok(format!("SHA-256 {}", found.digest)),
        n => Err((format!("Not green in the checklist: {n}."), RUN, not_green)),
    }
}

fn points(facts: &Facts) -> Result<String, Shut> {
    const LOOK: &str = "`dwp watch cutover --once`; find out who changed them.";
    if !facts.has_points {
        return Ok("There are no points.".to_owned());
    }
    let Some((first, last)) = facts.points else {
        return shut(
            "mgPass's points were not read in this term.",
            "Wait for cron, which reads them every ten minutes.",
        );
    };
    match last.changed_since(&first) {
        Some(PointsChange::Imported) => shut(
            format!(
                "{} entries of {} points were imported, and there are {} of {} now.",
                first.n_imported, first.imported_sum, last.n_imported, last.imported_sum
            ),
            LOOK,
        ),
        Some(PointsChange::Adrift) => shut(
            format!(
                "{} balances are not the sum of their entries; {} were not after the hand-over.",
                last.n_adrift, first.n_adrift
            ),
            LOOK,
        ),
        None => Ok(format!(
            "{} imported entries unchanged, {} later ones; balances are their sums.",
            last.n_imported,
            last.n_entries - last.n_imported
        )),
    }
}

fn refresh_tokens(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    let Some(note) = facts.note("refresh_tokens") else {
        return shut(
            "Nobody has named the day on which Logto's last refresh token ends.",
            "`dwp cleanup refresh-tokens --until DATE --actor NAME`: the day of the last sign-in at Logto, and the longest lifetime of its applications.",
        );
    };
    match authority.now_ms >= note.until {
        true => Ok(format!("Ended, says {}.", note.actor)),
        false => shut(
            format!(
                "Logto's refresh tokens last {} days more: whoever holds one then signs in anew.",
                (note.until - authority.now_ms + DAY_MS - 1) / DAY_MS
            ),
            "Wait, or waive it: `dwp app forecast` says how many that are.",
        ),
    }
}

fn keys(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const IMPORT: &str =
        "`dwp keys import` with a sunset after the longest token (runbook, \"Keys of Logto\").";
    let Some(keys) = facts.keys else {
        return shut("Logto's keys are not imported.", IMPORT);
    };
    // Until it is left, Logto issues: only a time to come may be named, or none yet.
    let stops_ms = keys.stops_ms.unwrap_or(authority.now_ms);
    if stops_ms < authority.now_ms {
        return shut(
            "Logto still issues, and the imported keys say that it has stopped: what it issued since is taken no longer.",
            IMPORT,
        );
    }
    if keys.sunset_ms <= stops_ms {
        return shut("The imported keys end before Logto stops issuing.", IMPORT);
    }
    Ok("Imported, with their end.".to_owned())
}

fn certificate(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    let found = facts.evidence.iter().find(|one| one.kind == "certificate");
    match found {
        // It is of the term that it leads out of: the one before this hand-over.
        Some(found) if found.term >= authority.term - 1 => Ok(format!("SHA-256 {}", found.digest)),
        Some(_) | None => shut(
            "This hand-over has no certificate.",
            "It is made before a hand-over; waive it, and say why there is none.",
        ),
    }
}

impl Facts {
    pub fn note(&self, name: &str) -> Option<&Note> {
        self.notes.iter().find(|note| note.name == name)
    }
}

#[cfg(test)]
mod tests;
