//! What the problems are judged by, of what was read for the status.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    BACKLOG, BEAT, DAY_MS, FINDINGS, FLAGS, FOUND, Figures, JobRead, PARKED, Read, WALK, cut,
};
use crate::operate::cleanup::Leaving;
use crate::operate::cutover::Recommended;
use crate::operate::problems::{BacklogFact, Facts, FlagFact, JobFact, ParkedFact, RampFact};
use crate::operate::watch::{self, Seen};
use crate::policy::flags::form::refusal;
use crate::population::jobs::Kind;
use crate::runtime::context::Request;
use crate::runtime::ports::Row;
use crate::runtime::sql::{integer, text};

/// All that facts are made of.
pub(super) struct Sources<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) ours: &'a Read,
    pub(super) failure: Option<&'static str>,
    pub(super) seen: Option<&'a Seen>,
    pub(super) jobs: &'a [JobRead],
    pub(super) figures: &'a Figures,
    pub(super) plan: &'a Json,
    pub(super) keys: &'a Json,
    pub(super) recommended: Option<&'a Recommended>,
    pub(super) passwords: Option<&'a Row>,
    pub(super) leaving: Option<Leaving>,
    pub(super) now_ms: i64,
}

pub(super) fn facts(from: &Sources<'_>) -> Facts {
    let flags = &from.request.flags;
    let since = watch::parse_since(from.ours.rows(FLAGS));
    // Left alone, Logto lacks what it lacks, its keys are ours, and nobody walks.
    let is_alone = from.leaving.is_some();
    let backlog = from.ours.first(BACKLOG).filter(|_| !is_alone);
    let backlog = backlog.cloned().unwrap_or_default();
    let of = |name| integer(&backlog, name);
    let is_recent = |row: &&Row| integer(row, "last_at") > Some(from.now_ms - DAY_MS);
    let differ: Vec<&Row> = from.ours.rows(FINDINGS).iter().filter(is_recent).collect();
    let mut found = from.ours.rows(FOUND).iter();
    let altered = found.find(|row| text(row, "code").as_deref() == Some("altered_at_mgpass"));
    let newest = from.figures.rows(0).first();
    let plan = |name: &str| from.plan.get(name);
    Facts {
        now_ms: from.now_ms,
        stage: flags.stage_name().to_owned(),
        setting_faults: from
            .request
            .settings
            .faults
            .iter()
            .map(|fault| (fault.name.to_owned(), fault.code.to_owned()))
            .collect(),
        hasty_handover: from.request.settings.handover.hasty(),
        database_failure: from.failure.map(str::to_owned),
        backlog: BacklogFact {
            n_open: of("n_open").unwrap_or_default(),
            oldest_ms: of("oldest_ms"),
            n_unresolved: of("n_unresolved").unwrap_or_default(),
            unresolved_ms: of("unresolved_ms"),
            paused_until: of("paused_until").unwrap_or_default(),
        },
        metrics_failure: from.figures.failure.map(str::to_owned),
        flags: from.seen.map(|seen| flag_facts(seen, &since)),
        kill_switch: flags.kill_switch,
        guard: flags
            .guard
            .as_ref()
            .map(|guard| (guard.reason.clone(), since.get("guard").copied())),
        stop_not_written: newest
            .is_some_and(|row| text(row, "reason").as_deref() == Some("stop_not_written")),
        parked: from.ours.rows(PARKED).iter().map(parked_fact).collect(),
        cron_at: from.ours.first(BEAT).and_then(|row| integer(row, "at")),
        walk_at: from
            .request
            .context
            .filter(|context| context.settings.walk && !is_alone)
            .and_then(|_| integer(from.ours.first(WALK)?, "moved_at")),
        jobs: from.jobs.iter().map(job_fact).collect(),
        ramp: plan("state").and_then(Json::as_str).map(|state| RampFact {
            state: state.to_owned(),
            why: plan("why").and_then(Json::as_str).map(str::to_owned),
            moved_at: plan("moved_at").and_then(Json::as_i64).unwrap_or_default(),
        }),
        n_ready: from.figures.users().n_ready,
        n_mirrored: from.figures.users().n_mirrored,
        failing_keys: ["logto", "mgpass"]
            .into_iter()
            .filter(|issuer| *issuer != "logto" || !is_alone)
            .filter(|issuer| {
                from.keys.pointer(&format!("/{issuer}/is_failing")) == Some(&Json::Bool(true))
            })
            .collect(),
        n_read_findings: differ.len() as i64,
        read_finding_at: differ
            .iter()
            .filter_map(|row| integer(row, "last_at"))
            .max(),
        n_altered: altered
            .and_then(|row| integer(row, "n"))
            .unwrap_or_default(),
        altered_at: altered.and_then(|row| integer(row, "found_at")),
        cutover: from.recommended.cloned(),
        void_owed_since: from.passwords.and_then(|row| integer(row, "owed_since")),
        leaving: from.leaving,
    }
}

fn flag_facts(seen: &Seen, since: &BTreeMap<String, i64>) -> Vec<FlagFact> {
    let known = seen.values.iter().map(|(key, value)| FlagFact {
        key: key.clone(),
        value: value.as_deref().map(cut),
        code: refusal(key, value.as_deref()).map(str::to_owned),
        since: since.get(key).copied(),
    });
    let unknown = seen.unknown.iter().flatten().map(|key| FlagFact {
        key: key.clone(),
        value: None,
        code: Some("unknown_key".to_owned()),
        since: since.get(key).copied(),
    });
    known.chain(unknown).collect()
}

fn parked_fact(row: &Row) -> ParkedFact {
    let list = text(row, "list").unwrap_or_default();
    ParkedFact {
        by: match integer(row, "dry_run") {
            Some(1) => format!("dry run of {list}"),
            _ => list,
        },
        reason: text(row, "reason").unwrap_or_default(),
        n: integer(row, "n").unwrap_or_default(),
        since: integer(row, "since"),
    }
}

fn job_fact(job: &JobRead) -> JobFact {
    JobFact {
        kind: job.kind.name().to_owned(),
        state: text(&job.row, "state").unwrap_or_default(),
        last_failure: text(&job.row, "last_failure"),
        moved_at: integer(&job.row, "moved_at").unwrap_or_default(),
        finished_at: integer(&job.row, "finished_at"),
        is_equal: (job.kind == Kind::Equality && job.is_done()).then(|| job.is_equal()),
        n_unexplained: job.n_unexplained(),
    }
}
