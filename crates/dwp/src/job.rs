//! A job as the proxy shows it, and what an operator wants to know of it.

use clap::ValueEnum;
use serde::Deserialize;

use super::words::{Counts, duration, number, plural, table};

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Imported {
    Users,
    Points,
}

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Users,
    Points,
    Equality,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Users, Self::Points, Self::Equality];

    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Points => "points",
            Self::Equality => "equality",
        }
    }
}

/// A job, or the stage after the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Watched {
    Users,
    Points,
    Equality,
    Cutover,
}

impl Watched {
    pub fn job(self) -> Option<Kind> {
        match self {
            Self::Users => Some(Kind::Users),
            Self::Points => Some(Kind::Points),
            Self::Equality => Some(Kind::Equality),
            Self::Cutover => None,
        }
    }
}

impl From<Imported> for Kind {
    fn from(imported: Imported) -> Self {
        match imported {
            Imported::Users => Self::Users,
            Imported::Points => Self::Points,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    pub id: i64,
    pub kind: String,
    pub state: State,
    #[serde(default)]
    pub phase: String,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub pass: u64,
    pub started_at: i64,
    pub moved_at: i64,
    pub finished_at: Option<i64>,
    pub total: Option<u64>,
    /// Listed in this pass.
    #[serde(default)]
    pub seen: u64,
    /// Different people so far.
    #[serde(default)]
    pub users: u64,
    pub last_failure: Option<String>,
    #[serde(default)]
    pub outcomes: Counts,
    #[serde(default)]
    pub parked: Counts,
    #[serde(default)]
    pub notes: Counts,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Paused,
    Done,
    Stopped,
}

impl State {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Stopped)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

/// Decides the exit status: whether somebody has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Clean,
    NeedsAPerson,
}

impl Health {
    pub fn clean_if(is_clean: bool) -> Self {
        if is_clean {
            Self::Clean
        } else {
            Self::NeedsAPerson
        }
    }
}

impl Job {
    pub fn outcome(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }

    pub fn n_parked(&self) -> u64 {
        self.outcome("parked")
    }

    /// Who needs nothing more, as far as this job goes.
    pub fn n_final(&self) -> u64 {
        let names = ["equal", "parked", "deleted", "create", "update"];
        names.iter().map(|name| self.outcome(name)).sum()
    }

    /// Of a comparison everybody seen; of an import those with an outcome.
    pub fn n_done(&self) -> u64 {
        if self.kind == Kind::Equality.name() {
            self.users
        } else {
            self.n_final()
        }
    }

    /// A job that goes well has nothing to say yet.
    pub fn verdict(&self) -> Health {
        let is_clean = match self.state {
            State::Running | State::Paused => true,
            State::Done => self.n_parked() == 0 && self.outcome("pending") == 0,
            State::Stopped => false,
        };
        Health::clean_if(is_clean)
    }

    /// Everybody whom this job met, but for mgPass's own users.
    fn n_people(&self) -> u64 {
        let own = self.outcome("only_at_mgpass");
        self.users
            .saturating_sub(own)
            .max(self.seen.min(self.users))
    }

    /// What, how far, since when, in a line.
    pub fn headline(&self) -> String {
        let summary = self.summary();
        let lines: Vec<_> = summary.lines().take(2).map(str::trim).collect();
        lines.join("; ")
    }

    pub fn summary(&self) -> String {
        let what = match (self.kind.as_str(), self.dry_run) {
            ("equality", _) => "comparison".to_owned(),
            (kind, false) => format!("import of {kind}"),
            (kind, true) => format!("dry run of {kind}"),
        };
        let until = self.finished_at.unwrap_or(self.moved_at);
        let mut text = format!(
            "{what} {}: {} after {}",
            self.id,
            self.state.name(),
            duration(until - self.started_at),
        );
        if !self.state.is_over() {
            text.push_str(&format!(", in {} (pass {})", self.phase, self.pass));
        }
        text.push('\n');
        let n_people = self.n_people();
        let people = match self.total {
            Some(total) if n_people <= total => format!(
                "  {} of {} seen",
                number(n_people),
                plural(total, "person", "people")
            ),
            // Who came meanwhile, or is known by entries alone.
            Some(total) => format!(
                "  {} seen, {} when it began",
                plural(n_people, "person", "people"),
                number(total)
            ),
            None => format!("  {} so far", plural(n_people, "person", "people")),
        };
        text.push_str(&people);
        for (name, count) in &self.outcomes {
            if *count > 0 {
                text.push_str(&format!(", {} {}", number(*count), outcome_word(name)));
            }
        }
        text.push('\n');
        if let Some(failure) = &self.last_failure {
            text.push_str(&format!("  last failure: {failure}\n"));
        }
        for (title, counts) in [("parked", &self.parked), ("notes", &self.notes)] {
            if !counts.is_empty() {
                text.push_str(&format!("  {title}:\n{}", table(counts)));
            }
        }
        text
    }
}

fn outcome_word(name: &str) -> &str {
    match name {
        "deleted" => "deleted meanwhile",
        "only_at_mgpass" => "of mgPass's own besides",
        "create" => "would be created",
        "update" => "would be changed",
        other => other,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub fn view(state: &str, outcomes: &Value) -> Job {
        serde_json::from_value(json!({
            "id": 3, "kind": "users", "state": state, "phase": "list", "dry_run": false, "pass": 1,
            "started_at": 1_000_000, "moved_at": 1_060_000, "finished_at": null,
            "total": 100_000, "seen": 45_000, "users": 45_000, "rate_limit": null, "lanes": 4,
            "last_failure": null, "outcomes": outcomes,
            "parked": { "value_taken_at_mgpass": 2 }, "logto_ms": 1, "mgpass_ms": 2, "work_ms": 3,
            "pages": 450, "statements": 1800,
        }))
        .unwrap()
    }

    #[test]
    fn a_job_that_is_over_is_clean_only_when_nobody_is_left() {
        let cases = [
            ("done", json!({ "equal": 10 }), Health::Clean),
            ("done", json!({ "equal": 9, "deleted": 1 }), Health::Clean),
            (
                "done",
                json!({ "equal": 9, "parked": 1 }),
                Health::NeedsAPerson,
            ),
            (
                "done",
                json!({ "equal": 9, "pending": 1 }),
                Health::NeedsAPerson,
            ),
            ("stopped", json!({ "equal": 10 }), Health::NeedsAPerson),
            ("running", json!({ "parked": 1 }), Health::Clean),
        ];
        for (state, outcomes, expected) in cases {
            assert_eq!(
                view(state, &outcomes).verdict(),
                expected,
                "{state} {outcomes}"
            );
        }
    }

    #[test]
    fn the_summary_names_counts_and_reasons() {
        let text = view("running", &json!({ "equal": 44_998, "parked": 2 })).summary();
        assert!(
            text.contains("import of users 3: running after 1 min"),
            "{text}"
        );
        assert!(
            text.contains("45,000 of 100,000 people seen, 44,998 equal, 2 parked"),
            "{text}"
        );
        assert!(text.contains("value_taken_at_mgpass"), "{text}");
    }

    #[test]
    fn nobody_is_one_of_fewer() {
        let text = |kind: &str, users: u64, seen: u64, total: u64, outcomes: Value| {
            let mut job = view("done", &outcomes);
            kind.clone_into(&mut job.kind);
            (job.users, job.seen, job.total) = (users, seen, Some(total));
            job.summary()
        };
        // Three of mgPass's own are none of Logto's five.
        let own = text(
            "equality",
            8,
            5,
            5,
            json!({ "equal": 5, "only_at_mgpass": 3 }),
        );
        assert!(own.contains("5 of 5 people seen"), "{own}");
        assert!(own.contains("3 of mgPass's own besides"), "{own}");
        // A second pass lists them again.
        let again = text("users", 5, 10, 5, json!({ "equal": 5 }));
        assert!(again.contains("5 of 5 people seen"), "{again}");
        let more = text("users", 6, 6, 5, json!({ "equal": 6 }));
        assert!(more.contains("6 people seen, 5 when it began"), "{more}");
    }

    #[test]
    fn what_is_pending_is_not_done() {
        let job = view("running", &json!({ "equal": 5, "pending": 3, "parked": 1 }));
        assert_eq!(job.n_done(), 6);
    }
}
