//! Signing out at both sides in one chain of redirects.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::{LOGTO_CLIENT, MGPASS_CLIENT, form, is_shown, list, presented, world};
use crate::support::client::Answered;
use crate::support::tokens::{LOGTO_KEY, MGPASS_ISSUER, MGPASS_KEY, NEXT_LOGTO_KEY};
use crate::support::{Request, World};

const BYE: &str = "https://news.example/bye";
const ENCODED_BYE: &str = "https%3A%2F%2Fnews.example%2Fbye";
const SECOND: &str = "/oidc/session/end?client_id=news00000000000000000&post_logout_redirect_uri=https%3A%2F%2Fnews.example%2Fbye&state=a%2Fb&proxy_step=2";

fn end(query: &str) -> Request {
    Request::new("GET", &format!("/oidc/session/end?{query}"))
}

fn location(answer: &Answered) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.body);
    answer.header("location").unwrap()
}

fn hint(world: &World, subject: &str) -> String {
    let now = world.now_ms() / 1_000;
    MGPASS_KEY.sign(
        None,
        &json!({ "iss": MGPASS_ISSUER, "sub": subject, "aud": MGPASS_CLIENT, "email_verified": true,
            "iat": now - 90_000, "exp": now - 86_400 }),
    )
}

/// The second half, from mgPass back to Logto; what Logto was asked.
fn come_back(world: &Rc<World>, first: &Answered) -> String {
    let cookie = first.header("set-cookie").unwrap();
    let kept = cookie.split(';').next().unwrap();
    let back = Request::new("GET", "/_proxy/signed-out").header("cookie", kept);
    let back = world.ask(back);
    let cleared = back.header("set-cookie").unwrap();
    assert!(cleared.contains("__Secure-dwp_sign_out=;") && cleared.contains("Max-Age=0"));
    let next = location(&back).to_owned();
    assert!(!world.ask(Request::new("GET", &next)).is_own);
    next
}

#[test]
fn a_client_of_mgpasss_is_signed_out_there_first_and_then_at_logto() {
    let world = world();
    let hint = hint(&world, "u1");
    let first = world.ask(end(&format!(
        "id_token_hint={hint}&post_logout_redirect_uri={ENCODED_BYE}&state=a%2Fb"
    )));
    let to = location(&first);
    assert!(
        to.starts_with("https://mgpass.example.test/logout?client_id=app_news&"),
        "{to}"
    );
    assert!(to.contains("post_logout_redirect_uri=https%3A%2F%2Fauth.example.test%2F_proxy%2Fsigned-out&id_token_hint="));
    assert!(!to.contains("news.example"), "{to}");
    assert_eq!(come_back(&world, &first), SECOND);
    let asked = world.logto.presented.borrow().last().unwrap().path.clone();
    assert_eq!(asked, SECOND.trim_end_matches("&proxy_step=2"));
    assert_eq!(
        is_shown(&world, &hint),
        (false, false),
        "the browser alone carries it"
    );
}

#[test]
fn a_client_of_logtos_ends_both_sessions_too() {
    let world = world();
    let first = world.ask(form(
        "/oidc/session/end",
        &format!("client_id={LOGTO_CLIENT}&post_logout_redirect_uri={ENCODED_BYE}&state=a/b"),
    ));
    let to = location(&first);
    assert!(
        to.starts_with("https://mgpass.example.test/logout?client_id=app_news&"),
        "{to}"
    );
    assert!(!to.contains("id_token_hint"), "{to}");
    assert_eq!(come_back(&world, &first), SECOND);
}

#[test]
fn what_is_not_listed_for_it_is_left_to_its_own_side() {
    let world = world();
    let checks = |request: Request| {
        let before = presented(&world);
        let answer = world.ask(request);
        (answer.is_own, presented(&world).0 - before.0)
    };
    for query in [
        "",
        "client_id=somebody0000000000000",
        "state=x",
        "client_id=a&client_id=b",
    ] {
        assert_eq!(checks(end(query)), (false, 1), "{query}");
    }
    let logto = LOGTO_KEY.logto_token(world.now_ms());
    assert_eq!(checks(end(&format!("id_token_hint={logto}"))), (false, 1));
    // A client of mgPass's that cannot come back goes there alone, as it came.
    let alone = world.ask(end(&format!(
        "client_id=app_x&post_logout_redirect_uri={ENCODED_BYE}"
    )));
    let to = location(&alone);
    assert_eq!(
        to,
        format!(
            "https://mgpass.example.test/logout?client_id=app_x&post_logout_redirect_uri={ENCODED_BYE}"
        )
    );
    world.flag("applications", &list(&["sign_in"]));
    let unready = world.ask(end(&format!("client_id={MGPASS_CLIENT}")));
    assert!(
        location(&unready).starts_with("https://mgpass.example.test/logout?client_id=app_news")
    );
    assert_eq!(unready.header("set-cookie"), None);
    assert!(!world.ask(end(&format!("client_id={LOGTO_CLIENT}"))).is_own);
}

#[test]
fn a_hint_of_mgpasss_is_kept_from_logto_whatever_client_it_comes_with() {
    let world = world();
    world.flag("kill_switch", "on");
    let hint = hint(&world, "u1");
    let answer = world.ask(end(&format!(
        "client_id={LOGTO_CLIENT}&id_token_hint={hint}&post_logout_redirect_uri={ENCODED_BYE}&state=a%2Fb"
    )));
    assert_eq!(location(&answer), SECOND);
    assert!(!world.ask(Request::new("GET", SECOND)).is_own);
    assert_eq!(is_shown(&world, &hint), (false, false));
}

#[test]
fn no_address_of_the_requests_is_ever_the_proxys_to_redirect_to() {
    let world = world();
    let evil = "https%3A%2F%2Fevil.example";
    let first = world.ask(end(&format!(
        "client_id={MGPASS_CLIENT}&post_logout_redirect_uri={evil}"
    )));
    assert!(!location(&first).contains("evil"));
    // Logto is asked, and knows which addresses are its client's.
    let next = come_back(&world, &first);
    assert!(
        next.starts_with("/oidc/session/end?client_id=news"),
        "{next}"
    );
    for cookie in [
        "",
        "__Secure-dwp_sign_out=e30.1800000000.00112233445566778899aabbccddeeff",
        "__Secure-dwp_sign_out=x",
    ] {
        let request = Request::new("GET", "/_proxy/signed-out?to=https://evil.example")
            .header("cookie", cookie);
        assert_eq!(
            location(&world.ask(request)),
            "/oidc/session/end?proxy_step=2"
        );
    }
}

#[test]
fn with_mgpass_down_the_chain_goes_on_and_owes_the_revocation() {
    let world = world();
    world.mirrored("u1", |user| user.username = Some("ama".to_owned()));
    // The keys are known from before.
    world.ask(Request::new("GET", "/_proxy/jwks"));
    let node = world.node();
    world.ask_at(&node, Request::new("GET", "/_proxy/jwks"));
    world
        .mgpass
        .answers
        .borrow_mut()
        .insert(".well-known".to_owned(), 503);
    let query = |hint: &str| {
        end(&format!(
            "id_token_hint={hint}&post_logout_redirect_uri={ENCODED_BYE}&state=a%2Fb"
        ))
    };
    let owed = |world: &World| {
        let sql = "SELECT count(*) FROM logto_mirror_effects WHERE user_id = 'u1'";
        world.value(Store::Mgpass, sql)
    };
    // Not by a hint that mgPass did not sign.
    let forged = NEXT_LOGTO_KEY.named("mgpass-1").sign(
        None,
        &json!({ "iss": MGPASS_ISSUER, "sub": "u1", "aud": MGPASS_CLIENT, "iat": 1, "exp": 2 }),
    );
    let answer = world.ask_at(&node, query(&forged));
    assert_eq!(location(&answer), SECOND);
    assert_eq!(owed(&world), 0);
    let answer = world.ask_at(&node, query(&hint(&world, "u1")));
    assert_eq!(location(&answer), SECOND);
    assert_eq!(owed(&world), 1);
    let outcomes: Vec<_> = world
        .events("sign_out.begun")
        .iter()
        .map(|event| event["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["not_owed", "owed"]);
    world.mgpass.answers.borrow_mut().clear();
    world.sweep();
    assert_eq!(world.mgpass.n_revoked("u1"), 1);
    assert_eq!(owed(&world), 0);
}

#[test]
fn what_cannot_be_kept_for_the_second_half_is_refused() {
    let world = world();
    let long = "x".repeat(4_000);
    let answer = world.ask(end(&format!(
        "client_id={MGPASS_CLIENT}&post_logout_redirect_uri={BYE}&state={long}"
    )));
    assert_eq!(answer.status, 400);
}
