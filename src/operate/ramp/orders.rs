//! What an operator does with a plan: start, pause, resume, abort.

use serde_json::json;

use super::book::{FORGET_LOG, FORGET_PLANS, HOLDER, NOTE, START, newest};
use super::{Asked, carry_out, keep};
use crate::operate::watch::Seen;
use crate::policy::flags::Share;
use crate::policy::guard::Tuning;
use crate::policy::ramp::{Move, Plan, State, parse_steps};
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store, Value};
use crate::runtime::sql::text;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Order {
    pub steps: String,
    pub hold_ms: i64,
    /// The guard's own minimum where none is given.
    pub min_reads: Option<i64>,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One is running or paused.
    Active,
    /// None is in a state for that.
    NotActive,
    /// `guard`, `kill_switch`, `stage` or `authority`.
    Held(&'static str),
    Steps(&'static str),
    /// `read_percent` cannot be read.
    Unreadable,
    Database(DatabaseFailure),
}

impl From<DatabaseFailure> for Refusal {
    fn from(failure: DatabaseFailure) -> Self {
        Self::Database(failure)
    }
}

async fn holder<P: Platform>(platform: &P) -> Result<Option<String>, DatabaseFailure> {
    let asked = vec![Statement::new(HOLDER, vec![])];
    let results = platform.batch(Store::Proxy, asked).await?;
    Ok(results
        .first()
        .and_then(|rows| text(rows.first()?, "holder")))
}

/// Begins a plan; cron takes its first step.
///
/// # Errors
/// When it may not begin, or was not kept.
pub async fn start<P: Platform>(
    platform: &P,
    tuning: &Tuning,
    seen: &Seen,
    order: &Order,
    actor: Option<&str>,
    reason: Option<&str>,
) -> Result<(), Refusal> {
    let is_logto = holder(platform).await?.as_deref() == Some("logto");
    let asked = Asked::of(seen, is_logto);
    if let Some(held_by) = asked.held_by {
        return Err(Refusal::Held(held_by));
    }
    let in_force = asked.share.ok_or(Refusal::Unreadable)?;
    let steps = parse_steps(&order.steps, in_force).map_err(Refusal::Steps)?;
    let steps: Vec<u16> = steps.into_iter().map(Share::basis_points).collect();
    let min_reads = order.min_reads.unwrap_or(tuning.min_reads);
    let values = vec![
        json!(steps).to_string().into(),
        order.hold_ms.into(),
        min_reads.into(),
        i64::from(in_force.basis_points()).into(),
        actor.into(),
        reason.into(),
    ];
    let note = vec![
        Value::Null,
        "started".into(),
        i64::from(in_force.basis_points()).into(),
        reason.into(),
        actor.into(),
    ];
    let statements = vec![
        Statement::new(START, values),
        Statement::new(NOTE, note),
        Statement::new(FORGET_PLANS, vec![]),
        Statement::new(FORGET_LOG, vec![]),
    ];
    let results = platform.batch(Store::Proxy, statements).await?;
    if results.get(1).is_none_or(Vec::is_empty) {
        return Err(Refusal::Active);
    }
    platform.emit(&Event::RampMoved {
        what: "started",
        share_bps: in_force.basis_points(),
        why: None,
    });
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Pause,
    Resume,
    Abort,
}

/// Pauses, resumes or aborts the newest plan.
///
/// # Errors
/// When there is none in such a state, or it was not kept.
pub async fn turn<P: Platform>(
    platform: &P,
    seen: &Seen,
    turn: Turn,
    actor: Option<&str>,
) -> Result<(), Refusal> {
    let kept = newest(platform).await?.ok_or(Refusal::NotActive)?;
    let is_moved = match (turn, kept.plan.state) {
        (Turn::Pause, State::Running) => {
            carry_out(platform, &kept, Move::Pause("by_hand"), actor).await
        }
        (Turn::Abort, State::Running | State::Paused) => {
            carry_out(platform, &kept, Move::Abort("by_hand"), actor).await
        }
        // From the share that is asked for now, whoever wrote it.
        (Turn::Resume, State::Paused | State::Aborted) => {
            let asked = Asked::of(seen, kept.logto_is_authority());
            if let Some(held_by) = asked.held_by {
                return Err(Refusal::Held(held_by));
            }
            let share = asked.share.ok_or(Refusal::Unreadable)?;
            let resumed = Plan {
                state: State::Running,
                in_force: share,
                earlier: kept.plan.wanted.unwrap_or(kept.plan.in_force),
                wanted: None,
                is_written: false,
                good: kept.plan.good.min(share),
                ..kept.plan.clone()
            };
            keep(platform, &kept, &resumed, "resumed", None, actor).await
        }
        (Turn::Pause, _) | (Turn::Abort, _) | (Turn::Resume, _) => {
            return Err(Refusal::NotActive);
        }
    };
    // Somebody was faster, or the database did not take it.
    is_moved.then_some(()).ok_or(Refusal::NotActive)
}
