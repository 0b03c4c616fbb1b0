//! What Logto lacks of what mgPass has, by user, while mgPass is the authority.
//!
//! Never less than the truth: what is being carried counts until it is done, whoever is
//! held counts until they are released, and a stray until a person has decided. The rows
//! here are the rest: what Logto cannot have, refused, or may still be carrying out.

use serde_json::json;

use crate::inbound::request::{UserId, id_list};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, is_still_leased_by, late_commit_ms, now, text};

/// Every user whom Logto lacks something of, once for each reason.
macro_rules! all_debt {
    () => {
        concat!(
            "(SELECT coalesce(subject, id) AS subject, 'pending' AS class, operation AS code, opened_at AS since FROM intents ",
            "WHERE side = 'mgpass' AND discharged_at IS NULL ",
            "UNION ALL SELECT subject, 'held', reason, since FROM held_subjects ",
            "UNION ALL SELECT coalesce(subject, 'stray.' || id), 'stray', coalesce(path, operation, ''), found_at FROM strays WHERE state = 'open' ",
            "UNION ALL SELECT subject, class, code, since FROM debt ",
            // Whoever sent it may have stopped there, and owes nothing by name.
            "UNION ALL SELECT subject, 'unanswered', 'no_answer', sent_at FROM sent_back s WHERE answered_at IS NULL AND sent_at > ",
            now!(),
            " - 2 * ",
            late_commit_ms!(),
            " AND NOT EXISTS (SELECT 1 FROM debt d WHERE d.subject = s.subject AND d.class = 'unanswered'))"
        )
    };
}

const BY_CLASS: &str = concat!(
    "SELECT class, count(DISTINCT subject) AS n, min(since) AS since FROM ",
    all_debt!(),
    " GROUP BY class ORDER BY class"
);
const TOTAL: &str = concat!(
    "SELECT count(DISTINCT subject) AS n, ",
    now!(),
    " AS now, (SELECT value FROM counters WHERE name = 'feed_at') AS feed_at, ",
    "(SELECT covered_at FROM walk WHERE side = 'mgpass') AS covered_at, (SELECT holder FROM authority) AS holder FROM ",
    all_debt!()
);
const LIST: &str = concat!(
    "SELECT DISTINCT subject, class, code, since FROM ",
    all_debt!(),
    " WHERE (?1 IS NULL OR class = ?1) AND (subject, class, code) > (?2, ?3, ?4) ORDER BY subject, class, code LIMIT ?5"
);
const OWE: &str = concat!(
    "INSERT INTO debt (subject, class, code, since) SELECT ?1, json_extract(w.value, '$[0]'), json_extract(w.value, '$[1]'), ",
    now!(),
    " FROM json_each(?2) w WHERE EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning')) ",
    "ON CONFLICT (subject, class, code) DO NOTHING"
);
/// What a reconcile that has just looked did not meet any more.
const PAY: &str = concat!(
    "DELETE FROM debt WHERE subject = ?1 AND class IN ('refused_by_logto', 'value_conflict') ",
    "AND NOT EXISTS (SELECT 1 FROM json_each(?2) w WHERE json_extract(w.value, '$[0]') = class AND json_extract(w.value, '$[1]') = code) AND ",
    is_still_leased_by!("?3")
);
/// Logto commits nothing so late any more, and the reconcile has looked since.
const PAY_UNANSWERED: &str = concat!(
    "DELETE FROM debt WHERE subject = ?1 AND class = 'unanswered' AND since + ",
    late_commit_ms!(),
    " <= ",
    now!()
);
/// Neither side has the user any more.
const FORGET: &str = "DELETE FROM debt WHERE subject = ?1";
const OWE_BIRTHS: &str = concat!(
    "INSERT INTO debt (subject, class, code, since) SELECT w.value, 'born_at_mgpass', 'registered_at_mgpass', ",
    now!(),
    " FROM json_each(?1) w WHERE EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning')) ",
    "ON CONFLICT (subject, class, code) DO NOTHING"
);
const OWE_FACTORS: &str = concat!(
    "INSERT INTO debt (subject, class, code, since) SELECT w.value, 'credential_at_mgpass', 'factor', ",
    now!(),
    " FROM json_each(?1) w WHERE EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning')) ",
    "ON CONFLICT (subject, class, code) DO NOTHING"
);
/// An unanswered call that Logto may have carried out meanwhile, or not.
const UNANSWERED_DUE: &str = concat!(
    "SELECT DISTINCT subject FROM (SELECT subject FROM debt WHERE class = 'unanswered' AND since + ",
    late_commit_ms!(),
    " <= ",
    now!(),
    // A minute beyond, for the last look: whoever sent these may have stopped there.
    " UNION ALL SELECT subject FROM sent_back WHERE answered_at IS NULL AND sent_at BETWEEN ",
    now!(),
    " - ",
    late_commit_ms!(),
    " - 120000 AND ",
    now!(),
    " - ",
    late_commit_ms!(),
    ") LIMIT 50"
);
/// Somebody else has given up a value, perhaps the one that these want.
const CONFLICTS: &str =
    "SELECT DISTINCT subject FROM debt WHERE class = 'value_conflict' AND subject <> ?1 LIMIT 20";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    BY_CLASS,
    TOTAL,
    LIST,
    OWE,
    PAY,
    PAY_UNANSWERED,
    FORGET,
    OWE_BIRTHS,
    OWE_FACTORS,
    UNANSWERED_DUE,
    CONFLICTS,
];

/// What a reconcile towards Logto could not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    CredentialAtMgpass,
    RefusedByLogto,
    /// Sent, and nobody knows.
    Unanswered,
    /// Somebody else holds the value at Logto.
    ValueConflict,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::CredentialAtMgpass => "credential_at_mgpass",
            Self::RefusedByLogto => "refused_by_logto",
            Self::Unanswered => "unanswered",
            Self::ValueConflict => "value_conflict",
        }
    }

    /// By Logto's code for what it refused.
    pub fn of_refusal(code: &str) -> Self {
        match code.ends_with("_already_in_use") {
            true => Self::ValueConflict,
            false => Self::RefusedByLogto,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    pub class: Class,
    pub code: String,
}

/// After a look at both sides, under that lease: these, and no others that a look would find.
pub fn settle(subject: &UserId, owed: &[Owed], lease: &str) -> Vec<Statement> {
    let list: Vec<_> = owed
        .iter()
        .map(|owed| json!([owed.class.name(), owed.code]))
        .collect();
    let list = json!(list).to_string();
    let subject = subject.as_str();
    vec![
        Statement::new(
            PAY,
            vec![subject.into(), list.as_str().into(), lease.into()],
        ),
        Statement::new(PAY_UNANSWERED, vec![subject.into()]),
        Statement::new(OWE, vec![subject.into(), list.into()]),
    ]
}

/// Beside whatever is owed already.
pub fn owe(subject: &UserId, class: Class, code: &str) -> Statement {
    let list = json!([[class.name(), code]]).to_string();
    Statement::new(OWE, vec![subject.as_str().into(), list.into()])
}

pub fn forget(subject: &UserId) -> Statement {
    Statement::new(FORGET, vec![subject.as_str().into()])
}

/// Registered at mgPass's own pages: Logto cannot have them.
pub fn owe_births(subjects: &[UserId]) -> Statement {
    Statement::new(OWE_BIRTHS, vec![id_list(subjects).into()])
}

/// A second factor of mgPass's, which Logto does not have.
pub fn owe_factors(subjects: &[UserId]) -> Statement {
    Statement::new(OWE_FACTORS, vec![id_list(subjects).into()])
}

/// Whom to look at once more, since what was unanswered cannot come any more.
pub fn unanswered_due() -> Statement {
    Statement::new(UNANSWERED_DUE, vec![])
}

pub fn conflicts(but: &UserId) -> Statement {
    Statement::new(CONFLICTS, vec![but.as_str().into()])
}

pub fn parse_subjects(rows: &[Row]) -> Vec<UserId> {
    let subject = |row: &Row| UserId::parse(&text(row, "subject")?);
    rows.iter().filter_map(subject).collect()
}

/// With what is pending, held and stray.
pub fn by_class() -> Statement {
    Statement::new(BY_CLASS, vec![])
}

pub fn summary() -> Vec<Statement> {
    vec![Statement::new(TOTAL, vec![]), by_class()]
}

/// Where a list goes on: behind this subject, class and code.
#[derive(Clone, Copy, Debug, Default)]
pub struct After<'a> {
    pub subject: &'a str,
    pub class: &'a str,
    pub code: &'a str,
}

pub fn list(class: Option<&str>, after: After<'_>, limit: i64) -> Statement {
    let values = vec![
        class.into(),
        after.subject.into(),
        after.class.into(),
        after.code.into(),
        limit.into(),
    ];
    Statement::new(LIST, values)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Users whom Logto lacks something of.
    pub n_users: i64,
    pub now_ms: i64,
    /// When mgPass's audit log was last read to its end; `None`: never in this term.
    pub feed_at_ms: Option<i64>,
    /// When the newest walk over everybody began that has ended.
    pub covered_at_ms: Option<i64>,
    pub classes: Vec<OfClass>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfClass {
    pub class: String,
    pub n_users: i64,
    pub since_ms: i64,
}

/// The answer of [`summary`].
pub fn parse_summary(results: &[Vec<Row>]) -> Option<Summary> {
    let [total, classes, ..] = results else {
        return None;
    };
    let row = total.first()?;
    let classes = classes.iter().map(|row| {
        Some(OfClass {
            class: text(row, "class")?,
            n_users: integer(row, "n")?,
            since_ms: integer(row, "since")?,
        })
    });
    Some(Summary {
        n_users: integer(row, "n")?,
        now_ms: integer(row, "now")?,
        feed_at_ms: integer(row, "feed_at").filter(|at_ms| *at_ms > 0),
        covered_at_ms: integer(row, "covered_at"),
        classes: classes.collect::<Option<_>>()?,
    })
}

impl Summary {
    /// As of when the sum is right: the older of the two ways by which changes are found.
    pub fn as_of_ms(&self) -> Option<i64> {
        Some(self.feed_at_ms?.min(self.covered_at_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_right_as_of_the_older_of_log_and_walk() {
        let summary = |feed_at_ms, covered_at_ms| Summary {
            feed_at_ms,
            covered_at_ms,
            ..Summary::default()
        };
        assert_eq!(summary(Some(9), Some(5)).as_of_ms(), Some(5));
        assert_eq!(summary(Some(4), Some(5)).as_of_ms(), Some(4));
        assert_eq!(summary(None, Some(5)).as_of_ms(), None);
        assert_eq!(summary(Some(4), None).as_of_ms(), None);
    }

    #[test]
    fn a_value_of_somebody_elses_is_told_from_other_refusals() {
        for (code, class) in [
            ("user.email_already_in_use", Class::ValueConflict),
            ("user.identity_already_in_use", Class::ValueConflict),
            ("guard.invalid_input", Class::RefusedByLogto),
        ] {
            assert_eq!(Class::of_refusal(code), class);
        }
    }
}
