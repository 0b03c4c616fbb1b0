//! The proof of equality: everybody at Logto against everybody at mgPass.
//!
//! Logto has no changed-since filter, so a pass reads both sides whole, in pages. A
//! user whose two digests are those under which they were last found equal is not
//! compared again field by field. What differs is looked at twice, so that a write on
//! its way is not taken for a difference, and reported by field path with its reason.
//! A user whom only mgPass has is mgPass's own: counted, never a difference.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::meter::{Delay, Meter, PART_QUERIES, hand_over};
use super::pieces::{Pieces, enter_if_heavy, one_heavy_alone, parked};
use super::store::{self, JobState, Paged, Recorded, UserOutcome};
use super::{Kind, page_size, points};
use crate::inbound::request::{UserId, id_list};
use crate::mirror::differences::{Class, Difference, between, target_digest};
use crate::mirror::listing::Oddity;
use crate::mirror::mapping::map;
use crate::mirror::preflight;
use crate::mirror::states::{self, PageState, PageStates};
use crate::mirror::target;
use crate::mirror::triggers::Trigger;
use crate::population::page::Candidate;
use crate::runtime::backend::logto::{self, LogtoState};
use crate::runtime::context::Context;
use crate::runtime::digest::digest;
use crate::runtime::limits::HEAVY_BYTES;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, now, text};

const MGPASS_PAGE: i64 = 500;
/// Above so many differences in one page nobody is asked again: no race makes that many.
const MAX_LOOKED_AT_TWICE: usize = 20;

const MARKS: &str = "SELECT m.user_id AS user_id, m.logto AS logto, m.mgpass AS mgpass \
     FROM json_each(?1) w JOIN equality_marks m ON m.user_id = w.value";
const MARK: &str = "INSERT INTO equality_marks (user_id, logto, mgpass) \
     SELECT json_extract(w.value, '$[0]'), json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]') FROM json_each(?1) w WHERE true \
     ON CONFLICT (user_id) DO UPDATE SET logto = excluded.logto, mgpass = excluded.mgpass";
const UNMARK: &str =
    "DELETE FROM equality_marks WHERE user_id IN (SELECT value FROM json_each(?1))";
const REASONS: &str = "SELECT w.value AS id, (SELECT parked FROM subjects WHERE subject = w.value) AS parked, \
     EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value AND i.discharged_at IS NULL) AS pending, \
     (SELECT p.reason FROM job_users p WHERE p.kind = 'points' AND p.user_id = w.value AND p.outcome = 'parked') AS points_parked \
     FROM json_each(?1) w";
const DIFFER: &str = concat!(
    "INSERT INTO equality_differences (user_id, path, class, reason, job, first_at, last_at) ",
    "SELECT json_extract(w.value, '$[0]'), json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]'), json_extract(w.value, '$[3]'), ?2, ",
    now!(),
    ", ",
    now!(),
    " FROM json_each(?1) w WHERE true ON CONFLICT (user_id, path) DO UPDATE SET class = excluded.class, reason = excluded.reason, ",
    "job = excluded.job, last_at = excluded.last_at"
);
/// Of these users, what was found before and is not any more.
const AGREE: &str =
    "DELETE FROM equality_differences WHERE user_id IN (SELECT value FROM json_each(?1))";
/// Found by an earlier pass of somebody whom this one did not meet.
const FORGET: &str = "DELETE FROM equality_differences WHERE job < ?1";
const BY_PATH: &str = "SELECT path, class, reason, count(*) AS users, min(first_at) AS oldest_at \
     FROM equality_differences WHERE job = ?1 GROUP BY path, class, reason ORDER BY users DESC, path";
/// Users, of whom one may have more than one difference.
const DRIFT: &str = "SELECT count(DISTINCT user_id) AS n FROM equality_differences WHERE job = ?1 AND path LIKE 'balance.%'";
const DIFFERENCES: &str = "SELECT user_id AS id, path, class, reason, first_at, last_at FROM equality_differences \
     WHERE user_id > ?1 ORDER BY user_id, path LIMIT ?2";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    MARKS,
    MARK,
    UNMARK,
    REASONS,
    DIFFER,
    AGREE,
    FORGET,
    BY_PATH,
    DRIFT,
    DIFFERENCES,
];

/// One user as compared.
struct Compared {
    user: UserId,
    marks: (String, String),
    found: Vec<Difference>,
}

pub(super) async fn list<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    job: i64,
    page: i64,
) -> Result<Paged, Delay> {
    preflight::require_mirror(meter.platform, context.isolate).await?;
    let mut paged = Paged::default();
    let mut pages = Pieces::of(page, page_size(job_state), job_state.n_done);
    while let Some(piece) = pages.next(meter, context, &mut paged).await? {
        let too_large = piece.too_large.into_iter();
        let too_large = too_large.map(|user| parked(user.to_string(), Oddity::TooLarge));
        paged.users.extend(too_large);
        let mut rest = piece.candidates.as_slice();
        while let Some(first) = rest.first() {
            if !meter.has_room_for(PART_QUERIES, &paged) {
                pages.stop_before(first, &mut paged);
                break;
            }
            let n_done = compare_some(meter, context, job_state, job, rest, &mut paged).await?;
            rest = rest.get(n_done..).unwrap_or_default();
        }
    }
    Ok(paged)
}

/// As many of them, from the first on, as can be read at once; how many that were.
async fn compare_some<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    job: i64,
    candidates: &[Candidate],
    paged: &mut Paged,
) -> Result<usize, Delay> {
    let candidates = one_heavy_alone(candidates);
    let heavy = enter_if_heavy(meter, context, candidates)?;
    let ids: Vec<_> = candidates.iter().map(|one| one.id().clone()).collect();
    let states = states(meter, &ids).await?;
    let n_whole = states::n_whole(&states, &ids);
    let candidates = candidates.get(..n_whole).unwrap_or_default();
    let ids = ids.get(..n_whole).unwrap_or_default();
    let balances = points::compare(meter, context, ids).await?;
    paged.n_added += balances.n_compared;
    let marks = marks(meter, ids).await?;
    let fingerprint = format!("{:?}", context.settings.mapping);
    let nobody = PageState::default();
    let (mut equal, mut differing) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let state = states.get(candidate.id()).unwrap_or(&nobody);
        let mut found = balances.of(candidate.id());
        let now = (
            digest(&format!("{fingerprint}{}", candidate.json)),
            target_digest(&state.target),
        );
        if marks.get(candidate.id()) != Some(&now) {
            paged.n_whole += 1;
            let logto = Some((&candidate.logto, &candidate.mapped));
            found.extend(between(logto, &state.target, &context.settings.mapping));
        }
        let compared = Compared {
            user: candidate.id().clone(),
            marks: now,
            found,
        };
        match compared.found.is_empty() {
            true => equal.push(compared),
            false => differing.push(compared),
        }
    }
    drop((states, heavy));
    if differing.len() <= MAX_LOOKED_AT_TWICE {
        look_again(meter, context, &mut equal, &mut differing).await?;
    }
    record(meter, job_state, job, &equal, &differing, paged).await?;
    Ok(candidates.len())
}

async fn states<P: Platform>(
    meter: &mut Meter<'_, P>,
    ids: &[UserId],
) -> Result<PageStates, Delay> {
    let ids: Vec<_> = ids.iter().map(UserId::as_str).collect();
    let results = meter.batch(Store::Mgpass, states::read(&ids)).await?;
    states::parse(&results).ok_or(Delay::Database(Store::Mgpass, DatabaseFailure::Refused))
}

async fn marks<P: Platform>(
    meter: &mut Meter<'_, P>,
    ids: &[UserId],
) -> Result<HashMap<UserId, (String, String)>, Delay> {
    let asked = vec![Statement::new(MARKS, vec![id_list(ids).into()])];
    let results = meter.batch(Store::Proxy, asked).await?;
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    Ok(rows
        .iter()
        .filter_map(|row| {
            let user = UserId::parse(&text(row, "user_id")?)?;
            Some((user, (text(row, "logto")?, text(row, "mgpass")?)))
        })
        .collect())
}

/// Both sides anew, Logto first, for each that seemed to differ.
async fn look_again<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    equal: &mut Vec<Compared>,
    differing: &mut Vec<Compared>,
) -> Result<(), Delay> {
    let mut still = Vec::new();
    for compared in differing.drain(..) {
        let platform = meter.platform;
        let asked = meter
            .logto(logto::user(platform, context, &compared.user))
            .await;
        let logto = match asked {
            Ok(logto) => logto,
            // Logto answers so of this user alone: what was seen first stands, and
            // nobody else waits for it.
            Err(Delay::Backend(failure)) if failure.blames_backend().is_none() => {
                let unknown = compared.found.is_empty();
                let found = unknown.then(|| Difference::new("user", Class::Value));
                still.push(Compared {
                    found: compared.found.into_iter().chain(found).collect(),
                    ..compared
                });
                continue;
            }
            Err(delay) => return Err(delay),
        };
        let _heavy = match &logto {
            LogtoState::Present { json, .. } if json.len() > HEAVY_BYTES => {
                let entered = context.isolate.enter_heavy(platform.now_ms());
                Some(entered.ok_or(Delay::NoRoom)?)
            }
            LogtoState::Present { .. } | LogtoState::Gone => None,
        };
        let ids = [compared.user.clone()];
        let states = states(meter, &ids).await?;
        let nobody = PageState::default();
        let state = states.get(&compared.user).unwrap_or(&nobody);
        let mut found = points::compare(meter, context, &ids)
            .await?
            .of(&compared.user);
        let settings = &context.settings.mapping;
        let seen = match &logto {
            LogtoState::Gone => {
                found.extend(between(None, &state.target, settings));
                String::new()
            }
            LogtoState::Present { user, json } => {
                let mapped = map(user, settings);
                found.extend(between(Some((user, &mapped)), &state.target, settings));
                digest(&format!("{settings:?}{json}"))
            }
        };
        let again = Compared {
            user: compared.user,
            marks: (seen, target_digest(&state.target)),
            found,
        };
        match again.found.is_empty() {
            true => equal.push(again),
            false => still.push(again),
        }
    }
    *differing = still;
    Ok(())
}

async fn record<P: Platform>(
    meter: &mut Meter<'_, P>,
    job_state: &JobState,
    job: i64,
    equal: &[Compared],
    differing: &[Compared],
    paged: &mut Paged,
) -> Result<(), Delay> {
    let ids_of = |of: &[Compared]| -> Vec<UserId> {
        of.iter().map(|compared| compared.user.clone()).collect()
    };
    let reasons = reasons(meter, differing).await?;
    let reason_of = |user: &UserId| {
        let reason = reasons.get(user.as_str()).cloned();
        reason.unwrap_or_else(|| "unexplained".to_owned())
    };
    for compared in equal {
        paged.users.push(Recorded {
            user: compared.user.as_str().to_owned(),
            outcome: UserOutcome::Equal,
            reason: None,
            notes: Vec::new(),
        });
    }
    let mut rows = Vec::new();
    for compared in differing {
        let reason = reason_of(&compared.user);
        let is_missing = compared.found == [Difference::new("user", Class::Missing)];
        for difference in &compared.found {
            rows.push(json!([
                compared.user.as_str(),
                difference.path,
                difference.class.name(),
                reason
            ]));
        }
        paged.users.push(Recorded {
            user: compared.user.as_str().to_owned(),
            outcome: match is_missing {
                true => UserOutcome::Missing,
                false => UserOutcome::Differs,
            },
            reason: Some(reason),
            notes: Vec::new(),
        });
    }
    let marked: Vec<_> = equal
        .iter()
        .filter(|compared| !compared.marks.0.is_empty())
        .map(|compared| json!([compared.user.as_str(), compared.marks.0, compared.marks.1]))
        .collect();
    let unlike = id_list(&ids_of(differing));
    paged.statements.extend([
        Statement::new(MARK, vec![Json::from(marked).to_string().into()]),
        Statement::new(AGREE, vec![id_list(&ids_of(equal)).into()]),
    ]);
    if !differing.is_empty() {
        paged.statements.extend([
            Statement::new(UNMARK, vec![unlike.into()]),
            Statement::new(
                DIFFER,
                vec![Json::from(rows).to_string().into(), job.into()],
            ),
        ]);
    }
    if job_state.repair {
        let unexplained: Vec<_> = differing
            .iter()
            .map(|compared| compared.user.clone())
            .filter(|user| reason_of(user) == "unexplained")
            .collect();
        hand_over(Trigger::Walk, paged, &unexplained);
    }
    Ok(())
}

/// Why they may differ, as far as the mirror and the import of points know.
async fn reasons<P: Platform>(
    meter: &mut Meter<'_, P>,
    differing: &[Compared],
) -> Result<HashMap<String, String>, Delay> {
    if differing.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = differing.iter().map(|one| one.user.clone()).collect();
    let asked = vec![Statement::new(REASONS, vec![id_list(&ids).into()])];
    let results = meter.batch(Store::Proxy, asked).await?;
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    let reason = |row: &Row, compared: &Compared| {
        if let Some(parked) = text(row, "parked") {
            return Some(format!("parked:{parked}"));
        }
        if integer(row, "pending") == Some(1) {
            return Some("pending".to_owned());
        }
        // Left out by the import of points: no reason for any other difference.
        if !compared.found.iter().all(Difference::is_of_balance) {
            return None;
        }
        if let Some(parked) = text(row, "points_parked") {
            return Some(format!("parked:{parked}"));
        }
        // An import leaves a balance of everybody whom it does not park.
        let is_missing = |found: &Difference| found.class == Class::Missing;
        let was_never_carried = compared.found.iter().all(is_missing);
        was_never_carried.then(|| "points_not_imported".to_owned())
    };
    Ok(rows
        .iter()
        .filter_map(|row| {
            let id = text(row, "id")?;
            let compared = differing.iter().find(|one| one.user.as_str() == id)?;
            Some((id, reason(row, compared)?))
        })
        .collect())
}

/// From the other side: whom mgPass has and the listing did not name.
pub(super) async fn mgpass<P: Platform>(
    meter: &mut Meter<'_, P>,
    context: &Context<'_>,
    job_state: &JobState,
    job: i64,
) -> Result<Paged, Delay> {
    // No pass of the walk's.
    let asked = vec![target::users_after(&job_state.after_id, MGPASS_PAGE, 0)];
    let results = meter.batch(Store::Mgpass, asked).await?;
    let users = target::parse_users_after(&results);
    let mut paged = Paged {
        is_last: (users.len() as i64) < MGPASS_PAGE,
        after_id: users.last().map_or_else(String::new, |row| row.id.clone()),
        ..Paged::default()
    };
    let mirrored: Vec<_> = users
        .iter()
        .filter(|row| row.is_mirrored)
        .filter_map(|row| UserId::parse(&row.id))
        .collect();
    let asked = vec![store::unrecorded(job, Kind::Equality, &mirrored)];
    let results = meter.batch(Store::Proxy, asked).await?;
    let mut unlisted = store::parse_ids(results.first());
    if unlisted.len() > MAX_LOOKED_AT_TWICE {
        // Each is asked for on both sides: the page ends with as many as an invocation takes.
        unlisted.truncate(MAX_LOOKED_AT_TWICE);
        paged.is_last = false;
        paged.after_id = unlisted
            .last()
            .map_or_else(String::new, ToString::to_string);
    }
    let until = paged.after_id.clone();
    let own = users
        .into_iter()
        .filter(|row| !row.is_mirrored && row.id <= until);
    paged.users.extend(own.map(|row| Recorded {
        user: row.id,
        outcome: UserOutcome::OnlyAtMgpass,
        reason: None,
        notes: Vec::new(),
    }));
    let (mut equal, mut differing) = (Vec::new(), Vec::new());
    for user in unlisted {
        differing.push(Compared {
            user,
            marks: (String::new(), String::new()),
            found: Vec::new(),
        });
    }
    paged.n_whole += differing.len() as i64;
    look_again(meter, context, &mut equal, &mut differing).await?;
    record(meter, job_state, job, &equal, &differing, &mut paged).await?;
    if paged.is_last {
        paged
            .statements
            .push(Statement::new(FORGET, vec![job.into()]));
    }
    Ok(paged)
}

/// What the newest proof came to, by path, class and reason; and how many balances
/// differ.
pub fn report(job: i64) -> [Statement; 2] {
    [BY_PATH, DRIFT].map(|sql| Statement::new(sql, vec![job.into()]))
}

pub fn differences(after: &str, limit: i64) -> Vec<Statement> {
    vec![Statement::new(
        DIFFERENCES,
        vec![after.into(), limit.into()],
    )]
}
