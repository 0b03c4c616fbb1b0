//! The points, as far as jobs go: a page of the import, and the balances of a page of
//! the proof of equality.

use std::collections::BTreeMap;

use super::PAGE_SIZE;
use super::meter::{Delay, Meter};
use super::store::{JobState, Paged, Recorded, UserOutcome};
use crate::inbound::request::UserId;
use crate::mirror::differences::{Class, Difference};
use crate::population::points::balance::{self, Balance};
use crate::population::points::place::Place;
use crate::population::points::{self, Carried, PointsFailure, PointsOutcome};
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

pub(super) async fn source<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
) -> Result<Paged, Delay> {
    // What we did not write begins anew: carrying twice changes nothing.
    let from = Place::parse(&job_state.after_id).unwrap_or_default();
    let page = points::page(
        meter.platform,
        context,
        &from,
        PAGE_SIZE,
        job_state.dry_run,
        job_state.generation,
    )
    .await
    .map_err(delay)?;
    if !job_state.dry_run {
        meter.check_generation(job_state).await?;
    }
    meter.cost.n_statements += page.n_statements;
    meter.cost.mgpass_ms += page.mgpass_ms;
    Ok(Paged {
        users: page.users.into_iter().map(recorded).collect(),
        total: page.n_source,
        is_last: page.next.is_none(),
        after_id: page.next.unwrap_or(from).to_text(),
        n_added: page.n_entries_added,
        ..Paged::default()
    })
}

fn recorded(user: PointsOutcome) -> Recorded {
    let (outcome, reason) = match user.outcome {
        Carried::Equal => (UserOutcome::Equal, None),
        Carried::Create => (UserOutcome::Create, None),
        Carried::Update => (UserOutcome::Update, None),
        Carried::Parked(reason) => (UserOutcome::Parked, Some(reason.to_owned())),
    };
    Recorded {
        user: user.user,
        outcome,
        reason,
        notes: user.notes,
    }
}

fn delay(failure: PointsFailure) -> Delay {
    match failure {
        PointsFailure::NotBound => Delay::NotBound,
        PointsFailure::SchemaRefused(_) => Delay::SchemaRefused,
        PointsFailure::NoTiers => Delay::NoTiers,
        PointsFailure::Database(store, failure) => Delay::Database(store, failure),
    }
}

/// Balances of both sides, where a source is bound.
#[derive(Default)]
pub(super) struct Balances {
    pub n_compared: i64,
    found: Vec<(UserId, Difference)>,
}

impl Balances {
    pub fn of(&self, user: &UserId) -> Vec<Difference> {
        self.found
            .iter()
            .filter(|(holder, _)| holder == user)
            .map(|(_, difference)| difference.clone())
            .collect()
    }
}

/// Of users whom the source has a balance of.
pub(super) async fn compare<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    users: &[UserId],
) -> Result<Balances, Delay> {
    match points::check_schemas(meter.platform, context).await {
        Ok(()) => {}
        Err(PointsFailure::NotBound) => return Ok(Balances::default()),
        Err(failure) => return Err(delay(failure)),
    }
    let source = balances(meter, Store::Rewards, balance::source_balances(users)).await?;
    let target = balances(meter, Store::Mgpass, balance::target_balances(users)).await?;
    let mut compared = Balances::default();
    for user in users {
        let Some(stored) = source.get(user.as_str()) else {
            continue;
        };
        compared.n_compared += 1;
        let held = target.get(user.as_str());
        for difference in between(stored.as_ref(), held.map(Option::as_ref)) {
            compared.found.push((user.clone(), difference));
        }
    }
    Ok(compared)
}

async fn balances<P: Platform>(
    meter: &mut Meter<'_, P>,
    store: Store,
    statement: Statement,
) -> Result<BTreeMap<String, Option<Balance>>, Delay> {
    let results = meter.batch(store, vec![statement]).await?;
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    balance::parse_balances(rows).ok_or(Delay::Database(store, DatabaseFailure::Refused))
}

/// A balance that cannot be read on one side equals nothing.
fn between(stored: Option<&Balance>, held: Option<Option<&Balance>>) -> Vec<Difference> {
    match (stored, held) {
        (_, None) => vec![Difference::new("balance.total_points", Class::Missing)],
        (Some(stored), Some(Some(held))) => balance::differences(stored, held)
            .into_iter()
            .map(|member| Difference::new(format!("balance.{member}"), Class::Value))
            .collect(),
        (None, Some(_)) | (_, Some(None)) => {
            vec![Difference::new("balance.total_points", Class::Value)]
        }
    }
}
