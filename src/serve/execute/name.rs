//! Who is about to change, as far as it can be known before the forward.
//!
//! What the proxy thinks Logto will refuse is not recorded beforehand, which spares the
//! outbox what anybody can send. It is a prediction and no more: the answer decides
//! ([`super::conclude`]).

use crate::auth::authenticate::{authenticate, management_policy};
use crate::inbound::classify::{Concerns, SubjectSource};
use crate::inbound::request::{InteractionUid, Secret, UserId, bearer, has_interaction, may_bear};
use crate::policy::token;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::Browser;
use crate::runtime::context::{Context, Request};
use crate::runtime::ports::{Exchange, Platform};
use crate::serve::question::{Participant, Question};

#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub subject: Option<UserId>,
    /// By which a webhook may name it.
    pub interaction: Option<InteractionUid>,
    pub expectation: Expectation,
    /// What Logto can be asked again.
    pub question: Option<Question>,
    /// Logto says that no password and no factor is staged.
    pub stages_nothing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Logto may carry it out.
    Writes,
    /// Logto is thought to refuse it, or to stage it for a later request.
    #[default]
    Idle,
}

/// What the answer means for a write whose user it should name.
fn expect(
    source: SubjectSource,
    told: &Result<Option<Participant>, BackendFailure>,
) -> Expectation {
    match told {
        // Nobody knows: Logto may carry it out all the same.
        Err(_) => Expectation::Writes,
        Ok(None) => Expectation::Idle,
        Ok(Some(told)) if source == SubjectSource::Identifying && !told.registers => {
            Expectation::Idle
        }
        Ok(Some(told)) if told.user.is_some() || source == SubjectSource::Identifying => {
            Expectation::Writes
        }
        // Nobody is identified yet.
        Ok(Some(_)) => Expectation::Idle,
    }
}

impl Named {
    /// An intent without a name is kept for those only whom the listing of the newest
    /// users can find; of an existing user it would say nothing.
    pub(super) fn is_recorded_before(&self, source: SubjectSource) -> bool {
        self.expectation == Expectation::Writes
            && (self.subject.is_some() || source.concerns() != Concerns::Existing)
    }
}

impl Request<'_> {
    pub(super) async fn name<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        source: SubjectSource,
    ) -> Named {
        let authorization = exchange
            .header("authorization")
            .filter(|header| may_bear(header));
        let mut named = Named::default();
        let question = match source {
            SubjectSource::Path | SubjectSource::Answer => {
                named.subject = self.inbound.user.clone();
                if authorization.is_some() {
                    named.expectation = Expectation::Writes;
                }
                None
            }
            SubjectSource::AccessToken => {
                authorization.map(|header| Question::Account(Secret(header)))
            }
            SubjectSource::Identified | SubjectSource::Identifying => {
                let browser = self.browser(exchange);
                named.interaction = browser.as_ref().and_then(Browser::uid);
                browser.map(Question::Interaction)
            }
            SubjectSource::Session => self.browser(exchange).map(Question::Consent),
            // The consent API would name the user of the browser's session, if it has one;
            // who signs in now need not be the same, so that name is worse than none.
            SubjectSource::Untold => {
                if let Some(browser) = self.browser(exchange) {
                    named.interaction = browser.uid();
                    named.expectation = Expectation::Writes;
                }
                None
            }
        };
        if let Some(question) = question {
            let told = question.ask(platform, context).await;
            named.expectation = expect(source, &told);
            let staged = told
                .as_ref()
                .map(|told| told.as_ref().map(|told| told.stages_credential));
            named.stages_nothing = matches!(staged, Ok(Some(false)));
            named.subject = told.ok().flatten().and_then(|told| told.user);
            named.question = Some(question);
        }
        named
    }

    /// `None`: no interaction, whatever Logto makes of the rest.
    pub(super) fn browser<E: Exchange>(&self, exchange: &E) -> Option<Browser> {
        let cookie = exchange.header("cookie").unwrap_or_default();
        has_interaction(&cookie).then(|| Browser {
            cookie: Secret(cookie),
            app_id: exchange.header("logto-app-id"),
            query: self.inbound.query().map(str::to_owned),
        })
    }

    /// Whether somebody trustworthy stands behind the write: Logto has named its user,
    /// or the edge accepts the caller's token.
    pub(super) async fn is_vouched_for<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        named: &Named,
    ) -> bool {
        if named.question.is_some() {
            return named.subject.is_some();
        }
        let authorization = exchange.header("authorization").unwrap_or_default();
        let parsed = bearer(&authorization).map(token::parse);
        let Some(Ok(Ok(token))) =
            parsed.map(|parsed| parsed.map(|token| token.partition(context.issuers)))
        else {
            return false;
        };
        let policy = management_policy(context, token.issuer());
        token.issuer() == token::Issuer::Logto
            && authenticate(platform, context, &token, &policy)
                .await
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ports::Backend;

    #[test]
    fn only_an_answer_of_logtos_makes_a_write_look_idle() {
        let told = |user: Option<&str>, registers| {
            let user = user.and_then(UserId::parse);
            Ok(Some(Participant {
                user,
                registers,
                stages_credential: false,
            }))
        };
        let unknown = Err(BackendFailure::Forbidden(Backend::Logto));
        let (identified, registering) = (SubjectSource::Identified, SubjectSource::Identifying);
        for (source, told, expected) in [
            (identified, told(Some("u1"), false), Expectation::Writes),
            (identified, told(None, false), Expectation::Idle),
            (identified, Ok(None), Expectation::Idle),
            (identified, unknown.clone(), Expectation::Writes),
            (registering, told(None, true), Expectation::Writes),
            (registering, told(Some("u1"), true), Expectation::Writes),
            (registering, told(Some("u1"), false), Expectation::Idle),
            (registering, Ok(None), Expectation::Idle),
            (registering, unknown, Expectation::Writes),
        ] {
            assert_eq!(expect(source, &told), expected, "{source:?} {told:?}");
        }
    }
}
