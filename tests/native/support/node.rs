//! One isolate of the proxy in the world: the ports as the core sees them.
//!
//! A call leaves its task and takes effect on its own, as on a network: whoever
//! stops waiting for it, or crashes, does not undo it.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::mirror::relay::Disposition;
use dual_write_proxy::policy::token::SignatureCheck;
use dual_write_proxy::runtime::context::Context;
use dual_write_proxy::runtime::deployment::Deployment;
use dual_write_proxy::runtime::limits::{MAX_SENT_MESSAGES, MAX_SUBREQUESTS, Usage};
use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::metrics::Series;
use dual_write_proxy::runtime::observe::Event;
use dual_write_proxy::runtime::ports::{
    ANSWER_HEAD_BYTES, Addresses, Backend, Background, Call, CallAnswer, CallFailure, Calls, Clock,
    Database, DatabaseFailure, Entropy, FlagStore, Invocation, KeyStore, KvFailure, Queue,
    QueueFailure, Row, Signatures, Sink, Statement, Store, Visited,
};
use dual_write_proxy::serve::service;
use futures_util::future::{Either, select};

use super::World;
use super::faults::{Fault, Glitch, Port, What};
use super::logto::LogtoRequest;
use super::tokens;
use super::world::Delivery;

#[derive(Clone)]
pub struct Node {
    pub world: Rc<World>,
    pub deployment: Rc<Deployment>,
    usage: Rc<Usage>,
    /// Calls under way, of this invocation.
    n_connections: Rc<Cell<usize>>,
}

impl Node {
    pub fn new(world: Rc<World>, deployment: Rc<Deployment>) -> Self {
        let usage = Rc::new(Usage::of(world.max_queries.get()));
        Self {
            world,
            deployment,
            usage,
            n_connections: Rc::default(),
        }
    }

    /// The next request, batch or run of cron in the same isolate.
    pub fn next_invocation(&self) -> Self {
        Self::new(Rc::clone(&self.world), Rc::clone(&self.deployment))
    }

    pub fn context(&self) -> Context<'_> {
        self.deployment.context().expect("settings without faults")
    }

    /// Held while a call is waited for. The platform lets further ones wait; here that
    /// they were asked for is noted.
    fn connect(&self) -> Connection {
        let n_connections = self.n_connections.get() + 1;
        self.n_connections.set(n_connections);
        let most = &self.world.max_connections;
        most.set(most.get().max(n_connections));
        Connection(Rc::clone(&self.n_connections))
    }

    /// One batch of the Queue's.
    pub async fn deliver(&self, batch: Vec<Delivery>) {
        let messages = batch.iter().map(|delivery| Some(delivery.message.clone()));
        let queue = batch.first().map_or("mirror", Delivery::queue);
        let dispositions =
            service::handle_queue(self, &self.deployment, queue, messages.collect()).await;
        for (delivery, disposition) in batch.into_iter().zip(dispositions) {
            if let Disposition::Retry { delay_s } = disposition {
                self.world.retry(delivery, delay_s);
            }
        }
    }

    pub async fn cron(&self) {
        service::handle_cron(self, &self.deployment).await;
    }

    /// One call over a port: its latency, its fault, its effect.
    pub async fn remote<T: 'static>(
        &self,
        port: Port,
        what: What<'_>,
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
        let _connection = self.connect();
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

struct Connection(Rc<Cell<usize>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Background for Node {
    fn go_on(&self, task: impl Future<Output = ()> + 'static) {
        self.world.executor.spawn(task);
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

impl Invocation for Node {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
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
        self.usage.count_batch(statements.len());
        if self.usage.queries() > self.world.max_queries.get() {
            // As D1 does: the query is not run.
            self.world.note_overrun();
            return Err(DatabaseFailure::Unavailable);
        }
        let port = match store {
            Store::Proxy => Port::ProxyDatabase,
            Store::Mgpass => Port::MgpassDatabase,
            Store::Metrics => Port::MetricsDatabase,
            Store::Rewards => Port::RewardsDatabase,
        };
        let sql: Vec<_> = statements.iter().map(|statement| statement.sql).collect();
        let tamper = self.world.tamper.borrow().clone();
        let statements = match &tamper {
            Some(tamper) => tamper.statements(&self.world, store, statements),
            None => statements,
        };
        let results = self
            .remote(
                port,
                &|| sql.join("; "),
                Err(DatabaseFailure::Unavailable),
                move |world| world.databases.batch(store, &statements),
            )
            .await?;
        Ok(match &tamper {
            Some(tamper) => tamper.results(&self.world, store, &sql, results),
            None => results,
        })
    }
}

impl Queue for Node {
    async fn send(&self, message: &Message, delay_s: u32) -> Result<(), QueueFailure> {
        self.send_batch(std::slice::from_ref(message), delay_s)
            .await
    }

    async fn send_batch(&self, messages: &[Message], delay_s: u32) -> Result<(), QueueFailure> {
        assert!(messages.len() <= MAX_SENT_MESSAGES);
        self.usage.count_subrequest();
        let text = serde_json::to_string(messages).unwrap();
        // The wire form is what arrives.
        let sent: Vec<Message> = serde_json::from_str(&text).unwrap();
        self.remote(
            Port::Queue,
            &|| text.clone(),
            Err(QueueFailure),
            move |world| {
                for message in sent {
                    world.enqueue(message, delay_s);
                }
                Ok(())
            },
        )
        .await
    }
}

impl FlagStore for Node {
    async fn flags(&self, keys: &[String]) -> Result<Vec<(String, Option<String>)>, KvFailure> {
        let keys = keys.to_vec();
        self.remote(Port::Flags, &String::new, Err(KvFailure), move |world| {
            let held = world.flags.borrow();
            Ok(keys
                .into_iter()
                .map(|key| {
                    let value = held.get(&key).cloned();
                    let value = match &*world.tamper.borrow() {
                        Some(tamper) => tamper.flag(&key, value),
                        None => value,
                    };
                    (key, value)
                })
                .collect())
        })
        .await
    }

    async fn flag_names(&self) -> Result<Vec<String>, KvFailure> {
        let what = || "names".to_owned();
        self.remote(Port::Flags, &what, Err(KvFailure), |world| {
            Ok(world.flags.borrow().keys().cloned().collect())
        })
        .await
    }

    async fn put_flag(&self, key: &str, value: &str) -> Result<(), KvFailure> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.remote(
            Port::Flags,
            &|| "put".to_owned(),
            Err(KvFailure),
            move |world| {
                world.flags.borrow_mut().insert(key, value);
                Ok(())
            },
        )
        .await
    }
}

impl KeyStore for Node {
    async fn imported_keys(&self) -> Result<Option<String>, KvFailure> {
        self.remote(Port::Keys, &String::new, Err(KvFailure), |world| {
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

impl Addresses for Node {
    fn is_address(&self, text: &str) -> bool {
        url::Url::parse(text).is_ok()
    }
}

impl Calls for Node {
    async fn call(&self, call: Call) -> Result<CallAnswer, CallFailure> {
        let tamper = self.world.tamper.borrow().clone();
        let call = match tamper {
            Some(tamper) => tamper.call(call),
            None => call,
        };
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
        self.usage.count_subrequest();
        assert!(self.usage.subrequests() <= MAX_SUBREQUESTS);
        let describe = || what.clone();
        let deadline = pin!(self.sleep(call.deadline_ms));
        let answered = pin!(
            self.remote(port, &describe, Err(CallFailure::Unreachable), {
                let (call, line) = (call.clone(), what.clone());
                move |world: &World| {
                    let answer = || match call.backend {
                        // Who knows leaked passwords.
                        Backend::Logto if path.starts_with("range/") => glitched(200, ""),
                        Backend::Mgpass => {
                            world.mgpass.handle(&world.databases, &call, world.now_ms())
                        }
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
            })
        );
        match select(answered, deadline).await {
            Either::Left((Ok(answer), _)) if answer.body.len() > call.max_bytes => {
                let head = answer.body.chars().take(ANSWER_HEAD_BYTES).collect();
                Err(CallFailure::TooLarge { head })
            }
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(CallFailure::TimedOut),
        }
    }

    async fn visit(&self, call: Call) -> Result<Visited, CallFailure> {
        self.usage.count_subrequest();
        let what = format!("{} {}", call.method, call.url);
        self.remote(
            Port::Mgpass,
            &|| what.clone(),
            Err(CallFailure::Unreachable),
            move |world| Ok(world.mgpass.visit(&world.databases, &call)),
        )
        .await
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
