//! The routes of the checklist, the test of the webhooks, and the certificate.

use serde_json::{Value, json};

use super::reply::Answered;
use crate::handover::facts;
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::operate::certificate::kept::{self, Recorded};
use crate::operate::certificate::{Findings, Missing, make, may_be_made, population};
use crate::operate::{checklist, webhook_test};
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    context: Option<&Context<'_>>,
    method: Method,
    path: &str,
    query: &Form,
) -> Option<Answered> {
    if !matches!(
        path,
        "checklist" | "checklist/run" | "webhooks/test" | "certificate"
    ) {
        return None;
    }
    let Some(context) = context else {
        return Some(Err(ProxyError::Misconfigured));
    };
    Some(match (method, path) {
        (Method::Get, "checklist") => checklist::read(platform, context)
            .await
            .map(|checklist| (200, checklist.shown()))
            .map_err(unavailable),
        (Method::Post, "checklist/run") => run(platform, context, query).await,
        (Method::Post, "webhooks/test") => test(platform, context).await,
        (Method::Post, "certificate") => certify(platform, context).await,
        (Method::Get, "certificate") => recorded(platform, query).await,
        _ => return None,
    })
}

fn unavailable(_: DatabaseFailure) -> ProxyError {
    ProxyError::DatabaseUnavailable
}

/// One check; with `conclude`, judges all and keeps the result for the gates.
async fn run<P: Platform>(platform: &P, context: &Context<'_>, query: &Form) -> Answered {
    match (query.get("check"), query.get("conclude")) {
        (Some(name), None) => {
            let name = checklist::named(name).ok_or(ProxyError::ParameterMissing)?;
            let done = checklist::run(platform, context, name).await;
            done.map_err(unavailable)?;
            Ok((200, json!({ "ran": name })))
        }
        (None, Some("true")) => {
            let checklist = checklist::conclude(platform, context).await;
            let checklist = checklist.map_err(unavailable)?;
            operated(platform, "checklist.run");
            Ok((200, checklist.shown()))
        }
        _ => Err(ProxyError::ParameterMissing),
    }
}

async fn test<P: Platform>(platform: &P, context: &Context<'_>) -> Answered {
    let caused = webhook_test::cause(platform, context).await;
    caused.map_err(unavailable)?;
    operated(platform, "webhooks.test");
    let checklist = checklist::read(platform, context).await;
    let checklist = checklist.map_err(unavailable)?;
    let check = checklist
        .checks
        .iter()
        .find(|check| check.name == "webhooks");
    Ok((202, json!({ "now": checklist.now_ms, "check": check })))
}

/// A step towards one, or the certificate itself: 202 while everybody is not read yet.
async fn certify<P: Platform>(platform: &P, context: &Context<'_>) -> Answered {
    let checklist = checklist::conclude(platform, context).await;
    let checklist = checklist.map_err(unavailable)?;
    let results = platform.batch(Store::Proxy, facts::read()).await;
    let results = results.map_err(unavailable)?;
    let facts = facts::parse(&results).ok_or(ProxyError::DatabaseUnavailable)?;
    if let Err(missing) = may_be_made(&checklist, &facts) {
        return Ok((409, refused(&missing)));
    }
    let population = population::step(platform).await.map_err(unavailable)?;
    let Some(population) = population else {
        return Ok((
            409,
            refused(&Missing::Equality("Both sides were never compared.")),
        ));
    };
    if !population.is_whole {
        return Ok((202, json!({ "read": population.n_users })));
    }
    let made = make(&Findings {
        checklist: &checklist,
        facts: &facts,
        job: population.job,
        population: &population,
    });
    let record = Recorded {
        term: checklist.term,
        made_at_ms: checklist.now_ms,
        valid_until_ms: made.valid_until_ms,
    };
    let statements = vec![
        kept::keep(&made.digest, record),
        facts::keep_evidence("certificate", &made.digest, &[], made.at_ms),
    ];
    platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(unavailable)?;
    platform.emit(&Event::CertificateMade {
        term: checklist.term,
        n_waivers: facts.waivers.len(),
    });
    Ok((
        201,
        json!({
            "text": made.text, "sha256": made.digest, "term": checklist.term,
            "users": population.n_users, "valid_until": made.valid_until_ms,
        }),
    ))
}

fn refused(missing: &Missing) -> Value {
    let (message, names) = match missing {
        Missing::NotGreen(names) => (
            format!("Neither green nor waived by name: {}.", names.join(", ")),
            names.clone(),
        ),
        Missing::Equality(why) => (
            format!("{why} `dwp report --run`, and mend what differs."),
            Vec::new(),
        ),
    };
    json!({ "code": "proxy.certificate_refused", "message": message, "not_green": names })
}

async fn recorded<P: Platform>(platform: &P, query: &Form) -> Answered {
    let digest = query.get("sha256").ok_or(ProxyError::ParameterMissing)?;
    let results = platform.batch(Store::Proxy, kept::find(digest)).await;
    let results = results.map_err(unavailable)?;
    let found = kept::parse_find(&results).ok_or(ProxyError::DatabaseUnavailable)?;
    let (now_ms, term, recorded) = found;
    Ok((
        200,
        json!({
            "now": now_ms,
            "term": term,
            "recorded": recorded.map(|one| json!({
                "term": one.term, "made_at": one.made_at_ms, "valid_until": one.valid_until_ms,
            })),
        }),
    ))
}

fn operated<P: Platform>(platform: &P, action: &'static str) {
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: 0,
    });
}
