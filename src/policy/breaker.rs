//! The breaker of one isolate: sends reads to Logto at once while mgPass fails.
//!
//! A pure state machine; time is passed in. It needs no store and so no
//! propagation: an isolate that sees mgPass fail stops asking within a handful of
//! reads. Every outcome of a read made with the proxy's own credential is told to
//! it, and `plan` asks it last, so that a probe is spent only on a read that would
//! have been served by mgPass anyway. By hand, since the crates for it bring a clock or locks.

/// Outcomes remembered while closed.
const WINDOW: u32 = 20;
/// Opens at so many failures in a row, or among the remembered if they are half of
/// them too.
const MIN_FAILURES: u32 = 5;
/// What was learned before a silence of this length is forgotten, an open breaker
/// too: a ramp that starts again must not be judged by an old outage.
const FORGET_AFTER_MS: i64 = 10_000;
/// Probes that must succeed, one after the other, to close.
const PROBES_TO_CLOSE: u32 = 3;
/// A probe whose outcome never came (the client hung up) stops blocking then.
const PROBE_LEASE_MS: i64 = 5_000;
/// First rest while open; doubled by each failed probe up to the last.
const FIRST_REST_MS: i64 = 1_000;
const LAST_REST_MS: i64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    Pass,
    /// One read that finds out whether mgPass is back.
    Probe,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    Success,
    Failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The newest outcome is the lowest bit; a failure is 1.
    Closed {
        outcomes: u32,
        n_outcomes: u32,
        last_at_ms: i64,
    },
    Open {
        until_ms: i64,
        rest_ms: i64,
    },
    HalfOpen {
        n_successes: u32,
        probing_until_ms: i64,
        rest_ms: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker(State);

impl Default for Breaker {
    fn default() -> Self {
        Self::CLOSED
    }
}

impl Breaker {
    const CLOSED: Self = Self(State::Closed {
        outcomes: 0,
        n_outcomes: 0,
        last_at_ms: 0,
    });

    pub fn name(&self) -> &'static str {
        match self.0 {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }

    /// For who asks no permit: without reads nobody probes, and what was learned is
    /// forgotten here, too.
    pub fn is_closed(&self, now_ms: i64) -> bool {
        let mut now = *self;
        now.forget(now_ms);
        matches!(now.0, State::Closed { .. })
    }

    /// Whether one read may go to mgPass now. A permit of a probe is taken by asking.
    pub fn permit(&mut self, now_ms: i64) -> Permit {
        self.forget(now_ms);
        match self.0 {
            State::Closed { .. } => Permit::Pass,
            State::Open { until_ms, .. } if now_ms < until_ms => Permit::Refuse,
            State::HalfOpen {
                probing_until_ms, ..
            } if now_ms < probing_until_ms => Permit::Refuse,
            State::Open { rest_ms, .. } => self.probe(0, rest_ms, now_ms),
            State::HalfOpen {
                n_successes,
                rest_ms,
                ..
            } => self.probe(n_successes, rest_ms, now_ms),
        }
    }

    fn forget(&mut self, now_ms: i64) {
        let quiet_since_ms = match self.0 {
            State::Closed { last_at_ms, .. } => last_at_ms,
            State::Open { until_ms, .. } => until_ms,
            State::HalfOpen {
                probing_until_ms, ..
            } => probing_until_ms,
        };
        if now_ms - quiet_since_ms > FORGET_AFTER_MS {
            *self = Self::CLOSED;
        }
    }

    fn probe(&mut self, n_successes: u32, rest_ms: i64, now_ms: i64) -> Permit {
        self.0 = State::HalfOpen {
            n_successes,
            probing_until_ms: now_ms + PROBE_LEASE_MS,
            rest_ms,
        };
        Permit::Probe
    }

    /// The outcome of a read that had a permit.
    pub fn record(&mut self, outcome: CallResult, now_ms: i64) {
        self.forget(now_ms);
        self.0 = match (self.0, outcome) {
            (
                State::Closed {
                    outcomes,
                    n_outcomes,
                    ..
                },
                outcome,
            ) => after_closed(outcomes, n_outcomes, outcome, now_ms),
            // A straggler from before it opened says nothing new.
            (open @ State::Open { .. }, _) => open,
            (State::HalfOpen { rest_ms, .. }, CallResult::Failure) => {
                let rest_ms = (rest_ms * 2).min(LAST_REST_MS);
                State::Open {
                    until_ms: now_ms + rest_ms,
                    rest_ms,
                }
            }
            (State::HalfOpen { n_successes, .. }, CallResult::Success)
                if n_successes + 1 >= PROBES_TO_CLOSE =>
            {
                Self::CLOSED.0
            }
            (
                State::HalfOpen {
                    n_successes,
                    rest_ms,
                    ..
                },
                CallResult::Success,
            ) => State::HalfOpen {
                n_successes: n_successes + 1,
                probing_until_ms: now_ms,
                rest_ms,
            },
        };
    }
}

fn after_closed(outcomes: u32, n_outcomes: u32, outcome: CallResult, now_ms: i64) -> State {
    let failed = u32::from(outcome == CallResult::Failure);
    let outcomes = ((outcomes << 1) | failed) & ((1 << WINDOW) - 1);
    let n_outcomes = (n_outcomes + 1).min(WINDOW);
    let n_failures = outcomes.count_ones();
    if outcomes.trailing_ones() >= MIN_FAILURES
        || (n_failures >= MIN_FAILURES && n_failures * 2 >= n_outcomes)
    {
        return State::Open {
            until_ms: now_ms + FIRST_REST_MS,
            rest_ms: FIRST_REST_MS,
        };
    }
    State::Closed {
        outcomes,
        n_outcomes,
        last_at_ms: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CallResult::{Failure, Success};

    fn fed(outcomes: &[CallResult], at_ms: i64) -> Breaker {
        let mut breaker = Breaker::default();
        for outcome in outcomes {
            breaker.record(*outcome, at_ms);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let mut breaker = fed(&[Failure; 4], 0);
        assert_eq!(breaker.permit(0), Permit::Pass);
        breaker.record(Failure, 0);
        assert_eq!(breaker.permit(0), Permit::Refuse);
        assert_eq!(breaker.permit(FIRST_REST_MS - 1), Permit::Refuse);
    }

    #[test]
    fn a_good_past_does_not_delay_it() {
        let mut outcomes = [Success; 20].to_vec();
        outcomes.extend([Failure; 5]);
        assert_eq!(fed(&outcomes, 0).name(), "open");
    }

    #[test]
    fn half_of_the_last_twenty_open_it_and_fewer_do_not() {
        let half: Vec<_> = [Success, Failure].repeat(5);
        assert_eq!(fed(&half, 0).name(), "open");
        let third: Vec<_> = [Success, Success, Failure].repeat(40);
        assert_eq!(fed(&third, 0).name(), "closed");
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut breaker = fed(&[Failure; 4], 0);
        breaker.record(Failure, FORGET_AFTER_MS + 1);
        assert!(breaker.is_closed(FORGET_AFTER_MS + 1));
    }

    #[test]
    fn who_asks_no_permit_does_not_go_by_an_old_outage() {
        let breaker = fed(&[Failure; 5], 0);
        let quiet_ms = FIRST_REST_MS + FORGET_AFTER_MS;
        assert!(!breaker.is_closed(quiet_ms));
        assert!(breaker.is_closed(quiet_ms + 1));
    }

    #[test]
    fn an_open_one_is_forgotten_when_nobody_asked_for_long() {
        let mut breaker = fed(&[Failure; 5], 0);
        let quiet_ms = FIRST_REST_MS + FORGET_AFTER_MS;
        assert_eq!({ breaker }.permit(quiet_ms), Permit::Probe);
        assert_eq!(breaker.permit(quiet_ms + 1), Permit::Pass);
    }

    #[test]
    fn one_probe_at_a_time_and_three_good_ones_close_it() {
        let mut breaker = fed(&[Failure; 5], 0);
        for now_ms in [1_000, 1_001, 1_002] {
            assert_eq!(breaker.permit(now_ms), Permit::Probe);
            assert_eq!(breaker.permit(now_ms), Permit::Refuse);
            breaker.record(Success, now_ms);
        }
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long() {
        let mut breaker = fed(&[Failure; 5], 0);
        assert_eq!(breaker.permit(1_000), Permit::Probe);
        breaker.record(Failure, 1_000);
        assert_eq!(breaker.permit(2_999), Permit::Refuse);
        assert_eq!(breaker.permit(3_000), Permit::Probe);
        let mut now_ms = 3_000;
        for _ in 0..10 {
            breaker.record(Failure, now_ms);
            let State::Open { until_ms, .. } = breaker.0 else {
                panic!("not open");
            };
            assert!(until_ms - now_ms <= LAST_REST_MS);
            now_ms = until_ms;
            assert_eq!(breaker.permit(now_ms), Permit::Probe);
        }
    }

    #[test]
    fn a_probe_that_never_reports_does_not_block_for_ever() {
        let mut breaker = fed(&[Failure; 5], 0);
        assert_eq!(breaker.permit(1_000), Permit::Probe);
        assert_eq!(breaker.permit(1_000 + PROBE_LEASE_MS - 1), Permit::Refuse);
        assert_eq!(breaker.permit(1_000 + PROBE_LEASE_MS), Permit::Probe);
    }

    #[test]
    fn a_straggler_does_not_lengthen_the_rest() {
        let mut breaker = fed(&[Failure; 5], 0);
        breaker.record(Failure, 900);
        breaker.record(Success, 900);
        assert_eq!(breaker.permit(1_000), Permit::Probe);
    }
}
