//! An interaction at Logto once Logto is not the authority: it may end in a sign-in, and
//! in nothing else.
//!
//! Whoever is in the middle of signing in gets to the end, also while users are handed
//! over; a sign-up, a reset or a change of a profile is told to start again before Logto
//! sees the step. What is not known counts as such a step: Logto is not asked to hold
//! what nobody would carry over. Under authority of Logto none of this is asked.
//!
//! Two steps of one browser that race each other around the hand-over may still leave a
//! change of that person's own at Logto; it is found as a stray.

use serde_json::Value as Json;

use super::Executed;
use super::start_again;
use crate::handover::authority::{Holder, View};
use crate::handover::proof;
use crate::inbound::classify::Shown;
use crate::inbound::request::UserId;
use crate::policy::plan::{Plan, Primary, Reason};
use crate::runtime::backend::logto;
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{BodyFailure, Exchange, Platform, Statement, Store};
use crate::runtime::sql::now;
use crate::serve::execute::at_mgpass::Moved;

/// As Logto takes.
const MAX_HELD_BYTES: usize = 1024 * 1024;
/// Logto keeps an interaction for an hour.
macro_rules! kept_ms {
    () => {
        "7200000"
    };
}

/// In one generation only: a step that was taken under another holder is not judged here.
const KEEP: &str = concat!(
    "INSERT INTO sign_in_begun (uid, generation, begun_at) VALUES (?1, ?2, ",
    now!(),
    ") ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, begun_at = excluded.begun_at"
);
const FORGET: &str = concat!(
    "DELETE FROM sign_in_begun WHERE begun_at < ",
    now!(),
    " - ",
    kept_ms!()
);
const FIND: &str = "SELECT 1 AS begun FROM sign_in_begun WHERE uid = ?1 AND generation = ?2";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[KEEP, FORGET, FIND];

/// What a step can come to.
enum Step {
    /// A sign-in, and nothing else; of whom, where Logto tells.
    SignsIn(Option<UserId>),
    Other,
}

impl Request<'_> {
    /// # Errors
    /// When the authority is Logto after all.
    pub(super) async fn finish_sign_in<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        shown: Shown,
        view: View,
    ) -> Result<Executed<E::Copy>, Moved> {
        let signs_in = match self
            .only_signs_in(platform, context, exchange, shown, view)
            .await
        {
            Ok(Step::SignsIn(user)) => user,
            Ok(Step::Other) => return self.start_again(platform, context, exchange).await,
            Err(error) => return Ok(self.failed(error)),
        };
        let executed = Executed {
            signs_in,
            ..self.pass(exchange, Reason::SignIn).await
        };
        if shown == Shown::Beginning
            && executed.status == 204
            && let Some(uid) = self.interaction_uid(exchange)
        {
            let keep = Statement::new(KEEP, vec![uid.into(), view.generation.into()]);
            let forget = Statement::new(FORGET, vec![]);
            // Not kept: its end is told to start again.
            let _ = platform.batch(Store::Proxy, vec![keep, forget]).await;
        }
        Ok(executed)
    }

    /// On the database's word alone; nothing is sent.
    ///
    /// # Errors
    /// When the authority is Logto after all.
    pub(super) async fn start_again<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
    ) -> Result<Executed<E::Copy>, Moved> {
        let handover = &context.settings.handover;
        match proof::ask(platform, context.isolate, handover, proof::PROOF_MS).await {
            Some(view) if view.holder == Holder::Logto => return Err(Moved),
            Some(_) => {}
            None => return Ok(self.failed(ProxyError::DatabaseUnavailable)),
        }
        let language = start_again::language(
            &exchange.header("cookie").unwrap_or_default(),
            &exchange.header("accept-language").unwrap_or_default(),
        );
        Ok(Executed {
            plan: Plan {
                primary: Primary::Mgpass,
                reason: Reason::Refused,
            },
            error: Some(start_again::CODE),
            ..self.answered(start_again::answer(language, &self.id).into())
        })
    }

    async fn only_signs_in<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        shown: Shown,
        view: View,
    ) -> Result<Step, ProxyError> {
        let only = |is_only: bool| match is_only {
            true => Step::SignsIn(None),
            false => Step::Other,
        };
        match shown {
            Shown::Always => Ok(only(true)),
            Shown::Event(member) => Ok(only(names_sign_in(&body(exchange).await?, member))),
            Shown::Beginning => Ok(only(begins_sign_in(&body(exchange).await?))),
            Shown::Progress => {
                if links(&body(exchange).await?) {
                    return Ok(Step::Other);
                }
                let Some(browser) = self.browser(exchange) else {
                    // Logto says that there is no interaction.
                    return Ok(only(true));
                };
                let found = logto::interaction(platform, context, &browser).await;
                match found {
                    Ok(Some(found)) if found.only_signs_in => Ok(Step::SignsIn(found.user)),
                    Ok(Some(_)) => Ok(Step::Other),
                    Ok(None) => Ok(only(true)),
                    Err(_) => Err(ProxyError::LogtoUnreachable),
                }
            }
            Shown::Kept => {
                let Some(uid) = self.interaction_uid(exchange) else {
                    return Ok(only(true));
                };
                let find = Statement::new(FIND, vec![uid.into(), view.generation.into()]);
                let found = platform.batch(Store::Proxy, vec![find]).await;
                let found = found.map_err(|_| ProxyError::DatabaseUnavailable)?;
                Ok(only(found.first().is_some_and(|rows| !rows.is_empty())))
            }
        }
    }

    /// `None`: Logto finds no interaction either.
    fn interaction_uid<E: Exchange>(&self, exchange: &E) -> Option<String> {
        let uid = self.browser(exchange)?.uid()?;
        Some(uid.as_str().to_owned())
    }
}

/// `None`: none, or none that can be read as JSON.
async fn body<E: Exchange>(exchange: &mut E) -> Result<Option<Json>, ProxyError> {
    match exchange.hold_body(MAX_HELD_BYTES).await {
        Ok(()) if exchange.header("content-encoding").is_none() => {
            let text = exchange.held_text().unwrap_or_default();
            Ok(serde_json::from_str(&text).ok())
        }
        Ok(()) | Err(BodyFailure::TooLarge) => Ok(None),
        Err(BodyFailure::Incomplete) => Err(ProxyError::BodyIncomplete),
    }
}

fn names_sign_in(body: &Option<Json>, member: &str) -> bool {
    let event = body.as_ref().and_then(|body| body.get(member)?.as_str());
    event == Some("SignIn")
}

/// The older API may bring a profile along with its first step.
fn begins_sign_in(body: &Option<Json>) -> bool {
    let profile = body.as_ref().and_then(|body| body.get("profile"));
    let is_empty = match profile {
        None => true,
        Some(profile) => profile.as_object().is_some_and(serde_json::Map::is_empty),
    };
    names_sign_in(body, "event") && is_empty
}

/// An identification that also links the provider's account. Logto refuses a body that
/// cannot be read, and a submit has none.
fn links(body: &Option<Json>) -> bool {
    let asked = body
        .as_ref()
        .and_then(|body| body.get("linkSocialIdentity"));
    asked.is_some_and(|asked| *asked != Json::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_names_a_sign_in_or_it_does_not() {
        for (body, expected) in [
            (Some(json!({ "interactionEvent": "SignIn" })), true),
            (
                Some(json!({ "interactionEvent": "SignIn", "captchaToken": "t" })),
                true,
            ),
            (Some(json!({ "interactionEvent": "Register" })), false),
            (Some(json!({ "interactionEvent": "ForgotPassword" })), false),
            (Some(json!({ "interactionEvent": ["SignIn"] })), false),
            (Some(json!({ "event": "SignIn" })), false),
            (Some(json!([])), false),
            (None, false),
        ] {
            assert_eq!(
                names_sign_in(&body, "interactionEvent"),
                expected,
                "{body:?}"
            );
        }
    }

    #[test]
    fn the_older_api_begins_a_sign_in_without_a_profile() {
        let identifier = json!({ "username": "kofi", "password": "x" });
        for (body, expected) in [
            (json!({ "event": "SignIn" }), true),
            (
                json!({ "event": "SignIn", "identifier": identifier, "profile": {} }),
                true,
            ),
            (
                json!({ "event": "SignIn", "profile": { "email": "a@b.c" } }),
                false,
            ),
            (json!({ "event": "SignIn", "profile": null }), false),
            (json!({ "event": "Register" }), false),
        ] {
            assert_eq!(begins_sign_in(&Some(body.clone())), expected, "{body}");
        }
    }

    #[test]
    fn an_identification_that_links_is_told() {
        for (body, expected) in [
            (None, false),
            (Some(json!({ "verificationId": "v" })), false),
            (Some(json!({ "linkSocialIdentity": false })), false),
            (Some(json!({ "linkSocialIdentity": true })), true),
            (Some(json!({ "linkSocialIdentity": "x" })), true),
        ] {
            assert_eq!(links(&body), expected, "{body:?}");
        }
    }
}
