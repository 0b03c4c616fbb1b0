//! An intent in the outbox: one write that is about to happen, and how Logto answered it.
//!
//! Harmless twice: opening (same id), settling (an upsert; a row already gone comes back
//! settled, a settled one stays as it is), learning a subject.

use crate::handover::authority::{View, parse_view};
use crate::inbound::classify::Operation;
use crate::inbound::request::{InteractionUid, UserId};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{
    expiry_ms, holder, integer, may_trigger, now, sequence, text, view_columns,
};

/// Only while Logto is the authority: then the row is the proof of it.
const OPEN: &str = concat!(
    "INSERT INTO intents (id, subject, interaction, operation, opened_at, expires_at, generation) ",
    "SELECT ?1, coalesce(?2, (SELECT subject FROM interactions WHERE uid = ?3)), ?3, ?4, ",
    now!(),
    ", ",
    now!(),
    " + ",
    expiry_ms!(),
    ", generation FROM authority WHERE ",
    holder!(),
    " = 'logto' ON CONFLICT (id) DO NOTHING"
);
const OPENED: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM intents WHERE id = ?1 AND side = 'logto') AS is_open, ",
    "(SELECT subject FROM intents WHERE id = ?1) AS subject, ",
    view_columns!(),
    " FROM authority"
);
/// A record that comes late, whoever is the authority by now.
const OPEN_LATE: &str = concat!(
    "INSERT INTO intents (id, subject, interaction, operation, opened_at, expires_at) ",
    "VALUES (?1, coalesce(?2, (SELECT subject FROM interactions WHERE uid = ?3)), ?3, ?4, ",
    now!(),
    ", ",
    now!(),
    " + ",
    expiry_ms!(),
    ") ON CONFLICT (id) DO NOTHING"
);
const SUBJECT_OF_INTENT: &str = "SELECT subject FROM intents WHERE id = ?1";
pub(super) const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
/// Told again, a settling changes nothing: what it stands for may be covered by now,
/// and what it owes paid. Only a user whom nobody knew yet is news. ?6: not a client's
/// write, but a trigger of the mirror's, which starts nothing while mgPass is the
/// authority.
const SETTLE: &str = concat!(
    "INSERT INTO intents (id, subject, interaction, operation, opened_at, expires_at, settled, status) ",
    "SELECT ?1, coalesce(?2, (SELECT subject FROM interactions WHERE uid = ?3)), ?3, ?4, ",
    now!(),
    ", ",
    now!(),
    ", ",
    sequence!(),
    ", ?5 WHERE ?6 = 0 OR ",
    may_trigger!(),
    " ON CONFLICT (id) DO UPDATE SET settled = excluded.settled, status = excluded.status, ",
    "subject = coalesce(excluded.subject, intents.subject), discharged_at = NULL ",
    "WHERE intents.status IS NULL OR (intents.subject IS NULL AND excluded.subject IS NOT NULL)"
);
const LEARN: &str = concat!(
    "INSERT INTO interactions (uid, subject, learned_at) VALUES (?1, ?2, ",
    now!(),
    ") ",
    "ON CONFLICT (uid) DO UPDATE SET subject = excluded.subject, learned_at = excluded.learned_at"
);
const LEARN_INTENTS: &str =
    "UPDATE intents SET subject = ?2 WHERE interaction = ?1 AND subject IS NULL";
/// Nobody was changed: nothing is owed, and nothing is to be fenced.
const WITHDRAW: &str = "DELETE FROM intents WHERE id = ?1 AND settled IS NULL";
const RAISE_EPOCH: &str =
    "UPDATE counters SET value = value + 1 WHERE name IN ('epoch', 'unrecorded')";
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    OPEN,
    OPENED,
    OPEN_LATE,
    SUBJECT_OF_INTENT,
    NEXT,
    SETTLE,
    LEARN,
    LEARN_INTENTS,
    WITHDRAW,
    RAISE_EPOCH,
];

/// One write about to happen. The id is the proxy's own, so that opening and
/// settling find each other however often and in whatever order they land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub id: String,
    pub subject: Option<UserId>,
    pub interaction: Option<InteractionUid>,
    /// Name of the operation.
    pub operation: String,
}

impl Intent {
    fn key(&self) -> Vec<Value> {
        vec![
            self.id.as_str().into(),
            self.subject.as_ref().map(UserId::as_str).into(),
            self.interaction.as_ref().map(InteractionUid::as_str).into(),
            self.operation.as_str().into(),
        ]
    }

    /// Answered as [`Self::parse_opened`] reads it. Who is known names what that
    /// interaction did before.
    pub fn open(&self) -> Vec<Statement> {
        let id = vec![self.id.as_str().into()];
        self.opening(OPEN, Statement::new(OPENED, id))
    }

    /// From the Queue: it was forwarded long ago.
    pub fn open_late(&self) -> Vec<Statement> {
        let id = vec![self.id.as_str().into()];
        self.opening(OPEN_LATE, Statement::new(SUBJECT_OF_INTENT, id))
    }

    /// `None`: a row was not as the schema says.
    pub fn parse_opened(results: &[Vec<Row>]) -> Option<Opened> {
        let row = results.last()?.first()?;
        Some(Opened {
            is_open: integer(row, "is_open")? != 0,
            subject: text(row, "subject").as_deref().and_then(UserId::parse),
            view: parse_view(row)?,
        })
    }

    fn opening(&self, sql: &'static str, answer: Statement) -> Vec<Statement> {
        let mut statements = vec![Statement::new(sql, self.key())];
        if let (Some(interaction), Some(subject)) = (&self.interaction, &self.subject) {
            statements.extend(learn(interaction, subject));
        }
        statements.push(answer);
        statements
    }

    pub fn settle(&self, status: u16) -> Vec<Statement> {
        let mut values = self.key();
        let is_trigger = Operation::from_name(&self.operation).is_none();
        values.extend([i64::from(status).into(), is_trigger.into()]);
        vec![
            Statement::new(NEXT, vec![]),
            Statement::new(SETTLE, values),
            Statement::new(SUBJECT_OF_INTENT, vec![self.id.as_str().into()]),
        ]
    }

    /// Unless it is settled already.
    pub fn withdraw(&self) -> Vec<Statement> {
        vec![Statement::new(WITHDRAW, vec![self.id.as_str().into()])]
    }
}

/// What the database said to [`Intent::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The intent is there, and so Logto was the authority: the write may be forwarded.
    pub is_open: bool,
    /// Whom the interaction belongs to, where that was known.
    pub subject: Option<UserId>,
    /// Of the authority, at the same moment.
    pub view: View,
}

/// The answer of `open_late` and `settle`.
pub fn parse_subject(results: &[Vec<Row>]) -> Option<UserId> {
    let subject = results
        .iter()
        .flatten()
        .find_map(|row| text(row, "subject"))?;
    UserId::parse(&subject)
}

pub fn learn(interaction: &InteractionUid, subject: &UserId) -> Vec<Statement> {
    let values = || {
        vec![
            Value::from(interaction.as_str()),
            Value::from(subject.as_str()),
        ]
    };
    vec![
        Statement::new(LEARN, values()),
        Statement::new(LEARN_INTENTS, values()),
    ]
}

/// An acknowledged write was not recorded: nobody is eligible until reconciled anew.
pub fn raise_epoch() -> Vec<Statement> {
    vec![Statement::new(RAISE_EPOCH, vec![])]
}
