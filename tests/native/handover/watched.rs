//! The stage after the hand-over: what is recommended and why, told once when it changes,
//! shown in the status, and carried out by nobody.

use std::rc::Rc;

use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::operator::get;
use crate::support::handover::world;
use crate::support::{Fault, Port, Request, World};

const ALICE: &str = "alice0000001";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn status(world: &Rc<World>) -> Value {
    get(world, "status")
}

/// Code, and what to do.
fn problem(world: &Rc<World>, code: &str) -> Option<Value> {
    let status = status(world);
    let mut problems = status["problems"].as_array().unwrap().iter();
    problems.find(|problem| problem["code"] == code).cloned()
}

/// So many requests of an operation, counted now.
fn requests(world: &World, operation: &str, n: i64, n_failed: i64, bound_ms: &str) {
    let slot = world.now_ms().div_euclid(MINUTE_MS) * MINUTE_MS;
    for (metric, label, count) in [
        ("requests", "2xx", n - n_failed),
        ("requests", "5xx", n_failed),
        ("latency", bound_ms, n),
    ] {
        world.databases.execute(
            Store::Metrics,
            &format!("INSERT INTO samples VALUES ({slot}, '{metric}', '{operation}', 'mgpass', '{label}', {count}) ON CONFLICT DO UPDATE SET count = count + excluded.count"),
        );
    }
}

/// A day of Logto's, as the timeline keeps it.
fn day_before(world: &World) {
    let hour = world.now_ms().div_euclid(HOUR_MS) * HOUR_MS;
    let side = |n: i64| {
        let mut durations = [0; 12];
        durations[3] = n;
        json!({ "reads": n, "failures": 1, "durations": durations }).to_string()
    };
    for back in 1..=24 {
        world.databases.execute(
            Store::Metrics,
            &format!(
                "INSERT INTO timeline (width_ms, slot, stage, authority, asked_bps, allowed_bps, logto, mgpass, compared, mismatched, writes) \
                 VALUES ({HOUR_MS}, {}, 'dual_write', 'logto', 10000, 10000, '{}', '{}', 0, 0, '{}')",
                hour - back * HOUR_MS,
                side(10),
                side(990),
                side(100)
            ),
        );
    }
}

/// One run of cron, a minute after the last; what it told of the stage.
fn told(world: &Rc<World>) -> Vec<(String, String)> {
    world.advance(MINUTE_MS);
    world.events.borrow_mut().clear();
    world.tick();
    let word = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let events = world.events("cutover.judged");
    let told = events.iter();
    told.map(|event| (word(event, "advice"), word(event, "reason")))
        .collect()
}

fn one(advice: &str, reason: &str) -> Vec<(String, String)> {
    vec![(advice.to_owned(), reason.to_owned())]
}

/// After the hand-over, and as good as before.
fn well() -> Rc<World> {
    let world = world();
    world.mirrored(ALICE, |user| user.name = Some("Alice".into()));
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    day_before(&world);
    world.handed_over();
    assert_eq!(told(&world), one("unknown", "too_few_requests"));
    requests(&world, "users.get", 500, 0, "50");
    requests(&world, "users.patch", 40, 0, "100");
    assert_eq!(told(&world), one("stay", "as_good_as_before"));
    world
}

/// All that the section can say, for the test of the document.
pub(crate) fn rich() -> Rc<World> {
    let world = well();
    let debt = "INSERT INTO debt VALUES ('u2', 'born_at_mgpass', 'registered_at_mgpass', 1); \
         INSERT INTO strays (subject, path, found_at, source) VALUES ('u3', 'name', 1, 'walk')";
    world.databases.execute(Store::Proxy, debt);
    world
}

#[test]
fn while_logto_is_the_authority_there_is_nothing_to_watch() {
    let world = world();
    assert_eq!(told(&world), []);
    assert_eq!(status(&world)["cutover"], Value::Null);
}

#[test]
fn as_good_as_before_is_told_once_and_no_problem() {
    let world = well();
    assert_eq!(told(&world), []);
    let shown = status(&world)["cutover"].clone();
    assert_eq!(
        (&shown["advice"], &shown["reason"]),
        (&json!("stay"), &json!("as_good_as_before"))
    );
    assert!(shown["advice_since"].as_i64() > Some(0), "{shown}");
    assert_eq!(
        shown["since"],
        world.value(
            Store::Proxy,
            "SELECT at FROM authority_log WHERE to_holder = 'mgpass'"
        )
    );
    let of = |kind: &str, when: &str| shown["requests"][kind][when].clone();
    assert_eq!(of("reads", "before")["reads"], 24_000);
    assert_eq!(of("reads", "before")["failures"], 48);
    assert_eq!(of("writes", "before")["writes"], 2_400);
    assert_eq!(of("writes", "lately")["writes"], 40);
    assert_eq!(of("writes", "since")["writes"], 40);
    assert_eq!(of("reads", "since")["p95_ms"], 50);
    for code in [
        "going_back_recommended",
        "cutover_to_be_looked_at",
        "cutover_not_judged",
    ] {
        assert_eq!(problem(&world, code), None);
    }
}

#[test]
fn writes_that_fail_recommend_the_way_back_and_nobody_takes_it() {
    let world = well();
    requests(&world, "users.patch", 10, 5, "100");
    assert_eq!(told(&world), one("go_back", "write_errors"));
    // Said once, however long it lasts.
    requests(&world, "users.patch", 10, 5, "100");
    assert_eq!(told(&world), []);
    let found = problem(&world, "going_back_recommended").unwrap();
    assert_eq!(found["severity"], "critical");
    assert!(found["since"].as_i64() > Some(0));
    let remedy = found["do"].as_str().unwrap();
    assert!(remedy.contains("`dwp stage dual_write --wait`"), "{remedy}");
    for _ in 0..5 {
        told(&world);
    }
    assert_eq!((world.holder(), world.authority().0.wish), ("mgpass", None));
    // Over: the window has gone by.
    for _ in 0..5 {
        told(&world);
    }
    requests(&world, "users.get", 500, 0, "50");
    requests(&world, "users.patch", 40, 0, "100");
    assert_eq!(told(&world), one("stay", "as_good_as_before"));
}

#[test]
fn reads_that_fall_back_or_crawl_recommend_it_too() {
    let world = well();
    requests(&world, "users.get", 100, 0, "6400");
    assert_eq!(told(&world), one("go_back", "read_latency"));
    let world = well();
    requests(&world, "users.get", 100, 20, "50");
    assert_eq!(told(&world), one("go_back", "read_errors"));
}

#[test]
fn a_dead_mgpass_recommends_the_way_back_that_does_without_it() {
    let world = well();
    world
        .faults
        .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
    // Not at once: a minute is a hiccup.
    assert_eq!(told(&world), []);
    told(&world);
    assert_eq!(told(&world), one("go_back", "mgpass_gone"));
    let found = problem(&world, "going_back_recommended").unwrap();
    assert!(found["do"].as_str().unwrap().contains("--abandon-debt"));
    assert_eq!(world.holder(), "mgpass");
    // Back by itself, and then with another hiccup: counted anew.
    world.faults.clear();
    requests(&world, "users.get", 500, 0, "50");
    requests(&world, "users.patch", 40, 0, "100");
    assert_eq!(told(&world), one("stay", "as_good_as_before"));
    assert_eq!(
        status(&world)["cutover"]["mgpass_failing_since"],
        Value::Null
    );
}

#[test]
fn strays_and_points_are_to_be_looked_at() {
    let world = well();
    let stray =
        "INSERT INTO strays (subject, path, found_at, source) VALUES ('u3', 'name', 1, 'walk')";
    world.databases.execute(Store::Proxy, stray);
    assert_eq!(told(&world), one("look", "strays"));
    let found = problem(&world, "cutover_to_be_looked_at").unwrap();
    assert_eq!(found["severity"], "warning");
    let gone = "UPDATE strays SET state = 'resolved'";
    world.databases.execute(Store::Proxy, gone);
    requests(&world, "users.get", 500, 0, "50");
    requests(&world, "users.patch", 40, 0, "100");
    told(&world);
    // An entry of its own is mgPass's to make; a balance that does not follow is not.
    let entry = format!(
        "INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('e1', '{ALICE}', 'purchase', 5, 1); \
         INSERT INTO user_rewards VALUES ('{ALICE}', 5, 5, 'bronze', 1)"
    );
    world.databases.execute(Store::Mgpass, &entry);
    world.advance(10 * MINUTE_MS);
    requests(&world, "users.get", 500, 0, "50");
    requests(&world, "users.patch", 40, 0, "100");
    told(&world);
    let points = status(&world)["cutover"]["points"].clone();
    assert_eq!(
        (&points["first"]["entries"], &points["last"]["entries"]),
        (&json!(0), &json!(1)),
        "{points}"
    );
    assert_eq!(status(&world)["cutover"]["reason"], "as_good_as_before");
    // Nobody compares both sides while mgPass is the authority, however long that is.
    world.has_rewards.set(true);
    assert_eq!(checklist_of_points(&world)["state"], "green");
    let drift = "UPDATE user_rewards SET total_points = 6";
    world.databases.execute(Store::Mgpass, drift);
    world.advance(10 * MINUTE_MS);
    assert_eq!(told(&world), one("look", "points_adrift"));
    assert_eq!(checklist_of_points(&world)["state"], "red");
}

fn checklist_of_points(world: &Rc<World>) -> Value {
    let list = get(world, "checklist");
    let checks = list["checks"].as_array().unwrap().iter();
    checks
        .clone()
        .find(|check| check["name"] == "points")
        .unwrap()
        .clone()
}

#[test]
fn what_users_do_is_what_is_counted() {
    let world = well();
    let before = status(&world)["cutover"]["requests"]["writes"]["lately"].clone();
    let node = world.node();
    let request = Request::new("PATCH", &format!("/api/users/{ALICE}"))
        .token(&world.admin_token())
        .json(r#"{"name":"Alicia"}"#);
    let answer = world.ask_at(&node, request);
    assert_eq!(answer.status, 200, "{}", answer.body);
    world.idle();
    world.advance(10_000);
    world.idle();
    let after = status(&world)["cutover"]["requests"]["writes"]["lately"].clone();
    assert_eq!(
        after["writes"].as_i64().unwrap() - before["writes"].as_i64().unwrap(),
        1
    );
}

#[test]
fn after_the_way_back_the_next_term_begins_anew() {
    let world = well();
    world.wish(Some(Stage::DualWrite));
    world.operate();
    assert_eq!(world.holder(), "logto");
    assert_eq!(told(&world), []);
    assert_eq!(status(&world)["cutover"], Value::Null);
}

#[test]
fn without_metrics_or_a_place_to_keep_it_nothing_is_said_to_be_well() {
    let world = well();
    world
        .faults
        .always(Port::MetricsDatabase, "", Fault::BeforeEffect);
    assert_eq!(told(&world), one("unknown", "no_metrics"));
    let shown = status(&world)["cutover"].clone();
    assert_eq!(
        shown["requests"],
        json!({ "failure": "database_unavailable" })
    );
    let world = well();
    world
        .faults
        .always(Port::ProxyDatabase, "cutover_watch", Fault::BeforeEffect);
    assert_eq!(told(&world), []);
    assert_eq!(
        status(&world)["cutover"],
        json!({ "failure": "database_unavailable" })
    );
    assert_eq!(world.holder(), "mgpass");
}
