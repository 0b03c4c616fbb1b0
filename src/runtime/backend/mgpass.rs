//! mgPass's wire dialect: its documented API, for reads and effects. State is
//! written through its D1 (`mirror::target`).
//! What its answers look like is in [`wire`].

pub mod console;
mod password;
pub mod wire;

use serde::Deserialize;
use std::sync::Arc;

pub use self::password::{PasswordAnswer, set_password};
pub use self::wire::{ApiIdentity, ApiUser, Field};
use self::wire::{parse_identities, parse_user};

use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::{BackendFailure, ClientForm, DEADLINE_MS};
use crate::runtime::context::Context;
use crate::runtime::isolate::{MgpassEndpoints, OwnClient};
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Backend, Call, CallAnswer, Platform};
use crate::runtime::settings::{Client, MgpassCredential, Probe};
use crate::runtime::trial::Trial;

/// Discovery and keys: a request may be waiting for them.
const PUBLIC_DEADLINE_MS: u32 = 3_000;
/// A browser is waiting to be sent somewhere.
const TRIAL_DEADLINE_MS: u32 = 1_000;
/// How often one looks whether another has found out.
const TRIAL_LOOK_MS: u32 = 50;
const BACKEND: Backend = Backend::Mgpass;

/// Whose authority a read uses.
#[derive(Clone, Debug)]
pub enum Caller {
    Proxy,
    /// The client's own token; the proxy's credential stays out of it.
    Client(Secret<String>),
}

/// An answer that is no success, when the client's own token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    Yes(T),
    No,
    /// 401 or 403 to the client's own token.
    NotAllowed(u16),
}

/// # Errors
/// When mgPass gave no usable answer.
pub async fn user<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    id: &UserId,
    deadline_ms: u32,
) -> Result<Found<ApiUser>, BackendFailure> {
    let path = format!("/api/users/{}", super::encode(id.as_str()));
    let answer = read(platform, context, caller, &path, deadline_ms).await?;
    found(caller, &answer, |body| {
        parse_user(body).filter(|user| user.id == id.as_str())
    })
}

/// # Errors
/// When mgPass gave no usable answer.
pub async fn identities<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    id: &UserId,
    deadline_ms: u32,
) -> Result<Found<Vec<ApiIdentity>>, BackendFailure> {
    let path = format!("/api/users/{}/identities", super::encode(id.as_str()));
    let answer = read(platform, context, caller, &path, deadline_ms).await?;
    found(caller, &answer, parse_identities)
}

/// The proxy's own token, fetched just now, unless it was given one.
///
/// # Errors
/// When mgPass hands out none.
pub async fn fresh_token<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Secret<String>, BackendFailure> {
    context.isolate.forget_own_token(OwnClient::Mgpass);
    credential(platform, context).await
}

/// Where browsers are sent to sign in; `None`: its discovery does not say.
///
/// # Errors
/// When mgPass's discovery cannot be had.
pub async fn authorization_endpoint<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Option<String>, BackendFailure> {
    let endpoints = endpoints(platform, context).await?;
    Ok(endpoints.authorization.clone())
}

/// The access token for the probe's authorization code.
///
/// # Errors
/// When mgPass gave none.
pub async fn exchange_code<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    probe: &Probe,
    code: &str,
    verifier: &str,
) -> Result<Secret<String>, BackendFailure> {
    #[derive(Deserialize)]
    struct Wire {
        access_token: String,
    }
    let url = endpoints(platform, context).await?.token.clone();
    let body = super::form(&[
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &probe.redirect_uri),
        ("code_verifier", verifier),
        ("client_id", &probe.client_id),
    ]);
    let headers = probe.client_secret.as_ref().map(|secret| {
        let client = Client {
            id: probe.client_id.clone(),
            secret: secret.clone(),
        };
        ("authorization", super::basic(&client))
    });
    let headers = headers.into_iter().collect();
    let answer = super::post_form(platform, context, BACKEND, url, headers, Secret(body)).await?;
    if answer.status != 200 {
        return Err(BackendFailure::Unauthorized(BACKEND));
    }
    let wire: Result<Wire, _> = serde_json::from_str(&answer.body);
    let wire = wire.map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
    Ok(Secret(wire.access_token))
}

/// Ends all sessions and refresh tokens. Five a minute per admin. Harmless twice:
/// a second call finds nothing to end. A user mgPass does not know has no sessions.
///
/// # Errors
/// When the call must be made again later.
pub async fn revoke_all<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<(), BackendFailure> {
    let path = format!(
        "/api/users/{}/sessions/revoke-all",
        super::encode(id.as_str())
    );
    let answer = send(
        platform,
        context,
        &Caller::Proxy,
        "POST",
        &path,
        Some("{}"),
        DEADLINE_MS,
    )
    .await?;
    match answer.status {
        200..=299 | 404 => Ok(()),
        _ => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}

/// # Errors
/// When mgPass does not hand out its key set.
pub async fn jwks<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<CallAnswer, BackendFailure> {
    let endpoints = endpoints(platform, context).await?;
    let answer = get(platform, endpoints.jwks.clone()).await;
    if answer.is_err() {
        context.isolate.forget_mgpass_endpoints();
    }
    answer
}

/// With the client's own credential.
///
/// # Errors
/// When mgPass gave no answer to that question.
pub async fn introspect_as_client<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    client: ClientForm,
) -> Result<CallAnswer, BackendFailure> {
    let (authorization, body) = client;
    post_introspection(platform, context, authorization, body).await
}

/// Whether the client is mgPass's: asked with the client's own credential about no token.
///
/// # Errors
/// When mgPass gave no answer to that question.
pub async fn introspect_nothing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    client: ClientForm,
) -> Result<CallAnswer, BackendFailure> {
    let (authorization, body) = client;
    post_introspection(platform, context, authorization, body).await
}

/// About the token, as the proxy's own client. An admin token does not authenticate a client.
///
/// # Errors
/// When mgPass gave no answer to that question.
pub async fn introspect<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    body: Secret<String>,
) -> Result<CallAnswer, BackendFailure> {
    let MgpassCredential::Client(client) = &context.settings.mgpass_credential else {
        return Err(BackendFailure::Unauthorized(BACKEND));
    };
    let authorization = Some(super::basic(client));
    let answer = post_introspection(platform, context, authorization, body).await?;
    match answer.status {
        200 => Ok(answer),
        _ => Err(BackendFailure::Unauthorized(BACKEND)),
    }
}

async fn post_introspection<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    authorization: Option<Secret<String>>,
    body: Secret<String>,
) -> Result<CallAnswer, BackendFailure> {
    let url = endpoints(platform, context).await?.introspection.clone();
    let headers = authorization.map(|text| ("authorization", text));
    let headers = headers.into_iter().collect();
    super::post_form(platform, context, BACKEND, url, headers, body).await
}

/// Whether mgPass answers now: its discovery, within a second, asked by one of all.
pub async fn answers<P: Platform>(platform: &P, context: &Context<'_>) -> bool {
    let until_ms = platform.now_ms() + i64::from(TRIAL_DEADLINE_MS);
    loop {
        let now_ms = platform.now_ms();
        match context
            .isolate
            .mgpass_trials
            .turn(now_ms, TRIAL_DEADLINE_MS)
        {
            Trial::Known(answers) => return answers,
            Trial::UnderWay if now_ms >= until_ms => return false,
            Trial::UnderWay => platform.sleep(TRIAL_LOOK_MS).await,
            Trial::Yours => break,
        }
    }
    let call = Call {
        deadline_ms: TRIAL_DEADLINE_MS,
        ..public(discovery_url(context))
    };
    let answers = platform
        .call(call)
        .await
        .is_ok_and(|answer| answer.is_success());
    let trials = &context.isolate.mgpass_trials;
    trials.done(answers, platform.now_ms());
    answers
}

fn discovery_url(context: &Context<'_>) -> String {
    format!(
        "{}/.well-known/openid-configuration",
        context.settings.mgpass_origin
    )
}

fn found<T>(
    caller: &Caller,
    answer: &CallAnswer,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Found<T>, BackendFailure> {
    match (answer.status, caller) {
        (200, _) => parse(&answer.body)
            .map(Found::Yes)
            .ok_or(BackendFailure::OutOfContract(BACKEND)),
        // The code beside it is `invalid_request`: the status decides.
        (404, _) => Ok(Found::No),
        (401 | 403, Caller::Client(_)) => Ok(Found::NotAllowed(answer.status)),
        _ => Err(BackendFailure::of_status(BACKEND, answer)),
    }
}

async fn read<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    path: &str,
    deadline_ms: u32,
) -> Result<CallAnswer, BackendFailure> {
    send(platform, context, caller, "GET", path, None, deadline_ms).await
}

/// A refused token of the proxy's own is fetched anew, once.
async fn send<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    method: &'static str,
    path: &str,
    body: Option<&str>,
    deadline_ms: u32,
) -> Result<CallAnswer, BackendFailure> {
    for is_last_try in [false, true] {
        let token = match caller {
            Caller::Proxy => credential(platform, context).await?,
            Caller::Client(token) => token.clone(),
        };
        let mut headers = vec![("authorization", Secret(format!("Bearer {}", token.0)))];
        if body.is_some() {
            headers.push(("content-type", Secret("application/json".to_owned())));
        }
        let call = Call {
            backend: BACKEND,
            method,
            url: format!("{}{path}", context.settings.mgpass_origin),
            headers,
            body: body.map(|body| Secret(body.to_owned())),
            deadline_ms,
            max_bytes: MAX_ANSWER_BYTES,
        };
        let answer = platform
            .call(call)
            .await
            .map_err(|failure| BackendFailure::of_call(BACKEND, failure))?;
        if answer.status != 401 || is_last_try || matches!(caller, Caller::Client(_)) {
            return Ok(answer);
        }
        context.isolate.forget_own_token(OwnClient::Mgpass);
    }
    Err(BackendFailure::Unauthorized(BACKEND))
}

async fn get<P: Platform>(platform: &P, url: String) -> Result<CallAnswer, BackendFailure> {
    let answer = platform
        .call(public(url))
        .await
        .map_err(|failure| BackendFailure::of_call(BACKEND, failure))?;
    if answer.is_success() {
        Ok(answer)
    } else {
        Err(BackendFailure::of_status(BACKEND, &answer))
    }
}

fn public(url: String) -> Call {
    Call {
        backend: BACKEND,
        method: "GET",
        url,
        headers: vec![],
        body: None,
        deadline_ms: PUBLIC_DEADLINE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    }
}

async fn credential<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Secret<String>, BackendFailure> {
    let client = match &context.settings.mgpass_credential {
        MgpassCredential::Token(token) => return Ok(token.clone()),
        MgpassCredential::Client(client) => client,
    };
    if let Some(token) = context
        .isolate
        .own_token(OwnClient::Mgpass, platform.now_ms())
    {
        return Ok(token);
    }
    let endpoints = endpoints(platform, context).await?;
    let call = Call {
        backend: BACKEND,
        method: "POST",
        url: endpoints.token.clone(),
        headers: vec![
            ("authorization", super::basic(client)),
            (
                "content-type",
                Secret("application/x-www-form-urlencoded".to_owned()),
            ),
        ],
        body: Some(Secret(super::form(&[
            ("grant_type", "client_credentials"),
            ("scope", "mgpass:admin"),
        ]))),
        deadline_ms: DEADLINE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    };
    super::fetch_own_token(platform, context, OwnClient::Mgpass, call).await
}

/// By discovery, since the paths change between editions. The issuer it names must
/// be the one we trust (RFC 8414 3.3).
pub async fn endpoints<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Arc<MgpassEndpoints>, BackendFailure> {
    if let Some(endpoints) = context.isolate.mgpass_endpoints() {
        return Ok(endpoints);
    }
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        authorization_endpoint: Option<String>,
        token_endpoint: String,
        jwks_uri: String,
        introspection_endpoint: Option<String>,
        revocation_endpoint: Option<String>,
        userinfo_endpoint: Option<String>,
        end_session_endpoint: Option<String>,
    }
    let origin = &context.settings.mgpass_origin;
    let url = discovery_url(context);
    let refused = BackendFailure::OutOfContract(BACKEND).of_all_subjects();
    let answer = get(platform, url)
        .await
        .map_err(BackendFailure::of_all_subjects)?;
    let discovery: Discovery = serde_json::from_str(&answer.body).map_err(|_| refused)?;
    if discovery.issuer != context.settings.mgpass_issuer {
        return Err(refused);
    }
    let endpoints = Arc::new(MgpassEndpoints {
        authorization: discovery.authorization_endpoint,
        token: discovery.token_endpoint,
        jwks: discovery.jwks_uri,
        // Not in the documented discovery; the paths are edition E3's.
        introspection: discovery
            .introspection_endpoint
            .unwrap_or_else(|| format!("{origin}/token/introspect")),
        revocation: discovery
            .revocation_endpoint
            .unwrap_or_else(|| format!("{origin}/token/revoke")),
        userinfo: discovery
            .userinfo_endpoint
            .unwrap_or_else(|| format!("{origin}/userinfo")),
        end_session: discovery
            .end_session_endpoint
            .unwrap_or_else(|| format!("{origin}/logout")),
    });
    context.isolate.set_mgpass_endpoints(Arc::clone(&endpoints));
    Ok(endpoints)
}
