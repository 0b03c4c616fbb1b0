//! Passwords that are carried to mgPass, and voided before they are old.

mod canary;
mod carry;
mod corpus;
mod operate;
mod void;

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use crate::support::{Request, World};

/// One application that can sign in at both.
const APPLICATIONS: &str = r#"[{"name":"shop","group":"main","owner":"team","ready":["sign_in"],"logto":{"client_id":"logto-shop","start":"https://shop.example.test/logto"},"mgpass":{"client_id":"app_shop","start":"https://shop.example.test/mgpass"}}]"#;
const ALICE: &str = "alice0000001";
const MAIL: &str = "alice@example.test";
/// Long enough for mgPass.
const OLD: &str = "old-password-1";
const NEW: &str = "new-password-2";

/// A mirrored user with a password at Logto; passwords are carried.
fn world() -> Rc<World> {
    world_with(&[])
}

fn world_with(more: &[(&str, &str)]) -> Rc<World> {
    let mut settings = more.to_vec();
    settings.extend([("PASSWORD_CARRY", "on"), ("ADMIN_TOKEN", "admin-token")]);
    let world = World::with(1, &settings);
    allow(&world);
    world.mirrored(ALICE, |user| {
        user.email = Some(MAIL.to_owned());
        user.username = Some("alice".to_owned());
        user.phone = Some("14155550001".to_owned());
        user.has_password = true;
    });
    has(&world, OLD);
    world
}

fn has(world: &World, password: &str) {
    let mut passwords = world.logto.passwords.borrow_mut();
    passwords.insert(ALICE.to_owned(), password.to_owned());
}

/// A person's decision, and a check that passed.
fn allow(world: &World) {
    world.databases.execute(
        Store::Proxy,
        "UPDATE password_carry SET decided_at = 1, decided_by = 'dpo', reason = 'r', checked_at = 1, facts = '{}', passed_at = 1, passed_by = 'op'",
    );
}

/// The step of a sign-in that shows the password.
fn check(identifier: (&str, &str), password: &str) -> Request {
    let body = json!({ "identifier": { "type": identifier.0, "value": identifier.1 }, "password": password });
    Request::new("POST", "/api/experience/verification/password")
        .header("cookie", "_interaction=uid1")
        .json(&body.to_string())
}

/// A browser's sign-in has begun.
fn begun(world: &World) {
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert(
        "uid1".to_owned(),
        crate::support::logto::Interaction::default(),
    );
}

/// ... and its password was right.
fn signs_in(world: &Rc<World>, password: &str) {
    begun(world);
    let answer = world.ask(check(("email", MAIL), password));
    assert_eq!(answer.status, 200, "{}", answer.body);
    world.idle();
}

/// In an interaction that stages the password, and commits it a request later.
fn resets(world: &Rc<World>, password: &str) {
    let interaction = crate::support::logto::Interaction {
        user: Some(ALICE.to_owned()),
        is_identified: true,
        resets: true,
        ..Default::default()
    };
    world
        .logto
        .interactions
        .borrow_mut()
        .insert("uid2".to_owned(), interaction);
    let step = |method, path: &str| {
        Request::new(method, &format!("/api/experience/{path}"))
            .header("cookie", "_interaction=uid2")
    };
    let body = json!({ "password": password }).to_string();
    let staged = world.ask(step("PUT", "profile/password").json(&body));
    assert_eq!(staged.status, 204, "{}", staged.body);
    assert_eq!(world.ask(step("POST", "submit")).status, 204);
}

fn at_mgpass(world: &World) -> Option<String> {
    world.mgpass.passwords.borrow().get(ALICE).cloned()
}

fn state(world: &World) -> Value {
    world.value(
        Store::Proxy,
        &format!("SELECT state FROM passwords WHERE subject = '{ALICE}'"),
    )
}

fn outcomes(world: &World) -> Vec<String> {
    let events = world.events("password.carried");
    let outcomes = events
        .iter()
        .map(|event| event["outcome"].as_str().unwrap().to_owned());
    outcomes.collect()
}

fn cron(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move { node.cron().await });
}
