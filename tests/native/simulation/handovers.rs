//! Histories across hand-overs and returns: an operator who moves the authority to and fro,
//! by the rules or without mgPass, and leaves Logto alone in between, while clients write and read, mgPass's own pages change
//! users with and without a word in its audit log, cron stands still now and then, and
//! everything fails that may fail.
//!
//! Each write of a name is the only one of that value, so that a name tells which write it
//! was. The claims: in the end, and at any read, nothing older than what was acknowledged
//! before; nothing of a client's reaches Logto that mgPass has the say over; both sides equal
//! in the end, and nothing stuck; who is not listed as debt lacks nothing at Logto as of when
//! the list says; nobody who could be waited for is left to a person, and everybody else is;
//! what somebody set at Logto stays until a person decides; a translated write is settled when
//! it is acknowledged; no batch comes into force in another generation, and no move behind its
//! deadline; Logto, once left alone, is asked nothing.

mod clients;
mod history;
mod operator;

use std::rc::Rc;

use dual_write_proxy::policy::authority::Holder;

use self::history::History;
use self::operator::{Mind, Operator};
use super::actions::Journal;
use super::chaos::SimulationTamper;
use super::oracle::{self, Verdict};
use super::{ADMIN, Setup, Simulation, USERS};
use crate::support::World;
use crate::support::executor::Random;

/// An announcement takes 18 minutes, a call without an answer 15.
const MINUTES: i64 = 180;
const LAST_MINUTES: i64 = 90;
/// Of draining, and of the way back.
const BETWEEN_MS: i64 = 120_000;

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
    let history = Rc::new(History::new(Rc::clone(&tamper)));
    tamper.witness.begin(world);
    clients::begin(world, &history, &simulation.random);
    let mut operator = Operator {
        world,
        random: Random::new(setup.seed ^ 0x0be7),
        history: &history,
        n_hand_overs: 0,
        n_left: 0,
        dwells: 2,
        mind: Mind::There,
    };
    let mut weather = Weather {
        is_stormy: true,
        lasts_until_ms: world.now_ms() + 120_000,
    };
    let until_ms = world.now_ms() + MINUTES * 60_000;
    while world.now_ms() < until_ms && operator.mind != Mind::Done {
        operator.act();
        weather.turn(world, &tamper);
        // Cron stands still for a while now and then.
        if operator.random.below(5) > 0 {
            simulation.cron();
            simulation.second_cron();
        }
        simulation.drive(world.now_ms() + 60_000);
        history.debt_is_short(world);
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
    verdict.n_hand_overs = u64::from(operator.n_hand_overs);
    verdict.n_left = u64::from(operator.n_left);
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
    history.look(world);
    history.look_back(world, BETWEEN_MS);
    verdict.disproved.extend(history.wrong.take());
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
