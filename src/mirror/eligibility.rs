//! Whether mgPass may be read for a user: fence, epoch and mirror row, looked up before
//! mgPass is asked, so that nobody reads older than what they were told was written.

use std::future::ready;
use std::pin::pin;

use futures_util::future::{Either, join, select};

use crate::handover::authority::Holder;
use crate::inbound::request::UserId;
use crate::mirror::outbox::{self, Fence};
use crate::mirror::target::{self, MirrorRow, SELECT_MIRROR};
use crate::policy::plan::Eligibility;
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

/// How mgPass stands with the user, and what the mirror kept of Logto's form.
pub async fn of<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    request_began_ms: i64,
) -> (Eligibility, Option<MirrorRow>) {
    let mirror = mirror_row(platform, user);
    look_up(platform, context, user, request_began_ms, mirror).await
}

/// The same with a mirror row that is at hand.
pub async fn of_row<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    request_began_ms: i64,
    mirror: MirrorRow,
) -> (Eligibility, Option<MirrorRow>) {
    let mirror = ready(Ok(Some(mirror)));
    look_up(platform, context, user, request_began_ms, mirror).await
}

async fn look_up<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    request_began_ms: i64,
    mirror: impl Future<Output = Result<Option<MirrorRow>, DatabaseFailure>>,
) -> (Eligibility, Option<MirrorRow>) {
    let asked_at_ms = platform.now_ms();
    let fence = platform.batch(Store::Proxy, outbox::fence(user, request_began_ms));
    let deadline = pin!(platform.sleep(context.settings.eligibility_deadline_ms));
    match select(pin!(join(fence, mirror)), deadline).await {
        Either::Left(((Ok(fence), mirror), _)) => {
            let is_in_doubt = context.isolate.doubts_outbox(platform.now_ms());
            let fence = outbox::parse_fence(&fence);
            if let Some(fence) = &fence {
                let lease_ms = context.settings.handover.lease_ms;
                let isolate = context.isolate;
                isolate.note_authority(fence.view, asked_at_ms, lease_ms);
            }
            match mirror {
                Ok(mirror) if !is_in_doubt => judge(fence, mirror),
                Ok(_) | Err(_) => (Eligibility::Unknown, None),
            }
        }
        Either::Left(((Err(_), _), _)) => {
            context.isolate.prolong_doubt();
            (Eligibility::Unknown, None)
        }
        Either::Right(_) => (Eligibility::Unknown, None),
    }
}

/// The rule by which a user's rows say whether mgPass may be read.
pub fn judge(fence: Option<Fence>, mirror: Option<MirrorRow>) -> (Eligibility, Option<MirrorRow>) {
    let Some(fence) = fence else {
        return (Eligibility::Unknown, None);
    };
    // While Logto drains both sides are as they were: nobody may write.
    let is_mirrored = matches!(fence.view.holder, Holder::Logto | Holder::Draining);
    if fence.is_fenced || !is_mirrored {
        return (Eligibility::Fenced, None);
    }
    match mirror {
        Some(row) if row.epoch == fence.epoch && !row.is_tombstone => {
            (Eligibility::Equal, Some(row))
        }
        _ => (Eligibility::NotReconciled, None),
    }
}

async fn mirror_row<P: Platform>(
    platform: &P,
    user: &UserId,
) -> Result<Option<MirrorRow>, DatabaseFailure> {
    let statement = Statement::new(SELECT_MIRROR, vec![user.as_str().into()]);
    let results = platform.batch(Store::Mgpass, vec![statement]).await?;
    Ok(results
        .first()
        .and_then(|rows| rows.first())
        .and_then(target::parse_mirror))
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
