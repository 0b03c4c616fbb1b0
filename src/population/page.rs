//! Many users in few statements: how a page of an import reads and writes mgPass.
//!
//! The same decision as ever ([`reconcile::decide`]), under one ticket for the page,
//! taken before Logto was listed. Only what needs no second look is written here: a
//! user whom mgPass does not know, and one whose rows differ and owe no effect.
//! Whoever is contended, parked or owed an effect is left to the relay.
//!
//! A live change always wins: a newer ticket in the target makes every statement
//! about that user do nothing. A batch that lands late or twice changes nothing: its
//! INSERT of the mirror row conflicts, and all that follows is conditional on it.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use crate::inbound::request::UserId;
use crate::mirror::mapping::Mapped;
use crate::mirror::reconcile::{Change, digest, obstacle_codes};
use crate::mirror::residue::Residue;
use crate::mirror::target::{
    Effect, MirrorRow, TargetIdentity, TargetState, TargetUser, parse_identity, parse_mirror,
    parse_user,
};
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

const USERS: &str = "SELECT u.id AS id, u.email AS email, u.email_verified AS email_verified, u.phone AS phone, \
     u.phone_verified AS phone_verified, u.name AS name, u.avatar AS avatar, u.metadata AS metadata, \
     u.is_suspended AS is_suspended, u.created_at AS created_at, u.last_sign_in_at AS last_sign_in_at, u.deleted_at AS deleted_at \
     FROM json_each(?1) w JOIN users u ON u.id = w.value";
const IDENTITIES: &str = "SELECT s.user_id AS user_id, s.id AS id, s.provider AS provider, \
     s.provider_user_id AS provider_user_id, s.profile_data AS profile_data \
     FROM json_each(?1) w JOIN social_identities s ON s.user_id = w.value";
const MIRRORS: &str = "SELECT m.user_id AS user_id, m.ticket AS ticket, m.epoch AS epoch, m.tombstone AS tombstone, \
     m.residue AS residue, m.digest AS digest FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = w.value";
const EFFECTS: &str = "SELECT e.user_id AS user_id, e.effect AS effect, e.ticket AS ticket \
     FROM json_each(?1) w JOIN logto_mirror_effects e ON e.user_id = w.value";
/// Who wants a value that somebody else holds.
const CONTENDED: &str = "SELECT json_extract(w.value, '$[0]') AS id FROM json_each(?1) w JOIN users u \
     ON u.email = json_extract(w.value, '$[1]') WHERE u.id <> json_extract(w.value, '$[0]') \
     UNION SELECT json_extract(w.value, '$[0]') FROM json_each(?1) w JOIN users u \
     ON u.phone = json_extract(w.value, '$[2]') WHERE u.id <> json_extract(w.value, '$[0]') \
     UNION SELECT json_extract(w.value, '$[0]') FROM json_each(?2) w JOIN social_identities s \
     ON s.provider = json_extract(w.value, '$[1]') AND s.provider_user_id = json_extract(w.value, '$[2]') \
     WHERE s.user_id <> json_extract(w.value, '$[0]')";

const RAISE_NEW: &str = "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at) \
     SELECT json_extract(w.value, '$.id'), ?2, ?3, 0, json_extract(w.value, '$.digest'), json_extract(w.value, '$.residue'), \
     json_extract(w.value, '$.obstacles'), CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM json_each(?1) w WHERE true \
     ON CONFLICT (user_id) DO NOTHING";
const PUT_USERS: &str = "INSERT INTO users (id, email, email_verified, phone, phone_verified, name, avatar, metadata, is_suspended, \
     suspension_reason, created_at, last_sign_in_at) \
     SELECT m.user_id, json_extract(w.value, '$.email'), json_extract(w.value, '$.email_verified'), json_extract(w.value, '$.phone'), \
     json_extract(w.value, '$.phone_verified'), json_extract(w.value, '$.name'), json_extract(w.value, '$.avatar'), \
     json_extract(w.value, '$.metadata'), json_extract(w.value, '$.is_suspended'), \
     CASE WHEN json_extract(w.value, '$.is_suspended') = 1 THEN 'suspended in Logto' END, \
     json_extract(w.value, '$.created_at'), json_extract(w.value, '$.last_sign_in_at') \
     FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = json_extract(w.value, '$.id') AND m.ticket = ?2";
const PUT_IDENTITIES: &str = "INSERT INTO social_identities (id, user_id, provider, provider_user_id, profile_data, created_at) \
     SELECT 'idn_lm_' || lower(hex(randomblob(8))), m.user_id, json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]'), \
     json_extract(w.value, '$[3]'), unixepoch() \
     FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = json_extract(w.value, '$[0]') AND m.ticket = ?2";
const GIVE_DEFAULT_ROLES: &str = "INSERT INTO user_roles (user_id, role_id, created_at) SELECT m.user_id, r.id, unixepoch() \
     FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = w.value AND m.ticket = ?2 \
     JOIN roles r ON r.is_default = 1 AND r.type = 'user' WHERE true ON CONFLICT DO NOTHING";
const AUDIT: &str = "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, metadata, created_at) \
     SELECT 'aud_lm_' || m.user_id || '_' || ?2 || '_' || ?3, ?3, 'system', 'logto_mirror', 'user', m.user_id, NULL, unixepoch() \
     FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = w.value AND m.ticket = ?2 WHERE true ON CONFLICT DO NOTHING";
/// Nothing of theirs differs: the ticket, the epoch and Logto's own form are renewed.
const RAISE_EQUAL: &str = "UPDATE logto_mirror SET ticket = ?2, epoch = ?3, tombstone = 0, digest = json_extract(w.value, '$.digest'), \
     residue = json_extract(w.value, '$.residue'), obstacles = json_extract(w.value, '$.obstacles'), \
     applied_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM json_each(?1) w \
     WHERE logto_mirror.user_id = json_extract(w.value, '$.id') AND logto_mirror.ticket = json_extract(w.value, '$.seen') \
     AND logto_mirror.ticket < ?2";

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[
    USERS,
    IDENTITIES,
    MIRRORS,
    EFFECTS,
    CONTENDED,
    RAISE_NEW,
    PUT_USERS,
    PUT_IDENTITIES,
    GIVE_DEFAULT_ROLES,
    AUDIT,
    RAISE_EQUAL,
];

/// One user of a page, as Logto lists them and as they map.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub logto: LogtoUser,
    pub json: String,
    pub mapped: Mapped,
}

impl Candidate {
    pub fn id(&self) -> &UserId {
        &self.logto.id
    }
}

/// mgPass's side of one user of a page.
#[derive(Clone, Debug, Default)]
pub struct PageState {
    /// Without holders: who is contended is the relay's.
    pub target: TargetState,
    /// Of Logto's user as last applied; empty without a mirror row.
    pub digest: String,
    /// Somebody else holds what the user needs, or a live write waits for its reconcile.
    pub is_contended: bool,
}

pub type PageStates = HashMap<UserId, PageState>;

pub fn read(candidates: &[Candidate]) -> Vec<Statement> {
    let ids: Vec<_> = candidates.iter().map(|one| one.id().as_str()).collect();
    let mut statements = read_ids(&ids);
    let values: Vec<_> = candidates
        .iter()
        .map(|one| {
            json!([
                one.id().as_str(),
                one.mapped.user.email,
                one.mapped.user.phone
            ])
        })
        .collect();
    statements.push(Statement::new(
        CONTENDED,
        vec![
            Json::from(values).to_string().into(),
            identities_json(candidates).into(),
        ],
    ));
    statements
}

/// Of these, without a look at who holds what.
pub fn read_ids(ids: &[&str]) -> Vec<Statement> {
    let ids = json!(ids).to_string();
    [USERS, IDENTITIES, MIRRORS, EFFECTS]
        .into_iter()
        .map(|sql| Statement::new(sql, vec![ids.as_str().into()]))
        .collect()
}

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<PageStates> {
    let [users, identities, mirrors, effects, rest @ ..] = results else {
        return None;
    };
    let mut states = PageStates::new();
    let id_of = |row: &Row, column| UserId::parse(&text(row, column)?);
    for row in users {
        let user: TargetUser = parse_user(row)?;
        states.entry(id_of(row, "id")?).or_default().target.user = Some(user);
    }
    for row in identities {
        let identity: TargetIdentity = parse_identity(row)?;
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.identities.push(identity);
    }
    for row in mirrors {
        let mirror: MirrorRow = parse_mirror(row)?;
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.mirror = Some(mirror);
        state.digest = text(row, "digest")?;
    }
    for row in effects {
        let owed = (
            Effect::from_name(&text(row, "effect")?)?,
            integer(row, "ticket")?,
        );
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.owed.push(owed);
    }
    for row in rest.first().map(Vec::as_slice).unwrap_or_default() {
        states.entry(id_of(row, "id")?).or_default().is_contended = true;
    }
    Some(states)
}

/// Users whom mgPass does not know, in one batch.
pub fn create(users: &[&Candidate], ticket: i64, epoch: i64, verified: Verified) -> Vec<Statement> {
    let rows: Vec<_> = users.iter().map(|one| one.to_json(verified)).collect();
    let rows = Json::from(rows).to_string();
    let ids = |of: &[&Candidate]| {
        let ids: Vec<_> = of.iter().map(|one| one.id().as_str()).collect();
        json!(ids).to_string()
    };
    let suspended: Vec<_> = users
        .iter()
        .filter(|one| one.mapped.user.is_suspended)
        .copied()
        .collect();
    let audit = |of: &[&Candidate], event: &str| {
        Statement::new(AUDIT, vec![ids(of).into(), ticket.into(), event.into()])
    };
    let mut statements = vec![
        Statement::new(
            RAISE_NEW,
            vec![rows.as_str().into(), ticket.into(), epoch.into()],
        ),
        Statement::new(PUT_USERS, vec![rows.into(), ticket.into()]),
        Statement::new(GIVE_DEFAULT_ROLES, vec![ids(users).into(), ticket.into()]),
        audit(users, "user.created"),
    ];
    let identities = identities_json(users.iter().copied());
    if identities != "[]" {
        statements.push(Statement::new(
            PUT_IDENTITIES,
            vec![identities.into(), ticket.into()],
        ));
    }
    if !suspended.is_empty() {
        statements.push(audit(&suspended, "user.suspended"));
    }
    statements
}

/// Whether mirrored addresses count as verified, by setting.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    pub email: bool,
    pub phone: bool,
}

impl Candidate {
    fn to_json(&self, verified: Verified) -> Json {
        let user = &self.mapped.user;
        json!({
            "id": user.id.as_str(),
            "email": user.email,
            "email_verified": i64::from(verified.email && user.email.is_some()),
            "phone": user.phone,
            "phone_verified": i64::from(verified.phone && user.phone.is_some()),
            "name": user.name,
            "avatar": user.avatar,
            "metadata": user.metadata,
            "is_suspended": i64::from(user.is_suspended),
            "created_at": user.created_at_s,
            "last_sign_in_at": user.last_sign_in_at_s,
            "digest": digest(&self.json),
            "residue": Residue::of(&self.logto),
            "obstacles": obstacle_codes(&self.mapped.obstacles),
        })
    }

    fn standing_json(&self, seen: i64) -> Json {
        json!({
            "id": self.id().as_str(),
            "seen": seen,
            "digest": digest(&self.json),
            "residue": Residue::of(&self.logto),
            "obstacles": obstacle_codes(&self.mapped.obstacles),
        })
    }
}

fn identities_json<'a>(users: impl IntoIterator<Item = &'a Candidate>) -> String {
    let all: Vec<_> = users
        .into_iter()
        .flat_map(|one| {
            let id = one.id().as_str();
            one.mapped.user.identities.iter().map(move |identity| {
                json!([
                    id,
                    identity.provider,
                    identity.provider_user_id,
                    identity.profile_data
                ])
            })
        })
        .collect();
    Json::from(all).to_string()
}

/// Nothing to write but that we looked. Each with the ticket that was in force then.
pub fn renew(users: &[(&Candidate, i64)], ticket: i64, epoch: i64) -> Statement {
    let rows: Vec<_> = users
        .iter()
        .map(|(one, seen)| one.standing_json(*seen))
        .collect();
    let rows = Json::from(rows).to_string();
    Statement::new(RAISE_EQUAL, vec![rows.into(), ticket.into(), epoch.into()])
}

/// Users whose rows differ; nobody among them takes what another one holds.
pub fn update(changes: &[Change]) -> Vec<Statement> {
    let guards = changes.iter().map(|change| change.raise.clone());
    let drops = changes.iter().flat_map(|change| change.drops.clone());
    let writes = changes.iter().flat_map(|change| change.writes.clone());
    guards.chain(drops).chain(writes).collect()
}
