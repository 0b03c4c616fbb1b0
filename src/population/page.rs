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
use crate::limits::{HEAVY_BYTES, READ_BYTES, json_lists};
use crate::mirror::base::Base;
use crate::mirror::edits::edits_since;
use crate::mirror::mapping::Mapped;
use crate::mirror::reconcile::{Change, digest, obstacle_codes};
use crate::mirror::residue::Residue;
use crate::mirror::target::{
    Effect, Left, MirrorRow, TargetIdentity, TargetState, TargetUser, parse_identity, parse_left,
    parse_mirror, parse_user,
};
use crate::population::differences::Wanted;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::settings::MappingSettings;
use crate::runtime::sql::{integer, text};

/// What is held of many users may be far more than Logto lists of them. So each of these
/// adds up what it shows, in the order of the list, and cuts off the long texts of
/// whoever goes beyond the bound; never of the first user, so that each read gets on.
macro_rules! cut {
    () => {
        "w.key > 0 AND sum(r.n_bytes) OVER (ORDER BY w.key ROWS UNBOUNDED PRECEDING) > ?2"
    };
}

const USERS: &str = concat!(
    "SELECT id, email, email_verified, phone, phone_verified, CASE WHEN is_cut THEN NULL ELSE name END AS name, \
     CASE WHEN is_cut THEN NULL ELSE avatar END AS avatar, CASE WHEN is_cut THEN '' ELSE metadata END AS metadata, \
     is_suspended, created_at, last_sign_in_at, deleted_at, is_cut FROM (SELECT r.*, ",
    cut!(),
    " AS is_cut FROM json_each(?1) w JOIN (SELECT *, length(CAST(metadata AS BLOB)) + length(CAST(coalesce(name, '') AS BLOB)) \
     + length(CAST(coalesce(avatar, '') AS BLOB)) AS n_bytes FROM users) r ON r.id = w.value)"
);
const IDENTITIES: &str = concat!(
    "SELECT user_id, id, provider, provider_user_id, CASE WHEN is_cut THEN NULL ELSE profile_data END AS profile_data, is_cut \
     FROM (SELECT r.*, ",
    cut!(),
    " AS is_cut FROM json_each(?1) w JOIN (SELECT *, length(CAST(coalesce(profile_data, '') AS BLOB)) AS n_bytes \
     FROM social_identities) r ON r.user_id = w.value)"
);
const MIRRORS: &str = concat!(
    "SELECT user_id, ticket, epoch, tombstone, CASE WHEN is_cut THEN NULL ELSE residue END AS residue, digest, is_cut \
     FROM (SELECT r.*, ",
    cut!(),
    " AS is_cut FROM json_each(?1) w JOIN (SELECT *, length(CAST(coalesce(residue, '') AS BLOB)) AS n_bytes \
     FROM logto_mirror) r ON r.user_id = w.value)"
);
const LEFT: &str = concat!(
    "SELECT m.user_id AS user_id, m.base AS base, m.seen_at AS seen_at, unixepoch() AS read_at, (SELECT count(*) ",
    edits_since!("m.user_id", "m.seen_at"),
    ") AS n_edits FROM json_each(?1) w JOIN logto_mirror m ON m.user_id = w.value"
);
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

const RAISE_NEW: &str = "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at, base, seen_at) \
     SELECT json_extract(w.value, '$.id'), ?2, ?3, 0, json_extract(w.value, '$.digest'), json_extract(w.value, '$.residue'), \
     json_extract(w.value, '$.obstacles'), CAST(unixepoch('subsec') * 1000 AS INTEGER), json_extract(w.value, '$.base'), unixepoch() \
     FROM json_each(?1) w WHERE true \
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
     base = json_extract(w.value, '$.base'), seen_at = json_extract(w.value, '$.seen_at'), \
     applied_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM json_each(?1) w \
     WHERE logto_mirror.user_id = json_extract(w.value, '$.id') AND logto_mirror.ticket = json_extract(w.value, '$.seen') \
     AND logto_mirror.ticket < ?2";

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[
    USERS,
    IDENTITIES,
    MIRRORS,
    LEFT,
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
    /// Counted from 1, over the whole listing.
    pub place: i64,
}

impl Candidate {
    pub fn id(&self) -> &UserId {
        &self.logto.id
    }

    /// Held several times over while it is compared and written.
    pub fn is_heavy(&self) -> bool {
        self.json.len() > HEAVY_BYTES
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
    /// Not all of it is here: read again, with this user first.
    pub is_cut: bool,
}

pub type PageStates = HashMap<UserId, PageState>;

/// How many of these, from the first on, were read whole; at least one.
pub fn n_whole<'a>(states: &PageStates, ids: impl IntoIterator<Item = &'a UserId>) -> usize {
    let is_whole = |id: &&UserId| !states.get(*id).is_some_and(|state| state.is_cut);
    ids.into_iter().take_while(is_whole).count()
}

pub fn read(candidates: &[Candidate]) -> Vec<Statement> {
    let ids: Vec<_> = candidates.iter().map(|one| one.id().as_str()).collect();
    let mut statements = read_ids(&ids);
    let addresses: Vec<_> = candidates
        .iter()
        .map(|one| {
            let user = &one.mapped.user;
            json!([one.id().as_str(), user.email, user.phone])
        })
        .collect();
    let accounts: Vec<_> = candidates
        .iter()
        .flat_map(|one| {
            one.mapped.user.identities.iter().map(move |identity| {
                json!([
                    one.id().as_str(),
                    identity.provider,
                    identity.provider_user_id
                ])
            })
        })
        .collect();
    let values = [addresses, accounts].map(|list| Json::from(list).to_string().into());
    statements.push(Statement::new(CONTENDED, values.to_vec()));
    statements
}

/// Of these, without a look at who holds what.
pub fn read_ids(ids: &[&str]) -> Vec<Statement> {
    let ids = json!(ids).to_string();
    let cut = [USERS, IDENTITIES, MIRRORS].map(|sql| {
        let values = vec![ids.as_str().into(), (READ_BYTES as i64).into()];
        Statement::new(sql, values)
    });
    let whole = [LEFT, EFFECTS].map(|sql| Statement::new(sql, vec![ids.as_str().into()]));
    cut.into_iter().chain(whole).collect()
}

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<PageStates> {
    let [users, identities, mirrors, left, effects, rest @ ..] = results else {
        return None;
    };
    let mut states = PageStates::new();
    let id_of = |row: &Row, column| UserId::parse(&text(row, column)?);
    let is_cut = |row: &Row| Some(integer(row, "is_cut")? != 0);
    for row in users {
        let user: TargetUser = parse_user(row)?;
        let state = states.entry(id_of(row, "id")?).or_default();
        state.target.user = Some(user);
        state.is_cut |= is_cut(row)?;
    }
    for row in identities {
        let identity: TargetIdentity = parse_identity(row)?;
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.identities.push(identity);
        state.is_cut |= is_cut(row)?;
    }
    for row in mirrors {
        let mirror: MirrorRow = parse_mirror(row)?;
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.mirror = Some(mirror);
        state.digest = text(row, "digest")?;
        state.is_cut |= is_cut(row)?;
    }
    for row in left {
        let left: Left = parse_left(row)?;
        let state = states.entry(id_of(row, "user_id")?).or_default();
        state.target.left = Some(left);
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

/// A user whom mgPass does not know, as the JSON that the statements of many take.
#[derive(Clone, Debug)]
pub struct Creation<'a> {
    pub of: &'a Candidate,
    mirror: String,
    row: String,
    identities: Vec<String>,
}

impl<'a> Creation<'a> {
    pub fn of(candidate: &'a Candidate, settings: &MappingSettings) -> Self {
        let wanted = Wanted::of(candidate.mapped.user.clone(), None, settings);
        let base = Base::of(Some(&wanted.to_row()), &wanted.user.identities);
        let user = &wanted.user;
        let mirror = json!({
            "id": user.id.as_str(),
            "digest": digest(&candidate.json),
            "residue": Residue::of(&candidate.logto),
            "obstacles": obstacle_codes(&candidate.mapped.obstacles),
            "base": base.to_text(),
        });
        let row = json!({
            "id": user.id.as_str(),
            "email": user.email,
            "email_verified": i64::from(wanted.email_verified),
            "phone": user.phone,
            "phone_verified": i64::from(wanted.phone_verified),
            "name": user.name,
            "avatar": user.avatar,
            "metadata": user.metadata,
            "is_suspended": i64::from(user.is_suspended),
            "created_at": user.created_at_s,
            "last_sign_in_at": user.last_sign_in_at_s,
        });
        let identities = user.identities.iter().map(|identity| {
            let (provider, account) = (&identity.provider, &identity.provider_user_id);
            json!([user.id.as_str(), provider, account, identity.profile_data]).to_string()
        });
        Self {
            of: candidate,
            mirror: mirror.to_string(),
            row: row.to_string(),
            identities: identities.collect(),
        }
    }

    pub fn n_bytes(&self) -> usize {
        let identities: usize = self.identities.iter().map(String::len).sum();
        self.mirror.len() + self.row.len() + identities
    }
}

/// Users whom mgPass does not know, in one batch.
pub fn create(users: &[Creation<'_>], ticket: i64, epoch: i64) -> Vec<Statement> {
    let list = |texts: Vec<&str>| format!("[{}]", texts.join(","));
    let ids = |is_one: fn(&Candidate) -> bool| {
        let some = users.iter().filter(|user| is_one(user.of));
        let ids: Vec<_> = some.map(|user| user.of.id().as_str()).collect();
        (!ids.is_empty()).then(|| json!(ids).to_string())
    };
    let everybody = ids(|_| true).unwrap_or_default();
    let audit = |ids: &str, event: &str| {
        Statement::new(AUDIT, vec![ids.into(), ticket.into(), event.into()])
    };
    let mirrors = list(users.iter().map(|user| user.mirror.as_str()).collect());
    let rows = list(users.iter().map(|user| user.row.as_str()).collect());
    let identities: Vec<_> = users
        .iter()
        .flat_map(|user| user.identities.iter().map(String::as_str))
        .collect();
    let mut statements = vec![
        Statement::new(RAISE_NEW, vec![mirrors.into(), ticket.into(), epoch.into()]),
        Statement::new(PUT_USERS, vec![rows.into(), ticket.into()]),
        Statement::new(
            GIVE_DEFAULT_ROLES,
            vec![everybody.as_str().into(), ticket.into()],
        ),
        audit(&everybody, "user.created"),
    ];
    if !identities.is_empty() {
        let values = vec![list(identities).into(), ticket.into()];
        statements.push(Statement::new(PUT_IDENTITIES, values));
    }
    if let Some(suspended) = ids(|one| one.mapped.user.is_suspended) {
        statements.push(audit(&suspended, "user.suspended"));
    }
    statements
}

impl Candidate {
    fn standing_json(&self, target: &TargetState) -> Json {
        json!({
            "id": self.id().as_str(),
            "seen": target.mirror.as_ref().map(|mirror| mirror.ticket),
            "digest": digest(&self.json),
            "residue": Residue::of(&self.logto),
            "obstacles": obstacle_codes(&self.mapped.obstacles),
            "base": target.to_base().to_text(),
            "seen_at": target.left.as_ref().map(|left| left.read_at),
        })
    }
}

/// Nothing to write but that we looked: with the rows as they were then. As many
/// statements as their values take.
pub fn renew(users: &[(&Candidate, &TargetState)], ticket: i64, epoch: i64) -> Vec<Statement> {
    let texts = users
        .iter()
        .map(|(one, target)| one.standing_json(target).to_string());
    json_lists(texts)
        .into_iter()
        .map(|list| Statement::new(RAISE_EQUAL, vec![list.into(), ticket.into(), epoch.into()]))
        .collect()
}

/// Users whose rows differ, or who are heavy; nobody among them takes what another one
/// holds.
pub fn update(changes: Vec<Change>) -> Vec<Statement> {
    let (mut guards, mut drops, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        guards.push(change.raise);
        drops.extend(change.drops);
        writes.extend(change.writes);
    }
    guards.into_iter().chain(drops).chain(writes).collect()
}
