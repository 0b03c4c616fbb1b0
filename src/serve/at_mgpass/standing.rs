//! How far Logto has what mgPass has, as the proxy's database knows it; with the authority
//! at the same moment.

use crate::handover::authority::{View, parse_view};
use crate::policy::plan::at_mgpass::Standing;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{holder, integer, late_commit_ms, now, view_columns};

const STANDING: &str = concat!(
    "SELECT (SELECT min(opened_at) FROM intents WHERE side = 'mgpass' AND discharged_at IS NULL) AS pending_since, ",
    "EXISTS (SELECT 1 FROM debt) OR EXISTS (SELECT 1 FROM held_subjects) ",
    "OR EXISTS (SELECT 1 FROM strays WHERE state = 'open') OR EXISTS (SELECT 1 FROM ",
    // Looked at, and forgotten, within a quarter of an hour more.
    "sent_back WHERE answered_at IS NULL AND sent_at > ",
    now!(),
    " - 2 * ",
    late_commit_ms!(),
    ") AS owes, ",
    "(SELECT value FROM counters WHERE name = 'feed_at') AS fed_at, ",
    view_columns!(),
    " FROM authority"
);
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[STANDING];

pub fn read() -> Statement {
    Statement::new(STANDING, vec![])
}

pub fn parse(results: &[Vec<Row>]) -> Option<(Standing, View)> {
    let row = results.first()?.first()?;
    let standing = Standing {
        pending_since_ms: integer(row, "pending_since"),
        is_in_debt: integer(row, "owes")? != 0,
        fed_at_ms: integer(row, "fed_at")?,
    };
    Some((standing, parse_view(row)?))
}
