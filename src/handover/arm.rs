//! Arming: from now on only this version of the proxy reaches Logto's origin.
//!
//! The origin is given a secret that no earlier version sends, and refuses the old one;
//! so an isolate of an earlier version, which knows nothing of leases, can forward
//! nothing any more. Whether that is so is asked of the origin itself, by three requests
//! that change nobody.

use serde::Serialize;

use crate::inbound::request::Secret;
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Backend, Call, Platform, Statement};
use crate::runtime::settings::HandoverSettings;
use crate::runtime::sql::now;

const ARM: &str = concat!(
    "UPDATE authority SET armed_at = ",
    now!(),
    ", armed_until = ",
    now!(),
    " + ?1 WHERE holder = 'logto' RETURNING armed_until"
);
const DISARM: &str = "UPDATE authority SET armed_at = NULL, armed_until = NULL WHERE holder = 'logto' RETURNING generation";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[ARM, DISARM];

/// Logto's health check: 204, without a credential (contract 1).
const PROBED: &str = "/api/status";
const PROBE_MS: u32 = 5_000;

/// What the origin said to one of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Logto answered.
    Let,
    /// Something before it did.
    Refused,
    /// Nobody did, so nothing is known.
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Probes {
    pub without: Probe,
    /// `None`: there was no secret before.
    pub with_old: Option<Probe>,
    pub with_new: Probe,
}

/// Why a hand-over is not armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmRefusal {
    /// This version has no `HANDOVER_SECRET`.
    NoSecret,
    Unanswered,
    NewRefused,
    OldLet,
    NoneLet,
}

impl ArmRefusal {
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSecret => "no_handover_secret",
            Self::Unanswered => "origin_unanswered",
            Self::NewRefused => "new_secret_refused",
            Self::OldLet => "old_secret_taken",
            Self::NoneLet => "no_secret_taken",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::NoSecret => "This version has no HANDOVER_SECRET: put the secret and deploy.",
            Self::Unanswered => "The origin did not answer each of three requests.",
            Self::NewRefused => {
                "The origin does not let HANDOVER_SECRET pass: teach it the new secret."
            }
            Self::OldLet => {
                "The origin still lets ORIGIN_SECRET pass: take the old secret from it."
            }
            Self::NoneLet => {
                "The origin answers whoever sends no secret: close it to everybody else."
            }
        }
    }
}

impl Probes {
    pub fn refusal(&self) -> Option<ArmRefusal> {
        let all = [Some(self.without), self.with_old, Some(self.with_new)];
        if all.contains(&Some(Probe::Unanswered)) {
            return Some(ArmRefusal::Unanswered);
        }
        match self {
            Self {
                with_new: Probe::Refused,
                ..
            } => Some(ArmRefusal::NewRefused),
            Self {
                without: Probe::Let,
                ..
            } => Some(ArmRefusal::NoneLet),
            Self {
                with_old: Some(Probe::Let),
                ..
            } => Some(ArmRefusal::OldLet),
            Self { .. } => None,
        }
    }
}

/// Asks the origin. `None`: this version has no secret of its own.
pub async fn probe<P: Platform>(
    platform: &P,
    origin: &str,
    settings: &HandoverSettings,
) -> Option<Probes> {
    let new = settings.secret.as_ref()?;
    let with_old = match &settings.former_secret {
        None => None,
        Some(old) => Some(ask(platform, origin, Some(old)).await),
    };
    Some(Probes {
        without: ask(platform, origin, None).await,
        with_old,
        with_new: ask(platform, origin, Some(new)).await,
    })
}

async fn ask<P: Platform>(platform: &P, origin: &str, secret: Option<&Secret<String>>) -> Probe {
    let headers = secret.map(|secret| ("x-proxy-secret", secret.clone()));
    let call = Call {
        backend: Backend::Logto,
        method: "GET",
        url: format!("{origin}{PROBED}"),
        headers: headers.into_iter().collect(),
        body: None,
        deadline_ms: PROBE_MS,
        max_bytes: MAX_ANSWER_BYTES,
    };
    match platform.call(call).await {
        Ok(answer) if answer.is_success() => Probe::Let,
        Ok(_) => Probe::Refused,
        Err(_) => Probe::Unanswered,
    }
}

/// Answers nothing unless Logto is the authority.
pub fn arm(duration_ms: i64) -> Vec<Statement> {
    vec![Statement::new(ARM, vec![duration_ms.into()])]
}

/// Answers nothing unless Logto is the authority. An announcement ends by it.
pub fn disarm() -> Vec<Statement> {
    vec![Statement::new(DISARM, vec![])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_closed_only_if_the_new_secret_alone_opens_it() {
        use Probe::{Let, Refused, Unanswered};
        let check = |without, with_old, with_new, expected| {
            let probes = Probes {
                without,
                with_old,
                with_new,
            };
            assert_eq!(probes.refusal(), expected, "{probes:?}");
        };
        check(Refused, Some(Refused), Let, None);
        check(Refused, None, Let, None);
        check(Let, Some(Refused), Let, Some(ArmRefusal::NoneLet));
        check(Refused, Some(Let), Let, Some(ArmRefusal::OldLet));
        let unanswered = Some(ArmRefusal::Unanswered);
        check(Unanswered, Some(Refused), Let, unanswered);
        check(Refused, Some(Unanswered), Let, unanswered);
        check(Refused, None, Unanswered, unanswered);
        for (without, with_old) in [(Let, Let), (Refused, Refused)] {
            let expected = Some(ArmRefusal::NewRefused);
            check(without, Some(with_old), Refused, expected);
        }
    }
}
