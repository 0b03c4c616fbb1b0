//! What makes the mirror look at a user without a write through the proxy: a
//! webhook, the catch-up, the walk, an operator. Each leaves a settled intent, so
//! that from there on all goes the way of a proxied write: reconciled by the relay,
//! found by the sweep, discharged by an applied reconcile alone.
//!
//! Harmless twice: an intent more is a reconcile that finds nothing to do; findings
//! are counted by user and code.

use crate::inbound::request::{InteractionUid, UserId, id_list};
use crate::mirror::outbox::Intent;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, sequence, text};

/// Operations that bring a new user: a listing of the newest finds whom they made.
/// What else has no name may concern an old user, and waits for a pass of the walk.
macro_rules! registrations {
    () => {
        "('users.create', 'experience.identification')"
    };
}

/// Settled, or expired without an answer and due for a look.
const UNRESOLVED: &str = concat!(
    "SELECT count(*) AS n, min(opened_at) AS oldest_ms, ",
    now!(),
    " AS now_ms, ",
    sequence!(),
    " AS as_of FROM intents WHERE subject IS NULL AND discharged_at IS NULL AND operation IN ",
    registrations!(),
    " AND (settled IS NOT NULL OR (passes = 0 AND expires_at <= ",
    now!(),
    ") OR opened_at + 900000 <= ",
    now!(),
    ")"
);
/// One for each of these users who has none open.
const TRIGGER_ALL: &str = concat!(
    "INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status) ",
    "SELECT ?2 || '.' || ",
    sequence!(),
    " || '.' || w.value, w.value, ?2, ",
    now!(),
    ", ",
    now!(),
    ", ",
    sequence!(),
    ", 200 FROM json_each(?1) w WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value ",
    "AND i.discharged_at IS NULL AND i.settled IS NOT NULL) ON CONFLICT (id) DO NOTHING"
);
const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
/// The listing began after these were settled, and reached users older than they are.
const RESOLVED_BY_LISTING: &str = concat!(
    "UPDATE intents SET passes = passes + 1, discharged_at = CASE WHEN settled <= ?1 OR (settled IS NULL AND opened_at + 900000 <= ?2) THEN ",
    now!(),
    " END WHERE subject IS NULL AND discharged_at IS NULL AND operation IN ",
    registrations!(),
    " AND opened_at >= ?3 AND (settled <= ?1 OR (settled IS NULL AND expires_at <= ?2))"
);
/// A pass of the walk that began later has compared everybody.
const RESOLVED_BY_WALK: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE subject IS NULL AND discharged_at IS NULL AND settled <= (SELECT began FROM walk)"
);
/// Nobody settled them, and Logto commits nothing so late: the pass that begins now
/// covers whatever they did.
const GIVEN_UP: &str = concat!(
    "UPDATE intents SET settled = ",
    sequence!(),
    " WHERE subject IS NULL AND discharged_at IS NULL AND settled IS NULL AND opened_at + 900000 <= ",
    now!()
);
const WALK: &str = "SELECT phase, page, after_id, pass, n_seen, n_repaired, moved_at FROM walk";
const MOVE_WALK: &str = concat!(
    "UPDATE walk SET phase = ?1, page = ?2, after_id = ?3, n_seen = n_seen + ?4, n_repaired = n_repaired + ?5, moved_at = ",
    now!(),
    " WHERE phase = ?6 AND page = ?7 AND after_id = ?8"
);
const BEGIN_PASS: &str = concat!(
    "UPDATE walk SET phase = 'logto', page = 1, after_id = '', pass = pass + 1, n_seen = 0, n_repaired = 0, began = ",
    sequence!(),
    ", moved_at = ",
    now!()
);
const FIND: &str = concat!(
    "INSERT INTO findings (user_id, code, kind, found_at) SELECT w.value, ?2, ?3, ",
    now!(),
    " FROM json_each(?1) w WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value AND i.discharged_at IS NULL) ",
    "ON CONFLICT (user_id, code) DO UPDATE SET found_at = excluded.found_at, n_times = findings.n_times + 1"
);
const FINDINGS: &str =
    "SELECT user_id, code, kind, found_at, n_times FROM findings ORDER BY found_at DESC LIMIT 50";
const FORGET_FINDINGS: &str = concat!(
    "DELETE FROM findings WHERE found_at < ",
    now!(),
    " - 2592000000"
);
const PARKED: &str = "SELECT parked AS reason, count(*) AS n, min(parked_at) AS since FROM subjects INDEXED BY subjects_parked WHERE parked IS NOT NULL GROUP BY parked";
const PARKED_SUBJECTS: &str = "SELECT subject FROM subjects WHERE parked IS NOT NULL AND (?1 IS NULL OR parked = ?1) AND (?2 IS NULL OR subject = ?2) LIMIT 1000";
const EXPLAIN_INTENTS: &str = "SELECT operation, opened_at, expires_at, settled, status, passes, discharged_at FROM intents WHERE subject = ?1 ORDER BY opened_at DESC LIMIT 50";
const EXPLAIN_SUBJECT: &str = "SELECT failures, retry_at, parked, parked_at, last_ticket, last_outcome, last_at, lease_until FROM subjects WHERE subject = ?1";

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[
    UNRESOLVED,
    TRIGGER_ALL,
    NEXT,
    RESOLVED_BY_LISTING,
    RESOLVED_BY_WALK,
    GIVEN_UP,
    WALK,
    MOVE_WALK,
    BEGIN_PASS,
    FIND,
    FINDINGS,
    FORGET_FINDINGS,
    PARKED,
    PARKED_SUBJECTS,
    EXPLAIN_INTENTS,
    EXPLAIN_SUBJECT,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Webhook,
    /// `User.Deleted`: the second witness of a deletion.
    WebhookDeletion,
    CatchUp,
    Walk,
    /// A page of an import met somebody who needs more than a page can do.
    Import,
    Replay,
    /// An operator's word: the second witness of a deletion.
    ConfirmedDeletion,
}

impl Trigger {
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::WebhookDeletion => "webhook.deletion",
            Self::CatchUp => "catch_up",
            Self::Walk => "walk",
            Self::Import => "import",
            Self::Replay => "replay",
            Self::ConfirmedDeletion => "confirmed.deletion",
        }
    }

    /// Operations whose settling by 204 witnesses a deletion.
    pub fn is_deletion_witness(operation: &str) -> bool {
        [
            "users.delete",
            Self::WebhookDeletion.name(),
            Self::ConfirmedDeletion.name(),
        ]
        .contains(&operation)
    }

    fn status(self) -> u16 {
        match self {
            Self::WebhookDeletion | Self::ConfirmedDeletion => 204,
            Self::Webhook | Self::CatchUp | Self::Walk | Self::Import | Self::Replay => 200,
        }
    }

    /// For one user; `draw` makes its id.
    pub fn intent(self, subject: &UserId, draw: u64) -> (Intent, u16) {
        let intent = Intent {
            id: format!("{}.{draw:016x}", self.name()),
            subject: Some(subject.clone()),
            interaction: None,
            operation: self.name().to_owned(),
        };
        (intent, self.status())
    }

    /// For many at once.
    pub fn all(self, subjects: &[UserId]) -> Vec<Statement> {
        vec![
            Statement::new(NEXT, vec![]),
            Statement::new(
                TRIGGER_ALL,
                vec![id_list(subjects).into(), self.name().into()],
            ),
        ]
    }
}

/// Registrations whose user nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub oldest_ms: i64,
    now_ms: i64,
    as_of: i64,
}

pub fn unresolved() -> Vec<Statement> {
    vec![Statement::new(UNRESOLVED, vec![])]
}

/// `None`: there are none.
pub fn parse_unresolved(results: &[Vec<Row>]) -> Option<Unresolved> {
    let row = results.first()?.first()?;
    (integer(row, "n")? > 0).then_some(())?;
    Some(Unresolved {
        oldest_ms: integer(row, "oldest_ms")?,
        now_ms: integer(row, "now_ms")?,
        as_of: integer(row, "as_of")?,
    })
}

impl Unresolved {
    /// Everybody that the listing showed is triggered in the same batch.
    pub fn resolved(&self, subjects: &[UserId]) -> Vec<Statement> {
        let mut statements = Trigger::CatchUp.all(subjects);
        let values = vec![self.as_of.into(), self.now_ms.into(), self.oldest_ms.into()];
        statements.push(Statement::new(RESOLVED_BY_LISTING, values));
        statements
    }
}

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

/// Where the walk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub phase: Phase,
    pub page: i64,
    pub after_id: String,
}

pub fn walk() -> Vec<Statement> {
    vec![Statement::new(WALK, vec![])]
}

pub fn parse_walk(results: &[Vec<Row>]) -> Option<Position> {
    let row = results.first()?.first()?;
    Some(Position {
        phase: match text(row, "phase")?.as_str() {
            "logto" => Phase::Logto,
            _ => Phase::Mgpass,
        },
        page: integer(row, "page")?,
        after_id: text(row, "after_id")?,
    })
}

impl Position {
    /// Only from where it stood: of two crons at once one moves.
    pub fn move_to(&self, next: &Self, n_seen: usize, n_repaired: usize) -> Statement {
        let values = vec![
            next.phase.name().into(),
            next.page.into(),
            next.after_id.as_str().into(),
            (n_seen as i64).into(),
            (n_repaired as i64).into(),
            self.phase.name().into(),
            self.page.into(),
            self.after_id.as_str().into(),
        ];
        Statement::new(MOVE_WALK, values)
    }
}

/// The pass is complete: what nobody could name is covered, and the next one begins.
pub fn next_pass() -> Vec<Statement> {
    vec![
        Statement::new(RESOLVED_BY_WALK, vec![]),
        Statement::new(FORGET_FINDINGS, vec![]),
        Statement::new(NEXT, vec![]),
        Statement::new(GIVEN_UP, vec![]),
        Statement::new(BEGIN_PASS, vec![]),
    ]
}

/// What the walk makes of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    NotMirrored,
    Differs,
    GoneAtLogto,
    /// mgPass's own user: never a repair.
    OnlyAtMgpass,
}

impl Finding {
    pub fn code(self) -> &'static str {
        match self {
            Self::NotMirrored => "not_mirrored",
            Self::Differs => "differs",
            Self::GoneAtLogto => "gone_at_logto",
            Self::OnlyAtMgpass => "only_at_mgpass",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::OnlyAtMgpass => "finding",
            Self::NotMirrored | Self::Differs | Self::GoneAtLogto => "repair",
        }
    }

    /// Not of a user whose intent is open: there the mirror knows already.
    pub fn note(self, subjects: &[UserId]) -> Statement {
        let values = vec![
            id_list(subjects).into(),
            self.code().into(),
            self.kind().into(),
        ];
        Statement::new(FIND, values)
    }
}

/// Parked by reason, the walk, the newest findings.
pub fn overview() -> Vec<Statement> {
    vec![
        Statement::new(PARKED, vec![]),
        Statement::new(WALK, vec![]),
        Statement::new(FINDINGS, vec![]),
    ]
}

pub fn parked_subjects(reason: Option<&str>, subject: Option<&UserId>) -> Vec<Statement> {
    let values = vec![reason.into(), subject.map(UserId::as_str).into()];
    vec![Statement::new(PARKED_SUBJECTS, values)]
}

pub fn explain(subject: &UserId) -> Vec<Statement> {
    let id = || vec![subject.as_str().into()];
    vec![
        Statement::new(EXPLAIN_INTENTS, id()),
        Statement::new(EXPLAIN_SUBJECT, id()),
    ]
}

/// One interaction's user, learned from outside.
pub fn learned(interaction: &InteractionUid, subject: &UserId) -> Vec<Statement> {
    crate::mirror::outbox::learn(interaction, subject)
}
