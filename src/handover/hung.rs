//! While draining: writes that hang without an answer of Logto's, or that have no name, are
//! left to a person. An operator says so then and there; each becomes a stray, watched for
//! as long as Logto may commit it, and its user is held.

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{late_commit_ms, now};

macro_rules! hung {
    () => {
        concat!(
            "discharged_at IS NULL AND side = 'logto' AND ((settled IS NULL AND expires_at <= ",
            now!(),
            ") OR (settled IS NOT NULL AND subject IS NULL)) AND EXISTS (SELECT 1 FROM authority WHERE holder = 'draining')"
        )
    };
}

const WATCH: &str = concat!(
    "INSERT INTO strays (subject, operation, found_at, source, watch_until) SELECT subject, operation, ",
    now!(),
    ", 'waived_intent', opened_at + ",
    late_commit_ms!(),
    " FROM intents WHERE ",
    hung!()
);
const HOLD: &str = concat!(
    "INSERT INTO held_subjects (subject, reason, since, detail) SELECT DISTINCT subject, 'waived_intent', ",
    now!(),
    ", NULL FROM intents WHERE subject IS NOT NULL AND ",
    hung!(),
    " ON CONFLICT (subject) DO NOTHING"
);
const DISCHARGE: &str = concat!(
    "UPDATE intents SET discharged_at = ",
    now!(),
    " WHERE ",
    hung!(),
    " RETURNING id"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[WATCH, HOLD, DISCHARGE];

/// Nothing but while draining. [`parse_let_go`] counts them.
pub fn let_go() -> Vec<Statement> {
    [WATCH, HOLD, DISCHARGE]
        .map(|sql| Statement::new(sql, vec![]))
        .to_vec()
}

pub fn parse_let_go(results: &[Vec<Row>]) -> usize {
    results.last().map_or(0, Vec::len)
}
