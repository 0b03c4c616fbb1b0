//! Logto's wire dialect: the few calls that the proxy makes on its own.
//!
//! Paths are Logto's own and fixed; discovery is not asked, since its endpoint
//! URLs follow the public host, which is this proxy. Each call carries the secret that
//! forwarded requests carry: an origin that is closed to others is open to both.

mod as_caller;
mod interaction;
pub mod probe;
mod ways;
pub mod wire;
pub mod writes;

use serde_json::Value;

pub use self::as_caller::read_as;
pub use self::interaction::interaction;
pub use self::ways::{LeftBehind, find_user, left_behind, n_sso_identities, sign_in_ways};
pub use self::wire::{LogtoIdentity, LogtoState, LogtoUser, Seen, UnreadableUser};
pub use self::writes::{delete, password_is_right, reserve, set_password};

use crate::inbound::request::{InteractionUid, Secret, UserId, interaction_uid};
use crate::runtime::backend::{BackendFailure, ClientForm, DEADLINE_MS};
use crate::runtime::context::Context;
use crate::runtime::isolate::OwnClient;
use crate::runtime::limits::{LISTED_BYTES, MAX_ANSWER_BYTES};
use crate::runtime::ports::{Backend, Call, CallAnswer, CallFailure, Platform};

/// A request may be waiting for the keys.
const JWKS_DEADLINE_MS: u32 = 3_000;
const BACKEND: Backend = Backend::Logto;

/// By what Logto finds a browser's interaction: all of it as the request has it, since
/// only then it is the same one.
#[derive(Clone, Debug)]
pub struct Browser {
    pub cookie: Secret<String>,
    pub app_id: Option<String>,
    pub query: Option<String>,
}

impl Browser {
    pub fn uid(&self) -> Option<InteractionUid> {
        interaction_uid(
            &self.cookie.0,
            self.app_id.as_deref(),
            self.query.as_deref(),
        )
    }
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

/// One page of all users, newest first.
#[derive(Clone, Debug)]
pub enum UsersPage {
    Whole {
        /// Each as its own JSON text.
        users: Vec<String>,
        /// How many there are in all, as the answer says.
        total: Option<i64>,
    },
    /// More than can be held; the page's first user, where the answer's beginning shows it.
    TooLarge { first: Option<UserId> },
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
    // Of one as much as of any user.
    let max_bytes = match page_size {
        1 => MAX_ANSWER_BYTES,
        _ => LISTED_BYTES,
    };
    let answer = match asked(platform, context, &path, max_bytes).await? {
        Ok(answer) => answer,
        Err(CallFailure::TooLarge { head }) => {
            let first = first_id(&head);
            return Ok(UsersPage::TooLarge { first });
        }
        Err(failure) => return Err(BackendFailure::of_call(BACKEND, failure)),
    };
    if answer.status != 200 {
        return Err(BackendFailure::of_status(BACKEND, &answer));
    }
    let users: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(&answer.body).map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
    let users = users.into_iter().map(|user| user.get().to_owned());
    Ok(UsersPage::Whole {
        users: users.collect(),
        total: answer.total,
    })
}

/// `id` is the first member of a user as Logto writes it (contract 6.1).
fn first_id(head: &str) -> Option<UserId> {
    let text = head.strip_prefix(r#"[{"id":""#)?;
    UserId::parse(text.split_once('"')?.0)
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

/// Whose session a consent is given in; `None`: Logto says that there is none.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn consenting<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    browser: &Browser,
) -> Result<Option<UserId>, BackendFailure> {
    let answer = get_as(platform, context, "/api/interaction/consent", browser).await?;
    named(told(&answer, &[400, 404], "session.")?, "/user/id")
}

/// Whose account this `Authorization` opens, as the Account API reads it; `None`: Logto
/// says nobody's.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn account<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    authorization: &Secret<String>,
) -> Result<Option<UserId>, BackendFailure> {
    let headers = vec![("authorization", authorization.clone())];
    let answer = get(platform, context, "/api/my-account", headers).await?;
    named(told(&answer, &[401], "auth.")?, "/id")
}

/// Three answers, never taken for one another: a body, Logto's own refusal by code, and
/// anything else, which says nothing (a gateway before Logto answers 401, 403 and 404 too).
fn told(
    answer: &CallAnswer,
    refusals: &[u16],
    code: &str,
) -> Result<Option<Value>, BackendFailure> {
    let body = || {
        serde_json::from_str::<Value>(&answer.body)
            .map_err(|_| BackendFailure::OutOfContract(BACKEND))
    };
    if answer.status == 200 {
        return body().map(Some);
    }
    let is_refusal = answer.is_json
        && refusals.contains(&answer.status)
        && string_member(&answer.body, "code").is_some_and(|found| found.starts_with(code));
    if is_refusal {
        return Ok(None);
    }
    Err(BackendFailure::of_status(BACKEND, answer))
}

/// Who is there has a name.
fn named(body: Option<Value>, pointer: &str) -> Result<Option<UserId>, BackendFailure> {
    let Some(body) = body else {
        return Ok(None);
    };
    let id = body.pointer(pointer).and_then(Value::as_str);
    let user = id.and_then(UserId::parse);
    user.map(Some).ok_or(BackendFailure::OutOfContract(BACKEND))
}

fn user_member(body: &Value, name: &str) -> Option<UserId> {
    UserId::parse(body.get(name)?.as_str()?)
}

async fn get_as<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    browser: &Browser,
) -> Result<CallAnswer, BackendFailure> {
    let mut headers = vec![("cookie", browser.cookie.clone())];
    if let Some(app_id) = &browser.app_id {
        headers.push(("logto-app-id", Secret(app_id.clone())));
    }
    let path = match &browser.query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    get(platform, context, &path, headers).await
}

/// Under the public host, by which Logto names its endpoints.
///
/// # Errors
/// When Logto does not hand out its discovery document.
pub async fn discovery<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<CallAnswer, BackendFailure> {
    let issuer = &context.settings.logto_issuer;
    let (scheme, rest) = issuer.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let headers = vec![
        ("x-forwarded-proto", Secret(scheme.to_owned())),
        ("x-forwarded-host", Secret(host.to_owned())),
    ];
    let path = "/oidc/.well-known/openid-configuration";
    let answer = get(platform, context, path, headers).await?;
    match answer.is_success() {
        true => Ok(answer),
        false => Err(BackendFailure::of_status(BACKEND, &answer)),
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
    let headers = with_origin_secret(context, authorization.map(|text| ("authorization", text)));
    super::post_form(platform, context, BACKEND, url, headers, body).await
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
    let max_bytes = MAX_ANSWER_BYTES;
    call(platform, context, path, headers, deadline_ms, max_bytes)
        .await
        .map_err(|failure| BackendFailure::of_call(BACKEND, failure))
}

async fn call<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    headers: Vec<(&'static str, Secret<String>)>,
    deadline_ms: u32,
    max_bytes: usize,
) -> Result<CallAnswer, CallFailure> {
    let call = Call {
        backend: BACKEND,
        method: "GET",
        url: format!("{}{path}", context.settings.logto_origin),
        headers: with_origin_secret(context, headers),
        body: None,
        deadline_ms,
        max_bytes,
    };
    super::send(platform, context, call).await
}

/// With the proxy's own token; a refused one is fetched anew, once.
async fn with_credential<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
) -> Result<CallAnswer, BackendFailure> {
    asked(platform, context, path, MAX_ANSWER_BYTES)
        .await?
        .map_err(|failure| BackendFailure::of_call(BACKEND, failure))
}

/// The same, with what became of the call itself.
async fn asked<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    max_bytes: usize,
) -> Result<Result<CallAnswer, CallFailure>, BackendFailure> {
    for is_last_try in [false, true] {
        let token = credential(platform, context, OwnClient::Logto).await?;
        let headers = vec![("authorization", Secret(format!("Bearer {}", token.0)))];
        let outcome = call(platform, context, path, headers, DEADLINE_MS, max_bytes).await;
        let is_refused = outcome.as_ref().is_ok_and(|answer| answer.status == 401);
        if !is_refused || is_last_try {
            return Ok(outcome);
        }
        context.isolate.forget_own_token(OwnClient::Logto);
    }
    Err(BackendFailure::Unauthorized(BACKEND))
}

/// Without a client of its own the reverse mirror uses the other one.
async fn credential<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    own: OwnClient,
) -> Result<Secret<String>, BackendFailure> {
    if let Some(token) = context.isolate.own_token(own, platform.now_ms()) {
        return Ok(token);
    }
    let settings = context.settings;
    let reverse = settings.reverse_client.as_ref();
    let client = reverse.filter(|_| own == OwnClient::Reverse);
    let client = client.unwrap_or(&settings.logto_client);
    let body = super::form(&[
        ("grant_type", "client_credentials"),
        ("resource", &context.settings.logto_api_audience),
        ("scope", "all"),
    ]);
    let headers = [
        ("authorization", super::basic(client)),
        (
            "content-type",
            Secret("application/x-www-form-urlencoded".to_owned()),
        ),
    ];
    let call = Call {
        backend: BACKEND,
        method: "POST",
        url: format!("{}/oidc/token", context.settings.logto_origin),
        headers: with_origin_secret(context, headers),
        body: Some(Secret(body)),
        deadline_ms: DEADLINE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    };
    super::fetch_own_token(platform, context, own, call).await
}

fn with_origin_secret(
    context: &Context<'_>,
    headers: impl IntoIterator<Item = (&'static str, Secret<String>)>,
) -> Vec<(&'static str, Secret<String>)> {
    let secret = context.settings.origin_secret.clone();
    let secret = secret.map(|secret| ("x-proxy-secret", secret));
    headers.into_iter().chain(secret).collect()
}

fn is_entity_not_found(answer: &CallAnswer) -> bool {
    answer.is_json && string_member(&answer.body, "code").as_deref() == Some("entity.not_found")
}

fn string_member(json: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

fn encode(id: &UserId) -> String {
    super::encode(id.as_str())
}
