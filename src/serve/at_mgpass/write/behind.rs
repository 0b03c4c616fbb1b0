//! What follows the answer to a translated write. It may be cut off anywhere: what is owed
//! is found by the sweep, an open intent by its expiry, an orphan by its mark.

use super::{Fate, Left};
use crate::mirror::{relay, wake};
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};

impl Left {
    pub async fn carry_out<P: Platform>(self, platform: &P, context: &Context<'_>) {
        if let (Some(ticket), Some(subject)) = (self.owes, &self.intent.subject) {
            relay::pay_now(platform, context, subject, ticket).await;
        }
        if let Some(orphan) = &self.orphan {
            match logto::delete(platform, context, orphan).await {
                Ok(()) => withdraw(platform, &self).await,
                Err(unsure) => delayed(platform, "orphan", unsure.failure().code()),
            }
            return;
        }
        match self.fate {
            Fate::Nothing | Fate::LeftOpen => {}
            Fate::Withdrawn => withdraw(platform, &self).await,
            // Nobody brings it to Logto.
            Fate::Settled if context.isolate.authority.get().is_alone() => {}
            Fate::Settled => {
                let mark = vec![wake::by_intent(&self.intent.id)];
                match batch(platform, mark).await {
                    Ok(results) => relay::send_wakes(platform, &wake::parse(&results)).await,
                    // The sweep finds it within a minute.
                    Err(code) => delayed(platform, "wake", code),
                }
            }
        }
    }
}

async fn withdraw<P: Platform>(platform: &P, left: &Left) {
    if let Err(code) = batch(platform, left.intent.withdraw()).await {
        delayed(platform, "withdraw", code);
    }
}

async fn batch<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, &'static str> {
    platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(|failure| failure.code())
}

fn delayed<P: Platform>(platform: &P, step: &'static str, code: &'static str) {
    platform.emit(&Event::TranslatedDelayed { step, code });
}
