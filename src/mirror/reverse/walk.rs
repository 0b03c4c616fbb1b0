//! By cron, while mgPass is the authority: everybody, for what neither an intent nor the
//! audit log told. The base of debt and of strays.
//!
//! A pass lists Logto, newest first, and compares each with mgPass's rows in Logto's form;
//! then it goes through mgPass's users by id, and has those mirrored ones looked at whom the
//! listing did not show. It only leaves intents: the relay sends, or finds a stray. A user
//! whom Logto has and the mirror does not know was made there by somebody: a stray as well.

use serde_json::json;

use crate::handover::authority::Side;
use crate::handover::debt;
use crate::handover::strays::{self, Source};
use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::listing::{self, Listed, Oddity, PAGE_SIZE};
use crate::mirror::pass::{self, Phase, Position};
use crate::mirror::reverse::decide::USER;
use crate::mirror::reverse::password;
use crate::mirror::reverse::{feed, rows};
use crate::mirror::triggers::Trigger;
use crate::mirror::waking::send_wakes;
use crate::mirror::{states, target, wake};
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::sql::integer;

/// A minute's share.
const USERS_PER_TICK: usize = 300;
const MGPASS_PER_STEP: i64 = 200;
const MAX_STEPS: usize = 20;
const BUDGET_MS: i64 = 25_000;
/// Of a step, were each user of its page compared alone.
const STEP_QUERIES: usize = 60;

/// Registered at mgPass itself, not before this moment.
const BORN: &str = "SELECT u.id AS subject FROM json_each(?1) w JOIN users u ON u.id = w.value WHERE u.created_at >= ?2 - 5";
/// Every string above, for the test that prepares each one against mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[BORN];
const HANDED_OVER: &str = "SELECT coalesce((SELECT max(at) FROM authority_log WHERE from_holder = 'draining' AND to_holder = 'mgpass'), 0) AS at";
/// Every string above that is about the proxy's own.
#[cfg(not(target_arch = "wasm32"))]
pub const PROXY_SQL: &[&str] = &[HANDED_OVER];

/// Why the walk does not go on now, as a code. The next tick tries again.
type Stuck = &'static str;

/// Whatever of the way back waits for time: the log, what was unanswered, what is watched,
/// and a piece of the walk.
pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>) {
    if let feed::Fed::Failed(code) = feed::turn(platform).await {
        platform.emit(&Event::WalkDelayed { code });
    }
    look_again(platform).await;
    if !context.settings.walk {
        return;
    }
    let until_ms = platform.now_ms() + BUDGET_MS;
    let mut n_left = USERS_PER_TICK;
    for _ in 0..MAX_STEPS {
        let has_room = platform.usage().has_room_for(STEP_QUERIES);
        if n_left == 0 || platform.now_ms() >= until_ms || !has_room {
            return;
        }
        match step(platform, context, &mut n_left).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(code) => {
                platform.emit(&Event::WalkDelayed { code });
                return;
            }
        }
    }
}

/// What Logto may have carried out late. Not asked now, the next tick asks.
async fn look_again<P: Platform>(platform: &P) {
    let mut asked = vec![debt::unanswered_due(), strays::watched()];
    asked.extend(rows::purge());
    let Ok(results) = platform.batch(Store::Proxy, asked).await else {
        return;
    };
    let mut subjects = Vec::new();
    for rows in results.iter().take(2) {
        subjects.extend(debt::parse_subjects(rows));
    }
    if subjects.is_empty() {
        return;
    }
    let mut statements = Trigger::Again.all(&subjects);
    statements.push(wake::all(&subjects));
    if let Ok(results) = platform.batch(Store::Proxy, statements).await {
        send_wakes(platform, &wake::parse(&results)).await;
    }
}

/// False: the pass is over, or another tick moved the walk meanwhile.
async fn step<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    n_left: &mut usize,
) -> Result<bool, Stuck> {
    let asked = platform
        .batch(Store::Proxy, pass::position(Side::Mgpass))
        .await
        .map_err(DatabaseFailure::code)?;
    let position = pass::parse_position(&asked).ok_or(DatabaseFailure::Refused.code())?;
    let step = match position.phase {
        Phase::Logto => step_logto(platform, context, &position).await?,
        Phase::Mgpass => step_mgpass(platform, &position).await?,
    };
    *n_left = n_left.saturating_sub(step.n_seen.max(1));
    step.finish(platform, &position).await
}

/// What one step came to.
struct Step {
    n_seen: usize,
    /// For the relay.
    differing: Vec<UserId>,
    statements: Vec<Statement>,
    /// `None` ends the pass.
    next: Option<Position>,
}

async fn step_logto<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    position: &Position,
) -> Result<Step, Stuck> {
    let piece = listing::piece(platform, context, position.listed, PAGE_SIZE)
        .await
        .map_err(BackendFailure::code)?;
    let mut step = Step {
        n_seen: piece.n_rows as usize,
        differing: Vec::new(),
        statements: Vec::new(),
        next: Some(match piece.is_last {
            true => position.at(Phase::Mgpass, 0, ""),
            false => position.at(Phase::Logto, piece.end, ""),
        }),
    };
    for odd in &piece.odd {
        match &odd.user {
            // A create that has only just begun, or an orphan, which has its own sweep.
            _ if odd.reason == Oddity::Reserved => {}
            Some(user) => step.differing.push(user.clone()),
            None => platform.emit(&Event::ListingRefused {
                code: odd.reason.code(),
                place: odd.place,
            }),
        }
    }
    let mut rest = piece.users.as_slice();
    while !rest.is_empty() {
        let n_done = compare(platform, context, rest, &mut step).await?;
        rest = rest.get(n_done..).unwrap_or_default();
    }
    let ids: Vec<_> = piece.users.iter().map(|one| one.user.id.clone()).collect();
    // Not marked: looked at one by one, in the other phase.
    let marks = vec![target::mark_walked(&ids, position.pass)];
    let _ = platform.batch(Store::Mgpass, marks).await;
    Ok(step)
}

/// As many of them, from the first on, as can be read at once; how many that were.
async fn compare<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    listed: &[Listed],
    step: &mut Step,
) -> Result<usize, Stuck> {
    let ids: Vec<_> = listed.iter().map(|one| one.user.id.as_str()).collect();
    let mut asked = states::read(&ids);
    asked.push(password::read(&ids));
    let results = platform
        .batch(Store::Mgpass, asked)
        .await
        .map_err(DatabaseFailure::code)?;
    let (passwords, results) = results
        .split_last()
        .ok_or(DatabaseFailure::Refused.code())?;
    let states = states::parse(results).ok_or(DatabaseFailure::Refused.code())?;
    let passwords = password::changed(passwords, context.subject_key);
    let n_whole = states::n_whole(&states, listed.iter().map(|one| &one.user.id));
    for one in listed.iter().take(n_whole) {
        let id = &one.user.id;
        let state = states.get(id).filter(|state| state.target.mirror.is_some());
        let Some(state) = state else {
            // Made at Logto by somebody; nothing can be sent there, nor to mgPass.
            let user = [USER.to_owned()];
            step.statements
                .extend(strays::settle(id, &user, Source::Walk, None));
            continue;
        };
        let here = rows::as_logtos(id, &state.target, &context.settings.mapping);
        let is_equal = here
            .as_ref()
            .is_some_and(|here| Base::of_logto(here) == Base::of_logto(&one.user));
        if !is_equal || passwords.contains(id.as_str()) {
            step.differing.push(id.clone());
        }
    }
    Ok(n_whole)
}

async fn step_mgpass<P: Platform>(platform: &P, position: &Position) -> Result<Step, Stuck> {
    let asked = target::users_after(&position.after_id, MGPASS_PER_STEP, position.pass);
    let results = platform
        .batch(Store::Mgpass, vec![asked])
        .await
        .map_err(DatabaseFailure::code)?;
    let users = target::parse_users_after(&results);
    let is_last = (users.len() as i64) < MGPASS_PER_STEP;
    let after_id = users.last().map(|row| row.id.clone()).unwrap_or_default();
    let unwalked = users.iter().filter(|row| row.is_mirrored && !row.is_walked);
    let differing = unwalked.filter_map(|row| UserId::parse(&row.id)).collect();
    let own: Vec<_> = users
        .iter()
        .filter(|row| !row.is_mirrored)
        .map(|row| row.id.as_str())
        .collect();
    let mut statements = Vec::new();
    if !own.is_empty() {
        statements.push(debt::owe_births(&born(platform, &own).await?));
    }
    Ok(Step {
        n_seen: users.len(),
        differing,
        statements,
        next: (!is_last).then(|| position.at(Phase::Mgpass, 0, &after_id)),
    })
}

/// Those of mgPass's own users who came since the hand-over; who was there before was
/// never Logto's to have.
async fn born<P: Platform>(platform: &P, own: &[&str]) -> Result<Vec<UserId>, Stuck> {
    let asked = vec![Statement::new(HANDED_OVER, vec![])];
    let results = platform
        .batch(Store::Proxy, asked)
        .await
        .map_err(DatabaseFailure::code)?;
    let row = results.first().and_then(|rows| rows.first());
    let at_ms = row
        .and_then(|row| integer(row, "at"))
        .ok_or(DatabaseFailure::Refused.code())?;
    let values = vec![json!(own).to_string().into(), (at_ms / 1_000).into()];
    let results = platform
        .batch(Store::Mgpass, vec![Statement::new(BORN, values)])
        .await
        .map_err(DatabaseFailure::code)?;
    Ok(debt::parse_subjects(
        results.first().map_or(&[], Vec::as_slice),
    ))
}

impl Step {
    /// Intents, what was found, and the new position in one batch.
    async fn finish<P: Platform>(
        mut self,
        platform: &P,
        position: &Position,
    ) -> Result<bool, Stuck> {
        let n_repaired = self.differing.len();
        self.statements.extend(Trigger::Walk.all(&self.differing));
        let moves = position.leave(self.next.as_ref(), self.n_seen, n_repaired);
        self.statements.extend(moves);
        let results = platform
            .batch(Store::Proxy, self.statements)
            .await
            .map_err(|_| "not_recorded")?;
        let has_moved = results.last().is_some_and(|rows| !rows.is_empty());
        let (goes_on, outcome) = match (has_moved, &self.next) {
            (false, _) => (false, "overtaken"),
            (true, Some(_)) => (true, "moved"),
            (true, None) => (false, "pass_done"),
        };
        platform.emit(&Event::WalkStepped {
            n_seen: self.n_seen,
            n_repaired,
            outcome,
        });
        Ok(goes_on)
    }
}
