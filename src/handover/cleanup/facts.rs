//! What the gates of cleanup go by, as it is read from the databases and KV.

use super::{Facts, Keys, notes};
use crate::handover::facts::{evidence, names, parse_evidence, parse_waivers, waivers};
use crate::handover::gates::{N_NAMES, Named};
use crate::policy::cutover::Points;
use crate::policy::token::{ImportedKeys, IssuerNames};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::settings::Least;
use crate::runtime::sql::{integer, now};

/// In this term; an attempt to go back that ended where it began counts anew.
const SINCE: &str = "SELECT (SELECT max(at) FROM authority_log WHERE from_holder IN ('draining', 'returning') AND to_holder = 'mgpass' \
     AND term = (SELECT term FROM authority)) AS handed_over_at, (SELECT kept_at FROM old_issuer) AS issuer_kept_at";

/// Needed Logto within ?1 milliseconds.
macro_rules! unwaived_dependencies {
    () => {
        concat!(
            "(SELECT DISTINCT application AS name FROM dependencies WHERE last_needed_at > ",
            now!(),
            " - ?1) d WHERE NOT EXISTS (SELECT 1 FROM waivers w WHERE w.term = (SELECT term FROM authority) AND w.gate = 'dependencies' AND w.name = d.name)"
        )
    };
}

const DEPENDENCIES: &str = concat!(
    "SELECT name FROM ",
    unwaived_dependencies!(),
    " ORDER BY name LIMIT ?2"
);
const N_DEPENDENCIES: &str = concat!("SELECT count(*) AS n FROM ", unwaived_dependencies!());
const POINTS: &str = "SELECT json_extract(points_first, '$.n_imported') AS first_n_imported, json_extract(points_first, '$.imported_sum') AS first_imported_sum, \
     json_extract(points_first, '$.n_entries') AS first_n_entries, json_extract(points_first, '$.n_adrift') AS first_n_adrift, \
     json_extract(points_last, '$.n_imported') AS last_n_imported, json_extract(points_last, '$.imported_sum') AS last_imported_sum, \
     json_extract(points_last, '$.n_entries') AS last_n_entries, json_extract(points_last, '$.n_adrift') AS last_n_adrift, points_at \
     FROM cutover_watch WHERE term = (SELECT term FROM authority) AND points_last IS NOT NULL";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SINCE, DEPENDENCIES, N_DEPENDENCIES, POINTS];

/// Written since it was last taken along.
const RESIDUE_AFTER: &str =
    "SELECT count(*) AS n FROM logto_mirror WHERE residue IS NOT NULL AND ticket > ?1";

/// Every string above that is about mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[RESIDUE_AFTER];

const HOUR_MS: i64 = 3_600_000;

pub fn read(least: Least) -> Vec<Statement> {
    let plain = |sql| Statement::new(sql, vec![]);
    let quiet_ms = i64::from(least.quiet_hours) * HOUR_MS;
    vec![
        plain(SINCE),
        Statement::new(DEPENDENCIES, vec![quiet_ms.into(), N_NAMES.into()]),
        Statement::new(N_DEPENDENCIES, vec![quiet_ms.into()]),
        points(),
        evidence(),
        waivers(),
        notes::read(),
    ]
}

/// The answers of [`read`], with what the databases do not say left open.
pub fn parse(results: &[Vec<Row>], least: Least) -> Option<Facts> {
    let [
        since,
        dependencies,
        n_dependencies,
        points,
        evidence,
        waivers,
        notes,
    ] = results
    else {
        return None;
    };
    let since = since.first()?;
    Some(Facts {
        least,
        asked_stage: None,
        handed_over_ms: integer(since, "handed_over_at"),
        dependencies: Named {
            n: integer(n_dependencies.first()?, "n")?,
            names: names(dependencies),
        },
        notes: notes::parse(notes)?,
        residue_after: None,
        evidence: parse_evidence(evidence)?,
        points: points.first().and_then(parse_points),
        has_points: false,
        keys: None,
        issuer_kept_ms: integer(since, "issuer_kept_at"),
        waivers: parse_waivers(waivers)?,
    })
}

/// Of this term, while mgPass is the authority: as first and as last read, and when
/// (`points_at`).
pub fn points() -> Statement {
    Statement::new(POINTS, vec![])
}

pub fn parse_points(row: &Row) -> Option<(Points, Points)> {
    let of = |when: &str| {
        let number = |name: &str| integer(row, &format!("{when}_{name}"));
        Some(Points {
            n_imported: number("n_imported")?,
            imported_sum: number("imported_sum")?,
            n_entries: number("n_entries")?,
            n_adrift: number("n_adrift")?,
        })
    };
    Some((of("first")?, of("last")?))
}

/// In mgPass's database.
pub fn residue_after(facts: &Facts) -> Statement {
    let until = facts.note("residue").map_or(0, |note| note.until);
    Statement::new(RESIDUE_AFTER, vec![until.into()])
}

pub fn parse_residue_after(results: &[Vec<Row>]) -> Option<i64> {
    integer(results.first()?.first()?, "n")
}

/// `stored`: of the namespace `KEYS`.
pub fn keys(stored: Option<&str>, issuers: &IssuerNames) -> Option<Keys> {
    let bounds = ImportedKeys::parse(stored?.as_bytes(), issuers)
        .ok()?
        .bounds();
    Some(Keys {
        stops_ms: bounds.issued_before.map(|stop| stop.0 * 1_000),
        sunset_ms: bounds.sunset.0 * 1_000,
    })
}
