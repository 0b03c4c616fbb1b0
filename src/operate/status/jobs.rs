//! The newest job of each kind, and the newest comparison in short.

use serde_json::{Value as Json, json};

use super::{JOBS, Read};
use crate::population::jobs::{Kind, view};
use crate::runtime::ports::{Platform, Row, Store};
use crate::runtime::sql::{integer, text};

/// A job, its row, and its outcomes other than equal.
pub(super) struct JobRead {
    pub(super) kind: Kind,
    pub(super) row: Row,
    counts: Vec<Row>,
    pub(super) shown: Json,
}

impl JobRead {
    fn n(&self, outcome: &str, is: impl Fn(&Row) -> bool) -> i64 {
        let of = self.counts.iter();
        of.filter(|row| text(row, "outcome").as_deref() == Some(outcome) && is(row))
            .filter_map(|row| integer(row, "n"))
            .sum()
    }

    pub(super) fn is_done(&self) -> bool {
        text(&self.row, "state").as_deref() == Some("done")
    }

    /// Of a comparison.
    pub(super) fn is_equal(&self) -> bool {
        let unlike = ["differs", "missing", "parked"];
        self.is_done() && unlike.iter().all(|outcome| self.n(outcome, |_| true) == 0)
    }

    pub(super) fn n_unexplained(&self) -> i64 {
        let unexplained = |row: &Row| text(row, "reason").as_deref() == Some("unexplained");
        self.n("differs", unexplained) + self.n("missing", unexplained)
    }
}

pub(super) async fn jobs<P: Platform>(platform: &P, ours: &Read) -> Vec<JobRead> {
    let newest: Vec<(Kind, i64, Row)> = Kind::ALL
        .iter()
        .enumerate()
        .filter_map(|(index, kind)| {
            let row = ours.first(JOBS + index)?;
            Some((*kind, integer(row, "id")?, row.clone()))
        })
        .collect();
    let asked: Vec<_> = newest
        .iter()
        .flat_map(|(kind, id, _)| view::counts(*id, *kind, false))
        .collect();
    if asked.is_empty() {
        return Vec::new();
    }
    let Ok(results) = platform.batch(Store::Proxy, asked).await else {
        return Vec::new();
    };
    let jobs = newest.into_iter().zip(results);
    jobs.map(|((kind, _, row), counts)| JobRead {
        kind,
        shown: view::shown(&row, std::slice::from_ref(&counts)),
        row,
        counts,
    })
    .collect()
}

/// The newest comparison in short.
pub(super) fn report(jobs: &[JobRead], now_ms: i64) -> Json {
    let Some(job) = jobs.iter().find(|job| job.kind == Kind::Equality) else {
        return Json::Null;
    };
    let finished_at = integer(&job.row, "finished_at");
    json!({
        "state": job.row.get("state"),
        "started_at": job.row.get("started_at"),
        "finished_at": finished_at,
        "age_ms": finished_at.map(|at| now_ms - at),
        "is_equal": job.is_done().then(|| job.is_equal()),
        "n_differing": job.n("differs", |_| true) + job.n("missing", |_| true),
        "n_unexplained": job.n_unexplained(),
    })
}
