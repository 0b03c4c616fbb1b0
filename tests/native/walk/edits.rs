//! What is changed in mgPass's rows themselves: by nobody that its audit log names, or
//! by somebody on purpose.

use super::*;

/// An entry of mgPass's own, by somebody else than the mirror.
pub(super) fn entry(world: &World, event: &str, user: &str) {
    at_mgpass(
        world,
        &format!(
            "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, actor_name, target_type, target_id, created_at) \
             VALUES (lower(hex(randomblob(8))), '{event}', 'user', 'usr_admin', 'Eve Example', 'user', '{user}', unixepoch())"
        ),
    );
}

/// As mgPass's admin console does: the row, and who changed it.
pub(super) fn edit(world: &World, sql: &str, user: &str) {
    at_mgpass(world, sql);
    entry(world, "user.updated", user);
}

pub(super) fn name_by_an_admin(world: &World) {
    edit(
        world,
        "UPDATE users SET name = 'Edited' WHERE id = 'alice0000001'",
        ALICE,
    );
}

pub(super) fn patch(world: &Rc<World>, body: &str) {
    let answer = world.write("PATCH", &format!("/api/users/{ALICE}"), body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    world.deliver();
}

fn undone(world: &Rc<World>) -> Value {
    operator(world, "GET", &format!("/_proxy/explain?user={ALICE}"))["mgpass"]["undone"].clone()
}

#[track_caller]
pub(super) fn assert_held(world: &World, paths: Value) {
    assert_eq!(world.parked(ALICE), "edited_at_mgpass");
    assert_eq!(
        findings(world, ALICE),
        json!([["edited_at_mgpass", "finding", paths]])
    );
}

#[test]
fn what_nobody_did_is_found_within_one_pass_named_and_repaired() {
    let world = world();
    let changes = [
        (
            "email",
            "UPDATE users SET email = 'other@example.test' WHERE id = ?",
        ),
        (
            "email_verified",
            "UPDATE users SET email_verified = 0 WHERE id = ?",
        ),
        (
            "phone",
            "UPDATE users SET phone = '+4912345678' WHERE id = ?",
        ),
        (
            "phone_verified",
            "UPDATE users SET phone_verified = 0 WHERE id = ?",
        ),
        ("name", "UPDATE users SET name = NULL WHERE id = ?"),
        ("avatar", "UPDATE users SET avatar = 'x' WHERE id = ?"),
        (
            "metadata",
            "UPDATE users SET metadata = '{\"plan\":\"gold\"}' WHERE id = ?",
        ),
        (
            "is_suspended",
            "UPDATE users SET is_suspended = 1 WHERE id = ?",
        ),
        (
            "created_at",
            "UPDATE users SET created_at = created_at + 1 WHERE id = ?",
        ),
        (
            "last_sign_in_at",
            "UPDATE users SET last_sign_in_at = last_sign_in_at - 1 WHERE id = ?",
        ),
        (
            "identities.google",
            "DELETE FROM social_identities WHERE user_id = ?",
        ),
        (
            "identities.google",
            "UPDATE social_identities SET profile_data = '{}' WHERE user_id = ?",
        ),
        (
            "identities.apple",
            "INSERT INTO social_identities (id, user_id, provider, provider_user_id, created_at) VALUES ('idn_lm_x', ?, 'apple', 'x', 1)",
        ),
    ];
    let rows = || {
        [
            "SELECT * FROM users ORDER BY id",
            "SELECT user_id, provider, provider_user_id, profile_data FROM social_identities",
        ]
        .map(|sql| world.mgpass(sql))
    };
    let before = rows();
    for (path, sql) in changes {
        at_mgpass(&world, &sql.replace('?', "'alice0000001'"));
        assert_ne!(rows(), before, "{path}");
        pass(&world);
        assert_eq!(rows(), before, "{path}");
        let found = findings(&world, ALICE);
        assert_eq!(found, json!([["altered_at_mgpass", "repair", [path]]]));
        assert_eq!(undone(&world)[0]["fields"]["altered"], json!([path]));
        world
            .databases
            .execute(Store::Proxy, "DELETE FROM findings");
        world.advance(60_000);
    }
    assert_eq!(world.events("mirror.found").len(), changes.len());
    assert_eq!(world.n_open(), 0);
    assert_eq!(findings(&world, BOB), json!([]));
}

/// The reconcile that repairs is not the one that ends: mgPass's API shows it later.
#[test]
fn what_was_undone_is_named_although_mgpass_api_caches() {
    let world = world();
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Other' WHERE id = 'alice0000001'",
    );
    world.mgpass.cache_ms.set(15_000);
    let caller = dual_write_proxy::runtime::backend::mgpass::Caller::Proxy;
    let node = world.node();
    let alice = dual_write_proxy::inbound::request::UserId::parse(ALICE).unwrap();
    world.finish(async move {
        let context = node.context();
        dual_write_proxy::runtime::backend::mgpass::user(&node, &context, &caller, &alice, 1_000)
            .await
    });
    pass(&world);
    assert_equal_at_mgpass(&world, ALICE);
    assert!(
        !world.events("mirror.failed").is_empty(),
        "the API did cache"
    );
    assert_eq!(
        findings(&world, ALICE),
        json!([["altered_at_mgpass", "repair", ["name"]]])
    );
}

#[test]
fn what_somebody_did_on_purpose_is_kept_for_a_person_and_named() {
    let world = world();
    world.flag("read_percent", "100");
    name_by_an_admin(&world);
    for _ in 0..3 {
        pass(&world);
        world.advance(60_000);
    }
    assert_eq!(world.user(ALICE, "name"), "Edited");
    assert_held(&world, json!(["name"]));
    // Logto is the source of truth, so it is read.
    let token = world.admin_token();
    let read = world.ask(Request::new("GET", &format!("/api/users/{ALICE}")).token(&token));
    assert!(read.body.contains(r#""name":"Alice""#), "{}", read.body);
    assert_eq!(
        world.events("request.done").last().unwrap()["plan.reason"],
        "fence"
    );
    // One intent, however many passes met it.
    assert_eq!(world.n_open(), 1);
    let explained = operator(&world, "GET", &format!("/_proxy/explain?user={ALICE}"));
    let there = &explained["mgpass"];
    assert_eq!(
        there["changed_there"],
        json!({ "altered": [], "kept": ["name"], "overruled": [] })
    );
    assert_eq!(
        (
            &there["edited_by"][0]["event"],
            &there["edited_by"][0]["actor"]
        ),
        (&json!("user.updated"), &json!("usr_admin"))
    );
    assert_eq!(explained["findings"][0]["code"], "edited_at_mgpass");
    for value in ["Eve", "Edited", "Alice"] {
        assert!(!explained.to_string().contains(value), "{explained}");
    }
    let view = operator(&world, "GET", "/_proxy/mirror");
    assert_eq!(view["findings"][0]["paths"], json!(["name"]));
    assert_eq!(view["parked"][0]["reason"], "edited_at_mgpass");
}

#[test]
fn logto_wins_for_what_it_changes_and_nothing_else_of_the_edit_goes() {
    let world = world();
    edit(
        &world,
        "UPDATE users SET name = 'Edited', avatar = 'edited' WHERE id = 'alice0000001'",
        ALICE,
    );
    pass(&world);
    assert_held(&world, json!(["name", "avatar"]));
    // Another field: carried over, the edit stays, and so does its mark.
    patch(&world, r#"{"primaryEmail":"new@example.test"}"#);
    assert_eq!(world.user(ALICE, "email"), "new@example.test");
    assert_eq!(world.user(ALICE, "name"), "Edited");
    assert_held(&world, json!(["name", "avatar"]));
    // The same field: Logto is the source of truth. It does not vanish without trace.
    world.advance(60_000);
    patch(&world, r#"{"name":"Newer"}"#);
    assert_eq!(world.user(ALICE, "name"), "Newer");
    assert_eq!(world.user(ALICE, "avatar"), "edited");
    assert_eq!(
        findings(&world, ALICE),
        json!([
            ["edit_overruled", "finding", ["name"]],
            ["edited_at_mgpass", "finding", ["avatar"]]
        ])
    );
    assert_eq!(undone(&world)[0]["fields"]["overruled"], json!(["name"]));
    assert_eq!(world.parked(ALICE), "edited_at_mgpass");
}

#[test]
fn an_operator_decides_for_logto() {
    let world = world();
    name_by_an_admin(&world);
    pass(&world);
    world.advance(60_000);
    operator(
        &world,
        "POST",
        &format!("/_proxy/mirror/replay?user={ALICE}"),
    );
    world.deliver();
    assert_eq!(
        world.parked(ALICE),
        "edited_at_mgpass",
        "a mere look decides nothing"
    );
    operator(
        &world,
        "POST",
        &format!("/_proxy/mirror/overrule?user={ALICE}"),
    );
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
    assert_eq!(undone(&world)[0]["fields"]["overruled"], json!(["name"]));
    assert_eq!(findings(&world, ALICE)[0][0], "edit_overruled");
    // From here on nothing of it counts any more.
    world.advance(60_000);
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Again' WHERE id = 'alice0000001'",
    );
    pass(&world);
    assert_equal_at_mgpass(&world, ALICE);
}

#[test]
fn an_edit_that_logto_follows_or_that_is_taken_back_needs_nobody_any_more() {
    for is_followed in [true, false] {
        let world = world();
        name_by_an_admin(&world);
        pass(&world);
        assert_eq!(world.parked(ALICE), "edited_at_mgpass");
        world.advance(60_000);
        if is_followed {
            patch(&world, r#"{"name":"Edited"}"#);
        } else {
            edit(
                &world,
                "UPDATE users SET name = 'Alice' WHERE id = 'alice0000001'",
                ALICE,
            );
            pass(&world);
        }
        assert_equal_at_mgpass(&world, ALICE);
        assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
    }
}

#[test]
fn a_proxied_write_that_comes_before_the_walk_keeps_the_edit_as_well() {
    let world = world();
    edit(
        &world,
        "DELETE FROM social_identities WHERE user_id = 'alice0000001'",
        ALICE,
    );
    patch(&world, r#"{"customData":{"plan":"gold"}}"#);
    assert_eq!(world.user(ALICE, "metadata"), r#"{"plan":"gold"}"#);
    assert_eq!(world.mgpass("SELECT * FROM social_identities").len(), 0);
    assert_held(&world, json!(["identities.google"]));
}

#[test]
fn a_suspension_by_mgpass_own_admin_is_not_undone() {
    let world = world();
    at_mgpass(
        &world,
        "UPDATE users SET is_suspended = 1, suspension_reason = 'fraud' WHERE id = 'alice0000001'",
    );
    entry(&world, "user.suspended", ALICE);
    patch(&world, r#"{"avatar":"new"}"#);
    assert_eq!(
        (
            world.user(ALICE, "is_suspended"),
            world.user(ALICE, "suspension_reason")
        ),
        (json!(1), json!("fraud"))
    );
    assert_eq!(world.user(ALICE, "avatar"), "new");
    assert_held(&world, json!(["is_suspended"]));
}

/// A suspension that nobody settled may have ended sessions: that is owed once, however
/// often the user is looked at while a person has not decided.
#[test]
fn an_effect_of_a_write_that_nobody_settled_is_owed_once_while_an_edit_is_kept() {
    let world = world();
    name_by_an_admin(&world);
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO intents (id, subject, operation, opened_at, expires_at)
         VALUES ('open', 'alice0000001', 'users.suspension', unixepoch() * 1000 - 61000, unixepoch() * 1000 - 1000)",
    );
    for name in ["one", "two", "three"] {
        patch(&world, &format!(r#"{{"avatar":"{name}"}}"#));
        world.advance(60_000);
        world.sweep();
        world.deliver();
    }
    assert_eq!(world.user(ALICE, "avatar"), "three");
    assert_eq!(world.parked(ALICE), "edited_at_mgpass");
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    // It stays on record: Logto may commit late, and nothing is discharged meanwhile.
    let open = "SELECT count(*) FROM intents WHERE id = 'open' AND discharged_at IS NULL";
    assert_eq!(world.value(Store::Proxy, open), 1);
}

#[test]
fn entries_that_leave_a_row_as_it_is_name_nobody() {
    let world = world();
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Other', last_sign_in_at = 4000000000 WHERE id = 'alice0000001'",
    );
    for event in [
        "user.login.success",
        "user.sign_out",
        "user.sessions.revoked_all",
        "user.impersonated",
        "session.created",
        "token.issued",
        "mfa.verified",
        "role.assigned",
        "balance.credited",
    ] {
        entry(&world, event, ALICE);
    }
    entry(&world, "user.updated", BOB);
    pass(&world);
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.user(ALICE, "last_sign_in_at"), 4_000_000_000_i64);
    assert_eq!(
        findings(&world, ALICE),
        json!([["altered_at_mgpass", "repair", ["name"]]])
    );
    // An event that nobody documents may be one.
    world.advance(60_000);
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Other' WHERE id = 'alice0000001'",
    );
    entry(&world, "user.merged", ALICE);
    pass(&world);
    assert_eq!(world.user(ALICE, "name"), "Other");
}

/// Between the relay's read of mgPass's rows and its batch.
#[test]
fn an_edit_that_lands_before_the_batch_is_not_overwritten_unseen() {
    let world = world();
    world
        .logto
        .change(ALICE, |user| user.avatar = Some("new".into()));
    world.faults.once(
        Port::MgpassDatabase,
        "SELECT id, email, email_verified",
        0,
        Fault::SlowAnswer(3_000),
    );
    world.wake(ALICE);
    world.deliver_for(1_000);
    name_by_an_admin(&world);
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Edited");
    assert_eq!(world.user(ALICE, "avatar"), "new");
    assert_held(&world, json!(["name"]));
    // Nothing had been recorded of her; an intent keeps her reads on Logto all the same.
    assert_eq!(world.n_open(), 1);
    world.sweep();
    world.deliver();
    assert_eq!(world.n_open(), 1);
}

#[test]
fn a_finding_is_kept_for_thirty_days() {
    let world = world();
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET name = 'by nobody' WHERE id = 'alice0000001'",
    );
    pass(&world);
    assert_ne!(findings(&world, ALICE), json!([]));
    let days = |n: i64| n * 86_400_000;
    world.advance(days(29));
    world.sweep();
    assert_ne!(findings(&world, ALICE), json!([]));
    world.advance(days(1));
    world.sweep();
    assert_eq!(findings(&world, ALICE), json!([]));
}
