//! The routes by which operators steer: flags and who changed them, the ramp plan, the
//! course of things for plots, and who waits for a person. Flags themselves are written
//! in KV, not here.

use serde_json::json;

use super::reply::Answered;
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::operate::ramp::{Order, Refusal, Turn};
use crate::operate::watch::{self, Seen};
use crate::operate::{parked, ramp, timeline};
use crate::policy::flags::form;
use crate::policy::guard::Tuning;
use crate::policy::ramp::MAX_HOLD_MS;
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};

const MAX_SHOWN: i64 = 1_000;
/// Of a plot, besides its points.
const CHANGES_SHOWN: i64 = 200;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    context: Option<&Context<'_>>,
    method: Method,
    path: &str,
    query: &Form,
) -> Option<Answered> {
    let tuning = context.map(|context| &context.settings.guard);
    Some(match (method, path) {
        (Method::Get, "history") => history(platform, query).await,
        (Method::Get, "parked") => list_parked(platform, query).await,
        (Method::Get, "flags/history") => changes(platform, query).await,
        (Method::Post, "flags/announce") => announce(platform, query).await,
        (Method::Post, "flags/notice") => notice(platform).await,
        (Method::Get, "ramp") => ramp_view(platform, tuning).await,
        (Method::Post, "ramp/start") => match tuning {
            Some(tuning) => start(platform, tuning, query).await,
            None => Err(ProxyError::Misconfigured),
        },
        (Method::Post, "ramp/pause") => turn(platform, tuning, Turn::Pause, query).await,
        (Method::Post, "ramp/resume") => turn(platform, tuning, Turn::Resume, query).await,
        (Method::Post, "ramp/abort") => turn(platform, tuning, Turn::Abort, query).await,
        _ => return None,
    })
}

/// A whole number within bounds; `absent` without one.
fn number(
    query: &Form,
    name: &str,
    absent: i64,
    bounds: core::ops::RangeInclusive<i64>,
) -> Result<i64, ProxyError> {
    let Some(given) = query.get(name) else {
        return Ok(absent);
    };
    let number = given.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or(ProxyError::ParameterMissing)
}

async fn ask<P: Platform>(
    platform: &P,
    store: Store,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, ProxyError> {
    let answer = platform.batch(store, statements).await;
    answer.map_err(|_| ProxyError::DatabaseUnavailable)
}

async fn look<P: Platform>(platform: &P) -> Result<Seen, ProxyError> {
    let seen = watch::look(platform).await;
    seen.ok_or(ProxyError::FlagsUnreachable)
}

/// Points for plots, and what was changed meanwhile.
async fn history<P: Platform>(platform: &P, query: &Form) -> Answered {
    let hours = number(query, "hours", 1, 1..=timeline::MAX_HOURS)?;
    let now_ms = platform.now_ms();
    let from_ms = now_ms - hours * 3_600_000;
    let points = ask(
        platform,
        Store::Metrics,
        vec![timeline::points(hours, now_ms)],
    )
    .await?;
    let changes = watch::history(None, None, from_ms, CHANGES_SHOWN);
    let changes = ask(platform, Store::Proxy, vec![changes]).await?;
    let points = points.first().map(Vec::as_slice).unwrap_or_default();
    Ok((
        200,
        json!({
            "hours": hours,
            "from": from_ms,
            "to": now_ms,
            "slot_ms": timeline::width_ms(hours),
            "points": timeline::shown(points),
            "changes": changes.first(),
        }),
    ))
}

async fn list_parked<P: Platform>(platform: &P, query: &Form) -> Answered {
    let limit = number(query, "limit", MAX_SHOWN, 1..=i64::MAX)?.min(MAX_SHOWN);
    let kind = query.get("kind");
    if kind.is_some_and(|kind| !["users", "points"].contains(&kind)) {
        return Err(ProxyError::ParameterMissing);
    }
    let (reason, after) = (query.get("reason"), query.get("after"));
    let asked = parked::list(kind, reason, after, limit);
    let rows = ask(platform, Store::Proxy, vec![asked]).await?;
    let rows = rows.into_iter().next().unwrap_or_default();
    let next = parked::next(&rows, limit);
    let users: Vec<_> = rows.into_iter().map(parked::shown).collect();
    Ok((200, json!({ "users": users, "next": next })))
}

async fn changes<P: Platform>(platform: &P, query: &Form) -> Answered {
    let limit = number(query, "limit", 50, 1..=MAX_SHOWN)?;
    let before = match query.get("before") {
        None => None,
        Some(_) => Some(number(query, "before", 0, 0..=i64::MAX)?),
    };
    let asked = watch::history(query.get("key"), before, 0, limit);
    let rows = ask(platform, Store::Proxy, vec![asked]).await?;
    Ok((200, json!({ "changes": rows.first() })))
}

/// Somebody is about to write a flag: their name and reason go with the change, when it
/// is noticed.
async fn announce<P: Platform>(platform: &P, query: &Form) -> Answered {
    let key = query.get("key").ok_or(ProxyError::ParameterMissing)?;
    let value = query.get("value");
    // Of a long one only the head is said, judged by whoever says it.
    let is_whole = query.get("cut").is_none();
    // What is not one of our keys may only go.
    match value
        .filter(|_| is_whole)
        .map(|value| form::check(key, value))
    {
        None | Some(Ok(())) => {}
        Some(Err(form::FlagRefusal::UnknownKey)) => return Err(ProxyError::UnknownFlag),
        Some(Err(form::FlagRefusal::Refused { expected, .. })) => {
            return Err(ProxyError::FlagRefused(expected));
        }
    }
    let (actor, reason) = (query.get("actor"), query.get("reason"));
    let statement = watch::announce(key, value, actor, reason);
    ask(platform, Store::Proxy, vec![statement]).await?;
    platform.emit(&Event::OperatorActed {
        action: "flag.announce",
        n_subjects: 0,
    });
    Ok((200, json!({ "announced": true })))
}

/// Does now what cron does within the minute.
async fn notice<P: Platform>(platform: &P) -> Answered {
    let seen = look(platform).await?;
    let noticed = watch::notice(platform, Some(&seen), false).await;
    let n_changes = noticed.map_err(|_| ProxyError::DatabaseUnavailable)?;
    Ok((200, json!({ "noticed": n_changes })))
}

async fn ramp_view<P: Platform>(platform: &P, tuning: Option<&Tuning>) -> Answered {
    let results = ask(platform, Store::Proxy, ramp::read().into()).await?;
    let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
    let seen = watch::look(platform).await;
    let view = ramp::view(platform, tuning, seen.as_ref(), [rows(0), rows(1)]).await;
    Ok((200, json!({ "ramp": view })))
}

async fn start<P: Platform>(platform: &P, tuning: &Tuning, query: &Form) -> Answered {
    let order = Order {
        steps: query
            .get("steps")
            .ok_or(ProxyError::ParameterMissing)?
            .to_owned(),
        hold_ms: 1_000 * number(query, "hold_s", 1_800, 1..=MAX_HOLD_MS / 1_000)?,
        min_reads: match query.get("min_reads") {
            None => None,
            Some(_) => Some(number(query, "min_reads", 0, 1..=1_000_000_000)?),
        },
    };
    let seen = look(platform).await?;
    let (actor, reason) = (query.get("actor"), query.get("reason"));
    ramp::start(platform, tuning, &seen, &order, actor, reason)
        .await
        .map_err(refusal)?;
    operated(platform, "ramp.start");
    let (_, view) = ramp_view(platform, Some(tuning)).await?;
    Ok((202, view))
}

async fn turn<P: Platform>(
    platform: &P,
    tuning: Option<&Tuning>,
    turn: Turn,
    query: &Form,
) -> Answered {
    let seen = look(platform).await?;
    ramp::turn(platform, &seen, turn, query.get("actor"))
        .await
        .map_err(refusal)?;
    operated(
        platform,
        match turn {
            Turn::Pause => "ramp.pause",
            Turn::Resume => "ramp.resume",
            Turn::Abort => "ramp.abort",
        },
    );
    ramp_view(platform, tuning).await
}

fn operated<P: Platform>(platform: &P, action: &'static str) {
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: 0,
    });
}

fn refusal(refusal: Refusal) -> ProxyError {
    match refusal {
        Refusal::Active => ProxyError::RampActive,
        Refusal::NotActive => ProxyError::RampNotActive,
        Refusal::Held("guard") => ProxyError::RampHeld("the guard is set"),
        Refusal::Held("kill_switch") => ProxyError::RampHeld("the kill switch is on"),
        Refusal::Held("stage") => ProxyError::RampHeld("the stage is not dual_write"),
        Refusal::Held(_) => ProxyError::RampHeld("Logto is not the source of truth now"),
        Refusal::Unreadable => ProxyError::RampHeld("the value of read_percent is not taken"),
        Refusal::Steps(why) => ProxyError::RampSteps(why),
        Refusal::Database(_) => ProxyError::DatabaseUnavailable,
    }
}
