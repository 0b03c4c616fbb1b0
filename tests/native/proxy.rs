//! What a client gets through the proxy, and what the proxy keeps of it, with
//! every port failing in every way.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::support::logto::Interaction;
use super::support::{Body, Fault, Port, Request, World};

mod outages;
mod subjects;

const PATCH: &str = r#"{"name":"Alice Two","primaryEmail":"alice.two@example.test"}"#;

/// A world with one mirrored user, and nothing recorded yet.
fn world_with_alice() -> Rc<World> {
    let world = World::new();
    world.mirrored("alice0000001", |user| {
        user.username = Some("alice".into());
        user.email = Some("alice@example.test".into());
        user.custom_data = r#"{"b":1,"a":[1.50,"é"]}"#.into();
        user.created_at += 123;
    });
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.events.borrow_mut().clear();
    world
}

fn last_done(world: &World) -> Value {
    world.events("request.done").pop().expect("no request.done")
}

fn patch_alice(world: &Rc<World>) -> super::support::client::Answered {
    world.write("PATCH", "/api/users/alice0000001", PATCH)
}

/// Everything works again for twenty minutes: cron and Queue run.
pub fn recover(world: &Rc<World>) {
    world.faults.clear();
    for _ in 0..20 {
        world.deliver_for(60_000);
        world.sweep();
    }
    world.deliver();
}

/// mgPass holds what Logto holds, as far as this suite's users differ.
#[track_caller]
pub fn assert_equal_at_mgpass(world: &World, id: &str) {
    let logto = world.logto.users.borrow();
    let Some(user) = logto.get(id) else {
        let live = format!("SELECT count(*) FROM users WHERE deleted_at IS NULL AND id = '{id}'");
        assert_eq!(
            world.value(Store::Mgpass, &live),
            0,
            "{id} is gone at Logto"
        );
        return;
    };
    assert_eq!(world.user(id, "email"), json!(user.email));
    let name = user.name.clone().or_else(|| user.username.clone());
    assert_eq!(world.user(id, "name"), json!(name));
    assert_eq!(world.user(id, "is_suspended"), i64::from(user.is_suspended));
    let metadata = world.user(id, "metadata");
    assert_eq!(metadata.as_str(), Some(user.custom_data.as_str()));
    let identities = format!("SELECT count(*) FROM social_identities WHERE user_id = '{id}'");
    let n_identities = world.value(Store::Mgpass, &identities);
    assert_eq!(n_identities, user.identities.len() as u64);
}

#[test]
fn what_no_rule_names_passes_through_and_leaves_no_trace() {
    let world = World::new();
    let answer = world.ask(Request::new("GET", "/oidc/jwks"));
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.key_set.borrow().clone())
    );
    let answer = world.ask(Request::new("POST", "/no/such?x=%2F").json("{}"));
    assert_eq!((answer.status, answer.body.as_str()), (404, "Not Found"));
    assert_eq!(world.logto.n_served("POST /no/such?x=%2F"), 1);
    world.idle();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    assert_eq!(last_done(&world)["operation"], "pass_through");
    assert_eq!(world.faults.count(Port::ProxyDatabase, ""), 0);
}

#[test]
fn a_session_step_passes_its_cookies_on_line_by_line() {
    let world = World::new();
    let answer = world.ask(Request::new("GET", "/oidc/auth/uid1"));
    assert_eq!(answer.status, 303);
    assert_eq!(answer.cookies.len(), 2);
    assert!(answer.cookies[0].starts_with("_session=cookie-s3cret;"));
}

#[test]
fn in_stage_off_a_write_is_forwarded_and_noted_as_a_gap() {
    let world = world_with_alice();
    world.flag("stage", "off");
    let epoch = world.counter("epoch");
    let answer = patch_alice(&world);
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of("alice0000001"))
    );
    world.deliver();
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.counter("epoch"), epoch + 1);
    assert_eq!(world.events("outbox.gap")[0]["code"], "stage_off");
    let done = last_done(&world);
    assert_eq!(
        (&done["plan.reason"], &done["plan.mirror"]),
        (&json!("stage_off"), &json!("gap"))
    );
}

#[test]
fn with_faulty_settings_the_proxy_is_a_pipe_and_what_is_written_is_a_gap() {
    let world = World::with(1, &[("MGPASS_ISSUER", "")]);
    assert!(world.node().deployment.settings.migration.is_none());
    world.put_user("alice0000001", |_| {});
    let refused = Request::new("PATCH", "/api/users/alice0000001").json(PATCH);
    assert_eq!(world.ask(refused).status, 401);
    world.idle();
    assert_eq!(world.counter("epoch"), 1);
    assert_eq!(patch_alice(&world).status, 200);
    world.idle();
    assert_eq!(world.counter("epoch"), 2);
    assert_eq!(world.events("outbox.gap")[0]["code"], "settings");
    assert_eq!(last_done(&world)["plan.reason"], "settings");
    assert_eq!(world.get("/api/users/alice0000001").status, 200);
    assert_eq!(last_done(&world)["plan.reason"], "settings");
}

/// What one cell of the write matrix must show.
struct WriteCell {
    status: u16,
    /// Logto carried the write out.
    is_written: bool,
    mirror: &'static str,
    /// Intents in the database once everything before the Queue has run: all, settled.
    rows: (i64, i64),
    /// The latest the client may have its answer.
    within_ms: i64,
    event: Option<(&'static str, &'static str)>,
    /// After recovery mgPass is equal; else the epoch was raised.
    is_recorded: bool,
}

const UNTOUCHED: WriteCell = WriteCell {
    status: 200,
    is_written: true,
    mirror: "recorded",
    rows: (1, 1),
    within_ms: 50,
    event: None,
    is_recorded: true,
};

#[track_caller]
fn check_write(port: Port, part: &str, fault: Fault, expected: &WriteCell) {
    let cell = format!("{port:?} {part:?} {fault:?}");
    let world = world_with_alice();
    let (epoch, began_ms) = (world.counter("epoch"), world.now_ms());
    world.faults.always(port, part, fault);
    let answer = patch_alice(&world);
    world.idle();
    let written = world.logto.json_of("alice0000001").contains("Alice Two");

    assert_eq!(answer.status, expected.status, "{cell}");
    if expected.status == 200 {
        assert_eq!(answer.body, world.logto.json_of("alice0000001"), "{cell}");
    }
    assert_eq!(written, expected.is_written, "{cell}");
    assert!(
        answer.at_ms - began_ms <= expected.within_ms,
        "{cell}: {} ms",
        answer.at_ms - began_ms
    );
    let rows = world.proxy("SELECT count(*) AS n, count(settled) AS s FROM intents");
    let rows = (
        rows[0]["n"].as_i64().unwrap(),
        rows[0]["s"].as_i64().unwrap(),
    );
    assert_eq!(rows, expected.rows, "{cell}");
    assert_eq!(world.events("request.done").len(), 1, "{cell}");
    assert_eq!(last_done(&world)["plan.mirror"], expected.mirror, "{cell}");
    if let Some((name, code)) = expected.event {
        let events = world.events(name);
        assert!(
            events.iter().any(|event| event["code"] == code),
            "{cell}: {:?}",
            world.events.borrow()
        );
    }

    recover(&world);
    if expected.is_recorded {
        assert_equal_at_mgpass(&world, "alice0000001");
        assert_eq!(world.n_open(), 0, "{cell}");
        assert_eq!(world.counter("epoch"), epoch, "{cell}");
    } else {
        assert!(world.counter("epoch") > epoch, "{cell}");
    }
}

#[test]
fn a_write_while_logto_fails() {
    let failed = WriteCell {
        status: 502,
        rows: (1, 0),
        ..UNTOUCHED
    };
    check_write(
        Port::Forward,
        "",
        Fault::BeforeEffect,
        &WriteCell {
            is_written: false,
            ..failed
        },
    );
    // Logto may have done it all the same: the open intent finds out.
    check_write(Port::Forward, "", Fault::AfterEffect, &failed);
    let timed_out = WriteCell {
        status: 504,
        within_ms: 125_050,
        ..failed
    };
    check_write(
        Port::Forward,
        "",
        Fault::Hang,
        &WriteCell {
            is_written: false,
            ..timed_out
        },
    );
    check_write(Port::Forward, "", Fault::HangAfterEffect, &timed_out);
}

#[test]
fn a_write_while_the_ledger_fails() {
    let queued = |code| WriteCell {
        mirror: "queued",
        rows: (0, 0),
        event: Some(("outbox.queued", code)),
        ..UNTOUCHED
    };
    let before = queued("database_unavailable");
    check_write(Port::ProxyDatabase, "", Fault::BeforeEffect, &before);
    check_write(
        Port::ProxyDatabase,
        "",
        Fault::AfterEffect,
        &WriteCell {
            rows: (1, 1),
            ..before
        },
    );
    let slow = WriteCell {
        within_ms: 350,
        ..queued("outbox_slow")
    };
    check_write(
        Port::ProxyDatabase,
        "INSERT INTO intents (id, subject, interaction, operation, opened_at, expires_at, generation) ",
        Fault::Hang,
        &WriteCell {
            rows: (1, 1),
            ..slow
        },
    );
}

#[test]
fn a_write_while_the_queue_fails() {
    for fault in [Fault::BeforeEffect, Fault::AfterEffect] {
        let delayed = WriteCell {
            event: Some(("outbox.delayed", "queue")),
            ..UNTOUCHED
        };
        check_write(Port::Queue, "", fault, &delayed);
    }
    // The wake-up hangs behind the answer; the sweep wakes instead.
    check_write(Port::Queue, "", Fault::Hang, &UNTOUCHED);
}

#[test]
fn a_write_while_mgpass_fails_is_answered_as_if_it_did_not() {
    for port in [Port::Mgpass, Port::MgpassDatabase] {
        for fault in [
            Fault::BeforeEffect,
            Fault::AfterEffect,
            Fault::Hang,
            Fault::SlowAnswer(60_000),
        ] {
            check_write(port, "", fault, &UNTOUCHED);
        }
    }
}

#[test]
fn a_write_while_the_flags_cannot_be_read_is_recorded_all_the_same() {
    check_write(Port::Flags, "", Fault::BeforeEffect, &UNTOUCHED);
    check_write(Port::Flags, "", Fault::AfterEffect, &UNTOUCHED);
    check_write(
        Port::Flags,
        "",
        Fault::Hang,
        &WriteCell {
            within_ms: 1_050,
            ..UNTOUCHED
        },
    );
}

#[test]
fn what_was_recorded_without_the_flags_waits_for_a_stage_that_mirrors() {
    let world = world_with_alice();
    world.flag("stage", "off");
    let epoch = world.counter("epoch");
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    assert_eq!(patch_alice(&world).status, 200);
    world.idle();
    assert_eq!(world.events("flags.unreachable")[0]["stage"], "unknown");
    assert_eq!(last_done(&world)["flags.stage"], "unknown");

    recover(&world);
    assert_ne!(world.user("alice0000001", "name"), json!("Alice Two"));
    assert_eq!(world.n_open(), 1);

    world.flag("stage", "dual_write");
    recover(&world);
    assert_equal_at_mgpass(&world, "alice0000001");
    assert_eq!((world.n_open(), world.counter("epoch")), (0, epoch));
}

#[test]
fn a_write_does_not_need_the_keys() {
    for fault in [Fault::BeforeEffect, Fault::AfterEffect, Fault::Hang] {
        check_write(Port::Keys, "", fault, &UNTOUCHED);
    }
}

#[test]
fn a_crash_at_any_call_of_a_write_loses_nothing() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for n in 0.. {
            let world = world_with_alice();
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            let token = world.admin_token();
            let request = Request::new("PATCH", "/api/users/alice0000001")
                .token(&token)
                .json(PATCH);
            let handle = world.start(request);
            world.deliver();
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n > 15, "a write makes more calls than {n}");
                break;
            }
            let was_told = handle.take().is_some_and(|answer| answer.status == 200);
            recover(&world);
            if was_told {
                assert!(world.logto.json_of("alice0000001").contains("Alice Two"));
            }
            assert_equal_at_mgpass(&world, "alice0000001");
            assert_eq!(world.n_open(), 0, "{fault:?} at call {n}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_refused_before_anything_is_recorded() {
    let world = world_with_alice();
    let token = world.admin_token();
    let patch = Request::new("PATCH", "/api/users/alice0000001").token(&token);
    let answer = world.ask(patch.body(Body::Broken));
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("proxy.body_incomplete"),
        "{}",
        answer.body
    );
    world.idle();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    assert_eq!(world.logto.n_served("PATCH"), 0);
    assert_eq!(last_done(&world)["plan.reason"], "own");
}

#[test]
fn a_body_too_long_to_be_held_passes_on_and_its_write_is_recorded() {
    let world = world_with_alice();
    let upload = Request::new("POST", "/api/my-account/user-assets/avatar")
        .token("opaque-alice0000001")
        .body(Body::Endless);
    world.ask(upload);
    world.idle();
    assert_eq!(
        world
            .logto
            .n_served("POST /api/my-account/user-assets/avatar"),
        1
    );
    let rows = world.proxy("SELECT subject, operation FROM intents");
    assert_eq!(
        json!(rows),
        json!([{ "subject": "alice0000001", "operation": "account.write" }])
    );
}

#[test]
fn a_malformed_target_is_refused() {
    let world = World::new();
    let answer = world.ask(Request::new("GET", "").url("nonsense"));
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("proxy.malformed_request"),
        "{}",
        answer.body
    );
    assert_eq!(last_done(&world)["error"], "proxy.malformed_request");
}

#[test]
fn what_logto_refuses_for_want_of_a_token_is_not_recorded() {
    let world = world_with_alice();
    let answer = world.ask(Request::new("PATCH", "/api/users/alice0000001").json(PATCH));
    assert_eq!(answer.status, 401);
    let answer = world.ask(Request::new("POST", "/api/experience/submit"));
    assert_eq!(answer.status, 400);
    let answer = world.ask(
        Request::new("PATCH", "/api/my-account")
            .token("stolen")
            .json(PATCH),
    );
    assert_eq!(answer.status, 401);
    world.idle();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
}

#[test]
fn a_write_that_logto_answers_with_401_leaves_nothing_to_relay() {
    let world = world_with_alice();
    for id in ["alice0000001", "nobody000001", "nobody000002"] {
        let path = format!("/api/users/{id}");
        let answer = world.ask(Request::new("DELETE", &path).token("made-up"));
        assert_eq!(answer.status, 401);
    }
    let answer = world.ask(
        Request::new("POST", "/api/users")
            .token("made-up")
            .json("{}"),
    );
    assert_eq!(answer.status, 401);
    world.deliver();
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.logto.n_served("GET /api/users/nobody"), 0);
    let sql = "SELECT count(*) FROM logto_mirror WHERE user_id LIKE 'nobody%'";
    assert_eq!(world.value(Store::Mgpass, sql), 0);
}

#[test]
fn each_request_closes_with_one_line_and_no_line_tells_who_or_what() {
    let world = world_with_alice();
    world.flag("read_percent", "100");
    let token = world.admin_token();
    let cookie = "_interaction=uidsecret1; _session=cookie-s3cret";
    world.logto.interactions.borrow_mut().insert(
        "uidsecret1".into(),
        Interaction {
            register: Some("newbie-name".into()),
            ..Interaction::default()
        },
    );
    let (broken, _) = token.rsplit_once('.').unwrap();
    let requests = [
        Request::new("PATCH", "/api/users/alice0000001")
            .token(&token)
            .json(PATCH),
        Request::new("GET", "/api/users/alice0000001").token(&token),
        Request::new("GET", "/api/users/alice0000001").token(&format!("{broken}.AAAA")),
        Request::new("GET", "/api/users/alice0000001?q=alice@example.test").token(&token),
        Request::new("PATCH", "/api/my-account")
            .token("opaque-alice0000001")
            .json(PATCH),
        Request::new("POST", "/api/experience/identification").header("cookie", cookie),
        Request::new("POST", "/api/experience/submit").header("cookie", cookie),
        Request::new("DELETE", "/api/users/alice0000001").token(&token),
        Request::new("PATCH", "/api/users/alice0000001")
            .token(&token)
            .body(Body::Broken),
        Request::new("GET", "").url("nonsense"),
    ];
    for (port, fault) in [
        (None, Fault::Hang),
        (Some(Port::Forward), Fault::BeforeEffect),
        (Some(Port::ProxyDatabase), Fault::BeforeEffect),
        (Some(Port::MgpassDatabase), Fault::BeforeEffect),
        (Some(Port::Mgpass), Fault::Hang),
        (Some(Port::Logto), Fault::BeforeEffect),
    ] {
        for request in &requests {
            world.faults.clear();
            if let Some(port) = port {
                world.faults.always(port, "", fault);
            }
            let n_done = world.events("request.done").len();
            world.ask(request.clone());
            world.deliver_for(5_000);
            assert_eq!(world.events("request.done").len(), n_done + 1);
        }
    }
    recover(&world);
    let all = world.events.borrow().join("\n");
    for secret in [
        "alice",
        "Alice",
        "example.test",
        "@",
        "newbie",
        "uidsecret",
        "s3cret",
        "m2m-secret",
        "app_secret",
        "register0",
        "subject-hash-key",
        "Bearer",
        "_interaction",
        "eyJ",
        &token,
    ] {
        assert!(!all.contains(secret), "{secret} in an event");
    }
}
