//! mgPass's D1 as the mirror reads and writes it: every SQL string, in one place.
//!
//! The fence is in the target: the first statement of a batch raises the user's
//! ticket only if ours is newer, and every other statement is conditional on the
//! row carrying our ticket. So a batch that lands late, twice or out of order
//! changes nothing. A ticket is used for one batch only.
//!
//! Column names are our assumption of mgPass's schema (`schema/mgpass`).

use crate::inbound::request::{UserId, id_list};
use crate::mirror::mapping::{MgpassIdentity, MgpassUser};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{integer, text};

/// Ids of identity rows that the mirror made start so; it removes no others.
pub const IDENTITY_PREFIX: &str = "idn_lm_";

const SELECT_USER: &str = "SELECT id, email, email_verified, phone, phone_verified, name, avatar, metadata, is_suspended, \
     created_at, last_sign_in_at, deleted_at FROM users WHERE id = ?1";
const SELECT_IDENTITIES: &str =
    "SELECT id, provider, provider_user_id, profile_data FROM social_identities WHERE user_id = ?1";
pub const SELECT_MIRROR: &str =
    "SELECT ticket, epoch, tombstone, residue FROM logto_mirror WHERE user_id = ?1";
const SELECT_EFFECTS: &str = "SELECT effect, ticket FROM logto_mirror_effects WHERE user_id = ?1";
const SELECT_DELETIONS: &str = "SELECT count(*) AS n FROM logto_mirror \
     WHERE tombstone = 1 AND digest <> '' AND applied_at > (unixepoch('subsec') - 3600) * 1000";
/// Who else holds a value that this user is about to take. An identity that its
/// holder linked at mgPass itself is not the mirror's to move.
const SELECT_HOLDERS: &str = "SELECT u.id AS id, EXISTS (SELECT 1 FROM logto_mirror m WHERE m.user_id = u.id) \
     AND NOT EXISTS (SELECT 1 FROM social_identities s JOIN json_each(?4) w \
     ON s.provider = json_extract(w.value, '$[0]') AND s.provider_user_id = json_extract(w.value, '$[1]') \
     WHERE s.user_id = u.id AND substr(s.id, 1, 7) <> 'idn_lm_') AS mirrored \
     FROM users u WHERE u.id <> ?1 AND ( u.email = ?2 OR u.phone = ?3 \
     OR u.id IN (SELECT s.user_id FROM social_identities s JOIN json_each(?4) w \
     ON s.provider = json_extract(w.value, '$[0]') AND s.provider_user_id = json_extract(w.value, '$[1]')) )";
pub const SELECT_OWED: &str =
    "SELECT user_id, effect, ticket FROM logto_mirror_effects ORDER BY owed_at LIMIT ?1";

/// For a page of the walk: no row, no mirror.
const SELECT_STANDINGS: &str = "SELECT m.user_id AS id, m.digest AS digest, m.epoch AS epoch, \
     m.tombstone = 1 OR u.id IS NULL OR u.deleted_at IS NOT NULL AS gone \
     FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = w.value LEFT JOIN users u ON u.id = m.user_id";
const SELECT_USERS_AFTER: &str = "SELECT u.id AS id, m.user_id IS NOT NULL AS mirrored \
     FROM users u LEFT JOIN logto_mirror m ON m.user_id = u.id \
     WHERE u.id > ?1 AND u.deleted_at IS NULL ORDER BY u.id LIMIT ?2";

/// Raises the ticket, if ours is newer and nobody raised it since the decision was
/// made; the guard of all that follows. Without the second condition an older
/// reconcile could land between our read and our batch, and what it wrote would
/// stand wherever we saw nothing to change. The brake is judged here once more: of
/// deletions decided at the same moment, no more go through than it lets.
const RAISE: &str = "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER)) \
     ON CONFLICT (user_id) DO UPDATE SET ticket = excluded.ticket, epoch = excluded.epoch, tombstone = excluded.tombstone, \
     digest = excluded.digest, residue = excluded.residue, obstacles = excluded.obstacles, \
     applied_at = CASE WHEN logto_mirror.tombstone = 1 AND excluded.tombstone = 1 THEN logto_mirror.applied_at ELSE excluded.applied_at END \
     WHERE excluded.ticket > logto_mirror.ticket AND logto_mirror.ticket = ?8 \
     AND (?9 IS NULL OR (SELECT count(*) FROM logto_mirror WHERE tombstone = 1 AND digest <> '' \
     AND applied_at > (unixepoch('subsec') - 3600) * 1000) < ?9)";
const RELEASE: &str = "UPDATE users SET email = NULL, phone = NULL WHERE id = ?1 \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)";
const PUT_USER: &str = "INSERT INTO users (id, email, email_verified, phone, phone_verified, name, avatar, metadata, is_suspended, \
     suspension_reason, created_at, last_sign_in_at) \
     SELECT ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, CASE WHEN ?10 = 1 THEN 'suspended in Logto' END, ?11, ?12 \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) \
     ON CONFLICT (id) DO UPDATE SET email = excluded.email, email_verified = excluded.email_verified, \
     phone = excluded.phone, phone_verified = excluded.phone_verified, name = excluded.name, avatar = excluded.avatar, \
     metadata = excluded.metadata, is_suspended = excluded.is_suspended, \
     suspension_reason = CASE WHEN excluded.is_suspended = 0 THEN NULL ELSE coalesce(users.suspension_reason, excluded.suspension_reason) END, \
     created_at = excluded.created_at, last_sign_in_at = excluded.last_sign_in_at";
const TOMBSTONE_USER: &str = "UPDATE users SET deleted_at = unixepoch(), email = NULL, phone = NULL WHERE id = ?1 \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)";
const PUT_IDENTITY: &str = "INSERT INTO social_identities (id, user_id, provider, provider_user_id, profile_data, created_at) \
     SELECT 'idn_lm_' || lower(hex(randomblob(8))), ?1, ?3, ?4, ?5, unixepoch() \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) \
     ON CONFLICT (provider, provider_user_id) DO UPDATE SET profile_data = excluded.profile_data \
     WHERE social_identities.user_id = excluded.user_id";
const DROP_IDENTITY: &str = "DELETE FROM social_identities WHERE id = ?3 AND user_id = ?1 \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)";
const DROP_IDENTITIES: &str = "DELETE FROM social_identities WHERE user_id = ?1 \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)";
/// What mgPass gives every created user.
const GIVE_DEFAULT_ROLES: &str = "INSERT INTO user_roles (user_id, role_id, created_at) \
     SELECT ?1, r.id, unixepoch() FROM roles r WHERE r.is_default = 1 AND r.type = 'user' \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) ON CONFLICT DO NOTHING";
/// The id is made of user, ticket and event: once per batch, however often it runs.
const AUDIT: &str = "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, metadata, created_at) \
     SELECT 'aud_lm_' || ?1 || '_' || ?2 || '_' || ?3, ?3, 'system', 'logto_mirror', 'user', ?1, NULL, unixepoch() \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) ON CONFLICT DO NOTHING";
const OWE: &str = "INSERT INTO logto_mirror_effects (user_id, effect, ticket, owed_at) \
     SELECT ?1, ?3, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) \
     ON CONFLICT (user_id, effect) DO UPDATE SET ticket = excluded.ticket";
const PAY: &str =
    "DELETE FROM logto_mirror_effects WHERE user_id = ?1 AND effect = ?2 AND ticket <= ?3";

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[
    SELECT_USER,
    SELECT_IDENTITIES,
    SELECT_MIRROR,
    SELECT_EFFECTS,
    SELECT_DELETIONS,
    SELECT_HOLDERS,
    SELECT_OWED,
    SELECT_STANDINGS,
    SELECT_USERS_AFTER,
    RAISE,
    RELEASE,
    PUT_USER,
    TOMBSTONE_USER,
    PUT_IDENTITY,
    DROP_IDENTITY,
    DROP_IDENTITIES,
    GIVE_DEFAULT_ROLES,
    AUDIT,
    OWE,
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
    pub owed: Vec<(Effect, i64)>,
    pub holders: Vec<Holder>,
    /// Mirrored deletions within the last hour, over all users.
    pub recent_deletions: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUser {
    pub email: Option<String>,
    pub email_verified: bool,
    pub phone: Option<String>,
    pub phone_verified: bool,
    pub name: Option<String>,
    pub avatar: Option<String>,
    pub metadata: String,
    pub is_suspended: bool,
    pub created_at_s: i64,
    pub last_sign_in_at_s: Option<i64>,
    pub is_deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetIdentity {
    pub row_id: String,
    pub identity: MgpassIdentity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRow {
    pub ticket: i64,
    pub epoch: i64,
    pub is_tombstone: bool,
    pub residue: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub user: UserId,
    /// False: mgPass's own user or own link, which the mirror never touches.
    pub is_mirrored: bool,
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
        Statement::new(SELECT_EFFECTS, id()),
        Statement::new(SELECT_HOLDERS, holders),
        Statement::new(SELECT_DELETIONS, vec![]),
    ]
}

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<TargetState> {
    let [users, identities, mirror, owed, holders, deletions] = results else {
        return None;
    };
    Some(TargetState {
        user: match users.first() {
            None => None,
            Some(row) => Some(parse_user(row)?),
        },
        identities: identities
            .iter()
            .map(parse_identity)
            .collect::<Option<_>>()?,
        mirror: match mirror.first() {
            None => None,
            Some(row) => Some(parse_mirror(row)?),
        },
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
                })
            })
            .collect::<Option<_>>()?,
        recent_deletions: integer(deletions.first()?, "n")?,
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

pub(crate) fn parse_user(row: &Row) -> Option<TargetUser> {
    Some(TargetUser {
        email: text(row, "email"),
        email_verified: integer(row, "email_verified")? == 1,
        phone: text(row, "phone"),
        phone_verified: integer(row, "phone_verified")? == 1,
        name: text(row, "name"),
        avatar: text(row, "avatar"),
        metadata: text(row, "metadata")?,
        is_suspended: integer(row, "is_suspended")? == 1,
        created_at_s: integer(row, "created_at")?,
        last_sign_in_at_s: integer(row, "last_sign_in_at"),
        is_deleted: integer(row, "deleted_at").is_some(),
    })
}

pub(crate) fn parse_identity(row: &Row) -> Option<TargetIdentity> {
    Some(TargetIdentity {
        row_id: text(row, "id")?,
        identity: MgpassIdentity {
            provider: text(row, "provider")?,
            provider_user_id: text(row, "provider_user_id")?,
            profile_data: text(row, "profile_data"),
        },
    })
}

/// The statements of one subject's change, all under one ticket.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    user: &'a UserId,
    ticket: i64,
}

/// What the mirror row says from this ticket on.
#[derive(Clone, Debug)]
pub struct Raise {
    pub epoch: i64,
    pub is_tombstone: bool,
    /// Empty where there is nothing to compare with.
    pub digest: String,
    pub residue: Option<String>,
    /// Codes of what could not be carried, as a JSON array.
    pub obstacles: String,
    /// The ticket in force when the decision was made; 0 without a mirror row.
    pub seen: i64,
    /// Of a deletion: how many the last hour may have held before it.
    pub brake: Option<i64>,
}

impl<'a> Writer<'a> {
    pub fn new(user: &'a UserId, ticket: i64) -> Self {
        Self { user, ticket }
    }

    pub fn raise(&self, raise: Raise) -> Statement {
        self.statement(
            RAISE,
            vec![
                raise.epoch.into(),
                raise.is_tombstone.into(),
                raise.digest.into(),
                raise.residue.into(),
                raise.obstacles.into(),
                raise.seen.into(),
                raise.brake.into(),
            ],
        )
    }

    pub fn release(&self) -> Statement {
        self.statement(RELEASE, vec![])
    }

    pub fn put_user(
        &self,
        user: &MgpassUser,
        email_verified: bool,
        phone_verified: bool,
    ) -> Statement {
        self.statement(
            PUT_USER,
            vec![
                user.email.clone().into(),
                email_verified.into(),
                user.phone.clone().into(),
                phone_verified.into(),
                user.name.clone().into(),
                user.avatar.clone().into(),
                user.metadata.clone().into(),
                user.is_suspended.into(),
                user.created_at_s.into(),
                user.last_sign_in_at_s.into(),
            ],
        )
    }

    pub fn tombstone_user(&self) -> Statement {
        self.statement(TOMBSTONE_USER, vec![])
    }

    pub fn put_identity(&self, identity: &MgpassIdentity) -> Statement {
        self.statement(
            PUT_IDENTITY,
            vec![
                identity.provider.clone().into(),
                identity.provider_user_id.clone().into(),
                identity.profile_data.clone().into(),
            ],
        )
    }

    pub fn drop_identity(&self, row_id: &str) -> Statement {
        self.statement(DROP_IDENTITY, vec![row_id.into()])
    }

    pub fn drop_identities(&self) -> Statement {
        self.statement(DROP_IDENTITIES, vec![])
    }

    pub fn give_default_roles(&self) -> Statement {
        self.statement(GIVE_DEFAULT_ROLES, vec![])
    }

    pub fn audit(&self, event_type: &'static str) -> Statement {
        self.statement(AUDIT, vec![event_type.into()])
    }

    pub fn owe(&self, effect: Effect) -> Statement {
        self.statement(OWE, vec![effect.name().into()])
    }

    /// Asked last: whether this ticket is the one in force.
    pub fn ticket_in_force(&self) -> Statement {
        Statement::new(SELECT_MIRROR, vec![self.user.as_str().into()])
    }

    fn statement(&self, sql: &'static str, more: Vec<Value>) -> Statement {
        let mut values = vec![Value::from(self.user.as_str()), self.ticket.into()];
        values.extend(more);
        Statement::new(sql, values)
    }
}

/// How mgPass stands with one user, as far as the mirror row tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub user: UserId,
    pub digest: String,
    pub epoch: i64,
    pub is_gone: bool,
}

pub fn standings(users: &[UserId]) -> Statement {
    let ids = id_list(users);
    Statement::new(SELECT_STANDINGS, vec![ids.into()])
}

pub fn parse_standings(results: &[Vec<Row>]) -> Vec<Standing> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            Some(Standing {
                user: UserId::parse(&text(row, "id")?)?,
                digest: text(row, "digest")?,
                epoch: integer(row, "epoch")?,
                is_gone: integer(row, "gone")? != 0,
            })
        })
        .collect()
}

pub fn users_after(after_id: &str, limit: i64) -> Statement {
    Statement::new(SELECT_USERS_AFTER, vec![after_id.into(), limit.into()])
}

/// Each with whether the mirror knows it.
pub fn parse_users_after(results: &[Vec<Row>]) -> Vec<(UserId, bool)> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            Some((
                UserId::parse(&text(row, "id")?)?,
                integer(row, "mirrored")? != 0,
            ))
        })
        .collect()
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
