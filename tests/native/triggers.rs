//! What reaches the mirror without a write through it: webhooks, the catch-up, the
//! walk, the operator.

use std::rc::Rc;

use dual_write_proxy::mirror::walk;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::proxy::assert_equal_at_mgpass;
use super::support::logto::Interaction;
use super::support::webhooks::{SECRET, delivery, sign};
use super::support::{Body, Fault, Port, Request, World};

const ALICE: &str = "alice0000001";
const ADMIN: &str = "operator-s3cret";

fn world() -> Rc<World> {
    World::with(
        7,
        &[("LOGTO_WEBHOOK_SECRET", SECRET), ("ADMIN_TOKEN", ADMIN)],
    )
}

fn hook(world: &Rc<World>, body: &Value) -> u16 {
    world.ask(delivery(body)).status
}

fn operator(world: &Rc<World>, method: &'static str, path: &str) -> Value {
    let answer = world.ask(Request::new(method, path).token(ADMIN));
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn cron(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move {
        let stage = dual_write_proxy::runtime::snapshot::read(&node, &node.deployment.isolate)
            .await
            .stage;
        walk::tick(&node, &node.context(), stage).await;
    });
    world.sweep();
    world.deliver();
}

/// A registration whose own look-up fails: only its interaction is known.
fn register_unnamed(world: &Rc<World>) {
    let interaction = Interaction {
        register: Some("newbie".into()),
        ..Interaction::default()
    };
    world
        .logto
        .interactions
        .borrow_mut()
        .insert("uid1".into(), interaction);
    world.faults.always(
        Port::Logto,
        "GET /api/experience/interaction",
        Fault::BeforeEffect,
    );
    let request = Request::new("POST", "/api/experience/identification")
        .header("cookie", "_interaction=uid1");
    assert_eq!(world.ask(request).status, 201);
    world.deliver();
    assert_eq!(
        world.value(Store::Proxy, "SELECT subject FROM intents"),
        Value::Null
    );
    assert_eq!(world.user("register0001", "id"), Value::Null);
}

#[test]
fn a_webhook_alone_names_a_registration() {
    let world = world();
    register_unnamed(&world);
    let told =
        json!({ "event": "User.Created", "sessionId": "uid1", "data": { "id": "register0001" } });
    assert_eq!(hook(&world, &told), 204);
    world.deliver();
    assert_equal_at_mgpass(&world, "register0001");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn the_catch_up_alone_names_a_registration() {
    let world = world();
    for index in 0..150 {
        world.put_user(&format!("old{index:09}"), |_| {});
    }
    register_unnamed(&world);
    let node = world.node();
    world.finish(async move { walk::catch_up(&node, &node.context()).await });
    world.sweep();
    world.deliver();
    assert_equal_at_mgpass(&world, "register0001");
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.events("catch_up.done")[0]["n_users"], 1);
}

#[test]
fn a_webhook_with_a_bad_signature_changes_nothing() {
    let world = world();
    let body = json!({ "event": "User.Created", "data": { "id": ALICE } }).to_string();
    let good = sign(&body);
    let longer = format!("{good}00");
    for signature in ["", "00", &sign("other"), &good[..62], &longer] {
        let request = Request::new("POST", "/_proxy/hooks/logto")
            .header("logto-signature-sha-256", signature)
            .json(&body);
        assert_eq!(world.ask(request).status, 401);
    }
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    assert_eq!(world.events("hook.refused").len(), 5);
}

#[test]
fn without_its_secret_there_is_no_receiver() {
    let world = World::new();
    assert_eq!(hook(&world, &json!({ "event": "User.Created" })), 404);
}

#[test]
fn a_webhook_that_breaks_off_is_not_called_too_large() {
    let world = world();
    for (body, status, code) in [
        (Body::Broken, 400, "proxy.body_incomplete"),
        (Body::Endless, 413, "proxy.body_too_large"),
    ] {
        let answer = world.ask(Request::new("POST", "/_proxy/hooks/logto").body(body));
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &told["code"]), (status, &json!(code)));
    }
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_deletion_past_the_proxy_is_witnessed_by_its_webhook_and_by_nothing_less() {
    let world = world();
    world.mirrored(ALICE, |_| {});
    world.logto.users.borrow_mut().remove(ALICE);
    let updated =
        json!({ "event": "User.Data.Updated", "params": { "userId": ALICE }, "data": {} });
    assert_eq!(hook(&world, &updated), 204);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    assert_eq!(world.user(ALICE, "deleted_at"), Value::Null);
    let deleted = json!({ "event": "User.Deleted", "params": { "userId": ALICE }, "data": null });
    assert_eq!(hook(&world, &deleted), 204);
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
}

#[test]
fn a_replayed_deletion_webhook_deletes_nobody_whom_logto_has() {
    let world = world();
    world.mirrored(ALICE, |_| {});
    let deleted = json!({ "event": "User.Deleted", "params": { "userId": ALICE }, "data": null });
    assert_eq!(hook(&world, &deleted), 204);
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
}

#[test]
fn the_walk_finds_what_no_trigger_told_and_resumes_where_it_stood() {
    let world = world();
    for index in 0..250 {
        world.put_user(&format!("user{index:08}"), |_| {});
    }
    world.mirrored(ALICE, |_| {});
    world
        .logto
        .change(ALICE, |user| user.name = Some("Behind our back".into()));
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, created_at) VALUES ('mgpass-own-1', 0)",
    );
    for _ in 0..9 {
        cron(&world);
        world.advance(60_000);
    }
    assert_equal_at_mgpass(&world, ALICE);
    assert_equal_at_mgpass(&world, "user00000249");
    let codes =
        world.proxy("SELECT code, kind, count(*) AS n FROM findings GROUP BY code ORDER BY code");
    assert_eq!(
        json!(codes),
        json!([{ "code": "differs", "kind": "repair", "n": 1 },
            { "code": "not_mirrored", "kind": "repair", "n": 250 },
            { "code": "only_at_mgpass", "kind": "finding", "n": 1 }])
    );
    assert_eq!(world.user("mgpass-own-1", "deleted_at"), Value::Null);
    let pass = world.value(Store::Proxy, "SELECT pass FROM walk");
    assert!(pass.as_i64() > Some(1), "{pass}");
}

#[test]
fn the_operator_sees_why_and_decides_what_only_a_person_may() {
    let world = world();
    world.mirrored(ALICE, |user| user.email = Some("alice@example.test".into()));
    let closed = world.ask(Request::new("GET", "/_proxy/mirror"));
    assert_eq!(closed.status, 401);
    world.databases.execute(
        Store::Mgpass,
        &format!("UPDATE users SET email = 'else@example.test' WHERE id = '{ALICE}'"),
    );
    let explained = operator(&world, "GET", &format!("/_proxy/explain?user={ALICE}"));
    assert_eq!(explained["mgpass"]["differs_in"], json!(["email"]));
    assert_eq!(explained["reads"]["reason"], "outside_share");
    assert!(!explained.to_string().contains("@example.test"));
    operator(
        &world,
        "POST",
        &format!("/_proxy/mirror/replay?user={ALICE}"),
    );
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    world.logto.users.borrow_mut().remove(ALICE);
    operator(
        &world,
        "POST",
        &format!("/_proxy/mirror/replay?user={ALICE}"),
    );
    world.deliver();
    let view = operator(&world, "GET", "/_proxy/mirror");
    assert_eq!(view["parked"][0]["reason"], "deletion_unconfirmed");
    let replayed = operator(
        &world,
        "POST",
        "/_proxy/mirror/replay?reason=deletion_unconfirmed",
    );
    assert_eq!(replayed["subjects"], 1);
    world.deliver();
    assert_eq!(world.user(ALICE, "deleted_at"), Value::Null);
    operator(
        &world,
        "POST",
        &format!("/_proxy/mirror/confirm-deletion?user={ALICE}"),
    );
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_fresh_user_whom_logto_denies_for_a_moment_is_not_forgotten() {
    let world = world();
    let answer = world.write("POST", "/api/users", r#"{"username":"made"}"#);
    assert_eq!(answer.status, 200);
    world.advance(100);
    let user = world
        .logto
        .users
        .borrow_mut()
        .remove("created00001")
        .unwrap();
    world.deliver();
    assert_eq!(world.parked("created00001"), "deletion_unconfirmed");
    assert_eq!(world.n_open(), 1);
    world.logto.put(user);
    world.wake("created00001");
    world.deliver();
    assert_equal_at_mgpass(&world, "created00001");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_registration_that_nobody_settled_and_nobody_named_ends_with_the_catch_up() {
    let world = world();
    let interaction = Interaction {
        register: Some("newbie".into()),
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    world.faults.always(
        Port::Logto,
        "GET /api/experience/interaction",
        Fault::BeforeEffect,
    );
    world
        .faults
        .always(Port::Forward, "", Fault::HangAfterEffect);
    let request = Request::new("POST", "/api/experience/identification")
        .header("cookie", "_interaction=uid1");
    world.ask(request);
    world.faults.clear();
    assert_eq!(world.n_open(), 1);
    for _ in 0..3 {
        world.advance(60_000);
        cron(&world);
    }
    assert_equal_at_mgpass(&world, "register0001");
    assert_eq!(world.n_open(), 1, "Logto may commit late");
    for _ in 0..14 {
        world.advance(60_000);
        cron(&world);
    }
    assert_eq!(world.n_open(), 0);
}
