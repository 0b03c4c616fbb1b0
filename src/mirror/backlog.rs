//! The outbox from the sweep's side: who is due, what is done with, how much is left.

use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, text};

/// A parked subject too, once for each thing that was not yet known when it was
/// parked: a settling, an expiry, the second look.
const DUE: &str = concat!(
    "SELECT DISTINCT i.subject AS subject FROM intents i INDEXED BY intents_undischarged ",
    "LEFT JOIN subjects s ON s.subject = i.subject ",
    "WHERE (SELECT value FROM counters WHERE name = 'paused_until') <= ",
    now!(),
    " AND i.subject IS NOT NULL AND i.discharged_at IS NULL ",
    "AND coalesce(s.lease_until, 0) < ",
    now!(),
    " AND coalesce(s.retry_at, 0) <= ",
    now!(),
    " AND ( i.settled > CASE WHEN s.parked IS NULL THEN 0 ELSE coalesce(s.last_ticket, 0) END ",
    "OR (i.settled IS NULL AND i.passes = 0 AND i.expires_at > coalesce(s.parked_at, 0) ",
    "AND i.expires_at <= ",
    now!(),
    ") OR (i.settled IS NULL AND i.opened_at + 900000 > coalesce(s.parked_at, 0) ",
    "AND i.opened_at + 900000 <= ",
    now!(),
    ") ) LIMIT ?1"
);
const IN_BACKLOG: &str = "SELECT DISTINCT i.subject AS subject FROM json_each(?1) w JOIN intents i \
     ON i.subject = w.value AND i.discharged_at IS NULL AND i.settled IS NOT NULL";
const PURGE_INTENTS: &str = concat!(
    "DELETE FROM intents WHERE discharged_at < ",
    now!(),
    " - 60000"
);
const PURGED: &str = "SELECT changes() AS n";
const PURGE_INTERACTIONS: &str = concat!(
    "DELETE FROM interactions WHERE learned_at < ",
    now!(),
    " - 7200000"
);
const BACKLOG: &str = concat!(
    "SELECT count(*) AS n_open, sum(settled IS NULL) AS n_unsettled, sum(subject IS NULL) AS n_unresolved, ",
    now!(),
    " - min(opened_at) AS oldest_ms, (SELECT value FROM counters WHERE name = 'epoch') AS epoch, ",
    "(SELECT value FROM counters WHERE name = 'unrecorded') AS unrecorded, (SELECT holder FROM authority) AS authority, ",
    "(SELECT count(*) FROM subjects WHERE parked IS NOT NULL) AS n_parked ",
    "FROM intents WHERE discharged_at IS NULL"
);

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[
    DUE,
    IN_BACKLOG,
    PURGE_INTENTS,
    PURGED,
    PURGE_INTERACTIONS,
    BACKLOG,
];

pub fn due(limit: i64) -> Vec<Statement> {
    vec![Statement::new(DUE, vec![limit.into()])]
}

pub fn parse_due(results: &[Vec<Row>]) -> Vec<UserId> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| UserId::parse(&text(row, "subject")?))
        .collect()
}

/// Who of these has settled intents that no reconcile has covered yet: what they owe,
/// only a reconcile that looks at them can tell. Parsed as [`due`] is.
pub fn in_backlog(users: &[&str]) -> Vec<Statement> {
    let users = serde_json::json!(users).to_string();
    vec![Statement::new(IN_BACKLOG, vec![users.into()])]
}

pub fn purge() -> Vec<Statement> {
    vec![
        Statement::new(PURGE_INTENTS, vec![]),
        Statement::new(PURGED, vec![]),
        Statement::new(PURGE_INTERACTIONS, vec![]),
    ]
}

/// How many intents are gone.
pub fn parse_purge(results: &[Vec<Row>]) -> Option<i64> {
    integer(results.get(1)?.first()?, "n")
}

pub fn backlog() -> Vec<Statement> {
    vec![Statement::new(BACKLOG, vec![])]
}
