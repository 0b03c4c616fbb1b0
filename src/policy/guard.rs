//! The guard's judgement: mgPass-served reads against Logto-served ones.
//!
//! Pure: a window of figures in, a verdict with its reason out. Reads that the breaker
//! diverted and fallbacks count as failures of mgPass's. Missing data never promotes:
//! it holds.

/// Upper bounds of the histogram in milliseconds; above the last there is no bound.
pub const BOUNDS_MS: [i64; 11] = [5, 10, 25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400];
pub const UNBOUNDED: &str = "inf";

/// When a ramp is stopped; all of it can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    pub window_ms: i64,
    /// Fewer reads served by mgPass say nothing.
    pub min_reads: i64,
    pub min_compared: i64,
    /// Failures of mgPass's above Logto's own, in basis points of reads.
    pub max_failure_bps: i64,
    /// Mismatches in basis points of comparisons.
    pub max_mismatch_bps: i64,
    /// Nobody waits longer than this for 95 of 100 reads, whatever Logto takes.
    pub max_p95_ms: i64,
    /// mgPass's 95th percentile against Logto's, in percent.
    pub max_p95_percent: i64,
}

/// A single failure or difference is an accident.
pub const MIN_EVENTS: i64 = 3;
/// Within one step of the histogram nothing is slower than the other.
pub const LATENCY_NOISE_MS: i64 = 200;
/// Slots of a window.
const SLOTS: i64 = 5;

impl Tuning {
    /// How finely samples are kept: a minute at most, as plots are.
    pub fn slot_ms(&self) -> i64 {
        (self.window_ms / SLOTS).clamp(1_000, 60_000)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Too little data: neither good nor bad.
    Hold,
    Stop,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Stop => "stop",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pass, Self::Hold, Self::Stop]
            .into_iter()
            .find(|verdict| verdict.name() == name)
    }
}

/// Every reason that a verdict can have.
pub const REASONS: [&str; 10] = [
    "as_good_as_logto",
    "no_reads",
    "too_few_reads",
    "too_few_compared",
    "error_rate",
    "latency",
    "mismatches",
    "no_metrics",
    "stopped",
    "stop_not_written",
];

/// One side's reads within the window, or the writes of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub reads: i64,
    pub failures: i64,
    /// By bound of the histogram; the last is above all bounds.
    pub durations: [i64; BOUNDS_MS.len() + 1],
}

impl Side {
    /// Upper bound of the 95th percentile; `None` without reads.
    pub fn p95_ms(&self) -> Option<i64> {
        self.percentile_ms(95)
    }

    /// Upper bound of what so many of a hundred reads took.
    pub fn percentile_ms(&self, percent: i64) -> Option<i64> {
        let total: i64 = self.durations.iter().sum();
        let mut below = 0;
        for (index, count) in self.durations.iter().enumerate() {
            below += count;
            if total > 0 && below * 100 >= total * percent {
                return Some(BOUNDS_MS.get(index).copied().unwrap_or(i64::from(u32::MAX)));
            }
        }
        None
    }

    /// With those of another side or time.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.failures += other.failures;
        for (all, some) in self.durations.iter_mut().zip(other.durations) {
            *all += some;
        }
    }

    pub fn failure_bps(&self) -> i64 {
        share_bps(self.failures, self.reads)
    }
}

pub fn share_bps(part: i64, whole: i64) -> i64 {
    if whole == 0 { 0 } else { part * 10_000 / whole }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub logto: Side,
    pub mgpass: Side,
    /// User writes, whoever carried them out; not judged here.
    pub writes: Side,
    pub compared: i64,
    pub mismatched: i64,
}

pub fn judge(window: &Window, tuning: &Tuning) -> (Verdict, &'static str) {
    let Window { logto, mgpass, .. } = window;
    let is_enough = mgpass.reads >= tuning.min_reads;
    if is_enough
        && mgpass.failures >= MIN_EVENTS
        && mgpass.failure_bps() > logto.failure_bps() + tuning.max_failure_bps
    {
        return (Verdict::Stop, "error_rate");
    }
    if is_enough && is_slower(window, tuning) {
        return (Verdict::Stop, "latency");
    }
    if window.compared >= tuning.min_compared
        && window.mismatched >= MIN_EVENTS
        && share_bps(window.mismatched, window.compared) > tuning.max_mismatch_bps
    {
        return (Verdict::Stop, "mismatches");
    }
    if mgpass.reads == 0 {
        return (Verdict::Hold, "no_reads");
    }
    if !is_enough {
        return (Verdict::Hold, "too_few_reads");
    }
    if window.compared < tuning.min_compared {
        return (Verdict::Hold, "too_few_compared");
    }
    (Verdict::Pass, "as_good_as_logto")
}

fn is_slower(window: &Window, tuning: &Tuning) -> bool {
    let Some(mgpass_ms) = window.mgpass.p95_ms() else {
        return false;
    };
    if mgpass_ms > tuning.max_p95_ms {
        return true;
    }
    if window.logto.reads < tuning.min_reads {
        return false;
    }
    window.logto.p95_ms().is_some_and(|logto_ms| {
        mgpass_ms - logto_ms > LATENCY_NOISE_MS
            && mgpass_ms * 100 > logto_ms * tuning.max_p95_percent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNING: Tuning = Tuning {
        window_ms: 300_000,
        min_reads: 50,
        min_compared: 20,
        max_failure_bps: 100,
        max_mismatch_bps: 50,
        max_p95_ms: 1_000,
        max_p95_percent: 300,
    };

    /// `slow_ms` is the duration of all reads.
    fn side(reads: i64, failures: i64, duration_ms: i64) -> Side {
        let index = BOUNDS_MS
            .iter()
            .position(|bound| duration_ms <= *bound)
            .unwrap_or(BOUNDS_MS.len());
        let mut durations = [0; BOUNDS_MS.len() + 1];
        durations[index] = reads;
        Side {
            reads,
            failures,
            durations,
        }
    }

    fn good() -> Window {
        Window {
            logto: side(1_000, 0, 40),
            mgpass: side(100, 0, 90),
            compared: 50,
            ..Window::default()
        }
    }

    fn check(change: impl FnOnce(&mut Window), verdict: Verdict, reason: &str) {
        let mut window = good();
        change(&mut window);
        assert_eq!(judge(&window, &TUNING), (verdict, reason));
    }

    #[test]
    fn as_good_as_logto_passes() {
        check(|_| {}, Verdict::Pass, "as_good_as_logto");
        check(
            |window| window.mgpass.failures = 1,
            Verdict::Pass,
            "as_good_as_logto",
        );
        check(
            |window| window.mismatched = 2,
            Verdict::Pass,
            "as_good_as_logto",
        );
    }

    #[test]
    fn missing_data_holds_and_never_passes() {
        check(
            |window| window.mgpass = Side::default(),
            Verdict::Hold,
            "no_reads",
        );
        check(
            |window| window.mgpass = side(49, 49, 90),
            Verdict::Hold,
            "too_few_reads",
        );
        check(
            |window| window.compared = 19,
            Verdict::Hold,
            "too_few_compared",
        );
        assert_eq!(judge(&Window::default(), &TUNING).0, Verdict::Hold);
    }

    #[test]
    fn failures_above_logtos_own_stop() {
        check(
            |window| window.mgpass.failures = 3,
            Verdict::Stop,
            "error_rate",
        );
        // Logto fails as much: the network is bad, not mgPass.
        check(
            |window| {
                window.mgpass.failures = 3;
                window.logto.failures = 30;
            },
            Verdict::Pass,
            "as_good_as_logto",
        );
    }

    #[test]
    fn slowness_stops() {
        check(
            |window| window.mgpass = side(100, 0, 1_500),
            Verdict::Stop,
            "latency",
        );
        check(
            |window| window.mgpass = side(100, 0, 350),
            Verdict::Stop,
            "latency",
        );
        check(
            |window| window.mgpass = side(100, 0, 200),
            Verdict::Pass,
            "as_good_as_logto",
        );
        // Without Logto's reads only the absolute limit is left.
        let alone = |duration_ms| {
            move |window: &mut Window| {
                window.logto = Side::default();
                window.mgpass = side(100, 0, duration_ms);
            }
        };
        check(alone(350), Verdict::Pass, "as_good_as_logto");
        check(alone(1_500), Verdict::Stop, "latency");
    }

    #[test]
    fn mismatches_stop_even_while_few_are_served() {
        check(|window| window.mismatched = 3, Verdict::Stop, "mismatches");
        check(
            |window| {
                window.mgpass = Side::default();
                window.mismatched = 3;
            },
            Verdict::Stop,
            "mismatches",
        );
    }
}
