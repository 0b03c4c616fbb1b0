//! What follows a client's answer. None of it can change the answer, and all of
//! it may be cut off at any point: what is lost here, the sweep finds.

use crate::inbound::classify::Operation;
use crate::inbound::request::{InteractionUid, Secret, UserId};
use crate::mirror::outbox::{self, Intent};
use crate::runtime::backend::logto::{self, InteractionHeaders, LogtoUser};
use crate::runtime::context::Context;
use crate::runtime::isolate::Isolate;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{AnswerCopy, Platform, Statement, Store};
use crate::serve::compare::{self, Comparison};

/// The body of a created user; Logto's JSON API takes 1 MB.
const MAX_COPY_BYTES: usize = 2 * 1024 * 1024;

pub enum Afterwards<C> {
    /// Logto has answered: the intent is settled and the relay woken.
    Settle {
        intent: Intent,
        status: u16,
        /// The created user, with the id.
        copy: Option<C>,
        /// How to ask whom the interaction has identified.
        ask: Option<InteractionHeaders>,
        /// The caller's own token, when Logto did not say before whose it is.
        token: Option<Secret<String>>,
    },
    /// Logto did not take the caller: nothing was written.
    Refused { intent: Intent },
    /// A write that nothing recorded.
    Gap {
        operation: Operation,
        code: &'static str,
    },
    /// One interaction went over into another.
    Link {
        from: InteractionUid,
        to: InteractionUid,
    },
    /// A sampled read, to be made of the other backend too.
    Compare(Comparison<C>),
}

/// Without a context (settings with faults) only gaps are told.
pub async fn carry_out<P: Platform, C: AnswerCopy>(
    platform: &P,
    isolate: &Isolate,
    context: Option<&Context<'_>>,
    afterwards: Afterwards<C>,
) {
    if isolate.gap_is_pending.get() && raise_epoch(platform).await {
        isolate.gap_is_pending.set(false);
    }
    match (afterwards, context) {
        (Afterwards::Gap { operation, code }, _) => {
            note_gap(platform, isolate, operation, code).await;
        }
        (_, None) => {}
        (
            Afterwards::Settle {
                mut intent,
                status,
                copy,
                ask,
                token,
            },
            Some(context),
        ) => {
            if let Some(token) = token {
                intent.subject = logto::token_subject(platform, context, &token)
                    .await
                    .ok()
                    .flatten();
            }
            settle(platform, context, intent, status, copy, ask).await;
        }
        (Afterwards::Refused { intent }, Some(_)) => {
            delayed(platform, "refused", intent.refused()).await;
        }
        (Afterwards::Link { from, to }, Some(_)) => {
            delayed(platform, "link", outbox::link(&from, &to)).await;
        }
        (Afterwards::Compare(comparison), Some(context)) => {
            compare::carry_out(platform, context, comparison).await;
        }
    }
}

/// An acknowledged write that nothing recorded. Needs no setting but the database.
async fn note_gap<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    operation: Operation,
    code: &'static str,
) {
    platform.emit(&Event::OutboxGap {
        operation: operation.name(),
        code,
    });
    if !raise_epoch(platform).await {
        // Told at the next chance that this isolate gets; else the walk finds it.
        isolate.gap_is_pending.set(true);
    }
}

async fn raise_epoch<P: Platform>(platform: &P) -> bool {
    platform
        .batch(Store::Proxy, outbox::raise_epoch())
        .await
        .is_ok()
}

async fn settle<P: Platform, C: AnswerCopy>(
    platform: &P,
    context: &Context<'_>,
    mut intent: Intent,
    status: u16,
    copy: Option<C>,
    ask: Option<InteractionHeaders>,
) {
    if let Some(copy) = copy {
        intent.subject = copy
            .text(MAX_COPY_BYTES)
            .await
            .and_then(|body| created_id(&body));
    }
    match platform.batch(Store::Proxy, intent.settle(status)).await {
        Ok(results) => {
            intent.subject = intent
                .subject
                .take()
                .or_else(|| outbox::parse_subject(&results))
        }
        Err(failure) => {
            context.isolate.begin_doubt();
            platform.emit(&Event::OutboxDelayed {
                step: "settle",
                code: failure.code(),
            });
            let message = Message::Settle {
                intent: (&intent).into(),
                status,
            };
            if platform.send(&message, 0).await.is_err() {
                // The open intent expires and is reconciled on suspicion.
                platform.emit(&Event::OutboxDelayed {
                    step: "settle_queue",
                    code: "queue",
                });
            }
        }
    }
    if intent.subject.is_none()
        && let Some(headers) = ask
    {
        match logto::interaction_subject(platform, context, &headers).await {
            Ok(Some(subject)) => intent.subject = Some(subject),
            // Settled with a refusal, and the interaction knows nobody: no user came of it.
            Ok(None) if status >= 400 => delayed(platform, "nobody", intent.came_to_nobody()).await,
            Ok(None) => {}
            Err(failure) => platform.emit(&Event::OutboxDelayed {
                step: "interaction",
                code: failure.code(),
            }),
        }
    }
    let Some(subject) = &intent.subject else {
        return;
    };
    if let Some(interaction) = &intent.interaction {
        delayed(platform, "learn", outbox::learn(interaction, subject)).await;
    }
    wake(platform, subject).await;
}

async fn wake<P: Platform>(platform: &P, subject: &UserId) {
    let message = Message::Reconcile {
        subject: subject.as_str().to_owned(),
    };
    if platform.send(&message, 0).await.is_err() {
        platform.emit(&Event::OutboxDelayed {
            step: "wake",
            code: "queue",
        });
    }
}

async fn delayed<P: Platform>(platform: &P, step: &'static str, statements: Vec<Statement>) {
    if let Err(failure) = platform.batch(Store::Proxy, statements).await {
        platform.emit(&Event::OutboxDelayed {
            step,
            code: failure.code(),
        });
    }
}

fn created_id(body: &str) -> Option<UserId> {
    LogtoUser::parse(body).ok().map(|user| user.id)
}
