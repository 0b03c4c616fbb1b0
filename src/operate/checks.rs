//! The six checks before users are handed over: facts in, a verdict out.
//!
//! Each has a file of its own: what it goes by, a pure judgement of that, and a small
//! gatherer. What the costly ones found is kept ([`kept`]) and judged anew whenever it is
//! shown, so that a changed threshold shows at once and age counts. Nothing that could
//! not be seen is green. Ids, codes and figures; never a value of a user's.

pub mod audit;
pub mod console;
pub mod kept;
pub mod points;
pub mod sign_in;
pub mod tokens;
pub mod webhooks;

use serde::Serialize;
use serde_json::Value as Json;

/// As old as evidence may be.
pub const MAX_AGE_MS: i64 = 24 * 3_600_000;
/// So many ids are shown of those whom a check is about.
pub const N_SHOWN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Green,
    Red,
    /// Something that it needs is not set up, or it was never run.
    NotProbed,
    /// It ran and met nothing to judge by.
    NothingSampled,
    /// Nothing has happened of late that would show it.
    Idle,
    /// What it goes by is older than 24 hours.
    Old,
    /// A backend or a database did not answer.
    Unreadable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Red => "red",
            Self::NotProbed => "not_probed",
            Self::NothingSampled => "nothing_sampled",
            Self::Idle => "idle",
            Self::Old => "old",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What one check says, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub why: String,
    pub remedy: &'static str,
}

impl Verdict {
    fn green(why: impl Into<String>) -> Self {
        Self {
            state: State::Green,
            why: why.into(),
            remedy: "",
        }
    }

    fn of(state: State, why: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            state,
            why: why.into(),
            remedy,
        }
    }

    fn red(why: impl Into<String>, remedy: &'static str) -> Self {
        Self::of(State::Red, why, remedy)
    }

    fn unreadable(code: &str) -> Self {
        Self::of(
            State::Unreadable,
            format!("It could not be looked at: {code}."),
            "Find out why that side does not answer, then `dwp checklist --run`.",
        )
    }

    fn never_run() -> Self {
        Self::of(
            State::NotProbed,
            "It was never run.",
            "`dwp checklist --run`.",
        )
    }

    /// Of facts of that time.
    fn no_older(self, at_ms: i64, now_ms: i64, remedy: &'static str) -> Self {
        if self.state == State::Green && now_ms - at_ms > MAX_AGE_MS {
            return Self::of(State::Old, "What was found is older than 24 hours.", remedy);
        }
        self
    }
}

/// In the order in which they are shown.
pub const NAMES: [&str; 6] = [
    "sign_in", "tokens", "points", "webhooks", "console", "audit",
];

/// One line of the checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub title: &'static str,
    pub state: State,
    pub why: String,
    #[serde(rename = "do")]
    pub remedy: &'static str,
    /// When what it goes by was found, by the proxy's database; `None`: never.
    pub at: Option<i64>,
    /// How it was found.
    pub how: &'static str,
    pub figures: Json,
}

impl Check {
    pub fn new(name: &'static str, verdict: Verdict, at_ms: Option<i64>, figures: Json) -> Self {
        let (title, how) = words(name);
        Self {
            name,
            title,
            state: verdict.state,
            why: verdict.why,
            remedy: verdict.remedy,
            at: at_ms,
            how,
            figures,
        }
    }

    pub fn is_green(&self) -> bool {
        self.state == State::Green
    }
}

fn words(name: &str) -> (&'static str, &'static str) {
    match name {
        "sign_in" => (
            "All users can sign in",
            "mgPass's rows counted by way in; its audit log of the last 24 hours; a probe account that signs in at mgPass's page",
        ),
        "tokens" => (
            "Tokens of both issuers are verified",
            "a fresh token of each verified with keys fetched just now, the same with a changed signature; imported keys; introspection at mgPass of Logto's token",
        ),
        "points" => (
            "Points are equal",
            "the last comparison of both sides (`dwp report --run`)",
        ),
        "webhooks" => (
            "Webhooks of both sides arrive",
            "those received with a valid signature, and the last test (`dwp webhooks test`)",
        ),
        "console" => (
            "The admin console shows all users and data",
            "mgPass's API against its rows and Logto's total: totals, the first page of its list, and a sample of users by id",
        ),
        _ => (
            "The audit log has what happened",
            "what the mirror did in the last hour against mgPass's audit log, by its rows and by its API",
        ),
    }
}

/// `n` of something, in words.
fn count(n: i64, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}
