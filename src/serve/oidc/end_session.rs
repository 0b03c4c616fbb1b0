//! Signing out at both sides, as one chain of redirects in the browser: mgPass's end of
//! session first, back to `/_proxy/signed-out`, then Logto's own, which checks the
//! application's address and returns its `state`.
//!
//! The decision is [`decide`]'s. While mgPass does not answer the chain goes on at Logto,
//! and what mgPass was not told is owed to it, for a user whom mgPass's own signature
//! names.
//!
//! OIDC RP-Initiated Logout 1.0.

use super::{Served, hold, to_logto_as};
use crate::auth::authenticate::vouched_subject;
use crate::auth::pin::{self, SignOut};
use crate::inbound::form::Form;
use crate::inbound::request::{Method, UserId};
use crate::mirror::owed;
use crate::policy::applications::{Application, Applications, Part, Side};
use crate::policy::flags::{Flags, Stage};
use crate::policy::token::{self, Issuer};
use crate::runtime::answer::Answer;
use crate::runtime::backend::{form, mgpass};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Exchange, Platform};
use crate::serve::execute::to_logto;
use crate::serve::sign_in::{SECOND_STEP, second_step, see_other, signed_out_for_good, way_back};

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// Logto's alone, as it came.
    Logto,
    /// mgPass's alone: its client is listed nowhere, or cannot come back.
    Mgpass,
    /// First mgPass's, then Logto's.
    Both(&'a Application, Side),
}

/// `client`: as the request names it, and whether by a client id or by a hint of that
/// side is all the same.
fn decide<'a>(
    flags: &Flags,
    applications: &'a Applications,
    client_id: Option<&str>,
    has_secret: bool,
) -> Step<'a> {
    let Some(client_id) = client_id else {
        return Step::Logto;
    };
    let (application, side) = match applications.of_client(client_id) {
        Some(found) => found,
        None if applications.owner(client_id) == Side::Mgpass => return Step::Mgpass,
        None => return Step::Logto,
    };
    let is_complete = application.is_ready(Part::SignOut) && has_secret;
    match side {
        Side::Mgpass if is_complete => Step::Both(application, side),
        Side::Mgpass => Step::Mgpass,
        // Who signed in at Logto may have a session at mgPass beside it.
        Side::Logto if is_complete && flags.stage >= Stage::DualWrite && !flags.kill_switch => {
            Step::Both(application, side)
        }
        Side::Logto => Step::Logto,
    }
}

pub(super) async fn serve<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Served<E::Copy> {
    if let Some(query) = request.inbound.query().and_then(without_step) {
        let mut forward = to_logto(request.settings, request.inbound);
        let (path, origin) = (request.inbound.path(), &request.settings.logto_origin);
        forward.url = match query {
            "" => format!("{origin}{path}"),
            query => format!("{origin}{path}?{query}"),
        };
        return Ok(to_logto_as(request, exchange, forward).await);
    }
    let text = match request.inbound.method {
        Method::Post => {
            hold(exchange).await?;
            exchange.held_text().unwrap_or_default()
        }
        _ => request.inbound.query().unwrap_or_default().to_owned(),
    };
    let parameters = Form::parse(&text);
    let hint = parameters
        .as_ref()
        .and_then(|form| Some(form.get("id_token_hint")?.to_owned()));
    let attributed = hint.as_deref().zip(request.context.as_ref());
    let attributed = attributed
        .and_then(|(hint, context)| token::parse(hint).ok()?.partition(context.issuers).ok());
    let given = parameters.as_ref().and_then(|form| form.get("client_id"));
    let of_hint = attributed
        .as_ref()
        .and_then(|hint| hint.audience().first().map(String::as_str));
    let applications = &request.flags.applications;
    let secret = request.settings.pin_secret.as_ref();
    let step = decide(
        &request.flags,
        applications,
        given.or(of_hint),
        secret.is_some(),
    );
    let is_mgpasss = attributed
        .as_ref()
        .is_some_and(|hint| hint.issuer() == Issuer::Mgpass);
    if let (Step::Logto, Some(parameters), true) = (&step, &parameters, is_mgpasss) {
        // mgPass's token is not for Logto's eyes; the client says as much.
        let mut kept = pairs(parameters);
        kept.retain(|(name, _)| *name != "id_token_hint");
        let location = format!("{}?{}&{SECOND_STEP}", request.inbound.path(), form(&kept));
        return Ok(request.answered(see_other(&location, vec![]).into()));
    }
    let (Step::Both(..) | Step::Mgpass, Some(parameters)) = (&step, &parameters) else {
        let forward = to_logto(request.settings, request.inbound);
        return Ok(to_logto_as(request, exchange, forward).await);
    };
    let context = request.context.as_ref().ok_or(ProxyError::NothingSent)?;
    let answers = mgpass::answers(platform, context).await;
    let endpoint = match answers {
        true => mgpass::endpoints(platform, context).await.ok(),
        false => None,
    };
    let endpoint = endpoint.map(|endpoints| endpoints.end_session.clone());
    let (application, secret) = match (&step, secret) {
        (Step::Both(application, _), Some(secret)) => (application, secret),
        _ => {
            let endpoint = endpoint.ok_or(ProxyError::NothingSent)?;
            let location = format!("{endpoint}?{}", form(&pairs(parameters)));
            return Ok(request.answered(see_other(&location, vec![]).into()));
        }
    };
    let kept = SignOut {
        application: application.name.clone(),
        return_to: parameters
            .get("post_logout_redirect_uri")
            .map(str::to_owned),
        state: parameters.get("state").map(str::to_owned),
    };
    let answer = match endpoint {
        Some(endpoint) => {
            let hint = hint.as_deref().filter(|_| is_mgpasss);
            let now_s = platform.now_ms().div_euclid(1_000);
            let cookie = pin::sign_out_cookie(secret, &kept, now_s);
            let cookie = cookie.ok_or(ProxyError::ParameterMissing)?;
            told(platform, application, "both");
            see_other(
                &first_step(request, &endpoint, application, hint),
                vec![cookie],
            )
        }
        None => {
            let subject = match attributed.filter(|_| is_mgpasss) {
                Some(hint) => vouched_subject(platform, context, &hint).await,
                None => None,
            };
            let user = subject.and_then(|subject| UserId::parse(subject.as_str()));
            owe(platform, context, application, user).await;
            match request.isolate.authority.get().is_alone() {
                false => see_other(&second_step(application, &kept), vec![]),
                true => match way_back(request, &kept) {
                    Some(location) => see_other(&location, vec![]),
                    None => signed_out_for_good(),
                },
            }
        }
    };
    Ok(request.answered(Answer::into(answer)))
}

/// What is left of the query once the mark is taken off; `None`: it has none.
fn without_step(query: &str) -> Option<&str> {
    let rest = query.strip_suffix(SECOND_STEP)?;
    match rest {
        "" => Some(""),
        rest => rest.strip_suffix('&'),
    }
}

fn pairs(form: &Form) -> Vec<(&str, &str)> {
    let pairs = form.0.iter();
    pairs.map(|(name, value)| (&**name, &**value)).collect()
}

/// The address to come back to is the proxy's own, registered at mgPass.
fn first_step(
    request: &Request<'_>,
    endpoint: &str,
    application: &Application,
    hint: Option<&str>,
) -> String {
    let (scheme, host) = (request.inbound.scheme(), request.inbound.host());
    let back = format!("{scheme}://{host}/_proxy/signed-out");
    let mut pairs = vec![
        ("client_id", application.mgpass.client_id.as_str()),
        ("post_logout_redirect_uri", back.as_str()),
    ];
    pairs.extend(hint.map(|hint| ("id_token_hint", hint)));
    format!("{endpoint}?{}", form(&pairs))
}

/// mgPass is down. Without a user whom it vouches for nothing can be owed.
async fn owe<P: Platform>(
    platform: &P,
    _: &Context<'_>,
    application: &Application,
    user: Option<UserId>,
) {
    let outcome = match user {
        None => "not_owed",
        Some(user) => match owed::owe(platform, &user).await {
            Ok(true) => "owed",
            Ok(false) => "not_owed",
            Err(_) => "not_recorded",
        },
    };
    told(platform, application, outcome);
}

fn told<P: Platform>(platform: &P, application: &Application, outcome: &'static str) {
    platform.emit(&Event::SignOutBegun {
        application: &application.name,
        outcome,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::flags::parse;

    fn flags(changes: &[(&str, &str)], ready: &str) -> Flags {
        let list = format!(
            r#"[{{"name":"news","group":"main","owner":"web","ready":[{ready}],
            "logto":{{"client_id":"news00000000","start":"https://news.example/login"}},
            "mgpass":{{"client_id":"app_news","start":"https://news.example/login/mgpass"}}}}]"#
        );
        let set = [("stage", "dual_write"), ("applications", list.as_str())];
        let raw: Vec<_> = set
            .iter()
            .chain(changes)
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
            .collect();
        parse(&Flags::default(), &raw)
    }

    fn decided(flags: &Flags, client_id: Option<&str>, has_secret: bool) -> &'static str {
        match decide(flags, &flags.applications, client_id, has_secret) {
            Step::Logto => "logto",
            Step::Mgpass => "mgpass",
            Step::Both(_, Side::Logto) => "both for logto",
            Step::Both(_, Side::Mgpass) => "both for mgpass",
        }
    }

    #[test]
    fn both_sides_are_signed_out_where_the_browser_can_come_back() {
        let ready = flags(&[], r#""sign_out""#);
        for (client_id, has_secret, expected) in [
            (Some("app_news"), true, "both for mgpass"),
            (Some("news00000000"), true, "both for logto"),
            (Some("app_news"), false, "mgpass"),
            (Some("news00000000"), false, "logto"),
            (Some("app_of_nobody"), true, "mgpass"),
            (Some("somebodys"), true, "logto"),
            (None, true, "logto"),
        ] {
            let found = decided(&ready, client_id, has_secret);
            assert_eq!(found, expected, "{client_id:?} {has_secret}");
        }
        let unready = flags(&[], r#""sign_in""#);
        assert_eq!(decided(&unready, Some("app_news"), true), "mgpass");
        assert_eq!(decided(&unready, Some("news00000000"), true), "logto");
    }

    #[test]
    fn logtos_clients_stay_with_logto_while_nothing_moves() {
        for change in [("stage", "off"), ("stage", "shadow"), ("kill_switch", "on")] {
            let flags = flags(&[change], r#""sign_out""#);
            assert_eq!(decided(&flags, Some("news00000000"), true), "logto");
            // Its own client's session is mgPass's at any stage.
            assert_eq!(decided(&flags, Some("app_news"), true), "both for mgpass");
        }
    }

    #[test]
    fn the_mark_of_the_second_step_is_taken_off() {
        for (query, rest) in [
            ("client_id=a&proxy_step=2", Some("client_id=a")),
            ("proxy_step=2", Some("")),
            ("xproxy_step=2", None),
            ("proxy_step=2&client_id=a", None),
            ("client_id=a", None),
        ] {
            assert_eq!(without_step(query), rest, "{query}");
        }
    }
}
