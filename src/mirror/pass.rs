//! Where the walk stands, in the proxy's own database.
//!
//! A pass goes through Logto's listing, newest first, then through mgPass's users by
//! id. It moves on, and ends, only from where it stood: of two crons at once one does,
//! and a slow one changes nothing any more. Only a pass that began after a settling
//! and that came to its end covers it.

use crate::handover::authority::Side;
use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{integer, late_commit_ms, now, sequence, text};

/// The row, if the walk still stands there.
macro_rules! here {
    () => {
        "pass = ?1 AND phase = ?2 AND listed = ?3 AND after_id = ?4"
    };
}

/// Another side's users are the truth now: what was covered says nothing any more.
const TURN: &str = concat!(
    "UPDATE walk SET side = ?1, phase = 'logto', listed = 0, after_id = '', pass = pass + 1, n_seen = 0, n_repaired = 0, began = ",
    sequence!(),
    ", began_at = ",
    now!(),
    ", covered_at = NULL, moved_at = ",
    now!(),
    " WHERE side <> ?1"
);
const WALK: &str = "SELECT phase, listed, after_id, pass, n_seen, n_repaired, moved_at FROM walk";
const MOVE_ON: &str = concat!(
    "UPDATE walk SET phase = ?5, listed = ?6, after_id = ?7, n_seen = n_seen + ?8, n_repaired = n_repaired + ?9, moved_at = ",
    now!(),
    " WHERE ",
    here!(),
    " RETURNING pass"
);
/// What nobody could name: this pass, which began later, has compared everybody.
const DISCHARGE_COVERED: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE subject IS NULL AND discharged_at IS NULL AND side = 'logto' AND settled <= (SELECT began FROM walk WHERE ",
    here!(),
    ")"
);
/// Nobody settled them, and Logto commits nothing so late: the pass that begins now
/// covers whatever they did.
const GIVE_UP: &str = concat!(
    "UPDATE intents SET settled = ",
    sequence!(),
    " WHERE subject IS NULL AND discharged_at IS NULL AND side = 'logto' AND settled IS NULL AND opened_at + ",
    late_commit_ms!(),
    " <= ",
    now!(),
    " AND EXISTS (SELECT 1 FROM walk WHERE ",
    here!(),
    ")"
);
const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
const BEGIN: &str = concat!(
    "UPDATE walk SET phase = 'logto', listed = 0, after_id = '', pass = pass + 1, n_seen = 0, n_repaired = 0, began = ",
    sequence!(),
    ", covered_at = nullif(began_at, 0), began_at = ",
    now!(),
    ", moved_at = ",
    now!(),
    " WHERE ",
    here!(),
    " RETURNING pass"
);

const STANDING: &str = "SELECT value AS epoch, (SELECT holder IN ('logto', 'draining') FROM authority) AS is_before FROM counters WHERE name = 'epoch'";
const PARKED_AMONG: &str = "SELECT s.subject AS subject, s.parked AS parked FROM json_each(?1) w \
     JOIN subjects s ON s.subject = w.value WHERE s.parked IS NOT NULL";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    TURN,
    WALK,
    MOVE_ON,
    DISCHARGE_COVERED,
    GIVE_UP,
    NEXT,
    BEGIN,
    STANDING,
    PARKED_AMONG,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Logto,
    Mgpass,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub pass: i64,
    pub phase: Phase,
    /// How many of Logto's listing are behind.
    pub listed: i64,
    pub after_id: String,
}

/// For people.
pub fn shown() -> Statement {
    Statement::new(WALK, vec![])
}

/// Of a pass in which that side's users are the truth.
pub fn position(side: Side) -> Vec<Statement> {
    vec![
        Statement::new(TURN, vec![side.name().into()]),
        Statement::new(WALK, vec![]),
    ]
}

pub fn parse_position(results: &[Vec<Row>]) -> Option<Position> {
    let row = results.last()?.first()?;
    Some(Position {
        pass: integer(row, "pass")?,
        phase: match text(row, "phase")?.as_str() {
            "logto" => Phase::Logto,
            _ => Phase::Mgpass,
        },
        listed: integer(row, "listed")?,
        after_id: text(row, "after_id")?,
    })
}

impl Position {
    /// In the same pass.
    pub fn at(&self, phase: Phase, listed: i64, after_id: &str) -> Self {
        Self {
            pass: self.pass,
            phase,
            listed,
            after_id: after_id.to_owned(),
        }
    }

    /// `None` ends the pass. The last list of rows is empty when the walk stood
    /// elsewhere by then.
    pub fn leave(&self, next: Option<&Self>, n_seen: usize, n_repaired: usize) -> Vec<Statement> {
        let Some(next) = next else {
            return vec![
                Statement::new(DISCHARGE_COVERED, self.key()),
                Statement::new(NEXT, vec![]),
                Statement::new(GIVE_UP, self.key()),
                Statement::new(BEGIN, self.key()),
            ];
        };
        let mut values = self.key();
        values.extend([
            next.phase.name().into(),
            next.listed.into(),
            next.after_id.as_str().into(),
            (n_seen as i64).into(),
            (n_repaired as i64).into(),
        ]);
        vec![Statement::new(MOVE_ON, values)]
    }

    fn key(&self) -> Vec<Value> {
        vec![
            self.pass.into(),
            self.phase.name().into(),
            self.listed.into(),
            self.after_id.as_str().into(),
        ]
    }
}

/// Who of these is parked for which reason, and where the whole stands.
pub struct Standing {
    pub epoch: i64,
    /// What was read before this was asked was read before a hand-over.
    pub is_before_hand_over: bool,
    pub parked: Vec<(UserId, String)>,
}

pub fn standing(users: &[&str]) -> Vec<Statement> {
    let users = serde_json::json!(users).to_string();
    vec![
        Statement::new(STANDING, vec![]),
        Statement::new(PARKED_AMONG, vec![users.into()]),
    ]
}

pub fn parse_standing(results: &[Vec<Row>]) -> Option<Standing> {
    let [standing, parked] = results else {
        return None;
    };
    let parked = parked.iter().filter_map(|row| {
        let user = UserId::parse(&text(row, "subject")?)?;
        Some((user, text(row, "parked")?))
    });
    let standing = standing.first()?;
    Some(Standing {
        epoch: integer(standing, "epoch")?,
        is_before_hand_over: integer(standing, "is_before")? != 0,
        parked: parked.collect(),
    })
}
