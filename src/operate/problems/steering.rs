//! Flags that are not taken, brakes that are pulled, a ramp plan that rests.

use super::{Facts, Problem, Severity};
use crate::policy::flags::form::expected;

pub(super) fn flags(facts: &Facts, all: &mut Vec<Problem>) {
    for flag in facts.flags.iter().flatten() {
        let Some(code) = flag.code.as_deref() else {
            continue;
        };
        let key = &flag.key;
        let severity = match code {
            "unreadable_pulled" => Severity::Critical,
            _ => Severity::Warning,
        };
        if code == "unknown_key" {
            all.push(Problem {
                code: "flag_unknown",
                severity,
                since: flag.since,
                what: format!("{key} is no flag: the proxy does not read it, so whatever it was meant to do does not happen."),
                remedy: format!("`dwp flag list` shows the flags. Set the one that was meant, then `dwp flag unset {key}`."),
            });
            continue;
        }
        let given = flag.value.as_deref().unwrap_or_default();
        let takes = expected(key).unwrap_or("another value");
        let effect = match code {
            "unreadable_pulled" => "it counts as pulled, so all reads of Logto tokens go to Logto",
            _ => "the last good value stays in force, or the default",
        };
        all.push(Problem {
            code: "flag_refused",
            severity,
            since: flag.since,
            what: format!("{key} is {given:?}, which is not taken ({code}): {effect}."),
            remedy: format!(
                "It takes {takes}: `dwp flag set {key} VALUE`, or `dwp flag unset {key}`."
            ),
        });
    }
}

pub(super) fn brakes(facts: &Facts, all: &mut Vec<Problem>) {
    // What was said of the value above is enough.
    let is_refused = |key: &str| {
        let mut flags = facts.flags.iter().flatten();
        flags.any(|flag| flag.key == key && flag.code.is_some())
    };
    if let Some((reason, since)) = facts.guard.as_ref().filter(|_| !is_refused("guard")) {
        all.push(Problem {
            code: "guard_stopped",
            severity: Severity::Critical,
            since: *since,
            what: format!("The guard has stopped the ramp ({reason}): reads of mgPass are capped."),
            remedy: "`dwp status --json` has the figures in `verdicts`. Mend what they show, then `dwp flag unset guard`; a ramp plan goes on by `dwp ramp resume`.".to_owned(),
        });
    }
    if facts.stop_not_written {
        all.push(Problem {
            code: "stop_not_written",
            severity: Severity::Critical,
            since: None,
            what: "The guard wanted to stop the ramp, and KV did not take it.".to_owned(),
            remedy: "`dwp flag set kill_switch on`, then look at KV.".to_owned(),
        });
    }
    if facts.kill_switch && !is_refused("kill_switch") {
        all.push(Problem {
            code: "kill_switch_on",
            severity: Severity::Notice,
            since: since_of(facts, "kill_switch"),
            what: "The kill switch is on: all reads of Logto tokens go to Logto; mirroring goes on.".to_owned(),
            remedy: "`dwp flag unset kill_switch` when its reason is gone; `dwp flag history --key kill_switch` says who set it.".to_owned(),
        });
    }
    let Some(ramp) = &facts.ramp else {
        return;
    };
    let why = ramp.why.as_deref().unwrap_or("unknown");
    match ramp.state.as_str() {
        "paused" if why != "by_hand" => all.push(Problem {
            code: "ramp_paused",
            severity: Severity::Warning,
            since: Some(ramp.moved_at),
            what: format!("The ramp plan rests: {}.", rests_because(why)),
            remedy: "`dwp ramp status` shows where it stands; `dwp ramp resume` goes on from the share in force, `dwp ramp abort` ends it.".to_owned(),
        }),
        "paused" => all.push(Problem {
            code: "ramp_paused",
            severity: Severity::Notice,
            since: Some(ramp.moved_at),
            what: "The ramp plan was paused by hand.".to_owned(),
            remedy: "`dwp ramp resume` goes on from the share in force.".to_owned(),
        }),
        "aborted" if why != "by_hand" => all.push(Problem {
            code: "ramp_aborted",
            severity: Severity::Warning,
            since: Some(ramp.moved_at),
            what: format!("The ramp plan was aborted ({why}): reads went back to the last good share."),
            remedy: "Mend what the guard found, lift it by `dwp flag unset guard`, then `dwp ramp resume` or a new plan.".to_owned(),
        }),
        _ => {}
    }
}

fn rests_because(why: &str) -> &str {
    match why {
        "guard" => "the guard is set",
        "kill_switch" => "the kill switch is on",
        "stage" => "the stage serves no reads from mgPass",
        "authority" => "Logto is not the source of truth now",
        "changed_by_hand" => "somebody changed read_percent by hand",
        "refused" => "the value of read_percent is not taken",
        other => other,
    }
}

fn since_of(facts: &Facts, key: &str) -> Option<i64> {
    let mut flags = facts.flags.iter().flatten();
    flags.find(|flag| flag.key == key)?.since
}
