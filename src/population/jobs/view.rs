//! What the store says of a job's users: counts, and the users themselves.

use super::Kind;
use crate::runtime::ports::{Statement, Value};

const OUTCOMES: &str = "SELECT outcome, reason, count(*) AS n FROM job_users WHERE kind = ?1 AND job = ?2 AND outcome <> 'equal' \
     GROUP BY outcome, reason";
const NOTES: &str = "SELECT n.value AS note, count(*) AS n FROM job_users u, json_each(u.notes) n \
     WHERE u.kind = ?1 AND u.job = ?2 AND u.notes <> '[]' GROUP BY n.value ORDER BY n.value";
const USERS: &str = "SELECT user_id AS id, outcome, reason, notes FROM job_users WHERE kind = ?1 AND job = ?2 AND user_id > ?3 \
     AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR reason = ?5) \
     AND (?6 IS NULL OR EXISTS (SELECT 1 FROM json_each(notes) n WHERE n.value = ?6)) ORDER BY user_id LIMIT ?7";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[OUTCOMES, NOTES, USERS];

/// Outcomes other than equal, and, on demand, notes by code.
pub fn counts(job: i64, kind: Kind, detail: bool) -> Vec<Statement> {
    let key = || vec![Value::from(kind.name()), Value::from(job)];
    let mut statements = vec![Statement::new(OUTCOMES, key())];
    if detail {
        statements.push(Statement::new(NOTES, key()));
    }
    statements
}

/// Which users to show, from where on.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub after: String,
    pub limit: i64,
}

pub fn users(job: i64, kind: Kind, filter: &Filter) -> Vec<Statement> {
    let values = vec![
        kind.name().into(),
        job.into(),
        filter.after.as_str().into(),
        filter.outcome.as_deref().into(),
        filter.reason.as_deref().into(),
        filter.note.as_deref().into(),
        filter.limit.into(),
    ];
    vec![Statement::new(USERS, values)]
}
