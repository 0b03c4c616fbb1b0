//! Each kind of request, and that none of it reaches Logto.

use super::*;

#[test]
fn a_user_is_read_written_made_and_deleted_at_mgpass_alone() {
    let world = world();
    let node = world.node();
    let written = world.write(
        "PATCH",
        PATH,
        r#"{"name":"Alice Two","username":"alice_2"}"#,
    );
    assert_eq!(written.status, 200, "{}", written.body);
    let read = ask(&world, &node, "GET", PATH);
    assert_eq!(read.body, written.body);
    assert_eq!(done(&world)["plan.reason"], "rows");
    let search = "/api/users?search.username=alice_2&mode.username=exact";
    let found = ask(&world, &node, "GET", search);
    assert_eq!(body(&found)[0]["id"], ALICE);
    let made = world.write(
        "POST",
        "/api/users",
        r#"{"username":"kofi","primaryEmail":"kofi@example.test","customData":{"plan":"pro"}}"#,
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let made = body(&made);
    let id = made["id"].as_str().unwrap().to_owned();
    let is_logtos_form = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(is_logtos_form, "{id}");
    assert_eq!(made["customData"], json!({ "plan": "pro" }));
    assert_eq!(world.user(&id, "email"), "kofi@example.test");
    let path = format!("/api/users/{id}");
    assert_eq!(body(&ask(&world, &node, "GET", &path))["username"], "kofi");
    let again = world.write("POST", "/api/users", r#"{"username":"kofi"}"#);
    check_refused(&again, 422, "user.username_already_in_use");
    assert_eq!(world.write("DELETE", &path, "").status, 204);
    assert_eq!(ask(&world, &node, "GET", &path).status, 404);
    let password = r#"{"password":"Vorpal-Blade-42"}"#;
    let set = world.write("PATCH", &format!("{PATH}/password"), password);
    assert_eq!(set.status, 200, "{}", set.body);
    let suspend = format!("{PATH}/is-suspended");
    let suspended = world.write("PATCH", &suspend, r#"{"isSuspended":true}"#);
    assert_eq!(suspended.status, 200, "{}", suspended.body);
    world.deliver();
    world.tick();
    nothing_reached_logto(&world);
    assert_eq!(world.n_queued(), 0, "nobody is woken for Logto");
    // Of each user one intent says that Logto lacks something, should it be asked again.
    let kept = "SELECT subject, count(*) AS n FROM intents WHERE discharged_at IS NULL GROUP BY subject HAVING n > 1";
    assert_eq!(world.proxy(kept).len(), 0);
    assert_eq!(world.n_open(), 2);
    assert_eq!(
        world.value(Store::Mgpass, "SELECT count(*) FROM logto_mirror_effects"),
        0
    );
}

#[test]
fn what_only_logto_could_answer_is_refused_by_name_and_says_where_to_go() {
    let world = world();
    let node = world.node();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/sign-in"),
        ("GET", "/assets/index.js"),
        ("GET", "/oidc/auth?client_id=web"),
        ("POST", "/oidc/token"),
        ("POST", "/oidc/token/introspection"),
        ("POST", "/oidc/token/revocation"),
        ("GET", "/oidc/me"),
        ("GET", "/oidc/session/end"),
        ("GET", "/api/users"),
        ("GET", "/api/users?search=x"),
        ("GET", "/api/users/alice0000001?includeSsoIdentities=true"),
        ("GET", "/api/users/alice0000001/roles"),
        ("GET", "/api/my-account"),
        ("PATCH", "/api/my-account"),
        ("GET", "/api/applications"),
        ("POST", "/api/applications"),
        ("GET", "/api/experience/interaction"),
        ("PUT", "/api/experience"),
        ("POST", "/api/experience/identification"),
        ("POST", "/api/experience/submit"),
        ("POST", "/api/interaction/submit"),
        ("GET", "/consent"),
        ("POST", "/api/verifications/password"),
        ("GET", "/api/organizations"),
    ] {
        let answered = ask(&world, &node, method, path);
        let body = check_refused(&answered, 410, "proxy.logto_retired");
        assert_eq!(
            body["go_to"], "https://mgpass.example.test/.well-known/openid-configuration",
            "{method} {path}"
        );
        if path.starts_with("/oidc/") {
            assert_eq!(body["error"], "invalid_grant", "{path}");
        }
    }
    // Nobody knows any more where an application of Logto's lives: its script reads it from anywhere.
    let from = Request::new("POST", "/oidc/token").header("origin", "https://spa.example");
    let answered = world.ask_at(&node, from);
    let allowed = answered.header("access-control-allow-origin");
    assert_eq!(
        (answered.status, allowed),
        (410, Some("https://spa.example"))
    );
    let verify = format!("{PATH}/password/verify");
    let verify = world.write("POST", &verify, r#"{"password":"Vorpal-Blade-42"}"#);
    check_refused(&verify, 410, "proxy.logto_retired");
    // What had no place before has none now.
    let other = world.write("POST", &format!("{PATH}/mfa-verifications"), "{}");
    check_refused(&other, 501, "proxy.not_translatable");
    nothing_reached_logto(&world);
}

#[test]
fn logtos_own_tokens_are_taken_by_the_imported_keys_until_their_end() {
    let world = world();
    let node = world.node();
    let read = |token: &str| world.ask_at(&node, Request::new("GET", PATH).token(token));
    assert_eq!(read(&world.admin_token()).status, 200);
    // What no key of ours can judge, nobody can any more.
    for token in ["opaque", &NEXT_LOGTO_KEY.logto_token(world.now_ms())] {
        check_refused(&read(token), 410, "proxy.logto_retired");
    }
    // Issued after Logto was said to have stopped.
    world.advance(3_700_000);
    let late = LOGTO_KEY.logto_token(world.now_ms());
    check_refused(&read(&late), 410, "proxy.logto_retired");
    nothing_reached_logto(&world);
}

#[test]
fn logtos_documents_are_served_as_kept_until_its_last_token_has_expired() {
    let world = world();
    let node = world.node();
    let get = |path: &str| world.ask_at(&node, Request::new("GET", path));
    let discovery = "/oidc/.well-known/openid-configuration";
    let found = get(discovery);
    assert_eq!((found.status, found.body.as_str()), (200, DISCOVERY));
    assert_eq!(found.header("access-control-allow-origin"), Some("*"));
    let found = get("/oidc/jwks");
    assert_eq!((found.status, found.body.as_str()), (200, KEYS));
    assert_eq!(
        found.header("content-type"),
        Some("application/jwk-set+json; charset=utf-8")
    );
    world.advance(86_400_000);
    for path in [discovery, "/oidc/jwks"] {
        let body = check_refused(&get(path), 410, "proxy.issuer_ended");
        assert_eq!(
            body["go_to"],
            "https://mgpass.example.test/.well-known/openid-configuration"
        );
    }
    nothing_reached_logto(&world);
}

#[test]
fn mgpasss_own_tokens_are_answered_as_before() {
    let world = world();
    let node = world.node();
    let own = MGPASS_KEY.mgpass_token(world.now_ms());
    let tokens = &world.mgpass.client_tokens;
    tokens.borrow_mut().insert(own.clone(), None);
    let read = world.ask_at(&node, Request::new("GET", PATH).token(&own));
    assert_eq!(read.status, 200, "{}", read.body);
    assert_eq!(body(&read)["id"], ALICE);
    nothing_reached_logto(&world);
}

#[test]
fn an_isolate_that_knows_nothing_asks_the_database_before_it_asks_logto() {
    let world = world();
    // The first request of each is one that needs nothing of the authority.
    for path in ["/", "/oidc/token", "/api/applications"] {
        let node = world.node();
        check_refused(&ask(&world, &node, "GET", path), 410, "proxy.logto_retired");
    }
    nothing_reached_logto(&world);
}

/// KV says what the operator wants, the database does not answer: nobody can tell.
#[test]
fn without_the_database_a_new_isolate_refuses_and_a_warm_one_goes_on() {
    let world = world();
    let warm = world.node();
    assert_eq!(ask(&world, &warm, "GET", PATH).status, 200);
    assert_eq!(ask(&world, &warm, "GET", "/oidc/jwks").status, 200);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    let fresh = world.node();
    for path in ["/", "/oidc/jwks", PATH] {
        let answered = ask(&world, &fresh, "GET", path);
        check_refused(&answered, 503, "proxy.authority_unknown");
        assert_eq!(answered.header("retry-after"), Some("5"));
    }
    world.advance(120_000);
    assert_eq!(
        ask(&world, &warm, "GET", PATH).status,
        200,
        "by the generation"
    );
    assert_eq!(ask(&world, &warm, "GET", "/oidc/jwks").status, 200);
    check_refused(&ask(&world, &warm, "GET", "/"), 410, "proxy.logto_retired");
    world.tick();
    world.deliver();
    nothing_reached_logto(&world);
}

/// mgPass's database is gone: nobody stands in for it any more.
#[test]
fn there_is_no_fallback() {
    let world = world();
    let node = world.node();
    assert_eq!(ask(&world, &node, "GET", PATH).status, 200);
    world
        .faults
        .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
    check_refused(
        &ask(&world, &node, "GET", PATH),
        503,
        "proxy.users_unavailable",
    );
    nothing_reached_logto(&world);
}

#[test]
fn an_isolate_of_the_stage_before_hears_of_it_within_a_lease() {
    let world = prepared();
    let node = world.node();
    // The stand-in has no such route, and says so.
    assert_eq!(ask(&world, &node, "GET", "/api/applications").status, 404);
    let idle = world.node();
    world.ask_at(&idle, Request::new("GET", "/"));
    hand_over(&world, "alone", 6);
    world.advance(60_000);
    world.logto.served.borrow_mut().clear();
    for node in [&node, &idle] {
        check_refused(&ask(&world, node, "GET", "/"), 410, "proxy.logto_retired");
    }
    nothing_reached_logto(&world);
}

/// An isolate may have had no request since long before the hand-over.
#[test]
fn an_isolate_that_slept_through_it_all_asks_first() {
    let world = prepared();
    world.flag("stage", "dual_write");
    hand_over(&world, "logto", 3);
    let node = world.node();
    world.ask_at(&node, Request::new("GET", "/"));
    world.flag("stage", "cleanup");
    hand_over(&world, "alone", 6);
    world.advance(7 * 86_400_000);
    world.logto.served.borrow_mut().clear();
    check_refused(&ask(&world, &node, "GET", "/"), 410, "proxy.logto_retired");
    nothing_reached_logto(&world);
}

/// Cron may run for minutes, and Logto be left alone meanwhile.
#[test]
fn a_run_that_outlasts_a_lease_asks_anew_before_it_asks_logto() {
    let world = prepared();
    // What is known of the tenant is read again at the end of the run.
    world.advance(60_000);
    let late = Fault::SlowAnswer(70_000);
    world
        .faults
        .once(Port::ProxyDatabase, "FROM tenant", 0, late);
    let node = world.node();
    world.executor.spawn(async move { node.cron().await });
    world.advance(1_000);
    hand_over(&world, "alone", 6);
    world.logto.served.borrow_mut().clear();
    world.advance(120_000);
    nothing_reached_logto(&world);
}

#[test]
fn cron_queue_and_webhooks_ask_logto_nothing() {
    let world = world();
    // Of the stages before: a write that waits for its reconcile, either way.
    world.pending_write("late", ALICE);
    world.pending_translated("other", ALICE);
    world.send_wake(ALICE);
    for _ in 0..20 {
        world.tick();
        world.deliver_for(60_000);
    }
    nothing_reached_logto(&world);
}

#[test]
fn whoever_goes_back_finds_what_logto_lacks() {
    let world = world();
    let written = world.write("PATCH", PATH, r#"{"name":"Alice Two"}"#);
    assert_eq!(written.status, 200, "{}", written.body);
    world.flag("stage", "cutover");
    world.wish(Some(Stage::Cutover));
    world.operate();
    assert_eq!(world.holder(), "mgpass");
    assert_eq!(world.moves(), ["alone>mgpass wish"]);
    for _ in 0..5 {
        world.tick();
        world.deliver_for(60_000);
    }
    assert!(world.logto.json_of(ALICE).contains("Alice Two"));
    assert_eq!(world.n_open(), 0);
}

/// Whatever version is deployed: it goes by the authority as soon as the operator says so.
#[test]
fn a_version_without_the_hand_over_secret_asks_logto_nothing_either() {
    let world = World::with(1, &[]);
    world.flag("stage", "cleanup");
    hand_over(&world, "alone", 6);
    let node = world.node();
    for path in ["/", "/oidc/token", "/api/users", PATH] {
        let answered = ask(&world, &node, "GET", path);
        check_refused(&answered, 410, "proxy.logto_retired");
    }
    world.tick();
    nothing_reached_logto(&world);
}
