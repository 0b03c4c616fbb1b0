//! The two backends, and the facts about each that the flows need.
//!
//! `logto` and `mgpass` speak the wire dialects: same functions, same order.

pub mod logto;
pub mod mgpass;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::inbound::request::Secret;
use crate::runtime::authority::may_ask_logto;
use crate::runtime::context::Context;
use crate::runtime::isolate::OwnClient;
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Backend, Call, CallAnswer, CallFailure, Platform};
use crate::runtime::settings::Client;

/// Of a call behind which no client waits.
const DEADLINE_MS: u32 = 8_000;
/// RFC 3986 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a backend gave the proxy no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendFailure {
    /// Not reached, too slow, or answered 5xx: nothing is known of the subject.
    #[error("{backend} is down: {code}", backend = .0.name(), code = .1)]
    Down(Backend, &'static str),
    /// 429; the seconds it asks to wait.
    #[error("{backend} limits the rate", backend = .0.name())]
    Limited(Backend, u32),
    /// The proxy's own credential was not taken.
    #[error("{backend} refuses the proxy's credential", backend = .0.name())]
    Unauthorized(Backend),
    /// 403: the credential lacks a right, or a gateway keeps the proxy out.
    #[error("{backend} keeps the proxy out", backend = .0.name())]
    Forbidden(Backend),
    /// An answer about one subject that is too large to be held.
    #[error("{backend} answered too much", backend = .0.name())]
    TooLarge(Backend),
    /// An answer that the contract does not know.
    #[error("{backend} answered out of contract", backend = .0.name())]
    OutOfContract(Backend),
}

impl BackendFailure {
    pub fn code(self) -> &'static str {
        match self {
            Self::Down(_, code) => code,
            Self::Limited(..) => "rate_limited",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::TooLarge(_) => "too_large",
            Self::OutOfContract(_) => "out_of_contract",
        }
    }

    /// Down, limited, unauthorized and forbidden say nothing of the subject: they pause
    /// the relay and use up nobody's attempts.
    pub fn blames_backend(self) -> Option<Backend> {
        match self {
            Self::Down(backend, _)
            | Self::Limited(backend, _)
            | Self::Unauthorized(backend)
            | Self::Forbidden(backend) => Some(backend),
            Self::TooLarge(_) | Self::OutOfContract(_) => None,
        }
    }

    /// Of something all subjects need: out of contract, it is the backend's own fault.
    fn of_all_subjects(self) -> Self {
        match self {
            Self::TooLarge(backend) | Self::OutOfContract(backend) => {
                Self::Down(backend, self.code())
            }
            Self::Down(..) | Self::Limited(..) | Self::Unauthorized(_) | Self::Forbidden(_) => self,
        }
    }

    fn of_call(backend: Backend, failure: CallFailure) -> Self {
        match failure {
            CallFailure::TooLarge { .. } => Self::TooLarge(backend),
            CallFailure::Unreachable
            | CallFailure::TimedOut
            | CallFailure::Unreadable
            | CallFailure::Retired
            | CallFailure::Unheard => Self::Down(backend, failure.code()),
        }
    }

    /// The common reading of a status that is not the one hoped for.
    fn of_status(backend: Backend, answer: &CallAnswer) -> Self {
        match answer.status {
            401 => Self::Unauthorized(backend),
            403 => Self::Forbidden(backend),
            429 => Self::Limited(backend, answer.retry_after_s.unwrap_or(60)),
            500..=599 => Self::Down(backend, "server_error"),
            _ => Self::OutOfContract(backend),
        }
    }
}

/// Why a call that changes something gave no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsure {
    /// Nothing was changed.
    #[error("not done: {code}", code = .0.code())]
    NotDone(BackendFailure),
    /// Sent, and nobody knows.
    #[error("unknown whether done: {code}", code = .0.code())]
    Unknown(BackendFailure),
}

impl Unsure {
    pub fn failure(self) -> BackendFailure {
        match self {
            Self::NotDone(failure) | Self::Unknown(failure) => failure,
        }
    }

    /// A status that is not the one hoped for: a 5xx may come after the change.
    fn of_status(backend: Backend, answer: &CallAnswer) -> Self {
        let failure = BackendFailure::of_status(backend, answer);
        match answer.status {
            500..=599 => Self::Unknown(failure),
            _ => Self::NotDone(failure),
        }
    }
}

/// A client's own credential, in the header or in the form, and the form.
pub type ClientForm = (Option<Secret<String>>, Secret<String>);

/// `application/x-www-form-urlencoded`.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    pairs.join("&")
}

/// RFC 6749 2.3.1: id and secret are form-encoded before they are joined.
fn basic(client: &Client) -> Secret<String> {
    let joined = format!("{}:{}", encode(&client.id), encode(&client.secret.0));
    Secret(format!("Basic {}", STANDARD.encode(joined)))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Every call of the proxy's own to a backend. Where Logto is not asked any more, none
/// leaves for it.
async fn send<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    call: Call,
) -> Result<CallAnswer, CallFailure> {
    if call.backend == Backend::Logto {
        may_ask_logto(platform, context).await?;
    }
    platform.call(call).await
}

/// A form to a token endpoint, once.
async fn post_form<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    backend: Backend,
    url: String,
    mut headers: Vec<(&'static str, Secret<String>)>,
    body: Secret<String>,
) -> Result<CallAnswer, BackendFailure> {
    let kind = Secret("application/x-www-form-urlencoded".to_owned());
    headers.push(("content-type", kind));
    let call = Call {
        backend,
        method: "POST",
        url,
        headers,
        body: Some(body),
        deadline_ms: DEADLINE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    };
    let answer = send(platform, context, call)
        .await
        .map_err(|failure| BackendFailure::of_call(backend, failure))?;
    match answer.status {
        200 | 400 | 401 => Ok(answer),
        _ => Err(BackendFailure::of_status(backend, &answer)),
    }
}

/// Client credentials; the token is kept in the isolate, never a refresh token.
async fn fetch_own_token<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    client: OwnClient,
    call: Call,
) -> Result<Secret<String>, BackendFailure> {
    #[derive(Deserialize)]
    struct Wire {
        access_token: String,
        expires_in: i64,
    }
    let backend = call.backend;
    let answer = send(platform, context, call)
        .await
        .map_err(|failure| BackendFailure::of_call(backend, failure).of_all_subjects())?;
    if !answer.is_success() {
        // 400 `invalid_client` and `invalid_grant` are the operator's to mend, too.
        return Err(match answer.status {
            400 => BackendFailure::Unauthorized(backend),
            _ => BackendFailure::of_status(backend, &answer).of_all_subjects(),
        });
    }
    let wire: Wire = serde_json::from_str(&answer.body)
        .map_err(|_| BackendFailure::OutOfContract(backend).of_all_subjects())?;
    let token = Secret(wire.access_token);
    context
        .isolate
        .set_own_token(client, token.clone(), wire.expires_in, platform.now_ms());
    Ok(token)
}
