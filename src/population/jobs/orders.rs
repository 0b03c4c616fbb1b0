//! What an operator does with a job: start, pause, resume, stop.

use super::book::{self, Order, Turn};
use super::{Kind, wake_all};
use crate::policy::flags::Stage;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::integer;

pub const MAX_LANES: i64 = 16;
const DEFAULT_LANES: i64 = 4;

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One of the kind is running or paused.
    Active,
    /// None is in a state to be paused, resumed or stopped.
    NotActive,
    /// A real import needs the mirror: it hands over what needs more than a page.
    StageOff,
    /// There is nowhere to take points from.
    RewardsNotBound,
    Database(DatabaseFailure),
}

/// Starts a job; its row.
///
/// # Errors
/// When it may not start, or was not recorded.
pub async fn start<P: Platform>(platform: &P, stage: Stage, order: Order) -> Result<Row, Refusal> {
    if stage == Stage::Off && !order.dry_run && order.kind != Kind::Equality {
        return Err(Refusal::StageOff);
    }
    if order.kind == Kind::Points && !platform.is_bound(Store::Rewards) {
        return Err(Refusal::RewardsNotBound);
    }
    let order = Order {
        lanes: match order.lanes {
            0 => DEFAULT_LANES,
            lanes => lanes.clamp(1, MAX_LANES),
        },
        ..order
    };
    let row = turned(platform, book::start(&order), Refusal::Active).await?;
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
pub async fn turn<P: Platform>(platform: &P, kind: Kind, turn: Turn) -> Result<Row, Refusal> {
    let row = turned(platform, book::turn(kind, turn), Refusal::NotActive).await?;
    operated(
        platform,
        match turn {
            Turn::Pause => "job.pause",
            Turn::Resume(_) => "job.resume",
            Turn::Stop => "job.stop",
        },
    );
    if let (Turn::Resume(_), Some(job), Some(lanes)) =
        (turn, integer(&row, "id"), integer(&row, "lanes"))
    {
        wake_all(platform, job, lanes).await;
    }
    Ok(row)
}

async fn turned<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
    refusal: Refusal,
) -> Result<Row, Refusal> {
    let results = platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(Refusal::Database)?;
    let has_turned = results.first().is_some_and(|rows| !rows.is_empty());
    let row = results
        .into_iter()
        .nth(1)
        .and_then(|rows| rows.into_iter().next());
    match (has_turned, row) {
        (true, Some(row)) => Ok(row),
        (false, _) => Err(refusal),
        (true, None) => Err(Refusal::Database(DatabaseFailure::Refused)),
    }
}

fn operated<P: Platform>(platform: &P, action: &'static str) {
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: 0,
    });
}
