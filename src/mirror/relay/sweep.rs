//! Cron's sweep: wakes what nobody woke, pays what is owed, removes what is done.

use super::{pay_effect, reconcile, take_lease};
use crate::inbound::request::UserId;
use crate::mirror::outbox::{self, LeaseAnswer, Purpose};
use crate::mirror::target::{self, Effect};
use crate::policy::flags::Stage;
use crate::runtime::context::Context;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Statement, Store};
use crate::runtime::sql::{integer, text};

const SWEEP_LIMIT: i64 = 200;
/// mgPass allows five calls of revoke-all a minute.
const EFFECTS_PER_SWEEP: i64 = 5;

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
    for subject in &due {
        let message = Message::Reconcile {
            subject: subject.as_str().to_owned(),
        };
        if platform.send(&message, 0).await.is_err() {
            // Without the Queue the sweep delivers by itself, as far as it gets.
            reconcile(platform, context, subject).await;
        }
    }
    pay_owed(platform, context).await;
    let n_purged = platform
        .batch(Store::Proxy, outbox::purge())
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
