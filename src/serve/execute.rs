//! One client's request for Logto, up to what is done after the answer.
//!
//! The client's answer never depends on mgPass while Logto is the source of
//! truth: a mirrored write waits for its intent to be recorded (bounded) and for
//! nothing else. What follows the answer is returned as a value and carried out
//! by [`crate::serve::follow_up`], so that a crash between the two is a case like any other.

mod at_mgpass;
mod conclude;
mod name;
pub mod pass_through;
mod record;
mod serve;
mod tokens;
mod write;

use crate::inbound::Inbound;
use crate::inbound::classify::{Kind, Operation};
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{Plan, Reason};
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::metrics::{Fallback, Observation};
use crate::runtime::observe::Event;
use crate::runtime::ports::{CallFailure, Exchange, Forward, Platform};
use crate::runtime::settings::Settings;
use crate::serve::authority::{Admitted, Kept, Need, NeedsProof, need};
use crate::serve::follow_up::FollowUp;

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
    pub error: Option<ProxyError>,
    pub follow_up: Option<FollowUp<C>>,
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
    pub fn forwarded(operation: Operation, plan: Plan, status: u16) -> Self {
        Self {
            reply: Reply::Forwarded,
            operation,
            plan,
            mirror: MirrorOutcome::None,
            bucket: None,
            backend: "logto",
            status,
            fallback: None,
            error: None,
            follow_up: None,
        }
    }

    /// An answer that the proxy made, of nobody's word but its own unless `backend` says whose.
    pub fn own(operation: Operation, plan: Plan, own: OwnAnswer) -> Self {
        let forwarded = Self::forwarded(operation, plan, own.answer.status);
        Self {
            backend: "proxy",
            error: own.error,
            reply: Reply::Own(own.answer),
            ..forwarded
        }
    }

    pub fn observation(&self, duration_ms: i64) -> Observation {
        Observation {
            operation: self.operation,
            plan: self.plan,
            fallback: self.fallback,
            status: self.status,
            duration_ms,
        }
    }

    /// The closing line of the request.
    pub fn done<'a>(
        &self,
        request_id: &'a str,
        stage: &'static str,
        duration_ms: i64,
    ) -> Event<'a> {
        Event::RequestDone {
            request_id,
            operation: self.operation.name(),
            primary: self.plan.primary.name(),
            mirror: self.mirror.name(),
            reason: self.plan.reason.code(),
            stage,
            bucket: self.bucket.map(|bucket| bucket.number()),
            backend: self.backend,
            status: self.status,
            duration_ms,
            fallback: self.fallback.map(|fallback| fallback.code),
            error: self.error.map(ProxyError::code),
        }
    }
}

pub async fn execute<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Executed<E::Copy> {
    let kept = match (request.needs_proof(), need(request.inbound)) {
        (NeedsProof::No, _) | (NeedsProof::Yes, Need::Nothing) => None,
        // Recorded by the fenced insert, which proves it, or asked for where it is not.
        (NeedsProof::Yes, Need::Write) if request.context.is_some() => None,
        // It may be mgPass's to answer.
        (NeedsProof::Yes, Need::Read) if request.is_planned() => None,
        (NeedsProof::Yes, Need::Write) => request.unproven(platform, Need::Unrecorded).await,
        (NeedsProof::Yes, needed) => request.unproven(platform, needed).await,
    };
    if let Some(kept) = kept {
        return request.kept(kept);
    }
    match (request.inbound.operation.kind(), request.context) {
        (Kind::PassThrough, _) => request.pass(exchange, Reason::NotARead).await,
        // Settings with faults leave a pipe; what is written meanwhile is a gap all the same.
        (Kind::Write(source), None) => request.unrecorded(exchange, source, Reason::Settings).await,
        (_, None) => request.pass(exchange, Reason::Settings).await,
        (Kind::Write(source), Some(context)) => {
            request.write(platform, &context, exchange, source).await
        }
        (Kind::Read, Some(context)) => request.read(platform, &context, exchange).await,
        (Kind::Token, Some(context)) => request.token(platform, &context, exchange).await,
    }
}

fn to_logto<'a>(settings: &'a Settings, inbound: &'a Inbound) -> Forward<'a> {
    let is_claimed = inbound.operation != Operation::PassThrough;
    Forward {
        url: format!("{}{}", settings.logto_origin, inbound.path_and_query()),
        scheme: inbound.scheme(),
        host: inbound.host(),
        origin_secret: settings.origin_secret.as_ref(),
        // What no rule claims waits as long as its client does, as without the proxy.
        deadline_ms: is_claimed.then_some(settings.logto_deadline_ms),
    }
}

/// Logto gave no answer.
fn unanswered(failure: &CallFailure) -> ProxyError {
    match failure {
        CallFailure::TimedOut => ProxyError::LogtoTimedOut,
        CallFailure::Unreachable | CallFailure::Unreadable | CallFailure::TooLarge { .. } => {
            ProxyError::LogtoUnreachable
        }
    }
}

impl Request<'_> {
    /// Why what nothing records beforehand must not reach Logto, if so.
    async fn unproven<P: Platform>(&self, platform: &P, need: Need) -> Option<Kept> {
        match self.admit(platform, need).await {
            Ok(Admitted::Freely) => None,
            Ok(Admitted::RecordedFirst) => Some(Kept::Refused(ProxyError::AuthorityUnknown)),
            Err(kept) => Some(kept),
        }
    }

    fn is_planned(&self) -> bool {
        self.context.is_some() && self.inbound.operation.kind() == Kind::Read
    }

    /// A read of a user that is Logto's to answer, where that is proven.
    async fn pass_proven<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        exchange: &mut E,
        reason: Reason,
    ) -> Executed<E::Copy> {
        let kept = match self.needs_proof() {
            NeedsProof::No => None,
            NeedsProof::Yes => self.unproven(platform, Need::Read).await,
        };
        match kept {
            None => self.pass(exchange, reason).await,
            Some(kept) => self.kept(kept),
        }
    }

    /// To Logto, nothing recorded.
    async fn pass<E: Exchange>(&self, exchange: &mut E, reason: Reason) -> Executed<E::Copy> {
        self.forward(exchange, Plan::logto(reason)).await
    }

    async fn forward<E: Exchange>(&self, exchange: &mut E, plan: Plan) -> Executed<E::Copy> {
        let operation = self.inbound.operation;
        let forward = to_logto(self.settings, self.inbound);
        match exchange.forward(&forward).await {
            Ok(status) => Executed::forwarded(operation, plan, status),
            Err(failure) => Executed::own(operation, plan, self.refuse(unanswered(&failure))),
        }
    }

    fn failed<C>(&self, error: ProxyError) -> Executed<C> {
        self.answered(self.refuse(error))
    }

    /// By the proxy itself.
    pub fn answered<C>(&self, own: OwnAnswer) -> Executed<C> {
        Executed::own(self.inbound.operation, Plan::logto(Reason::Own), own)
    }
}
