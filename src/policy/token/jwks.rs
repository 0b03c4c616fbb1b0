//! Reads one issuer's key set. A key that cannot be used is left out and reported, so that one odd
//! entry never signs everybody out; a set without a single usable key is a failure, so that it
//! never replaces one that works.
//!
//! RFC 7517 5.

use serde_json::value::RawValue;

use super::json::{self, JsonFault};
use super::jwk::KeyFault;
use super::key::{KeyBounds, VerificationKey};
use super::{Issuer, KeyId};

/// A key set of 32 RSA keys of 8192 bits has about 50 KB.
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// Logto publishes at most three keys (older versions a handful).
pub const MAX_KEYS: usize = 32;

/// The usable keys of one issuer, each under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    issuer: Issuer,
    keys: Vec<VerificationKey>,
    skipped: Vec<SkippedKey>,
}

/// A key that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    pub key_id: Option<KeyId>,
    pub fault: KeyFault,
}

/// Why an answer is not a key set. The set in use stays in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetFailure {
    /// Longer than [`MAX_KEY_SET_BYTES`].
    #[error("key set is too large")]
    TooLarge,
    /// A page for people, from a captive proxy or an error page with status 200.
    #[error("key set is a markup page")]
    Markup,
    /// Not a JSON object.
    #[error("key set: {0}")]
    Json(JsonFault),
    /// There is no `keys`, or it is not a list.
    #[error("key set has no list of keys")]
    NoKeys,
    /// More than [`MAX_KEYS`].
    #[error("key set has too many keys")]
    TooManyKeys,
    /// Not one key that could verify anything.
    #[error("key set has no usable key")]
    NoUsableKey { skipped: Vec<SkippedKey> },
}

impl KeySetFailure {
    /// Stable name for logs, metrics and tests.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "key_set_too_large",
            Self::Markup => "key_set_markup",
            Self::Json(JsonFault::DuplicateMember) => "key_set_duplicate_member",
            Self::Json(_) => "key_set_not_json",
            Self::NoKeys => "key_set_no_keys",
            Self::TooManyKeys => "key_set_too_many_keys",
            Self::NoUsableKey { .. } => "key_set_no_usable_key",
        }
    }
}

impl KeySet {
    /// Reads the body of a JWKS answer of `issuer`, who must be known from where it was fetched.
    ///
    /// # Errors
    /// When there is no key to be had from it.
    pub fn parse(issuer: Issuer, body: &[u8]) -> Result<Self, KeySetFailure> {
        if body.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetFailure::TooLarge);
        }
        if body.trim_ascii_start().first() == Some(&b'<') {
            return Err(KeySetFailure::Markup);
        }
        let members = json::parse_raw_object(body).map_err(KeySetFailure::Json)?;
        let keys = members.get("keys").ok_or(KeySetFailure::NoKeys)?;
        Self::from_list(issuer, None, keys)
    }

    pub(super) fn from_list(
        issuer: Issuer,
        bounds: Option<KeyBounds>,
        list: &RawValue,
    ) -> Result<Self, KeySetFailure> {
        let list: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| KeySetFailure::NoKeys)?;
        if list.len() > MAX_KEYS {
            return Err(KeySetFailure::TooManyKeys);
        }
        let mut keys: Vec<VerificationKey> = Vec::new();
        let mut skipped = Vec::new();
        for jwk in list {
            match VerificationKey::from_jwk(issuer, bounds, jwk.get()) {
                // The very same key twice leaves nothing to choose.
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err((key_id, fault)) => skipped.push(SkippedKey { key_id, fault }),
            }
        }
        let keys = without_ambiguous(keys, &mut skipped);
        if keys.is_empty() {
            return Err(KeySetFailure::NoUsableKey { skipped });
        }
        Ok(Self {
            issuer,
            keys,
            skipped,
        })
    }

    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }

    #[must_use]
    pub fn keys(&self) -> &[VerificationKey] {
        &self.keys
    }

    /// What was left out, and why.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    #[must_use]
    pub fn find(&self, key_id: &KeyId) -> Option<&VerificationKey> {
        self.keys.iter().find(|key| key.key_id() == Some(key_id))
    }

    /// The key of a set that has exactly one.
    pub(super) fn only(&self) -> Option<&VerificationKey> {
        match self.keys.as_slice() {
            [key] => Some(key),
            _ => None,
        }
    }
}

/// Drops every key that shares its name with another: to take the first would let whoever can add
/// a key to the set decide which one is meant.
fn without_ambiguous(
    keys: Vec<VerificationKey>,
    skipped: &mut Vec<SkippedKey>,
) -> Vec<VerificationKey> {
    let names: Vec<KeyId> = keys
        .iter()
        .filter_map(|key| key.key_id().cloned())
        .collect();
    let (unique, ambiguous): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| {
        key.key_id()
            .is_none_or(|id| names.iter().filter(|name| *name == id).count() == 1)
    });
    skipped.extend(ambiguous.into_iter().map(|key| SkippedKey {
        key_id: key.key_id().cloned(),
        fault: KeyFault::AmbiguousKeyId,
    }));
    unique
}
