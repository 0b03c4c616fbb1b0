//! By cron: the whole population, for what no trigger told.
//!
//! The walk compares both sides whole: what Logto's user maps to, and mgPass's rows as
//! they stand. It only leaves intents: the relay repairs by the same reconcile as ever,
//! and names what somebody changed at mgPass. A user whom only mgPass has is a finding,
//! never a repair.
//!
//! A pass lists Logto, then goes through mgPass's users by id and asks Logto for those
//! mirrored ones alone whom the listing did not show, so that its unstable order hides
//! nobody. Some statements for a hundred users, no call for each. The position lies in
//! the database, so a walk that was cut off goes on; one user who cannot be read is
//! left to the relay and stops nobody.

mod catch_up;

pub use self::catch_up::catch_up;
use crate::handover::authority::Side;
use crate::inbound::request::UserId;
use crate::mirror::differences;
use crate::mirror::findings::Finding;
use crate::mirror::listing::{self, Listed, Odd, PAGE_SIZE};
use crate::mirror::mapping::map;
use crate::mirror::pass::{self, Phase, Position};
use crate::mirror::reconcile::Park;
use crate::mirror::reverse::password;
use crate::mirror::states::{self, PageStates};
use crate::mirror::target;
use crate::mirror::triggers::Trigger;
use crate::policy::flags::Stage;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::{self, LogtoState};
use crate::runtime::context::Context;
use crate::runtime::limits::{HEAVY_BYTES, LISTED_BYTES};
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::settings::MappingSettings;

/// A minute's share of Logto's listing ...
const USERS_PER_TICK: usize = 200;
/// ... and of single reads of Logto.
const READS_PER_TICK: usize = 50;
const MGPASS_PER_STEP: i64 = 500;
/// A page of large users comes in pieces, down to one by one.
const MAX_STEPS: usize = 40;
/// Where each answer takes seconds: whatever comes after us in cron waits no longer.
const BUDGET_MS: i64 = 30_000;

/// Of users who are compared at once, and of the step's end. A fresh run of cron has room
/// for a whole page, were each of its users compared alone.
const PART_QUERIES: usize = 40;
/// The invocation may ask no more, or its isolate is at work on another large user.
const NO_ROOM: Stuck = "no_room";

/// Why the walk does not go on now, as a code. The next tick tries again.
type Stuck = &'static str;

pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, stage: Stage) {
    if stage == Stage::Off {
        return;
    }
    catch_up(platform, context).await;
    if !context.settings.walk {
        return;
    }
    let mut budget = Budget {
        until_ms: platform.now_ms() + BUDGET_MS,
        n_users: USERS_PER_TICK,
        n_reads: READS_PER_TICK,
    };
    for _ in 0..MAX_STEPS {
        if budget.is_used_up(platform) {
            return;
        }
        match step(platform, context, &mut budget).await {
            Ok(Went::On) => {}
            Ok(Went::Through | Went::Nowhere) => return,
            Err(code) => {
                platform.emit(&Event::WalkDelayed { code });
                return;
            }
        }
    }
}

/// What is left of a tick.
struct Budget {
    until_ms: i64,
    n_users: usize,
    n_reads: usize,
}

impl Budget {
    fn is_used_up<P: Platform>(&self, platform: &P) -> bool {
        self.n_users == 0 || self.n_reads == 0 || platform.now_ms() >= self.until_ms
    }
}

/// What a step did.
enum Went {
    On,
    /// The pass is over.
    Through,
    /// Another tick moved the walk meanwhile.
    Nowhere,
}

async fn step<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    budget: &mut Budget,
) -> Result<Went, Stuck> {
    let asked = platform
        .batch(Store::Proxy, pass::position(Side::Logto))
        .await;
    let position = pass::parse_position(&asked.map_err(DatabaseFailure::code)?)
        .ok_or(DatabaseFailure::Refused.code())?;
    match position.phase {
        Phase::Logto => step_logto(platform, context, budget, &position).await,
        Phase::Mgpass => step_mgpass(platform, context, budget, &position).await,
    }
}

async fn step_logto<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    budget: &mut Budget,
    position: &Position,
) -> Result<Went, Stuck> {
    let piece = listing::piece(platform, context, position.listed, PAGE_SIZE)
        .await
        .map_err(BackendFailure::code)?;
    budget.n_users = budget.n_users.saturating_sub(piece.n_rows as usize);
    let mut step = Step {
        n_seen: piece.n_rows as usize,
        next: Some(match piece.is_last {
            true => position.at(Phase::Mgpass, 0, ""),
            false => position.at(Phase::Logto, piece.end, ""),
        }),
        ..Step::default()
    };
    step.leave_odd(platform, &piece.odd);
    step.compare(platform, context, &piece.users).await?;
    let ids: Vec<_> = piece.users.iter().map(|one| one.user.id.clone()).collect();
    // Not marked: asked for one by one, in the other phase.
    let marks = vec![target::mark_walked(&ids, position.pass)];
    let _ = platform.batch(Store::Mgpass, marks).await;
    step.finish(platform, position).await
}

/// mgPass's own users are found; mirrored ones whom the listing did not show are asked
/// of Logto.
async fn step_mgpass<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    budget: &mut Budget,
    position: &Position,
) -> Result<Went, Stuck> {
    let asked = target::users_after(&position.after_id, MGPASS_PER_STEP, position.pass);
    let results = platform
        .batch(Store::Mgpass, vec![asked])
        .await
        .map_err(DatabaseFailure::code)?;
    let users = target::parse_users_after(&results);
    let mut is_last = (users.len() as i64) < MGPASS_PER_STEP;
    let mut step = Step::default();
    let (mut own, mut gone, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    let mut after_id = position.after_id.clone();
    for row in users {
        if row.is_mirrored && !row.is_walked && budget.is_used_up(platform) {
            is_last = false;
            break;
        }
        after_id.clone_from(&row.id);
        step.n_seen += 1;
        let Some(user) = UserId::parse(&row.id) else {
            // Not of Logto's making.
            continue;
        };
        if !row.is_mirrored {
            own.push(user);
        } else if !row.is_walked {
            budget.n_reads -= 1;
            match logto::user(platform, context, &user).await {
                Ok(LogtoState::Gone) => gone.push(user),
                Ok(LogtoState::Present { user, json }) => listed.push(Listed {
                    user: *user,
                    json,
                    place: 0,
                }),
                Err(failure) if failure.blames_backend().is_none() => step.repairs.push(user),
                Err(failure) => return Err(failure.code()),
            }
        }
        // No more of them is held than of a piece.
        if listed.iter().map(|one| one.json.len()).sum::<usize>() > LISTED_BYTES {
            step.compare(platform, context, &listed).await?;
            listed.clear();
        }
    }
    step.statements.extend([
        Finding::OnlyAtMgpass.note(&own),
        Finding::GoneAtLogto.note(&gone),
    ]);
    step.repairs.extend(gone);
    step.compare(platform, context, &listed).await?;
    step.next = (!is_last).then(|| position.at(Phase::Mgpass, 0, &after_id));
    step.finish(platform, position).await
}

/// What one step came to.
#[derive(Default)]
struct Step {
    n_seen: usize,
    /// For the relay.
    repairs: Vec<UserId>,
    /// Parked, and nothing seems to be in the way any more.
    freed: Vec<UserId>,
    statements: Vec<Statement>,
    /// `None` ends the pass.
    next: Option<Position>,
}

impl Step {
    /// Who cannot be read by a listing is read alone by the relay, and parked by name.
    fn leave_odd<P: Platform>(&mut self, platform: &P, odd: &[Odd]) {
        for odd in odd {
            match &odd.user {
                Some(user) => self.repairs.push(user.clone()),
                None => platform.emit(&Event::ListingRefused {
                    code: odd.reason.code(),
                    place: odd.place,
                }),
            }
        }
    }

    async fn compare<P: Platform>(
        &mut self,
        platform: &P,
        context: &Context<'_>,
        listed: &[Listed],
    ) -> Result<(), Stuck> {
        let mut rest = listed;
        while !rest.is_empty() {
            let n_done = self.compare_some(platform, context, rest).await?;
            rest = rest.get(n_done..).unwrap_or_default();
        }
        Ok(())
    }

    /// As many of them, from the first on, as can be read at once; how many that were.
    async fn compare_some<P: Platform>(
        &mut self,
        platform: &P,
        context: &Context<'_>,
        listed: &[Listed],
    ) -> Result<usize, Stuck> {
        if !platform.usage().has_room_for(PART_QUERIES) {
            return Err(NO_ROOM);
        }
        let is_heavy = listed.iter().any(|one| one.json.len() > HEAVY_BYTES);
        let entered = is_heavy.then(|| context.isolate.enter_heavy(platform.now_ms()));
        let _heavy = entered.map(|entered| entered.ok_or(NO_ROOM)).transpose()?;
        let ids: Vec<_> = listed.iter().map(|one| one.user.id.as_str()).collect();
        let mut asked = states::read(&ids);
        asked.push(password::read(&ids));
        let mut results = platform
            .batch(Store::Mgpass, asked)
            .await
            .map_err(DatabaseFailure::code)?;
        let unseen = password::unseen(&results.pop().unwrap_or_default(), context.subject_key);
        let states = states::parse(&results).ok_or(DatabaseFailure::Refused.code())?;
        drop(results);
        let n_whole = states::n_whole(&states, listed.iter().map(|one| &one.user.id));
        let listed = listed.get(..n_whole).unwrap_or_default();
        let ids = ids.get(..n_whole).unwrap_or_default();
        let asked = pass::standing(ids);
        let results = platform
            .batch(Store::Proxy, asked)
            .await
            .map_err(DatabaseFailure::code)?;
        let standing = pass::parse_standing(&results).ok_or(DatabaseFailure::Refused.code())?;
        if let Some(unseen) = unseen.filter(|_| standing.is_before_hand_over) {
            // Not noted, the next pass notes it.
            let _ = platform.batch(Store::Mgpass, vec![unseen]).await;
        }
        let (epoch, parked) = (standing.epoch, standing.parked);
        let settings = &context.settings.mapping;
        let (mut missing, mut differing) = (Vec::new(), Vec::new());
        for one in listed {
            let user = &one.user.id;
            let equality = judge(one, &states, epoch, settings);
            match equality {
                Equality::Equal => {}
                Equality::Stale | Equality::Altered => self.repairs.push(user.clone()),
                Equality::Missing => missing.push(user.clone()),
                Equality::Differs => differing.push(user.clone()),
            }
            let is_freed = match parked.iter().find(|(parked, _)| parked == user) {
                Some((_, reason)) if reason == Park::TooLarge.code() => true,
                Some(_) => equality == Equality::Equal,
                None => false,
            };
            if is_freed {
                self.freed.push(user.clone());
            }
        }
        self.statements.extend([
            Finding::NotMirrored.note(&missing),
            Finding::Differs.note(&differing),
        ]);
        self.repairs.extend(missing);
        self.repairs.extend(differing);
        Ok(listed.len())
    }

    /// Intents, findings and the new position in one batch.
    async fn finish<P: Platform>(
        mut self,
        platform: &P,
        position: &Position,
    ) -> Result<Went, Stuck> {
        for user in &self.freed {
            let message = Message::Reconcile {
                subject: user.as_str().to_owned(),
            };
            // Lost: the next pass wakes them.
            let _ = platform.send(&message, 0).await;
        }
        let n_repaired = self.repairs.len();
        self.statements.extend(Trigger::Walk.all(&self.repairs));
        let moves = position.leave(self.next.as_ref(), self.n_seen, n_repaired);
        self.statements.extend(moves);
        let results = platform
            .batch(Store::Proxy, self.statements)
            .await
            .map_err(|_| "not_recorded")?;
        let has_moved = results.last().is_some_and(|rows| !rows.is_empty());
        let (went, outcome) = match (has_moved, self.next) {
            (false, _) => (Went::Nowhere, "overtaken"),
            (true, Some(_)) => (Went::On, "moved"),
            (true, None) => (Went::Through, "pass_done"),
        };
        platform.emit(&Event::WalkStepped {
            n_seen: self.n_seen,
            n_repaired,
            outcome,
        });
        Ok(went)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Equality {
    Equal,
    /// Equal, but not known to be so since the last gap.
    Stale,
    /// The mirror does not know the user.
    Missing,
    Differs,
    /// They differ in nothing but what was changed at mgPass: the relay finds out by
    /// whom, and names it.
    Altered,
}

fn judge(one: &Listed, states: &PageStates, epoch: i64, settings: &MappingSettings) -> Equality {
    let Some((state, mirror)) = states
        .get(&one.user.id)
        .and_then(|state| Some((state, state.target.mirror.as_ref()?)))
    else {
        return Equality::Missing;
    };
    let mapped = map(&one.user, settings);
    let found = differences::between(Some((&one.user, &mapped)), &state.target, settings);
    if found.is_empty() {
        return match mirror.epoch < epoch {
            true => Equality::Stale,
            false => Equality::Equal,
        };
    }
    let altered = differences::since_base(&state.target);
    match found.iter().all(|one| altered.contains(&one.path)) {
        true => Equality::Altered,
        false => Equality::Differs,
    }
}
