//! What the SQL of several modules is made of. Macros, since `concat!` takes literals.

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
