//! One delivery of a Queue: a lane of a job, or what the relay is woken for.

use crate::mirror::relay::{self, Disposition};
use crate::policy::flags::Stage;
use crate::population::jobs;
use crate::runtime::context::Context;
use crate::runtime::message::Message;
use crate::runtime::ports::Platform;

pub async fn handle<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    stage: Stage,
    message: Message,
) -> Disposition {
    match message {
        Message::Job { job, lane } => jobs::step(platform, context, stage, job, lane).await,
        message => relay::handle(platform, context, stage, message).await,
    }
}
