//! Whose write it is: by path, by interaction, by token, by answer.

use super::*;

#[test]
fn a_submit_fences_its_user_before_the_answer_even_when_only_logto_knew_whose_it_was() {
    let world = world_with_alice();
    world.flag("read_percent", "100");
    world.logto.interactions.borrow_mut().insert(
        "uid1".into(),
        Interaction {
            user: Some("alice0000001".into()),
            is_identified: true,
            ..Interaction::default()
        },
    );
    let settling = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
    world
        .faults
        .once(Port::ProxyDatabase, settling, 0, Fault::Late(5_000));
    let submit =
        Request::new("POST", "/api/experience/submit").header("cookie", "_interaction=uid1");
    let answer = world.ask(submit);
    assert_eq!(answer.status, 200);
    // At once, with the settling still under way.
    let answer = world.get("/api/users/alice0000001");
    assert_eq!(answer.body, world.logto.json_of("alice0000001"));
    assert_eq!(last_done(&world)["plan.reason"], "fence");
}

#[test]
fn an_account_write_is_recorded_under_the_user_whose_token_it_is() {
    let world = world_with_alice();
    let request = Request::new("PATCH", "/api/my-account")
        .token("opaque-alice0000001")
        .json(PATCH);
    assert_eq!(world.ask(request).status, 200);
    world.idle();
    let rows = world.proxy("SELECT subject, operation FROM intents");
    assert_eq!(
        json!(rows),
        json!([{ "subject": "alice0000001", "operation": "account.write" }])
    );
    world.deliver();
    assert_equal_at_mgpass(&world, "alice0000001");
}

#[test]
fn a_created_user_is_named_by_the_answer() {
    let world = World::new();
    let answer = world.write(
        "POST",
        "/api/users",
        r#"{"primaryEmail":"new@example.test"}"#,
    );
    assert_eq!(answer.status, 200);
    world.deliver();
    assert_eq!(world.user("created00001", "email"), "new@example.test");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_suspension_and_its_end_are_told_apart_by_the_body() {
    let world = world_with_alice();
    world.write(
        "PATCH",
        "/api/users/alice0000001/is-suspended",
        r#"{"isSuspended":true}"#,
    );
    world.write(
        "PATCH",
        "/api/users/alice0000001/is-suspended",
        r#"{"isSuspended":false}"#,
    );
    world.idle();
    let rows = world.proxy("SELECT operation FROM intents ORDER BY settled");
    assert_eq!(rows[0]["operation"], "users.suspension");
    assert_eq!(rows[1]["operation"], "users.unsuspension");
}
