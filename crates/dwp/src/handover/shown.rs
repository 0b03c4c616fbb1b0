//! What the proxy says of the authority, as lines for people.

use serde_json::Value;

use super::super::words::{duration, instant, outline, printable};

pub fn at<'a>(view: &'a Value, pointer: &str) -> &'a Value {
    view.pointer(pointer).unwrap_or(&Value::Null)
}

pub fn text<'a>(view: &'a Value, pointer: &str) -> &'a str {
    at(view, pointer).as_str().unwrap_or_default()
}

pub fn newest_move(view: &Value) -> String {
    let of = |name: &str| text(view, &format!("/log/0/{name}")).to_owned();
    format!(
        "{} to {}: {}",
        of("from_holder"),
        of("to_holder"),
        of("cause")
    )
}

/// One line about what is waited for.
pub fn progress(view: &Value) -> String {
    let holder = text(view, "/authority/holder");
    let waits = match text(view, "/waits") {
        "" => text(view, "/authority/waits"),
        waits => waits,
    };
    let left = |pointer: &str| {
        let until = at(view, pointer).as_i64()?;
        let now = at(view, "/authority/now").as_i64()?;
        Some(until - now)
    };
    match (holder, waits) {
        ("logto", "announced") => {
            // By the minute, so that it is not said every second.
            let left_ms = left("/authority/announced_until").unwrap_or(0);
            let minutes = (left_ms + 59_999) / 60_000;
            format!("announced; draining begins in at most {minutes} min")
        }
        ("draining" | "returning", _) => {
            let pending = match holder {
                "draining" => at(view, "/authority/pending/logto"),
                _ => at(view, "/authority/pending/mgpass"),
            };
            format!("{holder}; user writes are held, {pending} to be carried over")
        }
        _ => match shut_gates(view) {
            names if names.is_empty() => format!("{holder}; waits for: {waits}"),
            names => format!("{holder}; waits for: {waits} ({})", names.join(", ")),
        },
    }
}

fn shut_gates(view: &Value) -> Vec<String> {
    let gates = at(view, "/gates").as_array().into_iter().flatten();
    let shut = gates.filter(|gate| is_shut(gate));
    shut.map(|gate| printable(text(gate, "/name"))).collect()
}

pub fn summary(view: &Value) -> String {
    let mut lines = vec![format!(
        "authority: {}, stage {}, generation {}, term {}",
        text(view, "/authority/holder"),
        text(view, "/authority/stage"),
        at(view, "/authority/generation"),
        at(view, "/authority/term"),
    )];
    let wish = text(view, "/authority/wish/stage");
    if !wish.is_empty() {
        lines.push(format!("wished: {wish}"));
        lines.push(progress(view));
        if text(view, "/waits") == "gates" {
            lines.push(format!(
                "the wish stands: it goes ahead by itself once they are open; `dwp stage {}` takes it back",
                text(view, "/authority/stage")
            ));
        }
    }
    if at(view, "/authority/raise_owed") == &Value::Bool(true) {
        lines.push(
            "mgPass's database could not be told of the last move; nothing is written there until it is"
                .to_owned(),
        );
    }
    for gate in at(view, "/gates").as_array().into_iter().flatten() {
        lines.push(gate_line(gate));
    }
    for name in ["held", "debt", "strays"] {
        let list = at(view, &format!("/{name}"));
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            lines.push(format!("{name}:"));
            lines.push(outline(list).trim_end().to_owned());
        }
    }
    lines.join("\n") + "\n"
}

pub fn is_shut(gate: &Value) -> bool {
    text(gate, "/state") == "shut"
}

/// Before a way back: what Logto does not have of what mgPass has.
pub fn owed(view: &Value) -> String {
    let mut lines = vec!["what Logto lacks, by class:".to_owned()];
    let pending = at(view, "/authority/pending/mgpass").as_u64().unwrap_or(0);
    if pending > 0 {
        lines.push(format!(
            "  {pending:>8} pending (carried over before it ends)"
        ));
    }
    let classes = at(view, "/debt").as_array().into_iter().flatten();
    // Counted above, by write and not by user.
    for row in classes.filter(|row| text(row, "/class") != "pending") {
        let n = at(row, "/n").as_u64().unwrap_or(0);
        lines.push(format!("  {n:>8} {} (held)", text(row, "/class")));
    }
    let strays: u64 = at(view, "/strays")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| at(row, "/n").as_u64())
        .sum();
    if strays > 0 {
        lines.push(format!("  {strays:>8} changed at Logto by others (held)"));
    }
    if lines.len() == 1 {
        lines.push("  nothing".to_owned());
    }
    lines.join("\n")
}

/// One move of the log.
pub fn move_lines(one: &Value) -> String {
    let mut lines = format!(
        "{}  {} to {}: {}, generation {}, term {}",
        instant(at(one, "/at").as_i64().unwrap_or(0)),
        text(one, "/from_holder"),
        text(one, "/to_holder"),
        text(one, "/cause"),
        at(one, "/generation"),
        at(one, "/term"),
    );
    if let Some(held_ms) = at(one, "/held_ms").as_i64() {
        lines.push_str(&format!(", writes held for {}", duration(held_ms)));
    }
    lines.push('\n');
    if !text(one, "/evidence").is_empty() {
        lines.push_str(&format!("    evidence {}\n", text(one, "/evidence")));
    }
    for waiver in at(one, "/waivers").as_array().into_iter().flatten() {
        let of = |name: &str| printable(text(waiver, name));
        let gate = format!("{} {}", of("/gate"), of("/name"));
        let gate = gate.trim_end();
        lines.push_str(&format!(
            "    waived {gate} by {}: {}\n",
            of("/actor"),
            of("/reason")
        ));
    }
    lines
}

pub fn gate_line(gate: &Value) -> String {
    let names: Vec<_> = at(gate, "/names")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(printable)
        .collect();
    let mut line = format!(
        "  {:<7}{:<14}{}",
        text(gate, "/state"),
        text(gate, "/name"),
        text(gate, "/why")
    );
    if !names.is_empty() {
        line.push_str(&format!(" ({})", names.join(", ")));
    }
    if !text(gate, "/do").is_empty() {
        line.push_str(&format!("\n{:>23}-> {}", "", text(gate, "/do")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gate_that_is_shut_says_what_opens_it() {
        let gate = json!({
            "name": "parked", "state": "shut", "why": "1 user is parked or held.",
            "do": "Mend and replay them.", "names": ["u1"],
        });
        assert_eq!(
            gate_line(&gate),
            "  shut   parked        1 user is parked or held. (u1)\n                       -> Mend and replay them."
        );
        let open =
            json!({ "name": "armed", "state": "open", "why": "Armed.", "do": "", "names": [] });
        assert_eq!(gate_line(&open), "  open   armed         Armed.");
    }

    #[test]
    fn a_move_says_when_why_what_was_waived_and_how_long_writes_were_held() {
        let one = json!({
            "at": 1_800_000_000_000_i64, "from_holder": "draining", "to_holder": "mgpass",
            "cause": "drained", "generation": 3, "term": 2, "evidence": null, "held_ms": 4_000,
            "waivers": [
                { "gate": "parked", "name": "u1", "reason": "by\u{7}phone", "actor": "anna" },
                { "gate": "equality", "name": "", "reason": "the drill", "actor": "bob" },
            ],
        });
        assert_eq!(
            move_lines(&one),
            "2027-01-15 08:00:00 UTC  draining to mgpass: drained, generation 3, term 2, writes held for 4 s\n    waived parked u1 by anna: by\u{fffd}phone\n    waived equality by bob: the drill\n"
        );
    }

    #[test]
    fn what_logto_lacks_is_said_by_class_before_a_way_back() {
        let nothing =
            json!({ "authority": { "pending": { "mgpass": 0 } }, "debt": [], "strays": [] });
        assert_eq!(owed(&nothing), "what Logto lacks, by class:\n  nothing");
        let some = json!({
            "authority": { "pending": { "mgpass": 3 } },
            "debt": [{ "class": "born_at_mgpass", "n": 12, "since": 0 }, { "class": "pending", "n": 2, "since": 0 }],
            "strays": [{ "source": "walk", "n": 1 }, { "source": "webhook", "n": 1 }],
        });
        assert_eq!(
            owed(&some),
            "what Logto lacks, by class:\n         3 pending (carried over before it ends)\n        12 born_at_mgpass (held)\n         2 changed at Logto by others (held)"
        );
    }

    #[test]
    fn a_wait_at_gates_names_those_that_are_shut() {
        let view = json!({ "waits": "gates", "authority": { "holder": "logto" }, "gates": [
            { "name": "armed", "state": "open" }, { "name": "reads", "state": "shut" },
            { "name": "intents", "state": "shut" }, { "name": "checklist", "state": "waived" },
        ]});
        assert_eq!(progress(&view), "logto; waits for: gates (reads, intents)");
    }

    #[test]
    fn what_is_waited_for_is_said_in_one_line() {
        let view = |holder: &str, waits: &str| {
            json!({ "waits": waits, "authority": {
                "holder": holder, "now": 1_000, "announced_until": 100_000, "waits": waits,
                "pending": { "logto": 3, "mgpass": 5 },
            }})
        };
        for (holder, waits, expected) in [
            (
                "logto",
                "announced",
                "announced; draining begins in at most 2 min",
            ),
            ("logto", "gates", "logto; waits for: gates"),
            (
                "draining",
                "pending",
                "draining; user writes are held, 3 to be carried over",
            ),
            (
                "returning",
                "pending",
                "returning; user writes are held, 5 to be carried over",
            ),
        ] {
            assert_eq!(progress(&view(holder, waits)), expected);
        }
    }
}
