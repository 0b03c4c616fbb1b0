//! A write: named, recorded, forwarded, and then settled behind the answer.
//!
//! The intent exists before the write is forwarded, so that a crash at any point
//! leaves something to find. Recording waits for the database within a deadline,
//! then for the Queue, and never fails the client.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::{Executed, MirrorOutcome, Reply, Request};
use crate::inbound::classify::{Operation, SubjectSource};
use crate::inbound::request::{InteractionUid, Secret, UserId, bearer, interaction_uid};
use crate::mirror::outbox::{self, Intent};
use crate::policy::plan::{Plan, Reason};
use crate::runtime::backend::logto::{self, InteractionHeaders};
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{BodyFailure, Exchange, Platform, Store};
use crate::serve::afterwards::Afterwards;

/// Logto's JSON API takes 1 MB; what declares more passes on unread.
const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;

/// While the database is slow, writes do not each wait for its deadline.
const OUTBOX_REST_MS: i64 = 2_000;

/// A Queue that hangs holds no client up; it may have taken the message all the same.
const QUEUE_DEADLINE_MS: u32 = 1_000;

impl Request<'_> {
    /// To Logto; the epoch rises behind the answer.
    pub(super) async fn unrecorded<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        exchange: &mut E,
        code: &'static str,
    ) -> Executed<E::Copy> {
        let mut executed = self.pass(platform, exchange, Reason::StageOff).await;
        executed.mirror = MirrorOutcome::Gap;
        executed.afterwards = Some(Afterwards::Gap {
            operation: self.classified.operation,
            code,
        });
        executed
    }

    pub(super) async fn write<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        source: SubjectSource,
    ) -> Executed<E::Copy> {
        if !self.around.flags.records_writes() {
            return self.unrecorded(platform, exchange, "stage_off").await;
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
            if mirror == MirrorOutcome::Recorded {
                name_in_outbox(platform, context, &intent).await;
            }
        }
        let plan = Plan::logto(Reason::NotARead);
        let mut executed = self.forwarded(self.forward(exchange).await, plan);
        executed.mirror = mirror;
        if self.classified.operation == Operation::UsersDelete && executed.status == 204 {
            witness(platform, context, &intent).await;
        }
        // Without an answer the intent stays open: Logto may have done it all the same.
        executed.afterwards = match (&executed.reply, mirror) {
            (_, MirrorOutcome::Gap) => Some(Afterwards::Gap {
                operation: self.classified.operation,
                code: "not_recorded",
            }),
            (Reply::Own(_), _) => None,
            // Else anybody could fill the outbox, and have Logto asked for made-up ids.
            (Reply::Forwarded, _) if is_refused_caller(source, executed.status) => {
                Some(Afterwards::Refused { intent })
            }
            (Reply::Forwarded, _) => Some(Afterwards::Settle {
                status: executed.status,
                copy: (source == SubjectSource::Answer && executed.status < 300)
                    .then(|| exchange.tee_answer())
                    .flatten(),
                ask: named.headers.filter(|_| !named.ask_before),
                token: named.token.filter(|_| intent.subject.is_none()),
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
                    // Recorded without a name, and asked again behind the answer.
                    Err(_) => named.token = Some(Secret(token.to_owned())),
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
    /// Whose it is is not known yet.
    token: Option<Secret<String>>,
    /// Ask before the forward; else after the answer.
    ask_before: bool,
}

/// The Management API judges its caller before it looks at anything else.
fn is_refused_caller(source: SubjectSource, status: u16) -> bool {
    matches!(source, SubjectSource::Path | SubjectSource::Answer) && matches!(status, 401 | 403)
}

/// Before the write is forwarded: from its answer on, reads of this user are fenced,
/// and after a crash the sweep finds the user.
async fn name_in_outbox<P: Platform>(platform: &P, context: &Context<'_>, intent: &Intent) {
    let (Some(interaction), Some(subject)) = (&intent.interaction, &intent.subject) else {
        return;
    };
    let named = pin!(platform.batch(Store::Proxy, outbox::learn(interaction, subject)));
    let deadline = pin!(platform.sleep(context.settings.outbox_deadline_ms));
    if let Either::Left((Err(failure), _)) = select(named, deadline).await {
        // The settling tells it again.
        platform.emit(&Event::OutboxDelayed {
            step: "learn",
            code: failure.code(),
        });
    }
}

/// A deletion needs its 204 on record, or the user waits for an operator: so it is
/// settled before it is answered, within the outbox's deadline. Settling is
/// repeated behind the answer; twice is harmless.
async fn witness<P: Platform>(platform: &P, context: &Context<'_>, intent: &Intent) {
    let settled = pin!(platform.batch(Store::Proxy, intent.settle(204)));
    let deadline = pin!(platform.sleep(context.settings.outbox_deadline_ms));
    let code = match select(settled, deadline).await {
        Either::Left((Ok(_), _)) => return,
        Either::Left((Err(failure), _)) => failure.code(),
        Either::Right(_) => "outbox_slow",
    };
    platform.emit(&Event::OutboxDelayed {
        step: "witness",
        code,
    });
    let message = Message::Settle {
        intent: intent.into(),
        status: 204,
    };
    if !is_queued(platform, &message).await {
        platform.emit(&Event::OutboxDelayed {
            step: "witness_queue",
            code: "queue",
        });
    }
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
    if is_queued(platform, &message).await {
        MirrorOutcome::Queued
    } else {
        MirrorOutcome::Gap
    }
}

/// False also when nobody knows.
async fn is_queued<P: Platform>(platform: &P, message: &Message) -> bool {
    let sent = pin!(platform.send(message, 0));
    let deadline = pin!(platform.sleep(QUEUE_DEADLINE_MS));
    matches!(select(sent, deadline).await, Either::Left((Ok(()), _)))
}
