//! Which webhooks came, by side and kind: when the last valid one of each did. The check
//! of the webhooks goes by it, and a second delivery of mgPass's is known by it.
//!
//! Names of events and times; nothing of what a webhook says.

use crate::runtime::ports::{Backend, Row, Statement};
use crate::runtime::sql::{integer, now, text};

const NOTE: &str = concat!(
    "INSERT INTO webhook_receipts (source, kind, first_at, last_at, n) VALUES (?1, ?2, ",
    now!(),
    ", ",
    now!(),
    ", 1) ON CONFLICT (source, kind) DO UPDATE SET last_at = excluded.last_at, n = webhook_receipts.n + 1"
);
const IS_KNOWN: &str = "SELECT 1 AS is_known FROM webhook_events WHERE id = ?1";
const REMEMBER: &str = concat!(
    "INSERT INTO webhook_events (id, at) VALUES (?1, ",
    now!(),
    ") ON CONFLICT (id) DO NOTHING"
);
const FORGET: &str = concat!(
    "DELETE FROM webhook_events WHERE at < ",
    now!(),
    " - 172800000"
);
const SELECT: &str = "SELECT source, kind, first_at, last_at, n FROM webhook_receipts ORDER BY source, last_at DESC LIMIT 200";
/// Once Logto's users are not the truth any more, nothing of theirs is changed for a test.
const TEST: &str = concat!(
    "INSERT INTO webhook_tests (source, kind, caused_at) SELECT ?1, ?2, ",
    now!(),
    " WHERE ?1 <> 'logto' OR (SELECT holder FROM authority) = 'logto' ON CONFLICT (source) DO UPDATE SET kind = excluded.kind, caused_at = excluded.caused_at, failure = NULL RETURNING caused_at"
);
const FAILED: &str = "UPDATE webhook_tests SET failure = ?2 WHERE source = ?1";
const TESTS: &str = "SELECT source, kind, caused_at, failure FROM webhook_tests";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    NOTE, IS_KNOWN, REMEMBER, FORGET, SELECT, TEST, FAILED, TESTS,
];

/// Longer names than any that is documented; and nothing but what names are made of.
const MAX_KIND_BYTES: usize = 64;

/// A valid webhook of this kind. Whoever signs may name it anything; a kind that is no
/// plain name counts as `other`.
pub fn note(source: Backend, kind: &str) -> Statement {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = !kind.is_empty() && kind.len() <= MAX_KIND_BYTES && kind.bytes().all(is_plain);
    let kind = if is_name { kind } else { "other" };
    Statement::new(NOTE, vec![source.name().into(), kind.into()])
}

pub fn is_known(event: &str) -> Statement {
    Statement::new(IS_KNOWN, vec![event.into()])
}

pub fn parse_is_known(results: &[Vec<Row>]) -> bool {
    results.first().is_some_and(|rows| !rows.is_empty())
}

pub fn remember(event: &str) -> Statement {
    Statement::new(REMEMBER, vec![event.into()])
}

/// Events of mgPass's that are not delivered again any more.
pub fn forget() -> Statement {
    Statement::new(FORGET, vec![])
}

/// One kind of webhook of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub source: Backend,
    pub kind: String,
    pub first_at_ms: i64,
    pub last_at_ms: i64,
    pub n: i64,
}

/// The newest test of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub source: Backend,
    pub kind: String,
    pub caused_at_ms: i64,
    /// Why nothing was caused.
    pub failure: Option<String>,
}

pub fn read() -> Vec<Statement> {
    vec![
        Statement::new(SELECT, vec![]),
        Statement::new(TESTS, vec![]),
    ]
}

/// `None`: a row was not as the schema says.
pub fn parse(results: &[Vec<Row>]) -> Option<(Vec<Receipt>, Vec<Test>)> {
    let [receipts, tests] = results else {
        return None;
    };
    let receipts = receipts.iter().map(|row| {
        Some(Receipt {
            source: source(row)?,
            kind: text(row, "kind")?,
            first_at_ms: integer(row, "first_at")?,
            last_at_ms: integer(row, "last_at")?,
            n: integer(row, "n")?,
        })
    });
    let tests = tests.iter().map(|row| {
        Some(Test {
            source: source(row)?,
            kind: text(row, "kind")?,
            caused_at_ms: integer(row, "caused_at")?,
            failure: text(row, "failure"),
        })
    });
    Some((
        receipts.collect::<Option<_>>()?,
        tests.collect::<Option<_>>()?,
    ))
}

fn source(row: &Row) -> Option<Backend> {
    match text(row, "source")?.as_str() {
        "logto" => Some(Backend::Logto),
        "mgpass" => Some(Backend::Mgpass),
        _ => None,
    }
}

/// Before it is caused, so that none can come earlier than this says.
pub fn test(source: Backend, kind: &str) -> Statement {
    Statement::new(TEST, vec![source.name().into(), kind.into()])
}

pub fn test_failed(source: Backend, code: &str) -> Statement {
    Statement::new(FAILED, vec![source.name().into(), code.into()])
}
