//! Changes at Logto while mgPass is the authority: found, kept by user and name of field,
//! and resolved by a person.
//!
//! A record of a write at Logto that comes late, by the Queue or by a settling of what was
//! let go, is one: whatever lies undischarged on Logto's side of the outbox then, but for
//! webhooks, which only ask for a look. So is each field that Logto shows and nobody sent.

use serde_json::json;

use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{is_still_leased_by, late_commit_ms, now};

macro_rules! late_record {
    () => {
        "discharged_at IS NULL AND side = 'logto' AND EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning'))"
    };
}

const KEEP_LATE: &str = concat!(
    "INSERT INTO strays (subject, operation, found_at, source, watch_until) SELECT i.subject, i.operation, ",
    now!(),
    ", 'late_record', i.opened_at + ",
    late_commit_ms!(),
    " FROM intents i WHERE i.operation NOT LIKE 'webhook%' AND i.",
    late_record!(),
    " AND NOT EXISTS (SELECT 1 FROM strays s WHERE s.state = 'open' AND s.subject IS i.subject ",
    "AND s.operation = i.operation AND s.source IN ('late_record', 'waived_intent'))"
);
const DISCHARGE_LATE: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE ",
    late_record!(),
    " RETURNING id"
);

/// A field of a user, once while it is open.
const KEEP: &str = concat!(
    "INSERT INTO strays (subject, path, found_at, source) SELECT ?1, w.value, ",
    now!(),
    ", ?3 FROM json_each(?2) w WHERE NOT EXISTS (SELECT 1 FROM strays s WHERE s.state = 'open' ",
    "AND s.subject = ?1 AND s.path = w.value) AND EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning')) AND ",
    is_still_leased_by!("?4")
);
/// Those that a look at both sides did not meet any more.
const END: &str = concat!(
    "UPDATE strays SET state = 'resolved', resolution = 'gone', resolved_at = ",
    now!(),
    " WHERE subject = ?1 AND state = 'open' AND path IS NOT NULL AND path NOT IN (SELECT value FROM json_each(?2)) AND ",
    is_still_leased_by!("?3")
);
/// Watched until Logto commits nothing so late any more, and both sides were equal then.
const END_WATCH: &str = concat!(
    "UPDATE strays SET state = 'resolved', resolution = 'nothing_came', resolved_at = ",
    now!(),
    " WHERE subject = ?1 AND state = 'open' AND path IS NULL AND watch_until <= ",
    now!(),
    " AND ",
    is_still_leased_by!("?2")
);
/// A minute beyond, for the last look.
const WATCHED: &str = concat!(
    "SELECT DISTINCT subject FROM strays WHERE state = 'open' AND subject IS NOT NULL AND watch_until > ",
    now!(),
    " - 120000 LIMIT 50"
);
const LIST: &str = "SELECT id, subject, path, operation, source, state, found_at, watch_until, resolution, resolved_at FROM strays \
     WHERE id > ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR subject = ?3) ORDER BY id LIMIT ?4";
const BY_SOURCE: &str = "SELECT source, count(*) AS n, min(found_at) AS since FROM strays INDEXED BY strays_open WHERE state = 'open' GROUP BY source ORDER BY source";
const RESOLVE_USER: &str = concat!(
    "UPDATE strays SET state = 'resolved', resolution = ?2, resolved_at = ",
    now!(),
    " WHERE subject = ?1 AND state = 'open' RETURNING id"
);
/// Without a user there is nothing to be written anywhere.
const RESOLVE_UNNAMED: &str = concat!(
    "UPDATE strays SET state = 'resolved', resolution = 'dismissed', resolved_at = ",
    now!(),
    " WHERE id = ?1 AND subject IS NULL AND state = 'open' RETURNING id"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    KEEP_LATE,
    DISCHARGE_LATE,
    KEEP,
    END,
    END_WATCH,
    WATCHED,
    LIST,
    BY_SOURCE,
    RESOLVE_USER,
    RESOLVE_UNNAMED,
];

/// How one was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Walk,
    Webhook,
    /// By a reconcile that something else asked for.
    Reverse,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Webhook => "webhook",
            Self::Reverse => "reverse",
        }
    }
}

/// After a look at both sides: these fields of the user, and no others. `lease`: under
/// which it was; where somebody has taken it since, what was seen may be theirs.
pub fn settle(
    subject: &UserId,
    paths: &[String],
    source: Source,
    lease: Option<&str>,
) -> Vec<Statement> {
    let list = json!(paths).to_string();
    let subject = subject.as_str();
    let mut statements = vec![
        Statement::new(
            END,
            vec![subject.into(), list.as_str().into(), lease.into()],
        ),
        Statement::new(
            KEEP,
            vec![
                subject.into(),
                list.into(),
                source.name().into(),
                lease.into(),
            ],
        ),
    ];
    if paths.is_empty() {
        let values = vec![subject.into(), lease.into()];
        statements.push(Statement::new(END_WATCH, values));
    }
    statements
}

/// Whom to look at again: Logto may commit late.
pub fn watched() -> Statement {
    Statement::new(WATCHED, vec![])
}

/// `state`: `None` shows all.
pub fn list(after: i64, state: Option<&str>, subject: Option<&UserId>, limit: i64) -> Statement {
    let values = vec![
        after.into(),
        state.into(),
        subject.map(UserId::as_str).into(),
        limit.into(),
    ];
    Statement::new(LIST, values)
}

pub fn by_source() -> Statement {
    Statement::new(BY_SOURCE, vec![])
}

/// Whose value a person has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    Logto,
    Mgpass,
}

impl Towards {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "logto" => Some(Self::Logto),
            "mgpass" => Some(Self::Mgpass),
            _ => None,
        }
    }

    fn resolution(self) -> &'static str {
        match self {
            Self::Logto => "towards_logto",
            Self::Mgpass => "towards_mgpass",
        }
    }
}

/// All that is open of this user; [`n_resolved`] counts them.
pub fn resolve(subject: &UserId, towards: Towards) -> Statement {
    let values = vec![subject.as_str().into(), towards.resolution().into()];
    Statement::new(RESOLVE_USER, values)
}

/// One that is of nobody who is known.
pub fn dismiss(id: i64) -> Statement {
    Statement::new(RESOLVE_UNNAMED, vec![id.into()])
}

pub fn n_resolved(results: &[Vec<Row>]) -> usize {
    results.first().map_or(0, Vec::len)
}

/// Nothing happens while Logto is the authority. [`n_absorbed`] counts them.
pub fn absorb_late_records() -> Vec<Statement> {
    [KEEP_LATE, DISCHARGE_LATE]
        .map(|sql| Statement::new(sql, vec![]))
        .to_vec()
}

pub fn n_absorbed(results: &[Vec<Row>]) -> usize {
    results.last().map_or(0, Vec::len)
}
