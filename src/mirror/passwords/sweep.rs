//! By cron: what is owed a void gets one, however its turn ended; and users whose password
//! was carried are looked at, for what changed around the proxy.

use super::row::Why;
use super::{VOID_QUERIES, void};
use crate::inbound::request::UserId;
use crate::mirror::outbox::{Lease, LeaseAnswer, Purpose};
use crate::mirror::relay;
use crate::mirror::reverse::password;
use crate::runtime::backend::{BackendFailure, logto};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{may_trigger, now, password_operations, text};

/// Of carried users: two calls of Logto each.
const LOOKS_PER_TICK: i64 = 10;
/// Whoever began it had a lease of half a minute.
const OLD: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', due_at = ",
    now!(),
    ", reason = 'left_over' WHERE state = 'carrying' AND since < ",
    now!(),
    " - 60000"
);
const OWED_BY_GAPS: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', due_at = ",
    now!(),
    ", reason = 'gap' WHERE subject IN (SELECT p.subject FROM passwords p INDEXED BY passwords_by_gaps WHERE p.state = 'carried' ",
    "AND p.n_gaps < (SELECT value FROM counters WHERE name = 'unrecorded') LIMIT 500) AND state = 'carried' AND ",
    may_trigger!()
);
/// Their turns may be parked, or refused for long.
const OWED_BY_OPERATIONS: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', due_at = ",
    now!(),
    ", reason = 'password_operation' WHERE state = 'carried' AND ",
    may_trigger!(),
    " AND subject IN (SELECT q.subject FROM intents i INDEXED BY intents_undischarged JOIN passwords q ON q.subject = i.subject ",
    "WHERE q.state = 'carried' AND i.side = 'logto' AND i.discharged_at IS NULL AND i.opened_at <= ",
    now!(),
    " - 30000 AND i.operation IN ",
    password_operations!(),
    " AND (i.settled > q.ticket OR (i.settled IS NULL AND i.expires_at <= ",
    now!(),
    ")))"
);
const DUE: &str = concat!(
    "SELECT subject FROM passwords WHERE state = 'void_owed' AND due_at <= ",
    now!(),
    " ORDER BY due_at LIMIT ?1"
);
const TO_LOOK_AT: &str = concat!(
    "SELECT subject, digest FROM passwords WHERE state = 'carried' AND looked_at < ",
    now!(),
    " - 600000 AND ",
    may_trigger!(),
    " ORDER BY looked_at LIMIT ?1"
);
/// As it was found first, where nobody knew.
const LOOKED: &str = concat!(
    "UPDATE passwords SET looked_at = ",
    now!(),
    ", digest = coalesce(?2, digest) WHERE subject = ?1 AND state = 'carried'"
);
const CHANGED: &str = concat!(
    "UPDATE passwords SET state = 'void_owed', reason = ?2, due_at = ",
    now!(),
    " WHERE subject = ?1 AND state = 'carried'"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    OLD,
    OWED_BY_GAPS,
    OWED_BY_OPERATIONS,
    DUE,
    TO_LOOK_AT,
    LOOKED,
    CHANGED,
];

/// Also where nothing is carried any more: what was, is not forgotten.
pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>) {
    if let Err((step, code)) = run(platform, context).await {
        platform.emit(&Event::PasswordDelayed { step, code });
    }
}

type Stuck = (&'static str, &'static str);

async fn run<P: Platform>(platform: &P, context: &Context<'_>) -> Result<(), Stuck> {
    let plain = |sql| Statement::new(sql, vec![]);
    let limit = context.settings.passwords.carries_per_minute.max(1);
    let statements = vec![
        plain(OLD),
        plain(OWED_BY_GAPS),
        plain(OWED_BY_OPERATIONS),
        Statement::new(DUE, vec![limit.into()]),
        Statement::new(TO_LOOK_AT, vec![LOOKS_PER_TICK.into()]),
    ];
    let results = platform.batch(Store::Proxy, statements).await;
    let mut results = results.map_err(|failure| ("owed", failure.code()))?;
    let looks = results.pop().unwrap_or_default();
    let due = results.pop().unwrap_or_default();
    for user in due.iter().filter_map(subject) {
        if !platform.usage().has_room_for(VOID_QUERIES + 8) {
            return Ok(());
        }
        // One whose void is refused holds up nobody; who is at work now has their own turn.
        if let Some(lease) = lease(platform, &user).await? {
            let _ = void::void(platform, context, &lease, Why::Unanswered).await;
            let released = platform.batch(Store::Proxy, lease.untried()).await;
            released.map_err(|failure| ("release", failure.code()))?;
        }
    }
    for row in &looks {
        if let Some(user) = subject(row) {
            look(platform, context, &user, text(row, "digest")).await?;
        }
    }
    Ok(())
}

fn subject(row: &Row) -> Option<UserId> {
    UserId::parse(&text(row, "subject")?)
}

async fn lease<P: Platform>(platform: &P, user: &UserId) -> Result<Option<Lease>, Stuck> {
    match relay::take_lease(platform, user, Purpose::ToVoid).await {
        Ok(LeaseAnswer::Held(lease)) => Ok(Some(lease)),
        Ok(_) => Ok(None),
        Err(failure) => Err(("lease", failure.code())),
    }
}

/// A second factor that nobody told of, or another password (from Logto 1.38 on).
async fn look<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    known: Option<String>,
) -> Result<(), Stuck> {
    let ways = logto::sign_in_ways(platform, context, user).await;
    let ways = ways.map_err(|failure: BackendFailure| ("look", failure.code()))?;
    let digest = ways.digest.as_ref();
    let digest = digest.and_then(|digest| password::mark(Some(&digest.0), context.subject_key));
    let is_same = match (&known, &digest) {
        // Under another key nothing is known, and it is noted anew.
        (Some(known), Some(digest)) => known == digest || !is_of_one_key(known, digest),
        (_, _) => true,
    };
    let why = match (ways.is_plain(), is_same) {
        (true, true) => None,
        (false, _) => Some(Why::NotReady),
        (true, false) => Some(Why::ChangedAround),
    };
    let id = user.as_str().into();
    let statement = match why {
        None => Statement::new(LOOKED, vec![id, digest.into()]),
        Some(why) => Statement::new(CHANGED, vec![id, why.code().into()]),
    };
    let noted = platform.batch(Store::Proxy, vec![statement]).await;
    noted.map_err(|failure: DatabaseFailure| ("looked", failure.code()))?;
    Ok(())
}

fn is_of_one_key(one: &str, other: &str) -> bool {
    let key = |mark: &str| mark.split_once('.').map(|(key, _)| key.to_owned());
    key(one) == key(other)
}
