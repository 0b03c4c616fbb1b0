//! Cron's sweep: wakes what nobody woke, pays what is owed, removes what is done.

use super::{Message, pay_effect, reconcile};
use crate::compare::findings;
use crate::context::Context;
use crate::flags::Stage;
use crate::mirror::outbox;
use crate::mirror::target::{self, Effect};
use crate::observe::Event;
use crate::ports::{Platform, Statement, Store};
use crate::request::UserId;

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

async fn pay_owed<P: Platform>(platform: &P, context: &Context<'_>) {
    let statement = Statement::new(target::SELECT_OWED, vec![EFFECTS_PER_SWEEP.into()]);
    let Ok(results) = platform.batch(Store::Mgpass, vec![statement]).await else {
        return;
    };
    for row in results.first().map(Vec::as_slice).unwrap_or_default() {
        let owed = (|| {
            let user = UserId::parse(&target::text(row, "user_id")?)?;
            let effect = Effect::from_name(&target::text(row, "effect")?)?;
            Some((user, effect, target::integer(row, "ticket")?))
        })();
        if let Some((user, effect, ticket)) = owed
            && !pay_effect(platform, context, &user, effect, ticket).await
        {
            return;
        }
    }
}
