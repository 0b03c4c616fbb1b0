//! The course of the migration for plots: one row a minute, and coarser ones for what is
//! longer ago, all of them bounded.
//!
//! Harmless twice: rows are made anew of the counts, and of the minutes, never added to.

mod point;
mod users;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use self::point::{Point, coarser};
pub use self::point::{allowed, realised_bps, side_shown, writes_shown};
use self::users::count_users;
pub use self::users::{Users, parse_gauges};

use crate::mirror::outbox;
use crate::operate::guard::parse_window;
use crate::policy::flags::Flags;
use crate::policy::guard::Window;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const SELECT_SAMPLES: &str = "SELECT slot, metric, operation, backend, label, sum(count) AS count FROM samples \
     WHERE slot >= ?1 AND metric IN ('requests', 'latency', 'compared') GROUP BY slot, metric, operation, backend, label";
const SELECT_POINTS: &str =
    "SELECT * FROM timeline WHERE width_ms = ?1 AND slot >= ?2 ORDER BY slot";
const NEWEST_MINUTE: &str = "SELECT slot, stage, authority, asked_bps, allowed_bps, n_open, oldest_ms, n_parked, n_ready, n_mirrored FROM timeline \
     WHERE width_ms = 60000 ORDER BY slot DESC LIMIT 1";
const PUT_POINTS: &str = "INSERT INTO timeline (width_ms, slot, stage, authority, asked_bps, allowed_bps, logto, mgpass, compared, mismatched, \
     n_open, oldest_ms, n_parked, n_ready, n_mirrored, writes) \
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'), \
     json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'), \
     json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'), \
     json_extract(value, '$[12]'), json_extract(value, '$[13]'), json_extract(value, '$[14]'), json_extract(value, '$[15]') FROM json_each(?1) WHERE true \
     ON CONFLICT (width_ms, slot) DO UPDATE SET stage = excluded.stage, authority = excluded.authority, \
     asked_bps = excluded.asked_bps, allowed_bps = excluded.allowed_bps, logto = excluded.logto, mgpass = excluded.mgpass, \
     compared = excluded.compared, mismatched = excluded.mismatched, n_open = excluded.n_open, oldest_ms = excluded.oldest_ms, \
     n_parked = excluded.n_parked, n_ready = excluded.n_ready, n_mirrored = excluded.n_mirrored, writes = excluded.writes";
const FORGET: &str = "DELETE FROM timeline WHERE width_ms = ?1 AND slot < ?2";
const SELECT_GAUGES: &str = "SELECT name, value, at FROM gauges";
const PUT_GAUGE: &str = "INSERT INTO gauges (name, value, at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at";
/// Of mgPass's database: everybody whom the mirror keeps, once each.
const COUNT_USERS: &str = "SELECT coalesce(sum(epoch = ?1), 0) AS n_ready, count(*) AS n_mirrored FROM logto_mirror WHERE tombstone = 0";

/// Of the metrics database, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    SELECT_SAMPLES,
    SELECT_POINTS,
    NEWEST_MINUTE,
    PUT_POINTS,
    FORGET,
    SELECT_GAUGES,
    PUT_GAUGE,
];
/// Of mgPass's.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[COUNT_USERS];

const MINUTE_MS: i64 = 60_000;
const TEN_MINUTES_MS: i64 = 10 * MINUTE_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Widths, and how long each is kept: what a plot of that width shows, and some more.
const KEPT: [(i64, i64); 3] = [
    (MINUTE_MS, 4 * HOUR_MS),
    (TEN_MINUTES_MS, 48 * HOUR_MS),
    (HOUR_MS, 32 * 24 * HOUR_MS),
];
pub const MAX_HOURS: i64 = 31 * 24;
/// Isolates write their counts some seconds late.
const LATE_MINUTES: i64 = 2;

/// Counts by minute.
fn by_minute(rows: &[Row]) -> BTreeMap<i64, Window> {
    let mut minutes: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(slot) = integer(row, "slot") {
            let minute = slot.div_euclid(MINUTE_MS) * MINUTE_MS;
            minutes.entry(minute).or_default().push(row);
        }
    }
    let windows = minutes.into_iter();
    windows
        .map(|(minute, rows)| (minute, parse_window(rows)))
        .collect()
}

/// The last minute of which cron made a row, for a scraper.
pub fn newest() -> Statement {
    Statement::new(NEWEST_MINUTE, vec![])
}

pub fn gauges() -> Statement {
    Statement::new(SELECT_GAUGES, vec![])
}

/// One run of cron. What could not be had or written is missing in the plots.
pub async fn keep<P: Platform>(platform: &P, flags: &Flags) {
    if let Err(failure) = try_keep(platform, flags).await {
        platform.emit(&Event::MetricsDelayed {
            step: "timeline",
            code: failure.code(),
        });
    }
}

async fn try_keep<P: Platform>(platform: &P, flags: &Flags) -> Result<(), DatabaseFailure> {
    let now_ms = platform.now_ms();
    let this_minute = now_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
    let since = this_minute - LATE_MINUTES * MINUTE_MS;
    let hour_before = (since.div_euclid(HOUR_MS)) * HOUR_MS;
    let asked = vec![
        Statement::new(SELECT_SAMPLES, vec![since.into()]),
        Statement::new(SELECT_POINTS, vec![MINUTE_MS.into(), hour_before.into()]),
        gauges(),
    ];
    let results = platform.batch(Store::Metrics, asked).await?;
    let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
    let mut minutes: BTreeMap<i64, Point> = rows(1)
        .iter()
        .filter_map(Point::parse)
        .map(|point| (point.slot, point))
        .collect();
    // An outbox that does not answer leaves a hole in the plots.
    let backlog = platform.batch(Store::Proxy, outbox::backlog()).await;
    let backlog = backlog
        .ok()
        .and_then(|results| results.into_iter().flatten().next());
    let backlog = backlog.unwrap_or_default();
    let (users, counted) = count_users(platform, parse_gauges(rows(2)), &backlog, now_ms).await;
    let authority = text(&backlog, "authority");
    let now = Point {
        slot: this_minute,
        stage: flags.stage_name().to_owned(),
        asked_bps: flags.read_percent.basis_points().into(),
        allowed_bps: allowed(flags, authority.as_deref() == Some("logto"))
            .basis_points()
            .into(),
        authority,
        window: Window::default(),
        n_open: integer(&backlog, "n_open"),
        oldest_ms: integer(&backlog, "oldest_ms"),
        n_parked: integer(&backlog, "n_parked"),
        n_ready: users.n_ready,
        n_mirrored: users.n_mirrored,
    };
    let before = minutes.get(&this_minute).map(|point| point.window.clone());
    let window = before.unwrap_or_default();
    minutes.insert(
        this_minute,
        Point {
            window,
            ..now.clone()
        },
    );
    for (minute, window) in by_minute(rows(0)) {
        let point = minutes.entry(minute).or_insert_with(|| Point {
            slot: minute,
            n_open: None,
            oldest_ms: None,
            n_parked: None,
            ..now.clone()
        });
        point.window = window;
    }
    let mut points: Vec<Json> = minutes
        .range(since..)
        .map(|(_, point)| point.to_json(MINUTE_MS))
        .collect();
    for width_ms in [TEN_MINUTES_MS, HOUR_MS] {
        let coarser = coarser(&minutes, since, width_ms);
        points.extend(coarser.iter().map(|point| point.to_json(width_ms)));
    }
    let mut batch = vec![Statement::new(
        PUT_POINTS,
        vec![json!(points).to_string().into()],
    )];
    batch.extend(counted);
    batch.extend(KEPT.map(|(width_ms, kept_ms)| {
        Statement::new(FORGET, vec![width_ms.into(), (now_ms - kept_ms).into()])
    }));
    platform.batch(Store::Metrics, batch).await.map(drop)
}

/// A slot as it is judged by.
pub struct Slot {
    pub at_ms: i64,
    pub end_ms: i64,
    authority: Option<String>,
    pub window: Window,
}

impl Slot {
    /// Whether this holder was the authority in the end of it.
    pub fn is_of(&self, holder: &str) -> bool {
        self.authority.as_deref() == Some(holder)
    }
}

pub fn slots(rows: &[Row]) -> Vec<Slot> {
    let slot = |row: &Row| {
        let point = Point::parse(row)?;
        Some(Slot {
            at_ms: point.slot,
            end_ms: point.slot + integer(row, "width_ms")?,
            authority: point.authority,
            window: point.window,
        })
    };
    rows.iter().filter_map(slot).collect()
}

/// How wide the slots of a plot of so many hours are.
pub fn width_ms(hours: i64) -> i64 {
    match hours {
        ..=3 => MINUTE_MS,
        4..=30 => TEN_MINUTES_MS,
        _ => HOUR_MS,
    }
}

pub fn points(hours: i64, now_ms: i64) -> Statement {
    let values = vec![width_ms(hours).into(), (now_ms - hours * HOUR_MS).into()];
    Statement::new(SELECT_POINTS, values)
}

pub fn shown(rows: &[Row]) -> Vec<Json> {
    let points = rows.iter().filter_map(Point::parse);
    points.map(|point| point.shown()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plot_has_some_hundred_points_that_are_still_kept() {
        for hours in 1..=MAX_HOURS {
            let width = width_ms(hours);
            let n_points = hours * HOUR_MS / width;
            assert!((1..=750).contains(&n_points), "{hours} h: {n_points}");
            let kept = KEPT.iter().find(|(kept, _)| *kept == width);
            assert!(
                kept.is_some_and(|(_, kept_ms)| *kept_ms > hours * HOUR_MS),
                "{hours} h"
            );
        }
    }
}
