//! By cron: the whole population, page by page, for what no trigger told; and the
//! newest users, for registrations that nobody could name.
//!
//! Both only leave intents: the relay repairs by the same reconcile as ever. A user
//! whom only mgPass has is a finding, never a repair. Logto's pages are newest first
//! in an unstable order (contract 6.3): a row that moves is seen twice, or in the
//! next pass. The position lies in the database, so a walk that was cut off goes on.

use crate::inbound::request::UserId;
use crate::mirror::outbox;
use crate::mirror::reconcile::digest;
use crate::mirror::target::{self, Standing};
use crate::mirror::triggers::{self, Finding, Phase, Position, Trigger};
use crate::policy::flags::Stage;
use crate::runtime::backend::logto::{self, LogtoState, LogtoUser};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Statement, Store};
use crate::runtime::sql::integer;

/// Logto's largest page.
const PAGE_SIZE: i64 = 100;
/// A minute's share: 200 of Logto's users, or 50 of mgPass's (one read of Logto each).
const PAGES_PER_TICK: usize = 2;
const MGPASS_PER_TICK: i64 = 50;
/// New users of a thousand registrations that could not be named.
const MAX_CATCH_UP_PAGES: i64 = 20;
/// Logto's clock against the database's.
const CLOCK_MARGIN_MS: i64 = 120_000;

/// One user of a page: the id, when it was created, its own JSON.
struct Listed {
    id: UserId,
    created_at_ms: i64,
    json: String,
}

pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, stage: Stage) {
    if stage == Stage::Off {
        return;
    }
    catch_up(platform, context).await;
    if !context.settings.walk {
        return;
    }
    for _ in 0..PAGES_PER_TICK {
        if !step(platform, context).await {
            return;
        }
    }
}

/// The newest users, until all are older than the oldest registration without a name.
pub async fn catch_up<P: Platform>(platform: &P, context: &Context<'_>) {
    let asked = platform.batch(Store::Proxy, triggers::unresolved()).await;
    let Some(unresolved) = asked
        .ok()
        .and_then(|results| triggers::parse_unresolved(&results))
    else {
        return;
    };
    let since_ms = unresolved.oldest_ms - CLOCK_MARGIN_MS;
    let mut found: Vec<UserId> = Vec::new();
    for page in 1..=MAX_CATCH_UP_PAGES {
        let Some(listed) = list(platform, context, page).await else {
            return;
        };
        let is_last = (listed.len() as i64) < PAGE_SIZE
            || listed
                .last()
                .is_none_or(|user| user.created_at_ms < since_ms);
        let newer = listed
            .into_iter()
            .filter(|user| user.created_at_ms >= since_ms);
        for user in newer {
            if !found.contains(&user.id) {
                found.push(user.id);
            }
        }
        if is_last {
            let outcome = match platform
                .batch(Store::Proxy, unresolved.resolved(&found))
                .await
            {
                Ok(_) => "resolved",
                Err(failure) => failure.code(),
            };
            platform.emit(&Event::CatchUpDone {
                outcome,
                n_users: found.len(),
            });
            return;
        }
    }
    // Too many for one tick: the walk names them in the end.
    platform.emit(&Event::CatchUpDone {
        outcome: "too_many",
        n_users: found.len(),
    });
}

/// One page; false when there is nothing more to do now.
async fn step<P: Platform>(platform: &P, context: &Context<'_>) -> bool {
    let asked = platform.batch(Store::Proxy, triggers::walk()).await;
    let Some(position) = asked
        .ok()
        .and_then(|results| triggers::parse_walk(&results))
    else {
        return false;
    };
    match position.phase {
        Phase::Logto => step_logto(platform, context, &position).await,
        Phase::Mgpass => step_mgpass(platform, context, &position).await,
    }
}

async fn step_logto<P: Platform>(platform: &P, context: &Context<'_>, position: &Position) -> bool {
    let Some(listed) = list(platform, context, position.page).await else {
        return false;
    };
    let ids: Vec<_> = listed.iter().map(|user| user.id.clone()).collect();
    let Some((standings, epoch)) = standings(platform, &ids).await else {
        return false;
    };
    let (mut missing, mut differing, mut stale) = (Vec::new(), Vec::new(), Vec::new());
    for user in &listed {
        match standings.iter().find(|standing| standing.user == user.id) {
            None => missing.push(user.id.clone()),
            Some(standing) if standing.is_gone || standing.digest != digest(&user.json) => {
                differing.push(user.id.clone());
            }
            Some(standing) if standing.epoch < epoch => stale.push(user.id.clone()),
            Some(_) => {}
        }
    }
    let mut statements = vec![
        Finding::NotMirrored.note(&missing),
        Finding::Differs.note(&differing),
    ];
    let repairs = [missing, differing, stale].concat();
    statements.extend(Trigger::Walk.all(&repairs));
    let is_last = (listed.len() as i64) < PAGE_SIZE;
    let next = Position {
        phase: if is_last { Phase::Mgpass } else { Phase::Logto },
        page: if is_last { 1 } else { position.page + 1 },
        after_id: String::new(),
    };
    finish(
        platform,
        position,
        Some(&next),
        statements,
        listed.len(),
        repairs.len(),
    )
    .await
}

/// mgPass's own users are found; mirrored ones are asked of Logto, one by one.
async fn step_mgpass<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    position: &Position,
) -> bool {
    let asked = vec![target::users_after(&position.after_id, MGPASS_PER_TICK)];
    let Ok(results) = platform.batch(Store::Mgpass, asked).await else {
        return false;
    };
    let users = target::parse_users_after(&results);
    let (mut own, mut gone) = (Vec::new(), Vec::new());
    for (user, is_mirrored) in &users {
        if !is_mirrored {
            own.push(user.clone());
            continue;
        }
        match logto::user(platform, context, user).await {
            Ok(LogtoState::Gone) => gone.push(user.clone()),
            Ok(LogtoState::Present { .. }) => {}
            Err(_) => return false,
        }
    }
    let mut statements = vec![
        Finding::OnlyAtMgpass.note(&own),
        Finding::GoneAtLogto.note(&gone),
    ];
    statements.extend(Trigger::Walk.all(&gone));
    let next = users
        .last()
        .filter(|_| users.len() as i64 == MGPASS_PER_TICK)
        .map(|(last, _)| Position {
            phase: Phase::Mgpass,
            page: 1,
            after_id: last.as_str().to_owned(),
        });
    let (n_seen, n_repaired) = (users.len(), gone.len());
    finish(
        platform,
        position,
        next.as_ref(),
        statements,
        n_seen,
        n_repaired,
    )
    .await;
    false
}

/// Intents, findings and the new position in one batch; `None` ends the pass.
async fn finish<P: Platform>(
    platform: &P,
    position: &Position,
    next: Option<&Position>,
    mut statements: Vec<Statement>,
    n_seen: usize,
    n_repaired: usize,
) -> bool {
    match next {
        Some(next) => statements.push(position.move_to(next, n_seen, n_repaired)),
        None => statements.extend(triggers::next_pass()),
    }
    let is_done = platform.batch(Store::Proxy, statements).await.is_ok();
    platform.emit(&Event::WalkStepped {
        n_seen,
        n_repaired,
        outcome: match (is_done, next) {
            (false, _) => "not_recorded",
            (true, Some(_)) => "moved",
            (true, None) => "pass_done",
        },
    });
    is_done
}

async fn list<P: Platform>(platform: &P, context: &Context<'_>, page: i64) -> Option<Vec<Listed>> {
    let page = logto::users_page(platform, context, page, PAGE_SIZE)
        .await
        .ok()?;
    page.users
        .into_iter()
        .map(|json| {
            let user = LogtoUser::parse(&json).ok()?;
            Some(Listed {
                id: user.id,
                created_at_ms: user.created_at_ms,
                json,
            })
        })
        .collect()
}

/// How mgPass stands with these, and the recording epoch.
async fn standings<P: Platform>(platform: &P, ids: &[UserId]) -> Option<(Vec<Standing>, i64)> {
    let rows = platform
        .batch(Store::Mgpass, vec![target::standings(ids)])
        .await
        .ok()?;
    let epoch = platform.batch(Store::Proxy, outbox::backlog()).await.ok()?;
    let epoch = integer(epoch.first()?.first()?, "epoch")?;
    Some((target::parse_standings(&rows), epoch))
}
