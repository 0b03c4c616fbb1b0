//! One client's request for Logto, up to what is done after the answer.
//!
//! The client's answer never depends on mgPass while Logto is the source of
//! truth: a mirrored write waits for its intent to be recorded (bounded) and for
//! nothing else. What follows the answer is returned as a value and carried out
//! by [`crate::serve::follow_up`], so that a crash between the two is a case like any other.

mod at_mgpass;
mod conclude;
pub mod interaction;
mod name;
pub mod pass_through;
mod read_at_mgpass;
mod record;
mod rows;
mod serve;
mod start_again;
mod tokens;
mod write;

use crate::handover::authority::{Holder, View};
use crate::inbound::Inbound;
use crate::inbound::classify::{Kind, Operation};
use crate::inbound::request::UserId;
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{Plan, Reason};
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::metrics::{Fallback, Observation};
use crate::runtime::observe::Event;
use crate::runtime::ports::{Backend, BodyFailure, CallFailure, Exchange, Forward, Platform};
use crate::runtime::settings::Settings;
use crate::serve::authority::{Admitted, Kept, Need, NeedsProof, need};
use crate::serve::carry;
use crate::serve::follow_up::FollowUp;

/// Once, and once more when the authority moved meanwhile.
const MAX_TURNS: usize = 2;

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
    pub follow_up: Option<FollowUp<C>>,
    /// Who ends a sign-in at Logto by it, once Logto is not the authority.
    pub signs_in: Option<UserId>,
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
            signs_in: None,
        }
    }

    /// An answer that the proxy made, of nobody's word but its own unless `backend` says whose.
    pub fn own(operation: Operation, plan: Plan, own: OwnAnswer) -> Self {
        let forwarded = Self::forwarded(operation, plan, own.answer.status);
        Self {
            backend: "proxy",
            error: own.error.map(ProxyError::code),
            reply: Reply::Own(own.answer),
            ..forwarded
        }
    }

    /// To an answer of the proxy's own making, unless it is refused.
    fn add_headers<const N: usize>(&mut self, headers: [(&'static str, String); N]) {
        if let Reply::Own(answer) = &mut self.reply {
            answer.headers.extend(headers);
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
            error: self.error,
        }
    }
}

pub async fn execute<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Executed<E::Copy> {
    for _ in 0..MAX_TURNS {
        let left = request
            .last_alone()
            .map_or(Ok(()), |view| Err(Kept::AtMgpass(view)));
        let at_logto = match left {
            Ok(()) => request.at_logto(platform, exchange).await,
            Err(kept) => Err(kept),
        };
        let view = match at_logto {
            Ok(executed) => return executed,
            Err(Kept::Refused(error)) => return request.failed(error),
            Err(Kept::AtMgpass(view)) => view,
        };
        let Some(context) = &request.context else {
            return request.failed(ProxyError::SettingsFaulty);
        };
        if let Ok(executed) = request.at_mgpass(platform, context, exchange, view).await {
            return executed;
        }
        // What the database said is known to this isolate by now.
    }
    request.failed(ProxyError::AuthorityMoving)
}

pub fn to_logto<'a>(settings: &'a Settings, inbound: &'a Inbound) -> Forward<'a> {
    let operation = inbound.operation;
    let is_claimed = operation.kind() != Kind::PassThrough && !operation.is_of_a_client();
    Forward {
        backend: Backend::Logto,
        url: format!("{}{}", settings.logto_origin, inbound.path_and_query()),
        scheme: inbound.scheme(),
        host: inbound.host(),
        origin_secret: settings.origin_secret.as_ref(),
        // What no rule claims waits as long as its client does, as without the proxy.
        deadline_ms: is_claimed.then_some(settings.logto_deadline_ms),
    }
}

/// The one way of a client's request to Logto. Where this isolate was told that it is not
/// asked any more, nothing leaves.
///
/// # Errors
/// When there is no answer.
pub async fn send_to_logto<E: Exchange>(
    request: &Request<'_>,
    exchange: &mut E,
    forward: &Forward<'_>,
) -> Result<u16, CallFailure> {
    match request.isolate.asks_no_logto() {
        true => Err(CallFailure::Retired),
        false => exchange.forward(forward).await,
    }
}

/// Logto gave no answer.
pub fn unanswered(failure: &CallFailure) -> ProxyError {
    match failure {
        CallFailure::TimedOut => ProxyError::LogtoTimedOut,
        CallFailure::Unreachable | CallFailure::Unreadable | CallFailure::TooLarge { .. } => {
            ProxyError::LogtoUnreachable
        }
        CallFailure::Retired => ProxyError::LogtoRetired,
        CallFailure::Unheard => ProxyError::AuthorityUnknown,
    }
}

impl Request<'_> {
    /// # Errors
    /// When it must not reach Logto.
    async fn at_logto<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        exchange: &mut E,
    ) -> Result<Executed<E::Copy>, Kept> {
        match (self.needs_proof(), need(self.inbound)) {
            (NeedsProof::No, _) | (NeedsProof::Yes, Need::Nothing) => {}
            // Recorded by the fenced insert, which proves it, or asked for where it is not.
            (NeedsProof::Yes, Need::Write) if self.context.is_some() => {}
            // What answers it there is proof of its own.
            (NeedsProof::Yes, Need::Read) if let Some(view) = self.last_at_mgpass() => {
                return Err(Kept::AtMgpass(view));
            }
            // It may be mgPass's to answer.
            (NeedsProof::Yes, Need::Read) if self.is_planned() => {}
            (NeedsProof::Yes, Need::Write) => self.unproven(platform, Need::Unrecorded).await?,
            (NeedsProof::Yes, needed) => self.unproven(platform, needed).await?,
        }
        Ok(match (self.inbound.operation.kind(), self.context) {
            (Kind::PassThrough, Some(_))
                if self.inbound.operation.is_password_check() && self.carries_passwords() =>
            {
                self.check_password(exchange).await
            }
            (Kind::PassThrough, _) => self.pass(exchange, Reason::NotARead).await,
            // Settings with faults leave a pipe; what is written meanwhile is a gap all the same.
            (Kind::Write(source), None) => {
                self.unrecorded(exchange, source, Reason::Settings).await
            }
            (_, None) => self.pass(exchange, Reason::Settings).await,
            (Kind::Write(source), Some(context)) => {
                self.write(platform, &context, exchange, source).await?
            }
            (Kind::Read, Some(context)) => self.read(platform, &context, exchange).await?,
            (Kind::Token, Some(context)) => self.token(platform, &context, exchange).await,
        })
    }

    /// That what nothing records beforehand may reach Logto.
    ///
    /// # Errors
    /// When it must not.
    async fn unproven<P: Platform>(&self, platform: &P, need: Need) -> Result<(), Kept> {
        match self.admit(platform, need).await? {
            Admitted::Freely => Ok(()),
            Admitted::RecordedFirst => Err(Kept::Refused(ProxyError::AuthorityUnknown)),
        }
    }

    /// Where reads were mgPass's as this isolate heard last.
    fn last_at_mgpass(&self) -> Option<View> {
        let view = self.isolate.authority.get().view();
        view.filter(|view| {
            matches!(
                view.holder,
                Holder::Mgpass | Holder::Returning | Holder::Alone
            )
        })
    }

    /// Where Logto is not asked any more, as this isolate heard.
    fn last_alone(&self) -> Option<View> {
        let view = self.isolate.authority.get().view();
        view.filter(|view| view.holder == Holder::Alone)
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
    ) -> Result<Executed<E::Copy>, Kept> {
        if self.needs_proof() == NeedsProof::Yes {
            self.unproven(platform, Need::Read).await?;
        }
        Ok(self.pass(exchange, reason).await)
    }

    /// Logto's word on a password, of which nothing is recorded.
    async fn check_password<E: Exchange>(&self, exchange: &mut E) -> Executed<E::Copy> {
        if exchange.hold_body(carry::MAX_BODY_BYTES).await == Err(BodyFailure::Incomplete) {
            return self.failed(ProxyError::BodyIncomplete);
        }
        let mut executed = self.pass(exchange, Reason::NotARead).await;
        if executed.reply == Reply::Forwarded {
            let shown = self.shown_password(exchange, executed.status);
            executed.follow_up = shown.map(FollowUp::Carry);
        }
        executed
    }

    /// To Logto, nothing recorded.
    async fn pass<E: Exchange>(&self, exchange: &mut E, reason: Reason) -> Executed<E::Copy> {
        self.forward(exchange, Plan::logto(reason)).await
    }

    async fn forward<E: Exchange>(&self, exchange: &mut E, plan: Plan) -> Executed<E::Copy> {
        let operation = self.inbound.operation;
        let forward = to_logto(self.settings, self.inbound);
        match send_to_logto(self, exchange, &forward).await {
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
