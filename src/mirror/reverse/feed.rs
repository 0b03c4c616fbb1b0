//! mgPass's own audit log, read by rowid: who was changed at mgPass itself, within seconds.
//!
//! A help, never the base: several changes are documented without an event, and the walk
//! finds those. Read by cron and behind a relay's work, by one at a time; the cursor moves
//! in the same batch as the intents that it leaves, and only from where it stood.
//!
//! ASSUMPTION (docs/assumptions.md): rows are only added, with growing rowids. Where the
//! newest one is older than the cursor, the log was made anew, and is read from the
//! hand-over on.

use crate::handover::debt;
use crate::inbound::request::UserId;
use crate::mirror::triggers::Trigger;
use crate::mirror::wake;
use crate::mirror::waking::send_wakes;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, now, text};

/// Rows of one reading; a burst takes several.
const ROWS: i64 = 500;
const READINGS: usize = 10;

/// One reader in five seconds, and the moment from which its answer counts.
const TAKE_TURN: &str = concat!(
    "UPDATE counters SET value = ",
    now!(),
    " WHERE name = 'feed_turn' AND value <= ",
    now!(),
    " - 5000 AND EXISTS (SELECT 1 FROM authority WHERE holder IN ('mgpass', 'returning')) RETURNING value AS now"
);
const CURSOR: &str = concat!(
    "SELECT (SELECT value FROM counters WHERE name = 'feed') AS feed, ",
    "coalesce((SELECT max(at) FROM authority_log WHERE from_holder = 'draining' AND to_holder = 'mgpass'), 0) AS handed_over_at"
);
const MOVE: &str =
    "UPDATE counters SET value = ?2 WHERE name = 'feed' AND value = ?1 RETURNING value";
const REACHED: &str = "UPDATE counters SET value = max(value, ?1) WHERE name = 'feed_at' AND (SELECT value FROM counters WHERE name = 'feed') = ?2";
/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const PROXY_SQL: &[&str] = &[TAKE_TURN, CURSOR, MOVE, REACHED];

const BEGINNING: &str = "SELECT coalesce((SELECT min(rowid) - 1 FROM audit_logs WHERE created_at >= ?1 - 5), max(rowid), 0) AS beginning, \
     coalesce(max(rowid), 0) AS newest FROM audit_logs";
const READ: &str = "SELECT a.rowid AS at_row, a.event_type AS event, a.actor_id AS actor, a.target_id AS target, \
     EXISTS (SELECT 1 FROM users u WHERE u.id = a.target_id) AS is_user FROM audit_logs a WHERE a.rowid > ?1 ORDER BY a.rowid LIMIT ?2";
/// Every string above that is about mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[BEGINNING, READ];

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// Somebody else's, or Logto is the authority.
    NotNow,
    /// So many users are looked at.
    Read(usize),
    Failed(&'static str),
}

/// Nobody waits for it, and whatever fails is read again.
pub async fn turn<P: Platform>(platform: &P) -> Fed {
    match read(platform).await {
        Ok(Some(n_users)) => Fed::Read(n_users),
        Ok(None) => Fed::NotNow,
        Err(failure) => Fed::Failed(failure.code()),
    }
}

async fn read<P: Platform>(platform: &P) -> Result<Option<usize>, DatabaseFailure> {
    let asked = [TAKE_TURN, CURSOR].map(|sql| Statement::new(sql, vec![]));
    let results = platform.batch(Store::Proxy, asked.to_vec()).await?;
    let Some(began_ms) = first(&results, 0).and_then(|row| integer(row, "now")) else {
        return Ok(None);
    };
    let of_cursor = |column| first(&results, 1).and_then(|row| integer(row, column));
    let seen = of_cursor("feed").ok_or(DatabaseFailure::Refused)?;
    let handed_over_ms = of_cursor("handed_over_at").ok_or(DatabaseFailure::Refused)?;
    let beginning = Statement::new(BEGINNING, vec![(handed_over_ms / 1_000).into()]);
    let results = platform.batch(Store::Mgpass, vec![beginning]).await?;
    let of_log = |column| first(&results, 0).and_then(|row| integer(row, column));
    let beginning = of_log("beginning").ok_or(DatabaseFailure::Refused)?;
    let newest = of_log("newest").ok_or(DatabaseFailure::Refused)?;
    // Of the cursor as it stands, which a beginning anew may be before.
    let mut stands = seen;
    let mut from = match seen > newest {
        true => beginning,
        false => seen.max(beginning),
    };
    let mut n_users = 0;
    for _ in 0..READINGS {
        let asked = Statement::new(READ, vec![from.into(), ROWS.into()]);
        let results = platform.batch(Store::Mgpass, vec![asked]).await?;
        let rows = results.first().map(Vec::as_slice).unwrap_or_default();
        let told = Told::of(rows);
        let until = rows.last().and_then(|row| integer(row, "at_row"));
        let until = until.unwrap_or(from);
        let is_end = (rows.len() as i64) < ROWS;
        let mut statements = told.statements();
        statements.push(Statement::new(MOVE, vec![stands.into(), until.into()]));
        if is_end {
            statements.push(Statement::new(REACHED, vec![began_ms.into(), until.into()]));
        }
        let results = platform.batch(Store::Proxy, statements).await?;
        send_wakes(platform, &wake::parse(&results)).await;
        n_users += told.changed.len() + told.suspended.len();
        if is_end {
            break;
        }
        (stands, from) = (until, until);
    }
    Ok(Some(n_users))
}

fn first(results: &[Vec<Row>], index: usize) -> Option<&Row> {
    results.get(index)?.first()
}

/// Whom some rows of the log are about, the mirror's own apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    changed: Vec<UserId>,
    suspended: Vec<UserId>,
    /// Who set up a second factor.
    factors: Vec<UserId>,
}

impl Told {
    fn of(rows: &[Row]) -> Self {
        let mut told = Self::default();
        for row in rows {
            let is_ours = text(row, "actor").as_deref() == Some("logto_mirror");
            let is_user = integer(row, "is_user") == Some(1);
            let target = text(row, "target").and_then(|id| UserId::parse(&id));
            let (Some(user), Some(event)) = (target, text(row, "event")) else {
                continue;
            };
            if is_ours || !is_user {
                continue;
            }
            let list = match event.as_str() {
                "user.suspended" => &mut told.suspended,
                event if event.starts_with("mfa.") => &mut told.factors,
                event if is_of_no_field(event) => continue,
                _ => &mut told.changed,
            };
            if !list.contains(&user) {
                list.push(user);
            }
        }
        told
    }

    fn statements(&self) -> Vec<Statement> {
        let mut statements = Trigger::Feed.all(&self.changed);
        // One of its own, whatever else is open of theirs.
        statements.extend(Trigger::FeedSuspension.each(&self.suspended));
        statements.push(debt::owe_factors(&self.factors));
        let all = [self.changed.as_slice(), self.suspended.as_slice()].concat();
        statements.push(wake::all(&all));
        statements
    }
}

/// As `edits` has it: signing in and out, tokens, roles, points.
fn is_of_no_field(event: &str) -> bool {
    const KINDS: [&str; 6] = [
        "user.login.",
        "user.sessions.",
        "session.",
        "token.",
        "role.",
        "balance.",
    ];
    KINDS.iter().any(|kind| event.starts_with(kind))
        || ["user.sign_out", "user.impersonated"].contains(&event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_log_tells_of_users_and_not_of_us() {
        let row = |event: &str, actor: &str, target: &str, is_user: i64| -> Row {
            let row = json!({ "at_row": 1, "event": event, "actor": actor, "target": target, "is_user": is_user });
            row.as_object().unwrap().clone()
        };
        let told = Told::of(&[
            row("user.updated", "adm", "u1", 1),
            row("user.updated", "adm", "u1", 1),
            row("user.updated", "logto_mirror", "u2", 1),
            row("user.login.succeeded", "u3", "u3", 1),
            row("mfa.enabled", "u4", "u4", 1),
            row("user.suspended", "adm", "u5", 1),
            row("client.updated", "adm", "app", 0),
            row("password.changed", "u6", "u6", 1),
        ]);
        let ids =
            |ids: &[&str]| -> Vec<_> { ids.iter().map(|id| UserId::parse(id).unwrap()).collect() };
        let expected = Told {
            changed: ids(&["u1", "u6"]),
            suspended: ids(&["u5"]),
            factors: ids(&["u4"]),
        };
        assert_eq!(told, expected);
    }
}
