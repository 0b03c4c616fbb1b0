//! The row that says whose data wins, as everybody reads it.
//!
//! One row in the proxy's own database, read at its one writer and never through a
//! session that allows replicas. Any answer of that database which a request gets anyway
//! (the fence of reads, the record of a write) brings a [`View`] along.

use std::pin::pin;

use futures_util::future::{Either, select};

use crate::policy::authority::{Holder, View};
use crate::runtime::context::Context;
use crate::runtime::isolate::Isolate;
use crate::runtime::ports::{CallFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{holder, integer, now, text, view_columns};

const VIEW: &str = concat!("SELECT ", view_columns!(), " FROM authority");

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[VIEW];

/// Nobody waits longer for it.
pub const PROOF_MS: u32 = 500;

pub fn view() -> Statement {
    Statement::new(VIEW, vec![])
}

/// Of any row that has the columns of `view_columns!`.
pub fn parse_view(row: &Row) -> Option<View> {
    Some(View {
        holder: Holder::from_name(&text(row, "holder")?)?,
        generation: integer(row, "generation")?,
        term: integer(row, "term")?,
        announced_until_ms: integer(row, "announced_until"),
        deadline_ms: integer(row, "deadline"),
        is_raise_owed: integer(row, "raise_owed")? != 0,
        now_ms: integer(row, "now")?,
    })
}

/// The row itself; the isolate's lease is renewed by it.
pub async fn ask<P: Platform>(
    platform: &P,
    isolate: &Isolate,
    lease_ms: i64,
    deadline_ms: u32,
) -> Option<View> {
    let asked_at_ms = platform.now_ms();
    let asked = pin!(platform.batch(Store::Proxy, vec![view()]));
    let deadline = pin!(platform.sleep(deadline_ms));
    let found = match select(asked, deadline).await {
        Either::Left((Ok(results), _)) => parse_view(results.first()?.first()?)?,
        Either::Left((Err(_), _)) | Either::Right(_) => return None,
    };
    isolate.note_authority(found, asked_at_ms, lease_ms);
    Some(found)
}

/// Before each call of the proxy's own to Logto. A run of cron or of a Queue may last for
/// minutes: where mgPass had the say when this isolate last heard, and that is longer ago
/// than a lease, Logto may have been left alone since.
///
/// # Errors
/// When Logto is not asked any more, or nobody can say.
pub async fn may_ask_logto<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<(), CallFailure> {
    let isolate = context.isolate;
    let lease = isolate.authority.get();
    let by_logto = |view: View| matches!(view.holder, Holder::Logto | Holder::Draining);
    let is_known = lease.view().is_none_or(by_logto) || lease.is_heard(platform.now_ms());
    if !is_known && !isolate.asks_no_logto() {
        let lease_ms = context.settings.handover.lease_ms;
        let heard = ask(platform, isolate, lease_ms, PROOF_MS).await;
        heard.ok_or(CallFailure::Unheard)?;
    }
    match isolate.asks_no_logto() {
        true => Err(CallFailure::Retired),
        false => Ok(()),
    }
}
