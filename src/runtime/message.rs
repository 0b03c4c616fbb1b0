//! The messages of both Queues.

use serde::{Deserialize, Serialize};

/// The Queue's messages. All are wake-ups or late records; none is the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    Reconcile {
        subject: String,
    },
    /// Sent by a sweep behind its wake-ups, with the database's time: what was sent well
    /// before it and has not arrived when it does is lost.
    Marker {
        sent_ms: i64,
    },
    /// An intent that the database did not take in time.
    Open {
        intent: IntentRecord,
    },
    /// A settling that the database did not take.
    Settle {
        intent: IntentRecord,
        status: u16,
    },
    /// A gap that the database was not told of.
    Gap,
    /// A lane of a job; in a queue of its own, so that a live write never waits for it.
    Job {
        job: i64,
        lane: u8,
    },
}

/// Whole seconds for which a Queue holds a message back: at least one, and no more than
/// the 12 hours that it takes.
pub fn delay_s(wait_ms: i64) -> u32 {
    let seconds = wait_ms.saturating_add(999).div_euclid(1_000);
    u32::try_from(seconds.clamp(1, 43_200)).unwrap_or(1)
}

/// An intent on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    pub id: String,
    pub subject: Option<String>,
    pub interaction: Option<String>,
    pub operation: String,
}
