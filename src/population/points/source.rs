//! The rewards database that points come from: every SQL string, and what its rows
//! say. Only read. Names are our assumption (`schema/rewards`); values are not
//! trusted to be as declared, since a table need not be STRICT.

use crate::runtime::limits::PORTION_BYTES;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::text;

/// A portion of entries: a batch at mgPass, and what an isolate holds at once.
const MAX_ENTRIES: i64 = 1_000;
/// What JavaScript, and so D1, hands over exactly.
pub(super) const MAX_EXACT: i64 = (1 << 53) - 1;

/// By both tables, as an entry may name a user who has no record.
const SELECT_PAGE: &str = "SELECT p.user_id AS user_id, r.user_id IS NOT NULL AS is_recorded, \
     r.total_points AS total_points, r.lifetime_earned AS lifetime_earned, r.tier AS tier, \
     (SELECT count(*) FROM rewards_ledger l WHERE l.user_id = p.user_id) AS n_entries \
     FROM (SELECT user_id FROM rewards_users WHERE user_id >= ?1 AND (user_id > ?1 OR ?3 = 1) \
     UNION SELECT user_id FROM rewards_ledger WHERE user_id >= ?1 AND (user_id > ?1 OR ?3 = 1) ORDER BY 1 LIMIT ?2) p \
     LEFT JOIN rewards_users r ON r.user_id = p.user_id ORDER BY p.user_id";
/// The only one that goes through whole tables; once an import.
const SELECT_COUNT: &str = "SELECT (SELECT count(*) FROM rewards_users WHERE user_id > '') + \
     (SELECT count(DISTINCT user_id) FROM rewards_ledger WHERE user_id > '' \
     AND NOT EXISTS (SELECT 1 FROM rewards_users r WHERE r.user_id = rewards_ledger.user_id)) AS n_users, \
     (SELECT count(*) FROM rewards_ledger WHERE user_id IS NULL OR user_id = '') + \
     (SELECT count(*) FROM rewards_users WHERE user_id IS NULL OR user_id = '') AS n_nameless";
/// As many rows as both bounds allow, and at least one: the rest of one user's, then the
/// others'. In two parts, so that both are ranges of the index, however long a ledger is.
const SELECT_ENTRIES: &str = "SELECT user_id, id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at \
     FROM (SELECT *, row_number() OVER page AS nth, \
     sum(length(CAST(coalesce(metadata, '') || coalesce(reference_id, '') || coalesce(event_type, '') \
     || coalesce(platform, '') || coalesce(rule_version, '') || coalesce(status, '') AS BLOB))) OVER page AS running \
     FROM (SELECT user_id, id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at \
     FROM rewards_ledger WHERE user_id = ?2 AND id > ?3 \
     UNION ALL SELECT user_id, id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at \
     FROM rewards_ledger WHERE user_id IN (SELECT w.value FROM json_each(?1) w) ORDER BY user_id, id LIMIT ?4) \
     WINDOW page AS (ORDER BY user_id, id ROWS UNBOUNDED PRECEDING)) \
     WHERE nth = 1 OR running <= ?5 ORDER BY user_id, id";
pub(super) const SELECT_BALANCES: &str = "SELECT r.user_id AS user_id, r.total_points AS total_points, \
     r.lifetime_earned AS lifetime_earned, r.tier AS tier \
     FROM json_each(?1) w JOIN rewards_users r ON r.user_id = w.value";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SELECT_PAGE, SELECT_COUNT, SELECT_ENTRIES, SELECT_BALANCES];

/// One user as the source has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub user_id: String,
    /// False: only entries name this user.
    pub is_recorded: bool,
    /// `None`: no record, or one that cannot be read.
    pub stored: Option<Stored>,
    pub n_entries: i64,
}

/// The balance as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub total_points: i64,
    pub lifetime_earned: i64,
    pub tier: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub n_users: i64,
    /// Rows of both tables that name nobody.
    pub n_nameless: i64,
}

/// The last entry that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub user_id: String,
    pub id: String,
}

/// Users behind one, or from that one on.
pub fn page(user_id: &str, limit: i64, is_included: bool) -> Statement {
    let values = vec![user_id.into(), limit.into(), is_included.into()];
    Statement::new(SELECT_PAGE, values)
}

pub fn count() -> Statement {
    Statement::new(SELECT_COUNT, vec![])
}

/// The next portion, of these users, who are in order of id.
pub fn entries(users: &[String], after: &Cursor) -> Statement {
    let later = users.partition_point(|user| *user <= after.user_id);
    let later = users.get(later..).unwrap_or_default();
    Statement::new(
        SELECT_ENTRIES,
        vec![
            serde_json::json!(later).to_string().into(),
            after.user_id.as_str().into(),
            after.id.as_str().into(),
            MAX_ENTRIES.into(),
            (PORTION_BYTES as i64).into(),
        ],
    )
}

pub fn parse_page(rows: Option<&Vec<Row>>) -> Option<Vec<Record>> {
    rows?.iter().map(parse_record).collect()
}

pub fn parse_count(rows: &[Row]) -> Option<Count> {
    let row = rows.first()?;
    let n_nameless = whole(row, "n_nameless")?;
    Some(Count {
        n_users: whole(row, "n_users")? + n_nameless.min(1),
        n_nameless,
    })
}

pub fn cursor_at(row: &Row) -> Cursor {
    Cursor {
        user_id: text(row, "user_id").unwrap_or_default(),
        id: scalar(row, "id").unwrap_or_default(),
    }
}

fn parse_record(row: &Row) -> Option<Record> {
    let user_id = scalar(row, "user_id")?;
    let stored = || {
        Some(Stored {
            total_points: whole(row, "total_points")?,
            lifetime_earned: whole(row, "lifetime_earned")?,
            tier: optional(row, "tier").ok()?,
        })
    };
    Some(Record {
        user_id,
        is_recorded: whole(row, "is_recorded")? != 0,
        stored: stored(),
        n_entries: whole(row, "n_entries")?,
    })
}

/// A whole number that arrived exactly.
pub(super) fn whole(row: &Row, column: &str) -> Option<i64> {
    let value = row.get(column)?;
    let number = match value.as_i64() {
        Some(number) => number,
        None => value
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() <= MAX_EXACT as f64)?
            as i64,
    };
    (number.abs() <= MAX_EXACT).then_some(number)
}

/// An id: a text, or the number that some tables count with.
pub(super) fn scalar(row: &Row, column: &str) -> Option<String> {
    let number = || whole(row, column).map(|number| number.to_string());
    readable(row, column).or_else(number)
}

/// A text that may be missing; `Err` for anything else.
pub(super) fn optional(row: &Row, column: &str) -> Result<Option<String>, ()> {
    match row.get(column) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(_) => readable(row, column).map(Some).ok_or(()),
    }
}

/// SQLite's JSON cuts a text off at NUL, and half a text is worse than none.
pub(super) fn readable(row: &Row, column: &str) -> Option<String> {
    text(row, column).filter(|text| !text.contains('\0'))
}
