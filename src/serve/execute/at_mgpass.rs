//! A request while mgPass is the authority: what becomes of it says `classify`.
//!
//! Nothing that changes a user is forwarded to Logto, whatever flags, a missing key or a
//! fault of the settings say. What is refused is refused before Logto sees it, and only
//! on the database's word that mgPass is the authority now.

use super::{Executed, MirrorOutcome};
use crate::handover::authority::{Holder, View};
use crate::handover::proof;
use crate::handover::translated::TranslatedIntent;
use crate::inbound::classify::{AfterCutover, Operation, Refusal, after_cutover};
use crate::policy::plan::{Plan, Primary, Reason};
use crate::runtime::answer::Answer;
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{BodyFailure, Exchange, Platform};
use crate::serve::at_mgpass::caller::{self, Turned};
use crate::serve::at_mgpass::tenant;
use crate::serve::at_mgpass::write::{By, Fate, Job, Left, Outcome, carry_out};
use crate::serve::authority::{Need, need};
use crate::serve::follow_up::FollowUp;
use crate::serve::translate_write::{self, Body, Cors, Found, Route, UsersRoute};

/// Logto's JSON API takes 1 MB; of a longer body the length is all that counts.
const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;

const TRANSLATED: Plan = Plan {
    primary: Primary::Mgpass,
    reason: Reason::Translated,
};

/// The database says that the authority is not mgPass: nothing was done.
pub(super) struct Moved;

impl Request<'_> {
    /// Of its write is computed what Logto would have done.
    pub(super) fn is_translated(&self) -> bool {
        let inbound = self.inbound;
        translate_write::find(inbound.method, inbound.path()).is_some()
    }

    /// # Errors
    /// When the authority has moved.
    pub(super) async fn at_mgpass<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        view: View,
    ) -> Result<Executed<E::Copy>, Moved> {
        if need(self.inbound) == Need::Read {
            return self.read_at_mgpass(platform, context, exchange, view).await;
        }
        let becomes = after_cutover(self.inbound.method, self.inbound.path());
        match becomes {
            // It may have come back by now.
            AfterCutover::Refuse(Refusal::StartAgain | Refusal::PasswordCheck)
            | AfterCutover::FinishSignIn(_)
                if view.holder == Holder::Alone =>
            {
                self.refused_alone(platform, context).await
            }
            AfterCutover::Own if view.holder == Holder::Alone => {
                Ok(self.token(platform, context, exchange).await)
            }
            AfterCutover::Translate => {
                match translate_write::find(self.inbound.method, self.inbound.path()) {
                    Some(found) => {
                        self.translated(platform, context, exchange, &found, view)
                            .await
                    }
                    None => {
                        self.refused(platform, context, Refusal::NotTranslatable)
                            .await
                    }
                }
            }
            AfterCutover::Refuse(Refusal::StartAgain) => {
                self.start_again(platform, context, exchange).await
            }
            AfterCutover::Refuse(refusal) => self.refused(platform, context, refusal).await,
            AfterCutover::FinishSignIn(shown) => {
                self.finish_sign_in(platform, context, exchange, shown, view)
                    .await
            }
            AfterCutover::Forward(_) | AfterCutover::Own => {
                Ok(self.pass(exchange, Reason::Kept).await)
            }
        }
    }

    async fn refused<P: Platform, C>(
        &self,
        platform: &P,
        context: &Context<'_>,
        refusal: Refusal,
    ) -> Result<Executed<C>, Moved> {
        let handover = &context.settings.handover;
        match proof::ask(platform, context.isolate, handover, proof::PROOF_MS).await {
            Some(view) if !view.holder.takes_translated() => Err(Moved),
            Some(_) => Ok(self.refusal(refusal, Cors::SameOrigin)),
            None => Ok(self.failed(ProxyError::DatabaseUnavailable)),
        }
    }

    /// What only Logto could have gone on with.
    async fn refused_alone<P: Platform, C>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Result<Executed<C>, Moved> {
        let handover = &context.settings.handover;
        match proof::ask(platform, context.isolate, handover, proof::PROOF_MS).await {
            Some(view) if view.holder != Holder::Alone => Err(Moved),
            Some(_) | None => Ok(self.failed(ProxyError::LogtoRetired)),
        }
    }

    async fn translated<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        found: &Found,
        view: View,
    ) -> Result<Executed<E::Copy>, Moved> {
        let origin = exchange.header("origin");
        let cors = match &found.route {
            Route::Users(_) => Cors::SameOrigin,
            Route::Account(_) => Cors::AnyOrigin {
                origin: origin.as_deref(),
            },
        };
        let held = match exchange.hold_body(MAX_HELD_BYTES).await {
            Ok(()) => held(exchange),
            Err(BodyFailure::TooLarge) => Some(vec![0; MAX_HELD_BYTES]),
            Err(BodyFailure::Incomplete) => return Ok(self.failed(ProxyError::BodyIncomplete)),
        };
        let account;
        let subject;
        let by = match &found.route {
            Route::Users(_) => match caller::management(platform, context, exchange).await {
                Ok(found) => {
                    subject = found;
                    By::Management(&subject)
                }
                Err(turned) => return Ok(self.turned(turned, cors)),
            },
            Route::Account(_) => match caller::account(platform, context, exchange).await {
                Ok(found) => {
                    account = found;
                    By::Account(&account)
                }
                Err(turned) => return Ok(self.turned(turned, cors)),
            },
        };
        let tenant = match tenant::current(platform, context).await {
            Ok(tenant) => tenant,
            Err(failure) => return Ok(self.failed(caller::of_failure(failure))),
        };
        let (content_type, content_encoding) = (
            exchange.header("content-type"),
            exchange.header("content-encoding"),
        );
        let random = || {
            format!(
                "{:016x}{:016x}",
                platform.random_u64(),
                platform.random_u64()
            )
        };
        let is_create = found.route == Route::Users(UsersRoute::Create);
        let intent = TranslatedIntent {
            id: random(),
            subject: match &by {
                By::Management(_) => found.user.clone(),
                By::Account(account) => Some(account.user.clone()),
            },
            operation: self.operation_of(held.as_deref()).name(),
            nonce: is_create.then(random),
        };
        let job = Job {
            intent,
            route: &found.route,
            by,
            body: Body {
                content_type: content_type.as_deref(),
                content_encoding: content_encoding.as_deref(),
                bytes: held.as_deref(),
            },
            tenant: &tenant,
            view,
        };
        let (outcome, left) = carry_out(platform, context, job).await;
        let mirror = match left.fate {
            Fate::Nothing => MirrorOutcome::None,
            Fate::Withdrawn | Fate::LeftOpen | Fate::Settled => MirrorOutcome::Recorded,
        };
        let executed = match outcome {
            Outcome::Moved(_) => return Err(Moved),
            Outcome::Answer(reply) => {
                let answer = reply.into_answer(&self.id, cors);
                self.told(answer, "mgpass", None)
            }
            Outcome::Refuse(refusal) => self.refusal(refusal, cors),
            Outcome::Fail(error) => Executed {
                plan: TRANSLATED,
                ..self.failed(error)
            },
        };
        Ok(Executed {
            mirror,
            follow_up: has_more(&left).then(|| FollowUp::Translated(Box::new(left))),
            ..executed
        })
    }

    /// A suspension and its end are one route.
    fn operation_of(&self, body: Option<&[u8]>) -> Operation {
        let operation = self.inbound.operation;
        let is_suspended = body
            .filter(|_| operation == Operation::UsersSuspension)
            .and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok())
            .and_then(|body| body.get("isSuspended")?.as_bool());
        match is_suspended {
            Some(false) => Operation::UsersUnsuspension,
            Some(true) | None => operation,
        }
    }

    pub(super) fn turned<C>(&self, turned: Turned, cors: Cors<'_>) -> Executed<C> {
        match turned {
            Turned::Away(reply) => {
                let answer = reply.into_answer(&self.id, cors);
                self.told(answer, "logto", None)
            }
            Turned::Unjudged(error) => Executed {
                plan: TRANSLATED,
                ..self.failed(error)
            },
        }
    }

    fn refusal<C>(&self, refusal: Refusal, cors: Cors<'_>) -> Executed<C> {
        let body = serde_json::json!({
            "code": refusal.code(),
            "message": refusal.to_string(),
            "request_id": self.id,
        });
        let reply = translate_write::Reply::json(refusal.status(), body.to_string());
        let mut answer = reply.into_answer(&self.id, cors);
        answer
            .headers
            .push(("cache-control", "no-store".to_owned()));
        if refusal.status() == 503 {
            answer.headers.push(("retry-after", "5".to_owned()));
        }
        Executed {
            plan: Plan {
                primary: Primary::Mgpass,
                reason: Reason::Refused,
            },
            ..self.told(answer, "proxy", Some(refusal.code()))
        }
    }

    fn told<C>(
        &self,
        answer: Answer,
        backend: &'static str,
        error: Option<&'static str>,
    ) -> Executed<C> {
        Executed {
            backend,
            error,
            ..Executed::own(self.inbound.operation, TRANSLATED, answer.into())
        }
    }
}

/// `None` where the request announces no body.
fn held<E: Exchange>(exchange: &E) -> Option<Vec<u8>> {
    let is_announced = ["content-length", "transfer-encoding"]
        .into_iter()
        .any(|name| exchange.header(name).is_some());
    exchange
        .held_bytes()
        .or_else(|| is_announced.then(Vec::new))
}

fn has_more(left: &Left) -> bool {
    left.fate != Fate::Nothing || left.orphan.is_some() || left.owes.is_some()
}
