//! A password at mgPass, which stands in no row: set by its API.

use super::{Fate, Outcome, Run, Way};
use crate::inbound::request::UserId;
use crate::runtime::backend::Unsure;
use crate::runtime::backend::mgpass::{self, PasswordAnswer};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Platform, Store};
use crate::serve::at_mgpass::batch;
use crate::serve::at_mgpass::person::{self, Person};
use crate::serve::translate_write::{After, Applied, Changes, Owed, Refusal, Reply};

impl<P: Platform> Run<'_, P> {
    /// Of a user who is there: what mgPass does not take then changes nothing.
    pub(super) async fn set_password_first(&mut self, applied: &Applied) -> Way<()> {
        let Some(password) = &applied.owed.password else {
            return Ok(());
        };
        if self.has_set_password {
            return Ok(());
        }
        let id = self.subject()?;
        match mgpass::set_password(self.platform, self.context, &id, password).await {
            Ok(PasswordAnswer::Set) => {
                // From here on something has changed, whatever becomes of the rest.
                self.fate = Fate::LeftOpen;
                self.has_set_password = true;
                Ok(())
            }
            Ok(PasswordAnswer::Refused) => Err(Outcome::Refuse(Refusal::PasswordRefused)),
            Ok(PasswordAnswer::NoUser) | Err(Unsure::NotDone(_)) => {
                Err(Outcome::Fail(ProxyError::MgpassUnavailable))
            }
            Err(Unsure::Unknown(_)) => {
                self.fate = Fate::LeftOpen;
                Err(Outcome::Fail(ProxyError::MgpassTimedOut))
            }
        }
    }

    /// A new user is there first, and is taken back when mgPass does not take the password.
    pub(super) async fn set_password_of_new(
        &mut self,
        applied: &Applied,
        generation: i64,
    ) -> Way<()> {
        let Some(password) = &applied.owed.password else {
            return Ok(());
        };
        let id = self.subject()?;
        let outcome = match mgpass::set_password(self.platform, self.context, &id, password).await {
            Ok(PasswordAnswer::Set) => return Ok(()),
            Ok(PasswordAnswer::Refused) => Outcome::Refuse(Refusal::PasswordRefused),
            Ok(PasswordAnswer::NoUser) | Err(Unsure::NotDone(_)) => {
                Outcome::Fail(ProxyError::MgpassUnavailable)
            }
            Err(Unsure::Unknown(_)) => return Err(Outcome::Fail(ProxyError::MgpassTimedOut)),
        };
        self.take_back(&id, generation).await;
        Err(outcome)
    }

    /// As a deletion. Where that fails, too, the open intent tells of the user.
    pub(super) async fn take_back(&mut self, id: &UserId, generation: i64) {
        let taken = async {
            let ticket = self.next_ticket().await?;
            let statements = person::read(id);
            let results = self.ask(Store::Mgpass, statements).await;
            let results = results.map_err(|_| Outcome::Fail(ProxyError::MgpassUnavailable))?;
            let unread = Outcome::Fail(ProxyError::MgpassUnavailable);
            let person = Person::parse(&results).ok_or(unread)?;
            let deletion = Applied {
                reply: Reply::NO_CONTENT,
                after: After::Deleted,
                changes: Changes::default(),
                owed: Owed::default(),
            };
            let change = self.change(id, &person, &deletion, ticket, generation);
            self.send(id, &change, ticket, generation).await
        };
        if taken.await == Ok(batch::Outcome::Applied) {
            self.orphan = Some(id.clone());
        }
    }
}
