//! Effects: sessions at mgPass end with a suspension or a deletion, once.

use super::*;

#[test]
fn a_suspension_ends_the_sessions_at_mgpass_once() {
    let world = world_with_alice();
    suspend(&world, true);
    world.deliver();
    assert_eq!(world.user(ALICE, "is_suspended"), 1);
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(0))
    );
    patch(&world, ALICE, r#"{"name":"Again"}"#);
    world.deliver();
    recover(&world);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
}

#[test]
fn a_suspension_undone_at_once_still_ends_the_sessions() {
    let world = world_with_alice();
    suspend(&world, true);
    suspend(&world, false);
    world.deliver();
    assert_eq!(world.user(ALICE, "is_suspended"), 0);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
}

#[test]
fn a_crash_at_any_call_of_a_suspension_leaves_neither_state_nor_sessions() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for n in 0.. {
            let world = world_with_alice();
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            let token = world.admin_token();
            let path = format!("/api/users/{ALICE}/is-suspended");
            let request = Request::new("PATCH", &path).token(&token);
            world.start(request.json(r#"{"isSuspended":true}"#));
            world.deliver();
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n > 15, "a suspension makes more calls than {n}");
                break;
            }
            recover(&world);
            assert_equal_at_mgpass(&world, ALICE);
            let is_suspended = world.logto.users.borrow()[ALICE].is_suspended;
            let n_revoked = world.mgpass.n_revoked(ALICE);
            assert!(
                n_revoked >= usize::from(is_suspended),
                "{fault:?} at call {n}"
            );
            assert_eq!(
                (world.n_open(), n_owed(&world)),
                (0, json!(0)),
                "{fault:?} at call {n}"
            );
        }
    }
}

#[test]
fn an_end_of_a_suspension_alone_ends_no_session() {
    let world = World::new();
    world.mirrored(ALICE, |user| user.is_suspended = true);
    suspend(&world, false);
    world.deliver();
    assert_eq!(
        (
            world.user(ALICE, "is_suspended"),
            world.mgpass.n_revoked(ALICE)
        ),
        (json!(0), 0)
    );
}

#[test]
fn what_mgpass_limits_stays_owed_and_the_sweep_pays_it() {
    let world = world_with_alice();
    world.mgpass.revoke_limit.set(0);
    suspend(&world, true);
    world.deliver();
    assert_eq!(world.events("mirror.effect")[0]["outcome"], "rate_limited");
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (0, json!(1))
    );
    assert_eq!(world.n_open(), 0, "the state itself is there");
    world.mgpass.revoke_limit.set(5);
    world.advance(60_000);
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(0))
    );
}

#[test]
fn an_effect_whose_payment_was_not_noted_is_paid_again_and_then_gone() {
    let world = world_with_alice();
    world.faults.once(
        Port::MgpassDatabase,
        "DELETE FROM logto_mirror_effects",
        0,
        Fault::CrashBefore,
    );
    suspend(&world, true);
    world.deliver();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(1))
    );
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (2, json!(0))
    );
}

#[test]
fn one_effect_that_mgpass_refuses_does_not_hold_up_the_others() {
    let world = world_with_alice();
    world.mirrored(BOB, |_| {});
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO logto_mirror_effects VALUES ('odd id', 'revoke_all', 1, 1), ('alice0000001', 'revoke_all', 1, 2), ('bob000000001', 'revoke_all', 1, 3)",
    );
    world.mgpass.refused.borrow_mut().insert(ALICE.into(), 409);
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), world.mgpass.n_revoked(BOB)),
        (0, 1)
    );
}

#[test]
fn a_settling_told_again_owes_nothing_more() {
    let world = world_with_alice();
    suspend(&world, true);
    suspend(&world, false);
    world.deliver_for(1_000);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    let sql = "SELECT id FROM intents WHERE operation = 'users.suspension'";
    let id = world.value(Store::Proxy, sql);
    let intent =
        json!({ "id": id, "subject": ALICE, "interaction": null, "operation": "users.suspension" });
    let again = message(json!({ "kind": "settle", "intent": intent, "status": 200 }));
    world.enqueue(again, 0);
    world.deliver_for(10_000);
    assert_eq!((world.mgpass.n_revoked(ALICE), world.n_open()), (1, 0));
}

#[test]
fn an_import_between_a_suspension_and_its_reconcile_leaves_the_sessions_to_it() {
    let world = world_with_alice_and(&[("ADMIN_TOKEN", "operator-s3cret")]);
    suspend(&world, true);
    suspend(&world, false);
    world.drop_queue();
    let start = Request::new("POST", "/_proxy/import?kind=users&lanes=1").token("operator-s3cret");
    assert_eq!(world.ask(start).status, 202);
    for _ in 0..4 {
        world.deliver_for(60_000);
        world.sweep();
    }
    world.deliver();
    let done = "SELECT state FROM jobs";
    assert_eq!(world.value(Store::Proxy, done), "done");
    assert_eq!((world.mgpass.n_revoked(ALICE), world.n_open()), (1, 0));
}
