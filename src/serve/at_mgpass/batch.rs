//! A translated write as one batch at mgPass: the guard, the changed columns, and the
//! answer to whether it was applied.
//!
//! The guard raises the user's ticket only if the authority has not moved (the generation
//! that the intent was opened in), nobody else wrote meanwhile (the ticket that was
//! seen), and every value that the decision rests on still stands: mgPass's own pages
//! raise no ticket. Everything else hangs on our ticket. So a batch that lands late, twice
//! or out of order changes nothing.
//!
//! `base` and `seen_at` stay as the last reconcile left them: what differs from them is
//! what Logto does not have yet. A user of mgPass's own keeps no mirror row: theirs lives
//! within the batch, as the place where the ticket stands.

use serde_json::json;

use super::holders::{is_held_by_another, wanted_json};
use super::person::Person;
use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::differences::Wanted;
use crate::mirror::mapping::{MgpassIdentity, MgpassUser, map};
use crate::mirror::reconcile::obstacle_codes;
use crate::mirror::residue::Residue;
use crate::mirror::target::Effect;
use crate::mirror::writer::{Writer, in_force};
use crate::runtime::backend::logto::{LogtoUser, UnreadableUser};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::settings::MappingSettings;
use crate::runtime::sql::{in_generation, integer};
use crate::serve::translate_write::{After, Applied, Column};

/// Every social account is one that was read, and there are as many.
macro_rules! has_identities_of {
    ($json:literal) => {
        concat!(
            "(SELECT count(*) FROM social_identities s WHERE s.user_id = ?1) = json_array_length(",
            $json,
            ") AND NOT EXISTS (SELECT 1 FROM social_identities s WHERE s.user_id = ?1 AND NOT EXISTS \
             (SELECT 1 FROM json_each(",
            $json,
            ") w WHERE json_extract(w.value, '$[0]') = s.provider AND json_extract(w.value, '$[1]') = s.provider_user_id \
             AND json_extract(w.value, '$[2]') IS s.profile_data))"
        )
    };
}

const GUARD_CHANGE: &str = concat!(
    "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at) \
     SELECT ?1, ?2, 0, ?3, '', ?4, ?5, CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE ",
    in_generation!("?6"),
    " AND EXISTS (SELECT 1 FROM users WHERE id = ?1 AND deleted_at IS NULL AND email IS ?8 AND phone IS ?9 AND name IS ?10 \
     AND avatar IS ?11 AND metadata IS ?12 AND is_suspended IS ?13 AND created_at IS ?14 AND last_sign_in_at IS ?15) AND ",
    has_identities_of!("?16"),
    " AND NOT EXISTS (SELECT 1 FROM json_each(?17) w WHERE ",
    is_held_by_another!("?1"),
    ") ON CONFLICT (user_id) DO UPDATE SET ticket = excluded.ticket, tombstone = excluded.tombstone, residue = excluded.residue, \
     obstacles = excluded.obstacles, applied_at = excluded.applied_at, \
     digest = CASE WHEN excluded.tombstone = 1 THEN '' ELSE logto_mirror.digest END, \
     base = CASE WHEN excluded.tombstone = 1 THEN NULL ELSE logto_mirror.base END \
     WHERE logto_mirror.ticket = ?7 AND excluded.ticket > logto_mirror.ticket"
);
const GUARD_CREATE: &str = concat!(
    "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at, base, seen_at) \
     SELECT ?1, ?2, 0, 0, '', ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?6, unixepoch() WHERE ",
    in_generation!("?5"),
    " AND NOT EXISTS (SELECT 1 FROM users WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM json_each(?7) w WHERE ",
    is_held_by_another!("?1"),
    ") ON CONFLICT (user_id) DO NOTHING"
);

/// An update of mgPass's row, once the ticket is ours.
macro_rules! set {
    ($columns:literal) => {
        concat!(
            "UPDATE users SET ",
            $columns,
            " WHERE id = ?1 AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)"
        )
    };
}

const SET_EMAIL: &str = set!("email = ?3, email_verified = ?4");
const SET_PHONE: &str = set!("phone = ?3, phone_verified = ?4");
const SET_NAME: &str = set!("name = ?3");
const SET_AVATAR: &str = set!("avatar = ?3");
const SET_METADATA: &str = set!("metadata = ?3");
const SET_SUSPENSION: &str = set!(
    "is_suspended = ?3, suspension_reason = CASE WHEN ?3 = 1 THEN 'suspended through Logto''s API' END"
);
const SET_CREATED_AT: &str = set!("created_at = ?3");
const SET_LAST_SIGN_IN_AT: &str = set!("last_sign_in_at = ?3");
/// Whoever made the row: mgPass's data is what counts.
const DROP_ACCOUNT: &str = "DELETE FROM social_identities WHERE user_id = ?1 AND provider = ?3 AND provider_user_id = ?4 \
     AND EXISTS (SELECT 1 FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2)";
/// Of a user of mgPass's own.
const FORGET_TICKET: &str = "DELETE FROM logto_mirror WHERE user_id = ?1 AND ticket = ?2";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    GUARD_CHANGE,
    GUARD_CREATE,
    SET_EMAIL,
    SET_PHONE,
    SET_NAME,
    SET_AVATAR,
    SET_METADATA,
    SET_SUSPENSION,
    SET_CREATED_AT,
    SET_LAST_SIGN_IN_AT,
    DROP_ACCOUNT,
    FORGET_TICKET,
];

/// What a write is carried out with.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub user: &'a UserId,
    pub ticket: i64,
    /// Of the authority, when the intent was opened.
    pub generation: i64,
    pub before: &'a Person,
    pub applied: &'a Applied,
    pub is_case_sensitive: bool,
    pub mapping: &'a MappingSettings,
}

/// Where in the batch the answer stands, and the batch.
pub struct Batch {
    pub statements: Vec<Statement>,
    answer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// Something it rests on has changed: to be read and decided anew.
    Missed,
    /// The authority has moved.
    Moved,
}

impl Batch {
    /// `None`: the answer was not as the schema says.
    pub fn outcome(&self, results: &[Vec<Row>], ticket: i64, generation: i64) -> Option<Outcome> {
        outcome(results.get(self.answer)?.first()?, ticket, generation)
    }
}

/// By the answer to [`in_force`].
pub fn outcome(row: &Row, ticket: i64, generation: i64) -> Option<Outcome> {
    Some(
        match (integer(row, "ticket"), integer(row, "generation")?) {
            (Some(in_force), _) if in_force == ticket => Outcome::Applied,
            (_, known) if known != generation => Outcome::Moved,
            _ => Outcome::Missed,
        },
    )
}

impl Change<'_> {
    /// # Errors
    /// When what comes of it is no user: a defect.
    pub fn batch(&self) -> Result<Batch, UnreadableUser> {
        let mut statements = match &self.applied.after {
            After::Created(view) => self.create(view)?,
            After::Changed(view) => self.change(&LogtoUser::parse(view)?),
            After::Deleted => self.delete(),
        };
        let answer = statements.len();
        statements.push(in_force(self.user));
        if self.before.is_born_at_mgpass() && !matches!(self.applied.after, After::Created(_)) {
            statements.push(self.statement(FORGET_TICKET, vec![]));
        }
        Ok(Batch { statements, answer })
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(self.user, self.ticket)
    }

    fn create(&self, view: &str) -> Result<Vec<Statement>, UnreadableUser> {
        let logto = LogtoUser::parse(view)?;
        let user = map(&logto, self.mapping).user;
        let reserved = Wanted::of(reserved(&user), None, self.mapping);
        let guard = vec![
            Residue::of(&logto).into(),
            obstacle_codes(&self.applied.changes.obstacles).into(),
            self.generation.into(),
            Base::of(Some(&reserved.to_row()), []).to_text().into(),
            self.wanted().into(),
        ];
        let writer = self.writer();
        let mut statements = vec![
            self.statement(GUARD_CREATE, guard),
            writer.put_user(&Wanted::of(user, None, self.mapping)),
            writer.give_default_roles(),
        ];
        statements.extend(writer.audit("user.created"));
        Ok(statements)
    }

    fn change(&self, after: &LogtoUser) -> Vec<Statement> {
        let changes = &self.applied.changes;
        // A user of mgPass's own has no residue that anybody would read.
        let residue = (!self.before.is_born_at_mgpass()).then(|| Residue::of(after));
        let mut statements = vec![self.guard(false, residue)];
        let columns = changes.columns.iter();
        statements.extend(columns.map(|(column, value)| self.set(*column, value.clone())));
        let drops = changes.identities_dropped.iter();
        statements.extend(drops.map(|identity| self.drop_account(identity)));
        let writer = self.writer();
        let puts = changes.identities_put.iter();
        statements.extend(puts.map(|identity| writer.put_identity(identity)));
        statements.extend(writer.audit("user.updated"));
        let suspension = changes
            .columns
            .iter()
            .find(|(column, _)| *column == Column::IsSuspended);
        if let Some((_, value)) = suspension {
            statements.extend(writer.audit(if *value == Value::from(true) {
                "user.suspended"
            } else {
                "user.unsuspended"
            }));
        }
        if self.applied.owed.revoke_all {
            statements.push(writer.owe(Effect::RevokeAll));
        }
        statements
    }

    fn delete(&self) -> Vec<Statement> {
        let writer = self.writer();
        let mut statements = vec![
            self.guard(true, None),
            writer.tombstone_user(),
            writer.drop_identities(),
        ];
        statements.extend(writer.audit("user.deleted"));
        if self.applied.owed.revoke_all {
            statements.push(writer.owe(Effect::RevokeAll));
        }
        statements
    }

    fn guard(&self, is_tombstone: bool, residue: Option<String>) -> Statement {
        let mut values = vec![
            is_tombstone.into(),
            residue.into(),
            obstacle_codes(&self.applied.changes.obstacles).into(),
            self.generation.into(),
            self.before.seen().into(),
        ];
        values.extend(self.values_read());
        values.push(self.wanted().into());
        self.statement(GUARD_CHANGE, values)
    }

    /// Of the row, and the social accounts.
    fn values_read(&self) -> Vec<Value> {
        let mut values = match &self.before.user {
            Some(user) => vec![
                user.email.clone().into(),
                user.phone.clone().into(),
                user.name.clone().into(),
                user.avatar.clone().into(),
                user.metadata.clone().into(),
                user.is_suspended.into(),
                user.created_at_s.into(),
                user.last_sign_in_at_s.into(),
            ],
            // Matches no row.
            None => vec![Value::Null; 8],
        };
        let identities: Vec<_> = self
            .before
            .identities
            .iter()
            .map(|row| {
                let identity = &row.identity;
                json!([
                    identity.provider,
                    identity.provider_user_id,
                    identity.profile_data
                ])
            })
            .collect();
        values.push(json!(identities).to_string().into());
        values
    }

    fn wanted(&self) -> String {
        let claimed = &self.applied.changes.claimed;
        wanted_json(claimed, self.is_case_sensitive, self.mapping)
    }

    fn set(&self, column: Column, value: Value) -> Statement {
        let verified = |setting: bool| Value::from(setting && value != Value::Null);
        let (sql, values) = match column {
            Column::Email => {
                let verified = verified(self.mapping.email_verified);
                (SET_EMAIL, vec![value, verified])
            }
            Column::Phone => {
                let verified = verified(self.mapping.phone_verified);
                (SET_PHONE, vec![value, verified])
            }
            Column::Name => (SET_NAME, vec![value]),
            Column::Avatar => (SET_AVATAR, vec![value]),
            Column::Metadata => (SET_METADATA, vec![value]),
            Column::IsSuspended => (SET_SUSPENSION, vec![value]),
            Column::CreatedAt => (SET_CREATED_AT, vec![value]),
            Column::LastSignInAt => (SET_LAST_SIGN_IN_AT, vec![value]),
        };
        self.statement(sql, values)
    }

    fn drop_account(&self, identity: &MgpassIdentity) -> Statement {
        let values = vec![
            identity.provider.clone().into(),
            identity.provider_user_id.clone().into(),
        ];
        self.statement(DROP_ACCOUNT, values)
    }

    fn statement(&self, sql: &'static str, more: Vec<Value>) -> Statement {
        let mut values = vec![Value::from(self.user.as_str()), self.ticket.into()];
        values.extend(more);
        Statement::new(sql, values)
    }
}

/// What Logto has of a new user so far: the id, and when it gave it.
fn reserved(user: &MgpassUser) -> MgpassUser {
    MgpassUser {
        id: user.id.clone(),
        email: None,
        phone: None,
        name: None,
        avatar: None,
        metadata: "{}".to_owned(),
        is_suspended: false,
        created_at_s: user.created_at_s,
        last_sign_in_at_s: None,
        identities: Vec::new(),
    }
}
