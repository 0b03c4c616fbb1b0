//! The operator's routes for the authority: what it waits for, the wish, arming, waivers,
//! held users. What cannot be done is refused by name, with what to do.

use serde_json::{Value, json};

use crate::handover::advance::{self, Operated, Ran};
use crate::handover::authority::Holder;
use crate::handover::facts::{self, Waived};
use crate::handover::row::{self, Authority, Pending, Source};
use crate::handover::wish::{self, Asked, Ignored};
use crate::handover::{arm, gates, holds, log, moves};
use crate::inbound::request::{Method, UserId};
use crate::mirror::{relay, triggers, wake};
use crate::policy::flags::Stage;
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};

const LOG_SHOWN: i64 = 20;
const HOLDS_SHOWN: i64 = 1_000;
/// Longer an origin is not closed to everybody else by mistake.
const MAX_ARMED_MS: i64 = 24 * 3_600_000;
/// Longer texts are no names and no reasons.
const MAX_TEXT_BYTES: usize = 500;

/// An answer with its status; a refusal is one.
type Answered = Result<(u16, Value), ProxyError>;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    method: Method,
    route: &str,
    query: &impl Fn(&str) -> Option<String>,
) -> Option<Answered> {
    Some(match (method, route) {
        (Method::Get, "authority") => view(platform, request).await,
        (Method::Post, "stage") => stage(platform, request, query).await,
        (Method::Post, "handover/advance") => advanced(platform, request).await,
        (Method::Post, "handover/arm") => arm(platform, request, query).await,
        (Method::Post, "handover/disarm") => disarm(platform).await,
        (Method::Post, "handover/waive") => waive(platform, query).await,
        (Method::Post, "handover/unwaive") => unwaive(platform, query).await,
        (Method::Post, "handover/let-go") => let_go(platform).await,
        (Method::Get, "holds") => held(platform, query).await,
        (Method::Post, "holds/release") => release(platform, query).await,
        _ => return None,
    })
}

fn refused(status: u16, code: &str, message: &str) -> Answered {
    let code = format!("proxy.{code}");
    Ok((status, json!({ "code": code, "message": message })))
}

async fn ask<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, ProxyError> {
    platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(|_| ProxyError::DatabaseUnavailable)
}

async fn read<P: Platform>(platform: &P) -> Result<(Authority, Pending), ProxyError> {
    let results = ask(platform, row::read()).await?;
    row::parse(&results).ok_or(ProxyError::Defect)
}

fn operated<'a>(request: &'a Request<'_>) -> Operated<'a> {
    Operated {
        flags: &request.flags,
        logto_origin: &request.settings.logto_origin,
    }
}

/// The row, the gates while Logto is the authority, and what is held, owed and stray.
async fn view<P: Platform>(platform: &P, request: &Request<'_>) -> Answered {
    let mut asked = row::read();
    let n_row = asked.len();
    asked.extend(log::overview(LOG_SHOWN));
    let results = ask(platform, asked).await?;
    let (authority, pending) = row::parse(&results).ok_or(ProxyError::Defect)?;
    let mut body = log::shown_overview(results.get(n_row..).unwrap_or_default());
    let gates = match authority.holder {
        Holder::Logto => {
            let settings = &request.settings.handover;
            let looked =
                advance::look(platform, settings, operated(request), &authority, pending).await;
            let (_, gates) = looked.map_err(|_| ProxyError::DatabaseUnavailable)?;
            gates::shown(&gates)
        }
        Holder::Draining | Holder::Mgpass | Holder::Returning => Value::Null,
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

/// `to`: a stage. With `abandon_debt` the way back does not wait for mgPass.
async fn stage<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    query: &impl Fn(&str) -> Option<String>,
) -> Answered {
    let to = query("to").as_deref().and_then(Stage::parse);
    let to = to.ok_or(ProxyError::ParameterMissing)?;
    let (authority, _) = read(platform).await?;
    if query("abandon_debt").as_deref() == Some("true") {
        return abandon(platform, request, &authority, to).await;
    }
    let known = request.flags.asked_stage().or(authority.kv_stage);
    let asked = wish::ask(&authority, known, to);
    advance::tell_wish(platform, to, Source::Dwp, asked);
    let wanted = match asked {
        Asked::Wish(wanted) => Some(wanted),
        Asked::Unwish => None,
        Asked::Flag if to == Stage::Cutover => return shown(&authority, &Ran::default()),
        Asked::Flag => {
            return refused(
                409,
                "stage_is_a_flag",
                "Nothing is wished that this would end; before a cutover the stage is a flag: write the key `stage` of the namespace FLAGS.",
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

fn words(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::NotOneStep => {
            "That is no single step: before `cutover` the key `stage` must say `dual_write`."
        }
        Ignored::MgpassIsAuthority => {
            "mgPass is the authority: the one step back is `dual_write`, and nothing else ends the cutover."
        }
        Ignored::NotBuilt => "This version does not know that stage.",
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

/// Carries out what is due, as cron does.
async fn advanced<P: Platform>(platform: &P, request: &Request<'_>) -> Answered {
    let settings = &request.settings.handover;
    let ran = advance::operate(platform, settings, operated(request)).await;
    let Some(authority) = ran.authority.clone() else {
        return Err(ProxyError::DatabaseUnavailable);
    };
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
async fn arm<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    query: &impl Fn(&str) -> Option<String>,
) -> Answered {
    let settings = &request.settings.handover;
    let duration_ms = query("for_s")
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
        return refused(
            409,
            "not_at_logto",
            "A hand-over is armed while Logto is the authority.",
        );
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

fn short(query: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    query(name).filter(|text| !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES)
}

/// `gate`, `reason`, `actor`; and `name` for one, or `all` for each that it counts now.
async fn waive<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let (Some(gate), Some(reason), Some(actor)) = (
        short(query, "gate"),
        short(query, "reason"),
        short(query, "actor"),
    ) else {
        return Err(ProxyError::ParameterMissing);
    };
    if !gates::may_be_waived(&gate) {
        return refused(
            409,
            "not_waivable",
            "There is no such gate, or no reason makes it safe to go on without it.",
        );
    }
    let name = short(query, "name");
    let waived = match (&name, query("all").as_deref()) {
        (Some(name), None) => Waived::One { gate: &gate, name },
        (None, Some("true")) => Waived::AllOf(&gate),
        (None, None) => Waived::Gate(&gate),
        (Some(_), Some(_)) | (None, Some(_)) => return Err(ProxyError::ParameterMissing),
    };
    let Some(statement) = facts::waive(waived, &reason, &actor) else {
        return Err(ProxyError::ParameterMissing);
    };
    ask(platform, vec![statement]).await?;
    acted(platform, "waive", 0);
    Ok((200, json!({ "waived": gate, "name": name })))
}

async fn unwaive<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let gate = short(query, "gate").ok_or(ProxyError::ParameterMissing)?;
    let name = query("name").unwrap_or_default();
    ask(platform, vec![facts::unwaive(&gate, &name)]).await?;
    acted(platform, "unwaive", 0);
    Ok((200, json!({ "unwaived": gate, "name": name })))
}

/// While draining: writes that hang, or that nobody can name, become strays.
async fn let_go<P: Platform>(platform: &P) -> Answered {
    let results = ask(platform, moves::let_hung_go()).await?;
    let n_writes = moves::parse_let_go(&results);
    acted(platform, "let_go", n_writes);
    Ok((200, json!({ "writes": n_writes })))
}

async fn held<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let after = query("after").unwrap_or_default();
    let reason = query("reason");
    let limit = query("limit").and_then(|text| text.parse::<i64>().ok());
    let limit = limit.unwrap_or(HOLDS_SHOWN).clamp(1, HOLDS_SHOWN);
    let asked = vec![holds::list(&after, reason.as_deref(), limit)];
    let rows = ask(platform, asked).await?.into_iter().next();
    let rows = rows.unwrap_or_default();
    let is_full = rows.len() as i64 >= limit;
    let next = rows
        .last()
        .filter(|_| is_full)
        .and_then(|row| row.get("id"));
    Ok((200, json!({ "users": rows, "next": next })))
}

/// From now on the mirror writes them again; it looks at once.
async fn release<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let user = query("user").and_then(|id| UserId::parse(&id));
    let user = user.ok_or(ProxyError::ParameterMissing)?;
    let one = std::slice::from_ref(&user);
    let mut statements = vec![holds::release(&user)];
    statements.extend(triggers::replay(one));
    statements.push(wake::all(one));
    let results = ask(platform, statements).await?;
    if holds::parse_released(&results).is_none() {
        return refused(404, "not_held", "Nobody of that id is held.");
    }
    relay::send_wakes(platform, &wake::parse(&results)).await;
    acted(platform, "release", 1);
    Ok((200, json!({ "subjects": 1 })))
}

fn acted<P: Platform>(platform: &P, action: &'static str, n_subjects: usize) {
    platform.emit(&Event::OperatorActed { action, n_subjects });
}
