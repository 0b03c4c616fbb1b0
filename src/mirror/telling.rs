//! What the mirror did to a user of late, kept beside the entry that the same batch makes
//! in mgPass's audit log: by it an entry that is missing there is found.
//!
//! Harmless twice: told again, the same event stands there twice, and is looked for once.

use serde_json::Value as Json;

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

/// How long what was told is looked for, in seconds.
pub const KEPT_S: i64 = 3_600;

/// The row's list with one more in front: of the last hour, and no more than 20.
macro_rules! told {
    ($event:literal, $key:literal) => {
        concat!(
            "told_at = unixepoch(), told = (SELECT json_group_array(json(p.value)) FROM (SELECT json_array(",
            $event,
            ", ",
            $key,
            ", unixepoch()) AS value UNION ALL SELECT * FROM (SELECT e.value FROM json_each(logto_mirror.told) e ",
            "WHERE json_extract(e.value, '$[2]') > unixepoch() - 3600 LIMIT 19)) p)"
        )
    };
}

pub(crate) use told;

const RECENT: &str = "SELECT user_id, told, (SELECT count(*) FROM logto_mirror WHERE told_at > unixepoch() - 3600) AS n_users, \
     unixepoch() AS now FROM logto_mirror WHERE told_at > unixepoch() - 3600 ORDER BY told_at DESC LIMIT ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[RECENT];

/// One entry that must be in mgPass's audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub user: String,
    pub event: String,
    /// The entry's id, as the batch made it.
    pub entry: String,
    pub at_s: i64,
}

/// What was told within the last hour, of so many users, those of late first.
pub fn recent(n_users: i64) -> Statement {
    Statement::new(RECENT, vec![n_users.into()])
}

/// What was told, of how many users in all, and the database's time in seconds; `None`: a
/// row was not as the schema says. Without anything told the time is not known.
pub fn parse_recent(rows: &[Row]) -> Option<(Vec<Told>, i64, Option<i64>)> {
    let mut told: Vec<Told> = Vec::new();
    let Some(first) = rows.first() else {
        return Some((told, 0, None));
    };
    let now_s = integer(first, "now")?;
    for row in rows {
        let user = text(row, "user_id")?;
        let list: Vec<(String, Json, i64)> = serde_json::from_str(&text(row, "told")?).ok()?;
        for (event, key, at_s) in list {
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            let entry = format!("aud_lm_{user}_{key}_{event}");
            let is_new = !told.iter().any(|one| one.entry == entry);
            if is_new && at_s > now_s - KEPT_S {
                told.push(Told {
                    user: user.clone(),
                    event,
                    entry,
                    at_s,
                });
            }
        }
    }
    Some((told, integer(first, "n_users")?, Some(now_s)))
}
