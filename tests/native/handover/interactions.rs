//! Interactions at Logto from draining on: a sign-in gets to its end at once, whatever is
//! being handed over; anything else is told to start again before Logto sees the step.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::Value as Json;

use crate::support::client::Answered;
use crate::support::handover::world;
use crate::support::logto::Interaction;
use crate::support::{Fault, Port, Request, World};

const COOKIE: &str =
    r#"_logto={"appId":"spa","uiLocales":"de"}; _interaction={"spa":"uid1","_legacy":"uid1"}"#;

fn step(method: &'static str, path: &str, body: &str) -> Request {
    let request = Request::new(method, path).header("cookie", COOKIE);
    match body {
        "" => request,
        _ => request
            .header("content-type", "application/json")
            .json(body),
    }
}

fn submit() -> Request {
    step("POST", "/api/experience/submit", "")
}

fn older_submit() -> Request {
    step("POST", "/api/interaction/submit", "")
}

/// `u1` is about to sign in at Logto.
fn signing_in(world: &World, change: impl FnOnce(&mut Interaction)) {
    let mut interaction = Interaction {
        user: Some("u1".into()),
        is_identified: true,
        ..Interaction::default()
    };
    change(&mut interaction);
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
}

fn at(holder: &str) -> Rc<World> {
    let world = world();
    world.mirrored("u1", |_| {});
    match holder {
        "logto" => {}
        "draining" => {
            world.announced();
            world.pending_write("i1", "u9");
            world.operate();
        }
        _ => world.handed_over(),
    }
    if holder == "returning" {
        let deadline = world.now_ms() + 120_000;
        let returning = format!("UPDATE authority SET holder = 'returning', deadline = {deadline}");
        world.databases.execute(Store::Proxy, &returning);
    }
    assert_eq!(world.holder(), holder);
    world
}

const NOT_LOGTO: [&str; 3] = ["draining", "mgpass", "returning"];

fn began(world: &Rc<World>, request: Request) -> (Answered, i64) {
    let began_ms = world.now_ms();
    let answer = world.ask(request);
    let took_ms = answer.at_ms - began_ms;
    (answer, took_ms)
}

#[track_caller]
fn check_start_again(world: &Rc<World>, request: Request) {
    let line = format!("{request:?}");
    let n_seen = writes(world);
    let (answer, took_ms) = began(world, request);
    let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    assert_eq!(
        (answer.status, body["code"].as_str()),
        (409, Some("proxy.start_again")),
        "{line} {answer:?}"
    );
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("beginnen Sie von vorn"), "{message}");
    assert_eq!(answer.header("content-language"), Some("de"));
    assert_eq!(writes(world), n_seen, "Logto saw it: {line}");
    assert!(took_ms < 2_000, "{line} waited {took_ms} ms");
}

/// Steps that Logto saw.
fn writes(world: &World) -> usize {
    let served = world.logto.served.borrow();
    let is_step = |line: &&String| {
        !line.starts_with("GET ")
            && ["/api/experience", "/api/interaction"]
                .iter()
                .any(|family| line.contains(family))
    };
    served.iter().filter(is_step).count()
}

#[test]
fn a_sign_in_gets_to_its_end_at_once_under_every_holder() {
    for holder in ["logto", "draining", "mgpass", "returning"] {
        let world = at(holder);
        signing_in(&world, |interaction| interaction.is_identified = false);
        for (request, status) in [
            (
                step("PUT", "/api/experience", r#"{"interactionEvent":"SignIn"}"#),
                204,
            ),
            (
                step(
                    "POST",
                    "/api/experience/verification/password",
                    r#"{"identifier":{},"password":"x"}"#,
                ),
                204,
            ),
            (
                step(
                    "POST",
                    "/api/experience/identification",
                    r#"{"verificationId":"v"}"#,
                ),
                204,
            ),
            (submit(), 200),
        ] {
            let line = format!("{holder}: {request:?}");
            let (answer, took_ms) = began(&world, request);
            assert_eq!(answer.status, status, "{line} {answer:?}");
            assert!(took_ms < 2_000, "{line} waited {took_ms} ms");
        }
        assert_eq!(world.holder(), holder);
        let consent = Request::new("POST", "/api/interaction/consent")
            .header("cookie", "_interaction=uid1-next");
        assert_eq!(world.ask(consent).status, 200, "{holder}");
    }
}

#[test]
fn what_registers_resets_or_changes_a_profile_is_told_to_start_again() {
    for holder in NOT_LOGTO {
        let world = at(holder);
        signing_in(&world, |_| {});
        for (method, path, body) in [
            (
                "PUT",
                "/api/experience",
                r#"{"interactionEvent":"Register"}"#,
            ),
            (
                "PUT",
                "/api/experience",
                r#"{"interactionEvent":"ForgotPassword"}"#,
            ),
            (
                "PUT",
                "/api/Experience/",
                r#"{"interactionEvent":"Register"}"#,
            ),
            (
                "PUT",
                "/api/experience",
                r#"{"interactionEvent":"SignIn","interactionEvent":"Register"}"#,
            ),
            ("PUT", "/api/experience", "interactionEvent=Register"),
            (
                "PUT",
                "/api/experience/interaction-event",
                r#"{"interactionEvent":"Register"}"#,
            ),
            (
                "POST",
                "/api/experience/verification/verification-code",
                r#"{"interactionEvent":"Register"}"#,
            ),
            (
                "POST",
                "/api/experience/verification/new-password-identity",
                "{}",
            ),
            ("POST", "/api/experience/verification/totp/secret", ""),
            (
                "POST",
                "/api/experience/identification",
                r#"{"verificationId":"v","linkSocialIdentity":true}"#,
            ),
            (
                "POST",
                "/api/experience/profile",
                r#"{"type":"username","value":"x"}"#,
            ),
            (
                "PUT",
                "/api/experience/profile/password",
                r#"{"password":"x"}"#,
            ),
            ("POST", "/api/experience/profile/mfa", "{}"),
            ("POST", "/api/experience/of-a-later-version", "{}"),
            ("PUT", "/api/interaction", r#"{"event":"Register"}"#),
            (
                "PUT",
                "/api/interaction",
                r#"{"event":"SignIn","profile":{"username":"x"}}"#,
            ),
            (
                "PUT",
                "/api/interaction/event",
                r#"{"event":"ForgotPassword"}"#,
            ),
            ("PATCH", "/api/interaction/profile", r#"{"username":"x"}"#),
            (
                "POST",
                "/api/interaction/single-sign-on/c1/registration",
                "{}",
            ),
            ("POST", "/api/interaction/of-a-later-version", "{}"),
        ] {
            check_start_again(&world, step(method, path, body));
        }
    }
}

#[test]
fn what_was_staged_before_is_not_submitted_after() {
    type Change = fn(&mut Interaction);
    let stage: [(&str, Change); 4] = [
        ("a registration", |it| it.register = Some("newbie".into())),
        ("a reset", |it| it.resets = true),
        ("a password", |it| {
            it.profile.insert("password".into(), "hash".into());
        }),
        ("a name of one's own", |it| {
            it.profile.insert("name".into(), "Mallory".into());
        }),
    ];
    for holder in NOT_LOGTO {
        for (what, change) in stage {
            let world = at(holder);
            signing_in(&world, change);
            let users = world.logto.users.borrow().len();
            check_start_again(&world, submit());
            let identification = step("POST", "/api/experience/identification", "{}");
            check_start_again(&world, identification);
            assert_eq!(world.logto.users.borrow().len(), users, "{holder} {what}");
            // Begun anew it goes through.
            signing_in(&world, |_| {});
            assert_eq!(world.ask(submit()).status, 200, "{holder} {what}");
        }
    }
}

#[test]
fn what_logto_takes_over_from_a_provider_ends_a_sign_in_too() {
    let world = at("mgpass");
    signing_in(&world, |interaction| {
        interaction.records.push("Social");
        interaction
            .profile
            .insert("name".into(), "Of Google".into());
    });
    assert_eq!(world.ask(submit()).status, 200);
    signing_in(&world, |interaction| {
        interaction.records.push("Social");
        interaction
            .profile
            .insert("socialIdentity".into(), "g1".into());
    });
    check_start_again(&world, submit());
}

#[test]
fn the_older_api_ends_what_was_seen_to_begin_as_a_sign_in() {
    let begin = || {
        step(
            "PUT",
            "/api/interaction",
            r#"{"event":"SignIn","identifier":{"username":"u1","password":"x"}}"#,
        )
    };
    for holder in NOT_LOGTO {
        let world = at(holder);
        signing_in(&world, |it| it.is_older = true);
        // Begun before: nobody can say what is staged in it.
        check_start_again(&world, older_submit());
        assert_eq!(world.ask(begin()).status, 204, "{holder}");
        assert_eq!(world.ask(older_submit()).status, 200, "{holder}");
        // That was another one's beginning.
        signing_in(&world, |it| it.is_older = true);
        let other = step("POST", "/api/interaction/submit", "");
        world
            .databases
            .execute(Store::Proxy, "UPDATE sign_in_begun SET uid = 'uid2'");
        check_start_again(&world, other);
    }
    // Nor does a beginning hold across a move.
    let world = at("mgpass");
    signing_in(&world, |it| it.is_older = true);
    assert_eq!(world.ask(begin()).status, 204);
    world.databases.execute(
        Store::Proxy,
        "UPDATE authority SET generation = generation + 1",
    );
    check_start_again(&world, older_submit());
    // What began is forgotten after two hours.
    world.databases.execute(
        Store::Proxy,
        "UPDATE sign_in_begun SET begun_at = begun_at - 7300000, uid = 'old'",
    );
    assert_eq!(world.ask(begin()).status, 204);
    assert_eq!(
        world.value(Store::Proxy, "SELECT group_concat(uid) FROM sign_in_begun"),
        "uid1"
    );
}

#[test]
fn what_logto_does_not_tell_is_not_let_through() {
    let world = at("mgpass");
    signing_in(&world, |_| {});
    let path = "/api/experience/interaction";
    world.faults.always(Port::Logto, path, Fault::BeforeEffect);
    let n_seen = writes(&world);
    let answer = world.ask(submit());
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(writes(&world), n_seen);
    world.faults.clear();
    // An interaction that is over is Logto's to refuse.
    world.logto.interactions.borrow_mut().clear();
    assert_eq!(world.ask(submit()).status, 400);
    assert_eq!(writes(&world), n_seen + 1);
}

#[test]
fn nothing_is_refused_on_a_stale_word() {
    let world = at("mgpass");
    let node = world.node();
    signing_in(&world, |_| {});
    let register = || {
        step(
            "PUT",
            "/api/experience",
            r#"{"interactionEvent":"Register"}"#,
        )
    };
    assert_eq!(world.ask_at(&node, register()).status, 409);
    // The authority goes back; the isolate has not heard of it.
    world.databases.execute(
        Store::Proxy,
        "UPDATE authority SET holder = 'logto', generation = generation + 2",
    );
    assert_eq!(world.ask_at(&node, register()).status, 204);
}
