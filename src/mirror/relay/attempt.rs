//! One attempt at one subject: read both sides, decide, apply one batch, read back.

use super::{queries_of_one, take_lease};
use crate::inbound::request::UserId;
use crate::mirror::findings::Finding;
use crate::mirror::mapping::{MgpassUser, map};
use crate::mirror::outbox::{self, Lease, LeaseAnswer, Purpose};
use crate::mirror::preflight::{self, Unfit};
use crate::mirror::reconcile::{self, Change, Decision, Inputs, Outcome, Park, Witnesses};
use crate::mirror::target;
use crate::mirror::triggers::Trigger;
use crate::runtime::backend::logto::{self, LogtoState};
use crate::runtime::backend::{BackendFailure, mgpass};
use crate::runtime::context::Context;
use crate::runtime::limits::{HEAVY_BYTES, MAX_ANSWER_BYTES, Reserved};
use crate::runtime::members::same_json;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};
use crate::runtime::sql::integer;

/// Users that exchange values move in one batch; longer chains wait for each other.
const MAX_GROUP: usize = 6;

/// Why an attempt did not end in an applied batch.
pub(super) enum Stopped {
    Backend(BackendFailure),
    Database(Store, DatabaseFailure),
    /// Which of the group, and why.
    Parked(usize, Park),
    /// A newer reconcile got there first; it covers what this one covered.
    Superseded(i64),
    /// The authority has moved since the lease was taken, or mgPass's database knows of a
    /// generation that the proxy's own does not have.
    Moved,
    /// mgPass's API does not show the new state: it may cache, or show it in another form.
    NotVisible,
    HolderBusy,
    /// Logto's 404 may be that of a DELETE whose answer is still to come.
    DeletionUnderWay,
    /// The invocation may not ask so much more, or its isolate holds another large user.
    NoRoom,
    SchemaRefused,
}

impl From<Unfit> for Stopped {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Differs => Self::SchemaRefused,
            Unfit::Database(failure) => Self::Database(Store::Mgpass, failure),
        }
    }
}

impl Stopped {
    /// A user whom no answer can hold is parked at once: no retry makes them smaller.
    pub(super) fn of_subject(index: usize, failure: BackendFailure) -> Self {
        match failure {
            BackendFailure::TooLarge(_) => Self::Parked(index, Park::TooLarge),
            BackendFailure::Down(..)
            | BackendFailure::Limited(..)
            | BackendFailure::Unauthorized(_)
            | BackendFailure::Forbidden(_)
            | BackendFailure::OutOfContract(_) => Self::Backend(failure),
        }
    }
}

/// Reads both sides, decides, applies one batch, reads back. `group` grows by the
/// users who hold a value that the first one needs.
pub(super) async fn attempt<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &mut Vec<Lease>,
    room: &mut Reserved<'_>,
) -> Result<Vec<Change>, Stopped> {
    preflight::require_mirror(platform, context.isolate).await?;
    let mut states = Vec::new();
    let mut heavy = None;
    loop {
        while let Some(lease) = group.get(states.len()) {
            let state = logto::user(platform, context, &lease.subject)
                .await
                .map_err(|failure| Stopped::of_subject(states.len(), failure))?;
            if is_heavy(&state) && heavy.is_none() {
                let entered = context.isolate.enter_heavy(platform.now_ms());
                heavy = Some(entered.ok_or(Stopped::NoRoom)?);
            }
            states.push(state);
            // They would have to be held and written together.
            if states.iter().map(n_bytes).sum::<usize>() > MAX_ANSWER_BYTES {
                return Err(Stopped::Parked(0, Park::TooLarge));
            }
        }
        match decide_all(platform, context, group, &states).await? {
            Decided::All(mut changes) => {
                drop(states);
                apply(platform, group, &mut changes).await?;
                for (lease, change) in group.iter().zip(&changes) {
                    note_undone(platform, context, lease, change).await;
                }
                for (index, (lease, change)) in group.iter().zip(&changes).enumerate() {
                    read_back(platform, context, index, lease, change).await?;
                }
                return Ok(changes);
            }
            Decided::Missing(holders) => {
                for holder in holders {
                    if group.len() >= MAX_GROUP {
                        return Err(Stopped::Parked(0, Park::ValueTakenInLogto));
                    }
                    // Its own, and everybody's rows are read once more.
                    let more = queries_of_one(context) + 6 * (group.len() + 1);
                    if !room.grow(more) {
                        return Err(Stopped::NoRoom);
                    }
                    match take_lease(platform, &holder, Purpose::AsHolder).await {
                        Ok(LeaseAnswer::Held(lease)) => group.push(lease),
                        Ok(_) => return Err(Stopped::HolderBusy),
                        Err(failure) => return Err(Stopped::Database(Store::Proxy, failure)),
                    }
                }
            }
        }
    }
}

/// Held several times over while it is compared and written.
fn is_heavy(state: &LogtoState) -> bool {
    n_bytes(state) > HEAVY_BYTES
}

fn n_bytes(state: &LogtoState) -> usize {
    match state {
        LogtoState::Present { json, .. } => json.len(),
        LogtoState::Gone => 0,
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
            .map_err(|failure| Stopped::Database(Store::Mgpass, failure))?;
        let target = target::parse_read(&results)
            .ok_or(Stopped::Database(Store::Mgpass, DatabaseFailure::Refused))?;
        drop((results, wanted));
        if target.generation != lease.generation {
            return Err(Stopped::Moved);
        }
        if let Some(mirror) = &target.mirror
            && mirror.ticket >= lease.ticket
        {
            // Overtaken, or the sequence was put back: a ticket in force is not ours to use again.
            return Err(Stopped::Superseded(mirror.ticket));
        }
        let decision = reconcile::decide(&Inputs {
            user: &lease.subject,
            ticket: lease.ticket,
            epoch: lease.epoch,
            generation: lease.generation,
            logto: state.seen(),
            target: &target,
            witnesses: witnesses(
                lease,
                target.mirror.as_ref().map_or(0, |mirror| mirror.ticket),
            ),
            mapping: &context.settings.mapping,
            deletions_per_hour: context.settings.deletions_per_hour,
            companions: &companions,
        });
        match decision {
            Decision::Apply(change) => changes.push(*change),
            Decision::Park(Park::DeletionUnconfirmed)
                if is_deletion_under_way(platform, lease).await? =>
            {
                return Err(Stopped::DeletionUnderWay);
            }
            Decision::Park(park) => return Err(Stopped::Parked(index, park)),
            Decision::Conflict(holders) => return Ok(Decided::Missing(holders)),
        }
    }
    Ok(Decided::All(changes))
}

/// Asked behind the read of Logto: a DELETE is recorded before it is forwarded, so that
/// what caused the 404 is seen here, however late it began.
async fn is_deletion_under_way<P: Platform>(platform: &P, lease: &Lease) -> Result<bool, Stopped> {
    let asked = vec![lease.deletion_under_way()];
    platform
        .batch(Store::Proxy, asked)
        .await
        .and_then(|results| outbox::parse_under_way(&results).ok_or(DatabaseFailure::Refused))
        .map_err(|failure| Stopped::Database(Store::Proxy, failure))
}

fn wanted(context: &Context<'_>, state: &LogtoState) -> Option<MgpassUser> {
    match state {
        LogtoState::Present { user, .. } => Some(map(user, &context.settings.mapping).user),
        LogtoState::Gone => None,
    }
}

/// `seen`: the ticket in force at mgPass. What was settled before it was covered by
/// it; its effect is owed already, and is not owed twice because a discharge failed.
fn witnesses(lease: &Lease, seen: i64) -> Witnesses {
    let of = |operation: &'static str| {
        lease
            .covered
            .iter()
            .filter(move |intent| intent.operation == operation)
    };
    Witnesses {
        deletion: lease.covered.iter().any(|intent| {
            Trigger::is_deletion_witness(&intent.operation) && intent.status == Some(204)
        }),
        presence: lease.covered.iter().any(|intent| {
            !Trigger::is_deletion_witness(&intent.operation)
                && intent.operation != Trigger::Replay.name()
                && intent
                    .status
                    .is_some_and(|status| (200..300).contains(&status))
        }),
        overrule: [Trigger::Overrule, Trigger::TowardsLogto]
            .iter()
            .any(|word| of(word.name()).next().is_some()),
        suspension: of("users.suspension").any(|intent| match (intent.settled, intent.status) {
            (Some(settled), Some(status)) => settled > seen && !(300..500).contains(&status),
            // Without an answer it may have been carried out.
            _ => intent.is_suspect,
        }),
    }
}

async fn apply<P: Platform>(
    platform: &P,
    group: &[Lease],
    changes: &mut [Change],
) -> Result<(), Stopped> {
    let batch = reconcile::batch(changes);
    let results = platform
        .batch(Store::Mgpass, batch)
        .await
        .map_err(|failure| Stopped::Database(Store::Mgpass, failure))?;
    let confirmations = results.len().saturating_sub(group.len());
    for (lease, rows) in group.iter().zip(results.iter().skip(confirmations)) {
        let row = rows.first();
        let of = |column| row.and_then(|row| integer(row, column));
        match (of("ticket"), of("generation")) {
            (Some(ticket), _) if ticket == lease.ticket => {}
            (_, Some(generation)) if generation != lease.generation => {
                return Err(Stopped::Moved);
            }
            (Some(ticket), _) => return Err(Stopped::Superseded(ticket)),
            (None, _) => return Err(Stopped::Database(Store::Mgpass, DatabaseFailure::Refused)),
        }
    }
    Ok(())
}

/// What was changed at mgPass itself is gone with the batch, whatever the read back
/// says. If this is not recorded, mgPass's audit log tells of it all the same.
async fn note_undone<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    change: &Change,
) {
    for (finding, paths) in [
        (Finding::AlteredAtMgpass, &change.there.altered),
        (Finding::EditOverruled, &change.there.overruled),
    ] {
        if paths.is_empty() {
            continue;
        }
        let note = finding.note_of(&lease.subject, paths);
        let _ = platform.batch(Store::Proxy, vec![note]).await;
        platform.emit(&Event::MirrorFound {
            subject: context.subject_hash(&lease.subject).as_deref(),
            code: finding.code(),
            n_fields: paths.len(),
        });
    }
}

/// An intent is discharged only once mgPass's own API shows the state.
async fn read_back<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    index: usize,
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
        .map_err(|failure| Stopped::of_subject(index, failure))?;
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
        .map_err(|failure| Stopped::of_subject(index, failure))?;
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
        // Or a newer one, which mgPass has seen itself.
        && user
            .last_sign_in_at_s
            .admits(|shown| *shown >= expected.last_sign_in_at_s)
        && user
            .custom_data
            .admits(|shown| same_json(shown, &expected.metadata))
}

/// All of ours are there; mgPass may have linked more on its own.
fn shows_identities(expected: &MgpassUser, identities: &[mgpass::ApiIdentity]) -> bool {
    expected.identities.iter().all(|wanted| {
        identities.iter().any(|shown| {
            shown.provider == wanted.provider
                && shown.provider_user_id == wanted.provider_user_id
                && shown
                    .profile_data
                    .admits(|shown| match (shown, &wanted.profile_data) {
                        (Some(shown), Some(wanted)) => same_json(shown, wanted),
                        // The API may show `{}` where nothing was captured.
                        (Some(shown), None) => same_json(shown, "{}"),
                        (None, wanted) => wanted.is_none(),
                    })
        })
    })
}
