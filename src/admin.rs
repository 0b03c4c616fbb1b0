//! The proxy's own routes, under `/_proxy/`: the operator's, closed unless an admin
//! token is set, and Logto's webhooks, closed unless their secret is. None reaches a
//! backend's client surface.

mod mirror;

use percent_encoding::percent_decode_str;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::classify::Operation;
use crate::error::ProxyError;
use crate::execute::{Executed, Reply, Surroundings, own_error};
use crate::hooks::{self, Received};
use crate::mirror::outbox;
use crate::plan::{Plan, Primary, Reason};
use crate::ports::{Exchange, Platform, Store};
use crate::request::{Method, Target, UserId, bearer};
use crate::translate::Answer;

const PREFIX: &str = "/_proxy/";

/// `None`: not one of ours.
pub async fn route<P: Platform, E: Exchange>(
    platform: &P,
    around: &Surroundings<'_>,
    exchange: &mut E,
) -> Option<Executed<E::Copy>> {
    let url = exchange.url().to_owned();
    let target = Target::parse(&url)?;
    let path = target.path.strip_prefix(PREFIX)?;
    if (exchange.method(), path) == (Method::Post, hooks::PATH) {
        return Some(hook(
            hooks::receive(platform, around, exchange).await,
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
    let query = |name| query_parameter(target.query, name);
    let user = || query("user").and_then(|id| UserId::parse(&id));
    let context = around.context.as_ref();
    let body = match (exchange.method(), path, context) {
        (Method::Get, "status", _) => status(platform, around).await,
        (Method::Get, "mirror", _) => mirror::view(platform).await.to_string(),
        (Method::Get, "explain", Some(context)) => match user() {
            Some(user) => mirror::explain(platform, context, around, &user)
                .await
                .to_string(),
            None => return refused(ProxyError::ParameterMissing),
        },
        (Method::Post, "mirror/replay", _) => {
            let which = match (user(), query("reason"), query("all").as_deref()) {
                (Some(user), None, None) => mirror::Which::User(user),
                (None, Some(reason), None) => mirror::Which::Reason(reason),
                (None, None, Some("true")) => mirror::Which::AllParked,
                _ => return refused(ProxyError::ParameterMissing),
            };
            mirror::replay(platform, &which).await.to_string()
        }
        (Method::Post, "mirror/confirm-deletion", _) => match user() {
            Some(user) => mirror::confirm_deletion(platform, &user).await.to_string(),
            None => return refused(ProxyError::ParameterMissing),
        },
        _ => return refused(ProxyError::NoSuchRoute),
    };
    Some(answered(200, body))
}

fn hook<C>(received: Received, around: &Surroundings<'_>, path: &str) -> Executed<C> {
    let error = match received {
        Received::Taken => return answered(204, String::new()),
        Received::Closed => ProxyError::NoSuchRoute,
        Received::TooLarge => ProxyError::BodyTooLarge,
        Received::BadSignature => ProxyError::SignatureRefused,
        Received::NotRecorded => ProxyError::NotRecorded,
    };
    own_error(Operation::PassThrough, error, path, around)
}

fn answered<C>(status: u16, body: String) -> Executed<C> {
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    if !body.is_empty() {
        headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
    }
    Executed {
        status,
        reply: Reply::Own(Answer {
            status,
            headers,
            body,
        }),
        operation: Operation::PassThrough,
        plan: Plan {
            primary: Primary::Logto,
            reason: Reason::NotARead,
        },
        mirror: crate::execute::MirrorOutcome::None,
        bucket: None,
        backend: "proxy",
        fallback: None,
        error: None,
        afterwards: None,
    }
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

/// Flags in force, what was refused, and the outbox in numbers.
async fn status<P: Platform>(platform: &P, around: &Surroundings<'_>) -> String {
    let flags = &around.flags;
    let outbox = platform.batch(Store::Proxy, outbox::backlog()).await;
    let outbox = match &outbox {
        Ok(results) => results
            .first()
            .and_then(|rows| rows.first())
            .map_or(json!(null), |row| json!(row)),
        Err(failure) => json!({ "failure": failure.code() }),
    };
    let faults: Vec<_> = around
        .settings
        .faults
        .iter()
        .map(|fault| json!({ "setting": fault.name, "code": fault.code }))
        .collect();
    json!({
        "stage": flags.stage.name(),
        "refused_stage": flags.refused_stage.map(|stage| stage.name()),
        "read_bps": flags.read_percent.basis_points(),
        "compare_bps": flags.compare_share().basis_points(),
        "kill_switch": flags.kill_switch,
        "guard": flags.guard.as_ref().map(|guard| json!({
            "cap_bps": guard.cap.basis_points(), "reason": guard.reason,
        })),
        "setting_faults": faults,
        "outbox": outbox,
    })
    .to_string()
}
