//! Signatures that held, so that the same token is not checked twice. Only the signature is
//! remembered: claims, time and the bounds of imported keys are judged anew for every request.
//!
//! An entry is named by a digest over key and token, and is looked up only after the key was found
//! in the set at hand; so a key that leaves its set takes its entries with it. The number of
//! entries is bounded, and none outlives its token's `exp`.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use super::UnixSeconds;

/// About 80 bytes each: 160 KiB in an isolate that may have 128 MiB.
const MAX_ENTRIES: usize = 2048;

/// SHA-256 over a key and a token signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Each part with its length in front, so that no part can lend bytes to the next.
    pub(super) fn of(parts: [&[u8]; 4]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

#[derive(Debug, Default)]
pub struct VerifiedTokens {
    until: BTreeMap<Fingerprint, UnixSeconds>,
    /// Oldest first.
    order: VecDeque<Fingerprint>,
}

impl VerifiedTokens {
    #[must_use]
    pub fn holds(&self, fingerprint: &Fingerprint, now: UnixSeconds) -> bool {
        self.until
            .get(fingerprint)
            .is_some_and(|until| now < *until)
    }

    pub fn remember(&mut self, fingerprint: Fingerprint, until: UnixSeconds) {
        if self.until.insert(fingerprint, until).is_some() {
            return;
        }
        self.order.push_back(fingerprint);
        if self.order.len() > MAX_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }

    /// A key set has changed.
    pub fn forget_all(&mut self) {
        self.until.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, MAX_ENTRIES, VerifiedTokens};
    use crate::policy::token::UnixSeconds;

    fn fingerprint(number: usize) -> Fingerprint {
        Fingerprint::of([&number.to_be_bytes(), b"key", b"input", b"signature"])
    }

    #[test]
    fn nothing_is_remembered_beyond_its_expiry() {
        let mut verified = VerifiedTokens::default();
        verified.remember(fingerprint(1), UnixSeconds(100));
        assert!(verified.holds(&fingerprint(1), UnixSeconds(99)));
        assert!(!verified.holds(&fingerprint(1), UnixSeconds(100)));
        assert!(!verified.holds(&fingerprint(2), UnixSeconds(99)));
    }

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut verified = VerifiedTokens::default();
        for number in 0..=MAX_ENTRIES {
            verified.remember(fingerprint(number), UnixSeconds(100));
        }
        assert!(!verified.holds(&fingerprint(0), UnixSeconds(1)));
        assert!(verified.holds(&fingerprint(1), UnixSeconds(1)));
        assert!(verified.holds(&fingerprint(MAX_ENTRIES), UnixSeconds(1)));
        assert_eq!(verified.until.len(), MAX_ENTRIES);
        verified.forget_all();
        assert!(!verified.holds(&fingerprint(1), UnixSeconds(1)));
    }

    #[test]
    fn the_same_bytes_divided_otherwise_are_another_entry() {
        let one = Fingerprint::of([b"a", b"bc", b"d", b"e"]);
        let other = Fingerprint::of([b"ab", b"c", b"d", b"e"]);
        assert_ne!(one, other);
    }
}
