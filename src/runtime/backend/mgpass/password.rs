//! A user's password, set by mgPass's API: it stands in no row that the proxy may write.

use serde_json::json;

use super::{BACKEND, Caller, DEADLINE_MS, send};
use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::Unsure;
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;

/// What mgPass says to a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordAnswer {
    Set,
    /// It does not take this one.
    Refused,
    /// It has nobody of that id.
    NoUser,
}

/// ASSUMPTION (docs/assumptions.md): `password` alone may be sent, and what mgPass does not
/// take of it is a 400.
///
/// # Errors
/// When the user may have another password.
pub async fn set_password<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
    password: &Secret<String>,
) -> Result<PasswordAnswer, Unsure> {
    let path = format!(
        "/api/users/{}",
        crate::runtime::backend::encode(id.as_str())
    );
    let body = json!({ "password": password.0 }).to_string();
    // Its failures before the call are failures of the call here: a token that cannot be
    // had is rare, and then an intent waits for nothing.
    let answer = send(
        platform,
        context,
        &Caller::Proxy,
        "PATCH",
        &path,
        Some(&body),
        DEADLINE_MS,
    )
    .await
    .map_err(Unsure::Unknown)?;
    match answer.status {
        200..=299 => Ok(PasswordAnswer::Set),
        400 | 422 => Ok(PasswordAnswer::Refused),
        404 => Ok(PasswordAnswer::NoUser),
        _ => Err(Unsure::of_status(BACKEND, &answer)),
    }
}
