//! What only Logto had a place for, user by user: shown to be exported, or moved into
//! mgPass's own `metadata` as its member `_logto`.
//!
//! Harmless twice: moving writes the same member again. What was changed since is told by
//! its ticket, which comes from the one sequence.

use crate::runtime::limits::MAX_VALUE_BYTES;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, sequence, text};

const SEQUENCE: &str = concat!("SELECT ", sequence!(), " AS sequence");

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SEQUENCE];

/// ?1 after whom, ?2 written since, ?3 how many.
const PAGE: &str = "SELECT user_id AS id, residue FROM logto_mirror WHERE residue IS NOT NULL AND tombstone = 0 AND user_id > ?1 AND ticket > ?2 ORDER BY user_id LIMIT ?3";
/// ?1 ids, a JSON array; ?2 the most that a row may hold.
const MOVE: &str = "UPDATE users SET metadata = json_set(CASE WHEN json_valid(metadata) AND json_type(metadata) = 'object' THEN metadata ELSE '{}' END, '$._logto', \
     json((SELECT m.residue FROM logto_mirror m WHERE m.user_id = users.id))) \
     WHERE id IN (SELECT value FROM json_each(?1)) AND deleted_at IS NULL \
     AND length(CAST(coalesce(metadata, '') AS BLOB)) + (SELECT length(CAST(m.residue AS BLOB)) FROM logto_mirror m WHERE m.user_id = users.id) < ?2";
/// Of these whoever does not have it.
const LEFT: &str = "SELECT u.id AS id FROM users u JOIN logto_mirror m ON m.user_id = u.id WHERE u.id IN (SELECT value FROM json_each(?1)) AND u.deleted_at IS NULL \
     AND json_extract(u.metadata, '$._logto') IS NOT json(m.residue)";
const EFFECTS: &str = "SELECT count(*) AS n FROM logto_mirror_effects";
const AFTER: &str = "SELECT count(*) AS n FROM logto_mirror WHERE residue IS NOT NULL AND tombstone = 0 AND ticket > ?1";

/// Every string above that is about mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[PAGE, MOVE, LEFT, EFFECTS, AFTER];

/// Rows may be large: each with the metadata of a user.
const PAGE_SIZE: i64 = 100;
/// Of what the row holds besides.
const MARGIN_BYTES: usize = 100_000;

/// Before the first page is read: whatever is written later has a higher ticket.
pub fn sequence() -> Statement {
    Statement::new(SEQUENCE, vec![])
}

pub fn parse_sequence(results: &[Vec<Row>]) -> Option<i64> {
    integer(results.first()?.first()?, "sequence")
}

pub fn page(after: &str, since: i64) -> Statement {
    let values = vec![after.into(), since.into(), PAGE_SIZE.into()];
    Statement::new(PAGE, values)
}

/// Whoever comes behind the last of this page; `None`: it was the last one.
pub fn next(rows: &[Row]) -> Option<String> {
    let is_full = rows.len() as i64 >= PAGE_SIZE;
    rows.last()
        .filter(|_| is_full)
        .and_then(|row| text(row, "id"))
}

pub fn ids(rows: &[Row]) -> String {
    let ids: Vec<_> = rows.iter().filter_map(|row| text(row, "id")).collect();
    serde_json::json!(ids).to_string()
}

/// The second statement answers who has no room for it.
pub fn move_all(ids: &str) -> Vec<Statement> {
    let most = (MAX_VALUE_BYTES - MARGIN_BYTES) as i64;
    vec![
        Statement::new(MOVE, vec![ids.into(), most.into()]),
        Statement::new(LEFT, vec![ids.into()]),
    ]
}

/// What is owed, and what was written after this ticket.
pub fn left(since: i64) -> Vec<Statement> {
    vec![
        Statement::new(EFFECTS, vec![]),
        Statement::new(AFTER, vec![since.into()]),
    ]
}

pub fn parse_left(results: &[Vec<Row>]) -> Option<super::AtMgpass> {
    let of = |index: usize| integer(results.get(index)?.first()?, "n");
    Some(super::AtMgpass {
        n_effects: of(0)?,
        n_residue_after: of(1)?,
    })
}
