//! Findings of the comparison, and the fields of Logto's that differ by
//! themselves, in the proxy's database. No values: keyed hashes, or nothing
//! without a key.
//!
//! Harmless twice: a finding seen again raises its count.

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::runtime::isolate::Volatile;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{now, text};

const NOTE: &str = concat!(
    "INSERT INTO read_findings (subject, operation, path, class, control_hash, candidate_hash, first_at, last_at) ",
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ",
    now!(),
    ", ",
    now!(),
    ") ON CONFLICT (subject, operation, path, class) DO UPDATE SET ",
    "control_hash = excluded.control_hash, candidate_hash = excluded.candidate_hash, ",
    "last_at = excluded.last_at, n_seen = n_seen + 1"
);
const NOTE_VOLATILE: &str = concat!(
    "INSERT INTO volatile_fields (operation, path, class, subject, last_at) VALUES (?1, ?2, ?3, ?4, ",
    now!(),
    ") ON CONFLICT (operation, path, class, subject) DO UPDATE SET last_at = excluded.last_at"
);
/// One user's field may have changed between two reads; three users' is a habit.
const SELECT_VOLATILE: &str = "SELECT operation, path, class FROM volatile_fields \
     GROUP BY operation, path, class HAVING count(*) >= 3";
/// Forgotten after a day without a new sighting, so that a rule cannot outlive its cause.
const PURGE_VOLATILE: &str = concat!(
    "DELETE FROM volatile_fields WHERE last_at < ",
    now!(),
    " - 86400000"
);
const PURGE_FINDINGS: &str = concat!(
    "DELETE FROM read_findings WHERE last_at < ",
    now!(),
    " - 2592000000"
);
const SUMMARY: &str = "SELECT operation, path, class, count(*) AS n_subjects, sum(n_seen) AS n_seen, max(last_at) AS last_at \
     FROM read_findings GROUP BY operation, path, class ORDER BY n_subjects DESC LIMIT 20";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    NOTE,
    NOTE_VOLATILE,
    SELECT_VOLATILE,
    PURGE_VOLATILE,
    PURGE_FINDINGS,
    SUMMARY,
];

/// What differed, without the values themselves.
pub struct Finding<'a> {
    pub path: &'a str,
    pub class: &'static str,
    pub control_hash: Option<String>,
    pub candidate_hash: Option<String>,
}

pub fn note(user: &UserId, operation: Operation, finding: Finding<'_>) -> Statement {
    Statement::new(
        NOTE,
        vec![
            user.as_str().into(),
            operation.name().into(),
            finding.path.into(),
            finding.class.into(),
            finding.control_hash.into(),
            finding.candidate_hash.into(),
        ],
    )
}

pub fn note_volatile(user: &UserId, operation: Operation, path: &str, class: &str) -> Statement {
    Statement::new(
        NOTE_VOLATILE,
        vec![
            operation.name().into(),
            path.into(),
            class.into(),
            user.as_str().into(),
        ],
    )
}

pub fn read_volatile() -> Vec<Statement> {
    vec![Statement::new(SELECT_VOLATILE, vec![])]
}

pub fn parse_volatile(results: &[Vec<Row>]) -> Vec<Volatile> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            Some(Volatile {
                operation: text(row, "operation")?,
                path: text(row, "path")?,
                class: text(row, "class")?,
            })
        })
        .collect()
}

/// What was not seen again for long is forgotten.
pub fn purge() -> Vec<Statement> {
    vec![
        Statement::new(PURGE_VOLATILE, vec![]),
        Statement::new(PURGE_FINDINGS, vec![]),
    ]
}

pub fn summary() -> Statement {
    Statement::new(SUMMARY, vec![])
}
