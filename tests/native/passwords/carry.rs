//! One attempt behind an answer that says that a password is right.

use super::*;
use crate::support::{Fault, Port};

#[test]
fn a_password_that_logto_found_right_is_mgpass_s_behind_the_answer() {
    for identifier in [
        ("email", MAIL),
        ("username", "alice"),
        ("phone", "14155550001"),
    ] {
        let took = |setting| {
            let world = world_with(&[("PASSWORD_CARRY", setting)]);
            begun(&world);
            let began_ms = world.now_ms();
            let answer = world.ask(check(identifier, OLD));
            assert_eq!(answer.status, 200, "{identifier:?}");
            (answer.at_ms - began_ms, world)
        };
        let (with, world) = took("on");
        assert_eq!(with, took("off").0, "the client waits for nothing");
        assert_eq!(at_mgpass(&world), None);
        world.idle();
        assert_eq!(at_mgpass(&world).as_deref(), Some(OLD), "{identifier:?}");
        assert_eq!(state(&world), "carried");
        assert_eq!(outcomes(&world), ["carried"]);
        // Asked before and after.
        assert_eq!(
            world
                .logto
                .n_served("POST /api/users/alice0000001/password/verify"),
            2
        );
    }
}

#[test]
fn the_other_roads_carry_as_well() {
    let bearer = || format!("opaque-{ALICE}");
    let world = world();
    let body = json!({ "password": OLD }).to_string();
    let request = Request::new("POST", "/api/verifications/password").token(&bearer());
    assert_eq!(world.ask(request.json(&body)).status, 201);
    world.idle();
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));

    let world = super::world();
    let path = format!("/api/users/{ALICE}/password/verify");
    assert_eq!(world.write("POST", &path, &body).status, 204);
    world.idle();
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));

    let body = json!({ "password": NEW }).to_string();
    let world = super::world();
    let request = Request::new("POST", "/api/my-account/password").token(&bearer());
    assert_eq!(world.ask(request.json(&body)).status, 204);
    world.deliver();
    assert_eq!(at_mgpass(&world).as_deref(), Some(NEW));
    assert_eq!((state(&world), world.n_open()), (json!("carried"), 0));

    let world = super::world();
    let path = format!("/api/users/{ALICE}/password");
    assert_eq!(world.write("PATCH", &path, &body).status, 200);
    world.deliver();
    assert_eq!(at_mgpass(&world).as_deref(), Some(NEW));
    assert_eq!((state(&world), world.n_open()), (json!("carried"), 0));
}

#[test]
fn a_new_user_is_brought_over_first() {
    let world = world();
    let body = json!({ "username": "kofi", "password": NEW }).to_string();
    let answer = world.write("POST", "/api/users", &body);
    assert_eq!(answer.status, 200);
    world.idle();
    let passwords = world.mgpass.passwords.borrow().clone();
    assert_eq!(passwords.values().collect::<Vec<_>>(), [NEW]);
    // A user whom only Logto has is found by what they signed in by.
    let world = super::world();
    world.put_user("new000000001", |user| {
        user.email = Some("n@example.test".to_owned())
    });
    world
        .logto
        .passwords
        .borrow_mut()
        .insert("new000000001".to_owned(), NEW.to_owned());
    begun(&world);
    assert_eq!(
        world.ask(check(("email", "n@example.test"), NEW)).status,
        200
    );
    world.idle();
    assert_eq!(world.mgpass.passwords.borrow()["new000000001"], NEW);
}

#[test]
fn a_wrong_password_and_an_unknown_user_cost_the_same_and_ask_nothing() {
    let asked = |identifier, password| {
        let world = world();
        begun(&world);
        let (n_calls, n_served) = (world.faults.n_decided(), world.logto.n_served(""));
        let answer = world.ask(check(identifier, password));
        world.idle();
        assert_eq!(at_mgpass(&world), None);
        let n_calls = world.faults.n_decided() - n_calls;
        (
            answer.status,
            answer.body,
            n_calls,
            world.logto.n_served("") - n_served,
        )
    };
    let wrong = asked(("email", MAIL), "wrong-password");
    assert_eq!(
        wrong,
        asked(("email", "nobody@example.test"), "wrong-password")
    );
    assert_eq!((wrong.0, wrong.3), (422, 1));
}

#[test]
fn once_is_enough() {
    let world = world();
    for _ in 0..3 {
        signs_in(&world, OLD);
    }
    assert_eq!(outcomes(&world), ["carried"]);
    assert_eq!(world.mgpass.n_served("PATCH"), 1);
}

#[test]
fn without_a_decision_a_check_or_the_setting_nothing_is_carried() {
    for column in ["decided_at = NULL, decided_by", "passed_at"] {
        let world = world();
        let sql = format!("UPDATE password_carry SET {column} = NULL");
        world.databases.execute(Store::Proxy, &sql);
        signs_in(&world, OLD);
        assert_eq!(at_mgpass(&world), None, "{column}");
    }
    for (name, value) in [("PASSWORD_CARRY", "off"), ("SUBJECT_KEY", "")] {
        let world = World::with(1, &[(name, value), ("PASSWORD_CARRY", "on")]);
        allow(&world);
        world.mirrored(ALICE, |user| user.email = Some(MAIL.to_owned()));
        has(&world, OLD);
        signs_in(&world, OLD);
        assert_eq!(at_mgpass(&world), None, "{name}");
    }
    let world = world();
    world.flag("stage", "off");
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world), None);
}

#[test]
fn who_needs_more_than_a_password_is_never_carried() {
    type Change = fn(&mut crate::support::logto::User);
    let changes: [Change; 4] = [
        |user| user.factors = vec!["Totp"],
        |user| user.factors = vec!["WebAuthn"],
        |user| user.sso = vec!["c1"],
        |user| user.is_suspended = true,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let world = world();
        world.logto.change(ALICE, change);
        let path = format!("/api/users/{ALICE}/password/verify");
        let body = json!({ "password": OLD }).to_string();
        assert_eq!(world.write("POST", &path, &body).status, 204);
        world.idle();
        assert_eq!(
            (at_mgpass(&world), outcomes(&world)),
            (None, vec!["not_ready".to_owned()]),
            "{index}"
        );
        // Not asked again by each sign-in.
        world.write("POST", &path, &body);
        world.idle();
        assert_eq!(outcomes(&world).len(), 1);
    }
    // Unknown counts as not ready.
    let world = world();
    world
        .faults
        .once(Port::Logto, "mfa-verifications", 0, Fault::BeforeEffect);
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world), None);
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));
}

#[test]
fn after_a_sign_in_or_a_password_at_mgpass_nothing_is_carried() {
    for (sql, reason) in [
        (
            "INSERT INTO audit_logs (id, event_type, target_id, created_at) VALUES ('a', 'user.login.success', 'alice0000001', 1)",
            "signed_in_at_mgpass",
        ),
        (
            "UPDATE users SET password_hash = 'somebody-set-it' WHERE id = 'alice0000001'",
            "password_at_mgpass",
        ),
    ] {
        let world = world();
        world.databases.execute(Store::Mgpass, sql);
        signs_in(&world, OLD);
        assert_eq!(
            (at_mgpass(&world), outcomes(&world)),
            (None, vec![reason.to_owned()])
        );
    }
}

#[test]
fn the_budget_is_kept() {
    let world = world_with(&[("PASSWORD_CARRY_PER_MINUTE", "1")]);
    signs_in(&world, OLD);
    world.put_user("other0000001", |user| {
        user.email = Some("o@example.test".to_owned())
    });
    world
        .logto
        .passwords
        .borrow_mut()
        .insert("other0000001".to_owned(), NEW.to_owned());
    let other = || check(("email", "o@example.test"), NEW);
    world.ask(other());
    world.idle();
    assert_eq!(outcomes(&world), ["carried", "not_now"]);
    world.advance(61_000);
    begun(&world);
    world.ask(other());
    world.idle();
    assert_eq!(world.mgpass.passwords.borrow()["other0000001"], NEW);
}

#[test]
fn what_mgpass_finds_weak_is_not_tried_again_before_a_change() {
    let world = world();
    has(&world, "short");
    for _ in 0..2 {
        signs_in(&world, "short");
    }
    assert_eq!(outcomes(&world), ["weak_password"]);
    // Reset by what no request shows; the next sign-in shows it.
    resets(&world, NEW);
    world.deliver();
    signs_in(&world, NEW);
    assert_eq!(at_mgpass(&world).as_deref(), Some(NEW));
}

#[test]
fn our_own_entry_at_mgpass_does_not_stop_the_share_and_another_does() {
    let world = world_with(&[("PIN_SECRET", "0123456789abcdef0123456789abcdef")]);
    world.flag("applications", super::APPLICATIONS);
    world.flag("sign_in_percent", "50");
    cron(&world);
    signs_in(&world, OLD);
    cron(&world);
    let stop = || world.flags.borrow().get("sign_in_stop").cloned();
    assert_eq!(stop(), None, "{:?}", world.events("sign_in.stopped"));
    world.advance(20_000);
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO audit_logs (id, event_type, actor_id, target_id, created_at) VALUES ('f', 'user.updated', 'app_proxy', 'alice0000001', unixepoch())",
    );
    cron(&world);
    assert!(stop().is_some());
}

#[test]
fn a_hand_over_that_is_near_ends_carrying() {
    for sql in [
        "UPDATE authority SET announced_at = 1, announced_until = 2",
        "UPDATE authority SET holder = 'mgpass', generation = 2",
    ] {
        let world = world();
        world.databases.execute(Store::Proxy, sql);
        signs_in(&world, OLD);
        assert_eq!(at_mgpass(&world), None, "{sql}");
    }
}

#[test]
fn an_isolate_that_was_told_no_rests_for_some_seconds() {
    let world = world();
    let sql = "UPDATE password_carry SET passed_at = NULL";
    world.databases.execute(Store::Proxy, sql);
    let node = world.node();
    let sign_in = || {
        begun(&world);
        world.ask_at(&node, check(("email", MAIL), OLD));
        world.advance(1_000);
    };
    sign_in();
    allow(&world);
    sign_in();
    assert_eq!(
        (outcomes(&world), at_mgpass(&world)),
        (vec!["not_now".to_owned()], None)
    );
    world.advance(3_000);
    sign_in();
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));
}
