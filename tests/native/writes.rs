//! Acknowledged means known: whatever was predicted of a write, and however its request
//! is spelled, what Logto acknowledges is recorded under its user or raises the epoch
//! before the client hears of it; and what nobody did leaves nothing behind.

use std::cell::RefCell;
use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::proxy::{assert_equal_at_mgpass, recover};
use super::support::faults::Glitch;
use super::support::logto::Interaction;
use super::support::world::Tamper;
use super::support::{Body, Fault, Port, Request, World};

mod behind;
mod routes;

const ALICE: &str = "alice0000001";
const PATCH: &str = r#"{"name":"Alice Two"}"#;

/// Two mirrored users, and nothing recorded yet.
fn world() -> Rc<World> {
    let world = World::new();
    world.mirrored(ALICE, |user| user.email = Some("alice@example.test".into()));
    world.mirrored("bob000000001", |_| {});
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.events.borrow_mut().clear();
    world
}

/// Answers of Logto to calls whose line holds the part, each so many times.
#[derive(Default)]
struct Answers(RefCell<Vec<(Port, &'static str, u32, Glitch)>>);

impl Tamper for Answers {
    fn glitch(&self, port: Port, what: &str) -> Option<Glitch> {
        let mut rules = self.0.borrow_mut();
        let rule = rules
            .iter_mut()
            .find(|(at, part, times, _)| *at == port && what.contains(part) && *times > 0)?;
        rule.2 -= 1;
        Some(rule.3)
    }
}

fn answers(world: &World, rules: &[(Port, &'static str, u32, Glitch)]) {
    let answers = Answers(RefCell::new(rules.to_vec()));
    *world.tamper.borrow_mut() = Some(Rc::new(answers));
}

fn account_write() -> Request {
    Request::new("PATCH", "/api/my-account")
        .token(&format!("opaque-{ALICE}"))
        .json(PATCH)
}

fn sign_in(world: &World, uid: &str, user: &str) {
    let interaction = Interaction {
        user: Some(user.into()),
        is_identified: true,
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert(uid.into(), interaction);
}

fn submit(cookie: &str) -> Request {
    Request::new("POST", "/api/experience/submit").header("cookie", cookie)
}

/// Whose writes are recorded, settled or not.
fn subjects(world: &World) -> Value {
    let rows = world.proxy("SELECT subject FROM intents ORDER BY opened_at, rowid");
    rows.iter().map(|row| row["subject"].clone()).collect()
}

#[test]
fn a_bearer_token_is_seen_as_loosely_as_logto_sees_it() {
    for (path, token) in [
        ("/api/users/alice0000001", None),
        ("/api/my-account", Some("opaque-alice0000001")),
    ] {
        for separator in [" ", ":", "\t", "x"] {
            let world = world();
            let token = token.map_or_else(|| world.admin_token(), str::to_owned);
            let request = Request::new("PATCH", path)
                .header("authorization", &format!("Bearer{separator}{token}"))
                .json(PATCH);
            assert_eq!(world.ask(request).status, 200, "{path} {separator:?}");
            assert_eq!(subjects(&world), json!([ALICE]), "{path} {separator:?}");
            world.deliver();
            assert_equal_at_mgpass(&world, ALICE);
        }
    }
}

#[test]
fn a_quoted_cookie_is_the_same_cookie() {
    for cookie in [
        r#"_interaction={"spa":"uid1","_legacy":"uid1"}"#,
        r#"_interaction="{"spa":"uid1","_legacy":"uid1"}""#,
        r#"a=b;   _interaction="uid1""#,
        "_interaction=uid1; _interaction=uid2",
    ] {
        let world = world();
        sign_in(&world, "uid1", ALICE);
        assert_eq!(world.ask(submit(cookie)).status, 200, "{cookie}");
        assert_eq!(subjects(&world), json!([ALICE]), "{cookie}");
    }
}

#[test]
fn an_account_whose_grant_has_ended_can_be_written_and_is_recorded() {
    let world = world();
    let ended = &world.logto.ended_grants;
    ended.borrow_mut().insert(ALICE.into());
    assert_eq!(world.ask(account_write()).status, 200);
    assert_eq!(subjects(&world), json!([ALICE]));
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
}

#[test]
fn the_proxys_own_calls_pass_where_forwarded_ones_pass() {
    let world = World::new();
    world.logto.is_closed.set(true);
    world.put_user(ALICE, |_| {});
    let past_the_proxy = super::support::logto::LogtoRequest {
        method: "GET".into(),
        path: "/oidc/jwks".into(),
        headers: Vec::new(),
        body: None,
    };
    assert_eq!(world.logto.handle(&past_the_proxy, 0).status, 403);
    assert_eq!(world.ask(account_write()).status, 200);
    sign_in(&world, "uid1", ALICE);
    assert_eq!(world.ask(submit("_interaction=uid1")).status, 200);
    assert_eq!(subjects(&world), json!([ALICE, ALICE]));
    // The relay's token, and its read of the user.
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.n_open(), 0);
    // The key set.
    world.flag("read_percent", "100");
    world.advance(60_000);
    let answer = world.get(&format!("/api/users/{ALICE}"));
    assert_eq!(answer.body, world.logto.json_of(ALICE));
    let done = world.events("request.done").pop().unwrap();
    assert_eq!(done["backend"], "mgpass");
}

#[test]
fn refused_forbidden_and_unknown_are_three_answers() {
    // Each twice: before the forward, and once more behind Logto's answer.
    for (status, is_named) in [(401, false), (403, false), (500, false), (200, true)] {
        let world = world();
        let epoch = world.counter("epoch");
        let naming = (
            Port::Logto,
            "GET /api/my-account",
            2,
            Glitch::Refuse(status),
        );
        answers(
            &world,
            if is_named {
                &[]
            } else {
                std::slice::from_ref(&naming)
            },
        );
        assert_eq!(world.ask(account_write()).status, 200);
        // Already when the client has its answer.
        let is_gap = world.counter("epoch") == epoch + 1;
        assert_eq!(is_gap, !is_named, "{status}");
        assert_eq!(subjects(&world) == json!([ALICE]), is_named, "{status}");
        world.idle();
        assert_eq!(
            world.counter("epoch"),
            epoch + i64::from(!is_named),
            "{status}"
        );
        if is_gap {
            assert_eq!(world.events("outbox.gap")[0]["code"], "unnamed");
            let codes: Vec<_> = world.events("outbox.delayed");
            let expected = match status {
                401 => "unauthorized",
                403 => "forbidden",
                _ => "server_error",
            };
            assert_eq!(
                (codes[0]["step"].as_str(), codes[0]["code"].as_str()),
                (Some("name"), Some(expected))
            );
        }
    }
}

#[test]
fn who_can_be_named_behind_the_answer_is_recorded_before_the_client_hears_of_it() {
    let world = world();
    world.flag("read_percent", "100");
    let epoch = world.counter("epoch");
    answers(
        &world,
        &[(Port::Logto, "GET /api/my-account", 1, Glitch::Refuse(503))],
    );
    assert_eq!(world.ask(account_write()).status, 200);
    // At once, with nothing done behind the answer yet.
    let rows = world.proxy("SELECT subject, status, settled IS NOT NULL AS settled FROM intents");
    assert_eq!(
        json!(rows),
        json!([{ "subject": ALICE, "status": 200, "settled": 1 }])
    );
    let answer = world.get(&format!("/api/users/{ALICE}"));
    assert_eq!(answer.body, world.logto.json_of(ALICE));
    assert_eq!(
        world.events("request.done").pop().unwrap()["plan.reason"],
        "fence"
    );
    assert_eq!(world.events("outbox.late")[0]["outcome"], "recorded");
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.counter("epoch"), epoch);
}

#[test]
fn a_late_record_that_the_database_does_not_take_goes_to_the_queue_and_else_is_a_gap() {
    for is_queue_down in [false, true] {
        let world = world();
        let epoch = world.counter("epoch");
        answers(
            &world,
            &[(Port::Logto, "GET /api/my-account", 1, Glitch::Refuse(503))],
        );
        world.faults.once(
            Port::ProxyDatabase,
            "UPDATE counters",
            0,
            Fault::BeforeEffect,
        );
        if is_queue_down {
            world.faults.once(Port::Queue, "", 0, Fault::BeforeEffect);
        }
        assert_eq!(world.ask(account_write()).status, 200);
        let done = world.events("request.done").pop().unwrap();
        let expected = if is_queue_down { "gap" } else { "queued" };
        assert_eq!(done["plan.mirror"], expected);
        recover(&world);
        if is_queue_down {
            assert_eq!(world.counter("epoch"), epoch + 1);
        } else {
            assert_eq!(world.counter("epoch"), epoch);
            assert_equal_at_mgpass(&world, ALICE);
        }
    }
}

#[test]
fn a_gap_that_the_database_does_not_take_is_told_by_the_queue() {
    let world = world();
    let epoch = world.counter("epoch");
    let node = world.node();
    answers(
        &world,
        &[(Port::Logto, "GET /api/my-account", 2, Glitch::Refuse(503))],
    );
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(world.ask_at(&node, account_write()).status, 200);
    assert_eq!(world.n_queued(), 1);
    world.idle();
    world.faults.clear();
    // Without another request of that isolate.
    drop(node);
    world.deliver();
    assert!(world.counter("epoch") > epoch);
    assert!(world.counter("unrecorded") > 0);
}

#[test]
fn consent_by_any_method_and_below_its_page_is_recorded_under_its_user() {
    for (method, path) in [
        ("GET", "/consent?app_id=spa"),
        ("HEAD", "/consent"),
        ("POST", "/consent"),
        ("OPTIONS", "/consent/"),
        ("GET", "/consent/x"),
        ("POST", "/api/interaction/consent"),
    ] {
        let world = world();
        let sessions = &world.logto.sessions;
        sessions.borrow_mut().insert("uid1".into(), ALICE.into());
        let request = Request::new(method, path)
            .header("cookie", "_interaction=uid1")
            .body(Body::Whole("{}".into()));
        let answer = world.ask(request);
        assert!((200..400).contains(&answer.status), "{method} {path}");
        let is_written = world
            .logto
            .json_of(ALICE)
            .contains(r#""applicationId":"app""#);
        assert!(is_written, "{method} {path}");
        assert_eq!(subjects(&world), json!([ALICE]), "{method} {path}");
        world.deliver();
        assert_eq!(world.n_open(), 0);
    }
}

#[test]
fn of_two_interactions_in_one_browser_the_one_is_asked_about_that_the_request_is_of() {
    let cookie = r#"_interaction={"spa":"uid1","web":"uid2","_legacy":"uid2"}"#;
    for (query, header, expected) in [
        ("", None, "bob000000001"),
        ("", Some("spa"), ALICE),
        ("?app_id=spa", None, ALICE),
        ("?app_id=%73pa", None, ALICE),
        ("?app_id=spa", Some(""), ALICE),
        ("?app_id=spa", Some("web"), "bob000000001"),
    ] {
        let world = world();
        sign_in(&world, "uid1", ALICE);
        sign_in(&world, "uid2", "bob000000001");
        let mut request = Request::new("POST", &format!("/api/experience/submit{query}"))
            .header("cookie", cookie);
        if let Some(app_id) = header {
            request = request.header("logto-app-id", app_id);
        }
        assert_eq!(world.ask(request).status, 200);
        let case = format!("{query:?} {header:?}");
        assert_eq!(subjects(&world), json!([expected]), "{case}");
        world.deliver();
        let rows = world.mgpass("SELECT id FROM users WHERE last_sign_in_at > 1800000000 - 60");
        assert_eq!(json!(rows), json!([{ "id": expected }]), "{case}");
    }
}

#[test]
fn a_sign_in_is_recorded_once_at_its_submit() {
    let world = world();
    let interaction = Interaction {
        user: Some(ALICE.into()),
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    let identify = Request::new("POST", "/api/experience/identification");
    let identify = identify.header("cookie", "_interaction=uid1");
    assert_eq!(world.ask(identify).status, 204);
    world.idle();
    assert_eq!(subjects(&world), json!([]));
    assert_eq!(world.ask(submit("_interaction=uid1")).status, 200);
    assert_eq!(subjects(&world), json!([ALICE]));
}

#[test]
fn the_older_api_tells_nobody_whose_sign_in_it_is_so_each_is_a_gap() {
    let world = world();
    let epoch = world.counter("epoch");
    let interaction = Interaction {
        user: Some(ALICE.into()),
        is_identified: true,
        is_older: true,
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    let request =
        Request::new("POST", "/api/interaction/submit").header("cookie", "_interaction=uid1");
    assert_eq!(world.ask(request).status, 200);
    assert_eq!(world.counter("epoch"), epoch + 1);
    // It may have been a registration: the catch-up looks.
    let rows = world.proxy("SELECT subject, interaction, operation FROM intents");
    assert_eq!(
        json!(rows),
        json!([{ "subject": null, "interaction": "uid1", "operation": "interaction.submit" }])
    );
}

#[test]
fn a_registration_by_the_older_api_is_found_by_the_catch_up() {
    let world = world();
    let interaction = Interaction {
        register: Some("newbie".into()),
        is_older: true,
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    let request =
        Request::new("POST", "/api/interaction/submit").header("cookie", "_interaction=uid1");
    assert_eq!(world.ask(request).status, 200);
    world.idle();
    let node = world.node();
    world.finish(async move {
        dual_write_proxy::mirror::walk::catch_up(&node, &node.context()).await;
    });
    recover(&world);
    assert_equal_at_mgpass(&world, "register0001");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_crash_at_any_call_of_an_unnamed_write_leaves_it_known_or_unacknowledged() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for n in 0.. {
            let world = world();
            let epoch = world.counter("epoch");
            answers(
                &world,
                &[(Port::Logto, "GET /api/my-account", 2, Glitch::Refuse(503))],
            );
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            let handle = world.start(account_write());
            world.deliver();
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n >= 5, "{n}");
                break;
            }
            let was_told = handle.take().is_some_and(|answer| answer.status == 200);
            assert!(
                !was_told || world.counter("epoch") > epoch,
                "{fault:?} at call {n}"
            );
        }
    }
}
