//! Logto's wire dialect: the few calls that the proxy makes on its own.
//!
//! Paths are Logto's own and fixed; discovery is not asked, since its endpoint
//! URLs follow the public host, which is this proxy.

pub mod wire;

use futures_util::future::join;

pub use self::wire::{LogtoIdentity, LogtoState, LogtoUser, UnreadableUser};

use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::{BackendFailure, ClientForm};
use crate::runtime::context::Context;
use crate::runtime::ports::{Backend, Call, CallAnswer, Platform};

const DEADLINE_MS: u32 = 8_000;
/// A request may be waiting for the keys.
const JWKS_DEADLINE_MS: u32 = 3_000;
const BACKEND: Backend = Backend::Logto;

/// The headers by which Logto finds a browser's interaction.
#[derive(Clone, Debug)]
pub struct InteractionHeaders {
    pub cookie: Secret<String>,
    pub app_id: Option<String>,
}

/// # Errors
/// On anything but a user or the JSON 404 of a missing one; a routing 404 is plain text.
pub async fn user<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<LogtoState, BackendFailure> {
    let path = format!("/api/users/{}", encode(id));
    let answer = with_credential(platform, context, &path).await?;
    match answer.status {
        200 => {
            let user = LogtoUser::parse(&answer.body)
                .map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
            if user.id != *id {
                return Err(BackendFailure::OutOfContract(BACKEND));
            }
            Ok(LogtoState::Present {
                user: Box::new(user),
                json: answer.body,
            })
        }
        404 if is_entity_not_found(&answer) => Ok(LogtoState::Gone),
        _ => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}

/// One page of all users, newest first, each as its own JSON text.
#[derive(Clone, Debug)]
pub struct UsersPage {
    pub users: Vec<String>,
    /// How many there are in all, as the answer says.
    pub total: Option<i64>,
}

/// # Errors
/// On anything but a list.
pub async fn users_page<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    page: i64,
    page_size: i64,
) -> Result<UsersPage, BackendFailure> {
    let path = format!("/api/users?page={page}&page_size={page_size}");
    let answer = with_credential(platform, context, &path).await?;
    if answer.status != 200 {
        return Err(BackendFailure::of_status(BACKEND, &answer));
    }
    let users: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(&answer.body).map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
    let users = users.into_iter().map(|user| user.get().to_owned());
    Ok(UsersPage {
        users: users.collect(),
        total: answer.total,
    })
}

/// What mgPass has no import for: kinds of second factors, and the connectors of SSO
/// identities. Nothing of a user who is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    pub factors: Vec<String>,
    pub sso: Vec<String>,
}

/// # Errors
/// When Logto gave no answer to that question.
pub async fn left_behind<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<LeftBehind, BackendFailure> {
    let id = encode(id);
    let factors = format!("/api/users/{id}/mfa-verifications");
    let sso = format!("/api/users/{id}?includeSsoIdentities=true");
    let (factors, sso) = join(
        with_credential(platform, context, &factors),
        with_credential(platform, context, &sso),
    )
    .await;
    Ok(LeftBehind {
        factors: names(&factors?, None, "type")?,
        sso: names(&sso?, Some("ssoIdentities"), "ssoConnectorId")?,
    })
}

/// One string member of each object in a list, or in the list that is a member.
fn names(
    answer: &CallAnswer,
    member: Option<&str>,
    name: &str,
) -> Result<Vec<String>, BackendFailure> {
    match answer.status {
        200 => {}
        404 => return Ok(Vec::new()),
        _ => return Err(BackendFailure::of_status(BACKEND, answer)),
    }
    let body: serde_json::Value =
        serde_json::from_str(&answer.body).map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
    let list = member.map_or(Some(&body), |member| body.get(member));
    let list = list.and_then(serde_json::Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = list
        .iter()
        .filter_map(|one| Some(one.get(name)?.as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// A read of the Management API with the proxy's own credential, path as given.
///
/// # Errors
/// When Logto was not reached, or limits or refuses the proxy.
pub async fn read<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
) -> Result<CallAnswer, BackendFailure> {
    with_credential(platform, context, path).await
}

/// Whom an interaction has identified; `None` when nobody, or when it is gone.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn interaction_subject<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    headers: &InteractionHeaders,
) -> Result<Option<UserId>, BackendFailure> {
    let mut sent = vec![("cookie", headers.cookie.clone())];
    if let Some(app_id) = &headers.app_id {
        sent.push(("logto-app-id", Secret(app_id.clone())));
    }
    let answer = get(platform, context, "/api/experience/interaction", sent).await?;
    match answer.status {
        200 => Ok(string_member(&answer.body, "userId").and_then(|id| UserId::parse(&id))),
        400 | 404 => Ok(None),
        _ => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}

/// Whose opaque access token this is; `None` when Logto does not accept it.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn token_subject<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    token: &Secret<String>,
) -> Result<Option<UserId>, BackendFailure> {
    let headers = vec![("authorization", Secret(format!("Bearer {}", token.0)))];
    let answer = get(platform, context, "/oidc/me", headers).await?;
    match answer.status {
        200 => Ok(string_member(&answer.body, "sub").and_then(|id| UserId::parse(&id))),
        401 | 403 => Ok(None),
        _ => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}

/// # Errors
/// When Logto does not hand out its key set.
pub async fn jwks<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<CallAnswer, BackendFailure> {
    let answer = get_within(platform, context, "/oidc/jwks", vec![], JWKS_DEADLINE_MS).await?;
    if answer.is_success() {
        Ok(answer)
    } else {
        Err(BackendFailure::of_status(BACKEND, &answer))
    }
}

/// Whether the client is Logto's: asked with the client's own credential about no token.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn introspect_nothing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    client: ClientForm,
) -> Result<CallAnswer, BackendFailure> {
    let (authorization, body) = client;
    post_introspection(platform, context, authorization, body).await
}

/// About the token, as the proxy's own client.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn introspect<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    body: Secret<String>,
) -> Result<CallAnswer, BackendFailure> {
    let authorization = super::basic(&context.settings.logto_client);
    let answer = post_introspection(platform, context, Some(authorization), body).await?;
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
    let url = format!("{}/oidc/token/introspection", context.settings.logto_origin);
    super::post_form(platform, BACKEND, url, authorization, body, DEADLINE_MS).await
}

async fn get<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    headers: Vec<(&'static str, Secret<String>)>,
) -> Result<CallAnswer, BackendFailure> {
    get_within(platform, context, path, headers, DEADLINE_MS).await
}

async fn get_within<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    headers: Vec<(&'static str, Secret<String>)>,
    deadline_ms: u32,
) -> Result<CallAnswer, BackendFailure> {
    let call = Call {
        backend: BACKEND,
        method: "GET",
        url: format!("{}{path}", context.settings.logto_origin),
        headers,
        body: None,
        deadline_ms,
    };
    platform
        .call(call)
        .await
        .map_err(|failure| BackendFailure::of_call(BACKEND, failure))
}

/// With the proxy's own token; a refused one is fetched anew, once.
async fn with_credential<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
) -> Result<CallAnswer, BackendFailure> {
    for is_last_try in [false, true] {
        let token = credential(platform, context).await?;
        let headers = vec![("authorization", Secret(format!("Bearer {}", token.0)))];
        let answer = get(platform, context, path, headers).await?;
        if answer.status != 401 || is_last_try {
            return Ok(answer);
        }
        context.isolate.forget_own_token(BACKEND);
    }
    Err(BackendFailure::Unauthorized(BACKEND))
}

async fn credential<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Secret<String>, BackendFailure> {
    if let Some(token) = context.isolate.own_token(BACKEND, platform.now_ms()) {
        return Ok(token);
    }
    let client = &context.settings.logto_client;
    let body = super::form(&[
        ("grant_type", "client_credentials"),
        ("resource", &context.settings.logto_api_audience),
        ("scope", "all"),
    ]);
    let call = Call {
        backend: BACKEND,
        method: "POST",
        url: format!("{}/oidc/token", context.settings.logto_origin),
        headers: vec![
            ("authorization", super::basic(client)),
            (
                "content-type",
                Secret("application/x-www-form-urlencoded".to_owned()),
            ),
        ],
        body: Some(Secret(body)),
        deadline_ms: DEADLINE_MS,
    };
    super::fetch_own_token(platform, context, call).await
}

fn is_entity_not_found(answer: &CallAnswer) -> bool {
    answer.is_json && string_member(&answer.body, "code").as_deref() == Some("entity.not_found")
}

fn string_member(json: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

fn encode(id: &UserId) -> String {
    super::encode(id.as_str())
}
