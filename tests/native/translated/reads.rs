//! Reads while mgPass is the authority: its rows answer, as fresh as what was acknowledged;
//! what only Logto can say is said as of a time; and Logto stands in for mgPass only where
//! it has everything.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::super::support::client::Answered;
use super::super::support::tokens::MGPASS_KEY;
use super::super::support::{Fault, Node, Port, Request, World};
use super::{ALICE, BOB, PATH, body, hand_over, world};

fn at_logto(world: &World) -> Vec<String> {
    world.logto.served.borrow().clone()
}

fn done(world: &World) -> Value {
    world.events("request.done").last().unwrap().clone()
}

fn reason(world: &World) -> String {
    done(world)["plan.reason"].as_str().unwrap().to_owned()
}

fn read_at(world: &Rc<World>, node: &Node, path: &str) -> Answered {
    world.ask_at(node, Request::new("GET", path).token(&world.admin_token()))
}

/// An isolate that knows of the hand-over.
fn node(world: &Rc<World>) -> Node {
    let node = world.node();
    assert_eq!(read_at(world, &node, PATH).status, 200);
    world.logto.served.borrow_mut().clear();
    node
}

fn fed(world: &World) {
    let sql = format!(
        "UPDATE counters SET value = {} WHERE name = 'feed_at'",
        world.now_ms()
    );
    world.databases.execute(Store::Proxy, &sql);
}

fn without_rows(world: &World) {
    world
        .faults
        .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
}

#[test]
fn a_write_is_read_back_before_anything_was_carried_anywhere() {
    let world = world();
    let node = node(&world);
    let written = world.write(
        "PATCH",
        PATH,
        r#"{"name":"Alice Two","username":"alice_2"}"#,
    );
    world.logto.served.borrow_mut().clear();
    // mgPass's API caches, and shows what was there before.
    world.faults.always(Port::Mgpass, "", Fault::Hang);
    let read = read_at(&world, &node, PATH);
    assert_eq!(read.body, written.body);
    assert_eq!(reason(&world), "rows");
    assert_eq!(done(&world)["backend"], "mgpass");
    let data = read_at(&world, &node, &format!("{PATH}/custom-data"));
    assert_eq!(data.body, r#"{"plan":"free"}"#);
    assert!(at_logto(&world).is_empty(), "{:?}", at_logto(&world));
}

#[test]
fn whoever_is_gone_or_never_was_is_logtos_404_and_etags_hold() {
    let world = world();
    let node = node(&world);
    let first = read_at(&world, &node, PATH);
    let etag = first.header("etag").unwrap().to_owned();
    let again = Request::new("GET", PATH)
        .token(&world.admin_token())
        .header("if-none-match", &etag);
    assert_eq!(world.ask_at(&node, again).status, 304);
    assert_eq!(world.write("DELETE", PATH, "").status, 204);
    for path in [PATH, "/api/users/nobody000001"] {
        let read = read_at(&world, &node, path);
        assert_eq!(
            (read.status, &body(&read)["code"]),
            (404, &json!("entity.not_found"))
        );
    }
}

#[test]
fn a_reader_is_judged_by_the_edge_else_by_logto_else_by_mgpass() {
    let world = world();
    let node = node(&world);
    let ask = |token: &str| world.ask_at(&node, Request::new("GET", PATH).token(token));
    let refused = ask("opaque");
    assert_eq!(
        (refused.status, &body(&refused)["code"]),
        (401, &json!("auth.unauthorized"))
    );
    world
        .logto
        .accepted
        .borrow_mut()
        .insert("opaque".to_owned());
    assert_eq!(ask("opaque").status, 200);
    let own = MGPASS_KEY.mgpass_token(world.now_ms());
    world.logto.served.borrow_mut().clear();
    let may = |refused: Option<u16>| {
        let tokens = &world.mgpass.client_tokens;
        tokens.borrow_mut().insert(own.clone(), refused);
        world.advance(1_000);
        ask(&own)
    };
    // Of whom mgPass lets see the user the rows answer, its API being older.
    let edit = "UPDATE users SET name = 'Newer' WHERE id = 'alice0000001'";
    assert_eq!(may(None).status, 200);
    world.databases.execute(Store::Mgpass, edit);
    assert_eq!(body(&may(None))["name"], "Newer");
    assert_eq!(reason(&world), "mgpass_token");
    for status in [401, 403, 404] {
        let refused = may(Some(status));
        assert_eq!(refused.status, status);
        assert!(!refused.body.contains("Newer"));
    }
    assert!(at_logto(&world).is_empty());
}

#[test]
fn whoever_reads_of_themselves_is_judged_by_logto_and_reads_mgpasss_rows() {
    let world = world();
    let node = node(&world);
    world.write("PATCH", PATH, r#"{"name":"Alice Two"}"#);
    let ask = |path: &str, token: &str| {
        let token = format!("opaque-{token}");
        let request = Request::new("GET", path).token(&token);
        world.ask_at(&node, request.header("origin", "https://app.test"))
    };
    let account = ask("/api/my-account", ALICE);
    let shown = body(&account);
    assert_eq!(
        (&shown["name"], &shown["hasSecurityVerificationMethod"]),
        (&json!("Alice Two"), &json!(true))
    );
    assert_eq!(
        account.header("access-control-allow-origin"),
        Some("https://app.test")
    );
    let userinfo = ask("/oidc/me", ALICE);
    let expected = json!({ "sub": ALICE, "name": "Alice Two", "email": "alice@example.test" });
    assert_eq!(
        (body(&userinfo), reason(&world).as_str()),
        (expected, "rows")
    );
    assert_eq!(userinfo.header("cache-control"), Some("no-store"));
    // Logto's own words for whom it refuses.
    assert_eq!(ask("/api/my-account", "nobody").status, 401);
    let refused = ask("/oidc/me", "nobody");
    assert_eq!(refused.body, r#"{"error":"invalid_token"}"#);
    // Deleted, and Logto has not heard of it: nobody is shown the one that was.
    assert_eq!(world.write("DELETE", PATH, "").status, 204);
    for path in ["/api/my-account", "/oidc/me"] {
        let answered = ask(path, ALICE);
        assert_eq!(
            body(&answered)["code"],
            "proxy.mgpass_unavailable",
            "{path}"
        );
    }
}

#[test]
fn flags_of_logtos_time_have_no_say() {
    let world = world();
    for (key, value) in [
        ("stage", "off"),
        ("read_percent", "0"),
        ("kill_switch", "on"),
        ("guard", "broken"),
    ] {
        world.flag(key, value);
        let read = read_at(&world, &world.node(), PATH);
        assert_eq!(
            (read.status, reason(&world).as_str()),
            (200, "rows"),
            "{key}"
        );
    }
}

#[test]
fn without_the_proxys_database_reads_go_on_for_who_knew_of_the_hand_over() {
    let world = world();
    let node = node(&world);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    let read = read_at(&world, &node, PATH);
    assert_eq!((read.status, reason(&world).as_str()), (200, "rows"));
    // Whoever knows nothing cannot say whose answer is right.
    let read = read_at(&world, &world.node(), PATH);
    assert_eq!(body(&read)["code"], "proxy.authority_unknown");
    // Nor can anybody once mgPass's database was told of another generation.
    let told = "UPDATE logto_mirror_authority SET generation = 6";
    world.databases.execute(Store::Mgpass, told);
    let read = read_at(&world, &node, PATH);
    assert_eq!(
        (read.status, &body(&read)["code"]),
        (503, &json!("proxy.authority_unknown"))
    );
    assert_eq!(read.header("retry-after"), Some("5"));
}

#[test]
fn after_the_way_back_logto_answers_within_the_same_request() {
    let world = world();
    let node = node(&world);
    hand_over(&world, "returning", 6);
    assert_eq!(read_at(&world, &node, PATH).status, 200);
    assert_eq!(reason(&world), "rows");
    hand_over(&world, "logto", 7);
    world
        .logto
        .change(ALICE, |user| user.name = Some("At Logto".into()));
    let read = read_at(&world, &node, PATH);
    assert_eq!(body(&read)["name"], "At Logto");
    assert_eq!(done(&world)["plan.primary"], "logto");
}

#[test]
fn logto_stands_in_for_rows_at_no_debt_and_says_how_old_it_is() {
    let world = world();
    let node = node(&world);
    fed(&world);
    without_rows(&world);
    let read = read_at(&world, &node, PATH);
    assert_eq!((read.status, reason(&world).as_str()), (200, "fallback"));
    assert!(read.header("x-proxy-as-of").unwrap().ends_with('Z'));
    let line = done(&world);
    assert_eq!(
        (&line["plan.primary"], &line["fallback"]),
        (&json!("logto"), &json!("rows_unreadable"))
    );
    // It stands in for as long as it takes: nobody writes while mgPass fails.
    world.advance(300_000);
    assert_eq!(read_at(&world, &node, PATH).status, 200);
    // An isolate that comes later cannot tell when it began.
    let read = read_at(&world, &world.node(), PATH);
    assert_eq!(body(&read)["code"], "proxy.users_unavailable");
}

#[test]
fn with_anything_owed_to_logto_it_does_not_stand_in() {
    let owing = [
        ("", ""),
        (
            "debt",
            "INSERT INTO debt (subject, class, code, since) VALUES ('bob000000001', 'born_at_mgpass', 'x', 1)",
        ),
        (
            "held",
            "INSERT INTO held_subjects (subject, reason, since) VALUES ('bob000000001', 'x', 1)",
        ),
        ("pending", "a write"),
        (
            "cursor",
            "UPDATE counters SET value = 1 WHERE name = 'feed_at'",
        ),
        ("flag", ""),
    ];
    for (what, sql) in owing {
        let world = world();
        let node = node(&world);
        fed(&world);
        match what {
            "pending" => drop(world.write("PATCH", PATH, r#"{"name":"New"}"#)),
            "flag" => {
                world.flag("fallback", "off");
                world.advance(120_000);
                fed(&world);
                read_at(&world, &node, PATH);
                world.advance(100);
            }
            "" => {}
            _ => world.databases.execute(Store::Proxy, sql),
        }
        without_rows(&world);
        world.logto.served.borrow_mut().clear();
        let read = read_at(&world, &node, PATH);
        if what.is_empty() {
            assert_eq!(read.status, 200);
            continue;
        }
        assert_eq!(
            (read.status, &body(&read)["code"]),
            (503, &json!("proxy.users_unavailable")),
            "{what}"
        );
        assert_eq!(read.header("retry-after"), Some("5"), "{what}");
        assert!(at_logto(&world).is_empty(), "{what}");
    }
}

#[test]
fn a_search_by_exact_identifier_is_answered_from_rows() {
    let world = world();
    let node = node(&world);
    let renamed = world.write("PATCH", PATH, r#"{"username":"alice_2"}"#);
    assert_eq!(renamed.status, 200);
    world.logto.served.borrow_mut().clear();
    let find = |field: &str, value: &str| {
        let path = format!("/api/users?search.{field}={value}&mode.{field}=exact");
        let found = read_at(&world, &node, &path);
        assert_eq!((found.status, reason(&world).as_str()), (200, "rows"));
        let ids: Vec<String> = body(&found)
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["id"].as_str().unwrap().to_owned())
            .collect();
        let total = ids.len().to_string();
        assert_eq!(found.header("total-number"), Some(total.as_str()));
        ids
    };
    assert_eq!(find("username", "alice_2"), [ALICE]);
    assert_eq!(find("username", "ALICE_2"), [ALICE]);
    assert_eq!(find("primaryEmail", "alice%40example.test"), [ALICE]);
    assert_eq!(find("primaryPhone", "233200000055"), [BOB]);
    assert_eq!(find("id", BOB), [BOB]);
    // What she was called before, and what nobody is called.
    assert!(find("username", "alice").is_empty());
    assert!(find("id", "nobody000001").is_empty());
    assert!(at_logto(&world).is_empty());
    // A value that was changed at mgPass's own pages is not found by its kept form.
    let edit = "UPDATE users SET phone = '+233200000077' WHERE id = 'bob000000001'";
    world.databases.execute(Store::Mgpass, edit);
    assert!(find("primaryPhone", "233200000055").is_empty());
    assert_eq!(find("primaryPhone", "233200000077"), [BOB]);
    assert_eq!(world.write("DELETE", PATH, "").status, 204);
    assert!(find("primaryEmail", "alice%40example.test").is_empty());
}

#[test]
fn lists_and_other_searches_are_logtos_as_of_what_it_lacks() {
    let world = world();
    let node = node(&world);
    fed(&world);
    let list = |path: &str| {
        read_at(&world, &node, path)
            .header("x-proxy-as-of")
            .map(str::to_owned)
    };
    let fed_at = list("/api/users?page=1").unwrap();
    assert_eq!(reason(&world), "as_of");
    assert_eq!(list("/api/users?search=%25ali%25").unwrap(), fed_at);
    world.advance(60_000);
    world.write("PATCH", PATH, r#"{"name":"New"}"#);
    world.advance(60_000);
    fed(&world);
    let pending_since = list("/api/users").unwrap();
    assert!(pending_since > fed_at, "{fed_at} {pending_since}");
    world.advance(60_000);
    fed(&world);
    assert_eq!(list("/api/users").unwrap(), pending_since);
    // Nobody can say how old it is.
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(read_at(&world, &node, "/api/users").status, 503);
}

#[test]
fn what_logto_goes_on_to_keep_is_read_there() {
    let world = world();
    let node = node(&world);
    let read = read_at(&world, &node, &format!("{PATH}/mfa-verifications"));
    assert_eq!((read.status, read.body.as_str()), (200, "[]"));
    assert_eq!(reason(&world), "kept");
    assert_eq!(read.header("x-proxy-as-of"), None);
}

#[test]
fn a_user_with_more_than_mgpass_has_is_both() {
    let world = world();
    let node = node(&world);
    world.write("PATCH", PATH, r#"{"name":"Alice Two"}"#);
    let read = read_at(&world, &node, &format!("{PATH}?includeSsoIdentities=true"));
    let shown = body(&read);
    assert_eq!(
        (&shown["name"], &shown["ssoIdentities"]),
        (&json!("Alice Two"), &json!([]))
    );
    world.write("DELETE", PATH, "");
    let read = read_at(&world, &node, &format!("{PATH}?includeSsoIdentities=true"));
    assert_eq!(read.status, 404);
}
