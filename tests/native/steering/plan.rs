//! A ramp plan carried out by cron: steps, waits, brakes, the bad step, the way back.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::super::support::{Fault, Node, Port, Request, World};
use super::{ADMIN, ask, cron_at, get, unset};

/// Some of them below any share.
const N_USERS: usize = 10;

/// Mirrored users, all of whose reads are compared; the guard wants to see little.
fn world() -> (Rc<World>, Node) {
    let world = World::with(
        23,
        &[
            ("ADMIN_TOKEN", ADMIN),
            ("WALK", "off"),
            ("GUARD_WINDOW_S", "120"),
            ("GUARD_MIN_READS", "10"),
            ("GUARD_MIN_COMPARED", "5"),
        ],
    );
    for index in 0..N_USERS {
        world.mirrored(&format!("alice{index:07}"), |user| {
            user.name = Some("Alice".into());
        });
    }
    world.advance(10_000);
    world.flag("compare_percent", "100");
    let node = world.node();
    (world, node)
}

/// A minute of reads, and cron behind it.
fn minute(world: &Rc<World>, node: &Node, n_reads: usize) {
    for index in 0..n_reads {
        let path = format!("/api/users/alice{:07}", index % N_USERS);
        let request = Request::new("GET", &path).token(&world.admin_token());
        assert_eq!(world.ask_at(node, request).status, 200);
        world.advance(500);
    }
    cron_at(world, node);
}

fn minutes(world: &Rc<World>, node: &Node, n_minutes: usize) {
    for _ in 0..n_minutes {
        minute(world, node, 30);
    }
}

fn asked(world: &World) -> Option<String> {
    world.flags.borrow().get("read_percent").cloned()
}

fn plan(world: &Rc<World>) -> Value {
    get(world, "/_proxy/ramp")["ramp"].clone()
}

#[track_caller]
fn start(world: &Rc<World>, query: &str) {
    let (status, body) = ask(world, "POST", &format!("/_proxy/ramp/start?{query}"));
    assert_eq!(status, 202, "{body}");
}

#[track_caller]
fn check(world: &Rc<World>, state: &str, why: Value, in_force_bps: i64) {
    let plan = plan(world);
    assert_eq!(
        (&plan["state"], &plan["why"], &plan["in_force_bps"]),
        (&json!(state), &why, &json!(in_force_bps)),
        "{plan}"
    );
}

#[test]
fn a_plan_goes_to_100_step_by_step_and_each_step_waits_for_its_pass() {
    let (world, node) = world();
    start(
        &world,
        "steps=50,80,100&hold_s=150&min_reads=20&actor=ama&reason=first",
    );
    check(&world, "running", json!(null), 0);
    cron_at(&world, &node);
    assert_eq!(asked(&world).as_deref(), Some("50"), "nobody is served yet");
    minutes(&world, &node, 1);
    check(&world, "running", json!(null), 5_000);
    // Nobody reads: no pass, however long.
    for _ in 0..4 {
        cron_at(&world, &node);
    }
    assert_eq!(asked(&world).as_deref(), Some("50"));
    assert_eq!(plan(&world)["waits_for"], "too_few_reads");
    minutes(&world, &node, 4);
    assert_ne!(asked(&world).as_deref(), Some("50"), "{}", plan(&world));
    minutes(&world, &node, 12);
    assert_eq!(asked(&world).as_deref(), Some("100"));
    check(&world, "done", json!(null), 10_000);
    let log = plan(&world)["log"].clone();
    let whats: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| entry["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        whats,
        [
            "started", "step", "seen", "passed", "step", "seen", "passed", "step", "seen",
            "passed", "done"
        ],
    );
    let history = get(&world, "/_proxy/flags/history?key=read_percent");
    let actors: Vec<_> = history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["actor"].clone())
        .collect();
    assert_eq!(actors, vec![json!("ramp plan"); 3]);
}

#[test]
fn a_bad_step_goes_back_to_the_last_good_share_and_the_plan_can_go_on() {
    let (world, node) = world();
    start(&world, "steps=50,100&hold_s=60&min_reads=10");
    minutes(&world, &node, 5);
    assert_eq!(asked(&world).as_deref(), Some("100"), "{}", plan(&world));
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::BeforeEffect);
    minutes(&world, &node, 3);
    check(&world, "aborted", json!("error_rate"), 10_000);
    assert_eq!(asked(&world).as_deref(), Some("50"));
    assert!(
        world.flags.borrow().contains_key("guard"),
        "all reads at Logto meanwhile"
    );
    // Not while the guard holds.
    let (status, body) = ask(&world, "POST", "/_proxy/ramp/resume");
    assert_eq!((status, &body["code"]), (409, &json!("proxy.ramp_held")));
    world.faults.clear();
    unset(&world, "guard");
    world.advance(60_000);
    let (status, body) = ask(&world, "POST", "/_proxy/ramp/resume?actor=ama");
    assert_eq!(status, 200, "{body}");
    minutes(&world, &node, 2);
    check(&world, "running", json!(null), 5_000);
    minutes(&world, &node, 10);
    check(&world, "done", json!(null), 10_000);
}

#[test]
fn a_bad_first_step_goes_back_to_nobody() {
    let (world, node) = world();
    start(&world, "steps=50&hold_s=60");
    minutes(&world, &node, 2);
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'Eve'");
    minutes(&world, &node, 2);
    check(&world, "aborted", json!("mismatches"), 5_000);
    assert_eq!(asked(&world).as_deref(), Some("0"));
}

#[test]
fn a_hand_a_brake_or_another_stage_pauses_the_plan_and_says_so() {
    for (key, value, why) in [
        ("read_percent", "70", "changed_by_hand"),
        ("read_percent", "fifty", "refused"),
        (
            "guard",
            r#"{"cap_percent":"10","reason":"by hand"}"#,
            "guard",
        ),
        ("kill_switch", "on", "kill_switch"),
        ("stage", "shadow", "stage"),
    ] {
        let (world, node) = world();
        start(&world, "steps=50,100&hold_s=60");
        minutes(&world, &node, 2);
        world.flag(key, value);
        minutes(&world, &node, 6);
        check(&world, "paused", json!(why), 5_000);
        let left = asked(&world);
        assert_ne!(left.as_deref(), Some("100"), "{key} {value}");
        let problems = get(&world, "/_proxy/status")["problems"].clone();
        let codes: Vec<_> = problems
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| problem["code"].clone())
            .collect();
        assert!(codes.contains(&json!("ramp_paused")), "{codes:?}");
    }
}

#[test]
fn a_plan_resumes_from_the_share_that_a_hand_left() {
    let (world, node) = world();
    start(&world, "steps=50,80,100&hold_s=60&min_reads=10");
    minutes(&world, &node, 2);
    world.flag("read_percent", "80");
    minutes(&world, &node, 1);
    check(&world, "paused", json!("changed_by_hand"), 5_000);
    assert_eq!(ask(&world, "POST", "/_proxy/ramp/resume").0, 200);
    check(&world, "running", json!(null), 8_000);
    minutes(&world, &node, 4);
    assert_eq!(asked(&world).as_deref(), Some("100"));
}

#[test]
fn an_operator_pauses_and_aborts() {
    let (world, node) = world();
    start(&world, "steps=50,100&hold_s=60&min_reads=10");
    minutes(&world, &node, 2);
    assert_eq!(ask(&world, "POST", "/_proxy/ramp/pause?actor=ama").0, 200);
    minutes(&world, &node, 6);
    check(&world, "paused", json!("by_hand"), 5_000);
    assert_eq!(
        asked(&world).as_deref(),
        Some("50"),
        "a pause leaves the share"
    );
    // One at a time.
    let (status, body) = ask(&world, "POST", "/_proxy/ramp/start?steps=60");
    assert_eq!((status, &body["code"]), (409, &json!("proxy.ramp_active")));
    assert_eq!(ask(&world, "POST", "/_proxy/ramp/abort?actor=ama").0, 200);
    check(&world, "aborted", json!("by_hand"), 5_000);
    assert_eq!(asked(&world).as_deref(), Some("0"), "no step had passed");
    for turn in ["pause", "abort"] {
        let (status, body) = ask(&world, "POST", &format!("/_proxy/ramp/{turn}"));
        assert_eq!(
            (status, &body["code"]),
            (409, &json!("proxy.ramp_not_active"))
        );
    }
}

#[test]
fn a_plan_does_not_begin_where_it_could_not_go_on_or_makes_no_sense() {
    for (key, value, query, status, code) in [
        ("stage", "shadow", "steps=5", 409, "proxy.ramp_held"),
        ("kill_switch", "on", "steps=5", 409, "proxy.ramp_held"),
        ("guard", "{", "steps=5", 409, "proxy.ramp_held"),
        ("read_percent", "x", "steps=5", 409, "proxy.ramp_held"),
        ("read_percent", "5", "steps=5,10", 400, "proxy.ramp_steps"),
        ("salt", "", "steps=10,5", 400, "proxy.ramp_steps"),
        ("salt", "", "steps=", 400, "proxy.ramp_steps"),
        ("salt", "", "", 400, "proxy.parameter_missing"),
        (
            "salt",
            "",
            "steps=5&hold_s=0",
            400,
            "proxy.parameter_missing",
        ),
        (
            "salt",
            "",
            "steps=5&min_reads=x",
            400,
            "proxy.parameter_missing",
        ),
    ] {
        let (world, _) = world();
        world.flag(key, value);
        let (given, body) = ask(&world, "POST", &format!("/_proxy/ramp/start?{query}"));
        assert_eq!(
            (given, body["code"].as_str().unwrap()),
            (status, code),
            "{key} {query}"
        );
    }
}

/// KV fails once while the share is written; or cron ends between the move and the write.
#[test]
fn a_share_that_kv_did_not_take_is_written_by_the_next_cron() {
    for fault in [
        Fault::BeforeEffect,
        Fault::AfterEffect,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ] {
        let (world, node) = world();
        start(&world, "steps=50&hold_s=60&min_reads=10");
        world.faults.once(Port::Flags, "put", 0, fault);
        minutes(&world, &node, 3);
        assert_eq!(asked(&world).as_deref(), Some("50"), "{fault:?}");
        minutes(&world, &node, 4);
        check(&world, "done", json!(null), 5_000);
    }
}

#[test]
fn two_crons_at_once_take_one_step() {
    let (world, node) = world();
    start(&world, "steps=50,100&hold_s=60&min_reads=10");
    let seen = || {
        let node = node.next_invocation();
        world.executor.spawn(async move {
            let seen = dual_write_proxy::operate::watch::look(&node).await.unwrap();
            let tuning = &node.context().settings.guard;
            dual_write_proxy::operate::ramp::tick(&node, tuning, &seen).await;
        })
    };
    let _both = [seen(), seen()];
    world.idle();
    let log = "SELECT count(*) FROM ramp_log WHERE what = 'step'";
    assert_eq!(world.value(Store::Proxy, log), 1);
    assert_eq!(asked(&world).as_deref(), Some("50"));
}

#[test]
fn without_a_database_or_kv_the_plan_rests() {
    for port in [Port::ProxyDatabase, Port::MetricsDatabase, Port::Flags] {
        let (world, node) = world();
        start(&world, "steps=50,100&hold_s=60&min_reads=10");
        minutes(&world, &node, 2);
        world.faults.always(port, "", Fault::BeforeEffect);
        for _ in 0..5 {
            cron_at(&world, &node);
        }
        world.faults.clear();
        assert_eq!(asked(&world).as_deref(), Some("50"), "{port:?}");
        minutes(&world, &node, 8);
        check(&world, "done", json!(null), 10_000);
    }
}
