//! What the proxy knows of a user's password at mgPass: one row, and what is due of it.

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::outbox::{Covered, Lease};
use crate::mirror::passwords::state::State;
use crate::runtime::ports::{Row as DatabaseRow, Statement, Value};
use crate::runtime::sql::{holder, integer, late_commit_ms, now, password_operations, text};

/// A user who cannot be carried is not looked at again by each of their sign-ins.
const NOT_READY_REST_MS: i64 = 86_400_000;
/// Longer than anything lasts: until a password operation says otherwise.
const FOR_GOOD_MS: i64 = 1_000_000_000_000;
/// A void that was begun and not ended is tried again so long after.
const VOID_AGAIN_MS: i64 = 60_000;

/// What an operation may have changed of how a user signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Nothing,
    Password,
    /// Perhaps a second factor.
    Factor,
}

impl Touch {
    pub fn of(operation: &str) -> Self {
        match Operation::from_name(operation) {
            Some(
                Operation::UsersPassword
                | Operation::AccountPassword
                | Operation::ExperienceStaged
                | Operation::InteractionSubmit
                | Operation::InteractionOther,
            ) => Self::Password,
            Some(Operation::UsersOther | Operation::AccountWrite | Operation::ExperienceOther) => {
                Self::Factor
            }
            Some(_) | None => Self::Nothing,
        }
    }
}

/// Why a void is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    PasswordOperation,
    Unanswered,
    Gap,
    LeftOver,
    NotReady,
    ChangedAround,
}

impl Why {
    pub fn code(self) -> &'static str {
        match self {
            Self::PasswordOperation => "password_operation",
            Self::Unanswered => "unanswered",
            Self::Gap => "gap",
            Self::LeftOver => "left_over",
            Self::NotReady => "not_ready",
            Self::ChangedAround => "changed_around",
        }
    }
}

/// What must happen before intents that a lease covers are discharged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Void(Why),
    /// Logto is asked whether the user has a second factor by now.
    Look,
}

pub fn due(lease: &Lease) -> Due {
    let Some(row) = lease.password.as_ref().filter(|row| row.state.is_there()) else {
        return Due::Nothing;
    };
    match row.state {
        // Whoever began it had the lease, and has it no more.
        State::Carrying => return Due::Void(Why::LeftOver),
        State::VoidOwed => return Due::Void(Why::Unanswered),
        State::Carried | State::None => {}
    }
    if row.n_gaps < lease.n_gaps {
        return Due::Void(Why::Gap);
    }
    let touched = |touch| {
        lease
            .covered
            .iter()
            .filter(move |intent| Touch::of(&intent.operation) == touch)
    };
    let changes = |intent: &Covered| match intent.settled {
        Some(settled) => settled > row.ticket && !is_refused(intent),
        None => intent.is_expired,
    };
    if touched(Touch::Password).any(changes) {
        return Due::Void(Why::PasswordOperation);
    }
    match touched(Touch::Factor).next() {
        Some(_) => Due::Look,
        None => Due::Nothing,
    }
}

/// Of these two nothing is committed before Logto refuses; of an interaction's end it may be.
fn is_refused(intent: &Covered) -> bool {
    let is_plain = matches!(
        Operation::from_name(&intent.operation),
        Some(Operation::UsersPassword | Operation::AccountPassword)
    );
    is_plain
        && intent
            .status
            .is_some_and(|status| (400..500).contains(&status))
}

/// A lease covers a password operation, so that a carry may be tried again.
pub fn frees(lease: &Lease) -> bool {
    let covers = |intent: &Covered| Touch::of(&intent.operation) == Touch::Password;
    lease
        .password
        .as_ref()
        .is_some_and(|row| row.not_before > 0)
        && lease.covered.iter().any(covers)
}

/// While Logto is the authority and no hand-over is near; the turn's lease (?2) lasts as
/// long as a call may take; and no password operation of the user is under way.
macro_rules! may_begin {
    () => {
        concat!(
            holder!(),
            " = 'logto' AND announced_until IS NULL ",
            "AND EXISTS (SELECT 1 FROM password_carry WHERE decided_at IS NOT NULL AND passed_at IS NOT NULL) ",
            "AND EXISTS (SELECT 1 FROM subjects WHERE subject = ?1 AND lease_holder = ?2 AND lease_until > ",
            now!(),
            " + 12000) AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = ?1 AND i.side = 'logto' ",
            "AND i.settled IS NULL AND i.discharged_at IS NULL AND i.operation IN ",
            password_operations!(),
            ")"
        )
    };
}

const FIND: &str = "SELECT json_object('state', state, 'ticket', ticket, 'n_gaps', n_gaps, 'not_before', not_before) \
     AS password FROM passwords WHERE subject = ?1";
/// One carry within the budget, while all that it rests on holds. `road` is told by then.
const TRY: &str = concat!(
    "INSERT INTO passwords (subject, state, road, ticket, n_gaps, since, tried_at) SELECT ?1, 'none', ?3, ?4, ?5, ",
    now!(),
    ", ",
    now!(),
    " FROM authority WHERE ",
    may_begin!(),
    " AND (SELECT count(*) FROM passwords WHERE tried_at > ",
    now!(),
    " - 60000) < ?6 ON CONFLICT (subject) DO UPDATE SET tried_at = excluded.tried_at, ",
    "road = CASE WHEN passwords.state = 'none' THEN excluded.road ELSE passwords.road END ",
    "WHERE passwords.state IN ('none', 'carried') RETURNING state"
);
/// Before the call leaves. From here on a void ends it, whatever becomes of the rest.
const BEGIN: &str = concat!(
    "UPDATE passwords SET state = 'carrying', reason = NULL, road = ?3, ticket = ?4, n_gaps = ?5, since = ",
    now!(),
    ", late_until = ",
    now!(),
    " + ",
    late_commit_ms!(),
    ", digest = ?6, looked_at = ",
    now!(),
    " WHERE subject = ?1 AND state IN ('none', 'carried') AND EXISTS (SELECT 1 FROM authority WHERE ",
    may_begin!(),
    ") RETURNING state"
);
const CARRIED: &str = concat!(
    "UPDATE passwords SET state = 'carried', late_until = 0, not_before = 0, since = ",
    now!(),
    " WHERE subject = ?1 AND ticket = ?2 AND state = 'carrying' RETURNING state"
);
/// mgPass has not taken it, and has what it had: none, unless one was carried before.
const TAKEN_BACK: &str = concat!(
    "UPDATE passwords SET state = CASE WHEN ?5 = 1 THEN 'void_owed' ELSE 'none' END, ",
    "due_at = CASE WHEN ?5 = 1 THEN ",
    now!(),
    " END, late_until = 0, digest = NULL, reason = ?3, not_before = ",
    now!(),
    " + ?4, since = ",
    now!(),
    " WHERE subject = ?1 AND ticket = ?2 AND state = 'carrying'"
);
/// Nothing was begun.
const NOT_TRIED: &str = concat!(
    "UPDATE passwords SET reason = ?2, not_before = ",
    now!(),
    " + ?3 WHERE subject = ?1 AND state = 'none'"
);
const OWE: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', reason = ?3, due_at = ",
    now!(),
    " WHERE subject = ?1 AND ticket = ?2 AND state = 'carrying'"
);
const VOID: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', reason = ?3, ticket = ?2, since = ",
    now!(),
    ", due_at = ",
    now!(),
    " + ?4 WHERE subject = ?1 AND state IN ('carrying', 'carried', 'void_owed') RETURNING late_until"
);
/// mgPass has a random one. While an earlier call may still land, once more when it cannot.
const VOIDED: &str = concat!(
    "UPDATE passwords SET state = CASE WHEN late_until > ",
    now!(),
    " THEN 'void_owed' ELSE 'none' END, due_at = CASE WHEN late_until > ",
    now!(),
    " THEN late_until END, not_before = 0, digest = NULL, since = ",
    now!(),
    " WHERE subject = ?1 AND ticket = ?2 AND state = 'void_owed'"
);
const VOID_UNSURE: &str = concat!(
    "UPDATE passwords SET late_until = ",
    now!(),
    " + ",
    late_commit_ms!(),
    " WHERE subject = ?1 AND ticket = ?2 AND state = 'void_owed'"
);
const FREE: &str =
    "UPDATE passwords SET not_before = 0, reason = NULL WHERE subject = ?1 AND state = 'none'";
/// Found at the next sign-in: not known to be ready.
const UNREADY: &str = "DELETE FROM sign_in_ready WHERE user_id = ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    FIND,
    TRY,
    BEGIN,
    CARRIED,
    TAKEN_BACK,
    NOT_TRIED,
    OWE,
    VOID,
    VOIDED,
    VOID_UNSURE,
    FREE,
    UNREADY,
];

/// What a turn says of a user's password, all under its lease.
pub struct Writer<'a> {
    pub lease: &'a Lease,
}

impl Writer<'_> {
    fn statement(&self, sql: &'static str, more: Vec<Value>) -> Statement {
        let mut values = vec![Value::from(self.lease.subject.as_str())];
        values.extend(more);
        Statement::new(sql, values)
    }

    fn of_ticket(&self, sql: &'static str, more: Vec<Value>) -> Statement {
        let mut values = vec![self.lease.ticket.into()];
        values.extend(more);
        self.statement(sql, values)
    }

    /// Answers a row when a carry may be begun.
    pub fn begin_try(&self, road: &'static str, per_minute: i64) -> Statement {
        let lease = self.lease;
        let values = vec![
            lease.holder.as_str().into(),
            road.into(),
            lease.ticket.into(),
            lease.n_gaps.into(),
            per_minute.into(),
        ];
        self.statement(TRY, values)
    }

    /// Answers a row when the call may leave.
    pub fn begin(&self, road: &'static str, digest: Option<&str>) -> Statement {
        let lease = self.lease;
        let values = vec![
            lease.holder.as_str().into(),
            road.into(),
            lease.ticket.into(),
            lease.n_gaps.into(),
            digest.into(),
        ];
        self.statement(BEGIN, values)
    }

    /// Answers a row unless a void came first.
    pub fn carried(&self) -> Statement {
        self.of_ticket(CARRIED, vec![])
    }

    /// `had_one`: another one was carried before, and is at mgPass.
    pub fn taken_back(&self, reason: &'static str, is_final: bool, had_one: bool) -> Statement {
        let rest_ms = if is_final { FOR_GOOD_MS } else { 0 };
        self.of_ticket(
            TAKEN_BACK,
            vec![reason.into(), rest_ms.into(), had_one.into()],
        )
    }

    pub fn not_ready(&self, reason: &'static str) -> Statement {
        self.statement(NOT_TRIED, vec![reason.into(), NOT_READY_REST_MS.into()])
    }

    pub fn owe(&self, why: Why) -> Statement {
        self.of_ticket(OWE, vec![why.code().into()])
    }

    /// Answers a row where there is something to void.
    pub fn void(&self, why: Why) -> Statement {
        self.of_ticket(VOID, vec![why.code().into(), VOID_AGAIN_MS.into()])
    }

    pub fn voided(&self) -> Vec<Statement> {
        vec![
            self.of_ticket(VOIDED, vec![]),
            self.statement(UNREADY, vec![]),
        ]
    }

    pub fn void_unsure(&self) -> Statement {
        self.of_ticket(VOID_UNSURE, vec![])
    }

    pub fn free(&self) -> Statement {
        self.statement(FREE, vec![])
    }
}

pub fn find(user: &UserId) -> Statement {
    Statement::new(FIND, vec![user.as_str().into()])
}

/// Whether the last of these statements had its way.
pub fn is_done(results: &[Vec<DatabaseRow>]) -> bool {
    results.last().is_some_and(|rows| !rows.is_empty())
}

/// How many users have which state, as [`crate::operate`] shows it.
pub fn n_of(rows: &[DatabaseRow], state: &str) -> i64 {
    let found = rows
        .iter()
        .find(|row| text(row, "state").as_deref() == Some(state));
    found.and_then(|row| integer(row, "n")).unwrap_or(0)
}

#[cfg(test)]
mod tests;
