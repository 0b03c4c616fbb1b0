//! What happens every minute, in order.
//!
//! First whatever only looks at what is at hand; last whatever waits for a backend: a
//! slow Logto must not keep a ramp that goes wrong from being stopped.

use crate::context::Context;
use crate::flags::Flags;
use crate::ports::Platform;
use crate::{guard, jobs, metrics, relay, walk};

pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, flags: &Flags) {
    // This isolate's own counts are among the figures.
    metrics::flush(platform, context).await;
    guard::run(platform, context, flags).await;
    walk::tick(platform, context, flags.stage).await;
    relay::sweep(platform, context, flags.stage).await;
    jobs::revive(platform).await;
}
