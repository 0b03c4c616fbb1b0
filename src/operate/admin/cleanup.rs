//! The operator's routes of cleaning up: what is kept and named before, the history in
//! pages, clearing in steps, and whether anything is left.

use serde_json::{Value as Json, json};

use super::reply::{Answered, acted, ask, refused};
use crate::handover::authority::Holder;
use crate::handover::cleanup::{Note, notes};
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::operate::cleanup::{
    self, AtMgpass, Blocked, Leaving, Standing, Why, blocked, clear, history, issuer, parse, read,
    residue, shown, verify,
};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Platform, Store};

/// A digest, a name, a code.
const MAX_TEXT_BYTES: usize = 200;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    method: Method,
    route: &str,
    query: &Form,
) -> Option<Answered> {
    let rest = match route {
        "cleanup" => "",
        _ => route.strip_prefix("cleanup/")?,
    };
    let Some(context) = &request.context else {
        return Some(Err(ProxyError::Misconfigured));
    };
    Some(match (method, rest) {
        (Method::Get, "") => view(platform, request, context, query).await,
        (Method::Post, "issuer") => keep_issuer(platform, context).await,
        (Method::Post, "note") => note(platform, query).await,
        (Method::Get, "residue") => shown_residue(platform, query).await,
        (Method::Post, "residue/move") => moved_residue(platform, query).await,
        (Method::Get, "history") => page_of_history(platform, query).await,
        (Method::Post, "step") => step(platform, request, context, query).await,
        (Method::Get, "verify") => Ok((200, verify::look(platform, context).await)),
        _ => return None,
    })
}

async fn standing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<(Standing, Leaving), ProxyError> {
    let standing = cleanup::standing(platform, context).await;
    standing.map_err(|_| ProxyError::DatabaseUnavailable)
}

struct Plan {
    standing: Standing,
    leaving: Leaving,
    /// `None`: it did not answer, or clearing has begun.
    at_mgpass: Option<AtMgpass>,
    /// Why nothing is cleared.
    blocked: Option<Blocked>,
}

async fn plan<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    context: &Context<'_>,
    query: &Form,
) -> Result<Plan, ProxyError> {
    let (standing, leaving) = standing(platform, context).await?;
    let at_mgpass = match standing.steps.is_empty() {
        true => at_mgpass(platform, &standing).await,
        false => None,
    };
    let asked_stage = request.flags.asked_stage();
    let blocked = blocked(why(query), &standing, at_mgpass, leaving, asked_stage);
    Ok(Plan {
        standing,
        leaving,
        at_mgpass,
        blocked,
    })
}

/// `None`: it did not answer.
async fn at_mgpass<P: Platform>(platform: &P, standing: &Standing) -> Option<AtMgpass> {
    let note = standing.notes.iter().find(|note| note.name == "residue");
    let since = note.map_or(0, |note| note.until);
    let results = platform.batch(Store::Mgpass, residue::left(since)).await;
    residue::parse_left(&results.ok()?)
}

/// `abandon`: the migration is to be given up.
fn why(query: &Form) -> Why {
    match query.get("abandon") {
        Some("true") => Why::Abandoned,
        _ => Why::Cleanup,
    }
}

async fn view<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    context: &Context<'_>,
    query: &Form,
) -> Answered {
    let Plan {
        standing,
        leaving,
        at_mgpass,
        blocked,
    } = plan(platform, request, context, query).await?;
    let mut body = shown(&standing, leaving, blocked);
    let settings = context.settings;
    let members = [
        (
            "parts",
            json!(
                history::PARTS
                    .iter()
                    .map(|part| part.name)
                    .collect::<Vec<_>>()
            ),
        ),
        ("clears", clears()),
        ("flags", json!(platform.flag_names().await.ok())),
        (
            "has_keys",
            json!(
                platform
                    .imported_keys()
                    .await
                    .is_ok_and(|keys| keys.is_some())
            ),
        ),
        (
            "logto_clients",
            json!(
                [
                    Some(&settings.logto_client),
                    settings.reverse_client.as_ref()
                ]
                .into_iter()
                .flatten()
                .map(|client| &client.id)
                .collect::<Vec<_>>()
            ),
        ),
        ("logto_origin", json!(settings.logto_origin)),
        (
            "residue_after",
            json!(at_mgpass.map(|found| found.n_residue_after)),
        ),
        ("effects", json!(at_mgpass.map(|found| found.n_effects))),
    ];
    if let Some(body) = body.as_object_mut() {
        body.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok((200, body))
}

fn clears() -> Json {
    let steps = clear::STEPS.iter();
    json!(
        steps
            .map(|step| json!({ "store": step.store.name(), "step": step.name }))
            .collect::<Vec<_>>()
    )
}

/// While Logto answers.
async fn keep_issuer<P: Platform>(platform: &P, context: &Context<'_>) -> Answered {
    let kept = match issuer::fetch(platform, context).await {
        Ok(kept) => kept,
        Err(unkept) => return refused(409, unkept.code(), unkept.words()),
    };
    ask(platform, vec![notes::keep_issuer(&kept)]).await?;
    acted(platform, "keep_issuer", 0);
    Ok((
        200,
        json!({ "discovery_bytes": kept.discovery.len(), "jwks_bytes": kept.jwks.len() }),
    ))
}

/// `name`, `until`, `actor`; where they say something `how`, `digest`, `n`.
async fn note<P: Platform>(platform: &P, query: &Form) -> Answered {
    let short = |name: &str| {
        query
            .get(name)
            .filter(|text| text.len() <= MAX_TEXT_BYTES)
            .map(str::to_owned)
    };
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let name = short("name")
        .filter(|name| matches!(&**name, "refresh_tokens" | "residue" | "archive" | "route"));
    let (Some(name), Some(until), Some(actor)) = (name, number("until"), short("actor")) else {
        return Err(ProxyError::ParameterMissing);
    };
    let note = Note {
        name,
        until,
        how: short("how").unwrap_or_default(),
        digest: short("digest").unwrap_or_default(),
        n: number("n").unwrap_or(0),
        actor,
        at_ms: 0,
    };
    ask(platform, vec![notes::keep(&note)]).await?;
    acted(platform, "cleanup_note", 0);
    Ok((200, json!({ "note": note })))
}

/// `after`, `since`: a page, with the sequence as it was before it was read.
async fn shown_residue<P: Platform>(platform: &P, query: &Form) -> Answered {
    let (sequence, rows) = page_of_residue(platform, query).await?;
    let next = residue::next(&rows);
    Ok((
        200,
        json!({ "sequence": sequence, "rows": rows, "next": next }),
    ))
}

async fn page_of_residue<P: Platform>(
    platform: &P,
    query: &Form,
) -> Result<(i64, Vec<crate::runtime::ports::Row>), ProxyError> {
    let since = query.get("since").and_then(|text| text.parse().ok());
    let after = query.get("after").unwrap_or_default();
    let results = ask(platform, vec![residue::sequence()]).await?;
    let sequence = residue::parse_sequence(&results).ok_or(ProxyError::Defect)?;
    let asked = vec![residue::page(after, since.unwrap_or(0))];
    let results = platform.batch(Store::Mgpass, asked).await;
    let results = results.map_err(|_| ProxyError::DatabaseUnavailable)?;
    Ok((sequence, results.into_iter().next().unwrap_or_default()))
}

/// The same page, moved into `metadata`. Before Logto is left it would be a change of
/// everybody's custom data, which the reverse mirror carries to Logto.
async fn moved_residue<P: Platform>(platform: &P, query: &Form) -> Answered {
    let results = ask(platform, read()).await?;
    let standing = parse(&results).ok_or(ProxyError::Defect)?;
    if standing.holder != Holder::Alone {
        return refused(
            409,
            "not_in_cleanup",
            "The residue is moved once Logto is not asked any more: else the reverse mirror would carry it there.",
        );
    }
    let (sequence, rows) = page_of_residue(platform, query).await?;
    let ids = residue::ids(&rows);
    let results = platform.batch(Store::Mgpass, residue::move_all(&ids)).await;
    let results = results.map_err(|_| ProxyError::DatabaseUnavailable)?;
    let left = results.get(1).cloned().unwrap_or_default();
    let left: Vec<_> = left
        .iter()
        .filter_map(|row| row.get("id").cloned())
        .collect();
    acted(platform, "residue_move", rows.len());
    let next = residue::next(&rows);
    Ok((
        200,
        json!({ "sequence": sequence, "moved": rows.len() - left.len(), "left": left, "next": next }),
    ))
}

async fn page_of_history<P: Platform>(platform: &P, query: &Form) -> Answered {
    let part = query.get("part").and_then(history::part);
    let part = part.ok_or(ProxyError::ParameterMissing)?;
    let asked = vec![part.read(query.get("after"))];
    let results = platform.batch(part.store, asked).await;
    let results = results.map_err(|_| ProxyError::DatabaseUnavailable)?;
    Ok((
        200,
        part.page(results.into_iter().next().unwrap_or_default()),
    ))
}

/// A bounded part of clearing.
async fn step<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    context: &Context<'_>,
    query: &Form,
) -> Answered {
    let plan = plan(platform, request, context, query).await?;
    if let Some(blocked) = plan.blocked {
        return refused(409, blocked.code(), blocked.words());
    }
    let cleared = clear::go_on(platform, &plan.standing.steps).await;
    let cleared = cleared.map_err(|_| ProxyError::DatabaseUnavailable)?;
    acted(
        platform,
        "cleanup_step",
        usize::try_from(cleared.n_rows).unwrap_or(0),
    );
    Ok((200, cleared.shown()))
}
