//! The proxy's own routes, under `/_proxy/`: the operator's, closed unless an admin
//! token is set, and Logto's webhooks, closed unless their secret is. None reaches a
//! backend's client surface.

mod cleanup;
mod debt;
mod evidence;
mod exceptions;
mod handover;
mod jobs;
mod mirror;
mod passwords;
mod reply;
mod steer;

use sha2::{Digest, Sha256};

use crate::inbound::form::Form;
use crate::inbound::request::{Method, UserId, bearer};
use crate::mirror::mgpass_webhook;
use crate::mirror::webhook::{self, Received};
use crate::operate::status::status;
use crate::operate::{dependencies, forecast, metrics, page, prometheus, sign_in, timeline, why};
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{BodyFailure, Exchange, Platform, Store};

const JSON: &str = "application/json; charset=utf-8";

/// Any route below `/_proxy/` but those for gateways.
pub async fn answer<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> OwnAnswer {
    let (method, route) = (request.inbound.method, request.inbound.own_route());
    let answer = if (method, route) == (Method::Post, webhook::PATH) {
        taken(webhook::receive(platform, request, exchange).await)
    } else if (method, route) == (Method::Post, mgpass_webhook::PATH) {
        taken(mgpass_webhook::receive(platform, request, exchange).await)
    } else if (method, route) == (Method::Get, "") {
        // It holds nothing: whoever has no token sees a form.
        match request.settings.admin_token {
            Some(_) => Ok(page::page()),
            None => Err(ProxyError::NoSuchRoute),
        }
    } else if is_admin(request, exchange) {
        operator(platform, request, method, route).await
    } else {
        Err(ProxyError::AdminTokenNeeded)
    };
    match answer {
        Ok(answer) => answer.into(),
        Err(error) => request.refuse(error),
    }
}

async fn operator<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    method: Method,
    route: &str,
) -> Result<Answer, ProxyError> {
    let query = Form::parse(request.inbound.query().unwrap_or_default());
    let query = query.ok_or(ProxyError::ParameterMissing)?;
    let stage = request.flags.stage;
    if let Some(answer) = jobs::route(platform, stage, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    if let Some(answer) = debt::route(platform, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    if let Some(answer) = handover::route(platform, request, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    if let Some(answer) = cleanup::route(platform, request, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    let context = request.context.as_ref();
    if let Some(answer) = evidence::route(platform, context, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    if let Some(answer) = steer::route(platform, context, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    if let Some(answer) = passwords::route(platform, context, method, route, &query).await {
        let (status, body) = answer?;
        return Ok(answered(status, JSON, body.to_string()));
    }
    // One that is malformed is told from none.
    let user = || match query.get("user") {
        None => Err(ProxyError::ParameterMissing),
        Some(id) => UserId::parse(id).ok_or(ProxyError::MalformedUser),
    };
    let body = match (method, route, context) {
        (Method::Get, "status", _) => status(platform, request).await,
        (Method::Get, "metrics", _) => {
            let text = metrics_text(platform).await;
            return Ok(answered(200, prometheus::CONTENT_TYPE, text));
        }
        (Method::Get, "applications", _) => sign_in::view(request),
        (Method::Get, "applications/forecast", _) => {
            forecast::view(platform, &request.flags.applications)
                .await
                .map_err(|_| ProxyError::DatabaseUnavailable)?
        }
        (Method::Get, "dependencies", _) => {
            dependencies::view(platform, &request.flags.applications)
                .await
                .map_err(|_| ProxyError::DatabaseUnavailable)?
        }
        (Method::Get, "why", _) => why::view(platform, &request.flags, &user()?)
            .await
            .map_err(|_| ProxyError::DatabaseUnavailable)?,
        (Method::Get, "mirror", _) => mirror::view(platform).await,
        (Method::Get, "explain", Some(context)) => {
            mirror::explain(platform, context, request, &user()?).await
        }
        (Method::Post, "mirror/replay", _) => {
            let after = query.get("after").unwrap_or_default();
            match (query.get("user"), query.get("reason"), query.get("all")) {
                (Some(_), None, None) => mirror::replay_one(platform, context, &user()?).await?,
                (None, Some(reason), None) => {
                    let which = mirror::Which::Reason(reason.to_owned());
                    mirror::replay(platform, &which, after).await
                }
                (None, None, Some("true")) => {
                    mirror::replay(platform, &mirror::Which::AllParked, after).await
                }
                _ => return Err(ProxyError::ParameterMissing),
            }
        }
        (Method::Post, "mirror/confirm-deletion", _) => {
            mirror::confirm_deletion(platform, context, &user()?).await?
        }
        (Method::Post, "mirror/overrule", _) => {
            mirror::overrule(platform, context, &user()?).await?
        }
        _ => return Err(ProxyError::NoSuchRoute),
    };
    Ok(answered(200, JSON, body.to_string()))
}

fn taken(received: Received) -> Result<Answer, ProxyError> {
    match received {
        Received::Taken => Ok(answered(204, "", String::new())),
        Received::Closed => Err(ProxyError::NoSuchRoute),
        Received::Unread(BodyFailure::TooLarge) => Err(ProxyError::BodyTooLarge),
        Received::Unread(BodyFailure::Incomplete) => Err(ProxyError::BodyIncomplete),
        Received::BadSignature => Err(ProxyError::SignatureRefused),
        Received::NotRecorded => Err(ProxyError::NotRecorded),
    }
}

fn answered(status: u16, content_type: &str, body: String) -> Answer {
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    if !body.is_empty() {
        headers.push(("content-type", content_type.to_owned()));
    }
    Answer {
        status,
        headers,
        body,
    }
}

fn is_admin<E: Exchange>(request: &Request<'_>, exchange: &E) -> bool {
    let Some(expected) = &request.settings.admin_token else {
        return false;
    };
    let given = exchange.header("authorization");
    // Digests are compared, so that time tells nothing of the token.
    given.as_deref().and_then(bearer).is_some_and(|given| {
        Sha256::digest(given.as_bytes()) == Sha256::digest(expected.0.as_bytes())
    })
}

/// All counts since the metrics database was made, and the newest minute, for a scraper.
async fn metrics_text<P: Platform>(platform: &P) -> String {
    let asked = vec![metrics::totals(), timeline::newest()];
    match platform.batch(Store::Metrics, asked).await {
        Ok(results) => {
            let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
            prometheus::render(rows(0), rows(1).first())
        }
        Err(failure) => format!("# {}\n", failure.code()),
    }
}
