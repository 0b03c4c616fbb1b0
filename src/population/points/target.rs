//! mgPass's rewards tables as the import reads and writes them. Names are our
//! assumption (`schema/mgpass/0002_create_rewards.sql`).
//!
//! Each statement that writes holds the same condition: the generation of the authority
//! is ours, the user is at mgPass, made by the mirror, not deleted, and their ledger holds
//! nothing but our entries. All of a batch are one
//! transaction, so a credit by mgPass lands before the whole of it, and then nothing
//! is written, or behind it; the same holds for a move of the authority. Our entries are
//! known by their ids.

use std::collections::BTreeMap;

use super::entry::Carried;
use super::source::whole;
use super::tier::Tiers;
use crate::runtime::limits::json_lists;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::text;

/// The user's ledger holds an entry that is not ours ('`' follows '_').
macro_rules! earned_at_mgpass {
    ($user:literal) => {
        concat!(
            "SELECT 1 FROM points_ledger f WHERE f.user_id = ",
            $user,
            " AND (f.id < 'pts_lm_' OR f.id >= 'pts_lm`')"
        )
    };
}

/// `$generation`: of the authority, which mgPass's database must know as the newest.
macro_rules! may_write {
    ($user:literal, $generation:literal) => {
        concat!(
            crate::runtime::sql::in_generation!($generation),
            " AND EXISTS (SELECT 1 FROM users u WHERE u.id = ",
            $user,
            " AND u.deleted_at IS NULL) AND EXISTS (SELECT 1 FROM logto_mirror m WHERE m.user_id = ",
            $user,
            " AND m.tombstone = 0) AND NOT EXISTS (",
            earned_at_mgpass!($user),
            ")"
        )
    };
}

pub(super) use {earned_at_mgpass, may_write};

const SELECT_TIERS: &str = "SELECT name, min_points FROM reward_tiers";
/// `total` does not overflow, as `sum` does; up to 2^53 it is exact.
const SELECT_REWARDS: &str = concat!(
    "SELECT w.value AS user_id, u.id IS NOT NULL AS is_known, m.user_id IS NOT NULL AS is_mirrored, \
     u.deleted_at IS NOT NULL OR coalesce(m.tombstone, 0) = 1 AS is_gone, \
     r.total_points AS total_points, r.lifetime_earned AS lifetime_earned, r.tier AS tier, \
     (SELECT total(l.points) FROM points_ledger l WHERE l.user_id = w.value) AS ledger_sum, \
     (SELECT count(*) FROM points_ledger l WHERE l.user_id = w.value AND l.id >= 'pts_lm_e_' AND l.id < 'pts_lm_e`') AS n_entries, \
     EXISTS (SELECT 1 FROM points_ledger a WHERE a.id = 'pts_lm_a_' || w.value) AS has_adjustment, \
     coalesce((SELECT a.points FROM points_ledger a WHERE a.id = 'pts_lm_a_' || w.value), 0) AS adjustment, EXISTS (",
    earned_at_mgpass!("w.value"),
    ") AS has_earned FROM json_each(?1) w LEFT JOIN users u ON u.id = w.value \
     LEFT JOIN logto_mirror m ON m.user_id = w.value LEFT JOIN user_rewards r ON r.user_id = w.value"
);
/// ?1 entries, ?2 users. An entry that changed at the source (a status) changes; one
/// whose id is another user's does not move. The list of users is judged once.
const PUT_ENTRIES: &str = concat!(
    "INSERT INTO points_ledger (id, user_id, event_type, platform, points, rule_version, reference_id, metadata, created_at) \
     SELECT 'pts_lm_e_' || json_extract(e.value, '$[0]'), json_extract(e.value, '$[1]'), json_extract(e.value, '$[2]'), \
     json_extract(e.value, '$[3]'), json_extract(e.value, '$[4]'), json_extract(e.value, '$[5]'), json_extract(e.value, '$[6]'), \
     json_extract(e.value, '$[7]'), json_extract(e.value, '$[8]') FROM json_each(?1) e \
     WHERE json_extract(e.value, '$[1]') IN (SELECT w.value FROM json_each(?2) w WHERE ",
    may_write!("w.value", "?3"),
    ") ON CONFLICT (id) DO UPDATE SET event_type = excluded.event_type, platform = excluded.platform, points = excluded.points, \
     rule_version = excluded.rule_version, reference_id = excluded.reference_id, metadata = excluded.metadata, created_at = excluded.created_at \
     WHERE points_ledger.user_id = excluded.user_id AND (points_ledger.event_type IS NOT excluded.event_type \
     OR points_ledger.platform IS NOT excluded.platform OR points_ledger.points IS NOT excluded.points \
     OR points_ledger.rule_version IS NOT excluded.rule_version OR points_ledger.reference_id IS NOT excluded.reference_id \
     OR points_ledger.metadata IS NOT excluded.metadata OR points_ledger.created_at IS NOT excluded.created_at)"
);
/// The same entries against what is there, by user.
const COMPARE_ENTRIES: &str = "SELECT e.user_id AS user_id, sum(x.id IS NULL) AS n_new, sum(x.id IS NOT NULL AND x.user_id = e.user_id) AS n_matched, \
     sum(x.id IS NOT NULL AND x.user_id <> e.user_id) AS n_elsewhere, total(CASE WHEN x.user_id = e.user_id THEN x.points END) AS matched_points, \
     sum(x.id IS NOT NULL AND x.user_id = e.user_id AND (x.event_type IS NOT e.event_type OR x.platform IS NOT e.platform OR x.points IS NOT e.points \
     OR x.rule_version IS NOT e.rule_version OR x.reference_id IS NOT e.reference_id OR x.metadata IS NOT e.metadata OR x.created_at IS NOT e.created_at)) AS n_changed \
     FROM (SELECT 'pts_lm_e_' || json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS user_id, json_extract(value, '$[2]') AS event_type, \
     json_extract(value, '$[3]') AS platform, json_extract(value, '$[4]') AS points, json_extract(value, '$[5]') AS rule_version, \
     json_extract(value, '$[6]') AS reference_id, json_extract(value, '$[7]') AS metadata, json_extract(value, '$[8]') AS created_at \
     FROM json_each(?1)) e LEFT JOIN points_ledger x ON x.id = e.id GROUP BY e.user_id";
/// One row per user under one id: what the stored total is more than the entries.
const PUT_ADJUSTMENT: &str = concat!(
    "INSERT INTO points_ledger (id, user_id, event_type, platform, points, rule_version, reference_id, metadata, created_at) \
     SELECT 'pts_lm_a_' || a.id, a.id, 'migration_adjustment', NULL, a.total - a.entries, NULL, 'migration:' || a.id, \
     json_object('stored_total', a.total, 'sum_of_entries', a.entries), unixepoch() \
     FROM (SELECT w.id AS id, w.total AS total, (SELECT CAST(total(l.points) AS INTEGER) FROM points_ledger l \
     WHERE l.user_id = w.id AND l.id <> 'pts_lm_a_' || w.id) AS entries \
     FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS total FROM json_each(?1)) w WHERE ",
    may_write!("w.id", "?2"),
    ") a WHERE a.total <> a.entries OR EXISTS (SELECT 1 FROM points_ledger x WHERE x.id = 'pts_lm_a_' || a.id) \
     ON CONFLICT (id) DO UPDATE SET points = excluded.points, metadata = excluded.metadata \
     WHERE points_ledger.points <> excluded.points OR points_ledger.metadata IS NOT excluded.metadata"
);
/// One that is no longer needed; it counts for nothing, whoever wrote besides.
const DROP_ADJUSTMENT: &str = "DELETE FROM points_ledger WHERE points = 0 \
     AND id IN (SELECT 'pts_lm_a_' || json_extract(w.value, '$[0]') FROM json_each(?1) w)";
/// As stored. A tier never goes down, so one that mgPass holds higher stays.
const PUT_BALANCE: &str = concat!(
    "INSERT INTO user_rewards (user_id, total_points, lifetime_earned, tier, updated_at) \
     SELECT w.id, w.total, w.lifetime, w.tier, unixepoch() FROM (SELECT json_extract(value, '$[0]') AS id, \
     json_extract(value, '$[1]') AS total, json_extract(value, '$[2]') AS lifetime, json_extract(value, '$[3]') AS tier \
     FROM json_each(?1)) w WHERE ",
    may_write!("w.id", "?2"),
    " ON CONFLICT (user_id) DO UPDATE SET total_points = excluded.total_points, lifetime_earned = excluded.lifetime_earned, \
     tier = CASE WHEN coalesce((SELECT n.min_points > o.min_points FROM reward_tiers n JOIN reward_tiers o ON o.name = user_rewards.tier \
     WHERE n.name = excluded.tier), 1) THEN excluded.tier ELSE user_rewards.tier END, updated_at = excluded.updated_at \
     WHERE user_rewards.total_points IS NOT excluded.total_points OR user_rewards.lifetime_earned IS NOT excluded.lifetime_earned \
     OR coalesce((SELECT n.min_points > o.min_points FROM reward_tiers n JOIN reward_tiers o ON o.name = user_rewards.tier \
     WHERE n.name = excluded.tier), 1)"
);
pub(super) const SELECT_BALANCES: &str = "SELECT r.user_id AS user_id, r.total_points AS total_points, \
     r.lifetime_earned AS lifetime_earned, r.tier AS tier, \
     (SELECT total(l.points) FROM points_ledger l WHERE l.user_id = r.user_id) AS ledger_sum \
     FROM json_each(?1) w JOIN user_rewards r ON r.user_id = w.value";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    SELECT_TIERS,
    SELECT_REWARDS,
    PUT_ENTRIES,
    COMPARE_ENTRIES,
    PUT_ADJUSTMENT,
    DROP_ADJUSTMENT,
    PUT_BALANCE,
    SELECT_BALANCES,
];

/// mgPass's side of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRewards {
    pub is_known: bool,
    /// False: mgPass's own user, whose points are not ours to write.
    pub is_mirrored: bool,
    /// Deleted at mgPass, or a tombstone of the mirror.
    pub is_gone: bool,
    pub total_points: Option<i64>,
    pub lifetime_earned: Option<i64>,
    pub tier: Option<String>,
    /// `None`: more than can be said exactly.
    pub ledger_sum: Option<i64>,
    /// Ours, without the adjustment.
    pub n_entries: i64,
    pub has_adjustment: bool,
    /// Its points; 0 without one.
    pub adjustment: i64,
    pub has_earned: bool,
}

impl UserRewards {
    /// Why nothing may be written.
    pub fn reason(&self) -> Option<&'static str> {
        if self.is_gone {
            Some("user_deleted")
        } else if !self.is_known {
            Some("unknown_user")
        } else if !self.is_mirrored {
            Some("not_mirrored")
        } else if self.has_earned {
            Some("earned_at_mgpass")
        } else if self.ledger_sum.is_none() {
            Some("sum_out_of_range")
        } else {
            None
        }
    }
}

/// What one user's balance is to be.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    pub user: &'a str,
    pub total_points: i64,
    pub lifetime_earned: i64,
    pub tier: &'a str,
}

pub fn tiers() -> Statement {
    Statement::new(SELECT_TIERS, vec![])
}

pub fn parse_tiers(rows: &[Row]) -> Option<Tiers> {
    let tiers = rows
        .iter()
        .map(|row| Some((text(row, "name")?, whole(row, "min_points")?)));
    Some(Tiers::new(tiers.collect::<Option<_>>()?))
}

pub fn rewards(users: &[&str]) -> Statement {
    let users = serde_json::json!(users).to_string();
    Statement::new(SELECT_REWARDS, vec![users.into()])
}

/// By user id.
pub fn parse_rewards(rows: &[Row]) -> Option<BTreeMap<String, UserRewards>> {
    rows.iter().map(parse_user_rewards).collect()
}

/// The entries of these users among `carried`, as lists for statements.
pub fn lists(settlements: &[Settlement<'_>], carried: &[Carried]) -> Vec<String> {
    let ids: Vec<_> = settlements.iter().map(|one| one.user).collect();
    let entries = carried
        .iter()
        .filter(|entry| ids.binary_search(&entry.user_id.as_str()).is_ok());
    json_lists(entries.map(|entry| entry.json.clone()))
}

/// One batch: these entries, the users' balances, and how they stand then.
pub fn put(settlements: &[Settlement<'_>], lists: Vec<String>, generation: i64) -> Vec<Statement> {
    let ids: Vec<_> = settlements.iter().map(|one| one.user).collect();
    let users = serde_json::json!(ids).to_string();
    let wanted: Vec<_> = settlements
        .iter()
        .map(|one| serde_json::json!([one.user, one.total_points, one.lifetime_earned, one.tier]))
        .collect();
    let wanted = serde_json::json!(wanted).to_string();
    let entries = lists.into_iter().map(|list| {
        let values = vec![list.into(), users.as_str().into(), generation.into()];
        Statement::new(PUT_ENTRIES, values)
    });
    let mut statements: Vec<_> = entries.collect();
    let guarded = |sql| Statement::new(sql, vec![wanted.as_str().into(), generation.into()]);
    statements.extend([
        guarded(PUT_ADJUSTMENT),
        Statement::new(DROP_ADJUSTMENT, vec![wanted.as_str().into()]),
        guarded(PUT_BALANCE),
    ]);
    statements.push(rewards(&ids));
    statements
}

/// What mgPass has of a user's entries, of those that were asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    pub n_new: i64,
    pub n_changed: i64,
    pub n_matched: i64,
    /// Another user's.
    pub n_elsewhere: i64,
    pub matched_points: i64,
}

/// A dry run's look at these entries.
pub fn compare(carried: &[Carried]) -> Vec<Statement> {
    json_lists(carried.iter().map(|entry| entry.json.clone()))
        .into_iter()
        .map(|list| Statement::new(COMPARE_ENTRIES, vec![list.into()]))
        .collect()
}

/// By user id.
pub fn parse_compared(rows: &[Row]) -> Option<Vec<(String, Compared)>> {
    let parsed = rows.iter().map(|row| {
        let compared = Compared {
            n_new: whole(row, "n_new")?,
            n_changed: whole(row, "n_changed")?,
            n_matched: whole(row, "n_matched")?,
            n_elsewhere: whole(row, "n_elsewhere")?,
            matched_points: whole(row, "matched_points")?,
        };
        Some((text(row, "user_id")?, compared))
    });
    parsed.collect()
}

fn parse_user_rewards(row: &Row) -> Option<(String, UserRewards)> {
    let flag = |name| whole(row, name).map(|value| value != 0);
    Some((
        text(row, "user_id")?,
        UserRewards {
            is_known: flag("is_known")?,
            is_mirrored: flag("is_mirrored")?,
            is_gone: flag("is_gone")?,
            total_points: whole(row, "total_points"),
            lifetime_earned: whole(row, "lifetime_earned"),
            tier: text(row, "tier"),
            ledger_sum: whole(row, "ledger_sum"),
            n_entries: whole(row, "n_entries")?,
            has_adjustment: flag("has_adjustment")?,
            adjustment: whole(row, "adjustment")?,
            has_earned: flag("has_earned")?,
        },
    ))
}
