//! Sign-in over 45 days of virtual time: people with several browsers and applications,
//! through all stages with two rollbacks, an outage of mgPass, answers lost on the way,
//! suspensions, changed passwords, and mistakes of the operator's.
//!
//! Product, over its ports: the whole native service. Every request of a browser or a client
//! at the auth host (login link, `/oidc/auth`, the check of a password, the submit, token
//! endpoint, userinfo, end of session), every batch of the Queue, and cron: each minute
//! while the authority moves, every four hours else. So share and pin, mark and readiness, carried
//! passwords and their voids, owners, hand-overs and their gates, the ledger and the forecast
//! are the product's own, over the real SQL.
//!
//! Model: both sides towards clients and browsers (`sign_in/backends.rs`: sessions, codes,
//! rotation, leeways, replay, consent, as the contracts have them), Logto's own pages but for
//! the two requests above, mgPass's pages, and the people and their applications
//! (`sign_in/people.rs`). Written in as done: the checklist, the certificate and the
//! comparison of reads that the gates ask for, and the first mirroring by waking everybody.
//! Cron is rarer than in production: what waits for it waits longer. Where a look that comes
//! late would be another one, it comes in time: behind a password that the proxy set.
//!
//! A new sign-in is one that Logto alone would not have asked for: each browser has beside it
//! what it would hold with Logto alone. Each has a reason of the forecast's, and no more
//! people of a reason than the product's last forecast before it said.

mod backends;
mod broken;
mod browsers;
mod judge;
mod operator;
mod people;
mod series;
mod sign_ins;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;

use self::backends::{Backends, Client, DAY_MS, Kind, LOGTO_MS, Seen};
use self::broken::{BROKEN, Breaker, Broken};
use self::browsers::Browser;
use self::judge::{Count, FAMILIES, IN_A_FRAME, Judge, TWICE, WRONG_SIDE};
use self::operator::{Act, COURSE, Now, applications};
use self::people::{Person, Town, Way};
pub use self::series::series;
use crate::support::executor::Random;
use crate::support::logto::HANDOVER_SECRET;
use crate::support::world::START_MS;
use crate::support::{Fault, Port, World};

const PIN_SECRET: &str = "a-key-for-the-pin";
const OPERATOR: &str = "operator-s3cret";
/// Of each application; `forum` stays at Logto for a long time.
const NAMES: [&str; 4] = ["news", "shop", "tools", "forum"];
/// At Logto and at mgPass.
const CLIENT_IDS: [(&str, &str); 4] = [
    ("news00000000000000000", "app_news"),
    ("shop00000000000000000", "app_shop"),
    ("tools0000000000000000", "app_tools"),
    ("forum0000000000000000", "app_forum"),
];
const KINDS: [Kind; 4] = [Kind::Spa, Kind::Web, Kind::Native, Kind::Web];
/// Somebody without a second factor.
const PLAIN: &str = "p00000000000";
const HOUR_MS: i64 = 3_600_000;
const CRON_HOURS: i64 = 4;
const SOON_MS: i64 = 10 * 60_000;

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub n_people: usize,
    pub n_days: i64,
    pub broken: Option<Broken>,
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What must be zero.
    pub zero: Vec<(&'static str, Count)>,
    /// People by reason.
    pub reasons: Vec<(&'static str, usize)>,
    /// What happened, in numbers.
    pub told: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.zero.iter().all(|(_, count)| count.n == 0)
    }

    pub fn count(&self, name: &str) -> Option<&Count> {
        let found = self.zero.iter().find(|(known, _)| *known == name);
        found.map(|(_, count)| count)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Operator(usize),
    Cron,
    /// Once more, soon behind something that it looks for.
    Soon,
    Minute,
    Visit {
        browser: usize,
        used: usize,
    },
    SignOut {
        browser: usize,
        used: usize,
    },
    Suspend(usize),
    Suspended(usize),
    Release(usize),
    Password(usize),
}

pub fn run(setup: &Setup) -> Verdict {
    let world = World::with(
        setup.seed,
        &[
            ("PIN_SECRET", PIN_SECRET),
            ("ADMIN_TOKEN", OPERATOR),
            ("HANDOVER_SECRET", HANDOVER_SECRET),
            ("PASSWORD_CARRY", "on"),
            ("WALK", "off"),
        ],
    );
    world.keeps_events.set(false);
    world.logto.is_closed.set(true);
    *world.logto.secrets.borrow_mut() = vec![HANDOVER_SECRET];
    world.flag("stage", "off");
    world.flag("sign_in_percent", "0");
    world.flag("mgpass_pages", "open");
    world.flag("applications", &applications(false));
    world.databases.execute(
        Store::Proxy,
        "UPDATE password_carry SET decided_at = 1, decided_by = 'x', checked_at = 1, facts = '{}', passed_at = 1",
    );
    if let Some(broken) = setup.broken {
        *world.tamper.borrow_mut() = Some(Rc::new(Breaker::new(broken)) as _);
    }
    let mut town = settle(&world, setup);
    lose_answers(&world, setup.seed);
    live(&mut town, setup);
    let verdict = judge(&town, setup);
    world.executor.stop();
    *world.tamper.borrow_mut() = None;
    *world.clients.borrow_mut() = None;
    verdict
}

fn settle(world: &Rc<World>, setup: &Setup) -> Town {
    let random = Random::new(setup.seed ^ 0x516e);
    let clients = CLIENT_IDS.iter().zip(KINDS);
    let clients = clients.map(|((logto, mgpass), kind)| Client {
        logto,
        mgpass,
        kind,
    });
    let backends = Rc::new(Backends::new(clients.collect()));
    let (mut people, mut browsers) = (Vec::new(), Vec::new());
    for number in 0..setup.n_people {
        let id = format!("p{number:011}");
        let way = match random.below(100) {
            _ if id == PLAIN => Way::Social,
            0..=39 => Way::Password,
            40..=71 => Way::Social,
            72..=79 => Way::Neither,
            80..=87 => Way::Factor,
            88..=93 => Way::SocialAndFactor,
            _ => Way::Company,
        };
        let first_client = random.below(NAMES.len());
        world.put_user(&id, |user| {
            user.username = Some(format!("name{number}"));
            user.application_id = Some(CLIENT_IDS[first_client].0.to_owned());
            user.last_sign_in_at = Some(START_MS - DAY_MS);
            if way != Way::Neither {
                user.email = Some(format!("{id}@example.test"));
            }
            if matches!(way, Way::Password | Way::Factor) {
                user.has_password = true;
            }
            if matches!(way, Way::Social | Way::SocialAndFactor) {
                user.identities
                    .push(("google".to_owned(), format!("g{number}"), None));
            }
            if matches!(way, Way::Factor | Way::SocialAndFactor) {
                user.factors.push("Totp");
            }
            if way == Way::Company {
                user.sso.push("c1");
            }
        });
        if matches!(way, Way::Password | Way::Factor) {
            let password = format!("a-long-Password-{number}");
            world
                .logto
                .passwords
                .borrow_mut()
                .insert(id.clone(), password);
        }
        backends.ids.borrow_mut().insert(id.clone(), number as u32);
        for _ in 0..1 + random.below(5) / 2 {
            let mut used: Vec<_> = (0..NAMES.len()).filter(|_| random.below(2) == 0).collect();
            if used.is_empty() {
                used.push(first_client);
            }
            let mut browser = Browser::new(number, &used);
            let age_ms = (random.next() % LOGTO_MS as u64) as i64;
            browser.began(&backends, age_ms, world.now_ms());
            browsers.push(browser);
        }
        people.push(Person {
            id,
            way,
            first_client,
            is_suspended: false,
            has_reset: false,
        });
    }
    *world.clients.borrow_mut() = Some(Rc::clone(&backends) as _);
    Town {
        world: Rc::clone(world),
        node: world.node(),
        backends,
        people,
        browsers,
        random,
        judge: Judge::default(),
        now: Now::new(),
        owes_cron: false,
        owed: HashSet::new(),
    }
}

/// Of requests of clients at either side some are lost on the way there, some on the way
/// back, and some come late. While mgPass is down nothing reaches it.
fn lose_answers(world: &Rc<World>, seed: u64) {
    let random = Random::new(seed ^ 0x1057);
    let down = Rc::clone(world);
    let down = Rc::downgrade(&down);
    *world.faults.script.borrow_mut() = Some(Box::new(move |port, what, _| {
        if port == Port::Mgpass {
            let is_down = down.upgrade().is_some_and(|world| is_down(world.now_ms()));
            if is_down {
                return Some(Fault::BeforeEffect);
            }
        }
        if !matches!(port, Port::Forward | Port::Mgpass) || random.below(150) > 2 {
            return None;
        }
        let what = what();
        let is_of_client = what.ends_with("/oidc/token") || what.starts_with("POST https://mgpass");
        is_of_client.then(|| {
            [
                Fault::BeforeEffect,
                Fault::AfterEffect,
                Fault::SlowAnswer(20_000),
            ][random.below(3)]
        })
    }));
}

fn is_down(now_ms: i64) -> bool {
    let at = |wanted: bool| {
        let of = COURSE
            .iter()
            .filter(move |(_, act)| *act == Act::MgpassDown(wanted));
        of.map(|(hour, _)| START_MS + hour * HOUR_MS)
    };
    at(true)
        .zip(at(false))
        .any(|(from, to)| (from..to).contains(&now_ms))
}

fn live(town: &mut Town, setup: &Setup) {
    let end_ms = START_MS + setup.n_days * DAY_MS;
    let mut events = BinaryHeap::new();
    let mut number = 0_u64;
    let mut push = |events: &mut BinaryHeap<_>, at_ms: i64, event: Event| {
        number += 1;
        events.push(Reverse((at_ms, number, event)));
    };
    for (index, (hour, _)) in COURSE.iter().enumerate() {
        push(
            &mut events,
            START_MS + hour * HOUR_MS,
            Event::Operator(index),
        );
    }
    push(&mut events, START_MS + HOUR_MS, Event::Cron);
    let span = |random: &Random, ms: i64| (random.next() % ms as u64) as i64;
    for browser in 0..town.browsers.len() {
        for used in 0..town.browsers[browser].n_used() {
            let at_ms = START_MS + span(&town.random, 3 * DAY_MS);
            push(&mut events, at_ms, Event::Visit { browser, used });
        }
    }
    for person in 0..town.people.len() {
        let at_ms = START_MS + DAY_MS + span(&town.random, 40 * DAY_MS);
        match town.random.below(20) {
            0 => push(&mut events, at_ms, Event::Suspend(person)),
            1 => push(&mut events, at_ms, Event::Password(person)),
            _ => {}
        }
    }
    let mut is_coming = false;
    while let Some(Reverse((at_ms, _, event))) = events.pop() {
        if at_ms > end_ms {
            break;
        }
        if town.owes_cron && !is_coming {
            is_coming = true;
            let soon_ms = town.world.now_ms() + SOON_MS;
            push(&mut events, soon_ms, Event::Soon);
        }
        let now_ms = town.world.now_ms();
        town.pass(at_ms.max(now_ms));
        let now_ms = town.world.now_ms();
        match event {
            Event::Operator(index) => {
                town.act(COURSE[index].1);
                if town.now.is_moving() {
                    push(&mut events, town.world.now_ms() + 60_000, Event::Minute);
                }
            }
            Event::Minute => {
                town.act(Act::Minute);
                if town.now.is_moving() {
                    push(&mut events, town.world.now_ms() + 60_000, Event::Minute);
                }
            }
            Event::Soon => {
                is_coming = false;
                town.owes_cron = false;
                town.cron();
            }
            Event::Cron => {
                town.cron();
                push(&mut events, now_ms + CRON_HOURS * HOUR_MS, Event::Cron);
            }
            Event::Visit { browser, used } => {
                town.forget_old_cookies(browser);
                town.visit(browser, used);
                // From twice a day to once a week.
                let days = [0.5, 1.0, 2.0, 3.0, 7.0][town.random.below(5)];
                let least = (days * DAY_MS as f64 / 2.0) as i64;
                let next_ms = now_ms + least + span(&town.random, least * 2);
                push(&mut events, next_ms, Event::Visit { browser, used });
                if town.random.below(15) == 0 && !town.now.mgpass_is_down {
                    push(
                        &mut events,
                        now_ms + 60_000,
                        Event::SignOut { browser, used },
                    );
                }
            }
            Event::SignOut { browser, used } => {
                if !town.now.mgpass_is_down {
                    town.sign_out(browser, used);
                }
            }
            Event::Suspend(person) => {
                town.suspend(person, true);
                push(
                    &mut events,
                    now_ms + (CRON_HOURS + 1) * HOUR_MS,
                    Event::Suspended(person),
                );
                push(&mut events, now_ms + DAY_MS, Event::Release(person));
            }
            Event::Suspended(person) => town.look_at_suspended(person),
            Event::Release(person) => town.suspend(person, false),
            Event::Password(person) => {
                if matches!(town.people[person].way, Way::Password) {
                    town.set_password(person, &format!("another-Password-{person}"));
                }
            }
        }
    }
    town.pass(end_ms.max(town.world.now_ms()));
}

fn judge(town: &Town, setup: &Setup) -> Verdict {
    let Seen {
        at_the_wrong_side,
        twice,
        families,
        replays_at_logto,
        refreshes,
        sign_ins,
    } = town.backends.seen.borrow().clone();
    let judge = &town.judge;
    let mut zero = judge.counts();
    for (name, count) in &mut zero {
        match *name {
            TWICE => count.n += twice,
            FAMILIES => count.n += families + replays_at_logto,
            WRONG_SIDE => count.n += at_the_wrong_side,
            IN_A_FRAME => count.n += judge.in_a_frame,
            _ => {}
        }
    }
    let moves = town.world.moves();
    let told = vec![
        format!(
            "{} people, {} browsers, {} days: {} visits, {} refreshes at Logto and {} at mgPass",
            town.people.len(),
            town.browsers.len(),
            setup.n_days,
            judge.n_visits,
            refreshes[0],
            refreshes[1]
        ),
        format!(
            "people asked {} times, at Logto {}, at mgPass {} (by a carried password {}); signed in at mgPass {} times; gave up {}",
            judge.n_asked,
            sign_ins[0],
            sign_ins[1],
            judge.n_by_carried,
            judge.n_at_mgpass,
            judge.n_gave_up
        ),
        format!(
            "answers lost {}, sign-outs {}, suspensions {}, passwords changed {}, forecasts {}",
            judge.n_lost,
            judge.n_signed_out,
            judge.n_suspended,
            judge.n_passwords,
            judge.n_forecasts
        ),
        format!("authority: {}", moves.join(", ")),
    ];
    Verdict {
        zero,
        reasons: judge
            .reasons
            .iter()
            .map(|(code, people)| (*code, people.len()))
            .collect(),
        told,
    }
}
