//! What operators steer by, over the flows: who changed which flag, the one document of
//! the status, and the timeline. The ramp plan has a file of its own.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::runtime::snapshot;
use serde_json::{Value, json};

use super::support::{Fault, Node, Port, Request, World};

mod document;
mod lists;
mod plan;

const ADMIN: &str = "operator-s3cret";

fn world() -> Rc<World> {
    World::with(17, &[("ADMIN_TOKEN", ADMIN), ("WALK", "off")])
}

fn ask(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let answer = world.ask(Request::new(method, path).token(ADMIN));
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[track_caller]
fn get(world: &Rc<World>, path: &str) -> Value {
    let (status, body) = ask(world, "GET", path);
    assert_eq!(status, 200, "{body}");
    body
}

/// One run of cron, a minute after the last.
fn cron(world: &Rc<World>) {
    cron_at(world, &world.node());
}

fn cron_at(world: &Rc<World>, node: &Node) {
    world.advance(60_000);
    let node = node.next_invocation();
    world.finish(async move {
        let flags = snapshot::read(&node, &node.deployment.isolate).await;
        dual_write_proxy::serve::cron::tick(&node, &node.context(), &flags).await;
    });
    world.idle();
}

fn unset(world: &World, key: &str) {
    world.flags.borrow_mut().remove(key);
}

/// Key, before, after, actor of each change, the newest first.
fn changes(world: &Rc<World>) -> Vec<(String, Value, Value, Value)> {
    let answer = get(world, "/_proxy/flags/history");
    let changes = answer["changes"].as_array().unwrap().iter();
    let shown = |value: &Value, code: &Value| {
        if code.is_null() {
            value.clone()
        } else {
            code.clone()
        }
    };
    changes
        .map(|change| {
            (
                change["key"].as_str().unwrap().to_owned(),
                shown(&change["before_value"], &change["before_code"]),
                shown(&change["value"], &change["code"]),
                change["actor"].clone(),
            )
        })
        .collect()
}

fn change(key: &str, before: Value, after: Value, actor: Value) -> (String, Value, Value, Value) {
    (key.to_owned(), before, after, actor)
}

#[test]
fn a_raw_put_is_noticed_with_its_time_by_the_next_cron() {
    let world = world();
    cron(&world);
    assert_eq!(
        changes(&world),
        [
            change("authority", json!(null), json!("logto"), json!(null)),
            change("stage", json!(null), json!("dual_write"), json!(null)),
        ]
    );
    world.flag("read_percent", "10\n");
    cron(&world);
    let noticed_ms = world.now_ms();
    cron(&world);
    let newest = &get(&world, "/_proxy/flags/history?limit=1")["changes"][0];
    assert_eq!(
        (&newest["key"], &newest["value"]),
        (&json!("read_percent"), &json!("10"))
    );
    let age_ms = noticed_ms - newest["noticed_at"].as_i64().unwrap();
    assert!((0..1_000).contains(&age_ms), "{age_ms}");
    world.advance(120_000);
    unset(&world, "read_percent");
    cron(&world);
    assert_eq!(
        changes(&world)[0],
        change("read_percent", json!("10"), json!(null), json!(null))
    );
    assert_eq!(changes(&world).len(), 4, "and nothing twice");
}

#[test]
fn a_refused_value_an_unknown_key_and_the_authority_are_noticed() {
    let world = world();
    cron(&world);
    world.flag("read_percent", "s3cret-pasted-by-mistake");
    world.flag("read_precent", "10");
    world.databases.execute(
        Store::Proxy,
        "UPDATE authority SET holder = 'draining', deadline = 2000000000000",
    );
    cron(&world);
    let found = changes(&world);
    for expected in [
        change(
            "read_percent",
            json!(null),
            json!("unreadable"),
            json!(null),
        ),
        change(
            "read_precent",
            json!(null),
            json!("unknown_key"),
            json!(null),
        ),
        change("authority", json!("logto"), json!("draining"), json!(null)),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    let kept = format!(
        "{:?} {:?}",
        world.proxy("SELECT * FROM flag_history"),
        world.proxy("SELECT * FROM flag_state")
    );
    assert!(!kept.contains("s3cret"), "{kept}");
}

#[test]
fn who_announces_a_change_is_named_with_their_reason() {
    let world = world();
    cron(&world);
    let (status, body) = ask(
        &world,
        "POST",
        "/_proxy/flags/announce?key=read_percent&value=25&actor=ama&reason=after%20lunch",
    );
    assert_eq!(status, 200, "{body}");
    world.flag("read_percent", "25");
    let (_, noticed) = ask(&world, "POST", "/_proxy/flags/notice");
    assert_eq!(noticed["noticed"], 1);
    cron(&world);
    let newest = &get(&world, "/_proxy/flags/history?key=read_percent")["changes"];
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert_eq!(
        (&newest[0]["actor"], &newest[0]["reason"]),
        (&json!("ama"), &json!("after lunch"))
    );
    // The announcement is used up, and holds for its value alone.
    world.flag("read_percent", "30");
    cron(&world);
    assert_eq!(changes(&world)[0].3, json!(null));
}

#[test]
fn what_would_not_be_taken_is_not_announced() {
    let world = world();
    for (query, status, code) in [
        ("key=read_precent&value=5", 400, "proxy.unknown_flag"),
        ("key=read_percent&value=fifty", 400, "proxy.flag_refused"),
        ("value=5", 400, "proxy.parameter_missing"),
        // Whatever is there may go.
        ("key=read_precent", 200, ""),
    ] {
        let path = format!("/_proxy/flags/announce?{query}");
        let (given, body) = ask(&world, "POST", &path);
        assert_eq!(given, status, "{query}");
        assert_eq!(body["code"].as_str().unwrap_or_default(), code, "{query}");
    }
}

#[test]
fn the_guards_own_stop_is_in_the_history_and_two_crons_at_once_note_it_once() {
    let world = world();
    cron(&world);
    world.flag("guard", r#"{"cap_percent":"0","reason":"latency"}"#);
    let node = world.node();
    let both: Vec<_> = (0..2)
        .map(|_| {
            let node = node.next_invocation();
            world.executor.spawn(async move {
                let seen = dual_write_proxy::operate::watch::look(&node).await;
                dual_write_proxy::operate::watch::notice(&node, seen.as_ref(), true).await
            })
        })
        .collect();
    world.idle();
    assert!(both.into_iter().all(|cron| cron.take().is_some()));
    let of_guard = get(&world, "/_proxy/flags/history?key=guard");
    assert_eq!(of_guard["changes"].as_array().unwrap().len(), 1);
}

#[test]
fn the_history_is_bounded() {
    let world = world();
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO flag_history (noticed_at, kind, key) SELECT value, 'flag', 'salt' FROM generate_series(1, 1500)"
            .replace("generate_series(1, 1500)", "json_each((SELECT json_group_array(n) FROM (WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 1500) SELECT n FROM r)))")
            .as_str(),
    );
    cron(&world);
    let n = world.value(Store::Proxy, "SELECT count(*) FROM flag_history");
    assert_eq!(n, 1_000);
}

#[test]
fn without_kv_nothing_is_noticed_and_nothing_is_taken_for_gone() {
    let world = world();
    world.flag("read_percent", "10");
    world.flag("read_precent", "10");
    cron(&world);
    let before = changes(&world);
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    cron(&world);
    world.faults.clear();
    assert_eq!(changes(&world), before);
    // Names alone that cannot be had.
    world
        .faults
        .always(Port::Flags, "names", Fault::BeforeEffect);
    cron(&world);
    world.faults.clear();
    assert_eq!(changes(&world), before);
}

#[test]
fn plots_show_shares_sides_and_backlog_by_minute_and_stay_bounded() {
    let world = world();
    world.mirrored("alice0000001", |user| user.name = Some("Alice".into()));
    world.advance(10_000);
    world.flag("read_percent", "100");
    world.flag("compare_percent", "100");
    let node = world.node();
    for _ in 0..10 {
        let path = "/api/users/alice0000001";
        let request = Request::new("GET", path).token(&world.admin_token());
        assert_eq!(world.ask_at(&node, request).status, 200);
        world.advance(1_000);
    }
    cron_at(&world, &node);
    // Twice is once.
    world.advance(-60_000);
    cron_at(&world, &node);
    let plot = get(&world, "/_proxy/history?hours=1");
    assert_eq!(plot["slot_ms"], 60_000);
    let sum = |member: &str| -> i64 {
        let points = plot["points"].as_array().unwrap().iter();
        points
            .map(|point| point["mgpass"][member].as_i64().unwrap())
            .sum()
    };
    assert_eq!((sum("reads"), sum("failures")), (10, 0), "{plot}");
    let last = plot["points"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (
            &last["asked_bps"],
            &last["allowed_bps"],
            &last["stage"],
            &last["authority"]
        ),
        (
            &json!(10_000),
            &json!(10_000),
            &json!("dual_write"),
            &json!("logto")
        )
    );
    assert_eq!(
        (&last["n_open"], &last["n_ready"], &last["n_mirrored"]),
        (&json!(0), &json!(1), &json!(1))
    );
    assert!(
        plot["changes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|change| change["key"] == "read_percent")
    );
    for hours in [24, 168] {
        let coarse = get(&world, &format!("/_proxy/history?hours={hours}"));
        let points = coarse["points"].as_array().unwrap();
        let reads: i64 = points
            .iter()
            .map(|point| point["mgpass"]["reads"].as_i64().unwrap())
            .sum();
        assert_eq!(reads, 10, "{coarse}");
    }
    for _ in 0..(5 * 60) {
        cron_at(&world, &node);
    }
    let minutes = "SELECT count(*) FROM timeline WHERE width_ms = 60000";
    let n_minutes = world.value(Store::Metrics, minutes).as_i64().unwrap();
    assert!((235..=245).contains(&n_minutes), "{n_minutes}");
    for bad in ["0", "745", "x", "-1"] {
        assert_eq!(
            ask(&world, "GET", &format!("/_proxy/history?hours={bad}")).0,
            400,
            "{bad}"
        );
    }
}

#[test]
fn a_metrics_database_that_fails_costs_plots_alone() {
    let world = world();
    world
        .faults
        .always(Port::MetricsDatabase, "", Fault::BeforeEffect);
    cron(&world);
    let delayed = world.events("metrics.delayed");
    assert!(
        delayed.iter().any(|event| event["step"] == "timeline"),
        "{delayed:?}"
    );
    assert_eq!(changes(&world).len(), 2, "flags are noticed all the same");
}
