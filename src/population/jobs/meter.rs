//! What a page is worked on with: counted batches and calls, reasons to come back
//! later, and the way to the relay for whoever needs more than a page.

use std::cell::Cell;

use super::store::{Cost, JobState, Paged};
use crate::handover;
use crate::inbound::request::UserId;
use crate::mirror::preflight::Unfit;
use crate::mirror::triggers::Trigger;
use crate::mirror::wake;
use crate::runtime::backend::BackendFailure;
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
    /// The isolate is at work on another large user.
    NoRoom,
    /// Another lane took the page over.
    ClaimLost,
    /// The authority has moved: what was written since changed nothing.
    Moved,
}

impl From<Unfit> for Delay {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Differs => Self::SchemaRefused,
            Unfit::Database(failure) => Self::Database(Store::Mgpass, failure),
        }
    }
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
            Self::NoRoom => "no_room",
            Self::ClaimLost => "claim_lost",
            Self::Moved => "authority_moved",
        }
    }

    pub(super) fn wait_s(self) -> u32 {
        match self {
            Self::Backend(BackendFailure::Limited(_, seconds)) => seconds.clamp(1, 600),
            Self::SchemaRefused | Self::NotBound | Self::NoTiers | Self::Moved => 60,
            Self::Unsettled | Self::NoRoom => 2,
            Self::Backend(_) | Self::Database(..) | Self::ClaimLost => 5,
        }
    }
}

/// Of users who are worked on at once: their rows, their intents, their balances, what
/// is written of them, and a second look at some.
pub(super) const PART_QUERIES: usize = 200;
/// The page's own end in the store.
const END_QUERIES: usize = 20;

/// Counts what a page asks of whom, and how long it waited.
pub(super) struct Meter<'a, P> {
    pub(super) platform: &'a P,
    pub(super) cost: Cost,
    /// How many answers there were: whether the page gets on.
    pub(super) n_answers: &'a Cell<u32>,
}

impl<P: Platform> Meter<'_, P> {
    /// Whether the invocation may ask so much more, besides what ends the page.
    pub(super) fn has_room_for(&self, n_queries: usize, paged: &Paged) -> bool {
        let end = END_QUERIES + paged.statements.len();
        self.platform.usage().has_room_for(n_queries + end)
    }

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
        self.n_answers.set(self.n_answers.get().wrapping_add(1));
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
        self.n_answers.set(self.n_answers.get().wrapping_add(1));
        self.cost.logto_ms += self.platform.now_ms() - began_ms;
        answer.map_err(Delay::Backend)
    }

    /// That all which was written by now was written in the page's own generation of the
    /// authority: it only rises.
    pub(super) async fn check_generation(&mut self, job_state: &JobState) -> Result<(), Delay> {
        let asked = vec![handover::target::generation()];
        let results = self.batch(Store::Mgpass, asked).await?;
        let generation = handover::target::parse_generation(&results);
        match generation == Some(job_state.generation) {
            true => Ok(()),
            false => Err(Delay::Moved),
        }
    }
}

/// Users that need more than a page can do: their intents and their wake-ups go into
/// the page's last batch.
pub(super) fn hand_over(trigger: Trigger, paged: &mut Paged, users: &[UserId]) {
    if users.is_empty() {
        return;
    }
    paged.statements.extend(trigger.all(users));
    paged.statements.push(wake::all(users));
}

/// A phase that ends where it stands.
pub(super) fn nothing_more(after_id: &str) -> Paged {
    Paged {
        is_last: true,
        after_id: after_id.to_owned(),
        ..Paged::default()
    }
}
