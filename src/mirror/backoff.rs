//! How long to wait before a subject or a backend is tried again.

/// A subject is parked after so many refusals of its own.
pub const MAX_FAILURES: i64 = 6;

/// 2 s, doubling to 10 min, with up to a quarter of jitter on top, so that
/// subjects that failed together do not come back together.
pub fn after_failures(failures: i64, random: u64) -> i64 {
    let exponent = failures.clamp(1, 10) - 1;
    let base = (2_000_i64 << exponent).min(600_000);
    base + (random % (base as u64 / 4)) as i64
}

/// Longer than any sensible cache of an API's: about twelve minutes.
pub const MAX_UNSEEN: i64 = 40;

/// Until mgPass's API shows what was written: a second more each time, so that little
/// is lost to a short cache.
pub fn until_visible(failures: i64) -> i64 {
    failures.clamp(1, 30) * 1_000
}

/// A backend that is down is asked again soon: nobody's attempts are used up.
pub const PAUSE_MS: i64 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        assert_eq!(after_failures(1, 0), 2_000);
        assert_eq!(after_failures(2, 0), 4_000);
        assert_eq!(after_failures(100, 0), 600_000);
        assert!((2_000..2_500).contains(&after_failures(1, u64::MAX)));
        let whole: i64 = (1..MAX_UNSEEN).map(until_visible).sum();
        assert_eq!(whole, 735_000);
    }
}
