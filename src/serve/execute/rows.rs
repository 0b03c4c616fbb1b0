//! What a read at mgPass stands on: its rows, with proof that it is the authority; or Logto's
//! answer, with the word of how old it may be.

use std::pin::pin;

use futures_util::future::{Either, join, select};
use time::OffsetDateTime;

use super::Executed;
use super::at_mgpass::Moved;
use crate::handover::authority::{Holder, View};
use crate::handover::proof;
use crate::handover::target::parse_generation;
use crate::inbound::request::UserId;
use crate::policy::plan::at_mgpass::{Standing, Way, way};
use crate::policy::plan::{Plan, Primary, Reason};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::metrics::Fallback;
use crate::runtime::ports::{Exchange, Platform, Row, Statement, Store};
use crate::serve::at_mgpass::person::{self, Person};
use crate::serve::at_mgpass::standing;

pub(super) const ROWS: Plan = Plan {
    primary: Primary::Mgpass,
    reason: Reason::Rows,
};

/// The time that Logto's answer is as of, by RFC 3339: all that was acknowledged before it
/// is in there, but for users in debt.
const AS_OF: &str = "x-proxy-as-of";

/// Of `request.done`: mgPass's database did not answer.
const ROWS_UNREADABLE: Fallback = Fallback {
    code: "rows_unreadable",
    blames_mgpass: true,
};

/// Why there are no rows to answer from.
pub(super) enum Unread {
    Moved,
    MgpassDown,
    Nobody(ProxyError),
}

impl Request<'_> {
    pub(super) async fn person<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        user: &UserId,
        view: View,
    ) -> Result<Person, Unread> {
        let results = self
            .rows(platform, context, person::read(user), view)
            .await?;
        Person::parse(&results).ok_or(Unread::MgpassDown)
    }

    /// What mgPass's database answers, if it may be shown. The last statement asks for the
    /// generation.
    pub(super) async fn rows<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        statements: Vec<Statement>,
        last: View,
    ) -> Result<Vec<Vec<Row>>, Unread> {
        let isolate = context.isolate;
        let handover = &context.settings.handover;
        let (asked, rows) = join(
            proof::ask(platform, isolate, handover, proof::PROOF_MS),
            in_time(
                platform,
                Store::Mgpass,
                statements,
                context.settings.mgpass_deadline_ms,
            ),
        )
        .await;
        let failing = &isolate.mgpass_failing_since_ms;
        match &rows {
            Some(_) => failing.set(None),
            None => failing.set(failing.get().or(Some(platform.now_ms()))),
        }
        let generation = rows.as_deref().and_then(parse_generation);
        match (way(asked, last, generation), rows) {
            (Way::Rows, Some(rows)) => Ok(rows),
            (Way::Rows | Way::Fallback, _) => Err(Unread::MgpassDown),
            (Way::Moved, _) => Err(Unread::Moved),
            (Way::Nowhere, _) => Err(Unread::Nobody(ProxyError::UsersUnavailable)),
            (Way::Unknown, _) => Err(Unread::Nobody(ProxyError::AuthorityUnknown)),
        }
    }

    /// Logto's answer in mgPass's stead, where it has all that was acknowledged.
    pub(super) async fn fall_back<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Result<Executed<E::Copy>, Moved> {
        let found = self.standing(platform, context).await?;
        let failing_since_ms = context.isolate.mgpass_failing_since_ms.get();
        let since_ms = failing_since_ms.unwrap_or_else(|| platform.now_ms());
        let executed = match found {
            Some(standing) if self.flags.fallback && standing.may_fall_back(since_ms) => {
                self.as_of(exchange, Reason::Fallback, standing.as_of_ms())
                    .await
            }
            Some(_) | None => Executed {
                plan: ROWS,
                ..self.failed(ProxyError::UsersUnavailable)
            },
        };
        Ok(Executed {
            fallback: Some(ROWS_UNREADABLE),
            ..executed
        })
    }

    pub(super) async fn list<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Result<Executed<E::Copy>, Moved> {
        match self.standing(platform, context).await? {
            Some(standing) => Ok(self
                .as_of(exchange, Reason::AsOf, standing.as_of_ms())
                .await),
            None => Ok(self.failed(ProxyError::AuthorityUnknown)),
        }
    }

    async fn as_of<E: Exchange>(
        &self,
        exchange: &mut E,
        reason: Reason,
        as_of_ms: i64,
    ) -> Executed<E::Copy> {
        let executed = self.pass(exchange, reason).await;
        if executed.error.is_none() {
            exchange.set_answer_header(AS_OF, &rfc_3339(as_of_ms));
        }
        executed
    }

    /// `None`: the database does not say.
    async fn standing<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Result<Option<Standing>, Moved> {
        let asked_at_ms = platform.now_ms();
        let statements = vec![standing::read()];
        let deadline_ms = context.settings.eligibility_deadline_ms;
        let results = in_time(platform, Store::Proxy, statements, deadline_ms).await;
        let Some((standing, view)) = results.as_deref().and_then(standing::parse) else {
            return Ok(None);
        };
        let lease_ms = context.settings.handover.lease_ms;
        context.isolate.note_authority(view, asked_at_ms, lease_ms);
        match view.holder {
            Holder::Mgpass | Holder::Returning => Ok(Some(standing)),
            Holder::Logto | Holder::Draining | Holder::Alone => Err(Moved),
        }
    }
}

/// `None`: no answer in time.
async fn in_time<P: Platform>(
    platform: &P,
    store: Store,
    statements: Vec<Statement>,
    deadline_ms: u32,
) -> Option<Vec<Vec<Row>>> {
    let batch = pin!(platform.batch(store, statements));
    let deadline = pin!(platform.sleep(deadline_ms));
    match select(batch, deadline).await {
        Either::Left((results, _)) => results.ok(),
        Either::Right(_) => None,
    }
}

fn rfc_3339(time_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(time_ms.div_euclid(1_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_full_seconds_rounded_down() {
        assert_eq!(rfc_3339(1_795_376_188_999), "2026-11-22T19:36:28Z");
        assert_eq!(rfc_3339(0), "1970-01-01T00:00:00Z");
    }
}
