//! What a page is worked on with: counted batches and calls, reasons to come back
//! later, and the way to the relay for whoever needs more than a page.

use super::book::{Cost, Paged};
use crate::inbound::request::UserId;
use crate::mirror::preflight;
use crate::mirror::triggers::Trigger;
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::message::Message;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};

/// Why a page was not done. Nothing is lost by it: the claim goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    Backend(BackendFailure),
    Database(Store, DatabaseFailure),
    SchemaRefused,
    /// No database is bound where the points come from.
    NotBound,
    /// mgPass has no thresholds to hold a tier against.
    NoTiers,
    /// The relay still works on some of them.
    Unsettled,
}

impl Delay {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Backend(failure) => failure.code(),
            Self::Database(_, failure) => failure.code(),
            Self::SchemaRefused => "schema_refused",
            Self::NotBound => "not_bound",
            Self::NoTiers => "no_tiers",
            Self::Unsettled => "unsettled",
        }
    }

    pub(super) fn wait_s(self) -> u32 {
        match self {
            Self::Backend(BackendFailure::Limited(_, seconds)) => seconds.clamp(1, 600),
            Self::SchemaRefused | Self::NotBound | Self::NoTiers => 60,
            Self::Unsettled => 2,
            Self::Backend(_) | Self::Database(..) => 5,
        }
    }
}

/// Counts what a page asks of whom, and how long it waited.
pub(super) struct Meter<'a, P> {
    pub(super) platform: &'a P,
    pub(super) cost: Cost,
}

impl<P: Platform> Meter<'_, P> {
    pub(super) async fn batch(
        &mut self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, Delay> {
        self.try_batch(store, statements)
            .await
            .map_err(|failure| Delay::Database(store, failure))
    }

    pub(super) async fn try_batch(
        &mut self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        self.cost.n_statements += statements.len() as i64;
        let began_ms = self.platform.now_ms();
        let answer = self.platform.batch(store, statements).await;
        if store == Store::Mgpass {
            self.cost.mgpass_ms += self.platform.now_ms() - began_ms;
        }
        answer
    }

    pub(super) async fn logto<T>(
        &mut self,
        call: impl Future<Output = Result<T, BackendFailure>>,
    ) -> Result<T, Delay> {
        let began_ms = self.platform.now_ms();
        let answer = call.await;
        self.cost.logto_ms += self.platform.now_ms() - began_ms;
        answer.map_err(Delay::Backend)
    }

    /// mgPass's database is as the mirror relies on, or nothing is written to it.
    pub(super) async fn check_schema(&mut self, context: &Context<'_>) -> Result<(), Delay> {
        match preflight::mirror_holds(self.platform, context.isolate).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Delay::SchemaRefused),
            Err(failure) => Err(Delay::Database(Store::Mgpass, failure)),
        }
    }
}

/// Users that need more than a page can do. Their intents go into the page's last
/// batch; the messages may be lost.
pub(super) async fn hand_over<P: Platform>(
    meter: &mut Meter<'_, P>,
    trigger: Trigger,
    paged: &mut Paged,
    users: &[UserId],
) {
    if users.is_empty() {
        return;
    }
    paged.statements.extend(trigger.all(users));
    for user in users {
        let message = Message::Reconcile {
            subject: user.as_str().to_owned(),
        };
        // A moment later, when the intent is there; the sweep finds who is not woken.
        let _ = meter.platform.send(&message, 1).await;
    }
}

/// A phase that ends where it stands.
pub(super) fn nothing_more(after_id: &str) -> Paged {
    Paged {
        is_last: true,
        after_id: after_id.to_owned(),
        ..Paged::default()
    }
}
