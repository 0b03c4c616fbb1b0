//! A probe account that signs in at mgPass's hosted page as a person does: page, form,
//! redirect, code, token. Nothing less shows that people get in.
//!
//! For a plain HTML form (contract 21 of what is not documented: there is no other way).
//! The password goes to the origin that mgPass's discovery names, and to no other; what a
//! page says is never repeated. Each run is one sign-in more at mgPass; its session ends
//! by itself.

mod browser;
mod form;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::browser::{Cookies, origin, resolve};
use self::form::{Form, forms};
use crate::auth::authenticate::{Unauthenticated, authenticate, policy};
use crate::inbound::form::first_of;
use crate::inbound::request::Secret;
use crate::policy::token::{Issuer, parse};
use crate::runtime::backend::{self, BackendFailure, mgpass};
use crate::runtime::context::Context;
use crate::runtime::ports::{Backend, Call, Platform, Visited};
use crate::runtime::settings::{Probe, ProbeSettings};

const DEADLINE_MS: u32 = 8_000;
const MAX_PAGE_BYTES: usize = 512 * 1024;
/// Pages and redirects of one sign-in.
const MAX_STEPS: usize = 8;

/// What became of the probe account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    #[default]
    Absent,
    /// This setting of its is missing.
    Lacks(String),
    SignedIn,
    /// By which code it was kept out.
    KeptOut(String),
}

pub async fn sign_in<P: Platform>(platform: &P, context: &Context<'_>) -> Probed {
    match &context.settings.checks.probe {
        ProbeSettings::Absent => Probed::Absent,
        ProbeSettings::Lacks(name) => Probed::Lacks((*name).to_owned()),
        ProbeSettings::There(probe) => match enter(platform, context, probe).await {
            Ok(_) => Probed::SignedIn,
            Err(code) => Probed::KeptOut(code.to_owned()),
        },
    }
}

/// A browser that has signed in.
pub struct Session(Cookies);

/// With the probe account's password.
///
/// # Errors
/// A code, when it does not get in.
pub async fn enter<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    probe: &Probe,
) -> Result<Session, &'static str> {
    let fresh = Session(Cookies::default());
    come(platform, context, probe, fresh, Progress::default()).await
}

/// By the session alone: a page that asks for a password ends it.
///
/// # Errors
/// A code, when it does not get in.
pub async fn come_back<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    probe: &Probe,
    session: Session,
) -> Result<Session, &'static str> {
    let progress = Progress {
        has_sent_password: true,
    };
    come(platform, context, probe, session, progress).await
}

async fn come<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    probe: &Probe,
    mut session: Session,
    progress: Progress,
) -> Result<Session, &'static str> {
    let endpoint = mgpass::authorization_endpoint(platform, context).await;
    let endpoint = endpoint.map_err(BackendFailure::code)?;
    let endpoint = endpoint.ok_or("no_authorization_endpoint")?;
    let (state, verifier) = (secret(platform), secret(platform));
    let url = authorization(&endpoint, probe, &state, &verifier);
    let code = browse(platform, probe, url, &state, &mut session.0, progress).await?;
    let token = mgpass::exchange_code(platform, context, probe, &code, &verifier).await;
    let token = token.map_err(|failure| match failure {
        BackendFailure::Unauthorized(_) => "code_refused",
        failure => failure.code(),
    })?;
    let audiences = [probe.client_id.clone()];
    let attributed = parse(&token.0).and_then(|token| token.partition(context.issuers));
    let attributed = attributed.map_err(|refusal| refusal.code())?;
    let policy = policy(context, Issuer::Mgpass, &audiences);
    let principal = authenticate(platform, context, &attributed, &policy).await;
    let principal = principal.map_err(Unauthenticated::code)?;
    match principal.issuer == Issuer::Mgpass && principal.subject.as_str() == probe.user.as_str() {
        true => Ok(session),
        false => Err("other_user"),
    }
}

/// 256 bits that nobody guesses.
fn secret<P: Platform>(platform: &P) -> String {
    let draws: Vec<u8> = (0..4)
        .flat_map(|_| platform.random_u64().to_be_bytes())
        .collect();
    URL_SAFE_NO_PAD.encode(draws)
}

fn authorization(endpoint: &str, probe: &Probe, state: &str, verifier: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let query = backend::form(&[
        ("response_type", "code"),
        ("client_id", &probe.client_id),
        ("redirect_uri", &probe.redirect_uri),
        ("scope", "openid"),
        ("state", state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{joint}{query}")
}

/// What to ask for next.
struct Step {
    url: String,
    form: Option<Secret<String>>,
}

/// How far the browser has come.
#[derive(Debug, Default)]
struct Progress {
    has_sent_password: bool,
}

async fn browse<P: Platform>(
    platform: &P,
    probe: &Probe,
    url: String,
    state: &str,
    cookies: &mut Cookies,
    mut progress: Progress,
) -> Result<String, &'static str> {
    let home = origin(&url).ok_or("no_authorization_endpoint")?.to_owned();
    let mut step = Step { url, form: None };
    for _ in 0..MAX_STEPS {
        if origin(&step.url) != Some(home.as_str()) {
            return Err("other_origin");
        }
        let visited = visit(platform, &step, cookies).await?;
        for line in &visited.cookies {
            cookies.take(line);
        }
        step = match next(&step.url, &visited, probe, state, &mut progress)? {
            Next::Code(code) => return Ok(code),
            Next::Step(step) => step,
        };
    }
    Err("too_many_pages")
}

enum Next {
    Code(String),
    Step(Step),
}

fn next(
    url: &str,
    visited: &Visited,
    probe: &Probe,
    state: &str,
    progress: &mut Progress,
) -> Result<Next, &'static str> {
    if (300..400).contains(&visited.status) {
        let location = visited.location.as_deref().ok_or("redirect_to_nowhere")?;
        let url = resolve(url, location).ok_or("redirect_to_nowhere")?;
        return match is_redirect_uri(&url, &probe.redirect_uri) {
            true => code(&url, state).map(Next::Code),
            false => Ok(Next::Step(Step { url, form: None })),
        };
    }
    if visited.status >= 500 {
        return Err("server_error");
    }
    let all = forms(&visited.body);
    let with_password = all.iter().find(|form| form.password.is_some());
    if progress.has_sent_password && with_password.is_some() {
        return Err("refused");
    }
    let form = with_password
        .or_else(|| all.iter().find(|form| form.identifier.is_some()))
        .or_else(|| all.iter().find(|form| form.has_button))
        .ok_or(match visited.status {
            200..=299 => "no_form",
            _ => "refused",
        })?;
    progress.has_sent_password |= form.password.is_some();
    let action = resolve(url, &form.action).ok_or("no_form")?;
    let body = filled(form, probe);
    Ok(Next::Step(match form.is_post {
        true => Step {
            url: action,
            form: Some(Secret(body)),
        },
        // A password belongs into no address.
        false if form.password.is_some() => return Err("form_by_get"),
        false => Step {
            url: format!("{}?{body}", action.split('?').next().unwrap_or_default()),
            form: None,
        },
    }))
}

fn filled(form: &Form, probe: &Probe) -> String {
    let mut pairs: Vec<(&str, &str)> = form
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if let Some(name) = &form.identifier {
        pairs.push((name, &probe.email.0));
    }
    if let Some(name) = &form.password {
        pairs.push((name, &probe.password.0));
    }
    if let Some((name, value)) = &form.button {
        pairs.push((name, value));
    }
    backend::form(&pairs)
}

fn is_redirect_uri(url: &str, redirect_uri: &str) -> bool {
    let rest = url.strip_prefix(redirect_uri);
    rest.is_some_and(|rest| rest.starts_with(['?', '&']))
}

fn code(url: &str, state: &str) -> Result<String, &'static str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let of = |name: &str| first_of(query, name);
    if of("state").as_deref() != Some(state) {
        return Err("other_state");
    }
    match (of("code"), of("error").as_deref()) {
        (Some(code), None) => Ok(code),
        (_, Some("access_denied")) => Err("access_denied"),
        _ => Err("no_code"),
    }
}

async fn visit<P: Platform>(
    platform: &P,
    step: &Step,
    cookies: &Cookies,
) -> Result<Visited, &'static str> {
    let mut headers = vec![("accept", Secret("text/html".to_owned()))];
    headers.extend(cookies.header().map(|cookies| ("cookie", cookies)));
    if step.form.is_some() {
        let kind = Secret("application/x-www-form-urlencoded".to_owned());
        headers.push(("content-type", kind));
        if let Some(origin) = origin(&step.url) {
            headers.push(("origin", Secret(origin.to_owned())));
        }
    }
    let call = Call {
        backend: Backend::Mgpass,
        method: if step.form.is_some() { "POST" } else { "GET" },
        url: step.url.clone(),
        headers,
        body: step.form.clone(),
        deadline_ms: DEADLINE_MS,
        max_bytes: MAX_PAGE_BYTES,
    };
    platform.visit(call).await.map_err(|failure| failure.code())
}

#[cfg(test)]
mod tests;
