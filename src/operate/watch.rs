//! Who changed which flag, and when: cron compares what KV holds with what it noticed
//! before, so that a change by any tool is kept, and the authority is watched the same
//! way. Who steers by `dwp`, and the proxy itself, announce what they are about to
//! write; that adds the name and the reason.
//!
//! A value that is not taken is kept as its code alone. Two crons at once note a change
//! once: an entry is made only while the old state stands.

mod changes;

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::future::{Either, join, select};

pub use self::changes::Seen;
use self::changes::{Announced, Change, Kept, Kind, Name, Standing, changes, cut, observe};
use crate::policy::flags::form::tidy;
use crate::policy::flags::keys;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, now, text};

const STATE: &str =
    "SELECT kind, key, value, code, before_value, before_code, since FROM flag_state";
const ANNOUNCED: &str = concat!(
    "SELECT key, value, actor, reason FROM flag_announcements WHERE announced_at >= ",
    now!(),
    " - 600000"
);
const AUTHORITY: &str = "SELECT holder FROM authority";
const NOW: &str = concat!("SELECT ", now!(), " AS now");
/// ?1 kind, ?2 key, ?3 value, ?4 code, ?5 value before, ?6 code before.
const NOTE: &str = concat!(
    "INSERT INTO flag_history (noticed_at, kind, key, before_value, before_code, value, code, actor, reason) SELECT ",
    now!(),
    ", ?1, ?2, ?5, ?6, ?3, ?4, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM flag_state s WHERE s.kind = ?1 AND s.key = ?2 ",
    "AND s.value IS ?3 AND s.code IS ?4)"
);
const KEEP: &str = concat!(
    "INSERT INTO flag_state (kind, key, value, code, before_value, before_code, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ",
    now!(),
    ") ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, code = excluded.code, before_value = excluded.before_value, ",
    "before_code = excluded.before_code, since = excluded.since ",
    "WHERE flag_state.value IS NOT excluded.value OR flag_state.code IS NOT excluded.code"
);
const DROP_ANNOUNCEMENT: &str = "DELETE FROM flag_announcements WHERE key = ?1 AND value IS ?2";
const BEAT: &str = concat!(
    "INSERT INTO heartbeats (name, at) VALUES ('cron', ",
    now!(),
    ") ON CONFLICT (name) DO UPDATE SET at = excluded.at"
);
const FORGET: &str =
    "DELETE FROM flag_history WHERE id <= (SELECT max(id) FROM flag_history) - 1000";
const FORGET_ANNOUNCEMENTS: &str = concat!(
    "DELETE FROM flag_announcements WHERE announced_at < ",
    now!(),
    " - 600000"
);
const ANNOUNCE: &str = concat!(
    "INSERT INTO flag_announcements (key, value, actor, reason, announced_at) VALUES (?1, ?2, ?3, ?4, ",
    now!(),
    ") ON CONFLICT (key) DO UPDATE SET value = excluded.value, actor = excluded.actor, reason = excluded.reason, ",
    "announced_at = excluded.announced_at"
);
const HISTORY: &str = "SELECT id, noticed_at, kind, key, before_value, before_code, value, code, actor, reason FROM flag_history \
     WHERE (?1 IS NULL OR key = ?1) AND (?2 IS NULL OR id < ?2) AND noticed_at >= ?3 ORDER BY id DESC LIMIT ?4";
const LAST_BEAT: &str = "SELECT at FROM heartbeats WHERE name = 'cron'";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    STATE,
    ANNOUNCED,
    AUTHORITY,
    NOW,
    NOTE,
    KEEP,
    DROP_ANNOUNCEMENT,
    BEAT,
    FORGET,
    FORGET_ANNOUNCEMENTS,
    ANNOUNCE,
    HISTORY,
    LAST_BEAT,
];

const DEADLINE_MS: u32 = 1_000;
/// Whoever pours a thousand keys in by mistake fills no table.
const MAX_UNKNOWN: usize = 50;
/// `None`: KV did not answer in time.
pub async fn look<P: Platform>(platform: &P) -> Option<Seen> {
    let known = keys();
    let asked = pin!(join(platform.flags(&known), platform.flag_names()));
    let deadline = pin!(platform.sleep(DEADLINE_MS));
    let Either::Left(((values, names), _)) = select(asked, deadline).await else {
        return None;
    };
    let unknown = names.ok().map(|names| {
        let unknown = names.into_iter().filter(|name| !known.contains(name));
        unknown.take(MAX_UNKNOWN).map(|name| cut(&name)).collect()
    });
    Some(Seen {
        values: values.ok()?,
        unknown,
    })
}

/// Writes down what changed since it was last noticed. Not told, the next run notices it.
///
/// # Errors
/// When the database did not take it.
pub async fn notice<P: Platform>(
    platform: &P,
    seen: Option<&Seen>,
    is_cron: bool,
) -> Result<usize, DatabaseFailure> {
    let mut written = Vec::new();
    if is_cron {
        written.push(Statement::new(BEAT, vec![]));
    }
    let mut n_changes = 0;
    if let Some(seen) = seen {
        let asked = [STATE, ANNOUNCED, AUTHORITY, NOW].map(|sql| Statement::new(sql, vec![]));
        let results = platform.batch(Store::Proxy, asked.into()).await?;
        let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
        let kept = parse_kept(rows(0));
        let authority = rows(2).first().and_then(|row| text(row, "holder"));
        let now_ms = rows(3).first().and_then(|row| integer(row, "now"));
        let observed = observe(&kept, seen, authority);
        let announced = parse_announced(rows(1));
        let changes = changes(&kept, observed, &announced, now_ms.unwrap_or_default());
        n_changes = changes.len();
        written.extend(changes.iter().flat_map(statements));
    }
    if is_cron || n_changes > 0 {
        written.extend([FORGET, FORGET_ANNOUNCEMENTS].map(|sql| Statement::new(sql, vec![])));
        platform.batch(Store::Proxy, written).await?;
    }
    Ok(n_changes)
}

fn statements(change: &Change) -> Vec<Statement> {
    let (kind, key) = &change.name;
    let key_values = || {
        vec![
            kind.name().into(),
            key.as_str().into(),
            change.standing.value.clone().into(),
            change.standing.code.clone().into(),
            change.before.value.clone().into(),
            change.before.code.clone().into(),
        ]
    };
    let mut noted = key_values();
    let by = change.by.as_ref();
    noted.push(by.and_then(|by| by.actor.clone()).into());
    noted.push(by.and_then(|by| by.reason.clone()).into());
    let mut statements = vec![
        Statement::new(NOTE, noted),
        Statement::new(KEEP, key_values()),
    ];
    if by.is_some() {
        let values = vec![key.as_str().into(), change.standing.value.clone().into()];
        statements.push(Statement::new(DROP_ANNOUNCEMENT, values));
    }
    statements
}

fn parse_kept(rows: &[Row]) -> BTreeMap<Name, Kept> {
    let parsed = rows.iter().filter_map(|row| {
        let kind = match text(row, "kind")?.as_str() {
            "flag" => Kind::Flag,
            _ => Kind::Authority,
        };
        let kept = Kept {
            standing: Standing::of_row(row, "value", "code"),
            before: Standing::of_row(row, "before_value", "before_code"),
            since: integer(row, "since")?,
        };
        Some(((kind, text(row, "key")?), kept))
    });
    parsed.collect()
}

fn parse_announced(rows: &[Row]) -> BTreeMap<String, Announced> {
    let parsed = rows.iter().filter_map(|row| {
        let announced = Announced {
            value: text(row, "value"),
            actor: text(row, "actor"),
            reason: text(row, "reason"),
        };
        Some((text(row, "key")?, announced))
    });
    parsed.collect()
}

/// Somebody is about to write this value; `None`: to delete the key.
pub fn announce(
    key: &str,
    value: Option<&str>,
    actor: Option<&str>,
    reason: Option<&str>,
) -> Statement {
    let value = value.map(|value| cut(tidy(value)));
    let values = vec![
        key.into(),
        value.into(),
        actor.map(cut).into(),
        reason.map(cut).into(),
    ];
    Statement::new(ANNOUNCE, values)
}

/// The newest first, of one key or of all, noticed at `from_ms` or later, before an entry.
pub fn history(key: Option<&str>, before: Option<i64>, from_ms: i64, limit: i64) -> Statement {
    let values = vec![key.into(), before.into(), from_ms.into(), limit.into()];
    Statement::new(HISTORY, values)
}

/// What was noticed, and cron's last run.
pub fn state() -> [Statement; 2] {
    [STATE, LAST_BEAT].map(|sql| Statement::new(sql, vec![]))
}

/// When each flag came to stand as it does, by key; and the authority's holder.
pub fn parse_since(rows: &[Row]) -> BTreeMap<String, i64> {
    let flags = parse_kept(rows).into_iter();
    let flags = flags.filter(|((kind, _), _)| *kind == Kind::Flag);
    flags.map(|((_, key), kept)| (key, kept.since)).collect()
}
