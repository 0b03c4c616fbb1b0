//! Everything outside the core, in memory: two databases, Logto, mgPass, Queue and
//! key-value stores, on virtual time. What the core sees of it is a [`Node`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::relay;
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::operate::findings;
use dual_write_proxy::runtime::deployment::Deployment;
use dual_write_proxy::runtime::limits::{MAX_CONNECTIONS, MAX_QUERIES};
use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::ports::{Call, Row, Statement, Store};
use dual_write_proxy::runtime::snapshot;
use serde_json::Value as Json;

use super::Node;
use super::database::Databases;
use super::executor::{Executor, Handle, Random};
use super::faults::{Faults, Glitch, Port};
use super::logto::{self, Logto};
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
    // Cron makes none; tests of the checklist ask for them.
    ("CHECK_EVERY_S", "0"),
];

/// As wrangler.toml says, of both queues: one delivery more than retries.
pub const MAX_RETRIES: u32 = 100;
/// Batches of dead letters wait so long for more.
const DEAD_BATCH_MS: i64 = 30_000;

/// A message on its way, in the Queue or among its dead letters.
pub struct Delivery {
    due_ms: i64,
    pub message: Message,
    pub is_dead: bool,
    n_retries: u32,
}

impl Delivery {
    /// As wrangler.toml names them.
    pub fn queue(&self) -> &'static str {
        match (self.is_dead, &self.message) {
            (true, _) => "mirror-dead",
            (false, Message::Job { .. }) => "jobs",
            (false, _) => "mirror",
        }
    }
}

/// As wrangler.toml says: a job's page is an invocation of its own.
fn batches(due: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut batches: Vec<Vec<Delivery>> = Vec::new();
    let (pages, wake_ups): (Vec<_>, Vec<_>) = due
        .into_iter()
        .partition(|delivery| matches!(delivery.message, Message::Job { .. }));
    let (dead, live): (Vec<_>, Vec<_>) =
        wake_ups.into_iter().partition(|delivery| delivery.is_dead);
    for (mut queued, size) in [(pages, 1), (live, 10), (dead, 100)] {
        while !queued.is_empty() {
            let rest = queued.split_off(queued.len().min(size));
            batches.push(std::mem::replace(&mut queued, rest));
        }
    }
    batches
}

/// Changes what the ports pass on: a broken variant of the proxy, or a backend's glitch.
pub trait Tamper {
    fn statements(&self, _: &World, _: Store, statements: Vec<Statement>) -> Vec<Statement> {
        statements
    }
    fn results(
        &self,
        _: &World,
        _: Store,
        _: &[&'static str],
        results: Vec<Vec<Row>>,
    ) -> Vec<Vec<Row>> {
        results
    }
    fn glitch(&self, _: Port, _what: &str) -> Option<Glitch> {
        None
    }
    /// A call of the proxy's own, as it leaves.
    fn call(&self, call: Call) -> Call {
        call
    }
    /// What the core is told of one flag.
    fn flag(&self, _key: &str, value: Option<String>) -> Option<String> {
        value
    }
    /// How much later than usual each copy of a message arrives; none: it is lost.
    fn copies(&self, _: &Message) -> Vec<i64> {
        vec![0]
    }
    /// What the core reads of a request's headers ...
    fn header(&self, _name: &str, value: Option<String>) -> Option<String> {
        value
    }
    /// ... and of a body that it holds.
    fn held(&self, body: String) -> String {
        body
    }
    /// A request of a client's is sent once more where no answer came.
    fn sends_again(&self) -> bool {
        false
    }
    /// What one side refuses is sent to the other.
    fn asks_the_other(&self) -> bool {
        false
    }
}

/// Both sides towards browsers and clients, in place of the little that the fakes say.
pub trait Clients {
    /// `None`: the fake answers.
    fn at_logto(&self, world: &World, request: &logto::LogtoRequest) -> Option<logto::LogtoAnswer>;
    fn at_mgpass(
        &self,
        world: &World,
        line: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> logto::LogtoAnswer;
}

pub struct World {
    pub executor: Rc<Executor>,
    pub tamper: RefCell<Option<Rc<dyn Tamper>>>,
    pub clients: RefCell<Option<Rc<dyn Clients>>>,
    /// Whether events are kept.
    pub keeps_events: Cell<bool>,
    /// Whether a rewards database is bound.
    pub has_rewards: Cell<bool>,
    pub databases: Rc<Databases>,
    pub logto: Logto,
    pub mgpass: Mgpass,
    pub faults: Faults,
    /// Variables and secrets.
    variables: Vec<(String, String)>,
    pub flags: RefCell<BTreeMap<String, String>>,
    pub imported_keys: RefCell<Option<String>>,
    pub events: RefCell<Vec<String>>,
    queue: RefCell<Vec<Delivery>>,
    /// What one invocation may ask of the databases.
    pub max_queries: Cell<u32>,
    /// Queries beyond that; and the most calls at once that an invocation made.
    pub n_overruns: Cell<u32>,
    pub max_connections: Cell<usize>,
    /// Messages that the dead-letter queue gave up, too.
    pub n_dropped: Cell<u32>,
    /// Every message is delivered so many times ...
    pub deliveries: Cell<u32>,
    /// ... so long after it was sent.
    pub queue_delay_ms: Cell<i64>,
    pub random: Random,
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
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = changes.iter().chain(SETTINGS).map(owned).collect();
        databases.execute(
            Store::Mgpass,
            "INSERT INTO roles (id, name, is_default, created_at) VALUES ('role_user', 'mgpass:user', 1, 0), ('role_admin', 'mgpass:admin', 0, 0)",
        );
        let world = Self {
            executor,
            tamper: RefCell::default(),
            clients: RefCell::default(),
            keeps_events: Cell::new(true),
            has_rewards: Cell::new(true),
            databases,
            logto: Logto::new(),
            mgpass: Mgpass::new(),
            faults: Faults::default(),
            variables,
            flags: RefCell::default(),
            imported_keys: RefCell::default(),
            events: RefCell::default(),
            queue: RefCell::default(),
            max_queries: Cell::new(MAX_QUERIES),
            n_overruns: Cell::new(0),
            max_connections: Cell::new(0),
            n_dropped: Cell::new(0),
            deliveries: Cell::new(1),
            queue_delay_ms: Cell::new(0),
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
        let deployment = Deployment::read(|name| {
            let pair = self.variables.iter().find(|(key, _)| key == name);
            pair.map(|(_, value)| value.clone())
        });
        Node::new(Rc::clone(self), Rc::new(deployment))
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

    pub fn note_overrun(&self) {
        self.n_overruns.set(self.n_overruns.get() + 1);
    }

    /// No invocation asked for more than the platform gives.
    pub fn assert_within_limits(&self) {
        assert_eq!(self.n_overruns.get(), 0, "queries beyond the limit");
        assert!(
            self.max_connections.get() <= MAX_CONNECTIONS,
            "{}",
            self.max_connections.get()
        );
    }

    pub fn n_queued(&self) -> usize {
        self.queue.borrow().len()
    }

    pub fn drop_queue(&self) {
        self.queue.borrow_mut().clear();
    }

    pub fn n_dead(&self) -> usize {
        let queue = self.queue.borrow();
        queue.iter().filter(|delivery| delivery.is_dead).count()
    }

    pub fn enqueue(&self, message: Message, delay_s: u32) {
        let due_ms = self.now_ms() + self.queue_delay_ms.get() + i64::from(delay_s) * 1_000;
        let copies = match &*self.tamper.borrow() {
            Some(tamper) => tamper.copies(&message),
            None => vec![0],
        };
        for late_ms in copies {
            for _ in 0..self.deliveries.get() {
                self.queue.borrow_mut().push(Delivery {
                    due_ms: due_ms + late_ms,
                    message: message.clone(),
                    is_dead: false,
                    n_retries: 0,
                });
            }
        }
    }

    /// A delivery that was not acknowledged.
    pub fn retry(&self, mut delivery: Delivery, delay_s: u32) {
        delivery.n_retries += 1;
        delivery.due_ms = self.now_ms() + i64::from(delay_s) * 1_000;
        if delivery.n_retries > MAX_RETRIES {
            if delivery.is_dead {
                self.n_dropped.set(self.n_dropped.get() + 1);
                return;
            }
            delivery = Delivery {
                due_ms: self.now_ms() + DEAD_BATCH_MS,
                is_dead: true,
                n_retries: 0,
                ..delivery
            };
        }
        self.queue.borrow_mut().push(delivery);
    }

    /// Takes what is due out of the Queue.
    pub fn take_due(&self) -> Vec<Delivery> {
        let now_ms = self.now_ms();
        let mut queue = self.queue.borrow_mut();
        let (due, later) = queue
            .drain(..)
            .partition(|delivery| delivery.due_ms <= now_ms);
        *queue = later;
        due
    }

    /// When the Queue has something due next.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.queue
            .borrow()
            .iter()
            .map(|delivery| delivery.due_ms)
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
            let Some(next) = self.next_due_ms().filter(|next| *next <= until_ms) else {
                break;
            };
            self.advance((next - self.now_ms()).max(0));
            let batches = batches(self.take_due()).into_iter().map(|batch| {
                let node = node.next_invocation();
                self.executor.spawn(async move {
                    node.deliver(batch).await;
                })
            });
            let batches: Vec<_> = batches.collect();
            self.executor
                .run(until_ms, || batches.iter().all(Handle::is_done));
        }
        self.advance((until_ms - self.now_ms()).max(0));
    }

    /// The one that is due first, if any is.
    pub fn deliver_one(self: &Rc<Self>) {
        let mut due = self.take_due();
        if due.is_empty() {
            return;
        }
        due.sort_by_key(|delivery| delivery.due_ms);
        let first = due.remove(0);
        self.queue.borrow_mut().extend(due);
        let node = self.node();
        self.finish(async move { node.deliver(vec![first]).await });
    }

    /// Two minutes of deliveries.
    pub fn deliver(self: &Rc<Self>) {
        self.idle();
        self.deliver_for(120_000);
    }

    /// Of cron's steps the relay's alone.
    pub fn sweep(self: &Rc<Self>) {
        let node = self.node();
        self.finish(async move {
            let flags = snapshot::read(&node, &node.deployment.isolate).await;
            let stage = flags.stage;
            relay::sweep(&node, &node.context(), stage, findings::purge()).await;
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
        let discharged = "DELETE FROM intents WHERE discharged_at IS NOT NULL";
        self.databases.execute(Store::Proxy, discharged);
    }

    /// As an operator's replay does: with an intent, and a message.
    pub fn wake(&self, id: &str) {
        let user = UserId::parse(id).unwrap();
        let (intent, status) = Trigger::Replay.intent(&user, self.random.next());
        self.databases
            .batch(Store::Proxy, &intent.settle(status))
            .unwrap();
        self.send_wake(id);
    }

    /// A message alone.
    pub fn send_wake(&self, id: &str) {
        self.enqueue(
            Message::Reconcile {
                subject: id.to_owned(),
            },
            0,
        );
    }
}
