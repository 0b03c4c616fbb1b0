//! Behind a look towards Logto: what is owed and stray then, no more and no less; who may
//! have their turn now; and whether the authority may move on.

use super::super::{Disposition, MOVE_QUERIES, send_wakes};
use super::{Ended, covers};
use crate::handover::advance;
use crate::handover::authority::Holder;
use crate::handover::debt;
use crate::handover::strays::{self, Source};
use crate::inbound::request::UserId;
use crate::mirror::outbox::Lease;
use crate::mirror::reverse::feed;
use crate::mirror::triggers::Trigger;
use crate::mirror::wake;
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Store};

/// The sweep of orphans comes by within a minute, once nothing of a create can land.
const CREATE_WAITS_MS: i64 = 60_000;
/// A reading of mgPass's audit log, and the wake-ups behind it.
const FEED_QUERIES: usize = 80;

/// Discharged and released; and what is owed and stray then, no more and no less.
pub(in crate::mirror::relay) async fn finish<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    ended: &Ended,
    began_ms: i64,
) -> Disposition {
    let subject = &lease.subject;
    let mut statements = vec![];
    if ended.forgets_debt {
        statements.push(debt::forget(subject));
    }
    if ended.born {
        statements.push(debt::owe_births(std::slice::from_ref(subject)));
    } else {
        statements.extend(debt::settle(subject, &ended.owed, &lease.holder));
        statements.extend(strays::settle(
            subject,
            &ended.strays,
            source(lease),
            Some(&lease.holder),
        ));
    }
    match is_cut_off_create(lease, ended) {
        true => statements.extend(lease.waiting(CREATE_WAITS_MS)),
        false => statements.extend(lease.done(ended.outcome)),
    }
    let disposition = match platform.batch(Store::Proxy, statements).await {
        Ok(_) => Disposition::Ack,
        // Not discharged: the next reconcile finds nothing to send and discharges.
        Err(_) => Disposition::Retry { delay_s: 5 },
    };
    if ended.has_sent {
        wake_conflicts(platform, lease).await;
    }
    tell(platform, context, lease, ended, began_ms);
    if platform.usage().has_room_for(FEED_QUERIES) {
        // Within seconds, where there are writes; cron looks once a minute.
        let _ = feed::turn(platform).await;
    }
    if lease.authority == Holder::Returning && platform.usage().has_room_for(MOVE_QUERIES) {
        // This may have been what the way back waited for.
        advance::nudge(platform, &context.settings.handover).await;
    }
    disposition
}

/// A create that reserved an id at Logto, and of which nothing came: its intent holds the
/// nonce by which that user is found and deleted (`at_mgpass::orphans`).
fn is_cut_off_create(lease: &Lease, ended: &Ended) -> bool {
    let mut covered = lease.covered.iter();
    ended.forgets_debt
        && covered.any(|intent| intent.operation == "users.create" && intent.is_suspect)
}

fn source(lease: &Lease) -> Source {
    match () {
        () if covers(lease, Trigger::Walk) => Source::Walk,
        () if covers(lease, Trigger::Webhook) => Source::Webhook,
        () => Source::Reverse,
    }
}

/// A value may have been given up that somebody else waits for.
async fn wake_conflicts<P: Platform>(platform: &P, lease: &Lease) {
    let asked = vec![debt::conflicts(&lease.subject)];
    let Ok(results) = platform.batch(Store::Proxy, asked).await else {
        return;
    };
    let waiting = debt::parse_subjects(results.first().map_or(&[], Vec::as_slice));
    if !waiting.is_empty() {
        wake_for(platform, Trigger::Again, &waiting).await;
    }
}

/// Intents and wake-ups. Not recorded, the walk finds the difference.
async fn wake_for<P: Platform>(platform: &P, trigger: Trigger, subjects: &[UserId]) {
    let mut statements = trigger.all(subjects);
    statements.push(wake::all(subjects));
    if let Ok(results) = platform.batch(Store::Proxy, statements).await {
        send_wakes(platform, &wake::parse(&results)).await;
    }
}

fn tell<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    ended: &Ended,
    began_ms: i64,
) {
    if !ended.strays.is_empty() {
        platform.emit(&Event::AuthorityStray {
            source: source(lease).name(),
            n_records: ended.strays.len(),
        });
    }
    let subject = context.subject_hash(&lease.subject);
    for owed in &ended.owed {
        platform.emit(&Event::MirrorOwed {
            subject: subject.as_deref(),
            class: owed.class.name(),
            code: &owed.code,
        });
    }
    platform.emit(&Event::MirrorReconciled {
        subject: subject.as_deref(),
        outcome: ended.outcome,
        ticket: lease.ticket,
        n_intents: lease.covered.len(),
        duration_ms: platform.now_ms() - began_ms,
    });
}
