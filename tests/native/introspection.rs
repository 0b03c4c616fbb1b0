//! Introspection for both issuers: who may ask what of whom, and how often.

use std::rc::Rc;

use serde_json::Value;

use super::support::client::Body;
use super::support::introspection::{NEWSROOM, READER, SPA, WEB, basic};
use super::support::tokens::{LOGTO_KEY, MGPASS_KEY, NEXT_LOGTO_KEY, mgpass_claims};
use super::support::{Node, Request, World};

const INACTIVE: &str = r#"{"active":false}"#;

fn request(client: Option<(&str, &str)>, body: &str) -> Request {
    let request = Request::new("POST", "/oidc/token/introspection")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::Whole(body.to_owned()));
    match client {
        Some(client) => request.header("authorization", &basic(client)),
        None => request,
    }
}

/// Introspections at Logto and at mgPass so far.
fn asked(world: &World) -> (usize, usize) {
    (
        world.logto.n_served("POST /oidc/token/introspection"),
        world.mgpass.n_served("POST /token/introspect"),
    )
}

/// Status and body of the answer, and who was asked about it.
fn ask(world: &Rc<World>, node: &Node, request: Request) -> ((u16, String), (usize, usize)) {
    let before = asked(world);
    let answer = world.ask_at(node, request);
    let after = asked(world);
    (
        (answer.status, answer.body),
        (after.0 - before.0, after.1 - before.1),
    )
}

fn mgpass_token(world: &World) -> String {
    MGPASS_KEY.mgpass_token(world.now_ms())
}

fn code(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    body["code"].clone()
}

#[test]
fn a_client_without_a_secret_learns_nothing_of_mgpass_and_spends_nothing_there() {
    let world = World::new();
    let node = world.node();
    let tokens = [mgpass_token(&world), "rt_1".to_owned()];
    for token in &tokens {
        for shown in [
            format!("client_id={SPA}"),
            format!("client_id={SPA}&client_secret="),
            format!("client_id={SPA}&client_assertion=x.y.z&client_assertion_type=t"),
        ] {
            let (answer, asked) = ask(
                &world,
                &node,
                request(None, &format!("{shown}&token={token}")),
            );
            assert_eq!((answer, asked), ((200, INACTIVE.into()), (1, 0)), "{shown}");
        }
        // Who is none of Logto's is refused in Logto's own words.
        for id in [READER, NEWSROOM.0, WEB.0, "nobody"] {
            let body = format!("client_id={id}&token={token}");
            let (answer, asked) = ask(&world, &node, request(None, &body));
            assert_eq!((answer.0, asked), (401, (1, 0)), "{id}");
        }
        let empty = request(Some((NEWSROOM.0, "")), &format!("token={token}"));
        let (answer, asked) = ask(&world, &node, empty);
        assert_eq!((answer.0, asked.1), (401, 0));
    }
}

#[test]
fn mgpasss_token_is_not_shown_to_logto_for_a_client_without_a_secret() {
    let world = World::new();
    let token = mgpass_token(&world);
    let body = format!("client_id={SPA}&token={token}");
    world.ask(request(None, &body));
    let bodies = world.logto.bodies.borrow();
    assert!(!bodies.is_empty() && !bodies.iter().any(|body| body.contains(&token)));
}

#[test]
fn a_client_with_a_secret_is_judged_by_its_owner_and_its_token_by_its_issuer() {
    let world = World::new();
    let node = world.node();
    let mgpass = mgpass_token(&world);
    let logto = LOGTO_KEY.logto_token(world.now_ms());
    let active = |answer: &(u16, String)| answer.0 == 200 && answer.1.contains("usr_1");
    for (client, token, expected) in [
        (WEB, &mgpass, (1, 1)),
        (NEWSROOM, &mgpass, (0, 1)),
        (NEWSROOM, &logto, (1, 1)),
        (WEB, &logto, (1, 0)),
    ] {
        let (answer, asked) = ask(
            &world,
            &node,
            request(Some(client), &format!("token={token}")),
        );
        assert_eq!((answer.0, asked), (200, expected), "{client:?}");
        assert_eq!(active(&answer), *token == mgpass, "{client:?}");
    }
    // By the body, too.
    let body = format!("client_id={}&client_secret={}&token={mgpass}", WEB.0, WEB.1);
    let (answer, asked) = ask(&world, &node, request(None, &body));
    assert!(active(&answer));
    assert_eq!(asked, (1, 1));
}

#[test]
fn who_guesses_secrets_spends_little_and_shuts_no_known_client_out() {
    let world = World::new();
    let node = world.node();
    let token = mgpass_token(&world);
    let body = format!("token={token}");
    let known = || request(Some(NEWSROOM), &body);
    assert_eq!(ask(&world, &node, known()).0.0, 200);
    let before = asked(&world);
    let guess = |n: usize, address: &str| {
        let secret = format!("guess-{n}");
        let client = if n.is_multiple_of(2) {
            NEWSROOM.0
        } else {
            WEB.0
        };
        request(Some((client, &secret)), &body).header("cf-connecting-ip", address)
    };
    let mut statuses = Vec::new();
    for n in 0..50 {
        statuses.push(ask(&world, &node, guess(n, "192.0.2.1")).0.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 30);
    for n in 0..200 {
        let (answer, _) = ask(&world, &node, guess(n, &format!("198.51.100.{n}")));
        if n >= 20 {
            assert_eq!(
                (answer.0, code(&answer.1)),
                (429, "proxy.too_many_attempts".into())
            );
        }
    }
    let after = asked(&world);
    // Those who claimed to be Logto's asked Logto; mgPass heard of none of them.
    assert_eq!((after.0 - before.0, after.1 - before.1), (20, 20));
    assert_eq!(ask(&world, &node, known()).0.0, 200);
    // Others whom nobody knows yet wait for the next minute.
    let newcomer = || request(Some(WEB), &body).header("cf-connecting-ip", "203.0.113.1");
    assert_eq!(ask(&world, &node, newcomer()).0.0, 429);
    world.advance(60_000);
    assert_eq!(ask(&world, &node, newcomer()).0.0, 200);
}

#[test]
fn guesses_at_the_same_time_spend_no_more() {
    let world = World::new();
    let node = world.node();
    let token = mgpass_token(&world);
    for n in 0..100 {
        let body = format!("client_id=app_x&client_secret=guess-{n}&token={token}");
        world.start_at(&node, request(None, &body));
    }
    world.idle();
    assert_eq!(asked(&world).1, 20);
}

#[test]
fn a_token_that_cannot_be_live_costs_mgpass_nothing() {
    let world = World::new();
    let node = world.node();
    let good = mgpass_token(&world);
    for client in [WEB, NEWSROOM] {
        assert_eq!(
            ask(
                &world,
                &node,
                request(Some(client), &format!("token={good}"))
            )
            .0
            .0,
            200
        );
    }
    let expired = MGPASS_KEY.mgpass_token(world.now_ms() - 3_600_000);
    let forged = NEXT_LOGTO_KEY
        .named(MGPASS_KEY.kid)
        .sign(None, &mgpass_claims(world.now_ms()));
    let made_up = MGPASS_KEY
        .named("made-up")
        .sign(None, &mgpass_claims(world.now_ms()));
    let changed = format!("{}A", &good[..good.len() - 1]);
    for token in [&expired, &forged, &made_up, &changed] {
        for client in [WEB, NEWSROOM] {
            let (answer, asked) = ask(
                &world,
                &node,
                request(Some(client), &format!("token={token}")),
            );
            assert_eq!((answer, asked.1), ((200, INACTIVE.into()), 0), "{token}");
        }
        // A client nobody knows yet is still told that it is none.
        let stranger = request(Some((WEB.0, "wrong")), &format!("token={token}"));
        let (answer, asked) = ask(&world, &node, stranger);
        assert_eq!((answer.0, asked.1), (401, 0));
    }
}

#[test]
fn without_keys_mgpass_itself_says_what_a_token_is_worth() {
    let world = World::new();
    let node = world.node();
    world.mgpass.broken.borrow_mut().push("jwks".into());
    let token = mgpass_token(&world);
    let (answer, asked) = ask(
        &world,
        &node,
        request(Some(NEWSROOM), &format!("token={token}")),
    );
    assert_eq!((answer.0, asked), (200, (0, 1)));
}
