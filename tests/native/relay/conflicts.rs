//! Values that two users want, and what is not the mirror's to touch.

use super::*;

#[test]
fn a_value_moves_from_its_holder_in_one_batch() {
    let world = world_with_alice();
    world.mirrored(BOB, |user| user.email = Some("bob@example.test".into()));
    world.drop_queue();
    world.logto.change(ALICE, |user| {
        user.email = None;
        user.phone = None;
    });
    world.logto.change(BOB, |user| {
        // mgPass compares addresses without case.
        user.email = Some("Alice@Example.test".into());
        user.phone = Some("14155550001".into());
    });
    world.wake(BOB);
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(world.user(BOB, "phone"), "+14155550001");
    assert_eq!(
        world
            .proxy("SELECT * FROM subjects WHERE failures > 0 OR parked IS NOT NULL")
            .len(),
        0
    );
}

#[test]
fn two_users_who_swap_their_values_move_in_one_batch() {
    let world = world_with_alice();
    let google = |id: &str| vec![("google".to_owned(), id.to_owned(), None)];
    world
        .logto
        .change(ALICE, |user| user.identities = google("g-a"));
    world.mirrored(BOB, |user| {
        user.email = Some("bob@example.test".into());
        user.identities = google("g-b");
    });
    world.wake(ALICE);
    world.deliver();
    world.logto.change(ALICE, |user| {
        user.email = Some("bob@example.test".into());
        user.identities = google("g-b");
    });
    world.logto.change(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = google("g-a");
    });
    let batches = world
        .faults
        .count(Port::MgpassDatabase, "INSERT INTO logto_mirror");
    world.wake(ALICE);
    world.deliver();
    for (id, google) in [(ALICE, "g-b"), (BOB, "g-a")] {
        assert_equal_at_mgpass(&world, id);
        let sql = format!("SELECT provider_user_id FROM social_identities WHERE user_id = '{id}'");
        assert_eq!(world.value(Store::Mgpass, &sql), google);
    }
    assert_eq!(
        world
            .faults
            .count(Port::MgpassDatabase, "INSERT INTO logto_mirror"),
        batches + 1
    );
}

#[test]
fn two_relays_that_swap_from_both_ends_come_to_an_end() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.mirrored(ALICE, |user| user.email = Some("alice@example.test".into()));
        world.mirrored(BOB, |user| user.email = Some("bob@example.test".into()));
        world
            .logto
            .change(ALICE, |user| user.email = Some("bob@example.test".into()));
        world
            .logto
            .change(BOB, |user| user.email = Some("alice@example.test".into()));
        world.wake(ALICE);
        world.wake(BOB);
        world.deliver();
        assert_equal_at_mgpass(&world, ALICE);
        assert_equal_at_mgpass(&world, BOB);
        assert_eq!(world.n_queued(), 0, "seed {seed}");
    }
}

#[test]
fn a_value_taken_over_from_a_deleted_user_moves_with_the_deletion() {
    let world = world_with_alice();
    let google = || vec![("google".to_owned(), "g-1".to_owned(), None)];
    world.logto.change(ALICE, |user| user.identities = google());
    world.wake(ALICE);
    world.deliver();
    delete(&world, ALICE);
    world.idle();
    world.drop_queue();
    world.put_user(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = google();
    });
    world.wake(BOB);
    world.deliver_for(500);
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_value_that_mgpass_own_user_holds_parks_the_subject() {
    let world = world_with_alice();
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'own@example.test', 1)",
    );
    let own = world.mgpass("SELECT * FROM users WHERE id = 'usr_own'");
    patch(&world, ALICE, r#"{"primaryEmail":"own@example.test"}"#);
    world.deliver();
    assert_eq!(world.parked(ALICE), "value_taken_at_mgpass");
    assert_eq!(world.user(ALICE, "email"), "alice@example.test");
    assert_eq!(
        world.mgpass("SELECT * FROM users WHERE id = 'usr_own'"),
        own
    );
    assert_eq!(world.n_open(), 1, "the write stays recorded");
}

#[test]
fn an_identity_that_a_user_linked_at_mgpass_itself_parks_who_claims_it_too() {
    let world = world_with_alice();
    world.mirrored(BOB, |_| {});
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO social_identities VALUES ('idn_own', 'bob000000001', 'google', 'g-1', NULL, 1)",
    );
    world.logto.change(ALICE, |user| {
        user.identities = vec![("google".into(), "g-1".into(), None)]
    });
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "value_taken_at_mgpass");
    assert_eq!(world.n_queued(), 0);
    let row = world
        .mgpass("SELECT id, user_id FROM social_identities")
        .remove(0);
    assert_eq!(json!(row), json!({ "id": "idn_own", "user_id": BOB }));
}

#[test]
fn mgpass_own_user_of_the_same_id_is_never_touched() {
    for is_at_logto in [true, false] {
        let world = World::new();
        if is_at_logto {
            world.put_user(ALICE, |user| user.name = Some("Logto's".into()));
        }
        world.databases.execute(
            Store::Mgpass,
            "INSERT INTO users (id, name, created_at) VALUES ('alice0000001', 'mgPass own', 1)",
        );
        let before = everything(&world);
        world.wake(ALICE);
        world.deliver();
        assert_eq!(world.parked(ALICE), "id_taken_at_mgpass");
        assert_eq!(everything(&world), before);
    }
}

#[test]
fn a_user_deleted_at_mgpass_is_not_brought_back() {
    let world = world_with_alice();
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET deleted_at = 5");
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deleted_at_mgpass");
    assert_eq!(world.user(ALICE, "deleted_at"), 5);
}

#[test]
fn what_mgpass_keeps_of_its_own_survives_a_reconcile() {
    let world = world_with_alice();
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET password_hash = 'own', last_sign_in_at = 4000000000;
         INSERT INTO social_identities VALUES ('idn_own', 'alice0000001', 'github', 'h-1', NULL, 1);
         INSERT INTO user_roles VALUES ('alice0000001', 'role_admin', 1)",
    );
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver();
    let row = world
        .mgpass("SELECT name, password_hash, last_sign_in_at FROM users")
        .remove(0);
    assert_eq!(
        json!(row),
        json!({ "name": "New", "password_hash": "own", "last_sign_in_at": 4_000_000_000_i64 })
    );
    assert_eq!(world.mgpass("SELECT * FROM social_identities").len(), 1);
    assert_eq!(world.mgpass("SELECT * FROM user_roles").len(), 2);
}
