//! The operator, who looks once a minute: hands over, leaves Logto alone for a while, goes
//! back by the rules or without mgPass, lets go of what hangs, and decides about whoever is
//! held.

use std::cell::Cell;
use std::rc::Rc;

use dual_write_proxy::handover::{advance, hung};
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::runtime::snapshot;

use super::history::{History, is_held};
use crate::simulation::oracle;
use crate::support::executor::Random;
use crate::support::{Node, World};

/// Hand-overs of one run, each with its way back.
const HAND_OVERS: u32 = 2;
/// So long the operator tries to leave Logto alone.
const LEAVING_MS: i64 = 15 * 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mind {
    There,
    /// On to where nobody asks Logto, the gates permitting until then.
    Alone {
        until_ms: i64,
    },
    Back,
    Done,
}

/// Once a minute.
pub(super) struct Operator<'a> {
    pub world: &'a Rc<World>,
    pub random: Random,
    pub history: &'a Rc<History>,
    pub n_hand_overs: u32,
    /// How often Logto was left alone.
    pub n_left: u32,
    /// So many minutes things are left as they are.
    pub dwells: u32,
    pub mind: Mind,
}

impl Operator<'_> {
    pub fn act(&mut self) {
        // Whoever made them so may have crashed.
        self.world.queue_delay_ms.set(0);
        self.history.tamper.is_slow.set(false);
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
                self.let_go();
            }
            ("mgpass", Mind::There) => {
                self.n_hand_overs += 1;
                self.dwells = 2 + self.random.below(6) as u32;
                if self.random.below(2) == 0 {
                    let quiet_ms = i64::from(self.dwells) * 60_000;
                    let until_ms = self.world.now_ms() + quiet_ms;
                    self.history.quiet_until_ms.set(until_ms);
                }
                self.mind = match self.random.below(2) {
                    0 => Mind::Back,
                    _ => Mind::Alone {
                        until_ms: self.world.now_ms() + LEAVING_MS,
                    },
                };
            }
            ("mgpass", Mind::Alone { until_ms }) if self.world.now_ms() > until_ms => {
                self.world.flag("stage", "dual_write");
                self.mind = Mind::Back;
            }
            // A change of the flag is the wish.
            ("mgpass", Mind::Alone { .. }) => {
                self.world.prepare_cleanup();
                self.world.flag("stage", "cleanup");
            }
            ("alone", Mind::Alone { .. }) => {
                self.n_left += 1;
                self.dwells = 1 + self.random.below(8) as u32;
                self.mind = Mind::Back;
            }
            ("alone", _) if authority.wish.is_none() => {
                self.world.flag("stage", "dual_write");
                self.go_on(Stage::Cutover);
            }
            ("mgpass", Mind::Back) if self.random.below(6) == 0 => self.abandon(),
            ("mgpass", Mind::Back) if authority.wish.is_none() => {
                self.go_on(Stage::DualWrite);
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
        self.world.executor.spawn(operate(node));
    }

    /// While everybody writes, and mgPass's database is slow.
    fn go_on(&mut self, stage: Stage) {
        let is_slow = self.rush(10_000);
        let (node, pause_ms) = (self.world.node(), self.pause_ms());
        let holder = self.world.holder();
        self.world.executor.spawn(async move {
            node.world.executor.sleep(pause_ms).await;
            let world = &node.world;
            if world.holder() == holder && world.authority().0.wish.is_none() {
                world.wish(Some(stage));
                operate(node).await;
            }
            is_slow.set(false);
        });
    }

    /// While everybody writes, and perhaps while wake-ups come late.
    fn abandon(&mut self) {
        let is_slow = self.rush(10_000);
        if self.random.below(2) == 0 {
            self.world.queue_delay_ms.set(30_000);
        }
        let (node, pause_ms) = (self.world.node(), self.pause_ms());
        self.world.executor.spawn(async move {
            node.world.executor.sleep(pause_ms).await;
            let settings = node.context().settings.handover.clone();
            // Not answered, they try again.
            let _ = advance::abandon(&node, &settings).await;
            node.world.queue_delay_ms.set(0);
            is_slow.set(false);
        });
    }

    /// Answers what makes mgPass's database fast again.
    fn rush(&self, duration_ms: i64) -> Rc<Cell<bool>> {
        let until_ms = self.world.now_ms() + duration_ms;
        self.history.rush_until_ms.set(until_ms);
        self.history.quiet_until_ms.set(0);
        self.history.tamper.is_slow.set(true);
        Rc::clone(&self.history.tamper.is_slow)
    }

    fn pause_ms(&self) -> i64 {
        1_000 + self.random.below(4_000) as i64
    }

    /// What hangs, whose users are held from then on.
    fn let_go(&self) {
        let world = self.world;
        let hung = world.proxy(
            "SELECT DISTINCT subject FROM intents WHERE discharged_at IS NULL AND side = 'logto' \
             AND settled IS NULL AND subject IS NOT NULL AND expires_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        );
        for statement in hung::let_go() {
            let statement = self.history.tamper.broken(world, statement);
            world.databases.batch(Store::Proxy, &[statement]).unwrap();
        }
        for row in hung {
            let subject = row["subject"].as_str().unwrap();
            if !is_held(world, subject) {
                self.history
                    .say(format!("{subject}: a write hangs, and nobody is to look"));
            }
        }
    }

    /// Whoever is held: Logto's side is taken, since it has the say.
    pub fn release(&self) {
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

async fn operate(node: Node) {
    let flags = snapshot::read(&node, &node.deployment.isolate).await;
    let context = node.context();
    let operated = advance::Operated {
        flags: &flags,
        logto_origin: &context.settings.logto_origin,
        context: Some(context),
    };
    advance::operate(&node, &context.settings.handover, operated).await;
}
