//! Cron's sweep: wakes what nobody woke, pays what is owed, removes what is done.

use super::{Disposition, forget, pay_effect, queries_of_one, reconcile, send_all, take_lease};
use crate::inbound::request::UserId;
use crate::mirror::outbox::{self, LeaseAnswer, Purpose};
use crate::mirror::target::{self, Effect};
use crate::mirror::{findings, wake};
use crate::policy::flags::Stage;
use crate::runtime::context::Context;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Statement, Store};
use crate::runtime::sql::{integer, text};

/// Subjects marked by one query; one message each.
const ROUND_SIZE: i64 = 500;
/// 5,000 a minute; what is left is not marked, and the next sweep's.
const MAX_ROUNDS: usize = 10;
/// mgPass allows five calls of revoke-all a minute.
const EFFECTS_PER_SWEEP: i64 = 5;
/// What else a run of cron asks: effects (8 for each user), purge, jobs, metrics, guard.
const OTHER_QUERIES: usize = 120;
/// The next cron is not far.
const INLINE_MS: i64 = 40_000;

/// Cron: wakes what nobody woke, pays what is owed, removes what is done. `also_old`
/// removes what others keep in the same database, in the same batch.
pub async fn sweep<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    stage: Stage,
    also_old: Vec<Statement>,
) {
    if stage == Stage::Off {
        return;
    }
    let began_ms = platform.now_ms();
    let n_woken = wake_due(platform, context, began_ms).await;
    pay_owed(platform, context).await;
    let mut purge = outbox::purge();
    purge.push(findings::forget());
    purge.extend(also_old);
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

/// While the users change hands: whoever is still waited for is woken, and again when
/// their message was lost. Cron need not run for it.
pub async fn hurry<P: Platform>(platform: &P, context: &Context<'_>) {
    wake_due(platform, context, platform.now_ms()).await;
}

/// Round by round, while there are more and the Queue takes them.
async fn wake_due<P: Platform>(platform: &P, context: &Context<'_>, began_ms: i64) -> usize {
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
        let unsent = send_all(platform, &due).await;
        deliver_here(platform, context, &unsent, began_ms).await;
        if !unsent.is_empty() || (due.len() as i64) < ROUND_SIZE {
            break;
        }
    }
    if let Some(sent_ms) = marker {
        // Behind the wake-ups. Not sent, the next sweep's says more.
        let _ = platform.send(&Message::Marker { sent_ms }, 0).await;
    }
    n_woken
}

/// Without the Queue the sweep delivers by itself, as far as one run of cron may go. For
/// whom it does not reach, or who is to be tried again, there is no message: the next
/// sweep finds them.
async fn deliver_here<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    unsent: &[UserId],
    began_ms: i64,
) {
    let mut left = Vec::new();
    for subject in unsent {
        let has_time = platform.now_ms() - began_ms < INLINE_MS;
        let more = queries_of_one(context) + OTHER_QUERIES;
        let is_done = has_time
            && platform.usage().has_room_for(more)
            && reconcile(platform, context, subject).await == Disposition::Ack;
        if !is_done {
            left.push(subject.clone());
        }
    }
    if !left.is_empty() {
        forget(platform, &left).await;
    }
}

async fn pay_owed<P: Platform>(platform: &P, context: &Context<'_>) {
    let statement = Statement::new(target::SELECT_OWED, vec![EFFECTS_PER_SWEEP.into()]);
    let Ok(results) = platform.batch(Store::Mgpass, vec![statement]).await else {
        return;
    };
    let mut users: Vec<UserId> = Vec::new();
    for row in results.first().map(Vec::as_slice).unwrap_or_default() {
        let user = text(row, "user_id").and_then(|id| UserId::parse(&id));
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
        let effect = text(row, "effect").and_then(|name| Effect::from_name(&name));
        if let (Some(effect), Some(ticket)) = (effect, integer(row, "ticket"))
            && !pay_effect(platform, context, user, effect, ticket).await
        {
            return false;
        }
    }
    true
}
