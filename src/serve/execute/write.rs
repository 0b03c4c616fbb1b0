//! A write: named, recorded, forwarded, and then settled behind the answer.
//!
//! The intent exists before the write is forwarded, so that a crash at any point
//! leaves something to find. Recording waits for the database within a deadline,
//! then for the Queue, and never fails the client. What Logto acknowledges although
//! nothing was recorded is recorded, or told as a gap, before the client hears of it.

use super::conclude::{Answered, Conclusion, Fate, Recording, WriteResult, conclude};
use super::name::Named;
use super::record::{self, Opening};
use super::{Executed, MirrorOutcome, Reply};
use crate::handover::authority::Holder;
use crate::inbound::classify::{Concerns, Operation, SubjectSource};
use crate::mirror::outbox::Intent;
use crate::policy::plan::Reason;
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{BodyFailure, Exchange, Platform};
use crate::serve::authority::{Admitted, Kept, Known, Need, NeedsProof};
use crate::serve::carry::Shown;
use crate::serve::follow_up::{FollowUp, Gap};
use crate::serve::question::Question;

/// Logto's JSON API takes 1 MB and its uploads 20 MB; what is longer passes on and is not held.
const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;

/// Once, and once more when a hand-over has gone back to where it began.
const MAX_OPENINGS: usize = 2;

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
        let mut executed = self.pass(exchange, reason).await;
        let result = self.judge(&executed, exchange);
        if conclude(source, Recording::Off, false, result).is_gap {
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
    ) -> Result<Executed<E::Copy>, Kept> {
        let mut admitted = self.admit_write(platform).await?;
        if !self.flags.records_writes() && admitted == Admitted::Freely {
            return Ok(self.unrecorded(exchange, source, Reason::StageOff).await);
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
            operation: self.refine(exchange, &named).to_owned(),
        };
        let (mut recording, mut mirror) = (Recording::Omitted, MirrorOutcome::None);
        let is_recorded = self
            .is_recorded_before(platform, context, exchange, source, &named)
            .await;
        if !is_recorded && self.needs_proof() == NeedsProof::Yes {
            admitted = self.admit(platform, Need::Unrecorded).await?;
        }
        if is_recorded || admitted == Admitted::RecordedFirst {
            if exchange.hold_body(MAX_HELD_BYTES).await == Err(BodyFailure::Incomplete) {
                take_back(context, exchange);
                return Ok(self.failed(ProxyError::BodyIncomplete));
            }
            intent.operation = self.refine(exchange, &named).to_owned();
            (recording, mirror) = match self.open(platform, context, &mut intent).await {
                Ok(opened) => opened,
                Err(kept) => {
                    take_back(context, exchange);
                    return Err(kept);
                }
            };
        }
        let mut executed = self.pass(exchange, Reason::Write).await;
        executed.mirror = mirror;
        let result = self.judge(&executed, exchange);
        if (recording, result) == (Recording::Omitted, WriteResult::Acknowledged)
            && intent.subject.is_none()
            && let Some(question) = &named.question
        {
            intent.subject = question.ask_again(platform, context).await;
        }
        let is_named = intent.subject.is_some();
        let conclusion = conclude(source, recording, is_named, result);
        let ends_well = conclusion.fate != Fate::LeftOpen && result != WriteResult::Failed;
        if recording == Recording::Failed || (recording == Recording::Done && ends_well) {
            take_back(context, exchange);
        }
        let write = Write {
            intent,
            source,
            question: named.question,
            recording,
            shown: self.shown_password(exchange, executed.status),
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
        Ok(executed)
    }

    /// Before anything is asked about the write: where nothing would prove it, or where
    /// this isolate was told that Logto is not the authority.
    async fn admit_write<P: Platform>(&self, platform: &P) -> Result<Admitted, Kept> {
        let last_seen = self.isolate.authority.get().view();
        let may_be_logto = last_seen.is_none_or(|view| view.holder == Holder::Logto);
        match (self.needs_proof(), self.flags.records_writes()) {
            (NeedsProof::No, _) => Ok(Admitted::Freely),
            // Its own intent proves it at mgPass.
            (NeedsProof::Yes, _)
                if let Some(view) = last_seen
                    && view.holder.takes_translated()
                    && !view.is_raise_owed
                    && self.is_translated() =>
            {
                Err(Kept::AtMgpass(view))
            }
            (NeedsProof::Yes, true) if may_be_logto => Ok(Admitted::Freely),
            (NeedsProof::Yes, true) => self.admit(platform, Need::Write).await,
            (NeedsProof::Yes, false) => self.admit(platform, Need::Unrecorded).await,
        }
    }

    /// Records the intent; while the users are handed over it waits, and tries again.
    async fn open<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        intent: &mut Intent,
    ) -> Result<(Recording, MirrorOutcome), Kept> {
        for _ in 0..MAX_OPENINGS {
            match record::open(platform, context, intent, self.needs_proof()).await {
                Opening::Recorded => return Ok((Recording::Done, MirrorOutcome::Recorded)),
                Opening::Queued => return Ok((Recording::Done, MirrorOutcome::Queued)),
                Opening::Lost => return Ok((Recording::Failed, MirrorOutcome::Gap)),
                Opening::Unproven => return Err(Kept::Refused(ProxyError::AuthorityUnknown)),
                Opening::Elsewhere(view) => {
                    self.admit_by(platform, Need::Write, Known::View(view))
                        .await?;
                }
            }
        }
        Err(Kept::Refused(ProxyError::AuthorityMoving))
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
        let is_failed = write.recording == Recording::Failed;
        match conclusion.fate {
            // Neither database nor Queue took the record, and a client waits no longer.
            Fate::Nothing if is_failed && conclusion.is_gap => {
                self.gap_behind(executed, NOT_RECORDED);
            }
            Fate::Nothing if conclusion.is_gap => {
                if let Some(gap) = self.tell(platform, context, executed, &write, true).await {
                    executed.follow_up = Some(FollowUp::Gap(gap));
                }
            }
            Fate::Nothing | Fate::LeftOpen => {}
            Fate::Withdrawn => {
                let intent = write.intent;
                executed.follow_up = Some(FollowUp::Withdraw { intent });
            }
            Fate::RecordedLate => {
                let gap = self
                    .tell(platform, context, executed, &write, conclusion.is_gap)
                    .await;
                executed.follow_up = Some(settling(exchange, executed.status, write, gap));
            }
            Fate::Settled => {
                let status = executed.status;
                if self.inbound.operation == Operation::UsersDelete && status == 204 {
                    record::witness(platform, context, &write.intent).await;
                }
                let gap = match (is_failed, conclusion.is_gap) {
                    (true, _) => Some(self.gap(NOT_RECORDED)),
                    (false, true) => self.tell(platform, context, executed, &write, true).await,
                    (false, false) => None,
                };
                executed.follow_up = Some(settling(exchange, status, write, gap));
            }
        }
    }

    /// Logto acknowledged what nothing tells of yet: it is told before the client hears
    /// of it. Answers what of that is left to be told behind the answer.
    async fn tell<P: Platform, C>(
        &self,
        platform: &P,
        context: &Context<'_>,
        executed: &mut Executed<C>,
        write: &Write,
        is_gap: bool,
    ) -> Option<Gap> {
        let is_kept =
            write.intent.subject.is_some() || write.source.concerns() != Concerns::Existing;
        let settled = is_kept.then_some(&write.intent);
        let told = record::late(platform, context, settled, executed.status, is_gap).await;
        let operation = self.inbound.operation.name();
        if write.recording == Recording::Omitted {
            let outcome = told.name();
            platform.emit(&Event::OutboxLate { operation, outcome });
        }
        if told == MirrorOutcome::Queued {
            context.isolate.begin_doubt();
        }
        executed.mirror = if is_gap { MirrorOutcome::Gap } else { told };
        match (told, is_gap) {
            (MirrorOutcome::Recorded | MirrorOutcome::Queued, false) => None,
            (MirrorOutcome::Recorded, true) => {
                let code = UNNAMED;
                platform.emit(&Event::OutboxGap { operation, code });
                None
            }
            (MirrorOutcome::None | MirrorOutcome::Gap, false) => Some(self.gap(NOT_RECORDED)),
            // Told once more: the Queue may be late, and twice is harmless.
            (_, true) => Some(self.gap(UNNAMED)),
        }
    }

    fn gap(&self, code: &'static str) -> Gap {
        Gap {
            operation: self.inbound.operation,
            code,
        }
    }

    fn gap_behind<C>(&self, executed: &mut Executed<C>, code: &'static str) {
        executed.mirror = MirrorOutcome::Gap;
        executed.follow_up = Some(FollowUp::Gap(self.gap(code)));
    }

    fn judge<C, E: Exchange>(&self, executed: &Executed<C>, exchange: &E) -> WriteResult {
        let answer = (executed.reply == Reply::Forwarded).then(|| Answered {
            status: executed.status,
            location: exchange.answer_header("location"),
            is_json: exchange
                .answer_header("content-type")
                .is_some_and(|kind| kind.contains("json")),
        });
        WriteResult::of(self.inbound.operation, answer.as_ref())
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

    /// A suspension and its end are one route, and only the body tells them apart; so are the
    /// ends of sign-ins, of which some write a password.
    fn refine<E: Exchange>(&self, exchange: &E, named: &Named) -> &'static str {
        let operation = self.inbound.operation;
        match operation {
            Operation::ExperienceSubmit if !named.stages_nothing => {
                return Operation::ExperienceStaged.name();
            }
            Operation::UsersSuspension => {}
            _ => return operation.name(),
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

/// Of a gap: neither database nor Queue took the record.
const NOT_RECORDED: &str = "not_recorded";
/// Of a gap: Logto acknowledged the write and does not say whose it was.
const UNNAMED: &str = "unnamed";

/// One write, once Logto has answered it or has not.
struct Write {
    intent: Intent,
    source: SubjectSource,
    question: Option<Question>,
    recording: Recording,
    /// The password that Logto has from now on.
    shown: Option<Box<Shown>>,
}

/// Behind the answer: the intent is settled (again, where it was told late) and the relay
/// woken.
fn settling<E: Exchange>(
    exchange: &mut E,
    status: u16,
    write: Write,
    gap: Option<Gap>,
) -> FollowUp<E::Copy> {
    let is_new = write.source == SubjectSource::Identifying && status < 300;
    FollowUp::Settle {
        shown: write.shown,
        status,
        copy: (write.source == SubjectSource::Answer && status < 300)
            .then(|| exchange.tee_answer())
            .flatten(),
        ask: write.question.filter(|_| is_new),
        gap,
        intent: write.intent,
    }
}

fn take_back<E: Exchange>(context: &Context<'_>, exchange: &E) {
    if let Some(address) = exchange.header(ADDRESS) {
        context.isolate.left_behind.borrow_mut().take_back(&address);
    }
}
