//! The gates before a hand-over: facts in, a verdict for each by name, with what to do.
//!
//! Pure. A gate that nothing is known of is shut: not probed, nothing sampled and idle
//! are not green. Each may be waived by name with a reason, which the log of moves keeps,
//! but for those that no reason makes safe.

use serde::Serialize;
use serde_json::{Value, json};

use crate::handover::arm::Probes;
use crate::handover::row::Authority;
use crate::runtime::digest::digest;

/// How old evidence may be.
pub const EVIDENCE_MS: i64 = 24 * 3_600_000;
/// How old the guard's newest verdict may be: it gives one every minute.
const VERDICT_MS: i64 = 600_000;
/// So many verdicts in a row.
pub const N_VERDICTS: usize = 3;
/// At most so many names are shown.
pub const N_NAMES: i64 = 20;

/// In the order in which they are shown.
pub const NAMES: [&str; 11] = [
    "armed",
    "checklist",
    "certificate",
    "equality",
    "parked",
    "intents",
    "passwords",
    "epoch",
    "reads",
    "unique",
    "applications",
];

/// No reason makes it safe to go on without four of these; and who is parked is let go by
/// name, since draining waits for everybody else.
const NEVER_WAIVED_WHOLE: [&str; 5] = ["armed", "parked", "intents", "passwords", "epoch"];
/// `factors` is no gate of a hand-over: whoever has a second factor or a company sign-in goes
/// on signing in at Logto, but for those whom a person lets go by name.
const WAIVED_BY_NAME: [&str; 4] = ["checklist", "parked", "applications", "factors"];

pub fn may_be_waived_whole(gate: &str) -> bool {
    NAMES.contains(&gate) && !NEVER_WAIVED_WHOLE.contains(&gate)
}

/// One of what it is about alone: a check, a user, an application.
pub fn may_be_waived_by_name(gate: &str) -> bool {
    WAIVED_BY_NAME.contains(&gate)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    pub name: &'static str,
    pub state: State,
    /// What was found, or is missing.
    pub why: String,
    /// What opens it; of an open one nothing.
    #[serde(rename = "do")]
    pub remedy: &'static str,
    /// Users, applications or checks that it is about, the first of them.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Waived,
    Shut,
}

/// Some of a number of things.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    pub n: i64,
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    pub kind: String,
    pub term: i64,
    pub at_ms: i64,
    pub digest: String,
    pub not_green: Vec<String>,
}

/// The newest proof of equality.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Equality {
    pub is_done: bool,
    pub finished_at_ms: Option<i64>,
    pub n_compared: i64,
    pub n_unexplained: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reads {
    /// Every operation that mgPass may serve is to be served by it, to everybody.
    pub all_are_shared: bool,
    /// Kill switch or guard.
    pub is_braked: bool,
    /// The guard's newest verdicts, the newest first; `None`: not known.
    pub verdicts: Option<Vec<Verdict>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub at_ms: i64,
    pub is_pass: bool,
    /// It was given while every read was to be mgPass's.
    pub all_were_shared: bool,
}

/// What must be unique at Logto, as kept at mgPass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unique {
    pub is_kept: bool,
    pub has_gaps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiver {
    pub gate: String,
    /// Empty: the gate as a whole.
    pub name: String,
    pub reason: String,
    pub actor: String,
}

/// All that the gates go by. Times by the database's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    pub n_unnamed: i64,
    pub n_expired: i64,
    /// Carried passwords that may be old ones, or whose call has no end yet.
    pub n_voids: i64,
    pub evidence: Vec<Evidence>,
    pub equality: Option<Equality>,
    /// Parked or held, and not waived by name.
    pub parked: Named,
    pub reads: Reads,
    pub unique: Option<Unique>,
    /// The recording epoch: it rises with each acknowledged write that nobody can name.
    pub epoch: i64,
    /// Mirrored users whose last reconcile is of an earlier epoch, but for who is parked or
    /// held; `None`: not known.
    pub behind: Option<Named>,
    /// That needed Logto of late, and are not waived by name.
    pub applications: Named,
    /// Of all that needed Logto of late.
    pub n_applications: i64,
    pub waivers: Vec<Waiver>,
    /// Asked for last, and only when all else is open.
    pub probes: Option<Probes>,
}

pub fn judge(authority: &Authority, facts: &Facts) -> Vec<Gate> {
    NAMES
        .into_iter()
        .map(|name| judge_one(name, authority, facts))
        .collect()
}

pub fn are_open(gates: &[Gate]) -> bool {
    gates.iter().all(|gate| gate.state != State::Shut)
}

/// SHA-256 of what the gates saw.
pub fn evidence_digest(facts: &Facts) -> String {
    digest(&json!(facts).to_string())
}

pub fn shown(gates: &[Gate]) -> Value {
    json!(gates)
}

/// Why it is shut, what opens it, and whom it is about.
pub(super) type Shut = (String, &'static str, Vec<String>);

fn judge_one(name: &'static str, authority: &Authority, facts: &Facts) -> Gate {
    let verdict = match name {
        "armed" => armed(authority, facts),
        "checklist" => evidence(authority, facts, "checklist"),
        "certificate" => evidence(authority, facts, "certificate"),
        "equality" => equality(authority, facts),
        "parked" => named(
            &facts.parked,
            "parked or held",
            "user is",
            "users are",
            "Mend and replay them (`dwp replay`), or waive each by name: neither direction writes those.",
        ),
        "intents" => intents(facts),
        "passwords" => passwords(facts),
        "epoch" => epoch(facts),
        "reads" => reads(authority, facts),
        "unique" => unique(facts),
        _ => applications(facts),
    };
    gate(name, verdict, &facts.waivers, may_be_waived_whole(name))
}

/// A verdict as it is shown, waived where it may be and was.
pub(super) fn gate(
    name: &'static str,
    verdict: Result<String, Shut>,
    waivers: &[Waiver],
    may_be_waived: bool,
) -> Gate {
    let waiver = waivers
        .iter()
        .find(|waiver| waiver.gate == name && waiver.name.is_empty());
    match (verdict, waiver) {
        (Ok(why), _) => Gate {
            name,
            state: State::Open,
            why,
            remedy: "",
            names: Vec::new(),
        },
        (Err((why, _, names)), Some(waiver)) if may_be_waived => Gate {
            name,
            state: State::Waived,
            why: format!("{why} Waived by {}: {}", waiver.actor, waiver.reason),
            remedy: "",
            names,
        },
        (Err((why, remedy, names)), _) => Gate {
            name,
            state: State::Shut,
            why,
            remedy,
            names,
        },
    }
}

fn shut<T>(why: impl Into<String>, remedy: &'static str) -> Result<T, Shut> {
    Err((why.into(), remedy, Vec::new()))
}

fn armed(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const ARM: &str = "`dwp handover arm --for 4h`.";
    if !authority.is_armed() {
        return shut("The hand-over is not armed.", ARM);
    }
    match &facts.probes {
        None => Ok("Armed.".to_owned()),
        Some(probes) => match probes.refusal() {
            None => Ok("Armed; the origin takes this version's secret alone.".to_owned()),
            Some(refusal) => shut(refusal.words(), ARM),
        },
    }
}

fn evidence(authority: &Authority, facts: &Facts, kind: &str) -> Result<String, Shut> {
    let remedy = match kind {
        "checklist" => "Run the checklist and mend what is not green, or waive each check by name.",
        _ => "Make a certificate: it needs a green checklist and an equality report.",
    };
    let Some(found) = facts.evidence.iter().find(|found| found.kind == kind) else {
        return shut(format!("There is no {kind}."), remedy);
    };
    if found.term != authority.term {
        return shut(format!("The {kind} is of an earlier term."), remedy);
    }
    if authority.now_ms - found.at_ms > EVIDENCE_MS {
        return shut(format!("The {kind} is older than 24 hours."), remedy);
    }
    let is_waived = |name: &str| {
        let mut waivers = facts.waivers.iter();
        waivers.any(|waiver| waiver.gate == kind && waiver.name == name)
    };
    let not_green = found.not_green.iter().filter(|name| !is_waived(name));
    let not_green: Vec<_> = not_green.cloned().collect();
    if !not_green.is_empty() {
        let why = format!("Not green in the {kind}: {}.", not_green.len());
        return Err((why, remedy, not_green));
    }
    Ok(format!("SHA-256 {}", found.digest))
}

fn equality(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    const RUN: &str = "`dwp report --run`, and mend what differs.";
    let Some(found) = &facts.equality else {
        return shut("Both sides were never compared.", RUN);
    };
    let Some(finished_at_ms) = found.finished_at_ms.filter(|_| found.is_done) else {
        return shut("The last comparison did not come to its end.", RUN);
    };
    if authority.now_ms - finished_at_ms > EVIDENCE_MS {
        return shut("The last comparison is older than 24 hours.", RUN);
    }
    if found.n_compared == 0 {
        return shut("The last comparison met nobody.", RUN);
    }
    if found.n_unexplained > 0 {
        let n = found.n_unexplained;
        return shut(
            format!("Of {n} users nobody knows why both sides differ."),
            RUN,
        );
    }
    Ok(format!("{} users compared.", found.n_compared))
}

fn named(
    found: &Named,
    what: &str,
    one: &str,
    many: &str,
    remedy: &'static str,
) -> Result<String, Shut> {
    match found.n {
        0 => Ok("None.".to_owned()),
        n => {
            let words = if n == 1 { one } else { many };
            Err((format!("{n} {words} {what}."), remedy, found.names.clone()))
        }
    }
}

fn intents(facts: &Facts) -> Result<String, Shut> {
    match (facts.n_expired, facts.n_unnamed) {
        (0, 0) => Ok("No write hangs, and each has a name.".to_owned()),
        (n_expired, n_unnamed) => shut(
            format!(
                "{n_expired} writes have had no answer of Logto's for a minute, {n_unnamed} were answered and nobody knows whose they are."
            ),
            "Wait: they are looked at within 15 minutes of their beginning (`dwp mirror`).",
        ),
    }
}

/// From the hand-over on users may set others at mgPass, which a void would take away.
fn passwords(facts: &Facts) -> Result<String, Shut> {
    match facts.n_voids {
        0 => Ok("No carried password is to be voided.".to_owned()),
        n => shut(
            format!("{n} carried passwords are to be voided at mgPass, or are under way."),
            "Wait: cron voids them, some once more after 15 minutes (`dwp carry status`).",
        ),
    }
}

fn epoch(facts: &Facts) -> Result<String, Shut> {
    const WAIT: &str = "Wait for the walk, which reconciles them (`dwp mirror`).";
    match &facts.behind {
        None => shut("mgPass's database did not answer.", "Try again."),
        Some(behind) if behind.n > 0 => Err((
            format!(
                "{} users were not reconciled since recording had a gap: mgPass may lack a write of theirs.",
                behind.n
            ),
            WAIT,
            behind.names.clone(),
        )),
        Some(_) => Ok("Everybody was reconciled since the last gap in recording.".to_owned()),
    }
}

fn reads(authority: &Authority, facts: &Facts) -> Result<String, Shut> {
    let found = &facts.reads;
    if found.is_braked {
        return shut(
            "The kill switch or the guard keeps reads on Logto.",
            "Find out why, then delete the key.",
        );
    }
    if !found.all_are_shared {
        return shut(
            "Not all reads are served by mgPass.",
            "Set `read_percent` to 100, and no operation to less.",
        );
    }
    const HOLD: &str = "Hold `read_percent` at 100 until the guard says `pass`.";
    let Some(verdicts) = &found.verdicts else {
        return shut("The guard's verdicts cannot be read.", HOLD);
    };
    let newest = verdicts.get(..N_VERDICTS).unwrap_or_default();
    let is_held = newest.len() == N_VERDICTS
        && newest.iter().all(|verdict| {
            authority.now_ms - verdict.at_ms <= VERDICT_MS
                && verdict.is_pass
                && verdict.all_were_shared
        });
    if !is_held {
        return shut(
            format!(
                "The guard's last {N_VERDICTS} verdicts are not all `pass`, with all reads at mgPass, and of the last 10 minutes."
            ),
            HOLD,
        );
    }
    Ok("All reads are mgPass's, and the guard says `pass`.".to_owned())
}

fn unique(facts: &Facts) -> Result<String, Shut> {
    const MIGRATE: &str = "Apply the migrations of `schema/mirror` to mgPass's database.";
    match facts.unique {
        None => shut("mgPass's database did not answer.", "Try again."),
        Some(Unique { is_kept: false, .. }) => {
            shut("What is unique at Logto is not kept at mgPass.", MIGRATE)
        }
        Some(Unique { has_gaps: true, .. }) => shut(
            "Of some users it is not known what is unique at Logto.",
            MIGRATE,
        ),
        Some(Unique { .. }) => Ok("Kept with every mirrored user.".to_owned()),
    }
}

fn applications(facts: &Facts) -> Result<String, Shut> {
    const WAIVE: &str = "Move them, or waive each by name: whoever stays at Logto has no registration from then on.";
    if facts.n_applications == 0 {
        return shut(
            "No application was seen: nothing is known of who needs Logto.",
            "Waive the gate if you know of all of them.",
        );
    }
    named(
        &facts.applications,
        "not ready",
        "application is",
        "applications are",
        WAIVE,
    )
}

#[cfg(test)]
mod tests;
