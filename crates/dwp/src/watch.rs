//! A job's progress on standard error, until it ends.
//!
//! The job runs in the proxy; this only looks. It may be ended and started again at
//! any time, and it waits for a proxy that restarts.

use core::time::Duration;
use std::collections::VecDeque;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::api::{Api, pace, read};
use super::failure::Failure;
use super::job::Kind;
use super::job::{Job, State};
use super::words::{by_count, duration, number};

const POLL: Duration = Duration::from_secs(1);
/// Ten minutes without an answer: a deploy takes seconds, an outage is told.
const MAX_SILENT_POLLS: u32 = 600;
/// The rate is that of the last half minute.
const RATE_POLLS: usize = 30;
/// Without a terminal, a line so often.
const POLLS_A_LINE: u32 = 10;

/// The last view of the job, with details.
pub fn watch(api: &Api, kind: Kind, id: Option<i64>) -> Result<Value, Failure> {
    let mut shown = Shown::new();
    let mut id = id;
    let (mut n_silent, mut n_looks) = (0, 0);
    loop {
        match view(api, kind) {
            Ok(value) => {
                n_silent = 0;
                let job: Job = read(&value, "job")?;
                match id {
                    Some(known) if known != job.id => return Err(Failure::Replaced(known)),
                    _ => id = Some(job.id),
                }
                shown.take(&job);
                if job.state.is_over() {
                    shown.bar.finish_and_clear();
                    return Ok(value);
                }
            }
            Err(failure) if failure.is_passing() && n_silent < MAX_SILENT_POLLS => {
                n_silent += 1;
                shown.say(format!("{failure}; trying again ({n_silent})"));
            }
            Err(failure) => {
                shown.bar.abandon();
                return Err(failure);
            }
        }
        std::thread::sleep(pace(n_looks, POLL));
        n_looks += 1;
    }
}

pub fn view(api: &Api, kind: Kind) -> Result<Value, Failure> {
    api.get("import", &[("kind", kind.name()), ("detail", "true")])
}

struct Shown {
    bar: ProgressBar,
    /// (when, how many), by the proxy's clock.
    marks: VecDeque<(i64, u64)>,
    n_polls: u32,
}

impl Shown {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            marks: VecDeque::new(),
            n_polls: 0,
        }
    }

    fn take(&mut self, job: &Job) {
        let n_done = job.n_done();
        // A new pass may begin at nobody again.
        if self
            .marks
            .back()
            .is_some_and(|(_, before)| *before > n_done)
        {
            self.marks.clear();
        }
        if self.marks.back().is_none_or(|(at, _)| *at < job.moved_at) {
            self.marks.push_back((job.moved_at, n_done));
        }
        if self.marks.len() > RATE_POLLS {
            self.marks.pop_front();
        }
        if let Some(total) = job.total {
            if self.bar.length() != Some(total) {
                self.bar.set_length(total.max(1));
                if let Ok(style) =
                    ProgressStyle::with_template("{bar:30} {percent:>3} %  {wide_msg}")
                {
                    self.bar.set_style(style);
                }
            }
            self.bar.set_position(n_done.min(total));
        }
        let rate = rate(&self.marks).or_else(|| self.overall(job));
        self.say(line(job, rate));
    }

    /// Since the start, as long as there is nothing newer.
    fn overall(&self, job: &Job) -> Option<u64> {
        per_minute(job.n_done(), job.moved_at - job.started_at)
    }

    fn say(&mut self, text: String) {
        if self.bar.is_hidden() && self.n_polls.is_multiple_of(POLLS_A_LINE) {
            eprintln!("{text}");
        }
        self.n_polls += 1;
        self.bar.set_message(text);
    }
}

/// People a minute between the first mark and the last.
fn rate(marks: &VecDeque<(i64, u64)>) -> Option<u64> {
    let (from, before) = marks.front()?;
    let (until, now) = marks.back()?;
    per_minute(now.checked_sub(*before)?, until - from)
}

fn per_minute(n: u64, ms: i64) -> Option<u64> {
    let ms = u64::try_from(ms).ok().filter(|ms| *ms >= 1_000)?;
    Some(n * 60_000 / ms)
}

/// Done, rate, left, parked by reason.
fn line(job: &Job, rate: Option<u64>) -> String {
    let n_done = job.n_done();
    let mut parts = Vec::new();
    match job.total {
        Some(total) if n_done <= total => {
            parts.push(format!("{} of {}", number(n_done), number(total)));
        }
        Some(_) => parts.push(number(n_done)),
        None => parts.push(format!("{} so far", number(n_done))),
    }
    if job.state == State::Paused {
        parts.push("paused".to_owned());
    } else if let Some(rate) = rate.filter(|rate| *rate > 0) {
        parts.push(format!("{} a minute", number(rate)));
        if let Some(left) = job.total.map(|total| total.saturating_sub(n_done)) {
            let ms = i64::try_from(left.saturating_mul(60_000) / rate).unwrap_or(i64::MAX);
            parts.push(format!("{} left, about {}", number(left), duration(ms)));
        }
    }
    if job.n_parked() > 0 {
        let reasons: Vec<_> = by_count(&job.parked)
            .iter()
            .map(|(reason, count)| format!("{reason} {}", number(*count)))
            .collect();
        parts.push(format!(
            "parked {} ({})",
            number(job.n_parked()),
            reasons.join(", ")
        ));
    }
    parts.push(format!("{}, pass {}", job.phase, job.pass));
    if let Some(failure) = &job.last_failure {
        parts.push(format!("last failure: {failure}"));
    }
    parts.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::view;
    use super::*;
    use serde_json::json;

    #[test]
    fn the_rate_is_of_the_proxys_own_clock() {
        let marks = VecDeque::from([(1_000, 100), (31_000, 5_100)]);
        assert_eq!(rate(&marks), Some(10_000));
        assert_eq!(rate(&VecDeque::from([(1_000, 100)])), None);
        assert_eq!(rate(&VecDeque::new()), None);
    }

    #[test]
    fn the_line_tells_done_rate_left_and_parked_by_reason() {
        let job = view("running", &json!({ "equal": 44_998, "parked": 2 }));
        assert_eq!(
            line(&job, Some(11_000)),
            "45,000 of 100,000 | 11,000 a minute | 55,000 left, about 5 min | parked 2 (value_taken_at_mgpass 2) | list, pass 1"
        );
    }

    #[test]
    fn a_paused_job_has_no_rate() {
        let job = view("paused", &json!({ "equal": 10 }));
        assert_eq!(
            line(&job, Some(11_000)),
            "10 of 100,000 | paused | list, pass 1"
        );
    }
}
