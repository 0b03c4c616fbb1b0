//! Authentication through the whole flow: which keys are asked, and when.

use std::rc::Rc;

use serde_json::{Value, json};

use super::support::Node;
use super::support::tokens::{
    self, LOGTO_ISSUER, LOGTO_KEY, MGPASS_ISSUER, MGPASS_KEY, NEXT_LOGTO_KEY, SigningKey,
};
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
fn however_many_ask_a_fresh_isolate_fetches_a_set_once() {
    let world = world();
    let node = world.node();
    let n_discovered = || world.mgpass.n_served("openid-configuration");
    let before = (n_fetched(&world), n_discovered());
    let tokens = [
        LOGTO_KEY.logto_token(world.now_ms()),
        MGPASS_KEY.mgpass_token(world.now_ms()),
    ];
    let asked: Vec<_> = (0..100)
        .map(|n| {
            let token = &tokens[n % 2];
            world.logto.accepted.borrow_mut().insert(token.clone());
            world.start_at(&node, Request::new("GET", PATH).token(token))
        })
        .collect();
    world.advance(5_000);
    let after = (n_fetched(&world), n_discovered());
    assert_eq!(after, (before.0 + 1, before.1 + 1));
    assert!(asked.iter().all(|asked| asked.is_done()));
    assert!(world.events("token.refused").is_empty());
}

#[test]
fn a_fetch_that_is_lost_holds_nobody_up_for_long() {
    let world = world();
    let node = world.node();
    // The first client hangs up, and its fetch goes with it.
    world
        .faults
        .once(Port::Logto, "/oidc/jwks", 0, Fault::CrashBefore);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    world.start_at(&node, Request::new("GET", PATH).token(&token));
    world.advance(10);
    let began_ms = world.now_ms();
    check_served(&world, &node, &token);
    assert!(world.now_ms() - began_ms < 3_000);
}

#[test]
fn a_set_that_never_comes_costs_few_fetches_however_many_wait() {
    let world = world();
    let node = world.node();
    world.faults.always(Port::Logto, "/oidc/jwks", Fault::Hang);
    let asked = world.faults.count(Port::Logto, "/oidc/jwks");
    let token = LOGTO_KEY.logto_token(world.now_ms());
    for _ in 0..100 {
        world.start_at(&node, Request::new("GET", PATH).token(&token));
    }
    world.advance(10_000);
    let asked = world.faults.count(Port::Logto, "/oidc/jwks") - asked;
    assert!(asked <= 2, "{asked}");
    assert_eq!(last_refusal(&world), "keys_unavailable");
}

#[test]
fn a_key_that_logto_withdrew_ends_with_the_next_fetch() {
    let world = world();
    let node = world.node();
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    rotate(&world, &[&NEXT_LOGTO_KEY]);
    world.advance(601_000);
    // The set at hand is a minute too old: served once more, and fetched behind that.
    check_served(&world, &node, &LOGTO_KEY.logto_token(world.now_ms()));
    world.advance(1_000);
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
        "keys_unavailable",
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
    check_refused(&world, &world.node(), &token, "keys_unavailable");
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
    check_refused(&world, &world.node(), &token, "after_sunset");
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
    check_refused(&world, &node, &token, "after_sunset");
}

#[test]
fn imported_keys_that_cannot_be_read_vouch_for_nothing_and_are_reported() {
    let world = world();
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    *world.imported_keys.borrow_mut() = Some("{}".into());
    check_refused(&world, &world.node(), &token, "keys_unavailable");
    assert_eq!(
        world.events("keys.unreachable").pop().unwrap()["issuer"],
        "imported"
    );
    world.faults.always(Port::Keys, "", Fault::BeforeEffect);
    check_refused(&world, &world.node(), &token, "keys_unavailable");
    assert_eq!(
        world.events("keys.unreachable").pop().unwrap()["code"],
        "key_value_store"
    );
}

#[test]
fn a_key_value_store_that_hangs_holds_a_read_up_for_a_second() {
    let world = world();
    world
        .faults
        .always(Port::Logto, "/oidc/jwks", Fault::BeforeEffect);
    world.faults.always(Port::Keys, "", Fault::Hang);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    let began_ms = world.now_ms();
    check_refused(&world, &world.node(), &token, "keys_unavailable");
    let took_ms = world.now_ms() - began_ms;
    assert!((1_000..1_200).contains(&took_ms), "{took_ms} ms");
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
    check_refused(&world, &world.node(), &token, "keys_unavailable");
    assert!(world.mgpass.n_served("GET /jwks") == 0);
}

#[test]
fn an_import_does_not_revive_what_a_reachable_logto_withdrew() {
    let world = world();
    let now_s = world.now_ms() / 1_000;
    *world.imported_keys.borrow_mut() = Some(tokens::imported(&LOGTO_KEY, None, now_s + 1_000));
    rotate(&world, &[&NEXT_LOGTO_KEY]);
    let token = LOGTO_KEY.logto_token(world.now_ms());
    check_refused(&world, &world.node(), &token, "unknown_kid");
}

#[test]
fn once_logto_has_stopped_nobody_waits_for_it() {
    let world = world();
    let node = world.node();
    let now_s = world.now_ms() / 1_000;
    world.faults.always(Port::Logto, "/oidc/jwks", Fault::Hang);
    *world.imported_keys.borrow_mut() =
        Some(tokens::imported(&LOGTO_KEY, Some(now_s + 1), now_s + 3_000));
    let token = LOGTO_KEY.logto_token(world.now_ms());
    check_served(&world, &node, &token);
    for _ in 0..20 {
        world.advance(7_000);
        let began_ms = world.now_ms();
        check_served(&world, &node, &token);
        assert!(world.now_ms() - began_ms < 1_000);
    }
    assert!(!world.events("keys.stale").is_empty());
}

/// What happens to the issuers' keys, and which token is shown then.
enum Step {
    Wait(i64),
    Publish(&'static [&'static SigningKey]),
    Jwks(Jwks),
    /// A token issued so many seconds from now, and what becomes of it.
    Show(&'static SigningKey, i64, Result<(), &'static str>),
    /// How often the set may have been fetched by now.
    FetchedAtMost(usize),
}

enum Jwks {
    Well,
    Down,
    Silent,
    Slow,
    Page,
    Empty,
}

const OLD: &SigningKey = &LOGTO_KEY;
const NEW: &SigningKey = &NEXT_LOGTO_KEY;
const HOUR_S: i64 = 3_600;

#[rustfmt::skip]
const ROTATIONS: &[(&str, &[Step])] = {
    use Step::{FetchedAtMost, Publish, Show, Wait};
    const OK: Result<(), &str> = Ok(());
    const UNKNOWN: Result<(), &str> = Err("unknown_kid");
    const NO_KEYS: Result<(), &str> = Err("keys_unavailable");
    &[
        ("rotated with both published", &[
            Show(OLD, 0, OK), Publish(&[NEW, OLD]), Wait(1), Show(NEW, 0, OK), Show(OLD, 0, OK), FetchedAtMost(2),
        ]),
        ("published before it signs", &[
            Show(OLD, 0, OK), Publish(&[OLD, NEW]), Wait(601), Show(OLD, 0, OK), Wait(1), Show(NEW, 0, OK), FetchedAtMost(2),
        ]),
        ("rotated at once, the old one gone", &[
            Show(OLD, 0, OK), Publish(&[NEW]), Wait(1), Show(OLD, 0, OK), Show(NEW, 0, OK), Show(OLD, 0, UNKNOWN), FetchedAtMost(2),
        ]),
        ("rotated and back", &[
            Show(OLD, 0, OK), Publish(&[NEW]), Wait(1), Show(NEW, 0, OK), Publish(&[OLD]), Wait(31), Show(OLD, 0, OK), Show(NEW, 0, UNKNOWN),
        ]),
        ("withdrawn while nobody asks", &[
            Show(OLD, 0, OK), Publish(&[NEW]), Wait(24 * HOUR_S), Show(OLD, 0, UNKNOWN),
        ]),
        ("down for 23 hours", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Down), Wait(HOUR_S), Show(OLD, 0, OK), Wait(22 * HOUR_S), Show(OLD, 0, OK),
        ]),
        ("down for a day and a minute", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Down), Wait(24 * HOUR_S + 60), Show(OLD, 0, NO_KEYS),
            Step::Jwks(Jwks::Well), Wait(10), Show(OLD, 0, OK),
        ]),
        ("down from the start", &[
            Step::Jwks(Jwks::Down), Show(OLD, 0, NO_KEYS), Wait(1), Show(OLD, 0, NO_KEYS), Step::Jwks(Jwks::Well), Wait(10), Show(OLD, 0, OK),
        ]),
        ("down while rotated", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Down), Publish(&[NEW, OLD]), Wait(HOUR_S), Show(OLD, 0, OK), Show(NEW, 0, NO_KEYS),
            Step::Jwks(Jwks::Well), Wait(31), Show(NEW, 0, OK),
        ]),
        ("never answering", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Silent), Wait(HOUR_S), Show(OLD, 0, OK), Wait(60), Show(OLD, 0, OK),
        ]),
        ("slow, within its deadline", &[
            Step::Jwks(Jwks::Slow), Show(OLD, 0, OK), Wait(601), Show(OLD, 0, OK),
        ]),
        ("a page in place of a set", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Page), Wait(HOUR_S), Show(OLD, 0, OK), Show(NEW, 0, NO_KEYS),
        ]),
        ("an empty set", &[
            Show(OLD, 0, OK), Step::Jwks(Jwks::Empty), Wait(HOUR_S), Show(OLD, 0, OK),
        ]),
        ("the issuer's clock ahead", &[
            Show(OLD, 5, OK), Show(OLD, 6, Err("issued_in_future")),
        ]),
        ("a life of an hour", &[
            Show(OLD, 1 - HOUR_S, OK), Show(OLD, -HOUR_S, Err("expired")), Show(OLD, -HOUR_S - 1, Err("expired")),
        ]),
    ]
};

#[test]
fn what_is_accepted_when() {
    for (name, steps) in ROTATIONS {
        let world = world();
        let node = world.node();
        rotate(&world, &[OLD]);
        let fetched = n_fetched(&world);
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Wait(seconds) => world.advance(seconds * 1_000),
                Step::Publish(keys) => rotate(&world, keys),
                Step::Jwks(state) => publish(&world, state),
                Step::Show(key, offset_s, expected) => {
                    let token = key.logto_token(world.now_ms() + offset_s * 1_000);
                    let (backend, _) = read(&world, &node, &token);
                    let found = match backend.as_str() {
                        "mgpass" => Ok(()),
                        _ => Err(last_refusal(&world)),
                    };
                    let expected = expected.map_err(Value::from);
                    assert_eq!(found, expected, "{name}, step {index}");
                }
                Step::FetchedAtMost(limit) => {
                    let n_since = n_fetched(&world) - fetched;
                    assert!(n_since <= *limit, "{name}, step {index}: {n_since}");
                }
            }
        }
    }
}

fn publish(world: &World, state: &Jwks) {
    let fault = |fault| world.faults.always(Port::Logto, "/oidc/jwks", fault);
    match state {
        Jwks::Well => world.faults.clear(),
        Jwks::Down => fault(Fault::BeforeEffect),
        Jwks::Silent => fault(Fault::Hang),
        Jwks::Slow => fault(Fault::SlowAnswer(2_500)),
        Jwks::Page => {
            "<!doctype html><h1>Sign in".clone_into(&mut world.logto.key_set.borrow_mut())
        }
        Jwks::Empty => r#"{"keys":[]}"#.clone_into(&mut world.logto.key_set.borrow_mut()),
    }
}
