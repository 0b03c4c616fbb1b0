//! Reads: which side answers, when it may, and that nobody can tell from the bytes.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::support::client::Answered;
use super::support::{Fault, Port, Request, World, mgpass, tokens};

mod fence;
mod flags;

const ALICE: &str = "alice0000001";
const PATH: &str = "/api/users/alice0000001";

/// One mirrored user, everybody in the share, nothing open.
fn world() -> Rc<World> {
    let world = World::new();
    world.flag("read_percent", "100");
    world.mirrored(ALICE, |user| {
        user.username = Some("alice".into());
        user.email = Some("alice@example.test".into());
        user.phone = Some("14155550001".into());
        user.custom_data = r#"{"z":1,"a":[1.50,"é"],"10":{}}"#.into();
        user.identities = vec![
            (
                "google".into(),
                "g-1".into(),
                Some(r#"{"id":"g-1","b":1}"#.into()),
            ),
            ("wechat".into(), "w-1".into(), None),
        ];
        user.created_at += 123;
        user.last_sign_in_at = Some(1_799_999_999_999);
        user.profile = r#"{"familyName":"A"}"#.into();
    });
    world.advance(10_000);
    world
}

fn done(world: &World) -> Value {
    world.events("request.done").pop().unwrap()
}

/// The read is answered by Logto, for this reason, as if there were no proxy.
#[track_caller]
fn check_logto(world: &Rc<World>, request: Request, reason: &str) -> Answered {
    let n_served = world.logto.n_served("GET /api/users/");
    let answer = world.ask(request);
    let done = done(world);
    assert_eq!(
        (&done["backend"], &done["plan.reason"]),
        (&json!("logto"), &json!(reason))
    );
    assert_eq!(world.logto.n_served("GET /api/users/"), n_served + 1);
    answer
}

fn read(world: &Rc<World>) -> Request {
    Request::new("GET", PATH).token(&world.admin_token())
}

#[track_caller]
fn check_mgpass(world: &Rc<World>) {
    let n_served = world.logto.n_served("GET /api/users/");
    let answer = world.ask(read(world));
    let done = done(world);
    assert_eq!(
        (&done["backend"], &done["plan.reason"]),
        (&json!("mgpass"), &json!("in_share"))
    );
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of(ALICE))
    );
    assert_eq!(
        world.logto.n_served("GET /api/users/"),
        n_served,
        "Logto was not asked"
    );
}

#[track_caller]
fn check_same_from_logto(world: &Rc<World>, reason: &str) {
    let answer = check_logto(world, read(world), reason);
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of(ALICE))
    );
}

#[test]
fn a_read_served_by_mgpass_has_logtos_bytes() {
    let world = world();
    check_mgpass(&world);
    let used: Vec<_> = world
        .mgpass
        .served
        .borrow()
        .iter()
        .filter_map(|(_, token)| token.clone())
        .collect();
    assert!(
        used.iter().all(|token| token == mgpass::OWN_TOKEN),
        "an admin's Logto token went to mgPass"
    );
}

#[test]
fn while_mgpass_is_the_authority_nobody_is_judged_by_the_mirror() {
    for (holder, deadline) in [("mgpass", "NULL"), ("returning", "2000000000000")] {
        let world = world();
        world.databases.execute(
            Store::Proxy,
            &format!("UPDATE authority SET holder = '{holder}', deadline = {deadline}"),
        );
        check_same_from_logto(&world, "fence");
    }
}

/// What one cell of the read matrix shows: Logto's bytes in any case.
#[track_caller]
fn check_read(
    port: Port,
    part: &str,
    fault: Fault,
    expected: (&str, &str, Option<&str>),
    within_ms: i64,
) {
    let world = world();
    let (request, began_ms) = (read(&world), world.now_ms());
    world.faults.always(port, part, fault);
    let answer = world.ask(request);
    let cell = format!("{port:?} {part:?} {fault:?}");
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of(ALICE)),
        "{cell}"
    );
    assert!(
        answer.at_ms - began_ms <= within_ms,
        "{cell}: {} ms",
        answer.at_ms - began_ms
    );
    let done = done(&world);
    let (backend, reason, fallback) = expected;
    assert_eq!(
        (&done["backend"], &done["plan.reason"]),
        (&json!(backend), &json!(reason)),
        "{cell}"
    );
    assert_eq!(done["fallback"], json!(fallback), "{cell}");
    assert_eq!(world.events("request.done").len(), 1, "{cell}");
}

const SERVED: (&str, &str, Option<&str>) = ("mgpass", "in_share", None);

#[test]
fn a_read_while_the_ledger_or_mgpass_database_fails() {
    let unknown = ("logto", "eligibility_unknown", None);
    for port in [Port::ProxyDatabase, Port::MgpassDatabase] {
        check_read(port, "", Fault::BeforeEffect, unknown, 100);
        check_read(port, "", Fault::AfterEffect, unknown, 100);
        check_read(port, "", Fault::Hang, unknown, 700);
    }
}

#[test]
fn a_read_while_mgpass_fails_falls_back_within_the_request() {
    let fallback = |code| ("logto", "in_share", Some(code));
    for part in ["", PATH, "/identities"] {
        check_read(
            Port::Mgpass,
            part,
            Fault::BeforeEffect,
            fallback("unreachable"),
            200,
        );
        check_read(
            Port::Mgpass,
            part,
            Fault::AfterEffect,
            fallback("unreachable"),
            200,
        );
    }
    for part in [PATH, "/identities"] {
        check_read(
            Port::Mgpass,
            part,
            Fault::Hang,
            fallback("timed_out"),
            1_800,
        );
    }
}

#[test]
fn a_read_while_mgpass_hands_out_no_credential_falls_back_in_time() {
    for part in ["openid-configuration", "oauth/token"] {
        check_read(
            Port::Mgpass,
            part,
            Fault::Hang,
            ("logto", "in_share", Some("timed_out")),
            1_800,
        );
    }
}

#[test]
fn a_read_does_not_need_the_queue_or_logto() {
    for fault in [Fault::BeforeEffect, Fault::AfterEffect, Fault::Hang] {
        check_read(Port::Queue, "", fault, SERVED, 100);
        check_read(Port::Forward, "", fault, SERVED, 100);
    }
}

#[test]
fn a_read_while_the_flags_fail_goes_to_logto() {
    check_read(
        Port::Flags,
        "",
        Fault::BeforeEffect,
        ("logto", "stage_off", None),
        100,
    );
    check_read(
        Port::Flags,
        "",
        Fault::AfterEffect,
        ("logto", "stage_off", None),
        100,
    );
    check_read(
        Port::Flags,
        "",
        Fault::Hang,
        ("logto", "stage_off", None),
        1_100,
    );
}

#[test]
fn a_read_while_the_keys_fail_is_judged_by_logto() {
    let refused = ("logto", "token_refused", None);
    for fault in [Fault::BeforeEffect, Fault::AfterEffect] {
        // Without Logto's own keys, and the imported ones out of reach or absent.
        check_read(Port::Logto, "/oidc/jwks", fault, refused, 100);
    }
    check_read(Port::Keys, "", Fault::BeforeEffect, SERVED, 100);
    check_read(Port::Keys, "", Fault::Hang, SERVED, 100);
}

#[test]
fn keys_that_hang_hold_a_read_up_for_a_bounded_time() {
    check_read(
        Port::Logto,
        "/oidc/jwks",
        Fault::Hang,
        ("logto", "token_refused", None),
        8_100,
    );
}

#[test]
fn mgpass_answers_that_cannot_be_used_fall_back() {
    let cases: [(&str, u16, &str); 3] = [
        ("limited", 429, "rate_limited"),
        ("down", 503, "server_error"),
        ("gone", 404, "missing"),
    ];
    for (name, status, code) in cases {
        let world = world();
        match status {
            // mgPass deleted the user on its own.
            404 => world
                .databases
                .execute(Store::Mgpass, "UPDATE users SET deleted_at = 1"),
            _ => {
                world
                    .mgpass
                    .answers
                    .borrow_mut()
                    .insert("identities".into(), status);
            }
        }
        let answer = world.ask(read(&world));
        assert_eq!(
            (answer.status, answer.body),
            (200, world.logto.json_of(ALICE)),
            "{name}"
        );
        assert_eq!(done(&world)["fallback"], code, "{name}");
    }
    let world = world();
    world.mgpass.broken.borrow_mut().push(ALICE.into());
    assert_eq!(world.ask(read(&world)).body, world.logto.json_of(ALICE));
    assert_eq!(done(&world)["fallback"], "out_of_contract");
}

#[test]
fn when_both_fail_the_client_hears_of_logto_alone() {
    let world = world();
    let request = read(&world);
    world.faults.always(Port::Mgpass, "", Fault::BeforeEffect);
    world.faults.always(Port::Forward, "", Fault::BeforeEffect);
    let answer = world.ask(request);
    assert_eq!(answer.status, 502);
    assert!(
        answer.body.contains("proxy.logto_unreachable"),
        "{}",
        answer.body
    );
    assert_eq!(done(&world)["fallback"], "unreachable");
}

#[test]
fn a_token_of_mgpass_is_carried_to_mgpass_and_nothing_else_is() {
    let world = world();
    let token = tokens::MGPASS_KEY.mgpass_token(world.now_ms());
    world
        .mgpass
        .client_tokens
        .borrow_mut()
        .insert(token.clone(), None);
    world.mgpass.served.borrow_mut().clear();
    world.flag("read_percent", "0");
    let answer = world.ask(Request::new("GET", PATH).token(&token));
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of(ALICE))
    );
    assert_eq!(done(&world)["plan.primary"], "mgpass_as_caller");
    let served = world.mgpass.served.borrow();
    let of_users: Vec<_> = served
        .iter()
        .filter(|(line, _)| line.contains("/api/"))
        .collect();
    assert_eq!(of_users.len(), 2);
    assert!(
        of_users
            .iter()
            .all(|(_, used)| used.as_deref() == Some(&*token))
    );
    assert!(
        !served.iter().any(|(line, _)| line.contains("oauth/token")),
        "no credential of the proxy's own"
    );
}

#[test]
fn a_refusal_of_mgpass_keeps_its_status_in_logtos_shape() {
    for (status, code) in [(401, "auth.unauthorized"), (403, "auth.forbidden")] {
        let world = world();
        let token = tokens::MGPASS_KEY.mgpass_token(world.now_ms());
        world
            .mgpass
            .client_tokens
            .borrow_mut()
            .insert(token.clone(), Some(status));
        let n_logto = world.logto.n_served("GET /api/users/");
        let answer = world.ask(Request::new("GET", PATH).token(&token));
        assert_eq!(answer.status, status);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["code"], code);
        assert!(body["message"].is_string());
        assert_eq!(world.logto.n_served("GET /api/users/"), n_logto);
    }
    let world = world();
    let token = tokens::MGPASS_KEY.mgpass_token(world.now_ms());
    world
        .mgpass
        .client_tokens
        .borrow_mut()
        .insert(token.clone(), None);
    let answer = world.ask(Request::new("GET", "/api/users/nobody000001").token(&token));
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("entity.not_found"), "{}", answer.body);
}

#[test]
fn with_mgpass_down_its_own_token_gets_502_and_not_logtos_401() {
    let world = world();
    let token = tokens::MGPASS_KEY.mgpass_token(world.now_ms());
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::BeforeEffect);
    let answer = world.ask(Request::new("GET", PATH).token(&token));
    assert_eq!(answer.status, 502);
    assert!(
        answer.body.contains("proxy.mgpass_unavailable"),
        "{}",
        answer.body
    );
}

#[test]
fn a_user_of_mgpass_alone_is_shown_in_logtos_shape() {
    let world = world();
    world.databases.execute(Store::Mgpass, "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'own@example.test', 1700000000)");
    let token = tokens::MGPASS_KEY.mgpass_token(world.now_ms());
    world
        .mgpass
        .client_tokens
        .borrow_mut()
        .insert(token.clone(), None);
    let answer = world.ask(Request::new("GET", "/api/users/usr_own").token(&token));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&body["primaryEmail"], &body["createdAt"]),
        (&json!("own@example.test"), &json!(1_700_000_000_000_i64))
    );
}

#[test]
fn what_only_logto_can_say_is_asked_of_logto() {
    let world = world();
    let token = world.admin_token();
    let with_query =
        Request::new("GET", "/api/users/alice0000001?includeSsoIdentities=true").token(&token);
    assert_eq!(check_logto(&world, with_query, "query").status, 200);
    assert_eq!(world.logto.n_served("?includeSsoIdentities=true"), 1);
}

#[test]
fn a_token_the_edge_cannot_vouch_for_is_logtos_to_judge() {
    let world = world();
    let token = world.admin_token();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let other = tokens::LOGTO_KEY.sign(
        Some("at+jwt"),
        &json!({ "iss": tokens::LOGTO_ISSUER, "sub": "x" }),
    );
    let (_, other_signature) = other.rsplit_once('.').unwrap();
    for (bad, reason) in [
        (
            format!("{header}.{claims}.{other_signature}"),
            "token_refused",
        ),
        (format!("{header}.{claims}.AAAA"), "token_refused"),
        (format!("{header}.{claims}A.{signature}"), "no_bearer_jwt"),
        ("opaque-token".to_owned(), "no_bearer_jwt"),
    ] {
        let answer = check_logto(&world, Request::new("GET", PATH).token(&bad), reason);
        assert_eq!(answer.status, 401, "Logto's own refusal");
    }
    let answer = check_logto(&world, Request::new("GET", PATH), "no_bearer_jwt");
    assert_eq!(answer.status, 401);
    let mut claims = tokens::logto_claims(world.now_ms());
    for (claim, value) in [
        ("scope", json!("read")),
        ("aud", json!("another")),
        ("exp", json!(1_799_999_000)),
        ("iat", json!(1_900_000_000)),
    ] {
        let good = claims[claim].clone();
        claims[claim] = value;
        if claim == "exp" {
            claims["iat"] = json!(1_799_998_000);
        }
        if claim == "iat" {
            claims["exp"] = json!(1_900_003_600);
        }
        let token = tokens::LOGTO_KEY.sign(Some("at+jwt"), &claims);
        check_logto(
            &world,
            Request::new("GET", PATH).token(&token),
            "token_refused",
        );
        claims[claim] = good;
        claims["iat"] = json!(1_800_000_000);
    }
    claims["iss"] = json!("https://elsewhere.example.test");
    let token = tokens::LOGTO_KEY.sign(Some("at+jwt"), &claims);
    check_logto(
        &world,
        Request::new("GET", PATH).token(&token),
        "foreign_issuer",
    );
}

#[test]
fn a_client_that_has_the_bytes_gets_304_from_either_side() {
    let world = world();
    // The ETag is made of the body, as Logto makes it.
    let answer = world.ask(read(&world).header("if-none-match", "*"));
    assert_eq!((answer.status, answer.body.as_str()), (304, ""));
    assert_eq!(done(&world)["backend"], "mgpass");
}
