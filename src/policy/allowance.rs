//! What clients whom nobody has vouched for may make an isolate ask of the backends.
//!
//! Only its owner can say whether a client's credential is right, so each try costs a
//! call, and mgPass counts them all against the proxy's own address. A try takes one
//! from what its address and the isolate may spend in a minute of the clock, and gives
//! it back when the client proves to be one. Whoever was accepted a while ago is not
//! counted at all, so that an attacker who spends everything shuts no known client out.
//!
//! Pure, over `now`. It never says whether a client is good: its owner is asked each time.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Of one address in a minute. mgPass documents a hundred a minute and address, for the
/// proxy as a whole.
const PER_ADDRESS: u32 = 20;
const PER_ISOLATE: u32 = 40;
const MINUTE_MS: i64 = 60_000;
/// An accepted client is remembered for so long, and the oldest is forgotten first.
const KNOWN_MS: i64 = 10 * MINUTE_MS;
const MAX_KNOWN: usize = 64;

/// A digest of a client's credential, never the credential.
pub type Mark = [u8; 32];

/// Where a caller comes from, as coarse as one caller can choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    V4(u32),
    /// The network: every subscriber has 2^64 addresses or more.
    V6(u64),
    /// Nobody said; all of these are one.
    Unknown,
}

impl Address {
    /// From `CF-Connecting-IP`, which the platform sets.
    pub fn parse(text: Option<&str>) -> Self {
        let address = text.and_then(|text| text.trim().parse::<IpAddr>().ok());
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address.to_bits()),
            Some(IpAddr::V6(address)) => Self::V6((address.to_bits() >> 64) as u64),
            None => Self::Unknown,
        }
    }
}

/// Leave to try once.
#[derive(Debug, PartialEq, Eq)]
pub struct Leave {
    mark: Mark,
    /// What it was taken from; `None` of a known client.
    taken: Option<(Address, i64)>,
}

impl Leave {
    /// The client was accepted a while ago.
    pub fn is_of_known_client(&self) -> bool {
        self.taken.is_none()
    }
}

#[derive(Debug, Default)]
pub struct Allowance {
    minute: i64,
    n_spent: u32,
    /// Never more entries than [`PER_ISOLATE`].
    by_address: BTreeMap<Address, u32>,
    known: VecDeque<(Mark, i64)>,
}

impl Allowance {
    /// `None`: not before the next minute.
    pub fn ask(&mut self, mark: Mark, address: Address, now_ms: i64) -> Option<Leave> {
        let is_known = self.known.iter().any(|(known, since_ms)| {
            // A clock set back must not keep anybody known for ever.
            *known == mark && (0..KNOWN_MS).contains(&(now_ms - since_ms))
        });
        if is_known {
            return Some(Leave { mark, taken: None });
        }
        self.turn(now_ms);
        let n_of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if self.n_spent >= PER_ISOLATE || n_of_address >= PER_ADDRESS {
            return None;
        }
        self.n_spent += 1;
        self.by_address.insert(address, n_of_address + 1);
        Some(Leave {
            mark,
            taken: Some((address, self.minute)),
        })
    }

    /// Its owner knows the client.
    pub fn accepted(&mut self, leave: Leave, now_ms: i64) {
        self.known.retain(|(known, _)| *known != leave.mark);
        if self.known.len() >= MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((leave.mark, now_ms));
        if let Some((address, minute)) = leave.taken
            && minute == self.minute
            && let Some(n_of_address) = self.by_address.get_mut(&address)
        {
            *n_of_address = n_of_address.saturating_sub(1);
            self.n_spent = self.n_spent.saturating_sub(1);
        }
    }

    /// Its owner does not, any more perhaps: what was taken stays taken.
    pub fn refused(&mut self, leave: &Leave) {
        self.known.retain(|(known, _)| *known != leave.mark);
    }

    fn turn(&mut self, now_ms: i64) {
        let minute = now_ms.div_euclid(MINUTE_MS);
        if minute != self.minute {
            self.minute = minute;
            self.n_spent = 0;
            self.by_address.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Address = Address::V4(1);

    fn mark(n: u8) -> Mark {
        [n; 32]
    }

    /// How many of so many tries, each with another credential, are let through.
    fn n_let(allowance: &mut Allowance, address: impl Fn(u32) -> Address, now_ms: i64) -> u32 {
        let tries = (0..500_u32).filter(|n| {
            let mut mark = mark(255);
            mark[..4].copy_from_slice(&n.to_be_bytes());
            allowance.ask(mark, address(*n), now_ms).is_some()
        });
        u32::try_from(tries.count()).unwrap()
    }

    #[test]
    fn one_address_spends_its_share_and_all_together_the_isolates() {
        let mut allowance = Allowance::default();
        assert_eq!(n_let(&mut allowance, |_| HERE, 0), PER_ADDRESS);
        assert_eq!(
            n_let(&mut allowance, Address::V4, 59_999),
            PER_ISOLATE - PER_ADDRESS
        );
        assert!(allowance.by_address.len() <= PER_ISOLATE as usize);
        assert_eq!(n_let(&mut allowance, |_| HERE, 60_000), PER_ADDRESS);
    }

    #[test]
    fn who_is_accepted_gets_it_back_and_is_not_counted_for_a_while() {
        let mut allowance = Allowance::default();
        for now_ms in 0..1_000 {
            let leave = allowance.ask(mark(7), HERE, now_ms).unwrap();
            assert_eq!(leave.is_of_known_client(), now_ms > 0);
            allowance.accepted(leave, now_ms);
        }
        assert_eq!(n_let(&mut allowance, |_| HERE, 1_000), PER_ADDRESS);
        // Everything is spent, and the known client goes on.
        assert!(allowance.ask(mark(7), HERE, 1_000).is_some());
        assert!(allowance.ask(mark(7), HERE, 999 + KNOWN_MS - 1).is_some());
        let later = allowance.ask(mark(7), HERE, 999 + KNOWN_MS).unwrap();
        assert!(!later.is_of_known_client());
    }

    #[test]
    fn who_is_refused_is_known_no_longer() {
        let mut allowance = Allowance::default();
        let leave = allowance.ask(mark(7), HERE, 0).unwrap();
        allowance.accepted(leave, 0);
        let leave = allowance.ask(mark(7), HERE, 1).unwrap();
        allowance.refused(&leave);
        let leave = allowance.ask(mark(7), HERE, 2).unwrap();
        assert!(!leave.is_of_known_client());
        assert_eq!(n_let(&mut allowance, |_| HERE, 2), PER_ADDRESS - 1);
    }

    #[test]
    fn what_was_taken_in_another_minute_is_not_given_back() {
        let mut allowance = Allowance::default();
        let leave = allowance.ask(mark(7), HERE, 0).unwrap();
        assert_eq!(n_let(&mut allowance, |_| HERE, 60_000), PER_ADDRESS);
        allowance.accepted(leave, 60_000);
        assert_eq!(n_let(&mut allowance, |_| HERE, 60_000), 0);
    }

    #[test]
    fn few_clients_are_remembered_and_a_clock_set_back_keeps_none() {
        let mut allowance = Allowance::default();
        for n in 0..=u8::try_from(MAX_KNOWN).unwrap() {
            let leave = allowance.ask(mark(n), HERE, 1_000).unwrap();
            allowance.accepted(leave, 1_000);
        }
        let is_known = |allowance: &mut Allowance, n, now_ms| {
            let leave = allowance.ask(mark(n), HERE, now_ms);
            leave.is_some_and(|leave| leave.is_of_known_client())
        };
        assert_eq!(allowance.known.len(), MAX_KNOWN);
        assert!(!is_known(&mut allowance, 0, 1_000));
        assert!(is_known(&mut allowance, 1, 1_000));
        assert!(!is_known(&mut allowance, 1, 999));
    }

    #[test]
    fn an_address_is_a_network_where_one_caller_has_many() {
        let parse = |text| Address::parse(Some(text));
        assert_eq!(parse("192.0.2.1"), parse(" 192.0.2.1 "));
        assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
        assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
        assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::2"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("somewhere"), Address::Unknown);
        assert_eq!(Address::parse(None), Address::Unknown);
    }
}
