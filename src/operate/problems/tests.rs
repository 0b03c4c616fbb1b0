//! One row for each way in which something may be wrong.

use super::{
    BacklogFact, Facts, FlagFact, JobFact, ParkedFact, Problem, RampFact, Severity, problems,
};
use Severity::{Critical, Notice, Warning};

const NOW_MS: i64 = 1_800_000_000_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// All is well: mirroring, compared an hour ago, everybody eligible.
fn well() -> Facts {
    Facts {
        now_ms: NOW_MS,
        stage: "dual_write".to_owned(),
        flags: Some(vec![FlagFact {
            key: "read_percent".to_owned(),
            value: Some("10".to_owned()),
            code: None,
            since: Some(NOW_MS - HOUR_MS),
        }]),
        cron_at: Some(NOW_MS - MINUTE_MS),
        walk_at: Some(NOW_MS - MINUTE_MS),
        jobs: vec![JobFact {
            kind: "equality".to_owned(),
            state: "done".to_owned(),
            moved_at: NOW_MS - HOUR_MS,
            finished_at: Some(NOW_MS - HOUR_MS),
            is_equal: Some(true),
            ..JobFact::default()
        }],
        n_ready: Some(100),
        n_mirrored: Some(100),
        ..Facts::default()
    }
}

fn of(change: impl FnOnce(&mut Facts)) -> Vec<Problem> {
    let mut facts = well();
    change(&mut facts);
    problems(&facts)
}

#[test]
fn each_advice_says_what_it_means_and_the_way_back_goes_by_whether_mgpass_is_there() {
    use crate::operate::cutover::Recommended;
    use crate::policy::cutover::{Advice, REASONS};
    let advise = |advice, reason, is_mgpass_gone| {
        move |facts: &mut Facts| {
            facts.cutover = Some(Recommended {
                advice,
                reason,
                since_ms: Some(NOW_MS),
                is_mgpass_gone,
            });
        }
    };
    assert_eq!(of(advise(Advice::Stay, "as_good_as_before", false)), []);
    let there = check(
        "going_back_recommended",
        Critical,
        advise(Advice::GoBack, "write_errors", false),
    );
    assert!(there.remedy.contains("dual_write --wait"));
    let gone = check(
        "going_back_recommended",
        Critical,
        advise(Advice::GoBack, "mgpass_gone", true),
    );
    assert!(gone.remedy.contains("--abandon-debt"));
    let mut said = std::collections::BTreeSet::new();
    for reason in REASONS {
        let found = check(
            "cutover_to_be_looked_at",
            Warning,
            advise(Advice::Look, reason, false),
        );
        said.insert(found.what);
    }
    // Too few requests, all well and not judged yet are one.
    assert_eq!(said.len(), REASONS.len() - 2, "{said:?}");
    check(
        "cutover_not_judged",
        Notice,
        advise(Advice::Unknown, "too_few_requests", false),
    );
}

/// One problem, of this code; its words.
#[track_caller]
fn check(code: &str, severity: Severity, change: impl FnOnce(&mut Facts)) -> Problem {
    let mut found = of(change);
    assert_eq!(found.len(), 1, "{found:?}");
    let problem = found.remove(0);
    assert_eq!(
        (problem.code, problem.severity),
        (code, severity),
        "{problem:?}"
    );
    for text in [&problem.what, &problem.remedy] {
        assert!(text.ends_with('.') && text.len() > 20, "{text}");
    }
    problem
}

fn flag(key: &str, value: Option<&str>, code: &str) -> FlagFact {
    FlagFact {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        code: Some(code.to_owned()),
        since: Some(NOW_MS - MINUTE_MS),
    }
}

#[test]
fn when_all_is_well_nothing_is_wrong() {
    assert_eq!(of(|_| {}), []);
}

#[test]
fn each_part_of_the_platform_that_fails_is_named() {
    check("settings_refused", Critical, |facts| {
        facts.setting_faults = vec![("LOGTO_ORIGIN".to_owned(), "missing".to_owned())];
    });
    check("handover_hasty", Warning, |facts| {
        facts.hasty_handover = vec!["HANDOVER_LATE_S"];
    });
    check("database_unavailable", Critical, |facts| {
        facts.database_failure = Some("database_unavailable".to_owned());
    });
    check("metrics_unavailable", Warning, |facts| {
        facts.metrics_failure = Some("database_unavailable".to_owned());
    });
    check("flags_unreachable", Warning, |facts| facts.flags = None);
    check("cron_silent", Critical, |facts| {
        facts.cron_at = Some(NOW_MS - 6 * MINUTE_MS);
    });
    check("keys_unreachable", Warning, |facts| {
        facts.failing_keys = vec!["mgpass"];
    });
    check("stage_off", Notice, |facts| facts.stage = "off".to_owned());
}

#[test]
fn in_stage_off_nothing_is_missed_that_rests() {
    let found = of(|facts| {
        facts.stage = "off".to_owned();
        facts.cron_at = Some(NOW_MS - HOUR_MS);
        facts.walk_at = Some(NOW_MS - 2 * HOUR_MS);
        facts.backlog.oldest_ms = Some(HOUR_MS);
        facts.n_ready = Some(0);
        facts.jobs.clear();
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_flag_that_is_not_taken_says_why_and_what_it_takes() {
    let refused = check("flag_refused", Warning, |facts| {
        facts.flags = Some(vec![flag("read_percent", Some("fifty"), "unreadable")]);
    });
    assert_eq!(refused.since, Some(NOW_MS - MINUTE_MS));
    assert!(refused.what.contains("\"fifty\""), "{refused:?}");
    assert!(refused.remedy.contains("percentage"), "{refused:?}");
    check("flag_refused", Warning, |facts| {
        facts.flags = Some(vec![flag("stage", Some("cutover"), "unreadable")]);
    });
    let pulled = check("flag_refused", Critical, |facts| {
        facts.flags = Some(vec![flag("guard", Some("0"), "unreadable_pulled")]);
        facts.guard = Some(("unreadable".to_owned(), None));
    });
    assert!(pulled.what.contains("counts as pulled"), "{pulled:?}");
    let unknown = check("flag_unknown", Warning, |facts| {
        facts.flags = Some(vec![flag("read_precent", None, "unknown_key")]);
    });
    assert!(unknown.what.contains("read_precent"), "{unknown:?}");
}

#[test]
fn brakes_are_told_and_a_plan_that_rests() {
    check("guard_stopped", Critical, |facts| {
        facts.guard = Some(("latency".to_owned(), None));
    });
    check("stop_not_written", Critical, |facts| {
        facts.stop_not_written = true
    });
    check("kill_switch_on", Notice, |facts| facts.kill_switch = true);
    let plan = |state: &str, why: &str| {
        let ramp = RampFact {
            state: state.to_owned(),
            why: Some(why.to_owned()),
            moved_at: NOW_MS,
        };
        move |facts: &mut Facts| facts.ramp = Some(ramp)
    };
    check("ramp_paused", Warning, plan("paused", "changed_by_hand"));
    check("ramp_paused", Notice, plan("paused", "by_hand"));
    check("ramp_aborted", Warning, plan("aborted", "latency"));
    assert_eq!(of(plan("aborted", "by_hand")), []);
    assert_eq!(of(plan("running", "")), []);
    assert_eq!(of(plan("done", "")), []);
}

#[test]
fn a_mirror_that_does_not_get_on_is_told() {
    check("backlog_old", Critical, |facts| {
        facts.backlog.oldest_ms = Some(21 * MINUTE_MS);
    });
    check("mirror_paused", Warning, |facts| {
        facts.backlog = BacklogFact {
            n_open: 3,
            oldest_ms: Some(2 * MINUTE_MS),
            paused_until: NOW_MS + 1,
            ..BacklogFact::default()
        };
    });
    // A pause of a moment is nobody's business.
    let short = of(|facts| facts.backlog.paused_until = NOW_MS + 1);
    assert_eq!(short, []);
    check("unresolved", Warning, |facts| {
        facts.backlog.n_unresolved = 1;
        facts.backlog.unresolved_ms = Some(11 * MINUTE_MS);
    });
    check("walk_silent", Warning, |facts| {
        facts.walk_at = Some(NOW_MS - 61 * MINUTE_MS);
    });
    check("epoch_behind", Notice, |facts| facts.n_ready = Some(99));
    check("altered_at_mgpass", Notice, |facts| facts.n_altered = 1);
}

#[test]
fn people_who_wait_are_counted_by_reason() {
    let parked = |list: &str, reason: &str, n, since| ParkedFact {
        by: list.to_owned(),
        reason: reason.to_owned(),
        n,
        since,
    };
    let found = check("parked", Warning, |facts| {
        facts.parked = vec![
            parked("mirror", "too_large", 2, Some(50)),
            parked("users", "too_large", 1, None),
            parked("points", "earned_at_mgpass", 9, Some(40)),
        ];
    });
    assert_eq!(found.since, Some(40));
    assert_eq!(
        found.what,
        "Waiting for a person: 12 users (earned_at_mgpass (points) 9, too_large 3)."
    );
    assert!(
        found
            .remedy
            .contains("then `dwp replay --reason REASON`, of points")
    );
    // The mirror carries no points: a replay would change nothing.
    for list in ["points", "dry run of points"] {
        let found = check("parked", Warning, |facts| {
            facts.parked = vec![parked(list, "unknown_user", 1, None)];
        });
        assert!(found.remedy.ends_with("then `dwp import points`."));
    }
}

#[test]
fn jobs_and_comparisons_are_judged() {
    let job =
        |change: fn(&mut JobFact)| move |facts: &mut Facts| facts.jobs.iter_mut().for_each(change);
    check("never_compared", Notice, |facts| facts.jobs.clear());
    check(
        "not_equal",
        Warning,
        job(|job| {
            job.is_equal = Some(false);
            job.n_unexplained = 2;
        }),
    );
    check("not_equal", Notice, job(|job| job.is_equal = Some(false)));
    check(
        "report_old",
        Notice,
        job(|job| {
            job.finished_at = Some(NOW_MS - 25 * HOUR_MS);
        }),
    );
    check(
        "job_delayed",
        Warning,
        job(|job| {
            job.state = "running".to_owned();
            job.last_failure = Some("timed_out".to_owned());
        }),
    );
    check("reads_differ", Notice, |facts| facts.n_read_findings = 1);
}

#[test]
fn the_worst_comes_first() {
    let found = of(|facts| {
        facts.kill_switch = true;
        facts.n_altered = 1;
        facts.metrics_failure = Some("x".to_owned());
        facts.guard = Some(("latency".to_owned(), None));
    });
    let severities: Vec<_> = found.iter().map(|problem| problem.severity).collect();
    assert_eq!(severities, [Critical, Warning, Notice, Notice]);
}
