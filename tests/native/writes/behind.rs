//! What nobody did leaves nothing behind: made-up cookies and tokens, a returning
//! session, and one address while Logto fails.

use super::*;
use crate::support::Node;

/// Requests that anybody can send, with cookies and tokens of no interaction and nobody.
fn made_up() -> Vec<Request> {
    let by_cookie = |method, path: &str| {
        Request::new(method, path)
            .header("cookie", "_interaction=x; _interaction.sig=y")
            .body(Body::Whole("{}".into()))
    };
    vec![
        by_cookie("GET", "/consent"),
        by_cookie("HEAD", "/consent/x"),
        by_cookie("POST", "/api/experience/submit"),
        by_cookie("POST", "/api/experience/identification"),
        by_cookie("POST", "/api/experience/of-a-later-version"),
        by_cookie("POST", "/api/interaction/consent"),
        account_write().header("x-test", "").token("of-nobody"),
        Request::new("PATCH", "/api/my-account")
            .token("of-nobody")
            .json("{}"),
        Request::new("PATCH", "/api/users/alice0000001").json(PATCH),
        Request::new("POST", "/api/users").json("{}"),
    ]
}

#[test]
fn made_up_cookies_and_tokens_do_not_even_reach_the_database() {
    for request in made_up() {
        let world = World::new();
        let what = format!("{} {}", request.method(), request.path());
        world.ask(request);
        world.idle();
        assert_eq!(world.faults.count(Port::ProxyDatabase, ""), 0, "{what}");
        assert_eq!(world.n_queued(), 0, "{what}");
        assert!(!world.logto.served.borrow().is_empty(), "{what}");
    }
}

#[test]
fn made_up_cookies_of_the_older_api_leave_no_row() {
    let world = world();
    for path in [
        "submit",
        "single-sign-on/x/registration",
        "of-a-later-version",
    ] {
        let request = Request::new("POST", &format!("/api/interaction/{path}"));
        let answer = world.ask(request.header("cookie", "_interaction=x"));
        assert!(answer.status >= 400, "{path}");
    }
    world.idle();
    assert_eq!(subjects(&world), json!([]));
    assert_eq!(world.counter("unrecorded"), 0);
}

#[test]
fn a_made_up_token_of_the_management_api_leaves_no_row() {
    let world = world();
    for (method, path) in [
        ("PATCH", "/api/users/nobody000001"),
        ("DELETE", "/api/users/nobody000002"),
        ("POST", "/api/users"),
    ] {
        let request = Request::new(method, path).token("made-up").json("{}");
        assert_eq!(world.ask(request).status, 401);
    }
    world.idle();
    assert_eq!(subjects(&world), json!([]));
    assert_eq!(world.counter("unrecorded"), 0);
    world.deliver();
    assert_eq!(world.logto.n_served("GET /api/users/nobody"), 0);
}

#[test]
fn a_path_that_logto_does_not_have_leaves_no_row() {
    let world = world();
    let token = world.admin_token();
    // Routed nowhere, so that nobody judged the token either.
    answers(&world, &[(Port::Forward, "", 1, Glitch::Refuse(404))]);
    let known = Request::new("PATCH", "/api/users/alice0000001").token(&token);
    world.ask(known.json(PATCH));
    world.idle();
    assert_eq!(
        subjects(&world),
        json!([ALICE]),
        "an error of a handler's own"
    );
    let other = Request::new("PUT", "/api/users/alice0000001/of/a/later/version");
    assert_eq!(world.ask(other.token(&token).json("{}")).status, 404);
    world.idle();
    assert_eq!(subjects(&world), json!([ALICE]));
}

#[test]
fn a_returning_session_leaves_nothing_that_alarms() {
    let world = world();
    let sessions = &world.logto.sessions;
    sessions.borrow_mut().insert("uid1".into(), ALICE.into());
    let consent = Request::new("GET", "/consent?app_id=spa");
    let answer = world.ask(consent.header("cookie", "_interaction=uid1"));
    assert_eq!(answer.status, 302);
    world.deliver();
    let unresolved = "SELECT count(*) FROM intents WHERE subject IS NULL";
    assert_eq!(world.value(Store::Proxy, unresolved), 0);
    assert_eq!(world.n_open(), 0);
    world.advance(120_000);
    world.sweep();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
}

/// So many made-up ids at once from one address, while Logto fails.
fn flood(world: &Rc<World>, node: &Node, n: u32, address: &str) {
    for index in 0..n {
        let request = Request::new("PATCH", &format!("/api/users/flood{address}{index}"))
            .header("cf-connecting-ip", address)
            .token("made-up")
            .json("{}");
        world.start_at(node, request);
    }
    world.idle();
}

fn n_rows(world: &World) -> i64 {
    let count = world.value(Store::Proxy, "SELECT count(*) FROM intents");
    count.as_i64().unwrap()
}

#[test]
fn one_address_leaves_a_bounded_number_of_records_while_logto_fails() {
    for fault in [Fault::BeforeEffect, Fault::HangAfterEffect] {
        let world = world();
        let node = world.node();
        world.faults.always(Port::Forward, "", fault);
        flood(&world, &node, 100, "192.0.2.7");
        assert_eq!(n_rows(&world), 30, "{fault:?}");
        flood(&world, &node, 1, "192.0.2.8");
        assert_eq!(n_rows(&world), 31, "another address");
    }
}

#[test]
fn who_is_vouched_for_is_recorded_whatever_the_address_has_left_behind() {
    let world = world();
    let node = world.node();
    let token = world.admin_token();
    // The keys are had before Logto fails.
    world.flag("read_percent", "100");
    world.ask_at(
        &node,
        Request::new("GET", "/api/users/alice0000001").token(&token),
    );
    world.faults.always(Port::Forward, "", Fault::BeforeEffect);
    flood(&world, &node, 40, "192.0.2.7");
    let write = Request::new("PATCH", "/api/users/alice0000001")
        .header("cf-connecting-ip", "192.0.2.7")
        .json(PATCH);
    world.ask_at(&node, write.clone().token(&token));
    assert_eq!(n_rows(&world), 31);
    // Acknowledged is known, vouched for or not: a token of Logto's other tenant, say.
    world.faults.clear();
    let accepted = &world.logto.accepted;
    accepted.borrow_mut().insert("of-the-other-tenant".into());
    let answer = world.ask_at(&node, write.token("of-the-other-tenant"));
    assert_eq!(answer.status, 200);
    let settled = "SELECT subject FROM intents WHERE settled IS NOT NULL";
    assert_eq!(json!(world.proxy(settled)), json!([{ "subject": ALICE }]));
}
