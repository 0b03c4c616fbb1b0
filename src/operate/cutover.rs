//! The stage after the hand-over, as an operator watches it: since when, how requests go
//! against the days before, what Logto lacks, what somebody changed there, points, and
//! what all of it speaks for. `policy::cutover` judges; a person takes the way back.
//!
//! Harmless twice: cron keeps an advice only while another one stands, so that of two at
//! once one tells.

mod course;
mod points;

use serde_json::{Value as Json, json};

use self::course::{Courses, courses, parse_courses};
use crate::handover::authority::Holder;
use crate::handover::{debt, strays};
use crate::policy::cutover::{Advice, Course, Facts, Points, judge};
use crate::policy::guard::Tuning;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store, Value};
use crate::runtime::sql::{integer, now, text};

const TERM: &str = concat!(
    "SELECT holder, term, ",
    now!(),
    " AS now, coalesce((SELECT at FROM authority_log WHERE from_holder = 'draining' AND to_holder = 'mgpass' ORDER BY id DESC LIMIT 1), since) AS since, ",
    "(SELECT min(opened_at) FROM intents i WHERE i.side = 'mgpass' AND i.discharged_at IS NULL ",
    "AND NOT EXISTS (SELECT 1 FROM held_subjects h WHERE h.subject = i.subject)) AS pending_since FROM authority"
);
const KEPT: &str = "SELECT term, verdict, reason, since, failing_since, points_first, points_last, points_at FROM cutover_watch";
/// ?1 term, ?2 advice, ?3 reason. A row only when another one stood.
const CHANGE: &str = concat!(
    "UPDATE cutover_watch SET term = ?1, verdict = ?2, reason = ?3, since = ",
    now!(),
    " WHERE (term, verdict, reason) <> (?1, ?2, ?3) RETURNING verdict"
);
/// What lasts; ?2 and ?3: points as first and last read, ?4: when.
const KEEP: &str = concat!(
    "UPDATE cutover_watch SET judged_at = ",
    now!(),
    ", failing_since = ?1, points_first = ?2, points_last = ?3, points_at = ?4"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[TERM, KEPT, CHANGE, KEEP];
#[cfg(not(target_arch = "wasm32"))]
pub const METRICS_SQL: &[&str] = course::ALL_SQL;
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = points::ALL_SQL;

/// What is recommended now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommended {
    pub advice: Advice,
    pub reason: &'static str,
    /// Since when it stands; `None`: cron has not kept it yet.
    pub since_ms: Option<i64>,
    /// The way back must do without mgPass.
    pub is_mgpass_gone: bool,
}

/// One run of cron, behind that of the authority.
pub async fn watch<P: Platform>(platform: &P, tuning: &Tuning, holder: Holder) {
    if holder != Holder::Mgpass {
        return;
    }
    if let Err(failure) = try_watch(platform, tuning).await {
        platform.emit(&Event::MetricsDelayed {
            step: "cutover",
            code: failure.code(),
        });
    }
}

async fn try_watch<P: Platform>(platform: &P, tuning: &Tuning) -> Result<(), DatabaseFailure> {
    let Some(mut seen) = look(platform, tuning).await? else {
        return Ok(());
    };
    let now_ms = seen.facts.now_ms;
    let before = seen.kept.failing_since_ms;
    seen.facts.failing_since_ms = match points::is_there(platform).await {
        true => None,
        false => before.or(Some(now_ms)),
    };
    let is_there = seen.facts.failing_since_ms.is_none();
    if is_there
        && points::is_due(&seen.kept.points, now_ms)
        && let Some(last) = points::read(platform).await
    {
        seen.kept.points.take(last, now_ms);
    }
    seen.facts.points = seen.kept.points.both();
    let (advice, reason) = judge(&seen.facts, tuning);
    let change = vec![seen.term.into(), advice.name().into(), reason.into()];
    let [first, last] = seen.kept.points.kept();
    let failing_since = seen
        .facts
        .failing_since_ms
        .map_or(Value::Null, Value::Integer);
    let keep = vec![failing_since, first, last, seen.kept.points.at_ms.into()];
    let batch = vec![Statement::new(CHANGE, change), Statement::new(KEEP, keep)];
    let results = platform.batch(Store::Proxy, batch).await?;
    if results.first().is_some_and(|rows| !rows.is_empty()) {
        platform.emit(&Event::CutoverJudged {
            advice: advice.name(),
            reason,
        });
    }
    Ok(())
}

/// For the status: the section, and what is recommended. `Null` while Logto is the
/// authority. Asks neither side.
pub async fn view<P: Platform>(
    platform: &P,
    tuning: &Tuning,
    holder: Option<&str>,
) -> (Json, Option<Recommended>) {
    if !matches!(holder, Some("mgpass" | "returning")) {
        return (Json::Null, None);
    }
    match look(platform, tuning).await {
        Err(failure) => (json!({ "failure": failure.code() }), None),
        Ok(None) => (json!({ "failure": "unreadable" }), None),
        Ok(Some(seen)) => {
            let (advice, reason) = judge(&seen.facts, tuning);
            let kept = &seen.kept;
            let stands = kept.advice == (advice.name().to_owned(), reason.to_owned());
            let recommended = Recommended {
                advice,
                reason,
                since_ms: stands.then_some(kept.since_ms),
                is_mgpass_gone: seen.facts.failing_since_ms.is_some(),
            };
            (shown(&seen, &recommended), Some(recommended))
        }
    }
}

/// What lasts from one run to the next, of this term.
#[derive(Default)]
struct Kept {
    advice: (String, String),
    since_ms: i64,
    failing_since_ms: Option<i64>,
    points: points::Kept,
}

impl Kept {
    fn parse(row: &Row, term: i64) -> Self {
        if integer(row, "term") != Some(term) {
            return Self::default();
        }
        let of = |name| text(row, name).unwrap_or_default();
        Self {
            advice: (of("verdict"), of("reason")),
            since_ms: integer(row, "since").unwrap_or_default(),
            failing_since_ms: integer(row, "failing_since"),
            points: points::Kept::parse(row),
        }
    }
}

struct Seen {
    term: i64,
    facts: Facts,
    kept: Kept,
    debt: debt::Summary,
    strays: Vec<Row>,
    courses: Result<Courses, DatabaseFailure>,
}

/// `None`: a row was not as the schema says.
async fn look<P: Platform>(platform: &P, tuning: &Tuning) -> Result<Option<Seen>, DatabaseFailure> {
    let mut asked = [TERM, KEPT].map(|sql| Statement::new(sql, vec![])).to_vec();
    asked.extend(debt::summary());
    asked.push(strays::by_source());
    let results = platform.batch(Store::Proxy, asked).await?;
    let Some((term, mut seen)) = parse(&results) else {
        return Ok(None);
    };
    let facts = &mut seen.facts;
    let asked = courses(facts.since_ms, platform.now_ms(), tuning);
    seen.courses = match platform.batch(Store::Metrics, asked).await {
        Ok(results) => Ok(parse_courses(&results, facts.since_ms)),
        Err(failure) => Err(failure),
    };
    facts.requests = seen.courses.as_ref().ok().map(|courses| {
        let of = |kind: &course::OfKind| Course {
            before: kind.before.clone(),
            lately: kind.lately.clone(),
        };
        (of(&courses.reads), of(&courses.writes))
    });
    seen.term = term;
    Ok(Some(seen))
}

fn parse(results: &[Vec<Row>]) -> Option<(i64, Seen)> {
    let [row, kept, rest @ ..] = results else {
        return None;
    };
    let row = row.first()?;
    let term = integer(row, "term")?;
    let kept = kept
        .first()
        .map_or_else(Kept::default, |kept| Kept::parse(kept, term));
    let debt = debt::parse_summary(rest)?;
    let strays = rest.get(2).cloned().unwrap_or_default();
    let facts = Facts {
        now_ms: integer(row, "now")?,
        since_ms: integer(row, "since")?,
        requests: None,
        failing_since_ms: kept.failing_since_ms,
        n_strays: strays.iter().filter_map(|row| integer(row, "n")).sum(),
        pending_since_ms: integer(row, "pending_since"),
        feed_at_ms: debt.feed_at_ms,
        walked_at_ms: debt.covered_at_ms,
        points: kept.points.both(),
    };
    let seen = Seen {
        term,
        facts,
        kept,
        debt,
        strays,
        courses: Ok(Courses::default()),
    };
    Some((term, seen))
}

fn shown(seen: &Seen, recommended: &Recommended) -> Json {
    let facts = &seen.facts;
    let age = |at_ms: Option<i64>| at_ms.map(|at_ms| (facts.now_ms - at_ms).max(0));
    let classes = seen
        .debt
        .classes
        .iter()
        .map(|one| json!({ "class": one.class, "users": one.n_users, "since": one.since_ms }));
    let requests = match &seen.courses {
        Ok(courses) => courses.shown(),
        Err(failure) => json!({ "failure": failure.code() }),
    };
    json!({
        "since": facts.since_ms,
        "advice": recommended.advice.name(),
        "reason": recommended.reason,
        "advice_since": recommended.since_ms,
        "mgpass_failing_since": facts.failing_since_ms,
        "requests": requests,
        "strays": seen.strays,
        "debt": {
            "users": seen.debt.n_users,
            "classes": classes.collect::<Vec<_>>(),
            "right_as_of": seen.debt.as_of_ms(),
        },
        "log_read_ms_ago": age(facts.feed_at_ms),
        "walk_began_ms_ago": age(facts.walked_at_ms),
        "points": seen.kept.points.both().map(|(first, last)| json!({
            "first": points_shown(&first),
            "last": points_shown(&last),
            "read_at": seen.kept.points.at_ms,
        })),
    })
}

fn points_shown(points: &Points) -> Json {
    json!({
        "imported": points.n_imported,
        "imported_sum": points.imported_sum,
        "entries": points.n_entries,
        "adrift": points.n_adrift,
    })
}
