//! Both sides' balances of some users, and where they differ.

use std::collections::BTreeMap;

use super::source::{self, optional, scalar, whole};
use super::target;
use crate::inbound::request::{UserId, id_list};
use crate::runtime::ports::{Row, Statement};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub total_points: i64,
    pub lifetime_earned: i64,
    pub tier: Option<String>,
    /// At mgPass, of all entries; `None` where it cannot be said exactly.
    pub ledger_sum: Option<i64>,
}

pub fn source_balances(users: &[UserId]) -> Statement {
    of(source::SELECT_BALANCES, users)
}

pub fn target_balances(users: &[UserId]) -> Statement {
    of(target::SELECT_BALANCES, users)
}

fn of(sql: &'static str, users: &[UserId]) -> Statement {
    Statement::new(sql, vec![id_list(users).into()])
}

/// By user id; a user without a record is absent, one whose record cannot be read is `None`.
pub fn parse_balances(rows: &[Row]) -> Option<BTreeMap<String, Option<Balance>>> {
    rows.iter()
        .map(|row| Some((scalar(row, "user_id")?, parse_balance(row))))
        .collect()
}

fn parse_balance(row: &Row) -> Option<Balance> {
    Some(Balance {
        total_points: whole(row, "total_points")?,
        lifetime_earned: whole(row, "lifetime_earned")?,
        tier: optional(row, "tier").ok()?,
        ledger_sum: whole(row, "ledger_sum"),
    })
}

/// Members in which mgPass's balance is not the source's. What counts of mgPass's ledger
/// is that it explains the balance; the source's own need not.
pub fn differences(source: &Balance, target: &Balance) -> Vec<&'static str> {
    let tier = |balance: &Balance| {
        let tier = balance.tier.as_deref().map(str::trim);
        tier.map(str::to_ascii_lowercase)
            .filter(|tier| !tier.is_empty())
    };
    // Without a stored tier mgPass's is the one that its thresholds give.
    let is_tier_equal = tier(source).is_none() || tier(source) == tier(target);
    let paths = [
        ("total_points", source.total_points == target.total_points),
        (
            "lifetime_earned",
            source.lifetime_earned == target.lifetime_earned,
        ),
        ("tier", is_tier_equal),
        ("ledger_sum", target.ledger_sum == Some(target.total_points)),
    ];
    let different = paths.into_iter().filter(|(_, is_equal)| !is_equal);
    different.map(|(path, _)| path).collect()
}
