//! Long jobs over a whole population: the import of users, of points, the proof of
//! equality. One more trigger of the mirror, not a second mirror.
//!
//! A job is a row; its pages are claimed by lanes, each a message that circulates in
//! a Queue of its own, so that a job scales with consumers and not with what one
//! invocation may take. A message only wakes: a lost one is made up for by cron, a
//! doubled one finds its page claimed. A crash leaves a claim that runs out.
//!
//! A failing backend holds a job up and is named in its view; it never ends it.

pub mod commands;
pub mod equality;
mod meter;
mod paged;
mod pieces;
mod points;
pub mod store;
mod users;
pub mod view;

use std::cell::Cell;
use std::pin::pin;

use futures_util::future::{Either, select};

use self::commands::MAX_LANES;
use self::meter::{Delay, Meter};
use self::store::{Claim, Cost, JobState, Paged};
use crate::mirror::listing::PAGE_SIZE;
use crate::mirror::relay::{self, Disposition};
use crate::mirror::wake as wakes;
use crate::policy::flags::Stage;
use crate::runtime::context::Context;
use crate::runtime::message::{Message, delay_s};
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};

/// A third of what a claim lasts.
const RENEWED_EVERY_MS: u32 = 20_000;
/// A listing that did not add up is walked again, with other boundaries between pages.
const PASS_SIZES: [i64; 3] = [PAGE_SIZE, 90, 80];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Users,
    Points,
    Equality,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Users, Self::Points, Self::Equality];

    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Points => "points",
            Self::Equality => "equality",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn first_phase(self) -> Phase {
        match self {
            Self::Users | Self::Equality => Phase::List,
            Self::Points => Phase::Source,
        }
    }
}

/// What pages are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Logto's listing.
    List,
    /// Users that an earlier pass listed and the last one did not.
    Absent,
    /// Users that were handed to the relay.
    Settle,
    /// mgPass's users, by id.
    Mgpass,
    /// The source of the points, by id.
    Source,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Absent => "absent",
            Self::Settle => "settle",
            Self::Mgpass => "mgpass",
            Self::Source => "source",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::List,
            Self::Absent,
            Self::Settle,
            Self::Mgpass,
            Self::Source,
        ]
        .into_iter()
        .find(|phase| phase.name() == name)
    }
}

/// One delivery of a lane: claim a page, do it, go on.
pub async fn step<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    stage: Stage,
    job: i64,
    lane: u8,
) -> Disposition {
    let holder = format!("{:016x}", platform.random_u64());
    let asked = platform
        .batch(Store::Proxy, store::claim(job, &holder, PAGE_SIZE))
        .await;
    let results = match asked {
        Ok(results) => results,
        Err(failure) => {
            platform.emit(&Event::OutboxDelayed {
                step: "job",
                code: failure.code(),
            });
            return Disposition::Retry { delay_s: 5 };
        }
    };
    let Some(job_state) = store::parse_state(&results).filter(|job_state| job_state.is_running)
    else {
        return Disposition::Ack;
    };
    let Some(page) = job_state.page else {
        return idle(platform, job, lane, &job_state).await;
    };
    let claim = Claim { job, holder, page };
    if stage == Stage::Off && !job_state.dry_run && job_state.kind != Kind::Equality {
        // Nothing is mirrored now; cron comes back to it.
        return give_back(platform, &claim, &job_state, "stage_off", 60).await;
    }
    let began_ms = platform.now_ms();
    let n_answers = Cell::new(0);
    let mut meter = Meter {
        platform,
        cost: Cost::default(),
        n_answers: &n_answers,
    };
    let done = {
        let work = pin!(work(&mut meter, context, &job_state, job, page));
        let kept = pin!(keep(platform, &claim, &n_answers));
        match select(work, kept).await {
            Either::Left((done, _)) => done,
            Either::Right((delay, _)) => Err(delay),
        }
    };
    let duration_ms = platform.now_ms() - began_ms;
    let mut paged = match done {
        Ok(paged) => paged,
        Err(delay) => {
            return give_back(platform, &claim, &job_state, delay.code(), delay.wait_s()).await;
        }
    };
    paged.cost = Cost {
        work_ms: duration_ms - meter.cost.logto_ms - meter.cost.mgpass_ms,
        memory_bytes: i64::try_from(platform.memory_bytes()).unwrap_or(i64::MAX),
        ..meter.cost
    };
    platform.emit(&Event::JobPaged {
        kind: job_state.kind.name(),
        phase: job_state.phase.name(),
        page,
        n_users: paged.users.len(),
        duration_ms,
    });
    let Ok(results) = platform.batch(Store::Proxy, claim.finish(paged)).await else {
        // The page is done again by whoever takes the claim over.
        return Disposition::Retry { delay_s: 5 };
    };
    relay::send_wakes(platform, &wakes::parse(&results)).await;
    match store::parse_state(&results).filter(|job_state| job_state.is_running) {
        Some(job_state) if job_state.is_exhausted => idle(platform, job, lane, &job_state).await,
        Some(job_state) => {
            wake(platform, job, lane, wait_s(job_state.wait_ms)).await;
            Disposition::Ack
        }
        None => Disposition::Ack,
    }
}

async fn work<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    job: i64,
    page: i64,
) -> Result<Paged, Delay> {
    match (job_state.kind, job_state.phase) {
        (Kind::Users, Phase::List) => users::list(meter, context, job_state, page).await,
        (Kind::Users, Phase::Absent) => users::absent(meter, context, job_state, job).await,
        (Kind::Users, _) => users::settle(meter, job, job_state).await,
        (Kind::Points, _) => points::source(meter, context, job_state).await,
        (Kind::Equality, Phase::List) => equality::list(meter, context, job_state, job, page).await,
        (Kind::Equality, _) => equality::mgpass(meter, context, job_state, job).await,
    }
}

/// A claim lasts a minute, and a page with a slow Logto longer: it is renewed as long as
/// the page gets on. A call that is never answered lets it run out, as a crash does.
/// Comes to an end only when another lane has the page.
async fn keep<P: Platform>(platform: &P, claim: &Claim, n_answers: &Cell<u32>) -> Delay {
    let mut n_seen = n_answers.get();
    loop {
        platform.sleep(RENEWED_EVERY_MS).await;
        if n_answers.get() == n_seen {
            continue;
        }
        n_seen = n_answers.get();
        // Not answered: there is another try before the claim runs out.
        if let Ok(results) = platform.batch(Store::Proxy, vec![claim.renew()]).await
            && results.first().is_none_or(Vec::is_empty)
        {
            return Delay::ClaimLost;
        }
    }
}

/// No page was to be had: the limit of the rate, other lanes at work, or the end.
async fn idle<P: Platform>(platform: &P, job: i64, lane: u8, job_state: &JobState) -> Disposition {
    if !job_state.is_exhausted {
        return match job_state.wait_ms {
            0 => Disposition::Ack,
            wait_ms => Disposition::Retry {
                delay_s: wait_s(wait_ms),
            },
        };
    }
    let Ok(next) = next_phase(platform, job, job_state).await else {
        return Disposition::Retry { delay_s: 5 };
    };
    let statements = match next {
        Some((phase, pass)) => store::move_on(job, job_state, phase, pass),
        None => store::end(job, job_state),
    };
    let Ok(results) = platform.batch(Store::Proxy, statements).await else {
        return Disposition::Retry { delay_s: 5 };
    };
    // Of many lanes one moves the job on.
    if results.first().is_some_and(|rows| !rows.is_empty()) {
        platform.emit(&Event::JobMoved {
            kind: job_state.kind.name(),
            to: next.map_or("done", |(phase, _)| phase.name()),
        });
        match next {
            Some((Phase::List, _)) => wake_all(platform, job, job_state.lanes).await,
            Some(_) => wake(platform, job, lane, 0).await,
            None => {}
        }
    }
    Disposition::Ack
}

async fn next_phase<P: Platform>(
    platform: &P,
    job: i64,
    job_state: &JobState,
) -> Result<Option<(Phase, i64)>, DatabaseFailure> {
    let pass = job_state.pass;
    Ok(match (job_state.kind, job_state.phase) {
        (Kind::Users | Kind::Equality, Phase::List) => {
            let asked = vec![store::seen_in_pass(job, job_state)];
            let results = platform.batch(Store::Proxy, asked).await?;
            let n_seen = results
                .first()
                .and_then(|rows| crate::runtime::sql::integer(rows.first()?, "n"));
            let adds_up =
                n_seen == job_state.total_last && job_state.total_first == job_state.total_last;
            if !adds_up && pass < PASS_SIZES.len() as i64 {
                Some((Phase::List, pass + 1))
            } else if job_state.kind == Kind::Users {
                Some((Phase::Absent, pass))
            } else {
                Some((Phase::Mgpass, pass))
            }
        }
        (Kind::Users, Phase::Absent) => Some((Phase::Settle, pass)),
        (Kind::Users, _) | (Kind::Points | Kind::Equality, _) => None,
    })
}

fn page_size(job_state: &JobState) -> i64 {
    let index = usize::try_from(job_state.pass - 1).unwrap_or_default();
    PASS_SIZES.get(index).copied().unwrap_or(PAGE_SIZE)
}

async fn give_back<P: Platform>(
    platform: &P,
    claim: &Claim,
    job_state: &JobState,
    code: &'static str,
    wait_s: u32,
) -> Disposition {
    platform.emit(&Event::JobDelayed {
        kind: job_state.kind.name(),
        phase: job_state.phase.name(),
        code,
    });
    let is_told = code != Delay::Unsettled.code() && code != Delay::ClaimLost.code();
    let told = is_told.then_some(code);
    // Else the claim runs out by itself.
    let _ = platform.batch(Store::Proxy, claim.give_back(told)).await;
    Disposition::Retry { delay_s: wait_s }
}

/// Cron: lanes whose messages were lost.
pub async fn revive<P: Platform>(platform: &P) {
    let Ok(results) = platform.batch(Store::Proxy, store::stalled()).await else {
        return;
    };
    for (job, lanes) in store::parse_stalled(&results) {
        wake_all(platform, job, lanes).await;
    }
}

async fn wake_all<P: Platform>(platform: &P, job: i64, lanes: i64) {
    let lanes = 0..lanes.clamp(1, MAX_LANES);
    let messages: Vec<_> = lanes
        .map(|lane| Message::Job {
            job,
            lane: lane as u8,
        })
        .collect();
    send(platform, &messages, 0).await;
}

async fn wake<P: Platform>(platform: &P, job: i64, lane: u8, delay_s: u32) {
    send(platform, &[Message::Job { job, lane }], delay_s).await;
}

/// The lanes of a job are fewer than one call takes.
async fn send<P: Platform>(platform: &P, messages: &[Message], delay_s: u32) {
    if platform.send_batch(messages, delay_s).await.is_err() {
        // Cron comes back to it.
        platform.emit(&Event::OutboxDelayed {
            step: "job",
            code: "queue",
        });
    }
}

fn wait_s(wait_ms: i64) -> u32 {
    match wait_ms {
        ..=0 => 0,
        _ => delay_s(wait_ms).min(600),
    }
}
