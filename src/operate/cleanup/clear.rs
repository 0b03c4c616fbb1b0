//! Clearing, in steps of bounded size, in an order in which a crash at any point can be
//! resumed.
//!
//! mgPass's database first: it is the one that stays. Its rows go page by page, since a
//! table of a million users takes longer than one statement may; then triggers and tables,
//! of these last the one by which late writers are kept out. Then whatever names a user in
//! the proxy's own; what it holds besides (counts, flags, moves) goes with that database and
//! with the one of the counts, which are deleted whole: another console's to do.
//!
//! Harmless twice: a row that is gone is not deleted again, a step that was done is marked,
//! and dropping what is not there does nothing.

use serde_json::{Value as Json, json};

use super::StepRow;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::sql::now;

const BEGIN: &str = concat!(
    "INSERT INTO cleanup_steps (step, began_at) VALUES (?1, ",
    now!(),
    ") ON CONFLICT (step) DO NOTHING"
);
const COUNT: &str = "UPDATE cleanup_steps SET n = n + ?2 WHERE step = ?1";
const END: &str = concat!(
    "UPDATE cleanup_steps SET done_at = ",
    now!(),
    " WHERE step = ?1 AND done_at IS NULL"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[BEGIN, COUNT, END];

/// Rows that one statement deletes, with what their indexes and triggers do.
const PAGE: i64 = 500;
/// Pages of one call: 10,000 rows, some seconds.
const MAX_PAGES: usize = 20;
/// A page, what is noted of it, and the marks of its step.
const PAGE_QUERIES: usize = 6;

pub struct Step {
    pub name: &'static str,
    pub store: Store,
    work: Work,
}

enum Work {
    /// Page by page, until there is none; and whether there is one.
    Rows(&'static str, &'static str),
    /// All in one batch.
    All(&'static [&'static str]),
}

macro_rules! rows {
    ($store:ident, $table:literal) => {
        rows!($store, $table, "rowid")
    };
    ($store:ident, $table:literal, $key:literal) => {
        Step {
            name: $table,
            store: Store::$store,
            work: Work::Rows(
                concat!(
                    "DELETE FROM ",
                    $table,
                    " WHERE (",
                    $key,
                    ") IN (SELECT ",
                    $key,
                    " FROM ",
                    $table,
                    " LIMIT ?1) RETURNING 1 AS gone"
                ),
                concat!("SELECT 1 AS is_left FROM ", $table, " LIMIT 1"),
            ),
        }
    };
}

#[rustfmt::skip]
pub const STEPS: &[Step] = &[
    // Whoever still means to write there carries an earlier generation.
    Step { name: "fence", store: Store::Mgpass, work: Work::All(&["UPDATE logto_mirror_authority SET generation = generation + 1"]) },
    rows!(Mgpass, "logto_mirror"),
    rows!(Mgpass, "logto_mirror_unique", "kind, value, user_id"),
    rows!(Mgpass, "logto_mirror_effects"),
    Step { name: "mgpass_tables", store: Store::Mgpass, work: Work::All(&[
        "DROP TRIGGER IF EXISTS logto_mirror_unique_new",
        "DROP TRIGGER IF EXISTS logto_mirror_unique_changed",
        "DROP TABLE IF EXISTS logto_mirror_unique",
        "DROP TABLE IF EXISTS logto_mirror_effects",
        "DROP TABLE IF EXISTS logto_mirror",
        "DROP TABLE IF EXISTS logto_mirror_migrations",
        "DROP TABLE IF EXISTS logto_mirror_authority",
    ]) },
    rows!(Proxy, "intents"),
    rows!(Proxy, "interactions"),
    rows!(Proxy, "subjects"),
    rows!(Proxy, "read_findings"),
    rows!(Proxy, "volatile_fields", "operation, path, class, subject"),
    rows!(Proxy, "findings"),
    rows!(Proxy, "job_pages", "job, page"),
    rows!(Proxy, "job_users", "kind, user_id"),
    rows!(Proxy, "jobs"),
    rows!(Proxy, "equality_marks", "user_id"),
    rows!(Proxy, "equality_differences", "user_id, path"),
    rows!(Proxy, "held_subjects", "subject"),
    rows!(Proxy, "debt", "subject, class, code"),
    rows!(Proxy, "sent_back", "subject, ticket"),
    rows!(Proxy, "deleted_back", "subject"),
    rows!(Proxy, "strays"),
    rows!(Proxy, "passwords", "subject"),
    rows!(Proxy, "sign_in_ready", "user_id"),
    rows!(Proxy, "sign_in_begun", "uid"),
    rows!(Proxy, "check_facts", "name"),
    rows!(Proxy, "tenant"),
];

/// What a run of it comes to: where it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// `None`: all is done.
    pub step: Option<&'static str>,
    pub n_rows: i64,
    pub n_steps_left: usize,
}

impl Cleared {
    pub fn shown(&self) -> Json {
        json!({ "step": self.step, "rows": self.n_rows, "left": self.n_steps_left })
    }
}

/// The first that is not done.
fn next(done: &[StepRow]) -> Option<usize> {
    let is_done = |step: &Step| {
        done.iter()
            .any(|row| row.step == step.name && row.done_at.is_some())
    };
    STEPS.iter().position(|step| !is_done(step))
}

/// A bounded part of it.
///
/// # Errors
/// When a database did not answer; the same call goes on where it was.
pub async fn go_on<P: Platform>(
    platform: &P,
    done: &[StepRow],
) -> Result<Cleared, DatabaseFailure> {
    let mut n_rows = 0;
    let mut n_pages = 0;
    let first = next(done).unwrap_or(STEPS.len());
    for (number, step) in STEPS.iter().enumerate().skip(first) {
        let begin = Statement::new(BEGIN, vec![step.name.into()]);
        platform.batch(Store::Proxy, vec![begin]).await?;
        loop {
            let has_room = platform.usage().has_room_for(PAGE_QUERIES + 20);
            if n_pages >= MAX_PAGES || !has_room {
                return Ok(Cleared {
                    step: Some(step.name),
                    n_rows,
                    n_steps_left: STEPS.len() - number,
                });
            }
            n_pages += 1;
            let n = work(platform, step).await?;
            n_rows += n.unwrap_or(0);
            let count = vec![step.name.into(), n.unwrap_or(0).into()];
            let mut noted = vec![Statement::new(COUNT, count)];
            let is_done = n.is_none_or(|n| n < PAGE);
            if is_done {
                noted.push(Statement::new(END, vec![step.name.into()]));
            }
            platform.batch(Store::Proxy, noted).await?;
            if is_done {
                break;
            }
        }
    }
    Ok(Cleared {
        step: None,
        n_rows,
        n_steps_left: 0,
    })
}

/// How many rows went; `None`: it is no work of pages.
async fn work<P: Platform>(platform: &P, step: &Step) -> Result<Option<i64>, DatabaseFailure> {
    match step.work {
        Work::Rows(sql, _) => {
            let statements = vec![Statement::new(sql, vec![PAGE.into()])];
            let results = platform.batch(step.store, statements).await?;
            let gone = results.first().map_or(0, Vec::len);
            Ok(Some(gone as i64))
        }
        Work::All(all) => {
            let statements = all.iter().map(|sql| Statement::new(sql, vec![]));
            platform.batch(step.store, statements.collect()).await?;
            Ok(None)
        }
    }
}

impl Step {
    /// Answers a row while one is left.
    pub fn is_left(&self) -> &'static str {
        match self.work {
            Work::Rows(_, is_left) => is_left,
            Work::All(_) => "SELECT 1 AS is_left WHERE false",
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn sql(&self) -> Vec<&'static str> {
        match self.work {
            Work::Rows(sql, is_left) => vec![sql, is_left],
            Work::All(all) => all.to_vec(),
        }
    }
}
