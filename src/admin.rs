//! The operator's own routes, under `/_proxy/`. Closed unless an admin token is
//! set; they never reach a backend's client surface.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::classify::Operation;
use crate::error::ProxyError;
use crate::execute::{Executed, Reply, Surroundings, own_error};
use crate::mirror::outbox;
use crate::plan::{Plan, Primary, Reason};
use crate::ports::{Exchange, Platform, Store};
use crate::request::{Method, Target, bearer};
use crate::translate::Answer;

const PREFIX: &str = "/_proxy/";

/// `None`: not one of ours.
pub async fn route<P: Platform, E: Exchange>(
    platform: &P,
    around: &Surroundings<'_>,
    exchange: &E,
) -> Option<Executed<E::Copy>> {
    let path = Target::parse(exchange.url())?
        .path
        .strip_prefix(PREFIX)?
        .to_owned();
    let path_with_prefix = format!("{PREFIX}{path}");
    if !is_admin(around, exchange) {
        return Some(own_error(
            Operation::PassThrough,
            ProxyError::AdminTokenNeeded,
            &path_with_prefix,
            around,
        ));
    }
    let body = match (exchange.method(), path.as_str()) {
        (Method::Get, "status") => status(platform, around).await,
        _ => {
            return Some(own_error(
                Operation::PassThrough,
                ProxyError::NoSuchRoute,
                &path_with_prefix,
                around,
            ));
        }
    };
    let answer = Answer {
        status: 200,
        headers: vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body,
    };
    Some(Executed {
        status: answer.status,
        reply: Reply::Own(answer),
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
