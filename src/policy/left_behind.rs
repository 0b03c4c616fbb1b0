//! How many records of writes that came to no good end one address may hold, in this
//! isolate's sight.
//!
//! Who is nobody to Logto is refused, and the record taken back. While Logto fails it
//! refuses nobody, and each made-up id would be looked at for a quarter of an hour: so
//! past a number of such records, those under way included, an address must be vouched
//! for to leave more. Its acknowledged writes are recorded all the same, behind Logto's
//! answer.

use std::collections::HashMap;

/// More than people behind one address have under way at once, few enough to look at.
const PER_ADDRESS: u32 = 30;
/// Ten minutes.
const WINDOW_MS: i64 = 600_000;
/// Beyond so many addresses all counts begin anew.
const MAX_ADDRESSES: usize = 1_000;

#[derive(Debug, Default)]
pub struct LeftBehind {
    began_ms: i64,
    counts: HashMap<String, u32>,
}

impl LeftBehind {
    /// A record is made.
    pub fn add(&mut self, address: &str, now_ms: i64) {
        let is_over = !(0..WINDOW_MS).contains(&(now_ms - self.began_ms));
        if is_over || self.counts.len() >= MAX_ADDRESSES {
            self.counts.clear();
            self.began_ms = now_ms;
        }
        *self.counts.entry(network(address)).or_default() += 1;
    }

    /// It has come to a good end.
    pub fn take_back(&mut self, address: &str) {
        if let Some(count) = self.counts.get_mut(&network(address)) {
            *count = count.saturating_sub(1);
        }
    }

    pub fn is_full(&self, address: &str, now_ms: i64) -> bool {
        (0..WINDOW_MS).contains(&(now_ms - self.began_ms))
            && self
                .counts
                .get(&network(address))
                .is_some_and(|count| *count >= PER_ADDRESS)
    }
}

/// One customer has a whole /64 of IPv6.
fn network(address: &str) -> String {
    let Ok(address) = address.parse::<std::net::Ipv6Addr>() else {
        return address.to_owned();
    };
    let [a, b, c, d, ..] = address.segments();
    format!("{a:x}:{b:x}:{c:x}:{d:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(address: &str) -> LeftBehind {
        let mut left = LeftBehind::default();
        for _ in 0..PER_ADDRESS {
            assert!(!left.is_full(address, 1_000_000));
            left.add(address, 1_000_000);
        }
        left
    }

    #[test]
    fn an_address_is_full_after_so_many_and_no_other_with_it() {
        let left = full("192.0.2.7");
        assert!(left.is_full("192.0.2.7", 1_000_000));
        assert!(!left.is_full("192.0.2.8", 1_000_000));
    }

    #[test]
    fn what_ends_well_is_taken_back() {
        let mut left = full("192.0.2.7");
        left.take_back("192.0.2.7");
        assert!(!left.is_full("192.0.2.7", 1_000_000));
        left.take_back("192.0.2.9");
    }

    #[test]
    fn it_is_empty_again_after_the_window_and_when_a_clock_goes_back() {
        let left = full("192.0.2.7");
        assert!(left.is_full("192.0.2.7", 1_000_000 + WINDOW_MS - 1));
        assert!(!left.is_full("192.0.2.7", 1_000_000 + WINDOW_MS));
        assert!(!left.is_full("192.0.2.7", 999_999));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let left = full("2001:db8:1:2::1");
        assert!(left.is_full("2001:db8:1:2:ffff::9", 1_000_000));
        assert!(!left.is_full("2001:db8:1:3::1", 1_000_000));
    }

    #[test]
    fn it_holds_no_more_than_so_many_addresses() {
        let mut left = full("192.0.2.7");
        for index in 0..MAX_ADDRESSES {
            left.add(&format!("a{index}"), 1_000_000);
        }
        assert!(left.counts.len() <= MAX_ADDRESSES);
    }
}
