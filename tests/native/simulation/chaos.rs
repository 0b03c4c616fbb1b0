//! What goes wrong, and when: at one call, or at any by the seed.

use std::cell::Cell;
use std::rc::Rc;

use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::ports::{Call, Row, Statement, Store};

use super::Setup;
use super::variants::Variant;
use super::wakes::{self, Fate, Turns};
use super::witness::Witness;
use crate::support::executor::Random;
use crate::support::faults::Glitch;
use crate::support::world::Tamper;
use crate::support::{Fault, Port, World};

#[derive(Clone, Copy, Debug)]
pub enum Chaos {
    None,
    /// The call of that number, counted from the first of the write.
    At(u64, Fault),
    /// The request of that number that reaches a backend.
    Glitch(u64, Glitch),
    /// The message of that number.
    Message(u64, Fate),
    Random,
}

/// Everything that can happen to one call. 200 s: Logto was seen to commit as late.
pub const FAULTS: &[Fault] = &[
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::BeforeEffect,
    Fault::AfterEffect,
    Fault::Hang,
    Fault::HangAfterEffect,
    Fault::Late(400),
    Fault::Late(33_000),
    Fault::Late(45_000),
    Fault::Late(200_000),
    Fault::SlowAnswer(600),
    Fault::SlowAnswer(9_000),
    Fault::SlowAnswer(45_000),
];

const SLOWLY: &[Fault] = &[
    Fault::SlowAnswer(600),
    Fault::SlowAnswer(2_000),
    Fault::Late(400),
    Fault::Late(2_000),
];

/// 401 and 403 also stand for a gateway that keeps somebody out.
pub const GLITCHES: &[Glitch] = &[
    Glitch::Refuse(401),
    Glitch::Refuse(403),
    Glitch::Refuse(503),
    Glitch::Refuse(500),
    Glitch::CommitThenFail(500),
    Glitch::NotFound,
];

/// Between the core and its ports: backends' glitches, and the broken variant.
pub struct SimulationTamper {
    chaos: Chaos,
    is_reading: bool,
    pub variant: Option<Variant>,
    /// How often the variant said or heard something else than the core.
    pub n_broken: Cell<u64>,
    is_on: Cell<bool>,
    random: Random,
    n_reached: Cell<u64>,
    n_sent: Cell<u64>,
    /// One of so many messages has a fate of its own.
    messages_one_in: usize,
    pub turns: Turns,
    pub witness: Witness,
    /// mgPass's database is slow.
    pub is_slow: Rc<Cell<bool>>,
    /// Faults that may repeat an effect: its call, or the note that it was made.
    pub n_effect_faults: Rc<Cell<u64>>,
}

impl SimulationTamper {
    pub fn new(setup: &Setup) -> Self {
        let random = Random::new(setup.seed ^ 0x6117);
        Self {
            chaos: setup.chaos,
            is_reading: setup.is_reading,
            variant: setup.variant,
            n_broken: Cell::default(),
            is_on: Cell::new(false),
            n_reached: Cell::new(0),
            n_sent: Cell::new(0),
            messages_one_in: wakes::moods(&random),
            turns: Turns::default(),
            witness: Witness::default(),
            is_slow: Rc::default(),
            random,
            n_effect_faults: Rc::default(),
        }
    }

    fn note_broken(&self, is_broken: bool) {
        self.n_broken
            .set(self.n_broken.get() + u64::from(is_broken));
    }

    pub fn begin(&self, world: &World, first_call: u64) {
        self.is_on.set(true);
        let (chaos, is_reading) = (self.chaos, self.is_reading);
        let random = Random::new(self.random.next());
        // Some runs are calm, some are stormy.
        let one_in = [15, 40, 120][random.below(3)];
        let n_effect_faults = Rc::clone(&self.n_effect_faults);
        let is_slow = Rc::clone(&self.is_slow);
        *world.faults.script.borrow_mut() = Some(Box::new(move |port, what, number| {
            let fault = match chaos {
                Chaos::None | Chaos::Glitch(..) | Chaos::Message(..) => None,
                Chaos::At(point, fault) => (number == first_call + point).then_some(fault),
                Chaos::Random if is_slow.get() && port == Port::MgpassDatabase => {
                    (random.below(6) == 0).then(|| SLOWLY[random.below(SLOWLY.len())])
                }
                Chaos::Random => {
                    (random.below(one_in) == 0).then(|| FAULTS[random.below(FAULTS.len())])
                }
            };
            let fault = fault?;
            let what = what();
            if is_reading && matches!(port, Port::ProxyDatabase | Port::Queue) {
                return None;
            }
            if !may_happen(port, &what, fault) {
                return None;
            }
            if repeats_effect(port, &what) {
                n_effect_faults.set(n_effect_faults.get() + 1);
            }
            Some(fault)
        }));
    }

    /// What an operator's tool would send.
    pub fn broken(&self, world: &World, statement: Statement) -> Statement {
        let statements = vec![statement.clone()];
        let mut broken = self.statements(world, Store::Proxy, statements);
        broken.pop().unwrap_or(statement)
    }

    pub fn end(&self, world: &World) {
        self.is_on.set(false);
        *world.faults.script.borrow_mut() = Some(Box::new(|_, _, _| None));
    }
}

/// An intent that neither database nor Queue takes is a gap, which the epoch tells; it is
/// judged in the flow tests, as is a gap that neither takes. Here every intent, and every
/// gap, is recorded somewhere.
pub fn may_happen(port: Port, what: &str, fault: Fault) -> bool {
    match port {
        // An isolate that knows no flag behaves as `off`, which is a gap, too.
        Port::Flags | Port::Keys | Port::MetricsDatabase | Port::RewardsDatabase => false,
        Port::Queue => {
            // Messages travel as a list.
            !(what.contains(r#"{"kind":"open""#) || what.contains(r#"{"kind":"gap""#))
                || matches!(fault, Fault::CrashAfter | Fault::SlowAnswer(_))
        }
        _ => true,
    }
}

fn repeats_effect(port: Port, what: &str) -> bool {
    match port {
        Port::Mgpass => what.contains("revoke-all"),
        Port::MgpassDatabase => what.contains("DELETE FROM logto_mirror_effects"),
        // A suspension that nobody settled, or whose intent comes minutes late, is
        // looked at on suspicion.
        Port::ProxyDatabase => what.contains("INSERT INTO intents"),
        _ => false,
    }
}

impl Tamper for SimulationTamper {
    fn statements(
        &self,
        world: &World,
        store: Store,
        statements: Vec<Statement>,
    ) -> Vec<Statement> {
        self.witness.observe_statements(store, &statements);
        match self.variant {
            Some(variant) => {
                let changed = variant.statements(world, store, statements.clone());
                self.note_broken(changed != statements);
                changed
            }
            None => statements,
        }
    }

    fn results(
        &self,
        world: &World,
        store: Store,
        sql: &[&'static str],
        results: Vec<Vec<Row>>,
    ) -> Vec<Vec<Row>> {
        self.turns.observe(store, sql, &results);
        self.witness.observe_results(sql, &results, world.now_ms());
        match self.variant {
            Some(variant) => {
                let changed = variant.results(store, sql, results.clone());
                self.note_broken(changed != results);
                changed
            }
            None => results,
        }
    }

    fn call(&self, call: Call) -> Call {
        match self.variant {
            Some(variant) => {
                let changed = variant.call(call.clone());
                self.note_broken(changed.url != call.url || changed.headers != call.headers);
                changed
            }
            None => call,
        }
    }

    fn flag(&self, key: &str, value: Option<String>) -> Option<String> {
        match self.variant {
            Some(variant) => {
                let changed = variant.flag(key, value.clone());
                self.note_broken(changed != value);
                changed
            }
            None => value,
        }
    }

    fn copies(&self, message: &Message) -> Vec<i64> {
        if !self.is_on.get() {
            return vec![0];
        }
        let number = self.n_sent.get();
        self.n_sent.set(number + 1);
        let fate = match self.chaos {
            Chaos::Message(point, fate) => (number == point).then_some(fate),
            Chaos::Random if self.random.below(self.messages_one_in) == 0 => {
                Some(wakes::draw(&self.random))
            }
            _ => None,
        };
        fate.map_or_else(|| vec![0], |fate| wakes::copies(message, fate))
    }

    fn glitch(&self, port: Port, what: &str) -> Option<Glitch> {
        if !self.is_on.get() {
            return None;
        }
        let number = self.n_reached.get();
        self.n_reached.set(number + 1);
        let glitch = match self.chaos {
            Chaos::Glitch(point, glitch) => (number == point).then_some(glitch),
            Chaos::Random if self.random.below(50) == 0 => {
                Some(GLITCHES[self.random.below(GLITCHES.len())])
            }
            _ => None,
        }?;
        if repeats_effect(port, what) {
            self.n_effect_faults.set(self.n_effect_faults.get() + 1);
        }
        // Logto without its data, for a moment; mgPass's own 404 has no such shape.
        let is_user_read = port == Port::Logto && what.starts_with("GET /api/users/");
        (glitch != Glitch::NotFound || is_user_read).then_some(glitch)
    }
}
