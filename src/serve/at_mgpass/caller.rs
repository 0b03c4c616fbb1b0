//! Who asks, and what they may: the edge judges what it can (an access token of Logto's
//! for its Management API); everybody else is judged by Logto, with a harmless read under
//! their own headers. Logto's own words to whom it refuses are what the client gets.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join;
use serde_json::Value as Json;

use crate::auth::authenticate::{authenticate, management_policy};
use crate::inbound::request::{Secret, UserId, bearer};
use crate::policy::token::{self, Issuer};
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::dependencies::UNNAMED;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{CallAnswer, CallFailure, Exchange, Platform};
use crate::serve::translate_write::{Proof, Reply};

/// Says nothing of anybody, and is open to exactly those whom the Management API takes.
const MANAGEMENT_PROBE: &str = "/api/sign-in-exp";
const ACCOUNT: &str = "/api/my-account";
/// Refused with this very code exactly when the verification record does not hold.
const PROOF_PROBE: &str = "/api/my-account/sessions";
const NO_PROOF: &str = "verification_record.permission_denied";
const PROOF_HEADER: &str = "logto-verification-id";

/// Whose account it is, as Logto shows it to this token, and what it can prove.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: UserId,
    pub shown: String,
    pub proof: Proof,
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Away, by Logto.
    Away(Reply),
    /// Nobody could judge.
    Unjudged(ProxyError),
}

/// The `sub` of a caller whom the Management API takes.
///
/// # Errors
/// For whoever is none, or whom nobody could judge.
pub async fn management<P: Platform, E: Exchange>(
    platform: &P,
    context: &Context<'_>,
    exchange: &E,
) -> Result<String, Turned> {
    let authorization = exchange.header("authorization").unwrap_or_default();
    if let Some(subject) = by_edge(platform, context, &authorization).await {
        return Ok(subject);
    }
    let headers = own_headers(exchange);
    let answer = logto::read_as(platform, context, MANAGEMENT_PROBE, headers).await;
    judge(answer)?;
    note_need(platform, context, "judged");
    Ok(claimed_subject(&authorization).unwrap_or_default())
}

/// # Errors
/// For whoever has no account, or whom nobody could judge.
pub async fn account<P: Platform, E: Exchange>(
    platform: &P,
    context: &Context<'_>,
    exchange: &E,
) -> Result<Account, Turned> {
    let shown = logto::read_as(platform, context, ACCOUNT, own_headers(exchange));
    let (shown, proof) = join(shown, proof(platform, context, exchange)).await;
    let shown = judge(shown)?;
    note_need(platform, context, "account");
    let id = serde_json::from_str::<Json>(&shown)
        .ok()
        .and_then(|shown| UserId::parse(shown.get("id")?.as_str()?));
    match id {
        Some(user) => Ok(Account { user, shown, proof }),
        None => Err(Turned::Unjudged(ProxyError::LogtoUnreachable)),
    }
}

/// Logto's answer to this very request, made under the caller's own headers.
///
/// # Errors
/// For whoever is refused it, or whom nobody could judge.
pub async fn shown_by_logto<P: Platform, E: Exchange>(
    platform: &P,
    context: &Context<'_>,
    exchange: &E,
    path_and_query: &str,
) -> Result<String, Turned> {
    let answer = logto::read_as(platform, context, path_and_query, own_headers(exchange)).await;
    let shown = judge(answer)?;
    note_need(platform, context, "shown");
    Ok(shown)
}

/// Logto's word was needed: nobody else can give it once it is not asked any more.
fn note_need<P: Platform>(platform: &P, context: &Context<'_>, kind: &'static str) {
    let mut dependencies = context.isolate.dependencies.borrow_mut();
    dependencies.note(UNNAMED, kind, platform.now_ms());
}

async fn by_edge<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    authorization: &str,
) -> Option<String> {
    let token = token::parse(bearer(authorization)?)
        .ok()?
        .partition(context.issuers)
        .ok()?;
    if token.issuer() != Issuer::Logto {
        return None;
    }
    let policy = management_policy(context, Issuer::Logto);
    let principal = authenticate(platform, context, &token, &policy).await;
    Some(principal.ok()?.subject.as_str().to_owned())
}

/// Of a token that Logto has taken; as laxly read as Logto reads it.
fn claimed_subject(authorization: &str) -> Option<String> {
    let token = authorization.get("Bearer".len() + 1..)?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Json = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}

async fn proof<P: Platform, E: Exchange>(
    platform: &P,
    context: &Context<'_>,
    exchange: &E,
) -> Proof {
    if exchange.header(PROOF_HEADER).is_none() {
        return Proof::Fails;
    }
    match logto::read_as(platform, context, PROOF_PROBE, own_headers(exchange)).await {
        Ok(answer) if code_of(&answer).as_deref() == Some(NO_PROOF) => Proof::Fails,
        // Whatever else it is refused for comes after the record.
        Ok(answer) if answer.status == 200 || code_of(&answer).is_some() => Proof::Holds,
        Ok(_) | Err(_) => Proof::Unknown,
    }
}

/// What Logto judges a caller by, as the client sent it.
fn own_headers<E: Exchange>(exchange: &E) -> Vec<(&'static str, Secret<String>)> {
    ["authorization", "accept-language", PROOF_HEADER]
        .into_iter()
        .filter_map(|name| Some((name, Secret(exchange.header(name)?))))
        .collect()
}

/// The body of a good answer.
fn judge(answer: Result<CallAnswer, BackendFailure>) -> Result<String, Turned> {
    let answer = answer.map_err(|failure| Turned::Unjudged(of_failure(failure)))?;
    match answer.status {
        200 => Ok(answer.body),
        400..=499 if code_of(&answer).is_some() => {
            Err(Turned::Away(Reply::json(answer.status, answer.body)))
        }
        // A gateway before Logto answers so.
        _ => Err(Turned::Unjudged(ProxyError::LogtoUnreachable)),
    }
}

pub fn of_failure(failure: BackendFailure) -> ProxyError {
    match failure {
        BackendFailure::Down(_, code) if code == CallFailure::TimedOut.code() => {
            ProxyError::LogtoTimedOut
        }
        BackendFailure::Down(_, code) if code == CallFailure::Retired.code() => {
            ProxyError::LogtoRetired
        }
        BackendFailure::Down(_, code) if code == CallFailure::Unheard.code() => {
            ProxyError::AuthorityUnknown
        }
        _ => ProxyError::LogtoUnreachable,
    }
}

/// Of Logto's own errors.
fn code_of(answer: &CallAnswer) -> Option<String> {
    if !answer.is_json || answer.status < 400 {
        return None;
    }
    let body: Json = serde_json::from_str(&answer.body).ok()?;
    Some(body.get("code")?.as_str()?.to_owned())
}
