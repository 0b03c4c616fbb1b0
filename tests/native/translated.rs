//! Writes while mgPass is the authority: done at mgPass, acknowledged only in the
//! generation they began in, and never forwarded to Logto.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::support::client::Answered;
use super::support::logto::HANDOVER_SECRET;
use super::support::{Request, World};

mod faults;
mod orphans;
mod reads;

pub const ALICE: &str = "alice0000001";
pub const BOB: &str = "bob000000001";
pub const PATH: &str = "/api/users/alice0000001";

/// Two users on both sides, Logto answering to the proxy alone, and mgPass the authority.
pub fn world() -> Rc<World> {
    let world = World::with(
        1,
        &[
            ("HANDOVER_SECRET", HANDOVER_SECRET),
            ("ADMIN_TOKEN", "admin"),
        ],
    );
    world.mirrored(ALICE, |user| {
        user.email = Some("alice@example.test".into());
        user.username = Some("alice".into());
        user.name = Some("Alice".into());
        user.custom_data = r#"{"plan":"free"}"#.into();
        user.has_password = true;
    });
    world.mirrored(BOB, |user| {
        user.username = Some("bob".into());
        user.phone = Some("233200000055".into());
    });
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    hand_over(&world, "mgpass", 5);
    world.logto.served.borrow_mut().clear();
    world.events.borrow_mut().clear();
    world
}

pub fn hand_over(world: &World, holder: &str, generation: i64) {
    let deadline = match holder {
        "draining" | "returning" => (world.now_ms() + 120_000).to_string(),
        _ => "NULL".to_owned(),
    };
    let authority = format!(
        "UPDATE authority SET holder = '{holder}', generation = {generation}, deadline = {deadline}"
    );
    world.databases.execute(Store::Proxy, &authority);
    let known = format!("UPDATE logto_mirror_authority SET generation = {generation}");
    world.databases.execute(Store::Mgpass, &known);
}

/// What reached Logto and would have changed a user there.
pub fn writes_at_logto(world: &World) -> Vec<String> {
    let served = world.logto.served.borrow();
    let is_write = |line: &&String| !line.starts_with("GET ") && !line.contains("/oidc/");
    served.iter().filter(is_write).cloned().collect()
}

pub fn body(answered: &Answered) -> Value {
    serde_json::from_str(&answered.body).unwrap_or_default()
}

pub fn intents(world: &World) -> Vec<Value> {
    let sql = "SELECT operation, subject, side, generation, status FROM intents ORDER BY opened_at";
    world.proxy(sql).into_iter().map(Value::Object).collect()
}

fn everything_in(world: &World, store: Store) -> String {
    let tables = world
        .databases
        .rows(store, "SELECT name FROM sqlite_master WHERE type = 'table'");
    let rows = tables.iter().flat_map(|table| {
        let table = table["name"].as_str().unwrap();
        world
            .databases
            .rows(store, &format!("SELECT * FROM {table}"))
    });
    rows.map(|row| Value::Object(row).to_string()).collect()
}

fn reason(world: &World) -> String {
    let done = world.events("request.done");
    done.last().unwrap()["plan.reason"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_patch_changes_mgpass_and_answers_as_logto_would() {
    let world = world();
    let answered = world.write(
        "PATCH",
        PATH,
        r#"{"name":"Alice Two","username":"alice_2"}"#,
    );
    assert_eq!(answered.status, 200, "{}", answered.body);
    let shown = body(&answered);
    assert_eq!(shown["name"], "Alice Two");
    assert_eq!(shown["username"], "alice_2");
    assert_eq!(shown["customData"], json!({ "plan": "free" }));
    assert_eq!(world.user(ALICE, "name"), "Alice Two");
    let kept = "SELECT value FROM logto_mirror_unique WHERE kind = 'username' AND user_id = 'alice0000001'";
    assert_eq!(world.value(Store::Mgpass, kept), "alice_2");
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
    let [intent] = intents(&world).try_into().unwrap();
    let expected = json!({ "operation": "users.patch", "subject": ALICE, "side": "mgpass",
        "generation": 5, "status": 200 });
    assert_eq!(intent, expected);
    assert_eq!(reason(&world), "translated");
}

#[test]
fn only_what_changed_is_written_and_the_base_stays() {
    let world = world();
    let base = "SELECT base FROM logto_mirror WHERE user_id = 'alice0000001'";
    let before = world.value(Store::Mgpass, base);
    // Changed at mgPass's own pages, which raise no ticket.
    let edit = "UPDATE users SET avatar = 'https://a.test/own.png' WHERE id = 'alice0000001'";
    world.databases.execute(Store::Mgpass, edit);
    let answered = world.write(
        "PATCH",
        &format!("{PATH}/custom-data"),
        r#"{"customData":{"beta":1}}"#,
    );
    assert_eq!(answered.body, r#"{"beta":1,"plan":"free"}"#);
    assert_eq!(world.user(ALICE, "avatar"), "https://a.test/own.png");
    assert_eq!(world.user(ALICE, "metadata"), r#"{"beta":1,"plan":"free"}"#);
    assert_eq!(world.value(Store::Mgpass, base), before);
}

#[test]
fn logtos_own_errors_leave_nothing_behind() {
    let world = world();
    for (method, path, sent, status, code) in [
        (
            "PATCH",
            PATH,
            r#"{"username":"bob"}"#,
            422,
            "user.username_already_in_use",
        ),
        (
            "PATCH",
            PATH,
            r#"{"primaryPhone":"233200000055"}"#,
            422,
            "user.phone_already_in_use",
        ),
        (
            "PATCH",
            "/api/users/bob000000001",
            r#"{"primaryEmail":"ALICE@example.test"}"#,
            422,
            "user.email_already_in_use",
        ),
        ("PATCH", PATH, r#"{"name":5}"#, 400, "guard.invalid_input"),
        (
            "PATCH",
            "/api/users/nobody000001",
            r#"{"name":"x"}"#,
            404,
            "entity.not_found",
        ),
        (
            "DELETE",
            "/api/users/nobody000001",
            "",
            404,
            "entity.not_found",
        ),
    ] {
        let answered = world.write(method, path, sent);
        assert_eq!(
            (answered.status, body(&answered)["code"].as_str()),
            (status, Some(code)),
            "{sent}"
        );
    }
    world.idle();
    assert_eq!(intents(&world), Vec::<Value>::new());
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
}

#[test]
fn a_value_of_mgpasss_own_users_is_taken_too() {
    let world = world();
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, phone, created_at) VALUES ('usr_own', 'own@example.test', '+233200000099', 1)",
    );
    for (sent, code) in [
        (
            r#"{"primaryEmail":"own@example.test"}"#,
            "user.email_already_in_use",
        ),
        (
            r#"{"primaryPhone":"233200000099"}"#,
            "user.phone_already_in_use",
        ),
    ] {
        let answered = world.write("PATCH", PATH, sent);
        assert_eq!(body(&answered)["code"], code);
    }
}

#[test]
fn a_create_has_logtos_id_and_stands_at_mgpass_alone_for_now() {
    let world = world();
    let sent = r#"{"username":"carol","primaryEmail":"carol@example.test","customData":{"a":1}}"#;
    let answered = world.write("POST", "/api/users", sent);
    assert_eq!(answered.status, 200, "{}", answered.body);
    let shown = body(&answered);
    let id = shown["id"].as_str().unwrap().to_owned();
    assert_eq!(shown["customData"], json!({ "a": 1 }));
    assert_eq!(world.user(&id, "email"), "carol@example.test");
    let roles = format!("SELECT role_id FROM user_roles WHERE user_id = '{id}'");
    assert_eq!(world.value(Store::Mgpass, &roles), "role_user");
    // At Logto there is the id, and the mark by which nobody takes it for a user.
    let reserved: Value = serde_json::from_str(&world.logto.json_of(&id)).unwrap();
    assert_eq!(reserved["username"], Value::Null);
    let nonce = reserved["customData"]["_dwp"].as_str().unwrap();
    assert_eq!(nonce.len(), 32);
    let [intent] = intents(&world).try_into().unwrap();
    assert_eq!(
        (&intent["subject"], &intent["status"]),
        (&json!(id), &json!(200))
    );
    // Nobody else may have what it took.
    let again = world.write("POST", "/api/users", sent);
    assert_eq!(body(&again)["code"], "user.username_already_in_use");
    assert_eq!(writes_at_logto(&world), ["POST /api/users"]);
}

#[test]
fn suspension_and_deletion_end_sessions() {
    let world = world();
    let answered = world.write(
        "PATCH",
        &format!("{PATH}/is-suspended"),
        r#"{"isSuspended":true}"#,
    );
    assert_eq!(body(&answered)["isSuspended"], true);
    world.idle();
    assert_eq!(world.user(ALICE, "is_suspended"), 1);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    let answered = world.write("DELETE", "/api/users/bob000000001", "");
    assert_eq!((answered.status, answered.body.as_str()), (204, ""));
    world.idle();
    assert_eq!(world.mgpass.n_revoked(BOB), 1);
    assert_ne!(world.user(BOB, "deleted_at"), Value::Null);
    let left = "SELECT tombstone, residue, (SELECT count(*) FROM logto_mirror_unique u WHERE u.user_id = m.user_id) AS n \
        FROM logto_mirror m WHERE user_id = 'bob000000001'";
    let expected = json!({ "tombstone": 1, "residue": null, "n": 0 });
    assert_eq!(Value::Object(world.mgpass(left).remove(0)), expected);
    // What they held is free.
    let answered = world.write(
        "PATCH",
        PATH,
        r#"{"username":"bob","primaryPhone":"233200000055"}"#,
    );
    assert_eq!(answered.status, 200, "{}", answered.body);
    // Owed by nobody any more.
    let owed = "SELECT count(*) FROM logto_mirror_effects";
    assert_eq!(world.value(Store::Mgpass, owed), 0);
}

#[test]
fn a_password_is_set_at_both_and_stands_in_no_row() {
    let world = world();
    let path = format!("{PATH}/password");
    let answered = world.write("PATCH", &path, r#"{"password":"Vorpal-Blade-42"}"#);
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(world.mgpass.passwords.borrow()[ALICE], "Vorpal-Blade-42");
    assert_eq!(world.logto.passwords.borrow()[ALICE], "Vorpal-Blade-42");
    let refused = world.write("PATCH", &path, r#"{"password":"short"}"#);
    assert_eq!(
        (refused.status, body(&refused)["code"].as_str()),
        (422, Some("proxy.password_refused"))
    );
    assert_eq!(world.logto.passwords.borrow()[ALICE], "Vorpal-Blade-42");
    let right = world.write(
        "POST",
        &format!("{path}/verify"),
        r#"{"password":"Vorpal-Blade-42"}"#,
    );
    assert_eq!(right.status, 204, "{}", right.body);
    let wrong = world.write(
        "POST",
        &format!("{path}/verify"),
        r#"{"password":"another"}"#,
    );
    assert_eq!(body(&wrong)["code"], "session.invalid_credentials");
    world.idle();
    for store in [Store::Proxy, Store::Mgpass] {
        assert!(!everything_in(&world, store).contains("Vorpal"));
    }
    assert!(!world.events.borrow().concat().contains("Vorpal"));
}

#[test]
fn who_writes_for_themselves_is_judged_by_logto() {
    let world = world();
    let patch = |sent: &str| {
        Request::new("PATCH", "/api/my-account")
            .token(&format!("opaque-{ALICE}"))
            .json(sent)
    };
    let answered = world.ask(patch(r#"{"name":"Alice Two"}"#));
    assert_eq!(answered.status, 200, "{}", answered.body);
    let shown = body(&answered);
    assert_eq!(
        (&shown["name"], &shown["hasSecurityVerificationMethod"]),
        (&json!("Alice Two"), &json!(true))
    );
    assert_eq!(world.user(ALICE, "name"), "Alice Two");
    let unproven = world.ask(patch(r#"{"username":"alice_2"}"#));
    assert_eq!(
        body(&unproven)["code"],
        "verification_record.permission_denied"
    );
    let proven = patch(r#"{"username":"alice_2"}"#).header("logto-verification-id", "proven");
    assert_eq!(body(&world.ask(proven))["username"], "alice_2");
    let nobody = Request::new("PATCH", "/api/my-account")
        .token("opaque-nobody")
        .json("{}");
    assert_eq!(
        (world.ask(nobody).status, writes_at_logto(&world).len()),
        (401, 0)
    );
}

#[test]
fn who_has_no_token_that_the_edge_can_judge_is_judged_by_logto() {
    let world = world();
    // Whatever stands between the word and the token, Logto takes it.
    let loose = format!("Bearer:{}", world.admin_token());
    let request = Request::new("PATCH", PATH)
        .header("authorization", &loose)
        .json(r#"{"name":"Loose"}"#);
    assert_eq!(world.ask(request).status, 200);
    assert_eq!(
        world.logto.n_served("GET /api/sign-in-exp"),
        2,
        "the probe, and the tenant"
    );
    let request = Request::new("PATCH", PATH)
        .token("forged")
        .json(r#"{"name":"Forged"}"#);
    let refused = world.ask(request);
    assert_eq!(
        (refused.status, body(&refused)["code"].as_str()),
        (401, Some("auth.unauthorized"))
    );
    let bare = Request::new("DELETE", PATH);
    assert_eq!(world.ask(bare).status, 401);
    assert_eq!(world.user(ALICE, "name"), "Loose");
    assert_eq!(intents(&world).len(), 1);
}

#[test]
fn what_mgpass_has_no_place_for_is_refused_before_logto_sees_it() {
    let world = world();
    for (method, path, code) in [
        (
            "POST",
            "/api/users/alice0000001/mfa-verifications",
            "proxy.not_translatable",
        ),
        (
            "POST",
            "/api/users/alice0000001/identities",
            "proxy.needs_connector",
        ),
        ("POST", "/api/experience/profile", "proxy.start_again"),
        (
            "POST",
            "/api/verifications/password",
            "proxy.password_check_refused",
        ),
    ] {
        let answered = world.write(method, path, r#"{"connectorId":"c","connectorData":{}}"#);
        assert_eq!(body(&answered)["code"], code, "{path}: {}", answered.body);
    }
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
}

#[test]
fn what_changes_no_user_goes_on_at_logto() {
    let world = world();
    world.write("DELETE", "/api/users/alice0000001/sessions/s1", "");
    world.write(
        "POST",
        "/api/users/alice0000001/roles",
        r#"{"roleIds":["r"]}"#,
    );
    let expected = [
        "DELETE /api/users/alice0000001/sessions/s1",
        "POST /api/users/alice0000001/roles",
    ];
    assert_eq!(writes_at_logto(&world), expected);
    assert_eq!(intents(&world), Vec::<Value>::new());
}

#[test]
fn a_user_of_mgpasss_own_is_changed_and_gets_no_mirror_row() {
    let world = world();
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, name, created_at) VALUES ('usr_own', 'own@example.test', 'Own', 1)",
    );
    let path = "/api/users/usr_own";
    let answered = world.write("PATCH", path, r#"{"name":"Own Two","customData":{"a":1}}"#);
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(world.user("usr_own", "name"), "Own Two");
    assert_eq!(world.user("usr_own", "metadata"), r#"{"a":1}"#);
    for sent in [
        r#"{"username":"own"}"#,
        r#"{"primaryPhone":"123"}"#,
        r#"{"profile":{"nickname":"o"}}"#,
    ] {
        let refused = world.write("PATCH", path, sent);
        assert_eq!(
            body(&refused)["code"],
            "proxy.born_at_mgpass",
            "{}",
            refused.body
        );
    }
    let answered = world.write("DELETE", path, "");
    assert_eq!(answered.status, 204);
    world.idle();
    assert_eq!(world.mgpass.n_revoked("usr_own"), 1);
    let rows = "SELECT count(*) FROM logto_mirror WHERE user_id = 'usr_own'";
    assert_eq!(world.value(Store::Mgpass, rows), 0);
}
