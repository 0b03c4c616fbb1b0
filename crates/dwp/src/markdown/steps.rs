//! What to do next, of a report.

use super::super::codes::{NOTES, PARKED, advice};
use super::super::report::Compared;
use super::super::words::{Counts, number, plural};
use super::{cell, differ, grouped};

/// In the order in which they are worth doing.
pub(super) fn next_steps(compared: &Compared) -> String {
    let report = &compared.report;
    let mut steps = Vec::new();
    if !compared.is_whole() {
        steps.push(
            "Let the comparison end: `dwp watch equality`, or begin anew: `dwp report --run`."
                .to_owned(),
        );
    }
    if report.unexplained > 0 {
        steps.push(format!(
            "Look at the {} who {} without a known reason: `dwp differences` names them, `dwp explain USER` tells of one; `dwp report --run --repair` has the mirror make them equal.",
            plural(report.unexplained, "person", "people"),
            differ(report.unexplained),
        ));
    }
    if report
        .differences
        .iter()
        .any(|difference| difference.reason == "pending")
    {
        steps.push("Some changes are on their way to mgPass. Compare again in some minutes; if they stay, `dwp mirror` shows what holds them up.".to_owned());
    }
    if report.unreadable > 0 {
        let action = advice(PARKED, "unreadable").action;
        steps.push(format!(
            "`unreadable` ({}): {action}",
            number(report.unreadable)
        ));
    }
    let nothing = Counts::new();
    let points = compared.points.as_ref();
    let listed = [
        (PARKED, &report.parked),
        (PARKED, points.map_or(&nothing, |points| &points.parked)),
        (NOTES, &report.notes),
        (NOTES, points.map_or(&nothing, |points| &points.notes)),
    ];
    for group in listed.map(|(list, counts)| grouped(list, counts)).concat() {
        if !group.advice.action.is_empty() {
            steps.push(format!("{}: {}", group.title(), group.advice.action));
        }
    }
    let not_imported: u64 = report
        .differences
        .iter()
        .filter(|difference| difference.reason == "points_not_imported")
        .map(|difference| difference.users)
        .sum();
    if not_imported > 0 {
        steps.push(format!(
            "The points of {} were never imported: `dwp import points`, then compare again.",
            plural(not_imported, "person", "people")
        ));
    }
    if report
        .balances
        .as_ref()
        .is_some_and(|balances| balances.differing > not_imported)
    {
        steps.push("Points differ: `dwp import points`, then compare again. Who earned points at mgPass meanwhile stays parked.".to_owned());
    }
    match report.readiness.get("none") {
        Some(count) if *count > 0 => steps.push(format!(
            "{} have neither a social account nor an email at mgPass, and no password goes over: `dwp readiness --csv FILE` lists them. Give them a way in before the cutover.",
            plural(*count, "person", "people"),
        )),
        _ => {}
    }
    if steps.is_empty() {
        return "## What to do next\n\nNothing.\n\n".to_owned();
    }
    let mut text = "## What to do next\n\n".to_owned();
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("{}. {}\n", index + 1, cell(step)));
    }
    text.push('\n');
    text
}
