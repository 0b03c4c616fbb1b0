//! Runs of carried passwords: people sign in, change and reset theirs, mgPass is down, calls
//! come late, isolates crash at any point. In the end mgPass has no password of anybody that
//! is not Logto's; and broken variants leave one there.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};

use dual_write_proxy::mirror::passwords::sweep;
use dual_write_proxy::mirror::relay;
use dual_write_proxy::operate::findings;
use dual_write_proxy::runtime::ports::{Backend, Call, Row, Statement, Store};
use dual_write_proxy::runtime::snapshot;
use futures_util::future::select;
use serde_json::{Value, json};

use super::chaos::{FAULTS, may_happen};
use super::{ADMIN, DATABASES};
use crate::support::executor::{Executor, Random, SharedTime};
use crate::support::logto::Interaction;
use crate::support::world::{START_MS, Tamper};
use crate::support::{Fault, Node, Request, World};

const USERS: [&str; 2] = ["alice0000001", "bob000000001"];

/// What a broken variant does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    NoVoid,
    VoidAfterTheChange,
    NoSecondLook,
    NotRepeated,
    NotMarkedBeforeTheCall,
}

pub const BROKEN: [Broken; 5] = [
    Broken::NoVoid,
    Broken::VoidAfterTheChange,
    Broken::NoSecondLook,
    Broken::NotRepeated,
    Broken::NotMarkedBeforeTheCall,
];

impl Broken {
    pub fn name(self) -> &'static str {
        match self {
            Self::NoVoid => "carried passwords never voided",
            Self::VoidAfterTheChange => "void owed after the change instead of before it",
            Self::NoSecondLook => "Logto not asked again behind a carry",
            Self::NotRepeated => "a void not repeated where a call may land late",
            Self::NotMarkedBeforeTheCall => "a carry noted behind its call alone",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Storm {
    None,
    /// At the call of that number of the course.
    At(u64, Fault),
    Random,
}

#[derive(Clone, Copy, Debug)]
pub enum Course {
    /// A sign-in that carries, then one of these.
    Then(Change),
    /// Two people, each on their own, for some minutes.
    People,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Management,
    Account,
    Reset,
    Factor,
}

pub const CHANGES: [Change; 4] = [
    Change::Management,
    Change::Account,
    Change::Reset,
    Change::Factor,
];

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub course: Course,
    pub storm: Storm,
    pub broken: Option<Broken>,
}

impl Setup {
    pub fn random(seed: u64) -> Self {
        Self {
            seed,
            course: Course::People,
            storm: Storm::Random,
            broken: None,
        }
    }

    pub fn of(change: Change, storm: Storm) -> Self {
        Self {
            seed: 1,
            course: Course::Then(change),
            storm,
            broken: None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// A password at mgPass that Logto does not have, or of somebody who needs more than that.
    pub alive: Vec<String>,
    /// Owed for ever.
    pub stuck: Vec<String>,
    pub n_carried: u64,
    pub n_voided: u64,
    pub n_calls: u64,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.alive.is_empty() && self.stuck.is_empty()
    }
}

pub fn run(setup: &Setup) -> Verdict {
    let (time, databases) =
        DATABASES.with(|(time, databases)| (SharedTime::clone(time), Rc::clone(databases)));
    let executor = Executor::sharing(setup.seed, START_MS, time);
    databases.begin();
    let settings = [
        ("PASSWORD_CARRY", "on"),
        ("PASSWORD_CARRY_PER_MINUTE", "200"),
    ];
    let world = World::over(
        setup.seed,
        &settings,
        Rc::clone(&executor),
        Rc::clone(&databases),
    );
    world.keeps_events.set(true);
    let verdict = live(&world, setup);
    executor.stop();
    databases.roll_back();
    verdict
}

fn live(world: &Rc<World>, setup: &Setup) -> Verdict {
    world.databases.execute(
        Store::Proxy,
        "UPDATE password_carry SET decided_at = 1, decided_by = 'x', checked_at = 1, facts = '{}', passed_at = 1",
    );
    world.logto.accepted.borrow_mut().insert(ADMIN.to_owned());
    for (index, id) in USERS.iter().enumerate() {
        world.put_user(id, |user| {
            user.email = Some(format!("mail{index}@example.test"));
        });
        world.wake(id);
        let mut passwords = world.logto.passwords.borrow_mut();
        passwords.insert((*id).to_owned(), format!("first-password-{index}"));
    }
    world.deliver_for(2_000);
    let random = Random::new(setup.seed ^ 0x9a55);
    // Half of the tenants are older than 1.38.
    world.logto.shows_digests.set(random.below(2) == 0);
    world.mgpass.revoke_limit.set(1_000);
    let breaker = Rc::new(Breaker::new(world, setup));
    *world.tamper.borrow_mut() = Some(Rc::clone(&breaker) as _);
    let first_call = world.faults.n_decided();
    storm(world, setup, first_call);
    let n_minutes = match setup.course {
        Course::Then(change) => {
            then(world, change);
            3
        }
        Course::People => {
            people(world, &random);
            6
        }
    };
    let relay = world.node();
    for _ in 0..n_minutes {
        cron(world, &relay);
        world.deliver_for(60_000);
    }
    let n_calls = world.faults.n_decided() - first_call;
    breaker.is_calm.set(true);
    *world.faults.script.borrow_mut() = Some(Box::new(|_, _, _| None));
    // As long as anything may come late, be looked at, or be owed.
    let fresh = world.node();
    for minute in 0..75 {
        // Who began late may still say that it is down.
        world.mgpass.answers.borrow_mut().clear();
        cron(world, &fresh);
        world.deliver_for(60_000);
        if minute > 35 && is_settled(world) {
            break;
        }
    }
    judge(world, n_calls)
}

fn cron(world: &Rc<World>, node: &Node) {
    // Of cron's steps those that this is about.
    let node = node.next_invocation();
    world.executor.spawn(async move {
        let flags = snapshot::read(&node, &node.deployment.isolate).await;
        sweep::tick(&node, &node.context()).await;
        relay::sweep(&node, &node.context(), flags.stage, findings::purge()).await;
    });
}

fn storm(world: &Rc<World>, setup: &Setup, first_call: u64) {
    let storm = setup.storm;
    let random = Random::new(setup.seed ^ 0x5707);
    let one_in = [12, 30, 90][random.below(3)];
    *world.faults.script.borrow_mut() = Some(Box::new(move |port, what, number| {
        let fault = match storm {
            Storm::None => None,
            Storm::At(point, fault) => (number == first_call + point).then_some(fault),
            Storm::Random => {
                (random.below(one_in) == 0).then(|| FAULTS[random.below(FAULTS.len())])
            }
        }?;
        may_happen(port, &what(), fault).then_some(fault)
    }));
}

fn then(world: &Rc<World>, change: Change) {
    let node = world.node();
    world.executor.spawn(async move {
        sign_in(&node, USERS[0], 0).await;
        node.world.executor.sleep(20_000).await;
        make(&node, USERS[0], change, "second-password-0").await;
    });
}

/// Mostly they sign in.
fn people(world: &Rc<World>, random: &Random) {
    for (index, user) in USERS.iter().enumerate() {
        let (node, random) = (world.node(), Random::new(random.next()));
        world.executor.spawn(async move {
            for step in 0..8 {
                let password = format!("next-password-{index}-{step}");
                match random.below(14) {
                    0..=5 => sign_in(&node, user, index * 100 + step).await,
                    6 | 7 => make(&node, user, Change::Management, &password).await,
                    8 | 9 => make(&node, user, Change::Account, &password).await,
                    10 | 11 => make(&node, user, Change::Reset, &password).await,
                    12 if random.below(4) == 0 => {
                        make(&node, user, Change::Factor, &password).await;
                    }
                    // Around the proxy: from 1.38 on the walk finds it.
                    12 if node.world.logto.shows_digests.get() => {
                        let mut passwords = node.world.logto.passwords.borrow_mut();
                        passwords.insert((*user).to_owned(), password);
                    }
                    _ => mgpass_is_down(&node, user, random.below(2) == 0),
                }
                let pause_ms = [20, 900, 4_000, 20_000, 45_000][random.below(5)];
                node.world.executor.sleep(pause_ms).await;
            }
        });
    }
}

fn mgpass_is_down(node: &Node, user: &str, is_down: bool) {
    let mut answers = node.world.mgpass.answers.borrow_mut();
    let part = format!("users/{user}");
    match is_down {
        true => answers.insert(part, 503),
        false => answers.remove(&part),
    };
}

async fn ask(node: &Node, request: Request) {
    let answered = node.world.start_at(node, request);
    select(answered, pin!(node.world.executor.sleep(130_000))).await;
}

async fn sign_in(node: &Node, user: &str, number: usize) {
    let world = &node.world;
    let uid = format!("in{number}");
    let interactions = &world.logto.interactions;
    interactions
        .borrow_mut()
        .insert(uid.clone(), Interaction::default());
    let password = world.logto.passwords.borrow().get(user).cloned();
    let email = world.logto.users.borrow()[user].email.clone();
    let body = json!({ "identifier": { "type": "email", "value": email }, "password": password });
    let request = Request::new("POST", "/api/experience/verification/password")
        .header("cookie", &format!("_interaction={uid}"))
        .json(&body.to_string());
    ask(node, request).await;
}

async fn make(node: &Node, user: &str, change: Change, password: &str) {
    let world = &node.world;
    let body = json!({ "password": password }).to_string();
    match change {
        Change::Management => {
            let path = format!("/api/users/{user}/password");
            ask(node, Request::new("PATCH", &path).token(ADMIN).json(&body)).await;
        }
        Change::Account => {
            let token = format!("opaque-{user}");
            let request = Request::new("POST", "/api/my-account/password").token(&token);
            ask(node, request.json(&body)).await;
        }
        Change::Reset => {
            let uid = format!("reset-{password}");
            let interaction = Interaction {
                user: Some(user.to_owned()),
                is_identified: true,
                resets: true,
                ..Interaction::default()
            };
            let interactions = &world.logto.interactions;
            interactions.borrow_mut().insert(uid.clone(), interaction);
            let cookie = format!("_interaction={uid}");
            let step = |method, step: &str| {
                Request::new(method, &format!("/api/experience/{step}")).header("cookie", &cookie)
            };
            ask(node, step("PUT", "profile/password").json(&body)).await;
            ask(node, step("POST", "submit")).await;
        }
        Change::Factor => {
            let path = format!("/api/users/{user}/mfa-verifications");
            ask(node, Request::new("POST", &path).token(ADMIN).json("{}")).await;
        }
    }
}

fn is_settled(world: &World) -> bool {
    let n_owed = world.value(
        Store::Proxy,
        "SELECT count(*) FROM passwords WHERE state IN ('carrying', 'void_owed')",
    );
    // Whoever is parked waits for a person with their intents, and with no password.
    let n_open = world.value(
        Store::Proxy,
        "SELECT count(*) FROM intents WHERE discharged_at IS NULL AND subject NOT IN (SELECT subject FROM subjects WHERE parked IS NOT NULL)",
    );
    n_owed == 0 && n_open == 0
}

fn judge(world: &World, n_calls: u64) -> Verdict {
    let mut verdict = Verdict {
        n_calls,
        ..Verdict::default()
    };
    let outcomes = |name: &str, outcome: &str| {
        let events = world.events(name);
        let found = events.iter().filter(|event| event["outcome"] == outcome);
        found.count() as u64
    };
    verdict.n_carried = outcomes("password.carried", "carried");
    verdict.n_voided = outcomes("password.voided", "voided");
    for user in USERS {
        let Some(there) = world.mgpass.passwords.borrow().get(user).cloned() else {
            continue;
        };
        // Nobody knows a random one.
        if there.starts_with("Aa1-") {
            continue;
        }
        let at_logto = world.logto.passwords.borrow().get(user).cloned();
        if at_logto.as_ref() != Some(&there) {
            let line = format!("{user}: {there} at mgPass, {at_logto:?} at Logto");
            verdict.alive.push(line);
        }
        if !world.logto.users.borrow()[user].factors.is_empty() {
            let line = format!("{user}: a password alone at mgPass, and a second factor at Logto");
            verdict.alive.push(line);
        }
    }
    if !is_settled(world) {
        for row in world.proxy("SELECT * FROM passwords") {
            verdict.stuck.push(Value::Object(row).to_string());
        }
        for sql in [
            "SELECT * FROM intents WHERE discharged_at IS NULL",
            "SELECT * FROM subjects",
            "SELECT * FROM counters",
        ] {
            for row in world.proxy(sql) {
                verdict.stuck.push(Value::Object(row).to_string());
            }
        }
        let events = world.events.borrow();
        verdict.stuck.extend(events.iter().rev().take(12).cloned());
    }
    verdict
}

/// Between the core and its ports: the broken variant, and a password that changes around
/// the proxy in the very moment in which a carry is under way.
struct Breaker {
    world: Weak<World>,
    broken: Option<Broken>,
    is_racing: bool,
    is_calm: Cell<bool>,
    has_carried: Cell<bool>,
    /// Of carries that the broken variant did not note.
    unnoted: RefCell<Vec<Statement>>,
    random: Random,
}

impl Breaker {
    fn new(world: &Rc<World>, setup: &Setup) -> Self {
        Self {
            world: Rc::downgrade(world),
            broken: setup.broken,
            is_racing: matches!(setup.storm, Storm::Random),
            is_calm: Cell::new(false),
            has_carried: Cell::new(false),
            unnoted: RefCell::default(),
            random: Random::new(setup.seed ^ 0xb4ea),
        }
    }

    /// Logto gets another one now.
    fn race(&self, call: &Call) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let user = call.url.rsplit('/').next().unwrap_or_default().to_owned();
        let password = format!("raced-password-{}", self.random.next());
        world.logto.passwords.borrow_mut().insert(user, password);
    }
}

impl Tamper for Breaker {
    fn statements(&self, _: &World, store: Store, statements: Vec<Statement>) -> Vec<Statement> {
        if store != Store::Proxy {
            return statements;
        }
        let nothing = || Statement::new("SELECT 1 AS nothing WHERE 1 = 0", vec![]);
        let changed = statements.into_iter().map(|statement| {
            let sql = statement.sql;
            let is_void = sql.contains("SET state = 'void_owed', reason = ?3, ticket");
            let is_begin = sql.contains("SET state = 'carrying'");
            let is_open = sql.starts_with("INSERT INTO intents") && sql.contains("DO NOTHING");
            match self.broken {
                Some(Broken::NoVoid) if is_void => nothing(),
                Some(Broken::VoidAfterTheChange) if is_open => nothing(),
                Some(Broken::NotRepeated) if sql.contains("late_until >") => Statement::new(
                    "UPDATE passwords SET state = 'none', due_at = NULL WHERE subject = ?1 AND ticket = ?2",
                    statement.values,
                ),
                Some(Broken::NotMarkedBeforeTheCall) if is_begin => {
                    self.unnoted.borrow_mut().push(statement);
                    Statement::new("SELECT 'none' AS state", vec![])
                }
                _ => statement,
            }
        });
        let mut changed: Vec<_> = changed.collect();
        // Noted only once it is done.
        if changed
            .iter()
            .any(|statement| statement.sql.contains("SET state = 'carried'"))
        {
            for late in self.unnoted.borrow_mut().drain(..) {
                changed.insert(0, late);
            }
        }
        changed
    }

    fn results(
        &self,
        _: &World,
        _: Store,
        _: &[&'static str],
        mut results: Vec<Vec<Row>>,
    ) -> Vec<Vec<Row>> {
        if self.broken == Some(Broken::VoidAfterTheChange) {
            for row in results.iter_mut().flatten() {
                row.entry("is_open")
                    .and_modify(|is_open| *is_open = 1.into());
            }
        }
        results
    }

    fn call(&self, mut call: Call) -> Call {
        let body = call.body.as_ref().map_or("", |body| body.0.as_str());
        let is_carry =
            call.backend == Backend::Mgpass && call.method == "PATCH" && !body.contains("Aa1-");
        if is_carry {
            self.has_carried.set(true);
            if self.is_racing && !self.is_calm.get() && self.random.below(6) == 0 {
                self.race(&call);
            }
        }
        let is_look = call.backend == Backend::Logto && call.url.ends_with("/password/verify");
        if is_look && self.has_carried.take() && self.broken == Some(Broken::NoSecondLook) {
            // Whatever it is asked, it says yes.
            call.method = "GET";
            call.url = "https://logto.example.test/api/status".to_owned();
            call.body = None;
        }
        call
    }
}
