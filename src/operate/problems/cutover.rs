//! What is recommended while mgPass is the authority, in words. A person decides.

use super::{Facts, Problem, Severity};
use crate::operate::cleanup::Leaving;
use crate::policy::cutover::Advice;

pub(super) fn advice(facts: &Facts, all: &mut Vec<Problem>) {
    let Some(recommended) = &facts.cutover else {
        return;
    };
    let (code, severity) = match recommended.advice {
        Advice::GoBack => ("going_back_recommended", Severity::Critical),
        Advice::Look => ("cutover_to_be_looked_at", Severity::Warning),
        Advice::Unknown => ("cutover_not_judged", Severity::Notice),
        Advice::Stay => return,
    };
    let way_back = match recommended.is_mgpass_gone {
        true => {
            "`dwp stage dual_write --abandon-debt` goes back without mgPass, and holds whom Logto lacks something of; `dwp debt --list` names them."
        }
        false => "`dwp debt` says what Logto lacks, then `dwp stage dual_write --wait` goes back.",
    };
    let remedy = match recommended.advice {
        Advice::GoBack => way_back,
        Advice::Look | Advice::Unknown | Advice::Stay => look(recommended.reason),
    };
    all.push(Problem {
        code,
        severity,
        since: recommended.since_ms,
        what: what(recommended.reason).to_owned(),
        remedy: remedy.to_owned(),
    });
}

/// Stage `cleanup`: when the proxy itself may go.
pub(super) fn leaving(facts: &Facts, all: &mut Vec<Problem>) {
    if facts.leaving == Some(Leaving::Now) {
        all.push(Problem {
            code: "route_may_go",
            severity: Severity::Notice,
            since: None,
            what: Leaving::Now.words().to_owned(),
            remedy: "`dwp cleanup plan` says what goes with it, and in which order.".to_owned(),
        });
    }
}

fn what(reason: &str) -> &'static str {
    match reason {
        "mgpass_gone" => {
            "mgPass's database has not answered for two minutes, and mgPass is the authority: going back is recommended."
        }
        "read_errors" => {
            "More reads fail than in the days before the hand-over: going back is recommended."
        }
        "write_errors" => {
            "More user writes fail than in the days before the hand-over: going back is recommended."
        }
        "read_latency" => {
            "Reads take much longer than in the days before the hand-over: going back is recommended."
        }
        "write_latency" => {
            "User writes take much longer than in the days before the hand-over: going back is recommended."
        }
        "strays" => "Somebody changed users at Logto while mgPass is the authority.",
        "points_changed" => {
            "Entries of points that the import brought were changed or taken away at mgPass."
        }
        "points_adrift" => {
            "Balances of points at mgPass are not the sums of their entries, for more users than after the hand-over."
        }
        "pending_old" => {
            "Writes have waited for more than twenty minutes to be carried to Logto: the fallback gets older, and a way back takes longer."
        }
        "log_not_read" => {
            "mgPass's audit log has not been read for five minutes: what Logto lacks is not known, and no read falls back to Logto."
        }
        "walk_old" => {
            "The walk has not looked at everybody for a day: what Logto lacks is not known for sure."
        }
        "no_metrics" => {
            "How requests go cannot be told without the metrics: nothing is recommended."
        }
        _ => "Too few requests to tell whether they go as well as before the hand-over.",
    }
}

fn look(reason: &str) -> &'static str {
    match reason {
        "strays" => {
            "`dwp stray list`, then `dwp stray resolve USER --towards logto|mgpass` for each. When they go on, something reaches Logto past the proxy: close its origin."
        }
        "points_changed" | "points_adrift" => {
            "Ask mgPass's owner what wrote there; `dwp status --json` has the figures in `cutover.points`. Going back mends no points."
        }
        "pending_old" => {
            "`mirror.paused` and `mirror.failed` in the log say what is down; `dwp debt --class pending` names the users."
        }
        "log_not_read" | "walk_old" => {
            "See that cron runs, and what `walk.delayed` and `mirror.paused` in the log say."
        }
        "no_metrics" => "Look at METRICS_DB and its migrations (schema/metrics).",
        _ => "Nothing, if so few are usual at this hour.",
    }
}
