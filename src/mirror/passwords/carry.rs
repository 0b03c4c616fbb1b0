//! One attempt to give mgPass the password that Logto has, for a request that showed it.
//!
//! Logto is asked before and after by the user's id: before, it binds the id to the
//! password; after, a password that was changed meanwhile is found out. Whatever ends in
//! between is owed a void.

use super::place::{self, Standing};
use super::row::{Why, Writer, find, is_done};
use super::state::{Row, Sight, may_try};
use super::{is_carrying, void};
use crate::inbound::request::{Secret, UserId};
use crate::mirror::outbox::{Lease, LeaseAnswer, Purpose};
use crate::mirror::relay;
use crate::mirror::reverse::password;
use crate::mirror::triggers::Trigger;
use crate::runtime::backend::logto;
use crate::runtime::backend::mgpass::{self, PasswordAnswer};
use crate::runtime::backend::{BackendFailure, Unsure};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

/// The whole of it, a reconcile of somebody who is not at mgPass yet included.
const QUERIES: usize = 80;
/// A relay may be at work on the same user.
const LEASE_TRIES: usize = 12;
const LEASE_WAIT_MS: u32 = 500;
/// The budget is spent, or a decision, the check or the authority says no.
const NOT_NOW: &str = "not_now";
/// So long an isolate does not ask again.
const REST_MS: i64 = 3_000;

/// A password that Logto has just found right, or has just been given.
pub struct Seen<'a> {
    pub user: &'a UserId,
    pub password: &'a Secret<String>,
    pub sight: Sight,
    /// The operation of the request.
    pub road: &'static str,
}

/// Never an error of anybody's; what it came to is an event.
pub async fn attempt<P: Platform>(platform: &P, context: &Context<'_>, seen: &Seen<'_>) {
    let rests = platform.now_ms() < context.isolate.carries_rest_until_ms.get();
    if !is_carrying(context) || rests || !platform.usage().has_room_for(QUERIES) {
        return;
    }
    let outcome = match run(platform, context, seen).await {
        Ok("nothing_to_do") => return,
        Ok(outcome) => outcome,
        Err(code) => code,
    };
    platform.emit(&Event::PasswordCarried {
        subject: context.subject_hash(seen.user).as_deref(),
        road: seen.road,
        outcome,
    });
}

type Outcome = Result<&'static str, &'static str>;

async fn run<P: Platform>(platform: &P, context: &Context<'_>, seen: &Seen<'_>) -> Outcome {
    let known = ask(platform, Store::Proxy, vec![find(seen.user)]).await?;
    let row = known.first().and_then(|rows| rows.first());
    let row = row.and_then(Row::parse);
    if !may_try(row.as_ref(), seen.sight, platform.now_ms()) {
        return Ok("nothing_to_do");
    }
    match standing(platform, context, seen.user).await? {
        Standing::Absent => bring(platform, context, seen.user).await?,
        Standing::Ready | Standing::Never(_) => {}
    }
    let lease = lease(platform, seen.user).await?;
    let carried = under_lease(platform, context, seen, &lease).await;
    // Let go whatever came of it; a lease that is another's by now stays theirs.
    let _ = platform.batch(Store::Proxy, lease.untried()).await;
    carried
}

async fn ask<P: Platform>(
    platform: &P,
    store: Store,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<crate::runtime::ports::Row>>, &'static str> {
    let asked = platform.batch(store, statements).await;
    asked.map_err(DatabaseFailure::code)
}

async fn standing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
) -> Result<Standing, &'static str> {
    let results = ask(platform, Store::Mgpass, vec![place::standing(user)]).await?;
    Ok(place::parse_standing(&results, context.subject_key))
}

/// By the one mechanism that writes users.
async fn bring<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
) -> Result<(), &'static str> {
    let statements = Trigger::CatchUp.each(std::slice::from_ref(user));
    ask(platform, Store::Proxy, statements).await?;
    relay::reconcile(platform, context, user).await;
    Ok(())
}

async fn lease<P: Platform>(platform: &P, user: &UserId) -> Result<Lease, &'static str> {
    for _ in 0..LEASE_TRIES {
        match relay::take_lease(platform, user, Purpose::AsHolder).await {
            Ok(LeaseAnswer::Held(lease)) => return Ok(lease),
            Ok(LeaseAnswer::Busy) => platform.sleep(LEASE_WAIT_MS).await,
            Ok(_) => return Err("not_leased"),
            Err(failure) => return Err(failure.code()),
        }
    }
    Err("busy")
}

async fn under_lease<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    seen: &Seen<'_>,
    lease: &Lease,
) -> Outcome {
    let row = Writer { lease };
    if !may_try(lease.password.as_ref(), seen.sight, lease.taken_at_ms) {
        return Ok("nothing_to_do");
    }
    let per_minute = context.settings.passwords.carries_per_minute;
    let tried = vec![row.begin_try(seen.road, per_minute)];
    if !is_done(&ask(platform, Store::Proxy, tried).await?) {
        let until_ms = platform.now_ms() + REST_MS;
        context.isolate.carries_rest_until_ms.set(until_ms);
        return Err(NOT_NOW);
    }
    if let Standing::Never(reason) = standing(platform, context, seen.user).await? {
        ask(platform, Store::Proxy, vec![row.not_ready(reason)]).await?;
        return Ok(reason);
    }
    let ways = logto::sign_in_ways(platform, context, seen.user)
        .await
        .map_err(BackendFailure::code)?;
    if !ways.is_plain() {
        ask(platform, Store::Proxy, vec![row.not_ready("not_ready")]).await?;
        return Ok("not_ready");
    }
    if !is_right(platform, context, seen).await? {
        return Ok("not_theirs");
    }
    let announced = ask(platform, Store::Mgpass, vec![place::announce(lease)]).await?;
    if !is_done(&announced) {
        return Err("authority_moved");
    }
    let digest = ways.digest.as_ref();
    let digest = digest.and_then(|digest| password::mark(Some(&digest.0), context.subject_key));
    let begun = vec![row.begin(seen.road, digest.as_deref())];
    if !is_done(&ask(platform, Store::Proxy, begun).await?) {
        return Err(NOT_NOW);
    }
    let had_one = lease
        .password
        .as_ref()
        .is_some_and(|row| row.state.is_there());
    match mgpass::set_password(platform, context, seen.user, seen.password).await {
        Ok(PasswordAnswer::Set) => {}
        Ok(PasswordAnswer::Refused) => {
            let back = row.taken_back("weak_password", true, had_one);
            ask(platform, Store::Proxy, vec![back]).await?;
            return Ok("weak_password");
        }
        Ok(PasswordAnswer::NoUser) => {
            let back = row.taken_back("not_at_mgpass", false, false);
            ask(platform, Store::Proxy, vec![back]).await?;
            return Err("not_at_mgpass");
        }
        Err(Unsure::NotDone(failure)) => {
            let back = row.taken_back(failure.code(), false, had_one);
            ask(platform, Store::Proxy, vec![back]).await?;
            return Err(failure.code());
        }
        Err(Unsure::Unknown(failure)) => {
            ask(platform, Store::Proxy, vec![row.owe(Why::Unanswered)]).await?;
            return Err(failure.code());
        }
    }
    match confirm(platform, context, seen, lease).await {
        Ok(true) => Ok("carried"),
        Ok(false) => {
            // Changed meanwhile: what mgPass was given is an old one.
            void::void(platform, context, lease, Why::PasswordOperation).await?;
            Ok("changed_meanwhile")
        }
        Err(code) => {
            ask(platform, Store::Proxy, vec![row.owe(Why::LeftOver)]).await?;
            Err(code)
        }
    }
}

/// mgPass has it: whether it is Logto's still, and noted so.
async fn confirm<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    seen: &Seen<'_>,
    lease: &Lease,
) -> Result<bool, &'static str> {
    let hash = ask(platform, Store::Mgpass, vec![place::hash(seen.user)]).await?;
    let mark = place::mark(&hash, context.subject_key);
    let noted = vec![place::carried(seen.user, mark)];
    ask(platform, Store::Mgpass, noted).await?;
    if !is_right(platform, context, seen).await? {
        return Ok(false);
    }
    let carried = vec![Writer { lease }.carried()];
    match is_done(&ask(platform, Store::Proxy, carried).await?) {
        true => Ok(true),
        // A void came first, and ends what was sent.
        false => Err("overtaken"),
    }
}

async fn is_right<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    seen: &Seen<'_>,
) -> Result<bool, &'static str> {
    let asked = logto::password_is_right(platform, context, seen.user, seen.password).await;
    asked.map_err(BackendFailure::code)
}
