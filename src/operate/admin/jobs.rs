//! The operator's view of jobs: start, watch, pause, resume, stop; what became of
//! whom; and the report of the proof of equality.

use serde_json::{Value, json};

use super::reply::Answered;
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::mirror::triggers;
use crate::policy::flags::Stage;
use crate::population::jobs::commands::{self, CommandRefusal, MAX_LANES};
use crate::population::jobs::store::{self, Order, Transition};
use crate::population::jobs::view::{self, Filter, by_name, shown};
use crate::population::jobs::{Kind, equality};
use crate::population::readiness;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const MAX_SHOWN: i64 = 1_000;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    stage: Stage,
    method: Method,
    path: &str,
    query: &Form,
) -> Option<Answered> {
    let kind = || match query.get("kind").map(Kind::from_name) {
        Some(Some(kind)) => Ok(kind),
        _ => Err(ProxyError::ParameterMissing),
    };
    Some(match (method, path) {
        (Method::Post, "import") => match kind() {
            Ok(Kind::Equality) | Err(_) => Err(ProxyError::ParameterMissing),
            Ok(kind) => start(platform, stage, kind, query).await,
        },
        (Method::Post, "equality") => start(platform, stage, Kind::Equality, query).await,
        (Method::Get, "import") => match kind() {
            Ok(kind) => view(platform, kind, is_on(query, "detail")).await,
            Err(error) => Err(error),
        },
        (Method::Get, "equality") => report(platform).await,
        (Method::Get, "equality/differences") => differences(platform, query).await,
        (Method::Get, "import/users") => match kind() {
            Ok(kind) => users(platform, kind, query).await,
            Err(error) => Err(error),
        },
        (Method::Get, "import/readiness") => ready(platform, query).await,
        (Method::Post, "import/pause" | "import/resume" | "import/stop") => {
            change_state(platform, kind(), path, query).await
        }
        _ => return None,
    })
}

fn is_on(query: &Form, name: &str) -> bool {
    query.get(name) == Some("true")
}

/// `true` or `false` alone; absent is `absent`.
fn switch(query: &Form, name: &str, absent: bool) -> Result<bool, ProxyError> {
    match query.get(name) {
        None => Ok(absent),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(ProxyError::ParameterMissing),
    }
}

/// A whole number from 1 on.
fn number(query: &Form, name: &str) -> Result<Option<i64>, ProxyError> {
    match query.get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(number)) if number > 0 => Ok(Some(number)),
        Some(_) => Err(ProxyError::ParameterMissing),
    }
}

/// 0: as many as is usual.
fn lanes(query: &Form) -> Result<i64, ProxyError> {
    match number(query, "lanes") {
        Ok(None) => Ok(0),
        Ok(Some(lanes)) if lanes <= MAX_LANES => Ok(lanes),
        Ok(Some(_)) | Err(_) => Err(ProxyError::LanesOutOfRange),
    }
}

fn limit(query: &Form) -> Result<i64, ProxyError> {
    Ok(number(query, "limit")?.unwrap_or(MAX_SHOWN).min(MAX_SHOWN))
}

fn order(kind: Kind, query: &Form) -> Result<Order, ProxyError> {
    Ok(Order {
        kind,
        dry_run: switch(query, "dry_run", false)?,
        repair: switch(query, "repair", false)?,
        inspect: switch(query, "inspect", true)?,
        lanes: lanes(query)?,
        rate: number(query, "rate")?,
    })
}

async fn start<P: Platform>(platform: &P, stage: Stage, kind: Kind, query: &Form) -> Answered {
    let order = order(kind, query)?;
    commands::start(platform, stage, order)
        .await
        .map_err(refusal)?;
    let (_, body) = view(platform, kind, false).await?;
    Ok((202, body))
}

async fn change_state<P: Platform>(
    platform: &P,
    kind: Result<Kind, ProxyError>,
    path: &str,
    query: &Form,
) -> Answered {
    let kind = kind?;
    let transition = match path {
        "import/pause" => Transition::Pause,
        "import/resume" => Transition::Resume(number(query, "rate")?),
        _ => Transition::Stop,
    };
    commands::change_state(platform, kind, transition)
        .await
        .map_err(refusal)?;
    view(platform, kind, false).await
}

fn refusal(refusal: CommandRefusal) -> ProxyError {
    match refusal {
        CommandRefusal::Active => ProxyError::JobActive,
        CommandRefusal::NotActive => ProxyError::JobNotActive,
        CommandRefusal::StageOff => ProxyError::StageOff,
        CommandRefusal::NotLogtos => ProxyError::LogtoNotAuthority,
        CommandRefusal::RewardsNotBound => ProxyError::RewardsNotBound,
        CommandRefusal::Database(_) => ProxyError::DatabaseUnavailable,
    }
}

async fn ask<P: Platform>(
    platform: &P,
    store: Store,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, ProxyError> {
    platform
        .batch(store, statements)
        .await
        .map_err(|_| ProxyError::DatabaseUnavailable)
}

async fn newest<P: Platform>(platform: &P, kind: Kind) -> Result<(i64, Row), ProxyError> {
    let results = ask(platform, Store::Proxy, vec![store::newest(kind)]).await?;
    let row = results
        .into_iter()
        .next()
        .and_then(|rows| rows.into_iter().next());
    let row = row.ok_or(ProxyError::NoSuchJob)?;
    let job = integer(&row, "id").ok_or(ProxyError::Defect)?;
    Ok((job, row))
}

async fn view<P: Platform>(platform: &P, kind: Kind, detail: bool) -> Answered {
    let (job, row) = newest(platform, kind).await?;
    let counts = ask(platform, Store::Proxy, view::counts(job, kind, detail)).await?;
    Ok((200, shown(&row, &counts)))
}

async fn users<P: Platform>(platform: &P, kind: Kind, query: &Form) -> Answered {
    let (job, _) = newest(platform, kind).await?;
    let filter = Filter {
        outcome: query.get("outcome").map(str::to_owned),
        reason: query.get("reason").map(str::to_owned),
        note: query.get("note").map(str::to_owned),
        after: query.get("after").unwrap_or_default().to_owned(),
        limit: limit(query)?,
    };
    let results = ask(platform, Store::Proxy, view::users(job, kind, &filter)).await?;
    let rows = results.into_iter().next().unwrap_or_default();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let notes = text(row, "notes").unwrap_or_default();
            json!({
                "id": row.get("id"), "outcome": row.get("outcome"), "reason": row.get("reason"),
                "notes": serde_json::from_str::<Value>(&notes).unwrap_or_default(),
            })
        })
        .collect();
    let next = next(&rows, filter.limit);
    Ok((200, json!({ "users": shown, "next": next })))
}

/// Where to go on; `None` when this was all.
fn next(rows: &[Row], limit: i64) -> Option<String> {
    let is_full = rows.len() as i64 >= limit;
    rows.last()
        .filter(|_| is_full)
        .and_then(|row| text(row, "id"))
}

async fn ready<P: Platform>(platform: &P, query: &Form) -> Answered {
    if is_on(query, "count") {
        let results = ask(platform, Store::Mgpass, readiness::count()).await?;
        let count = readiness::parse_count(&results);
        let ours = ask(platform, Store::Proxy, vec![readiness::not_moved()]).await?;
        let campaign = json!({ "done": count.get("reset"), "to_go": count.get("email_reset") });
        let body = json!({
            "readiness": count,
            "campaign": campaign,
            "not_moved": readiness::parse_not_moved(&ours),
        });
        return Ok((200, body));
    }
    let limit = limit(query)?;
    let after = query.get("after").unwrap_or_default().to_owned();
    let only = query.get("only");
    if only.is_some_and(|only| !readiness::ROADS.contains(&only)) {
        return Err(ProxyError::ParameterMissing);
    }
    let asked = readiness::list(&after, limit, only);
    let results = ask(platform, Store::Mgpass, asked).await?;
    let rows = results.into_iter().next().unwrap_or_default();
    let users: Vec<_> = rows.iter().map(readiness::shown).collect();
    Ok((200, json!({ "users": users, "next": next(&rows, limit) })))
}

async fn differences<P: Platform>(platform: &P, query: &Form) -> Answered {
    let limit = limit(query)?;
    let after = query.get("after").unwrap_or_default().to_owned();
    let results = ask(platform, Store::Proxy, equality::differences(&after, limit)).await?;
    let mut rows = results.into_iter().next().unwrap_or_default();
    let next = next(&rows, limit);
    if let Some(last) = &next {
        // A user's differences are shown together: the last one's come with the next page.
        let is_last = |row: &Row| text(row, "id").as_ref() == Some(last);
        if !rows.iter().all(is_last) {
            rows.retain(|row| !is_last(row));
        }
    }
    let next = next.and_then(|_| rows.last().and_then(|row| text(row, "id")));
    Ok((200, json!({ "differences": rows, "next": next })))
}

async fn report<P: Platform>(platform: &P) -> Answered {
    let (job, row) = newest(platform, Kind::Equality).await?;
    let mut statements = view::counts(job, Kind::Equality, false);
    statements.extend(equality::report(job));
    statements.extend(triggers::overview());
    let results = ask(platform, Store::Proxy, statements).await?;
    let readiness = match platform.batch(Store::Mgpass, readiness::count()).await {
        Ok(results) => readiness::parse_count(&results),
        Err(_) => Value::Null,
    };
    let notes = match newest(platform, Kind::Users).await {
        Ok((import, _)) => {
            let counts = view::counts(import, Kind::Users, true);
            let results = ask(platform, Store::Proxy, counts).await?;
            by_name(
                results.get(1).map(Vec::as_slice).unwrap_or_default(),
                "note",
                "n",
            )
        }
        Err(_) => Value::Null,
    };
    let mut view = shown(&row, results.get(..1).unwrap_or_default());
    let of = |name: &str| {
        let outcome = view.get("outcomes").and_then(|all| all.get(name));
        outcome.and_then(Value::as_i64).unwrap_or(0)
    };
    let n_users = integer(&row, "n_users").unwrap_or(0);
    let rows = results.get(1).map(Vec::as_slice).unwrap_or_default();
    let users = |is: &dyn Fn(&Row) -> bool| -> i64 {
        let of_rows = rows.iter().filter(|row| is(row));
        of_rows.filter_map(|row| integer(row, "users")).sum()
    };
    let unexplained = unexplained(results.first());
    let gone = users(&|row| {
        text(row, "path").as_deref() == Some("user")
            && text(row, "class").as_deref() == Some("extra")
    });
    let drift = results.get(2).and_then(|rows| integer(rows.first()?, "n"));
    let unlike = of("differs") + of("missing") + of("parked");
    let is_done = text(&row, "state").as_deref() == Some("done");
    let report = json!({
        "logto_total": row.get("total_last"),
        "compared": n_users - of("only_at_mgpass"),
        "equal": of("equal"),
        "differing": of("differs"),
        "missing_at_mgpass": of("missing"),
        "gone_at_logto": gone,
        "only_at_mgpass": of("only_at_mgpass"),
        "unreadable": of("parked"),
        "unexplained": unexplained,
        "explained": unlike - unexplained,
        "whole_records_compared": row.get("n_whole"),
        "differences": rows,
        "parked": by_name(results.get(3).map(Vec::as_slice).unwrap_or_default(), "reason", "n"),
        "notes": notes,
        "readiness": readiness,
        "balances": { "compared": row.get("n_added"), "differing": drift },
        "is_equal": is_done && unlike == 0,
        "started_at": row.get("started_at"),
        "finished_at": row.get("finished_at"),
    });
    if let Some(view) = view.as_object_mut() {
        view.insert("report".to_owned(), report);
    }
    Ok((200, view))
}

/// Users who differ without a reason that the mirror knows.
fn unexplained(rows: Option<&Vec<Row>>) -> i64 {
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter(|row| {
            matches!(text(row, "outcome").as_deref(), Some("differs" | "missing"))
                && text(row, "reason").as_deref() == Some("unexplained")
        })
        .filter_map(|row| integer(row, "n"))
        .sum()
}
