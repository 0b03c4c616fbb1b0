//! What makes the mirror look at a user without a write through the proxy: a
//! webhook, the catch-up, the walk, an operator. Each leaves a settled intent, so
//! that from there on all goes the way of a proxied write: reconciled by the relay,
//! found by the sweep, discharged by an applied reconcile alone.
//!
//! Harmless twice: an intent more is a reconcile that finds nothing to do.

use crate::handover::authority::Side;
use crate::inbound::request::{UserId, id_list};
use crate::mirror::outbox::Intent;
use crate::mirror::{findings, pass};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, late_commit_ms, now, relay_side, sequence, text};

/// Operations that may bring a new user: a listing of the newest finds whom they made.
/// An old user whom they may have changed instead was told of by a gap.
macro_rules! registrations {
    () => {
        "('users.create', 'experience.identification', 'interaction.submit', 'interaction.other')"
    };
}

/// Settled, or expired without an answer and due for a look.
const UNRESOLVED: &str = concat!(
    "SELECT count(*) AS n, min(opened_at) AS oldest_ms, ",
    now!(),
    " AS now_ms, ",
    sequence!(),
    " AS as_of FROM intents WHERE subject IS NULL AND discharged_at IS NULL AND side = 'logto' AND operation IN ",
    registrations!(),
    " AND (settled IS NOT NULL OR (expiry_checks = 0 AND expires_at <= ",
    now!(),
    ") OR opened_at + ",
    late_commit_ms!(),
    " <= ",
    now!(),
    ")"
);
/// For each of these users; ?5: only who has none open. ?4: only while that side's users
/// are the truth; of the day where it is NULL. A webhook of what the way back has just sent
/// starts nothing: the walk looks at all that comes beside it.
const TRIGGER: &str = concat!(
    "INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status, side) ",
    "SELECT ?2 || '.' || ",
    sequence!(),
    " || '.' || w.value, w.value, ?2, ",
    now!(),
    ", ",
    now!(),
    ", ",
    sequence!(),
    ", ?3, ",
    relay_side!(),
    " FROM json_each(?1) w WHERE (?4 IS NULL OR ?4 = ",
    relay_side!(),
    ") AND (?5 = 0 OR NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value AND i.side = ",
    relay_side!(),
    " AND i.discharged_at IS NULL AND i.settled IS NOT NULL)) AND NOT (?2 = 'webhook' AND ",
    relay_side!(),
    " = 'mgpass' AND (EXISTS (SELECT 1 FROM sent_back b WHERE b.subject = w.value AND b.sent_at > ",
    now!(),
    " - 30000) OR EXISTS (SELECT 1 FROM subjects s WHERE s.subject = w.value AND s.last_outcome IN ('sent_back', 'owed') AND s.last_at > ",
    now!(),
    " - 10000))) ON CONFLICT (id) DO NOTHING"
);
const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
/// The listing began after these were settled, and reached users older than they are.
const RESOLVED_BY_LISTING: &str = concat!(
    "UPDATE intents SET expiry_checks = expiry_checks + 1, discharged_at = CASE WHEN settled <= ?1 OR (settled IS NULL AND opened_at + ",
    late_commit_ms!(),
    " <= ?2) THEN ",
    now!(),
    " END WHERE subject IS NULL AND discharged_at IS NULL AND side = 'logto' AND operation IN ",
    registrations!(),
    " AND opened_at >= ?3 AND (settled <= ?1 OR (settled IS NULL AND expires_at <= ?2))"
);
const PARKED: &str = "SELECT parked AS reason, count(*) AS n, min(parked_at) AS since FROM subjects INDEXED BY subjects_parked WHERE parked IS NOT NULL GROUP BY parked";
const PARKED_SUBJECTS: &str = "SELECT subject FROM subjects WHERE parked IS NOT NULL AND (?1 IS NULL OR parked = ?1) AND subject > ?2 ORDER BY subject LIMIT ?3";
const PARKED_AFTER: &str = "SELECT count(*) AS n FROM subjects WHERE parked IS NOT NULL AND (?1 IS NULL OR parked = ?1) AND subject > ?2";
const EXPLAIN_INTENTS: &str = "SELECT operation, opened_at, expires_at, settled, status, expiry_checks, discharged_at FROM intents WHERE subject = ?1 ORDER BY opened_at DESC LIMIT 50";
const EXPLAIN_SUBJECT: &str = "SELECT failures, retry_at, parked, parked_at, last_ticket, last_outcome, last_at, lease_until, woken_at FROM subjects WHERE subject = ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    UNRESOLVED,
    TRIGGER,
    NEXT,
    RESOLVED_BY_LISTING,
    PARKED,
    PARKED_SUBJECTS,
    PARKED_AFTER,
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
    /// An operator's word: Logto's values replace what somebody changed at mgPass.
    Overrule,
    /// mgPass's audit log names a change there.
    Feed,
    /// ... and it suspends somebody.
    FeedSuspension,
    /// What could not be carried back may go now, or is to be looked at once more.
    Again,
    /// An operator's word on what somebody changed at Logto: it gives way to mgPass's ...
    TowardsMgpass,
    /// ... or takes its place there.
    TowardsLogto,
    /// A person has let go of a user who was held.
    Released,
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
            Self::Overrule => "overrule",
            Self::Feed => "feed",
            Self::FeedSuspension => "feed.suspension",
            Self::Again => "again",
            Self::TowardsMgpass => "stray.towards_mgpass",
            Self::TowardsLogto => "stray.towards_logto",
            Self::Released => "released",
        }
    }

    /// While whose users are the truth it makes anybody look; `None`: always.
    fn source(self) -> Option<Side> {
        match self {
            Self::CatchUp | Self::Import | Self::Overrule => Some(Side::Logto),
            Self::Feed
            | Self::FeedSuspension
            | Self::Again
            | Self::TowardsMgpass
            | Self::TowardsLogto => Some(Side::Mgpass),
            Self::Webhook
            | Self::WebhookDeletion
            | Self::Walk
            | Self::Replay
            | Self::ConfirmedDeletion
            | Self::Released => None,
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
            Self::Webhook
            | Self::CatchUp
            | Self::Walk
            | Self::Import
            | Self::Replay
            | Self::Overrule
            | Self::Feed
            | Self::FeedSuspension
            | Self::Again
            | Self::TowardsMgpass
            | Self::TowardsLogto
            | Self::Released => 200,
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

    /// For many at once: who has something open is looked at anyway.
    pub fn all(self, subjects: &[UserId]) -> Vec<Statement> {
        self.of(subjects, true)
    }

    /// One more for each, whatever is open: of something new.
    pub fn each(self, subjects: &[UserId]) -> Vec<Statement> {
        self.of(subjects, false)
    }

    fn of(self, subjects: &[UserId], unless_open: bool) -> Vec<Statement> {
        let values = vec![
            id_list(subjects).into(),
            self.name().into(),
            i64::from(self.status()).into(),
            self.source().map(Side::name).into(),
            unless_open.into(),
        ];
        vec![
            Statement::new(NEXT, vec![]),
            Statement::new(TRIGGER, values),
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

/// Parked by reason, the walk, the newest findings.
pub fn overview() -> Vec<Statement> {
    vec![
        Statement::new(PARKED, vec![]),
        pass::shown(),
        findings::newest(),
    ]
}

/// Subjects parked for this reason, or for any, whose ids follow `after`.
pub fn parked_subjects(reason: Option<&str>, after: &str, limit: i64) -> Vec<Statement> {
    let key = || vec![reason.into(), after.into()];
    let mut page = key();
    page.push(limit.into());
    vec![
        Statement::new(PARKED_SUBJECTS, page),
        Statement::new(PARKED_AFTER, key()),
    ]
}

/// The subjects, and how many there are from `after` on, these included.
pub fn parse_parked_subjects(results: &[Vec<Row>]) -> Option<(Vec<UserId>, i64)> {
    let [page, count] = results else {
        return None;
    };
    let subjects = page
        .iter()
        .filter_map(|row| UserId::parse(&text(row, "subject")?));
    Some((subjects.collect(), integer(count.first()?, "n")?))
}

/// The relay looks again at each, whether or not something is open of theirs: who is
/// parked is due once for each new thing.
pub fn replay(subjects: &[UserId]) -> Vec<Statement> {
    Trigger::Replay.each(subjects)
}

pub fn explain(subject: &UserId) -> Vec<Statement> {
    let id = || vec![subject.as_str().into()];
    vec![
        Statement::new(EXPLAIN_INTENTS, id()),
        Statement::new(EXPLAIN_SUBJECT, id()),
    ]
}
