//! What an import would do to a user, said without doing it: the same comparison as the
//! statements that write make, read instead.

use std::collections::BTreeMap;

use super::entry::Carried;
use super::source::Stored;
use super::target::{self, UserRewards};
use super::{Databases, PointsFailure, User, refused};
use crate::runtime::ports::{Platform, Store};

/// What became clear of a user's entries, portion by portion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Would {
    /// Entries that mgPass does not have, and those that it has otherwise.
    pub n_new: i64,
    pub n_changed: i64,
    /// Those that it has, and the sum of their points there.
    pub n_matched: i64,
    pub matched_points: i64,
}

/// Looks at mgPass's entries for those of a portion.
pub(super) async fn look<P: Platform>(
    databases: &Databases<'_, P>,
    users: &mut [User],
    carried: &[Carried],
) -> Result<i64, PointsFailure> {
    let mut n_new = 0;
    for statement in target::compare(carried) {
        let results = databases.ask(Store::Mgpass, vec![statement]).await?;
        let rows = results.first().map(Vec::as_slice).unwrap_or_default();
        let found = target::parse_compared(rows).ok_or(refused(Store::Mgpass))?;
        let found: BTreeMap<String, target::Compared> = found.into_iter().collect();
        for user in users.iter_mut() {
            let Some(seen) = found.get(&user.record.user_id) else {
                continue;
            };
            user.would.n_new += seen.n_new;
            user.would.n_changed += seen.n_changed;
            user.would.n_matched += seen.n_matched;
            user.would.matched_points += seen.matched_points;
            n_new += seen.n_new;
            if seen.n_elsewhere > 0 {
                user.park("entry_held_elsewhere");
            }
        }
    }
    Ok(n_new)
}

/// What the statements would make of the balance, and the notes that they would leave.
pub(super) fn outcome(
    stored: &Stored,
    before: &UserRewards,
    sum: i64,
    would: Would,
    tier: &str,
) -> (super::Carried, Vec<&'static str>) {
    // Entries of earlier imports that the source has no more stay where they are.
    let n_gone = before.n_entries - would.n_matched;
    let gone = before.ledger_sum.unwrap_or_default() - before.adjustment - would.matched_points;
    let adjustment = stored.total_points - sum - gone;
    let mut notes = Vec::new();
    if n_gone > 0 {
        notes.push("gone_in_source");
    }
    if adjustment != 0 {
        notes.push("adjusted");
    }
    let is_same = would.n_new == 0
        && would.n_changed == 0
        && adjustment == before.adjustment
        && before.total_points == Some(stored.total_points)
        && before.lifetime_earned == Some(stored.lifetime_earned)
        && before.tier.as_deref() == Some(tier);
    let outcome = match (is_same, before.total_points) {
        (true, _) => super::Carried::Equal,
        (false, None) => super::Carried::Create,
        (false, Some(_)) => super::Carried::Update,
    };
    (outcome, notes)
}
