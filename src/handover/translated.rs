//! The record of a translated write: a user write that is carried out at mgPass.
//!
//! The same two fences as at Logto. In the insert: there is an intent only while mgPass
//! is the authority, and its generation is the answer; the batch at mgPass carries it
//! (`in_generation!`). And in the settling: only what was settled in the same generation
//! may be acknowledged, so a write that hangs while the authority moves is not.
//!
//! Harmless twice: opening (same id), settling (what is settled stays as it is).

use crate::handover::authority::{View, parse_view};
use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{
    expiry_ms, holder, integer, now, sequence, takes_translated, view_columns,
};

const OPEN: &str = concat!(
    "INSERT INTO intents (id, subject, operation, opened_at, expires_at, side, generation, nonce) ",
    "SELECT ?1, ?2, ?3, ",
    now!(),
    ", ",
    now!(),
    " + ",
    expiry_ms!(),
    ", 'mgpass', generation, ?4 FROM authority WHERE ",
    holder!(),
    " IN ('mgpass', 'alone') AND raise_owed = 0 ON CONFLICT (id) DO NOTHING"
);
const OPENED: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM intents WHERE id = ?1 AND side = 'mgpass') AS is_open, ",
    sequence!(),
    " AS ticket, ",
    view_columns!(),
    " FROM authority"
);
const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
const SETTLE: &str = concat!(
    "UPDATE intents SET settled = ",
    sequence!(),
    ", status = ?2, subject = coalesce(subject, ?4) WHERE id = ?1 AND settled IS NULL AND generation = ?3 AND ",
    takes_translated!(),
    " AND (SELECT generation FROM authority) = ?3"
);
/// Alone nobody covers intents: of each user the newest is kept, which says that Logto
/// lacks something of theirs should it be asked again.
const COMPACT: &str = "DELETE FROM intents WHERE side = 'mgpass' AND discharged_at IS NULL AND settled IS NOT NULL \
     AND subject = (SELECT subject FROM intents WHERE id = ?1) AND settled < (SELECT settled FROM intents WHERE id = ?1) \
     AND (SELECT holder FROM authority) = 'alone'";
const SETTLED: &str =
    "SELECT settled IS NOT NULL AS is_settled, subject FROM intents WHERE id = ?1";
/// Nobody was changed: nothing is owed, and nothing is to be fenced.
const WITHDRAW: &str = "DELETE FROM intents WHERE id = ?1 AND settled IS NULL AND side = 'mgpass'";

const TICKET: &str = concat!("SELECT ", sequence!(), " AS ticket");
/// A create whose id Logto has given.
const LEARN: &str = "UPDATE intents SET subject = ?2 WHERE id = ?1 AND subject IS NULL";
/// Logto keeps an older password than mgPass.
const OWE_PASSWORD: &str = concat!(
    "INSERT INTO debt (subject, class, code, since) VALUES (?1, 'credential_at_mgpass', 'password_not_carried', ",
    now!(),
    ") ON CONFLICT (subject, class, code) DO NOTHING"
);
/// Whatever became of the one before.
const FORGIVE_PASSWORD: &str = "DELETE FROM debt WHERE subject = ?1 AND class = 'credential_at_mgpass' \
     AND code IN ('password_not_carried', 'password_ended')";

const OWES_PASSWORD: &str = "SELECT EXISTS (SELECT 1 FROM debt WHERE subject = ?1 AND class = 'credential_at_mgpass') AS owes";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    OPEN,
    OPENED,
    NEXT,
    SETTLE,
    SETTLED,
    COMPACT,
    WITHDRAW,
    TICKET,
    LEARN,
    OWE_PASSWORD,
    FORGIVE_PASSWORD,
    OWES_PASSWORD,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslatedIntent {
    /// The proxy's own.
    pub id: String,
    /// `None`: a create, whose id Logto is asked for.
    pub subject: Option<UserId>,
    /// Name of the operation.
    pub operation: &'static str,
    /// By which the user is known that a create reserves at Logto.
    pub nonce: Option<String>,
}

/// What the database said to [`TranslatedIntent::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The intent is there: the write may begin, in the view's generation.
    pub is_open: bool,
    /// Of the one sequence that all tickets come from: newer than any that is in force.
    pub ticket: i64,
    pub view: View,
}

impl TranslatedIntent {
    pub fn open(&self) -> Vec<Statement> {
        let values = vec![
            self.id.as_str().into(),
            self.subject.as_ref().map(UserId::as_str).into(),
            self.operation.into(),
            self.nonce.as_deref().into(),
        ];
        vec![
            Statement::new(NEXT, vec![]),
            Statement::new(OPEN, values),
            Statement::new(OPENED, vec![self.id.as_str().into()]),
        ]
    }

    /// The batch at mgPass was applied. Acknowledged only if [`parse_settled`] says so.
    pub fn settle(&self, status: u16, generation: i64) -> Vec<Statement> {
        let values = vec![
            self.id.as_str().into(),
            i64::from(status).into(),
            generation.into(),
            Value::from(self.subject.as_ref().map(UserId::as_str)),
        ];
        vec![
            Statement::new(NEXT, vec![]),
            Statement::new(SETTLE, values),
            Statement::new(SETTLED, vec![self.id.as_str().into()]),
            Statement::new(COMPACT, vec![self.id.as_str().into()]),
        ]
    }

    /// Refused, by Logto's rules or ours, before anything was written.
    pub fn withdraw(&self) -> Vec<Statement> {
        vec![Statement::new(WITHDRAW, vec![self.id.as_str().into()])]
    }
}

/// Logto has given the new user of that intent an id.
pub fn learn(intent: &str, subject: &UserId) -> Statement {
    Statement::new(LEARN, vec![intent.into(), subject.as_str().into()])
}

/// The answer of [`TranslatedIntent::open`]. `None`: a row was not as the schema says.
pub fn parse_opened(results: &[Vec<Row>]) -> Option<Opened> {
    let row = results.get(2)?.first()?;
    Some(Opened {
        is_open: integer(row, "is_open")? != 0,
        ticket: integer(row, "ticket")?,
        view: parse_view(row)?,
    })
}

/// Whether Logto is known to keep another password than mgPass.
pub fn owes_password(subject: &UserId) -> Statement {
    Statement::new(OWES_PASSWORD, vec![subject.as_str().into()])
}

pub fn parse_owes_password(results: &[Vec<Row>]) -> bool {
    let row = results.first().and_then(|rows| rows.first());
    row.and_then(|row| integer(row, "owes")) == Some(1)
}

/// One more, where somebody else's has come into force meanwhile.
pub fn next_ticket() -> Vec<Statement> {
    vec![Statement::new(NEXT, vec![]), Statement::new(TICKET, vec![])]
}

pub fn parse_ticket(results: &[Vec<Row>]) -> Option<i64> {
    integer(results.get(1)?.first()?, "ticket")
}

/// Whether Logto took the password that mgPass was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLogto {
    Set,
    Owed,
}

pub fn note_password(subject: &UserId, at_logto: AtLogto) -> Statement {
    let sql = match at_logto {
        AtLogto::Set => FORGIVE_PASSWORD,
        AtLogto::Owed => OWE_PASSWORD,
    };
    Statement::new(sql, vec![subject.as_str().into()])
}

/// The answer of [`TranslatedIntent::settle`]; false: the authority has moved, and the
/// client must not be told that the write was done.
pub fn parse_settled(results: &[Vec<Row>]) -> bool {
    let row = results.get(2).and_then(|rows| rows.first());
    row.and_then(|row| integer(row, "is_settled")) == Some(1)
}
