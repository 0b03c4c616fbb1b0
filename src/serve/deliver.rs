//! One batch of a Queue: lanes of jobs, and what the relay is woken for.

use futures_util::stream::{self, StreamExt};

use crate::mirror::relay::{self, Disposition};
use crate::policy::flags::Stage;
use crate::population::jobs;
use crate::runtime::context::Context;
use crate::runtime::limits::MAX_CONNECTIONS;
use crate::runtime::message::Message;
use crate::runtime::ports::Platform;

/// What becomes of each message, in order.
pub async fn deliver<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    stage: Stage,
    messages: Vec<Message>,
) -> Vec<Disposition> {
    let each = messages.into_iter().map(|message| async move {
        match message {
            Message::Job { job, lane } => jobs::step(platform, context, stage, job, lane).await,
            message => relay::handle(platform, context, stage, message).await,
        }
    });
    at_most_connected(each).await
}

/// The same of the dead-letter queue.
pub async fn deliver_dead<P: Platform>(platform: &P, messages: Vec<Message>) -> Vec<Disposition> {
    let each = messages
        .into_iter()
        .map(|message| relay::handle_dead(platform, message));
    at_most_connected(each).await
}

/// No more at once than can have a connection: else their deadlines run while they wait
/// for one.
async fn at_most_connected<F: Future<Output = Disposition>>(
    each: impl Iterator<Item = F>,
) -> Vec<Disposition> {
    let numbered = each
        .enumerate()
        .map(|(number, one)| async move { (number, one.await) });
    let mut done: Vec<_> = stream::iter(numbered)
        .buffer_unordered(MAX_CONNECTIONS)
        .collect()
        .await;
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, done)| done).collect()
}
