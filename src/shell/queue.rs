//! Deliveries of the Queue. Messages of one subject in a batch are one delivery.

use worker::MessageExt;

use crate::mirror::relay::Disposition;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::Sink;
use crate::serve::deliver;

use super::config::Deployment;
use super::platform::WorkerPlatform;

pub(super) async fn deliver(
    platform: &WorkerPlatform,
    deployment: &Deployment,
    batch: &worker::MessageBatch<Message>,
) {
    let is_dead = batch.queue().ends_with("-dead");
    if is_dead {
        platform.emit(&Event::MessageDead {
            n_messages: batch.raw_iter().count(),
        });
    }
    let flags = crate::runtime::snapshot::read(platform, &deployment.isolate).await;
    let Some(context) = deployment.context() else {
        // Nothing is lost: the outbox has it all, and a mended deployment sweeps it.
        batch.retry_all_with_options(
            &worker::QueueRetryOptionsBuilder::new()
                .with_delay_seconds(60)
                .build(),
        );
        return;
    };
    let mut groups: Vec<(Message, Vec<worker::RawMessage>)> = Vec::new();
    for raw in batch.raw_iter() {
        match serde_wasm_bindgen::from_value::<Message>(raw.body()) {
            Ok(message) => match groups.iter_mut().find(|(known, _)| *known == message) {
                Some((_, raws)) => raws.push(raw),
                None => groups.push((message, vec![raw])),
            },
            Err(_) => {
                platform.emit(&Event::MessageRefused { code: "unreadable" });
                raw.ack();
            }
        }
    }
    let (messages, raws): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let dispositions = if is_dead {
        deliver::deliver_dead(platform, messages).await
    } else {
        deliver::deliver(platform, &context, flags.stage, messages).await
    };
    for (raws, disposition) in raws.into_iter().zip(dispositions) {
        match disposition {
            Disposition::Ack => raws.iter().for_each(MessageExt::ack),
            Disposition::Retry { delay_s } => {
                let options = worker::QueueRetryOptionsBuilder::new()
                    .with_delay_seconds(delay_s)
                    .build();
                for raw in &raws {
                    raw.retry_with_options(&options);
                }
            }
        }
    }
}
