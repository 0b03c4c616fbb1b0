//! What happens every minute, in order.
//!
//! First whatever only looks at what is at hand; last whatever waits for a backend: a
//! slow Logto must not keep a ramp that goes wrong from being stopped.

use crate::mirror::{relay, walk};
use crate::operate::{findings, guard, metrics, ramp, timeline, watch};
use crate::policy::flags::Flags;
use crate::population::jobs;
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;

pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, flags: &Flags) {
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
    walk::tick(platform, context, flags.stage).await;
    relay::sweep(platform, context, flags.stage, findings::purge()).await;
    jobs::revive(platform).await;
}
