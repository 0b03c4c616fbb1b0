//! Certificates that were made, as the proxy's database keeps them.

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now};

const KEEP: &str = "INSERT INTO certificates (digest, term, made_at, valid_until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (digest) DO NOTHING";
const FIND: &str = "SELECT term, made_at, valid_until FROM certificates WHERE digest = ?1";
const NOW: &str = concat!("SELECT ", now!(), " AS now, term FROM authority");

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[KEEP, FIND, NOW];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub term: i64,
    pub made_at_ms: i64,
    pub valid_until_ms: i64,
}

pub fn keep(digest: &str, recorded: Recorded) -> Statement {
    let values = vec![
        digest.into(),
        recorded.term.into(),
        recorded.made_at_ms.into(),
        recorded.valid_until_ms.into(),
    ];
    Statement::new(KEEP, values)
}

pub fn find(digest: &str) -> Vec<Statement> {
    vec![
        Statement::new(NOW, vec![]),
        Statement::new(FIND, vec![digest.into()]),
    ]
}

/// Time and term of now, and the one that was asked for, if it was recorded. `None`: a
/// row was not as the schema says.
pub fn parse_find(results: &[Vec<Row>]) -> Option<(i64, i64, Option<Recorded>)> {
    let [now, found] = results else {
        return None;
    };
    let now = now.first()?;
    let recorded = match found.first() {
        None => None,
        Some(row) => Some(Recorded {
            term: integer(row, "term")?,
            made_at_ms: integer(row, "made_at")?,
            valid_until_ms: integer(row, "valid_until")?,
        }),
    };
    Some((integer(now, "now")?, integer(now, "term")?, recorded))
}
