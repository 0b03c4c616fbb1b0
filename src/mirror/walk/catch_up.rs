//! The newest users, for registrations that nobody could name: listed until all are
//! older than the oldest of those.

use super::{BUDGET_MS, Stuck};
use crate::inbound::request::UserId;
use crate::mirror::listing::{self, PAGE_SIZE};
use crate::mirror::triggers;
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Store};

/// New users of a thousand registrations that could not be named.
const MAX_CATCH_UP: i64 = 2_000;
/// Logto's clock against the database's.
const CLOCK_MARGIN_MS: i64 = 120_000;

pub async fn catch_up<P: Platform>(platform: &P, context: &Context<'_>) {
    let asked = platform.batch(Store::Proxy, triggers::unresolved()).await;
    let Some(unresolved) = asked
        .ok()
        .and_then(|results| triggers::parse_unresolved(&results))
    else {
        return;
    };
    let since_ms = unresolved.oldest_ms - CLOCK_MARGIN_MS;
    let (outcome, found) = match newest(platform, context, since_ms).await {
        Ok(found) => {
            let resolved = unresolved.resolved(&found);
            let outcome = match platform.batch(Store::Proxy, resolved).await {
                Ok(_) => "resolved",
                Err(failure) => failure.code(),
            };
            (outcome, found)
        }
        Err(code) => (code, Vec::new()),
    };
    platform.emit(&Event::CatchUpDone {
        outcome,
        n_users: found.len(),
    });
}

/// Everybody who was made since; else why that is not known now.
async fn newest<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    since_ms: i64,
) -> Result<Vec<UserId>, Stuck> {
    let until_ms = platform.now_ms() + BUDGET_MS;
    let mut found: Vec<UserId> = Vec::new();
    let mut listed = 0;
    // Too many for one tick: the walk names them in the end.
    while listed < MAX_CATCH_UP && platform.now_ms() < until_ms {
        let piece = listing::piece(platform, context, listed, PAGE_SIZE)
            .await
            .map_err(BackendFailure::code)?;
        let users = piece.users.iter();
        let is_past = users
            .clone()
            .next_back()
            .is_some_and(|one| one.user.created_at_ms < since_ms);
        let newer = users.filter(|one| one.user.created_at_ms >= since_ms);
        let mut new: Vec<_> = newer.map(|one| one.user.id.clone()).collect();
        for odd in &piece.odd {
            // Whoever cannot be named may be the one that is looked for.
            new.push(odd.user.clone().ok_or(odd.reason.code())?);
        }
        for user in new {
            if !found.contains(&user) {
                found.push(user);
            }
        }
        if piece.is_last || is_past {
            return Ok(found);
        }
        listed = piece.end;
    }
    Err("too_many")
}
