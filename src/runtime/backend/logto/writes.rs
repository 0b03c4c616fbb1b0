//! What the proxy changes at Logto once mgPass is the authority: a user's password beside
//! mgPass's, and the ids of new users. By its Management API, with the proxy's own client,
//! so that at Logto it can be told from what goes around the proxy.

use serde_json::json;

use super::{BACKEND, DEADLINE_MS, encode, is_entity_not_found, with_origin_secret};
use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::{BackendFailure, Unsure};
use crate::runtime::context::Context;
use crate::runtime::isolate::OwnClient;
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Call, CallAnswer, CallFailure, Platform};

/// A new user with nothing but an id and the mark `_dwp` by which they are known; the
/// answer is Logto's form of them.
///
/// # Errors
/// When there is no id to be had now.
pub async fn reserve<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    nonce: &str,
) -> Result<String, Unsure> {
    let body = json!({ "customData": { "_dwp": nonce } }).to_string();
    let answer = send(platform, context, "POST", "/api/users", Some(body)).await?;
    match answer.status {
        200 => Ok(answer.body),
        _ => Err(Unsure::of_status(BACKEND, &answer)),
    }
}

/// Whoever is gone has none to set.
///
/// # Errors
/// When Logto may still have another one.
pub async fn set_password<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
    password: &Secret<String>,
) -> Result<(), Unsure> {
    let path = format!("/api/users/{}/password", encode(id));
    let body = json!({ "password": password.0 }).to_string();
    let answer = send(platform, context, "PATCH", &path, Some(body)).await?;
    match answer.status {
        200 => Ok(()),
        404 if is_entity_not_found(&answer) => Ok(()),
        _ => Err(Unsure::of_status(BACKEND, &answer)),
    }
}

/// Whether Logto keeps this password of the user.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn password_is_right<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
    password: &Secret<String>,
) -> Result<bool, BackendFailure> {
    let path = format!("/api/users/{}/password/verify", encode(id));
    let body = json!({ "password": password.0 }).to_string();
    let answer = send(platform, context, "POST", &path, Some(body))
        .await
        .map_err(Unsure::failure)?;
    match answer.status {
        204 => Ok(true),
        404 | 422 if answer.is_json => Ok(false),
        _ => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}

/// One change of a user, as the reverse mirror makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Members of the user, each replaced whole; a JSON object.
    Members(String),
    /// Also ends sessions and tokens.
    Suspension(bool),
    PutIdentity {
        target: String,
        json: String,
    },
    DropIdentity {
        target: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// Logto's code.
    Refused(String),
    /// Logto has nobody of that id.
    Gone,
}

/// # Errors
/// When nothing came of it, or nobody knows what did.
pub async fn change<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
    change: &Change,
) -> Result<Changed, Unsure> {
    let user = encode(id);
    let identity = |target: &str| {
        let target = crate::runtime::backend::encode(target);
        format!("/api/users/{user}/identities/{target}")
    };
    let (method, path, body) = match change {
        Change::Members(json) => ("PATCH", format!("/api/users/{user}"), Some(json.clone())),
        Change::Suspension(is_suspended) => (
            "PATCH",
            format!("/api/users/{user}/is-suspended"),
            Some(json!({ "isSuspended": is_suspended }).to_string()),
        ),
        Change::PutIdentity { target, json } => ("PUT", identity(target), Some(json.clone())),
        Change::DropIdentity { target } => ("DELETE", identity(target), None),
    };
    let answer = send(platform, context, method, &path, body).await?;
    match answer.status {
        200..=299 => Ok(Changed::Done),
        404 if is_entity_not_found(&answer) => Ok(Changed::Gone),
        // Taken away already.
        404 if answer.is_json && matches!(change, Change::DropIdentity { .. }) => Ok(Changed::Done),
        400 | 404 | 409 | 413 | 422 if answer.is_json => Ok(Changed::Refused(refusal(&answer))),
        _ => Err(Unsure::of_status(BACKEND, &answer)),
    }
}

/// A code, and nothing that may be a value.
fn refusal(answer: &CallAnswer) -> String {
    let code = super::string_member(&answer.body, "code").unwrap_or_default();
    let is_code = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.' | b'0'..=b'9');
    match !code.is_empty() && code.len() <= 64 && code.bytes().all(is_code) {
        true => code,
        false => format!("status_{}", answer.status),
    }
}

/// Of a user whom only the proxy made, or whom mgPass has deleted. Gone already is done.
///
/// # Errors
/// When the user may still be there.
pub async fn delete<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<(), Unsure> {
    let path = format!("/api/users/{}", encode(id));
    let answer = send(platform, context, "DELETE", &path, None).await?;
    match answer.status {
        204 => Ok(()),
        404 if is_entity_not_found(&answer) => Ok(()),
        _ => Err(Unsure::of_status(BACKEND, &answer)),
    }
}

/// With the proxy's own token; a refused one is fetched anew, once.
async fn send<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    method: &'static str,
    path: &str,
    body: Option<String>,
) -> Result<CallAnswer, Unsure> {
    let kind = Secret("application/json".to_owned());
    for is_last_try in [false, true] {
        let token = super::credential(platform, context, OwnClient::Reverse)
            .await
            .map_err(Unsure::NotDone)?;
        let mut headers = vec![("authorization", Secret(format!("Bearer {}", token.0)))];
        if body.is_some() {
            headers.push(("content-type", kind.clone()));
        }
        let call = Call {
            backend: BACKEND,
            method,
            url: format!("{}{path}", context.settings.logto_origin),
            headers: with_origin_secret(context, headers),
            body: body.clone().map(Secret),
            deadline_ms: DEADLINE_MS,
            max_bytes: MAX_ANSWER_BYTES,
        };
        let answer = crate::runtime::backend::send(platform, context, call)
            .await
            .map_err(unsure)?;
        if answer.status != 401 || is_last_try {
            return Ok(answer);
        }
        context.isolate.forget_own_token(OwnClient::Reverse);
    }
    Err(Unsure::NotDone(BackendFailure::Unauthorized(BACKEND)))
}

/// A connection that breaks may have carried the request, too; a call that was not made
/// changed nothing.
fn unsure(failure: CallFailure) -> Unsure {
    let is_sent = !matches!(failure, CallFailure::Retired | CallFailure::Unheard);
    let failure = BackendFailure::of_call(BACKEND, failure);
    match is_sent {
        true => Unsure::Unknown(failure),
        false => Unsure::NotDone(failure),
    }
}
