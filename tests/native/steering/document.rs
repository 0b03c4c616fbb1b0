//! The status is the document that docs/status.md describes, and it says what is wrong.

use std::collections::BTreeSet;

use super::super::jobs;
use super::super::support::{Fault, Port};
use super::*;

/// Members whose own members are described elsewhere, or are names of ours.
const WHOLE: &[&str] = &[
    "jobs[]",
    "totals[]",
    "keys",
    "verdicts[].figures",
    "cutover.requests.reads.before",
    "cutover.requests.reads.since",
    "cutover.requests.reads.lately",
    "cutover.requests.writes.before",
    "cutover.requests.writes.since",
    "cutover.requests.writes.lately",
];

/// Every member's path: `a.b`, `list[].c`.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        _ if WHOLE.contains(&at) => {
            found.insert(at.to_owned());
        }
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let path = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                paths(member, &path, found);
            }
        }
        Value::Array(items)
            if items
                .iter()
                .any(|item| item.is_object() || WHOLE.contains(&format!("{at}[]").as_str())) =>
        {
            for item in items {
                paths(item, &format!("{at}[]"), found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// The first cells of the tables between two headings.
fn documented(from: &str, to: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md"),
    )
    .unwrap();
    let start = text.find(from).unwrap();
    let end = text[start..].find(to).map_or(text.len(), |end| start + end);
    let mut is_members = false;
    let mut found = BTreeSet::new();
    for line in text[start..end].lines() {
        match line {
            "| member | meaning |" => is_members = true,
            "" => is_members = false,
            _ if is_members && line.starts_with("| `") => {
                let cell = line.split('|').nth(1).unwrap();
                found.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            _ => {}
        }
    }
    found
}

/// Everything there is, at once: somebody parked, reads of both sides, a plan, a job,
/// findings, refused flags, faults of none.
fn rich() -> Rc<World> {
    let world = world();
    world.mirrored("alice0000001", |user| user.name = Some("Alice".into()));
    world.mirrored("bob000000001", |_| {});
    world.advance(10_000);
    world.flag("read_percent", "100");
    world.flag("compare_percent", "100");
    world.flag("read_precent", "1");
    world.flag("jwks_union", "yes");
    assert_eq!(ask(&world, "POST", "/_proxy/ramp/start?steps=100").0, 400);
    world.flag("read_percent", "99");
    assert_eq!(ask(&world, "POST", "/_proxy/ramp/start?steps=100").0, 202);
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET name = 'Eve' WHERE id = 'alice0000001'",
    );
    let node = world.node();
    for _ in 0..10 {
        let request = Request::new("GET", "/api/users/alice0000001").token(&world.admin_token());
        assert_eq!(world.ask_at(&node, request).status, 200);
        world.advance(1_000);
    }
    cron_at(&world, &node);
    world.wake("alice0000001");
    world.deliver();
    jobs::prove(&world);
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO subjects (subject, lease_holder, lease_until, parked, parked_at) VALUES ('carol0000001', '', 0, 'too_large', 1)",
    );
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO evidence (kind, term, at, digest, not_green) VALUES ('checklist', 1, 1, 'd', '[\"audit\"]')",
    );
    world.flag("guard", r#"{"cap_percent":"10","reason":"by hand"}"#);
    world
}

#[test]
fn the_document_is_as_described() {
    let world = rich();
    let mut found = BTreeSet::new();
    paths(&get(&world, "/_proxy/status"), "", &mut found);
    let handed_over = crate::handover::watched::rich();
    let request = Request::new("GET", "/_proxy/status").token("admin");
    let status: Value = serde_json::from_str(&handed_over.ask(request).body).unwrap();
    paths(&status["cutover"], "cutover", &mut found);
    let alone = crate::cleanup::world();
    let request = Request::new("GET", "/_proxy/status").token("admin");
    let status: Value = serde_json::from_str(&alone.ask(request).body).unwrap();
    paths(&status["leaving"], "leaving", &mut found);
    found.remove("leaving");
    // Settings with faults leave no context for the rest.
    let faulty = World::with(1, &[("ADMIN_TOKEN", ADMIN), ("MGPASS_ISSUER", "")]);
    let status = get(&faulty, "/_proxy/status");
    paths(&status["setting_faults"], "setting_faults", &mut found);
    found.remove("setting_faults");
    assert_eq!(found, documented("## What is wrong", "## Over time"));
    let mut plot = BTreeSet::new();
    let whole = get(&world, "/_proxy/history?hours=1");
    paths(&whole, "", &mut plot);
    let of_plot: BTreeSet<String> = plot
        .into_iter()
        .map(|path| match path.split('.').collect::<Vec<_>>()[..] {
            ["points[]", side @ ("logto" | "mgpass" | "writes"), _] => format!("points[].{side}"),
            ["changes[]", _] => "changes[]".to_owned(),
            _ => path,
        })
        .collect();
    assert_eq!(of_plot, documented("## Over time", "\u{0}"));
}

#[test]
fn every_code_of_a_problem_is_listed() {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md"),
    )
    .unwrap();
    let listed: BTreeSet<&str> = text
        .lines()
        .skip_while(|line| *line != "| code | severity | when |")
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .collect();
    let sources = ["running", "steering", "people"].map(|name| {
        let path = format!("src/operate/problems/{name}.rs");
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
            .unwrap()
    });
    let mut emitted = BTreeSet::from([
        "mirror_paused",
        "backlog_old",
        "going_back_recommended",
        "cutover_to_be_looked_at",
        "cutover_not_judged",
        "route_may_go",
    ]);
    for source in &sources {
        for (_, rest) in source
            .match_indices("code: \"")
            .map(|(at, head)| (at, &source[at + head.len()..]))
        {
            emitted.insert(rest.split('"').next().unwrap());
        }
    }
    assert_eq!(listed, emitted);
}

fn codes(world: &Rc<World>) -> Vec<String> {
    let problems = get(world, "/_proxy/status")["problems"].clone();
    let problems = problems.as_array().unwrap().iter();
    problems
        .map(|problem| problem["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_wrong_is_said_first() {
    let world = rich();
    let found = codes(&world);
    for code in [
        "guard_stopped",
        "flag_refused",
        "flag_unknown",
        "parked",
        "reads_differ",
    ] {
        assert!(
            found.iter().any(|known| known == code),
            "{code} in {found:?}"
        );
    }
    let flags = get(&world, "/_proxy/status")["flags"].clone();
    let of = |key: &str| {
        let mut flags = flags.as_array().unwrap().iter();
        flags.find(|flag| flag["key"] == key).unwrap().clone()
    };
    assert_eq!(
        (&of("jwks_union")["state"], &of("jwks_union")["value"]),
        (&json!("refused"), &json!("yes"))
    );
    assert_eq!(
        (&of("read_precent")["state"], &of("read_precent")["value"]),
        (&json!("unknown"), &json!(null))
    );
    assert_eq!(of("salt")["state"], "absent");
    assert_eq!(of("stage")["state"], "set");
    assert!(of("stage")["since"].as_i64().is_some());
}

#[test]
fn an_isolate_that_is_behind_says_so() {
    let world = world();
    let node = world.node();
    let at_node = || {
        let request = Request::new("GET", "/_proxy/status").token(ADMIN);
        let status: Value = serde_json::from_str(&world.ask_at(&node, request).body).unwrap();
        let mut flags = status["flags"].as_array().unwrap().iter();
        flags.find(|flag| flag["key"] == "read_percent").unwrap()["state"].clone()
    };
    assert_eq!(at_node(), "absent");
    world.flag("read_percent", "5");
    assert_eq!(at_node(), "waiting");
    world.advance(6_000);
    at_node();
    world.idle();
    assert_eq!(at_node(), "set");
}

#[test]
fn a_store_that_fails_hides_nothing_else() {
    for (port, code) in [
        (Port::ProxyDatabase, "database_unavailable"),
        (Port::MetricsDatabase, "metrics_unavailable"),
        (Port::Flags, "flags_unreachable"),
    ] {
        let world = world();
        let node = world.node();
        let status = || {
            let request = Request::new("GET", "/_proxy/status").token(ADMIN);
            let answer = world.ask_at(&node, request);
            assert_eq!(answer.status, 200);
            serde_json::from_str::<Value>(&answer.body).unwrap()
        };
        status();
        world.faults.always(port, "", Fault::BeforeEffect);
        let found = status();
        assert_eq!(found["stage"], "dual_write", "{port:?}");
        assert!(
            found["problems"].to_string().contains(code),
            "{port:?} {found}"
        );
    }
    let world = world();
    let node = world.node();
    world.ask_at(&node, Request::new("GET", "/_proxy/status").token(ADMIN));
    // KV that never answers is not waited for.
    world.faults.always(Port::Flags, "", Fault::Hang);
    let began_ms = world.now_ms();
    world.ask_at(&node, Request::new("GET", "/_proxy/status").token(ADMIN));
    assert!(world.now_ms() - began_ms < 3_000);
}

#[test]
fn no_value_of_a_users_is_in_what_operators_see() {
    const CANARY: &str = "c4n4ry";
    let world = world();
    world.put_user("alice0000001", |user| {
        user.name = Some(format!("{CANARY} name"));
        user.username = Some(format!("{CANARY}_user"));
        user.email = Some(format!("{CANARY}@example.test"));
        user.avatar = Some(format!("https://{CANARY}.example.test/a.png"));
        user.custom_data = format!(r#"{{"{CANARY}":"{CANARY}"}}"#);
        let details = format!(r#"{{"id":"{CANARY}"}}"#);
        user.identities
            .push(("google".to_owned(), CANARY.to_owned(), Some(details)));
    });
    jobs::import(&world);
    jobs::prove(&world);
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'c4n4ry changed'");
    jobs::prove(&world);
    cron(&world);
    for path in [
        "status",
        "history?hours=1",
        "parked",
        "mirror",
        "ramp",
        "flags/history",
        "metrics",
        "equality",
        "explain?user=alice0000001",
    ] {
        let answer = world.ask(Request::new("GET", &format!("/_proxy/{path}")).token(ADMIN));
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains(CANARY), "{path}: {}", answer.body);
    }
    for line in world.events.borrow().iter() {
        assert!(!line.contains(CANARY), "{line}");
    }
}
