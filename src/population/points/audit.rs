//! The entry in mgPass's audit log that an import of points makes, of each user whose
//! balance or entries it changes, in the batch that changes them.
//!
//! ASSUMPTION (docs/assumptions.md, 27): mgPass documents no event of an import; ours is
//! named after its `balance.reconciled`. It is decided before the rows are written, by
//! what they are then; so importing again what is there already makes none.

use serde_json::json;

use super::target::{Settlement, earned_at_mgpass, may_write};
use crate::mirror::telling::told;
use crate::runtime::ports::{Statement, Value};

/// ?1 balances as they are to be, ?2 entries, ?3 the generation: users whom this import
/// changes.
macro_rules! changed_users {
    () => {
        concat!(
            "(SELECT w.id AS id FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS total, ",
            "json_extract(value, '$[2]') AS lifetime, json_extract(value, '$[3]') AS tier FROM json_each(?1)) w WHERE ",
            may_write!("w.id", "?3"),
            " AND (NOT EXISTS (SELECT 1 FROM user_rewards r WHERE r.user_id = w.id AND r.total_points = w.total ",
            "AND r.lifetime_earned = w.lifetime AND NOT coalesce((SELECT n.min_points > o.min_points FROM reward_tiers n ",
            "JOIN reward_tiers o ON o.name = r.tier WHERE n.name = w.tier), 1)) ",
            "OR w.id IN (SELECT json_extract(e.value, '$[1]') FROM json_each(?2) e LEFT JOIN points_ledger l ",
            "ON l.id = 'pts_lm_e_' || json_extract(e.value, '$[0]') WHERE l.id IS NULL ",
            "OR l.points IS NOT json_extract(e.value, '$[4]') OR l.metadata IS NOT json_extract(e.value, '$[7]'))))"
        )
    };
}

const AUDIT: &str = concat!(
    "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, metadata, created_at) ",
    "SELECT 'aud_lm_' || c.id || '_' || ?4 || '_balance.imported', 'balance.imported', 'system', 'logto_mirror', 'user', c.id, NULL, unixepoch() FROM ",
    changed_users!(),
    " c WHERE true ON CONFLICT DO NOTHING"
);
const TELL: &str = concat!(
    "UPDATE logto_mirror SET ",
    told!("'balance.imported'", "?4"),
    " WHERE user_id IN (SELECT id FROM ",
    changed_users!(),
    ")"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[AUDIT, TELL];

/// In front of what writes: for each list of entries, or for none. `key`: of the page of
/// the import, so that a user whose ledger goes over in parts has one entry.
pub(super) fn entries(
    settlements: &[Settlement<'_>],
    carried: &[String],
    generation: i64,
    key: &str,
) -> Vec<Statement> {
    let wanted: Vec<_> = settlements
        .iter()
        .map(|one| json!([one.user, one.total_points, one.lifetime_earned, one.tier]))
        .collect();
    let wanted = json!(wanted).to_string();
    let none = ["[]".to_owned()];
    let lists = if carried.is_empty() { &none } else { carried };
    let values = |list: &String| -> Vec<Value> {
        vec![
            wanted.as_str().into(),
            list.as_str().into(),
            generation.into(),
            key.into(),
        ]
    };
    lists
        .iter()
        .flat_map(|list| [AUDIT, TELL].map(|sql| Statement::new(sql, values(list))))
        .collect()
}
