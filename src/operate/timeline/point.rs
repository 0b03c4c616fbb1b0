//! One slot of the timeline, and coarser ones made of finer ones.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::policy::flags::{Flags, Share, Stage};
use crate::policy::guard::{Side, Window};
use crate::runtime::ports::Row;
use crate::runtime::sql::{integer, text};

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) slot: i64,
    pub(super) stage: String,
    pub(super) authority: Option<String>,
    pub(super) asked_bps: i64,
    pub(super) allowed_bps: i64,
    pub(super) window: Window,
    pub(super) n_open: Option<i64>,
    pub(super) oldest_ms: Option<i64>,
    pub(super) n_parked: Option<i64>,
    pub(super) n_ready: Option<i64>,
    pub(super) n_mirrored: Option<i64>,
}

impl Point {
    pub(super) fn parse(row: &Row) -> Option<Self> {
        let side = |name| {
            let kept: Json = serde_json::from_str(&text(row, name)?).ok()?;
            let mut side = Side {
                reads: kept.get("reads")?.as_i64()?,
                failures: kept.get("failures")?.as_i64()?,
                ..Side::default()
            };
            let durations = kept.get("durations")?.as_array()?;
            for (slot, count) in side.durations.iter_mut().zip(durations) {
                *slot = count.as_i64()?;
            }
            Some(side)
        };
        Some(Self {
            slot: integer(row, "slot")?,
            stage: text(row, "stage")?,
            authority: text(row, "authority"),
            asked_bps: integer(row, "asked_bps")?,
            allowed_bps: integer(row, "allowed_bps")?,
            window: Window {
                logto: side("logto")?,
                mgpass: side("mgpass")?,
                writes: side("writes")?,
                compared: integer(row, "compared")?,
                mismatched: integer(row, "mismatched")?,
            },
            n_open: integer(row, "n_open"),
            oldest_ms: integer(row, "oldest_ms"),
            n_parked: integer(row, "n_parked"),
            n_ready: integer(row, "n_ready"),
            n_mirrored: integer(row, "n_mirrored"),
        })
    }

    pub(super) fn to_json(&self, width_ms: i64) -> Json {
        let side = |side: &Side| {
            json!({ "reads": side.reads, "failures": side.failures, "durations": side.durations })
                .to_string()
        };
        json!([
            width_ms,
            self.slot,
            self.stage,
            self.authority,
            self.asked_bps,
            self.allowed_bps,
            side(&self.window.logto),
            side(&self.window.mgpass),
            self.window.compared,
            self.window.mismatched,
            self.n_open,
            self.oldest_ms,
            self.n_parked,
            self.n_ready,
            self.n_mirrored,
            side(&self.window.writes),
        ])
    }

    pub(super) fn shown(&self) -> Json {
        json!({
            "at": self.slot,
            "stage": self.stage,
            "authority": self.authority,
            "asked_bps": self.asked_bps,
            "allowed_bps": self.allowed_bps,
            "realised_bps": realised_bps(&self.window),
            "logto": side_shown(&self.window.logto),
            "mgpass": side_shown(&self.window.mgpass),
            "writes": writes_shown(&self.window.writes),
            "compared": self.window.compared,
            "mismatched": self.window.mismatched,
            "n_open": self.n_open,
            "oldest_ms": self.oldest_ms,
            "n_parked": self.n_parked,
            "n_ready": self.n_ready,
            "n_mirrored": self.n_mirrored,
        })
    }
}

/// Reads that mgPass answered, of all that could have been its; `None` without any.
pub fn realised_bps(window: &Window) -> Option<i64> {
    let answered = window.mgpass.reads - window.mgpass.failures;
    let all = window.logto.reads + window.mgpass.reads;
    (all > 0).then(|| answered.max(0) * 10_000 / all)
}

/// Percentiles are upper bounds: counts are kept by bound.
pub fn side_shown(side: &Side) -> Json {
    json!({
        "reads": side.reads,
        "failures": side.failures,
        "failure_bps": (side.reads > 0).then(|| side.failure_bps()),
        "p50_ms": side.percentile_ms(50),
        "p95_ms": side.percentile_ms(95),
    })
}

/// The same of user writes.
pub fn writes_shown(side: &Side) -> Json {
    let mut shown = side_shown(side);
    if let Some(members) = shown.as_object_mut()
        && let Some(n) = members.remove("reads")
    {
        members.insert("writes".to_owned(), n);
    }
    shown
}

/// What brakes and stage leave of the share asked for.
pub fn allowed(flags: &Flags, logto_is_authority: bool) -> Share {
    if flags.stage != Stage::DualWrite || flags.kill_switch || !logto_is_authority {
        return Share::NONE;
    }
    let cap = flags.guard.as_ref().map_or(Share::ALL, |guard| guard.cap);
    flags.read_percent.min(cap)
}

/// A coarser slot of finer ones, in their order: counts add up, the worst backlog
/// stays, and what is in force is the last.
fn merge(slot: i64, points: &[&Point]) -> Option<Point> {
    let last = *points.last()?;
    let mut merged = Point {
        slot,
        window: Window::default(),
        ..last.clone()
    };
    for point in points {
        let of = &point.window;
        for (sum, side) in [
            (&mut merged.window.logto, &of.logto),
            (&mut merged.window.mgpass, &of.mgpass),
            (&mut merged.window.writes, &of.writes),
        ] {
            sum.add(side);
        }
        merged.window.compared += of.compared;
        merged.window.mismatched += of.mismatched;
        merged.n_open = merged.n_open.max(point.n_open);
        merged.oldest_ms = merged.oldest_ms.max(point.oldest_ms);
        merged.n_parked = merged.n_parked.max(point.n_parked);
    }
    Some(merged)
}

/// The coarser slots that these minutes change.
pub(super) fn coarser(minutes: &BTreeMap<i64, Point>, since: i64, width_ms: i64) -> Vec<Point> {
    let mut slots: BTreeMap<i64, Vec<&Point>> = BTreeMap::new();
    let first = since.div_euclid(width_ms) * width_ms;
    for point in minutes.range(first..).map(|(_, point)| point) {
        let slot = point.slot.div_euclid(width_ms) * width_ms;
        slots.entry(slot).or_default().push(point);
    }
    let merged = slots
        .iter()
        .filter_map(|(slot, points)| merge(*slot, points));
    merged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const TEN_MINUTES_MS: i64 = 600_000;

    fn point(slot: i64, reads: i64, n_open: i64) -> Point {
        let mut durations = Side::default().durations;
        if let Some(first) = durations.first_mut() {
            *first = reads;
        }
        Point {
            slot,
            stage: "dual_write".to_owned(),
            asked_bps: slot,
            window: Window {
                mgpass: Side {
                    reads,
                    failures: 1,
                    durations,
                },
                ..Window::default()
            },
            n_open: Some(n_open),
            n_ready: Some(n_open),
            ..Point::default()
        }
    }

    #[test]
    fn a_coarser_slot_adds_counts_up_and_keeps_the_worst_backlog() {
        let minutes: BTreeMap<_, _> = [
            point(9 * MINUTE_MS, 1, 9),
            point(10 * MINUTE_MS, 2, 7),
            point(11 * MINUTE_MS, 3, 1),
        ]
        .map(|point| (point.slot, point))
        .into();
        let coarse = coarser(&minutes, 11 * MINUTE_MS, TEN_MINUTES_MS);
        assert_eq!(coarse.len(), 1, "the first is over");
        let merged = &coarse[0];
        assert_eq!(merged.slot, TEN_MINUTES_MS);
        assert_eq!(
            (merged.window.mgpass.reads, merged.window.mgpass.failures),
            (5, 2)
        );
        assert_eq!(merged.window.mgpass.durations[0], 5);
        assert_eq!((merged.n_open, merged.n_ready), (Some(7), Some(1)));
        assert_eq!(merged.asked_bps, 11 * MINUTE_MS);
    }

    #[test]
    fn a_point_is_read_as_it_is_written() {
        let point = point(60_000, 4, 2);
        let names = [
            "width_ms",
            "slot",
            "stage",
            "authority",
            "asked_bps",
            "allowed_bps",
            "logto",
            "mgpass",
            "compared",
            "mismatched",
            "n_open",
            "oldest_ms",
            "n_parked",
            "n_ready",
            "n_mirrored",
            "writes",
        ];
        let json = point.to_json(MINUTE_MS);
        let row: Row = names
            .iter()
            .zip(json.as_array().unwrap())
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        assert_eq!(Point::parse(&row), Some(point));
    }

    #[test]
    fn what_brakes_and_stage_leave_is_told_from_what_is_asked() {
        use crate::policy::flags::Guard;
        let flags = Flags {
            stage: Stage::DualWrite,
            read_percent: Share::ALL,
            ..Flags::default()
        };
        assert_eq!(allowed(&flags, true), Share::ALL);
        assert_eq!(allowed(&flags, false), Share::NONE);
        let capped = Flags {
            guard: Some(Guard {
                cap: Share::ONE_PERCENT,
                reason: String::new(),
            }),
            ..flags.clone()
        };
        assert_eq!(allowed(&capped, true), Share::ONE_PERCENT);
        let killed = Flags {
            kill_switch: true,
            ..flags.clone()
        };
        assert_eq!(allowed(&killed, true), Share::NONE);
        let shadow = Flags {
            stage: Stage::Shadow,
            ..flags
        };
        assert_eq!(allowed(&shadow, true), Share::NONE);
    }
}
