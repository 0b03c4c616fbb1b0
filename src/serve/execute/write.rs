//! A write: named, recorded, forwarded, and then settled behind the answer.
//!
//! The intent exists before the write is forwarded, so that a crash at any point
//! leaves something to find. Recording waits for the database within a deadline,
//! then for the Queue, and never fails the client. What Logto acknowledges although
//! nothing was recorded is recorded, or told as a gap, before the client hears of it.

use super::conclude::{Answered, Conclusion, Fate, Recording, Verdict, conclude, verdict};
use super::name::Named;
use super::{Executed, MirrorOutcome, Reply, Request, record};
use crate::inbound::classify::{Operation, SubjectSource};
use crate::mirror::outbox::Intent;
use crate::policy::plan::{Plan, Reason};
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{BodyFailure, Exchange, Platform};
use crate::serve::afterwards::Afterwards;
use crate::serve::question::Question;

/// Logto's JSON API takes 1 MB and its uploads 20 MB; what is longer passes on and is not held.
const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;

/// Whose request it is, in the platform's own word.
const ADDRESS: &str = "cf-connecting-ip";

impl Request<'_> {
    /// To Logto, with nothing recorded.
    pub(super) async fn unrecorded<E: Exchange>(
        &self,
        exchange: &mut E,
        source: SubjectSource,
        reason: Reason,
    ) -> Executed<E::Copy> {
        let mut executed = self.forwarded(self.forward(exchange).await, Plan::logto(reason));
        let verdict = self.judge(&executed, exchange);
        if conclude(source, Recording::Off, false, verdict).is_gap {
            self.gap_behind(&mut executed, reason.code());
        }
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
            return self.unrecorded(exchange, source, Reason::StageOff).await;
        }
        let named = self.name(platform, context, exchange, source).await;
        let mut intent = Intent {
            id: format!(
                "{:016x}{:016x}",
                platform.random_u64(),
                platform.random_u64()
            ),
            subject: named.subject.clone(),
            interaction: named.interaction.clone(),
            operation: self.classified.operation.name().to_owned(),
        };
        let (mut recording, mut mirror) = (Recording::Omitted, MirrorOutcome::None);
        if self
            .is_recorded_before(platform, context, exchange, source, &named)
            .await
        {
            if exchange.hold_body(MAX_HELD_BYTES).await == Err(BodyFailure::Incomplete) {
                take_back(context, exchange);
                return self.failed(ProxyError::BodyIncomplete);
            }
            intent.operation = self.refine(exchange).to_owned();
            mirror = record::open(platform, context, &mut intent).await;
            recording = match mirror {
                MirrorOutcome::Recorded | MirrorOutcome::Queued => Recording::Done,
                MirrorOutcome::None | MirrorOutcome::Gap => Recording::Failed,
            };
        }
        let plan = Plan::logto(Reason::Write);
        let mut executed = self.forwarded(self.forward(exchange).await, plan);
        executed.mirror = mirror;
        let verdict = self.judge(&executed, exchange);
        if (recording, verdict) == (Recording::Omitted, Verdict::Acknowledged)
            && intent.subject.is_none()
            && let Some(question) = &named.question
        {
            intent.subject = question.ask_again(platform, context).await;
        }
        let is_named = intent.subject.is_some();
        let conclusion = conclude(source, recording, is_named, verdict);
        let ends_well = conclusion.fate != Fate::LeftOpen && verdict != Verdict::Failed;
        if recording == Recording::Failed || (recording == Recording::Done && ends_well) {
            take_back(context, exchange);
        }
        let write = Write {
            intent,
            source,
            question: named.question,
            recording,
        };
        self.follow(
            platform,
            context,
            exchange,
            &mut executed,
            write,
            conclusion,
        )
        .await;
        executed
    }

    /// What the conclusion asks for.
    async fn follow<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        executed: &mut Executed<E::Copy>,
        write: Write,
        conclusion: Conclusion,
    ) {
        // Else neither database nor Queue took the record, and a client waits no longer.
        let is_told = matches!(write.recording, Recording::Omitted | Recording::Done);
        match (conclusion.fate, conclusion.is_gap) {
            (Fate::Nothing, true) if is_told => {
                self.tell(platform, context, executed, &write, conclusion)
                    .await;
            }
            (Fate::Nothing, true) => self.gap_behind(executed, "not_recorded"),
            (Fate::Nothing | Fate::LeftOpen, _) => {}
            (Fate::Withdrawn, _) => {
                let intent = write.intent;
                executed.afterwards = Some(Afterwards::Withdraw { intent });
            }
            (Fate::RecordedLate, _) | (Fate::Settled, true) => {
                self.tell(platform, context, executed, &write, conclusion)
                    .await;
                if executed.afterwards.is_none() {
                    executed.afterwards = Some(settling(exchange, executed.status, write));
                }
            }
            (Fate::Settled, false) => {
                let status = executed.status;
                if self.classified.operation == Operation::UsersDelete && status == 204 {
                    record::witness(platform, context, &write.intent).await;
                }
                executed.afterwards = Some(settling(exchange, status, write));
            }
        }
    }

    /// Logto acknowledged what nothing tells of yet: it is told before the client hears
    /// of it. What fails of that is left to what follows the answer.
    async fn tell<P: Platform, C>(
        &self,
        platform: &P,
        context: &Context<'_>,
        executed: &mut Executed<C>,
        write: &Write,
        conclusion: Conclusion,
    ) {
        let settled = (conclusion.fate != Fate::Nothing).then_some(&write.intent);
        let told = record::late(
            platform,
            context,
            settled,
            executed.status,
            conclusion.is_gap,
        );
        let told = told.await;
        let operation = self.classified.operation;
        if write.recording == Recording::Omitted {
            platform.emit(&Event::OutboxLate {
                operation: operation.name(),
                outcome: told.name(),
            });
        }
        executed.mirror = told;
        if told == MirrorOutcome::Queued {
            context.isolate.begin_doubt();
        }
        match (told, conclusion.is_gap) {
            (MirrorOutcome::Recorded | MirrorOutcome::Queued, false) => {}
            (MirrorOutcome::Recorded, true) => {
                platform.emit(&Event::OutboxGap {
                    operation: operation.name(),
                    code: UNNAMED,
                });
                executed.mirror = MirrorOutcome::Gap;
            }
            (MirrorOutcome::None | MirrorOutcome::Gap, false) => {
                self.gap_behind(executed, "not_recorded");
            }
            // Told once more: the Queue may be late, and twice is harmless.
            (_, true) => self.gap_behind(executed, UNNAMED),
        }
    }

    fn gap_behind<C>(&self, executed: &mut Executed<C>, code: &'static str) {
        executed.mirror = MirrorOutcome::Gap;
        executed.afterwards = Some(Afterwards::Gap {
            operation: self.classified.operation,
            code,
        });
    }

    fn judge<C, E: Exchange>(&self, executed: &Executed<C>, exchange: &E) -> Verdict {
        let answer = (executed.reply == Reply::Forwarded).then(|| Answered {
            status: executed.status,
            location: exchange.answer_header("location"),
            is_json: exchange
                .answer_header("content-type")
                .is_some_and(|kind| kind.contains("json")),
        });
        verdict(self.classified.operation, answer.as_ref())
    }

    /// Whether an intent is made before the forward; counted for its address by then.
    async fn is_recorded_before<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        source: SubjectSource,
        named: &Named,
    ) -> bool {
        if !named.is_recorded_before(source) {
            return false;
        }
        // What the platform does not state cannot be bounded by.
        let Some(address) = exchange.header(ADDRESS) else {
            return true;
        };
        let left_behind = &context.isolate.left_behind;
        let has_room = !left_behind.borrow().is_full(&address, platform.now_ms());
        let is_made = has_room
            || self
                .is_vouched_for(platform, context, exchange, named)
                .await;
        if is_made {
            left_behind.borrow_mut().add(&address, platform.now_ms());
        }
        is_made
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

/// Of a gap: Logto acknowledged the write and does not say whose it was.
const UNNAMED: &str = "unnamed";

/// One write, once Logto has answered it or has not.
struct Write {
    intent: Intent,
    source: SubjectSource,
    question: Option<Question>,
    recording: Recording,
}

/// Behind the answer: the intent is settled (again, where it was told late) and the relay
/// woken.
fn settling<E: Exchange>(exchange: &mut E, status: u16, write: Write) -> Afterwards<E::Copy> {
    let is_new = write.source == SubjectSource::Identifying && status < 300;
    Afterwards::Settle {
        status,
        copy: (write.source == SubjectSource::Answer && status < 300)
            .then(|| exchange.tee_answer())
            .flatten(),
        ask: write.question.filter(|_| is_new),
        intent: write.intent,
    }
}

fn take_back<E: Exchange>(context: &Context<'_>, exchange: &E) {
    if let Some(address) = exchange.header(ADDRESS) {
        context.isolate.left_behind.borrow_mut().take_back(&address);
    }
}
