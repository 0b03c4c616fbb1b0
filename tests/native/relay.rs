//! The slow lane: what the relay makes of mgPass, whatever happens twice, late,
//! out of order or not at all.

use std::rc::Rc;

use dual_write_proxy::mirror::relay;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::serve::service;
use serde_json::{Value, json};

use super::proxy::{assert_equal_at_mgpass, recover};
use super::support::logto::Interaction;
use super::support::{Fault, Port, Request, World};

mod conflicts;
mod deletions;
mod effects;
mod refusals;
mod wakes;

const ALICE: &str = "alice0000001";
const BOB: &str = "bob000000001";

fn world_with_alice() -> Rc<World> {
    world_with_alice_and(&[])
}

fn world_with_alice_and(settings: &[(&str, &str)]) -> Rc<World> {
    let world = World::with(7, settings);
    world.mirrored(ALICE, |user| {
        user.username = Some("alice".into());
        user.email = Some("alice@example.test".into());
        user.phone = Some("14155550001".into());
    });
    world.events.borrow_mut().clear();
    world
}

fn patch(world: &Rc<World>, id: &str, body: &str) {
    let answer = world.write("PATCH", &format!("/api/users/{id}"), body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let_follow_up_run(world);
}

/// What follows an answer takes a few milliseconds.
fn let_follow_up_run(world: &World) {
    world.advance(100);
}

fn suspend(world: &Rc<World>, is_suspended: bool) {
    let body = json!({ "isSuspended": is_suspended }).to_string();
    let path = format!("/api/users/{ALICE}/is-suspended");
    assert_eq!(world.write("PATCH", &path, &body).status, 200);
    let_follow_up_run(world);
}

fn delete(world: &Rc<World>, id: &str) {
    assert_eq!(
        world
            .write("DELETE", &format!("/api/users/{id}"), "")
            .status,
        204
    );
    let_follow_up_run(world);
}

fn ticket(world: &World, id: &str) -> i64 {
    let sql = format!("SELECT ticket FROM logto_mirror WHERE user_id = '{id}'");
    world.value(Store::Mgpass, &sql).as_i64().unwrap()
}

fn n_owed(world: &World) -> Value {
    world.value(Store::Mgpass, "SELECT count(*) FROM logto_mirror_effects")
}

fn message(json: Value) -> Message {
    serde_json::from_value(json).unwrap()
}

/// All that mgPass has, to see that nothing was written.
fn everything(world: &World) -> String {
    let tables = [
        "users",
        "social_identities",
        "user_roles",
        "audit_logs",
        "logto_mirror",
        "logto_mirror_effects",
    ];
    let all = tables.map(|table| world.mgpass(&format!("SELECT * FROM {table} ORDER BY 1, 2")));
    json!(all).to_string()
}
#[test]
fn every_row_of_the_mapping_lands_in_its_column() {
    let world = World::new();
    world.mirrored(ALICE, |user| {
        user.username = Some("alice".into());
        user.email = Some("alice@example.test".into());
        user.phone = Some("14155550001".into());
        user.name = Some("Alice".into());
        user.avatar = Some("https://cdn.example.test/a.png".into());
        user.custom_data = r#"{"plan":"pro","n":[1.50]}"#.into();
        user.identities = vec![
            (
                "google".into(),
                "g-1".into(),
                Some(r#"{"id":"g-1"}"#.into()),
            ),
            ("facebook".into(), "f-1".into(), None),
        ];
        user.created_at = 1_700_000_000_789;
        user.last_sign_in_at = Some(1_700_000_100_999);
        user.is_suspended = true;
        user.application_id = Some("spa".into());
        user.has_password = true;
    });
    let rows = world.mgpass("SELECT * FROM users");
    assert_eq!(
        json!(rows),
        json!([{ "id": ALICE, "email": "alice@example.test", "email_verified": 1, "phone": "+14155550001",
            "phone_verified": 1, "name": "Alice", "avatar": "https://cdn.example.test/a.png",
            "metadata": r#"{"plan":"pro","n":[1.50]}"#, "password_hash": null, "is_suspended": 1,
            "suspension_reason": "suspended in Logto", "created_at": 1_700_000_000, "last_sign_in_at": 1_700_000_100,
            "deleted_at": null }])
    );
    let rows = world.mgpass("SELECT user_id, provider, provider_user_id, profile_data, id LIKE 'idn_lm_%' AS ours FROM social_identities ORDER BY provider");
    assert_eq!(
        json!(rows),
        json!([{ "user_id": ALICE, "provider": "facebook", "provider_user_id": "f-1", "profile_data": null, "ours": 1 },
            { "user_id": ALICE, "provider": "google", "provider_user_id": "g-1", "profile_data": r#"{"id":"g-1"}"#, "ours": 1 }])
    );
    let roles = world.mgpass("SELECT role_id FROM user_roles");
    assert_eq!(json!(roles), json!([{ "role_id": "role_user" }]));
    let audit = world.mgpass("SELECT event_type FROM audit_logs ORDER BY rowid");
    assert_eq!(
        json!(audit),
        json!([{ "event_type": "user.created" }, { "event_type": "user.suspended" }])
    );
    let residue = world
        .mgpass("SELECT residue, epoch, tombstone, obstacles FROM logto_mirror")
        .remove(0);
    let text = residue["residue"].as_str().unwrap();
    assert!(
        text.contains(r#""username":"alice""#) && text.contains(r#""createdAt":1700000000789"#),
        "{text}"
    );
    assert!(!text.contains("alice@example.test"), "{text}");
    assert_eq!(
        (
            &residue["epoch"],
            &residue["tombstone"],
            &residue["obstacles"]
        ),
        (&json!(1), &json!(0), &json!("[]"))
    );
}

#[test]
fn a_registration_by_interaction_arrives_under_the_id_that_logto_gave_it() {
    let world = World::new();
    world.logto.interactions.borrow_mut().insert(
        "uid1".into(),
        Interaction {
            register: Some("newbie".into()),
            ..Interaction::default()
        },
    );
    let request = |path| Request::new("POST", path).header("cookie", "_interaction=uid1");
    assert_eq!(
        world.ask(request("/api/experience/identification")).status,
        201
    );
    world.idle();
    assert_eq!(
        world.value(Store::Proxy, "SELECT subject FROM intents"),
        "register0001"
    );
    assert_eq!(world.ask(request("/api/experience/submit")).status, 200);
    world.deliver();
    assert_eq!(world.user("register0001", "name"), "newbie");
    let signed_in = world.logto.users.borrow()["register0001"]
        .last_sign_in_at
        .unwrap();
    assert_eq!(
        world.user("register0001", "last_sign_in_at"),
        signed_in / 1_000
    );
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_registration_whose_follow_up_was_cut_off_is_known_by_its_submit() {
    let world = World::new();
    world.logto.interactions.borrow_mut().insert(
        "uid1".into(),
        Interaction {
            register: Some("newbie".into()),
            ..Interaction::default()
        },
    );
    let request = |path| Request::new("POST", path).header("cookie", "_interaction=uid1");
    // Asked before the write what it is to be, and after it whose.
    world.faults.once(
        Port::Logto,
        "GET /api/experience/interaction",
        1,
        Fault::CrashBefore,
    );
    world.ask(request("/api/experience/identification"));
    world.idle();
    assert_eq!(
        world.value(Store::Proxy, "SELECT subject FROM intents"),
        Value::Null
    );
    world.faults.clear();
    // And the submit's own follow-up is cut off, too.
    world.faults.once(
        Port::ProxyDatabase,
        "UPDATE counters SET value = value + 1 WHERE name = 'sequence'",
        0,
        Fault::CrashBefore,
    );
    assert_eq!(world.ask(request("/api/experience/submit")).status, 200);
    world.idle();
    recover(&world);
    assert_eq!(world.user("register0001", "name"), "newbie");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_burst_of_writes_collapses_into_few_reconciles() {
    let world = world_with_alice();
    let reads_before = world.logto.n_served("GET /api/users/");
    for number in 0..20 {
        patch(
            &world,
            ALICE,
            &json!({ "name": format!("Alice {number}") }).to_string(),
        );
    }
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.user(ALICE, "name"), "Alice 19");
    assert_eq!(world.n_open(), 0);
    let audit = "SELECT count(*) FROM audit_logs WHERE event_type = 'user.updated'";
    assert_eq!(world.value(Store::Mgpass, audit), 1);
    assert!(world.logto.n_served("GET /api/users/") - reads_before <= 20);
}

#[test]
fn messages_that_come_twice_or_in_any_order_change_nothing() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.mirrored(ALICE, |user| user.name = Some("Alice".into()));
        world.deliveries.set(3);
        world.faults.always(
            Port::ProxyDatabase,
            "INSERT INTO intents",
            Fault::BeforeEffect,
        );
        patch(&world, ALICE, r#"{"name":"Alice 1"}"#);
        patch(&world, ALICE, r#"{"name":"Alice 2"}"#);
        world.idle();
        world.faults.clear();
        world.deliver();
        assert_eq!(world.user(ALICE, "name"), "Alice 2");
        recover(&world);
        assert_eq!(world.user(ALICE, "name"), "Alice 2");
        assert_eq!(world.n_open(), 0, "seed {seed}");
        let audit = "SELECT count(*) FROM audit_logs WHERE event_type = 'user.updated'";
        assert_eq!(world.value(Store::Mgpass, audit), 1);
    }
}

#[test]
fn a_message_that_names_nobody_is_refused_and_gone() {
    let world = World::new();
    world.enqueue(
        message(json!({ "kind": "reconcile", "subject": "two words" })),
        0,
    );
    world.deliver();
    assert_eq!(world.events("message.refused")[0]["code"], "subject");
    assert_eq!(world.n_queued(), 0);
}

#[test]
fn of_two_relays_at_once_one_waits() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.put_user(ALICE, |_| {});
        world.wake(ALICE);
        world.wake(ALICE);
        // In a batch of its own each; in one they would be one delivery.
        for delivery in world.take_due() {
            let node = world.node();
            world
                .executor
                .spawn(async move { node.deliver(vec![delivery]).await });
        }
        world.advance(900);
        assert_eq!(world.events("mirror.reconciled").len(), 1, "seed {seed}");
        assert_eq!(world.n_queued(), 1);
        world.deliver();
        let audit = "SELECT count(*) FROM audit_logs WHERE event_type = 'user.created'";
        assert_eq!(world.value(Store::Mgpass, audit), 1);
    }
}

#[test]
fn a_slow_relay_whose_lease_ran_out_is_overtaken_and_its_late_batch_changes_nothing() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"Old"}"#);
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror",
        0,
        Fault::Late(45_000),
    );
    world.deliver_for(1_000);
    let slow = ticket(&world, ALICE);
    world.advance(31_000);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver_for(2_000);
    assert_eq!(world.user(ALICE, "name"), "New");
    let (newer, before) = (ticket(&world, ALICE), everything(&world));
    assert!(newer > slow);
    assert_eq!(world.n_open(), 0);
    world.advance(20_000);
    assert_eq!(everything(&world), before);
    assert_eq!(world.parked(ALICE), Value::Null);
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "New");
    assert_eq!(
        ticket(&world, ALICE),
        newer,
        "what the overtaken one was to cover the newer one has covered"
    );
}

#[test]
fn a_batch_whose_relay_crashed_counts_like_any_other() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror",
        0,
        Fault::CrashAfter,
    );
    world.deliver_for(1_000);
    assert_eq!(world.user(ALICE, "name"), "New");
    assert_eq!(world.n_open(), 1, "applied, but nobody looked");
    world.advance(31_000);
    world.sweep();
    world.deliver();
    assert_eq!(world.n_open(), 0);
    let audit = "SELECT count(*) FROM audit_logs WHERE event_type = 'user.updated'";
    assert_eq!(world.value(Store::Mgpass, audit), 1);
}

#[test]
fn a_write_settled_after_the_read_began_is_not_discharged_by_it() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"One"}"#);
    // Logto answers the relay with what it knew before the second write.
    world.faults.once(
        Port::Logto,
        &format!("GET /api/users/{ALICE}"),
        0,
        Fault::SlowAnswer(5_000),
    );
    world.deliver_for(1_000);
    patch(&world, ALICE, r#"{"name":"Two"}"#);
    world.idle();
    assert_eq!(world.user(ALICE, "name"), "One");
    let open = world.proxy("SELECT settled FROM intents WHERE discharged_at IS NULL");
    assert_eq!(open.len(), 1);
    assert!(open[0]["settled"].as_i64().unwrap() > ticket(&world, ALICE));
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Two");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_settling_after_the_purge_comes_back_and_is_reconciled() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"One"}"#);
    world.idle();
    let id = world
        .value(Store::Proxy, "SELECT id FROM intents")
        .as_str()
        .unwrap()
        .to_owned();
    world.deliver();
    world.advance(61_000);
    world.sweep();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    world
        .logto
        .change(ALICE, |user| user.name = Some("Committed late".into()));
    let intent =
        json!({ "id": id, "subject": ALICE, "interaction": null, "operation": "users.patch" });
    world.enqueue(
        message(json!({ "kind": "settle", "intent": intent, "status": 200 })),
        0,
    );
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Committed late");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn an_open_intent_is_looked_at_when_it_expires_and_again_after_fifteen_minutes() {
    let world = world_with_alice();
    world.drop_queue();
    // Logto commits long after the proxy gave up.
    world
        .faults
        .once(Port::Forward, "", 0, Fault::Late(200_000));
    let began_ms = world.now_ms();
    let answer = world.write(
        "PATCH",
        &format!("/api/users/{ALICE}"),
        r#"{"name":"Late"}"#,
    );
    assert_eq!(answer.status, 504);
    let mut looked_at_s = Vec::new();
    let mut equal_at_s = None;
    while world.now_ms() - began_ms < 1_200_000 {
        let reads = world.logto.n_served("GET /api/users/");
        world.sweep();
        world.deliver_for(59_000);
        let minute = (world.now_ms() - began_ms) / 1_000;
        if world.logto.n_served("GET /api/users/") > reads {
            looked_at_s.push(minute);
        }
        if world.user(ALICE, "name") == "Late" && equal_at_s.is_none() {
            equal_at_s = Some(minute);
        }
        world.advance(1_000);
    }
    assert_eq!(looked_at_s.len(), 2, "{looked_at_s:?}");
    assert!(
        equal_at_s.is_some_and(|at| (900..1_000).contains(&at)),
        "{equal_at_s:?}"
    );
    assert_eq!(world.n_open(), 0);
}

#[test]
fn an_open_intent_is_not_discharged_by_its_first_look() {
    let world = world_with_alice();
    world.faults.once(Port::Forward, "", 0, Fault::AfterEffect);
    world.write(
        "PATCH",
        &format!("/api/users/{ALICE}"),
        r#"{"name":"Done"}"#,
    );
    world.faults.clear();
    world.advance(61_000);
    world.sweep();
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Done");
    assert_eq!(
        json!(world.proxy("SELECT expiry_checks FROM intents WHERE discharged_at IS NULL")),
        json!([{ "expiry_checks": 1 }])
    );
}

#[test]
fn an_unknown_provider_is_an_obstacle_of_that_identity_alone() {
    let world = World::new();
    world.mirrored(ALICE, |user| {
        user.identities = vec![
            ("wechat".into(), "w-1".into(), None),
            ("google".into(), "g-1".into(), None),
        ];
        user.phone = Some("0041".into());
    });
    let providers = world.mgpass("SELECT provider FROM social_identities");
    assert_eq!(json!(providers), json!([{ "provider": "google" }]));
    let obstacles = world.value(Store::Mgpass, "SELECT obstacles FROM logto_mirror");
    assert_eq!(obstacles, r#"["phone_not_e164","unknown_provider:wechat"]"#);
    assert_eq!(world.parked(ALICE), Value::Null);
}

#[test]
fn the_sweep_wakes_what_nobody_woke_and_removes_what_is_done() {
    let world = world_with_alice();
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.idle();
    // Even without a Queue it delivers, by itself.
    world.sweep();
    assert_eq!(world.user(ALICE, "name"), "New");
    world.faults.clear();
    assert_eq!(
        world.proxy("SELECT * FROM intents").len(),
        1,
        "kept a while for the fence"
    );
    world.advance(61_000);
    world.sweep();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    assert_eq!(world.events("sweep.done").last().unwrap()["n_purged"], 1);
}
