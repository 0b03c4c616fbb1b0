//! What an operator has named or done before cleanup, and what of Logto is kept.

use super::Note;
use crate::runtime::isolate::OldIssuer;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, text};

const READ: &str = "SELECT name, until, how, digest, n, actor, at FROM cleanup_notes";
const KEEP: &str = concat!(
    "INSERT INTO cleanup_notes (name, until, how, digest, n, actor, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ",
    now!(),
    ") ON CONFLICT (name) DO UPDATE SET until = excluded.until, how = excluded.how, digest = excluded.digest, n = excluded.n, actor = excluded.actor, at = excluded.at"
);
const ISSUER: &str = "SELECT discovery, jwks FROM old_issuer";
const KEEP_ISSUER: &str = concat!(
    "INSERT INTO old_issuer (singleton, discovery, jwks, kept_at) VALUES (1, ?1, ?2, ",
    now!(),
    ") ON CONFLICT (singleton) DO UPDATE SET discovery = excluded.discovery, jwks = excluded.jwks, kept_at = excluded.kept_at"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[READ, KEEP, ISSUER, KEEP_ISSUER];

pub fn read() -> Statement {
    Statement::new(READ, vec![])
}

pub fn parse(rows: &[Row]) -> Option<Vec<Note>> {
    let note = |row: &Row| {
        Some(Note {
            name: text(row, "name")?,
            until: integer(row, "until")?,
            how: text(row, "how")?,
            digest: text(row, "digest")?,
            n: integer(row, "n")?,
            actor: text(row, "actor")?,
            at_ms: integer(row, "at")?,
        })
    };
    rows.iter().map(note).collect()
}

/// The newest of its name; its time is the database's.
pub fn keep(note: &Note) -> Statement {
    let values = vec![
        note.name.as_str().into(),
        note.until.into(),
        note.how.as_str().into(),
        note.digest.as_str().into(),
        note.n.into(),
        note.actor.as_str().into(),
    ];
    Statement::new(KEEP, values)
}

pub fn issuer() -> Statement {
    Statement::new(ISSUER, vec![])
}

/// `None`: they were not kept.
pub fn parse_issuer(results: &[Vec<Row>]) -> Option<OldIssuer> {
    let row = results.first()?.first()?;
    Some(OldIssuer {
        discovery: text(row, "discovery")?,
        jwks: text(row, "jwks")?,
    })
}

pub fn keep_issuer(issuer: &OldIssuer) -> Statement {
    let values = vec![
        issuer.discovery.as_str().into(),
        issuer.jwks.as_str().into(),
    ];
    Statement::new(KEEP_ISSUER, values)
}
