//! The proxy's own routes, under `/_proxy/`: the operator's, closed unless an admin
//! token is set, and Logto's webhooks, closed unless their secret is. None reaches a
//! backend's client surface.

mod debt;
mod exceptions;
mod handover;
mod jobs;
mod mirror;
mod reply;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::auth::authenticate::{imported_keys, now};
use crate::handover::{log, row};
use crate::inbound::form::Form;
use crate::inbound::request::{Method, UserId, bearer};
use crate::mirror::outbox;
use crate::mirror::webhook::{self, Received};
use crate::operate::{findings, guard, metrics, prometheus};
use crate::policy::flags::Stage;
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{BodyFailure, DatabaseFailure, Exchange, Platform, Row, Store};
use crate::token::{Issuer, KeyId, KeySet};

const JSON: &str = "application/json; charset=utf-8";
const VERDICTS_SHOWN: i64 = 10;

/// Any route below `/_proxy/` but those for gateways.
pub async fn answer<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> OwnAnswer {
    let (method, route) = (request.inbound.method, request.inbound.own_route());
    let answer = if (method, route) == (Method::Post, webhook::PATH) {
        taken(webhook::receive(platform, request, exchange).await)
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
    let user = || query.get("user").and_then(UserId::parse);
    let context = request.context.as_ref();
    let body = match (method, route, context) {
        (Method::Get, "status", _) => status(platform, request).await,
        (Method::Get, "metrics", _) => {
            let text = metrics_text(platform).await;
            return Ok(answered(200, prometheus::CONTENT_TYPE, text));
        }
        (Method::Get, "mirror", _) => mirror::view(platform).await.to_string(),
        (Method::Get, "explain", Some(context)) => match user() {
            Some(user) => mirror::explain(platform, context, request, &user)
                .await
                .to_string(),
            None => return Err(ProxyError::ParameterMissing),
        },
        (Method::Post, "mirror/replay", _) => {
            let which = match (user(), query.get("reason"), query.get("all")) {
                (Some(user), None, None) => mirror::Which::User(user),
                (None, Some(reason), None) => mirror::Which::Reason(reason.to_owned()),
                (None, None, Some("true")) => mirror::Which::AllParked,
                _ => return Err(ProxyError::ParameterMissing),
            };
            let after = query.get("after").unwrap_or_default();
            mirror::replay(platform, &which, after).await.to_string()
        }
        (Method::Post, "mirror/confirm-deletion", _) => match user() {
            Some(user) => mirror::confirm_deletion(platform, &user).await.to_string(),
            None => return Err(ProxyError::ParameterMissing),
        },
        (Method::Post, "mirror/overrule", _) => match user() {
            Some(user) => mirror::overrule(platform, &user).await.to_string(),
            None => return Err(ProxyError::ParameterMissing),
        },
        _ => return Err(ProxyError::NoSuchRoute),
    };
    Ok(answered(200, JSON, body))
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

/// Flags in force, what was refused, the outbox in numbers, what the comparison
/// found and what the guard said.
async fn status<P: Platform>(platform: &P, request: &Request<'_>) -> String {
    let flags = &request.flags;
    let mut statements = outbox::backlog();
    statements.push(findings::summary());
    let n_before = statements.len();
    statements.extend(row::read());
    let (outbox, findings, authority) = match platform.batch(Store::Proxy, statements).await {
        Ok(results) => (
            json!(results.first().and_then(|rows| rows.first())),
            json!(results.get(1)),
            row::parse(results.get(n_before..).unwrap_or_default())
                .map(|(authority, pending)| log::shown_authority(&authority, &pending))
                .unwrap_or_default(),
        ),
        Err(failure) => (failed(failure), failed(failure), failed(failure)),
    };
    let kept = vec![guard::verdicts(VERDICTS_SHOWN), metrics::totals()];
    let (verdicts, totals) = match platform.batch(Store::Metrics, kept).await {
        Ok(results) => (
            json!(
                results
                    .first()
                    .map(|rows| rows.iter().map(verdict).collect::<Vec<_>>())
            ),
            json!(results.get(1)),
        ),
        Err(failure) => (failed(failure), failed(failure)),
    };
    let refused: Vec<_> = flags
        .refused
        .iter()
        .map(|fault| json!({ "key": fault.key, "code": fault.code }))
        .collect();
    let faults: Vec<_> = request
        .settings
        .faults
        .iter()
        .map(|fault| json!({ "setting": fault.name, "code": fault.code }))
        .collect();
    let keys = match &request.context {
        Some(context) => keys(platform, context).await,
        None => json!(null),
    };
    json!({
        "stage": flags.stage_name(),
        "refused_flags": refused,
        "refused_stage": flags.refused_stage.map(|stage| stage.name()),
        "read_bps": flags.read_percent.basis_points(),
        "compare_bps": flags.compare_share().basis_points(),
        "kill_switch": flags.kill_switch,
        "guard": flags.guard.as_ref().map(|guard| json!({
            "cap_bps": guard.cap.basis_points(), "reason": guard.reason,
        })),
        "breaker_of_this_isolate": request.context.map(|context| context.isolate.breaker.get().name()),
        "setting_faults": faults,
        "jwks_union": flags.jwks_union,
        "keys": keys,
        "memory_bytes_of_this_isolate": platform.memory_bytes(),
        "authority": authority,
        "asked_stage": flags.asked_stage().map(Stage::name),
        "outbox": outbox,
        "findings": findings,
        "verdicts": verdicts,
        "totals": totals,
    })
    .to_string()
}

/// The keys this isolate knows, and the imported ones with their bounds.
async fn keys<P: Platform>(platform: &P, context: &Context<'_>) -> Value {
    let now = now(platform);
    let live = |issuer| match context.isolate.held_keys(issuer) {
        None => json!({ "kids": [], "is_failing": context.isolate.keys_are_failing(issuer) }),
        Some((set, at)) => json!({
            "kids": kids(&set),
            "age_s": now.since(at),
            "is_failing": context.isolate.keys_are_failing(issuer),
        }),
    };
    let imported = imported_keys(platform, context).await;
    json!({
        "logto": live(Issuer::Logto),
        "mgpass": live(Issuer::Mgpass),
        "imported": imported.map(|imported| {
            let bounds = imported.bounds();
            json!({
                "kids": kids(imported.set()),
                "stopped_issuing_at": bounds.issued_before.map(|stop| stop.0),
                "max_lifetime_s": bounds.max_lifetime_s,
                "sunset": bounds.sunset.0,
                // Whether they stand in for Logto's own set when that cannot be had.
                "in_force": !imported.is_past_sunset(now),
            })
        }),
    })
}

fn kids(set: &KeySet) -> Vec<Option<&str>> {
    set.keys()
        .iter()
        .map(|key| key.key_id().map(KeyId::as_str))
        .collect()
}

fn failed(failure: DatabaseFailure) -> serde_json::Value {
    json!({ "failure": failure.code() })
}

/// The figures are kept as JSON text.
fn verdict(row: &Row) -> serde_json::Value {
    let mut row = row.clone();
    if let Some(figures) = row
        .get("figures")
        .and_then(serde_json::Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
    {
        row.insert("figures".to_owned(), figures);
    }
    json!(row)
}
