//! Histories across hand-overs and returns: an operator who moves the authority to and fro,
//! by the rules or without mgPass, while clients write and read, mgPass's own pages change
//! users with and without a word in its audit log, cron stands still now and then, and
//! everything fails that may fail.
//!
//! Each write of a name is the only one of that value, so that a name tells which write it
//! was. The claims: in the end, and at any read, nothing older than what was acknowledged
//! before; nothing of a client's reaches Logto that mgPass has the say over; both sides equal
//! in the end, and nothing stuck; and where the sum of debt is nil, Logto has all that was
//! there as of when the sum says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::handover::{advance, debt, hung};
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::policy::authority::Holder;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::runtime::snapshot;
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use super::actions::Journal;
use super::chaos::SimulationTamper;
use super::oracle::{self, Verdict};
use super::{ADMIN, Setup, Simulation, USERS};
use crate::support::executor::Random;
use crate::support::{Node, Request, World};

/// Hand-overs of one run, each with its way back.
const HAND_OVERS: u32 = 2;
/// An announcement takes 18 minutes, a call without an answer 15.
const MINUTES: i64 = 180;
const LAST_MINUTES: i64 = 90;

/// One write of a name.
struct Write {
    user: String,
    began_ms: i64,
    /// `None`: nobody was told that it was done; it may be.
    answered_ms: Option<i64>,
    /// Decided against, or for a person to decide.
    is_void: bool,
}

#[derive(Default)]
struct History {
    /// By the name.
    writes: RefCell<BTreeMap<String, Write>>,
    stale: RefCell<Vec<String>>,
    edits: RefCell<Vec<Edit>>,
    n_acknowledged: Cell<u64>,
    n_reads: Cell<u64>,
    n_at_mgpass: Cell<u64>,
    ends: Cell<bool>,
}

/// A change of mgPass's own pages.
struct Edit {
    user: &'static str,
    avatar: String,
    at_ms: i64,
}

impl History {
    /// What a value that is shown says of the writes before.
    fn is_older(&self, user: &str, name: &str, before_ms: i64) -> Option<String> {
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
    fn void(&self, user: &str, now_ms: i64) {
        for write in self.writes.borrow_mut().values_mut() {
            write.is_void |= write.user == user && write.began_ms <= now_ms;
        }
    }
}

pub(super) fn live(world: &Rc<World>, setup: &Setup) -> Verdict {
    world.logto.accepted.borrow_mut().insert(ADMIN.to_owned());
    let simulation = Simulation {
        setup,
        world,
        relay: world.node(),
        random: Random::new(setup.seed ^ 0x4e1b),
    };
    for (index, id) in USERS.iter().enumerate() {
        world.put_user(id, |user| {
            user.username = Some((*id).to_owned());
            user.email = Some(format!("mail{index}@example.test"));
        });
        world.wake(id);
    }
    simulation.drive(world.now_ms() + 2_000);
    world.logto.is_closed.set(true);
    let tamper = Rc::new(SimulationTamper::new(setup));
    *world.tamper.borrow_mut() = Some(Rc::clone(&tamper) as _);
    tamper.begin(world, world.faults.n_decided());
    let history = Rc::new(History::default());
    begin(world, &history, &simulation.random);
    let mut operator = Operator {
        world,
        random: Random::new(setup.seed ^ 0x0be7),
        history: &history,
        n_hand_overs: 0,
        dwells: 2,
        mind: Mind::There,
    };
    let mut weather = Weather {
        is_stormy: true,
        lasts_until_ms: world.now_ms() + 120_000,
    };
    let until_ms = world.now_ms() + MINUTES * 60_000;
    let mut debts = Vec::new();
    while world.now_ms() < until_ms && operator.mind != Mind::Done {
        operator.act();
        weather.turn(world, &tamper);
        // Cron stands still for a while now and then.
        if operator.random.below(5) > 0 {
            simulation.cron();
            simulation.second_cron();
        }
        simulation.drive(world.now_ms() + 60_000);
        debts.extend(debt_is_short(world, &history));
    }
    tamper.end(world);
    operator.mind = Mind::Back;
    operator.dwells = 0;
    let until_ms = world.now_ms() + LAST_MINUTES * 60_000;
    while world.now_ms() < until_ms && world.holder() != "logto" {
        operator.act();
        simulation.cron();
        simulation.drive(world.now_ms() + 60_000);
    }
    history.ends.set(true);
    operator.release();
    simulation.drain();
    operator.release();
    simulation.drain();
    let mut verdict = judge(world, setup, &history, &tamper);
    verdict.lost.extend(debts);
    verdict.n_hand_overs = u64::from(operator.n_hand_overs);
    verdict
}

/// Nobody hands over in a storm: writes without an answer shut a gate. So it is calm until
/// the announcement is nearly over, and then anything may happen.
struct Weather {
    is_stormy: bool,
    lasts_until_ms: i64,
}

impl Weather {
    fn turn(&mut self, world: &World, tamper: &SimulationTamper) {
        let (authority, _) = world.authority();
        let now_ms = world.now_ms();
        if authority.holder != Holder::Logto {
            self.lasts_until_ms = now_ms + 180_000;
        } else if let Some(announced) = authority.announced
            && (60_000..=120_000).contains(&(announced.until_ms - now_ms))
        {
            self.lasts_until_ms = now_ms + 240_000;
        }
        match (now_ms < self.lasts_until_ms, self.is_stormy) {
            (true, false) => tamper.begin(world, world.faults.n_decided()),
            (false, true) => tamper.end(world),
            (true, true) | (false, false) => {}
        }
        self.is_stormy = now_ms < self.lasts_until_ms;
    }
}

fn judge(
    world: &Rc<World>,
    setup: &Setup,
    history: &History,
    tamper: &SimulationTamper,
) -> Verdict {
    // When sessions ended is another matter where either side may begin it.
    world.logto.ended.borrow_mut().clear();
    world.mgpass.revoked.borrow_mut().clear();
    let journal = Journal::default();
    journal.n_acknowledged.set(history.n_acknowledged.get());
    let mut verdict = oracle::judge(world, setup, &journal, tamper);
    verdict.stale = history.stale.take();
    verdict.n_reads = history.n_reads.get();
    verdict.n_from_mgpass = history.n_at_mgpass.get();
    for user in world.logto.users.borrow().values() {
        let name = user.name.clone().unwrap_or_default();
        verdict
            .lost
            .extend(history.is_older(&user.id, &name, i64::MAX));
    }
    let (authority, _) = world.authority();
    if world.holder() != "logto" || authority.is_raise_owed {
        verdict.stuck.push(format!("{authority:?}"));
    }
    if world.generation() != world.told_generation() {
        verdict.stuck.push("two generations".to_owned());
    }
    verdict
}

/// Clients, and mgPass's own pages.
fn begin(world: &Rc<World>, history: &Rc<History>, random: &Random) {
    let nodes = [world.node(), world.node(), world.node()];
    for writer in 0..3_usize {
        let (nodes, history) = (nodes.clone(), Rc::clone(history));
        let random = Random::new(random.next());
        world.executor.spawn(async move {
            for number in 0.. {
                let pauses_ms = match is_about_to_move(&nodes[0].world) {
                    true => [20, 200, 1_000, 2_500],
                    false => [300, 4_000, 30_000, 90_000],
                };
                let pause_ms = pauses_ms[random.below(4)];
                nodes[0].world.executor.sleep(pause_ms).await;
                if history.ends.get() {
                    return;
                }
                let node = nodes[random.below(nodes.len())].next_invocation();
                write(&node, &history, &random, &format!("n{writer}-{number}")).await;
            }
        });
    }
    for _ in 0..2 {
        let (nodes, history) = (nodes.clone(), Rc::clone(history));
        let random = Random::new(random.next());
        world.executor.spawn(async move {
            while !history.ends.get() {
                let pause_ms = [500, 5_000, 40_000, 400_000][random.below(4)];
                nodes[0].world.executor.sleep(pause_ms).await;
                let node = nodes[random.below(nodes.len())].next_invocation();
                read(&node, &history, &random).await;
            }
        });
    }
    let (node, history) = (world.node(), Rc::clone(history));
    let random = Random::new(random.next());
    world.executor.spawn(async move {
        for number in 0.. {
            node.world.executor.sleep(150_000).await;
            if history.ends.get() {
                return;
            }
            edit(&node.world, &history, &random, number);
        }
    });
}

/// Everybody writes then.
fn is_about_to_move(world: &World) -> bool {
    let (authority, _) = world.authority();
    let is_near = |until_ms: i64| (-5_000..100_000).contains(&(until_ms - world.now_ms()));
    let until_ms = authority.announced.map(|announced| announced.until_ms);
    until_ms.is_some_and(is_near) || authority.deadline_ms.is_some_and(is_near)
}

async fn write(node: &Node, history: &History, random: &Random, name: &str) {
    let world = &node.world;
    let user = USERS[random.below(USERS.len())];
    let path = |rest: &str| format!("/api/users/{user}{rest}");
    let (request, is_name) = match random.below(10) {
        0 => {
            let body = json!({ "isSuspended": random.below(2) == 0 });
            (
                Request::new("PATCH", &path("/is-suspended")).json(&body.to_string()),
                false,
            )
        }
        1 => {
            let body = json!({ "customData": { "by": name } });
            (
                Request::new("PATCH", &path("/custom-data")).json(&body.to_string()),
                false,
            )
        }
        2 if random.below(3) == 0 => {
            let body = json!({ "username": name.replace('-', "_") });
            (
                Request::new("POST", "/api/users").json(&body.to_string()),
                false,
            )
        }
        _ => {
            let body = json!({ "name": name });
            (
                Request::new("PATCH", &path("")).json(&body.to_string()),
                true,
            )
        }
    };
    let began_ms = world.now_ms();
    if is_name {
        let write = Write {
            user: user.to_owned(),
            began_ms,
            answered_ms: None,
            is_void: false,
        };
        history.writes.borrow_mut().insert(name.to_owned(), write);
    }
    let answered = world.start_at(node, request.token(ADMIN));
    let Either::Left((answer, _)) = select(answered, pin!(world.executor.sleep(130_000))).await
    else {
        return;
    };
    if !(200..300).contains(&answer.status) {
        return;
    }
    history.n_acknowledged.set(history.n_acknowledged.get() + 1);
    if answer.is_own {
        history.n_at_mgpass.set(history.n_at_mgpass.get() + 1);
    }
    if let Some(write) = history.writes.borrow_mut().get_mut(name) {
        write.answered_ms = Some(world.now_ms());
    }
}

async fn read(node: &Node, history: &History, random: &Random) {
    let world = &node.world;
    let user = USERS[random.below(USERS.len())];
    let began_ms = world.now_ms();
    let token = match random.below(2) {
        0 => ADMIN.to_owned(),
        _ => world.admin_token(),
    };
    let request = Request::new("GET", &format!("/api/users/{user}")).token(&token);
    let answered = world.start_at(node, request);
    let Either::Left((answer, _)) = select(answered, pin!(world.executor.sleep(130_000))).await
    else {
        return;
    };
    let shown: Option<Value> = serde_json::from_str(&answer.body).ok();
    let Some(shown) = shown.filter(|_| answer.status == 200) else {
        return;
    };
    history.n_reads.set(history.n_reads.get() + 1);
    if is_held(world, user) {
        // A person is to decide; nothing is claimed until then.
        return history.void(user, world.now_ms());
    }
    let name = shown["name"].as_str().unwrap_or_default();
    let older = history.is_older(user, name, began_ms);
    let told = older.map(|older| format!("{older}, read at {began_ms} under {}", world.holder()));
    history.stale.borrow_mut().extend(told);
}

fn is_held(world: &World, user: &str) -> bool {
    let sql = format!("SELECT subject FROM held_subjects WHERE subject = '{user}'");
    !world.proxy(&sql).is_empty()
}

/// At mgPass's own pages, while they are anybody's.
fn edit(world: &World, history: &History, random: &Random, number: u32) {
    if world.holder() != "mgpass" {
        return;
    }
    let user = USERS[random.below(USERS.len())];
    let avatar = format!("https://mgpass.test/{number}.png");
    let sql = format!("UPDATE users SET avatar = '{avatar}' WHERE id = '{user}'");
    world.databases.execute(Store::Mgpass, &sql);
    if random.below(2) == 0 {
        let entry = format!(
            "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
             VALUES ('aud_{number}', 'user.updated', 'user', '{user}', 'user', '{user}', unixepoch())"
        );
        world.databases.execute(Store::Mgpass, &entry);
    }
    history.edits.borrow_mut().push(Edit {
        user,
        avatar,
        at_ms: world.now_ms(),
    });
}

/// The sum of debt is nil, and yet Logto lacks what was there as of when it says.
fn debt_is_short(world: &World, history: &History) -> Option<String> {
    if world.holder() != "mgpass" {
        return None;
    }
    let results = world
        .databases
        .batch(Store::Proxy, &debt::summary())
        .unwrap();
    let summary = debt::parse_summary(&results)?;
    let as_of_ms = summary.as_of_ms()?;
    if summary.n_users > 0 {
        return None;
    }
    let users = world.logto.users.borrow();
    let edits = history.edits.borrow();
    for user in USERS {
        let (Some(newest), Some(logto)) = (
            edits.iter().rfind(|edit| edit.user == user),
            users.get(user),
        ) else {
            continue;
        };
        // Undone since, where Logto had the say meanwhile.
        let is_there = world.user(user, "avatar") == newest.avatar.as_str();
        let is_carried = logto.avatar.as_ref() == Some(&newest.avatar);
        if is_there && newest.at_ms < as_of_ms && !is_carried {
            let Edit { avatar, .. } = newest;
            return Some(format!("{user}: no debt as of {as_of_ms}, but {avatar}"));
        }
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mind {
    There,
    Back,
    Done,
}

/// Once a minute.
struct Operator<'a> {
    world: &'a Rc<World>,
    random: Random,
    history: &'a History,
    n_hand_overs: u32,
    /// So many minutes things are left as they are.
    dwells: u32,
    mind: Mind,
}

impl Operator<'_> {
    fn act(&mut self) {
        if self.dwells > 0 {
            self.dwells -= 1;
            return;
        }
        let (authority, _) = self.world.authority();
        match (self.world.holder(), self.mind) {
            ("logto", Mind::There) => {
                self.release();
                self.world.prepare();
                if !authority.is_armed() {
                    self.world.arm();
                }
                if authority.wish.is_none() {
                    self.world.wish(Some(Stage::Cutover));
                }
                self.operate();
            }
            ("draining", _) if self.random.below(2) == 0 => {
                // What hangs is let go.
                let let_go = hung::let_go();
                self.world.databases.batch(Store::Proxy, &let_go).unwrap();
            }
            ("mgpass", Mind::There) => {
                self.n_hand_overs += 1;
                self.dwells = 2 + self.random.below(6) as u32;
                self.mind = Mind::Back;
            }
            ("mgpass", Mind::Back) if self.random.below(6) == 0 => self.abandon(),
            ("mgpass", Mind::Back) if authority.wish.is_none() => {
                self.world.wish(Some(Stage::DualWrite));
            }
            ("logto", Mind::Back) => {
                self.mind = match self.n_hand_overs < HAND_OVERS {
                    true => Mind::There,
                    false => Mind::Done,
                };
                self.dwells = 1 + self.random.below(4) as u32;
            }
            _ => {}
        }
    }

    /// As `dwp stage --wait` does.
    fn operate(&self) {
        let node = self.world.node();
        self.world.executor.spawn(async move {
            let flags = snapshot::read(&node, &node.deployment.isolate).await;
            let context = node.context();
            let operated = advance::Operated {
                flags: &flags,
                logto_origin: &context.settings.logto_origin,
                context: Some(context),
            };
            advance::operate(&node, &context.settings.handover, operated).await;
        });
    }

    fn abandon(&self) {
        let node = self.world.node();
        self.world.executor.spawn(async move {
            let settings = node.context().settings.handover.clone();
            // Not answered, they try again.
            let _ = advance::abandon(&node, &settings).await;
        });
    }

    /// Whoever is held: Logto's side is taken, since it has the say.
    fn release(&self) {
        let world = self.world;
        if world.holder() != "logto" || world.authority().0.is_raise_owed {
            return;
        }
        for row in world.proxy("SELECT subject FROM held_subjects") {
            let subject = row["subject"].as_str().unwrap();
            self.history.void(subject, world.now_ms());
            let sql = format!(
                "DELETE FROM held_subjects WHERE subject = '{subject}';
                 UPDATE strays SET state = 'resolved' WHERE subject = '{subject}';"
            );
            world.databases.execute(Store::Proxy, &sql);
            oracle::say(world, subject, Trigger::Overrule);
        }
        for (subject, reason) in oracle::parked(world) {
            match reason.as_str() {
                "edited_at_mgpass" => oracle::say(world, &subject, Trigger::Overrule),
                "deletion_unconfirmed" if !world.logto.users.borrow().contains_key(&subject) => {
                    oracle::say(world, &subject, Trigger::ConfirmedDeletion);
                }
                // Created at mgPass, and abandoned: neither side keeps them.
                "reserved_at_logto" => {
                    world.logto.users.borrow_mut().remove(&subject);
                    oracle::say(world, &subject, Trigger::ConfirmedDeletion);
                }
                _ => {}
            }
            world.wake(&subject);
        }
    }
}
