//! Users whom neither direction writes until a person has decided.

use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::text;

const LIST: &str = "SELECT subject AS id, reason, since, detail FROM held_subjects WHERE subject > ?1 AND (?2 IS NULL OR reason = ?2) ORDER BY subject LIMIT ?3";
const BY_REASON: &str = "SELECT reason, count(*) AS n, min(since) AS since FROM held_subjects GROUP BY reason ORDER BY reason";
const RELEASE: &str = "DELETE FROM held_subjects WHERE subject = ?1 RETURNING subject";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[LIST, BY_REASON, RELEASE];

pub fn list(after: &str, reason: Option<&str>, limit: i64) -> Statement {
    Statement::new(LIST, vec![after.into(), reason.into(), limit.into()])
}

pub fn by_reason() -> Statement {
    Statement::new(BY_REASON, vec![])
}

/// The mirror looks at them again, in the direction of the day.
pub fn release(user: &UserId) -> Statement {
    Statement::new(RELEASE, vec![user.as_str().into()])
}

pub fn parse_released(results: &[Vec<Row>]) -> Option<UserId> {
    UserId::parse(&text(results.first()?.first()?, "subject")?)
}
