//! Each check, green and red.

use dual_write_proxy::runtime::snapshot;
use dual_write_proxy::serve::cron;

use super::super::support::tokens::NEXT_LOGTO_KEY;
use super::super::support::{Fault, Port};
use super::*;

#[test]
fn all_is_green_when_all_is_well_and_the_gates_know_it() {
    let world = good();
    let (_, before) = ask(&world, "GET", "checklist");
    assert_eq!(
        before["not_green"],
        json!(["sign_in", "tokens", "console", "audit"])
    );
    assert_eq!(state(&before, "audit"), "not_probed");
    let checklist = run(&world);
    assert_eq!(checklist["not_green"], json!([]), "{checklist:#}");
    assert_eq!(ask(&world, "GET", "checklist").1["is_green"], true);
    let kept = &world.proxy("SELECT kind, not_green, at FROM evidence")[0];
    assert_eq!(
        (&kept["kind"], &kept["not_green"]),
        (&json!("checklist"), &json!("[]"))
    );
    assert_eq!(
        kept["at"], checklist["at"],
        "as old as the oldest of what it rests on"
    );
    world.assert_within_limits();
    // A day later nothing of it counts, though nobody has looked since.
    world.advance(25 * 3_600_000);
    let (_, old) = ask(&world, "GET", "checklist");
    assert_eq!(old["not_green"].as_array().unwrap().len(), 6);
    assert_eq!(state(&old, "console"), "old");
    assert_eq!(state(&old, "webhooks"), "idle");
}

#[test]
fn a_user_who_cannot_sign_in_is_red_up_to_the_threshold() {
    let world = good();
    let sql = "UPDATE users SET email_verified = 0 WHERE id = 'alice0000001'";
    world.databases.execute(Store::Mgpass, sql);
    let checklist = run(&world);
    assert_eq!(state(&checklist, "sign_in"), "red");
    assert_eq!(check(&checklist, "sign_in")["figures"]["none"], 1);
    let world = with(&[("CHECK_MAX_WITHOUT_ROAD", "1")]);
    world.databases.execute(Store::Mgpass, sql);
    assert_eq!(state(&run(&world), "sign_in"), "green");
}

#[test]
fn the_probe_signs_in_for_real() {
    let world = good();
    let checklist = run(&world);
    let figures = &check(&checklist, "sign_in")["figures"];
    assert_eq!(
        (&figures["probe"], &figures["signed_in_24h"]["password"]),
        (&json!("signed_in"), &json!(1))
    );
    let other = kept("another password");
    world.databases.execute(
        Store::Mgpass,
        &format!("UPDATE users SET password_hash = '{other}' WHERE id = '{PROBE}'"),
    );
    let checklist = run(&world);
    assert_alone(&checklist, "sign_in", "red");
    assert_eq!(check(&checklist, "sign_in")["figures"]["probe"], "refused");
    let world = with(&[("PROBE_USER", ALICE)]);
    assert_eq!(
        check(&run(&world), "sign_in")["figures"]["probe"],
        "other_user"
    );
    let world = with(&[("PROBE_PASSWORD", "")]);
    assert_eq!(state(&run(&world), "sign_in"), "not_probed");
}

#[test]
fn a_withdrawn_key_is_red() {
    let world = good();
    assert_eq!(state(&run(&world), "tokens"), "green");
    *world.logto.key_set.borrow_mut() = tokens::key_set(&[&NEXT_LOGTO_KEY]);
    let checklist = run(&world);
    assert_alone(&checklist, "tokens", "red");
    assert_eq!(
        check(&checklist, "tokens")["figures"]["logto"]["fresh"],
        "unknown_kid"
    );
    // One more key than was imported.
    *world.logto.key_set.borrow_mut() = tokens::key_set(&[&LOGTO_KEY, &NEXT_LOGTO_KEY]);
    world.advance(120_000);
    let checklist = run(&world);
    assert_eq!(
        check(&checklist, "tokens")["figures"]["imported"]["missing"],
        1
    );
    assert_alone(&checklist, "tokens", "red");
    *world.logto.key_set.borrow_mut() = tokens::key_set(&[&LOGTO_KEY]);
    world.advance(120_000);
    assert_eq!(run(&world)["not_green"], json!([]));
}

#[test]
fn an_opaque_token_or_no_import_is_not_green() {
    let world = good();
    *world.mgpass.own_jwt.borrow_mut() = None;
    assert_alone(&run(&world), "tokens", "not_probed");
    let world = good();
    *world.imported_keys.borrow_mut() = None;
    assert_alone(&run(&world), "tokens", "not_probed");
}

#[test]
fn a_wrong_balance_is_red_by_the_next_comparison() {
    let world = good();
    world.databases.execute(
        Store::Mgpass,
        "UPDATE user_rewards SET total_points = total_points + 1",
    );
    jobs::prove(&world);
    let checklist = run(&world);
    assert_alone(&checklist, "points", "red");
    let figures = &check(&checklist, "points")["figures"];
    assert_eq!(
        (
            &figures["drift"],
            &figures["differ_in"]["balance.total_points"]
        ),
        (&json!(1), &json!(1))
    );
    world.databases.execute(
        Store::Mgpass,
        "UPDATE user_rewards SET total_points = total_points - 1",
    );
    jobs::prove(&world);
    assert_eq!(run(&world)["not_green"], json!([]));
}

#[test]
fn a_silent_webhook_is_red_after_a_minute_until_it_is_heard() {
    let world = good();
    run(&world);
    world.advance(1_000);
    let (status, begun) = ask(&world, "POST", "webhooks/test");
    assert_eq!(
        (status, &begun["check"]["state"]),
        (202, &json!("idle")),
        "{begun:#}"
    );
    assert!(
        world
            .logto
            .served
            .borrow()
            .iter()
            .any(|line| line == "PATCH /api/users/probe0000001/custom-data")
    );
    world.advance(61_000);
    assert_alone(&run(&world), "webhooks", "red");
    let told = json!({ "event": "User.Data.Updated", "params": { "userId": PROBE }, "data": {} });
    assert_eq!(world.ask(webhooks::delivery(&told)).status, 204);
    assert_alone(&run(&world), "webhooks", "red");
    let signed_in = hooks::event("whe_2", "user.login.success", Some(PROBE));
    assert_eq!(hooks::deliver(&world, &signed_in), 204);
    assert_eq!(run(&world)["not_green"], json!([]));
}

#[test]
fn while_mgpass_is_the_authority_a_test_changes_nobody_at_logto() {
    let world = good();
    run(&world);
    let sql = "UPDATE authority SET holder = 'mgpass'";
    world.databases.execute(Store::Proxy, sql);
    world.advance(1_000);
    let (status, begun) = ask(&world, "POST", "webhooks/test");
    assert_eq!((status, &begun["check"]["state"]), (202, &json!("idle")));
    let served = world.logto.served.borrow();
    assert!(!served.iter().any(|line| line.starts_with("PATCH ")));
    let figures = &begun["check"]["figures"];
    assert_eq!(figures["logto"]["test"], json!(null));
    assert_eq!(figures["mgpass"]["test"]["heard"], false);
}

#[test]
fn a_test_that_could_cause_nothing_is_red_with_its_code() {
    let world = with(&[("PROBE_EMAIL", "")]);
    world.advance(1_000);
    let (_, begun) = ask(&world, "POST", "webhooks/test");
    assert_eq!(begun["check"]["state"], "red");
    assert_eq!(
        begun["check"]["figures"]["logto"]["test"]["failure"],
        "no_probe"
    );
    let world = with(&[("LOGTO_WEBHOOK_SECRET", "")]);
    assert_eq!(state(&run(&world), "webhooks"), "not_probed");
}

#[test]
fn a_row_that_the_console_hides_is_red() {
    let world = good();
    assert_eq!(state(&run(&world), "console"), "green");
    world.mgpass.hidden.borrow_mut().push(ALICE.to_owned());
    let checklist = run(&world);
    assert_alone(&checklist, "console", "red");
    assert_eq!(
        check(&checklist, "console")["figures"]["hidden"],
        json!([ALICE])
    );
    world.mgpass.hidden.borrow_mut().clear();
    // mgPass's own person, whom nobody looks up: the total alone tells.
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, created_at) VALUES ('usr_own', 1)",
    );
    world.mgpass.hidden.borrow_mut().push("usr_own".to_owned());
    assert_alone(&run(&world), "console", "red");
}

#[test]
fn what_the_console_shows_otherwise_or_lacks_of_logto_is_red() {
    let world = good();
    world.advance(600_000);
    world.mgpass.cache_ms.set(3_600_000);
    run(&world);
    world.databases.execute(
        Store::Mgpass,
        &format!("UPDATE users SET name = 'Eve' WHERE id = '{ALICE}'"),
    );
    let checklist = run(&world);
    assert_eq!(state(&checklist, "console"), "red");
    assert_eq!(
        check(&checklist, "console")["figures"]["differing"],
        json!([{ "id": ALICE, "path": "name" }])
    );
    let world = good();
    world.put_user("carol0000001", |_| {});
    assert_alone(&run(&world), "console", "red");
}

#[test]
fn whoever_was_written_a_moment_ago_counts_when_shown_alike_and_is_no_fault_else() {
    let world = good();
    world.mgpass.cache_ms.set(3_600_000);
    let first = run(&world);
    let figures = &check(&first, "console")["figures"];
    assert_eq!(
        (state(&first, "console").as_str(), &figures["compared"]),
        ("green", &figures["sampled"])
    );
    // What mgPass shows of all is older than what its rows hold.
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'Eve'");
    assert_alone(&run(&world), "console", "nothing_sampled");
    world.advance(600_000);
    fresh_tokens(&world);
    assert_eq!(state(&run(&world), "console"), "red");
}

#[test]
fn a_missing_audit_entry_is_red() {
    let world = good();
    let checklist = run(&world);
    assert_eq!(state(&checklist, "audit"), "green");
    // Three created, one of them with points.
    assert_eq!(check(&checklist, "audit")["figures"]["expected"], 4);
    world.databases.execute(
        Store::Mgpass,
        "DELETE FROM audit_logs WHERE event_type = 'balance.imported'",
    );
    let checklist = run(&world);
    assert_alone(&checklist, "audit", "red");
    assert_eq!(
        check(&checklist, "audit")["figures"]["missing"],
        json!([{ "user": ALICE, "event": "balance.imported" }])
    );
}

#[test]
fn each_kind_of_change_is_expected_in_the_audit_log() {
    let world = good();
    let admin = world.admin_token();
    let ask_logto = |method: &'static str, path: &str, body: &str| {
        let request = Request::new(method, path).token(&admin).json(body);
        let answer = world.ask(request);
        assert!(answer.status < 300, "{}", answer.body);
        world.deliver();
    };
    ask_logto("PATCH", "/api/users/bob000000001", r#"{"name":"Bob"}"#);
    ask_logto(
        "PATCH",
        "/api/users/bob000000001/is-suspended",
        r#"{"isSuspended":true}"#,
    );
    for event in ["user.updated", "user.suspended"] {
        assert_eq!(state(&run(&world), "audit"), "green", "{event}");
        let sql = format!(
            "SELECT * FROM audit_logs WHERE event_type = '{event}' AND target_id = 'bob000000001'"
        );
        assert!(!world.mgpass(&sql).is_empty(), "{event}");
        world
            .databases
            .execute(Store::Mgpass, &sql.replace("SELECT *", "DELETE"));
        let checklist = run(&world);
        assert_eq!(state(&checklist, "audit"), "red", "{event}");
        world.databases.execute(Store::Mgpass, &format!(
            "UPDATE logto_mirror SET told = (SELECT json_group_array(json(value)) FROM json_each(told) WHERE json_extract(value, '$[0]') <> '{event}')"
        ));
    }
}

#[test]
fn a_log_with_the_mirrors_entries_alone_and_a_quiet_hour_are_not_green() {
    let world = with(&[("PROBE_PASSWORD", "")]);
    assert_eq!(state(&run(&world), "audit"), "idle");
    let world = good();
    world.advance(3_700_000);
    fresh_tokens(&world);
    assert_alone(&run(&world), "audit", "nothing_sampled");
}

#[test]
fn a_side_that_does_not_answer_is_said_and_hides_no_other_check() {
    let world = good();
    run(&world);
    world
        .faults
        .always(Port::Mgpass, "/api/", Fault::BeforeEffect);
    let checklist = run(&world);
    assert_eq!(checklist["not_green"], json!(["console", "audit"]));
    assert_eq!(state(&checklist, "console"), "unreadable");
    world.faults.clear();
    assert_eq!(run(&world)["not_green"], json!([]));
}

#[test]
fn cron_makes_one_check_a_minute_and_keeps_the_result() {
    let world = with(&[("CHECK_EVERY_S", "600")]);
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM check_facts");
    let node = world.node();
    for minute in 1..=4_usize {
        world.advance(60_000);
        let node = node.next_invocation();
        world.finish(async move {
            let flags = snapshot::read(&node, &node.deployment.isolate).await;
            cron::tick(&node, &node.context(), &flags).await;
        });
        let kept = world.proxy("SELECT name FROM check_facts");
        assert_eq!(kept.len(), minute);
    }
    assert_eq!(world.events("check.run").len(), 4);
    assert_eq!(world.events("check.judged").len(), 6);
    let kept = world.proxy("SELECT not_green FROM evidence WHERE kind = 'checklist'");
    assert_eq!(kept[0]["not_green"], "[]");
}

#[test]
fn without_settings_or_by_wrong_names_nothing_runs() {
    let world = World::with(1, &[("ADMIN_TOKEN", ADMIN), ("MGPASS_ISSUER", "")]);
    assert_eq!(ask(&world, "GET", "checklist").0, 500);
    let world = good();
    for path in [
        "checklist/run",
        "checklist/run?check=points",
        "checklist/run?check=x",
        "checklist/run?conclude=yes",
    ] {
        assert_eq!(ask(&world, "POST", path).0, 400, "{path}");
    }
    assert_eq!(
        world.ask(Request::new("GET", "/_proxy/checklist")).status,
        401
    );
}

/// Whatever users, pages, tokens and backends hold: ids, codes and figures get out.
#[test]
fn no_value_of_a_users_and_no_secret_is_in_what_operators_see() {
    const CANARY: &str = "c4n4ry";
    let world = good();
    world.put_user("carol0000001", |user| {
        user.name = Some(format!("{CANARY} name"));
        user.username = Some(format!("{CANARY}_user"));
        user.email = Some(format!("{CANARY}@example.test"));
        user.phone = Some("233555555c4n4ry".to_owned());
        user.avatar = Some(format!("https://{CANARY}.example.test/a.png"));
        user.custom_data = format!(r#"{{"{CANARY}":"{CANARY}"}}"#);
        let details = format!(r#"{{"id":"{CANARY}"}}"#);
        user.identities
            .push(("google".to_owned(), CANARY.to_owned(), Some(details)));
    });
    jobs::import(&world);
    let mgpass = |sql: &str| world.databases.execute(Store::Mgpass, sql);
    mgpass(
        "INSERT INTO audit_logs (id, event_type, actor_id, metadata, created_at) VALUES ('a1', 'user.login.success', 'usr_x', '{\"method\":\"c4n4ry@x\"}', unixepoch())",
    );
    let event = json!({ "event_id": "c4n4ry whe", "event_type": "c4n4ry told@x", "data": { "user_id": ALICE, "email": CANARY } });
    assert_eq!(hooks::deliver(&world, &event), 204);
    world.advance(600_000);
    mgpass(
        "UPDATE users SET name = 'c4n4ry changed', email = 'c4n4ry2@example.test', metadata = '{\"c4n4ry\":1}' WHERE id = 'carol0000001'",
    );
    world
        .mgpass
        .hidden
        .borrow_mut()
        .push("bob000000001".to_owned());
    run(&world);
    jobs::prove(&world);
    world.advance(1_000);
    ask(&world, "POST", "webhooks/test");
    run(&world);
    let secrets = [
        "hunter2",
        webhooks::SECRET,
        &LOGTO_KEY.logto_token(world.now_ms())[..20],
        CANARY,
        "probe@example.test",
        "alice0000001@",
    ];
    for (method, path) in [
        ("GET", "checklist"),
        ("POST", "checklist/run?conclude=true"),
        ("POST", "certificate"),
        ("GET", "certificate?sha256=c4"),
        ("GET", "status"),
        ("GET", "metrics"),
    ] {
        let answer = world.ask(Request::new(method, &format!("/_proxy/{path}")).token(ADMIN));
        for secret in secrets {
            assert!(
                !answer.body.contains(secret),
                "{path} has {secret}: {}",
                answer.body
            );
        }
    }
    for line in world.events.borrow().iter() {
        for secret in secrets {
            assert!(!line.contains(secret), "{line}");
        }
    }
    for table in [
        "check_facts",
        "webhook_receipts",
        "webhook_events",
        "webhook_tests",
        "evidence",
    ] {
        let rows = json!(world.proxy(&format!("SELECT * FROM {table}"))).to_string();
        assert!(
            !rows.contains(CANARY) && !rows.contains("hunter2"),
            "{table}: {rows}"
        );
    }
}
