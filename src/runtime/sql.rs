//! What the SQL of several modules is made of, as macros since `concat!` takes literals;
//! and how a row is read.

use crate::runtime::ports::Row;

/// The database's own clock, in milliseconds.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

/// The newest of settle order and tickets, in the proxy's database.
macro_rules! sequence {
    () => {
        "(SELECT value FROM counters WHERE name = 'sequence')"
    };
}

pub(crate) use {now, sequence};

pub fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column)?.as_str().map(str::to_owned)
}

/// D1 hands integers over as JavaScript numbers.
pub fn integer(row: &Row, column: &str) -> Option<i64> {
    let value = row.get(column)?;
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|float| float as i64))
}
