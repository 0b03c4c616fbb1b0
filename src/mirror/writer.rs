//! What one reconcile writes at mgPass: the statements of a subject's part of a batch.
//!
//! The fence is in the target: the first statement raises the user's ticket only if
//! ours is newer, and every other one is conditional on the row carrying our ticket.
//! So a batch that lands late, twice or out of order changes nothing. A ticket is used
//! for one batch only.
//!
//! Column names are our assumption of mgPass's schema (`schema/mgpass`).

use serde_json::json;

use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::differences::Wanted;
use crate::mirror::edits::edits_since;
use crate::mirror::mapping::MgpassIdentity;
use crate::mirror::merge::ChangedThere;
use crate::mirror::target::Effect;
use crate::mirror::telling::told;
use crate::runtime::ports::{Statement, Value};
use crate::runtime::sql::in_generation;

/// Raises the ticket, if ours is newer and nobody raised it since the decision was
/// made; the guard of all that follows. Without the second condition an older
/// reconcile could land between our read and our batch, and what it wrote would
/// stand wherever we saw nothing to change. The brake is judged here once more: of
/// deletions decided at the same moment, no more go through than it lets. And nobody
/// may have edited the user at mgPass meanwhile: such a change was not judged yet. Nor may
/// the authority have moved, which all of this is done in the name of.
const RAISE: &str = concat!(
    "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at, base, seen_at, logto_base) \
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?10, coalesce(?11, unixepoch()), ?14 WHERE ",
    in_generation!("?13"),
    " ON CONFLICT (user_id) DO UPDATE SET ticket = excluded.ticket, epoch = excluded.epoch, tombstone = excluded.tombstone, \
     digest = excluded.digest, residue = excluded.residue, obstacles = excluded.obstacles, base = excluded.base, seen_at = excluded.seen_at, \
     logto_base = excluded.logto_base, applied_at = CASE WHEN logto_mirror.tombstone = 1 AND excluded.tombstone = 1 THEN logto_mirror.applied_at ELSE excluded.applied_at END \
     WHERE excluded.ticket > logto_mirror.ticket AND logto_mirror.ticket = ?8 \
     AND (?9 IS NULL OR (SELECT count(*) FROM logto_mirror WHERE tombstone = 1 AND digest <> '' \
     AND applied_at > (unixepoch('subsec') - 3600) * 1000) < ?9) \
     AND (SELECT count(*) ",
    edits_since!("?1", "logto_mirror.seen_at"),
    ") = ?12"
);
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
     SELECT 'aud_lm_' || ?1 || '_' || ?2 || '_' || ?3, ?3, 'system', 'logto_mirror', 'user', ?1, ?4, unixepoch() \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) ON CONFLICT DO NOTHING";
const TELL: &str = concat!(
    "UPDATE logto_mirror SET ",
    told!("?3", "?2"),
    " WHERE user_id = ?1 AND ticket = ?2"
);
const OWE: &str = "INSERT INTO logto_mirror_effects (user_id, effect, ticket, owed_at) \
     SELECT ?1, ?3, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) \
     WHERE EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2) \
     ON CONFLICT (user_id, effect) DO UPDATE SET ticket = excluded.ticket";

const IN_FORCE: &str = "SELECT (SELECT ticket FROM logto_mirror WHERE user_id = ?1) AS ticket, \
     (SELECT generation FROM logto_mirror_authority) AS generation";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    RAISE,
    RELEASE,
    PUT_USER,
    TOMBSTONE_USER,
    PUT_IDENTITY,
    DROP_IDENTITY,
    DROP_IDENTITIES,
    GIVE_DEFAULT_ROLES,
    AUDIT,
    TELL,
    OWE,
    IN_FORCE,
];

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
    /// What the batch leaves in the rows; `None`: no user.
    pub base: Option<Base>,
    /// What Logto's user was when it was read; `None`: no user.
    pub logto_base: Option<Base>,
    /// Since when edits at mgPass count from now on; `None`: from the batch on.
    pub seen_at: Option<i64>,
    /// How many edits were there when the decision was made.
    pub n_edits: i64,
    /// Of the authority, when the lease was taken.
    pub generation: i64,
}

/// The user's ticket in force, and the authority's generation.
pub fn in_force(user: &UserId) -> Statement {
    Statement::new(IN_FORCE, vec![user.as_str().into()])
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
                raise.base.as_ref().map(Base::to_text).into(),
                raise.seen_at.into(),
                raise.n_edits.into(),
                raise.generation.into(),
                raise.logto_base.as_ref().map(Base::to_text).into(),
            ],
        )
    }

    pub fn release(&self) -> Statement {
        self.statement(RELEASE, vec![])
    }

    pub fn put_user(&self, wanted: &Wanted) -> Statement {
        let user = &wanted.user;
        self.statement(
            PUT_USER,
            vec![
                user.email.clone().into(),
                wanted.email_verified.into(),
                user.phone.clone().into(),
                wanted.phone_verified.into(),
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

    /// The entry, and beside it what it is found missing by.
    pub fn audit(&self, event_type: &'static str) -> [Statement; 2] {
        self.audited(event_type, Value::Null)
    }

    /// With the fields of a change at mgPass that this one undoes: what somebody did
    /// there does not vanish without trace, whatever becomes of us behind the batch.
    pub fn audit_of(&self, event_type: &'static str, there: &ChangedThere) -> [Statement; 2] {
        if there.altered.is_empty() && there.overruled.is_empty() {
            return self.audit(event_type);
        }
        let fields = json!({ "altered": there.altered, "overruled": there.overruled });
        self.audited(event_type, fields.to_string().into())
    }

    fn audited(&self, event_type: &'static str, metadata: Value) -> [Statement; 2] {
        [
            self.statement(AUDIT, vec![event_type.into(), metadata]),
            self.statement(TELL, vec![event_type.into()]),
        ]
    }

    pub fn owe(&self, effect: Effect) -> Statement {
        self.statement(OWE, vec![effect.name().into()])
    }

    /// Asked last: whether this ticket is the one in force.
    pub fn ticket_in_force(&self) -> Statement {
        in_force(self.user)
    }

    fn statement(&self, sql: &'static str, more: Vec<Value>) -> Statement {
        let mut values = vec![Value::from(self.user.as_str()), self.ticket.into()];
        values.extend(more);
        Statement::new(sql, values)
    }
}
