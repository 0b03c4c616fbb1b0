//! The row `authority` whole, and what is still to be done before it may move.

use crate::handover::authority::Holder;
use crate::policy::flags::Stage;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, late_commit_ms, lease_ms, may_still_land, now, text};

const ROW: &str = concat!(
    "SELECT holder, generation, term, since, deadline, raise_owed, announced_at, announced_until, ",
    "armed_at, armed_until, wish, wish_at, wish_source, kv_stage, kv_before, kv_since, ",
    now!(),
    " AS now FROM authority"
);
/// Intents that are not covered yet, by the side whose write it was. Whoever is held for
/// a person, or parked and waived, is not waited for.
const PENDING: &str = concat!(
    "SELECT coalesce(sum(i.side = 'logto' AND h.subject IS NULL AND w.name IS NULL), 0) AS n_logto, ",
    "coalesce(sum(i.side = 'logto' AND i.settled IS NULL AND i.expires_at <= ",
    now!(),
    "), 0) AS n_expired, ",
    "coalesce(sum(i.side = 'logto' AND i.settled IS NOT NULL AND i.subject IS NULL), 0) AS n_unnamed, ",
    "coalesce(sum(i.side = 'mgpass' AND h.subject IS NULL), 0) AS n_mgpass, ",
    "(SELECT count(*) FROM ",
    may_still_land!(),
    ") AS n_sent, (SELECT count(*) FROM ",
    may_still_land!(),
    " WHERE since <= ",
    now!(),
    " - ",
    lease_ms!(),
    ") AS n_unanswered, ",
    "(SELECT count(*) FROM subjects p WHERE p.parked IS NOT NULL ",
    "AND NOT EXISTS (SELECT 1 FROM held_subjects g WHERE g.subject = p.subject) ",
    "AND NOT EXISTS (SELECT 1 FROM waivers v WHERE v.term = (SELECT term FROM authority) AND v.gate = 'parked' AND v.name = p.subject)) AS n_parked, EXISTS (SELECT 1 FROM cleanup_steps) AS is_cleared ",
    "FROM intents i LEFT JOIN held_subjects h ON h.subject = i.subject ",
    "LEFT JOIN waivers w ON w.term = (SELECT term FROM authority) AND w.gate = 'parked' AND w.name = i.subject ",
    "WHERE i.discharged_at IS NULL"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[ROW, PENDING];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// As the row says; a deadline that has passed still stands there.
    pub holder: Holder,
    pub generation: i64,
    pub term: i64,
    pub since_ms: i64,
    pub deadline_ms: Option<i64>,
    pub is_raise_owed: bool,
    pub announced: Option<Announced>,
    pub armed_until_ms: Option<i64>,
    pub wish: Option<Wish>,
    /// The last value of the KV key `stage` that was noticed.
    pub kv_stage: Option<Stage>,
    /// The value before it, and when the change was noticed.
    pub kv_before: Option<(Stage, i64)>,
    /// By the database's clock, as all the others.
    pub now_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub at_ms: i64,
    pub until_ms: i64,
}

/// What an operator wants and has not got yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub stage: Stage,
    pub at_ms: i64,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A change of the KV key `stage` that was noticed.
    Kv,
    /// `dwp stage`.
    Dwp,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Dwp => "dwp",
        }
    }
}

impl Authority {
    pub fn wishes(&self, stage: Stage) -> bool {
        self.wish.is_some_and(|wish| wish.stage == stage)
    }

    pub fn is_armed(&self) -> bool {
        self.armed_until_ms
            .is_some_and(|until_ms| self.now_ms < until_ms)
    }

    pub fn is_past_deadline(&self) -> bool {
        self.deadline_ms
            .is_some_and(|deadline_ms| self.now_ms >= deadline_ms)
    }
}

/// What a move waits for, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Writes at Logto that mgPass does not have yet, as far as anybody waits for them.
    pub n_logto: i64,
    /// Of Logto's side: not settled in time ...
    pub n_expired: i64,
    /// ... and settled without a name.
    pub n_unnamed: i64,
    /// Writes at mgPass that Logto does not have yet.
    pub n_mgpass: i64,
    /// Calls to Logto that have no answer yet ...
    pub n_sent: i64,
    /// ... and those of them for which nobody waits any more.
    pub n_unanswered: i64,
    /// Parked, and neither waived nor held.
    pub n_parked: i64,
    /// Cleaning up has begun.
    pub is_cleared: bool,
}

pub fn read() -> Vec<Statement> {
    vec![Statement::new(ROW, vec![]), Statement::new(PENDING, vec![])]
}

/// The answer of [`read`], which these statements begin with.
pub fn parse(results: &[Vec<Row>]) -> Option<(Authority, Pending)> {
    let [row, pending, ..] = results else {
        return None;
    };
    Some((parse_row(row.first()?)?, parse_pending(pending.first()?)?))
}

fn parse_row(row: &Row) -> Option<Authority> {
    let stage = |column| Stage::parse(&text(row, column)?);
    let announced = integer(row, "announced_at").zip(integer(row, "announced_until"));
    let source = match text(row, "wish_source").as_deref() {
        Some("dwp") => Source::Dwp,
        _ => Source::Kv,
    };
    Some(Authority {
        holder: Holder::from_name(&text(row, "holder")?)?,
        generation: integer(row, "generation")?,
        term: integer(row, "term")?,
        since_ms: integer(row, "since")?,
        deadline_ms: integer(row, "deadline"),
        is_raise_owed: integer(row, "raise_owed")? != 0,
        announced: announced.map(|(at_ms, until_ms)| Announced { at_ms, until_ms }),
        armed_until_ms: integer(row, "armed_until"),
        wish: stage("wish").map(|stage| Wish {
            stage,
            at_ms: integer(row, "wish_at").unwrap_or_default(),
            source,
        }),
        kv_stage: stage("kv_stage"),
        kv_before: stage("kv_before").zip(integer(row, "kv_since")),
        now_ms: integer(row, "now")?,
    })
}

fn parse_pending(row: &Row) -> Option<Pending> {
    Some(Pending {
        n_logto: integer(row, "n_logto")?,
        n_expired: integer(row, "n_expired")?,
        n_unnamed: integer(row, "n_unnamed")?,
        n_mgpass: integer(row, "n_mgpass")?,
        n_sent: integer(row, "n_sent")?,
        n_unanswered: integer(row, "n_unanswered")?,
        n_parked: integer(row, "n_parked")?,
        is_cleared: integer(row, "is_cleared")? != 0,
    })
}
