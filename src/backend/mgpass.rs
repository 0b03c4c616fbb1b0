//! mgPass's wire dialect: its documented API, for reads and effects. State is
//! written through its D1 (`mirror::target`).
//!
//! Edition E3, and what E1/E2 name differently is read as well: `avatar` for
//! `avatar_url`, `metadata` for `custom_data`, epoch seconds for ISO 8601, a list in
//! an object. What an older edition does not show at all is [`Told::Nothing`]: it is
//! neither compared nor taken for empty.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::sync::Arc;

use crate::backend::{Backend, BackendFailure};
use crate::context::Context;
use crate::introspection::Introspection;
use crate::isolate::MgpassEndpoints;
use crate::ports::{Call, CallAnswer, Platform};
use crate::request::{Secret, UserId};
use crate::settings::MgpassCredential;

const DEADLINE_MS: u32 = 8_000;
/// Discovery and keys: a request may be waiting for them.
const PUBLIC_DEADLINE_MS: u32 = 3_000;
const BACKEND: Backend = Backend::Mgpass;

/// Whose authority a read uses.
#[derive(Clone, Debug)]
pub enum Caller {
    Proxy,
    /// The client's own token; the proxy's credential stays out of it.
    Client(Secret<String>),
}

/// A member that an older edition may leave out of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<T> {
    Value(T),
    Nothing,
}

impl<T> Told<T> {
    /// Whether it is so, or nothing is said against it.
    pub fn admits(&self, is_so: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Value(value) => is_so(value),
            Self::Nothing => true,
        }
    }
}

/// A user as mgPass's API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUser {
    pub id: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub name: Option<String>,
    pub avatar: Option<String>,
    /// JSON text of an object.
    pub custom_data: Told<String>,
    pub is_suspended: bool,
    pub created_at_s: i64,
    pub last_sign_in_at_s: Told<Option<i64>>,
    pub is_deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiIdentity {
    pub provider: String,
    pub provider_user_id: String,
    /// JSON text of an object.
    pub profile_data: Told<Option<String>>,
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
    introspection: &Introspection,
) -> Result<CallAnswer, BackendFailure> {
    let (authorization, body) = introspection.as_client();
    post_introspection(platform, context, authorization, body).await
}

/// Whether the client is mgPass's: asked with the client's own credential about no token.
///
/// # Errors
/// When mgPass gave no answer to that question.
pub async fn introspect_nothing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    introspection: &Introspection,
) -> Result<CallAnswer, BackendFailure> {
    let (authorization, body) = introspection.client_only();
    post_introspection(platform, context, authorization, body).await
}

/// About the token, as the proxy's own client. An admin token does not authenticate a client.
///
/// # Errors
/// When mgPass gave no answer to that question.
pub async fn introspect<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    introspection: &Introspection,
) -> Result<CallAnswer, BackendFailure> {
    let MgpassCredential::Client(client) = &context.settings.mgpass_credential else {
        return Err(BackendFailure::Unauthorized(BACKEND));
    };
    let authorization = Some(super::basic(client));
    let body = introspection.token_only();
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
    super::post_form(platform, BACKEND, url, authorization, body, DEADLINE_MS).await
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
        };
        let answer = platform
            .call(call)
            .await
            .map_err(|failure| BackendFailure::of_call(BACKEND, failure))?;
        if answer.status != 401 || is_last_try || matches!(caller, Caller::Client(_)) {
            return Ok(answer);
        }
        context.isolate.forget_own_token(BACKEND);
    }
    Err(BackendFailure::Unauthorized(BACKEND))
}

async fn get<P: Platform>(platform: &P, url: String) -> Result<CallAnswer, BackendFailure> {
    let call = Call {
        backend: BACKEND,
        method: "GET",
        url,
        headers: vec![],
        body: None,
        deadline_ms: PUBLIC_DEADLINE_MS,
    };
    let answer = platform
        .call(call)
        .await
        .map_err(|failure| BackendFailure::of_call(BACKEND, failure))?;
    if answer.is_success() {
        Ok(answer)
    } else {
        Err(BackendFailure::of_status(BACKEND, &answer))
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
    if let Some(token) = context.isolate.own_token(BACKEND, platform.now_ms()) {
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
    };
    super::fetch_own_token(platform, context, call).await
}

/// By discovery, since the paths change between editions. The issuer it names must
/// be the one we trust (RFC 8414 3.3).
async fn endpoints<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Arc<MgpassEndpoints>, BackendFailure> {
    if let Some(endpoints) = context.isolate.mgpass_endpoints() {
        return Ok(endpoints);
    }
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        token_endpoint: String,
        jwks_uri: String,
        introspection_endpoint: Option<String>,
    }
    let url = format!(
        "{}/.well-known/openid-configuration",
        context.settings.mgpass_origin
    );
    let refused = BackendFailure::OutOfContract(BACKEND).of_all_subjects();
    let answer = get(platform, url)
        .await
        .map_err(BackendFailure::of_all_subjects)?;
    let discovery: Discovery = serde_json::from_str(&answer.body).map_err(|_| refused)?;
    if discovery.issuer != context.settings.mgpass_issuer {
        return Err(refused);
    }
    let endpoints = Arc::new(MgpassEndpoints {
        token: discovery.token_endpoint,
        jwks: discovery.jwks_uri,
        // Not in the documented discovery; the path is edition E3's.
        introspection: discovery
            .introspection_endpoint
            .unwrap_or_else(|| format!("{}/token/introspect", context.settings.mgpass_origin)),
    });
    context.isolate.set_mgpass_endpoints(Arc::clone(&endpoints));
    Ok(endpoints)
}

pub fn parse_user(json: &str) -> Option<ApiUser> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        id: String,
        email: Option<String>,
        phone: Option<String>,
        name: Option<String>,
        #[serde(alias = "avatar")]
        avatar_url: Option<String>,
        #[serde(borrow, default, alias = "metadata", deserialize_with = "present")]
        custom_data: Option<Option<&'a RawValue>>,
        is_suspended: bool,
        created_at: Instant,
        #[serde(default, deserialize_with = "present")]
        last_sign_in_at: Option<Option<Instant>>,
        #[serde(default)]
        deleted_at: Option<Instant>,
    }
    let wire: Wire<'_> = serde_json::from_str(json).ok()?;
    Some(ApiUser {
        id: wire.id,
        email: wire.email,
        phone: wire.phone,
        name: wire.name,
        avatar: wire.avatar_url,
        custom_data: match wire.custom_data {
            None => Told::Nothing,
            Some(data) => Told::Value(data.map_or("{}", RawValue::get).to_owned()),
        },
        is_suspended: wire.is_suspended,
        created_at_s: wire.created_at.seconds()?,
        last_sign_in_at_s: match wire.last_sign_in_at {
            None => Told::Nothing,
            Some(None) => Told::Value(None),
            Some(Some(instant)) => Told::Value(Some(instant.seconds()?)),
        },
        is_deleted: wire.deleted_at.is_some(),
    })
}

pub fn parse_identities(json: &str) -> Option<Vec<ApiIdentity>> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        provider: String,
        provider_user_id: String,
        #[serde(borrow, default, deserialize_with = "present")]
        profile_data: Option<Option<&'a RawValue>>,
    }
    let wire: Vec<Wire<'_>> = serde_json::from_str(list_text(json)?).ok()?;
    let identities = wire.into_iter().map(|identity| ApiIdentity {
        provider: identity.provider,
        provider_user_id: identity.provider_user_id,
        profile_data: match identity.profile_data {
            None => Told::Nothing,
            Some(data) => Told::Value(data.map(|data| data.get().to_owned())),
        },
    });
    Some(identities.collect())
}

/// Four shapes of lists are documented: a bare array, or one in `results`, `data` or `items`.
fn list_text(json: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, alias = "data", alias = "items")]
        results: &'a RawValue,
    }
    if json.trim_start().starts_with('[') {
        return Some(json);
    }
    let wire: Wire<'_> = serde_json::from_str(json).ok()?;
    Some(wire.results.get())
}

/// Tells a member that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Epoch seconds (E1, E2) or ISO 8601 (E3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Seconds(i64),
    Iso(String),
}

impl Instant {
    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Iso(text) => {
                let format = &time::format_description::well_known::Rfc3339;
                time::OffsetDateTime::parse(text, format)
                    .ok()
                    .map(time::OffsetDateTime::unix_timestamp)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_editions_are_read() {
        let e3 = parse_user(r#"{"id":"u1","email":null,"email_verified":false,"phone":null,"phone_verified":false,"name":"A","avatar_url":"x","custom_data":{"a":1},"is_suspended":false,"suspension_reason":null,"created_at":"2026-09-01T08:00:00.000Z","last_sign_in_at":null,"deleted_at":null,"roles":["mgpass:user"]}"#).unwrap();
        let e2 = parse_user(r#"{"id":"u1","email":null,"name":"A","phone":null,"avatar":"x","metadata":{"a":1},"is_suspended":false,"created_at":1788249600,"updated_at":1788249600}"#).unwrap();
        assert_eq!(e3.last_sign_in_at_s, Told::Value(None));
        assert_eq!(e2.last_sign_in_at_s, Told::Nothing);
        assert_eq!(e3.custom_data, Told::Value(r#"{"a":1}"#.to_owned()));
        let e3 = ApiUser {
            last_sign_in_at_s: Told::Nothing,
            ..e3
        };
        assert_eq!(e3, e2);
        let bare = parse_user(r#"{"id":"u1","is_suspended":false,"created_at":1}"#).unwrap();
        assert_eq!(bare.custom_data, Told::Nothing);
        let null = r#"{"id":"u1","is_suspended":false,"created_at":1,"custom_data":null}"#;
        let null = parse_user(null).unwrap();
        assert_eq!(null.custom_data, Told::Value("{}".to_owned()));
        assert!(parse_user(r#"{"id":"u1"}"#).is_none());
        assert!(parse_user(r#"{"id":"u1","is_suspended":false,"created_at":"soon"}"#).is_none());
    }

    #[test]
    fn identities_keep_their_profile_text() {
        let json = r#"[{"id":"idn_1","user_id":"u1","provider":"google","provider_user_id":"g1","profile_data":{"b":1,"a":2},"created_at":1}]"#;
        let parsed = parse_identities(json).unwrap();
        let kept = Told::Value(Some(r#"{"b":1,"a":2}"#.to_owned()));
        assert_eq!(parsed[0].profile_data, kept);
        for name in ["results", "data", "items"] {
            let listed = parse_identities(&format!(r#"{{"{name}":{json},"total":1}}"#));
            assert_eq!(listed.unwrap(), parsed);
        }
        let e2 = r#"[{"provider":"google","provider_user_id":"g1","email":null,"name":"N","linked_at":1}]"#;
        let parsed = parse_identities(e2).unwrap();
        assert_eq!(parsed[0].profile_data, Told::Nothing);
        assert!(parse_identities(r#"{"error":"invalid_request"}"#).is_none());
    }
}
