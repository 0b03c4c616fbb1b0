//! The log of moves, and what an operator sees of the authority besides: codes, ids,
//! reasons that operators gave.

use serde_json::{Value, json};

use crate::handover::authority::Holder;
use crate::handover::machine::{Due, Gates, due};
use crate::handover::row::{Authority, Pending};
use crate::handover::{debt, holds, strays};
use crate::policy::flags::Stage;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::text;

const LOG: &str = "SELECT id, at, from_holder, to_holder, generation, term, cause, wish, evidence, waivers, held_ms FROM authority_log ORDER BY id DESC LIMIT ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[LOG];

/// The newest moves first.
pub fn newest(limit: i64) -> Statement {
    Statement::new(LOG, vec![limit.into()])
}

/// Behind [`crate::handover::row::read`] in one batch: held, debt, strays, the log.
pub fn overview(limit: i64) -> Vec<Statement> {
    vec![
        holds::by_reason(),
        debt::by_class(),
        strays::by_source(),
        newest(limit),
    ]
}

/// The answers of [`overview`].
pub fn shown_overview(results: &[Vec<Row>]) -> Value {
    let list = |index: usize| results.get(index).cloned().unwrap_or_default();
    json!({
        "held": list(0),
        "debt": list(1),
        "strays": list(2),
        "log": shown_log(results.get(3..).unwrap_or_default()),
    })
}

/// The answer of [`newest`].
pub fn shown_log(results: &[Vec<Row>]) -> Vec<Row> {
    let rows = results.first().cloned().unwrap_or_default();
    rows.into_iter().map(shown).collect()
}

/// Waivers are kept as JSON text.
fn shown(mut row: Row) -> Row {
    if let Some(waivers) =
        text(&row, "waivers").and_then(|waivers| serde_json::from_str::<Value>(&waivers).ok())
    {
        row.insert("waivers".to_owned(), waivers);
    }
    row
}

/// The row, and why nothing moves, as far as that shows without asking the gates.
pub fn shown_authority(authority: &Authority, pending: &Pending) -> Value {
    let waits = match due(authority, pending, Gates::NotAsked) {
        Due::Now(_) => "nobody_came_by",
        Due::Wait(why) => why.code(),
    };
    json!({
        "holder": authority.holder.name(),
        "stage": stage(authority),
        "generation": authority.generation,
        "term": authority.term,
        "since": authority.since_ms,
        "deadline": authority.deadline_ms,
        "announced_at": authority.announced.map(|announced| announced.at_ms),
        "announced_until": authority.announced.map(|announced| announced.until_ms),
        "armed_until": authority.armed_until_ms,
        "wish": authority.wish.map(|wish| json!({
            "stage": wish.stage.name(), "at": wish.at_ms, "source": wish.source.name(),
        })),
        "raise_owed": authority.is_raise_owed,
        "waits": waits,
        "now": authority.now_ms,
        "pending": {
            "logto": pending.n_logto,
            "expired": pending.n_expired,
            "unnamed": pending.n_unnamed,
            "mgpass": pending.n_mgpass,
            "parked": pending.n_parked,
        },
    })
}

/// The stage by the authority; while that is Logto, it is KV's to say.
fn stage(authority: &Authority) -> &'static str {
    match authority.holder {
        Holder::Mgpass | Holder::Returning => Stage::Cutover.name(),
        Holder::Alone => Stage::Cleanup.name(),
        Holder::Logto | Holder::Draining => authority
            .kv_stage
            .map_or("unknown", |stage| stage.min(Stage::DualWrite).name()),
    }
}
