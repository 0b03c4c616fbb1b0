//! What the costly checks found, the newest of each, with its time.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, text};

const KEEP: &str = concat!(
    "INSERT INTO check_facts (name, at, facts) VALUES (?1, ",
    now!(),
    ", ?2) ON CONFLICT (name) DO UPDATE SET at = excluded.at, facts = excluded.facts"
);
const READ: &str = "SELECT name, at, facts FROM check_facts";
const NOW: &str = concat!(
    "SELECT ",
    now!(),
    " AS now, (SELECT term FROM authority) AS term"
);

const EVIDENCE: &str = "SELECT kind, term, at, not_green FROM evidence ORDER BY kind";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[KEEP, READ, NOW, EVIDENCE];

pub fn keep(name: &str, facts: &impl Serialize) -> Option<Statement> {
    let facts = serde_json::to_string(facts).ok()?;
    Some(Statement::new(KEEP, vec![name.into(), facts.into()]))
}

/// Database's time and term, and all that is kept.
pub fn read() -> Vec<Statement> {
    vec![Statement::new(NOW, vec![]), Statement::new(READ, vec![])]
}

/// The newest checklist and certificate, as the gates know them.
pub fn evidence() -> Statement {
    Statement::new(EVIDENCE, vec![])
}

pub fn shown_evidence(rows: &[Row]) -> Vec<Json> {
    let shown = rows.iter().map(|row| {
        let not_green = text(row, "not_green").unwrap_or_default();
        json!({
            "kind": row.get("kind"), "term": row.get("term"), "at": row.get("at"),
            "not_green": serde_json::from_str::<Json>(&not_green).unwrap_or_default(),
        })
    });
    shown.collect()
}

/// The answers of [`read`].
pub struct Kept {
    pub now_ms: i64,
    pub term: i64,
    rows: Vec<Row>,
}

impl Kept {
    pub fn parse(results: &[Vec<Row>]) -> Option<Self> {
        let [now, rows, ..] = results else {
            return None;
        };
        let now = now.first()?;
        Some(Self {
            now_ms: integer(now, "now")?,
            term: integer(now, "term")?,
            rows: rows.clone(),
        })
    }

    /// With its time; facts of another version of the proxy count as never found.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<(T, i64)> {
        let row = self.row(name)?;
        let facts = serde_json::from_str(&text(row, "facts")?).ok()?;
        Some((facts, integer(row, "at")?))
    }

    pub fn at(&self, name: &str) -> Option<i64> {
        integer(self.row(name)?, "at")
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| text(row, "name").as_deref() == Some(name))
    }
}
