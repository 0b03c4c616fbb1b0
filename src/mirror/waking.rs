//! Wake-ups as messages of the Queue; whom they go to, and when again, says `wake`.

use crate::inbound::request::UserId;
use crate::mirror::wake;
use crate::runtime::limits::{MAX_SENT_BYTES, MAX_SENT_MESSAGES};
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Store};

/// Sends a message to each whom a batch has marked. Whose message the Queue does not
/// take is unmarked, so that the next sweep finds them.
pub async fn send_wakes<P: Platform>(platform: &P, woken: &[UserId]) {
    let unsent = send_all(platform, woken).await;
    if !unsent.is_empty() {
        platform.emit(&Event::OutboxDelayed {
            step: "wake",
            code: "queue",
        });
        forget(platform, &unsent).await;
    }
}

/// Of a wake-up: an id has 64 bytes at most.
const MAX_WAKE_BYTES: usize = 200;
const _: () = assert!(MAX_SENT_MESSAGES * MAX_WAKE_BYTES <= MAX_SENT_BYTES);

/// As many in a call as it takes. Answers whom the Queue did not take.
pub(crate) async fn send_all<P: Platform>(platform: &P, woken: &[UserId]) -> Vec<UserId> {
    let mut unsent = Vec::new();
    for some in woken.chunks(MAX_SENT_MESSAGES) {
        let messages: Vec<_> = some
            .iter()
            .map(|subject| Message::Reconcile {
                subject: subject.as_str().to_owned(),
            })
            .collect();
        if platform.send_batch(&messages, 0).await.is_err() {
            unsent.extend_from_slice(some);
        }
    }
    unsent
}

/// If this fails, too, the mark runs out.
pub(crate) async fn forget<P: Platform>(platform: &P, subjects: &[UserId]) {
    let _ = platform.batch(Store::Proxy, wake::forget(subjects)).await;
}
