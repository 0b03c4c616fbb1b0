//! Plans and what became of them, as the proxy's database keeps them; and what the
//! guard saw, of the metrics.

use crate::policy::flags::Share;
use crate::policy::ramp::{Plan, State};
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, now, text};

pub(super) const NEWEST: &str = concat!(
    "SELECT p.*, ",
    now!(),
    " AS now, (SELECT holder FROM authority) AS authority FROM ramp_plans p ORDER BY id DESC LIMIT 1"
);
pub(super) const LOG: &str = "SELECT at, what, share, why, actor FROM ramp_log \
     WHERE plan = (SELECT max(id) FROM ramp_plans) ORDER BY id DESC LIMIT 100";
/// Nothing while one is running or paused.
pub(super) const START: &str = concat!(
    "INSERT INTO ramp_plans (state, steps, hold_ms, min_reads, in_force, earlier, good, actor, reason, started_at, moved_at) ",
    "SELECT 'running', ?1, ?2, ?3, ?4, ?4, ?4, ?5, ?6, ",
    now!(),
    ", ",
    now!(),
    " WHERE true ON CONFLICT DO NOTHING"
);
/// ?1 plan, ?2 version, ?3 state, ?4 in force, ?5 earlier, ?6 wanted, ?7 good, ?8 why.
pub(super) const MOVE: &str = concat!(
    "UPDATE ramp_plans SET version = version + 1, state = ?3, in_force = ?4, earlier = ?5, wanted = ?6, is_written = 0, good = ?7, ",
    "why = ?8, moved_at = ",
    now!(),
    " WHERE id = ?1 AND version = ?2"
);
pub(super) const NOTE: &str = concat!(
    "INSERT INTO ramp_log (plan, at, what, share, why, actor) SELECT coalesce(?1, (SELECT max(id) FROM ramp_plans)), ",
    now!(),
    ", ?2, ?3, ?4, ?5 WHERE changes() = 1 RETURNING id"
);
pub(super) const NOTE_PASSED: &str = concat!(
    "INSERT INTO ramp_log (plan, at, what, share, why) SELECT ?1, ",
    now!(),
    ", 'passed', ?2, ?3 WHERE changes() = 1"
);
pub(super) const WRITTEN: &str =
    "UPDATE ramp_plans SET is_written = 1 WHERE id = ?1 AND wanted = ?2";
pub(super) const FORGET_PLANS: &str =
    "DELETE FROM ramp_plans WHERE id <= (SELECT max(id) FROM ramp_plans) - 20";
pub(super) const FORGET_LOG: &str =
    "DELETE FROM ramp_log WHERE plan <= (SELECT max(id) FROM ramp_plans) - 20";
pub(super) const HOLDER: &str = "SELECT holder FROM authority";
pub(super) const VERDICT: &str =
    "SELECT at, verdict, reason FROM verdicts ORDER BY id DESC LIMIT 1";
/// One that KV did not take stands as held.
pub(super) const STOP: &str = "SELECT at, reason FROM verdicts WHERE verdict = 'stop' OR reason = 'stop_not_written' ORDER BY id DESC LIMIT 1";
pub(super) const READS: &str = "SELECT coalesce(sum(count), 0) AS n FROM samples \
     WHERE metric = 'requests' AND backend = 'mgpass' AND slot >= ?1";

/// Strings about plans, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    NEWEST,
    LOG,
    START,
    MOVE,
    NOTE,
    NOTE_PASSED,
    WRITTEN,
    FORGET_PLANS,
    FORGET_LOG,
    HOLDER,
];
/// Those about what the guard saw.
#[cfg(not(target_arch = "wasm32"))]
pub const METRICS_SQL: &[&str] = &[VERDICT, STOP, READS];

/// A plan with what the book knows of it besides.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) id: i64,
    pub(super) version: i64,
    pub(super) plan: Plan,
    pub(super) row: Row,
}

impl Kept {
    pub(super) fn logto_is_authority(&self) -> bool {
        text(&self.row, "authority").as_deref() == Some("logto")
    }

    pub(super) fn parse(row: &Row) -> Option<Self> {
        let share = |name| integer(row, name).and_then(Share::from_basis_points);
        let steps: Vec<i64> = serde_json::from_str(&text(row, "steps")?).ok()?;
        let steps: Option<Vec<Share>> = steps.into_iter().map(Share::from_basis_points).collect();
        Some(Self {
            id: integer(row, "id")?,
            version: integer(row, "version")?,
            plan: Plan {
                state: State::from_name(&text(row, "state")?)?,
                steps: steps?,
                hold_ms: integer(row, "hold_ms")?,
                min_reads: integer(row, "min_reads")?,
                in_force: share("in_force")?,
                earlier: share("earlier")?,
                wanted: share("wanted"),
                is_written: integer(row, "is_written")? == 1,
                good: share("good")?,
                moved_at: integer(row, "moved_at")?,
            },
            row: row.clone(),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        integer(&self.row, "now").unwrap_or_default()
    }
}

pub(super) async fn newest<P: Platform>(platform: &P) -> Result<Option<Kept>, DatabaseFailure> {
    let asked = vec![Statement::new(NEWEST, vec![])];
    let results = platform.batch(Store::Proxy, asked).await?;
    let row = results.first().and_then(|rows| rows.first());
    Ok(row.and_then(Kept::parse))
}
