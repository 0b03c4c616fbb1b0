//! mgPass's rows of many users in few statements, as much of them as can be held.

use std::collections::HashMap;

use serde_json::json;

use crate::inbound::request::UserId;
use crate::mirror::edits::edits_since;
use crate::mirror::rows::{TargetIdentity, TargetUser, parse_identity, parse_user};
use crate::mirror::target::{Effect, Left, MirrorRow, TargetState, parse_left, parse_mirror};
use crate::runtime::limits::PORTION_BYTES;
use crate::runtime::ports::{Row, Statement};
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
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[USERS, IDENTITIES, MIRRORS, LEFT, EFFECTS];

/// mgPass's side of one user among many.
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

/// Of all that a comparison and a decision need, but who holds what.
pub fn read(ids: &[&str]) -> Vec<Statement> {
    let ids = json!(ids).to_string();
    let cut = [USERS, IDENTITIES, MIRRORS].map(|sql| {
        let values = vec![ids.as_str().into(), (PORTION_BYTES as i64).into()];
        Statement::new(sql, values)
    });
    let whole = [LEFT, EFFECTS].map(|sql| Statement::new(sql, vec![ids.as_str().into()]));
    cut.into_iter().chain(whole).collect()
}

/// `None`: a row was not as the schema says.
pub fn parse(results: &[Vec<Row>]) -> Option<PageStates> {
    let [users, identities, mirrors, left, effects] = results else {
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
    Some(states)
}
