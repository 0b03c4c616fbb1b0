//! What follows a client's answer. None of it can change the answer, and all of
//! it may be cut off at any point: what is lost here, the sweep finds.

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::outbox::{self, Intent};
use crate::mirror::{relay, wake};
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::context::Context;
use crate::runtime::isolate::Isolate;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{AnswerCopy, Platform, Statement, Store};
use crate::serve::at_mgpass::write::Left;
use crate::serve::carry::{self, Shown};
use crate::serve::compare::{self, Comparison};
use crate::serve::question::Question;

/// The body of a created user; Logto's JSON API takes 1 MB.
const MAX_COPY_BYTES: usize = 2 * 1024 * 1024;

pub enum FollowUp<C> {
    /// Logto has answered: the intent is settled and the relay woken.
    Settle {
        intent: Intent,
        status: u16,
        /// The created user, with the id.
        copy: Option<C>,
        /// What to ask for the new user, whom Logto knows by now.
        ask: Option<Question>,
        /// Nothing tells of the write yet: the epoch rises first.
        gap: Option<Gap>,
        /// Carried before the relay is woken, which would else void what was carried before.
        shown: Option<Box<Shown>>,
    },
    /// Logto has found a password right.
    Carry(Box<Shown>),
    /// Nobody was changed: the intent is taken back.
    Withdraw {
        intent: Intent,
    },
    Gap(Gap),
    /// A sampled read, to be made of the other backend too.
    Compare(Comparison<C>),
    /// A write at mgPass: what its answer did not wait for.
    Translated(Box<Left>),
}

/// An acknowledged write that nothing tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub operation: Operation,
    pub code: &'static str,
}

/// Without a context (settings with faults) only gaps are told.
pub async fn carry_out<P: Platform, C: AnswerCopy>(
    platform: &P,
    isolate: &Isolate,
    context: Option<&Context<'_>>,
    follow_up: FollowUp<C>,
) {
    if isolate.gap_is_pending.get() && raise_epoch(platform).await {
        isolate.gap_is_pending.set(false);
    }
    match (follow_up, context) {
        (FollowUp::Gap(gap), _) => note_gap(platform, isolate, gap).await,
        (_, None) => {}
        (
            FollowUp::Settle {
                intent,
                status,
                copy,
                ask,
                gap,
                shown,
            },
            Some(context),
        ) => {
            if let Some(gap) = gap {
                note_gap(platform, isolate, gap).await;
            }
            settle(platform, context, intent, status, copy, ask, shown).await;
        }
        (FollowUp::Carry(shown), Some(context)) => {
            carry::carry_out(platform, context, *shown, None).await;
        }
        (FollowUp::Withdraw { intent }, Some(_)) => {
            delayed(platform, "withdraw", intent.withdraw()).await;
        }
        (FollowUp::Compare(comparison), Some(context)) => {
            compare::carry_out(platform, context, comparison).await;
        }
        (FollowUp::Translated(left), Some(context)) => left.carry_out(platform, context).await,
    }
}

/// Needs no setting but the database.
async fn note_gap<P: Platform>(platform: &P, isolate: &Isolate, gap: Gap) {
    platform.emit(&Event::OutboxGap {
        operation: gap.operation.name(),
        code: gap.code,
    });
    if !raise_epoch(platform).await && platform.send(&Message::Gap, 0).await.is_err() {
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
    ask: Option<Question>,
    shown: Option<Box<Shown>>,
) {
    let was_unknown = intent.subject.is_none();
    if let Some(copy) = copy {
        intent.subject = copy
            .text(MAX_COPY_BYTES)
            .await
            .and_then(|body| created_id(&body));
    }
    let mut statements = intent.settle(status);
    statements.push(wake::by_intent(&intent.id));
    let mut woken = Vec::new();
    match platform.batch(Store::Proxy, statements).await {
        Ok(results) => {
            woken = wake::parse(&results);
            intent.subject = intent
                .subject
                .take()
                .or_else(|| outbox::parse_subject(&results));
        }
        Err(failure) => {
            context.isolate.begin_doubt();
            platform.emit(&Event::OutboxDelayed {
                step: "settle",
                code: failure.code(),
            });
            settle_by_queue(platform, &intent, status).await;
        }
    }
    if intent.subject.is_none()
        && let Some(question) = ask
    {
        let told = question.ask(platform, context).await;
        intent.subject = told.ok().flatten().and_then(|told| told.user);
    }
    if was_unknown
        && let (Some(interaction), Some(subject)) = (&intent.interaction, &intent.subject)
    {
        let mut statements = outbox::learn(interaction, subject);
        // What was settled without a name has one now.
        statements.push(wake::all(std::slice::from_ref(subject)));
        match platform.batch(Store::Proxy, statements).await {
            Ok(results) => woken.extend(wake::parse(&results)),
            Err(failure) => {
                platform.emit(&Event::OutboxDelayed {
                    step: "learn",
                    code: failure.code(),
                });
                settle_by_queue(platform, &intent, status).await;
            }
        }
    }
    if let Some(shown) = shown {
        carry::carry_out(platform, context, *shown, intent.subject.as_ref()).await;
    }
    relay::send_wakes(platform, &woken).await;
}

async fn settle_by_queue<P: Platform>(platform: &P, intent: &Intent, status: u16) {
    let message = Message::Settle {
        intent: intent.into(),
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
