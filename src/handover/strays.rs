//! Changes at Logto while mgPass is the authority: found, kept by user and name of field,
//! and resolved by a person.
//!
//! Here: a record of a write at Logto that comes late, by the Queue or by a settling of
//! what was let go. Whatever lies undischarged on Logto's side of the outbox then is one.

use crate::runtime::ports::Statement;
use crate::runtime::sql::{late_commit_ms, now};

macro_rules! late_record {
    () => {
        "discharged_at IS NULL AND side = 'logto' AND EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning'))"
    };
}

const KEEP_LATE: &str = concat!(
    "INSERT INTO strays (subject, operation, found_at, source, watch_until) SELECT i.subject, i.operation, ",
    now!(),
    ", 'late_record', i.opened_at + ",
    late_commit_ms!(),
    " FROM intents i WHERE i.",
    late_record!(),
    " AND NOT EXISTS (SELECT 1 FROM strays s WHERE s.state = 'open' AND s.subject IS i.subject ",
    "AND s.operation = i.operation AND s.source IN ('late_record', 'waived_intent'))"
);
const DISCHARGE_LATE: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE ",
    late_record!(),
    " RETURNING id"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[KEEP_LATE, DISCHARGE_LATE];

/// Nothing happens while Logto is the authority. [`n_absorbed`] counts them.
pub fn absorb_late_records() -> Vec<Statement> {
    [KEEP_LATE, DISCHARGE_LATE]
        .map(|sql| Statement::new(sql, vec![]))
        .to_vec()
}

pub fn n_absorbed(results: &[Vec<crate::runtime::ports::Row>]) -> usize {
    results.last().map_or(0, Vec::len)
}
