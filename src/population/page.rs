//! Many users in few statements: how a page of an import reads and writes mgPass.
//!
//! The same decision as ever ([`reconcile::decide`]), under one ticket for the page,
//! taken before Logto was listed. Only what needs no second look is written here: a
//! user whom mgPass does not know, and one whose rows differ and owe no effect.
//! Whoever is contended, parked or owed an effect is left to the relay.
//!
//! A live change always wins: a newer ticket in the target makes every statement
//! about that user do nothing. A batch that lands late or twice changes nothing: its
//! INSERT of the mirror row conflicts, and all that follows is conditional on it. Nor
//! does one of an earlier generation of the authority.

use serde_json::{Value as Json, json};

use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::differences::Wanted;
use crate::mirror::mapping::Mapped;
use crate::mirror::reconcile::{Change, obstacle_codes};
use crate::mirror::residue::Residue;
use crate::mirror::states::{self, PageStates};
use crate::mirror::target::TargetState;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::digest::digest;
use crate::runtime::limits::{HEAVY_BYTES, json_lists};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::settings::MappingSettings;
use crate::runtime::sql::{in_generation, text};

/// Who wants a value that somebody else holds.
const CONTENDED: &str = "SELECT json_extract(w.value, '$[0]') AS id FROM json_each(?1) w JOIN users u \
     ON u.email = json_extract(w.value, '$[1]') WHERE u.id <> json_extract(w.value, '$[0]') \
     UNION SELECT json_extract(w.value, '$[0]') FROM json_each(?1) w JOIN users u \
     ON u.phone = json_extract(w.value, '$[2]') WHERE u.id <> json_extract(w.value, '$[0]') \
     UNION SELECT json_extract(w.value, '$[0]') FROM json_each(?2) w JOIN social_identities s \
     ON s.provider = json_extract(w.value, '$[1]') AND s.provider_user_id = json_extract(w.value, '$[2]') \
     WHERE s.user_id <> json_extract(w.value, '$[0]')";

const RAISE_NEW: &str = concat!(
    "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, residue, obstacles, applied_at, base, seen_at, logto_base) \
     SELECT json_extract(w.value, '$.id'), ?2, ?3, 0, json_extract(w.value, '$.digest'), json_extract(w.value, '$.residue'), \
     json_extract(w.value, '$.obstacles'), CAST(unixepoch('subsec') * 1000 AS INTEGER), json_extract(w.value, '$.base'), unixepoch(), json_extract(w.value, '$.logto_base') \
     FROM json_each(?1) w WHERE ",
    in_generation!("?4"),
    " ON CONFLICT (user_id) DO NOTHING"
);
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
const RAISE_EQUAL: &str = concat!(
    "UPDATE logto_mirror SET ticket = ?2, epoch = ?3, tombstone = 0, digest = json_extract(w.value, '$.digest'), \
     residue = json_extract(w.value, '$.residue'), obstacles = json_extract(w.value, '$.obstacles'), \
     base = json_extract(w.value, '$.base'), seen_at = json_extract(w.value, '$.seen_at'), \
     logto_base = json_extract(w.value, '$.logto_base'), \
     applied_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM json_each(?1) w \
     WHERE logto_mirror.user_id = json_extract(w.value, '$.id') AND logto_mirror.ticket = json_extract(w.value, '$.seen') \
     AND logto_mirror.ticket < ?2 AND ",
    in_generation!("?4")
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    CONTENDED,
    RAISE_NEW,
    PUT_USERS,
    PUT_IDENTITIES,
    GIVE_DEFAULT_ROLES,
    AUDIT,
    RAISE_EQUAL,
];

/// What a page is written under, taken before Logto was listed.
#[derive(Clone, Copy, Debug)]
pub struct Under {
    pub ticket: i64,
    pub epoch: i64,
    /// Of the authority.
    pub generation: i64,
}

impl Under {
    fn values(self, list: String) -> Vec<Value> {
        vec![
            list.into(),
            self.ticket.into(),
            self.epoch.into(),
            self.generation.into(),
        ]
    }
}

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

pub fn read(candidates: &[Candidate]) -> Vec<Statement> {
    let ids: Vec<_> = candidates.iter().map(|one| one.id().as_str()).collect();
    let mut statements = states::read(&ids);
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

/// `None`: a row was not as the schema says.
pub fn parse_read(results: &[Vec<Row>]) -> Option<PageStates> {
    let (contended, results) = results.split_last()?;
    let mut states = states::parse(results)?;
    for row in contended {
        let id = UserId::parse(&text(row, "id")?)?;
        states.entry(id).or_default().is_contended = true;
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
            "logto_base": Base::of_logto(&candidate.logto).to_text(),
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
pub fn create(users: &[Creation<'_>], under: Under) -> Vec<Statement> {
    let ticket = under.ticket;
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
        Statement::new(RAISE_NEW, under.values(mirrors)),
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
    fn renewal_json(&self, target: &TargetState) -> Json {
        json!({
            "id": self.id().as_str(),
            "seen": target.mirror.as_ref().map(|mirror| mirror.ticket),
            "digest": digest(&self.json),
            "residue": Residue::of(&self.logto),
            "obstacles": obstacle_codes(&self.mapped.obstacles),
            "base": target.to_base().to_text(),
            "logto_base": Base::of_logto(&self.logto).to_text(),
            "seen_at": target.left.as_ref().map(|left| left.read_at),
        })
    }
}

/// Nothing to write but that we looked: with the rows as they were then. As many
/// statements as their values take.
pub fn renew(users: &[(&Candidate, &TargetState)], under: Under) -> Vec<Statement> {
    let texts = users
        .iter()
        .map(|(one, target)| one.renewal_json(target).to_string());
    json_lists(texts)
        .into_iter()
        .map(|list| Statement::new(RAISE_EQUAL, under.values(list)))
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
