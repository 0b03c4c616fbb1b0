//! Delivery: make mgPass equal to Logto, one subject at a time, until it is.
//!
//! Woken by the Queue, by cron's sweep, or by a walk. Why everything that may
//! happen twice, late or out of order is harmless:
//! * a message only wakes; all state is in the outbox, so a lost or doubled one
//!   changes nothing;
//! * two relays on one subject: the lease lets one in; if a lease expires under a
//!   slow relay, the tickets in the target order the two;
//! * a batch that lands late carries an old ticket and changes nothing;
//! * an effect is paid by the ticket that owed it; a repeated call ends sessions
//!   that are ended already;
//! * a refused or failed reconcile discharges nothing.

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendFailure, logto, mgpass};
use crate::context::Context;
use crate::flags::Stage;
use crate::mirror::mapping::{MgpassUser, map};
use crate::mirror::members::same_json;
use crate::mirror::outbox::{self, Intent, Lease, LeaseAnswer};
use crate::mirror::reconcile::{
    self, Change, Decision, Inputs, LogtoState, Outcome, Park, Witnesses,
};
use crate::mirror::target::{self, Effect};
use crate::mirror::{backoff, preflight};
use crate::observe::Event;
use crate::ports::{DatabaseFailure, Platform, Store};
use crate::request::{InteractionUid, UserId};

/// Users that exchange values move in one batch; longer chains wait for each other.
const MAX_GROUP: usize = 6;
const SWEEP_LIMIT: i64 = 200;
/// mgPass allows five calls of revoke-all a minute.
const EFFECTS_PER_SWEEP: i64 = 5;

/// The Queue's messages. All are wake-ups or late records; none is the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    Reconcile {
        subject: String,
    },
    /// An intent that the database did not take in time.
    Open {
        intent: IntentRecord,
    },
    /// A settling that the database did not take.
    Settle {
        intent: IntentRecord,
        status: u16,
    },
}

/// An intent on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    id: String,
    subject: Option<String>,
    interaction: Option<String>,
    operation: String,
}

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
    if stage == Stage::Off && matches!(message, Message::Reconcile { .. }) {
        return Disposition::Ack;
    }
    let (statements, wakes) = match message {
        Message::Reconcile { subject } => {
            return match UserId::parse(&subject) {
                Some(subject) => reconcile(platform, context, &subject).await,
                None => {
                    platform.emit(&Event::MessageRefused { code: "subject" });
                    Disposition::Ack
                }
            };
        }
        Message::Open { intent } => (Intent::from(intent).open(), false),
        Message::Settle { intent, status } => (Intent::from(intent).settle(status), true),
    };
    match platform.batch(Store::Proxy, statements).await {
        Err(_) => Disposition::Retry { delay_s: 5 },
        Ok(results) => {
            match outbox::parse_subject(&results).filter(|_| wakes && stage != Stage::Off) {
                Some(subject) => reconcile(platform, context, &subject).await,
                None => Disposition::Ack,
            }
        }
    }
}

/// Why an attempt did not end in an applied batch.
enum Stopped {
    Backend(BackendFailure),
    Database(Backend, DatabaseFailure),
    /// Which of the group, and why.
    Parked(usize, Park),
    /// A newer reconcile got there first; it covers what this one covered.
    Superseded(i64),
    /// mgPass's API does not show the new state yet: it may cache.
    NotVisible,
    HolderBusy,
    SchemaRefused,
}

pub async fn reconcile<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    subject: &UserId,
) -> Disposition {
    let began_ms = platform.now_ms();
    let lease = match take_lease(platform, subject).await {
        Ok(LeaseAnswer::Held(lease)) => lease,
        Ok(LeaseAnswer::Busy) => return Disposition::Retry { delay_s: 1 },
        Ok(LeaseAnswer::Paused { until_ms, now_ms }) => {
            return Disposition::Retry {
                delay_s: seconds(until_ms - now_ms),
            };
        }
        // Kept in the outbox; nothing to do until Logto is the authority again.
        Ok(LeaseAnswer::NotAuthority) => return Disposition::Ack,
        Err(_) => return Disposition::Retry { delay_s: 5 },
    };
    let mut group = vec![lease];
    let stopped = match attempt(platform, context, &mut group).await {
        Ok(changes) => {
            return finish(platform, context, &group, &changes, began_ms).await;
        }
        Err(stopped) => stopped,
    };
    give_up(platform, context, &group, stopped).await
}

async fn take_lease<P: Platform>(
    platform: &P,
    subject: &UserId,
) -> Result<LeaseAnswer, DatabaseFailure> {
    let holder = format!("{:016x}", platform.random_u64());
    let results = platform
        .batch(Store::Proxy, outbox::lease(subject, &holder))
        .await?;
    outbox::parse_lease(subject, &holder, &results).ok_or(DatabaseFailure::Refused)
}

/// Reads both sides, decides, applies one batch, reads back. `group` grows by the
/// users who hold a value that the first one needs.
async fn attempt<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &mut Vec<Lease>,
) -> Result<Vec<Change>, Stopped> {
    check_schema(platform, context).await?;
    let mut states = Vec::new();
    loop {
        while let Some(lease) = group.get(states.len()) {
            let state = logto::user(platform, context, &lease.subject)
                .await
                .map_err(Stopped::Backend)?;
            states.push(state);
        }
        match decide_all(platform, context, group, &states).await? {
            Decided::All(changes) => {
                apply(platform, group, &changes).await?;
                for (lease, change) in group.iter().zip(&changes) {
                    read_back(platform, context, lease, change).await?;
                }
                return Ok(changes);
            }
            Decided::Missing(holders) => {
                for holder in holders {
                    if group.len() >= MAX_GROUP {
                        return Err(Stopped::Parked(0, Park::ValueTakenInLogto));
                    }
                    match take_lease(platform, &holder).await {
                        Ok(LeaseAnswer::Held(lease)) => group.push(lease),
                        Ok(_) => return Err(Stopped::HolderBusy),
                        Err(failure) => return Err(Stopped::Database(Backend::Logto, failure)),
                    }
                }
            }
        }
    }
}

enum Decided {
    All(Vec<Change>),
    Missing(Vec<UserId>),
}

async fn decide_all<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &[Lease],
    states: &[LogtoState],
) -> Result<Decided, Stopped> {
    let companions: Vec<UserId> = match group {
        [_] => Vec::new(),
        _ => group.iter().map(|lease| lease.subject.clone()).collect(),
    };
    let mut changes = Vec::new();
    for (index, (lease, state)) in group.iter().zip(states).enumerate() {
        let wanted = wanted(context, state);
        let results = platform
            .batch(Store::Mgpass, target::read(&lease.subject, wanted.as_ref()))
            .await
            .map_err(|failure| Stopped::Database(Backend::Mgpass, failure))?;
        let target = target::parse_read(&results)
            .ok_or(Stopped::Database(Backend::Mgpass, DatabaseFailure::Refused))?;
        let decision = reconcile::decide(&Inputs {
            user: &lease.subject,
            ticket: lease.ticket,
            epoch: lease.epoch,
            logto: state,
            target: &target,
            witnesses: witnesses(lease),
            mapping: &context.settings.mapping,
            deletions_per_hour: context.settings.deletions_per_hour,
            companions: &companions,
        });
        match decision {
            Decision::Apply(change) => changes.push(*change),
            Decision::Park(park) => return Err(Stopped::Parked(index, park)),
            Decision::Conflict(holders) => return Ok(Decided::Missing(holders)),
        }
    }
    Ok(Decided::All(changes))
}

fn wanted(context: &Context<'_>, state: &LogtoState) -> Option<MgpassUser> {
    match state {
        LogtoState::Present { user, .. } => Some(map(user, &context.settings.mapping).user),
        LogtoState::Gone => None,
    }
}

fn witnesses(lease: &Lease) -> Witnesses {
    let covers = |operation: &str, statuses: &dyn Fn(Option<i64>) -> bool| {
        lease
            .covered
            .iter()
            .any(|intent| intent.operation == operation && statuses(intent.status))
    };
    Witnesses {
        deletion: covers("users.delete", &|status| status == Some(204)),
        // An unsettled one may have been carried out.
        suspension: covers("users.suspension", &|status| {
            status.is_none_or(|status| status < 300)
        }),
    }
}

async fn check_schema<P: Platform>(platform: &P, context: &Context<'_>) -> Result<(), Stopped> {
    if context.isolate.preflight_passed.get() {
        return Ok(());
    }
    let results = platform
        .batch(Store::Mgpass, preflight::read())
        .await
        .map_err(|failure| Stopped::Database(Backend::Mgpass, failure))?;
    let differences = preflight::differences(&results);
    for difference in &differences {
        platform.emit(&Event::SchemaRefused {
            table: difference.table,
            column: &difference.column,
            code: difference.code,
        });
    }
    if differences.is_empty() {
        context.isolate.preflight_passed.set(true);
        return Ok(());
    }
    Err(Stopped::SchemaRefused)
}

async fn apply<P: Platform>(
    platform: &P,
    group: &[Lease],
    changes: &[Change],
) -> Result<(), Stopped> {
    let batch = reconcile::batch(&changes.iter().collect::<Vec<_>>());
    let results = platform
        .batch(Store::Mgpass, batch)
        .await
        .map_err(|failure| Stopped::Database(Backend::Mgpass, failure))?;
    let confirmations = results.len().saturating_sub(group.len());
    for (lease, rows) in group.iter().zip(results.iter().skip(confirmations)) {
        let in_force = rows
            .first()
            .and_then(target::parse_mirror)
            .map(|mirror| mirror.ticket);
        match in_force {
            Some(ticket) if ticket == lease.ticket => {}
            Some(ticket) => return Err(Stopped::Superseded(ticket)),
            None => return Err(Stopped::Database(Backend::Mgpass, DatabaseFailure::Refused)),
        }
    }
    Ok(())
}

/// An intent is discharged only once mgPass's own API shows the state.
async fn read_back<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    change: &Change,
) -> Result<(), Stopped> {
    if change.outcome == Outcome::Absent {
        return Ok(());
    }
    let deadline_ms = 8_000;
    let caller = mgpass::Caller::Proxy;
    let shown = mgpass::user(platform, context, &caller, &lease.subject, deadline_ms)
        .await
        .map_err(Stopped::Backend)?;
    let is_equal = match (&change.expected, &shown) {
        (None, mgpass::Found::No) => true,
        (None, mgpass::Found::Yes(user)) => user.is_deleted,
        (Some(expected), mgpass::Found::Yes(user)) => shows(expected, user),
        _ => false,
    };
    if !is_equal {
        return Err(Stopped::NotVisible);
    }
    let Some(expected) = &change.expected else {
        return Ok(());
    };
    let shown = mgpass::identities(platform, context, &caller, &lease.subject, deadline_ms)
        .await
        .map_err(Stopped::Backend)?;
    match shown {
        mgpass::Found::Yes(identities) if shows_identities(expected, &identities) => Ok(()),
        _ => Err(Stopped::NotVisible),
    }
}

fn shows(expected: &MgpassUser, user: &mgpass::ApiUser) -> bool {
    !user.is_deleted
        && user.email == expected.email
        && user.phone == expected.phone
        && user.name == expected.name
        && user.avatar == expected.avatar
        && user.is_suspended == expected.is_suspended
        && user.created_at_s == expected.created_at_s
        && same_json(&user.custom_data, &expected.metadata)
}

/// All of ours are there; mgPass may have linked more on its own.
fn shows_identities(expected: &MgpassUser, identities: &[mgpass::ApiIdentity]) -> bool {
    expected.identities.iter().all(|wanted| {
        identities.iter().any(|shown| {
            shown.provider == wanted.provider
                && shown.provider_user_id == wanted.provider_user_id
                && match (&shown.profile_data, &wanted.profile_data) {
                    (Some(shown), Some(wanted)) => same_json(shown, wanted),
                    // The API may show `{}` where nothing was captured.
                    (Some(shown), None) => same_json(shown, "{}"),
                    (None, wanted) => wanted.is_none(),
                }
        })
    })
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
        let outcome = change.outcome.name();
        if platform
            .batch(Store::Proxy, lease.done(outcome))
            .await
            .is_err()
        {
            // Not discharged: the next reconcile finds nothing to do and discharges.
            disposition = Disposition::Retry { delay_s: 5 };
        }
        platform.emit(&Event::MirrorReconciled {
            subject: context.subject_hash(&lease.subject).as_deref(),
            outcome,
            ticket: lease.ticket,
            n_intents: lease.covered.len(),
            duration_ms: platform.now_ms() - began_ms,
        });
        if change.owes_effect() {
            pay_effect(
                platform,
                context,
                &lease.subject,
                Effect::RevokeAll,
                lease.ticket,
            )
            .await;
        }
    }
    disposition
}

/// An effect that fails stays owed; the sweep comes back to it.
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
    let outcome = match called {
        Ok(()) => match platform
            .batch(Store::Mgpass, vec![target::pay(user, effect, ticket)])
            .await
        {
            Ok(_) => "paid",
            Err(failure) => failure.code(),
        },
        Err(failure) => failure.code(),
    };
    platform.emit(&Event::MirrorEffect {
        effect: effect.name(),
        outcome,
    });
    outcome == "paid"
}

async fn give_up<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &[Lease],
    stopped: Stopped,
) -> Disposition {
    let Some((first, others)) = group.split_first() else {
        return Disposition::Ack;
    };
    let parked_holder = match stopped {
        Stopped::Parked(index, park) if index > 0 => group.get(index).map(|lease| (lease, park)),
        _ => None,
    };
    let mut statements: Vec<_> = others
        .iter()
        .filter(|lease| parked_holder.is_none_or(|(holder, _)| holder != *lease))
        .flat_map(Lease::untried)
        .collect();
    let mut wait_ms = 1_000;
    let mut retry = true;
    let code = match stopped {
        Stopped::Parked(_, park) => {
            let lease = parked_holder.map_or(first, |(holder, _)| holder);
            statements.extend(lease.parked(park.code()));
            platform.emit(&Event::MirrorParked {
                subject: context.subject_hash(&lease.subject).as_deref(),
                reason: park.code(),
            });
            retry = parked_holder.is_some();
            // Who waits for a parked holder uses up attempts, and is parked in the end.
            parked_holder.map(|_| "holder_parked")
        }
        Stopped::Superseded(ticket) => {
            statements.push(outbox::catch_up(ticket));
            statements.extend(first.untried());
            None
        }
        Stopped::NotVisible | Stopped::HolderBusy => {
            statements.extend(first.untried());
            None
        }
        Stopped::SchemaRefused => {
            statements.extend(first.untried());
            statements.push(outbox::pause(60_000));
            wait_ms = 60_000;
            None
        }
        Stopped::Backend(failure) => match failure.blames_backend() {
            Some(backend) => {
                wait_ms = match failure {
                    BackendFailure::Limited(_, seconds) => i64::from(seconds) * 1_000,
                    _ => backoff::PAUSE_MS,
                };
                pause(
                    platform,
                    &mut statements,
                    first,
                    backend,
                    failure.code(),
                    wait_ms,
                );
                None
            }
            None => Some(failure.code()),
        },
        Stopped::Database(backend, DatabaseFailure::Unavailable) => {
            wait_ms = backoff::PAUSE_MS;
            pause(
                platform,
                &mut statements,
                first,
                backend,
                "database_unavailable",
                wait_ms,
            );
            None
        }
        Stopped::Database(_, failure) => Some(failure.code()),
    };
    if let Some(code) = code {
        let failures = first.failures + 1;
        let subject = context.subject_hash(&first.subject);
        if failures >= backoff::MAX_FAILURES {
            let reason = match code {
                "constraint_violated" | "holder_parked" => Park::ValueTakenInLogto,
                _ => Park::TooManyFailures,
            };
            statements.extend(first.parked(reason.code()));
            platform.emit(&Event::MirrorParked {
                subject: subject.as_deref(),
                reason: reason.code(),
            });
            retry = false;
        } else {
            wait_ms = backoff::after_failures(failures, platform.random_u64());
            statements.extend(first.failed(code, wait_ms));
        }
        platform.emit(&Event::MirrorFailed {
            subject: subject.as_deref(),
            code,
            failures,
        });
    }
    if platform.batch(Store::Proxy, statements).await.is_err() {
        // The lease runs out by itself.
        platform.emit(&Event::OutboxDelayed {
            step: "release",
            code: "database_unavailable",
        });
    }
    if retry {
        Disposition::Retry {
            delay_s: seconds(wait_ms),
        }
    } else {
        Disposition::Ack
    }
}

fn pause<P: Platform>(
    platform: &P,
    statements: &mut Vec<crate::ports::Statement>,
    lease: &Lease,
    backend: Backend,
    code: &'static str,
    pause_ms: i64,
) {
    statements.extend(lease.untried());
    statements.push(outbox::pause(pause_ms));
    platform.emit(&Event::MirrorPaused {
        backend: backend.name(),
        code,
        pause_ms,
    });
}

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
        .map_or(-1, |_| 0);
    platform.emit(&Event::SweepDone {
        n_woken: due.len(),
        n_purged,
        duration_ms: platform.now_ms() - began_ms,
    });
}

async fn pay_owed<P: Platform>(platform: &P, context: &Context<'_>) {
    let statement =
        crate::ports::Statement::new(target::SELECT_OWED, vec![EFFECTS_PER_SWEEP.into()]);
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

fn seconds(milliseconds: i64) -> u32 {
    u32::try_from((milliseconds + 999) / 1_000)
        .unwrap_or(1)
        .clamp(1, 43_200)
}
