//! Subject -> bucket 0..=9,999, by a keyed hash of (`salt`, user id).
//!
//! Sticky: only the salt moves a user. Monotone: a user is in a share when the
//! bucket lies below it, so that raising a percentage never moves anyone back.

use siphasher::sip::SipHasher24;

use crate::inbound::request::UserId;
use crate::policy::flags::Share;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    pub fn of(user: &UserId, salt: &str) -> Self {
        // The length before the salt keeps ("a", "bc") and ("ab", "c") apart.
        let mut text = Vec::with_capacity(8 + salt.len() + user.as_str().len());
        text.extend_from_slice(&(salt.len() as u64).to_le_bytes());
        text.extend_from_slice(salt.as_bytes());
        text.extend_from_slice(user.as_str().as_bytes());
        // 2^64 mod 10,000 = 1,616: the bias is below 1 in 10^15.
        let bucket = SipHasher24::new_with_key(b"read ramp bucket").hash(&text) % 10_000;
        Self(bucket as u16)
    }

    pub fn number(self) -> u16 {
        self.0
    }

    pub fn is_within(self, share: Share) -> bool {
        self.0 < share.basis_points()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(count: u32) -> impl Iterator<Item = UserId> {
        (0..count).map(|number| UserId::parse(&format!("u{number:011}")).unwrap())
    }

    #[test]
    fn a_known_user_stays_in_a_known_bucket() {
        // Frozen: a change of this number moves every user of a running ramp.
        let user = UserId::parse("ohr0n387iy4o").unwrap();
        assert_eq!(Bucket::of(&user, ""), Bucket::of(&user, ""));
        assert_eq!(Bucket::of(&user, "").number(), 4_994);
        assert_ne!(Bucket::of(&user, "again"), Bucket::of(&user, ""));
    }

    #[test]
    fn shares_nest() {
        for user in users(2_000) {
            let bucket = Bucket::of(&user, "");
            assert!(!bucket.is_within(Share::NONE));
            assert!(bucket.is_within(Share::ALL));
            let mut was_in = false;
            for percent in ["1", "10", "50", "99.99", "100"] {
                let is_in = bucket.is_within(Share::parse_percent(percent).unwrap());
                assert!(is_in || !was_in);
                was_in = is_in;
            }
        }
    }

    /// As Logto makes ids: twelve of 36 characters, here by a fixed sequence.
    fn random_users(count: u32) -> impl Iterator<Item = UserId> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count).map(move |_| {
            let id: String = (0..12)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[(state >> 33) as usize % 36])
                })
                .collect();
            UserId::parse(&id).unwrap()
        })
    }

    /// Pearson's chi-square over all buckets: 9,999 degrees of freedom have the
    /// variance 19,998, so that three sigma are 424.
    #[test]
    fn buckets_are_uniform() {
        for salt in ["", "another"] {
            let mut counts = vec![0_u32; 10_000];
            let count = 500_000;
            for user in random_users(count) {
                counts[usize::from(Bucket::of(&user, salt).number())] += 1;
            }
            let expected = f64::from(count) / 10_000.0;
            let square: f64 = counts
                .iter()
                .map(|seen| (f64::from(*seen) - expected).powi(2) / expected)
                .sum();
            assert!((square - 9_999.0).abs() <= 424.0, "{salt}: {square}");
        }
    }

    #[test]
    fn only_the_salt_moves_a_user() {
        let moved = random_users(20_000)
            .filter(|user| {
                assert_eq!(Bucket::of(user, "a"), Bucket::of(&user.clone(), "a"));
                let half = Share::parse_percent("50").unwrap();
                Bucket::of(user, "a").is_within(half) != Bucket::of(user, "b").is_within(half)
            })
            .count();
        // Independent: half of them, within three sigma (71 each).
        assert!((moved as i64 - 10_000).abs() <= 3 * 71, "{moved}");
    }

    #[test]
    fn the_realised_share_is_the_asked_one_at_every_step() {
        let count = 100_000_u32;
        let buckets: Vec<_> = random_users(count)
            .map(|user| Bucket::of(&user, "s"))
            .collect();
        for percent in 0..=100_u32 {
            let share = Share::parse_percent(&percent.to_string()).unwrap();
            let realised = buckets
                .iter()
                .filter(|bucket| bucket.is_within(share))
                .count() as f64;
            let p = f64::from(percent) / 100.0;
            let sigma = (f64::from(count) * p * (1.0 - p)).sqrt();
            assert!(
                (realised - f64::from(count) * p).abs() <= 3.0 * sigma,
                "{percent}: {realised}"
            );
        }
    }
}
