//! One snapshot of the flags for a whole request, kept in the isolate.
//!
//! Only an isolate's very first request waits for KV, and not for long. An isolate
//! that knows nothing reads from Logto, as in stage `off`, and records every write.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};

use crate::policy::flags::{self, Flags};
use crate::runtime::isolate::{FlagsState, Isolate};
use crate::runtime::observe::Event;
use crate::runtime::ports::Platform;

const DEADLINE_MS: u32 = 1_000;

/// Whether the caller has to refresh the snapshot behind the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    NotNeeded,
    BehindTheRequest,
}

pub async fn current<P: Platform>(platform: &P, isolate: &Isolate) -> (Arc<Flags>, Refresh) {
    match isolate.flags(platform.now_ms()) {
        FlagsState::Fresh(flags) => (flags, Refresh::NotNeeded),
        FlagsState::Stale(flags) => (flags, Refresh::BehindTheRequest),
        FlagsState::Unknown => (read(platform, isolate).await, Refresh::NotNeeded),
    }
}

/// Reads KV now. When it does not answer, what was known stays.
pub async fn read<P: Platform>(platform: &P, isolate: &Isolate) -> Arc<Flags> {
    let asked_at_ms = platform.now_ms();
    let previous = isolate.last_flags();
    let keys = flags::keys();
    let asked = pin!(platform.flags(&keys));
    let deadline = pin!(platform.sleep(DEADLINE_MS));
    match select(asked, deadline).await {
        Either::Left((Ok(raw), _)) => {
            let flags = flags::parse(&previous, &raw);
            for fault in &flags.refused {
                platform.emit(&Event::FlagsRefused {
                    key: &fault.key,
                    code: fault.code,
                });
            }
            isolate.set_flags(Arc::new(flags), asked_at_ms, platform.now_ms());
        }
        Either::Left((Err(_), _)) | Either::Right(_) => {
            isolate.keep_flags(platform.now_ms());
            platform.emit(&Event::FlagsUnreachable {
                stage: isolate.last_flags().stage_name(),
            });
        }
    }
    isolate.last_flags()
}
