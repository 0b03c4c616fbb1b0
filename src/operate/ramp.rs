//! A ramp plan as it is kept, and carried out: by cron, so that it goes on whoever is
//! looking. [`crate::policy::ramp`] decides; here is asked, written and told.
//!
//! A move is a compare-and-set on the plan's version, before `read_percent` is written:
//! of two crons one moves, and a crash between the two is made up for by the next, which
//! writes the same value again.

mod book;
mod orders;

use serde_json::{Value as Json, json};

#[cfg(not(target_arch = "wasm32"))]
pub use self::book::{ALL_SQL, METRICS_SQL};
use self::book::{
    Kept, LOG, MOVE, NEWEST, NOTE, NOTE_PASSED, READS, STOP, VERDICT, WRITTEN, newest,
};
pub use self::orders::{Order, Refusal, Turn, start, turn};

use crate::operate::watch::{self, Seen};
use crate::policy::flags::{Flags, Share, Stage, form, parse};
use crate::policy::guard::{Tuning, Verdict};
use crate::policy::ramp::{Move, Plan, Sight, State, held_by, next};
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store, Value};
use crate::runtime::sql::{integer, text};

/// The share that operators flip by hand, and a plan writes.
static KEY: &str = "read_percent";

/// What the flags say of a plan: the share asked for, and what holds reads at Logto.
struct Asked {
    share: Option<Share>,
    held_by: Option<&'static str>,
}

impl Asked {
    fn of(seen: &Seen, logto_is_authority: bool) -> Self {
        let flags = parse(&Flags::default(), &seen.values);
        let is_refused = form::refusal(KEY, seen.value(KEY)).is_some();
        Self {
            share: (!is_refused).then_some(flags.read_percent),
            held_by: held_by(
                flags.stage == Stage::DualWrite,
                flags.kill_switch,
                flags.guard.is_some(),
                logto_is_authority,
            ),
        }
    }
}

async fn sight<P: Platform>(
    platform: &P,
    tuning: &Tuning,
    kept: &Kept,
    seen: &Seen,
) -> Result<Sight, DatabaseFailure> {
    let asked = Asked::of(seen, kept.logto_is_authority());
    let results = platform
        .batch(
            Store::Metrics,
            vec![
                Statement::new(VERDICT, vec![]),
                Statement::new(STOP, vec![]),
                Statement::new(READS, vec![kept.plan.moved_at.into()]),
            ],
        )
        .await?;
    let row = |index: usize| results.get(index).and_then(|rows| rows.first());
    let verdict = row(0).and_then(|row| {
        let verdict = Verdict::from_name(&text(row, "verdict")?)?;
        Some((verdict, reason_of(row), integer(row, "at")?))
    });
    Ok(Sight {
        now_ms: kept.now_ms(),
        asked: asked.share,
        held_by: asked.held_by,
        verdict,
        stopped: row(1).and_then(|row| Some((reason_of(row), integer(row, "at")?))),
        window_ms: tuning.window_ms,
        n_reads: row(2).and_then(|row| integer(row, "n")).unwrap_or_default(),
    })
}

/// Reasons of the guard's by their names; another is from a newer version.
fn reason_of(row: &Row) -> &'static str {
    let reason = text(row, "reason").unwrap_or_default();
    crate::policy::guard::REASONS
        .iter()
        .find(|known| **known == reason)
        .unwrap_or(&"stop")
}

/// One run of cron, behind the guard's.
pub async fn tick<P: Platform>(platform: &P, tuning: &Tuning, seen: &Seen) {
    // Not to be had: the plan rests until the next minute.
    let Ok(Some(kept)) = newest(platform).await else {
        return;
    };
    if matches!(kept.plan.state, State::Paused | State::Done) {
        return;
    }
    let Ok(sight) = sight(platform, tuning, &kept, seen).await else {
        return;
    };
    let decided = next(&kept.plan, &sight);
    carry_out(platform, &kept, decided, None).await;
}

/// Whether the move was made: another cron or an operator may have been faster.
async fn carry_out<P: Platform>(
    platform: &P,
    kept: &Kept,
    decided: Move,
    actor: Option<&str>,
) -> bool {
    let plan = &kept.plan;
    let moved = |change: &dyn Fn(&mut Plan)| {
        let mut moved = Plan {
            wanted: None,
            is_written: false,
            ..plan.clone()
        };
        change(&mut moved);
        moved
    };
    let (moved, what, why) = match decided {
        Move::Stay(_) => return false,
        Move::Write(share) => return write(platform, kept, share).await,
        Move::Seen => (
            moved(&|moved| {
                moved.earlier = plan.in_force;
                moved.in_force = plan.wanted.unwrap_or(plan.in_force);
            }),
            "seen",
            None,
        ),
        Move::Take(share) => (
            moved(&|moved| {
                moved.wanted = Some(share);
                moved.good = plan.in_force;
            }),
            "step",
            None,
        ),
        Move::Pause(why) => (
            moved(&|moved| moved.state = State::Paused),
            "paused",
            Some(why),
        ),
        Move::Abort(why) => (
            moved(&|moved| {
                moved.state = State::Aborted;
                let back = plan.good.min(plan.in_force);
                moved.wanted = (back != plan.in_force || plan.wanted.is_some()).then_some(back);
            }),
            "aborted",
            Some(why),
        ),
        Move::Done => (
            moved(&|moved| {
                moved.state = State::Done;
                moved.good = plan.in_force;
            }),
            "done",
            None,
        ),
        Move::Forget => (moved(&|_| {}), "seen", None),
    };
    if !keep(platform, kept, &moved, what, why, actor).await {
        return false;
    }
    if let Some(share) = moved.wanted {
        let kept = Kept {
            plan: moved,
            version: kept.version + 1,
            ..kept.clone()
        };
        write(platform, &kept, share).await;
    }
    true
}

async fn keep<P: Platform>(
    platform: &P,
    kept: &Kept,
    moved: &Plan,
    what: &'static str,
    why: Option<&'static str>,
    actor: Option<&str>,
) -> bool {
    let bps = |share: Share| Value::from(i64::from(share.basis_points()));
    let has_passed = moved.good > kept.plan.good && moved.good == kept.plan.in_force;
    let shown = moved.wanted.unwrap_or(moved.in_force);
    let mut statements = vec![Statement::new(
        MOVE,
        vec![
            kept.id.into(),
            kept.version.into(),
            moved.state.name().into(),
            bps(moved.in_force),
            bps(moved.earlier),
            moved.wanted.map_or(Value::Null, bps),
            bps(moved.good),
            why.into(),
        ],
    )];
    if has_passed {
        let values = vec![
            kept.id.into(),
            bps(moved.good),
            Some("as_good_as_logto").into(),
        ];
        statements.push(Statement::new(NOTE_PASSED, values));
    }
    let note = vec![
        kept.id.into(),
        what.into(),
        bps(shown),
        why.into(),
        actor.into(),
    ];
    statements.push(Statement::new(NOTE, note));
    let n_before = statements.len() - 1;
    let Ok(results) = platform.batch(Store::Proxy, statements).await else {
        return false;
    };
    let is_kept = results.get(n_before).is_some_and(|rows| !rows.is_empty());
    if is_kept {
        platform.emit(&Event::RampMoved {
            what,
            share_bps: shown.basis_points(),
            why,
        });
    }
    is_kept
}

/// Into KV, with the plan's name on it; true once KV has it.
async fn write<P: Platform>(platform: &P, kept: &Kept, share: Share) -> bool {
    let percent = share.to_percent();
    let reason = format!("ramp plan {}", kept.id);
    let announced = watch::announce(KEY, Some(&percent), Some("ramp plan"), Some(&reason));
    // Not announced, the change is noticed all the same.
    let _ = platform.batch(Store::Proxy, vec![announced]).await;
    if platform.put_flag(KEY, &percent).await.is_err() {
        // The next run of cron tries again.
        platform.emit(&Event::RampMoved {
            what: "not_written",
            share_bps: share.basis_points(),
            why: None,
        });
        return false;
    }
    let values = vec![kept.id.into(), i64::from(share.basis_points()).into()];
    // Not noted, it is written once more.
    let _ = platform
        .batch(Store::Proxy, vec![Statement::new(WRITTEN, values)])
        .await;
    true
}

/// What [`view`] reads, of the proxy's database.
pub fn read() -> [Statement; 2] {
    [NEWEST, LOG].map(|sql| Statement::new(sql, vec![]))
}

/// The newest plan as operators see it; null: there was never one. `waits_for` says why
/// it is not at its next step.
pub async fn view<P: Platform>(
    platform: &P,
    tuning: Option<&Tuning>,
    seen: Option<&Seen>,
    rows: [&[Row]; 2],
) -> Json {
    let Some(kept) = rows.first().and_then(|rows| Kept::parse(rows.first()?)) else {
        return Json::Null;
    };
    let sight = match (tuning, seen) {
        (Some(tuning), Some(seen)) => sight(platform, tuning, &kept, seen).await.ok(),
        _ => None,
    };
    let waits_for = sight.as_ref().map(|sight| match next(&kept.plan, sight) {
        Move::Stay(code) => code,
        _ => "cron",
    });
    let plan = &kept.plan;
    let steps: Vec<u16> = plan.steps.iter().map(|step| step.basis_points()).collect();
    let n_taken = plan.steps.iter().filter(|step| **step <= plan.in_force);
    json!({
        "id": kept.id,
        "state": plan.state.name(),
        "why": text(&kept.row, "why"),
        "steps_bps": steps,
        "n_taken": n_taken.count(),
        "in_force_bps": plan.in_force.basis_points(),
        "wanted_bps": plan.wanted.map(Share::basis_points),
        "good_bps": plan.good.basis_points(),
        "next_bps": plan.next_step().map(Share::basis_points),
        "hold_ms": plan.hold_ms,
        "min_reads": plan.min_reads,
        "reads": sight.map(|sight| sight.n_reads),
        "waits_for": waits_for.filter(|_| plan.state == State::Running),
        "started_at": integer(&kept.row, "started_at"),
        "moved_at": plan.moved_at,
        "actor": text(&kept.row, "actor"),
        "reason": text(&kept.row, "reason"),
        "log": rows.get(1),
    })
}
