//! Creates of which nothing came: Logto gave an id, and no user followed.
//!
//! Each is known by its intent, which holds the nonce that Logto's user carries. It is
//! looked at when nothing of it can come any more. What is deleted is what the proxy made: a
//! user with that nonce and nothing else. Whoever is at mgPass is no orphan: theirs is the
//! reconcile, from the side that has the say.
//!
//! The intent is all that tells of an orphan, so it ends only on two witnesses: a read of
//! the one user, and a listing that does not show the nonce.

use crate::handover::translated;
use crate::inbound::request::UserId;
use crate::mirror::listing::{self, PAGE_SIZE};
use crate::mirror::triggers::Trigger;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::{self, LogtoState};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, late_commit_ms, may_trigger, now, text};

/// A run of cron looks at so many; creates that fail are rare.
const MAX_AT_ONCE: i64 = 10;
/// So many of Logto's newest users are looked through for one that has no name.
const MAX_LISTED: i64 = 1_000;
/// Logto's clock against the database's.
const CLOCK_MARGIN_MS: i64 = 120_000;

/// Nothing that was under way then can land any more.
const OPEN_CREATES: &str = concat!(
    "SELECT id, subject, nonce, opened_at FROM intents WHERE side = 'mgpass' AND nonce IS NOT NULL AND settled IS NULL ",
    "AND discharged_at IS NULL AND opened_at + ",
    late_commit_ms!(),
    " <= ",
    now!(),
    " ORDER BY opened_at LIMIT ?1"
);
const CLOSE: &str = "DELETE FROM intents WHERE id = ?1 AND settled IS NULL AND nonce IS NOT NULL";
/// No relay covers what is mgPass's then.
const CLOSE_AT_LOGTO: &str = concat!(
    "DELETE FROM intents WHERE id = ?1 AND settled IS NULL AND nonce IS NOT NULL AND ",
    may_trigger!()
);
const IS_LIVE: &str =
    "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1 AND deleted_at IS NULL) AS live";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const PROXY_SQL: &[&str] = &[OPEN_CREATES, CLOSE, CLOSE_AT_LOGTO];
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[IS_LIVE];

struct OpenCreate {
    id: String,
    subject: Option<UserId>,
    nonce: String,
    opened_at_ms: i64,
}

/// By cron, whoever is the authority.
pub async fn sweep<P: Platform>(platform: &P, context: &Context<'_>) {
    let asked = vec![Statement::new(OPEN_CREATES, vec![MAX_AT_ONCE.into()])];
    let Ok(results) = platform.batch(Store::Proxy, asked).await else {
        return;
    };
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    for create in rows.iter().filter_map(parse) {
        let outcome = match look(platform, context, &create).await {
            Ok(Ending::Closed) => record(platform, vec![create.statement(CLOSE)]).await,
            Ok(Ending::Kept(user)) => record(platform, create.hand_on(&user)).await,
            Err(code) => Err(code),
        };
        if let Err(code) = outcome {
            let step = "orphan";
            platform.emit(&Event::TranslatedDelayed { step, code });
        }
    }
}

enum Ending {
    /// Logto has nobody of it (any more).
    Closed,
    /// mgPass has the user.
    Kept(UserId),
}

impl OpenCreate {
    fn statement(&self, sql: &'static str) -> Statement {
        Statement::new(sql, vec![self.id.as_str().into()])
    }

    /// Under mgPass's authority the relay covers the intent, by its name; under Logto's one
    /// of Logto's takes its place, in the same transaction.
    fn hand_on(&self, user: &UserId) -> Vec<Statement> {
        let mut statements = vec![translated::learn(&self.id, user)];
        statements.extend(Trigger::CatchUp.each(std::slice::from_ref(user)));
        statements.push(self.statement(CLOSE_AT_LOGTO));
        statements
    }
}

async fn look<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    create: &OpenCreate,
) -> Result<Ending, &'static str> {
    let found = match &create.subject {
        Some(subject) => Some(subject.clone()),
        None => find(platform, context, create).await?,
    };
    let Some(user) = found else {
        return Ok(Ending::Closed);
    };
    if is_live(platform, &user).await? {
        return Ok(Ending::Kept(user));
    }
    match logto::user(platform, context, &user).await {
        Ok(LogtoState::Present { user: logto, .. })
            if logto.reservation().as_deref() == Some(&create.nonce) =>
        {
            let deleted = logto::delete(platform, context, &user).await;
            deleted.map_err(|unsure| unsure.failure().code())?;
        }
        // Somebody made a user of it.
        Ok(LogtoState::Present { .. }) => {}
        Ok(LogtoState::Gone) => {
            if find(platform, context, create).await?.is_some() {
                return Err("contradiction");
            }
        }
        Err(failure) => return Err(failure.code()),
    }
    Ok(Ending::Closed)
}

/// Among Logto's newest, by the mark.
async fn find<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    create: &OpenCreate,
) -> Result<Option<UserId>, &'static str> {
    let since_ms = create.opened_at_ms - CLOCK_MARGIN_MS;
    let mut listed = 0;
    while listed < MAX_LISTED {
        let piece = listing::piece(platform, context, listed, PAGE_SIZE)
            .await
            .map_err(BackendFailure::code)?;
        let mut odd = piece.odd.into_iter();
        if let Some(odd) = odd.find(|odd| odd.nonce.as_deref() == Some(&create.nonce)) {
            return Ok(odd.user);
        }
        let is_past = piece
            .users
            .last()
            .is_some_and(|one| one.user.created_at_ms < since_ms);
        if piece.is_last || is_past {
            return Ok(None);
        }
        listed = piece.end;
    }
    Err("too_many")
}

async fn is_live<P: Platform>(platform: &P, user: &UserId) -> Result<bool, &'static str> {
    let asked = vec![Statement::new(IS_LIVE, vec![user.as_str().into()])];
    let results = platform
        .batch(Store::Mgpass, asked)
        .await
        .map_err(|failure| failure.code())?;
    let row = results.first().and_then(|rows| rows.first());
    let live = row.and_then(|row| integer(row, "live"));
    live.map(|live| live == 1).ok_or("statement_refused")
}

async fn record<P: Platform>(platform: &P, statements: Vec<Statement>) -> Result<(), &'static str> {
    let recorded = platform.batch(Store::Proxy, statements).await;
    recorded.map(|_| ()).map_err(|failure| failure.code())
}

fn parse(row: &Row) -> Option<OpenCreate> {
    Some(OpenCreate {
        id: text(row, "id")?,
        subject: text(row, "subject").as_deref().and_then(UserId::parse),
        nonce: text(row, "nonce")?,
        opened_at_ms: integer(row, "opened_at")?,
    })
}
