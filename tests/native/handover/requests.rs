//! What clients see of a hand-over: nothing before it is armed, proof from then on, held
//! writes while it is under way.

use std::rc::Rc;

use dual_write_proxy::inbound::Inbound;
use dual_write_proxy::inbound::request::Method;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::serve::service;
use serde_json::{Value as Json, json};

use crate::support::client::Answered;
use crate::support::handover::{ANNOUNCEMENT_MS, DEADLINE_MS, world, world_with};
use crate::support::logto::ORIGIN_SECRET;
use crate::support::{Fault, Node, Port, Request, World};

fn patch(world: &Rc<World>, name: &str) -> Request {
    let body = json!({ "name": name }).to_string();
    let token = world.admin_token();
    Request::new("PATCH", "/api/users/u1")
        .token(&token)
        .json(&body)
}

fn read(world: &Rc<World>) -> Request {
    Request::new("GET", "/api/users/u1").token(&world.admin_token())
}

fn code(answer: &Answered) -> (u16, String) {
    let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    (
        answer.status,
        body["code"].as_str().unwrap_or_default().to_owned(),
    )
}

fn refused(what: &str) -> (u16, String) {
    (503, format!("proxy.{what}"))
}

fn name_at_logto(world: &World) -> Json {
    let user: Json = serde_json::from_str(&world.logto.json_of("u1")).unwrap();
    user["name"].clone()
}

/// An isolate that has just heard of the authority.
fn leased(world: &Rc<World>) -> Node {
    let node = world.node();
    let answer = world.ask_at(&node, read(world));
    assert_eq!(answer.status, 200, "{answer:?}");
    node
}

fn world_with_user() -> Rc<World> {
    let world = world();
    world.mirrored("u1", |_| {});
    world
}

#[test]
fn a_version_without_the_secret_asks_for_nothing() {
    let world = World::with(1, &[]);
    world.mirrored("u1", |_| {});
    world.flag("read_percent", "0");
    let before = world.faults.count(Port::ProxyDatabase, "authority");
    let node = world.node();
    for _ in 0..3 {
        assert_eq!(world.ask_at(&node, read(&world)).status, 200);
        let list = Request::new("GET", "/api/users").token(&world.admin_token());
        assert_eq!(world.ask_at(&node, list).status, 200);
    }
    assert_eq!(world.faults.count(Port::ProxyDatabase, "authority"), before);
    // And with its database down all goes on, as ever.
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(world.ask(patch(&world, "New")).status, 200);
    assert_eq!(world.ask(read(&world)).status, 200);
}

#[test]
fn with_the_secret_a_lease_costs_one_question_in_half_a_minute_and_most_requests_none() {
    let world = world_with_user();
    world.flag("read_percent", "0");
    let node = leased(&world);
    let asked = || world.faults.count(Port::ProxyDatabase, "announced_until");
    let before = asked();
    for _ in 0..10 {
        world.advance(2_000);
        assert_eq!(world.ask_at(&node, read(&world)).status, 200);
    }
    assert_eq!(asked(), before);
    // Past its half it is renewed behind a request.
    world.advance(15_000);
    assert_eq!(world.ask_at(&node, read(&world)).status, 200);
    world.advance(100);
    assert_eq!(asked(), before + 1);
    // Another thirty seconds later it holds by that.
    world.advance(40_000);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(world.ask_at(&node, read(&world)).status, 200);
}

#[test]
fn what_is_about_no_user_never_asks_and_never_waits() {
    let world = world_with_user();
    world.handed_over();
    world.faults.always(Port::ProxyDatabase, "", Fault::Hang);
    let node = world.node();
    // So that the flags are known.
    world.ask_at(&node, Request::new("GET", "/oidc/jwks"));
    for (method, path) in [
        ("GET", "/assets/index.js"),
        ("GET", "/oidc/.well-known/openid-configuration"),
        ("POST", "/oidc/token"),
    ] {
        let url = format!("https://auth.example.test{path}");
        let inbound = Inbound::read(Method::parse(method), url, |_| None);
        let now_ms = world.now_ms();
        let forward = service::begin_pass_through(&node.deployment, &inbound, now_ms);
        assert!(forward.is_some(), "{path}");
        let began_ms = world.now_ms();
        let answer = world.ask_at(&node, Request::new(method, path));
        assert_ne!(answer.status, 503, "{path}");
        assert!(answer.at_ms - began_ms < 100, "{path}");
    }
    let url = "https://auth.example.test/api/users".to_owned();
    let inbound = Inbound::read(Method::Get, url, |_| None);
    let forward = service::begin_pass_through(&node.deployment, &inbound, world.now_ms());
    assert!(forward.is_none());
}

#[test]
fn without_proof_no_user_write_and_no_read_of_a_user_reaches_logto() {
    let world = world_with_user();
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    let before = world.logto.n_served("/api/users");
    for request in [
        patch(&world, "New"),
        read(&world),
        Request::new("GET", "/api/users").token(&world.admin_token()),
        Request::new("PATCH", "/api/my-account")
            .token("opaque")
            .json("{}"),
        Request::new("GET", "/oidc/me").token("opaque"),
        Request::new("POST", "/api/users/u1/password/verify").json("{}"),
        Request::new("POST", "/api/experience/verification/password").json("{}"),
        // Thought to be refused, and so not recorded.
        Request::new("PATCH", "/api/users/u1").json("{}"),
    ] {
        let line = format!("{request:?}");
        let answer = world.ask(request);
        assert_eq!(code(&answer), refused("authority_unknown"), "{line}");
    }
    assert_eq!(world.logto.n_served("/api/users"), before);
}

#[test]
fn a_lease_bridges_an_outage_and_the_queue_takes_the_records_but_only_for_a_minute() {
    let world = world_with_user();
    world.flag("read_percent", "0");
    let node = leased(&world);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    world.advance(50_000);
    assert_eq!(world.ask_at(&node, patch(&world, "One")).status, 200);
    assert_eq!(world.n_queued(), 1);
    world.advance(11_000);
    assert_eq!(
        code(&world.ask_at(&node, patch(&world, "Two"))),
        refused("authority_unknown")
    );
    assert_eq!(
        code(&world.ask_at(&node, read(&world))),
        refused("authority_unknown")
    );
    assert_eq!(name_at_logto(&world), "One");
    world.faults.clear();
    assert_eq!(world.ask_at(&node, patch(&world, "Two")).status, 200);
}

#[test]
fn from_the_announcement_on_the_queue_is_no_outbox() {
    let world = world_with_user();
    world.prepare();
    world.arm();
    world.wish(Some(Stage::Cutover));
    world.operate();
    let node = leased(&world);
    assert_eq!(world.ask_at(&node, patch(&world, "One")).status, 200);
    let n_queued = world.n_queued();
    world.faults.always(
        Port::ProxyDatabase,
        "INSERT INTO intents",
        Fault::BeforeEffect,
    );
    let answer = world.ask_at(&node, patch(&world, "Two"));
    assert_eq!(code(&answer), refused("authority_unknown"));
    assert_eq!(world.n_queued(), n_queued);
    assert_eq!(name_at_logto(&world), "One");
    assert_eq!(world.counter("epoch"), 1);
}

#[test]
fn while_announced_a_write_is_recorded_whatever_was_predicted_and_whatever_the_stage_says() {
    let world = world_with_user();
    world.prepare();
    world.arm();
    world.wish(Some(Stage::Cutover));
    world.operate();
    let node = leased(&world);
    let inserted = || {
        world
            .faults
            .count(Port::ProxyDatabase, "expires_at, generation)")
    };
    let before = inserted();
    let unlikely = Request::new("PATCH", "/api/users/u1").json("{}");
    assert_eq!(world.ask_at(&node, unlikely).status, 401);
    assert_eq!(inserted(), before + 1);
    world.advance(1_000);
    assert_eq!(world.n_open(), 0);
    world.flag("stage", "off");
    let late = world.node();
    assert_eq!(world.ask_at(&late, patch(&world, "Off")).status, 200);
    assert_eq!(inserted(), before + 2);
    assert_eq!(world.counter("epoch"), 1);
}

#[test]
fn no_lease_is_left_when_draining_begins() {
    let world = world_with_user();
    world.flag("read_percent", "0");
    world.prepare();
    world.flag("read_percent", "0");
    world.arm();
    world.flag("read_percent", "100");
    world.wish(Some(Stage::Cutover));
    world.operate();
    // An isolate asks in the last moment, and is then cut off from the database.
    world.advance(ANNOUNCEMENT_MS - 5_000);
    world.flag("read_percent", "0");
    let node = leased(&world);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(world.ask_at(&node, read(&world)).status, 200);
    world.advance(5_000);
    for request in [read(&world), patch(&world, "New")] {
        assert_eq!(
            code(&world.ask_at(&node, request)),
            refused("authority_unknown")
        );
    }
    assert_ne!(name_at_logto(&world), "New");
}

#[test]
fn a_write_waits_for_the_new_authority_and_never_reaches_the_old_one() {
    let world = world_with_user();
    world.announced();
    world.pending_write("i1", "u9");
    world.operate();
    assert_eq!(world.holder(), "draining");
    let n_writes = world.logto.n_served("PATCH ");
    let writes: Vec<_> = (0..5).map(|_| world.start(patch(&world, "New"))).collect();
    // Reads go on.
    assert_eq!(world.ask(read(&world)).status, 200);
    world.advance(2_500);
    assert!(writes.iter().all(|write| !write.is_done()));
    // What it waited for is over: a waiting write hands over, with no cron.
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    let began_ms = world.now_ms();
    for write in writes {
        world.executor.run(i64::MAX, || write.is_done());
        let answer = write.take().unwrap();
        assert_eq!(code(&answer), refused("not_translated_yet"));
        assert!(answer.at_ms - began_ms < 3_000);
    }
    assert_eq!(world.holder(), "mgpass");
    assert_eq!(world.logto.n_served("PATCH "), n_writes);
    assert_eq!(world.n_open(), 0);
    let waited = world.events("authority.waited");
    assert_eq!(waited.len(), 5);
    assert_eq!(
        (&waited[0]["holder"], &waited[0]["operation"]),
        (&json!("mgpass"), &json!("users.patch"))
    );
}

#[test]
fn a_write_that_waited_goes_to_logto_when_the_hand_over_comes_to_no_end() {
    let world = world_with_user();
    world.announced();
    world.pending_write("i1", "u9");
    world.operate();
    world.advance(DEADLINE_MS - 3_000);
    let write = world.start(patch(&world, "New"));
    world.executor.run(i64::MAX, || write.is_done());
    assert_eq!(write.take().unwrap().status, 200);
    assert_eq!(name_at_logto(&world), "New");
    // Whoever comes next writes down what the insert went by.
    world.nudge();
    assert_eq!(
        world.moves().last().unwrap(),
        "draining>logto deadline_backlog"
    );
}

#[test]
fn a_write_waits_ten_seconds_and_is_then_refused_with_when_to_try_again() {
    let world = world_with_user();
    world.announced();
    world.pending_write("i1", "u9");
    world.operate();
    let began_ms = world.now_ms();
    let asked = world.faults.count(Port::ProxyDatabase, "announced_until");
    let answer = world.ask(patch(&world, "New"));
    assert_eq!(code(&answer), refused("authority_moving"));
    let waited_ms = answer.at_ms - began_ms;
    assert!((9_500..=10_800).contains(&waited_ms), "{waited_ms}");
    // Once a second, give or take; and as often it tried to move.
    let n_asked = world.faults.count(Port::ProxyDatabase, "announced_until") - asked;
    assert!((14..=30).contains(&n_asked), "{n_asked}");
    assert_eq!(world.logto.n_served("PATCH "), 0);
}

#[test]
fn of_many_that_wait_in_an_isolate_one_tries_to_move() {
    let world = world_with_user();
    world.announced();
    world.pending_write("i1", "u9");
    world.operate();
    let node = world.node();
    let pending = "coalesce(sum(i.side = 'logto'";
    let before = world.faults.count(Port::ProxyDatabase, pending);
    let writes: Vec<_> = (0..20)
        .map(|_| world.start_at(&node.next_invocation(), patch(&world, "New")))
        .collect();
    world
        .executor
        .run(i64::MAX, || writes.iter().all(|write| write.is_done()));
    let n_tries = world.faults.count(Port::ProxyDatabase, pending) - before;
    assert!((7..=12).contains(&n_tries), "{n_tries}");
}

#[test]
fn after_the_hand_over_nothing_mutating_is_forwarded_whatever_kv_or_the_settings_say() {
    let world = world_with_user();
    world.handed_over();
    let n_served = || {
        let served = world.logto.served.borrow();
        served
            .iter()
            .filter(|line| !line.ends_with("/oidc/jwks"))
            .count()
    };
    let before = n_served();
    let stale = world.node();
    let check = |node: &Node, why: &str| {
        for request in [
            patch(&world, "New"),
            Request::new("DELETE", "/api/users/u1").token(&world.admin_token()),
            Request::new("POST", "/api/users")
                .token(&world.admin_token())
                .json("{}"),
            Request::new("PATCH", "/api/my-account")
                .token("opaque")
                .json("{}"),
            Request::new("POST", "/api/experience/identification").json("{}"),
            Request::new("POST", "/api/experience/submit").json("{}"),
            Request::new("POST", "/api/interaction/submit").json("{}"),
            Request::new("POST", "/api/users/u1/password/verify").json("{}"),
            Request::new("PATCH", "/api/users/u1").json("{}"),
            read(&world),
        ] {
            let line = format!("{request:?}");
            let answer = world.ask_at(node, request);
            assert_eq!(answer.status, 503, "{why}: {line} {answer:?}");
        }
    };
    check(&stale, "fresh");
    check(&stale, "again");
    for stage in ["off", "shadow", "dual_write", "nonsense"] {
        world.flag("stage", stage);
        check(&world.node(), stage);
    }
    world.flags.borrow_mut().remove("stage");
    check(&world.node(), "no key");
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    check(&world.node(), "KV down");
    assert_eq!(n_served(), before);
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.counter("epoch"), 1);
}

#[test]
fn a_deployment_with_faults_forwards_no_user_write_without_proof_either() {
    let world = world_with(&[("LOGTO_CLIENT_ID", "")]);
    assert!(world.node().deployment.context().is_none());
    world.put_user("u1", |_| {});
    assert_eq!(world.ask(patch(&world, "One")).status, 200);
    assert_eq!(name_at_logto(&world), "One");
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(
        code(&world.ask(patch(&world, "Two"))),
        refused("authority_unknown")
    );
    world.faults.clear();
    world
        .databases
        .execute(Store::Proxy, "UPDATE authority SET holder = 'mgpass'");
    assert_eq!(
        code(&world.ask(patch(&world, "Two"))),
        refused("not_translated_yet")
    );
    assert_eq!(
        code(&world.ask(read(&world))),
        refused("not_translated_yet")
    );
    world.databases.execute(
        Store::Proxy,
        "UPDATE authority SET holder = 'logto', announced_at = 0, announced_until = 4000000000000",
    );
    assert_eq!(
        code(&world.ask(patch(&world, "Two"))),
        refused("authority_unknown")
    );
    assert_eq!(name_at_logto(&world), "One");
}

#[test]
fn an_isolate_of_an_earlier_version_is_held_by_the_insert_and_by_the_origin() {
    let world = World::with(1, &[("ORIGIN_SECRET", ORIGIN_SECRET)]);
    world.mirrored("u1", |_| {});
    let now_ms = world.now_ms();
    world.databases.execute(
        Store::Proxy,
        &format!(
            "UPDATE authority SET holder = 'draining', deadline = {}",
            now_ms + 5_000
        ),
    );
    // It knows nothing of leases, but its insert is refused all the same; past the deadline
    // the write itself takes the hand-over back.
    let answer = world.ask(patch(&world, "One"));
    assert_eq!(answer.status, 200);
    assert_eq!(world.holder(), "logto");
    world.logto.is_closed.set(true);
    *world.logto.secrets.borrow_mut() = vec![crate::support::logto::HANDOVER_SECRET];
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(world.ask(patch(&world, "Two")).status, 403);
    assert_eq!(name_at_logto(&world), "One");
}

#[test]
fn a_read_under_a_hand_over_asks_after_it_has_begun() {
    let world = world_with_user();
    world.announced();
    world.pending_write("i1", "u9");
    world.operate();
    let node = world.node();
    // Whatever the isolate was told a moment ago is no proof for the next read.
    for _ in 0..3 {
        let before = world.faults.count(Port::ProxyDatabase, "announced_until");
        assert_eq!(world.ask_at(&node, read(&world)).status, 200);
        assert!(world.faults.count(Port::ProxyDatabase, "announced_until") > before);
    }
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.nudge();
    assert_eq!(
        code(&world.ask_at(&node, read(&world))),
        refused("not_translated_yet")
    );
}
