//! The row that says whose data wins, as everybody reads it.
//!
//! One row in the proxy's own database, read at its one writer and never through a
//! session that allows replicas. Any answer of that database which a request gets anyway
//! (the fence of reads, the record of a write) brings a [`View`] along.

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{holder, integer, now, text, view_columns};

const VIEW: &str = concat!("SELECT ", view_columns!(), " FROM authority");

/// Every string above, for the test that prepares each one against the schema.
pub const ALL_SQL: &[&str] = &[VIEW];

/// Whose data wins. The two between: user writes wait, reads go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Logto,
    /// From Logto to mgPass.
    Draining,
    Mgpass,
    /// From mgPass back to Logto.
    Returning,
}

impl Holder {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Draining => "draining",
            Self::Mgpass => "mgpass",
            Self::Returning => "returning",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Logto, Self::Draining, Self::Mgpass, Self::Returning]
            .into_iter()
            .find(|holder| holder.name() == name)
    }
}

/// The authority at the moment of one answer of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// A deadline that has passed is counted as over.
    pub holder: Holder,
    /// As the row says; what a writer at mgPass carries.
    pub generation: i64,
    pub term: i64,
    /// No draining begins before.
    pub announced_until_ms: Option<i64>,
    /// Of draining and returning.
    pub deadline_ms: Option<i64>,
    /// mgPass's database does not know the generation yet.
    pub is_raise_owed: bool,
    /// By the database's clock.
    pub now_ms: i64,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_it_is_written() {
        for holder in [
            Holder::Logto,
            Holder::Draining,
            Holder::Mgpass,
            Holder::Returning,
        ] {
            assert_eq!(Holder::from_name(holder.name()), Some(holder));
        }
        assert_eq!(Holder::from_name("nobody"), None);
    }
}
