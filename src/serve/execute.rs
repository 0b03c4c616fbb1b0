//! One client's request, from classification to what is done after the answer.
//!
//! The client's answer never depends on mgPass while Logto is the source of
//! truth: a mirrored write waits for its intent to be recorded (bounded) and for
//! nothing else. What follows the answer is returned as a value and carried out
//! by [`crate::serve::afterwards`], so that a crash between the two is a case like any other.

mod at_mgpass;
mod conclude;
mod name;
pub mod pass_through;
mod record;
mod serve;
mod tokens;
mod write;

use crate::inbound::classify::{Classified, Kind, Operation, classify};
use crate::inbound::request::Target;
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{Plan, Reason};
use crate::runtime::answer::{Answer, OwnAnswer, own_error};
use crate::runtime::context::Surroundings;
use crate::runtime::error::ProxyError;
use crate::runtime::metrics::{Fallback, Observation};
use crate::runtime::observe::Event;
use crate::runtime::ports::{CallFailure, Exchange, Forward, Platform};
use crate::runtime::settings::Settings;
use crate::serve::afterwards::Afterwards;

/// What the client gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Logto's answer, which the exchange holds.
    Forwarded,
    Own(Answer),
}

/// The outcome of one request, with all that `request.done` tells.
pub struct Executed<C> {
    pub reply: Reply,
    pub operation: Operation,
    pub plan: Plan,
    pub mirror: MirrorOutcome,
    pub bucket: Option<Bucket>,
    pub backend: &'static str,
    pub status: u16,
    pub fallback: Option<Fallback>,
    /// The code of the proxy's own error or refusal.
    pub error: Option<&'static str>,
    pub afterwards: Option<Afterwards<C>>,
}

impl<C> Executed<C> {
    pub fn observation(&self, duration_ms: i64) -> Observation {
        Observation {
            operation: self.operation,
            plan: self.plan,
            fallback: self.fallback,
            status: self.status,
            duration_ms,
        }
    }
}

impl<C> From<OwnAnswer> for Executed<C> {
    fn from(own: OwnAnswer) -> Self {
        Self {
            operation: own.operation,
            plan: Plan::logto(Reason::Own),
            mirror: MirrorOutcome::None,
            bucket: None,
            backend: "proxy",
            status: own.answer.status,
            fallback: None,
            error: own.error.map(ProxyError::code),
            afterwards: None,
            reply: Reply::Own(own.answer),
        }
    }
}

/// What was done about recording this request. Never an error of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorOutcome {
    None,
    Recorded,
    /// The database did not take the intent in time, the Queue did.
    Queued,
    /// Neither did, or recording is off: the epoch rises.
    Gap,
}

impl MirrorOutcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Recorded => "recorded",
            Self::Queued => "queued",
            Self::Gap => "gap",
        }
    }
}

impl<C> Executed<C> {
    /// The closing line of the request.
    pub fn done<'a>(&self, around: &'a Surroundings<'_>, duration_ms: i64) -> Event<'a> {
        Event::RequestDone {
            request_id: around.request_id,
            operation: self.operation.name(),
            primary: self.plan.primary.name(),
            mirror: self.mirror.name(),
            reason: self.plan.reason.code(),
            stage: around.flags.stage_name(),
            bucket: self.bucket.map(|bucket| bucket.number()),
            backend: self.backend,
            status: self.status,
            duration_ms,
            fallback: self.fallback.map(|fallback| fallback.code),
            error: self.error,
        }
    }
}

pub async fn execute<P: Platform, E: Exchange>(
    platform: &P,
    around: &Surroundings<'_>,
    exchange: &mut E,
) -> Executed<E::Copy> {
    let url = exchange.url().to_owned();
    let Some(target) = Target::parse(&url) else {
        return own_error(
            Operation::PassThrough,
            ProxyError::MalformedRequest,
            "/",
            around,
        )
        .into();
    };
    let classified = classify(exchange.method(), target.path);
    let request = Request {
        around,
        target,
        classified: &classified,
    };
    if let Some(context) = &around.context
        && let Some(executed) = request.by_authority(platform, context, exchange).await
    {
        return executed;
    }
    match (classified.operation.kind(), around.context) {
        (Kind::PassThrough, _) => request.pass(platform, exchange, Reason::NotARead).await,
        // Settings with faults leave a pipe; what is written meanwhile is a gap all the same.
        (Kind::Write(source), None) => request.unrecorded(exchange, source, Reason::Settings).await,
        (_, None) => request.pass(platform, exchange, Reason::Settings).await,
        (Kind::Write(source), Some(context)) => {
            request.write(platform, &context, exchange, source).await
        }
        (Kind::Read, Some(context)) => request.read(platform, &context, exchange).await,
        (Kind::Token, Some(context)) => request.token(platform, &context, exchange).await,
    }
}

/// How a request goes on to Logto.
fn to_logto<'a>(settings: &'a Settings, target: &Target<'a>, operation: Operation) -> Forward<'a> {
    let is_claimed = operation != Operation::PassThrough;
    Forward {
        url: format!("{}{}", settings.logto_origin, target.path_and_query),
        scheme: target.scheme,
        host: target.host,
        origin_secret: settings.origin_secret.as_ref(),
        // What no rule claims waits as long as its client does, as without the proxy.
        deadline_ms: is_claimed.then_some(settings.logto_deadline_ms),
    }
}

/// What came of the way to Logto. `path`: as the client sent it.
fn forwarded<C>(
    operation: Operation,
    plan: Plan,
    path: &str,
    around: &Surroundings<'_>,
    outcome: Result<u16, CallFailure>,
) -> Executed<C> {
    let error = match outcome {
        Ok(status) => {
            return Executed {
                reply: Reply::Forwarded,
                operation,
                plan,
                mirror: MirrorOutcome::None,
                bucket: None,
                backend: "logto",
                status,
                fallback: None,
                error: None,
                afterwards: None,
            };
        }
        Err(CallFailure::TimedOut) => ProxyError::LogtoTimedOut,
        Err(CallFailure::Unreachable | CallFailure::Unreadable | CallFailure::TooLarge { .. }) => {
            ProxyError::LogtoUnreachable
        }
    };
    Executed {
        plan,
        ..own_error(operation, error, path, around).into()
    }
}

struct Request<'a> {
    around: &'a Surroundings<'a>,
    target: Target<'a>,
    classified: &'a Classified,
}

impl<'a> Request<'a> {
    async fn forward<E: Exchange>(&self, exchange: &mut E) -> Result<u16, CallFailure> {
        let settings = self.around.settings;
        let forward = to_logto(settings, &self.target, self.classified.operation);
        exchange.forward(&forward).await
    }

    /// To Logto, nothing recorded.
    async fn pass<P: Platform, E: Exchange>(
        &self,
        _: &P,
        exchange: &mut E,
        reason: Reason,
    ) -> Executed<E::Copy> {
        self.forwarded(self.forward(exchange).await, Plan::logto(reason))
    }

    fn forwarded<C>(&self, outcome: Result<u16, CallFailure>, plan: Plan) -> Executed<C> {
        let operation = self.classified.operation;
        forwarded(operation, plan, self.target.path, self.around, outcome)
    }

    fn failed<C>(&self, error: ProxyError) -> Executed<C> {
        own_error(
            self.classified.operation,
            error,
            self.target.path,
            self.around,
        )
        .into()
    }
}
