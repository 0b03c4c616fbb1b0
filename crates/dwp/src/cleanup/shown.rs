//! Cleaning up in words, and what other consoles have to do as commands.

use serde_json::Value;

use super::super::words::{ago, aligned, instant, printable};

/// Secrets of the Worker; those that were never set answer that they are not there.
const SECRETS: [&str; 13] = [
    "LOGTO_CLIENT_SECRET",
    "REVERSE_CLIENT_SECRET",
    "MGPASS_CLIENT_SECRET",
    "MGPASS_ADMIN_TOKEN",
    "LOGTO_WEBHOOK_SECRET",
    "MGPASS_WEBHOOK_SECRET",
    "ORIGIN_SECRET",
    "HANDOVER_SECRET",
    "SUBJECT_KEY",
    "PIN_SECRET",
    "PROBE_PASSWORD",
    "PROBE_CLIENT_SECRET",
    "ADMIN_TOKEN",
];

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

fn integer(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten()
}

pub fn plan_text(view: &Value, is_abandoned: bool) -> String {
    let now = integer(view, "/now").unwrap_or_default();
    let holder = printable(text(view, "/holder"));
    let mut lines = vec![
        vec!["authority".to_owned(), holder],
        vec![
            "used".to_owned(),
            integer(view, "/used_at").map_or_else(
                || "nobody was answered in this stage".to_owned(),
                |at| format!("somebody was answered {}", ago(at, now)),
            ),
        ],
        vec![
            "Logto's documents".to_owned(),
            integer(view, "/issuer_kept_at").map_or_else(
                || "not kept: `dwp cleanup keep-issuer`".to_owned(),
                |at| format!("kept {}", instant(at)),
            ),
        ],
    ];
    // What shows that it is dead.
    let seen = |pointer: &str, never: &str| {
        integer(view, pointer).map_or_else(|| never.to_owned(), |at| ago(at, now))
    };
    lines.extend([
        vec![
            "Logto needed".to_owned(),
            seen("/logto_needed_at", "by nobody whom the proxy saw"),
        ],
        vec![
            "its webhooks".to_owned(),
            seen("/logto_webhook_at", "none came"),
        ],
        vec![
            "hanging writes".to_owned(),
            integer(view, "/hanging").unwrap_or(0).to_string(),
        ],
    ]);
    for note in list(view, "notes") {
        let until = integer(note, "/until").unwrap_or_default();
        let what = match text(note, "/name") {
            "refresh_tokens" => format!("end {}", instant(until)),
            "residue" => printable(text(note, "/how")),
            "archive" => format!("SHA-256 {}", printable(text(note, "/digest"))),
            _ => printable(text(note, "/how")),
        };
        let who = printable(text(note, "/actor"));
        lines.push(vec![
            printable(text(note, "/name")).replace('_', " "),
            format!("{what} ({who})"),
        ]);
    }
    let mut plan = aligned(&lines);
    plan.push_str("\nthe route  ");
    plan.push_str(&printable(text(view, "/leaving/why")));
    if let Some(at) = integer(view, "/leaving/at") {
        plan.push_str(&format!(" ({})", instant(at)));
    }
    plan.push_str("\n\nis cleared, in this order:\n");
    let done: Vec<&str> = list(view, "steps")
        .filter(|step| step.get("done_at").is_some_and(Value::is_i64))
        .map(|step| text(step, "/step"))
        .collect();
    for step in list(view, "clears") {
        let name = text(step, "/step");
        let mark = match done.contains(&name) {
            true => "done",
            false => "",
        };
        plan.push_str(&format!(
            "  {:<8} {:<22} {mark}\n",
            printable(text(step, "/store")),
            printable(name)
        ));
    }
    let flags: Vec<String> = list(view, "flags")
        .filter_map(Value::as_str)
        .filter(|flag| *flag != "stage")
        .map(printable)
        .collect();
    plan.push_str(&format!("  flags    {}\n\n", flags.join(", ")));
    plan.push_str(&consoles(view, is_abandoned));
    match text(view, "/blocked/code") {
        "" => plan.push_str("\nnothing stands in the way\n"),
        code => plan.push_str(&format!(
            "\nBLOCKED {}: {}\n",
            printable(code),
            printable(text(view, "/blocked/do"))
        )),
    }
    plan
}

/// What no route of the proxy's can do.
pub fn consoles(view: &Value, is_abandoned: bool) -> String {
    let route = match is_abandoned {
        true => {
            "the route: take `routes` out of wrangler.toml and deploy, or delete it in the zone; let Logto's origin accept everyone again"
        }
        false => {
            "the route and DNS: the host's record to mgPass, `routes` out of wrangler.toml; keep `HOST/_proxy/*` until `dwp cleanup verify` is clean"
        }
    };
    let clients: Vec<String> = list(view, "logto_clients")
        .filter_map(Value::as_str)
        .map(printable)
        .collect();
    let mut text = format!(
        "left to other consoles:\n  {route}\n  Logto: delete its webhook to /_proxy/hooks/logto, and the machine-to-machine applications {}\n  mgPass: delete its webhook to /_proxy/hooks/mgpass, and the proxy's client\n",
        clients.join(" and ")
    );
    let mut commands = vec![
        "npx wrangler kv key delete --remote --binding KEYS logto".to_owned(),
        "npx wrangler delete dual-write-proxy".to_owned(),
    ];
    commands.extend(
        ["mirror", "jobs", "mirror-dead"]
            .map(|queue| format!("npx wrangler queues delete {queue}")),
    );
    commands.extend(
        ["dual-write-proxy", "dual-write-metrics"]
            .map(|database| format!("npx wrangler d1 delete {database}")),
    );
    commands.extend(
        ["FLAGS", "KEYS"]
            .map(|binding| format!("npx wrangler kv namespace delete --binding {binding}")),
    );
    for command in commands {
        text.push_str(&format!("    {command}\n"));
    }
    text.push_str(&format!(
        "  with the Worker go its secrets: {}\n",
        SECRETS.join(", ")
    ));
    text
}

pub fn verify_text(found: &Value) -> String {
    let mut text_of = String::new();
    for finding in list(found, "findings") {
        let is_clean = finding.get("clean").and_then(Value::as_bool) == Some(true);
        let state = match is_clean {
            true => "clean",
            false => "LEFT",
        };
        let what = printable(text(finding, "/what"));
        text_of.push_str(&format!("{state:<6} {what}\n"));
        if !is_clean {
            let detail = finding.get("found").filter(|found| !found.is_null());
            if let Some(detail) = detail {
                text_of.push_str(&format!("       {}\n", printable(&detail.to_string())));
            }
            text_of.push_str(&format!(
                "       To do: {}\n",
                printable(text(finding, "/do"))
            ));
        }
    }
    text_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_says_what_goes_what_waits_and_what_is_left_to_others() {
        let view = json!({
            "now": 1_800_000_100_000_i64, "holder": "alone", "used_at": 1_800_000_040_000_i64, "issuer_kept_at": 1_800_000_000_000_i64,
            "logto_needed_at": 1_800_000_040_000_i64, "logto_webhook_at": null, "hanging": 0,
            "notes": [{ "name": "residue", "until": 7, "how": "exported", "digest": "ab", "n": 2, "actor": "anna", "at_ms": 1 }],
            "steps": [{ "step": "fence", "began_at": 1, "done_at": 2, "n": 0 }],
            "clears": [{ "store": "mgpass", "step": "fence" }, { "store": "mgpass", "step": "logto_mirror" }],
            "flags": ["stage", "salt"], "logto_clients": ["m2m1", "m2m2"],
            "leaving": { "code": "in_use", "why": "Somebody still uses it.", "at": 1_800_000_040_000_i64 },
            "blocked": { "code": "route_in_use", "do": "Move them." },
        });
        let plan = plan_text(&view, false);
        for part in [
            "authority          alone\n",
            "used               somebody was answered 1 min ago\n",
            "residue            exported (anna)\n",
            "Logto needed       1 min ago\n",
            "its webhooks       none came\n",
            "the route  Somebody still uses it. (2027-01-15 08:00:40 UTC)\n",
            "  mgpass   fence                  done\n",
            "  mgpass   logto_mirror",
            "  flags    salt\n",
            "applications m2m1 and m2m2\n",
            "    npx wrangler d1 delete dual-write-proxy\n",
            "BLOCKED route_in_use: Move them.\n",
        ] {
            assert!(plan.contains(part), "{part:?} not in\n{plan}");
        }
    }

    #[test]
    fn what_is_left_says_what_to_do() {
        let found = json!({ "clean": false, "findings": [
            { "what": "DB names no user", "clean": true, "found": [], "do": "" },
            { "what": "KEYS holds no imported keys", "clean": false, "found": null, "do": "delete it" },
        ]});
        assert_eq!(
            verify_text(&found),
            "clean  DB names no user\nLEFT   KEYS holds no imported keys\n       To do: delete it\n"
        );
    }
}
