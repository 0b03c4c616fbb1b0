//! Everything outside the core, in memory: two databases, Logto, mgPass, Queue,
//! key-value stores, and the ports over them with faults and virtual time.
//!
//! A call leaves its task and takes effect on its own, as on a network: whoever
//! stops waiting for it, or crashes, does not undo it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::backend::Backend;
use dual_write_proxy::context::Context;
use dual_write_proxy::isolate::Isolate;
use dual_write_proxy::metrics::Series;
use dual_write_proxy::observe::Event;
use dual_write_proxy::ports::{
    Call, CallAnswer, CallFailure, Calls, Clock, Database, DatabaseFailure, Entropy, FlagStore,
    KeyStore, KvFailure, Queue, QueueFailure, Row, Signatures, Sink, Statement, Store,
};
use dual_write_proxy::relay::{self, Disposition, Message};
use dual_write_proxy::settings::Settings;
use dual_write_proxy::snapshot;
use dual_write_proxy::token::{IssuerNames, SignatureCheck};
use futures_util::future::{Either, join_all, select};
use serde_json::Value as Json;

use super::database::Databases;
use super::executor::{Executor, Random};
use super::faults::{Fault, Faults, Glitch, Port};
use super::logto::{self, Logto, LogtoRequest};
use super::mgpass::Mgpass;
use super::tokens;

/// 2027-01-15T08:00:00Z.
pub const START_MS: i64 = 1_800_000_000_000;

const SETTINGS: &[(&str, &str)] = &[
    ("LOGTO_ORIGIN", "https://logto.example.test"),
    ("LOGTO_ISSUER", tokens::LOGTO_ISSUER),
    ("LOGTO_CLIENT_ID", "m2m-client"),
    ("LOGTO_CLIENT_SECRET", "m2m-secret"),
    ("MGPASS_ORIGIN", tokens::MGPASS_ISSUER),
    ("MGPASS_ISSUER", tokens::MGPASS_ISSUER),
    ("MGPASS_AUDIENCES", tokens::MGPASS_AUDIENCE),
    ("MGPASS_CLIENT_ID", "app_proxy"),
    ("MGPASS_CLIENT_SECRET", "app_secret"),
    ("SUBJECT_KEY", "subject-hash-key"),
    ("ORIGIN_SECRET", "origin-s3cret"),
];

struct Waiting {
    due_ms: i64,
    message: Message,
}

/// Changes what the ports pass on: a broken variant of the proxy, or a backend's glitch.
pub trait Tamper {
    fn statements(&self, _: &World, _: Store, statements: Vec<Statement>) -> Vec<Statement> {
        statements
    }
    fn results(&self, _: Store, _: &[&'static str], results: Vec<Vec<Row>>) -> Vec<Vec<Row>> {
        results
    }
    fn glitch(&self, _: Port, _what: &str) -> Option<Glitch> {
        None
    }
}

pub struct World {
    pub executor: Rc<Executor>,
    pub tamper: RefCell<Option<Rc<dyn Tamper>>>,
    /// Whether events are kept.
    pub keeps_events: Cell<bool>,
    /// Whether a rewards database is bound.
    pub has_rewards: Cell<bool>,
    pub databases: Rc<Databases>,
    pub logto: Logto,
    pub mgpass: Mgpass,
    pub faults: Faults,
    pub settings: Settings,
    issuers: IssuerNames,
    pub flags: RefCell<BTreeMap<String, String>>,
    pub imported_keys: RefCell<Option<String>>,
    pub events: RefCell<Vec<String>>,
    queue: RefCell<Vec<Waiting>>,
    /// Every message is delivered so many times.
    pub deliveries: Cell<u32>,
    random: Random,
}

impl World {
    /// Stage `dual_write`, nothing read from mgPass, one default role at mgPass.
    pub fn new() -> Rc<Self> {
        Self::with(1, &[])
    }

    pub fn with(seed: u64, changes: &[(&str, &str)]) -> Rc<Self> {
        let executor = Executor::new(seed, START_MS);
        let databases = Rc::new(Databases::new(&executor.shared_time()));
        Self::over(seed, changes, executor, databases)
    }

    /// Over databases that have their tables and nothing in them.
    pub fn over(
        seed: u64,
        changes: &[(&str, &str)],
        executor: Rc<Executor>,
        databases: Rc<Databases>,
    ) -> Rc<Self> {
        let settings = Settings::read(|name| {
            let found = |list: &[(&str, &str)]| {
                let pair = list.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            };
            found(changes).or_else(|| found(SETTINGS))
        });
        databases.execute(
            Store::Mgpass,
            "INSERT INTO roles (id, name, is_default, created_at) VALUES ('role_user', 'mgpass:user', 1, 0), ('role_admin', 'mgpass:admin', 0, 0)",
        );
        let world = Self {
            executor,
            tamper: RefCell::default(),
            keeps_events: Cell::new(true),
            has_rewards: Cell::new(true),
            databases,
            logto: Logto::new(),
            mgpass: Mgpass::new(),
            faults: Faults::default(),
            settings,
            issuers: IssuerNames::new(tokens::LOGTO_ISSUER, tokens::MGPASS_ISSUER).unwrap(),
            flags: RefCell::default(),
            imported_keys: RefCell::default(),
            events: RefCell::default(),
            queue: RefCell::default(),
            deliveries: Cell::new(1),
            random: Random::new(seed ^ 0x5eed),
        };
        world.flag("stage", "dual_write");
        Rc::new(world)
    }

    pub fn flag(&self, key: &str, value: &str) {
        self.flags
            .borrow_mut()
            .insert(key.to_owned(), value.to_owned());
    }

    pub fn now_ms(&self) -> i64 {
        self.executor.now_ms()
    }

    /// A fresh isolate of the proxy.
    pub fn node(self: &Rc<Self>) -> Node {
        Node {
            world: Rc::clone(self),
            isolate: Rc::new(Isolate::default()),
        }
    }

    pub fn advance(&self, duration_ms: i64) {
        self.executor.run(self.now_ms() + duration_ms, || false);
    }

    /// Until nothing can happen any more.
    pub fn idle(&self) {
        self.executor.run(i64::MAX, || false);
    }

    /// The outcome of one flow; the world goes on around it.
    pub fn finish<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let handle = self.executor.spawn(future);
        self.executor.run(i64::MAX, || handle.is_done());
        handle.take()
    }

    pub fn n_queued(&self) -> usize {
        self.queue.borrow().len()
    }

    pub fn drop_queue(&self) {
        self.queue.borrow_mut().clear();
    }

    pub fn enqueue(&self, message: Message, delay_s: u32) {
        let due_ms = self.now_ms() + i64::from(delay_s) * 1_000;
        let mut queue = self.queue.borrow_mut();
        for _ in 0..self.deliveries.get() {
            let message = message.clone();
            queue.push(Waiting { due_ms, message });
        }
    }

    /// Takes what is due out of the Queue.
    pub fn take_due(&self) -> Vec<Message> {
        let now_ms = self.now_ms();
        let mut queue = self.queue.borrow_mut();
        let (due, later): (Vec<_>, Vec<_>) = queue
            .drain(..)
            .partition(|waiting: &Waiting| waiting.due_ms <= now_ms);
        *queue = later;
        due.into_iter().map(|waiting| waiting.message).collect()
    }

    /// When the Queue has something due next.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.queue
            .borrow()
            .iter()
            .map(|waiting| waiting.due_ms)
            .min()
    }

    pub fn glitch(&self, port: Port, what: &str) -> Option<Glitch> {
        self.tamper.borrow().as_ref()?.glitch(port, what)
    }

    /// Lets so much time pass and delivers what is due in the Queue, retries included.
    pub fn deliver_for(self: &Rc<Self>, duration_ms: i64) {
        let until_ms = self.now_ms() + duration_ms;
        let node = self.node();
        loop {
            self.executor.run(self.now_ms(), || false);
            let next = self
                .queue
                .borrow()
                .iter()
                .map(|waiting| waiting.due_ms)
                .min();
            let Some(next) = next.filter(|next| *next <= until_ms) else {
                break;
            };
            self.advance((next - self.now_ms()).max(0));
            let now_ms = self.now_ms();
            let due: Vec<_> = {
                let mut queue = self.queue.borrow_mut();
                let (due, later) = queue
                    .drain(..)
                    .partition(|waiting| waiting.due_ms <= now_ms);
                *queue = later;
                due
            };
            let due: Vec<Message> = due
                .into_iter()
                .map(|waiting: Waiting| waiting.message)
                .collect();
            let node = node.clone();
            let batch = self.executor.spawn(async move {
                let stage = snapshot::read(&node, &node.isolate).await.stage;
                // Each on its own: the executor's seed decides how they interleave.
                let handles = due.into_iter().map(|message| {
                    let each = node.clone();
                    let handle = async move { each.handle(stage, message).await };
                    node.world.executor.spawn(handle)
                });
                join_all(handles).await
            });
            self.executor.run(until_ms, || batch.is_done());
        }
        self.advance((until_ms - self.now_ms()).max(0));
    }

    /// Two minutes of deliveries.
    pub fn deliver(self: &Rc<Self>) {
        self.idle();
        self.deliver_for(120_000);
    }

    pub fn sweep(self: &Rc<Self>) {
        let node = self.node();
        self.finish(async move {
            let stage = snapshot::read(&node, &node.isolate).await.stage;
            relay::sweep(&node, &node.context(), stage).await;
        });
    }

    pub fn proxy(&self, sql: &str) -> Vec<Row> {
        self.databases.rows(Store::Proxy, sql)
    }

    pub fn mgpass(&self, sql: &str) -> Vec<Row> {
        self.databases.rows(Store::Mgpass, sql)
    }

    /// The first column of the first row; `Null` when there is no row.
    pub fn value(&self, store: Store, sql: &str) -> Json {
        let rows = self.databases.rows(store, sql);
        let row = rows.into_iter().next();
        row.and_then(|row| row.into_iter().next().map(|(_, value)| value))
            .unwrap_or_default()
    }

    pub fn counter(&self, name: &str) -> i64 {
        let sql = format!("SELECT value FROM counters WHERE name = '{name}'");
        self.value(Store::Proxy, &sql).as_i64().unwrap()
    }

    /// Intents that nobody has discharged.
    pub fn n_open(&self) -> i64 {
        let sql = "SELECT count(*) FROM intents WHERE discharged_at IS NULL";
        self.value(Store::Proxy, sql).as_i64().unwrap()
    }

    pub fn parked(&self, user: &str) -> Json {
        let sql = format!("SELECT parked FROM subjects WHERE subject = '{user}'");
        self.value(Store::Proxy, &sql)
    }

    /// One column of a user at mgPass.
    pub fn user(&self, user: &str, column: &str) -> Json {
        let sql = format!("SELECT {column} FROM users WHERE id = '{user}'");
        self.value(Store::Mgpass, &sql)
    }

    /// Lines of these events, parsed.
    pub fn events(&self, name: &str) -> Vec<Json> {
        let events = self.events.borrow();
        events
            .iter()
            .map(|line| serde_json::from_str::<Json>(line).unwrap())
            .filter(|event| event["event"] == name)
            .collect()
    }

    pub fn put_user(self: &Rc<Self>, id: &str, change: impl FnOnce(&mut logto::User)) {
        let mut user = logto::User::new(id, START_MS - 86_400_000);
        change(&mut user);
        self.logto.put(user);
    }

    /// A user at Logto whom the mirror has brought over.
    pub fn mirrored(self: &Rc<Self>, id: &str, change: impl FnOnce(&mut logto::User)) {
        self.put_user(id, change);
        self.wake(id);
        self.deliver();
        assert_eq!(self.user(id, "id"), id, "{:?}", self.events.borrow());
    }

    pub fn wake(&self, id: &str) {
        self.enqueue(
            Message::Reconcile {
                subject: id.to_owned(),
            },
            0,
        );
    }
}

/// One isolate of the proxy in the world: the ports as the core sees them.
#[derive(Clone)]
pub struct Node {
    pub world: Rc<World>,
    pub isolate: Rc<Isolate>,
}

impl Node {
    pub fn context(&self) -> Context<'_> {
        Context {
            settings: self.world.settings.migration.as_ref().unwrap(),
            issuers: &self.world.issuers,
            isolate: &self.isolate,
            subject_key: self.world.settings.subject_key.as_ref(),
        }
    }

    pub async fn handle(&self, stage: dual_write_proxy::flags::Stage, message: Message) {
        let context = self.context();
        let disposition = relay::handle(self, &context, stage, message.clone()).await;
        if let Disposition::Retry { delay_s } = disposition {
            let due_ms = self.now_ms() + i64::from(delay_s) * 1_000;
            let mut queue = self.world.queue.borrow_mut();
            queue.push(Waiting { due_ms, message });
        }
    }

    /// One call over a port: its latency, its fault, its effect.
    pub async fn remote<T: 'static>(
        &self,
        port: Port,
        what: &str,
        failed: T,
        effect: impl FnOnce(&World) -> T + 'static,
    ) -> T {
        let latency_ms = match port {
            Port::ProxyDatabase
            | Port::MgpassDatabase
            | Port::MetricsDatabase
            | Port::RewardsDatabase
            | Port::Queue => 2,
            Port::Flags | Port::Keys => 3,
            Port::Logto | Port::Mgpass => 10,
            Port::Forward => 20,
        };
        let executor = &self.world.executor;
        let fault = self.world.faults.decide(port, what);
        if fault == Some(Fault::CrashBefore) {
            executor.crash_current();
            std::future::pending::<()>().await;
        }
        let effect_ms = match fault {
            Some(Fault::Late(late_ms)) => late_ms,
            _ => latency_ms,
        };
        if matches!(fault, Some(Fault::BeforeEffect)) {
            executor.sleep(latency_ms).await;
            return failed;
        }
        if fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        let (world, timer) = (Rc::clone(&self.world), executor.sleep(effect_ms));
        let landed = executor.spawn(async move {
            timer.await;
            effect(&world)
        });
        match fault {
            Some(Fault::CrashAfter) => {
                executor.crash_current();
                std::future::pending().await
            }
            Some(Fault::HangAfterEffect) => std::future::pending().await,
            Some(Fault::AfterEffect) => {
                landed.await;
                failed
            }
            Some(Fault::SlowAnswer(answer_ms)) => {
                let value = landed.await;
                executor.sleep(answer_ms).await;
                value
            }
            _ => landed.await,
        }
    }
}

impl Clock for Node {
    fn now_ms(&self) -> i64 {
        self.world.now_ms()
    }

    async fn sleep(&self, duration_ms: u32) {
        self.world.executor.sleep(i64::from(duration_ms)).await;
    }
}

impl Entropy for Node {
    fn random_u64(&self) -> u64 {
        self.world.random.next()
    }
}

impl Sink for Node {
    fn emit(&self, event: &Event<'_>) {
        if self.world.keeps_events.get() {
            self.world.events.borrow_mut().push(event.to_line());
        }
    }

    fn point(&self, _: &Series, _: i64) {}
}

impl Database for Node {
    fn is_bound(&self, store: Store) -> bool {
        store != Store::Rewards || self.world.has_rewards.get()
    }

    async fn batch(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        let port = match store {
            Store::Proxy => Port::ProxyDatabase,
            Store::Mgpass => Port::MgpassDatabase,
            Store::Metrics => Port::MetricsDatabase,
            Store::Rewards => Port::RewardsDatabase,
        };
        let what: Vec<_> = statements.iter().map(|statement| statement.sql).collect();
        let tamper = self.world.tamper.borrow().clone();
        let statements = match &tamper {
            Some(tamper) => tamper.statements(&self.world, store, statements),
            None => statements,
        };
        let results = self
            .remote(
                port,
                &what.join("; "),
                Err(DatabaseFailure::Unavailable),
                move |world| world.databases.batch(store, &statements),
            )
            .await?;
        Ok(match &tamper {
            Some(tamper) => tamper.results(store, &what, results),
            None => results,
        })
    }
}

impl Queue for Node {
    async fn send(&self, message: &Message, delay_s: u32) -> Result<(), QueueFailure> {
        let text = serde_json::to_string(message).unwrap();
        // The wire form is what arrives.
        let sent: Message = serde_json::from_str(&text).unwrap();
        self.remote(Port::Queue, &text, Err(QueueFailure), move |world| {
            world.enqueue(sent, delay_s);
            Ok(())
        })
        .await
    }
}

impl FlagStore for Node {
    async fn flags(&self, keys: &[String]) -> Result<Vec<(String, Option<String>)>, KvFailure> {
        let keys = keys.to_vec();
        self.remote(Port::Flags, "", Err(KvFailure), move |world| {
            let held = world.flags.borrow();
            Ok(keys
                .into_iter()
                .map(|key| {
                    let value = held.get(&key).cloned();
                    (key, value)
                })
                .collect())
        })
        .await
    }

    async fn put_flag(&self, key: &str, value: &str) -> Result<(), KvFailure> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.remote(Port::Flags, "put", Err(KvFailure), move |world| {
            world.flags.borrow_mut().insert(key, value);
            Ok(())
        })
        .await
    }
}

impl KeyStore for Node {
    async fn imported_keys(&self) -> Result<Option<String>, KvFailure> {
        self.remote(Port::Keys, "", Err(KvFailure), |world| {
            Ok(world.imported_keys.borrow().clone())
        })
        .await
    }
}

impl Signatures for Node {
    async fn verify(&self, check: &SignatureCheck<'_>) -> bool {
        tokens::verify(check)
    }
}

impl Calls for Node {
    async fn call(&self, call: Call) -> Result<CallAnswer, CallFailure> {
        let path = call
            .url
            .splitn(4, '/')
            .nth(3)
            .unwrap_or_default()
            .to_owned();
        let what = format!("{} /{path}", call.method);
        let port = match call.backend {
            Backend::Logto => Port::Logto,
            Backend::Mgpass => Port::Mgpass,
        };
        let deadline = pin!(self.sleep(call.deadline_ms));
        let answered = pin!(self.remote(port, &what, Err(CallFailure::Unreachable), {
            let (call, line) = (call.clone(), what.clone());
            move |world: &World| {
                let answer = || match call.backend {
                    Backend::Mgpass => world.mgpass.handle(&world.databases, &call, world.now_ms()),
                    Backend::Logto => ask_logto(world, &call, &path),
                };
                Ok(match world.glitch(port, &line) {
                    None => answer(),
                    Some(Glitch::Refuse(status)) => glitched(status, r#"{"code":"glitch"}"#),
                    Some(Glitch::NotFound) => glitched(404, r#"{"code":"entity.not_found"}"#),
                    Some(Glitch::CommitThenFail(status)) => {
                        answer();
                        glitched(status, r#"{"code":"glitch"}"#)
                    }
                })
            }
        }));
        match select(answered, deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(CallFailure::TimedOut),
        }
    }
}

fn glitched(status: u16, body: &str) -> CallAnswer {
    CallAnswer {
        status,
        retry_after_s: None,
        max_age_s: None,
        total: None,
        is_json: true,
        body: body.to_owned(),
    }
}

fn ask_logto(world: &World, call: &Call, path: &str) -> CallAnswer {
    let request = LogtoRequest {
        method: call.method.to_owned(),
        path: format!("/{path}"),
        headers: call
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.0.clone()))
            .collect(),
        body: call.body.as_ref().map(|body| body.0.clone()),
    };
    let answer = world.logto.handle(&request, world.now_ms());
    CallAnswer {
        status: answer.status,
        retry_after_s: None,
        max_age_s: None,
        total: answer.total,
        is_json: answer.is_json,
        body: answer.body,
    }
}
