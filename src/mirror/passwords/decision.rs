//! Whether passwords may be carried: a person's decision, and a check that passed.

use serde_json::{Value as Json, json};

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, text};

const READ: &str = "SELECT decided_at, decided_by, reason, checked_at, facts, passed_at, passed_by FROM password_carry";
const DECIDE: &str = concat!(
    "UPDATE password_carry SET decided_at = ",
    now!(),
    ", decided_by = ?1, reason = ?2"
);
const WITHDRAW: &str =
    "UPDATE password_carry SET decided_at = NULL, decided_by = NULL, reason = NULL";
/// A newer check takes an earlier one's word back.
const CHECKED: &str = concat!(
    "UPDATE password_carry SET checked_at = ",
    now!(),
    ", facts = ?1, passed_at = NULL, passed_by = NULL"
);
/// A person has looked into the mailbox, within an hour of a check that was good.
const CONFIRM: &str = concat!(
    "UPDATE password_carry SET passed_at = ",
    now!(),
    ", passed_by = ?1 WHERE json_extract(facts, '$.is_good') = 1 AND checked_at > ",
    now!(),
    " - 3600000 RETURNING passed_at"
);
const STATES: &str = "SELECT state, count(*) AS n FROM passwords GROUP BY state";
const SUMMARY: &str = concat!(
    "SELECT (SELECT decided_at IS NOT NULL AND passed_at IS NOT NULL FROM password_carry) AS may_carry, ",
    "(SELECT count(*) FROM passwords INDEXED BY passwords_there WHERE state = 'carried' AND looked_at >= 0) AS carried, ",
    "(SELECT count(*) FROM passwords INDEXED BY passwords_under_way WHERE state = 'carrying' AND since > 0) AS under_way, ",
    "(SELECT count(*) FROM passwords INDEXED BY passwords_due WHERE state = 'void_owed' AND due_at > 0) AS void_owed, ",
    "(SELECT min(due_at) FROM passwords INDEXED BY passwords_due WHERE state = 'void_owed' AND due_at > 0 AND due_at <= ",
    now!(),
    ") AS owed_since"
);
const REASONS: &str = "SELECT reason, count(*) AS n FROM passwords WHERE state = 'none' AND reason IS NOT NULL GROUP BY reason";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    READ, DECIDE, WITHDRAW, CHECKED, CONFIRM, STATES, SUMMARY, REASONS,
];

pub fn read() -> Vec<Statement> {
    [READ, STATES, REASONS]
        .map(|sql| Statement::new(sql, vec![]))
        .into()
}

/// `None`: a row was not as the schema says.
pub fn shown(results: &[Vec<Row>]) -> Option<Json> {
    let [carry, states, reasons] = results else {
        return None;
    };
    let row = carry.first()?;
    let is = |name| integer(row, name).is_some();
    let facts = text(row, "facts").and_then(|text| serde_json::from_str::<Json>(&text).ok());
    let of = |state| super::row::n_of(states, state);
    let by_reason: serde_json::Map<_, _> = reasons
        .iter()
        .filter_map(|row| Some((text(row, "reason")?, json!(integer(row, "n")?))))
        .collect();
    Some(json!({
        "decision": is("decided_at").then(|| json!({ "at": row["decided_at"], "by": row["decided_by"], "reason": row["reason"] })),
        "check": is("checked_at").then(|| json!({ "at": row["checked_at"], "facts": facts, "passed": is("passed_at"), "by": row["passed_by"] })),
        "may_carry": is("decided_at") && is("passed_at"),
        "carried": of("carried"),
        "under_way": of("carrying"),
        "void_owed": of("void_owed"),
        "not_carried": by_reason,
    }))
}

pub fn decide(by: &str, reason: &str) -> Statement {
    Statement::new(DECIDE, vec![by.into(), reason.into()])
}

pub fn withdraw() -> Statement {
    Statement::new(WITHDRAW, vec![])
}

pub fn checked(facts: &Json) -> Statement {
    Statement::new(CHECKED, vec![facts.to_string().into()])
}

/// Answers a row when there was a good check to confirm.
pub fn confirm(by: &str) -> Statement {
    Statement::new(CONFIRM, vec![by.into()])
}

/// For the status: one row of counts.
pub fn summary() -> Statement {
    Statement::new(SUMMARY, vec![])
}

pub fn shown_summary(row: &Row) -> Json {
    let of = |name: &str| integer(row, name);
    json!({
        "may_carry": of("may_carry") == Some(1),
        "carried": of("carried"),
        "under_way": of("under_way"),
        "void_owed": of("void_owed"),
        "owed_since": of("owed_since"),
    })
}
