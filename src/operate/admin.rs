//! The proxy's own routes, under `/_proxy/`: the operator's, closed unless an admin
//! token is set, and Logto's webhooks, closed unless their secret is. None reaches a
//! backend's client surface.

mod jobs;
mod mirror;
mod steer;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::inbound::classify::Operation;
use crate::inbound::request::{Method, Own, Target, UserId, bearer};
use crate::mirror::webhook::{self, Received};
use crate::operate::status::status;
use crate::operate::{metrics, prometheus};
use crate::runtime::answer::{Answer, OwnAnswer, own_answer, own_error};
use crate::runtime::context::Surroundings;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{BodyFailure, Exchange, Platform, Store};

const JSON: &str = "application/json; charset=utf-8";

/// `None`: not one of ours.
pub async fn route<P: Platform, E: Exchange>(
    platform: &P,
    around: &Surroundings<'_>,
    exchange: &mut E,
) -> Option<OwnAnswer> {
    let url = exchange.url().to_owned();
    let target = Target::parse(&url)?;
    let path = match target.own() {
        Own::No => return None,
        Own::Route(path) => path,
        Own::Lookalike => {
            return Some(own_error(
                Operation::PassThrough,
                ProxyError::NoSuchRoute,
                target.path,
                around,
            ));
        }
    };
    if (exchange.method(), path) == (Method::Post, webhook::PATH) {
        return Some(hook(
            webhook::receive(platform, around, exchange).await,
            around,
            target.path,
        ));
    }
    let refused = |error| {
        Some(own_error(
            Operation::PassThrough,
            error,
            target.path,
            around,
        ))
    };
    if !is_admin(around, exchange) {
        return refused(ProxyError::AdminTokenNeeded);
    }
    let query = |name: &str| query_parameter(target.query, name);
    if let Some(answer) = jobs::route(
        platform,
        around.flags.stage,
        exchange.method(),
        path,
        &query,
    )
    .await
    {
        return match answer {
            Ok((status, body)) => Some(answered(status, JSON, body.to_string())),
            Err(error) => refused(error),
        };
    }
    let context = around.context.as_ref();
    if let Some(answer) = steer::route(platform, context, exchange.method(), path, &query).await {
        return match answer {
            Ok((status, body)) => Some(answered(status, JSON, body.to_string())),
            Err(error) => refused(error),
        };
    }
    // One that is malformed is told from none.
    let user = || match query("user") {
        None => Err(ProxyError::ParameterMissing),
        Some(id) => UserId::parse(&id).ok_or(ProxyError::MalformedUser),
    };
    let body = match (exchange.method(), path, context) {
        (Method::Get, "status", _) => Ok(status(platform, around).await.to_string()),
        (Method::Get, "metrics", _) => {
            return Some(answered(
                200,
                prometheus::CONTENT_TYPE,
                metrics_text(platform).await,
            ));
        }
        (Method::Get, "mirror", _) => Ok(mirror::view(platform).await.to_string()),
        (Method::Get, "explain", Some(context)) => match user() {
            Ok(user) => Ok(mirror::explain(platform, context, around, &user)
                .await
                .to_string()),
            Err(error) => Err(error),
        },
        (Method::Post, "mirror/replay", _) => {
            match (query("user"), query("reason"), query("all").as_deref()) {
                (Some(_), None, None) => match user() {
                    Ok(user) => mirror::replay_one(platform, context, &user)
                        .await
                        .map(|done| done.to_string()),
                    Err(error) => Err(error),
                },
                (None, Some(reason), None) => {
                    let which = mirror::Which::Reason(reason);
                    Ok(replay(platform, &which, query("after")).await)
                }
                (None, None, Some("true")) => {
                    let which = mirror::Which::AllParked;
                    Ok(replay(platform, &which, query("after")).await)
                }
                _ => Err(ProxyError::ParameterMissing),
            }
        }
        (Method::Post, "mirror/confirm-deletion", _) => match user() {
            Ok(user) => mirror::confirm_deletion(platform, context, &user)
                .await
                .map(|done| done.to_string()),
            Err(error) => Err(error),
        },
        (Method::Post, "mirror/overrule", _) => match user() {
            Ok(user) => mirror::overrule(platform, context, &user)
                .await
                .map(|done| done.to_string()),
            Err(error) => Err(error),
        },
        _ => Err(ProxyError::NoSuchRoute),
    };
    match body {
        Ok(body) => Some(answered(200, JSON, body)),
        Err(error) => refused(error),
    }
}

async fn replay<P: Platform>(platform: &P, which: &mirror::Which, after: Option<String>) -> String {
    let after = after.unwrap_or_default();
    mirror::replay(platform, which, &after).await.to_string()
}

fn hook(received: Received, around: &Surroundings<'_>, path: &str) -> OwnAnswer {
    let error = match received {
        Received::Taken => return answered(204, "", String::new()),
        Received::Closed => ProxyError::NoSuchRoute,
        Received::Unread(BodyFailure::TooLarge) => ProxyError::BodyTooLarge,
        Received::Unread(BodyFailure::Incomplete) => ProxyError::BodyIncomplete,
        Received::BadSignature => ProxyError::SignatureRefused,
        Received::NotRecorded => ProxyError::NotRecorded,
    };
    own_error(Operation::PassThrough, error, path, around)
}

fn answered(status: u16, content_type: &str, body: String) -> OwnAnswer {
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    if !body.is_empty() {
        headers.push(("content-type", content_type.to_owned()));
    }
    let answer = Answer {
        status,
        headers,
        body,
    };
    own_answer(Operation::PassThrough, answer)
}

fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value).decode_utf8().ok()?;
        (key == name).then(|| value.into_owned())
    })
}

fn is_admin<E: Exchange>(around: &Surroundings<'_>, exchange: &E) -> bool {
    let Some(expected) = &around.settings.admin_token else {
        return false;
    };
    let given = exchange.header("authorization");
    // Digests are compared, so that time tells nothing of the token.
    given.as_deref().and_then(bearer).is_some_and(|given| {
        Sha256::digest(given.as_bytes()) == Sha256::digest(expected.0.as_bytes())
    })
}

/// All counts since the metrics database was made, for a scraper.
async fn metrics_text<P: Platform>(platform: &P) -> String {
    match platform
        .batch(Store::Metrics, vec![metrics::totals()])
        .await
    {
        Ok(results) => prometheus::render(results.first().map(Vec::as_slice).unwrap_or_default()),
        Err(failure) => format!("# {}\n", failure.code()),
    }
}
