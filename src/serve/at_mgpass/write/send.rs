//! The batch, sent to mgPass's database, and what became of it.

use futures_util::future::join;

use super::{Fate, Outcome, Run, Way};
use crate::handover::translated;
use crate::inbound::request::UserId;
use crate::mirror::writer::in_force;
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};
use crate::serve::at_mgpass::batch::{self, Change};
use crate::serve::at_mgpass::person::Person;
use crate::serve::translate_write::{After, Applied, Refusal};

impl<P: Platform> Run<'_, P> {
    pub(super) async fn apply(
        &mut self,
        before: &Person,
        applied: &Applied,
        ticket: i64,
        generation: i64,
    ) -> Way<batch::Outcome> {
        let id = self.subject()?;
        let is_new = matches!(applied.after, After::Created(_));
        let outcome = {
            let change = self.change(&id, before, applied, ticket, generation);
            let sent = self.send(&id, &change, ticket, generation);
            let intent = &self.job.intent;
            let told = async {
                // For whoever finds the intent before it is settled.
                if is_new {
                    let learned = vec![translated::learn(&intent.id, &id)];
                    let _ = self.ask(Store::Proxy, learned).await;
                }
            };
            join(sent, told).await.0
        };
        match outcome {
            Ok(batch::Outcome::Applied) => {
                self.fate = Fate::LeftOpen;
                self.orphan = None;
                if applied.owed.revoke_all {
                    self.owes = Some(ticket);
                }
            }
            Ok(batch::Outcome::Missed | batch::Outcome::Moved) => {}
            Err(Outcome::Fail(ProxyError::MgpassTimedOut)) => {
                // It may be there, and then it is nobody's orphan.
                self.fate = Fate::LeftOpen;
                self.orphan = None;
            }
            Err(_) => {}
        }
        outcome
    }

    pub(super) fn change<'c>(
        &'c self,
        user: &'c UserId,
        before: &'c Person,
        applied: &'c Applied,
        ticket: i64,
        generation: i64,
    ) -> Change<'c> {
        Change {
            user,
            ticket,
            generation,
            before,
            applied,
            is_case_sensitive: self.job.tenant.username.case_sensitive,
            mapping: &self.context.settings.mapping,
        }
    }

    pub(super) async fn send(
        &self,
        user: &UserId,
        change: &Change<'_>,
        ticket: i64,
        generation: i64,
    ) -> Way<batch::Outcome> {
        let defect = Outcome::Fail(ProxyError::Defect);
        let Ok(mut batch) = change.batch() else {
            return Err(defect);
        };
        let statements = std::mem::take(&mut batch.statements);
        match self.ask(Store::Mgpass, statements).await {
            Ok(results) => batch.outcome(&results, ticket, generation).ok_or(defect),
            // Somebody took a value between the guard's look and the row: to be seen anew.
            Err(DatabaseFailure::Constraint) => Ok(batch::Outcome::Missed),
            Err(DatabaseFailure::TooLarge) => Err(Outcome::Refuse(Refusal::TooLarge)),
            Err(DatabaseFailure::Refused) => Err(defect),
            Err(DatabaseFailure::Unavailable) => self.look(user, ticket, generation).await,
        }
    }

    /// A batch gave no answer. In force it was applied; not in force it may still come.
    pub(super) async fn look(
        &self,
        user: &UserId,
        ticket: i64,
        generation: i64,
    ) -> Way<batch::Outcome> {
        let results = self.ask(Store::Mgpass, vec![in_force(user)]).await;
        let outcome = results.ok().and_then(|results| {
            let row = results.first()?.first()?;
            batch::outcome(row, ticket, generation)
        });
        match outcome {
            Some(batch::Outcome::Applied) => Ok(batch::Outcome::Applied),
            Some(batch::Outcome::Missed | batch::Outcome::Moved) | None => {
                Err(Outcome::Fail(ProxyError::MgpassTimedOut))
            }
        }
    }
}
