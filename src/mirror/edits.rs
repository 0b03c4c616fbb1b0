//! Who changed a user at mgPass on purpose: entries of mgPass's own audit log.
//!
//! Any actor but the mirror counts, and any event but those that leave a user's row as
//! it is: signing in and out, tokens, factors, roles, points. An event that nobody
//! documents counts: better a person looks in vain than a change is undone unseen.
//!
//! ASSUMPTION (docs/assumptions.md): the entry names the user as its target, and is
//! there as soon as the change is.

use serde_json::{Value as Json, json};

use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};

/// Entries since mgPass's rows were last read for a reconcile; the clocks of mgPass and
/// its database may differ by five seconds.
macro_rules! edits_since {
    ($user:literal, $seen_at:literal) => {
        concat!(
            "FROM audit_logs a WHERE a.target_id = ",
            $user,
            " AND a.created_at >= ",
            $seen_at,
            " - 5 AND a.actor_id IS NOT 'logto_mirror' AND NOT (a.event_type LIKE 'user.login.%' ",
            "OR a.event_type LIKE 'user.sessions.%' OR a.event_type IN ('user.sign_out', 'user.impersonated') ",
            "OR a.event_type LIKE 'session.%' OR a.event_type LIKE 'token.%' OR a.event_type LIKE 'mfa.%' ",
            "OR a.event_type LIKE 'role.%' OR a.event_type LIKE 'balance.%')"
        )
    };
}

pub(crate) use edits_since;

const NEWEST: &str = concat!(
    "SELECT a.event_type AS event, a.actor_type AS actor_type, a.actor_id AS actor, a.created_at AS at ",
    edits_since!(
        "?1",
        "coalesce((SELECT seen_at FROM logto_mirror WHERE user_id = ?1), 0)"
    ),
    " ORDER BY a.created_at DESC LIMIT 20"
);
/// What the mirror itself wrote of a change that it undid or overruled.
const UNDONE: &str = "SELECT event_type AS event, metadata AS fields, created_at AS at FROM audit_logs \
     WHERE target_id = ?1 AND actor_id = 'logto_mirror' AND metadata IS NOT NULL ORDER BY created_at DESC LIMIT 20";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[NEWEST, UNDONE];

/// Since the last reconcile, newest first; and what earlier ones undid.
pub fn of_user(user: &UserId) -> Vec<Statement> {
    [NEWEST, UNDONE]
        .into_iter()
        .map(|sql| Statement::new(sql, vec![user.as_str().into()]))
        .collect()
}

/// Actors by id, never by name or address.
pub fn shown(results: &[Vec<Row>]) -> (Json, Json) {
    let rows = |index: usize| results.get(index).cloned().unwrap_or_default();
    let undone: Vec<_> = rows(1)
        .into_iter()
        .map(|mut row| {
            let fields = row.get("fields").and_then(Json::as_str);
            if let Some(fields) = fields.and_then(|text| serde_json::from_str(text).ok()) {
                row.insert("fields".to_owned(), fields);
            }
            row
        })
        .collect();
    (json!(rows(0)), json!(undone))
}
