//! The operator's routes for the authority: what it waits for, the wish, arming. What
//! cannot be done is refused by name, with what to do.

use serde_json::{Value, json};

use super::exceptions;
use super::reply::{Answered, acted, ask, refused};
use crate::handover::advance::{self, Operated, Ran};
use crate::handover::authority::Holder;
use crate::handover::row::{self, Authority, Pending, Source};
use crate::handover::wish::{self, Asked, Ignored};
use crate::handover::{arm, gates, log};
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::mirror::relay;
use crate::policy::flags::Stage;
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::Platform;

const LOG_SHOWN: i64 = 20;
const MAX_LOG_SHOWN: i64 = 1_000;
/// Longer an origin is not closed to everybody else by mistake.
const MAX_ARMED_MS: i64 = 24 * 3_600_000;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    method: Method,
    route: &str,
    query: &Form,
) -> Option<Answered> {
    Some(match (method, route) {
        (Method::Get, "authority") => view(platform, request).await,
        (Method::Post, "stage") => stage(platform, request, query).await,
        (Method::Post, "handover/advance") => advanced(platform, request).await,
        (Method::Post, "handover/arm") => arm(platform, request, query).await,
        (Method::Post, "handover/disarm") => disarm(platform).await,
        (Method::Get, "handover/log") => logged(platform, query).await,
        (Method::Post, "handover/waive") => exceptions::waive(platform, query).await,
        (Method::Post, "handover/unwaive") => exceptions::unwaive(platform, query).await,
        (Method::Post, "handover/let-go") => exceptions::let_go(platform).await,
        (Method::Get, "holds") => exceptions::held(platform, query).await,
        (Method::Post, "holds/release") => exceptions::release(platform, query).await,
        _ => return None,
    })
}

async fn read<P: Platform>(platform: &P) -> Result<(Authority, Pending), ProxyError> {
    let results = ask(platform, row::read()).await?;
    row::parse(&results).ok_or(ProxyError::Defect)
}

fn operated<'a>(request: &'a Request<'_>) -> Operated<'a> {
    Operated {
        flags: &request.flags,
        logto_origin: &request.settings.logto_origin,
        context: request.context,
    }
}

/// The row, the gates of the next stage, and what is held, owed and stray.
async fn view<P: Platform>(platform: &P, request: &Request<'_>) -> Answered {
    let mut asked = row::read();
    let n_row = asked.len();
    asked.extend(log::overview(LOG_SHOWN));
    let results = ask(platform, asked).await?;
    let (authority, pending) = row::parse(&results).ok_or(ProxyError::Defect)?;
    let mut body = log::shown_overview(results.get(n_row..).unwrap_or_default());
    let gates = match authority.holder {
        Holder::Logto | Holder::Mgpass => {
            let settings = &request.settings.handover;
            let looked =
                advance::look(platform, settings, operated(request), &authority, pending).await;
            let looked = looked.map_err(|_| ProxyError::DatabaseUnavailable)?;
            gates::shown(&looked.gates)
        }
        Holder::Draining | Holder::Returning | Holder::Alone => Value::Null,
    };
    if let Some(body) = body.as_object_mut() {
        body.insert(
            "authority".to_owned(),
            log::shown_authority(&authority, &pending),
        );
        body.insert("gates".to_owned(), gates);
        body.insert(
            "needs_proof".to_owned(),
            json!(request.settings.handover.needs_proof()),
        );
        body.insert(
            "announcement_ms".to_owned(),
            json!(request.settings.handover.announcement_ms),
        );
    }
    Ok((200, body))
}

/// The newest moves first. `limit`: how many at most.
async fn logged<P: Platform>(platform: &P, query: &Form) -> Answered {
    let limit = query.get("limit").map(str::parse::<i64>).transpose();
    let limit = limit.map_err(|_| ProxyError::ParameterMissing)?;
    let limit = limit.unwrap_or(MAX_LOG_SHOWN).clamp(1, MAX_LOG_SHOWN);
    let results = ask(platform, vec![log::newest(limit)]).await?;
    Ok((200, json!({ "log": log::shown_log(&results) })))
}

/// `to`: a stage. With `abandon_debt` the way back does not wait for mgPass.
async fn stage<P: Platform>(platform: &P, request: &Request<'_>, query: &Form) -> Answered {
    let to = query.get("to").and_then(Stage::parse);
    let to = to.ok_or(ProxyError::ParameterMissing)?;
    // What KV says was said before this.
    advance::notice(platform, &request.flags).await;
    let (authority, pending) = read(platform).await?;
    if query.get("abandon_debt") == Some("true") {
        return abandon(platform, request, &authority, to).await;
    }
    let known = request.flags.asked_stage().or(authority.kv_stage);
    let asked = wish::ask(&authority, known, to);
    advance::tell_wish(platform, to, Source::Dwp, asked);
    let wanted = match asked {
        Asked::Wish(wanted) => Some(wanted),
        Asked::Unwish => None,
        Asked::Flag if is_in_force(&authority, to) => {
            let ran = Ran {
                pending,
                ..Ran::default()
            };
            return shown(&authority, &ran);
        }
        Asked::Flag => {
            return refused(
                409,
                "stage_is_a_flag",
                "Nothing is wished that this would end. Before a cutover the stage is a flag: write the key `stage` of the namespace FLAGS.",
            );
        }
        Asked::Ignored(ignored) => return refused(409, ignored.code(), words(ignored)),
    };
    let results = ask(platform, vec![wish::order(&authority, wanted)]).await?;
    if results.first().is_none_or(Vec::is_empty) {
        return refused(
            409,
            "authority_moved",
            "The authority moved in this moment; look, and say it again.",
        );
    }
    advanced(platform, request).await
}

/// Said again, a stage that is reached changes nothing.
fn is_in_force(authority: &Authority, stage: Stage) -> bool {
    match authority.holder {
        Holder::Mgpass => stage == Stage::Cutover,
        // After a return KV may still say `cutover`.
        Holder::Logto => authority.kv_stage.map(|known| known.min(Stage::DualWrite)) == Some(stage),
        Holder::Draining | Holder::Returning => false,
        Holder::Alone => stage == Stage::Cleanup,
    }
}

fn words(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::NotOneStep => {
            "That is no single step: `cutover` follows `dual_write` and `cleanup` follows `cutover`, forward and back."
        }
        Ignored::MgpassIsAuthority => {
            "mgPass is the authority: the one step back is `dual_write`, from cleanup `cutover`, and nothing else ends it."
        }
    }
}

async fn abandon<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    authority: &Authority,
    to: Stage,
) -> Answered {
    let is_away = matches!(authority.holder, Holder::Mgpass | Holder::Returning);
    if to != Stage::DualWrite || !is_away {
        return refused(
            409,
            "nothing_to_abandon",
            "Debt is abandoned on the way from `cutover` to `dual_write` alone.",
        );
    }
    advance::abandon(platform, &request.settings.handover)
        .await
        .map_err(|_| ProxyError::DatabaseUnavailable)?;
    platform.emit(&Event::OperatorActed {
        action: "abandon_debt",
        n_subjects: 0,
    });
    view(platform, request).await
}

/// Carries out what is due, as cron does, and wakes whom it waits for.
async fn advanced<P: Platform>(platform: &P, request: &Request<'_>) -> Answered {
    let settings = &request.settings.handover;
    let ran = advance::operate(platform, settings, operated(request)).await;
    let Some(authority) = ran.authority.clone() else {
        return Err(ProxyError::DatabaseUnavailable);
    };
    let is_between = matches!(authority.holder, Holder::Draining | Holder::Returning);
    if let Some(context) = request.context.as_ref().filter(|_| is_between) {
        relay::hurry(platform, context).await;
    }
    shown(&authority, &ran)
}

fn shown(authority: &Authority, ran: &Ran) -> Answered {
    let body = json!({
        "authority": log::shown_authority(authority, &ran.pending),
        "moved": ran.moved.iter().map(|one| json!({
            "to": one.to().name(), "cause": one.cause(),
        })).collect::<Vec<_>>(),
        "waits": ran.waits,
        "gates": ran.gates.as_deref().map(gates::shown),
    });
    Ok((200, body))
}

/// `for_s`: how long.
async fn arm<P: Platform>(platform: &P, request: &Request<'_>, query: &Form) -> Answered {
    let settings = &request.settings.handover;
    let duration_ms = query
        .get("for_s")
        .and_then(|text| text.parse::<i64>().ok())
        .and_then(|seconds| seconds.checked_mul(1_000))
        .filter(|duration_ms| (1..=MAX_ARMED_MS).contains(duration_ms))
        .ok_or(ProxyError::ParameterMissing)?;
    let least_ms = settings.announcement_ms + settings.between_ms;
    if duration_ms < least_ms {
        return refused(
            409,
            "arming_too_short",
            &format!(
                "The announcement and draining take {} s: arm it for longer.",
                least_ms / 1_000
            ),
        );
    }
    const NOT_AT_LOGTO: &str = "A hand-over is armed while Logto is the authority.";
    let (authority, _) = read(platform).await?;
    if authority.holder != Holder::Logto {
        return refused(409, "not_at_logto", NOT_AT_LOGTO);
    }
    let probes = arm::probe(platform, &request.settings.logto_origin, settings).await;
    let refusal = match &probes {
        None => Some(arm::ArmRefusal::NoSecret),
        Some(probes) => probes.refusal(),
    };
    if let Some(refusal) = refusal {
        return refused(409, refusal.code(), refusal.words());
    }
    let results = ask(platform, arm::arm(duration_ms)).await?;
    if results.first().is_none_or(Vec::is_empty) {
        return refused(409, "not_at_logto", NOT_AT_LOGTO);
    }
    acted(platform, "arm", 0);
    let (authority, pending) = read(platform).await?;
    let authority = log::shown_authority(&authority, &pending);
    Ok((200, json!({ "authority": authority, "probes": probes })))
}

async fn disarm<P: Platform>(platform: &P) -> Answered {
    let results = ask(platform, arm::disarm()).await?;
    if results.first().is_none_or(Vec::is_empty) {
        return refused(
            409,
            "not_at_logto",
            "What is under way is ended by `dwp stage dual_write`.",
        );
    }
    acted(platform, "disarm", 0);
    let (authority, pending) = read(platform).await?;
    let authority = log::shown_authority(&authority, &pending);
    Ok((200, json!({ "authority": authority })))
}
