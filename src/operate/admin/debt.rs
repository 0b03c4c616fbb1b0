//! The operator's routes for what Logto lacks while mgPass is the authority, and for what
//! somebody changed there: counted, listed by user, decided.

use serde_json::json;

use super::reply::{Answered, acted, ask, refused};
use crate::handover::debt::{self, After};
use crate::handover::holds;
use crate::handover::strays::{self, Towards};
use crate::inbound::form::Form;
use crate::inbound::request::{Method, UserId};
use crate::mirror::triggers::Trigger;
use crate::mirror::{relay, wake};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Platform, Row};
use crate::runtime::sql::{integer, text};

const SHOWN: i64 = 1_000;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    method: Method,
    route: &str,
    query: &Form,
) -> Option<Answered> {
    Some(match (method, route) {
        (Method::Get, "debt") if query.get("count") == Some("true") => sum(platform).await,
        (Method::Get, "debt") => owed(platform, query).await,
        (Method::Get, "strays") => strays(platform, query).await,
        (Method::Post, "strays/resolve") => resolve(platform, query).await,
        _ => return None,
    })
}

fn limit(query: &Form) -> i64 {
    let asked = query.get("limit").and_then(|text| text.parse::<i64>().ok());
    asked.unwrap_or(SHOWN).clamp(1, SHOWN)
}

/// By class, and as of when that is right.
async fn sum<P: Platform>(platform: &P) -> Answered {
    let mut asked = debt::summary();
    asked.push(strays::by_source());
    let results = ask(platform, asked).await?;
    let summary = debt::parse_summary(&results).ok_or(ProxyError::Defect)?;
    let classes = summary
        .classes
        .iter()
        .map(|one| json!({ "class": one.class, "users": one.n_users, "since": one.since_ms }));
    let age = |at_ms: Option<i64>| at_ms.map(|at_ms| (summary.now_ms - at_ms) / 1_000);
    let body = json!({
        "users": summary.n_users,
        "classes": classes.collect::<Vec<_>>(),
        "strays": results.get(2),
        "log_read_seconds_ago": age(summary.feed_at_ms),
        "walk_began_seconds_ago": age(summary.covered_at_ms),
        "right_as_of": summary.as_of_ms(),
    });
    Ok((200, body))
}

/// `next` names the last row: subject, class and code, none of which has a space.
async fn owed<P: Platform>(platform: &P, query: &Form) -> Answered {
    let (after, class, limit) = (
        query.get("after").unwrap_or_default(),
        query.get("class"),
        limit(query),
    );
    let mut parts = after.splitn(3, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let after = After {
        subject: part(),
        class: part(),
        code: part(),
    };
    let asked = vec![debt::list(class, after, limit)];
    let rows = ask(platform, asked)
        .await?
        .into_iter()
        .next()
        .unwrap_or_default();
    let of = |row: &Row, name| text(row, name).unwrap_or_default();
    let next = rows.last().filter(|_| rows.len() as i64 >= limit);
    let next = next.map(|row| [of(row, "subject"), of(row, "class"), of(row, "code")].join(" "));
    Ok((200, json!({ "debt": rows, "next": next })))
}

async fn strays<P: Platform>(platform: &P, query: &Form) -> Answered {
    let limit = limit(query);
    let after = query.get("after").and_then(|text| text.parse().ok());
    let state = match query.get("all") {
        Some("true") => None,
        _ => Some("open"),
    };
    let user = query.get("user").and_then(UserId::parse);
    let asked = vec![strays::list(
        after.unwrap_or(0),
        state,
        user.as_ref(),
        limit,
    )];
    let rows = ask(platform, asked)
        .await?
        .into_iter()
        .next()
        .unwrap_or_default();
    let next = rows.last().filter(|_| rows.len() as i64 >= limit);
    let next = next
        .and_then(|row| integer(row, "id"))
        .map(|id| id.to_string());
    Ok((200, json!({ "strays": rows, "next": next })))
}

/// Of a user: towards one side, and the user is let go of. Of nobody who is known: an id.
async fn resolve<P: Platform>(platform: &P, query: &Form) -> Answered {
    let missing = ProxyError::ParameterMissing;
    let results = match query.get("user").and_then(UserId::parse) {
        Some(user) => {
            let towards = query.get("towards").and_then(Towards::from_name);
            let towards = towards.ok_or(missing)?;
            let trigger = match towards {
                Towards::Logto => Trigger::TowardsLogto,
                Towards::Mgpass => Trigger::TowardsMgpass,
            };
            let one = std::slice::from_ref(&user);
            let mut statements = vec![strays::resolve(&user, towards), holds::release(&user)];
            statements.extend(trigger.each(one));
            statements.push(wake::all(one));
            ask(platform, statements).await?
        }
        None => {
            let id = query.get("id").and_then(|text| text.parse().ok());
            ask(platform, vec![strays::dismiss(id.ok_or(missing)?)]).await?
        }
    };
    let n_resolved = strays::n_resolved(&results);
    relay::send_wakes(platform, &wake::parse(&results)).await;
    if n_resolved == 0 {
        return refused(
            404,
            "no_such_stray",
            "Nothing open was found under that name.",
        );
    }
    acted(platform, "resolve_stray", 1);
    Ok((200, json!({ "strays": n_resolved })))
}
