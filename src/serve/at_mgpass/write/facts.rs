//! What `apply` asks, and who knows it.

use super::{Fate, Outcome, Run, Way, of_logto};
use crate::handover::translated;
use crate::inbound::request::{Secret, UserId};
use crate::runtime::backend::Unsure;
use crate::runtime::backend::logto::{self, LogtoUser};
use crate::runtime::error::ProxyError;
use crate::runtime::members::{ObjectWriter, quote};
use crate::runtime::ports::{Platform, Store};
use crate::serve::at_mgpass::{holders, leaks};
use crate::serve::translate_write::{AccountRoute, Question, Refusal, Route, Unique};

impl<P: Platform> Run<'_, P> {
    pub(super) async fn learn(&mut self, question: Question) -> Way<()> {
        match question {
            Question::Holders(values) => {
                self.known.held = Some(self.holders(&values).await?);
            }
            Question::IsAddress(text) => {
                self.known.is_address = Some(self.platform.is_address(&text));
            }
            Question::PasswordIsLeaked(password) => {
                let found = leaks::knows(self.platform, self.context, &password).await;
                let is_leaked = found.map_err(|_| Outcome::Refuse(Refusal::LeaksUnknown))?;
                self.known.password_is_leaked = Some(is_leaked);
            }
            Question::PasswordIsRight(password) => {
                self.known.password_is_right = Some(self.is_right(&password).await?);
            }
            Question::SsoIdentities => {
                let id = self.subject()?;
                let n = logto::n_sso_identities(self.platform, self.context, &id).await;
                self.known.n_sso_identities = Some(n.map_err(of_logto)?);
            }
            Question::Reservation => self.reserve().await?,
        }
        Ok(())
    }

    pub(super) async fn holders(&self, values: &[Unique]) -> Way<Vec<Unique>> {
        let statement = holders::held(
            self.path_subject(),
            values,
            self.job.tenant.username.case_sensitive,
            &self.context.settings.mapping,
        );
        let results = self.ask(Store::Mgpass, vec![statement]).await;
        results
            .ok()
            .and_then(|results| holders::parse_held(&results, values))
            .ok_or(Outcome::Fail(ProxyError::MgpassUnavailable))
    }

    pub(super) fn path_subject(&self) -> Option<&UserId> {
        let subject = self.job.intent.subject.as_ref();
        subject.filter(|_| self.known.reserved.is_none())
    }

    pub(super) fn subject(&self) -> Way<UserId> {
        let subject = self.job.intent.subject.clone();
        subject.ok_or(Outcome::Fail(ProxyError::Defect))
    }

    /// Of Logto, which keeps the same password; but not where it is known to keep another.
    pub(super) async fn is_right(&self, password: &Secret<String>) -> Way<bool> {
        if self.is_alone() {
            return Err(Outcome::Fail(ProxyError::LogtoRetired));
        }
        let id = self.subject()?;
        let owed = translated::owes_password(&id);
        let results = self.ask(Store::Proxy, vec![owed]).await;
        let results = results.map_err(|_| Outcome::Fail(ProxyError::DatabaseUnavailable))?;
        if translated::parse_owes_password(&results) {
            return match self.job.route {
                // Nobody could say that it is the same.
                Route::Account(AccountRoute::Password) => Ok(false),
                Route::Account(_) | Route::Users(_) => Err(Outcome::Refuse(Refusal::PasswordCheck)),
            };
        }
        logto::password_is_right(self.platform, self.context, &id, password)
            .await
            .map_err(of_logto)
    }

    /// A user at Logto with an id and the intent's nonce, and nothing else.
    pub(super) async fn reserve(&mut self) -> Way<()> {
        if self.is_alone() {
            return self.make_id();
        }
        let nonce = self.job.intent.nonce.clone().unwrap_or_default();
        match logto::reserve(self.platform, self.context, &nonce).await {
            Ok(json) => {
                let id = LogtoUser::parse(&json).map(|user| user.id);
                // There is a user now, and nobody knows which: found by the nonce.
                self.fate = Fate::LeftOpen;
                let id = id.map_err(|_| Outcome::Fail(ProxyError::LogtoUnreachable))?;
                self.orphan = Some(id.clone());
                self.job.intent.subject = Some(id);
                self.known.reserved = Some(json);
                Ok(())
            }
            Err(unsure) => {
                if let Unsure::Unknown(_) = unsure {
                    self.fate = Fate::LeftOpen;
                }
                Err(of_logto(unsure.failure()))
            }
        }
    }

    /// An id of Logto's form, drawn here: Logto gives none any more.
    fn make_id(&mut self) -> Way<()> {
        let id: String = (0..ID_LENGTH)
            .filter_map(|_| {
                // Evenly enough: 2^64 is no multiple of 36 by one part in 10^17.
                let digit = (self.platform.random_u64() % 36) as u32;
                char::from_digit(digit, 36)
            })
            .collect();
        let id = UserId::parse(&id).ok_or(Outcome::Fail(ProxyError::Defect))?;
        self.known.reserved = Some(newborn(&id, self.platform.now_ms()));
        self.job.intent.subject = Some(id);
        Ok(())
    }
}

/// Of Logto's ids.
const ID_LENGTH: usize = 12;

/// Nobody yet, as Logto's answer to a create has its members, in their order.
fn newborn(id: &UserId, now_ms: i64) -> String {
    let (id, now) = (quote(id.as_str()), now_ms.to_string());
    let mut writer = ObjectWriter::default();
    for (name, text) in [
        ("id", id.as_str()),
        ("username", "null"),
        ("primaryEmail", "null"),
        ("primaryPhone", "null"),
        ("name", "null"),
        ("avatar", "null"),
        ("customData", "{}"),
        ("identities", "{}"),
        ("lastSignInAt", "null"),
        ("createdAt", &now),
        ("updatedAt", &now),
        ("profile", "{}"),
        ("applicationId", "null"),
        ("isSuspended", "false"),
        ("hasPassword", "false"),
    ] {
        writer.member(name, text);
    }
    writer.finish()
}
