//! What clients were told and what was changed around them, and the claims that are looked
//! at while the run goes on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dual_write_proxy::handover::debt;
use dual_write_proxy::runtime::ports::Store;

use crate::simulation::USERS;
use crate::simulation::chaos::SimulationTamper;
use crate::support::World;

/// A lease that an isolate had when Logto was left, and the longest request that began
/// under it.
const KNOWN_EVERYWHERE_MS: i64 = 60_000 + 130_000;

/// One write of a name.
pub(super) struct Write {
    pub user: String,
    pub began_ms: i64,
    /// `None`: nobody was told that it was done; it may be.
    pub answered_ms: Option<i64>,
    /// Decided against, or for a person to decide.
    pub is_void: bool,
}

/// A change of mgPass's own pages.
pub(super) struct Edit {
    pub user: &'static str,
    pub avatar: String,
    pub at_ms: i64,
}

pub(super) struct History {
    pub tamper: Rc<SimulationTamper>,
    /// By the name.
    pub writes: RefCell<BTreeMap<String, Write>>,
    pub edits: RefCell<Vec<Edit>>,
    /// The newest phone number of each that somebody set at Logto, around the proxy.
    pub bypasses: RefCell<BTreeMap<&'static str, String>>,
    pub stale: RefCell<Vec<String>>,
    /// Claims that did not hold, each said once.
    pub wrong: RefCell<BTreeSet<String>>,
    pub n_acknowledged: Cell<u64>,
    pub n_reads: Cell<u64>,
    pub n_at_mgpass: Cell<u64>,
    /// Everybody writes until then ...
    pub rush_until_ms: Cell<i64>,
    /// ... and nobody until then.
    pub quiet_until_ms: Cell<i64>,
    pub ends: Cell<bool>,
    /// Since when Logto has been left alone, and what it had served by the newest look.
    alone: Cell<Option<i64>>,
    n_served: Cell<usize>,
}

impl History {
    pub fn new(tamper: Rc<SimulationTamper>) -> Self {
        Self {
            tamper,
            writes: RefCell::default(),
            edits: RefCell::default(),
            bypasses: RefCell::default(),
            stale: RefCell::default(),
            wrong: RefCell::default(),
            n_acknowledged: Cell::default(),
            n_reads: Cell::default(),
            n_at_mgpass: Cell::default(),
            rush_until_ms: Cell::default(),
            quiet_until_ms: Cell::default(),
            ends: Cell::default(),
            alone: Cell::default(),
            n_served: Cell::default(),
        }
    }

    /// What a value that is shown says of the writes before.
    pub fn is_older(&self, user: &str, name: &str, before_ms: i64) -> Option<String> {
        let writes = self.writes.borrow();
        let shown_until = match writes.get(name) {
            Some(shown) => shown.answered_ms.unwrap_or(i64::MAX),
            // As it was before all of them.
            None => i64::MIN,
        };
        let newer = writes.iter().find(|(_, write)| {
            let is_told = write.answered_ms.is_some_and(|at_ms| at_ms < before_ms);
            write.user == user && !write.is_void && is_told && write.began_ms > shown_until
        });
        newer.map(|(newer, _)| format!("{user} shows {name}, and {newer} was acknowledged"))
    }

    /// Of a user who is held: a person decides.
    pub fn void(&self, user: &str, now_ms: i64) {
        for write in self.writes.borrow_mut().values_mut() {
            write.is_void |= write.user == user && write.began_ms <= now_ms;
        }
    }

    pub fn say(&self, what: String) {
        self.wrong.borrow_mut().insert(what);
    }

    /// Everybody writes while the authority moves.
    pub fn is_rush(&self, world: &World) -> bool {
        let (authority, _) = world.authority();
        let is_near = |until_ms: i64| (-5_000..100_000).contains(&(until_ms - world.now_ms()));
        let until_ms = authority.announced.map(|announced| announced.until_ms);
        until_ms.is_some_and(is_near)
            || authority.deadline_ms.is_some_and(is_near)
            || world.now_ms() < self.rush_until_ms.get()
    }

    /// At any moment.
    pub fn look(&self, world: &World) {
        self.sees_the_side_that_has_the_say(world);
        self.sees_who_was_left_behind(world);
        self.sees_what_somebody_set_at_logto(world);
        self.sees_who_asks_logto(world);
    }

    /// Its rows are what a read may show: of nobody, unless a person is to decide, are they
    /// older than what was acknowledged.
    fn sees_the_side_that_has_the_say(&self, world: &World) {
        let is_at_mgpass = ["mgpass", "returning", "alone"].contains(&world.holder());
        let users = world.logto.users.borrow();
        for user in USERS {
            if is_held(world, user) {
                self.void(user, world.now_ms());
                continue;
            }
            let name = match is_at_mgpass {
                true => world.user(user, "name").as_str().map(str::to_owned),
                false => users.get(user).and_then(|user| user.name.clone()),
            };
            let older = self.is_older(user, &name.unwrap_or_default(), world.now_ms());
            if let Some(older) = older {
                self.say(format!("{older}, and {} has the say", world.holder()));
            }
        }
    }

    /// A way back by the rules waits for what is pending, and for what may still land; whom
    /// it leaves to a person has another reason.
    fn sees_who_was_left_behind(&self, world: &World) {
        let rows = world.proxy(
            "SELECT subject, detail FROM held_subjects WHERE reason = 'debt' \
             AND (detail LIKE '%pending%' OR detail LIKE '%unanswered%')",
        );
        for row in rows {
            self.say(format!("back, and {} was not waited for", row["subject"]));
        }
    }

    /// Nobody but a person decides against it; here it is always decided for.
    fn sees_what_somebody_set_at_logto(&self, world: &World) {
        let users = world.logto.users.borrow();
        for (id, phone) in self.bypasses.borrow().iter() {
            let user = users.get(*id);
            if user.is_some_and(|user| user.phone.as_ref() != Some(phone)) {
                self.say(format!("{id}: {phone} was set at Logto, and overwritten"));
            }
        }
    }

    /// Left alone, it is asked nothing, once the last isolate knows.
    fn sees_who_asks_logto(&self, world: &World) {
        let served = world.logto.served.borrow();
        let before = self.n_served.replace(served.len());
        if world.holder() != "alone" {
            return self.alone.set(None);
        }
        let since_ms = self.alone.get().unwrap_or(world.now_ms());
        self.alone.set(Some(since_ms));
        if world.now_ms() - since_ms > KNOWN_EVERYWHERE_MS
            && let Some(asked) = served.get(before..).and_then(|new| new.first())
        {
            let left_s = (world.now_ms() - since_ms) / 1_000;
            self.say(format!("{asked} reached Logto, left alone {left_s} s ago"));
        }
    }

    /// Nobody counts as lacking, and yet Logto lacks what was there as of when the sum says.
    pub fn debt_is_short(&self, world: &World) {
        if world.holder() != "mgpass" {
            return;
        }
        let asked = |statements: &[_]| world.databases.batch(Store::Proxy, statements).unwrap();
        let summary = debt::parse_summary(&asked(&debt::summary()));
        let Some(as_of_ms) = summary.and_then(|summary| summary.as_of_ms()) else {
            return;
        };
        let listed = asked(&[debt::list(None, debt::After::default(), 1_000)]);
        let users = world.logto.users.borrow();
        let edits = self.edits.borrow();
        for user in USERS {
            let (Some(newest), Some(logto)) = (
                edits.iter().rfind(|edit| edit.user == user),
                users.get(user),
            ) else {
                continue;
            };
            let owes = listed[0].iter().any(|row| row["subject"] == user);
            // Undone since, where Logto had the say meanwhile.
            let is_there = world.user(user, "avatar") == newest.avatar.as_str();
            let is_carried = logto.avatar.as_ref() == Some(&newest.avatar);
            if !owes && is_there && newest.at_ms < as_of_ms && !is_carried {
                let Edit { avatar, .. } = newest;
                self.say(format!("{user}: no debt as of {as_of_ms}, but {avatar}"));
            }
        }
    }

    /// Of the whole run.
    pub fn look_back(&self, world: &World, between_ms: i64) {
        let late = format!(
            "SELECT to_holder, held_ms FROM authority_log WHERE cause = 'drained' AND held_ms >= {between_ms}"
        );
        for row in world.proxy(&late) {
            self.say(format!("moved behind its deadline: {row:?}"));
        }
        for wrong in self.tamper.witness.in_force_of_another_generation(world) {
            self.say(wrong);
        }
    }
}

pub(super) fn is_held(world: &World, user: &str) -> bool {
    let sql = format!("SELECT subject FROM held_subjects WHERE subject = '{user}'");
    !world.proxy(&sql).is_empty()
}
