//! A user's password as mgPass's rows tell of it, and what the proxy notes beside them.
//!
//! ASSUMPTIONS (docs/assumptions.md): `users.password_hash` changes with each password that
//! is set, and is NULL without one; a password that is set by mgPass's API is entered in its
//! audit log as `user.updated` of that user, within seconds. By the times noted here such an
//! entry is told from what others do.

use crate::inbound::request::{Secret, UserId};
use crate::mirror::outbox::Lease;
use crate::mirror::reverse::password;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{in_generation, integer, text};

const STANDING: &str = "SELECT u.id IS NOT NULL AND u.deleted_at IS NULL AS is_there, coalesce(u.is_suspended, 0) AS is_suspended, \
     u.password_hash AS hash, m.password_mark AS mark, u.password_hash IS m.void_hash AS is_void, \
     EXISTS (SELECT 1 FROM audit_logs WHERE target_id = ?1 AND event_type = 'user.login.success') AS has_signed_in \
     FROM logto_mirror m LEFT JOIN users u ON u.id = m.user_id WHERE m.user_id = ?1";
/// What mgPass enters from now on may be ours; an entry of an earlier call still is.
macro_rules! announce {
    ($seconds:literal) => {
        concat!(
            "UPDATE logto_mirror SET own_set_from = CASE WHEN own_set_until > unixepoch() - 900 THEN own_set_from ELSE unixepoch() END, own_set_until = unixepoch() + ",
            $seconds,
            " WHERE user_id = ?1"
        )
    };
}

const ANNOUNCE: &str = concat!(
    announce!(900),
    " AND ",
    in_generation!("?2"),
    " RETURNING user_id"
);
/// Of the account of the check, which no lease is needed for.
const ANNOUNCE_CHECK: &str = announce!(60);
const HASH: &str = "SELECT password_hash AS hash FROM users WHERE id = ?1";
const NOTE: &str = "UPDATE logto_mirror SET own_set_until = unixepoch() + 5, password_mark = ?2, password_carried = ?3, \
     void_hash = CASE WHEN ?3 = 0 THEN (SELECT password_hash FROM users WHERE id = ?1) END WHERE user_id = ?1";
const END_SESSIONS: &str = "INSERT INTO logto_mirror_effects (user_id, effect, ticket, owed_at) \
     VALUES (?1, 'revoke_all', ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER)) \
     ON CONFLICT (user_id, effect) DO UPDATE SET ticket = max(ticket, excluded.ticket)";
const BY_EMAIL: &str = "SELECT id FROM users WHERE email = ?1 AND deleted_at IS NULL LIMIT 2";
const BY_PHONE: &str =
    "SELECT id FROM users WHERE phone = '+' || ?1 AND deleted_at IS NULL LIMIT 2";
const BY_USERNAME: &str =
    "SELECT user_id AS id FROM logto_mirror_unique WHERE kind = 'username' AND value = ?1 LIMIT 2";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    STANDING,
    ANNOUNCE,
    ANNOUNCE_CHECK,
    HASH,
    NOTE,
    END_SESSIONS,
    BY_EMAIL,
    BY_PHONE,
    BY_USERNAME,
];

/// By what somebody signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifier {
    Email,
    Phone,
    Username,
}

impl Identifier {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "email" => Some(Self::Email),
            "phone" => Some(Self::Phone),
            "username" => Some(Self::Username),
            _ => None,
        }
    }
}

pub fn by(identifier: Identifier, value: &str) -> Statement {
    let sql = match identifier {
        Identifier::Email => BY_EMAIL,
        Identifier::Phone => BY_PHONE,
        Identifier::Username => BY_USERNAME,
    };
    Statement::new(sql, vec![value.into()])
}

/// The one user whom that names.
pub fn only(results: &[Vec<Row>]) -> Option<UserId> {
    match results.first().map(Vec::as_slice) {
        Some([row]) => UserId::parse(&text(row, "id")?),
        Some(_) | None => None,
    }
}

/// Whether a user could be given Logto's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// mgPass does not have them.
    Absent,
    Never(&'static str),
}

pub fn standing(user: &UserId) -> Statement {
    Statement::new(STANDING, vec![user.as_str().into()])
}

pub fn parse_standing(results: &[Vec<Row>], key: Option<&Secret<String>>) -> Standing {
    let Some(row) = results.first().and_then(|rows| rows.first()) else {
        return Standing::Absent;
    };
    // What is missing counts against it.
    let is = |name: &str| integer(row, name) != Some(0);
    if integer(row, "is_there") != Some(1) {
        return Standing::Absent;
    }
    if is("is_suspended") {
        return Standing::Never("suspended");
    }
    if is("has_signed_in") {
        return Standing::Never("signed_in_at_mgpass");
    }
    let (hash, mark) = (text(row, "hash"), text(row, "mark"));
    let is_known = password::mark(hash.as_deref(), key) == mark;
    match hash.is_none() || is("is_void") || is_known {
        true => Standing::Ready,
        false => Standing::Never("password_at_mgpass"),
    }
}

/// A password that nobody but the proxy has set.
pub fn is_ours(results: &[Vec<Row>], key: Option<&Secret<String>>) -> bool {
    let Some(row) = results.first().and_then(|rows| rows.first()) else {
        return false;
    };
    let (hash, mark) = (text(row, "hash"), text(row, "mark"));
    hash.is_some() && password::mark(hash.as_deref(), key) == mark
}

/// Before a call. Answers a row unless the authority has moved.
pub fn announce(lease: &Lease) -> Statement {
    let values = vec![lease.subject.as_str().into(), lease.generation.into()];
    Statement::new(ANNOUNCE, values)
}

pub fn announce_check(user: &UserId) -> Statement {
    Statement::new(ANNOUNCE_CHECK, vec![user.as_str().into()])
}

pub fn hash(user: &UserId) -> Statement {
    Statement::new(HASH, vec![user.as_str().into()])
}

/// The mark of the password that mgPass has now.
pub fn mark(results: &[Vec<Row>], key: Option<&Secret<String>>) -> Option<String> {
    let hash = text(results.first()?.first()?, "hash");
    password::mark(hash.as_deref(), key)
}

pub fn carried(user: &UserId, mark: Option<String>) -> Statement {
    note(user, mark, true)
}

/// Behind the call that ended it: whoever signed in by the old one goes, too.
pub fn voided(lease: &Lease, mark: Option<String>) -> Vec<Statement> {
    let user = &lease.subject;
    let owed = vec![user.as_str().into(), lease.ticket.into()];
    vec![note(user, mark, false), Statement::new(END_SESSIONS, owed)]
}

fn note(user: &UserId, mark: Option<String>, is_carried: bool) -> Statement {
    let values: Vec<Value> = vec![user.as_str().into(), mark.into(), is_carried.into()];
    Statement::new(NOTE, values)
}
