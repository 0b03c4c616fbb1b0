//! A read answered by mgPass, in Logto's form.
//!
//! The standing (fence, epoch, mirror row) is looked up before mgPass is asked,
//! so that nobody reads older than what they were told was written. On any
//! failure the caller falls back to Logto, once, within the request.

use std::pin::pin;

use futures_util::future::{Either, join, select};

use crate::backend::mgpass::{self, Caller, Found};
use crate::backend::{Backend, BackendFailure};
use crate::context::Context;
use crate::mirror::outbox;
use crate::mirror::residue::Residue;
use crate::mirror::target::{self, MirrorRow, SELECT_MIRROR};
use crate::plan::Standing;
use crate::ports::{CallFailure, Platform, Statement, Store};
use crate::request::UserId;
use crate::translate::{Answer, error_answer, json_answer, users_get};

/// Why mgPass's answer could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    Backend(BackendFailure),
    /// The mirror says the user is there, mgPass's API says not.
    Missing,
}

impl Unserved {
    pub fn code(self) -> &'static str {
        match self {
            Self::Backend(failure) => failure.code(),
            Self::Missing => "missing",
        }
    }
}

/// A read does not wait longer for the databases; Logto answers it.
const STANDING_DEADLINE_MS: u32 = 500;

/// How mgPass stands with the user, and what the mirror kept of Logto's form.
pub async fn standing<P: Platform>(
    platform: &P,
    user: &UserId,
    request_began_ms: i64,
) -> (Standing, Option<MirrorRow>) {
    let fence = platform.batch(Store::Proxy, outbox::fence(user, request_began_ms));
    let mirror = mirror_row(platform, user);
    let deadline = pin!(platform.sleep(STANDING_DEADLINE_MS));
    let (fence, mirror) = match select(pin!(join(fence, mirror)), deadline).await {
        Either::Left((both, _)) => both,
        Either::Right(_) => return (Standing::Unknown, None),
    };
    let (Some(fence), Ok(mirror)) = (
        fence.ok().and_then(|rows| outbox::parse_fence(&rows)),
        mirror,
    ) else {
        return (Standing::Unknown, None);
    };
    if fence.is_fenced || !fence.logto_is_authority {
        return (Standing::Fenced, None);
    }
    match mirror {
        Some(row) if row.epoch == fence.epoch && !row.is_tombstone => (Standing::Equal, Some(row)),
        _ => (Standing::NotReconciled, None),
    }
}

async fn mirror_row<P: Platform>(
    platform: &P,
    user: &UserId,
) -> Result<Option<MirrorRow>, crate::ports::DatabaseFailure> {
    let statement = Statement::new(SELECT_MIRROR, vec![user.as_str().into()]);
    let results = platform.batch(Store::Mgpass, vec![statement]).await?;
    Ok(results
        .first()
        .and_then(|rows| rows.first())
        .and_then(target::parse_mirror))
}

/// `GET /api/users/:id`.
///
/// # Errors
/// When the answer must come from elsewhere.
pub async fn users_get<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    user: &UserId,
    mirror: Option<MirrorRow>,
    if_none_match: Option<&str>,
    request_id: &str,
) -> Result<Answer, Unserved> {
    let deadline_ms = context.settings.mgpass_deadline_ms;
    let both = pin!(join(
        mgpass::user(platform, context, caller, user, deadline_ms),
        mgpass::identities(platform, context, caller, user, deadline_ms),
    ));
    // Over all of it: a credential may have to be fetched first.
    let (shown, identities) = match select(both, pin!(platform.sleep(deadline_ms))).await {
        Either::Left((both, _)) => both,
        Either::Right(_) => {
            let late = BackendFailure::Down(Backend::Mgpass, CallFailure::TimedOut.code());
            return Err(Unserved::Backend(late));
        }
    };
    let (shown, identities) = match (shown, identities) {
        (Ok(Found::Yes(shown)), Ok(Found::Yes(identities))) if !shown.is_deleted => {
            (shown, identities)
        }
        (Err(failure), _) | (_, Err(failure)) => return Err(Unserved::Backend(failure)),
        (Ok(Found::NotAllowed(status)), _) | (_, Ok(Found::NotAllowed(status))) => {
            return Ok(error_answer(status, request_id));
        }
        _ => {
            return match caller {
                Caller::Proxy => Err(Unserved::Missing),
                Caller::Client(_) => Ok(error_answer(404, request_id)),
            };
        }
    };
    let residue = mirror
        .and_then(|mirror| mirror.residue)
        .as_deref()
        .and_then(Residue::parse);
    let body = users_get::body(
        &shown,
        &identities,
        residue.as_ref(),
        &context.settings.mapping,
    );
    Ok(json_answer(body, if_none_match, request_id))
}

/// What a caller with mgPass's own token needs besides: there is no fence for it,
/// and Logto's form only where the mirror has one.
pub async fn mirror_row_if_any<P: Platform>(platform: &P, user: &UserId) -> Option<MirrorRow> {
    mirror_row(platform, user)
        .await
        .ok()
        .flatten()
        .filter(|row| !row.is_tombstone)
}
