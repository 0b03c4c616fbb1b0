//! One client's request, from classification to what is done after the answer.
//!
//! The client's answer never depends on mgPass while Logto is the source of
//! truth: a mirrored write waits for its intent to be recorded (bounded) and for
//! nothing else. What follows the answer is returned as a value and carried out
//! by [`crate::afterwards`], so that a crash between the two is a case like any other.

use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;

use crate::afterwards::Afterwards;
use crate::authenticate::authenticate;
use crate::backend::logto::{self, InteractionHeaders};
use crate::backend::mgpass::Caller;
use crate::classify::{Classified, Kind, Operation, SubjectSource, classify};
use crate::context::Context;
use crate::error::ProxyError;
use crate::flags::bucket::Bucket;
use crate::flags::{Flags, Stage};
use crate::mirror::outbox::{self, Intent};
use crate::mirror::target::MirrorRow;
use crate::observe::Event;
use crate::plan::{Facts, Origin, Plan, Primary, Question, Reason, Step, Verdict, plan};
use crate::ports::{BodyFailure, CallFailure, Exchange, Forward, Platform, Store};
use crate::read;
use crate::relay::Message;
use crate::request::{
    InteractionUid, Secret, Target, UserId, bearer, interaction_in_set_cookie, interaction_uid,
};
use crate::settings::Settings;
use crate::token::{self, AttributedToken};
use crate::translate::Answer;

/// Logto's JSON API takes 1 MB; what declares more passes on unread.
const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;

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
    pub fallback: Option<&'static str>,
    pub error: Option<ProxyError>,
    pub afterwards: Option<Afterwards<C>>,
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

/// The request's fixed surroundings.
pub struct Surroundings<'a> {
    pub settings: &'a Settings,
    /// Absent when the settings had faults: then the proxy is a pipe.
    pub context: Option<Context<'a>>,
    pub flags: Arc<Flags>,
    pub request_id: &'a str,
    pub began_ms: i64,
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
        );
    };
    let classified = classify(exchange.method(), target.path);
    let request = Request {
        around,
        target,
        classified: &classified,
    };
    match (classified.operation.kind(), around.context) {
        (Kind::PassThrough, _) | (_, None) => {
            request.pass(platform, exchange, Reason::NotARead).await
        }
        (Kind::Session, Some(_)) => request.session(platform, exchange).await,
        (Kind::Write(source), Some(context)) => {
            request.write(platform, &context, exchange, source).await
        }
        (Kind::Read, Some(context)) => request.read(platform, &context, exchange).await,
    }
}

/// An answer of the proxy's own for a request that failed in it.
pub fn own_error<C>(
    operation: Operation,
    error: ProxyError,
    path: &str,
    around: &Surroundings<'_>,
) -> Executed<C> {
    Executed {
        reply: Reply::Own(error_reply(error, path, around.request_id)),
        operation,
        plan: Plan {
            primary: Primary::Logto,
            reason: Reason::NotARead,
        },
        mirror: MirrorOutcome::None,
        bucket: None,
        backend: "proxy",
        status: error.status(),
        fallback: None,
        error: Some(error),
        afterwards: None,
    }
}

fn error_reply(error: ProxyError, path: &str, request_id: &str) -> Answer {
    Answer {
        status: error.status(),
        headers: vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body: error.body(path, request_id),
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
        let is_claimed = self.classified.operation != Operation::PassThrough;
        let forward = Forward {
            url: format!("{}{}", settings.logto_origin, self.target.path_and_query),
            scheme: self.target.scheme,
            host: self.target.host,
            origin_secret: settings.origin_secret.as_ref(),
            // What no rule claims waits as long as its client does, as without the proxy.
            deadline_ms: is_claimed.then_some(settings.logto_deadline_ms),
        };
        exchange.forward(&forward).await
    }

    /// To Logto, nothing recorded.
    async fn pass<P: Platform, E: Exchange>(
        &self,
        _: &P,
        exchange: &mut E,
        reason: Reason,
    ) -> Executed<E::Copy> {
        let plan = Plan {
            primary: Primary::Logto,
            reason,
        };
        self.forwarded(self.forward(exchange).await, plan)
    }

    fn forwarded<C>(&self, outcome: Result<u16, CallFailure>, plan: Plan) -> Executed<C> {
        match outcome {
            Ok(status) => Executed {
                reply: Reply::Forwarded,
                operation: self.classified.operation,
                plan,
                mirror: MirrorOutcome::None,
                bucket: None,
                backend: "logto",
                status,
                fallback: None,
                error: None,
                afterwards: None,
            },
            Err(failure) => {
                let error = match failure {
                    CallFailure::TimedOut => ProxyError::LogtoTimedOut,
                    CallFailure::Unreachable | CallFailure::Unreadable => {
                        ProxyError::LogtoUnreachable
                    }
                };
                Executed {
                    plan,
                    ..self.failed(error)
                }
            }
        }
    }

    fn failed<C>(&self, error: ProxyError) -> Executed<C> {
        own_error(
            self.classified.operation,
            error,
            self.target.path,
            self.around,
        )
    }

    /// One interaction goes over into the next: its cookies tell which.
    async fn session<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        exchange: &mut E,
    ) -> Executed<E::Copy> {
        let mut executed = self.pass(platform, exchange, Reason::NotARead).await;
        if self.around.flags.stage != Stage::Off
            && executed.status == 303
            && let Some(from) = &self.classified.interaction
        {
            let next = exchange
                .answer_cookies()
                .iter()
                .find_map(|line| interaction_in_set_cookie(line));
            if let Some(to) = next.filter(|to| to != from) {
                executed.afterwards = Some(Afterwards::Link {
                    from: from.clone(),
                    to,
                });
            }
        }
        executed
    }

    async fn write<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        source: SubjectSource,
    ) -> Executed<E::Copy> {
        if self.around.flags.stage == Stage::Off {
            let mut executed = self.pass(platform, exchange, Reason::StageOff).await;
            executed.mirror = MirrorOutcome::Gap;
            executed.afterwards = Some(Afterwards::Gap {
                operation: self.classified.operation,
                code: "stage_off",
            });
            return executed;
        }
        let named = match self.name_subject(platform, context, exchange, source).await {
            Named::CannotWrite => return self.pass(platform, exchange, Reason::NotARead).await,
            Named::As(named) => named,
        };
        match self.hold_body(exchange).await {
            Ok(()) => {}
            Err(BodyFailure::TooLarge) => return self.failed(ProxyError::BodyTooLarge),
            Err(BodyFailure::Incomplete) => return self.failed(ProxyError::BodyIncomplete),
        }
        let mut intent = Intent {
            id: format!(
                "{:016x}{:016x}",
                platform.random_u64(),
                platform.random_u64()
            ),
            subject: named.subject,
            interaction: named.interaction,
            operation: self.refine(exchange).to_owned(),
        };
        let mirror = open(platform, context, &mut intent).await;
        if named.ask_before
            && intent.subject.is_none()
            && let Some(headers) = &named.headers
        {
            // After the submit the interaction is gone, and nobody could say whose it was.
            intent.subject = logto::interaction_subject(platform, context, headers)
                .await
                .ok()
                .flatten();
        }
        let plan = Plan {
            primary: Primary::Logto,
            reason: Reason::NotARead,
        };
        let mut executed = self.forwarded(self.forward(exchange).await, plan);
        executed.mirror = mirror;
        // Without an answer the intent stays open: Logto may have done it all the same.
        executed.afterwards = match (&executed.reply, mirror) {
            (_, MirrorOutcome::Gap) => Some(Afterwards::Gap {
                operation: self.classified.operation,
                code: "not_recorded",
            }),
            (Reply::Own(_), _) => None,
            (Reply::Forwarded, _) => Some(Afterwards::Settle {
                status: executed.status,
                copy: (source == SubjectSource::Answer && executed.status < 300)
                    .then(|| exchange.tee_answer())
                    .flatten(),
                ask: named.headers.filter(|_| !named.ask_before),
                intent,
            }),
        };
        executed
    }

    /// Who is about to change, as far as it can be known before the forward.
    async fn name_subject<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        source: SubjectSource,
    ) -> Named {
        let authorization = exchange.header("authorization");
        let token = authorization.as_deref().and_then(bearer);
        let mut named = Subject::default();
        match source {
            // Logto refuses these without a bearer token before it looks at anything else.
            SubjectSource::Path | SubjectSource::Answer if token.is_none() => {
                return Named::CannotWrite;
            }
            SubjectSource::Path => named.subject = self.classified.user.clone(),
            SubjectSource::Answer => {}
            SubjectSource::Interaction => {
                let cookie = exchange.header("cookie").unwrap_or_default();
                let app_id = exchange.header("logto-app-id");
                let Some(uid) = interaction_uid(&cookie, app_id.as_deref(), self.target.query)
                else {
                    // 400 `session.not_found`.
                    return Named::CannotWrite;
                };
                named.interaction = Some(uid);
                named.headers = Some(InteractionHeaders {
                    cookie: Secret(cookie),
                    app_id,
                });
                named.ask_before = matches!(
                    self.classified.operation,
                    Operation::ExperienceSubmit | Operation::InteractionSubmit
                );
                if self.classified.operation == Operation::Consent {
                    // This interaction is a fresh one; only the one before it was identified.
                    named.headers = None;
                }
            }
            SubjectSource::AccessToken => {
                let Some(token) = token else {
                    return Named::CannotWrite;
                };
                match logto::token_subject(platform, context, &Secret(token.to_owned())).await {
                    Ok(Some(subject)) => named.subject = Some(subject),
                    Ok(None) => return Named::CannotWrite,
                    // Recorded without a name; the write goes on.
                    Err(_) => {}
                }
            }
        }
        Named::As(named)
    }

    async fn hold_body<E: Exchange>(&self, exchange: &mut E) -> Result<(), BodyFailure> {
        let declared = exchange
            .header("content-length")
            .and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > MAX_HELD_BYTES) {
            // Logto refuses it; its own answer is the right one.
            return Ok(());
        }
        exchange.hold_body(MAX_HELD_BYTES).await
    }

    /// A suspension and its end are one route; only the body tells them apart.
    fn refine<E: Exchange>(&self, exchange: &E) -> &'static str {
        let operation = self.classified.operation;
        if operation != Operation::UsersSuspension {
            return operation.name();
        }
        let body = exchange
            .held_text()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let is_suspended = body
            .as_ref()
            .and_then(|body| body.get("isSuspended"))
            .and_then(serde_json::Value::as_bool);
        match is_suspended {
            Some(false) => Operation::UsersUnsuspension.name(),
            _ => operation.name(),
        }
    }

    async fn read<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Executed<E::Copy> {
        let flags = &self.around.flags;
        let user = self.classified.user.as_ref();
        // A query may ask for what only Logto has (`includeSsoIdentities`, password hashes).
        let Some(user) = user.filter(|_| self.target.query.is_none_or(str::is_empty)) else {
            return self.pass(platform, exchange, Reason::NotARead).await;
        };
        let bucket = Bucket::of(user, &flags.salt);
        let authorization = exchange.header("authorization");
        let mut token = None;
        let mut facts = Facts::default();
        let mut mirror = None;
        let plan = loop {
            match plan(self.classified.operation, flags, Some(bucket), &facts) {
                Step::Go(plan) => break plan,
                Step::Ask(Question::Origin) => {
                    let (origin, attributed) = origin(context, authorization.as_deref());
                    token = attributed;
                    facts.origin = Some(origin);
                }
                Step::Ask(Question::Verdict) => {
                    facts.verdict = Some(self.verdict(platform, context, token.as_ref()).await);
                }
                Step::Ask(Question::Standing) => {
                    let (standing, row) =
                        read::standing(platform, user, self.around.began_ms).await;
                    mirror = row;
                    facts.standing = Some(standing);
                }
            }
        };
        let mut executed = match plan.primary {
            Primary::Logto => self.pass(platform, exchange, plan.reason).await,
            Primary::Mgpass => {
                self.serve(
                    platform,
                    context,
                    exchange,
                    plan,
                    Caller::Proxy,
                    user,
                    mirror,
                )
                .await
            }
            Primary::MgpassAsCaller => {
                let own = authorization
                    .as_deref()
                    .and_then(bearer)
                    .unwrap_or_default();
                let caller = Caller::Client(Secret(own.to_owned()));
                let mirror = read::mirror_row_if_any(platform, user).await;
                self.serve(platform, context, exchange, plan, caller, user, mirror)
                    .await
            }
        };
        executed.bucket = Some(bucket);
        executed
    }

    #[expect(clippy::too_many_arguments, reason = "one call, spelled out")]
    async fn serve<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        plan: Plan,
        caller: Caller,
        user: &UserId,
        mirror: Option<MirrorRow>,
    ) -> Executed<E::Copy> {
        let if_none_match = exchange.header("if-none-match");
        let served = read::users_get(
            platform,
            context,
            &caller,
            user,
            mirror,
            if_none_match.as_deref(),
            self.around.request_id,
        )
        .await;
        match (served, caller) {
            (Ok(answer), _) => Executed {
                operation: self.classified.operation,
                plan,
                mirror: MirrorOutcome::None,
                bucket: None,
                backend: "mgpass",
                status: answer.status,
                fallback: None,
                error: None,
                afterwards: None,
                reply: Reply::Own(answer),
            },
            // Once, within the request. Logto judges the token again itself.
            (Err(unserved), Caller::Proxy) => Executed {
                fallback: Some(unserved.code()),
                plan,
                ..self.pass(platform, exchange, plan.reason).await
            },
            // Logto does not know this token: there is nobody to fall back to.
            (Err(unserved), Caller::Client(_)) => Executed {
                fallback: Some(unserved.code()),
                plan,
                ..self.failed(ProxyError::MgpassUnavailable)
            },
        }
    }

    async fn verdict<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        token: Option<&AttributedToken<'_>>,
    ) -> Verdict {
        let Some(token) = token else {
            return Verdict::Refused;
        };
        match authenticate(platform, context, token).await {
            Ok(_) => Verdict::Authentic,
            Err(refusal) => {
                let issuer = match token.issuer() {
                    token::Issuer::Logto => "logto",
                    token::Issuer::Mgpass => "mgpass",
                };
                let request_id = self.around.request_id;
                platform.emit(&Event::TokenRefused {
                    request_id,
                    issuer,
                    code: refusal.code(),
                });
                Verdict::Refused
            }
        }
    }
}

/// Whose token it claims to be: that chooses the checks, and nothing else.
fn origin<'t>(
    context: &Context<'_>,
    authorization: Option<&'t str>,
) -> (Origin, Option<AttributedToken<'t>>) {
    let Some(compact) = authorization.and_then(bearer) else {
        return (Origin::None, None);
    };
    let Ok(parsed) = token::parse(compact) else {
        return (Origin::None, None);
    };
    match parsed.partition(context.issuers) {
        Err(_) => (Origin::Foreign, None),
        Ok(token) => match token.issuer() {
            token::Issuer::Logto => (Origin::Logto, Some(token)),
            token::Issuer::Mgpass => (Origin::Mgpass, Some(token)),
        },
    }
}

enum Named {
    /// Logto refuses the request before it could write: nothing to record.
    CannotWrite,
    As(Subject),
}

#[derive(Default)]
struct Subject {
    subject: Option<UserId>,
    interaction: Option<InteractionUid>,
    /// By which Logto can be asked whom the interaction has identified.
    headers: Option<InteractionHeaders>,
    /// Ask before the forward; else after the answer.
    ask_before: bool,
}

/// Records the intent in the database, or in the Queue, within its deadline.
async fn open<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    intent: &mut Intent,
) -> MirrorOutcome {
    let now_ms = platform.now_ms();
    let isolate = context.isolate;
    let code = if now_ms < isolate.outbox_down_until_ms.get() {
        "outbox_down"
    } else {
        let insert = pin!(platform.batch(Store::Proxy, intent.open()));
        let deadline = pin!(platform.sleep(context.settings.outbox_deadline_ms));
        match select(insert, deadline).await {
            Either::Left((Ok(results), _)) => {
                if intent.subject.is_none() {
                    intent.subject = outbox::parse_subject(&results);
                }
                return MirrorOutcome::Recorded;
            }
            Either::Left((Err(failure), _)) => failure.code(),
            // A late insert is harmless: settling finds the row or makes it.
            Either::Right(_) => "outbox_slow",
        }
    };
    isolate
        .outbox_down_until_ms
        .set(platform.now_ms() + OUTBOX_REST_MS);
    let message = Message::Open {
        intent: (&*intent).into(),
    };
    let operation = Operation::from_name(&intent.operation).map_or("unknown", Operation::name);
    platform.emit(&Event::OutboxQueued { operation, code });
    match platform.send(&message, 0).await {
        Ok(()) => MirrorOutcome::Queued,
        Err(_) => MirrorOutcome::Gap,
    }
}

/// While the database is slow, writes do not each wait for its deadline.
const OUTBOX_REST_MS: i64 = 2_000;
