//! The routes of carried passwords: what holds, a person's decision, and the check.

use serde_json::{Value, json};

use super::reply::{Answered, acted, ask, refused};
use crate::inbound::form::Form;
use crate::inbound::request::Method;
use crate::mirror::passwords::decision;
use crate::operate::carry_check;
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::Platform;

/// A name, or a reason, that is kept.
const MAX_CHARS: usize = 200;

/// `None`: not one of these routes.
pub(super) async fn route<P: Platform>(
    platform: &P,
    context: Option<&Context<'_>>,
    method: Method,
    path: &str,
    query: &Form,
) -> Option<Answered> {
    Some(match (method, path) {
        (Method::Get, "carry") => view(platform, context).await,
        (Method::Post, "carry/allow") => allow(platform, query).await,
        (Method::Post, "carry/forbid") => forbid(platform).await,
        (Method::Post, "carry/check") => check(platform, context).await,
        (Method::Post, "carry/confirm") => confirm(platform, query).await,
        _ => return None,
    })
}

fn said<'a>(query: &'a Form, name: &str) -> Result<&'a str, ProxyError> {
    let text = query.get(name).map(str::trim).unwrap_or_default();
    match text.is_empty() || text.chars().count() > MAX_CHARS {
        true => Err(ProxyError::ParameterMissing),
        false => Ok(text),
    }
}

async fn view<P: Platform>(platform: &P, context: Option<&Context<'_>>) -> Answered {
    let results = ask(platform, decision::read()).await?;
    let mut shown = decision::shown(&results).ok_or(ProxyError::DatabaseUnavailable)?;
    let setting = match context {
        None => "faulty",
        Some(context) if !context.settings.passwords.is_carrying => "off",
        Some(context) if context.subject_key.is_none() => "no_subject_key",
        Some(_) => "on",
    };
    if let Some(members) = shown.as_object_mut() {
        let is_on = setting == "on" && members.get("may_carry") == Some(&Value::Bool(true));
        members.insert("setting".to_owned(), json!(setting));
        members.insert("is_carrying".to_owned(), json!(is_on));
    }
    Ok((200, shown))
}

async fn allow<P: Platform>(platform: &P, query: &Form) -> Answered {
    let (by, reason) = (said(query, "by")?, said(query, "reason")?);
    ask(platform, vec![decision::decide(by, reason)]).await?;
    acted(platform, "carry.allow", 0);
    view_of(platform).await
}

async fn forbid<P: Platform>(platform: &P) -> Answered {
    ask(platform, vec![decision::withdraw()]).await?;
    acted(platform, "carry.forbid", 0);
    view_of(platform).await
}

async fn view_of<P: Platform>(platform: &P) -> Answered {
    let results = ask(platform, decision::read()).await?;
    let shown = decision::shown(&results).ok_or(ProxyError::DatabaseUnavailable)?;
    Ok((200, shown))
}

async fn check<P: Platform>(platform: &P, context: Option<&Context<'_>>) -> Answered {
    let Some(context) = context else {
        return Err(ProxyError::Misconfigured);
    };
    let found = carry_check::run(platform, context).await;
    match found.map_err(|_| ProxyError::DatabaseUnavailable)? {
        Some(facts) => Ok((
            200,
            json!({ "facts": facts.shown(), "is_good": facts.is_good() }),
        )),
        None => refused(
            409,
            "no_probe",
            "there is no probe account: set PROBE_USER, PROBE_EMAIL, PROBE_PASSWORD, PROBE_CLIENT_ID and PROBE_REDIRECT_URI",
        ),
    }
}

async fn confirm<P: Platform>(platform: &P, query: &Form) -> Answered {
    let by = said(query, "by")?;
    let confirmed = ask(platform, vec![decision::confirm(by)]).await?;
    if confirmed.iter().flatten().next().is_none() {
        return refused(
            409,
            "no_good_check",
            "the newest check is not good, or older than an hour: run `dwp carry check` first",
        );
    }
    acted(platform, "carry.confirm", 0);
    view_of(platform).await
}
