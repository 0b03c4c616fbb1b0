//! Whose a write is, asked of Logto with the client's own headers.

use std::pin::pin;

use futures_util::future::{Either, select};

use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::{self, Browser};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::Platform;

/// Logto has answered the write and the client waits: once more, and not for long.
const AGAIN_DEADLINE_MS: u32 = 1_000;

/// What Logto is asked, with the client's own headers.
#[derive(Clone, Debug)]
pub enum Question {
    Interaction(Browser),
    Consent(Browser),
    Account(Secret<String>),
}

/// What Logto says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub user: Option<UserId>,
    pub registers: bool,
    /// A password or a second factor may be written with it.
    pub stages_credential: bool,
}

impl Question {
    /// `None`: Logto says that there is nobody.
    ///
    /// # Errors
    /// When Logto gave no answer to that question.
    pub async fn ask<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Result<Option<Participant>, BackendFailure> {
        let of = |user: Option<UserId>| {
            user.map(|user| Participant {
                user: Some(user),
                registers: false,
                stages_credential: false,
            })
        };
        let told = match self {
            Self::Interaction(browser) => {
                logto::interaction(platform, context, browser)
                    .await
                    .map(|found| {
                        found.map(|found| Participant {
                            user: found.user,
                            registers: found.registers,
                            stages_credential: found.stages_credential,
                        })
                    })
            }
            Self::Consent(browser) => logto::consenting(platform, context, browser).await.map(of),
            Self::Account(authorization) => logto::account(platform, context, authorization)
                .await
                .map(of),
        };
        if let Err(failure) = told {
            platform.emit(&Event::OutboxDelayed {
                step: "name",
                code: failure.code(),
            });
        }
        told
    }

    /// Nobody, or nobody in time.
    pub async fn ask_again<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Option<UserId> {
        let asked = pin!(self.ask(platform, context));
        let deadline = pin!(platform.sleep(AGAIN_DEADLINE_MS));
        match select(asked, deadline).await {
            Either::Left((told, _)) => told.ok().flatten()?.user,
            Either::Right(_) => None,
        }
    }
}
