//! What the checklist asks of Logto beside reading: a token of this moment, and a change
//! for it to tell of.

use super::{BACKEND, DEADLINE_MS, credential, encode, with_origin_secret};
use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::isolate::OwnClient;
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Call, Platform};

/// The proxy's own token, fetched just now.
///
/// # Errors
/// When Logto hands out none.
pub async fn fresh_token<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Secret<String>, BackendFailure> {
    context.isolate.forget_own_token(OwnClient::Logto);
    credential(platform, context, OwnClient::Logto).await
}

/// A change of one member of a user's custom data, for Logto to tell of by a webhook: it
/// merges what it is given (contract 6.2). Harmless twice.
///
/// # Errors
/// When Logto did not change it.
pub async fn touch<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    value: i64,
) -> Result<(), BackendFailure> {
    let token = credential(platform, context, OwnClient::Logto).await?;
    let headers = [
        ("authorization", Secret(format!("Bearer {}", token.0))),
        ("content-type", Secret("application/json".to_owned())),
    ];
    let body = serde_json::json!({ "customData": { "_dwp_probe": value } });
    let call = Call {
        backend: BACKEND,
        method: "PATCH",
        url: format!(
            "{}/api/users/{}/custom-data",
            context.settings.logto_origin,
            encode(user)
        ),
        headers: with_origin_secret(context, headers),
        body: Some(Secret(body.to_string())),
        deadline_ms: DEADLINE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    };
    let answer = crate::runtime::backend::send(platform, context, call).await;
    let answer = answer.map_err(|failure| BackendFailure::of_call(BACKEND, failure))?;
    match answer.is_success() {
        true => Ok(()),
        false => Err(BackendFailure::of_status(BACKEND, &answer)),
    }
}
