//! The report of equality, as the proxy gives it.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::api::read;
use super::failure::Failure;
use super::job::{Health, Job, State};
use super::words::Counts;

#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Nothing before the first page.
    pub logto_total: Option<u64>,
    pub compared: u64,
    pub equal: u64,
    pub differing: u64,
    pub missing_at_mgpass: u64,
    pub gone_at_logto: u64,
    pub only_at_mgpass: u64,
    /// Rows of Logto's that are no users as the contract has them.
    #[serde(default)]
    pub unreadable: u64,
    pub explained: u64,
    pub unexplained: u64,
    pub whole_records_compared: u64,
    pub differences: Vec<Difference>,
    #[serde(default, deserialize_with = "counts")]
    pub parked: Counts,
    #[serde(default, deserialize_with = "counts")]
    pub notes: Counts,
    #[serde(default, deserialize_with = "counts")]
    pub readiness: Counts,
    pub balances: Option<Balances>,
    pub is_equal: bool,
    pub started_at: i64,
    pub finished_at: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Difference {
    pub path: String,
    pub class: String,
    /// `pending`, `parked:CODE` or `unexplained`.
    pub reason: String,
    pub users: u64,
    pub oldest_at: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Balances {
    pub compared: u64,
    pub differing: u64,
}

/// What could not be had is `null`.
fn counts<'de, D: Deserializer<'de>>(source: D) -> Result<Counts, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

impl Report {
    /// Everybody at Logto whose two sides are not the same.
    pub fn n_unlike(&self) -> u64 {
        self.differing + self.missing_at_mgpass + self.unreadable
    }
}

/// The job and what it found.
pub struct Compared {
    pub job: Job,
    pub report: Report,
    /// The newest import of points, for whom it left out.
    pub points: Option<Job>,
}

impl Compared {
    pub fn parse(view: &Value, points: Option<&Value>) -> Result<Self, Failure> {
        let found = view.get("report").ok_or(Failure::Unreadable("report"))?;
        Ok(Self {
            job: read(view, "job")?,
            report: read(found, "report")?,
            points: points.map(|points| read(points, "job")).transpose()?,
        })
    }

    pub fn is_whole(&self) -> bool {
        self.job.state == State::Done
    }

    /// Half a comparison proves nothing.
    pub fn verdict(&self) -> Health {
        Health::clean_if(self.is_whole() && self.report.is_equal)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    pub fn view(state: &str, report: &Value) -> Value {
        let mut whole = json!({
            "logto_total": 1_000, "compared": 1_000, "equal": 1_000, "differing": 0,
            "missing_at_mgpass": 0, "gone_at_logto": 0, "only_at_mgpass": 0, "explained": 0,
            "unexplained": 0, "whole_records_compared": 0, "differences": [], "parked": {},
            "notes": {}, "readiness": {}, "balances": null, "is_equal": true,
            "started_at": 1_000_000, "finished_at": 1_060_000,
        });
        for (name, value) in report.as_object().unwrap() {
            whole[name] = value.clone();
        }
        json!({
            "id": 7, "kind": "equality", "state": state, "phase": "mgpass", "pass": 1,
            "started_at": 1_000_000, "moved_at": 1_060_000, "finished_at": 1_060_000,
            "total": 1_000, "seen": 1_000, "users": 1_000, "report": whole,
        })
    }

    #[test]
    fn only_a_whole_comparison_without_differences_is_clean() {
        let cases = [
            ("done", json!({}), Health::Clean),
            ("done", json!({ "is_equal": false }), Health::NeedsAPerson),
            ("running", json!({}), Health::NeedsAPerson),
            ("stopped", json!({}), Health::NeedsAPerson),
        ];
        for (state, report, expected) in cases {
            let compared = Compared::parse(&view(state, &report), None).unwrap();
            assert_eq!(compared.verdict(), expected, "{state} {report}");
        }
    }

    #[test]
    fn what_could_not_be_had_is_nothing() {
        let view = view(
            "running",
            &json!({ "logto_total": null, "notes": null, "readiness": null }),
        );
        let report = Compared::parse(&view, None).unwrap().report;
        assert_eq!((report.logto_total, report.notes.len()), (None, 0));
    }

    #[test]
    fn an_answer_without_a_report_is_no_report() {
        let failure = Compared::parse(&json!({ "id": 1 }), None).err().unwrap();
        assert_eq!(failure.code(), "unreadable_answer");
    }
}
