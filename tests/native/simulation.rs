//! One run: a world with three mirrored users, writers, faults, then the drain
//! and the judgement. Everything follows from the setup, the seed above all.

pub mod actions;
mod browsers;
pub mod chaos;
mod handovers;
mod help;
pub mod oracle;
pub mod passwords;
mod reads;
pub mod sign_in;
pub mod totals;
mod values;
pub mod variants;
pub mod wakes;
pub mod witness;

use std::rc::Rc;

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::relay;
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::operate::findings;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::runtime::snapshot;

use self::actions::{Journal, ROUTES};
use self::chaos::{Chaos, SimulationTamper};
use self::help::OPERATOR;
use self::oracle::Verdict;
use self::variants::Variant;
use super::support::Node;
use super::support::World;
use super::support::database::Databases;
use super::support::executor::{Executor, Random, SharedTime};
use super::support::logto::HANDOVER_SECRET;
use super::support::webhooks::SECRET;
use super::support::world::START_MS;

pub const ADMIN: &str = "admin-token";
pub const USERS: [&str; 3] = ["alice0000001", "bob000000001", "carol0000001"];

#[derive(Clone, Copy, Debug)]
pub enum Course {
    /// One write by one route, and perhaps another of the same user 35 s later.
    One { route: usize, is_followed: bool },
    /// Three writers.
    Writers,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub course: Course,
    pub chaos: Chaos,
    pub variant: Option<Variant>,
    /// With walk, catch-up, webhooks and an import, and with writes past the proxy.
    pub is_helped: bool,
    /// With readers, and the proxy's own database and Queue at work.
    pub is_reading: bool,
    /// With an operator who moves the authority to and fro.
    pub is_handing_over: bool,
    pub is_loud: bool,
}

impl Setup {
    pub fn of(course: Course, chaos: Chaos) -> Self {
        Self {
            seed: 1,
            course,
            chaos,
            variant: None,
            is_helped: false,
            is_reading: false,
            is_handing_over: false,
            is_loud: false,
        }
    }

    pub fn random(seed: u64) -> Self {
        Self {
            seed,
            ..Self::of(Course::Writers, Chaos::Random)
        }
    }

    /// Nothing goes wrong, and everything comes once.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            ..Self::of(Course::Writers, Chaos::None)
        }
    }

    pub fn helped(seed: u64) -> Self {
        Self {
            is_helped: true,
            ..Self::random(seed)
        }
    }

    pub fn reading(seed: u64) -> Self {
        Self {
            is_reading: true,
            ..Self::random(seed)
        }
    }

    pub fn handing_over(seed: u64) -> Self {
        Self {
            is_handing_over: true,
            // The walk is what brings everybody up to date behind a move.
            is_helped: true,
            ..Self::random(seed)
        }
    }

    /// Half of the time nobody reaches Logto but through the proxy.
    fn is_closed(&self) -> bool {
        !self.is_helped && self.seed % 2 == 1
    }

    pub fn name(&self) -> String {
        match self.course {
            Course::Writers => format!("seed {}", self.seed),
            Course::One { route, is_followed } => {
                format!(
                    "{}{}",
                    ROUTES[route].0,
                    if is_followed { ", followed" } else { "" }
                )
            }
        }
    }
}

thread_local! {
    /// Databases with their tables and prepared statements, for all runs of a thread.
    static DATABASES: (SharedTime, Rc<Databases>) = {
        let time = SharedTime::default();
        let databases = Rc::new(Databases::new(&time));
        (time, databases)
    };
}

pub fn run(setup: &Setup) -> Verdict {
    let (time, databases) =
        DATABASES.with(|(time, databases)| (SharedTime::clone(time), Rc::clone(databases)));
    let executor = Executor::sharing(setup.seed, START_MS, time);
    databases.begin();
    let mut settings = vec![("LOGTO_WEBHOOK_SECRET", SECRET), ("ADMIN_TOKEN", OPERATOR)];
    if setup.is_handing_over {
        settings.push(("HANDOVER_SECRET", HANDOVER_SECRET));
    }
    let world = World::over(
        setup.seed,
        &settings,
        Rc::clone(&executor),
        Rc::clone(&databases),
    );
    world.keeps_events.set(setup.is_loud);
    if setup.is_handing_over {
        *world.logto.secrets.borrow_mut() = vec![HANDOVER_SECRET];
    }
    let verdict = match setup.is_handing_over {
        true => handovers::live(&world, setup),
        false => live(&world, setup),
    };
    if setup.is_loud {
        for line in world.events.borrow().iter() {
            println!("{line}");
        }
        for sql in [
            "SELECT * FROM counters",
            "SELECT * FROM subjects",
            "SELECT * FROM intents WHERE discharged_at IS NULL",
        ] {
            for row in world.proxy(sql) {
                println!("{}", serde_json::Value::Object(row));
            }
        }
        println!(
            "now {}, next in the queue {:?}",
            world.now_ms(),
            world.next_due_ms()
        );
    }
    executor.stop();
    databases.roll_back();
    verdict
}

/// A run under way.
struct Simulation<'a> {
    setup: &'a Setup,
    world: &'a Rc<World>,
    relay: Node,
    random: Random,
}

fn live(world: &Rc<World>, setup: &Setup) -> Verdict {
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
    *world.logto.told.borrow_mut() = setup.is_helped.then(Vec::new);
    world.logto.is_closed.set(setup.is_closed());
    let tamper = Rc::new(SimulationTamper::new(setup));
    *world.tamper.borrow_mut() = Some(Rc::clone(&tamper) as _);
    let first_call = world.faults.n_decided();
    tamper.begin(world, first_call);
    let journal = Rc::new(Journal::default());
    let end_ms = actions::start(world, setup, &journal);
    if setup.is_helped {
        help::import(world, &world.node(), &simulation.random);
    }
    let mut n_calls = 0;
    let mut late = Vec::new();
    while world.now_ms() < end_ms {
        if matches!(setup.chaos, Chaos::None) {
            late.extend(wakes::late(world));
        }
        simulation.cron();
        simulation.second_cron();
        simulation.drive(world.now_ms() + 60_000);
        if n_calls == 0 || matches!(setup.course, Course::One { .. }) {
            n_calls = world.faults.n_decided() - first_call;
        }
    }
    tamper.end(world);
    simulation.drain();
    let n_parked = oracle::parked(world).len() as u64;
    let unmirrored = oracle::unmirrored_deletions(world, &journal);
    // An operator confirms the deletions that wait for one, overrules what was edited
    // at mgPass, and replays the rest.
    for _ in 0..3 {
        let parked = oracle::parked(world);
        if parked.is_empty() {
            break;
        }
        for (subject, reason) in parked {
            let is_gone = !world.logto.users.borrow().contains_key(&subject);
            let word = match reason.as_str() {
                "deletion_unconfirmed" if is_gone => Some(Trigger::ConfirmedDeletion),
                "edited_at_mgpass" => Some(Trigger::Overrule),
                _ => None,
            };
            if let Some(word) = word {
                let user = UserId::parse(&subject).unwrap();
                let (intent, status) = word.intent(&user, simulation.random.next());
                world
                    .databases
                    .batch(Store::Proxy, &intent.settle(status))
                    .unwrap();
            }
            world.wake(&subject);
        }
        simulation.drain();
    }
    let mut verdict = oracle::judge(world, setup, &journal, &tamper);
    verdict.wrong.extend(unmirrored);
    verdict.late = late;
    let n_gaps = world.counter("unrecorded") as u64;
    if matches!(setup.chaos, Chaos::None) && n_gaps > journal.n_unnameable.get() {
        verdict.needless.push(format!("{n_gaps} gaps"));
    }
    verdict.stale = journal.reads.stale.take();
    verdict.unbraked = journal.reads.unbraked.take();
    verdict.n_reads = journal.reads.n_reads.get();
    verdict.n_from_mgpass = journal.reads.n_from_mgpass.get();
    verdict.n_calls = n_calls;
    verdict.n_parked = n_parked;
    verdict
}

impl Simulation<'_> {
    /// Cron alone, no fault any more: long enough for late commits, for every backoff,
    /// and, where there is one, for a whole pass of the walk.
    fn drain(&self) {
        let world = self.world;
        let until_ms = world.now_ms() + 4 * 3_600_000;
        // Whatever is still under way may land up to 200 s from now.
        let least_ms = world.now_ms() + 240_000;
        let fresh = Simulation {
            relay: world.node(),
            random: Random::new(self.random.next()),
            ..*self
        };
        while world.now_ms() < until_ms {
            fresh.cron();
            fresh.drive(world.now_ms() + 60_000);
            if world.now_ms() >= least_ms && oracle::is_drained(world, self.setup) {
                return;
            }
        }
    }

    fn cron(&self) {
        self.cron_at(self.relay.next_invocation(), 0);
    }

    /// Now and then the last minute's cron is not through when the next one begins.
    fn second_cron(&self) {
        if matches!(self.setup.chaos, Chaos::Random) && self.random.below(3) == 0 {
            let delay_ms = [0, 1, 7, 40, 2_000][self.random.below(5)];
            self.cron_at(self.world.node(), delay_ms);
        }
    }

    fn cron_at(&self, node: Node, delay_ms: i64) {
        let is_helped = self.setup.is_helped;
        self.world.executor.spawn(async move {
            node.world.executor.sleep(delay_ms).await;
            if is_helped {
                return node.cron().await;
            }
            let flags = snapshot::read(&node, &node.deployment.isolate).await;
            relay::sweep(&node, &node.context(), flags.stage, findings::purge()).await;
        });
    }

    /// Lets the world go on until then, with the Queue delivering.
    fn drive(&self, until_ms: i64) {
        let world = self.world;
        let has_due = || {
            let due_ms = world.next_due_ms();
            due_ms.is_some_and(|due_ms| due_ms <= world.now_ms()) || help::has_webhooks(world)
        };
        loop {
            help::send_webhooks(world, &self.relay, &self.random);
            for delivery in world.take_due() {
                let node = self.relay.next_invocation();
                world.executor.spawn(async move {
                    node.deliver(vec![delivery]).await;
                });
            }
            let next_ms = world
                .next_due_ms()
                .map_or(until_ms, |due_ms| due_ms.min(until_ms));
            // A retry may come due before what was next.
            let is_earlier = || world.next_due_ms().is_some_and(|due_ms| due_ms < next_ms);
            world.executor.run(next_ms, || has_due() || is_earlier());
            if world.now_ms() >= until_ms && !has_due() {
                return;
            }
        }
    }
}
