//! Proof that Logto is the authority, for what a request has none of its own; and the
//! wait of a user write for the new authority.

use std::pin::pin;

use futures_util::future::select;

use crate::handover::advance;
use crate::handover::authority::{Holder, View};
use crate::policy::flags::{Flags, Stage};
use crate::runtime::authority;
pub use crate::runtime::authority::PROOF_MS;
use crate::runtime::isolate::Isolate;
use crate::runtime::ports::Platform;
use crate::runtime::settings::HandoverSettings;

/// How often one of those that wait asks, give or take a quarter.
const ASKED_EVERY_MS: u64 = 1_000;
/// Flags that were read so long ago may be those of another stage: an isolate may have had
/// no request since.
const FLAGS_OLD_MS: i64 = 60_000;

/// By the isolate's lease, else by asking now; `None`: nobody can say.
pub async fn prove<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    settings: &HandoverSettings,
) -> Option<View> {
    let lease = isolate.authority.get();
    if lease.holds(platform.now_ms()) {
        return lease.view();
    }
    ask(platform, isolate, settings, PROOF_MS).await
}

/// Whether the operator's flag, or what this isolate was told of the authority, says that
/// Logto may not be the one to ask any more: then whoever asks it goes by an answer of the
/// database that is no older than a lease.
///
/// KV's word alone changes nothing; it only makes an isolate ask that knows nothing yet. So
/// the gates demand that KV says it before the authority moves.
fn is_hinted(isolate: &Isolate, flags: &Flags, now_ms: i64) -> bool {
    let by_authority = |view: View| !matches!(view.holder, Holder::Logto | Holder::Draining);
    let is_old = isolate
        .flags_age_ms(now_ms)
        .is_none_or(|age_ms| !(0..FLAGS_OLD_MS).contains(&age_ms));
    is_old
        || flags
            .asked_stage()
            .is_none_or(|stage| stage >= Stage::Cutover)
        || isolate.authority.get().view().is_some_and(by_authority)
}

/// A version without the hand-over secret asks for nothing, unless the operator wants Logto
/// to be left alone: then whatever version is deployed goes by the authority.
fn is_concerned(settings: &HandoverSettings, flags: &Flags) -> bool {
    settings.needs_proof() || flags.asked_stage() == Some(Stage::Cleanup)
}

/// True where a request may go to Logto without anybody being asked.
pub fn is_heard(
    isolate: &Isolate,
    settings: &HandoverSettings,
    flags: &Flags,
    now_ms: i64,
) -> bool {
    if isolate.asks_no_logto() {
        return false;
    }
    !is_concerned(settings, flags)
        || isolate.authority.get().is_heard(now_ms)
        || !is_hinted(isolate, flags, now_ms)
}

/// At the beginning of whatever may ask Logto something.
pub async fn hear<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    settings: &HandoverSettings,
    flags: &Flags,
) {
    let now_ms = platform.now_ms();
    let is_known = isolate.authority.get().is_heard(now_ms) && !isolate.doubts_logto.get();
    if !is_concerned(settings, flags) || is_known || !is_hinted(isolate, flags, now_ms) {
        return;
    }
    let heard = ask(platform, isolate, settings, PROOF_MS).await;
    let wants_it_left = flags.asked_stage() == Some(Stage::Cleanup);
    isolate.doubts_logto.set(heard.is_none() && wants_it_left);
}

/// True while a lease holds that is to be renewed behind this request.
pub fn is_renewal_due(isolate: &Isolate, now_ms: i64) -> bool {
    let lease = isolate.authority.get();
    lease.holds(now_ms) && lease.is_past_half(now_ms)
}

/// The row itself; the lease is renewed by it.
pub async fn ask<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    settings: &HandoverSettings,
    deadline_ms: u32,
) -> Option<View> {
    authority::ask(platform, isolate, settings.lease_ms, deadline_ms).await
}

/// Until one side may write, for as long as a user write is held. One row once a second;
/// one of those that wait in this isolate tries to move the authority on instead.
/// `None`: the time is over.
pub async fn wait<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    settings: &HandoverSettings,
) -> Option<View> {
    let until_ms = platform.now_ms() + i64::from(settings.hold_ms);
    loop {
        let jitter_ms = platform.random_u64() % (ASKED_EVERY_MS / 2);
        let pause_ms = ASKED_EVERY_MS * 3 / 4 + jitter_ms;
        let left_ms = until_ms - platform.now_ms();
        if left_ms < pause_ms as i64 {
            platform.sleep(left_ms.max(0) as u32).await;
            return None;
        }
        platform.sleep(pause_ms as u32).await;
        if isolate.may_advance(platform.now_ms()) {
            let trying = pin!(advance::nudge(platform, settings));
            let left_ms = (until_ms - platform.now_ms()).max(1) as u32;
            let over = pin!(platform.sleep(left_ms));
            // Cut off at any point, somebody else goes on with it.
            select(trying, over).await;
        }
        let left_ms = (until_ms - platform.now_ms()).clamp(1, i64::from(PROOF_MS)) as u32;
        match ask(platform, isolate, settings, left_ms).await {
            Some(view) if may_write(&view) => return Some(view),
            Some(_) | None => {}
        }
    }
}

/// One side is the authority, and can be written to.
fn may_write(view: &View) -> bool {
    match view.holder {
        Holder::Logto => true,
        Holder::Mgpass | Holder::Alone => !view.is_raise_owed,
        Holder::Draining | Holder::Returning => false,
    }
}
