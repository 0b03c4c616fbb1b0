//! Who can sign in at mgPass: judged behind a sign-in at Logto, marked at the next.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::Value;

use super::{PIN_SECRET, let_move, world, world_with};
use crate::support::client::Answered;
use crate::support::handover;
use crate::support::logto::{Interaction, User};
use crate::support::{Fault, Port, Request, World};

const COOKIE: &str = r#"_interaction={"spa":"uid1","_legacy":"uid1"}"#;

fn sign_in(world: &Rc<World>, user: &str) -> Answered {
    let interaction = Interaction {
        user: Some(user.into()),
        is_identified: true,
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    let answer = world.ask(Request::new("POST", "/api/experience/submit").header("cookie", COOKIE));
    world.idle();
    assert_eq!(answer.status, 200);
    answer
}

/// Of the line that the browser is given, whether it says ready; `None`: there is none.
fn marked(answer: &Answered) -> Option<bool> {
    mark(answer).map(|value| value.starts_with("1."))
}

/// Its value.
fn mark(answer: &Answered) -> Option<&str> {
    let lines: Vec<_> = answer
        .cookies
        .iter()
        .filter(|line| line.contains("__Secure-dwp_ready"))
        .collect();
    assert!(lines.len() <= 1, "{lines:?}");
    let line = lines.first()?;
    assert!(line.contains("Path=/_proxy/sign-in;"), "{line}");
    line.split(['=', ';']).nth(1)
}

fn verdict(world: &World, user: &str) -> Value {
    let sql = format!("SELECT verdict FROM sign_in_ready WHERE user_id = '{user}'");
    world.value(Store::Proxy, &sql)
}

fn social(user: &mut User) {
    user.identities
        .push(("google".to_owned(), "g1".to_owned(), None));
}

#[test]
fn a_user_with_a_known_social_account_is_marked_at_the_second_sign_in() {
    let world = world();
    world.mirrored("u1", social);
    assert_eq!(
        marked(&sign_in(&world, "u1")),
        Some(false),
        "unknown counts as not ready"
    );
    assert_eq!(verdict(&world, "u1"), "ready");
    assert_eq!(marked(&sign_in(&world, "u1")), Some(true));
    // Somebody else on the same browser takes the mark off.
    world.mirrored("u2", |_| {});
    assert_eq!(marked(&sign_in(&world, "u2")), Some(false));
}

#[test]
fn what_mgpass_cannot_take_over_keeps_a_user_at_logto() {
    for (change, expected) in [
        ((|_: &mut User| {}) as fn(&mut User), "no_road"),
        (
            |user| {
                social(user);
                user.factors.push("Totp");
            },
            "second_factor",
        ),
        (
            |user| {
                social(user);
                user.factors.push("WebAuthn");
            },
            "second_factor",
        ),
        (
            |user| {
                social(user);
                user.sso.push("c1");
            },
            "enterprise_sso",
        ),
    ] {
        let world = world();
        world.mirrored("u1", change);
        sign_in(&world, "u1");
        assert_eq!(verdict(&world, "u1"), expected);
        let again = sign_in(&world, "u1");
        let value = mark(&again).unwrap();
        match expected {
            "no_road" => assert_eq!(value, "", "at mgPass after the cutover"),
            _ => assert!(value.starts_with("0."), "stays: {value}"),
        }
    }
}

#[test]
fn who_takes_a_second_factor_loses_the_mark() {
    let world = world();
    world.mirrored("u1", social);
    sign_in(&world, "u1");
    assert_eq!(marked(&sign_in(&world, "u1")), Some(true));
    world
        .logto
        .users
        .borrow_mut()
        .get_mut("u1")
        .unwrap()
        .factors
        .push("Totp");
    sign_in(&world, "u1");
    assert_eq!(marked(&sign_in(&world, "u1")), Some(false));
}

#[test]
fn while_nothing_moves_no_answer_is_touched_and_nobody_is_judged() {
    for change in [("sign_in_percent", "0"), ("applications", "[]")] {
        let world = world();
        world.mirrored("u1", social);
        world.flag(change.0, change.1);
        assert_eq!(marked(&sign_in(&world, "u1")), None, "{change:?}");
        assert_eq!(verdict(&world, "u1"), Value::Null);
    }
    let world = world_with(&[("PIN_SECRET", "")]);
    world.mirrored("u1", social);
    assert_eq!(marked(&sign_in(&world, "u1")), None);
}

#[test]
fn who_stays_at_logto_keeps_the_mark_after_the_cutover() {
    let world = handover::world_with(&[("PIN_SECRET", PIN_SECRET)]);
    let_move(&world);
    world.mirrored("u1", |user| user.factors.push("Totp"));
    sign_in(&world, "u1");
    world.deliver();
    world.handed_over();
    let again = sign_in(&world, "u1");
    assert!(mark(&again).is_some_and(|value| value.starts_with("0.")));
    world
        .faults
        .always(Port::ProxyDatabase, "sign_in_ready", Fault::Hang);
    assert_eq!(mark(&sign_in(&world, "u1")), None, "left as it is");
}

#[test]
fn a_slow_database_costs_the_sign_in_a_fifth_of_a_second_and_the_mark() {
    let world = world();
    world.mirrored("u1", social);
    sign_in(&world, "u1");
    world
        .faults
        .always(Port::ProxyDatabase, "sign_in_ready", Fault::Hang);
    let began_ms = world.now_ms();
    let answer = sign_in(&world, "u1");
    assert_eq!(marked(&answer), Some(false));
    assert!(
        answer.at_ms - began_ms <= 300,
        "{}",
        answer.at_ms - began_ms
    );
}
