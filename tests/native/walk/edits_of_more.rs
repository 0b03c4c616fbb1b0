//! Changes at mgPass that concern more than a user's own fields: values that move to
//! somebody else, rows and users that go, and an import that meets them.

use super::edits::{assert_held, entry, name_by_an_admin, patch};
use super::*;

#[test]
fn a_row_that_somebody_removed_on_purpose_is_not_brought_back() {
    for is_on_purpose in [false, true] {
        let world = world();
        at_mgpass(
            &world,
            "DELETE FROM user_roles WHERE user_id = 'bob000000001'; DELETE FROM users WHERE id = 'bob000000001'",
        );
        if is_on_purpose {
            entry(&world, "user.deleted", BOB);
        }
        pass(&world);
        let found = world.user(BOB, "name");
        if is_on_purpose {
            assert_eq!(
                (found, world.parked(BOB)),
                (Value::Null, json!("deleted_at_mgpass"))
            );
        } else {
            assert_eq!((found, world.parked(BOB)), (json!("Bob"), Value::Null));
        }
    }
}

#[test]
fn a_deletion_at_logto_goes_on_and_what_was_edited_before_is_named() {
    let world = world();
    name_by_an_admin(&world);
    let answer = world.write("DELETE", &format!("/api/users/{ALICE}"), "");
    assert_eq!(answer.status, 204);
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(
        findings(&world, ALICE),
        json!([["edit_overruled", "finding", ["name"]]])
    );
}

/// Whoever holds a value that an edit moved is not asked for it.
#[test]
fn an_address_that_was_moved_at_mgpass_on_purpose_stays_where_it_is() {
    let world = world();
    at_mgpass(
        &world,
        "UPDATE users SET email = NULL WHERE id = 'alice0000001'; UPDATE users SET email = 'alice@example.test' WHERE id = 'bob000000001'",
    );
    entry(&world, "user.updated", ALICE);
    entry(&world, "user.updated", BOB);
    patch(&world, r#"{"avatar":"new"}"#);
    pass(&world);
    assert_eq!(world.user(ALICE, "avatar"), "new");
    assert_eq!(world.user(ALICE, "email"), Value::Null);
    assert_eq!(world.user(BOB, "email"), "alice@example.test");
    for user in [ALICE, BOB] {
        assert_eq!(world.parked(user), "edited_at_mgpass");
    }
    world.advance(60_000);
    for user in [BOB, ALICE] {
        operator(
            &world,
            "POST",
            &format!("/_proxy/mirror/overrule?user={user}"),
        );
        world.deliver();
        assert_equal_at_mgpass(&world, user);
    }
    assert_eq!(world.n_open(), 0);
}

#[test]
fn an_address_that_was_given_to_mgpass_own_user_on_purpose_parks_nothing_else() {
    let world = world();
    at_mgpass(
        &world,
        "UPDATE users SET email = NULL WHERE id = 'alice0000001';
         INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'alice@example.test', 1)",
    );
    entry(&world, "user.updated", ALICE);
    patch(&world, r#"{"avatar":"new"}"#);
    assert_eq!(world.user(ALICE, "avatar"), "new");
    assert_held(&world, json!(["email"]));
}

#[test]
fn an_import_leaves_what_was_changed_there_to_the_relay() {
    let world = world();
    name_by_an_admin(&world);
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Other' WHERE id = 'bob000000001'",
    );
    let view = super::super::jobs::import(&world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": 1, "parked": 1 }),
        "{view}"
    );
    assert_eq!(view["parked"], json!({ "edited_at_mgpass": 1 }));
    assert_eq!(world.user(ALICE, "name"), "Edited");
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(findings(&world, BOB)[0][0], "altered_at_mgpass");
    let report = super::super::jobs::prove(&world);
    assert_eq!(
        report["differences"][0]["reason"],
        "parked:edited_at_mgpass"
    );
    assert_eq!(
        (&report["explained"], &report["unexplained"]),
        (&json!(1), &json!(0))
    );
}
