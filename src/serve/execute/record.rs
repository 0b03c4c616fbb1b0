//! Records of writes, put where they are kept while a client waits: in the database,
//! within its deadline, else in the Queue.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::MirrorOutcome;
use crate::handover::authority::View;
use crate::inbound::classify::Operation;
use crate::mirror::outbox::{self, Intent};
use crate::runtime::context::Context;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::serve::authority::{NeedsProof, may_queue};

/// While the database is slow, writes do not each wait for its deadline.
const OUTBOX_REST_MS: i64 = 2_000;

/// A Queue that hangs holds no client up; it may have taken the message all the same.
const QUEUE_DEADLINE_MS: u32 = 1_000;

/// What became of recording an intent.
pub(super) enum Opening {
    Recorded,
    /// The database did not take it in time, the Queue did.
    Queued,
    /// Neither did.
    Lost,
    /// Logto is not the authority: nothing was recorded.
    Elsewhere(View),
    /// Nobody could say who is.
    Unproven,
}

/// The intent, before its write is forwarded.
pub(super) async fn open<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    intent: &mut Intent,
    needs_proof: NeedsProof,
) -> Opening {
    let now_ms = platform.now_ms();
    let isolate = context.isolate;
    let may_queue = may_queue(needs_proof, &isolate.authority.get(), now_ms);
    let code = if may_queue && now_ms < isolate.outbox_down_until_ms.get() {
        "outbox_down"
    } else {
        match in_time(platform, context, intent.open()).await {
            Ok(results) => match Intent::parse_opened(&results) {
                Some(opened) => {
                    let lease_ms = context.settings.handover.lease_ms;
                    isolate.note_authority(opened.view, now_ms, lease_ms);
                    if !opened.is_open {
                        return Opening::Elsewhere(opened.view);
                    }
                    intent.subject = intent.subject.take().or(opened.subject);
                    return Opening::Recorded;
                }
                None => DatabaseFailure::Refused.code(),
            },
            // A late insert is harmless: settling finds the row or makes it.
            Err(code) => code,
        }
    };
    if !may_queue {
        return Opening::Unproven;
    }
    isolate
        .outbox_down_until_ms
        .set(platform.now_ms() + OUTBOX_REST_MS);
    let message = Message::Open {
        intent: (&*intent).into(),
    };
    let operation = Operation::from_name(&intent.operation).map_or("unknown", Operation::name);
    platform.emit(&Event::OutboxQueued { operation, code });
    if is_queued(platform, &message).await {
        Opening::Queued
    } else {
        Opening::Lost
    }
}

/// A deletion needs its 204 on record, or the user waits for an operator: so it is
/// settled before it is answered. Settling is repeated behind the answer; twice is
/// harmless.
pub(super) async fn witness<P: Platform>(platform: &P, context: &Context<'_>, intent: &Intent) {
    let settling = intent.settle(204);
    let Err(code) = in_time(platform, context, settling).await else {
        return;
    };
    platform.emit(&Event::OutboxDelayed {
        step: "witness",
        code,
    });
    if !is_queued(platform, &settled(intent, 204)).await {
        platform.emit(&Event::OutboxDelayed {
            step: "witness_queue",
            code: "queue",
        });
    }
}

/// What Logto acknowledged although no intent was there: settled in the moment it is
/// inserted, the epoch raised where that says too little, or both at once.
pub(super) async fn late<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    intent: Option<&Intent>,
    status: u16,
    is_gap: bool,
) -> MirrorOutcome {
    let mut statements = Vec::new();
    if is_gap {
        statements.extend(outbox::raise_epoch());
    }
    if let Some(intent) = intent {
        statements.extend(intent.settle(status));
    }
    let Err(code) = in_time(platform, context, statements).await else {
        return MirrorOutcome::Recorded;
    };
    platform.emit(&Event::OutboxDelayed { step: "late", code });
    let is_gap_told = !is_gap || is_queued(platform, &Message::Gap).await;
    let is_intent_told = match intent {
        Some(intent) => is_queued(platform, &settled(intent, status)).await,
        None => true,
    };
    if is_gap_told && is_intent_told {
        MirrorOutcome::Queued
    } else {
        MirrorOutcome::Gap
    }
}

fn settled(intent: &Intent, status: u16) -> Message {
    Message::Settle {
        intent: intent.into(),
        status,
    }
}

async fn in_time<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, &'static str> {
    let batch = pin!(platform.batch(Store::Proxy, statements));
    let deadline = pin!(platform.sleep(context.settings.outbox_deadline_ms));
    match select(batch, deadline).await {
        Either::Left((Ok(results), _)) => Ok(results),
        Either::Left((Err(failure), _)) => Err(failure.code()),
        Either::Right(_) => Err("outbox_slow"),
    }
}

/// False also when nobody knows.
async fn is_queued<P: Platform>(platform: &P, message: &Message) -> bool {
    let sent = pin!(platform.send(message, 0));
    let deadline = pin!(platform.sleep(QUEUE_DEADLINE_MS));
    matches!(select(sent, deadline).await, Either::Left((Ok(()), _)))
}
