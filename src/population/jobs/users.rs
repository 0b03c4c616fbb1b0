//! The import of users: Logto's listing, page by page, written under the page's
//! ticket. Whoever needs more than a page can do is handed to the relay, and their
//! outcome is taken from there. Every user ends as equal, parked with a reason, or
//! deleted meanwhile.

use futures_util::future::join_all;

use super::book::{self, Outcome, Paged, Recorded, Standing};
use super::meter::{Delay, Meter, hand_over, nothing_more};
use super::page_size;
use crate::inbound::request::UserId;
use crate::mirror::backlog;
use crate::mirror::mapping::map;
use crate::mirror::reconcile::{
    self, Change, Decision, Inputs, Outcome as Reconciled, Witnesses, digest,
};
use crate::mirror::triggers::Trigger;
use crate::population::page::{self, Candidate, PageState, Verified};
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::{self, LogtoState, LogtoUser};
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

/// Half of what D1 takes as one value; JSON within JSON is escaped once more.
const MAX_BATCH_BYTES: usize = 700_000;
/// One batch's share of users whose rows differ, some statements each.
const MAX_UPDATES: usize = 25;
/// How many users' second factors are asked for at once.
const INSPECTED_AT_ONCE: usize = 6;
const ABSENT_PAGE: i64 = 50;

pub(super) async fn list<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    standing: &Standing,
    page: i64,
) -> Result<Paged, Delay> {
    meter.check_schema(context).await?;
    let (candidates, mut paged) = listing(meter, context, page, page_size(standing)).await?;
    let notes = notes(meter, context, standing, &candidates).await?;
    let results = meter.batch(Store::Mgpass, page::read(&candidates)).await?;
    let mut states = page::parse_read(&results)
        .ok_or(Delay::Database(Store::Mgpass, DatabaseFailure::Refused))?;
    // What was settled before our ticket was taken would pass for covered by it.
    let ids: Vec<_> = candidates.iter().map(|one| one.id().as_str()).collect();
    let results = meter.batch(Store::Proxy, backlog::in_backlog(&ids)).await?;
    for user in backlog::parse_due(&results) {
        states.entry(user).or_default().is_contended = true;
    }
    let nobody = PageState::default();
    let mut work = Work::default();
    let mut outcomes = Vec::new();
    for candidate in &candidates {
        let state = states.get(candidate.id()).unwrap_or(&nobody);
        outcomes.push(work.sort(context, standing, candidate, state));
    }
    if !standing.dry_run {
        let handed = write(meter, context, standing, work).await?;
        for (candidate, (outcome, _)) in candidates.iter().zip(&mut outcomes) {
            if handed.contains(candidate.id()) {
                *outcome = Outcome::Pending;
            }
        }
        let pending: Vec<_> = candidates
            .iter()
            .zip(&outcomes)
            .filter(|(_, (outcome, _))| *outcome == Outcome::Pending)
            .map(|(candidate, _)| candidate.id().clone())
            .collect();
        hand_over(meter, Trigger::Import, &mut paged, &pending).await;
    }
    for ((candidate, (outcome, reason)), notes) in candidates.iter().zip(outcomes).zip(notes) {
        paged.users.push(Recorded {
            user: candidate.id().as_str().to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
            notes,
        });
    }
    Ok(paged)
}

/// One page of Logto's users; rows that are no users as the contract has them are in
/// the outcome already.
pub(super) async fn listing<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    page: i64,
    size: i64,
) -> Result<(Vec<Candidate>, Paged), Delay> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut paged = Paged::default();
    let (whole, mut n_rows) = (size, 0);
    // A page that is too large to be read is read in smaller ones, in the end one by one.
    let mut spans = vec![(page, size)];
    while let Some((page, size)) = spans.pop() {
        let platform = meter.platform;
        let asked = meter
            .logto(logto::users_page(platform, context, page, size))
            .await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(Delay::Backend(BackendFailure::Down(_, "unreadable"))) if size > 1 => {
                let smaller = if size > 10 { 10 } else { 1 };
                let first = (page - 1) * size / smaller + 1;
                spans.extend(
                    (first..first + size / smaller)
                        .rev()
                        .map(|page| (page, smaller)),
                );
                continue;
            }
            Err(Delay::Backend(BackendFailure::Down(_, "unreadable"))) => {
                paged.users.push(unreadable(&format!("position:{page}")));
                n_rows += 1;
                continue;
            }
            Err(delay) => return Err(delay),
        };
        n_rows += answer.users.len();
        paged.total = answer.total.or(paged.total);
        for json in answer.users {
            match LogtoUser::parse(&json) {
                Ok(logto) => {
                    let mapped = map(&logto, &context.settings.mapping);
                    if !candidates.iter().any(|one| *one.id() == logto.id) {
                        candidates.push(Candidate {
                            logto,
                            json,
                            mapped,
                        });
                    }
                }
                Err(_) => paged.users.push(unreadable(&id_in(&json, page))),
            }
        }
    }
    paged.is_last = (n_rows as i64) < whole;
    Ok((candidates, paged))
}

fn unreadable(user: &str) -> Recorded {
    Recorded {
        user: user.to_owned(),
        outcome: Outcome::Parked,
        reason: Some("unreadable".to_owned()),
        notes: Vec::new(),
    }
}

fn id_in(json: &str, page: i64) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    match value.get("id").and_then(serde_json::Value::as_str) {
        Some(id) => id.chars().take(64).collect(),
        None => format!("page:{page}"),
    }
}

/// Codes of what an operator should know of each: what is not carried, what changed
/// its form, and which second factors and SSO identities stay behind at Logto.
async fn notes<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    standing: &Standing,
    candidates: &[Candidate],
) -> Result<Vec<Vec<String>>, Delay> {
    let mut all: Vec<Vec<String>> = candidates.iter().map(form_notes).collect();
    if !standing.inspect {
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
    renewals: Vec<(&'a Candidate, i64)>,
    updates: Vec<(&'a Candidate, Change)>,
}

impl<'a> Work<'a> {
    fn sort(
        &mut self,
        context: &Context<'_>,
        standing: &Standing,
        candidate: &'a Candidate,
        state: &PageState,
    ) -> (Outcome, Option<&'static str>) {
        let logto = LogtoState::Present {
            user: Box::new(candidate.logto.clone()),
            json: candidate.json.clone(),
        };
        let decision = reconcile::decide(&Inputs {
            user: candidate.id(),
            ticket: standing.ticket,
            epoch: standing.epoch,
            logto: &logto,
            target: &state.target,
            witnesses: Witnesses::default(),
            mapping: &context.settings.mapping,
            deletions_per_hour: context.settings.deletions_per_hour,
            companions: &[],
        });
        let change = match decision {
            Decision::Apply(change) if !change.owes_effect() && !state.is_contended => change,
            Decision::Park(park) if standing.dry_run => {
                return (Outcome::Parked, Some(park.code()));
            }
            _ => return (Outcome::Pending, None),
        };
        let mirror = state.target.mirror.as_ref();
        let seen = mirror.map_or(0, |mirror| mirror.ticket);
        if seen >= standing.ticket {
            // A live change came first, and is newer than this listing.
            return (Outcome::Equal, None);
        }
        match (change.outcome, mirror) {
            (Reconciled::Unchanged, Some(mirror)) => {
                let is_current = mirror.epoch == standing.epoch
                    && !mirror.is_tombstone
                    && state.digest == digest(&candidate.json);
                if !is_current {
                    self.renewals.push((candidate, seen));
                }
                (Outcome::Equal, None)
            }
            (Reconciled::Created, None) => {
                self.creates.push(candidate);
                (created_as(standing), None)
            }
            (Reconciled::Updated, Some(_)) => {
                self.updates.push((candidate, *change));
                match standing.dry_run {
                    true => (Outcome::Update, None),
                    false => (Outcome::Equal, None),
                }
            }
            _ => (Outcome::Pending, None),
        }
    }
}

fn created_as(standing: &Standing) -> Outcome {
    if standing.dry_run {
        Outcome::Create
    } else {
        Outcome::Equal
    }
}

/// Writes what a page can; whom the database refused is handed to the relay, which
/// looks at each alone.
async fn write<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    standing: &Standing,
    work: Work<'_>,
) -> Result<Vec<UserId>, Delay> {
    let (ticket, epoch) = (standing.ticket, standing.epoch);
    let verified = Verified {
        email: context.settings.mapping.email_verified,
        phone: context.settings.mapping.phone_verified,
    };
    let mut handed = Vec::new();
    let mut groups = by_size(work.creates);
    while let Some(group) = groups.pop() {
        let batch = page::create(&group, ticket, epoch, verified);
        match apply(meter, batch).await? {
            Applied::Yes => {}
            // Nothing of it was written: each half again, until one alone is refused.
            Applied::Refused => match group.split_at(group.len() / 2) {
                ([], last) => handed.extend(last.iter().map(|one| one.id().clone())),
                (one, other) => groups.extend([one.to_vec(), other.to_vec()]),
            },
        }
    }
    for group in work.renewals.chunks(MAX_UPDATES) {
        let batch = vec![page::renew(group, ticket, epoch)];
        meter.batch(Store::Mgpass, batch).await?;
    }
    for group in work.updates.chunks(MAX_UPDATES) {
        let changes: Vec<_> = group.iter().map(|(_, change)| change.clone()).collect();
        if apply(meter, page::update(&changes)).await? == Applied::Refused {
            handed.extend(group.iter().map(|(one, _)| one.id().clone()));
        }
    }
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
        Err(DatabaseFailure::Constraint) => Ok(Applied::Refused),
        Err(failure) => Err(Delay::Database(Store::Mgpass, failure)),
    }
}

fn by_size(users: Vec<&Candidate>) -> Vec<Vec<&Candidate>> {
    let mut groups: Vec<Vec<&Candidate>> = Vec::new();
    let mut n_bytes = 0;
    for user in users {
        n_bytes += user.json.len() * 2 + 500;
        match groups.last_mut() {
            Some(group) if n_bytes <= MAX_BATCH_BYTES => group.push(user),
            _ => {
                n_bytes = user.json.len() * 2 + 500;
                groups.push(vec![user]);
            }
        }
    }
    groups
}

/// Listed once, and not any more: deleted meanwhile, or hidden by the order's shifting.
pub(super) async fn absent<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    standing: &Standing,
    job: i64,
) -> Result<Paged, Delay> {
    let asked = vec![book::absent(job, standing, ABSENT_PAGE)];
    let results = meter.batch(Store::Proxy, asked).await?;
    let users = book::parse_ids(results.first());
    let mut paged = Paged {
        is_last: (users.len() as i64) < ABSENT_PAGE,
        after_id: users.last().map_or_else(String::new, ToString::to_string),
        ..Paged::default()
    };
    let ids: Vec<_> = users.iter().map(UserId::as_str).collect();
    let results = meter.batch(Store::Mgpass, page::read_ids(&ids)).await?;
    let states = page::parse_read(&results)
        .ok_or(Delay::Database(Store::Mgpass, DatabaseFailure::Refused))?;
    let mut handed = Vec::new();
    for user in &users {
        let platform = meter.platform;
        let is_gone = match meter.logto(logto::user(platform, context, user)).await? {
            LogtoState::Gone => true,
            LogtoState::Present { .. } => false,
        };
        let lives = states.get(user).is_some_and(|state| {
            let target = &state.target;
            target.mirror.is_some() && target.user.as_ref().is_some_and(|user| !user.is_deleted)
        });
        let outcome = match (is_gone, lives || !is_gone, standing.dry_run) {
            (true, false, _) | (true, _, true) => Outcome::Deleted,
            (_, _, true) => Outcome::Update,
            _ => Outcome::Pending,
        };
        if outcome == Outcome::Pending {
            handed.push(user.clone());
        }
        paged.users.push(Recorded {
            user: user.as_str().to_owned(),
            outcome,
            reason: is_gone.then(|| "gone".to_owned()),
            notes: Vec::new(),
        });
    }
    hand_over(meter, Trigger::Import, &mut paged, &handed).await;
    Ok(paged)
}

/// Until the relay has discharged or parked everybody that was handed to it.
pub(super) async fn settle<P: Platform>(
    meter: &mut Meter<'_, P>,
    job: i64,
    standing: &Standing,
) -> Result<Paged, Delay> {
    let results = meter
        .batch(Store::Proxy, book::settle(job, standing.kind, 1))
        .await?;
    if results.last().is_some_and(|rows| !rows.is_empty()) {
        return Err(Delay::Unsettled);
    }
    Ok(nothing_more(&standing.after_id))
}
