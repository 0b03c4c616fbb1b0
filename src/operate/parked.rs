//! Everybody who waits for a person: whom the mirror parked, and whom the newest import
//! of a kind could not carry. One list, whether or not there ever was an import.
//!
//! What an import said of a user whom the mirror has looked at since is the past.

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

macro_rules! parked {
    () => {
        "(SELECT s.subject AS id, 'mirror' AS list, 0 AS dry_run, s.parked AS reason, s.parked_at AS since, '[]' AS notes \
         FROM subjects s INDEXED BY subjects_parked WHERE s.parked IS NOT NULL \
         UNION ALL SELECT u.user_id, u.kind, j.dry_run, u.reason, coalesce(j.finished_at, j.moved_at), u.notes \
         FROM job_users u JOIN jobs j ON j.id = u.job WHERE u.kind IN ('users', 'points') AND u.outcome = 'parked' \
         AND u.job = (SELECT max(id) FROM jobs n WHERE n.kind = u.kind) \
         AND (u.kind = 'points' OR NOT EXISTS (SELECT 1 FROM subjects s WHERE s.subject = u.user_id AND (s.parked IS NOT NULL OR j.dry_run = 0))))"
    };
}

const SUMMARY: &str = concat!(
    "SELECT list, dry_run, reason, count(*) AS n, min(since) AS since FROM ",
    parked!(),
    " GROUP BY list, dry_run, reason ORDER BY n DESC, reason"
);
const LIST: &str = concat!(
    "SELECT id, list, dry_run, reason, since, notes FROM ",
    parked!(),
    " WHERE (?1 IS NULL OR (?1 = 'points') = (list = 'points')) AND (?2 IS NULL OR reason = ?2) ",
    "AND (?3 IS NULL OR id > ?3 OR (id = ?3 AND list > ?4)) ORDER BY id, list LIMIT ?5"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SUMMARY, LIST];

/// How many by list and reason.
pub fn summary() -> Statement {
    Statement::new(SUMMARY, vec![])
}

/// Those of users or of points, or all, from behind a place on.
pub fn list(
    kind: Option<&str>,
    reason: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Statement {
    let (list, id) = match after.and_then(|after| after.split_once('/')) {
        Some((list, id)) => (Some(list), Some(id)),
        None => (None, None),
    };
    let values = vec![
        kind.into(),
        reason.into(),
        id.into(),
        list.into(),
        limit.into(),
    ];
    Statement::new(LIST, values)
}

/// Where to go on behind these; `None` when they were all.
pub fn next(rows: &[Row], limit: i64) -> Option<String> {
    let last = rows.last().filter(|_| rows.len() as i64 >= limit)?;
    Some(format!("{}/{}", text(last, "list")?, text(last, "id")?))
}

/// For display: notes are kept as JSON text.
pub fn shown(mut row: Row) -> Row {
    let notes = text(&row, "notes").and_then(|text| serde_json::from_str(&text).ok());
    if let Some(notes) = notes {
        row.insert("notes".to_owned(), notes);
    }
    let is_dry = integer(&row, "dry_run") == Some(1);
    row.insert("dry_run".to_owned(), is_dry.into());
    row
}
