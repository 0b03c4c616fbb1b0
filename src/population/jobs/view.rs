//! What the store says of a job's users: counts, and the users themselves.

use serde_json::{Map, Value as Json, json};

use super::Kind;
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{integer, text};

const OUTCOMES: &str = "SELECT outcome, reason, count(*) AS n FROM job_users WHERE kind = ?1 AND job = ?2 AND outcome <> 'equal' \
     GROUP BY outcome, reason";
const NOTES: &str = "SELECT n.value AS note, count(*) AS n FROM job_users u, json_each(u.notes) n \
     WHERE u.kind = ?1 AND u.job = ?2 AND u.notes <> '[]' GROUP BY n.value ORDER BY n.value";
const USERS: &str = "SELECT user_id AS id, outcome, reason, notes FROM job_users WHERE kind = ?1 AND job = ?2 AND user_id > ?3 \
     AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR reason = ?5) \
     AND (?6 IS NULL OR EXISTS (SELECT 1 FROM json_each(notes) n WHERE n.value = ?6 OR (instr(?6, ':') = 0 AND substr(n.value, 1, length(?6) + 1) = ?6 || ':'))) ORDER BY user_id LIMIT ?7";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[OUTCOMES, NOTES, USERS];

/// Outcomes other than equal, and, on demand, notes by code.
pub fn counts(job: i64, kind: Kind, detail: bool) -> Vec<Statement> {
    let key = || vec![Value::from(kind.name()), Value::from(job)];
    let mut statements = vec![Statement::new(OUTCOMES, key())];
    if detail {
        statements.push(Statement::new(NOTES, key()));
    }
    statements
}

/// Which users to show, from where on.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub outcome: Option<String>,
    pub reason: Option<String>,
    /// A code; without its value it stands for every value.
    pub note: Option<String>,
    pub after: String,
    pub limit: i64,
}

pub fn users(job: i64, kind: Kind, filter: &Filter) -> Vec<Statement> {
    let values = vec![
        kind.name().into(),
        job.into(),
        filter.after.as_str().into(),
        filter.outcome.as_deref().into(),
        filter.reason.as_deref().into(),
        filter.note.as_deref().into(),
        filter.limit.into(),
    ];
    vec![Statement::new(USERS, values)]
}

/// A job as operators see it, with its outcomes other than equal.
pub fn shown(row: &Row, counts: &[Vec<Row>]) -> Json {
    let get = |name: &str| row.get(name).cloned().unwrap_or_default();
    let n_users = integer(row, "n_users").unwrap_or(0);
    let (outcomes, parked) = outcomes(n_users, counts.first());
    let mut view = json!({
        "id": get("id"), "kind": get("kind"), "state": get("state"), "phase": get("phase"),
        "dry_run": integer(row, "dry_run") == Some(1),
        "repair": integer(row, "repair") == Some(1),
        "inspect": integer(row, "inspect") == Some(1),
        "pass": get("pass"), "lanes": get("lanes"), "rate_limit": get("rate"),
        "started_at": get("started_at"), "moved_at": get("moved_at"), "finished_at": get("finished_at"),
        "total": get("total_last"), "seen": get("n_seen"), "users": n_users,
        "last_failure": get("last_failure"),
        "outcomes": outcomes, "parked": parked,
        "pages": get("n_pages"), "statements": get("n_statements"), "added": get("n_added"),
        "logto_ms": get("logto_ms"), "mgpass_ms": get("mgpass_ms"), "work_ms": get("work_ms"),
        "memory_bytes": get("memory_bytes"),
    });
    if let (Some(rows), Some(view)) = (counts.get(1), view.as_object_mut()) {
        view.insert("notes".to_owned(), by_name(rows, "note", "n"));
    }
    view
}

/// By outcome, and what is parked by reason. Whoever is not counted is equal.
fn outcomes(n_users: i64, rows: Option<&Vec<Row>>) -> (Map<String, Json>, Map<String, Json>) {
    let (mut outcomes, mut parked) = (Map::new(), Map::new());
    let mut n_equal = n_users;
    let add = |map: &mut Map<String, Json>, name: String, n: i64| {
        let before = map.get(&name).and_then(Json::as_i64).unwrap_or(0);
        map.insert(name, json!(before + n));
    };
    for row in rows.map(Vec::as_slice).unwrap_or_default() {
        let (Some(outcome), Some(n)) = (text(row, "outcome"), integer(row, "n")) else {
            continue;
        };
        n_equal -= n;
        if outcome == "parked" {
            add(&mut parked, text(row, "reason").unwrap_or_default(), n);
        }
        add(&mut outcomes, outcome, n);
    }
    outcomes.insert("equal".to_owned(), json!(n_equal));
    (outcomes, parked)
}

/// Counts by a name.
pub fn by_name(rows: &[Row], name: &str, value: &str) -> Json {
    let pairs = rows
        .iter()
        .filter_map(|row| Some((text(row, name)?, json!(integer(row, value)?))));
    Json::Object(pairs.collect())
}
