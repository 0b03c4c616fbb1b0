//! Points from the rewards database to mgPass, one page of users at a time.
//!
//! Balances are copied as stored, never calculated; entries under ids made of the
//! source's, so that importing again adds nothing. mgPass's own reconcile makes a
//! balance the sum of its ledger, so each batch also makes that sum equal the
//! stored total, by one labelled adjustment entry where it must. A batch is one
//! transaction and leaves its users whole: a crash between two batches is made up
//! for by the next import. Every statement that writes holds the condition that the
//! user lives and has earned nothing at mgPass; what mgPass wrote is never touched.

pub mod balance;
pub mod entry;
pub mod source;
pub mod target;
pub mod tier;

use std::cell::Cell;
use std::collections::BTreeMap;

use self::entry::Carried;
use self::source::{Cursor, Record};
use self::target::{Settlement, Standing};
use self::tier::Tiers;
use crate::inbound::request::UserId;
use crate::mirror::preflight;
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointsPage {
    pub users: Vec<PointsOutcome>,
    /// `None`: this was the last page.
    pub next_after: Option<String>,
    /// Users of the source, those of whom only entries are known among them. On the
    /// first page only, as it counts them all.
    pub n_source: Option<i64>,
    /// In a dry run, those that would be.
    pub n_entries_added: i64,
    pub n_statements: i64,
    /// Waiting for mgPass's database.
    pub mgpass_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointsOutcome {
    /// As the source has it: it need not be a user id that anybody could have.
    pub user: String,
    pub outcome: Outcome,
    /// Codes; no value but names of tiers.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Equal,
    Parked(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointsFailure {
    #[error("no rewards database is bound")]
    NotBound,
    /// Each difference was named by an event.
    #[error("the tables of {} are not as expected", .0.name())]
    SchemaRefused(Store),
    #[error("mgPass has no tiers")]
    NoTiers,
    #[error("{}: {}", .0.name(), .1)]
    Database(Store, DatabaseFailure),
}

impl PointsFailure {
    pub fn code(self) -> &'static str {
        match self {
            Self::NotBound => "rewards_not_bound",
            Self::SchemaRefused(_) => "schema_refused",
            Self::NoTiers => "no_tiers",
            Self::Database(_, failure) => failure.code(),
        }
    }
}

/// Asks the databases, and counts what it asks.
struct Desk<'a, P> {
    platform: &'a P,
    n_statements: Cell<i64>,
    mgpass_ms: Cell<i64>,
}

impl<P: Platform> Desk<'_, P> {
    async fn ask(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, PointsFailure> {
        self.try_batch(store, statements)
            .await
            .map_err(|failure| PointsFailure::Database(store, failure))
    }

    async fn try_batch(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        let n_statements = statements.len() as i64;
        self.n_statements
            .set(self.n_statements.get() + n_statements);
        let began_ms = self.platform.now_ms();
        let answer = self.platform.batch(store, statements).await;
        if store == Store::Mgpass {
            let waited_ms = self.platform.now_ms() - began_ms;
            self.mgpass_ms.set(self.mgpass_ms.get() + waited_ms);
        }
        answer
    }
}

/// Imports up to `limit` users whose ids follow `after`, in order of id.
///
/// # Errors
/// When the page must be asked for again; what was written by then stays and is whole.
pub async fn page<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    after: &str,
    limit: i64,
    dry_run: bool,
) -> Result<PointsPage, PointsFailure> {
    check_schemas(platform, context).await?;
    let desk = &Desk {
        platform,
        n_statements: Cell::new(0),
        mgpass_ms: Cell::new(0),
    };
    let limit = limit.max(1);
    let mut asked = vec![source::page(after, limit)];
    if after.is_empty() {
        asked.push(source::count());
    }
    let results = desk.ask(Store::Rewards, asked).await?;
    let mut results = results.iter();
    let records = source::parse_page(results.next()).ok_or(refused(Store::Rewards))?;
    let count = match results.next() {
        None => None,
        Some(rows) => Some(source::parse_count(rows).ok_or(refused(Store::Rewards))?),
    };
    let is_full = records.len() as i64 == limit;
    let next_after = records
        .last()
        .filter(|_| is_full)
        .map(|record| record.user_id.clone());

    let mut users = judge(desk, records).await?;
    let n_entries_added = carry(desk, &mut users, dry_run).await?;
    let mut outcomes: Vec<_> = users.into_iter().map(User::outcome).collect();
    if count.is_some_and(|count| count.n_nameless > 0) {
        outcomes.insert(0, nameless());
    }
    Ok(PointsPage {
        users: outcomes,
        next_after,
        n_source: count.map(|count| count.n_users),
        n_entries_added,
        n_statements: desk.n_statements.get(),
        mgpass_ms: desk.mgpass_ms.get(),
    })
}

/// Entries and records that name no user stand under the empty id.
fn nameless() -> PointsOutcome {
    PointsOutcome {
        user: String::new(),
        outcome: Outcome::Parked("unknown_user"),
        notes: vec!["no_user_id".to_owned()],
    }
}

/// One user of the page and what is known by now.
struct User {
    record: Record,
    wanted_tier: String,
    parked: Option<&'static str>,
    notes: Vec<String>,
    n_read: i64,
    n_before: i64,
    after: Option<Standing>,
}

impl User {
    fn park(&mut self, reason: &'static str) {
        self.parked.get_or_insert(reason);
    }

    fn note(&mut self, code: impl Into<String>) {
        let code = code.into();
        if !self.notes.contains(&code) {
            self.notes.push(code);
        }
    }

    fn settlement(&self) -> Option<Settlement<'_>> {
        let stored = self.record.stored.as_ref()?;
        self.parked.is_none().then_some(Settlement {
            user: &self.record.user_id,
            total_points: stored.total_points,
            lifetime_earned: stored.lifetime_earned,
            tier: &self.wanted_tier,
        })
    }

    /// What mgPass holds after the last batch.
    fn look(&mut self) {
        let (Some(standing), Some(stored)) = (self.after.take(), &self.record.stored) else {
            return;
        };
        let is_copied = standing.total_points == Some(stored.total_points)
            && standing.lifetime_earned == Some(stored.lifetime_earned)
            && standing.ledger_sum == stored.total_points;
        if let Some(reason) = standing.reason() {
            self.park(reason);
        } else if standing.n_entries < self.n_read {
            // The id belongs to another user's entry: it moved, or two had it.
            self.park("entry_held_elsewhere");
        } else if !is_copied {
            self.park("changed_at_mgpass");
        } else {
            if standing.n_entries > self.n_read {
                self.note("gone_in_source");
            }
            if standing.has_adjustment {
                self.note("adjusted");
            }
            if let Some(kept) = standing.tier.filter(|tier| *tier != self.wanted_tier) {
                let code = format!("tier_kept:{kept}>{}", self.wanted_tier);
                self.note(code);
            }
        }
    }

    fn outcome(mut self) -> PointsOutcome {
        self.look();
        PointsOutcome {
            user: self.record.user_id,
            outcome: self.parked.map_or(Outcome::Equal, Outcome::Parked),
            notes: self.notes,
        }
    }
}

/// Who can be imported, before an entry was read.
async fn judge<P: Platform>(
    desk: &Desk<'_, P>,
    records: Vec<Record>,
) -> Result<Vec<User>, PointsFailure> {
    let ids: Vec<_> = records.iter().filter_map(possible).collect();
    let asked = vec![target::tiers(), target::standings(&ids)];
    let results = desk.ask(Store::Mgpass, asked).await?;
    let [tiers, standings] = results.as_slice() else {
        return Err(refused(Store::Mgpass));
    };
    let tiers = target::parse_tiers(tiers).ok_or(refused(Store::Mgpass))?;
    let mut standings = target::parse_standings(standings).ok_or(refused(Store::Mgpass))?;
    let lowest = tiers.lowest().ok_or(PointsFailure::NoTiers)?.to_owned();
    let users = records.into_iter().map(|record| {
        let standing = standings.remove(&record.user_id);
        judge_user(record, standing.as_ref(), &tiers, &lowest)
    });
    Ok(users.collect())
}

fn judge_user(record: Record, standing: Option<&Standing>, tiers: &Tiers, lowest: &str) -> User {
    let mut user = User {
        record,
        wanted_tier: lowest.to_owned(),
        parked: None,
        notes: Vec::new(),
        n_read: 0,
        n_before: standing.map_or(0, |standing| standing.n_entries),
        after: None,
    };
    let is_known = standing.is_some_and(|standing| standing.is_known);
    // Deleted first: whatever else is missing then is of no use to anybody.
    if let Some(reason) = standing.and_then(Standing::reason) {
        user.park(reason);
    }
    if !is_known {
        user.park("unknown_user");
        user.note("not_at_mgpass");
    }
    if !user.record.is_recorded {
        user.park("unknown_user");
        user.note("no_source_record");
    } else if let Some(stored) = &user.record.stored {
        let verdict = tiers.judge(stored.tier.as_deref(), stored.lifetime_earned);
        if let Some(note) = verdict.note {
            user.note(note);
        }
        match verdict.wanted {
            Some(tier) => user.wanted_tier = tier,
            None => user.park("unknown_tier"),
        }
    } else {
        user.park("unreadable_in_source");
    }
    user
}

/// Whether anybody at mgPass could have this id: nobody is asked for others.
fn possible(record: &Record) -> Option<&str> {
    UserId::parse(&record.user_id).map(|_| record.user_id.as_str())
}

/// Reads the page's entries in bounded portions and writes each with the balances of
/// the users it ends or begins. Returns how many entries were added.
async fn carry<P: Platform>(
    desk: &Desk<'_, P>,
    users: &mut [User],
    dry_run: bool,
) -> Result<i64, PointsFailure> {
    let ids: Vec<_> = users
        .iter()
        .filter(|user| user.parked.is_none())
        .map(|user| user.record.user_id.clone())
        .collect();
    let n_expected: i64 = users
        .iter()
        .filter(|user| user.parked.is_none())
        .map(|user| user.record.n_entries)
        .sum();
    let mut n_read = 0;
    let mut cursor = Cursor::default();
    // Users before it are done.
    let mut from = 0;
    while !ids.is_empty() {
        let rows = if n_read < n_expected {
            let asked = vec![source::entries(&ids, &cursor)];
            let mut results = desk.ask(Store::Rewards, asked).await?;
            results.pop().ok_or(refused(Store::Rewards))?
        } else {
            Vec::new()
        };
        n_read += rows.len() as i64;
        let last = rows.last().map(source::cursor_at);
        let is_last = last.is_none() || n_read >= n_expected;
        let carried = take_entries(users, &rows);
        let upto = match &last {
            Some(last) if !is_last => users
                .iter()
                .position(|user| user.record.user_id > last.user_id)
                .unwrap_or(users.len()),
            _ => users.len(),
        };
        if !dry_run {
            let portion = users.get_mut(from..upto).unwrap_or_default();
            write(desk, portion, &carried).await?;
        }
        if is_last {
            break;
        }
        // The last user of the portion may have more.
        from = upto.saturating_sub(1);
        cursor = last.unwrap_or_default();
    }
    let is_unseen = |user: &User| user.parked.is_none() && user.after.is_none();
    if !dry_run && users.iter().any(is_unseen) {
        return Err(refused(Store::Mgpass));
    }
    let added = users
        .iter()
        .filter(|user| user.parked.is_none())
        .map(|user| {
            let now = user.after.as_ref().map(|standing| standing.n_entries);
            (now.unwrap_or(user.n_read) - user.n_before).max(0)
        });
    Ok(added.sum())
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

/// One batch; if a constraint refuses it, halves of it, until whoever it is stands alone.
async fn write<P: Platform>(
    desk: &Desk<'_, P>,
    users: &mut [User],
    carried: &[Carried],
) -> Result<(), PointsFailure> {
    let mut ranges = vec![(0, users.len())];
    while let Some((start, end)) = ranges.pop() {
        let part = users.get(start..end).unwrap_or_default();
        let settlements: Vec<_> = part.iter().filter_map(User::settlement).collect();
        if settlements.is_empty() {
            continue;
        }
        let batch = target::put(&settlements, carried);
        match desk.try_batch(Store::Mgpass, batch).await {
            Ok(results) => {
                let standings = results
                    .last()
                    .and_then(|rows| target::parse_standings(rows));
                let mut standings = standings.ok_or(refused(Store::Mgpass))?;
                for user in users.get_mut(start..end).unwrap_or_default() {
                    if let Some(standing) = standings.remove(&user.record.user_id) {
                        user.after = Some(standing);
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
    Ok(())
}

/// Both sides' rewards tables are there and as relied on; asked once an isolate.
///
/// # Errors
/// When nothing about points can be read or written.
pub async fn check_schemas<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<(), PointsFailure> {
    if !platform.is_bound(Store::Rewards) {
        return Err(PointsFailure::NotBound);
    }
    if context.isolate.rewards_preflight_passed.get() {
        return Ok(());
    }
    for (store, shape) in [
        (Store::Mgpass, &preflight::MIRROR),
        (Store::Mgpass, &preflight::REWARDS_TARGET),
        (Store::Rewards, &preflight::REWARDS_SOURCE),
    ] {
        let holds = shape.holds(platform, store).await;
        if !holds.map_err(|failure| PointsFailure::Database(store, failure))? {
            return Err(PointsFailure::SchemaRefused(store));
        }
    }
    context.isolate.rewards_preflight_passed.set(true);
    Ok(())
}

fn refused(store: Store) -> PointsFailure {
    PointsFailure::Database(store, DatabaseFailure::Refused)
}
