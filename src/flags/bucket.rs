//! Subject -> bucket 0..=9,999, by a keyed hash of (`salt`, user id).
//!
//! Sticky: only the salt moves a user. Monotone: a user is in a share when the
//! bucket lies below it, so that raising a percentage never moves anyone back.

use siphasher::sip::SipHasher24;

use crate::flags::Share;
use crate::request::UserId;

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

    #[test]
    fn the_realised_share_is_the_asked_one() {
        let count = 100_000_u32;
        for percent in [1_u32, 10, 50] {
            let share = Share::parse_percent(&percent.to_string()).unwrap();
            let realised = users(count)
                .filter(|user| Bucket::of(user, "s").is_within(share))
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
