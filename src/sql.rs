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

/// An intent `i` of which a reconcile that begins now covers something: it is settled,
/// or it was not settled in time and is due for its first look, or for its last.
macro_rules! coverable {
    () => {
        concat!(
            "i.discharged_at IS NULL AND (i.settled IS NOT NULL OR (i.passes = 0 AND i.expires_at <= ",
            now!(),
            ") OR i.opened_at + 900000 <= ",
            now!(),
            ")"
        )
    };
}

pub(crate) use {coverable, now, sequence};
