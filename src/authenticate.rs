//! Bearer token -> principal: fetches what `token` needs, in its order.
//!
//! Unverified issuer -> that issuer's key set -> signature -> claims. An imported
//! Logto key is asked only when the live set does not have the key, or cannot be
//! had. No request waits for another request's fetch: on this platform that hangs.

use std::sync::Arc;

use crate::backend::{Backend, logto, mgpass};
use crate::context::Context;
use crate::observe::Event;
use crate::ports::Platform;
use crate::token::{
    AttributedToken, ImportedKeys, Issuer, KeySet, OnUnknownKeyId, Policy, Principal, Refusal,
    Skew, UnixSeconds, Use, Verdict,
};

pub fn now<P: Platform>(platform: &P) -> UnixSeconds {
    UnixSeconds(platform.now_ms().div_euclid(1_000))
}

/// What the management routes ask of a token of this issuer.
fn policy<'a>(context: &'a Context<'_>, issuer: Issuer) -> Policy<'a> {
    let settings = context.settings;
    let (audiences, scope) = match issuer {
        Issuer::Logto => (std::slice::from_ref(&settings.logto_api_audience), "all"),
        Issuer::Mgpass => (settings.mgpass_audiences.as_slice(), "mgpass:admin"),
    };
    Policy {
        issuer: context.issuers.name(issuer),
        audiences,
        token_type: issuer.access_token_type(),
        required_scope: Some(scope),
        skew: Skew::MAX,
        max_lifetime_s: None,
    }
}

/// # Errors
/// A refusal that names the check that failed; never the token.
pub async fn authenticate<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
) -> Result<Principal, Refusal> {
    let issuer = token.issuer();
    let live = live_keys(platform, context, issuer).await;
    let mut outcome = match &live {
        Some(set) => verify(platform, context, token, set).await,
        None => Err(Refusal::UnknownKeyId),
    };
    if let (Err(Refusal::UnknownKeyId), Some(key_id), true) =
        (&outcome, token.key_id(), live.is_some())
    {
        let now = now(platform);
        if context.isolate.unknown_key(issuer, key_id, now) == OnUnknownKeyId::Refetch
            && let Some(set) = fetch_keys(platform, context, issuer).await
        {
            outcome = verify(platform, context, token, &set).await;
            if outcome == Err(Refusal::UnknownKeyId) {
                context.isolate.key_still_unknown(issuer, key_id, now);
            }
        }
    }
    if outcome == Err(Refusal::UnknownKeyId)
        && issuer == Issuer::Logto
        && let Some(imported) = imported_keys(platform, context).await
        && !imported.is_past_sunset(now(platform))
    {
        outcome = verify(platform, context, token, imported.set()).await;
    }
    outcome
}

async fn verify<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &AttributedToken<'_>,
    set: &KeySet,
) -> Result<Principal, Refusal> {
    let check = token.select(set)?;
    let verdict = Verdict::from(platform.verify(&check).await);
    let signed = check.conclude(verdict)?;
    signed.validate(&policy(context, token.issuer()), now(platform))
}

async fn live_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
) -> Option<Arc<KeySet>> {
    match context.isolate.keys(issuer, now(platform)) {
        Use::Fresh(set) | Use::Stale(set) => Some(set),
        // One in a while pays for the refresh itself; the set at hand is its fallback.
        Use::StaleRefreshInBackground(set) => {
            Some(fetch_keys(platform, context, issuer).await.unwrap_or(set))
        }
        Use::MustFetch { fallback } => fetch_keys(platform, context, issuer).await.or(fallback),
    }
}

async fn fetch_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
) -> Option<Arc<KeySet>> {
    context.isolate.key_fetch_started(issuer, now(platform));
    let backend = match issuer {
        Issuer::Logto => Backend::Logto,
        Issuer::Mgpass => Backend::Mgpass,
    };
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
                issuer: backend.name(),
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
            platform.emit(&Event::KeysUnreachable {
                issuer: backend.name(),
                code,
            });
            None
        }
    }
}

async fn imported_keys<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Option<Arc<ImportedKeys>> {
    if let Some(held) = context.isolate.imported(now(platform)) {
        return held;
    }
    let keys = match platform.imported_keys().await {
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
