//! The operator's routes for what passes a hand-over all the same, or is kept out of it:
//! waivers, writes that hang, users who are held.

use serde_json::json;

use super::reply::{Answered, acted, ask, refused};
use crate::handover::facts::{self, Waived};
use crate::handover::{cleanup, gates, holds, hung};
use crate::inbound::form::Form;
use crate::inbound::request::UserId;
use crate::mirror::triggers::Trigger;
use crate::mirror::{relay, wake};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::Platform;

const HOLDS_SHOWN: i64 = 1_000;
/// Longer texts are no names and no reasons.
const MAX_TEXT_BYTES: usize = 500;

fn short<'a>(query: &'a Form, name: &str) -> Option<&'a str> {
    query
        .get(name)
        .filter(|text| !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES)
}

/// `gate`, `reason`, `actor`; and `name` for one, or `all` for each that it counts now.
pub(super) async fn waive<P: Platform>(platform: &P, query: &Form) -> Answered {
    let (Some(gate), Some(reason), Some(actor)) = (
        short(query, "gate"),
        short(query, "reason"),
        short(query, "actor"),
    ) else {
        return Err(ProxyError::ParameterMissing);
    };
    let is_known = gates::NAMES.contains(&gate) || cleanup::NAMES.contains(&gate);
    if !is_known && !gates::may_be_waived_by_name(gate) {
        return refused(404, "no_such_gate", "There is no gate of that name.");
    }
    let name = short(query, "name");
    let waived = match (name, query.get("all")) {
        (Some(name), None) => Waived::One { gate, name },
        (None, Some("true")) => Waived::AllOf(gate),
        (None, None) => Waived::Gate(gate),
        (Some(_), Some(_)) | (None, Some(_)) => return Err(ProxyError::ParameterMissing),
    };
    let is_waivable = match waived {
        Waived::Gate(_) => may_be_waived_whole(gate),
        Waived::One { .. } | Waived::AllOf(_) => {
            gates::may_be_waived_by_name(gate) || cleanup::may_be_waived_by_name(gate)
        }
    };
    let Some(statement) = facts::waive(waived, reason, actor).filter(|_| is_waivable) else {
        return refused(409, "not_waivable", unwaivable(gate));
    };
    ask(platform, vec![statement]).await?;
    acted(platform, "waive", 0);
    Ok((200, json!({ "waived": gate, "name": name })))
}

/// Before a hand-over, or before cleanup: those of one name are alike.
fn may_be_waived_whole(gate: &str) -> bool {
    gates::may_be_waived_whole(gate) || cleanup::may_be_waived_whole(gate)
}

fn unwaivable(gate: &str) -> &'static str {
    match gate {
        "parked" => "Users are waived by name; `--all` names each that is parked or held now.",
        "checklist" => "Checks are waived each by name, or the gate as a whole.",
        gate if may_be_waived_whole(gate) => {
            "This gate counts nobody by name: waive it as a whole."
        }
        _ => "No reason makes it safe to go on without this gate.",
    }
}

pub(super) async fn unwaive<P: Platform>(platform: &P, query: &Form) -> Answered {
    let gate = short(query, "gate").ok_or(ProxyError::ParameterMissing)?;
    let name = query.get("name").unwrap_or_default();
    let results = ask(platform, vec![facts::unwaive(gate, name)]).await?;
    if results.first().is_none_or(Vec::is_empty) {
        return refused(404, "not_waived", "There is no such waiver in this term.");
    }
    acted(platform, "unwaive", 0);
    Ok((200, json!({ "unwaived": gate, "name": name })))
}

/// While draining: writes that hang, or that nobody can name, become strays.
pub(super) async fn let_go<P: Platform>(platform: &P) -> Answered {
    let results = ask(platform, hung::let_go()).await?;
    let n_writes = hung::parse_let_go(&results);
    acted(platform, "let_go", n_writes);
    Ok((200, json!({ "writes": n_writes })))
}

pub(super) async fn held<P: Platform>(platform: &P, query: &Form) -> Answered {
    let after = query.get("after").unwrap_or_default();
    let limit = query.get("limit").map(str::parse::<i64>).transpose();
    let limit = limit.map_err(|_| ProxyError::ParameterMissing)?;
    let limit = limit.unwrap_or(HOLDS_SHOWN).clamp(1, HOLDS_SHOWN);
    let asked = vec![holds::list(after, query.get("reason"), limit)];
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
pub(super) async fn release<P: Platform>(platform: &P, query: &Form) -> Answered {
    let user = query.get("user").and_then(UserId::parse);
    let user = user.ok_or(ProxyError::ParameterMissing)?;
    let one = std::slice::from_ref(&user);
    let mut statements = vec![holds::release(&user)];
    statements.extend(Trigger::Released.each(one));
    statements.push(wake::all(one));
    let results = ask(platform, statements).await?;
    if holds::parse_released(&results).is_none() {
        return refused(404, "not_held", "Nobody of that id is held.");
    }
    relay::send_wakes(platform, &wake::parse(&results)).await;
    acted(platform, "release", 1);
    Ok((200, json!({ "subjects": 1 })))
}
