//! What an operator does with a job: start, pause, resume, stop.

use super::store::{self, Order, Transition};
use super::{Kind, wake_all};
use crate::policy::flags::Stage;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

pub const MAX_LANES: i64 = 16;
const DEFAULT_LANES: i64 = 4;

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandRefusal {
    /// One of the kind is running or paused.
    Active,
    /// None is in a state to be paused, resumed or stopped.
    NotActive,
    /// A real import needs the mirror: it hands over what needs more than a page.
    StageOff,
    /// A job reads Logto, which lacks what was written since: it would wait for the way back.
    NotLogtos,
    /// There is nowhere to take points from.
    RewardsNotBound,
    Database(DatabaseFailure),
}

/// Starts a job; its row.
///
/// # Errors
/// When it may not start, or was not recorded.
pub async fn start<P: Platform>(
    platform: &P,
    stage: Stage,
    order: Order,
) -> Result<Row, CommandRefusal> {
    if stage == Stage::Off && !order.dry_run && order.kind != Kind::Equality {
        return Err(CommandRefusal::StageOff);
    }
    if order.kind == Kind::Points && !platform.is_bound(Store::Rewards) {
        return Err(CommandRefusal::RewardsNotBound);
    }
    let order = Order {
        lanes: match order.lanes {
            0 => DEFAULT_LANES,
            lanes => lanes.clamp(1, MAX_LANES),
        },
        ..order
    };
    let results = asked(platform, store::start(&order)).await?;
    let holder = results
        .get(2)
        .and_then(|rows| text(rows.first()?, "holder"));
    let refusal = match holder.as_deref() {
        Some("logto") => CommandRefusal::Active,
        _ => CommandRefusal::NotLogtos,
    };
    let row = turned(results, refusal)?;
    operated(platform, "job.start");
    if let Some(job) = integer(&row, "id") {
        wake_all(platform, job, order.lanes).await;
    }
    Ok(row)
}

/// Pauses, resumes or stops the job of a kind; its row.
///
/// # Errors
/// When there is none in such a state, or when it was not recorded.
pub async fn change_state<P: Platform>(
    platform: &P,
    kind: Kind,
    transition: Transition,
) -> Result<Row, CommandRefusal> {
    let results = asked(platform, store::change_state(kind, transition)).await?;
    let row = turned(results, CommandRefusal::NotActive)?;
    operated(
        platform,
        match transition {
            Transition::Pause => "job.pause",
            Transition::Resume(_) => "job.resume",
            Transition::Stop => "job.stop",
        },
    );
    if let (Transition::Resume(_), Some(job), Some(lanes)) =
        (transition, integer(&row, "id"), integer(&row, "lanes"))
    {
        wake_all(platform, job, lanes).await;
    }
    Ok(row)
}

async fn asked<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, CommandRefusal> {
    platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(CommandRefusal::Database)
}

/// The job's row, where the first statement has turned it.
fn turned(results: Vec<Vec<Row>>, refusal: CommandRefusal) -> Result<Row, CommandRefusal> {
    let has_turned = results.first().is_some_and(|rows| !rows.is_empty());
    let row = results
        .into_iter()
        .nth(1)
        .and_then(|rows| rows.into_iter().next());
    match (has_turned, row) {
        (true, Some(row)) => Ok(row),
        (false, _) => Err(refusal),
        (true, None) => Err(CommandRefusal::Database(DatabaseFailure::Refused)),
    }
}

fn operated<P: Platform>(platform: &P, action: &'static str) {
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: 0,
    });
}
