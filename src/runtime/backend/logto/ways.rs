//! How users sign in at Logto, besides or instead of by a password; and who has an
//! identifier.

use futures_util::future::join;
use serde_json::Value;

use super::{BACKEND, encode, user_member, with_credential};
use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::ports::{CallAnswer, Platform};

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

/// The one user with this identifier (contract 6.3). It stands in the address of the call,
/// as it does when an application searches.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn find_user<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    member: &str,
    value: &Secret<String>,
) -> Result<Option<UserId>, BackendFailure> {
    let value = crate::runtime::backend::encode(&value.0);
    let path = format!("/api/users?search.{member}={value}&mode.{member}=exact&page=1&page_size=2");
    let answer = with_credential(platform, context, &path).await?;
    if answer.status != 200 {
        return Err(BackendFailure::of_status(BACKEND, &answer));
    }
    let users: Vec<Value> =
        serde_json::from_str(&answer.body).map_err(|_| BackendFailure::OutOfContract(BACKEND))?;
    Ok(match users.as_slice() {
        [user] => user_member(user, "id"),
        _ => None,
    })
}

/// What a carried password depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignInWays {
    pub left_behind: LeftBehind,
    /// Unknown counts as suspended.
    pub is_suspended: bool,
    /// Logto's own hash of the password, from 1.38 on.
    pub digest: Option<Secret<String>>,
}

impl SignInWays {
    /// A password is all that a sign-in takes.
    pub fn is_plain(&self) -> bool {
        self.left_behind == LeftBehind::default() && !self.is_suspended
    }
}

/// # Errors
/// When Logto gave no answer to that question.
pub async fn sign_in_ways<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<SignInWays, BackendFailure> {
    let id = encode(id);
    let factors = format!("/api/users/{id}/mfa-verifications");
    let user = format!("/api/users/{id}?includeSsoIdentities=true&includePasswordHash=true");
    let (factors, user) = join(
        with_credential(platform, context, &factors),
        with_credential(platform, context, &user),
    )
    .await;
    let (factors, user) = (factors?, user?);
    let left_behind = LeftBehind {
        factors: names(&factors, None, "type")?,
        sso: names(&user, Some("ssoIdentities"), "ssoConnectorId")?,
    };
    let body: Value = match user.status {
        200 => serde_json::from_str(&user.body).unwrap_or_default(),
        _ => Value::Null,
    };
    let digest = body.get("passwordDigest").and_then(Value::as_str);
    Ok(SignInWays {
        left_behind,
        is_suspended: body.get("isSuspended") != Some(&Value::Bool(false)),
        digest: digest.map(|digest| Secret(digest.to_owned())),
    })
}

/// # Errors
/// When Logto gave no answer to that question.
pub async fn n_sso_identities<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    id: &UserId,
) -> Result<usize, BackendFailure> {
    let path = format!("/api/users/{}?includeSsoIdentities=true", encode(id));
    let answer = with_credential(platform, context, &path).await?;
    // By connector: one identity or none is all that is asked.
    names(&answer, Some("ssoIdentities"), "ssoConnectorId").map(|names| names.len())
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
    let list = list.and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = list
        .iter()
        .filter_map(|one| Some(one.get(name)?.as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
