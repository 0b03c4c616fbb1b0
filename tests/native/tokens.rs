//! Authentication through the whole flow: which keys are asked, and when.

use std::rc::Rc;

use serde_json::{Value, json};

use super::support::tokens::{
    self, LOGTO_ISSUER, LOGTO_KEY, MGPASS_ISSUER, MGPASS_KEY, NEXT_LOGTO_KEY, SigningKey,
};
use super::support::world::Node;
use super::support::{Fault, Port, Request, World};

const PATH: &str = "/api/users/alice0000001";

fn world() -> Rc<World> {
    let world = World::new();
    world.flag("read_percent", "100");
    world.mirrored("alice0000001", |_| {});
    world.advance(10_000);
    world
}

/// Where the read of a bearer of this token went, and why.
fn read(world: &Rc<World>, node: &Node, token: &str) -> (String, String) {
    world.logto.accepted.borrow_mut().insert(token.to_owned());
    world.ask_at(node, Request::new("GET", PATH).token(token));
    let done = world.events("request.done").pop().unwrap();
    let text = |name: &str| done[name].as_str().unwrap().to_owned();
    (text("backend"), text("plan.reason"))
}

fn last_refusal(world: &World) -> Value {
    world.events("token.refused").pop().unwrap()["code"].clone()
}

#[track_caller]
fn check_served(world: &Rc<World>, node: &Node, token: &str) {
    assert_eq!(
        read(world, node, token),
        ("mgpass".into(), "in_share".into())
    );
}

#[track_caller]
fn check_refused(world: &Rc<World>, node: &Node, token: &str, code: &str) {
    assert_eq!(
        read(world, node, token),
        ("logto".into(), "token_refused".into())
    );
    assert_eq!(last_refusal(world), code);
}

fn n_fetched(world: &World) -> usize {
    world.logto.n_served("GET /oidc/jwks")
}

fn rotate(world: &World, keys: &[&SigningKey]) {
    *world.logto.key_set.borrow_mut() = tokens::key_set(keys);
}

#[test]
fn a_rotation_reaches_the_edge_with_the_first_token_of_the_new_key() {
    let world = world();
    let node = world.node();
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    let fetched = n_fetched(&world);
    rotate(&world, &[&LOGTO_KEY, &NEXT_LOGTO_KEY]);
    world.advance(1_000);
    check_served(&world, &node, &NEXT_LOGTO_KEY.logto_token(world.now_ms()));
    assert_eq!(n_fetched(&world), fetched + 1);
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    assert_eq!(n_fetched(&world), fetched + 1);
}

#[test]
fn made_up_key_ids_do_not_become_a_stream_of_fetches() {
    let world = world();
    let node = world.node();
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    let fetched = n_fetched(&world);
    for _ in 0..20 {
        check_refused(
            &world,
            &node,
            &NEXT_LOGTO_KEY.logto_token(world.now_ms()),
            "unknown_kid",
        );
        world.advance(1_000);
    }
    assert!(
        n_fetched(&world) - fetched <= 2,
        "{}",
        n_fetched(&world) - fetched
    );
}

#[test]
fn a_key_that_logto_withdrew_ends_with_the_next_fetch() {
    let world = world();
    let node = world.node();
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    rotate(&world, &[&NEXT_LOGTO_KEY]);
    world.advance(601_000);
    check_refused(
        &world,
        &node,
        &LOGTO_KEY.logto_token(world.now_ms()),
        "unknown_kid",
    );
}

#[test]
fn with_the_key_set_out_of_reach_the_one_at_hand_goes_on_for_a_day() {
    let world = world();
    let node = world.node();
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    for hours in [1, 22] {
        world.advance(hours * 3_600_000);
        check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    }
    world.advance(3_600_000 + 60_000);
    check_refused(
        &world,
        &node,
        &LOGTO_KEY.logto_token(world.now_ms()),
        "unknown_kid",
    );
    assert_eq!(world.events("keys.unreachable")[0]["code"], "unreachable");
}

#[test]
fn with_the_key_set_out_of_reach_imported_keys_vouch_for_tokens_within_their_bounds() {
    let world = world();
    let now_s = world.now_ms() / 1_000;
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    check_refused(&world, &world.node(), &token, "unknown_kid");
    *world.imported_keys.borrow_mut() =
        Some(tokens::imported(&LOGTO_KEY, Some(now_s + 10), now_s + 100));
    check_served(&world, &world.node(), &token);
    // Issued after Logto stopped: whoever holds the old private key could have minted it.
    world.advance(20_000);
    let minted = LOGTO_KEY.logto_token(world.now_ms());
    check_refused(&world, &world.node(), &minted, "issued_after_stop");
    let mut claims = tokens::logto_claims(START_MS);
    claims["exp"] = json!(claims["exp"].as_i64().unwrap() + 1);
    let long_lived = LOGTO_KEY.sign(Some("at+jwt"), &claims);
    check_refused(&world, &world.node(), &long_lived, "lifetime_too_long");
    check_served(&world, &world.node(), &token);
    world.advance(90_000);
    check_refused(&world, &world.node(), &token, "unknown_kid");
}

const START_MS: i64 = super::support::world::START_MS;

#[test]
fn a_sunset_reaches_an_isolate_that_holds_the_keys() {
    let world = world();
    let node = world.node();
    let now_s = world.now_ms() / 1_000;
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    *world.imported_keys.borrow_mut() = Some(tokens::imported(&LOGTO_KEY, None, now_s + 30));
    let token = LOGTO_KEY.logto_token(world.now_ms());
    check_served(&world, &node, &token);
    world.advance(31_000);
    check_refused(&world, &node, &token, "unknown_kid");
}

#[test]
fn imported_keys_that_cannot_be_read_vouch_for_nothing_and_are_reported() {
    let world = world();
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    *world.imported_keys.borrow_mut() = Some("{}".into());
    check_refused(&world, &world.node(), &token, "unknown_kid");
    assert_eq!(
        world.events("keys.unreachable").pop().unwrap()["issuer"],
        "imported"
    );
    world.faults.always(Port::Keys, "", Fault::BeforeEffect);
    check_refused(&world, &world.node(), &token, "unknown_kid");
    assert_eq!(
        world.events("keys.unreachable").pop().unwrap()["code"],
        "key_value_store"
    );
}

#[test]
fn an_imported_key_never_replaces_a_live_one_that_refuses() {
    let world = world();
    // Imported under the name of a live key: the live set decides.
    let now_s = world.now_ms() / 1_000;
    let impostor = NEXT_LOGTO_KEY.named(LOGTO_KEY.kid);
    *world.imported_keys.borrow_mut() = Some(tokens::imported(&impostor, None, now_s + 1_000));
    check_refused(
        &world,
        &world.node(),
        &impostor.logto_token(world.now_ms()),
        "signature_invalid",
    );
}

#[test]
fn a_key_vouches_for_its_own_issuer_only() {
    let world = world();
    let node = world.node();
    // mgPass's key under Logto's name, and the other way round; the key sets even
    // share the name of the key.
    let claims = tokens::logto_claims(world.now_ms());
    check_refused(
        &world,
        &node,
        &MGPASS_KEY.sign(Some("at+jwt"), &claims),
        "unknown_kid",
    );
    let named_alike = MGPASS_KEY.named(LOGTO_KEY.kid);
    check_refused(
        &world,
        &node,
        &named_alike.sign(Some("at+jwt"), &claims),
        "alg_not_of_key",
    );
    let claims = tokens::mgpass_claims(world.now_ms());
    let named_alike = LOGTO_KEY.named(MGPASS_KEY.kid);
    check_refused(
        &world,
        &node,
        &named_alike.sign(None, &claims),
        "alg_not_of_key",
    );
    check_refused(&world, &node, &LOGTO_KEY.sign(None, &claims), "unknown_kid");
    assert_eq!(world.mgpass.n_served("GET /api/users/alice0000001?"), 0);
    assert_ne!(LOGTO_ISSUER, MGPASS_ISSUER);
}

#[test]
fn a_discovery_that_names_another_issuer_gives_no_keys() {
    let world = world();
    *world.mgpass.issuer.borrow_mut() = "https://elsewhere.example.test".into();
    let token = MGPASS_KEY.mgpass_token(world.now_ms());
    check_refused(&world, &world.node(), &token, "unknown_kid");
    assert!(world.mgpass.n_served("GET /jwks") == 0);
}
