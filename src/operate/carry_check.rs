//! Whether passwords may be carried, tried on the probe account: that mgPass takes
//! `{password}` alone and changes nothing else, that sessions outlive it, and that people get
//! in by it. That no mail goes out a person must see; what mgPass's audit log tells of mails is
//! looked at besides.
//!
//! The account's own password is set first, and again at the end, so that a check that was cut
//! off is mended by the next.

use serde_json::{Value as Json, json};

use crate::inbound::request::Secret;
use crate::mirror::passwords::{decision, place};
use crate::mirror::reverse::password;
use crate::operate::probe;
use crate::runtime::backend::mgpass::{self, ApiUser, Caller, Found, PasswordAnswer};
use crate::runtime::backend::{BackendFailure, Unsure};
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::settings::{Probe, ProbeSettings};

const DEADLINE_MS: u32 = 8_000;
/// ASSUMPTION (docs/assumptions.md): a mail that mgPass sends of itself has an entry whose
/// type says so.
const MAILS: &str = "SELECT count(*) AS n FROM audit_logs WHERE target_id = ?1 AND created_at >= ?2 \
     AND (event_type LIKE '%mail%' OR event_type LIKE '%notif%')";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[MAILS];

/// `ok`, or a code, for each question in its order; what came before a failure stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Vec<(&'static str, &'static str)>);

/// All of them must be good.
const QUESTIONS: [&str; 6] = [
    "password_alone",
    "nothing_else_changed",
    "sign_in",
    "sessions_alive",
    "takes_effect",
    "no_mail_logged",
];

impl Facts {
    fn note(&mut self, question: &'static str, outcome: Result<(), &'static str>) -> bool {
        self.0.push((question, outcome.err().unwrap_or("ok")));
        outcome.is_ok()
    }

    pub fn is_good(&self) -> bool {
        let is_ok = |question: &&'static str| self.0.contains(&(*question, "ok"));
        QUESTIONS.iter().all(is_ok)
    }

    pub fn shown(&self) -> Json {
        let of = |question: &str| {
            let found = self.0.iter().find(|(name, _)| *name == question);
            found.map_or("not_reached", |(_, outcome)| outcome)
        };
        let mut shown: serde_json::Map<_, _> = QUESTIONS
            .iter()
            .map(|question| ((*question).to_owned(), json!(of(question))))
            .collect();
        shown.insert("is_good".to_owned(), json!(self.is_good()));
        Json::Object(shown)
    }
}

/// Kept, whatever it found. `None`: there is no probe account.
///
/// # Errors
/// When it could not be kept.
pub async fn run<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Option<Facts>, DatabaseFailure> {
    let ProbeSettings::There(probe) = &context.settings.checks.probe else {
        return Ok(None);
    };
    let began_s = platform.now_ms().div_euclid(1_000);
    let mut facts = Facts::default();
    let run = Run {
        platform,
        context,
        probe,
    };
    // Ours, where the share of sign-ins is watched.
    let announced = vec![place::announce_check(&probe.user)];
    platform.batch(Store::Mgpass, announced).await?;
    run.ask(&mut facts).await;
    let mails = vec![probe.user.as_str().into(), began_s.into()];
    let mails = vec![Statement::new(MAILS, mails)];
    let found = platform.batch(Store::Mgpass, mails).await?;
    let row = found.first().and_then(|rows| rows.first());
    let n_mails = row.and_then(|row| crate::runtime::sql::integer(row, "n"));
    let is_silent = match n_mails {
        Some(0) => Ok(()),
        Some(_) | None => Err("a_mail_was_sent"),
    };
    facts.note("no_mail_logged", is_silent);
    let kept = vec![decision::checked(&facts.shown())];
    platform.batch(Store::Proxy, kept).await?;
    Ok(Some(facts))
}

struct Run<'a, P> {
    platform: &'a P,
    context: &'a Context<'a>,
    probe: &'a Probe,
}

impl<P: Platform> Run<'_, P> {
    /// Up to the first question that is not answered well; the password is put back.
    async fn ask(&self, facts: &mut Facts) {
        let before = self.shown().await;
        if !facts.note("password_alone", self.set(&self.probe.password).await) {
            return;
        }
        let same = match (before, self.shown().await) {
            (Ok(before), Ok(after)) if before == after => Ok(()),
            (Ok(_), Ok(_)) => Err("something_else_changed"),
            (Err(code), _) | (_, Err(code)) => Err(code),
        };
        facts.note("nothing_else_changed", same);
        let (platform, context, probe) = (self.platform, self.context, self.probe);
        let session = match probe::enter(platform, context, probe).await {
            Ok(session) => session,
            Err(code) => {
                facts.note("sign_in", Err(code));
                return;
            }
        };
        facts.note("sign_in", Ok(()));
        let other = password::random(platform);
        if let Err(code) = self.set(&other).await {
            facts.note("sessions_alive", Err(code));
        } else {
            let back = probe::come_back(platform, context, probe, session).await;
            facts.note("sessions_alive", back.map(|_| ()));
            let old = match probe::enter(platform, context, probe).await {
                Ok(_) => Err("old_password_still_works"),
                Err("refused") => Ok(()),
                Err(code) => Err(code),
            };
            facts.note("takes_effect", old);
        }
        if let Err(code) = self.set(&self.probe.password).await {
            facts.note("takes_effect", Err(code));
        }
    }

    async fn set(&self, password: &Secret<String>) -> Result<(), &'static str> {
        let user = &self.probe.user;
        match mgpass::set_password(self.platform, self.context, user, password).await {
            Ok(PasswordAnswer::Set) => Ok(()),
            Ok(PasswordAnswer::Refused) => Err("refused"),
            Ok(PasswordAnswer::NoUser) => Err("no_such_user"),
            Err(unsure) => Err(Unsure::failure(unsure).code()),
        }
    }

    /// But for the time of the last sign-in.
    async fn shown(&self) -> Result<ApiUser, &'static str> {
        let caller = Caller::Proxy;
        let user = &self.probe.user;
        let found = mgpass::user(self.platform, self.context, &caller, user, DEADLINE_MS).await;
        match found.map_err(BackendFailure::code)? {
            Found::Yes(user) => Ok(ApiUser {
                last_sign_in_at_s: mgpass::Field::NotShown,
                ..user
            }),
            Found::No | Found::NotAllowed(_) => Err("no_such_user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_or_missing_answer_is_not_good() {
        let all = || Facts(QUESTIONS.iter().map(|name| (*name, "ok")).collect());
        assert!(all().is_good());
        for (index, question) in QUESTIONS.iter().enumerate() {
            let mut bad = all();
            bad.0[index].1 = "refused";
            assert!(!bad.is_good());
            let mut missing = all();
            missing.0.remove(index);
            assert!(!missing.is_good());
            assert_eq!(missing.shown()[question], "not_reached");
        }
        assert_eq!(Facts::default().shown()["is_good"], false);
    }
}
