//! The fence of reads: whether something of a user's is not yet known to be equal.

use crate::handover::authority::{View, parse_view};
use crate::inbound::request::UserId;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{clock_margin_ms, holder, integer, now, view_columns};

const FENCE: &str = concat!(
    "SELECT (SELECT value FROM counters WHERE name = 'epoch') AS epoch, ",
    "EXISTS (SELECT 1 FROM intents WHERE subject = ?1 AND (discharged_at IS NULL OR discharged_at >= ?2 - ",
    clock_margin_ms!(),
    ")) AS fenced, ",
    view_columns!(),
    " FROM authority"
);
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[FENCE];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub epoch: i64,
    pub is_fenced: bool,
    /// Of the authority, at the same moment.
    pub view: View,
}

/// An intent that was not discharged before the request began fences the read. Two
/// seconds of margin stand for the clocks of isolate and database.
pub fn fence(subject: &UserId, request_began_ms: i64) -> Vec<Statement> {
    vec![Statement::new(
        FENCE,
        vec![subject.as_str().into(), request_began_ms.into()],
    )]
}

pub fn parse_fence(results: &[Vec<Row>]) -> Option<Fence> {
    let row = results.first()?.first()?;
    Some(Fence {
        epoch: integer(row, "epoch")?,
        is_fenced: integer(row, "fenced")? != 0,
        view: parse_view(row)?,
    })
}
