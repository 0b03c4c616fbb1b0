//! The digest of everybody whom the last comparison found equal, of each side.
//!
//! A chain over pages of a thousand users in the order of their ids, since nobody can hold
//! a million: digest(before, ids and digests of the page). Begun anew with each comparison
//! and carried on in steps; a step done twice ends at the same place.

use crate::runtime::digest::digest;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const PAGE: i64 = 1_000;
/// Pages of one step: three statements each.
const N_PAGES: usize = 20;

const LAST: &str =
    "SELECT id FROM jobs WHERE kind = 'equality' AND state = 'done' ORDER BY id DESC LIMIT 1";
const PLACE: &str =
    "SELECT job, after_id, n_users, logto, mgpass, is_whole FROM population_digests";
const USERS: &str = "SELECT u.user_id AS id, coalesce(m.logto, '') AS logto, coalesce(m.mgpass, '') AS mgpass \
     FROM job_users u LEFT JOIN equality_marks m ON m.user_id = u.user_id \
     WHERE u.kind = 'equality' AND u.job = ?1 AND u.outcome = 'equal' AND u.user_id > ?2 ORDER BY u.user_id LIMIT ?3";
const KEEP: &str = "INSERT INTO population_digests (singleton, job, after_id, n_users, logto, mgpass, is_whole) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6) \
     ON CONFLICT (singleton) DO UPDATE SET job = excluded.job, after_id = excluded.after_id, n_users = excluded.n_users, \
     logto = excluded.logto, mgpass = excluded.mgpass, is_whole = excluded.is_whole WHERE excluded.job >= population_digests.job";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[LAST, PLACE, USERS, KEEP];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Population {
    pub job: i64,
    after_id: String,
    pub n_users: i64,
    pub logto: String,
    pub mgpass: String,
    pub is_whole: bool,
}

/// As far as one step brings it; `None`: both sides were never compared.
///
/// # Errors
/// When the proxy's database did not answer.
pub async fn step<P: Platform>(platform: &P) -> Result<Option<Population>, DatabaseFailure> {
    let asked = [LAST, PLACE].map(|sql| Statement::new(sql, vec![]));
    let results = platform.batch(Store::Proxy, asked.into()).await?;
    let [last, place] = results.as_slice() else {
        return Err(DatabaseFailure::Refused);
    };
    let Some(job) = last.first().and_then(|row| integer(row, "id")) else {
        return Ok(None);
    };
    let held = place.first().and_then(parse);
    let mut population = held.filter(|held| held.job == job).unwrap_or(Population {
        job,
        ..Population::default()
    });
    for _ in 0..N_PAGES {
        if population.is_whole {
            break;
        }
        let values = vec![job.into(), population.after_id.as_str().into(), PAGE.into()];
        let results = platform
            .batch(Store::Proxy, vec![Statement::new(USERS, values)])
            .await?;
        let rows = results.first().map(Vec::as_slice).unwrap_or_default();
        population.add(rows);
        platform
            .batch(Store::Proxy, vec![keep(&population)])
            .await?;
    }
    Ok(Some(population))
}

impl Population {
    fn add(&mut self, rows: &[Row]) {
        let mut sides = [self.logto.clone(), self.mgpass.clone()];
        for row in rows {
            let id = text(row, "id").unwrap_or_default();
            for (chain, side) in sides.iter_mut().zip(["logto", "mgpass"]) {
                let mark = text(row, side).unwrap_or_default();
                // Neither an id nor a digest holds a line's end.
                chain.push_str(&format!("\n{id} {mark}"));
            }
            self.after_id = id;
        }
        let n_users = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        self.n_users += n_users;
        self.is_whole = n_users < PAGE;
        let [logto, mgpass] = sides.map(|chain| digest(&chain));
        (self.logto, self.mgpass) = (logto, mgpass);
    }
}

fn keep(population: &Population) -> Statement {
    let values = vec![
        population.job.into(),
        population.after_id.as_str().into(),
        population.n_users.into(),
        population.logto.as_str().into(),
        population.mgpass.as_str().into(),
        population.is_whole.into(),
    ];
    Statement::new(KEEP, values)
}

fn parse(row: &Row) -> Option<Population> {
    Some(Population {
        job: integer(row, "job")?,
        after_id: text(row, "after_id")?,
        n_users: integer(row, "n_users")?,
        logto: text(row, "logto")?,
        mgpass: text(row, "mgpass")?,
        is_whole: integer(row, "is_whole")? == 1,
    })
}
