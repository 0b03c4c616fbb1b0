//! The checklist: what each check found is gathered in steps of bounded size, kept, and
//! judged whenever somebody asks. The result is evidence of the gates before a hand-over.
//!
//! A step is one check: at most some fifty queries and calls. Cron makes one a minute, of
//! those that are due; an operator all, one after the other. Two at once find the same.

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::handover::facts::keep_evidence;
use crate::mirror::receipts;
use crate::operate::checks::kept::Kept;
use crate::operate::checks::{
    Check, NAMES, Verdict, audit, console, kept, points, sign_in, tokens, webhooks,
};
use crate::policy::flags::Stage;
use crate::runtime::context::Context;
use crate::runtime::digest::digest;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Backend, DatabaseFailure, Platform, Row, Store};
use crate::runtime::settings::CheckSettings;

/// Those that ask a backend, in the order in which they are run: a sign-in of the probe
/// comes before the audit log is read.
pub const COSTLY: [&str; 4] = ["sign_in", "tokens", "console", "audit"];
/// What a step may ask of the databases.
const STEP_QUERIES: usize = 50;

/// The checklist as it stands.
pub struct Checklist {
    pub checks: Vec<Check>,
    pub now_ms: i64,
    pub term: i64,
}

impl Checklist {
    pub fn not_green(&self) -> Vec<String> {
        let not_green = self.checks.iter().filter(|check| !check.is_green());
        not_green.map(|check| check.name.to_owned()).collect()
    }

    /// Of the oldest finding that it rests on; nothing is as old as what was never found.
    pub fn at_ms(&self) -> i64 {
        let times = self.checks.iter().filter_map(|check| check.at);
        times.min().unwrap_or(self.now_ms)
    }

    pub fn shown(&self) -> Json {
        json!({
            "now": self.now_ms,
            "term": self.term,
            "is_green": self.not_green().is_empty(),
            "not_green": self.not_green(),
            "at": self.at_ms(),
            "checks": self.checks,
        })
    }
}

/// # Errors
/// When the proxy's database did not answer.
pub async fn read<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Checklist, DatabaseFailure> {
    let mut asked = kept::read();
    let n_kept = asked.len();
    asked.extend(points::read());
    let n_points = asked.len();
    asked.extend(receipts::read());
    let results = platform.batch(Store::Proxy, asked).await?;
    let of = |from: usize, to: usize| results.get(from..to).unwrap_or_default();
    let judged = judge(
        of(0, n_kept),
        of(n_kept, n_points),
        of(n_points, results.len()),
        &context.settings.checks,
        platform.is_bound(Store::Rewards),
    );
    judged.ok_or(DatabaseFailure::Refused)
}

/// Pure. `None`: a row was not as the schema says.
fn judge(
    kept: &[Vec<Row>],
    points: &[Vec<Row>],
    receipts: &[Vec<Row>],
    settings: &CheckSettings,
    has_points: bool,
) -> Option<Checklist> {
    let kept = Kept::parse(kept)?;
    let now_ms = kept.now_ms;
    let points = points::parse(points, has_points)?;
    let (receipts, tests) = receipts::parse(receipts)?;
    let hooks = webhooks::Facts::of(receipts, tests, |side| match side {
        Backend::Logto => settings.receives_logto,
        Backend::Mgpass => settings.receives_mgpass,
    });
    let sign_in = kept.get::<sign_in::Facts>("sign_in");
    let tokens = kept.get::<tokens::Facts>("tokens");
    let console = kept.get::<console::Facts>("console");
    let audit = kept.get::<audit::Facts>("audit");
    let max = settings.max_without_road;
    let check = |name: &'static str| {
        let (verdict, at_ms, figures): (Verdict, Option<i64>, Option<Json>) = match name {
            "sign_in" => (
                sign_in::judge(sign_in.as_ref(), max, now_ms),
                kept.at(name),
                sign_in
                    .as_ref()
                    .map(|(facts, _)| sign_in::figures(facts, max)),
            ),
            "tokens" => (
                tokens::judge(tokens.as_ref(), now_ms),
                kept.at(name),
                tokens.as_ref().map(|(facts, _)| tokens::figures(facts)),
            ),
            "points" => (
                points::judge(&points, now_ms),
                points.at_ms(),
                Some(points::figures(&points)),
            ),
            "webhooks" => (
                webhooks::judge(&hooks, now_ms),
                hooks.at_ms(),
                Some(webhooks::figures(&hooks)),
            ),
            "console" => (
                console::judge(console.as_ref(), now_ms),
                kept.at(name),
                console.as_ref().map(|(facts, _)| console::figures(facts)),
            ),
            _ => (
                audit::judge(audit.as_ref(), now_ms),
                kept.at(name),
                audit.as_ref().map(|(facts, _)| audit::figures(facts)),
            ),
        };
        Check::new(name, verdict, at_ms, figures.unwrap_or_default())
    };
    Some(Checklist {
        checks: NAMES.into_iter().map(check).collect(),
        now_ms,
        term: kept.term,
    })
}

/// One step: gathers for this check and keeps what was found.
///
/// # Errors
/// When it could not be kept.
pub async fn run<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    name: &'static str,
) -> Result<(), DatabaseFailure> {
    let began_ms = platform.now_ms();
    let kept = match name {
        "sign_in" => keep(platform, name, &sign_in::gather(platform, context).await).await,
        "tokens" => keep(platform, name, &tokens::gather(platform, context).await).await,
        "console" => keep(platform, name, &console::gather(platform, context).await).await,
        _ => keep(platform, name, &audit::gather(platform, context).await).await,
    };
    platform.emit(&match kept {
        Ok(()) => Event::CheckRun {
            check: name,
            duration_ms: platform.now_ms() - began_ms,
        },
        Err(failure) => Event::CheckDelayed {
            check: name,
            code: failure.code(),
        },
    });
    kept
}

async fn keep<P: Platform>(
    platform: &P,
    name: &str,
    facts: &impl Serialize,
) -> Result<(), DatabaseFailure> {
    let statement = kept::keep(name, facts).ok_or(DatabaseFailure::Refused)?;
    platform.batch(Store::Proxy, vec![statement]).await?;
    Ok(())
}

/// Judges all and keeps the result for the gates.
///
/// # Errors
/// When the proxy's database did not answer.
pub async fn conclude<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Checklist, DatabaseFailure> {
    let checklist = read(platform, context).await?;
    let not_green = checklist.not_green();
    for check in &checklist.checks {
        platform.emit(&Event::CheckJudged {
            check: check.name,
            result: check.state.name(),
        });
    }
    let told = digest(&checklist.shown().to_string());
    let evidence = keep_evidence("checklist", &told, &not_green, checklist.at_ms());
    platform.batch(Store::Proxy, vec![evidence]).await?;
    Ok(checklist)
}

/// One step of cron's, where one is due; what it finds is judged when all are young.
pub async fn tick<P: Platform>(platform: &P, context: &Context<'_>, stage: Stage) {
    let every_ms = 1_000 * i64::from(context.settings.checks.every_s);
    if every_ms == 0 || stage == Stage::Off || !platform.usage().has_room_for(STEP_QUERIES) {
        return;
    }
    let Ok(results) = platform.batch(Store::Proxy, kept::read()).await else {
        return;
    };
    let Some(kept) = Kept::parse(&results) else {
        return;
    };
    let Some(name) = due(&kept, every_ms) else {
        return;
    };
    let is_done = run(platform, context, name).await.is_ok();
    if is_done && Some(&name) == COSTLY.last() && conclude(platform, context).await.is_err() {
        platform.emit(&Event::CheckDelayed {
            check: name,
            code: "not_concluded",
        });
    }
}

/// The first in their order that is older than that.
fn due(kept: &Kept, every_ms: i64) -> Option<&'static str> {
    let is_due = |name: &&str| {
        let at_ms = kept.at(name);
        at_ms.is_none_or(|at_ms| kept.now_ms - at_ms >= every_ms)
    };
    COSTLY.into_iter().find(is_due)
}

/// The costly one of this name.
pub fn named(name: &str) -> Option<&'static str> {
    COSTLY.into_iter().find(|known| *known == name)
}
