//! The outbox: who is about to change, in the proxy's own database.
//!
//! An intent is opened before its write is forwarded, settled when Logto has
//! answered, and discharged only by a reconcile that was applied and whose read
//! of Logto began after the settling. Settle order and tickets come from one
//! sequence; leases and expiry use the database's clock. No personal data: a user
//! id and an operation name, never a body. Here: who may reconcile a subject, and what
//! becomes of what they covered.
//!
//! Harmless twice: discharging, and letting a lease go that is another's by now.

pub use crate::mirror::backlog::{backlog, parse_purge, purge};
pub use crate::mirror::fence::{Fence, fence, parse_fence};
pub use crate::mirror::intent::{Intent, learn, parse_subject, raise_epoch};

use crate::handover::authority::{Holder, Side};
use crate::inbound::request::UserId;
use crate::mirror::intent::NEXT;
use crate::mirror::passwords::state;
use crate::mirror::wake;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{
    coverable, integer, late_commit_ms, lease_ms, may_relay, now, relay_side, sequence, text,
};

/// Not while the relay is paused, nor where it may not write, nor, for a turn of the
/// subject's own, with nothing to cover. Who is held for a person is not reconciled from
/// Logto; towards Logto they are looked at, and not written either. ?4: to end a password at
/// mgPass, which waits for neither.
const LEASE: &str = concat!(
    "INSERT INTO subjects (subject, lease_holder, lease_until) SELECT ?1, ?2, ",
    now!(),
    " + ",
    lease_ms!(),
    " WHERE (?4 = 1 OR (SELECT value FROM counters WHERE name = 'paused_until') <= ",
    now!(),
    ") AND ",
    may_relay!(),
    " AND (?4 = 1 OR ",
    relay_side!(),
    " <> 'logto' OR NOT EXISTS (SELECT 1 FROM held_subjects WHERE subject = ?1)) ",
    "AND (?3 = 1 OR EXISTS (SELECT 1 FROM intents i WHERE i.subject = ?1 AND i.side = ",
    relay_side!(),
    " AND ",
    coverable!(),
    ")) ",
    "ON CONFLICT (subject) DO UPDATE SET lease_holder = excluded.lease_holder, ",
    "lease_until = excluded.lease_until, ",
    "woken_at = CASE WHEN ?3 = 1 THEN subjects.woken_at ELSE 0 END ",
    "WHERE subjects.lease_until < ",
    now!(),
    " AND (?3 = 1 OR (subjects.busy_until <= ",
    now!(),
    " AND coalesce(subjects.retry_at, 0) <= ",
    now!(),
    "))"
);
const LEASE_STATE: &str = concat!(
    "SELECT ",
    now!(),
    " AS now, ",
    sequence!(),
    " AS ticket, (SELECT value FROM counters WHERE name = 'epoch') AS epoch, ",
    "(SELECT value FROM counters WHERE name = 'unrecorded') AS n_gaps, ",
    "(SELECT holder FROM authority) AS authority, (SELECT generation FROM authority) AS generation, ",
    "(SELECT raise_owed FROM authority) AS raise_owed, ",
    "EXISTS (SELECT 1 FROM held_subjects WHERE subject = ?1) AS is_held_back, ",
    "(SELECT value FROM counters WHERE name = 'paused_until') AS paused_until, ",
    "coalesce((SELECT lease_holder = ?2 FROM subjects WHERE subject = ?1), 0) AS held, ",
    "coalesce((SELECT retry_at FROM subjects WHERE subject = ?1), 0) AS retry_at, ",
    "EXISTS (SELECT 1 FROM intents i WHERE i.subject = ?1 AND i.side = ",
    relay_side!(),
    " AND ",
    coverable!(),
    ") AS coverable, ",
    "(SELECT json_object('state', state, 'ticket', ticket, 'n_gaps', n_gaps, 'not_before', not_before) FROM passwords WHERE subject = ?1) AS password, ",
    "coalesce((SELECT failures FROM subjects WHERE subject = ?1), 0) AS failures, ",
    "coalesce((SELECT last_outcome = 'not_visible' FROM subjects WHERE subject = ?1), 0) AS unseen"
);
const COVERED: &str = concat!(
    "SELECT operation, status, settled, expires_at, expiry_checks FROM intents WHERE subject = ?1 AND discharged_at IS NULL AND side = ",
    relay_side!()
);
/// A DELETE that Logto may have carried out by now, and whose answer is still to come;
/// or a witness that came after the ticket.
const DELETION_UNDER_WAY: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM intents WHERE subject = ?1 AND discharged_at IS NULL AND (",
    "(settled IS NULL AND operation = 'users.delete' AND expires_at > ",
    now!(),
    ") OR (settled > ?2 AND status = 204 ",
    "AND operation IN ('users.delete', 'webhook.deletion', 'confirmed.deletion'))",
    ")) AS under_way"
);
const DISCHARGE_SETTLED: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE subject = ?1 AND discharged_at IS NULL AND side = ?3 ",
    "AND settled IS NOT NULL AND settled <= ?2"
);
const CHECK_EXPIRED: &str = concat!(
    "UPDATE intents SET expiry_checks = expiry_checks + 1, ",
    "discharged_at = CASE WHEN opened_at + ",
    late_commit_ms!(),
    " <= ?2 THEN ",
    now!(),
    " END ",
    "WHERE subject = ?1 AND discharged_at IS NULL AND side = ?3 AND settled IS NULL AND expires_at <= ?2"
);
/// Looked at, and what they may have done is owed; discharged by no less than equality.
const LOOK_AT_EXPIRED: &str = "UPDATE intents SET expiry_checks = expiry_checks + 1 \
     WHERE subject = ?1 AND discharged_at IS NULL AND settled IS NULL AND expires_at <= ?2";
const RELEASE_DONE: &str = concat!(
    "UPDATE subjects SET lease_until = 0, failures = 0, retry_at = NULL, parked = NULL, parked_at = NULL, waits_for = NULL, ",
    "last_ticket = ?3, last_outcome = ?4, last_at = ",
    now!(),
    " WHERE subject = ?1 AND lease_holder = ?2"
);
const RELEASE_FAILED: &str = concat!(
    "UPDATE subjects SET lease_until = 0, failures = ?5, retry_at = ",
    now!(),
    " + ?3, last_outcome = ?4, ",
    "last_at = ",
    now!(),
    " WHERE subject = ?1 AND lease_holder = ?2"
);
const RELEASE_PARKED: &str = concat!(
    "UPDATE subjects SET lease_until = 0, retry_at = NULL, parked = ?3, parked_at = ",
    now!(),
    ", last_ticket = ?4, last_outcome = 'parked', ",
    "last_at = ",
    now!(),
    " WHERE subject = ?1 AND lease_holder = ?2"
);
/// The holder is parked in the same batch, under our lease: it cannot have moved since.
const WAIT_FOR: &str =
    "UPDATE subjects SET waits_for = ?3 WHERE subject = ?1 AND lease_holder = ?2";
/// Whoever waited for this subject has their turn, parked or not, and is woken at once,
/// whether or not a message comes again later.
const FREE_WAITING: &str = concat!(
    "UPDATE subjects SET waits_for = NULL, failures = 0, retry_at = NULL, parked = NULL, parked_at = NULL, woken_at = ",
    now!(),
    " WHERE waits_for = ?1 RETURNING subject AS woken"
);
const RELEASE_UNTRIED: &str =
    "UPDATE subjects SET lease_until = 0 WHERE subject = ?1 AND lease_holder = ?2";
const RELEASE_WAITING: &str = concat!(
    "UPDATE subjects SET lease_until = 0, busy_until = ",
    now!(),
    " + ?3 WHERE subject = ?1 AND lease_holder = ?2"
);
const PAUSE: &str = concat!(
    "UPDATE counters SET value = max(value, ",
    now!(),
    " + ?1) WHERE name = 'paused_until'"
);
const CATCH_UP: &str = "UPDATE counters SET value = max(value, ?1) WHERE name = 'sequence'";
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    LEASE,
    LEASE_STATE,
    COVERED,
    DELETION_UNDER_WAY,
    DISCHARGE_SETTLED,
    CHECK_EXPIRED,
    LOOK_AT_EXPIRED,
    RELEASE_DONE,
    RELEASE_FAILED,
    RELEASE_PARKED,
    WAIT_FOR,
    FREE_WAITING,
    RELEASE_UNTRIED,
    RELEASE_WAITING,
    PAUSE,
    CATCH_UP,
];

/// What a relay holds while it reconciles one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub subject: UserId,
    pub holder: String,
    /// Taken before Logto is read: intents settled up to it are covered.
    pub ticket: i64,
    pub epoch: i64,
    /// In recording, so far. A way back by the rules raises the epoch and is none.
    pub n_gaps: i64,
    /// Of the authority; the batch at mgPass carries it.
    pub generation: i64,
    pub authority: Holder,
    pub taken_at_ms: i64,
    pub failures: i64,
    /// The last of them: mgPass's API did not show what was written.
    pub is_unseen: bool,
    /// Looked at, and written by neither direction, but for a suspension towards Logto.
    pub is_held_back: bool,
    /// What is known of the user's password at mgPass.
    pub password: Option<state::Row>,
    pub covered: Vec<Covered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    pub operation: String,
    pub status: Option<i64>,
    pub settled: Option<i64>,
    /// Not settled in time, and looked at for the first time: what it may have done is
    /// owed once. The second look is for what a late commit left behind.
    pub is_suspect: bool,
    /// Not settled in time, however often it was looked at.
    pub is_expired: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    Held(Lease),
    Busy,
    /// All relays wait, or this subject does after a refusal of its own.
    Paused {
        until_ms: i64,
        now_ms: i64,
    },
    /// Somebody else's turn has covered it.
    NothingToCover,
    /// Not before mgPass's database knows this generation of the authority.
    RaiseOwed,
    /// Neither direction writes this user until a person has decided; towards Logto they
    /// are looked at.
    HeldBack,
}

/// For whom a lease is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To reconcile the subject itself.
    Own,
    /// It holds what another subject needs; it does not wait for its turn.
    AsHolder,
    /// An old password of theirs must not stay alive at mgPass, whoever waits for what.
    ToVoid,
}

pub fn lease(subject: &UserId, holder: &str, purpose: Purpose) -> Vec<Statement> {
    let values = || vec![Value::from(subject.as_str()), Value::from(holder)];
    let mut taking = values();
    taking.push((purpose != Purpose::Own).into());
    taking.push((purpose == Purpose::ToVoid).into());
    let mut statements = vec![
        Statement::new(NEXT, vec![]),
        Statement::new(LEASE, taking),
        Statement::new(LEASE_STATE, values()),
        Statement::new(COVERED, vec![subject.as_str().into()]),
    ];
    match purpose {
        Purpose::Own => statements.push(wake::heard(subject, holder)),
        Purpose::AsHolder | Purpose::ToVoid => {}
    }
    statements
}

pub fn parse_lease(
    subject: &UserId,
    holder: &str,
    purpose: Purpose,
    results: &[Vec<Row>],
) -> Option<LeaseAnswer> {
    let [_, _, state, covered, ..] = results else {
        return None;
    };
    let row = state.first()?;
    let authority = Holder::from_name(&text(row, "authority")?)?;
    if integer(row, "raise_owed")? != 0 {
        return Some(LeaseAnswer::RaiseOwed);
    }
    let is_held_back = integer(row, "is_held_back")? != 0;
    let waits = purpose != Purpose::ToVoid;
    if is_held_back && authority.source() == Side::Logto && waits {
        return Some(LeaseAnswer::HeldBack);
    }
    let is_held = integer(row, "held")? != 0;
    let now_ms = integer(row, "now")?;
    if !is_held && purpose == Purpose::Own && integer(row, "coverable")? == 0 {
        return Some(LeaseAnswer::NothingToCover);
    }
    let mut until_ms = integer(row, "paused_until")?;
    if !is_held {
        until_ms = until_ms.max(integer(row, "retry_at")?);
    }
    if until_ms > now_ms && waits {
        return Some(LeaseAnswer::Paused { until_ms, now_ms });
    }
    if !is_held {
        return Some(LeaseAnswer::Busy);
    }
    Some(LeaseAnswer::Held(Lease {
        subject: subject.clone(),
        holder: holder.to_owned(),
        ticket: integer(row, "ticket")?,
        epoch: integer(row, "epoch")?,
        n_gaps: integer(row, "n_gaps")?,
        generation: integer(row, "generation")?,
        authority,
        taken_at_ms: now_ms,
        failures: integer(row, "failures")?,
        is_unseen: integer(row, "unseen")? != 0,
        is_held_back,
        password: state::Row::parse(row),
        covered: covered
            .iter()
            .map(|row| {
                let settled = integer(row, "settled");
                let is_first_look = integer(row, "expiry_checks")? == 0;
                let is_expired = settled.is_none() && integer(row, "expires_at")? <= now_ms;
                Some(Covered {
                    operation: text(row, "operation")?,
                    status: integer(row, "status"),
                    settled,
                    is_suspect: is_expired && is_first_look,
                    is_expired,
                })
            })
            .collect::<Option<_>>()?,
    }))
}

impl Lease {
    /// Whose user is the truth.
    pub fn source(&self) -> Side {
        self.authority.source()
    }

    fn key(&self) -> Vec<Value> {
        vec![self.subject.as_str().into(), self.holder.as_str().into()]
    }

    /// Applied, read back, equal: discharges what the ticket covers.
    pub fn done(&self, outcome: &'static str) -> Vec<Statement> {
        let subject = || Value::from(self.subject.as_str());
        let side = || Value::from(self.source().name());
        let mut release = self.key();
        release.extend([self.ticket.into(), outcome.into()]);
        vec![
            Statement::new(
                DISCHARGE_SETTLED,
                vec![subject(), self.ticket.into(), side()],
            ),
            Statement::new(
                CHECK_EXPIRED,
                vec![subject(), self.taken_at_ms.into(), side()],
            ),
            Statement::new(RELEASE_DONE, release),
        ]
    }

    /// Asked once Logto has said that the user is gone.
    pub fn deletion_under_way(&self) -> Statement {
        let values = vec![self.subject.as_str().into(), self.ticket.into()];
        Statement::new(DELETION_UNDER_WAY, values)
    }

    /// A refusal of this subject's own, the how-manieth: discharges nothing.
    pub fn failed(&self, code: &'static str, failures: i64, wait_ms: i64) -> Vec<Statement> {
        let mut values = self.key();
        values.extend([wait_ms.into(), code.into(), failures.into()]);
        vec![Statement::new(RELEASE_FAILED, values)]
    }

    pub fn parked(&self, reason: &'static str) -> Vec<Statement> {
        let mut values = self.key();
        values.extend([reason.into(), self.ticket.into()]);
        vec![Statement::new(RELEASE_PARKED, values)]
    }

    /// Applied, but a person decides on the rest: discharges nothing.
    pub fn held(&self, reason: &'static str) -> Vec<Statement> {
        let looked_at = vec![self.subject.as_str().into(), self.taken_at_ms.into()];
        let mut statements = vec![Statement::new(LOOK_AT_EXPIRED, looked_at)];
        statements.extend(self.parked(reason));
        statements
    }

    /// Beside [`Self::failed`] or [`Self::parked`]: until that subject has moved.
    pub fn waiting_for(&self, holder: &UserId) -> Statement {
        let mut values = self.key();
        values.push(holder.as_str().into());
        Statement::new(WAIT_FOR, values)
    }

    /// Answers who waited, as [`crate::mirror::wake::parse`] reads it.
    pub fn free_waiting(&self) -> Statement {
        Statement::new(FREE_WAITING, vec![self.subject.as_str().into()])
    }

    /// Not this subject's fault: nothing is counted.
    pub fn untried(&self) -> Vec<Statement> {
        vec![Statement::new(RELEASE_UNTRIED, self.key())]
    }
}

impl Lease {
    /// Somebody else is at work on what this one needs.
    pub fn waiting(&self, wait_ms: i64) -> Vec<Statement> {
        let mut values = self.key();
        values.push(wait_ms.into());
        vec![Statement::new(RELEASE_WAITING, values)]
    }
}

/// The answer of [`Lease::deletion_under_way`].
pub fn parse_under_way(results: &[Vec<Row>]) -> Option<bool> {
    Some(integer(results.first()?.first()?, "under_way")? != 0)
}

/// All relays wait: a backend is down.
pub fn pause(duration_ms: i64) -> Statement {
    Statement::new(PAUSE, vec![duration_ms.into()])
}

/// The target has seen a higher ticket than the sequence gave: go past it.
pub fn catch_up(ticket: i64) -> Statement {
    Statement::new(CATCH_UP, vec![ticket.into()])
}
