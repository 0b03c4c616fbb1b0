//! What is counted, kept in the isolate until it is written down behind the requests.
//!
//! The first count into an empty list schedules a flush a few seconds later, behind
//! that request; so a burst is one write. An isolate that is evicted before takes
//! its last seconds with it.

use std::collections::BTreeMap;

use crate::inbound::classify::{Kind, Operation};
use crate::policy::guard::{BOUNDS_MS, UNBOUNDED};
use crate::policy::plan::{Plan, Primary, Reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// By cohort and status class.
    Requests,
    /// By cohort and upper bound of the duration, not cumulative.
    Latency,
    LatencySumMs,
    /// Of reads, by the plan's reason: fence hits are the reason `fence`.
    Plans,
    /// By the code of why mgPass's answer was not used.
    Fallbacks,
    /// By outcome.
    Compared,
    /// By class of the difference.
    Mismatches,
    /// By rule.
    Ignored,
}

impl Metric {
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Latency,
        Self::LatencySumMs,
        Self::Plans,
        Self::Fallbacks,
        Self::Compared,
        Self::Mismatches,
        Self::Ignored,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Latency => "latency",
            Self::LatencySumMs => "latency_sum_ms",
            Self::Plans => "plans",
            Self::Fallbacks => "fallbacks",
            Self::Compared => "compared",
            Self::Mismatches => "mismatches",
            Self::Ignored => "ignored",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// Whose side an answer is judged on. Not simply who answered: Logto's answer to a
/// read that was mgPass's to serve is a failure of mgPass's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cohort {
    Logto,
    Mgpass,
    /// With the caller's own token of mgPass's.
    MgpassAsCaller,
    /// Logto answered in mgPass's stead: it failed, or the breaker was open.
    Fallback,
}

impl Cohort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
            Self::MgpassAsCaller => "mgpass_as_caller",
            Self::Fallback => "fallback",
        }
    }

    fn of(plan: Plan, fallback: Option<Fallback>) -> Self {
        match (plan.primary, fallback) {
            (_, Some(fallback)) if fallback.blames_mgpass => Self::Fallback,
            (Primary::Logto, _) if plan.reason == Reason::Breaker => Self::Fallback,
            (Primary::Logto, _) | (Primary::Mgpass, Some(_)) => Self::Logto,
            (Primary::Mgpass, None) => Self::Mgpass,
            (Primary::MgpassAsCaller, _) => Self::MgpassAsCaller,
        }
    }
}

/// Why mgPass was left within the request, and whether that is its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub code: &'static str,
    pub blames_mgpass: bool,
}

const BOUND_NAMES: [&str; 11] = [
    "5", "10", "25", "50", "100", "200", "400", "800", "1600", "3200", "6400",
];

fn bound(duration_ms: i64) -> &'static str {
    BOUNDS_MS
        .iter()
        .zip(BOUND_NAMES)
        .find(|(bound, _)| duration_ms <= **bound)
        .map_or(UNBOUNDED, |(_, name)| name)
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub metric: Metric,
    pub operation: &'static str,
    pub backend: &'static str,
    pub label: &'static str,
}

/// What one request tells.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    pub operation: Operation,
    pub plan: Plan,
    pub fallback: Option<Fallback>,
    pub status: u16,
    pub duration_ms: i64,
}

/// Counts of this isolate that are not written down yet.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: BTreeMap<Series, i64>,
    flushing_until_ms: i64,
}

/// A booked flush that never came (its request was cut off) is booked anew then.
const BOOKING_LEASE_MS: i64 = 30_000;

impl Metrics {
    pub fn count(
        &mut self,
        metric: Metric,
        operation: &'static str,
        backend: &'static str,
        label: &'static str,
        count: i64,
    ) {
        let series = Series {
            metric,
            operation,
            backend,
            label,
        };
        *self.counts.entry(series).or_default() += count;
    }

    pub fn observe(&mut self, seen: &Observation) {
        let operation = seen.operation.name();
        let cohort = Cohort::of(seen.plan, seen.fallback).name();
        let class = match seen.status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.count(Metric::Requests, operation, cohort, class, 1);
        self.count(
            Metric::Latency,
            operation,
            cohort,
            bound(seen.duration_ms),
            1,
        );
        self.count(
            Metric::LatencySumMs,
            operation,
            cohort,
            "",
            seen.duration_ms,
        );
        if seen.operation.kind() == Kind::Read {
            self.count(Metric::Plans, operation, "", seen.plan.reason.code(), 1);
        }
        if let Some(fallback) = seen.fallback {
            self.count(Metric::Fallbacks, operation, "", fallback.code, 1);
        }
    }

    /// Whether the caller is to flush, a little later.
    pub fn schedule_flush(&mut self, now_ms: i64) -> bool {
        if self.counts.is_empty() || now_ms < self.flushing_until_ms {
            return false;
        }
        self.flushing_until_ms = now_ms + BOOKING_LEASE_MS;
        true
    }

    pub fn take(&mut self) -> BTreeMap<Series, i64> {
        self.flushing_until_ms = 0;
        std::mem::take(&mut self.counts)
    }

    pub fn put_back(&mut self, counts: BTreeMap<Series, i64>) {
        for (series, count) in counts {
            *self.counts.entry(series).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(primary: Primary, reason: Reason, fallback: Option<Fallback>) -> Observation {
        Observation {
            operation: Operation::UsersGet,
            plan: Plan { primary, reason },
            fallback,
            status: 200,
            duration_ms: 17,
        }
    }

    fn check(seen: Observation, cohort: Cohort) {
        let mut metrics = Metrics::default();
        metrics.observe(&seen);
        let requests = metrics
            .counts
            .keys()
            .find(|series| series.metric == Metric::Requests);
        assert_eq!(requests.unwrap().backend, cohort.name());
    }

    #[test]
    fn what_logto_answers_in_mgpass_stead_is_mgpass_failure() {
        let down = Fallback {
            code: "timed_out",
            blames_mgpass: true,
        };
        let language = Fallback {
            code: "not_english",
            blames_mgpass: false,
        };
        check(
            observation(Primary::Mgpass, Reason::InShare, None),
            Cohort::Mgpass,
        );
        check(
            observation(Primary::Mgpass, Reason::InShare, Some(down)),
            Cohort::Fallback,
        );
        check(
            observation(Primary::Mgpass, Reason::InShare, Some(language)),
            Cohort::Logto,
        );
        check(
            observation(Primary::Logto, Reason::Breaker, None),
            Cohort::Fallback,
        );
        check(
            observation(Primary::Logto, Reason::OutsideShare, None),
            Cohort::Logto,
        );
    }

    #[test]
    fn a_duration_falls_below_its_bound() {
        for (duration_ms, name) in [
            (0, "5"),
            (5, "5"),
            (6, "10"),
            (6_400, "6400"),
            (6_401, "inf"),
        ] {
            assert_eq!(bound(duration_ms), name);
        }
        for (bound, name) in BOUNDS_MS.iter().zip(BOUND_NAMES) {
            assert_eq!(bound.to_string(), name);
        }
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
        }
    }

    #[test]
    fn one_flush_is_booked_for_a_burst() {
        let mut metrics = Metrics::default();
        assert!(!metrics.schedule_flush(0));
        metrics.observe(&observation(Primary::Logto, Reason::OutsideShare, None));
        assert!(metrics.schedule_flush(0));
        assert!(!metrics.schedule_flush(1));
        assert!(metrics.schedule_flush(BOOKING_LEASE_MS));
        let taken = metrics.take();
        assert!(!metrics.schedule_flush(BOOKING_LEASE_MS));
        metrics.put_back(taken);
        assert!(metrics.schedule_flush(BOOKING_LEASE_MS));
    }
}
