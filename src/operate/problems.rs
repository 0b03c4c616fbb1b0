//! What is wrong, and what to do: one list for the command and for the page.
//!
//! Pure: facts in, problems out, the worst first. Each has a stable code for scripts;
//! the words are for whoever is on duty. No user's value, and no id, is in any.

mod cutover;
mod people;
mod running;
mod steering;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::operate::cleanup::Leaving;
use crate::operate::cutover::Recommended;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work: act now.
    Critical,
    /// Somebody has to look, today.
    Warning,
    /// Worth knowing; nothing is wrong.
    Notice,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub severity: Severity,
    /// Epoch milliseconds, where it is known.
    pub since: Option<i64>,
    pub what: String,
    #[serde(rename = "do")]
    pub remedy: String,
}

/// A key of the namespace as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagFact {
    pub key: String,
    /// Cut; only of keys that the proxy reads.
    pub value: Option<String>,
    /// Why it is not taken; `unknown_key` of a key that is not read.
    pub code: Option<String>,
    pub since: Option<i64>,
}

/// Parked users of one list and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedFact {
    /// `mirror`, or the kind of an import.
    pub by: String,
    pub reason: String,
    pub n: i64,
    pub since: Option<i64>,
}

/// The newest job of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFact {
    pub kind: String,
    pub state: String,
    pub last_failure: Option<String>,
    pub moved_at: i64,
    pub finished_at: Option<i64>,
    /// Of a comparison: whether all are equal, and who differs for no known reason.
    pub is_equal: Option<bool>,
    pub n_unexplained: i64,
}

/// A ramp plan that did not end well, or rests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RampFact {
    pub state: String,
    pub why: Option<String>,
    pub moved_at: i64,
}

/// The outbox, where it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacklogFact {
    pub n_open: i64,
    pub oldest_ms: Option<i64>,
    pub n_unresolved: i64,
    pub unresolved_ms: Option<i64>,
    pub paused_until: i64,
}

/// All that is judged. Times are epoch milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub now_ms: i64,
    pub stage: String,
    /// Name and code of each.
    pub setting_faults: Vec<(String, String)>,
    /// Waits of the hand-over that are set shorter than is safe.
    pub hasty_handover: Vec<&'static str>,
    /// The code why the proxy's database could not be read.
    pub database_failure: Option<String>,
    pub backlog: BacklogFact,
    /// The code why the metrics could not be read.
    pub metrics_failure: Option<String>,
    /// `None`: KV did not answer.
    pub flags: Option<Vec<FlagFact>>,
    pub kill_switch: bool,
    /// Reason, and since when.
    pub guard: Option<(String, Option<i64>)>,
    pub stop_not_written: bool,
    pub parked: Vec<ParkedFact>,
    pub cron_at: Option<i64>,
    pub walk_at: Option<i64>,
    pub jobs: Vec<JobFact>,
    pub ramp: Option<RampFact>,
    pub n_ready: Option<i64>,
    pub n_mirrored: Option<i64>,
    /// Issuers whose keys cannot be had now.
    pub failing_keys: Vec<&'static str>,
    /// Fields that compared reads found to differ within a day, and the newest time.
    pub n_read_findings: i64,
    pub read_finding_at: Option<i64>,
    /// Users changed in mgPass's rows by nobody that its log names, within a day.
    pub n_altered: i64,
    pub altered_at: Option<i64>,
    /// While mgPass is the authority.
    pub cutover: Option<Recommended>,
    /// Since when the oldest void of a carried password has been due.
    pub void_owed_since: Option<i64>,
    /// In stage `cleanup`, where Logto has no say and nothing is carried anywhere.
    pub leaving: Option<Leaving>,
}

/// The worst first; those of one severity in the order in which they are worth doing.
pub fn problems(facts: &Facts) -> Vec<Problem> {
    let mut all = Vec::new();
    cutover::advice(facts, &mut all);
    cutover::leaving(facts, &mut all);
    running::platform(facts, &mut all);
    steering::flags(facts, &mut all);
    steering::brakes(facts, &mut all);
    running::mirror(facts, &mut all);
    people::people(facts, &mut all);
    all.sort_by_key(|problem| problem.severity);
    all
}

fn is_mirroring(facts: &Facts) -> bool {
    facts.stage != "off"
}

fn users(n: i64) -> String {
    match n {
        1 => "1 user".to_owned(),
        n => format!("{n} users"),
    }
}
