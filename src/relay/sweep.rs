//! Cron's sweep: wakes what nobody woke, pays what is owed, removes what is done.

use super::{Disposition, Message, forget, pay_effect, reconcile, take_lease};
use crate::compare::findings;
use crate::context::Context;
use crate::flags::Stage;
use crate::mirror::outbox::{self, LeaseAnswer, Purpose};
use crate::mirror::target::{self, Effect};
use crate::mirror::wake;
use crate::observe::Event;
use crate::ports::{Platform, Statement, Store};
use crate::request::UserId;

/// Subjects marked by one query; one message each.
const ROUND_SIZE: i64 = 200;
/// 1,000 a minute; what is left is not marked, and the next sweep's.
const MAX_ROUNDS: usize = 5;
/// mgPass allows five calls of revoke-all a minute.
const EFFECTS_PER_SWEEP: i64 = 5;

/// Cron: wakes what nobody woke, pays what is owed, removes what is done.
pub async fn sweep<P: Platform>(platform: &P, context: &Context<'_>, stage: Stage) {
    if stage == Stage::Off {
        return;
    }
    let began_ms = platform.now_ms();
    let n_woken = wake_due(platform, context).await;
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
        n_woken,
        n_purged,
        duration_ms: platform.now_ms() - began_ms,
    });
}

/// Round by round, while there are more and the Queue takes them.
async fn wake_due<P: Platform>(platform: &P, context: &Context<'_>) -> usize {
    let mut n_woken = 0;
    let mut marker = None;
    for _ in 0..MAX_ROUNDS {
        let asked = platform.batch(Store::Proxy, wake::due(ROUND_SIZE)).await;
        let results = match asked {
            Ok(results) => results,
            Err(failure) => {
                platform.emit(&Event::OutboxDelayed {
                    step: "sweep",
                    code: failure.code(),
                });
                break;
            }
        };
        marker = wake::parse_marker(&results);
        let due = wake::parse(&results);
        n_woken += due.len();
        let mut is_queue_down = false;
        for subject in &due {
            let message = Message::Reconcile {
                subject: subject.as_str().to_owned(),
            };
            if platform.send(&message, 0).await.is_ok() {
                continue;
            }
            is_queue_down = true;
            // The sweep delivers by itself, as far as it gets.
            let disposition = reconcile(platform, context, subject).await;
            if matches!(disposition, Disposition::Retry { .. }) {
                // There is no message that comes again.
                forget(platform, std::slice::from_ref(subject)).await;
            }
        }
        if is_queue_down || (due.len() as i64) < ROUND_SIZE {
            break;
        }
    }
    if let Some(sent_ms) = marker {
        // Behind the wake-ups. Not sent, the next sweep's says more.
        let _ = platform.send(&Message::Marker { sent_ms }, 0).await;
    }
    n_woken
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
