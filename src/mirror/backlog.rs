//! The outbox from the sweep's side: what is done with, how much is left.

use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{discharged_kept_ms, integer, interaction_kept_ms, now, text};

const IN_BACKLOG: &str = "SELECT DISTINCT i.subject AS subject FROM json_each(?1) w JOIN intents i \
     ON i.subject = w.value AND i.discharged_at IS NULL AND i.settled IS NOT NULL";
const PURGE_INTENTS: &str = concat!(
    "DELETE FROM intents WHERE discharged_at < ",
    now!(),
    " - ",
    discharged_kept_ms!()
);
const PURGED: &str = "SELECT changes() AS n";
const PURGE_INTERACTIONS: &str = concat!(
    "DELETE FROM interactions WHERE learned_at < ",
    now!(),
    " - ",
    interaction_kept_ms!()
);
/// Intents of a parked subject wait for a person, not for the mirror: they are counted
/// by themselves.
const BACKLOG: &str = concat!(
    "SELECT count(*) FILTER (WHERE NOT i.is_held) AS n_open, count(*) FILTER (WHERE i.is_held) AS n_held, ",
    "sum(i.settled IS NULL) FILTER (WHERE NOT i.is_held) AS n_unsettled, ",
    "sum(i.subject IS NULL) FILTER (WHERE NOT i.is_held) AS n_unresolved, ",
    now!(),
    " - min(i.opened_at) FILTER (WHERE NOT i.is_held) AS oldest_ms, ",
    now!(),
    " - min(i.opened_at) FILTER (WHERE i.subject IS NULL) AS unresolved_ms, ",
    "(SELECT value FROM counters WHERE name = 'epoch') AS epoch, ",
    "(SELECT value FROM counters WHERE name = 'unrecorded') AS unrecorded, ",
    "(SELECT value FROM counters WHERE name = 'paused_until') AS paused_until, ",
    "(SELECT holder FROM authority) AS authority, (SELECT since FROM authority) AS authority_since, ",
    "(SELECT count(*) FROM subjects WHERE parked IS NOT NULL) AS n_parked, ",
    now!(),
    " AS now FROM (SELECT subject, settled, opened_at, EXISTS (SELECT 1 FROM subjects s ",
    "WHERE s.subject = intents.subject AND s.parked IS NOT NULL) AS is_held FROM intents WHERE discharged_at IS NULL) i"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    IN_BACKLOG,
    PURGE_INTENTS,
    PURGED,
    PURGE_INTERACTIONS,
    BACKLOG,
];

/// Who of these has settled intents that no reconcile has covered yet: what they owe,
/// only a reconcile that looks at them can tell.
pub fn in_backlog(users: &[&str]) -> Vec<Statement> {
    let users = serde_json::json!(users).to_string();
    vec![Statement::new(IN_BACKLOG, vec![users.into()])]
}

pub fn parse_in_backlog(results: &[Vec<Row>]) -> Vec<UserId> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| UserId::parse(&text(row, "subject")?))
        .collect()
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
