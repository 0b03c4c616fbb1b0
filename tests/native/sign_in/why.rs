//! The help desk's question about one person.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::{ADMIN, world};
use crate::support::{Fault, Port, Request, World};

fn why(world: &Rc<World>, user: &str) -> (u16, Value) {
    let path = format!("/_proxy/why?user={user}");
    let answer = world.ask(Request::new("GET", &path).token(ADMIN));
    (
        answer.status,
        serde_json::from_str(&answer.body).unwrap_or_default(),
    )
}

fn codes(body: &Value) -> Vec<&str> {
    let reasons = body["reasons"].as_array().unwrap();
    let code = |reason: &'_ Value| reason["code"].as_str().map(str::len);
    assert!(reasons.iter().all(|reason| code(reason).is_some()));
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap())
        .collect()
}

#[test]
fn what_both_sides_know_of_a_person_is_told_in_words() {
    let world = world();
    world.mirrored("u1", |_| {});
    let (status, body) = why(&world, "u1");
    assert_eq!((status, codes(&body)), (200, vec!["unknown"]));
    let entry = |event: &str, at: i64, metadata: &str| {
        world.databases.execute(
            Store::Mgpass,
            &format!(
                "INSERT INTO audit_logs (id, event_type, target_id, metadata, created_at) VALUES ('{event}{at}', '{event}', 'u1', {metadata}, {at})"
            ),
        );
    };
    entry("user.login.success", 100, "NULL");
    entry(
        "session.revoked",
        300,
        r#"'{"reason":"refresh_token_replayed"}'"#,
    );
    entry("user.sign_out", 200, "NULL");
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO sign_in_ready VALUES ('u1', 'second_factor', 250000)",
    );
    let (_, body) = why(&world, "u1");
    assert_eq!(
        codes(&body),
        [
            "refresh_token_used_twice",
            "not_ready_second_factor",
            "signed_out",
            "first_sign_in_at_mgpass"
        ]
    );
    assert_eq!(body["reasons"][0]["since"], json!(300_000));
    assert!(
        body["reasons"][0]["meaning"]
            .as_str()
            .unwrap()
            .contains("second time")
    );
    world.flag("sign_in_percent", "0");
    let (_, body) = why(&world, "u1");
    assert!(codes(&body).contains(&"back_to_logto"));
    let (_, body) = why(&world, "nobody");
    assert_eq!(codes(&body), ["not_at_mgpass"]);
    let (status, _) = why(&world, "");
    assert_eq!(status, 400);
    world
        .faults
        .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
    assert_eq!(why(&world, "u1").0, 503);
}

#[test]
fn it_is_the_operators_alone() {
    let world = world();
    let answer = world.ask(Request::new("GET", "/_proxy/why?user=u1"));
    assert_eq!(answer.status, 401);
}
