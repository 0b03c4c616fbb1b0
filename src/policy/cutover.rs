//! Whether to stay while mgPass is the authority, or to go back: a recommendation and its
//! reason. A person takes the way back; nothing here, and nobody who asks, does.
//!
//! Pure. What clients notice (failures, slowness, a database that is gone) speaks for the
//! way back. What costs the way back something, or makes its price unknown (strays, debt
//! that is not carried, a log or a walk that stands still, points), is to be looked at.
//! Missing data never says that all is well.

use serde::Serialize;

use crate::policy::guard::{LATENCY_NOISE_MS, MIN_EVENTS, Side, Tuning};

/// Fewer writes say nothing; there are far fewer of them than reads.
const MIN_WRITES: i64 = 10;
/// mgPass's database does not answer for so long: no hiccup.
const GONE_MS: i64 = 120_000;
/// What is carried to Logto is there within seconds.
const PENDING_OLD_MS: i64 = 20 * 60_000;
/// The log is read every minute.
const FEED_OLD_MS: i64 = 5 * 60_000;
/// A whole pass of the walk begins at least once a day.
const WALK_OLD_MS: i64 = 24 * 3_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// As good as before.
    Stay,
    /// Too little is known.
    Unknown,
    /// A person has to look; going back mends nothing.
    Look,
    /// The way back is recommended.
    GoBack,
}

impl Advice {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Unknown => "unknown",
            Self::Look => "look",
            Self::GoBack => "go_back",
        }
    }
}

/// Every reason that an advice can have.
#[cfg(test)]
pub const REASONS: [&str; 15] = [
    "as_good_as_before",
    "too_few_requests",
    "no_metrics",
    "mgpass_gone",
    "read_errors",
    "write_errors",
    "read_latency",
    "write_latency",
    "strays",
    "points_changed",
    "points_adrift",
    "pending_old",
    "log_not_read",
    "walk_old",
    "not_judged",
];

/// How requests of a kind went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// In the days before, while Logto was the authority.
    pub before: Side,
    /// In the guard's last window.
    pub lately: Side,
}

/// Points at mgPass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Points {
    /// Entries that the import brought, and their sum.
    pub n_imported: i64,
    pub imported_sum: i64,
    /// All entries.
    pub n_entries: i64,
    /// Mirrored users whose balance is not the sum of their entries.
    pub n_adrift: i64,
}

/// What became of points that only mgPass writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointsChange {
    /// What was imported is not there as it was.
    Imported,
    /// More balances than before are not the sum of their entries.
    Adrift,
}

impl Points {
    /// Entries that mgPass added are no change.
    pub fn changed_since(&self, first: &Self) -> Option<PointsChange> {
        if (first.n_imported, first.imported_sum) != (self.n_imported, self.imported_sum) {
            return Some(PointsChange::Imported);
        }
        (self.n_adrift > first.n_adrift).then_some(PointsChange::Adrift)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub now_ms: i64,
    /// Since when mgPass is the authority.
    pub since_ms: i64,
    /// `None`: the metrics could not be read.
    pub requests: Option<(Course, Course)>,
    /// Since when mgPass's database does not answer.
    pub failing_since_ms: Option<i64>,
    pub n_strays: i64,
    /// The oldest write that Logto does not have yet, of nobody who is held.
    pub pending_since_ms: Option<i64>,
    /// When mgPass's audit log was last read to its end.
    pub feed_at_ms: Option<i64>,
    /// When the newest walk over everybody began that has ended.
    pub walked_at_ms: Option<i64>,
    /// As first read after the hand-over, and as last read.
    pub points: Option<(Points, Points)>,
}

pub fn judge(facts: &Facts, tuning: &Tuning) -> (Advice, &'static str) {
    let age = |at_ms: Option<i64>| facts.now_ms - at_ms.unwrap_or(facts.since_ms);
    if facts.failing_since_ms.is_some() && age(facts.failing_since_ms) >= GONE_MS {
        return (Advice::GoBack, "mgpass_gone");
    }
    if let Some((reads, writes)) = &facts.requests {
        let worse = [
            (writes, MIN_WRITES, "write_errors", "write_latency"),
            (reads, tuning.min_reads, "read_errors", "read_latency"),
        ];
        for (course, min, errors, _) in worse {
            if fails_more(course, min, tuning) {
                return (Advice::GoBack, errors);
            }
        }
        for (course, min, _, latency) in worse {
            if is_slower(course, min, tuning) {
                return (Advice::GoBack, latency);
            }
        }
    }
    match facts.points.map(|(first, last)| last.changed_since(&first)) {
        Some(Some(PointsChange::Imported)) => return (Advice::Look, "points_changed"),
        Some(Some(PointsChange::Adrift)) => return (Advice::Look, "points_adrift"),
        Some(None) | None => {}
    }
    if facts.n_strays > 0 {
        return (Advice::Look, "strays");
    }
    if facts.pending_since_ms.is_some() && age(facts.pending_since_ms) > PENDING_OLD_MS {
        return (Advice::Look, "pending_old");
    }
    if age(facts.feed_at_ms) > FEED_OLD_MS {
        return (Advice::Look, "log_not_read");
    }
    if age(facts.walked_at_ms) > WALK_OLD_MS {
        return (Advice::Look, "walk_old");
    }
    match &facts.requests {
        None => (Advice::Unknown, "no_metrics"),
        Some((reads, writes))
            if reads.lately.reads < tuning.min_reads || writes.lately.reads < MIN_WRITES =>
        {
            (Advice::Unknown, "too_few_requests")
        }
        Some(_) => (Advice::Stay, "as_good_as_before"),
    }
}

fn fails_more(course: &Course, min: i64, tuning: &Tuning) -> bool {
    let Course { before, lately } = course;
    lately.reads >= min
        && lately.failures >= MIN_EVENTS
        && lately.failure_bps() > before.failure_bps() + tuning.max_failure_bps
}

/// Above the absolute limit only where it was not above it before.
fn is_slower(course: &Course, min: i64, tuning: &Tuning) -> bool {
    let Some(lately_ms) = course
        .lately
        .p95_ms()
        .filter(|_| course.lately.reads >= min)
    else {
        return false;
    };
    let Some(before_ms) = course
        .before
        .p95_ms()
        .filter(|_| course.before.reads >= min)
    else {
        return lately_ms > tuning.max_p95_ms;
    };
    lately_ms > tuning.max_p95_ms.max(before_ms)
        || (lately_ms - before_ms > LATENCY_NOISE_MS
            && lately_ms * 100 > before_ms * tuning.max_p95_percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::guard::BOUNDS_MS;

    const TUNING: Tuning = Tuning {
        window_ms: 300_000,
        min_reads: 50,
        min_compared: 20,
        max_failure_bps: 100,
        max_mismatch_bps: 50,
        max_p95_ms: 1_000,
        max_p95_percent: 300,
    };
    const NOW_MS: i64 = 1_800_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn side(n: i64, failures: i64, duration_ms: i64) -> Side {
        let index = BOUNDS_MS.iter().position(|bound| duration_ms <= *bound);
        let mut durations = [0; BOUNDS_MS.len() + 1];
        durations[index.unwrap_or(BOUNDS_MS.len())] = n;
        Side {
            reads: n,
            failures,
            durations,
        }
    }

    /// Ten hours after the hand-over, all is as it was.
    fn good() -> Facts {
        let course = |n| Course {
            before: side(100_000, 100, 50),
            lately: side(n, 0, 100),
        };
        let points = Points {
            n_imported: 1_000,
            imported_sum: 50_000,
            n_entries: 1_000,
            n_adrift: 2,
        };
        Facts {
            now_ms: NOW_MS,
            since_ms: NOW_MS - 10 * HOUR_MS,
            requests: Some((course(500), course(40))),
            failing_since_ms: None,
            n_strays: 0,
            pending_since_ms: Some(NOW_MS - 1_000),
            feed_at_ms: Some(NOW_MS - 60_000),
            walked_at_ms: Some(NOW_MS - HOUR_MS),
            points: Some((
                points,
                Points {
                    n_entries: 1_200,
                    ..points
                },
            )),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), advice: Advice, reason: &str) {
        let mut facts = good();
        change(&mut facts);
        assert_eq!(judge(&facts, &TUNING), (advice, reason));
        assert!(REASONS.contains(&reason));
    }

    fn reads(facts: &mut Facts) -> &mut Course {
        &mut facts.requests.as_mut().unwrap().0
    }

    fn writes(facts: &mut Facts) -> &mut Course {
        &mut facts.requests.as_mut().unwrap().1
    }

    #[test]
    fn as_good_as_before_stays() {
        check(|_| {}, Advice::Stay, "as_good_as_before");
        let a_few = |facts: &mut Facts| writes(facts).lately.failures = 2;
        check(a_few, Advice::Stay, "as_good_as_before");
    }

    #[test]
    fn failures_above_those_of_before_speak_for_the_way_back() {
        let reads_fail = |facts: &mut Facts| reads(facts).lately.failures = 6;
        check(reads_fail, Advice::GoBack, "read_errors");
        let writes_fail = |facts: &mut Facts| writes(facts).lately.failures = 3;
        check(writes_fail, Advice::GoBack, "write_errors");
        // It was no better before.
        let as_ever = |facts: &mut Facts| {
            let course = writes(facts);
            course.lately.failures = 3;
            course.before.failures = 8_000;
        };
        check(as_ever, Advice::Stay, "as_good_as_before");
        // Without a day before, the limit alone is left.
        let no_past = |facts: &mut Facts| {
            let course = reads(facts);
            course.lately.failures = 6;
            course.before = Side::default();
        };
        check(no_past, Advice::GoBack, "read_errors");
    }

    #[test]
    fn slowness_speaks_for_the_way_back() {
        let reads_slow = |facts: &mut Facts| reads(facts).lately = side(500, 0, 1_600);
        check(reads_slow, Advice::GoBack, "read_latency");
        let three_times = |facts: &mut Facts| writes(facts).lately = side(40, 0, 400);
        check(three_times, Advice::GoBack, "write_latency");
        let as_ever = |facts: &mut Facts| {
            let course = writes(facts);
            course.before = side(1_000, 0, 1_600);
            course.lately = side(40, 0, 1_600);
        };
        check(as_ever, Advice::Stay, "as_good_as_before");
        let no_past = |facts: &mut Facts| {
            let course = writes(facts);
            course.before = Side::default();
            course.lately = side(40, 0, 800);
        };
        check(no_past, Advice::Stay, "as_good_as_before");
    }

    #[test]
    fn a_database_that_is_gone_speaks_for_it_without_any_request() {
        let gone = |ms: i64| {
            move |facts: &mut Facts| {
                facts.requests = None;
                facts.failing_since_ms = Some(NOW_MS - ms);
            }
        };
        check(gone(GONE_MS), Advice::GoBack, "mgpass_gone");
        check(gone(GONE_MS - 1), Advice::Unknown, "no_metrics");
    }

    #[test]
    fn what_going_back_would_not_mend_is_to_be_looked_at() {
        check(|facts| facts.n_strays = 1, Advice::Look, "strays");
        let old = |facts: &mut Facts| {
            facts.pending_since_ms = Some(NOW_MS - PENDING_OLD_MS - 1);
        };
        check(old, Advice::Look, "pending_old");
        let unread = |facts: &mut Facts| facts.feed_at_ms = Some(NOW_MS - FEED_OLD_MS - 1);
        check(unread, Advice::Look, "log_not_read");
        check(
            |facts| facts.feed_at_ms = None,
            Advice::Look,
            "log_not_read",
        );
        let unwalked = |facts: &mut Facts| facts.walked_at_ms = Some(NOW_MS - WALK_OLD_MS - 1);
        check(unwalked, Advice::Look, "walk_old");
    }

    #[test]
    fn what_has_had_no_time_yet_is_not_late() {
        let just_begun = |facts: &mut Facts| {
            facts.since_ms = NOW_MS - 60_000;
            facts.feed_at_ms = None;
            facts.walked_at_ms = None;
        };
        check(just_begun, Advice::Stay, "as_good_as_before");
    }

    #[test]
    fn points_are_as_they_came_or_a_person_looks() {
        let last = |facts: &mut Facts| facts.points.as_mut().map(|(_, last)| *last).unwrap();
        let change = |make: fn(&mut Points)| {
            move |facts: &mut Facts| {
                let mut changed = last(facts);
                make(&mut changed);
                facts.points.as_mut().unwrap().1 = changed;
            }
        };
        check(
            change(|points| points.n_imported -= 1),
            Advice::Look,
            "points_changed",
        );
        check(
            change(|points| points.imported_sum += 1),
            Advice::Look,
            "points_changed",
        );
        check(
            change(|points| points.n_adrift += 1),
            Advice::Look,
            "points_adrift",
        );
        check(
            change(|points| points.n_adrift = 0),
            Advice::Stay,
            "as_good_as_before",
        );
        check(
            |facts| facts.points = None,
            Advice::Stay,
            "as_good_as_before",
        );
    }

    #[test]
    fn missing_data_never_says_that_all_is_well() {
        check(|facts| facts.requests = None, Advice::Unknown, "no_metrics");
        let few = |facts: &mut Facts| reads(facts).lately = side(49, 49, 100);
        check(few, Advice::Unknown, "too_few_requests");
        let few = |facts: &mut Facts| writes(facts).lately = side(9, 9, 100);
        check(few, Advice::Unknown, "too_few_requests");
    }

    #[test]
    fn what_clients_notice_comes_before_all_else() {
        let both = |facts: &mut Facts| {
            facts.n_strays = 9;
            writes(facts).lately.failures = 30;
        };
        check(both, Advice::GoBack, "write_errors");
    }
}
