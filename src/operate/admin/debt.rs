//! The operator's routes for what Logto lacks while mgPass is the authority, and for what
//! somebody changed there: counted, listed by user, decided.

use serde_json::{Value, json};

use crate::handover::debt::{self, After};
use crate::handover::holds;
use crate::handover::strays::{self, Towards};
use crate::inbound::request::{Method, UserId};
use crate::mirror::triggers::Trigger;
use crate::mirror::{relay, wake};
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const SHOWN: i64 = 1_000;

/// An answer with its status; a refusal is one.
type Answered = Result<(u16, Value), ProxyError>;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    method: Method,
    route: &str,
    query: &impl Fn(&str) -> Option<String>,
) -> Option<Answered> {
    Some(match (method, route) {
        (Method::Get, "debt") if query("count").as_deref() == Some("true") => sum(platform).await,
        (Method::Get, "debt") => owed(platform, query).await,
        (Method::Get, "strays") => strays(platform, query).await,
        (Method::Post, "strays/resolve") => resolve(platform, query).await,
        _ => return None,
    })
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

fn limit(query: &impl Fn(&str) -> Option<String>) -> i64 {
    let asked = query("limit").and_then(|text| text.parse::<i64>().ok());
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
async fn owed<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let (after, class, limit) = (
        query("after").unwrap_or_default(),
        query("class"),
        limit(query),
    );
    let mut parts = after.splitn(3, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let after = After {
        subject: part(),
        class: part(),
        code: part(),
    };
    let asked = vec![debt::list(class.as_deref(), after, limit)];
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

async fn strays<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let limit = limit(query);
    let after = query("after").and_then(|text| text.parse().ok());
    let state = match query("all").as_deref() {
        Some("true") => None,
        _ => Some("open"),
    };
    let user = query("user").and_then(|id| UserId::parse(&id));
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
async fn resolve<P: Platform>(platform: &P, query: &impl Fn(&str) -> Option<String>) -> Answered {
    let missing = ProxyError::ParameterMissing;
    let results = match query("user").as_deref().and_then(UserId::parse) {
        Some(user) => {
            let towards = query("towards").as_deref().and_then(Towards::from_name);
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
            let id = query("id").and_then(|text| text.parse().ok());
            ask(platform, vec![strays::dismiss(id.ok_or(missing)?)]).await?
        }
    };
    let n_resolved = strays::n_resolved(&results);
    relay::send_wakes(platform, &wake::parse(&results)).await;
    if n_resolved == 0 {
        let message = "Nothing open was found under that name.";
        let body = json!({ "code": "proxy.no_such_stray", "message": message });
        return Ok((404, body));
    }
    platform.emit(&Event::OperatorActed {
        action: "resolve_stray",
        n_subjects: 1,
    });
    Ok((200, json!({ "strays": n_resolved })))
}
