//! What the flows need of the outside, as small traits. `src/shell` implements
//! them on the platform, `tests/native` on fakes with faults and virtual time.
//!
//! Ports speak the core's errors and decide nothing. Futures need not be `Send`: an
//! isolate has one thread.
#![allow(async_fn_in_trait)]

use crate::inbound::request::Secret;
use crate::policy::token::SignatureCheck;
use crate::runtime::limits::Usage;
use crate::runtime::message::Message;
use crate::runtime::metrics::Series;
use crate::runtime::observe::Event;

/// Every port in one bound.
pub trait Platform:
    Clock
    + Entropy
    + Sink
    + Invocation
    + Database
    + Calls
    + Queue
    + FlagStore
    + KeyStore
    + Signatures
    + Addresses
{
}
impl<
    T: Clock
        + Entropy
        + Sink
        + Invocation
        + Database
        + Calls
        + Queue
        + FlagStore
        + KeyStore
        + Signatures
        + Addresses,
> Platform for T
{
}

pub trait Clock {
    /// Milliseconds since the epoch. Stands still between two awaits.
    fn now_ms(&self) -> i64;
    async fn sleep(&self, duration_ms: u32);
}

pub trait Entropy {
    fn random_u64(&self) -> u64;
}

pub trait Sink {
    fn emit(&self, event: &Event<'_>);
    /// One series' new count to the platform's analytics, where they are bound.
    fn point(&self, series: &Series, count: i64);
}

/// Which of the two identity servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    Logto,
    Mgpass,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
        }
    }
}

/// The request, batch of messages or run of cron that all of this happens in.
pub trait Invocation {
    /// The ports count in it what is asked of them.
    fn usage(&self) -> &Usage;
    /// What the program's memory has grown to in this isolate; it never shrinks.
    fn memory_bytes(&self) -> u64;
}

/// Which of the databases. They share no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The proxy's own: outbox, leases, sequence (binding `DB`).
    Proxy,
    /// mgPass's: users and the mirror's rows beside them (binding `MGPASS_DB`).
    Mgpass,
    /// Counts and verdicts (binding `METRICS_DB`); nothing depends on it.
    Metrics,
    /// Where points are imported from (binding `REWARDS_DB`); only read, and may be absent.
    Rewards,
}

impl Store {
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "outbox",
            Self::Mgpass => "mgpass",
            Self::Metrics => "metrics",
            Self::Rewards => "rewards",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Integer(i64::from(flag))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub sql: &'static str,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn new(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    /// Of its values.
    pub fn n_bytes(&self) -> usize {
        let bytes = self.values.iter().map(|value| match value {
            Value::Null => 0,
            Value::Integer(_) => 8,
            Value::Text(text) => text.len(),
        });
        bytes.sum()
    }
}

/// One result row by column name.
pub type Row = serde_json::Map<String, serde_json::Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFailure {
    /// Not reached, overloaded or too slow: the batch may or may not have been applied.
    #[error("database unavailable")]
    Unavailable,
    /// A UNIQUE or CHECK constraint refused the batch as a whole.
    #[error("constraint violated")]
    Constraint,
    /// A value, a row or a statement larger than the platform takes: no better next time.
    #[error("value too large")]
    TooLarge,
    /// A statement or a row was not as the schema says.
    #[error("statement refused")]
    Refused,
}

impl DatabaseFailure {
    pub fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "database_unavailable",
            Self::Constraint => "constraint_violated",
            Self::TooLarge => "too_large",
            Self::Refused => "statement_refused",
        }
    }
}

pub trait Database {
    /// Whether the deployment has this database at all.
    fn is_bound(&self, store: Store) -> bool;

    /// All statements in one transaction, in order; one list of rows for each.
    async fn batch(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure>;
}

/// A small call of the proxy's own to a backend; never a client's request.
#[derive(Clone, Debug)]
pub struct Call {
    pub backend: Backend,
    pub method: &'static str,
    /// An absolute URL.
    pub url: String,
    pub headers: Vec<(&'static str, Secret<String>)>,
    pub body: Option<Secret<String>>,
    pub deadline_ms: u32,
    /// An answer is held whole, and no longer one than this.
    pub max_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct CallAnswer {
    pub status: u16,
    pub retry_after_s: Option<u32>,
    pub max_age_s: Option<u32>,
    /// Logto's `Total-Number` of a listing.
    pub total: Option<i64>,
    pub is_json: bool,
    pub body: String,
}

impl CallAnswer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What is kept of an answer that is too long: enough to see whom it is about.
pub const ANSWER_HEAD_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    #[error("backend not reached")]
    Unreachable,
    #[error("backend did not answer in time")]
    TimedOut,
    #[error("answer broken off, or no text")]
    Unreadable,
    /// Longer than the call allows; how it begins.
    #[error("answer too large")]
    TooLarge { head: String },
    /// Not made: Logto is not asked any more.
    #[error("backend is not asked any more")]
    Retired,
    /// Not made: nobody could say whether Logto may still be asked.
    #[error("nobody could say whether backend may be asked")]
    Unheard,
}

impl CallFailure {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Unreadable => "unreadable",
            Self::TooLarge { .. } => "too_large",
            Self::Retired => "logto_retired",
            Self::Unheard => "authority_unknown",
        }
    }
}

/// What a browser gets: a page, or where to go next.
#[derive(Clone, Debug)]
pub struct Visited {
    pub status: u16,
    pub location: Option<String>,
    /// Each `Set-Cookie` line.
    pub cookies: Vec<Secret<String>>,
    pub body: String,
}

pub trait Calls {
    /// Redirects are not followed.
    async fn call(&self, call: Call) -> Result<CallAnswer, CallFailure>;

    /// The same as a browser would make it.
    async fn visit(&self, call: Call) -> Result<Visited, CallFailure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue did not take the message")]
pub struct QueueFailure;

pub trait Queue {
    async fn send(&self, message: &Message, delay_s: u32) -> Result<(), QueueFailure>;

    /// To one queue, no more than one call takes ([`crate::runtime::limits::MAX_SENT_MESSAGES`]).
    async fn send_batch(&self, messages: &[Message], delay_s: u32) -> Result<(), QueueFailure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key-value store did not answer")]
pub struct KvFailure;

pub trait FlagStore {
    async fn flags(&self, keys: &[String]) -> Result<Vec<(String, Option<String>)>, KvFailure>;
    /// Names of the keys that are set, a thousand at most: whatever else somebody wrote.
    async fn flag_names(&self) -> Result<Vec<String>, KvFailure>;
    /// Written by the proxy: `guard` to stop a ramp, `read_percent` by a ramp plan,
    /// `sign_in_stop` to stop the share of sign-ins.
    async fn put_flag(&self, key: &str, value: &str) -> Result<(), KvFailure>;
}

pub trait KeyStore {
    /// The imported Logto keys, as the operator's command wrote them.
    async fn imported_keys(&self) -> Result<Option<String>, KvFailure>;
}

pub trait Signatures {
    /// True only for a good signature; a key that cannot be used is a bad one.
    async fn verify(&self, check: &SignatureCheck<'_>) -> bool;
}

pub trait Addresses {
    /// As the runtime's `new URL` takes it (WHATWG URL).
    fn is_address(&self, text: &str) -> bool;
}

/// What goes on behind an answer. The platform may cut it off at any point.
pub trait Background {
    fn go_on(&self, task: impl Future<Output = ()> + 'static);
}

/// One client's request and the answer to it. Bodies stay where they are: only
/// what a rule needs is read, and within bounds.
pub trait Exchange {
    fn header(&self, name: &str) -> Option<String>;

    /// Reads the request's body whole, so that a slow client cannot keep an intent open.
    /// What is too large is passed on all the same, what was read of it included. Asked
    /// again, as when a write turns out to be mgPass's, it says the same once more.
    async fn hold_body(&mut self, max_bytes: usize) -> Result<(), BodyFailure>;
    /// The held body, if it is text.
    fn held_text(&self) -> Option<String>;
    /// The held body; `None` where the request has none.
    fn held_bytes(&self) -> Option<Vec<u8>>;

    /// Sends the request on as it is, headers tidied; true once an answer
    /// has begun. `deadline_ms` bounds the wait for that.
    async fn forward(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure>;
    /// One line more, whatever there is.
    fn add_answer_cookie(&mut self, line: &str);
    /// Of the answer.
    fn answer_header(&self, name: &str) -> Option<String>;
    /// Adds to the answer, whatever the backend said there; after `forward` alone.
    fn set_answer_header(&mut self, name: &'static str, value: &str);
    /// Sets a copy of the answer's body aside; the client's own is not delayed.
    fn tee_answer(&mut self) -> Option<Self::Copy>;
    type Copy: AnswerCopy;
}

pub trait AnswerCopy {
    async fn text(self, max_bytes: usize) -> Option<String>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    TooLarge,
    Incomplete,
}

/// What the proxy states about the request, in place of the client's own word.
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    /// To mgPass no cookie goes along and none comes back, and nothing is stated: the host
    /// is Logto's. Only what its own client sends to a token route goes there.
    pub backend: Backend,
    pub url: String,
    pub scheme: &'a str,
    pub host: &'a str,
    pub origin_secret: Option<&'a Secret<String>>,
    pub deadline_ms: Option<u32>,
}
