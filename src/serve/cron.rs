//! What happens every minute, in order.
//!
//! First whatever only looks at what is at hand; last whatever waits for a backend: a
//! slow Logto must not keep a ramp that goes wrong from being stopped.

use crate::handover::advance::{self, Operated};
use crate::handover::authority::Holder;
use crate::mirror::{passwords, relay, reverse, walk};
use crate::operate::{
    checklist, cleanup, cutover, findings, guard, metrics, ramp, sign_in, timeline, watch,
};
use crate::policy::flags::{Flags, Stage};
use crate::population::jobs;
use crate::runtime::context::Context;
use crate::runtime::ports::{Platform, Store};
use crate::serve::at_mgpass::{orphans, tenant};

pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, flags: &Flags) {
    if (context.isolate.authority.get().is_alone() || flags.asked_stage() == Some(Stage::Off))
        && is_cleared(platform).await
    {
        return;
    }
    // This isolate's own counts are among the figures.
    metrics::flush(platform, context).await;
    guard::run(platform, context, flags).await;
    let seen = watch::look(platform).await;
    // Not noticed now, the next minute does.
    let _ = watch::notice(platform, seen.as_ref(), true).await;
    if let Some(seen) = &seen {
        ramp::tick(platform, &context.settings.guard, seen).await;
    }
    timeline::keep(platform, flags).await;
    let operated = Operated {
        flags,
        logto_origin: &context.settings.logto_origin,
        context: Some(*context),
    };
    let ran = advance::operate(platform, &context.settings.handover, operated).await;
    // Of a database that does not answer nothing would be asked, or kept, anyway.
    let Some(authority) = ran.authority else {
        return;
    };
    let holder = authority.holder;
    cutover::watch(platform, &context.settings.guard, holder).await;
    match holder {
        Holder::Logto => walk::tick(platform, context, flags.stage).await,
        // Who waits for a name is looked for; nobody else.
        Holder::Draining => walk::catch_up(platform, context).await,
        Holder::Mgpass | Holder::Returning => reverse::walk::tick(platform, context).await,
        // What mgPass is owed is paid, and what is old removed; Logto is asked nothing.
        Holder::Alone => {
            passwords::sweep::tick(platform, context).await;
            relay::sweep(platform, context, Stage::DualWrite, findings::purge()).await;
            return;
        }
    }
    sign_in::watch(platform, flags, holder).await;
    passwords::sweep::tick(platform, context).await;
    relay::sweep(
        platform,
        context,
        stage(holder, flags.stage),
        findings::purge(),
    )
    .await;
    jobs::revive(platform).await;
    if context.settings.handover.needs_proof() {
        tenant::keep_fresh(platform, context).await;
        orphans::sweep(platform, context).await;
    }
    checklist::tick(platform, context, flags.stage).await;
}

/// Clearing has begun: there is nothing to watch and nothing to keep.
async fn is_cleared<P: Platform>(platform: &P) -> bool {
    let asked = platform.batch(Store::Proxy, vec![cleanup::is_cleared()]);
    asked
        .await
        .is_ok_and(|results| cleanup::parse_is_cleared(&results))
}

/// Policy follows the authority, never the wish: the stage is a flag of Logto's time.
fn stage(holder: Holder, by_flag: Stage) -> Stage {
    match holder {
        Holder::Logto => by_flag,
        Holder::Draining | Holder::Mgpass | Holder::Returning | Holder::Alone => Stage::DualWrite,
    }
}
