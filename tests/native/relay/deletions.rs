//! Deletions: two witnesses, the brake, and what stays of the user.

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::triggers::Trigger;

use super::*;
use crate::support::client::Answered;
use crate::support::executor::Handle;

#[test]
fn a_deletion_with_two_witnesses_is_carried_over_and_frees_its_values() {
    let world = world_with_alice();
    world.logto.change(ALICE, |user| {
        user.identities = vec![("google".into(), "g-1".into(), None)]
    });
    world.wake(ALICE);
    world.deliver();
    delete(&world, ALICE);
    world.deliver();
    let row = world
        .mgpass("SELECT deleted_at IS NOT NULL AS deleted, email, phone FROM users")
        .remove(0);
    assert_eq!(
        json!(row),
        json!({ "deleted": 1, "email": null, "phone": null })
    );
    assert_eq!(world.mgpass("SELECT * FROM social_identities").len(), 0);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    assert_eq!(n_owed(&world), 0);
    assert_eq!(world.n_open(), 0);
    let mirror = world
        .mgpass("SELECT tombstone, residue FROM logto_mirror")
        .remove(0);
    assert_eq!(json!(mirror), json!({ "tombstone": 1, "residue": null }));
    // The same person may register again.
    world.mirrored(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = vec![("google".into(), "g-1".into(), None)];
    });
}

#[test]
fn a_deletion_with_one_witness_waits_for_an_operator() {
    let world = world_with_alice();
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    assert_eq!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.user(ALICE, "email"), "alice@example.test");
    assert_eq!(
        world.events("mirror.parked")[0]["reason"],
        "deletion_unconfirmed"
    );
}

#[test]
fn a_refused_deletion_is_no_witness() {
    let world = world_with_alice();
    let answer = world.ask(Request::new("DELETE", &format!("/api/users/{ALICE}")).token("unknown"));
    assert_eq!(answer.status, 401);
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
}

/// A DELETE that Logto has carried out, and whose answer is slow to come.
fn start_slow_deletion(world: &Rc<World>, answer_ms: i64) -> Handle<Answered> {
    world
        .faults
        .once(Port::Forward, "DELETE", 0, Fault::SlowAnswer(answer_ms));
    let token = world.admin_token();
    let request = Request::new("DELETE", &format!("/api/users/{ALICE}")).token(&token);
    let deletion = world.start(request);
    world.advance(1_000);
    deletion
}

#[test]
fn while_a_deletion_is_under_way_logtos_404_parks_nobody() {
    let world = world_with_alice();
    let deletion = start_slow_deletion(&world, 5_000);
    // Somebody else wakes the relay while the DELETE is unanswered.
    world.wake(ALICE);
    world.deliver_for(1_000);
    assert_eq!(world.parked(ALICE), Value::Null);
    assert_eq!(
        world.events("mirror.waited")[0]["code"],
        "deletion_under_way"
    );
    world.deliver_for(10_000);
    assert_eq!(deletion.take().unwrap().status, 204);
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.events("mirror.parked").len(), 0);
}

#[test]
fn a_deletion_that_began_after_the_lease_was_taken_parks_nobody_either() {
    let world = world_with_alice();
    // The relay holds its lease and waits for Logto, which deletes meanwhile.
    world
        .faults
        .once(Port::Logto, "GET /api/users/", 0, Fault::Late(2_000));
    world.wake(ALICE);
    let node = world.node();
    let user = UserId::parse(ALICE).unwrap();
    let turn = world.executor.spawn(async move {
        relay::reconcile(&node, &node.context(), &user).await;
    });
    world.advance(500);
    delete(&world, ALICE);
    world.advance(3_000);
    assert!(turn.is_done());
    assert_eq!(world.events("mirror.parked").len(), 0);
    world.deliver_for(10_000);
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
}

#[test]
fn a_deletion_without_an_answer_is_waited_for_until_it_expires_and_no_longer() {
    let world = world_with_alice();
    let token = world.admin_token();
    world
        .faults
        .once(Port::Forward, "DELETE", 0, Fault::AfterEffect);
    world.ask(Request::new("DELETE", &format!("/api/users/{ALICE}")).token(&token));
    world.wake(ALICE);
    world.deliver_for(50_000);
    assert_eq!(world.parked(ALICE), Value::Null);
    world.deliver_for(20_000);
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
}

#[test]
fn a_second_witness_that_comes_after_the_parking_is_found_by_the_sweep_alone() {
    let world = world_with_alice();
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver_for(1_000);
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    let user = UserId::parse(ALICE).unwrap();
    let (witness, status) = Trigger::WebhookDeletion.intent(&user, 7);
    world
        .databases
        .batch(Store::Proxy, &witness.settle(status))
        .unwrap();
    recover(&world);
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
}

#[test]
fn a_parked_subject_is_left_alone_by_the_sweep_until_something_new_is_recorded() {
    let world = world_with_alice();
    world.put_user(BOB, |user| user.email = Some("own@example.test".into()));
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'own@example.test', 1)",
    );
    patch(&world, BOB, r#"{"name":"Bob"}"#);
    world.deliver();
    assert_eq!(world.parked(BOB), "value_taken_at_mgpass");
    let reads = world.logto.n_served("GET /api/users/");
    for _ in 0..5 {
        world.advance(60_000);
        world.sweep();
        world.deliver();
    }
    assert_eq!(world.logto.n_served("GET /api/users/"), reads);
    // The wake-up of the next write is lost.
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    patch(&world, BOB, r#"{"primaryEmail":"bob@example.test"}"#);
    world.idle();
    world.faults.clear();
    world.sweep();
    world.deliver();
    assert_eq!(
        (world.parked(BOB), world.user(BOB, "email")),
        (Value::Null, json!("bob@example.test"))
    );
}

#[test]
fn the_brake_stops_deletions_above_the_limit_of_an_hour() {
    let world = world_with_alice_and(&[("DELETIONS_PER_HOUR", "1")]);
    world.mirrored(BOB, |_| {});
    delete(&world, ALICE);
    world.deliver();
    delete(&world, BOB);
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.user(BOB, "deleted_at"), Value::Null);
    assert_eq!(world.parked(BOB), "deletion_brake");
    world.advance(3_600_000);
    world.wake(BOB);
    world.deliver();
    assert_ne!(world.user(BOB, "deleted_at"), Value::Null);
    assert_eq!(world.parked(BOB), Value::Null);
}

#[test]
fn the_brake_counts_deletions_of_the_same_moment() {
    let world = world_with_alice_and(&[("DELETIONS_PER_HOUR", "2")]);
    let others: Vec<_> = (0..6).map(|index| format!("crowd{index:07}")).collect();
    for id in &others {
        world.mirrored(id, |_| {});
    }
    for id in &others {
        delete(&world, id);
    }
    world.deliver();
    let deleted = "SELECT count(*) FROM users WHERE deleted_at IS NOT NULL";
    assert_eq!(world.value(Store::Mgpass, deleted), 2);
    let parked = "SELECT count(*) FROM subjects WHERE parked = 'deletion_brake'";
    assert_eq!(world.value(Store::Proxy, parked), 4);
}

#[test]
fn nobody_on_either_side_still_fences_older_tickets() {
    let world = World::new();
    world.wake(ALICE);
    world.deliver();
    let mirror = world
        .mgpass("SELECT tombstone, digest FROM logto_mirror")
        .remove(0);
    assert_eq!(json!(mirror), json!({ "tombstone": 1, "digest": "" }));
    assert_eq!(world.events("mirror.reconciled")[0]["outcome"], "absent");
    // And is no hindrance to a user who comes later.
    world.mirrored(ALICE, |_| {});
}

#[test]
fn whoever_waits_for_a_value_has_it_once_an_operator_confirms_the_deletion() {
    for is_parked in [false, true] {
        let world = world_with_alice_and(&[("ADMIN_TOKEN", "operator-s3cret")]);
        world.logto.users.borrow_mut().remove(ALICE);
        world.put_user(BOB, |user| user.email = Some("alice@example.test".into()));
        patch(&world, BOB, r#"{"name":"Bob"}"#);
        world.deliver_for(10_000);
        assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
        if is_parked {
            world.deliver_for(600_000);
            assert_eq!(world.parked(BOB), "value_taken_in_logto");
        }
        let confirm = format!("/_proxy/mirror/confirm-deletion?user={ALICE}");
        let answer = world.ask(Request::new("POST", &confirm).token("operator-s3cret"));
        assert_eq!(answer.status, 200);
        // Of Bob nobody says a word; and the message that wakes him may be lost.
        if is_parked {
            world.faults.always(Port::Queue, BOB, Fault::AfterEffect);
        } else {
            world.faults.always(Port::Queue, BOB, Fault::BeforeEffect);
        }
        world.deliver_for(2_000);
        world.faults.clear();
        assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
        if !is_parked {
            world.drop_queue();
            world.sweep();
        }
        world.deliver_for(2_000);
        assert_equal_at_mgpass(&world, BOB);
        assert_eq!((world.parked(BOB), world.n_open()), (Value::Null, 0));
    }
}
