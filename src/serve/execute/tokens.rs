//! Logto's routes about keys and tokens, where both issuers matter.
//!
//! `GET /oidc/jwks` stays Logto's own bytes unless the flag `jwks_union` is on.
//!
//! `POST /oidc/token/introspection`: a client is authenticated by the issuer that
//! owns it and its secret goes nowhere else; a token is judged by its own issuer
//! and goes nowhere else, since a signature cannot see a revoked session. What
//! cannot be attributed goes to Logto unchanged. Nothing is asked twice.
//!
//! | client of | token of | asked |
//! | --- | --- | --- |
//! | Logto | Logto, or opaque | Logto, the request as it is |
//! | Logto | mgPass | Logto about the client, then mgPass with the proxy's own client |
//! | mgPass | mgPass, or its refresh token | mgPass, with the client's own credential |
//! | mgPass | Logto, or another opaque one | mgPass about the client, then Logto with the proxy's own client |
//!
//! RFC 7662; RFC 6749 2.3.

use super::{Executed, Request};
use crate::auth::authenticate::all_keys;
use crate::auth::forward_auth::jwks_answer;
use crate::auth::introspection::Introspection;
use crate::inbound::classify::Operation;
use crate::policy::flags::Stage;
use crate::policy::plan::Reason;
use crate::runtime::answer::{Answer, own_answer};
use crate::runtime::backend::{BackendFailure, logto, mgpass};
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Backend, BodyFailure, CallAnswer, Exchange, Platform};

/// A token of the largest size that is read, and room for a client assertion.
const MAX_FORM_BYTES: usize = 64 * 1024;

impl Request<'_> {
    pub(super) async fn token<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Executed<E::Copy> {
        let flags = &self.around.flags;
        if flags.stage == Stage::Off {
            return self.pass(platform, exchange, Reason::StageOff).await;
        }
        match self.classified.operation {
            Operation::OidcIntrospection => self.introspect(platform, context, exchange).await,
            Operation::OidcJwks if flags.jwks_union => match all_keys(platform, context).await {
                Some(body) => own_answer(
                    Operation::OidcJwks,
                    jwks_answer(body, "application/jwk-set+json; charset=utf-8"),
                )
                .into(),
                None => self.pass(platform, exchange, Reason::NotARead).await,
            },
            _ => self.pass(platform, exchange, Reason::NotARead).await,
        }
    }

    async fn introspect<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Executed<E::Copy> {
        match exchange.hold_body(MAX_FORM_BYTES).await {
            Ok(()) => {}
            Err(BodyFailure::TooLarge) => return self.failed(ProxyError::BodyTooLarge),
            Err(BodyFailure::Incomplete) => return self.failed(ProxyError::BodyIncomplete),
        }
        let authorization = exchange.header("authorization");
        let body = exchange.held_text().unwrap_or_default();
        let introspection = Introspection::parse(authorization.as_deref(), &body, context.issuers);
        let Some(introspection) = introspection else {
            return self.pass(platform, exchange, Reason::NotARead).await;
        };
        let outcome = match (introspection.client_of, introspection.token_of) {
            (Backend::Logto, Backend::Logto) => {
                return self.pass(platform, exchange, Reason::NotARead).await;
            }
            (Backend::Mgpass, Backend::Mgpass) => {
                mgpass::introspect_as_client(platform, context, introspection.as_client()).await
            }
            (Backend::Logto, Backend::Mgpass) => {
                match logto::introspect_nothing(platform, context, introspection.client_only())
                    .await
                {
                    Ok(answer) if answer.status == 200 => {
                        mgpass::introspect(platform, context, introspection.token_only()).await
                    }
                    // Logto's own refusal of the client.
                    other => other,
                }
            }
            (Backend::Mgpass, Backend::Logto) => {
                match mgpass::introspect_nothing(platform, context, introspection.client_only())
                    .await
                {
                    Ok(answer) if answer.status == 200 => {
                        logto::introspect(platform, context, introspection.token_only()).await
                    }
                    other => other,
                }
            }
        };
        match outcome {
            Ok(answer) => {
                let backend = introspection.token_of.name();
                Executed {
                    backend,
                    ..own_answer(self.classified.operation, introspection_answer(answer)).into()
                }
            }
            Err(failure) => self.failed(match failure {
                BackendFailure::Down(Backend::Logto, _) => ProxyError::LogtoUnreachable,
                _ => ProxyError::MgpassUnavailable,
            }),
        }
    }
}

fn introspection_answer(answer: CallAnswer) -> Answer {
    let mut headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    if answer.status == 401 {
        headers.push((
            "www-authenticate",
            "Basic realm=\"introspection\"".to_owned(),
        ));
    }
    Answer {
        status: answer.status,
        headers,
        body: answer.body,
    }
}
