//! Cron's sweep: wakes what nobody woke, pays what is owed, removes what is done.

use super::{pay_effect, queries_of_one, reconcile, send_wakes, take_lease};
use crate::compare::findings;
use crate::context::Context;
use crate::flags::Stage;
use crate::limits::MAX_SENT_MESSAGES;
use crate::mirror::outbox::{self, LeaseAnswer, Purpose};
use crate::mirror::target::{self, Effect};
use crate::observe::Event;
use crate::ports::{Platform, Statement, Store};
use crate::request::UserId;

const SWEEP_LIMIT: i64 = 200;
/// mgPass allows five calls of revoke-all a minute.
const EFFECTS_PER_SWEEP: i64 = 5;
/// What else a run of cron asks: effects (8 for each user), purge, jobs, metrics, guard.
const OTHER_QUERIES: usize = 120;
/// The next cron is not far.
const INLINE_MS: i64 = 40_000;

/// Cron: wakes what nobody woke, pays what is owed, removes what is done.
pub async fn sweep<P: Platform>(platform: &P, context: &Context<'_>, stage: Stage) {
    if stage == Stage::Off {
        return;
    }
    let began_ms = platform.now_ms();
    let due = match platform.batch(Store::Proxy, outbox::due(SWEEP_LIMIT)).await {
        Ok(results) => outbox::parse_due(&results),
        Err(failure) => {
            platform.emit(&Event::OutboxDelayed {
                step: "sweep",
                code: failure.code(),
            });
            return;
        }
    };
    for some in due.chunks(MAX_SENT_MESSAGES) {
        if !send_wakes(platform, some, 0).await {
            deliver_here(platform, context, some, began_ms).await;
        }
    }
    pay_owed(platform, context).await;
    let mut purge = outbox::purge();
    purge.extend(findings::purge());
    let n_purged = platform
        .batch(Store::Proxy, purge)
        .await
        .ok()
        .and_then(|results| outbox::parse_purge(&results))
        .unwrap_or(-1);
    platform.emit(&Event::SweepDone {
        n_woken: due.len(),
        n_purged,
        duration_ms: platform.now_ms() - began_ms,
    });
}

/// Without the Queue the sweep delivers by itself, as far as one run of cron may go;
/// whom it does not reach is due at the next.
async fn deliver_here<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    due: &[UserId],
    began_ms: i64,
) {
    for subject in due {
        let has_time = platform.now_ms() - began_ms < INLINE_MS;
        let more = queries_of_one(context) + OTHER_QUERIES;
        if !has_time || !platform.usage().has_room_for(more) {
            return;
        }
        reconcile(platform, context, subject).await;
    }
}

async fn pay_owed<P: Platform>(platform: &P, context: &Context<'_>) {
    let statement = Statement::new(target::SELECT_OWED, vec![EFFECTS_PER_SWEEP.into()]);
    let Ok(results) = platform.batch(Store::Mgpass, vec![statement]).await else {
        return;
    };
    let mut users: Vec<UserId> = Vec::new();
    for row in results.first().map(Vec::as_slice).unwrap_or_default() {
        let user = target::text(row, "user_id").and_then(|id| UserId::parse(&id));
        users.extend(user.filter(|user| !users.contains(user)));
    }
    for user in &users {
        // Under the lease, so that no reconcile makes the same call beside us.
        let Ok(LeaseAnswer::Held(lease)) = take_lease(platform, user, Purpose::AsHolder).await
        else {
            continue;
        };
        let goes_on = pay_user(platform, context, user).await;
        if platform.batch(Store::Proxy, lease.untried()).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Asked again under the lease: a reconcile may have paid meanwhile.
async fn pay_user<P: Platform>(platform: &P, context: &Context<'_>, user: &UserId) -> bool {
    let Ok(results) = platform
        .batch(Store::Mgpass, vec![target::owed(user)])
        .await
    else {
        return false;
    };
    for row in results.first().map(Vec::as_slice).unwrap_or_default() {
        let effect = target::text(row, "effect").and_then(|name| Effect::from_name(&name));
        if let (Some(effect), Some(ticket)) = (effect, target::integer(row, "ticket"))
            && !pay_effect(platform, context, user, effect, ticket).await
        {
            return false;
        }
    }
    true
}
