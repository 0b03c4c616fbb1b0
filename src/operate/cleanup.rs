//! Cleaning up: what is still there, when the route may go, and what stands in the way of
//! clearing. What of it is done when is an operator's; nothing here begins by itself.

pub mod clear;
pub mod history;
pub mod issuer;
mod leaving;
pub mod residue;
pub mod verify;

use serde::Serialize;
use serde_json::{Value as Json, json};

pub use self::leaving::{Leaving, leaving, leaving_shown};
use crate::auth::authenticate::imported_keys;
use crate::handover::authority::Holder;
use crate::handover::cleanup::{Note, notes};
use crate::policy::flags::Stage;
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, now, text};

/// `used_at`: when somebody last asked the proxy for something that it answered in this
/// stage.
const STANDING: &str = concat!(
    "SELECT holder, since, generation, announced_until, ",
    now!(),
    " AS now, (SELECT max(last_needed_at) FROM dependencies WHERE kind IN ('rows', 'translated', 'mgpass_token', 'document')) AS used_at, ",
    "(SELECT max(last_needed_at) FROM dependencies WHERE kind NOT IN ('rows', 'translated', 'mgpass_token', 'document')) AS logto_needed_at, ",
    "(SELECT max(last_at) FROM webhook_receipts WHERE source = 'logto') AS logto_webhook_at, ",
    "(SELECT count(*) FROM intents WHERE discharged_at IS NULL AND settled IS NULL) AS n_hanging, ",
    "(SELECT count(*) FROM passwords WHERE state IN ('carrying', 'void_owed')) AS n_voids, ",
    "(SELECT count(*) FROM passwords WHERE state = 'carried') AS n_carried, ",
    "(SELECT kept_at FROM old_issuer) AS issuer_kept_at FROM authority"
);
const STEPS: &str = "SELECT step, began_at, done_at, n FROM cleanup_steps";
const IS_CLEARED: &str = "SELECT EXISTS (SELECT 1 FROM cleanup_steps) AS is_cleared";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[STANDING, STEPS, IS_CLEARED];

/// Where things stand, by the proxy's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub holder: Holder,
    pub since_ms: i64,
    pub generation: i64,
    pub is_announced: bool,
    pub now_ms: i64,
    /// When the proxy last answered somebody in stage `cleanup`.
    pub used_at_ms: Option<i64>,
    pub issuer_kept_ms: Option<i64>,
    /// When Logto was last needed, and last sent a webhook.
    pub logto_needed_ms: Option<i64>,
    pub logto_webhook_ms: Option<i64>,
    /// Writes that nobody has answered.
    pub n_hanging: i64,
    /// Passwords at mgPass that are to end there, or of which it is not known.
    pub n_voids: i64,
    /// Passwords at mgPass that the mirror ends once they change at Logto.
    pub n_carried: i64,
    pub notes: Vec<Note>,
    pub steps: Vec<StepRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepRow {
    pub step: String,
    pub began_at: i64,
    pub done_at: Option<i64>,
    pub n: i64,
}

pub fn read() -> Vec<Statement> {
    vec![
        Statement::new(STANDING, vec![]),
        Statement::new(STEPS, vec![]),
        notes::read(),
    ]
}

/// Once clearing has begun cron has nothing to do.
pub fn is_cleared() -> Statement {
    Statement::new(IS_CLEARED, vec![])
}

pub fn parse_is_cleared(results: &[Vec<Row>]) -> bool {
    let row = results.first().and_then(|rows| rows.first());
    row.and_then(|row| integer(row, "is_cleared")) == Some(1)
}

pub fn parse(results: &[Vec<Row>]) -> Option<Standing> {
    let [standing, steps, kept] = results else {
        return None;
    };
    let row = standing.first()?;
    let now_ms = integer(row, "now")?;
    let step = |row: &Row| {
        Some(StepRow {
            step: text(row, "step")?,
            began_at: integer(row, "began_at")?,
            done_at: integer(row, "done_at"),
            n: integer(row, "n")?,
        })
    };
    Some(Standing {
        holder: Holder::from_name(&text(row, "holder")?)?,
        since_ms: integer(row, "since")?,
        generation: integer(row, "generation")?,
        is_announced: integer(row, "announced_until").is_some(),
        now_ms,
        used_at_ms: integer(row, "used_at"),
        issuer_kept_ms: integer(row, "issuer_kept_at"),
        logto_needed_ms: integer(row, "logto_needed_at"),
        logto_webhook_ms: integer(row, "logto_webhook_at"),
        n_hanging: integer(row, "n_hanging")?,
        n_voids: integer(row, "n_voids")?,
        n_carried: integer(row, "n_carried")?,
        notes: notes::parse(kept)?,
        steps: steps.iter().map(step).collect::<Option<_>>()?,
    })
}

/// Why nothing is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    NotThere,
    StageNotOff,
    Announced,
    NoArchive,
    Residue,
    EffectsOwed,
    PasswordsOwed,
    InUse(Leaving),
    MgpassSilent,
}

impl Blocked {
    pub fn code(self) -> &'static str {
        match self {
            Self::NotThere => "not_in_cleanup",
            Self::StageNotOff => "stage_not_off",
            Self::Announced => "handover_announced",
            Self::NoArchive => "not_archived",
            Self::Residue => "residue_left",
            Self::EffectsOwed => "effects_owed",
            Self::PasswordsOwed => "passwords_owed",
            Self::InUse(_) => "route_in_use",
            Self::MgpassSilent => "mgpass_silent",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::NotThere => {
                "Only in stage `cleanup` is there something to clear; before the cutover it is `dwp cleanup abandon`, which needs Logto as the authority: `dwp stage dual_write --wait` first."
            }
            Self::StageNotOff => {
                "Writes are still mirrored: set the key `stage` to `off`, and wait two minutes."
            }
            Self::Announced => "A hand-over is announced: `dwp stage dual_write` takes it back.",
            Self::NoArchive => {
                "The history was not written to a file since: `dwp cleanup run` does it first."
            }
            Self::Residue => {
                "What only Logto had a place for was neither moved nor exported, or changed since: `dwp cleanup residue`."
            }
            Self::EffectsOwed => {
                "mgPass still owes somebody the end of their sessions; cron pays five a minute."
            }
            Self::PasswordsOwed => {
                "A carried password is to end at mgPass first; cron ends some each minute. Before a migration is given up that is each of them: raise the epoch by hand, and wait."
            }
            Self::InUse(leaving) => leaving.words(),
            Self::MgpassSilent => "mgPass's database did not answer.",
        }
    }
}

/// What is cleared, and after what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The migration is over.
    Cleanup,
    /// It is given up, before any cutover or after a return.
    Abandoned,
}

/// What mgPass's database says of what would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtMgpass {
    pub n_residue_after: i64,
    pub n_effects: i64,
}

/// Pure. `at_mgpass`: `None` when it did not answer.
pub fn blocked(
    why: Why,
    standing: &Standing,
    at_mgpass: Option<AtMgpass>,
    leaving: Leaving,
    asked_stage: Option<Stage>,
) -> Option<Blocked> {
    if !standing.steps.is_empty() {
        // Begun: it is carried to its end, whatever changed meanwhile.
        return None;
    }
    let note = |name: &str| standing.notes.iter().find(|note| note.name == name);
    match why {
        Why::Cleanup if standing.holder != Holder::Alone => return Some(Blocked::NotThere),
        Why::Abandoned if standing.holder != Holder::Logto => return Some(Blocked::NotThere),
        Why::Abandoned if standing.is_announced => return Some(Blocked::Announced),
        Why::Abandoned if asked_stage != Some(Stage::Off) => return Some(Blocked::StageNotOff),
        Why::Cleanup | Why::Abandoned => {}
    }
    let Some(at_mgpass) = at_mgpass else {
        return Some(Blocked::MgpassSilent);
    };
    if why == Why::Cleanup {
        let is_gone = note("route").is_some_and(|note| note.until >= standing.since_ms);
        if leaving != Leaving::Now && !is_gone {
            return Some(Blocked::InUse(leaving));
        }
        // No reason makes it safe.
        if note("residue").is_none() || at_mgpass.n_residue_after > 0 {
            return Some(Blocked::Residue);
        }
    }
    if at_mgpass.n_effects > 0 {
        return Some(Blocked::EffectsOwed);
    }
    // Nobody ends them later: given up, Logto's may change and the old one would live on.
    if standing.n_voids > 0 || why == Why::Abandoned && standing.n_carried > 0 {
        return Some(Blocked::PasswordsOwed);
    }
    let is_archived = note("archive").is_some_and(|note| note.until >= standing.since_ms);
    (!is_archived).then_some(Blocked::NoArchive)
}

/// # Errors
/// When the proxy's database does not answer.
pub async fn standing<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<(Standing, Leaving), DatabaseFailure> {
    let results = platform.batch(Store::Proxy, read()).await?;
    let standing = parse(&results).ok_or(DatabaseFailure::Refused)?;
    let ends_ms = imported_keys(platform, context)
        .await
        .map(|keys| keys.last_end().0 * 1_000);
    let leaving = leaving(&standing, ends_ms, context.settings.cleanup.least);
    Ok((standing, leaving))
}

/// # Errors
/// When the proxy's database does not answer.
pub async fn leave<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Leaving, DatabaseFailure> {
    standing(platform, context)
        .await
        .map(|(_, leaving)| leaving)
}

/// As `dwp cleanup plan` shows it.
pub fn shown(standing: &Standing, leaving: Leaving, blocked: Option<Blocked>) -> Json {
    json!({
        "holder": standing.holder.name(),
        "since": standing.since_ms,
        "now": standing.now_ms,
        "used_at": standing.used_at_ms,
        "issuer_kept_at": standing.issuer_kept_ms,
        "logto_needed_at": standing.logto_needed_ms,
        "logto_webhook_at": standing.logto_webhook_ms,
        "hanging": standing.n_hanging,
        "notes": standing.notes,
        "steps": standing.steps,
        "leaving": leaving_shown(leaving),
        "blocked": blocked.map(|blocked| json!({ "code": blocked.code(), "do": blocked.words() })),
    })
}

#[cfg(test)]
mod tests;
