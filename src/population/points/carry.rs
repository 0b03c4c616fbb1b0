//! A page's entries: read in bounded portions, each written with the balances of the
//! users it ends or begins, until all are there or the invocation has asked enough.

use std::collections::BTreeMap;

use super::entry::{self, Carried};
use super::place::{Place, Within};
use super::source::{self, Cursor, MAX_EXACT};
use super::{Databases, PointsFailure, User, audit, dry, refused, target};
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Store};

/// A portion's read, its entries in lists, its balances, and a look at them; and what
/// the job asks when the page ends.
const PORTION_QUERIES: usize = 30;
/// A claim of a page lasts a minute.
const MAX_DURATION_MS: i64 = 20_000;

pub(super) struct CarriedPage {
    pub(super) n_added: i64,
    /// `None`: everybody's entries are there.
    pub(super) stopped: Option<Stopped>,
}

/// The page ends before its last user.
pub(super) struct Stopped {
    pub(super) n_done: usize,
    pub(super) place: Place,
}

pub(super) async fn carry<P: Platform>(
    databases: &Databases<'_, P>,
    users: &mut [User],
    from: Cursor,
    dry_run: bool,
) -> Result<CarriedPage, PointsFailure> {
    let began_ms = databases.platform.now_ms();
    let carried: Vec<_> = users.iter().filter(|user| user.parked.is_none()).collect();
    let ids: Vec<_> = carried
        .iter()
        .map(|user| user.record.user_id.clone())
        .collect();
    let n_expected: i64 = carried.iter().map(|user| user.record.n_entries).sum();
    let mut n_read: i64 = carried.iter().map(|user| user.n_read).sum();
    let mut cursor = from;
    // Users before it are done.
    let mut begin = 0;
    let mut stopped = None;
    let mut n_would_add = 0;
    while !ids.is_empty() {
        let before = stop_within(users, begin, &cursor);
        let rows = if n_read < n_expected {
            let asked = vec![source::entries(&ids, &cursor)];
            let mut results = databases.ask(Store::Rewards, asked).await?;
            results.pop().ok_or(refused(Store::Rewards))?
        } else {
            Vec::new()
        };
        n_read += rows.len() as i64;
        let last = rows.last().map(source::cursor_at);
        let is_last = last.is_none() || n_read >= n_expected;
        let entries = take_entries(users, &rows);
        let end = match &last {
            Some(last) if !is_last => users
                .iter()
                .position(|user| user.record.user_id > last.user_id)
                .unwrap_or(users.len()),
            _ => users.len(),
        };
        let portion = users.get_mut(begin..end).unwrap_or_default();
        if dry_run {
            n_would_add += dry::look(databases, portion, &entries).await?;
        } else {
            let n_written = write(databases, portion, &entries).await?;
            if begin + n_written < end {
                // Refused one by one; the next page goes on with whoever is left.
                stopped = Some(match n_written {
                    0 => before,
                    n_written => stop_before(users, begin + n_written),
                });
                break;
            }
        }
        if is_last {
            break;
        }
        // The last user of the portion may have more.
        begin = end.saturating_sub(1);
        cursor = last.unwrap_or_default();
        let has_time = databases.platform.now_ms() - began_ms < MAX_DURATION_MS;
        if !has_time || !databases.platform.usage().has_room_for(PORTION_QUERIES) {
            stopped = Some(stop_within(users, begin, &cursor));
            break;
        }
    }
    let n_seen = stopped
        .as_ref()
        .map_or(users.len(), |stopped| stopped.n_done);
    let seen = users.get(..n_seen).unwrap_or_default();
    let is_unseen = |user: &User| user.parked.is_none() && user.after.is_none();
    if !dry_run && seen.iter().any(is_unseen) {
        return Err(refused(Store::Mgpass));
    }
    if dry_run {
        return Ok(CarriedPage {
            n_added: n_would_add,
            stopped,
        });
    }
    let added = users
        .iter()
        .filter(|user| user.parked.is_none())
        .map(|user| {
            let now = user.after.as_ref().map(|held| held.n_entries);
            (now.unwrap_or(user.n_read) - user.n_before).max(0)
        });
    Ok(CarriedPage {
        n_added: added.sum(),
        stopped,
    })
}

fn stop_before(users: &[User], n_done: usize) -> Stopped {
    let last = n_done.checked_sub(1).and_then(|last| users.get(last));
    Stopped {
        n_done,
        place: last.map_or_else(Place::default, |user| Place::behind(&user.record.user_id)),
    }
}

fn stop_within(users: &[User], at: usize, cursor: &Cursor) -> Stopped {
    match users.get(at) {
        Some(user) if user.parked.is_none() => Stopped {
            n_done: at,
            place: Place {
                user_id: user.record.user_id.clone(),
                within: Some(Within {
                    entry_id: cursor.id.clone(),
                    n_read: user.n_read,
                    sum: user.sum,
                    notes: user.notes.clone(),
                    would: user.would,
                }),
            },
        },
        // No more of theirs is wanted.
        _ => stop_before(users, at + 1),
    }
}

/// Entries in the form they are written in; one that cannot be read parks its user.
fn take_entries(users: &mut [User], rows: &[Row]) -> Vec<Carried> {
    let places: BTreeMap<_, _> = users
        .iter()
        .enumerate()
        .map(|(place, user)| (user.record.user_id.clone(), place))
        .collect();
    let mut carried = Vec::new();
    for row in rows {
        let place = places.get(&source::cursor_at(row).user_id);
        let Some(user) = place.and_then(|place| users.get_mut(*place)) else {
            continue;
        };
        match entry::carry(row) {
            Ok(entry) => {
                user.n_read += 1;
                // Neither is beyond 2^53.
                user.sum += entry.points;
                if user.sum.abs() > MAX_EXACT {
                    user.park("sum_out_of_range");
                    user.sum = 0;
                }
                for note in entry.notes() {
                    user.note(note);
                }
                carried.push(entry);
            }
            Err(refusal) => user.park(refusal.code()),
        }
    }
    carried
}

/// One batch; if a constraint refuses it, halves of it, until whoever it is stands alone,
/// or the invocation has asked enough. Returns how many of the users are written or
/// parked.
async fn write<P: Platform>(
    databases: &Databases<'_, P>,
    users: &mut [User],
    carried: &[Carried],
) -> Result<usize, PointsFailure> {
    let mut ranges = vec![(0, users.len())];
    let mut is_first = true;
    while let Some((start, end)) = ranges.pop() {
        let part = users.get(start..end).unwrap_or_default();
        let settlements: Vec<_> = part.iter().filter_map(User::settlement).collect();
        if settlements.is_empty() {
            continue;
        }
        if !is_first && !databases.platform.usage().has_room_for(PORTION_QUERIES) {
            return Ok(start);
        }
        is_first = false;
        let (generation, key) = (databases.generation, &databases.key);
        let lists = target::lists(&settlements, carried);
        let mut batch = audit::entries(&settlements, &lists, generation, key);
        batch.extend(target::put(&settlements, lists, generation));
        match databases.try_batch(Store::Mgpass, batch).await {
            Ok(results) => {
                let rewards = results.last().and_then(|rows| target::parse_rewards(rows));
                let mut rewards = rewards.ok_or(refused(Store::Mgpass))?;
                for user in users.get_mut(start..end).unwrap_or_default() {
                    if let Some(held) = rewards.remove(&user.record.user_id) {
                        user.after = Some(held);
                    }
                }
            }
            Err(DatabaseFailure::Constraint) if settlements.len() > 1 => {
                let middle = start + (end - start) / 2;
                ranges.extend([(middle, end), (start, middle)]);
            }
            Err(DatabaseFailure::Constraint) => {
                for user in users.get_mut(start..end).unwrap_or_default() {
                    user.park("refused_by_mgpass");
                }
            }
            Err(failure) => return Err(PointsFailure::Database(Store::Mgpass, failure)),
        }
    }
    Ok(users.len())
}
