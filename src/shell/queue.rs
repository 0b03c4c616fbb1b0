//! A batch of a Queue: read its messages, and tell the platform what becomes of each.

use worker::{MessageExt, QueueRetryOptionsBuilder};

use crate::mirror::relay::Disposition;
use crate::runtime::deployment::Deployment;
use crate::runtime::message::Message;
use crate::serve::service;

use super::platform::WorkerPlatform;

pub(super) async fn deliver(
    platform: &WorkerPlatform,
    deployment: &Deployment,
    batch: &worker::MessageBatch<Message>,
) {
    let raws: Vec<_> = batch.raw_iter().collect();
    let read = |raw: &worker::RawMessage| serde_wasm_bindgen::from_value(raw.body()).ok();
    let messages = raws.iter().map(read).collect();
    let queue = batch.queue();
    let dispositions = service::handle_queue(platform, deployment, &queue, messages).await;
    for (raw, disposition) in raws.iter().zip(dispositions) {
        match disposition {
            Disposition::Ack => raw.ack(),
            Disposition::Retry { delay_s } => {
                let options = QueueRetryOptionsBuilder::new().with_delay_seconds(delay_s);
                raw.retry_with_options(&options.build());
            }
        }
    }
}
