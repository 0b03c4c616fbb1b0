//! mgPass's D1 as the mirror reads it: one subject's rows, and who else holds what.
//! What it writes is in `writer`, and for many at once in `page`.
//!
//! Column names are our assumption of mgPass's schema (`schema/mgpass`).

use crate::inbound::request::{UserId, id_list};
use crate::mirror::base::Base;
use crate::mirror::edits::edits_since;
use crate::mirror::mapping::{MgpassIdentity, MgpassUser};
use crate::mirror::residue::Residue;
use crate::mirror::rows::{TargetIdentity, TargetUser, parse_identity, parse_user};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{integer, text};

pub const SELECT_USER: &str = "SELECT id, email, email_verified, phone, phone_verified, name, avatar, metadata, is_suspended, \
     created_at, last_sign_in_at, deleted_at FROM users WHERE id = ?1";
pub const SELECT_IDENTITIES: &str =
    "SELECT id, provider, provider_user_id, profile_data FROM social_identities WHERE user_id = ?1";
pub const SELECT_MIRROR: &str =
    "SELECT ticket, epoch, tombstone, residue FROM logto_mirror WHERE user_id = ?1";
/// What the mirror left of the user, and how many edits others made there since.
const SELECT_LEFT: &str = concat!(
    "SELECT m.base AS base, m.seen_at AS seen_at, unixepoch() AS read_at, (SELECT count(*) ",
    edits_since!("m.user_id", "m.seen_at"),
    ") AS n_edits FROM logto_mirror m WHERE m.user_id = ?1"
);
const SELECT_EFFECTS: &str = "SELECT effect, ticket FROM logto_mirror_effects WHERE user_id = ?1";
/// With what mgPass's database knows of the authority.
const SELECT_DELETIONS: &str = "SELECT count(*) AS n, (SELECT generation FROM logto_mirror_authority) AS generation FROM logto_mirror \
     WHERE tombstone = 1 AND digest <> '' AND applied_at > (unixepoch('subsec') - 3600) * 1000";
/// Who else holds a value that this user is about to take. An identity that its
/// holder linked at mgPass itself is not the mirror's to move.
const SELECT_HOLDERS: &str = "SELECT u.id AS id, EXISTS (SELECT 1 FROM logto_mirror m WHERE m.user_id = u.id) \
     AND NOT EXISTS (SELECT 1 FROM social_identities s JOIN json_each(?4) w \
     ON s.provider = json_extract(w.value, '$[0]') AND s.provider_user_id = json_extract(w.value, '$[1]') \
     WHERE s.user_id = u.id AND substr(s.id, 1, 7) <> 'idn_lm_') AS mirrored, \
     coalesce(u.email = ?2, 0) AS email, coalesce(u.phone = ?3, 0) AS phone, \
     EXISTS (SELECT 1 FROM social_identities s JOIN json_each(?4) w \
     ON s.provider = json_extract(w.value, '$[0]') AND s.provider_user_id = json_extract(w.value, '$[1]') \
     WHERE s.user_id = u.id) AS identity \
     FROM users u WHERE u.id <> ?1 AND ( u.email = ?2 OR u.phone = ?3 \
     OR u.id IN (SELECT s.user_id FROM social_identities s JOIN json_each(?4) w \
     ON s.provider = json_extract(w.value, '$[0]') AND s.provider_user_id = json_extract(w.value, '$[1]')) )";
pub const SELECT_OWED: &str =
    "SELECT user_id, effect, ticket FROM logto_mirror_effects ORDER BY owed_at LIMIT ?1";

const SELECT_USERS_AFTER: &str = "SELECT u.id AS id, m.user_id IS NOT NULL AS mirrored, coalesce(m.walked = ?3, 0) AS walked \
     FROM users u LEFT JOIN logto_mirror m ON m.user_id = u.id \
     WHERE u.id > ?1 AND u.deleted_at IS NULL ORDER BY u.id LIMIT ?2";
/// A pass of the walk met them in Logto's listing.
const MARK_WALKED: &str = "UPDATE logto_mirror SET walked = ?2 \
     WHERE walked <> ?2 AND user_id IN (SELECT value FROM json_each(?1))";
const PAY: &str =
    "DELETE FROM logto_mirror_effects WHERE user_id = ?1 AND effect = ?2 AND ticket <= ?3";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    SELECT_USER,
    SELECT_IDENTITIES,
    SELECT_MIRROR,
    SELECT_LEFT,
    SELECT_EFFECTS,
    SELECT_DELETIONS,
    SELECT_HOLDERS,
    SELECT_OWED,
    SELECT_USERS_AFTER,
    MARK_WALKED,
    PAY,
];

/// A call to mgPass's API that a change owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Suspension and deletion end sessions at Logto; mgPass needs a call for it.
    RevokeAll,
}

impl Effect {
    pub fn name(self) -> &'static str {
        match self {
            Self::RevokeAll => "revoke_all",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        (name == Self::RevokeAll.name()).then_some(Self::RevokeAll)
    }
}

/// mgPass's side of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    pub user: Option<TargetUser>,
    pub identities: Vec<TargetIdentity>,
    pub mirror: Option<MirrorRow>,
    /// With a mirror row.
    pub left: Option<Left>,
    pub owed: Vec<(Effect, i64)>,
    pub holders: Vec<Holder>,
    /// Mirrored deletions within the last hour, over all users.
    pub recent_deletions: i64,
    /// Of the authority, as mgPass's database knows it.
    pub generation: i64,
}

impl TargetState {
    pub fn base(&self) -> Option<&Base> {
        self.left.as_ref()?.base.as_ref()
    }

    /// What a batch that writes nothing leaves.
    pub fn to_base(&self) -> Base {
        Base::of(self.user.as_ref(), self.held_identities())
    }

    pub fn held_identities(&self) -> impl Iterator<Item = &MgpassIdentity> {
        self.identities.iter().map(|row| &row.identity)
    }
}

/// What the newest reconcile left in mgPass's rows, and what others did there since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// `None`: nothing is known, as of a row that was adopted.
    pub base: Option<Base>,
    /// Epoch seconds: since when edits count.
    pub seen_at: i64,
    /// When all this was read, by the same clock.
    pub read_at: i64,
    /// Changes that somebody made on purpose, by mgPass's audit log.
    pub n_edits: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRow {
    pub ticket: i64,
    pub epoch: i64,
    pub is_tombstone: bool,
    pub residue: Option<String>,
}

impl MirrorRow {
    /// What Logto knows of the user besides.
    pub fn residue(&self) -> Option<Residue> {
        Residue::parse(self.residue.as_deref()?)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub user: UserId,
    /// False: mgPass's own user or own link, which the mirror never touches.
    pub is_mirrored: bool,
    pub has_email: bool,
    pub has_phone: bool,
    pub has_identity: bool,
}

/// Everything a decision needs, in one batch. `wanted` is what Logto's user maps to.
pub fn read(user: &UserId, wanted: Option<&MgpassUser>) -> Vec<Statement> {
    let id = || vec![Value::from(user.as_str())];
    let identities: Vec<_> = wanted
        .map(|wanted| wanted.identities.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|identity| [&identity.provider, &identity.provider_user_id])
        .collect();
    let holders = vec![
        Value::from(user.as_str()),
        wanted.and_then(|wanted| wanted.email.clone()).into(),
        wanted.and_then(|wanted| wanted.phone.clone()).into(),
        serde_json::json!(identities).to_string().into(),
    ];
    vec![
        Statement::new(SELECT_USER, id()),
        Statement::new(SELECT_IDENTITIES, id()),
        Statement::new(SELECT_MIRROR, id()),
        Statement::new(SELECT_LEFT, id()),
        Statement::new(SELECT_EFFECTS, id()),
        Statement::new(SELECT_HOLDERS, holders),
        Statement::new(SELECT_DELETIONS, vec![]),
    ]
}

/// The first row, if there is one. `None`: it was not as the schema says.
pub fn first<T>(rows: &[Row], parse: impl Fn(&Row) -> Option<T>) -> Option<Option<T>> {
    match rows.first() {
        None => Some(None),
        Some(row) => parse(row).map(Some),
    }
}

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<TargetState> {
    let [users, identities, mirror, left, owed, holders, deletions] = results else {
        return None;
    };
    Some(TargetState {
        user: first(users, parse_user)?,
        identities: identities
            .iter()
            .map(parse_identity)
            .collect::<Option<_>>()?,
        mirror: first(mirror, parse_mirror)?,
        left: first(left, parse_left)?,
        owed: owed
            .iter()
            .map(|row| {
                Some((
                    Effect::from_name(&text(row, "effect")?)?,
                    integer(row, "ticket")?,
                ))
            })
            .collect::<Option<_>>()?,
        holders: holders
            .iter()
            .map(|row| {
                Some(Holder {
                    user: UserId::parse(&text(row, "id")?)?,
                    is_mirrored: integer(row, "mirrored")? == 1,
                    has_email: integer(row, "email")? == 1,
                    has_phone: integer(row, "phone")? == 1,
                    has_identity: integer(row, "identity")? == 1,
                })
            })
            .collect::<Option<_>>()?,
        recent_deletions: integer(deletions.first()?, "n")?,
        generation: integer(deletions.first()?, "generation")?,
    })
}

pub fn parse_mirror(row: &Row) -> Option<MirrorRow> {
    Some(MirrorRow {
        ticket: integer(row, "ticket")?,
        epoch: integer(row, "epoch")?,
        is_tombstone: integer(row, "tombstone")? == 1,
        residue: text(row, "residue"),
    })
}

pub(crate) fn parse_left(row: &Row) -> Option<Left> {
    Some(Left {
        base: text(row, "base").as_deref().and_then(Base::parse),
        seen_at: integer(row, "seen_at")?,
        read_at: integer(row, "read_at")?,
        n_edits: integer(row, "n_edits")?,
    })
}

/// One of mgPass's users, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAfter {
    pub id: String,
    /// The mirror knows them.
    pub is_mirrored: bool,
    /// That pass of the walk met them in Logto's listing.
    pub is_walked: bool,
}

pub fn users_after(after_id: &str, limit: i64, pass: i64) -> Statement {
    let values = vec![after_id.into(), limit.into(), pass.into()];
    Statement::new(SELECT_USERS_AFTER, values)
}

pub fn parse_users_after(results: &[Vec<Row>]) -> Vec<UserAfter> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            Some(UserAfter {
                id: text(row, "id")?,
                is_mirrored: integer(row, "mirrored")? != 0,
                is_walked: integer(row, "walked")? != 0,
            })
        })
        .collect()
}

pub fn mark_walked(users: &[UserId], pass: i64) -> Statement {
    Statement::new(MARK_WALKED, vec![id_list(users).into(), pass.into()])
}

/// What is owed to one user.
pub fn owed(user: &UserId) -> Statement {
    Statement::new(SELECT_EFFECTS, vec![user.as_str().into()])
}

/// Removes an effect that was carried out, unless it was owed anew meanwhile.
pub fn pay(user: &UserId, effect: Effect, ticket: i64) -> Statement {
    Statement::new(
        PAY,
        vec![user.as_str().into(), effect.name().into(), ticket.into()],
    )
}
