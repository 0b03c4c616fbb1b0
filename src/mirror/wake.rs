//! Wake-ups: a subject is woken once until its turn.
//!
//! `subjects.woken_at` is the mark: a message for this subject was sent then, or comes
//! again then; 0 says that none is on its way. Who finds something to cover marks the
//! subject in the same batch, and sends only when it was not marked before. The turn
//! takes the mark away in the batch that takes the lease: what was settled before is
//! covered by its ticket, what is settled later marks and sends anew.
//!
//! A mark whose message is lost must not last. So each sweep that sees marks sends a
//! marker behind its own wake-ups; whoever was woken 20 s before a marker that has
//! arrived, and has had no turn, is woken again. A Queue that is merely slow holds up
//! its markers as well, and so nobody is woken twice by a long backlog. Whatever the
//! markers say, a mark counts for ten minutes at most; and for ten seconds while the users
//! change hands: everybody waits then, and a message too many ends after one query.
//!
//! Harmless twice: marking (who was marked already is not sent to), the marker (the
//! newest counts), forgetting a mark (one message more, whose turn covers nothing and
//! ends after one query). Only a batch whose answer is awaited may mark: a mark that
//! nobody knows of is a message that nobody sends.

use crate::inbound::request::{UserId, id_list};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{coverable, integer, late_commit_ms, may_relay, now, relay_side, text};

/// No message is on its way, as far as can be known: never sent, lost, or given up.
macro_rules! unwoken {
    () => {
        concat!(
            "<= max((SELECT value FROM counters WHERE name = 'marker') - 20000, ",
            now!(),
            " - CASE WHEN EXISTS (SELECT 1 FROM authority WHERE holder IN ('draining', 'returning')) THEN 10000 ELSE 600000 END)"
        )
    };
}

macro_rules! unless_woken {
    () => {
        concat!(
            " ON CONFLICT (subject) DO UPDATE SET woken_at = excluded.woken_at ",
            "WHERE subjects.woken_at ",
            unwoken!(),
            " RETURNING subject AS woken"
        )
    };
}

const WAKE: &str = concat!(
    "INSERT INTO subjects (subject, lease_holder, lease_until, woken_at) SELECT w.value, '', 0, ",
    now!(),
    " FROM json_each(?1) w WHERE EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value AND i.side = ",
    relay_side!(),
    " AND ",
    coverable!(),
    ")",
    unless_woken!()
);
/// Whoever it concerns, which the interaction may have known.
const WAKE_BY_INTENT: &str = concat!(
    "INSERT INTO subjects (subject, lease_holder, lease_until, woken_at) SELECT i.subject, '', 0, ",
    now!(),
    " FROM intents i WHERE i.id = ?1 AND i.subject IS NOT NULL AND i.side = ",
    relay_side!(),
    " AND ",
    coverable!(),
    unless_woken!()
);
/// A parked subject too, once for each thing that was not yet known when it was
/// parked: a settling, an expiry, the second look.
const WAKE_DUE: &str = concat!(
    "INSERT INTO subjects (subject, lease_holder, lease_until, woken_at) SELECT DISTINCT i.subject, '', 0, ",
    now!(),
    " FROM intents i INDEXED BY intents_undischarged LEFT JOIN subjects s ON s.subject = i.subject ",
    "WHERE (SELECT value FROM counters WHERE name = 'paused_until') <= ",
    now!(),
    " AND i.subject IS NOT NULL AND i.discharged_at IS NULL AND i.side = ",
    relay_side!(),
    " AND coalesce(s.lease_until, 0) < ",
    now!(),
    " AND coalesce(s.retry_at, 0) <= ",
    now!(),
    " AND coalesce(s.woken_at, 0) ",
    unwoken!(),
    " AND ( i.settled > CASE WHEN s.parked IS NULL THEN 0 ELSE coalesce(s.last_ticket, 0) END ",
    "OR (i.settled IS NULL AND i.expiry_checks = 0 AND i.expires_at > coalesce(s.parked_at, 0) ",
    "AND i.expires_at <= ",
    now!(),
    ") OR (i.settled IS NULL AND i.opened_at + ",
    late_commit_ms!(),
    " > coalesce(s.parked_at, 0) AND i.opened_at + ",
    late_commit_ms!(),
    " <= ",
    now!(),
    ") ) LIMIT ?1",
    unless_woken!()
);
const WAITING: &str = concat!(
    "SELECT ",
    now!(),
    " AS now, EXISTS (SELECT 1 FROM intents i INDEXED BY intents_undischarged ",
    "JOIN subjects s ON s.subject = i.subject WHERE i.discharged_at IS NULL AND s.woken_at > 0) AS waiting"
);
const ARRIVED: &str = "UPDATE counters SET value = max(value, ?1) WHERE name = 'marker'";
/// In the batch that asks for the lease: the turn did not come. A message that is
/// delivered again keeps its mark; one with nothing to cover, or without authority, ends.
const HEARD: &str = concat!(
    "UPDATE subjects SET woken_at = CASE WHEN ",
    may_relay!(),
    " AND EXISTS (SELECT 1 FROM intents i WHERE i.subject = ?1 AND i.side = ",
    relay_side!(),
    " AND ",
    coverable!(),
    ") THEN max(",
    now!(),
    ", (SELECT value FROM counters WHERE name = 'paused_until'), coalesce(retry_at, 0)) ELSE 0 END ",
    "WHERE subject = ?1 AND lease_holder <> ?2"
);
/// After a turn that is tried again; not when another message is on its way by now.
const COMES_AGAIN: &str = concat!(
    "UPDATE subjects SET woken_at = ",
    now!(),
    " + ?3 WHERE subject = ?1 AND lease_holder = ?2 AND woken_at = 0 RETURNING subject AS woken"
);
const FORGET: &str =
    "UPDATE subjects SET woken_at = 0 WHERE subject IN (SELECT value FROM json_each(?1))";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    WAKE,
    WAKE_BY_INTENT,
    WAKE_DUE,
    WAITING,
    ARRIVED,
    HEARD,
    COMES_AGAIN,
    FORGET,
];

/// Marks those of them who have something to cover and are not woken yet.
pub fn all(subjects: &[UserId]) -> Statement {
    Statement::new(WAKE, vec![id_list(subjects).into()])
}

/// The same for whomever an intent concerns, in the batch that settles it.
pub fn by_intent(id: &str) -> Statement {
    Statement::new(WAKE_BY_INTENT, vec![id.into()])
}

/// The sweep's: marks who is due and not woken. Of two crons at once each gets others.
pub fn due(limit: i64) -> Vec<Statement> {
    vec![
        Statement::new(WAKE_DUE, vec![limit.into()]),
        Statement::new(WAITING, vec![]),
    ]
}

/// Whom a batch has marked: each is to be sent one message.
pub fn parse(results: &[Vec<Row>]) -> Vec<UserId> {
    results
        .iter()
        .flatten()
        .filter_map(|row| UserId::parse(&text(row, "woken")?))
        .collect()
}

/// What the marker of this sweep says; `None`: nobody waits for a message.
pub fn parse_marker(results: &[Vec<Row>]) -> Option<i64> {
    let row = results.last()?.first()?;
    (integer(row, "waiting")? != 0).then_some(())?;
    integer(row, "now")
}

/// A marker has come through the Queue.
pub fn arrived(marker_ms: i64) -> Vec<Statement> {
    vec![Statement::new(ARRIVED, vec![marker_ms.into()])]
}

/// A message was delivered; `holder` asks for the lease.
pub fn heard(subject: &UserId, holder: &str) -> Statement {
    Statement::new(HEARD, vec![subject.as_str().into(), holder.into()])
}

/// The message of this turn is delivered again after so long, if [`parse`] finds its
/// subject in the answer.
pub fn comes_again(subject: &UserId, holder: &str, wait_ms: i64) -> Statement {
    let values = vec![subject.as_str().into(), holder.into(), wait_ms.into()];
    Statement::new(COMES_AGAIN, values)
}

/// Their messages were not sent, or end without a turn.
pub fn forget(subjects: &[UserId]) -> Vec<Statement> {
    vec![Statement::new(FORGET, vec![id_list(subjects).into()])]
}
