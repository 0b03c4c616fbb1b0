//! The import of users: Logto's listing, page by page, written under the page's
//! ticket. Whoever needs more than a page can do is handed to the relay, and their
//! outcome is taken from there. Every user ends as equal, parked with a reason, or
//! deleted meanwhile.

use futures_util::future::join_all;

use super::meter::{Delay, Meter, PART_QUERIES, hand_over, nothing_more};
use super::page_size;
use super::pieces::{Pieces, enter_if_heavy, one_heavy_alone, parked};
use super::store::{self, JobState, Paged, Recorded, UserOutcome};
use crate::inbound::request::UserId;
use crate::mirror::backlog;
use crate::mirror::listing::Oddity;
use crate::mirror::preflight;
use crate::mirror::reconcile::{self, Change, Decision, Inputs, Outcome, Witnesses};
use crate::mirror::states::{self, PageState};
use crate::mirror::target::TargetState;
use crate::mirror::triggers::Trigger;
use crate::population::page::{self, Candidate, Creation, Under};
use crate::runtime::backend::logto::{self, LogtoState, Seen};
use crate::runtime::context::Context;
use crate::runtime::digest::digest;
use crate::runtime::limits::{MAX_CONNECTIONS, PORTION_BYTES, portions};
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

/// One batch's share of users whose rows differ, some statements each.
const MAX_UPDATES: usize = 25;
/// Statements of a batch that creates users.
const CREATE_QUERIES: usize = 8;
/// How many users' second factors are asked for at once; two calls each.
const INSPECTED_AT_ONCE: usize = MAX_CONNECTIONS / 2;
const ABSENT_PAGE: i64 = 50;

pub(super) async fn list<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    page: i64,
) -> Result<Paged, Delay> {
    preflight::require_mirror(meter.platform, context.isolate).await?;
    let mut paged = Paged::default();
    let mut pages = Pieces::of(page, page_size(job_state), job_state.n_done);
    while let Some(piece) = pages.next(meter, context, &mut paged).await? {
        leave_to_relay(job_state, piece.too_large, &mut paged);
        let mut rest = piece.candidates.as_slice();
        while let Some(first) = rest.first() {
            if !meter.has_room_for(PART_QUERIES, &paged) {
                pages.stop_before(first, &mut paged);
                break;
            }
            let n_done = import(meter, context, job_state, rest, &mut paged).await?;
            rest = rest.get(n_done..).unwrap_or_default();
        }
    }
    Ok(paged)
}

/// Known by id alone: the relay reads them alone, and parks who is too large for that as
/// well.
fn leave_to_relay(job_state: &JobState, too_large: Vec<UserId>, paged: &mut Paged) {
    if !job_state.dry_run {
        hand_over(Trigger::Import, paged, &too_large);
    }
    let recorded = too_large.into_iter().map(|user| Recorded {
        outcome: match job_state.dry_run {
            true => UserOutcome::Parked,
            false => UserOutcome::Pending,
        },
        ..parked(user.to_string(), Oddity::TooLarge)
    });
    paged.users.extend(recorded);
}

/// As many of them, from the first on, as can be read at once; how many that were.
async fn import<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    candidates: &[Candidate],
    paged: &mut Paged,
) -> Result<usize, Delay> {
    let candidates = one_heavy_alone(candidates);
    let _heavy = enter_if_heavy(meter, context, candidates)?;
    let results = meter.batch(Store::Mgpass, page::read(candidates)).await?;
    let mut states = page::parse_read(&results)
        .ok_or(Delay::Database(Store::Mgpass, DatabaseFailure::Refused))?;
    drop(results);
    let n_whole = states::n_whole(&states, candidates.iter().map(Candidate::id));
    let candidates = candidates.get(..n_whole).unwrap_or_default();
    let notes = notes(meter, context, job_state, candidates).await?;
    // What was settled before our ticket was taken would pass for covered by it.
    let ids: Vec<_> = candidates.iter().map(|one| one.id().as_str()).collect();
    let results = meter.batch(Store::Proxy, backlog::in_backlog(&ids)).await?;
    for user in backlog::parse_in_backlog(&results) {
        states.entry(user).or_default().is_contended = true;
    }
    let nobody = PageState::default();
    let mut work = Work::default();
    let mut outcomes = Vec::new();
    for candidate in candidates {
        let state = states.get(candidate.id()).unwrap_or(&nobody);
        outcomes.push(work.sort(context, job_state, candidate, state));
    }
    if !job_state.dry_run {
        let handed = write(meter, context, job_state, work, paged).await?;
        for (candidate, (outcome, _)) in candidates.iter().zip(&mut outcomes) {
            if handed.contains(candidate.id()) {
                *outcome = UserOutcome::Pending;
            }
        }
        let pending: Vec<_> = candidates
            .iter()
            .zip(&outcomes)
            .filter(|(_, (outcome, _))| *outcome == UserOutcome::Pending)
            .map(|(candidate, _)| candidate.id().clone())
            .collect();
        hand_over(Trigger::Import, paged, &pending);
    }
    for ((candidate, (outcome, reason)), notes) in candidates.iter().zip(outcomes).zip(notes) {
        paged.users.push(Recorded {
            user: candidate.id().as_str().to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
            notes,
        });
    }
    Ok(candidates.len())
}

/// Codes of what an operator should know of each: what is not carried, what changed
/// its form, and which second factors and SSO identities stay behind at Logto.
async fn notes<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    candidates: &[Candidate],
) -> Result<Vec<Vec<String>>, Delay> {
    let mut all: Vec<Vec<String>> = candidates.iter().map(form_notes).collect();
    if !job_state.inspect {
        return Ok(all);
    }
    let platform = meter.platform;
    for (group, notes) in candidates
        .chunks(INSPECTED_AT_ONCE)
        .zip(all.chunks_mut(INSPECTED_AT_ONCE))
    {
        let asked = group
            .iter()
            .map(|one| logto::left_behind(platform, context, one.id()));
        let found = meter.logto(async { Ok(join_all(asked).await) }).await?;
        for (notes, found) in notes.iter_mut().zip(found) {
            let found = match found {
                Ok(found) => found,
                // Logto answers so of this user alone: named, and nobody else waits.
                Err(failure) if failure.blames_backend().is_none() => {
                    notes.push("factors_unknown".to_owned());
                    continue;
                }
                Err(failure) => return Err(Delay::Backend(failure)),
            };
            let factors = found
                .factors
                .iter()
                .map(|kind| format!("mfa_not_carried:{kind}"));
            notes.extend(factors);
            notes.extend(found.sso.iter().map(|id| format!("sso_not_carried:{id}")));
        }
    }
    Ok(all)
}

fn form_notes(candidate: &Candidate) -> Vec<String> {
    let user = &candidate.logto;
    let mut notes: Vec<String> = candidate
        .mapped
        .obstacles
        .iter()
        .map(crate::mirror::mapping::Obstacle::code)
        .collect();
    if let Some(username) = &user.username {
        let carried = candidate.mapped.user.name.as_ref() == Some(username);
        notes.push(match carried {
            true if user.name.as_deref().is_none_or(str::is_empty) => "username_as_name".to_owned(),
            true => return notes,
            false => "username_not_carried".to_owned(),
        });
    }
    notes
}

/// A page's users by what is to be written of each.
#[derive(Default)]
struct Work<'a> {
    creates: Vec<&'a Candidate>,
    renewals: Vec<(&'a Candidate, &'a TargetState)>,
    /// In statements of their own, value by value; heavy users always are.
    updates: Vec<(&'a Candidate, Change)>,
}

impl<'a> Work<'a> {
    fn sort(
        &mut self,
        context: &Context<'_>,
        job_state: &JobState,
        candidate: &'a Candidate,
        state: &'a PageState,
    ) -> (UserOutcome, Option<&'static str>) {
        let logto = Seen::Present {
            user: &candidate.logto,
            json: &candidate.json,
        };
        let decision = reconcile::decide(&Inputs {
            user: candidate.id(),
            ticket: job_state.ticket,
            epoch: job_state.epoch,
            generation: job_state.generation,
            logto,
            target: &state.target,
            witnesses: Witnesses::default(),
            mapping: &context.settings.mapping,
            deletions_per_hour: context.settings.deletions_per_hour,
            companions: &[],
        });
        let change = match decision {
            // What was changed at mgPass itself the relay looks at, and names.
            Decision::Apply(change)
                if !change.owes_effect() && !state.is_contended && change.there.is_nothing() =>
            {
                change
            }
            Decision::Park(park) if job_state.dry_run => {
                return (UserOutcome::Parked, Some(park.code()));
            }
            _ => return (UserOutcome::Pending, None),
        };
        let mirror = state.target.mirror.as_ref();
        let seen = mirror.map_or(0, |mirror| mirror.ticket);
        if seen >= job_state.ticket {
            // A live change came first, and is newer than this listing.
            return (UserOutcome::Equal, None);
        }
        match (change.outcome, mirror) {
            (Outcome::Unchanged, Some(mirror)) => {
                let is_current = mirror.epoch == job_state.epoch
                    && !mirror.is_tombstone
                    && state.digest == digest(&candidate.json)
                    && state.target.base() == Some(&state.target.to_base());
                if !is_current && candidate.is_heavy() {
                    self.updates.push((candidate, *change));
                } else if !is_current {
                    self.renewals.push((candidate, &state.target));
                }
                (UserOutcome::Equal, None)
            }
            (Outcome::Created, None) => {
                if candidate.is_heavy() {
                    self.updates.push((candidate, *change));
                } else {
                    self.creates.push(candidate);
                }
                (created_as(job_state), None)
            }
            (Outcome::Updated, Some(_)) => {
                self.updates.push((candidate, *change));
                match job_state.dry_run {
                    true => (UserOutcome::Update, None),
                    false => (UserOutcome::Equal, None),
                }
            }
            _ => (UserOutcome::Pending, None),
        }
    }
}

fn created_as(job_state: &JobState) -> UserOutcome {
    if job_state.dry_run {
        UserOutcome::Create
    } else {
        UserOutcome::Equal
    }
}

/// Writes what a page can; whom the database refused, or whom the invocation cannot write
/// any more, is handed to the relay, which looks at each alone.
async fn write<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    work: Work<'_>,
    paged: &Paged,
) -> Result<Vec<UserId>, Delay> {
    let under = Under {
        ticket: job_state.ticket,
        epoch: job_state.epoch,
        generation: job_state.generation,
    };
    let mut handed = Vec::new();
    let creations = work.creates.into_iter();
    let creations = creations.map(|one| Creation::of(one, &context.settings.mapping));
    let mut groups = portions(creations, PORTION_BYTES, Creation::n_bytes);
    while let Some(mut group) = groups.pop() {
        let has_room = meter.has_room_for(CREATE_QUERIES, paged);
        if has_room && apply(meter, page::create(&group, under)).await? == Applied::Yes {
            continue;
        }
        // Nothing of it was written: each half again, until one alone is refused.
        match group.len() {
            n_users if has_room && n_users > 1 => {
                let other = group.split_off(n_users / 2);
                groups.extend([group, other]);
            }
            _ => handed.extend(group.iter().map(|one| one.of.id().clone())),
        }
    }
    for statement in page::renew(&work.renewals, under) {
        meter.batch(Store::Mgpass, vec![statement]).await?;
    }
    let updates = portions(work.updates, PORTION_BYTES, |(_, change)| {
        // No more than so many in a batch, however light they are.
        change.n_bytes().max(PORTION_BYTES / MAX_UPDATES)
    });
    for group in updates {
        let ids: Vec<_> = group.iter().map(|(one, _)| one.id().clone()).collect();
        let n_statements = group.iter().map(|(_, change)| change.n_statements()).sum();
        let changes = group.into_iter().map(|(_, change)| change).collect();
        if !meter.has_room_for(n_statements, paged)
            || apply(meter, page::update(changes)).await? == Applied::Refused
        {
            handed.extend(ids);
        }
    }
    meter.check_generation(job_state).await?;
    Ok(handed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Yes,
    Refused,
}

async fn apply<P: Platform>(
    meter: &mut Meter<'_, P>,
    batch: Vec<Statement>,
) -> Result<Applied, Delay> {
    match meter.try_batch(Store::Mgpass, batch).await {
        Ok(_) => Ok(Applied::Yes),
        Err(DatabaseFailure::Constraint | DatabaseFailure::TooLarge) => Ok(Applied::Refused),
        Err(failure) => Err(Delay::Database(Store::Mgpass, failure)),
    }
}

/// Listed once, and not any more: deleted meanwhile, or hidden by the order's shifting.
pub(super) async fn absent<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    job: i64,
) -> Result<Paged, Delay> {
    let asked = vec![store::absent(job, job_state, ABSENT_PAGE)];
    let results = meter.batch(Store::Proxy, asked).await?;
    let users = store::parse_ids(results.first());
    let mut paged = Paged {
        is_last: (users.len() as i64) < ABSENT_PAGE,
        after_id: users.last().map_or_else(String::new, ToString::to_string),
        ..Paged::default()
    };
    let ids: Vec<_> = users.iter().map(UserId::as_str).collect();
    let results = meter.batch(Store::Mgpass, states::read(&ids)).await?;
    let states =
        states::parse(&results).ok_or(Delay::Database(Store::Mgpass, DatabaseFailure::Refused))?;
    let mut handed = Vec::new();
    for user in &users {
        let platform = meter.platform;
        let is_gone = match meter.logto(logto::user(platform, context, user)).await {
            Ok(LogtoState::Gone) => true,
            Ok(LogtoState::Present { .. }) => false,
            // Logto answers so of this user alone: the relay parks them by name.
            Err(Delay::Backend(failure)) if failure.blames_backend().is_none() => false,
            Err(delay) => return Err(delay),
        };
        let lives = states.get(user).is_some_and(|state| {
            let target = &state.target;
            target.mirror.is_some() && target.user.as_ref().is_some_and(|user| !user.is_deleted)
        });
        let outcome = match (is_gone, lives || !is_gone, job_state.dry_run) {
            (true, false, _) | (true, _, true) => UserOutcome::Deleted,
            (_, _, true) => UserOutcome::Update,
            _ => UserOutcome::Pending,
        };
        if outcome == UserOutcome::Pending {
            handed.push(user.clone());
        }
        paged.users.push(Recorded {
            user: user.as_str().to_owned(),
            outcome,
            reason: is_gone.then(|| "gone".to_owned()),
            notes: Vec::new(),
        });
    }
    hand_over(Trigger::Import, &mut paged, &handed);
    Ok(paged)
}

/// Until the relay has discharged or parked everybody that was handed to it.
pub(super) async fn settle<P: Platform>(
    meter: &mut Meter<'_, P>,
    job: i64,
    job_state: &JobState,
) -> Result<Paged, Delay> {
    let results = meter
        .batch(Store::Proxy, store::settle(job, job_state.kind, 1))
        .await?;
    if results.last().is_some_and(|rows| !rows.is_empty()) {
        return Err(Delay::Unsettled);
    }
    Ok(nothing_more(&job_state.after_id))
}
