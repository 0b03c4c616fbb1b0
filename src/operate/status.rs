//! The state of everything in one document, for the command, the page and dashboards:
//! docs/status.md says what each member means.
//!
//! What cannot be read is said to be so, and hides nothing else. Ids, codes and figures;
//! no value of a user's.

mod facts;
mod jobs;
mod keys;

use self::facts::{Sources, facts};
use self::jobs::{JobRead, jobs, report};
use self::keys::keys;
use serde_json::{Map, Value as Json, json};

use crate::handover::{log, row};
use crate::mirror::passwords::decision;
use crate::mirror::{findings as mirror_findings, outbox, pass};
use crate::operate::checks::kept;
use crate::operate::cleanup;
use crate::operate::cutover;
use crate::operate::guard::{self, parse_window};
use crate::operate::problems::problems;
use crate::operate::timeline::{self, Users, allowed, realised_bps, side_shown};
use crate::operate::watch::{self, Seen};
use crate::operate::{findings, metrics, parked, ramp};
use crate::policy::flags::form::{is_in_force, refusal};
use crate::policy::guard::Tuning;
use crate::population::jobs::{Kind, store};
use crate::runtime::context::Request;
use crate::runtime::ports::{Platform, Row, Store};
use crate::runtime::sql::{integer, text};

const VERDICTS_SHOWN: i64 = 10;
const DAY_MS: i64 = 86_400_000;
/// A value of a flag is shown no longer.
const SHOWN_CHARS: usize = 80;

/// What was read of the proxy's database: rows of each statement, in their order.
struct Read(Vec<Vec<Row>>);

impl Read {
    fn rows(&self, index: usize) -> &[Row] {
        self.0.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    fn first(&self, index: usize) -> Option<&Row> {
        self.rows(index).first()
    }

    /// Of two statements, from this one on.
    fn authority(&self, index: usize) -> Json {
        let results = self.0.get(index..index + 2).unwrap_or_default();
        let parsed = row::parse(results);
        parsed
            .map(|(authority, pending)| log::shown_authority(&authority, &pending))
            .unwrap_or_default()
    }
}

/// Indices into the batch below.
const BACKLOG: usize = 0;
const FINDINGS: usize = 1;
const PARKED: usize = 2;
const FOUND: usize = 3;
const WALK: usize = 4;
const FLAGS: usize = 5;
const BEAT: usize = 6;
const RAMP: usize = 7;
const RAMP_LOG: usize = 8;
const JOBS: usize = 9;

pub async fn status<P: Platform>(platform: &P, request: &Request<'_>) -> Json {
    let tuning = request.context.map(|context| context.settings.guard);
    let mut asked = outbox::backlog();
    asked.extend([findings::summary(), parked::summary()]);
    asked.extend([mirror_findings::by_code(DAY_MS), pass::shown()]);
    asked.extend(watch::state());
    asked.extend(ramp::read());
    asked.extend(Kind::ALL.map(store::newest));
    let n_before = asked.len();
    asked.extend(row::read());
    asked.push(kept::evidence());
    asked.push(decision::summary());
    let (ours, failure) = match platform.batch(Store::Proxy, asked).await {
        Ok(results) => (Read(results), None),
        Err(failure) => (Read(Vec::new()), Some(failure.code())),
    };
    let seen = watch::look(platform).await;
    let jobs = jobs(platform, &ours).await;
    let figures = Figures::read(platform, tuning.as_ref()).await;
    let plan = [ours.rows(RAMP), ours.rows(RAMP_LOG)];
    let plan = ramp::view(platform, tuning.as_ref(), seen.as_ref(), plan).await;
    let keys = match &request.context {
        Some(context) => keys(platform, context).await,
        None => Json::Null,
    };
    let authority = ours.authority(n_before);
    let holder = authority.get("holder").and_then(Json::as_str);
    let (cutover, recommended) = match &tuning {
        Some(tuning) => cutover::view(platform, tuning, holder).await,
        None => (Json::Null, None),
    };
    let leaving = match (holder, &request.context) {
        (Some("alone"), Some(context)) => cleanup::leave(platform, context).await.ok(),
        _ => None,
    };
    let now_ms = platform.now_ms();
    let flags = flags_shown(request, seen.as_ref(), ours.rows(FLAGS));
    let facts = facts(&Sources {
        request,
        ours: &ours,
        failure,
        seen: seen.as_ref(),
        jobs: &jobs,
        figures: &figures,
        plan: &plan,
        keys: &keys,
        recommended: recommended.as_ref(),
        passwords: ours.first(n_before + 3),
        leaving,
        now_ms,
    });
    let mut shown = json!({
        "now": now_ms,
        "authority": authority,
        "cutover": cutover,
        "leaving": leaving.map(cleanup::leaving_shown),
        "evidence": kept::shown_evidence(ours.rows(n_before + 2)),
        "problems": problems(&facts),
        "reads": reads(request, &ours, &figures),
        "flags": flags,
        "unknown_flags": seen.as_ref().and_then(|seen| seen.unknown.clone()),
        "outbox": match failure {
            Some(code) => json!({ "failure": code }),
            None => json!(ours.first(BACKLOG)),
        },
        "parked": ours.rows(PARKED).iter().cloned().map(parked::shown).collect::<Vec<_>>(),
        "found": ours.rows(FOUND),
        "findings": match failure {
            Some(code) => json!({ "failure": code }),
            None => json!(ours.rows(FINDINGS)),
        },
        "walk": ours.first(WALK),
        "passwords": ours.first(n_before + 3).map(decision::shown_summary),
        "cron_at": ours.first(BEAT).and_then(|row| integer(row, "at")),
        "report": report(&jobs, now_ms),
        "jobs": jobs.iter().map(|job| job.shown.clone()).collect::<Vec<_>>(),
        "ramp": plan,
        "verdicts": figures.verdicts(),
        "totals": figures.totals(),
        "keys": keys,
        "memory_bytes_of_this_isolate": platform.memory_bytes(),
    });
    if let Some(members) = shown.as_object_mut() {
        members.extend(isolate(request));
    }
    shown
}

/// What the isolate that answers has in force.
fn isolate(request: &Request<'_>) -> Map<String, Json> {
    let flags = &request.flags;
    let refused = flags.refused.iter();
    let refused = refused.map(|fault| json!({ "key": fault.key, "code": fault.code }));
    let faults = request.settings.faults.iter();
    let faults = faults.map(|fault| json!({ "setting": fault.name, "code": fault.code }));
    let breaker = request
        .context
        .map(|context| context.isolate.breaker.get().name());
    let members = [
        ("stage", json!(flags.stage_name())),
        ("refused_flags", refused.collect()),
        ("read_bps", json!(flags.read_percent.basis_points())),
        ("compare_bps", json!(flags.compare_share().basis_points())),
        ("kill_switch", json!(flags.kill_switch)),
        (
            "guard",
            json!(flags.guard.as_ref().map(|guard| json!({
                "cap_bps": guard.cap.basis_points(), "reason": guard.reason,
            }))),
        ),
        ("breaker_of_this_isolate", json!(breaker)),
        ("setting_faults", faults.collect()),
        ("jwks_union", json!(flags.jwks_union)),
    ];
    let named = members.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Each key that the proxy reads, and each that it does not. `state`: `absent`, `set`,
/// `refused`, `unknown`; `waiting` where this isolate does not have the value yet.
fn flags_shown(request: &Request<'_>, seen: Option<&Seen>, kept: &[Row]) -> Json {
    let Some(seen) = seen else {
        return json!({ "failure": "key_value_store" });
    };
    let since = watch::parse_since(kept);
    let known = seen.values.iter().map(|(key, value)| {
        let value = value.as_deref();
        let code = refusal(key, value);
        let state = match (code, value) {
            (Some(_), _) => "refused",
            (None, _) if !is_in_force(&request.flags, key, value) => "waiting",
            (None, None) => "absent",
            (None, Some(_)) => "set",
        };
        json!({
            "key": key, "value": value.map(cut), "state": state, "code": code, "since": since.get(key),
        })
    });
    let unknown = seen.unknown.iter().flatten().map(|key| {
        json!({
            "key": key, "value": null, "state": "unknown", "code": "unknown_key", "since": since.get(key),
        })
    });
    known.chain(unknown).collect()
}

fn cut(value: &str) -> String {
    value.trim().chars().take(SHOWN_CHARS).collect()
}

/// What was read of the metrics database.
struct Figures {
    results: Vec<Vec<Row>>,
    failure: Option<&'static str>,
    window_ms: i64,
}

impl Figures {
    async fn read<P: Platform>(platform: &P, tuning: Option<&Tuning>) -> Self {
        let window_ms = tuning.map_or(300_000, |tuning| tuning.window_ms);
        let asked = vec![
            guard::verdicts(VERDICTS_SHOWN),
            metrics::totals(),
            metrics::samples(platform.now_ms() - window_ms),
            timeline::gauges(),
        ];
        let (results, failure) = match platform.batch(Store::Metrics, asked).await {
            Ok(results) => (results, None),
            Err(failure) => (Vec::new(), Some(failure.code())),
        };
        Self {
            results,
            failure,
            window_ms,
        }
    }

    fn rows(&self, index: usize) -> &[Row] {
        self.results
            .get(index)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Or why not.
    fn or_failure(&self, shown: impl FnOnce() -> Json) -> Json {
        match self.failure {
            Some(code) => json!({ "failure": code }),
            None => shown(),
        }
    }

    fn verdicts(&self) -> Json {
        self.or_failure(|| self.rows(0).iter().map(verdict).collect())
    }

    fn totals(&self) -> Json {
        self.or_failure(|| json!(self.rows(1)))
    }

    fn users(&self) -> Users {
        timeline::parse_gauges(self.rows(3))
    }
}

/// The figures of a verdict are kept as JSON text.
fn verdict(row: &Row) -> Json {
    let mut row = row.clone();
    let figures = text(&row, "figures").and_then(|text| serde_json::from_str(&text).ok());
    if let Some(figures) = figures {
        row.insert("figures".to_owned(), figures);
    }
    json!(row)
}

/// Whose reads are whose: asked for, allowed, realised, and how both sides did.
fn reads(request: &Request<'_>, ours: &Read, figures: &Figures) -> Json {
    let flags = &request.flags;
    let holder = ours.first(BACKLOG).and_then(|row| text(row, "authority"));
    let is_logto = holder.as_deref() == Some("logto");
    let users = figures.users();
    let mut shown = json!({
        "asked_bps": flags.read_percent.basis_points(),
        "allowed_bps": allowed(flags, is_logto).basis_points(),
        "compare_bps": flags.compare_share().basis_points(),
        "users": { "ready": users.n_ready, "mirrored": users.n_mirrored, "counted_at": users.at },
    });
    let measured = figures.or_failure(|| {
        let window = parse_window(figures.rows(2));
        json!({
            "window_ms": figures.window_ms,
            "realised_bps": realised_bps(&window),
            "logto": side_shown(&window.logto),
            "mgpass": side_shown(&window.mgpass),
            "compared": window.compared,
            "mismatched": window.mismatched,
        })
    });
    if let (Some(shown), Json::Object(measured)) = (shown.as_object_mut(), measured) {
        shown.extend(measured);
    }
    shown
}
