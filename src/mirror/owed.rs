//! A call to mgPass that a sign-out owes: mgPass was down when its user signed out.
//!
//! mgPass documents no narrower call than the one that ends all of a user's sessions and
//! refresh tokens there; it is paid like any other, within five a minute. Harmless twice.

use crate::inbound::request::UserId;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

const OWE: &str = "INSERT INTO logto_mirror_effects (user_id, effect, ticket, owed_at) \
     SELECT user_id, 'revoke_all', ticket, CAST(unixepoch('subsec') * 1000 AS INTEGER) \
     FROM logto_mirror WHERE user_id = ?1 AND tombstone = 0 \
     ON CONFLICT (user_id, effect) DO UPDATE SET ticket = excluded.ticket RETURNING user_id";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[OWE];

/// False: the mirror knows no such user, and nothing is owed.
///
/// # Errors
/// When mgPass's database does not answer: nothing is owed then either.
pub async fn owe<P: Platform>(platform: &P, user: &UserId) -> Result<bool, DatabaseFailure> {
    let owe = Statement::new(OWE, vec![user.as_str().into()]);
    let results = platform.batch(Store::Mgpass, vec![owe]).await?;
    Ok(results.first().is_some_and(|rows| !rows.is_empty()))
}
