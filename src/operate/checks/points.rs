//! Points: what the last comparison of both sides found of balances, the sum of the
//! ledger, and the tier. While mgPass is the authority nobody compares, since only mgPass
//! writes them: then, what became of them since the hand-over.

use serde_json::{Value as Json, json};

use super::{State, Verdict, count};
use crate::handover::cleanup;
use crate::policy::cutover::{Points, PointsChange};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

const LAST: &str = "SELECT id, finished_at, n_added AS n_compared, (SELECT count(DISTINCT d.user_id) FROM equality_differences d \
     WHERE d.job = jobs.id AND d.path LIKE 'balance.%') AS n_drift FROM jobs \
     WHERE kind = 'equality' AND state = 'done' ORDER BY id DESC LIMIT 1";
const PATHS: &str = "SELECT path, count(*) AS n FROM equality_differences WHERE path LIKE 'balance.%' \
     AND job = (SELECT id FROM jobs WHERE kind = 'equality' AND state = 'done' ORDER BY id DESC LIMIT 1) GROUP BY path ORDER BY path";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[LAST, PATHS];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether there is a database that points come from.
    pub is_bound: bool,
    pub finished_at_ms: Option<i64>,
    pub n_compared: i64,
    /// Users whose points differ.
    pub n_drift: i64,
    pub by_path: Vec<(String, i64)>,
    /// While mgPass is the authority.
    pub watched: Option<Watched>,
}

/// As first and as last read since the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    pub first: Points,
    pub last: Points,
    pub at_ms: i64,
}

impl Facts {
    /// When what it goes by was found.
    pub fn at_ms(&self) -> Option<i64> {
        match self.watched {
            Some(watched) => Some(watched.at_ms),
            None => self.finished_at_ms,
        }
    }
}

pub fn read() -> Vec<Statement> {
    let plain = |sql| Statement::new(sql, vec![]);
    vec![plain(LAST), plain(PATHS), cleanup::facts::points()]
}

/// `None`: a row was not as the schema says.
pub fn parse(results: &[Vec<Row>], is_bound: bool) -> Option<Facts> {
    let [last, paths, watched] = results else {
        return None;
    };
    let watched = match watched.first() {
        Some(row) => {
            let (first, last) = cleanup::facts::parse_points(row)?;
            let at_ms = integer(row, "points_at")?;
            Some(Watched { first, last, at_ms })
        }
        None => None,
    };
    let Some(last) = last.first() else {
        return Some(Facts {
            is_bound,
            watched,
            ..Facts::default()
        });
    };
    let path = |row: &Row| Some((text(row, "path")?, integer(row, "n")?));
    Some(Facts {
        is_bound,
        finished_at_ms: Some(integer(last, "finished_at")?),
        n_compared: integer(last, "n_compared")?,
        n_drift: integer(last, "n_drift")?,
        by_path: paths.iter().map(path).collect::<Option<_>>()?,
        watched,
    })
}

pub fn judge(facts: &Facts, now_ms: i64) -> Verdict {
    const RUN: &str = "`dwp report --run`.";
    if !facts.is_bound {
        return Verdict::of(
            State::NotProbed,
            "No database of points is bound.",
            "Bind REWARDS_DB, or waive the check when no points move.",
        );
    }
    if let Some(watched) = facts.watched {
        return of_mgpass(&watched, now_ms);
    }
    let Some(finished_at_ms) = facts.finished_at_ms else {
        return Verdict::of(State::NotProbed, "Both sides were never compared.", RUN);
    };
    if facts.n_drift > 0 {
        let who = count(
            facts.n_drift,
            "user's points differ",
            "users' points differ",
        );
        return Verdict::red(
            format!("{who}."),
            "`dwp differences` names them; import the points again, or mend what wrote them, then `dwp report --run`.",
        );
    }
    if facts.n_compared == 0 {
        return Verdict::of(
            State::NothingSampled,
            "The last comparison met nobody with points.",
            RUN,
        );
    }
    Verdict::green(format!(
        "{} compared, drift 0.",
        count(facts.n_compared, "balance", "balances")
    ))
    .no_older(finished_at_ms, now_ms, RUN)
}

fn of_mgpass(watched: &Watched, now_ms: i64) -> Verdict {
    const LOOK: &str = "`dwp watch cutover --once`; find out who changed them.";
    let Watched { first, last, at_ms } = watched;
    let why = match last.changed_since(first) {
        Some(PointsChange::Imported) => {
            "What was imported is not there as it was after the hand-over."
        }
        Some(PointsChange::Adrift) => {
            "More balances than after the hand-over are not the sum of their entries."
        }
        None => {
            return Verdict::green(format!(
                "{} unchanged since the hand-over.",
                count(last.n_imported, "imported entry", "imported entries")
            ))
            .no_older(
                *at_ms,
                now_ms,
                "Cron reads them every ten minutes: find out why it does not.",
            );
        }
    };
    Verdict::red(why, LOOK)
}

pub fn figures(facts: &Facts) -> Json {
    if let Some(Watched { first, last, .. }) = facts.watched {
        return json!({ "first": first, "last": last });
    }
    let by_path: serde_json::Map<String, Json> = facts
        .by_path
        .iter()
        .map(|(path, n)| (path.clone(), json!(n)))
        .collect();
    json!({ "compared": facts.n_compared, "drift": facts.n_drift, "differ_in": by_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_mgpass_is_the_authority_they_stand_as_they_did() {
        let points = Points {
            n_imported: 4,
            imported_sum: 50,
            n_entries: 4,
            n_adrift: 1,
        };
        let check = |last: Points, now_ms: i64, expected: State| {
            let facts = Facts {
                is_bound: true,
                // Of before the hand-over.
                finished_at_ms: Some(-super::super::MAX_AGE_MS),
                watched: Some(Watched {
                    first: points,
                    last,
                    at_ms: 7,
                }),
                ..Facts::default()
            };
            assert_eq!(judge(&facts, now_ms).state, expected, "{last:?}");
            assert_eq!(facts.at_ms(), Some(7));
        };
        let later = Points {
            n_entries: 9,
            n_adrift: 0,
            ..points
        };
        check(later, 8, State::Green);
        check(later, 8 + super::super::MAX_AGE_MS, State::Old);
        for last in [
            Points {
                n_imported: 3,
                ..points
            },
            Points {
                imported_sum: 51,
                ..points
            },
            Points {
                n_adrift: 2,
                ..points
            },
        ] {
            check(last, 8, State::Red);
        }
    }

    #[test]
    fn drift_is_red_and_what_was_not_compared_is_not_green() {
        let good = Facts {
            is_bound: true,
            finished_at_ms: Some(0),
            n_compared: 4,
            ..Facts::default()
        };
        let check = |facts: &Facts, now_ms: i64, expected: State| {
            assert_eq!(judge(facts, now_ms).state, expected, "{facts:?}");
        };
        check(&good, 1, State::Green);
        check(&good, super::super::MAX_AGE_MS + 1, State::Old);
        check(
            &Facts {
                n_drift: 1,
                ..good.clone()
            },
            1,
            State::Red,
        );
        check(
            &Facts {
                n_compared: 0,
                ..good.clone()
            },
            1,
            State::NothingSampled,
        );
        check(
            &Facts {
                finished_at_ms: None,
                ..good.clone()
            },
            1,
            State::NotProbed,
        );
        check(
            &Facts {
                is_bound: false,
                ..good
            },
            1,
            State::NotProbed,
        );
    }
}
