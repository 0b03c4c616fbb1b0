//! Users who wait for a person, jobs that do not get on, sides that differ.

use super::{Facts, JobFact, ParkedFact, Problem, Severity, is_mirroring, users};

const JOB_SILENT_MS: i64 = 10 * 60_000;
const REPORT_OLD_MS: i64 = 24 * 60 * 60_000;

pub(super) fn people(facts: &Facts, all: &mut Vec<Problem>) {
    if !facts.parked.is_empty() {
        let n: i64 = facts.parked.iter().map(|parked| parked.n).sum();
        let mut reasons: Vec<(i64, String)> = Vec::new();
        for parked in &facts.parked {
            let reason = match parked.by.as_str() {
                "mirror" | "users" => parked.reason.clone(),
                list => format!("{} ({list})", parked.reason),
            };
            match reasons.iter_mut().find(|(_, known)| *known == reason) {
                Some((count, _)) => *count += parked.n,
                None => reasons.push((parked.n, reason)),
            }
        }
        reasons.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(n, reason)| format!("{reason} {n}"))
            .collect();
        all.push(Problem {
            code: "parked",
            severity: Severity::Warning,
            since: facts.parked.iter().filter_map(|parked| parked.since).min(),
            what: format!(
                "Waiting for a person: {} ({}).",
                users(n),
                reasons.join(", ")
            ),
            remedy: format!(
                "`dwp parked` names them. docs/troubleshooting.md says for each reason what to do; then {}.",
                again(&facts.parked)
            ),
        });
    }
    for job in &facts.jobs {
        job_problems(facts, job, all);
    }
    let has_report = facts.jobs.iter().any(|job| job.kind == "equality");
    if !has_report && is_mirroring(facts) {
        all.push(Problem {
            code: "never_compared",
            severity: Severity::Notice,
            since: None,
            what: "Both sides were never compared.".to_owned(),
            remedy: "`dwp report --run` once people are imported.".to_owned(),
        });
    }
    if facts.n_read_findings > 0 {
        all.push(Problem {
            code: "reads_differ",
            severity: Severity::Notice,
            since: facts.read_finding_at,
            what: format!(
                "Within a day compared reads differed in {}.",
                match facts.n_read_findings {
                    1 => "one kind of field".to_owned(),
                    n => format!("{n} kinds of fields"),
                }
            ),
            remedy:
                "`dwp status --json` lists them in `findings`; `dwp explain USER` tells of one."
                    .to_owned(),
        });
    }
}

/// How those who wait get another turn: the mirror carries users, imports carry points.
fn again(parked: &[ParkedFact]) -> &'static str {
    let is_points = |parked: &ParkedFact| parked.by.ends_with("points");
    match (parked.iter().all(is_points), parked.iter().any(is_points)) {
        (true, _) => "`dwp import points`",
        (false, true) => "`dwp replay --reason REASON`, of points `dwp import points`",
        (false, false) => "`dwp replay --reason REASON`",
    }
}

fn job_problems(facts: &Facts, job: &JobFact, all: &mut Vec<Problem>) {
    let kind = &job.kind;
    if job.state == "running" && facts.now_ms - job.moved_at > JOB_SILENT_MS {
        let code = job.last_failure.as_deref().unwrap_or("no code");
        all.push(Problem {
            code: "job_delayed",
            severity: Severity::Warning,
            since: Some(job.moved_at),
            what: format!("The job {kind} has not moved for ten minutes ({code})."),
            remedy: format!(
                "Mend what the code names; it goes on by itself. `dwp watch {kind}` shows it."
            ),
        });
    }
    if kind != "equality" || job.state != "done" {
        return;
    }
    let age_ms = facts.now_ms - job.finished_at.unwrap_or(facts.now_ms);
    if job.is_equal == Some(false) {
        all.push(Problem {
            code: "not_equal",
            severity: match job.n_unexplained {
                0 => Severity::Notice,
                _ => Severity::Warning,
            },
            since: job.finished_at,
            what: match job.n_unexplained {
                0 => "The last comparison found differences, each for a known reason.".to_owned(),
                n => format!(
                    "The last comparison found differences without a known reason, of {}.",
                    users(n)
                ),
            },
            remedy: "`dwp report` says what differs and what to do.".to_owned(),
        });
    } else if age_ms > REPORT_OLD_MS {
        all.push(Problem {
            code: "report_old",
            severity: Severity::Notice,
            since: job.finished_at,
            what: "The last comparison is older than a day.".to_owned(),
            remedy: "`dwp report --run` compares anew.".to_owned(),
        });
    }
}
