//! What a reconcile towards Logto goes by, and what it leaves, in both databases.
//!
//! In the proxy's own: what was sent, before the first call leaves, and only in the
//! generation that the ticket was taken in. At mgPass: the bases, once each call was
//! answered. A reconcile that was overtaken leaves no base, but what it sent stays on
//! record, so that whatever it did to Logto is not taken for somebody else's doing.

use serde_json::json;

use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::reverse::decide::Sent;
use crate::mirror::reverse::password::Standing;
use crate::mirror::target::{self, MirrorRow, TargetState};
use crate::mirror::view::{View, shown_rows};
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::settings::MappingSettings;
use crate::runtime::sql::{in_generation, integer, late_commit_ms, now, text};

const LEFT_AT_LOGTO: &str = "SELECT m.logto_base AS logto_base, m.logto_ticket AS logto_ticket, m.password_mark AS mark, m.password_seen AS seen, \
     (SELECT password_hash FROM users WHERE id = ?1) AS hash, \
     EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = ?1 AND a.event_type = 'user.deleted' \
     AND a.created_at >= coalesce(m.seen_at, 0) - 5) AS is_deletion_logged \
     FROM (SELECT 1) LEFT JOIN logto_mirror m ON m.user_id = ?1";
/// Under a newer one of ours nothing is known.
const LEAVE_LOGTO: &str = concat!(
    "UPDATE logto_mirror SET logto_base = ?3, logto_ticket = ?2, password_mark = CASE WHEN ?4 = 1 THEN ?5 ELSE password_mark END, \
     tombstone = max(tombstone, ?6) WHERE user_id = ?1 AND logto_ticket < ?2 AND ",
    in_generation!("?7")
);
/// The rows as they were read; nobody wrote them under a ticket since.
const LEAVE_MGPASS: &str = "UPDATE logto_mirror SET base = ?3, seen_at = ?4 WHERE user_id = ?1 AND logto_ticket = ?2 AND ticket = ?5";
const IS_LEFT: &str = "SELECT logto_ticket FROM logto_mirror WHERE user_id = ?1";
/// Every string above, for the test that prepares each one against mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[LEFT_AT_LOGTO, LEAVE_LOGTO, LEAVE_MGPASS, IS_LEFT];

const SENT: &str = "SELECT fields FROM sent_back WHERE subject = ?1";
const N_DELETED: &str = concat!(
    "SELECT count(*) AS n, coalesce((SELECT max(at) FROM authority_log WHERE from_holder = 'draining' AND to_holder = 'mgpass'), 0) AS handed_over_at ",
    "FROM deleted_back WHERE subject <> ?1 AND at > ",
    now!(),
    " - 3600000"
);

macro_rules! may_send {
    ($generation:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning') AND raise_owed = 0 AND generation = ",
            $generation,
            ")"
        )
    };
}

const SEND: &str = concat!(
    "INSERT INTO sent_back (subject, ticket, sent_at, fields) SELECT ?1, ?2, ",
    now!(),
    ", ?3 WHERE ",
    may_send!("?4"),
    " RETURNING ticket"
);
/// The base says so; of earlier ones, too, that had landed before this one was sent.
const LEFT: &str = "DELETE FROM sent_back WHERE subject = ?1 AND (ticket = ?2 OR \
     answered_at < (SELECT sent_at FROM sent_back WHERE subject = ?1 AND ticket = ?2))";
/// The base does not say so: what was sent is still known for ours, and nothing of it can land.
const ANSWERED: &str = concat!(
    "UPDATE sent_back SET answered_at = ",
    now!(),
    " WHERE subject = ?1 AND ticket = ?2"
);
/// The brake: of deletions decided at the same moment, no more begin than it lets.
const BEGIN_DELETION: &str = concat!(
    "INSERT INTO deleted_back (subject, at) SELECT ?1, ",
    now!(),
    " WHERE ",
    may_send!("?2"),
    " AND (SELECT count(*) FROM deleted_back WHERE subject <> ?1 AND at > ",
    now!(),
    " - 3600000) < ?3 ON CONFLICT (subject) DO UPDATE SET at = excluded.at RETURNING subject"
);
/// What can come no more, once it was looked at again: until then it is known for ours.
const FORGET_SENT: &str = concat!(
    "DELETE FROM sent_back WHERE sent_at <= ",
    now!(),
    " - 2 * ",
    late_commit_ms!(),
    " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = sent_back.subject AND i.side = 'mgpass' AND i.discharged_at IS NULL)"
);
const FORGET_DELETED: &str = concat!(
    "DELETE FROM deleted_back WHERE at <= ",
    now!(),
    " - 3600000"
);
/// Every string above that is about the proxy's own database.
#[cfg(not(target_arch = "wasm32"))]
pub const PROXY_SQL: &[&str] = &[
    SENT,
    N_DELETED,
    SEND,
    LEFT,
    ANSWERED,
    BEGIN_DELETION,
    FORGET_SENT,
    FORGET_DELETED,
];

/// mgPass's side of one user.
#[derive(Clone, Debug)]
pub struct Here {
    pub target: TargetState,
    pub logto_base: Option<Base>,
    /// Number of the newest reconcile towards Logto.
    pub logto_ticket: i64,
    pub password: Standing,
    /// mgPass's audit log has it, too.
    pub is_deletion_logged: bool,
}

pub fn read(user: &UserId) -> Vec<Statement> {
    let mut statements = target::read(user, None);
    statements.push(Statement::new(LEFT_AT_LOGTO, vec![user.as_str().into()]));
    statements
}

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<Here> {
    let (left, results) = results.split_last()?;
    let row = left.first()?;
    Some(Here {
        target: target::parse_read(results)?,
        logto_base: text(row, "logto_base").as_deref().and_then(Base::parse),
        logto_ticket: integer(row, "logto_ticket").unwrap_or(0),
        password: Standing::parse(row),
        is_deletion_logged: integer(row, "is_deletion_logged")? != 0,
    })
}

/// mgPass's user in Logto's form; `None`: there is nobody, or nobody any more.
pub fn in_logtos_form(
    id: &UserId,
    target: &TargetState,
    settings: &MappingSettings,
) -> Option<String> {
    let (user, identities) = shown_rows(id, target.user.as_ref(), &target.identities)?;
    let residue = target.mirror.as_ref().and_then(MirrorRow::residue);
    let view = View {
        user: &user,
        identities: &identities,
        residue: residue.as_ref(),
        settings,
    };
    Some(view.whole())
}

/// The same, as Logto's user would be read.
pub fn as_logtos(
    id: &UserId,
    target: &TargetState,
    settings: &MappingSettings,
) -> Option<LogtoUser> {
    LogtoUser::parse(&in_logtos_form(id, target, settings)?).ok()
}

pub fn read_sent(user: &UserId) -> Vec<Statement> {
    [SENT, N_DELETED]
        .map(|sql| Statement::new(sql, vec![user.as_str().into()]))
        .to_vec()
}

/// What the proxy's own database knows.
#[derive(Clone, Debug)]
pub struct Known {
    /// Without an answer.
    pub sent: Vec<Sent>,
    /// Others, within the hour.
    pub n_deletions: i64,
    pub handed_over_ms: i64,
}

pub fn parse_sent(results: &[Vec<Row>]) -> Option<Known> {
    let [sent, deleted] = results else {
        return None;
    };
    let sent = sent
        .iter()
        .filter_map(|row| serde_json::from_str(&text(row, "fields")?).ok());
    let row = deleted.first()?;
    Some(Known {
        sent: sent.collect(),
        n_deletions: integer(row, "n")?,
        handed_over_ms: integer(row, "handed_over_at")?,
    })
}

/// Before the first call. No row: the authority has moved.
pub fn send(user: &UserId, ticket: i64, sent: &Sent, generation: i64) -> Statement {
    let values = vec![
        user.as_str().into(),
        ticket.into(),
        json!(sent.0).to_string().into(),
        generation.into(),
    ];
    Statement::new(SEND, values)
}

/// Each call was answered, and whether the base was left.
pub fn answered(user: &UserId, ticket: i64, is_left: bool) -> Statement {
    let sql = if is_left { LEFT } else { ANSWERED };
    Statement::new(sql, vec![user.as_str().into(), ticket.into()])
}

/// Before the call. No row: the brake, or the authority has moved.
pub fn begin_deletion(user: &UserId, generation: i64, per_hour: i64) -> Statement {
    let values = vec![user.as_str().into(), generation.into(), per_hour.into()];
    Statement::new(BEGIN_DELETION, values)
}

pub fn purge() -> Vec<Statement> {
    [FORGET_SENT, FORGET_DELETED]
        .map(|sql| Statement::new(sql, vec![]))
        .to_vec()
}

/// What one reconcile leaves at mgPass.
#[derive(Clone, Debug)]
pub struct Leave<'a> {
    pub user: &'a UserId,
    pub ticket: i64,
    pub generation: i64,
    /// `None`: Logto has the user no more.
    pub logto_base: Option<Base>,
    /// To be noted; `None`: as it was.
    pub password: Option<Option<String>>,
    pub is_tombstone: bool,
    /// Where all of it was carried: what the rows were.
    pub of_rows: Option<&'a TargetState>,
}

/// [`is_left`] tells whether it was not overtaken.
pub fn leave(leave: &Leave<'_>) -> Vec<Statement> {
    let key = || vec![Value::from(leave.user.as_str()), leave.ticket.into()];
    let mut logto = key();
    logto.extend([
        leave.logto_base.as_ref().map(Base::to_text).into(),
        leave.password.is_some().into(),
        leave.password.clone().flatten().into(),
        leave.is_tombstone.into(),
        leave.generation.into(),
    ]);
    let mut statements = vec![Statement::new(LEAVE_LOGTO, logto)];
    if let Some(target) = leave.of_rows
        && let (Some(mirror), Some(left)) = (&target.mirror, &target.left)
    {
        let live = target.user.as_ref().is_some_and(|user| !user.is_deleted);
        let base = live.then(|| target.to_base().to_text());
        let mut mgpass = key();
        mgpass.extend([base.into(), left.read_at.into(), mirror.ticket.into()]);
        statements.push(Statement::new(LEAVE_MGPASS, mgpass));
    }
    statements.push(Statement::new(IS_LEFT, vec![leave.user.as_str().into()]));
    statements
}

pub fn is_left(results: &[Vec<Row>], ticket: i64) -> bool {
    let row = results.last().and_then(|rows| rows.first());
    row.and_then(|row| integer(row, "logto_ticket")) == Some(ticket)
}
