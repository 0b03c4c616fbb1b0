//! Tokens of both issuers: a fresh one of each is verified with keys fetched just now, and
//! refused once its signature is changed; what was imported of Logto's keys covers those
//! it signs with; mgPass says that Logto's token is good, where it can be asked.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{State, Verdict};
use crate::auth::authenticate::{
    Unauthenticated, authenticate, fetch_owed_keys, imported_keys, management_policy, now,
};
use crate::inbound::request::Secret;
use crate::policy::token::{Issuer, KeyId, Policy, parse};
use crate::runtime::backend::{self, BackendFailure, logto, mgpass};
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;
use crate::runtime::settings::MgpassCredential;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub logto: Side,
    pub mgpass: Side,
    pub imported: Option<Imported>,
    pub introspection: Introspected,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// No token could be had, or no keys: by which code.
    pub failure: Option<String>,
    /// Why the fresh token was refused; `None`: it was taken.
    pub refused: Option<String>,
    /// The one with a changed signature was refused for that.
    pub is_tampered_refused: bool,
    pub keys_age_s: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    pub n_keys: usize,
    /// Keys that Logto publishes and the import does not have.
    pub n_missing: usize,
    pub sunset_s: i64,
    pub is_over: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Introspected {
    /// Switched off, or the proxy has no client at mgPass to ask with.
    #[default]
    NotAsked,
    Accepted,
    Refused,
    Failed(String),
}

pub fn judge(facts: Option<&(Facts, i64)>, now_ms: i64) -> Verdict {
    let Some((facts, at_ms)) = facts else {
        return Verdict::never_run();
    };
    for (name, side) in [("Logto", &facts.logto), ("mgPass", &facts.mgpass)] {
        if let Some(verdict) = judge_side(name, side) {
            return verdict;
        }
    }
    match &facts.imported {
        None => {
            return Verdict::of(
                State::NotProbed,
                "No key of Logto's was imported: with Logto gone nobody's token could be verified.",
                "`dwp keys import` (runbook, \"Keys of Logto\").",
            );
        }
        Some(imported) if imported.is_over => {
            return Verdict::red(
                "The imported keys are past their sunset.",
                "Import them again with a later sunset.",
            );
        }
        Some(imported) if imported.n_missing > 0 => {
            return Verdict::red(
                "Logto publishes a key that was not imported.",
                "Import Logto's keys again.",
            );
        }
        Some(_) => {}
    }
    match &facts.introspection {
        Introspected::Refused => Verdict::red(
            "mgPass says that a fresh token of Logto's is not active.",
            "Have Logto's key imported at mgPass (its developer console), or set CHECK_INTROSPECTION to off when no application asks there.",
        ),
        Introspected::Failed(code) => Verdict::unreadable(code),
        Introspected::NotAsked | Introspected::Accepted => {
            Verdict::green("A fresh token of each issuer is taken, a changed one refused.")
                .no_older(*at_ms, now_ms, "`dwp checklist --run`.")
        }
    }
}

/// `None`: nothing to say against it.
fn judge_side(name: &str, side: &Side) -> Option<Verdict> {
    if let Some(code) = &side.failure {
        return Some(Verdict::unreadable(code));
    }
    match side.refused.as_deref() {
        Some("not_three_parts") => Some(Verdict::of(
            State::NotProbed,
            format!("{name} hands the proxy a token that is no JWT."),
            "Give the proxy a client there whose tokens are JWTs.",
        )),
        Some(code) => Some(Verdict::red(
            format!("A fresh token of {name}'s is refused: {code}."),
            "Look at that issuer's published keys and at the settings of issuers and audiences (docs/settings.md).",
        )),
        None if !side.is_tampered_refused => Some(Verdict::red(
            format!("A token of {name}'s with a changed signature is taken."),
            "Set the kill switch and report it: this must never happen.",
        )),
        None => None,
    }
}

pub fn figures(facts: &Facts) -> Json {
    let side = |side: &Side| {
        let fresh = side.failure.as_deref().or(side.refused.as_deref());
        json!({ "fresh": fresh.unwrap_or("taken"), "changed_refused": side.is_tampered_refused, "keys_age_s": side.keys_age_s })
    };
    json!({
        "logto": side(&facts.logto),
        "mgpass": side(&facts.mgpass),
        "imported": facts.imported.as_ref().map(|imported| json!({
            "keys": imported.n_keys, "missing": imported.n_missing, "sunset": imported.sunset_s,
        })),
        "introspection": match &facts.introspection {
            Introspected::NotAsked => "not_asked",
            Introspected::Accepted => "accepted",
            Introspected::Refused => "refused",
            Introspected::Failed(code) => code,
        },
    })
}

pub async fn gather<P: Platform>(platform: &P, context: &Context<'_>) -> Facts {
    // A key that was withdrawn must not live on here.
    fetch_owed_keys(platform, context, vec![Issuer::Logto, Issuer::Mgpass]).await;
    let logto_token = logto::probe::fresh_token(platform, context).await;
    let mgpass_token = mgpass::fresh_token(platform, context).await;
    Facts {
        logto: side(platform, context, Issuer::Logto, &logto_token).await,
        mgpass: side(platform, context, Issuer::Mgpass, &mgpass_token).await,
        imported: imported(platform, context).await,
        introspection: introspection(platform, context, &logto_token).await,
    }
}

async fn side<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    issuer: Issuer,
    token: &Result<Secret<String>, BackendFailure>,
) -> Side {
    let held = context.isolate.held_keys(issuer);
    let keys_age_s = held.map(|(_, at)| now(platform).since(at));
    let token = match token {
        Ok(token) => token,
        Err(failure) => {
            return Side {
                failure: Some(failure.code().to_owned()),
                keys_age_s,
                ..Side::default()
            };
        }
    };
    let mut policy = management_policy(context, issuer);
    // The proxy's own client is the audience of the token that it got for itself.
    let mut audiences = policy.audiences.to_vec();
    if let (Issuer::Mgpass, MgpassCredential::Client(client)) =
        (issuer, &context.settings.mgpass_credential)
    {
        audiences.push(client.id.clone());
    }
    policy.audiences = &audiences;
    let (failure, refused) = match taken(platform, context, &token.0, &policy).await {
        Ok(()) => (None, None),
        Err(Unauthenticated::KeysUnavailable) => (Some("keys_unavailable".to_owned()), None),
        Err(Unauthenticated::Refused(refusal)) => (None, Some(refusal.code().to_owned())),
    };
    let changed = changed(&token.0);
    let changed = taken(platform, context, &changed, &policy).await;
    Side {
        failure,
        refused,
        is_tampered_refused: matches!(changed, Err(Unauthenticated::Refused(_))),
        keys_age_s,
    }
}

async fn taken<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &str,
    policy: &Policy<'_>,
) -> Result<(), Unauthenticated> {
    let attributed = parse(token)
        .and_then(|token| token.partition(context.issuers))
        .map_err(Unauthenticated::Refused)?;
    authenticate(platform, context, &attributed, policy)
        .await
        .map(|_| ())
}

/// The same with another first character of the signature, which is as well-formed.
fn changed(token: &str) -> String {
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return token.to_owned();
    };
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let rest = signature.get(1..).unwrap_or_default();
    format!("{signed}.{other}{rest}")
}

async fn imported<P: Platform>(platform: &P, context: &Context<'_>) -> Option<Imported> {
    let imported = imported_keys(platform, context).await?;
    let published = context.isolate.held_keys(Issuer::Logto);
    let kids = published
        .iter()
        .flat_map(|(set, _)| set.keys())
        .filter_map(|key| key.key_id());
    let is_missing = |kid: &&KeyId| imported.set().find(kid).is_none();
    Some(Imported {
        n_keys: imported.set().keys().len(),
        n_missing: kids.filter(is_missing).count(),
        sunset_s: imported.bounds().sunset.0,
        is_over: imported.is_past_sunset(now(platform)),
    })
}

async fn introspection<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &Result<Secret<String>, BackendFailure>,
) -> Introspected {
    let has_client = matches!(
        context.settings.mgpass_credential,
        MgpassCredential::Client(_)
    );
    let Ok(token) = token else {
        return Introspected::NotAsked;
    };
    if !context.settings.checks.introspection || !has_client {
        return Introspected::NotAsked;
    }
    let body = backend::form(&[("token", &token.0), ("token_type_hint", "access_token")]);
    match mgpass::introspect(platform, context, Secret(body)).await {
        Err(failure) => Introspected::Failed(failure.code().to_owned()),
        Ok(answer) => {
            let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
            match body.get("active").and_then(Json::as_bool) {
                Some(true) => Introspected::Accepted,
                Some(false) => Introspected::Refused,
                None => Introspected::Failed("out_of_contract".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let side = Side {
            is_tampered_refused: true,
            keys_age_s: Some(0),
            ..Side::default()
        };
        Facts {
            logto: side.clone(),
            mgpass: side,
            imported: Some(Imported {
                n_keys: 1,
                ..Imported::default()
            }),
            introspection: Introspected::Accepted,
        }
    }

    #[test]
    fn each_fact_alone_makes_it_not_green() {
        let state = |change: fn(&mut Facts)| {
            let mut facts = good();
            change(&mut facts);
            judge(Some(&(facts, 0)), 1).state
        };
        assert_eq!(state(|_| {}), State::Green);
        assert_eq!(judge(None, 1).state, State::NotProbed);
        assert_eq!(
            state(|facts| facts.logto.refused = Some("unknown_kid".into())),
            State::Red
        );
        assert_eq!(
            state(|facts| facts.mgpass.refused = Some("not_three_parts".into())),
            State::NotProbed
        );
        assert_eq!(
            state(|facts| facts.mgpass.is_tampered_refused = false),
            State::Red
        );
        assert_eq!(
            state(|facts| facts.mgpass.failure = Some("timed_out".into())),
            State::Unreadable
        );
        assert_eq!(state(|facts| facts.imported = None), State::NotProbed);
        assert_eq!(
            state(|facts| facts.imported.as_mut().unwrap().n_missing = 1),
            State::Red
        );
        assert_eq!(
            state(|facts| facts.imported.as_mut().unwrap().is_over = true),
            State::Red
        );
        assert_eq!(
            state(|facts| facts.introspection = Introspected::Refused),
            State::Red
        );
        assert_eq!(
            state(|facts| facts.introspection = Introspected::NotAsked),
            State::Green
        );
        let old = judge(Some(&(good(), 0)), super::super::MAX_AGE_MS + 1);
        assert_eq!(old.state, State::Old);
    }

    #[test]
    fn a_changed_token_has_another_signature_of_the_same_length() {
        assert_eq!(changed("a.b.cde"), "a.b.Ade");
        assert_eq!(changed("a.b.Ade"), "a.b.Bde");
        assert_eq!(changed("opaque"), "opaque");
    }
}
