//! Whose a client is: its requests reach its own side, once, and no other.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{LOGTO_CLIENT, MGPASS_CLIENT, form, is_shown, presented, world, world_with};
use crate::support::client::{Answered, Body};
use crate::support::tokens::{LOGTO_KEY, MGPASS_KEY};
use crate::support::{Fault, Port, Request, World};

fn basic(id: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:s3cret")))
}

fn code(answer: &Answered) -> Value {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["code"].clone()
}

#[track_caller]
fn check(world: &Rc<World>, request: Request, expected: (usize, usize)) -> Answered {
    let before = presented(world);
    let answer = world.ask(request);
    let after = presented(world);
    assert_eq!((after.0 - before.0, after.1 - before.1), expected);
    answer
}

const LOGTO: (usize, usize) = (1, 0);
const MGPASS: (usize, usize) = (0, 1);
const NOBODY: (usize, usize) = (0, 0);

#[test]
fn a_client_is_served_by_its_owner() {
    let world = world();
    for path in ["/oidc/token", "/oidc/Token/", "/oidc/token/revocation"] {
        for (client_id, side) in [
            (LOGTO_CLIENT, LOGTO),
            (MGPASS_CLIENT, MGPASS),
            ("app_of_nobody", MGPASS),
            ("someclient00000000000", LOGTO),
        ] {
            let body = format!("grant_type=refresh_token&refresh_token=r&client_id={client_id}");
            check(&world, form(path, &body), side);
            let request = form(path, "token=t").header("authorization", &basic(client_id));
            check(&world, request, side);
        }
        check(&world, form(path, "grant_type=refresh_token"), LOGTO);
    }
    let lines: Vec<_> = world
        .mgpass
        .presented
        .borrow()
        .iter()
        .map(|(line, ..)| line.clone())
        .collect();
    assert!(lines.contains(&"POST https://mgpass.example.test/oauth/token".to_owned()));
    assert!(lines.contains(&"POST https://mgpass.example.test/token/revoke".to_owned()));
}

#[test]
fn an_access_token_goes_to_its_issuer() {
    let world = world();
    let mgpass = MGPASS_KEY.mgpass_token(world.now_ms());
    let logto = LOGTO_KEY.logto_token(world.now_ms());
    let me = |token: &str| Request::new("GET", "/oidc/me").token(token);
    check(&world, me(&mgpass), MGPASS);
    check(&world, me(&logto), LOGTO);
    check(&world, me("opaque"), LOGTO);
    check(&world, Request::new("GET", "/oidc/me"), LOGTO);
    check(
        &world,
        form("/oidc/me", &format!("access_token={mgpass}")),
        MGPASS,
    );
    assert_eq!(is_shown(&world, &mgpass), (false, true));
    assert_eq!(is_shown(&world, &logto), (true, false));
}

#[test]
fn mgpass_gets_no_cookie_and_no_word_of_logtos_origin() {
    let world = world();
    let request = form("/oidc/token", &format!("client_id={MGPASS_CLIENT}&code=c"))
        .header("cookie", "_session=logto-s3cret; __Secure-dwp_pin=x")
        .header("x-forwarded-host", "evil.example");
    check(&world, request, MGPASS);
    for secret in ["logto-s3cret", "dwp_pin", "origin-s3cret", "evil.example"] {
        assert_eq!(is_shown(&world, secret), (false, false), "{secret}");
    }
}

#[test]
fn who_names_clients_of_both_sides_is_sent_to_neither() {
    let world = world();
    let request = form("/oidc/token", &format!("client_id={LOGTO_CLIENT}&code=c"))
        .header("authorization", &basic(MGPASS_CLIENT))
        .header("origin", "https://news.example");
    let answer = check(&world, request, NOBODY);
    assert_eq!(answer.status, 400);
    assert_eq!(code(&answer), "proxy.clients_of_both_sides");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["error"], "invalid_request");
    assert!(body["message"].is_string());
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://news.example")
    );
    let twice = format!("client_id={LOGTO_CLIENT}&client_id={MGPASS_CLIENT}&code=c");
    check(&world, form("/oidc/token", &twice), NOBODY);
}

#[test]
fn only_an_applications_own_scripts_read_the_proxys_answers() {
    let world = world();
    let both = format!("client_id={LOGTO_CLIENT}&client_id={MGPASS_CLIENT}");
    for origin in ["https://evil.example", "null", "https://news.example.evil"] {
        let answer = world.ask(form("/oidc/token", &both).header("origin", origin));
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}

#[test]
fn come_again_is_said_only_while_nothing_was_sent() {
    let world = world();
    let request = || {
        form(
            "/oidc/token",
            &format!("client_id={MGPASS_CLIENT}&refresh_token=r"),
        )
        .header("origin", "https://news.example")
    };
    world
        .mgpass
        .answers
        .borrow_mut()
        .insert(".well-known".to_owned(), 503);
    let answer = check(&world, request(), NOBODY);
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    assert_eq!(code(&answer), "proxy.nothing_sent");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://news.example")
    );
    world.mgpass.answers.borrow_mut().clear();
    // Sent, and the answer lost on the way: once, and no word of coming again.
    world
        .faults
        .once(Port::Mgpass, "oauth/token", 0, Fault::AfterEffect);
    let answer = check(&world, request(), MGPASS);
    assert_eq!((answer.status, answer.header("retry-after")), (502, None));
    assert_eq!(code(&answer), "proxy.mgpass_unavailable");
    // The client's own retry is passed on.
    let answer = check(&world, request(), MGPASS);
    assert_eq!(answer.status, 200);
}

#[test]
fn logto_down_is_told_once_and_nothing_is_sent_twice() {
    let world = world();
    world
        .faults
        .once(Port::Forward, "/oidc/token", 0, Fault::AfterEffect);
    let body = format!("client_id={LOGTO_CLIENT}&refresh_token=r");
    let answer = check(&world, form("/oidc/token", &body), LOGTO);
    assert_eq!((answer.status, answer.header("retry-after")), (502, None));
    assert_eq!(code(&answer), "proxy.logto_unreachable");
}

#[test]
fn a_secret_reaches_its_own_side_whatever_the_stage() {
    for (key, value) in [
        ("stage", "off"),
        ("kill_switch", "on"),
        ("sign_in_percent", "0"),
    ] {
        let world = world();
        world.flag(key, value);
        let body = format!("client_id={MGPASS_CLIENT}&client_secret=mg-s3cret&code=c");
        check(&world, form("/oidc/token", &body), MGPASS);
        let introspection = form("/oidc/token/introspection", &format!("{body}&token=rt_1"));
        world.ask(introspection);
        assert_eq!(is_shown(&world, "mg-s3cret"), (false, true), "{key}");
    }
}

#[test]
fn faulty_settings_show_no_secret_to_the_wrong_side() {
    let world = world_with(&[("MGPASS_ORIGIN", "nowhere")]);
    let body = format!("client_id={MGPASS_CLIENT}&client_secret=mg-s3cret&code=c");
    let answer = check(&world, form("/oidc/token", &body), NOBODY);
    assert_eq!(answer.status, 503);
    check(
        &world,
        form("/oidc/token", &format!("client_id={LOGTO_CLIENT}")),
        LOGTO,
    );
}

#[test]
fn an_isolate_that_kv_told_nothing_still_tells_clients_apart() {
    let world = world();
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    let node = world.node();
    let body = format!("client_id={MGPASS_CLIENT}&client_secret=mg-s3cret&code=c");
    // The first waits for KV, the second finds nothing known.
    for _ in 0..2 {
        world.ask_at(&node, form("/oidc/token", &body));
    }
    assert_eq!(is_shown(&world, "mg-s3cret"), (false, true));
}

#[test]
fn without_applications_no_request_is_looked_at() {
    let world = world();
    world.flags.borrow_mut().remove("applications");
    let node = world.node();
    let endless = |path: &str| Request::new("POST", path).body(Body::Endless);
    for path in [
        "/oidc/token",
        "/oidc/token/revocation",
        "/oidc/me",
        "/oidc/session/end",
    ] {
        for _ in 0..2 {
            // A body that could not be held is passed on.
            let answer = world.ask_at(&node, endless(path));
            assert!(!answer.is_own, "{path}");
        }
        let me = Request::new("GET", path).token(&MGPASS_KEY.mgpass_token(world.now_ms()));
        assert!(!world.ask_at(&node, me).is_own, "{path}");
    }
    assert_eq!(presented(&world).1, 0);
    let done = world.events("request.done");
    assert!(
        done.iter().all(|line| line["operation"] == "pass_through"),
        "{done:?}"
    );
}

#[test]
fn what_is_longer_than_a_form_is_refused() {
    let world = world();
    let answer = check(
        &world,
        Request::new("POST", "/oidc/token").body(Body::Endless),
        NOBODY,
    );
    assert_eq!(answer.status, 413);
    let answer = check(
        &world,
        Request::new("POST", "/oidc/token").body(Body::Broken),
        NOBODY,
    );
    assert_eq!(answer.status, 400);
}
