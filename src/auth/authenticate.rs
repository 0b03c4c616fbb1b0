//! Bearer token -> principal: fetches what `token` needs, in its order.
//!
//! Unverified issuer -> that issuer's key set -> signature -> claims. An imported
//! Logto key stands in only while Logto's own set cannot be had: what a reachable
//! Logto no longer publishes is withdrawn, and the import does not revive it. No
//! request awaits another request's fetch, which on this platform hangs: it looks
//! again until the set is there.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};

use crate::policy::token::{
    AttributedToken, ImportedKeys, Issuer, KeyId, KeySet, OnUnknownKeyId, Policy, Principal,
    Refusal, SignedToken, Subject, UnixSeconds, Use, Validity,
};
use crate::runtime::backend::{logto, mgpass};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{KvFailure, Platform};

/// Who waits for KV here waits with a client.
const IMPORTED_DEADLINE_MS: u32 = 1_000;
/// While another request fetches a set that this one needs: as long as a fetch may take.
const LOOK_FOR_MS: i64 = 3_000;
const LOOK_EVERY_MS: u32 = 50;

pub fn now<P: Platform>(platform: &P) -> UnixSeconds {
    UnixSeconds(platform.now_ms().div_euclid(1_000))
}

/// Why nobody is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The issuer's keys could not be had: nothing is known of the token.
    #[error("the issuer's keys cannot be had")]
    KeysUnavailable,
}

impl Unauthenticated {
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

/// What the management routes ask of a token of this issuer.
pub fn management_policy<'a>(context: &'a Context<'_>, issuer: Issuer) -> Policy<'a> {
    let settings = context.settings;
    let (audiences, scope) = match issuer {
        Issuer::Logto => (std::slice::from_ref(&settings.logto_api_audience), "all"),
        Issuer::Mgpass => (settings.mgpass_audiences.as_slice(), "mgpass:admin"),
    };
    Policy {
        required_scope: Some(scope),
        ..policy(context, issuer, audiences)
    }
}

/// A token of this issuer for one of these audiences, whatever its scope.
pub fn policy<'a>(context: &'a Context<'_>, issuer: Issuer, audiences: &'a [String]) -> Policy<'a> {
    Policy {
        issuer: context.issuers.name(issuer),
        audiences,
        token_type: issuer.access_token_type(),
        required_scope: None,
        skew: context.settings.clock_skew,
        max_lifetime_s: context.settings.max_token_lifetime_s,
    }
}

/// # Errors
/// The check that failed; never the token.
pub async fn authenticate<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
    policy: &Policy<'_>,
) -> Result<Principal, Unauthenticated> {
    let signed = signed(platform, context, token).await?;
    Ok(signed.validate(policy, now(platform))?)
}

/// False when the token cannot be live, whoever is asked: its signature does not hold, or its time
/// is over. True leaves it to its issuer, which also sees what ends before its time.
pub async fn may_be_live<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
) -> bool {
    match signed(platform, context, token).await {
        Ok(signed) => now(platform) < signed.expires_at(),
        Err(Unauthenticated::Refused(_)) => false,
        Err(Unauthenticated::KeysUnavailable) => true,
    }
}

/// Whom the issuer signed it for, its time over or not: good for ending what that user
/// has, and for nothing else.
pub async fn vouched_subject<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
) -> Option<Subject> {
    let signed = signed(platform, context, token).await.ok()?;
    Some(signed.subject().clone())
}

async fn signed<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
) -> Result<SignedToken, Unauthenticated> {
    let issuer = token.issuer();
    if let Some(live) = live_keys(platform, context, issuer, token.key_id()).await {
        let outcome = verify(platform, context, token, &live).await;
        if outcome.as_ref().err() != Some(&Refusal::UnknownKeyId) {
            return Ok(outcome?);
        }
        if let Some(fresh) = refetch(platform, context, issuer, token.key_id()).await {
            return Ok(verify(platform, context, token, &fresh).await?);
        }
        if !context.isolate.keys_are_failing(issuer) {
            return Err(Refusal::UnknownKeyId.into());
        }
    }
    match issuer {
        Issuer::Logto => signed_by_import(platform, context, token).await,
        Issuer::Mgpass => Err(Unauthenticated::KeysUnavailable),
    }
}

/// Logto's own set cannot be had. Once Logto has stopped issuing, the import is all there is.
async fn signed_by_import<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
) -> Result<SignedToken, Unauthenticated> {
    let imported = imported_keys(platform, context).await;
    let Some(imported) = imported else {
        return Err(Unauthenticated::KeysUnavailable);
    };
    let outcome = verify(platform, context, token, imported.set()).await;
    match outcome {
        Ok(signed) if context.isolate.asks_no_logto() => Ok(signed),
        Ok(signed) => {
            platform.emit(&Event::KeysStale {
                issuer: Issuer::Logto.label(),
                source: "imported",
            });
            Ok(signed)
        }
        Err(Refusal::UnknownKeyId) if !imported.has_stopped(now(platform)) => {
            Err(Unauthenticated::KeysUnavailable)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn verify<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
    set: &KeySet,
) -> Result<SignedToken, Refusal> {
    let check = token.select(set)?;
    let fingerprint = check.fingerprint();
    if context.isolate.is_verified(&fingerprint, now(platform)) {
        return check.conclude(Validity::Valid);
    }
    let verdict = Validity::from(platform.verify(&check).await);
    let signed = check.conclude(verdict)?;
    context
        .isolate
        .remember_verified(fingerprint, signed.expires_at());
    Ok(signed)
}

/// The issuer's published keys as far as they can be had now.
async fn live_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
    key_id: Option<&KeyId>,
) -> Option<Arc<KeySet>> {
    if issuer == Issuer::Logto && context.isolate.asks_no_logto() {
        return None;
    }
    let stale = |set| {
        platform.emit(&Event::KeysStale {
            issuer: issuer.label(),
            source: "stale_set",
        });
        set
    };
    let look_until_ms = platform.now_ms() + LOOK_FOR_MS;
    loop {
        let now = now(platform);
        let decided = context.isolate.keys(issuer, now);
        let is_failing = context.isolate.keys_are_failing(issuer);
        match decided {
            Use::Fresh(set) => return Some(set),
            Use::Stale(set) if is_failing => return Some(stale(set)),
            Use::Stale(set) => return Some(set),
            Use::StaleRefreshInBackground(set) => {
                context.isolate.owe_key_fetch(issuer, now);
                return Some(set);
            }
            Use::MustFetch {
                fallback: Some(set),
            } => {
                let fetched = fetch_keys(platform, context, issuer).await;
                return fetched.or_else(|| Some(stale(set)));
            }
            Use::Unavailable => return None,
            // There is an answer at hand: nobody waits for a backend that may be gone.
            Use::MustFetch { fallback: None } | Use::LookAgain
                if is_failing
                    && issuer == Issuer::Logto
                    && has_imported(platform, context, key_id).await =>
            {
                if context.isolate.keys(issuer, now) == (Use::MustFetch { fallback: None }) {
                    context.isolate.owe_key_fetch(issuer, now);
                }
                return None;
            }
            Use::MustFetch { fallback: None } => {
                return fetch_keys(platform, context, issuer).await;
            }
            Use::LookAgain if platform.now_ms() >= look_until_ms => return None,
            Use::LookAgain => platform.sleep(LOOK_EVERY_MS).await,
        }
    }
}

/// A key that the set at hand lacks may be in a newer one: asked for once, within limits.
async fn refetch<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
    key_id: Option<&KeyId>,
) -> Option<Arc<KeySet>> {
    let (key_id, now) = (key_id?, now(platform));
    if context.isolate.unknown_key(issuer, key_id, now) == OnUnknownKeyId::Refuse {
        return None;
    }
    let set = fetch_keys(platform, context, issuer).await?;
    if set.find(key_id).is_none() {
        context.isolate.key_still_unknown(issuer, key_id, now);
    }
    Some(set)
}

/// The fetches that requests left behind them.
pub async fn fetch_owed_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuers: Vec<Issuer>,
) {
    for issuer in issuers {
        fetch_keys(platform, context, issuer).await;
    }
}

/// Every usable key of both issuers, the imported ones included; `None` when an issuer's
/// keys could not be had, since a set without them would sign its users out.
pub async fn all_keys<P: Platform>(platform: &P, context: &Context<'_>) -> Option<String> {
    let mgpass = live_keys(platform, context, Issuer::Mgpass, None).await?;
    let logto = live_keys(platform, context, Issuer::Logto, None).await;
    let imported = imported_keys(platform, context).await;
    if logto.is_none() && imported.is_none() {
        return None;
    }
    let now = now(platform);
    let imported = imported
        .as_deref()
        .filter(|imported| !imported.is_past_sunset(now));
    let sets: Vec<&KeySet> = [
        logto.as_deref(),
        Some(&*mgpass),
        imported.map(ImportedKeys::set),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(crate::policy::token::union(&sets, context.issuers))
}

async fn fetch_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
) -> Option<Arc<KeySet>> {
    context.isolate.key_fetch_started(issuer, now(platform));
    let answer = match issuer {
        Issuer::Logto => logto::jwks(platform, context).await,
        Issuer::Mgpass => mgpass::jwks(platform, context).await,
    };
    let parsed = answer.map_err(|failure| failure.code()).and_then(|answer| {
        KeySet::parse(issuer, answer.body.as_bytes())
            .map(|set| (Arc::new(set), answer.max_age_s))
            .map_err(|failure| failure.code())
    });
    match parsed {
        Ok((set, max_age_s)) => {
            platform.emit(&Event::KeysRefreshed {
                issuer: issuer.label(),
                n_keys: set.keys().len(),
                n_skipped: set.skipped().len(),
            });
            context.isolate.keys_fetched(
                issuer,
                Arc::clone(&set),
                max_age_s.map(i64::from),
                now(platform),
            );
            Some(set)
        }
        Err(code) => {
            context.isolate.key_fetch_failed(issuer, now(platform));
            platform.emit(&Event::KeysUnreachable {
                issuer: issuer.label(),
                code,
            });
            None
        }
    }
}

async fn has_imported<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    key_id: Option<&KeyId>,
) -> bool {
    let imported = imported_keys(platform, context).await;
    imported.is_some_and(|imported| match key_id {
        Some(key_id) => imported.set().find(key_id).is_some(),
        None => true,
    })
}

/// Our copy of Logto's keys, if there is one that can be read.
pub async fn imported_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Option<Arc<ImportedKeys>> {
    if let Some(held) = context.isolate.imported(now(platform)) {
        return held;
    }
    let asked = pin!(platform.imported_keys());
    let deadline = pin!(platform.sleep(IMPORTED_DEADLINE_MS));
    let stored = match select(asked, deadline).await {
        Either::Left((stored, _)) => stored,
        Either::Right(_) => Err(KvFailure),
    };
    let keys = match stored {
        Ok(Some(text)) => match ImportedKeys::parse(text.as_bytes(), context.issuers) {
            Ok(keys) => Some(Arc::new(keys)),
            Err(failure) => {
                platform.emit(&Event::KeysUnreachable {
                    issuer: "imported",
                    code: failure.code(),
                });
                None
            }
        },
        Ok(None) => None,
        Err(_) => {
            platform.emit(&Event::KeysUnreachable {
                issuer: "imported",
                code: "key_value_store",
            });
            return None;
        }
    };
    context.isolate.set_imported(keys.clone(), now(platform));
    keys
}
