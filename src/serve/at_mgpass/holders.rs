//! Who holds a value that must be unique at Logto: at mgPass by its own columns, or in
//! Logto's form beside the residue (`logto_mirror_unique`).
//!
//! Asked before a write decides, and once more in the guard of its batch.

use serde_json::{Value as Json, json};

use crate::inbound::request::UserId;
use crate::mirror::mapping::map_phone;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::settings::MappingSettings;
use crate::runtime::sql::integer;
use crate::serve::translate_write::{Unique, UniqueKind};

/// Of a wanted value `w`, an object as `wanted_json` makes it: somebody else than this
/// user holds it. E-mail addresses are compared as mgPass's column compares them.
macro_rules! is_held_by_another {
    ($user:literal) => {
        concat!(
            "( EXISTS (SELECT 1 FROM logto_mirror_unique taken WHERE taken.kind = json_extract(w.value, '$.kind') \
             AND taken.value = json_extract(w.value, '$.value') AND taken.user_id <> ",
            $user,
            ") OR EXISTS (SELECT 1 FROM logto_mirror_unique taken WHERE taken.kind = 'username' \
             AND lower(taken.value) = json_extract(w.value, '$.folded') AND taken.user_id <> ",
            $user,
            ") OR EXISTS (SELECT 1 FROM users other WHERE other.email = json_extract(w.value, '$.email') AND other.id <> ",
            $user,
            ") OR EXISTS (SELECT 1 FROM users other WHERE other.phone = json_extract(w.value, '$.phone') AND other.id <> ",
            $user,
            ") OR EXISTS (SELECT 1 FROM social_identities s WHERE s.provider = json_extract(w.value, '$.provider') \
             AND s.provider_user_id = json_extract(w.value, '$.account') AND s.user_id <> ",
            $user,
            ") )"
        )
    };
}

pub(super) use is_held_by_another;

const HELD: &str = concat!(
    "SELECT w.key AS place FROM json_each(?2) w WHERE ",
    is_held_by_another!("?1")
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[HELD];

/// `user`: who wants them; nobody yet where one is being created.
pub fn held(
    user: Option<&UserId>,
    values: &[Unique],
    is_case_sensitive: bool,
    mapping: &MappingSettings,
) -> Statement {
    let user = user.map_or("", UserId::as_str);
    let wanted = wanted_json(values, is_case_sensitive, mapping);
    Statement::new(HELD, vec![user.into(), wanted.into()])
}

/// Those of `values` that somebody else holds.
pub fn parse_held(results: &[Vec<Row>], values: &[Unique]) -> Option<Vec<Unique>> {
    results
        .first()?
        .iter()
        .map(|row| {
            let place = usize::try_from(integer(row, "place")?).ok()?;
            values.get(place).cloned()
        })
        .collect()
}

/// What the SQL above reads, as a JSON array in the order of `values`.
pub fn wanted_json(
    values: &[Unique],
    is_case_sensitive: bool,
    mapping: &MappingSettings,
) -> String {
    let wanted: Vec<Json> = values
        .iter()
        .map(|Unique { kind, value }| match kind {
            UniqueKind::Username if is_case_sensitive => {
                json!({ "kind": "username", "value": value })
            }
            UniqueKind::Username => json!({ "folded": value.to_ascii_lowercase() }),
            UniqueKind::Email => json!({ "email": value }),
            UniqueKind::Phone => {
                json!({ "kind": "phone", "value": value, "phone": map_phone(Some(value)) })
            }
            UniqueKind::Identity(target) => {
                let provider = mapping.provider(target);
                json!({ "kind": format!("identity:{target}"), "value": value, "provider": provider, "account": value })
            }
        })
        .collect();
    Json::from(wanted).to_string()
}
