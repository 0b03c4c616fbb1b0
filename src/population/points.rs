//! Points from the rewards database to mgPass, one page of users at a time.
//!
//! Balances are copied as stored, never calculated; entries under ids made of the
//! source's, so that importing again adds nothing. mgPass's own reconcile makes a
//! balance the sum of its ledger, so each batch also makes that sum equal the
//! stored total, by one labelled adjustment entry where it must. A batch is one
//! transaction and leaves its users whole: a crash between two batches is made up
//! for by the next import, and a page ends wherever its invocation has asked enough, if
//! need be within one user's ledger. Every statement that writes holds the condition that the
//! user lives and has earned nothing at mgPass; what mgPass wrote is never touched.

pub mod audit;
pub mod balance;
mod carry;
pub mod dry;
pub mod entry;
pub mod place;
pub mod source;
pub mod target;
pub mod tier;

use std::cell::Cell;

use self::carry::{Stopped, carry};
use self::dry::Would;
use self::place::{Place, Within};
use self::source::Record;
use self::target::{Settlement, UserRewards};
use self::tier::Tiers;
use crate::inbound::request::UserId;
use crate::mirror::preflight::{self, Unfit};
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointsPage {
    pub users: Vec<PointsOutcome>,
    /// `None`: this was the last page.
    pub next: Option<Place>,
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
    pub outcome: Carried,
    /// Codes; no value but names of tiers.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Equal,
    /// What a real run would do.
    Create,
    Update,
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

/// Asks the databases, and counts what it asks.
struct Databases<'a, P> {
    platform: &'a P,
    /// Of the authority.
    generation: i64,
    /// Of this page, in the ids of its entries in the audit log.
    key: String,
    n_statements: Cell<i64>,
    mgpass_ms: Cell<i64>,
}

impl<P: Platform> Databases<'_, P> {
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

/// Imports up to `limit` users from a place on, in order of id; fewer, where the
/// invocation may not ask so much.
///
/// # Errors
/// When the page must be asked for again; what was written by then stays and is whole.
pub async fn page<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    from: &Place,
    limit: i64,
    dry_run: bool,
    generation: i64,
) -> Result<PointsPage, PointsFailure> {
    check_schemas(platform, context).await?;
    let databases = &Databases {
        platform,
        generation,
        key: format!("p{:016x}", platform.random_u64()),
        n_statements: Cell::new(0),
        mgpass_ms: Cell::new(0),
    };
    let limit = limit.max(1);
    let mut asked = vec![source::page(&from.user_id, limit, from.within.is_some())];
    if from.is_beginning() {
        asked.push(source::count());
    }
    let results = databases.ask(Store::Rewards, asked).await?;
    let mut results = results.iter();
    let records = source::parse_page(results.next()).ok_or(refused(Store::Rewards))?;
    let count = match results.next() {
        None => None,
        Some(rows) => Some(source::parse_count(rows).ok_or(refused(Store::Rewards))?),
    };
    let is_full = records.len() as i64 == limit;
    let last = records.last().filter(|_| is_full);
    let mut next = last.map(|record| Place::behind(&record.user_id));

    let mut users = judge(databases, records).await?;
    if let (Some(user), Some(within)) = (users.first_mut(), &from.within)
        && user.record.user_id == from.user_id
    {
        user.resume(within);
    }
    let carried = carry(databases, &mut users, from.cursor(), dry_run).await?;
    if let Some(Stopped { n_done, place }) = carried.stopped {
        users.truncate(n_done);
        next = Some(place);
    }
    let mut outcomes: Vec<_> = users
        .into_iter()
        .map(|user| user.outcome(dry_run))
        .collect();
    if count.is_some_and(|count| count.n_nameless > 0) {
        outcomes.insert(0, nameless());
    }
    Ok(PointsPage {
        users: outcomes,
        next,
        n_source: count.map(|count| count.n_users),
        n_entries_added: carried.n_added,
        n_statements: databases.n_statements.get(),
        mgpass_ms: databases.mgpass_ms.get(),
    })
}

/// Entries and records that name no user stand under the empty id.
fn nameless() -> PointsOutcome {
    PointsOutcome {
        user: String::new(),
        outcome: Carried::Parked("unknown_user"),
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
    /// Of their entries that can be read.
    sum: i64,
    /// Entries that were at mgPass, or went there, before this page.
    n_before: i64,
    before: Option<UserRewards>,
    after: Option<UserRewards>,
    /// The tier that mgPass would hold.
    tier_after: String,
    would: Would,
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

    /// Their ledger was begun by an earlier page.
    fn resume(&mut self, within: &Within) {
        self.n_read = within.n_read;
        self.sum = within.sum;
        self.n_before = self.n_before.max(within.n_read);
        self.would = within.would;
        for note in &within.notes {
            self.note(note);
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
        let (Some(held), Some(stored)) = (self.after.take(), &self.record.stored) else {
            return;
        };
        let is_copied = held.total_points == Some(stored.total_points)
            && held.lifetime_earned == Some(stored.lifetime_earned)
            && held.ledger_sum == Some(stored.total_points);
        if let Some(reason) = held.reason() {
            self.park(reason);
        } else if held.n_entries < self.n_read {
            // The id belongs to another user's entry: it moved, or two had it.
            self.park("entry_held_elsewhere");
        } else if !is_copied {
            self.park("changed_at_mgpass");
        } else {
            if held.n_entries > self.n_read {
                self.note("gone_in_source");
            }
            if held.has_adjustment {
                self.note("adjusted");
            }
            if let Some(kept) = held.tier.filter(|tier| *tier != self.wanted_tier) {
                let code = format!("tier_kept:{kept}>{}", self.wanted_tier);
                self.note(code);
            }
        }
    }

    fn outcome(mut self, dry_run: bool) -> PointsOutcome {
        let mut outcome = Carried::Equal;
        if dry_run {
            outcome = self.foresee();
        } else {
            self.look();
        }
        PointsOutcome {
            user: self.record.user_id,
            outcome: self.parked.map_or(outcome, Carried::Parked),
            notes: self.notes,
        }
    }

    /// In a dry run.
    fn foresee(&mut self) -> Carried {
        let (Some(stored), Some(before)) = (&self.record.stored, &self.before) else {
            return Carried::Equal;
        };
        if self.parked.is_some() {
            return Carried::Equal;
        }
        let (outcome, notes) = dry::outcome(stored, before, self.sum, self.would, &self.tier_after);
        for note in notes {
            self.note(note);
        }
        if self.tier_after != self.wanted_tier {
            self.note(format!(
                "tier_kept:{}>{}",
                self.tier_after, self.wanted_tier
            ));
        }
        outcome
    }
}

/// Who can be imported, before an entry was read.
async fn judge<P: Platform>(
    databases: &Databases<'_, P>,
    records: Vec<Record>,
) -> Result<Vec<User>, PointsFailure> {
    let ids: Vec<_> = records.iter().filter_map(possible).collect();
    let asked = vec![target::tiers(), target::rewards(&ids)];
    let results = databases.ask(Store::Mgpass, asked).await?;
    let [tiers, rewards] = results.as_slice() else {
        return Err(refused(Store::Mgpass));
    };
    let tiers = target::parse_tiers(tiers).ok_or(refused(Store::Mgpass))?;
    let mut rewards = target::parse_rewards(rewards).ok_or(refused(Store::Mgpass))?;
    let lowest = tiers.lowest().ok_or(PointsFailure::NoTiers)?.to_owned();
    let users = records.into_iter().map(|record| {
        let held = rewards.remove(&record.user_id);
        judge_user(record, held.as_ref(), &tiers, &lowest)
    });
    Ok(users.collect())
}

fn judge_user(record: Record, held: Option<&UserRewards>, tiers: &Tiers, lowest: &str) -> User {
    let mut user = User {
        record,
        wanted_tier: lowest.to_owned(),
        parked: None,
        notes: Vec::new(),
        n_read: 0,
        sum: 0,
        n_before: held.map_or(0, |held| held.n_entries),
        before: held.cloned(),
        after: None,
        tier_after: String::new(),
        would: Would::default(),
    };
    let is_known = held.is_some_and(|held| held.is_known);
    // Deleted first: whatever else is missing then is of no use to anybody.
    if let Some(reason) = held.and_then(UserRewards::reason) {
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
    let held = held.and_then(|held| held.tier.as_deref());
    user.tier_after = tiers.after(held, &user.wanted_tier);
    user
}

/// Whether anybody at mgPass could have this id: nobody is asked for others.
fn possible(record: &Record) -> Option<&str> {
    UserId::parse(&record.user_id).map(|_| record.user_id.as_str())
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
        let required = shape.require(platform, store).await;
        required.map_err(|unfit| match unfit {
            Unfit::Differs => PointsFailure::SchemaRefused(store),
            Unfit::Database(failure) => PointsFailure::Database(store, failure),
        })?;
    }
    context.isolate.rewards_preflight_passed.set(true);
    Ok(())
}

fn refused(store: Store) -> PointsFailure {
    PointsFailure::Database(store, DatabaseFailure::Refused)
}
