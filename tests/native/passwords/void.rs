//! No old password stays alive at mgPass.

use dual_write_proxy::policy::flags::Stage;

use super::*;
use crate::support::logto::HANDOVER_SECRET;
use crate::support::{Fault, Port};

fn change(world: &Rc<World>, password: &str) {
    let body = json!({ "password": password }).to_string();
    let path = format!("/api/users/{ALICE}/password");
    assert_eq!(world.write("PATCH", &path, &body).status, 200);
}

/// Neither the old one nor any other that somebody knows.
fn assert_void(world: &World, what: &str) {
    let there = at_mgpass(world).unwrap();
    assert!(
        there.starts_with("Aa1-") && there.len() == 68,
        "{what}: {there}"
    );
}

#[test]
fn a_reset_voids_and_ends_the_sessions_before_its_intent_is_discharged() {
    let world = world();
    signs_in(&world, OLD);
    resets(&world, NEW);
    world.deliver();
    assert_void(&world, "reset");
    assert_eq!((state(&world), world.n_open()), (json!("none"), 0));
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    signs_in(&world, NEW);
    assert_eq!(at_mgpass(&world).as_deref(), Some(NEW));
}

#[test]
fn a_change_that_shows_the_new_password_needs_no_void() {
    let world = world();
    signs_in(&world, OLD);
    change(&world, NEW);
    world.deliver();
    assert_eq!(at_mgpass(&world).as_deref(), Some(NEW));
    assert_eq!((world.mgpass.n_revoked(ALICE), world.n_open()), (0, 0));
}

#[test]
fn with_mgpass_down_nothing_is_discharged_and_the_void_comes_later() {
    let world = world();
    signs_in(&world, OLD);
    let down = || {
        world
            .mgpass
            .answers
            .borrow_mut()
            .insert(format!("users/{ALICE}"), 503)
    };
    down();
    resets(&world, NEW);
    world.deliver();
    cron(&world);
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));
    assert!(world.n_open() > 0);
    world.mgpass.answers.borrow_mut().clear();
    for _ in 0..4 {
        world.advance(61_000);
        cron(&world);
        world.deliver();
    }
    assert_void(&world, "later");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_write_that_logto_commits_late_is_voided_when_it_can_come_no_later() {
    let world = world();
    signs_in(&world, OLD);
    world
        .faults
        .once(Port::Forward, "PATCH", 0, Fault::Late(200_000));
    let path = format!("/api/users/{ALICE}/password");
    let handle = world.start({
        let token = world.admin_token();
        Request::new("PATCH", &path)
            .token(&token)
            .json(&json!({ "password": NEW }).to_string())
    });
    for _ in 0..20 {
        world.advance(60_000);
        cron(&world);
        world.deliver_for(1_000);
    }
    assert!(handle.is_done());
    assert_eq!(world.logto.passwords.borrow()[ALICE], NEW);
    assert_void(&world, "late commit");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_carry_without_an_answer_is_voided_at_once_and_again_when_it_can_land_no_more() {
    let world = world();
    world
        .faults
        .once(Port::Mgpass, "PATCH", 0, Fault::Late(200_000));
    begun(&world);
    world.ask(check(("email", MAIL), OLD));
    world.advance(20_000);
    assert_eq!(state(&world), "void_owed");
    cron(&world);
    assert_void(&world, "at once");
    world.advance(300_000);
    assert_eq!(
        at_mgpass(&world).as_deref(),
        Some(OLD),
        "it has landed late"
    );
    cron(&world);
    assert_eq!(state(&world), "void_owed");
    world.advance(900_000);
    cron(&world);
    assert_void(&world, "again");
    assert_eq!(state(&world), "none");
}

#[test]
fn a_password_that_changes_under_the_carry_is_voided() {
    let world = world();
    world
        .faults
        .once(Port::Mgpass, "PATCH", 0, Fault::SlowAnswer(3_000));
    begun(&world);
    world.ask(check(("email", MAIL), OLD));
    world.advance(1_000);
    // Around the proxy.
    has(&world, NEW);
    world.idle();
    assert_void(&world, "changed meanwhile");
    assert_eq!(outcomes(&world), ["changed_meanwhile"]);
}

#[test]
fn a_crash_under_the_carry_leaves_something_to_void() {
    let world = world();
    world
        .faults
        .once(Port::Mgpass, "PATCH", 0, Fault::CrashAfter);
    begun(&world);
    world.ask(check(("email", MAIL), OLD));
    world.advance(61_000);
    assert_eq!(
        (state(&world), at_mgpass(&world).as_deref()),
        (json!("carrying"), Some(OLD))
    );
    cron(&world);
    assert_void(&world, "crash");
}

#[test]
fn a_gap_owes_every_carried_password_a_void() {
    let world = world();
    signs_in(&world, OLD);
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = value + 1 WHERE name IN ('epoch', 'unrecorded')",
    );
    cron(&world);
    assert_void(&world, "gap");
}

#[test]
fn a_way_back_by_the_rules_is_no_gap_and_signs_nobody_out() {
    let world = world_with(&[("HANDOVER_SECRET", HANDOVER_SECRET)]);
    world.logto.is_closed.set(true);
    *world.logto.secrets.borrow_mut() = vec![HANDOVER_SECRET];
    signs_in(&world, OLD);
    world.handed_over();
    world.wish(Some(Stage::DualWrite));
    world.operate();
    assert_eq!(world.holder(), "logto");
    // Nobody is read from mgPass before they are reconciled anew, which takes a turn.
    assert_eq!(world.counter("epoch"), 2);
    world.wake(ALICE);
    world.deliver();
    cron(&world);
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));
    assert_eq!(
        (state(&world), world.mgpass.n_revoked(ALICE)),
        (json!("carried"), 0)
    );
}

#[test]
fn a_second_factor_owes_a_void_through_the_proxy_and_around_it() {
    let world = world();
    signs_in(&world, OLD);
    world.write(
        "POST",
        &format!("/api/users/{ALICE}/mfa-verifications"),
        "{}",
    );
    world.deliver();
    assert_void(&world, "through");

    let world = super::world();
    signs_in(&world, OLD);
    world
        .logto
        .change(ALICE, |user| user.factors = vec!["Totp"]);
    world.advance(601_000);
    cron(&world);
    cron(&world);
    assert_void(&world, "around");
}

#[test]
fn what_changed_around_the_proxy_is_found_by_logtos_hash() {
    let world = world();
    signs_in(&world, OLD);
    world.advance(601_000);
    cron(&world);
    assert_eq!(state(&world), "carried");
    has(&world, NEW);
    world.advance(601_000);
    cron(&world);
    cron(&world);
    assert_void(&world, "around");
}

#[test]
fn a_voided_password_leaves_nothing_for_the_way_back_to_end() {
    let world = world();
    signs_in(&world, OLD);
    resets(&world, NEW);
    world.deliver();
    let mark = "SELECT password_mark IS NOT NULL AND void_hash = (SELECT password_hash FROM users u WHERE u.id = user_id) FROM logto_mirror";
    assert_eq!(world.value(Store::Mgpass, mark), 1);
}

#[test]
fn after_a_hand_over_a_void_takes_away_what_was_carried_and_nothing_that_is_the_users_own() {
    for is_own in [false, true] {
        let world = world();
        signs_in(&world, OLD);
        world.databases.execute(
            Store::Proxy,
            "UPDATE passwords SET state = 'void_owed', due_at = 0; UPDATE authority SET holder = 'mgpass'",
        );
        if is_own {
            let own = "UPDATE users SET password_hash = 'set-at-mgpass'";
            world.databases.execute(Store::Mgpass, own);
        }
        let node = world.node();
        world.finish(async move {
            dual_write_proxy::mirror::passwords::sweep::tick(&node, &node.context()).await;
        });
        assert_eq!(state(&world), "none");
        match is_own {
            true => assert_eq!(world.user(ALICE, "password_hash"), "set-at-mgpass"),
            false => assert_void(&world, "owed since before"),
        }
    }
}

#[test]
fn neither_a_hold_nor_a_pause_keeps_an_old_password_alive() {
    for sql in [
        "INSERT INTO held_subjects (subject, reason, since) VALUES ('alice0000001', 'debt', 1)",
        "UPDATE counters SET value = 9000000000000 WHERE name = 'paused_until'",
    ] {
        let world = world();
        signs_in(&world, OLD);
        world.databases.execute(Store::Proxy, sql);
        resets(&world, NEW);
        world.advance(31_000);
        cron(&world);
        assert_void(&world, sql);
    }
}

#[test]
fn another_key_for_hashes_voids_nobody_and_is_noted_anew() {
    let world = world();
    signs_in(&world, OLD);
    let digest = || world.value(Store::Proxy, "SELECT digest FROM passwords");
    world.databases.execute(
        Store::Proxy,
        "UPDATE passwords SET digest = 'other-ke.' || digest",
    );
    world.advance(601_000);
    cron(&world);
    cron(&world);
    assert_eq!(state(&world), "carried");
    assert!(!digest().as_str().unwrap().starts_with("other-ke."));
    has(&world, NEW);
    world.advance(601_000);
    cron(&world);
    cron(&world);
    assert_void(&world, "changed under the new key");
}
