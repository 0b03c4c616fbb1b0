//! Delivery: make mgPass equal to Logto, one subject at a time, until it is.
//!
//! Woken by the Queue, by cron's sweep, or by a walk. Why everything that may
//! happen twice, late or out of order is harmless:
//! * a message only wakes; all state is in the outbox, so a doubled one finds nothing
//!   to cover and ends after one query, and a lost one is sent again (`mirror::wake`);
//! * a marker says only how far the Queue has come: of two the newer counts;
//! * two relays on one subject: the lease lets one in; if a lease expires under a
//!   slow relay, the tickets in the target order the two;
//! * a batch that lands late carries an old ticket and changes nothing;
//! * an effect is paid by the ticket that owed it; a repeated call ends sessions
//!   that are ended already;
//! * a refused or failed reconcile discharges nothing.

mod attempt;
mod back;
mod reschedule;
mod sweep;

use self::attempt::attempt;
use self::reschedule::reschedule;
pub use self::sweep::{hurry, sweep};
use crate::handover::advance;
use crate::handover::authority::{self, Holder, Side};
use crate::inbound::request::{InteractionUid, UserId};
use crate::mirror::findings::Finding;
use crate::mirror::outbox::{self, Intent, Lease, LeaseAnswer, Purpose};
use crate::mirror::passwords::{self, Voided};
use crate::mirror::reconcile::{Change, Park};
use crate::mirror::target::{self, Effect};
use crate::mirror::triggers::Trigger;
use crate::mirror::wake;
pub use crate::mirror::waking::send_wakes;
use crate::mirror::waking::{forget, send_all};
use crate::policy::flags::Stage;
use crate::runtime::backend::mgpass;
use crate::runtime::context::Context;
use crate::runtime::message::{IntentRecord, Message, delay_s};
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::sql::lease_ms;

impl From<&Intent> for IntentRecord {
    fn from(intent: &Intent) -> Self {
        Self {
            id: intent.id.clone(),
            subject: intent
                .subject
                .as_ref()
                .map(|subject| subject.as_str().to_owned()),
            interaction: intent
                .interaction
                .as_ref()
                .map(|uid| uid.as_str().to_owned()),
            operation: intent.operation.clone(),
        }
    }
}

impl From<IntentRecord> for Intent {
    fn from(record: IntentRecord) -> Self {
        Self {
            id: record.id,
            subject: record.subject.as_deref().and_then(UserId::parse),
            interaction: record
                .interaction
                .as_deref()
                .and_then(InteractionUid::parse),
            operation: record.operation,
        }
    }
}

/// What moving the authority on asks at most, four times.
const MOVE_QUERIES: usize = 50;

/// The call and its note take no more than the rest of the lease.
const EFFECT_UNTIL_MS: i64 = lease_ms!() - 12_000;

/// A void takes a call and some notes; it ends before the lease does.
const VOID_UNTIL_MS: i64 = lease_ms!() - 15_000;

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Ack,
    Retry { delay_s: u32 },
}

/// One delivery. In stage `off` nothing is mirrored: what is in the outbox stays there
/// until the sweep of a later stage finds it.
pub async fn handle<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    stage: Stage,
    message: Message,
) -> Disposition {
    let subject = match message {
        Message::Reconcile { subject } => {
            let subject = UserId::parse(&subject);
            if subject.is_none() {
                platform.emit(&Event::MessageRefused { code: "subject" });
            }
            subject
        }
        Message::Marker { sent_ms } => {
            // Not told, the next one tells more.
            let _ = platform.batch(Store::Proxy, wake::arrived(sent_ms)).await;
            None
        }
        record => match keep(platform, record).await {
            Ok(subject) => subject,
            // The database is down; the record waits for it, here and then as a dead letter.
            Err(_) => return Disposition::Retry { delay_s: 30 },
        },
    };
    match subject {
        Some(subject) if stage == Stage::Off && !is_handed_over(platform).await => {
            forget(platform, &[subject]).await;
            Disposition::Ack
        }
        Some(subject) => reconcile(platform, context, &subject).await,
        None => Disposition::Ack,
    }
}

/// The stage is a flag of Logto's time: later on policy follows the authority. In doubt
/// the message ends, and a sweep finds its subject.
async fn is_handed_over<P: Platform>(platform: &P) -> bool {
    let asked = platform.batch(Store::Proxy, vec![authority::view()]).await;
    let view = asked.ok().and_then(|results| {
        let row = results.first()?.first()?;
        authority::parse_view(row)
    });
    view.is_some_and(|view| view.holder != Holder::Logto)
}

/// One delivery of the dead-letter queue. What a wake-up would do lies in the outbox,
/// where the sweep finds it; a late record is not in it yet, and is tried for a day.
pub async fn handle_dead<P: Platform>(platform: &P, message: Message) -> Disposition {
    match keep(platform, message).await {
        Ok(_) => Disposition::Ack,
        Err(_) => Disposition::Retry { delay_s: 900 },
    }
}

/// Puts a late record into the outbox; answers whom to reconcile now.
async fn keep<P: Platform>(
    platform: &P,
    message: Message,
) -> Result<Option<UserId>, DatabaseFailure> {
    let (statements, is_settled) = match message {
        Message::Reconcile { .. } | Message::Marker { .. } | Message::Job { .. } => {
            return Ok(None);
        }
        Message::Gap => (outbox::raise_epoch(), false),
        Message::Open { intent } => (Intent::from(intent).open_late(), false),
        Message::Settle { intent, status } => (Intent::from(intent).settle(status), true),
    };
    // Under another holder it is a stray.
    let results = advance::absorb(platform, statements).await?;
    Ok(outbox::parse_subject(&results).filter(|_| is_settled))
}

pub async fn reconcile<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    subject: &UserId,
) -> Disposition {
    let began_ms = platform.now_ms();
    let Some(mut room) = platform.usage().reserve(queries_of_one(context)) else {
        // The invocation has used up its share; the message comes with another.
        return Disposition::Retry { delay_s: 1 };
    };
    let lease = match take_lease(platform, subject, Purpose::Own).await {
        Ok(LeaseAnswer::Held(lease)) => lease,
        Ok(LeaseAnswer::Busy) => return Disposition::Retry { delay_s: 1 },
        Ok(LeaseAnswer::Paused { until_ms, now_ms }) => {
            return Disposition::Retry {
                delay_s: delay_s(until_ms - now_ms),
            };
        }
        // Kept in the outbox until a person has decided.
        Ok(LeaseAnswer::HeldBack) => return Disposition::Ack,
        Ok(LeaseAnswer::RaiseOwed) => {
            let _ = advance::agree(platform, &context.settings.handover).await;
            return Disposition::Retry { delay_s: 5 };
        }
        Ok(LeaseAnswer::NothingToCover) => {
            platform.emit(&Event::MirrorWaited {
                subject: context.subject_hash(subject).as_deref(),
                code: "nothing_to_cover",
            });
            return Disposition::Ack;
        }
        Err(_) => return Disposition::Retry { delay_s: 5 },
    };
    if lease.source() == Side::Mgpass && !back::goes_to_mgpass(&lease) {
        return match back::attempt(platform, context, &lease).await {
            Ok(ended) => back::finish(platform, context, &lease, &ended, began_ms).await,
            Err(stopped) => reschedule(platform, context, &[lease], stopped).await,
        };
    }
    let is_draining = lease.authority == Holder::Draining;
    let mut group = vec![lease];
    let stopped = match attempt(platform, context, &mut group, &mut room).await {
        Ok(changes) => {
            let disposition = finish(platform, context, &group, &changes, began_ms).await;
            if is_draining && platform.usage().has_room_for(MOVE_QUERIES) {
                // This may have been what a hand-over waited for.
                advance::nudge(platform, &context.settings.handover).await;
            }
            return disposition;
        }
        Err(stopped) => stopped,
    };
    reschedule(platform, context, &group, stopped).await
}

/// Queries of a reconcile of one subject, from the lease to its end: preflight 9, lease
/// 5, read 7, batch 8, void 7, effect 1, end 4; and two for each social account, dropped and
/// made anew.
fn queries_of_one(context: &Context<'_>) -> usize {
    34 + passwords::VOID_QUERIES + 2 * context.settings.mapping.providers.len()
}

pub(in crate::mirror) async fn take_lease<P: Platform>(
    platform: &P,
    subject: &UserId,
    purpose: Purpose,
) -> Result<LeaseAnswer, DatabaseFailure> {
    let holder = format!("{:016x}", platform.random_u64());
    let results = platform
        .batch(Store::Proxy, outbox::lease(subject, &holder, purpose))
        .await?;
    outbox::parse_lease(subject, &holder, purpose, &results).ok_or(DatabaseFailure::Refused)
}

async fn finish<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &[Lease],
    changes: &[Change],
    began_ms: i64,
) -> Disposition {
    let mut disposition = Disposition::Ack;
    for (lease, change) in group.iter().zip(changes) {
        let voided = match platform.now_ms() - began_ms < VOID_UNTIL_MS {
            true => passwords::before_discharge(platform, context, lease).await,
            false => Err("no_time"),
        };
        let Ok(voided) = voided else {
            // mgPass may have an old password: nothing is discharged, and cron knows of it.
            disposition = Disposition::Retry { delay_s: 30 };
            let _ = platform.batch(Store::Proxy, lease.untried()).await;
            continue;
        };
        let owes_effect = change.owes_effect() || voided == Voided::Password;
        if owes_effect && platform.now_ms() - began_ms < EFFECT_UNTIL_MS {
            // Under the lease, while it surely holds: the next reconcile, or the sweep,
            // finds what is still owed and makes the call, and two would make it twice.
            pay_effect(
                platform,
                context,
                &lease.subject,
                Effect::RevokeAll,
                lease.ticket,
            )
            .await;
        }
        match platform.batch(Store::Proxy, ending(lease, change)).await {
            Ok(results) => send_wakes(platform, &wake::parse(&results)).await,
            // Not discharged: the next reconcile finds nothing to do and discharges.
            Err(_) => disposition = Disposition::Retry { delay_s: 5 },
        }
        tell(platform, context, lease, change, began_ms);
    }
    disposition
}

/// Discharged and released; or released and parked, where a person decides on the rest.
fn ending(lease: &Lease, change: &Change) -> Vec<Statement> {
    let mut statements = Vec::new();
    if change.is_held() {
        statements.extend(lease.held(Park::EditedAtMgpass.code()));
        statements.push(Finding::EditedAtMgpass.note_of(&lease.subject, &change.there.kept));
        if lease.covered.is_empty() {
            // Read as somebody's holder: an open intent keeps the reads on Logto.
            statements.extend(Trigger::Walk.all(std::slice::from_ref(&lease.subject)));
        }
    } else {
        statements.extend(lease.done(change.outcome.name()));
    }
    statements.push(lease.free_waiting());
    statements
}

fn tell<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    change: &Change,
    began_ms: i64,
) {
    let subject = context.subject_hash(&lease.subject);
    if change.is_held() {
        platform.emit(&Event::MirrorFound {
            subject: subject.as_deref(),
            code: Finding::EditedAtMgpass.code(),
            n_fields: change.there.kept.len(),
        });
        platform.emit(&Event::MirrorParked {
            subject: subject.as_deref(),
            reason: Park::EditedAtMgpass.code(),
        });
        return;
    }
    platform.emit(&Event::MirrorReconciled {
        subject: subject.as_deref(),
        outcome: change.outcome.name(),
        ticket: lease.ticket,
        n_intents: lease.covered.len(),
        duration_ms: platform.now_ms() - began_ms,
    });
}

/// For whoever has just come to owe it; outside any lease, and harmless twice.
pub async fn pay_now<P: Platform>(platform: &P, context: &Context<'_>, user: &UserId, ticket: i64) {
    pay_effect(platform, context, user, Effect::RevokeAll, ticket).await;
}

/// An effect that fails stays owed; the sweep comes back to it. False when the
/// next one would fail just so.
async fn pay_effect<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    effect: Effect,
    ticket: i64,
) -> bool {
    let called = match effect {
        Effect::RevokeAll => mgpass::revoke_all(platform, context, user).await,
    };
    let mut goes_on = true;
    let outcome = match called {
        Ok(()) => match platform
            .batch(Store::Mgpass, vec![target::pay(user, effect, ticket)])
            .await
        {
            Ok(_) => "paid",
            Err(failure) => {
                goes_on = false;
                failure.code()
            }
        },
        Err(failure) => {
            goes_on = failure.blames_backend().is_none();
            failure.code()
        }
    };
    platform.emit(&Event::MirrorEffect {
        effect: effect.name(),
        outcome,
    });
    goes_on
}
