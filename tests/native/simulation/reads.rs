//! What clients read while others write: a third random series, in which all reads of
//! mirrored users may be answered by mgPass.
//!
//! The claim: nobody reads less than they, or anybody, were told was written before the
//! read began; and a brake that is pulled, in whatever spelling, holds. It is made while
//! the proxy's own database and Queue work: a write that only the Queue has taken is
//! unknown to other isolates for a while, which the flow tests judge.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};

use super::USERS;
use super::actions::Journal;
use crate::support::client::Answered;
use crate::support::executor::Random;
use crate::support::{Node, Request, World};

const N_READERS: usize = 2;
/// A snapshot of the flags is used so long; the request after that still uses it, and has
/// it refreshed behind itself.
const SNAPSHOT_MS: i64 = 6_000;

#[derive(Default)]
pub struct Reads {
    acknowledged: RefCell<Vec<Acknowledged>>,
    pub n_reads: Cell<u64>,
    pub n_from_mgpass: Cell<u64>,
    pub stale: RefCell<Vec<String>>,
    pub unbraked: RefCell<Vec<String>>,
}

struct Acknowledged {
    user: String,
    began_ms: i64,
    answered_ms: i64,
}

impl Reads {
    pub fn acknowledged(&self, user: String, began_ms: i64, answered_ms: i64) {
        self.acknowledged.borrow_mut().push(Acknowledged {
            user,
            began_ms,
            answered_ms,
        });
    }

    fn judge(&self, world: &World, user: &str, began_ms: i64, answer: &Answered) {
        self.n_reads.set(self.n_reads.get() + 1);
        if !is_of_mgpass(answer) {
            return;
        }
        self.n_from_mgpass.set(self.n_from_mgpass.get() + 1);
        let history = world.logto.history.borrow();
        let states = history.as_ref().and_then(|history| history.get(user));
        let states = states.map(Vec::as_slice).unwrap_or_default();
        // A write that was answered before the read began has made one of the states that
        // began while it was under way.
        let acknowledged = self.acknowledged.borrow();
        let oldest = acknowledged
            .iter()
            .filter(|write| write.user == user && write.answered_ms <= began_ms)
            .filter_map(|write| {
                states
                    .iter()
                    .position(|(at_ms, _)| (write.began_ms..=write.answered_ms).contains(at_ms))
            })
            .max()
            .unwrap_or(0);
        let newest_shown = states.iter().rposition(|(_, json)| *json == answer.body);
        // Beside a write parts of both states may be shown, of which nobody was told.
        if newest_shown.is_some_and(|shown| shown < oldest) {
            self.stale.borrow_mut().push(format!(
                "{user} at {began_ms}: {}, and {} was acknowledged",
                answer.body, states[oldest].1
            ));
        }
    }
}

fn is_of_mgpass(answer: &Answered) -> bool {
    answer.is_own && answer.status == 200
}

pub fn start(world: &Rc<World>, nodes: &[Node], journal: &Rc<Journal>, random: &Random) {
    world.flag("read_percent", "100");
    world.flag("compare_percent", "0");
    world.mgpass.cache_ms.set([0, 0, 3_000][random.below(3)]);
    *world.logto.history.borrow_mut() = Some(Default::default());
    world.logto.keep_history(world.now_ms());
    let mut nodes = nodes.to_vec();
    nodes.push(world.node());
    for reader in 0..N_READERS {
        let (nodes, journal) = (nodes.clone(), Rc::clone(journal));
        let random = Random::new(random.next() ^ reader as u64);
        world.executor.spawn(async move {
            loop {
                let pause_ms = [30, 700, 5_000, 20_000][random.below(4)];
                nodes[0].world.executor.sleep(pause_ms).await;
                let node = &nodes[random.below(nodes.len())];
                let user = USERS[random.below(USERS.len())];
                let began_ms = node.world.now_ms();
                if let Some(answer) = read(node, user).await {
                    journal.reads.judge(&node.world, user, began_ms, &answer);
                }
            }
        });
    }
    if random.below(2) == 0 {
        let random = Random::new(random.next());
        let journal = Rc::clone(journal);
        world
            .executor
            .spawn(async move { brake(&nodes, &journal, &random).await });
    }
}

/// As an operator in a hurry writes it, or a hand that slips.
async fn brake(nodes: &[Node], journal: &Journal, random: &Random) {
    let world = &nodes[0].world;
    let (key, text) = [
        ("kill_switch", "on"),
        ("kill_switch", "ON"),
        ("kill_switch", "yes"),
        ("kill_switch", "1"),
        ("guard", r#"{"cap_percent":"0","reason":"latency"}"#),
        ("guard", "stop"),
        ("guard", "{"),
    ][random.below(7)];
    world
        .executor
        .sleep([5_000, 40_000, 100_000][random.below(3)])
        .await;
    world.flag(key, text);
    world.executor.sleep(SNAPSHOT_MS).await;
    for _ in 0..10 {
        let node = &nodes[random.below(nodes.len())];
        let user = USERS[random.below(USERS.len())];
        // The one that has the flags refreshed.
        read(node, user).await;
        world.executor.sleep(300).await;
        let answer = read(node, user).await;
        if answer.is_some_and(|answer| is_of_mgpass(&answer)) {
            let unbraked = format!("{user} was read from mgPass with {key} = {text}");
            journal.reads.unbraked.borrow_mut().push(unbraked);
        }
        world.executor.sleep(1_000).await;
    }
    world.flags.borrow_mut().remove(key);
}

async fn read(node: &Node, user: &str) -> Option<Answered> {
    let token = node.world.admin_token();
    let request = Request::new("GET", &format!("/api/users/{user}")).token(&token);
    let answered = node.world.start_at(node, request);
    match select(answered, pin!(node.world.executor.sleep(130_000))).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}
