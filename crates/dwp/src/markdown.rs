//! The report of equality for whoever has to decide what to do next.

mod steps;

use self::steps::next_steps;
use super::codes::{Advice, NOTES, PARKED, advice};
use super::report::{Compared, Difference, Report};
use super::words::Counts;
use super::words::{by_count, duration, number, plural, printable};

pub fn markdown(compared: &Compared, origin: &str) -> String {
    let report = &compared.report;
    let mut text = format!("# Logto and mgPass: equality\n\n{}\n\n", verdict(compared));
    text.push_str(&format!(
        "Proxy {origin}, comparison {}, which took {}.\n\n",
        compared.job.id,
        duration(ended(compared) - report.started_at),
    ));
    text.push_str(&counts(report));
    text.push_str(&next_steps(compared));
    text.push_str(&differences(compared));
    text.push_str(&coded(
        "Parked: not carried, and why",
        "Parked people lose nothing: they are read from Logto, and anything new about them tries again.",
        PARKED,
        &report.parked,
    ));
    text.push_str(&coded(
        "Carried, but not with everything",
        "These people are equal in all that mgPass can hold. `dwp noted CODE` lists them, with its value where it has one: `dwp noted mfa_not_carried:Totp`.",
        NOTES,
        &report.notes,
    ));
    text.push_str(&readiness(&report.readiness));
    text.push_str(&points(compared));
    text
}

fn ended(compared: &Compared) -> i64 {
    compared.report.finished_at.unwrap_or(compared.job.moved_at)
}

fn verdict(compared: &Compared) -> String {
    let report = &compared.report;
    if !compared.is_whole() {
        return format!(
            "**Not finished** ({}): {} of {} people compared so far. What follows is not the whole.",
            compared.job.state.name(),
            number(report.compared),
            report
                .logto_total
                .map_or_else(|| "unknown".to_owned(), number),
        );
    }
    if report.is_equal {
        return format!(
            "**Equal.** All {} of Logto are the same at mgPass.",
            plural(report.compared, "person", "people"),
        );
    }
    let people = plural(report.n_unlike(), "person", "people");
    let mut text = format!(
        "**Not equal.** {people} of {} {}",
        number(report.compared),
        differ(report.n_unlike()),
    );
    if report.unexplained > 0 {
        text.push_str(&format!(
            ", {} of them for no known reason: look at these first",
            number(report.unexplained)
        ));
    } else {
        text.push_str(", each for a known reason");
    }
    if let Some(balances) = report
        .balances
        .as_ref()
        .filter(|balances| balances.differing > 0)
    {
        text.push_str(&format!(
            "; {} of points",
            plural(balances.differing, "balance", "balances")
        ));
    }
    text.push('.');
    text
}

fn differ(count: u64) -> &'static str {
    if count == 1 { "differs" } else { "differ" }
}

fn counts(report: &Report) -> String {
    let rows = [
        ("people Logto counts", report.logto_total.unwrap_or(0)),
        ("compared", report.compared),
        ("equal", report.equal),
        ("differing in a field", report.differing),
        (
            "of these, gone at Logto and still at mgPass",
            report.gone_at_logto,
        ),
        ("missing at mgPass", report.missing_at_mgpass),
        ("unreadable at Logto", report.unreadable),
        (
            "mgPass's own, unknown to Logto (no fault)",
            report.only_at_mgpass,
        ),
        ("differences with a known reason", report.explained),
        ("differences without one", report.unexplained),
        (
            "records that had to be compared whole",
            report.whole_records_compared,
        ),
    ];
    let mut text = "| | people |\n| --- | ---: |\n".to_owned();
    for (name, count) in rows {
        text.push_str(&format!("| {name} | {} |\n", number(count)));
    }
    text.push('\n');
    text
}

fn differences(compared: &Compared) -> String {
    let list = &compared.report.differences;
    if list.is_empty() {
        return String::new();
    }
    let mut list: Vec<&Difference> = list.iter().collect();
    let rank = |difference: &Difference| u8::from(difference.reason != "unexplained");
    list.sort_by(|one, other| {
        (rank(one), other.users, &one.path).cmp(&(rank(other), one.users, &other.path))
    });
    let mut text =
        "## What differs\n\n| field | how | people | why | oldest |\n| --- | --- | ---: | --- | --- |\n"
            .to_owned();
    for difference in list {
        let age = difference
            .oldest_at
            .map_or_else(|| "-".to_owned(), |at| duration(ended(compared) - at));
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {age} |\n",
            cell(&difference.path),
            cell(&difference.class),
            number(difference.users),
            why(&difference.reason),
        ));
    }
    text.push('\n');
    text
}

fn why(reason: &str) -> String {
    match reason.split_once(':') {
        Some(("parked", code)) => format!("parked: `{}`", cell(code)),
        _ if reason == "pending" => "on its way".to_owned(),
        _ if reason == "points_not_imported" => "points not imported yet".to_owned(),
        _ if reason == "unexplained" => "**no known reason**".to_owned(),
        _ => cell(reason),
    }
}

/// Codes that mean the same, with what stands behind their colons.
#[derive(Clone)]
struct Group<'a> {
    advice: &'static Advice,
    codes: Vec<(&'a str, u64)>,
}

fn grouped<'a>(list: &'static [Advice], counts: &'a Counts) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (code, count) in by_count(counts) {
        let advice = advice(list, code);
        let head = |code: &'a str| code.split(':').next();
        match groups.iter_mut().find(|group| {
            group
                .codes
                .iter()
                .any(|(other, _)| head(other) == head(code))
        }) {
            Some(group) => group.codes.push((code, count)),
            None => groups.push(Group {
                advice,
                codes: vec![(code, count)],
            }),
        }
    }
    groups
}

impl Group<'_> {
    fn head(&self) -> &str {
        let first = self.codes.first().map_or("", |(code, _)| *code);
        first.split(':').next().unwrap_or(first)
    }

    /// One number, or one for each value behind the colon.
    fn people(&self) -> String {
        let each = |(code, count): &(&str, u64)| match code.split_once(':') {
            Some((_, value)) => format!("{} {}", cell(value), number(*count)),
            None => number(*count),
        };
        self.codes.iter().map(each).collect::<Vec<_>>().join(", ")
    }

    fn title(&self) -> String {
        format!("`{}` ({})", cell(self.head()), self.people())
    }
}

fn coded(title: &str, preface: &str, list: &'static [Advice], counts: &Counts) -> String {
    let groups = grouped(list, counts);
    if groups.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "## {title}\n\n{preface}\n\n| code | people | what it means |\n| --- | --- | --- |\n"
    );
    for group in groups {
        let none = if group.advice.action.is_empty() {
            "; nothing to do"
        } else {
            ""
        };
        text.push_str(&format!(
            "| `{}` | {} | {}{none} |\n",
            cell(group.head()),
            group.people(),
            group.advice.meaning,
        ));
    }
    text.push('\n');
    text
}

fn readiness(counts: &Counts) -> String {
    let rows = by_count(counts);
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        "## How they get in again\n\n| way | people | what to do |\n| --- | ---: | --- |\n"
            .to_owned();
    for (way, count) in rows {
        let (way, action) = match way {
            "carried" => ("the password of before", "nothing: it was carried over"),
            "prompted" | "reset" | "password" => ("a password set at mgPass", "nothing"),
            "social" => ("a social account", "nothing: they sign in as before"),
            "email_reset" => (
                "a reset by email",
                "a reset campaign before the cutover: `dwp readiness --csv FILE`",
            ),
            "none" => (
                "none",
                "ask them for an email at Logto, or give them access by hand: `dwp readiness --csv FILE`",
            ),
            other => (other, "see docs/troubleshooting.md"),
        };
        text.push_str(&format!(
            "| {} | {} | {action} |\n",
            cell(way),
            number(count)
        ));
    }
    text.push('\n');
    text
}

/// What was compared, and whom the import left out or changed the form of.
fn points(compared: &Compared) -> String {
    let mut text = String::new();
    if let Some(balances) = &compared.report.balances
        && balances.compared > 0
    {
        text.push_str(&format!(
            "## Points\n\n{} compared with the source, {} differing.\n\n",
            plural(balances.compared, "balance", "balances"),
            number(balances.differing),
        ));
    }
    if let Some(job) = &compared.points {
        text.push_str(&coded(
            "Points: not carried, and why",
            "Their points stay in the source. `dwp parked --kind points` names them.",
            PARKED,
            &job.parked,
        ));
        text.push_str(&coded(
            "Points: carried, with a remark",
            "`dwp noted CODE --kind points` lists them.",
            NOTES,
            &job.notes,
        ));
    }
    text
}

/// What comes from data must not break a table's row.
fn cell(text: &str) -> String {
    printable(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::view;
    use super::*;
    use serde_json::{Value, json};

    fn render(state: &str, report: &Value) -> String {
        markdown(
            &Compared::parse(&view(state, report), None).unwrap(),
            "https://auth.example.com",
        )
    }

    #[test]
    fn equal_sides_need_nothing() {
        let text = render("done", &json!({}));
        assert!(
            text.contains("**Equal.** All 1,000 people of Logto"),
            "{text}"
        );
        assert!(text.contains("## What to do next\n\nNothing.\n"), "{text}");
        assert!(!text.contains("## What differs"), "{text}");
    }

    #[test]
    fn half_a_comparison_never_says_equal() {
        let text = render("stopped", &json!({ "compared": 400 }));
        assert!(
            text.contains("**Not finished** (stopped): 400 of 1,000"),
            "{text}"
        );
        assert!(!text.contains("**Equal.**"), "{text}");
    }

    #[test]
    fn what_has_no_reason_comes_first() {
        let text = render(
            "done",
            &json!({
                "is_equal": false, "equal": 994, "differing": 5, "missing_at_mgpass": 1,
                "explained": 4, "unexplained": 2,
                "differences": [
                    { "path": "/email", "class": "value", "reason": "parked:value_taken_at_mgpass", "users": 3, "oldest_at": 1_000_000 },
                    { "path": "/name", "class": "value", "reason": "unexplained", "users": 2, "oldest_at": 1_030_000 },
                    { "path": "/phone", "class": "missing", "reason": "pending", "users": 1, "oldest_at": null },
                ],
                "parked": { "value_taken_at_mgpass": 3 },
            }),
        );
        assert!(
            text.contains("**Not equal.** 6 people of 1,000 differ, 2 of them for no known reason"),
            "{text}"
        );
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what} in {text}"))
        };
        assert!(at("`/name`") < at("`/email`"));
        assert!(at("1. Look at the 2 people") < at("`value_taken_at_mgpass` (3): Find out"));
        assert!(
            text.contains("| `/email` | value | 3 | parked: `value_taken_at_mgpass` |"),
            "{text}"
        );
        assert!(text.contains("| 1 min |"), "{text}");
        assert!(
            text.contains("| `/phone` | missing | 1 | on its way | - |"),
            "{text}"
        );
    }

    #[test]
    fn every_code_in_a_report_comes_with_its_meaning_and_what_to_do() {
        for (list, member) in [(PARKED, "parked"), (NOTES, "notes")] {
            let counts: Counts = list
                .iter()
                .map(|advice| (format!("{}:x", advice.code), 1))
                .collect();
            let text = render("done", &json!({ "is_equal": false, member: counts }));
            for advice in list {
                assert!(text.contains(advice.meaning), "{}", advice.code);
                assert!(text.contains(advice.action), "{}", advice.code);
            }
        }
    }

    #[test]
    fn data_does_not_break_the_table() {
        let text = render(
            "done",
            &json!({ "notes": { "unknown_provider:a|b\n# c": 1 }, "readiness": { "none": 2, "email_reset": 7 } }),
        );
        assert!(
            text.contains("| `unknown_provider` | a\\|b\u{fffd}# c 1 |"),
            "{text}"
        );
        assert!(text.contains("| none | 2 | ask them"), "{text}");
        assert!(text.contains("2 people have neither"), "{text}");
    }

    #[test]
    fn whom_the_import_of_points_left_out_is_in_the_steps_and_in_a_table() {
        let mut job = super::super::job::tests::view("done", &json!({ "parked": 2 }));
        job.parked = Counts::from([("earned_at_mgpass".to_owned(), 2)]);
        job.notes = Counts::from([("tier_mismatch:gold>silver".to_owned(), 1)]);
        let mut compared = Compared::parse(&view("done", &json!({})), None).unwrap();
        compared.points = Some(job);
        let text = markdown(&compared, "https://auth.example.com");
        assert!(
            text.contains("`earned_at_mgpass` (2): Nothing of theirs"),
            "{text}"
        );
        assert!(
            text.contains("| `tier_mismatch` | gold>silver 1 |"),
            "{text}"
        );
    }

    #[test]
    fn points_that_differ_are_said_in_the_verdict() {
        let text = render(
            "done",
            &json!({ "is_equal": false, "balances": { "compared": 900, "differing": 4 } }),
        );
        assert!(text.contains("; 4 balances of points."), "{text}");
        assert!(
            text.contains("900 balances compared with the source, 4 differing"),
            "{text}"
        );
    }
}
