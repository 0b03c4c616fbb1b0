//! When to fetch an issuer's key set again, decided over `now` alone. A rotation must reach us
//! within one fetch; a JWKS that is down must not sign anybody out for a day; and no stream of
//! made-up key ids may turn this proxy into an amplifier.
//!
//! One value per issuer and isolate. It hands out shared sets, so that nobody holds it across an
//! await; the caller fetches for its own request and never awaits another's fetch, which would
//! hang on this platform: where somebody fetches already it looks again.
//!
//! So what anonymous callers can make an isolate ask of an issuer is bounded, however many they
//! are: one fetch in [`FETCH_LEASE_S`] while there is no set, one in ten seconds while there is
//! an old one or fetches fail, and one in half a minute for key ids nobody has.

use std::collections::VecDeque;
use std::sync::Arc;

use super::jwks::KeySet;
use super::{KeyId, UnixSeconds};

/// Limits of a `max-age`. Logto sends 0, which would mean one fetch for each request; ten minutes
/// is the longest that a key withdrawn by its issuer should go on being believed.
const MIN_FRESH_S: i64 = 60;
const MAX_FRESH_S: i64 = 600;

/// Without a `max-age`.
const DEFAULT_FRESH_S: i64 = 300;

/// After that the set is served while a fetch runs behind the request; then the request waits.
const BACKGROUND_S: i64 = 600;

/// How long a set outlives a key set endpoint that is down, counted from its fetch.
const STALE_IF_ERROR_S: i64 = 24 * 3600;

/// Between two attempts while there is something to serve: covers a fetch in flight (the time-out
/// is shorter) and one that has failed.
const RETRY_S: i64 = 10;

/// With nothing to serve, so long the fetch of one request is enough for all. Short, since it may
/// be lost with its request; a fetch seldom takes as long.
const FETCH_LEASE_S: i64 = 2;

/// Between two fetches because of unknown key ids.
const UNKNOWN_COOLDOWN_S: i64 = 30;

/// A key id that a fresh set did not have is not asked for again for this long. Four cool-downs:
/// short, because an answer may come from a cache that has not seen the rotation yet.
const UNKNOWN_REMEMBERED_S: i64 = 4 * UNKNOWN_COOLDOWN_S;

/// The oldest is forgotten first; the cool-down holds whatever is forgotten.
const MAX_UNKNOWN: usize = 64;

/// What to do for one request that needs the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    Fresh(Arc<KeySet>),
    /// Serve, and fetch behind the request.
    StaleRefreshInBackground(Arc<KeySet>),
    /// Serve and count it; the last attempt was a moment ago.
    Stale(Arc<KeySet>),
    /// Fetch first. Only if that fails may the fallback serve, and is counted.
    MustFetch {
        fallback: Option<Arc<KeySet>>,
    },
    /// Nothing to serve, and somebody is fetching: look again in a moment, not for long.
    LookAgain,
    /// Nothing to serve, and the last attempt failed a moment ago.
    Unavailable,
}

/// What to do about a key id that the set at hand does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknownKeyId {
    /// Fetch once and select again; a stale set never serves as the answer to this.
    Refetch,
    Refuse,
}

/// One issuer's published key set as one isolate knows it.
#[derive(Debug, Clone, Default)]
pub struct LiveKeySet {
    fetched: Option<Fetched>,
    last_attempt_at: Option<UnixSeconds>,
    /// The latest failure, until a fetch succeeds.
    failed_at: Option<UnixSeconds>,
    last_unknown_fetch_at: Option<UnixSeconds>,
    unknown: VecDeque<(KeyId, UnixSeconds)>,
}

#[derive(Debug, Clone)]
struct Fetched {
    set: Arc<KeySet>,
    at: UnixSeconds,
    fresh_s: i64,
}

impl LiveKeySet {
    #[must_use]
    pub fn decide(&self, now: UnixSeconds) -> Use {
        let Some(fetched) = &self.fetched else {
            return self.decide_without(now);
        };
        let set = Arc::clone(&fetched.set);
        let age_s = now.since(fetched.at);
        // A fetch from the future means that the clock was put back: the age says nothing.
        if (0..fetched.fresh_s).contains(&age_s) {
            return Use::Fresh(set);
        }
        if age_s >= STALE_IF_ERROR_S {
            return self.decide_without(now);
        }
        if within(self.last_attempt_at, RETRY_S, now) {
            return Use::Stale(set);
        }
        // Once an attempt has failed nobody waits for the next: a slow endpoint delays no request.
        if age_s < fetched.fresh_s + BACKGROUND_S || self.is_failing() {
            return Use::StaleRefreshInBackground(set);
        }
        Use::MustFetch {
            fallback: Some(set),
        }
    }

    /// With no set at hand one request fetches, but not right after a failed attempt.
    fn decide_without(&self, now: UnixSeconds) -> Use {
        if within(self.failed_at, RETRY_S, now) {
            Use::Unavailable
        } else if within(self.last_attempt_at, FETCH_LEASE_S, now) {
            Use::LookAgain
        } else {
            Use::MustFetch { fallback: None }
        }
    }

    /// Whether the latest attempt failed: only then may anything stand in for the set.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failed_at.is_some()
    }

    /// The set at hand, whatever its age, and when it was fetched.
    #[must_use]
    pub fn held(&self) -> Option<(Arc<KeySet>, UnixSeconds)> {
        let fetched = self.fetched.as_ref()?;
        Some((Arc::clone(&fetched.set), fetched.at))
    }

    /// The attempt brought no set.
    pub fn failed(&mut self, now: UnixSeconds) {
        self.failed_at = Some(now);
    }

    /// To be said before each fetch, so that other requests do not start one too.
    pub fn attempt_started(&mut self, now: UnixSeconds) {
        self.last_attempt_at = Some(now);
    }

    /// A set has arrived. `max_age_s` is the answer's own, if it had one.
    pub fn fetched(&mut self, set: Arc<KeySet>, max_age_s: Option<i64>, now: UnixSeconds) {
        self.unknown
            .retain(|(key_id, _)| set.find(key_id).is_none());
        self.failed_at = None;
        self.fetched = Some(Fetched {
            set,
            at: now,
            fresh_s: max_age_s
                .unwrap_or(DEFAULT_FRESH_S)
                .clamp(MIN_FRESH_S, MAX_FRESH_S),
        });
    }

    /// Decides for a key id that the set at hand lacks; `Refetch` counts as that fetch's start.
    pub fn unknown_key_id(&mut self, key_id: &KeyId, now: UnixSeconds) -> OnUnknownKeyId {
        let as_new_as_can_be = self.fetched.as_ref().is_some_and(|held| held.at == now);
        let known_unknown = self
            .unknown
            .iter()
            .any(|(unknown, at)| unknown == key_id && within(Some(*at), UNKNOWN_REMEMBERED_S, now));
        let cooling = within(self.last_unknown_fetch_at, UNKNOWN_COOLDOWN_S, now);
        if as_new_as_can_be || known_unknown || cooling {
            return OnUnknownKeyId::Refuse;
        }
        self.last_unknown_fetch_at = Some(now);
        self.attempt_started(now);
        OnUnknownKeyId::Refetch
    }

    /// The refetch succeeded and the key is not in it. Not to be said when the fetch failed: then
    /// nothing was learnt.
    pub fn still_unknown(&mut self, key_id: &KeyId, now: UnixSeconds) {
        self.unknown.retain(|(unknown, _)| unknown != key_id);
        if self.unknown.len() >= MAX_UNKNOWN {
            self.unknown.pop_front();
        }
        self.unknown.push_back((key_id.clone(), now));
    }
}

/// Whether `since` lies less than `seconds` back. A time in the future is no time: the clock was
/// put back, and waiting for it could take for ever.
fn within(since: Option<UnixSeconds>, seconds: i64, now: UnixSeconds) -> bool {
    since.is_some_and(|since| (0..seconds).contains(&now.since(since)))
}
