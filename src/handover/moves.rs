//! The moves as statements: compare-and-set on holder and generation, one batch each.
//!
//! The first statement writes the log, the last one moves, and both ask for the same
//! conditions in one transaction; what else a move does stands between them under the
//! same condition. Of two who come at once one moves, and the other's batch does nothing.

mod conditions;

use self::conditions::{
    is_left_aside, may_abandon, may_announce, may_come_back, may_drain, may_go_back, may_hand_over,
    may_leave, may_lift, may_rejoin, may_return, may_stay, may_withdraw,
};
use crate::handover::machine::Move;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{late_commit_ms, lease_ms, may_still_land, now};

/// ?1 the generation from then on, ?2 the one that was seen, ?3 cause, ?4 evidence.
macro_rules! log {
    ($to:literal, $term:literal, $condition:expr) => {
        concat!(
            "INSERT INTO authority_log (at, from_holder, to_holder, generation, term, cause, wish, evidence, waivers, held_ms) SELECT ",
            now!(),
            ", holder, ",
            $to,
            ", ?1, term + ",
            $term,
            ", ?3, wish, ?4, (SELECT json_group_array(json_object('gate', w.gate, 'name', w.name, 'reason', w.reason, 'actor', w.actor)) ",
            "FROM waivers w WHERE w.term = authority.term), ",
            "CASE WHEN holder IN ('draining', 'returning') THEN ",
            now!(),
            " - since END FROM authority WHERE ",
            $condition
        )
    };
}

/// The rest of every move that changes the holder: the wish is carried out, or spent.
macro_rules! settled_at {
    ($holder:literal, $term:literal) => {
        concat!(
            "UPDATE authority SET holder = '",
            $holder,
            "', generation = ?1, term = term + ",
            $term,
            ", since = ",
            now!(),
            ", deadline = NULL, raise_owed = ?3, announced_at = NULL, announced_until = NULL, ",
            "wish = NULL, wish_at = NULL, wish_source = NULL WHERE "
        )
    };
}

/// ?3 how long it may take.
macro_rules! between {
    ($holder:literal) => {
        concat!(
            "UPDATE authority SET holder = '",
            $holder,
            "', generation = ?1, since = ",
            now!(),
            ", deadline = ",
            now!(),
            " + ?3, announced_at = NULL, announced_until = NULL WHERE "
        )
    };
}

const LOG_ANNOUNCE: &str = log!("holder", "0", may_announce!());
const ANNOUNCE: &str = concat!(
    "UPDATE authority SET announced_at = ",
    now!(),
    ", announced_until = ",
    now!(),
    " + ?1 WHERE ",
    may_announce!(),
    " RETURNING generation"
);
const LOG_WITHDRAW: &str = log!("holder", "0", may_withdraw!());
const WITHDRAW: &str = concat!(
    "UPDATE authority SET announced_at = NULL, announced_until = NULL WHERE ",
    may_withdraw!(),
    " RETURNING generation"
);
const LOG_DRAIN: &str = log!("'draining'", "0", may_drain!("?5"));
const DRAIN: &str = concat!(
    between!("draining"),
    may_drain!("?4"),
    " RETURNING generation"
);
const LOG_HAND_OVER: &str = log!("'mgpass'", "1", may_hand_over!());
/// Parked and waived: from now on neither direction writes them.
const HOLD_PARKED: &str = concat!(
    "INSERT INTO held_subjects (subject, reason, since, detail) SELECT s.subject, 'parked', ",
    now!(),
    ", s.parked FROM subjects s WHERE s.parked IS NOT NULL AND EXISTS (SELECT 1 FROM authority WHERE ",
    may_hand_over!(),
    ") ON CONFLICT (subject) DO NOTHING"
);
const FORGET_LEFT_ASIDE: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE discharged_at IS NULL AND side = 'logto' AND EXISTS (SELECT 1 FROM authority WHERE ",
    may_hand_over!(),
    ")"
);
const HAND_OVER: &str = concat!(
    settled_at!("mgpass", "1"),
    may_hand_over!(),
    " RETURNING generation"
);
const LOG_RETURN: &str = log!("'logto'", "0", may_return!());
const RETURN: &str = concat!(
    settled_at!("logto", "0"),
    may_return!(),
    " RETURNING generation"
);
const LOG_GO_BACK: &str = log!("'returning'", "0", may_go_back!());
const GO_BACK: &str = concat!(
    between!("returning"),
    may_go_back!(),
    " RETURNING generation"
);
const LOG_COME_BACK: &str = log!("'logto'", "1", may_come_back!());
const COME_BACK: &str = concat!(
    settled_at!("logto", "1"),
    may_come_back!(),
    " RETURNING generation"
);
const LOG_STAY: &str = log!("'mgpass'", "0", may_stay!());
const STAY: &str = concat!(
    settled_at!("mgpass", "0"),
    may_stay!(),
    " RETURNING generation"
);
const LOG_LEAVE: &str = log!("'alone'", "0", may_leave!());
const LEAVE: &str = concat!(
    settled_at!("alone", "0"),
    may_leave!(),
    " RETURNING generation"
);
const LOG_REJOIN: &str = log!("'mgpass'", "0", may_rejoin!());
const REJOIN: &str = concat!(
    settled_at!("mgpass", "0"),
    may_rejoin!(),
    " RETURNING generation"
);
const LOG_ABANDON: &str = log!("'logto'", "1", may_abandon!());
const ABANDON: &str = concat!(
    settled_at!("logto", "1"),
    may_abandon!(),
    " RETURNING generation"
);
const LOG_LIFT: &str = log!("holder", "0", may_lift!());
const LIFT: &str = concat!(
    "UPDATE authority SET generation = ?1 WHERE ",
    may_lift!(),
    " RETURNING generation"
);

/// Back at Logto: whoever Logto cannot have, or does not have yet, is left to a person.
macro_rules! hold_debtors {
    ($condition:expr) => {
        concat!(
            "INSERT INTO held_subjects (subject, reason, since, detail) SELECT d.subject, ?3, ",
            now!(),
            ", group_concat(DISTINCT d.what) FROM (SELECT subject, class AS what FROM debt ",
            "UNION ALL SELECT subject, 'pending' FROM intents WHERE discharged_at IS NULL AND side = 'mgpass' AND subject IS NOT NULL ",
            "UNION ALL SELECT subject, 'stray' FROM strays WHERE state = 'open' AND subject IS NOT NULL ",
            "UNION ALL SELECT subject, 'unanswered' FROM ",
            may_still_land!(),
            ") d ",
            "WHERE EXISTS (SELECT 1 FROM authority WHERE ",
            $condition,
            ") GROUP BY d.subject ON CONFLICT (subject) DO NOTHING"
        )
    };
}

macro_rules! forget_debt {
    ($condition:expr) => {
        concat!(
            "DELETE FROM debt WHERE EXISTS (SELECT 1 FROM authority WHERE ",
            $condition,
            ")"
        )
    };
}

/// Late answers of theirs find the row gone, and are not acknowledged. A create that came to
/// nothing is kept: the id that Logto gave for it is still to be deleted.
macro_rules! forget_translated {
    ($condition:expr) => {
        concat!(
            "DELETE FROM intents WHERE discharged_at IS NULL AND side = 'mgpass' AND (nonce IS NULL OR settled IS NOT NULL) AND EXISTS (SELECT 1 FROM authority WHERE ",
            $condition,
            ")"
        )
    };
}

/// Nothing of Logto's was recorded meanwhile: nobody is read from mgPass before they are
/// reconciled anew.
macro_rules! raise_epoch {
    ($condition:expr) => {
        concat!(
            "UPDATE counters SET value = value + 1 WHERE name = 'epoch' AND EXISTS (SELECT 1 FROM authority WHERE ",
            $condition,
            ")"
        )
    };
}

const HOLD_AT_COME_BACK: &str = hold_debtors!(may_come_back!());
const HOLD_AT_ABANDON: &str = hold_debtors!(may_abandon!());
const EPOCH_AT_COME_BACK: &str = raise_epoch!(may_come_back!());
const EPOCH_AT_ABANDON: &str = raise_epoch!(may_abandon!());
const DEBT_AT_COME_BACK: &str = forget_debt!(may_come_back!());
const DEBT_AT_ABANDON: &str = forget_debt!(may_abandon!());
const TRANSLATED_AT_COME_BACK: &str = forget_translated!(may_come_back!());
const TRANSLATED_AT_ABANDON: &str = forget_translated!(may_abandon!());

const IS_RAISED: &str = "UPDATE authority SET raise_owed = 0 WHERE generation = ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    LOG_ANNOUNCE,
    ANNOUNCE,
    LOG_WITHDRAW,
    WITHDRAW,
    LOG_DRAIN,
    DRAIN,
    LOG_HAND_OVER,
    HOLD_PARKED,
    FORGET_LEFT_ASIDE,
    HAND_OVER,
    LOG_RETURN,
    RETURN,
    LOG_GO_BACK,
    GO_BACK,
    LOG_COME_BACK,
    COME_BACK,
    LOG_STAY,
    STAY,
    LOG_LEAVE,
    LEAVE,
    LOG_REJOIN,
    REJOIN,
    LOG_ABANDON,
    ABANDON,
    LOG_LIFT,
    LIFT,
    HOLD_AT_COME_BACK,
    HOLD_AT_ABANDON,
    EPOCH_AT_COME_BACK,
    EPOCH_AT_ABANDON,
    DEBT_AT_COME_BACK,
    DEBT_AT_ABANDON,
    TRANSLATED_AT_COME_BACK,
    TRANSLATED_AT_ABANDON,
    IS_RAISED,
];

/// What a move is carried out with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of the row that the decision was made on.
    pub seen: i64,
    /// From then on; the same where the holder stays.
    pub next: i64,
    /// mgPass's database could not be told.
    pub owes_raise: bool,
    /// Digest of what the gates saw.
    pub evidence: Option<String>,
    /// The recording epoch that they saw.
    pub epoch: Option<i64>,
    pub announcement_ms: i64,
    /// How long draining and returning may take.
    pub between_ms: i64,
}

impl Step {
    fn key(&self) -> Vec<Value> {
        vec![self.next.into(), self.seen.into()]
    }

    fn with(&self, value: impl Into<Value>) -> Vec<Value> {
        let mut values = self.key();
        values.push(value.into());
        values
    }

    fn log(&self, sql: &'static str, cause: &str) -> Statement {
        let mut values = self.with(cause);
        values.push(self.evidence.as_deref().into());
        Statement::new(sql, values)
    }

    /// [`parse_moved`] tells whether it was this batch that moved.
    pub fn carry_out(&self, due: Move) -> Vec<Statement> {
        let key = |sql| Statement::new(sql, self.key());
        let cause = due.cause();
        match due {
            Move::Announce => {
                let values = vec![self.announcement_ms.into(), self.seen.into()];
                vec![
                    self.log(LOG_ANNOUNCE, cause),
                    Statement::new(ANNOUNCE, values),
                ]
            }
            Move::Withdraw(_) => vec![self.log(LOG_WITHDRAW, cause), key(WITHDRAW)],
            Move::Drain => {
                let epoch = Value::from(self.epoch);
                let mut log = self.log(LOG_DRAIN, cause);
                log.values.push(epoch.clone());
                let mut values = self.with(self.between_ms);
                values.push(epoch);
                vec![log, Statement::new(DRAIN, values)]
            }
            Move::HandOver => vec![
                self.log(LOG_HAND_OVER, cause),
                key(HOLD_PARKED),
                key(FORGET_LEFT_ASIDE),
                self.settle(HAND_OVER),
            ],
            Move::Return(_) => vec![self.log(LOG_RETURN, cause), self.settle(RETURN)],
            Move::GoBack => vec![
                self.log(LOG_GO_BACK, cause),
                Statement::new(GO_BACK, self.with(self.between_ms)),
            ],
            Move::ComeBack => vec![
                self.log(LOG_COME_BACK, cause),
                Statement::new(HOLD_AT_COME_BACK, self.with("debt")),
                key(DEBT_AT_COME_BACK),
                key(TRANSLATED_AT_COME_BACK),
                key(EPOCH_AT_COME_BACK),
                self.settle(COME_BACK),
            ],
            Move::Stay(_) => vec![self.log(LOG_STAY, cause), self.settle(STAY)],
            Move::Leave => vec![self.log(LOG_LEAVE, cause), self.settle(LEAVE)],
            Move::Rejoin => vec![self.log(LOG_REJOIN, cause), self.settle(REJOIN)],
        }
    }

    /// An operator's word, mgPass being beyond reach: whoever Logto lacks something of is
    /// held.
    pub fn abandon(&self) -> Vec<Statement> {
        let key = |sql| Statement::new(sql, self.key());
        vec![
            self.log(LOG_ABANDON, "debt_abandoned"),
            Statement::new(HOLD_AT_ABANDON, self.with("debt_abandoned")),
            key(DEBT_AT_ABANDON),
            key(TRANSLATED_AT_ABANDON),
            key(EPOCH_AT_ABANDON),
            self.settle(ABANDON),
        ]
    }

    /// The generation alone goes on, past what mgPass's database was told.
    pub fn lift(&self) -> Vec<Statement> {
        vec![
            self.log(LOG_LIFT, "lifted"),
            Statement::new(LIFT, self.key()),
        ]
    }

    fn settle(&self, sql: &'static str) -> Statement {
        Statement::new(sql, self.with(self.owes_raise))
    }
}

/// Of [`Step`]'s batches.
pub fn parse_moved(results: &[Vec<Row>]) -> bool {
    results.last().is_some_and(|rows| !rows.is_empty())
}

/// mgPass's database knows this generation now.
pub fn is_raised(generation: i64) -> Vec<Statement> {
    vec![Statement::new(IS_RAISED, vec![generation.into()])]
}
