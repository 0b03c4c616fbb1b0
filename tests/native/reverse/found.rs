//! What is found without a write through the proxy: by mgPass's audit log, by the walk, by
//! Logto's webhooks; and the way back to Logto with what was found.

use dual_write_proxy::handover::debt;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::super::support::handover as armed;
use super::super::support::webhooks::{SECRET, delivery};
use super::*;

const OWN: &str = "usr_own_of_mgpass";

fn log(world: &World, id: &str, event: &str, actor: &str, user: &str) {
    let sql = format!(
        "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) VALUES ('{id}', '{event}', 'admin', '{actor}', 'user', '{user}', {})",
        world.now_ms() / 1_000
    );
    world.databases.execute(Store::Mgpass, &sql);
}

/// A run of cron and what it wakes.
fn tick(world: &Rc<World>) {
    world.tick();
    world.deliver();
    world.assert_within_limits();
}

fn summary(world: &World) -> debt::Summary {
    let results = world
        .databases
        .batch(Store::Proxy, &debt::summary())
        .unwrap();
    debt::parse_summary(&results).unwrap()
}

fn classes(world: &World) -> Vec<(String, i64)> {
    let classes = summary(world).classes;
    classes
        .into_iter()
        .map(|one| (one.class, one.n_users))
        .collect()
}

/// The authority handed over as it is in production, with Alice and Bob on both sides.
fn handed_over() -> Rc<World> {
    let world = armed::world_with(&[("LOGTO_WEBHOOK_SECRET", SECRET)]);
    world.mirrored(ALICE, |user| user.name = Some("Alice".into()));
    world.mirrored(BOB, |user| user.name = Some("Bob".into()));
    world.handed_over();
    world.drop_queue();
    world.logto.served.borrow_mut().clear();
    world
}

#[test]
fn the_audit_log_brings_a_change_to_logto_without_the_walk() {
    let world = handed_over();
    tick(&world);
    edit(&world, ALICE, "name = 'Portal'");
    log(&world, "a1", "user.updated", "adm", ALICE);
    edit(&world, BOB, "is_suspended = 1");
    log(&world, "a2", "user.suspended", "adm", BOB);
    world.advance(6_000);
    let node = world.node();
    world.finish(async move { dual_write_proxy::mirror::reverse::feed::turn(&node).await });
    world.deliver();
    assert_eq!(at_logto(&world, ALICE)["name"], "Portal");
    assert_eq!(at_logto(&world, BOB)["isSuspended"], true);
    let cursor = world.counter("feed");
    let newest = world.value(Store::Mgpass, "SELECT max(rowid) FROM audit_logs");
    assert!(cursor >= newest.as_i64().unwrap() - 4, "{cursor} {newest}");
    assert!(summary(&world).feed_at_ms.is_some());
}

#[test]
fn who_registers_at_mgpass_and_who_sets_a_factor_there_is_owed_by_class() {
    let world = handed_over();
    // Was there before: never Logto's to have.
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_before', 'before@example.test', 1700000000)",
    );
    let sql = format!(
        "INSERT INTO users (id, email, created_at) VALUES ('{OWN}', 'own@example.test', {})",
        world.now_ms() / 1_000
    );
    world.databases.execute(Store::Mgpass, &sql);
    log(&world, "a1", "mfa.enabled", ALICE, ALICE);
    log(&world, "a2", "user.updated", "usr_before", "usr_before");
    tick(&world);
    tick(&world);
    assert_eq!(
        debts(&world),
        [
            "alice0000001 credential_at_mgpass factor".to_owned(),
            format!("{OWN} born_at_mgpass registered_at_mgpass"),
        ]
    );
    let expected = [
        ("born_at_mgpass".to_owned(), 1),
        ("credential_at_mgpass".to_owned(), 1),
    ];
    assert_eq!(classes(&world), expected);
}

#[test]
fn the_walk_finds_what_nothing_told_of() {
    let world = handed_over();
    // Changed at mgPass without an event, at Logto around the proxy, and made there.
    edit(&world, ALICE, "name = 'Silent'");
    world.logto.change(BOB, |user| {
        user.avatar = Some("https://x.test/x.png".into())
    });
    world.put_user("zoe000000001", |_| {});
    for _ in 0..3 {
        tick(&world);
    }
    assert_eq!(at_logto(&world, ALICE)["name"], "Silent");
    let strays = ["zoe000000001 user walk", "bob000000001 avatar walk"];
    let mut found = open_strays(&world);
    found.sort();
    let mut expected = strays.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    // The sum is right as of the walk, and it says since when.
    let summary = summary(&world);
    assert!(summary.as_of_ms().is_some());
    assert_eq!(summary.n_users, 2);
    assert_eq!(classes(&world), [("stray".to_owned(), 2)]);
    // Deleted at Logto by somebody: mgPass keeps the user.
    world.logto.users.borrow_mut().remove(ALICE);
    for _ in 0..3 {
        tick(&world);
    }
    assert!(open_strays(&world).contains(&"alice0000001 user walk".to_owned()));
    assert_eq!(world.user(ALICE, "deleted_at"), Value::Null);
}

#[test]
fn a_webhook_finds_a_stray_and_our_own_start_nothing() {
    let world = handed_over();
    world
        .logto
        .change(ALICE, |user| user.name = Some("Theirs".into()));
    let told = json!({ "event": "User.Data.Updated", "params": { "userId": ALICE }, "data": {} });
    assert_eq!(world.ask(delivery(&told)).status, 204);
    world.deliver();
    assert_eq!(open_strays(&world), ["alice0000001 name webhook"]);
    // Ours.
    edit(&world, BOB, "name = 'Ours'");
    let statements = Trigger::Walk.each(&[UserId::parse(BOB).unwrap()]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world.send_wake(BOB);
    world.idle();
    world.deliver_one();
    assert_eq!(at_logto(&world, BOB)["name"], "Ours");
    let told = json!({ "event": "User.Data.Updated", "params": { "userId": BOB }, "data": {} });
    assert_eq!(world.ask(delivery(&told)).status, 204);
    assert_eq!(world.n_open(), 0);
    assert_eq!(open_strays(&world).len(), 1);
}

#[test]
fn the_way_back_drains_what_is_pending_holds_the_rest_and_leaves_both_sides_equal() {
    let world = handed_over();
    edit(&world, ALICE, "name = 'Pending'");
    let statements = Trigger::Walk.each(&[UserId::parse(ALICE).unwrap()]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world
        .logto
        .change(BOB, |user| user.name = Some("Theirs".into()));
    look(&world, Trigger::Walk, BOB);
    assert_eq!(open_strays(&world), ["bob000000001 name walk"]);
    world.wish(Some(Stage::DualWrite));
    world.operate();
    assert_eq!(world.holder(), "returning");
    world.send_wake(ALICE);
    world.deliver();
    world.nudge();
    assert_eq!(world.holder(), "logto");
    assert_eq!(at_logto(&world, ALICE)["name"], "Pending");
    let held = world.proxy("SELECT subject, reason, detail FROM held_subjects");
    assert_eq!(
        json!(held),
        json!([{ "subject": BOB, "reason": "debt", "detail": "stray" }])
    );
    // Forward again, equal: what was carried is no edit of anybody's.
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Pending");
    assert_eq!(world.parked(ALICE), Value::Null);
    let altered = world.proxy("SELECT code FROM findings");
    assert!(altered.is_empty(), "{altered:?}");
}

#[test]
fn with_mgpass_dead_debt_is_abandoned_by_name_and_nothing_late_is_sent() {
    let world = handed_over();
    edit(&world, ALICE, "name = 'Lost for now'");
    let statements = Trigger::Walk.each(&[UserId::parse(ALICE).unwrap()]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world.faults.always(
        super::super::support::Port::MgpassDatabase,
        "",
        super::super::support::Fault::BeforeEffect,
    );
    let node = world.node();
    let generation = world.finish(async move {
        dual_write_proxy::handover::advance::abandon(&node, &node.context().settings.handover).await
    });
    assert!(generation.unwrap().unwrap().is_some());
    assert_eq!(world.holder(), "logto");
    let held = world.proxy("SELECT subject, reason, detail FROM held_subjects");
    assert_eq!(
        json!(held),
        json!([{ "subject": ALICE, "reason": "debt_abandoned", "detail": "pending" }])
    );
    world.faults.clear();
    world.send_wake(ALICE);
    world.deliver();
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
    assert_eq!(at_logto(&world, ALICE)["name"], "Alice");
    assert_eq!(world.user(ALICE, "name"), "Lost for now");
}

const ADMIN: &str = "admin";

fn operator(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let path = format!("/_proxy/{path}");
    let answer = world.ask(super::super::support::Request::new(method, &path).token(ADMIN));
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[test]
fn an_operator_sees_debt_by_class_and_user_and_decides_on_strays() {
    let world = handed_over();
    world.put_user("zoe000000001", |_| {});
    world
        .logto
        .change(ALICE, |user| user.name = Some("Theirs".into()));
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO strays (subject, operation, found_at, source) VALUES (NULL, 'experience.submit', 1, 'late_record')",
    );
    edit(&world, BOB, "deleted_at = 1800000000, email = NULL");
    for _ in 0..3 {
        tick(&world);
    }
    let (status, sum) = operator(&world, "GET", "debt?count=true");
    assert_eq!((status, &sum["users"]), (200, &json!(4)), "{sum}");
    assert!(sum["right_as_of"].is_i64(), "{sum}");
    // Page by page it is all of it, once.
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("debt?limit=1&after={}", after.replace(' ', "%20"));
        let (status, page) = operator(&world, "GET", &path);
        assert_eq!(status, 200, "{page}");
        for row in page["debt"].as_array().unwrap() {
            rows.push(format!(
                "{} {}",
                row["class"].as_str().unwrap(),
                row["code"].as_str().unwrap()
            ));
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    rows.sort();
    let expected = [
        "refused_by_logto deletion_unconfirmed",
        "stray experience.submit",
        "stray name",
        "stray user",
    ];
    assert_eq!(rows, expected);
    let (_, strays) = operator(&world, "GET", &format!("strays?user={ALICE}"));
    assert_eq!(strays["strays"][0]["path"], "name");
    // Decided, one after the other; the unnamed one by its number.
    let (status, _) = operator(
        &world,
        "POST",
        &format!("strays/resolve?user={ALICE}&towards=mgpass"),
    );
    assert_eq!(status, 200);
    world.deliver();
    assert_eq!(at_logto(&world, ALICE)["name"], "Alice");
    let unnamed = "SELECT id FROM strays WHERE subject IS NULL";
    let id = world.value(Store::Proxy, unnamed);
    assert_eq!(
        operator(&world, "POST", &format!("strays/resolve?id={id}")).0,
        200
    );
    assert_eq!(
        operator(&world, "POST", &format!("strays/resolve?id={id}")).0,
        404
    );
    assert_eq!(
        operator(&world, "POST", &format!("strays/resolve?user={ALICE}")).0,
        400
    );
    let (_, left) = operator(&world, "GET", "strays");
    assert_eq!(left["strays"].as_array().unwrap().len(), 1, "{left}");
}

/// Whatever users look like, what the page of an import leaves is what a look goes by.
#[test]
fn who_was_imported_and_changed_by_nobody_is_sent_nothing_and_who_was_is_sent_that() {
    use super::super::jobs;
    let world = jobs::world();
    jobs::populate(&world, 80);
    jobs::import(&world);
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.drop_queue();
    hand_over(&world, "mgpass", 5);
    world.logto.served.borrow_mut().clear();
    let before: Vec<_> = world
        .logto
        .users
        .borrow()
        .values()
        .map(|user| user.json())
        .collect();
    // By the walk, which finds nothing; and one by one, without it.
    for _ in 0..3 {
        tick(&world);
    }
    assert_eq!(
        world.proxy("SELECT * FROM intents"),
        Vec::<dual_write_proxy::runtime::ports::Row>::new()
    );
    for index in 0..80 {
        let user = UserId::parse(&format!("user{index:08}")).unwrap();
        world
            .databases
            .batch(
                Store::Proxy,
                &Trigger::Walk.each(std::slice::from_ref(&user)),
            )
            .unwrap();
        world.send_wake(user.as_str());
    }
    world.deliver();
    assert_eq!(
        (writes_at_logto(&world), open_strays(&world)),
        (vec![], vec![])
    );
    assert_eq!(world.n_open(), 0);
    let after: Vec<_> = world
        .logto
        .users
        .borrow()
        .values()
        .map(|user| user.json())
        .collect();
    assert_eq!(before, after);
    // Everybody's name, and a suspension here and there.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET name = 'N ' || id, is_suspended = (id LIKE '%7')",
    );
    for _ in 0..3 {
        tick(&world);
    }
    for index in 0..80 {
        let id = format!("user{index:08}");
        let logto = at_logto(&world, &id);
        assert_eq!(logto["name"], format!("N {id}"));
        assert_eq!(logto["isSuspended"], id.ends_with('7'));
    }
    assert_eq!((debts(&world), open_strays(&world)), (vec![], vec![]));
}
