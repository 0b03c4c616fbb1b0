//! Lists of people, and orders about one of them.

use super::super::jobs;
use super::super::support::{Fault, Port};
use super::*;

const ALICE: &str = "alice0000001";
const BOB: &str = "bob000000001";

/// Bob's address is held at mgPass by a user of mgPass's own, so that he is parked.
fn park_bob(world: &Rc<World>) {
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('own', 'bob@example.test', 1)",
    );
    world.put_user(BOB, |user| user.email = Some("bob@example.test".into()));
    world.wake(BOB);
    world.deliver();
    assert_eq!(world.parked(BOB), "value_taken_at_mgpass");
}

fn parked(world: &Rc<World>, query: &str) -> Vec<Value> {
    let answer = get(world, &format!("/_proxy/parked{query}"));
    answer["users"].as_array().unwrap().clone()
}

#[test]
fn whom_the_mirror_parked_is_listed_with_and_without_an_import() {
    let world = world();
    park_bob(&world);
    let listed = parked(&world, "");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        (&listed[0]["id"], &listed[0]["list"], &listed[0]["reason"]),
        (
            &json!(BOB),
            &json!("mirror"),
            &json!("value_taken_at_mgpass")
        )
    );
    assert!(listed[0]["since"].as_i64().is_some());
    world.put_user(ALICE, |_| {});
    jobs::import(&world);
    assert_eq!(parked(&world, "").len(), 1, "once, not once by each");
    assert_eq!(
        parked(&world, "?kind=users&reason=value_taken_at_mgpass").len(),
        1
    );
    assert_eq!(parked(&world, "?kind=points").len(), 0);
    assert_eq!(parked(&world, "?reason=too_large").len(), 0);
    // What the import said is the past once the mirror has carried him over.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET email = NULL WHERE id = 'own'",
    );
    assert_eq!(
        ask(&world, "POST", &format!("/_proxy/mirror/replay?user={BOB}")).0,
        200
    );
    world.deliver();
    assert_eq!(parked(&world, ""), Vec::<Value>::new());
    assert_eq!(get(&world, "/_proxy/status")["parked"], json!([]));
}

#[test]
fn points_that_were_left_out_are_listed_and_pages_lose_nobody() {
    let world = world();
    park_bob(&world);
    for index in 0..5 {
        world.databases.execute(
            Store::Rewards,
            &format!("INSERT INTO rewards_users (user_id, total_points, lifetime_earned) VALUES ('nobody{index}', 1, 1)"),
        );
    }
    // The same id in two lists.
    world.databases.execute(
        Store::Rewards,
        &format!("INSERT INTO rewards_users (user_id, total_points, lifetime_earned) VALUES ('{BOB}', 1, 1)"),
    );
    assert_eq!(ask(&world, "POST", "/_proxy/import?kind=points").0, 202);
    jobs::run(&world, "points");
    let all = parked(&world, "");
    assert_eq!(all.len(), 7, "{all:?}");
    assert_eq!(parked(&world, "?kind=points").len(), 6);
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&world, &format!("/_proxy/parked?limit=2{after}"));
        paged.extend(page["users"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let problems = &get(&world, "/_proxy/status")["problems"];
    assert!(
        problems.to_string().contains("unknown_user (points) 6"),
        "{problems}"
    );
}

#[test]
fn what_is_open_is_counted_without_the_parked() {
    let world = world();
    park_bob(&world);
    world.advance(3_600_000);
    let outbox = get(&world, "/_proxy/status")["outbox"].clone();
    assert_eq!(
        (&outbox["n_open"], &outbox["n_parked"], &outbox["oldest_ms"]),
        (&json!(0), &json!(1), &json!(null)),
        "{outbox}"
    );
    assert_eq!(outbox["n_held"], 1);
}

#[test]
fn a_note_without_its_value_lists_every_value() {
    let world = world();
    for (index, target) in ["wechat", "line"].into_iter().enumerate() {
        world.put_user(&format!("user{index:08}"), |user| {
            user.identities
                .push((target.to_owned(), "1".to_owned(), None));
        });
    }
    jobs::import(&world);
    let noted = |note: &str| {
        let path = format!("/_proxy/import/users?kind=users&note={note}");
        get(&world, &path)["users"].as_array().unwrap().len()
    };
    assert_eq!(noted("unknown_provider"), 2);
    assert_eq!(noted("unknown_provider:line"), 1);
    assert_eq!(noted("unknown_provid"), 0);
    assert_eq!(noted("unknown_provider:"), 0);
}

#[test]
fn nobody_is_replayed_whom_nobody_knows() {
    let world = world();
    world.put_user(ALICE, |_| {});
    let replay = |user: &str| {
        ask(
            &world,
            "POST",
            &format!("/_proxy/mirror/replay?user={user}"),
        )
    };
    let (status, body) = replay("nobody000001");
    assert_eq!((status, &body["code"]), (404, &json!("proxy.no_such_user")));
    let overruled = ask(&world, "POST", "/_proxy/mirror/overrule?user=nobody000001");
    assert_eq!(overruled.0, 404);
    assert_eq!(world.n_open(), 0, "and nothing is left behind");
    assert_eq!(replay(ALICE).0, 200);
    world.deliver();
    // Whom only the mirror knows may have been deleted past the proxy.
    world.logto.users.borrow_mut().remove(ALICE);
    assert_eq!(replay(ALICE).0, 200);
    // A Logto that does not answer keeps nobody from it.
    world.faults.always(Port::Logto, "", Fault::BeforeEffect);
    assert_eq!(replay("nobody000001").0, 200);
}

#[test]
fn a_deletion_is_confirmed_of_nobody_who_lives_or_never_was() {
    let world = world();
    world.mirrored(ALICE, |_| {});
    let confirm = |user: &str| {
        let path = format!("/_proxy/mirror/confirm-deletion?user={user}");
        ask(&world, "POST", &path)
    };
    let (status, body) = confirm(ALICE);
    assert_eq!((status, &body["code"]), (409, &json!("proxy.user_lives")));
    let (status, body) = confirm("nobody000001");
    assert_eq!((status, &body["code"]), (404, &json!("proxy.no_such_user")));
    assert_eq!(world.n_open(), 0);
    // Two witnesses as before: gone at Logto alone parks, the word deletes.
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    assert_eq!(confirm(ALICE).0, 200);
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), json!(null));
    let (status, body) = confirm(ALICE);
    assert_eq!(
        (status, &body["code"]),
        (404, &json!("proxy.no_such_user")),
        "it is done"
    );
}

#[test]
fn a_malformed_id_is_told_from_a_missing_one() {
    let world = world();
    for (method, path) in [
        ("GET", "explain"),
        ("POST", "mirror/replay"),
        ("POST", "mirror/confirm-deletion"),
        ("POST", "mirror/overrule"),
    ] {
        let given = ask(&world, method, &format!("/_proxy/{path}?user=two%20words"));
        assert_eq!(
            (given.0, &given.1["code"]),
            (400, &json!("proxy.malformed_user_id")),
            "{path}"
        );
        let missing = ask(&world, method, &format!("/_proxy/{path}"));
        assert_eq!(
            (missing.0, &missing.1["code"]),
            (400, &json!("proxy.parameter_missing")),
            "{path}"
        );
    }
}

#[test]
fn more_lanes_than_there_are_is_refused_not_cut() {
    let world = world();
    for (path, given) in [
        ("import?kind=users&lanes=999", 400),
        ("import?kind=users&lanes=17", 400),
        ("import?kind=users&lanes=-1", 400),
        ("equality?lanes=999", 400),
        ("import?kind=users&lanes=16", 202),
    ] {
        let (status, body) = ask(&world, "POST", &format!("/_proxy/{path}"));
        assert_eq!(status, given, "{path} {body}");
    }
}

#[test]
fn a_dry_run_of_points_says_what_it_would_do() {
    let world = world();
    let users = ["alice0000001", "alice0000002", "alice0000003"];
    for user in users {
        world.mirrored(user, |_| {});
    }
    // The second has a ledger that does not explain the balance.
    for (user, total) in users.iter().zip([5, 9, 0]) {
        world.databases.execute(
            Store::Rewards,
            &format!("INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('{user}', {total}, {total}, 'bronze')"),
        );
    }
    for user in &users[..2] {
        world.databases.execute(
            Store::Rewards,
            &format!("INSERT INTO rewards_ledger (id, user_id, event_type, points, status, created_at) VALUES ('e-{user}', '{user}', 'x', 5, 'posted', 1789000000)"),
        );
    }
    let dry = || {
        assert_eq!(
            ask(&world, "POST", "/_proxy/import?kind=points&dry_run=true").0,
            202
        );
        jobs::run(&world, "points")
    };
    let before = dry();
    assert_eq!(
        before["outcomes"],
        json!({ "equal": 0, "create": 3 }),
        "{before}"
    );
    assert_eq!(before["notes"]["adjusted"], 1, "{before}");
    assert_eq!(before["added"], 2);
    assert_eq!(ask(&world, "POST", "/_proxy/import?kind=points").0, 202);
    assert_eq!(
        jobs::run(&world, "points")["outcomes"],
        json!({ "equal": 3 })
    );
    let after = dry();
    assert_eq!(after["outcomes"], json!({ "equal": 3 }), "{after}");
    assert_eq!(after["notes"]["adjusted"], 1, "as the real one says");
    // A balance, an entry's status, a new entry: each alone is a change.
    for change in [
        "UPDATE rewards_users SET total_points = 6 WHERE user_id = 'alice0000001'",
        "UPDATE rewards_ledger SET status = 'voided' WHERE id = 'e-alice0000002'",
        "INSERT INTO rewards_ledger (id, user_id, event_type, points, status, created_at) VALUES ('new', 'alice0000003', 'x', 0, 'posted', 1789000000)",
    ] {
        world.databases.execute(Store::Rewards, change);
    }
    let changed = dry();
    assert_eq!(
        changed["outcomes"],
        json!({ "equal": 0, "update": 3 }),
        "{changed}"
    );
}

#[test]
fn points_that_were_never_imported_are_no_unexplained_difference() {
    let world = world();
    world.put_user(ALICE, |_| {});
    world.databases.execute(
        Store::Rewards,
        &format!("INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('{ALICE}', 5, 5, 'bronze')"),
    );
    jobs::import(&world);
    let report = jobs::prove(&world);
    assert_eq!(
        (
            &report["is_equal"],
            &report["unexplained"],
            &report["differing"]
        ),
        (&json!(false), &json!(0), &json!(1)),
        "{report}"
    );
    assert_eq!(report["differences"][0]["reason"], "points_not_imported");
    // A difference that is not of points stays one.
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'Eve'");
    assert_eq!(jobs::prove(&world)["unexplained"], 1);
}

#[test]
fn findings_are_grouped_and_the_campaign_has_user_names() {
    let world = world();
    world.put_user(ALICE, |user| {
        user.username = Some("alice_in".into());
        user.name = Some("Alice".into());
    });
    jobs::import(&world);
    let people = get(&world, "/_proxy/import/readiness");
    assert_eq!(people["users"][0]["username"], "alice_in");
    for index in 0..60 {
        world.databases.execute(
            Store::Proxy,
            &format!("INSERT INTO findings (user_id, code, kind, found_at) VALUES ('u{index}', 'not_mirrored', 'repair', {})", world.now_ms()),
        );
    }
    let groups = get(&world, "/_proxy/mirror")["findings_by_code"].clone();
    assert_eq!(
        (
            &groups[0]["code"],
            &groups[0]["n"],
            groups.as_array().unwrap().len()
        ),
        (&json!("not_mirrored"), &json!(60), 1)
    );
}
