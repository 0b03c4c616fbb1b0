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
//! | either, showing no secret | either, where mgPass is concerned | Logto about the client, and no more |
//!
//! The last row: whoever knows a public client's id can speak as that client, and
//! oidc-provider tells such a one nothing of another client's token. Neither does the
//! proxy: Logto's answer about no token is `{"active":false}`, or its refusal.
//!
//! What others than known clients can make the proxy ask is bounded by [`allowance`];
//! and mgPass is not asked about a token of its own that cannot be live.
//!
//! [`allowance`]: crate::policy::allowance
//!
//! RFC 7662; RFC 6749 2.3.

use super::Executed;
use crate::auth::authenticate::{all_keys, may_be_live};
use crate::auth::forward_auth::jwks_answer;
use crate::auth::introspection::Introspection;
use crate::inbound::classify::Operation;
use crate::policy::allowance::{Address, Leave};
use crate::policy::flags::Stage;
use crate::policy::plan::Reason;
use crate::policy::token;
use crate::runtime::answer::Answer;
use crate::runtime::backend::{BackendFailure, logto, mgpass};
use crate::runtime::context::{Context, Request};
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
        let flags = &self.flags;
        // A client's secret goes to its own side at any stage.
        let is_told_apart =
            self.inbound.operation == Operation::OidcIntrospection && flags.tells_clients_apart();
        if flags.stage == Stage::Off && !is_told_apart {
            return self.pass(exchange, Reason::StageOff).await;
        }
        match self.inbound.operation {
            Operation::OidcIntrospection => self.introspect(platform, context, exchange).await,
            Operation::OidcJwks if flags.jwks_union => match all_keys(platform, context).await {
                Some(body) => {
                    let kind = "application/jwk-set+json; charset=utf-8";
                    self.answered(jwks_answer(body, kind).into())
                }
                None => self.pass(exchange, Reason::NotARead).await,
            },
            _ => self.pass(exchange, Reason::NotARead).await,
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
        let introspection = Introspection::parse(
            authorization.as_deref(),
            &body,
            context.issuers,
            &self.flags.applications,
        );
        let Some(introspection) = introspection else {
            return self.pass(exchange, Reason::NotARead).await;
        };
        let parties = (introspection.client_of, introspection.token_of);
        if parties == (Backend::Logto, Backend::Logto) {
            return self.pass(exchange, Reason::NotARead).await;
        }
        if !introspection.shows_secret {
            let answer =
                logto::introspect_nothing(platform, context, introspection.client_only()).await;
            return self.introspected(Backend::Logto, answer);
        }
        let address = Address::parse(exchange.header("cf-connecting-ip").as_deref());
        let leave = context.isolate.allowance.borrow_mut().ask(
            introspection.mark(),
            address,
            platform.now_ms(),
        );
        let Some(leave) = leave else {
            return self.failed(ProxyError::TooManyAttempts);
        };
        let answer = ask(platform, context, &introspection, leave).await;
        self.introspected(introspection.token_of, answer)
    }

    /// `backend`: whose word it is.
    fn introspected<C>(
        &self,
        backend: Backend,
        answer: Result<CallAnswer, BackendFailure>,
    ) -> Executed<C> {
        match answer {
            Ok(answer) => Executed {
                backend: backend.name(),
                ..self.answered(introspection_answer(answer).into())
            },
            Err(failure) => self.failed(match failure {
                BackendFailure::Down(Backend::Logto, _) => ProxyError::LogtoUnreachable,
                _ => ProxyError::MgpassUnavailable,
            }),
        }
    }
}

/// First whether the client is one, then what the token is worth.
async fn ask<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    introspection: &Introspection,
    leave: Leave,
) -> Result<CallAnswer, BackendFailure> {
    let is_live = match introspection.token_of {
        Backend::Logto => true,
        Backend::Mgpass => is_live_at_mgpass(platform, context, introspection.token()).await,
    };
    if !is_live && leave.is_of_known_client() {
        return Ok(inactive());
    }
    let first = match (introspection.client_of, introspection.token_of) {
        (Backend::Mgpass, Backend::Mgpass) => {
            mgpass::introspect_as_client(platform, context, introspection.as_client()).await
        }
        (Backend::Mgpass, Backend::Logto) => {
            mgpass::introspect_nothing(platform, context, introspection.client_only()).await
        }
        (Backend::Logto, _) => {
            logto::introspect_nothing(platform, context, introspection.client_only()).await
        }
    }?;
    {
        let mut allowance = context.isolate.allowance.borrow_mut();
        if first.status != 200 {
            allowance.refused(&leave);
            return Ok(first);
        }
        allowance.accepted(leave, platform.now_ms());
    }
    match (introspection.client_of, introspection.token_of) {
        (Backend::Mgpass, Backend::Mgpass) => Ok(first),
        (_, Backend::Mgpass) if !is_live => Ok(inactive()),
        (_, Backend::Mgpass) => {
            mgpass::introspect(platform, context, introspection.token_only()).await
        }
        (_, Backend::Logto) => {
            logto::introspect(platform, context, introspection.token_only()).await
        }
    }
}

/// Refresh tokens are opaque, and mgPass alone can tell.
async fn is_live_at_mgpass<P: Platform>(platform: &P, context: &Context<'_>, text: &str) -> bool {
    match token::parse(text).and_then(|parsed| parsed.partition(context.issuers)) {
        Ok(token) => may_be_live(platform, context, &token).await,
        Err(_) => true,
    }
}

/// RFC 7662 2.2.
fn inactive() -> CallAnswer {
    CallAnswer {
        status: 200,
        retry_after_s: None,
        max_age_s: None,
        total: None,
        is_json: true,
        body: r#"{"active":false}"#.to_owned(),
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
