//! How reads and writes went in the days before the hand-over, since, and lately.
//!
//! Of both sides together: what a client notices. A read that Logto answered in mgPass's
//! stead is a failure, before and after. The slot in which the users changed hands is in
//! neither, as far as finer slots of that time are gone.

use serde_json::{Value as Json, json};

use crate::operate::guard::parse_window;
use crate::operate::metrics;
use crate::operate::timeline::{self, side_shown, writes_shown};
use crate::policy::guard::{Side, Tuning, Window};
use crate::runtime::ports::{Row, Statement};

const HOUR_MS: i64 = 3_600_000;
/// Three days, as long as the stage is watched.
const BEFORE_MS: i64 = 72 * HOUR_MS;
/// ?1: hours from here, ?2: to the hour of the hand-over; from then on ?3 wide slots.
const SELECT: &str = "SELECT * FROM timeline WHERE (width_ms = 3600000 AND slot >= ?1 AND slot < ?2) \
     OR (width_ms = ?3 AND slot >= ?2) ORDER BY slot";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[SELECT];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfKind {
    pub(super) before: Side,
    since: Side,
    pub(super) lately: Side,
}

impl OfKind {
    fn shown(&self, shown: fn(&Side) -> Json) -> Json {
        json!({ "before": shown(&self.before), "since": shown(&self.since), "lately": shown(&self.lately) })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Courses {
    pub(super) reads: OfKind,
    pub(super) writes: OfKind,
}

impl Courses {
    pub(super) fn shown(&self) -> Json {
        json!({ "reads": self.reads.shown(side_shown), "writes": self.writes.shown(writes_shown) })
    }
}

/// Of the metrics database.
pub(super) fn courses(since_ms: i64, now_ms: i64, tuning: &Tuning) -> Vec<Statement> {
    let hour = since_ms.div_euclid(HOUR_MS) * HOUR_MS;
    let n_hours = (now_ms - hour).div_euclid(HOUR_MS) + 1;
    let width_ms = timeline::width_ms(n_hours);
    let values = vec![(since_ms - BEFORE_MS).into(), hour.into(), width_ms.into()];
    let lately = since_ms.max(now_ms - tuning.window_ms);
    vec![Statement::new(SELECT, values), metrics::samples(lately)]
}

pub(super) fn parse_courses(results: &[Vec<Row>], since_ms: i64) -> Courses {
    let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
    let mut courses = Courses::default();
    for slot in timeline::slots(rows(0)) {
        let (is_before, is_since) = (
            slot.end_ms <= since_ms && slot.is_of("logto"),
            slot.at_ms >= since_ms && slot.is_of("mgpass"),
        );
        let Courses { reads, writes } = &mut courses;
        match (is_before, is_since) {
            (true, _) => add(&mut reads.before, &mut writes.before, &slot.window),
            (_, true) => add(&mut reads.since, &mut writes.since, &slot.window),
            (false, false) => {}
        }
    }
    let Courses { reads, writes } = &mut courses;
    let lately = parse_window(rows(1));
    add(&mut reads.lately, &mut writes.lately, &lately);
    courses
}

fn add(reads: &mut Side, writes: &mut Side, window: &Window) {
    reads.add(&window.logto);
    reads.add(&window.mgpass);
    writes.add(&window.writes);
}
