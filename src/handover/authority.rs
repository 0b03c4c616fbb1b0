//! The row that says whose data wins, as everybody reads it.
//!
//! One row in the proxy's own database, read at its one writer and never through a
//! session that allows replicas. Any answer of that database which a request gets anyway
//! (the fence of reads, the record of a write) brings a [`View`] along.

pub use crate::policy::authority::{Holder, Lease, Side, View};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{holder, integer, now, text, view_columns};

const VIEW: &str = concat!("SELECT ", view_columns!(), " FROM authority");

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[VIEW];

pub fn view() -> Statement {
    Statement::new(VIEW, vec![])
}

/// Of any row that has the columns of `view_columns!`.
pub fn parse_view(row: &Row) -> Option<View> {
    Some(View {
        holder: Holder::from_name(&text(row, "holder")?)?,
        generation: integer(row, "generation")?,
        term: integer(row, "term")?,
        announced_until_ms: integer(row, "announced_until"),
        deadline_ms: integer(row, "deadline"),
        is_raise_owed: integer(row, "raise_owed")? != 0,
        now_ms: integer(row, "now")?,
    })
}
