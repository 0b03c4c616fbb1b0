//! Our own copy of Logto's public keys, for when Logto's JWKS cannot be had and for after Logto is
//! gone. Whoever holds the private half of an imported key could mint tokens for ever, so the copy
//! verifies only tokens issued before Logto stopped, no longer-lived than Logto ever granted, and
//! only until a sunset. The bounds travel inside each key and are enforced by `policy`.
//!
//! The value in the namespace `KEYS` has exactly the five members below. An unknown one is a
//! failure, because a misspelt bound would otherwise be no bound.

use serde::de::DeserializeOwned;

use super::json::{self, JsonFault, RawMembers};
use super::jwks::{KeySet, KeySetFailure, MAX_KEY_SET_BYTES};
use super::key::KeyBounds;
use super::{Issuer, IssuerNames, UnixSeconds};

const ISSUER: &str = "issuer";
const STOPPED_ISSUING_AT: &str = "stopped_issuing_at";
const MAX_LIFETIME_S: &str = "max_lifetime_s";
const SUNSET: &str = "sunset";
const KEYS: &str = "keys";
const MEMBERS: [&str; 5] = [ISSUER, STOPPED_ISSUING_AT, MAX_LIFETIME_S, SUNSET, KEYS];

/// A year: beyond any access token, so more is a unit mistaken.
const MAX_LIFETIME_LIMIT_S: i64 = 365 * 24 * 3600;

/// 9999-12-31T23:59:59Z, as for claims.
const MAX_TIME: i64 = 253_402_300_799;

/// Keys copied from Logto, with what limits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedKeys {
    set: KeySet,
    bounds: KeyBounds,
}

/// Why the stored value cannot be used. No imported key verifies anything then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportFailure {
    /// Longer than a key set may be.
    #[error("imported keys are too large")]
    TooLarge,
    /// Not a JSON object.
    #[error("imported keys: {0}")]
    Json(JsonFault),
    /// One of the five members is absent.
    #[error("imported keys have no {0}")]
    MemberMissing(&'static str),
    /// A member has the wrong type or is out of range.
    #[error("imported keys have a malformed {0}")]
    MemberMalformed(&'static str),
    /// A sixth member.
    #[error("imported keys have an unknown member")]
    MemberUnknown,
    /// Keys of anybody but Logto.
    #[error("imported keys are not of the old issuer")]
    NotLogto,
    /// They would never verify a token issued at the end.
    #[error("imported keys reach their sunset before their issuer stopped")]
    SunsetBeforeStop,
    /// The list of keys is unusable.
    #[error("imported keys: {0}")]
    Keys(KeySetFailure),
}

impl ImportFailure {
    /// Stable name for logs, metrics and tests.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "imported_keys_too_large",
            Self::Json(_) => "imported_keys_not_json",
            Self::MemberMissing(_) => "imported_keys_member_missing",
            Self::MemberMalformed(_) => "imported_keys_member_malformed",
            Self::MemberUnknown => "imported_keys_member_unknown",
            Self::NotLogto => "imported_keys_not_logto",
            Self::SunsetBeforeStop => "imported_keys_sunset_before_stop",
            Self::Keys(failure) => failure.code(),
        }
    }
}

impl ImportedKeys {
    /// Reads the stored value.
    ///
    /// # Errors
    /// On any member missing, unknown or malformed, and when no key is usable. A single unusable
    /// key is only left out and reported by [`KeySet::skipped`].
    pub fn parse(value: &[u8], issuers: &IssuerNames) -> Result<Self, ImportFailure> {
        if value.len() > MAX_KEY_SET_BYTES {
            return Err(ImportFailure::TooLarge);
        }
        let members = json::parse_raw_object(value).map_err(ImportFailure::Json)?;
        if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(ImportFailure::MemberUnknown);
        }
        let issuer: String = read(&members, ISSUER)?;
        if issuer != issuers.name(Issuer::Logto) {
            return Err(ImportFailure::NotLogto);
        }
        let bounds = read_bounds(&members)?;
        let keys = members
            .get(KEYS)
            .ok_or(ImportFailure::MemberMissing(KEYS))?;
        let set =
            KeySet::from_list(Issuer::Logto, Some(bounds), keys).map_err(ImportFailure::Keys)?;
        Ok(Self { set, bounds })
    }

    /// The keys, each already bounded.
    #[must_use]
    pub const fn set(&self) -> &KeySet {
        &self.set
    }

    #[must_use]
    pub const fn bounds(&self) -> KeyBounds {
        self.bounds
    }

    /// Whether Logto had stopped issuing by `now`, so that no other key of its can exist.
    #[must_use]
    pub fn has_stopped(&self, now: UnixSeconds) -> bool {
        self.bounds.issued_before.is_some_and(|stop| now >= stop)
    }

    /// When the last token that they verify has expired.
    #[must_use]
    pub fn last_end(&self) -> UnixSeconds {
        let bounds = self.bounds;
        let stop = bounds.issued_before;
        let by_lifetime = stop.map(|stop| stop.plus(bounds.max_lifetime_s));
        by_lifetime.map_or(bounds.sunset, |end| end.min(bounds.sunset))
    }

    /// Whether it is worth asking these keys at all.
    #[must_use]
    pub fn is_past_sunset(&self, now: UnixSeconds) -> bool {
        now >= self.bounds.sunset
    }
}

fn read_bounds(members: &RawMembers) -> Result<KeyBounds, ImportFailure> {
    let stop: Option<i64> = read(members, STOPPED_ISSUING_AT)?;
    let issued_before = match stop {
        Some(stop) => Some(in_time(stop, STOPPED_ISSUING_AT)?),
        None => None,
    };
    let sunset = in_time(read(members, SUNSET)?, SUNSET)?;
    let max_lifetime_s: i64 = read(members, MAX_LIFETIME_S)?;
    if !(1..=MAX_LIFETIME_LIMIT_S).contains(&max_lifetime_s) {
        return Err(ImportFailure::MemberMalformed(MAX_LIFETIME_S));
    }
    if issued_before.is_some_and(|stop| sunset <= stop) {
        return Err(ImportFailure::SunsetBeforeStop);
    }
    Ok(KeyBounds {
        issued_before,
        max_lifetime_s,
        sunset,
    })
}

fn read<T: DeserializeOwned>(members: &RawMembers, name: &'static str) -> Result<T, ImportFailure> {
    let value = members
        .get(name)
        .ok_or(ImportFailure::MemberMissing(name))?;
    serde_json::from_str(value.get()).map_err(|_| ImportFailure::MemberMalformed(name))
}

fn in_time(seconds: i64, name: &'static str) -> Result<UnixSeconds, ImportFailure> {
    if (1..=MAX_TIME).contains(&seconds) {
        Ok(UnixSeconds(seconds))
    } else {
        Err(ImportFailure::MemberMalformed(name))
    }
}
