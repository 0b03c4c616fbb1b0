//! Where a sign-in begins and where a sign-out comes by: the proxy's own routes for
//! browsers. Both answer with a redirect, to addresses that the operator listed or to the
//! proxy itself; nothing of the request is ever an address.
//!
//! An application's login link is `GET /_proxy/sign-in/<application>`. The application
//! makes state, nonce and PKCE at its own start URL, for the side that was drawn; the
//! proxy takes no part in what follows.

use crate::auth::pin::{self, Kind};
use crate::handover::proof;
use crate::inbound::classify::Operation;
use crate::inbound::request::Method;
use crate::policy::applications::{Application, Side};
use crate::policy::sign_in::{Browser, Circumstances, Why, draw, kept_by_flags};
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::backend::{form, mgpass};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Exchange, Platform};

/// Of a sign-out that mgPass has had: it goes on at Logto. Taken off before Logto sees it.
pub const SECOND_STEP: &str = "proxy_step=2";
const END_SESSION: &str = "/oidc/session/end";
/// Logto's, on the same host.
const LOGTO_SESSION: &str = "_session";

pub async fn answer<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &E,
) -> OwnAnswer {
    let answer = match (request.inbound.method, request.inbound.operation) {
        (Method::Get, Operation::ProxySignedOut) => Ok(signed_out(platform, request, exchange)),
        (Method::Get, _) => start(platform, request, exchange).await,
        _ => Err(ProxyError::NoSuchRoute),
    };
    match answer {
        Ok(answer) => answer.into(),
        Err(error) => request.refuse(error),
    }
}

async fn start<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &E,
) -> Result<Answer, ProxyError> {
    let flags = &request.flags;
    let name = request.inbound.own_route().strip_prefix("sign-in/");
    let name = name.ok_or(ProxyError::NoSuchRoute)?;
    let application = match flags.applications.named(name) {
        Some(application) => application,
        None if flags.is_stage_known => return Err(ProxyError::NoSuchApplication),
        None => return Err(ProxyError::ApplicationsUnknown),
    };
    let now_s = platform.now_ms().div_euclid(1_000);
    let cookies = exchange.header("cookie").unwrap_or_default();
    let secret = request.settings.pin_secret.as_ref();
    let is_top_level = exchange.header("sec-fetch-dest").as_deref() == Some("document");
    let held = secret.and_then(|secret| pin::bucket(secret, &cookies, now_s));
    let mut answer = Vec::new();
    let bucket = match (held, secret) {
        (None, Some(secret)) if is_top_level => {
            let bucket = (platform.random_u64() % 10_000) as u16;
            answer.push(pin::bucket_cookie(secret, bucket, now_s));
            Some(bucket)
        }
        (held, _) => held,
    };
    let browser = Browser {
        is_top_level,
        bucket,
        is_ready: secret.is_some_and(|secret| pin::is_ready(secret, &cookies, now_s)),
        stays: secret.is_some_and(|secret| pin::stays(secret, &cookies, now_s)),
        has_logto_session: pin::cookies_named(&cookies, LOGTO_SESSION)
            .any(|value| !value.is_empty()),
    };
    let is_alone = request.isolate.authority.get().is_alone();
    let why = match (kept_by_flags(flags, application), &request.context) {
        _ if is_alone => Why::LogtoRetired,
        (Some(why), _) => why,
        // Settings with faults leave a pipe.
        (None, None) => Why::Stage,
        (None, Some(context)) => judge(platform, context, request, application, browser).await,
    };
    platform.emit(&Event::SignInDrawn {
        application: &application.name,
        side: why.side().name(),
        reason: why.code(),
    });
    Ok(see_other(&application.at(why.side()).start, answer))
}

/// What costs a call is asked only where it matters.
async fn judge<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    request: &Request<'_>,
    application: &Application,
    browser: Browser,
) -> Why {
    let view = proof::prove(platform, context.isolate, &context.settings.handover).await;
    let mut circumstances = Circumstances {
        holder: view.map(|view| view.holder),
        mgpass_is_up: context.isolate.breaker.get().is_closed(platform.now_ms()),
    };
    let why = draw(&request.flags, application, browser, circumstances);
    if why.side() == Side::Logto || mgpass::answers(platform, context).await {
        return why;
    }
    circumstances.mgpass_is_up = false;
    draw(&request.flags, application, browser, circumstances)
}

/// mgPass has ended its session: on to Logto's, with what the application asked for.
/// Without the cookie (too late, or nobody's request) Logto's own page asks the browser.
fn signed_out<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &E,
) -> Answer {
    let now_s = platform.now_ms().div_euclid(1_000);
    let cookies = exchange.header("cookie").unwrap_or_default();
    let kept = request.settings.pin_secret.as_ref();
    let kept = kept.and_then(|secret| pin::sign_out(secret, &cookies, now_s));
    let application = kept
        .as_ref()
        .and_then(|kept| request.flags.applications.named(&kept.application));
    if request.isolate.authority.get().is_alone() {
        let location = kept
            .as_ref()
            .zip(application)
            .and_then(|(kept, _)| way_back(request, kept));
        return match location {
            Some(location) => see_other(&location, vec![pin::no_cookie(Kind::SignOut)]),
            None => signed_out_for_good(),
        };
    }
    let location = match (application, &kept) {
        (Some(application), Some(kept)) => second_step(application, kept),
        _ => format!("{END_SESSION}?{SECOND_STEP}"),
    };
    see_other(&location, vec![pin::no_cookie(Kind::SignOut)])
}

/// Logto knows its own client, checks the address, and returns `state`. A hint, whoever's,
/// is replaced by the client.
pub fn second_step(application: &Application, kept: &pin::SignOut) -> String {
    let mut pairs = vec![("client_id", application.logto.client_id.as_str())];
    if let Some(return_to) = &kept.return_to {
        pairs.push(("post_logout_redirect_uri", return_to));
    }
    if let Some(state) = &kept.state {
        pairs.push(("state", state));
    }
    format!("{END_SESSION}?{}&{SECOND_STEP}", form(&pairs))
}

/// Logto, which would check the address, is not asked any more: it counts only where its
/// origin is that of a listed application.
pub fn way_back(request: &Request<'_>, kept: &pin::SignOut) -> Option<String> {
    let to = kept.return_to.as_deref()?;
    let rest = to.strip_prefix("https://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let origin = format!("https://{host}");
    let is_listed = !host.contains('@') && request.flags.applications.has_origin(&origin);
    let separator = match to.contains('?') {
        true => '&',
        false => '?',
    };
    is_listed.then(|| match &kept.state {
        Some(state) => format!("{to}{separator}{}", form(&[("state", state)])),
        None => to.to_owned(),
    })
}

pub fn signed_out_for_good() -> Answer {
    Answer {
        status: 200,
        headers: vec![
            ("content-type", "text/plain; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("set-cookie", pin::no_cookie(Kind::SignOut)),
        ],
        body: "You are signed out.\n".to_owned(),
    }
}

pub fn see_other(location: &str, cookies: Vec<String>) -> Answer {
    let mut headers = vec![
        ("location", location.to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
    ];
    headers.extend(cookies.into_iter().map(|line| ("set-cookie", line)));
    Answer {
        status: 303,
        headers,
        body: String::new(),
    }
}
