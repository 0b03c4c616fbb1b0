//! The slow lane: what the relay makes of mgPass, whatever happens twice, late,
//! out of order or not at all.

use std::rc::Rc;

use dual_write_proxy::flags::Stage;
use dual_write_proxy::ports::Store;
use dual_write_proxy::relay::{self, Message};
use serde_json::{Value, json};

use super::proxy::{assert_equal_at_mgpass, recover};
use super::support::logto::Interaction;
use super::support::{Fault, Port, Request, World};

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
    world.faults.once(
        Port::Logto,
        "GET /api/experience/interaction",
        0,
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
        world.deliver_for(900);
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
        newer + 1,
        "the overtaken one looks once more, under a new ticket"
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
        json!(world.proxy("SELECT passes FROM intents WHERE discharged_at IS NULL")),
        json!([{ "passes": 1 }])
    );
}

#[test]
fn a_deletion_with_two_witnesses_is_carried_over_and_frees_its_values() {
    let world = world_with_alice();
    world.logto.change(ALICE, |user| {
        user.identities = vec![("google".into(), "g-1".into(), None)]
    });
    world.wake(ALICE);
    world.deliver();
    delete(&world, ALICE);
    world.deliver();
    let row = world
        .mgpass("SELECT deleted_at IS NOT NULL AS deleted, email, phone FROM users")
        .remove(0);
    assert_eq!(
        json!(row),
        json!({ "deleted": 1, "email": null, "phone": null })
    );
    assert_eq!(world.mgpass("SELECT * FROM social_identities").len(), 0);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
    assert_eq!(n_owed(&world), 0);
    assert_eq!(world.n_open(), 0);
    let mirror = world
        .mgpass("SELECT tombstone, residue FROM logto_mirror")
        .remove(0);
    assert_eq!(json!(mirror), json!({ "tombstone": 1, "residue": null }));
    // The same person may register again.
    world.mirrored(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = vec![("google".into(), "g-1".into(), None)];
    });
}

#[test]
fn a_deletion_with_one_witness_waits_for_an_operator() {
    let world = world_with_alice();
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    assert_eq!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.user(ALICE, "email"), "alice@example.test");
    assert_eq!(
        world.events("mirror.parked")[0]["reason"],
        "deletion_unconfirmed"
    );
}

#[test]
fn a_refused_deletion_is_no_witness() {
    let world = world_with_alice();
    let answer = world.ask(Request::new("DELETE", &format!("/api/users/{ALICE}")).token("unknown"));
    assert_eq!(answer.status, 401);
    world.logto.users.borrow_mut().remove(ALICE);
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
}

#[test]
fn a_second_witness_that_comes_after_the_parking_is_found_by_the_sweep_alone() {
    let world = world_with_alice();
    world
        .faults
        .once(Port::Forward, "DELETE", 0, Fault::SlowAnswer(5_000));
    let token = world.admin_token();
    let deletion =
        world.start(Request::new("DELETE", &format!("/api/users/{ALICE}")).token(&token));
    world.advance(1_000);
    // Somebody else wakes the relay while the DELETE is unanswered.
    world.wake(ALICE);
    world.deliver_for(1_000);
    assert_eq!(world.parked(ALICE), "deletion_unconfirmed");
    world
        .faults
        .always(Port::Queue, "reconcile", Fault::CrashBefore);
    world.idle();
    assert_eq!(deletion.take().unwrap().status, 204);
    world.faults.clear();
    world.sweep();
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!((world.parked(ALICE), world.n_open()), (Value::Null, 0));
}

#[test]
fn a_parked_subject_is_left_alone_by_the_sweep_until_something_new_is_recorded() {
    let world = world_with_alice();
    world.put_user(BOB, |user| user.email = Some("own@example.test".into()));
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'own@example.test', 1)",
    );
    patch(&world, BOB, r#"{"name":"Bob"}"#);
    world.deliver();
    assert_eq!(world.parked(BOB), "value_taken_at_mgpass");
    let reads = world.logto.n_served("GET /api/users/");
    for _ in 0..5 {
        world.advance(60_000);
        world.sweep();
        world.deliver();
    }
    assert_eq!(world.logto.n_served("GET /api/users/"), reads);
    // The wake-up of the next write is lost.
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    patch(&world, BOB, r#"{"primaryEmail":"bob@example.test"}"#);
    world.idle();
    world.faults.clear();
    world.sweep();
    world.deliver();
    assert_eq!(
        (world.parked(BOB), world.user(BOB, "email")),
        (Value::Null, json!("bob@example.test"))
    );
}

#[test]
fn the_brake_stops_deletions_above_the_limit_of_an_hour() {
    let world = world_with_alice_and(&[("DELETIONS_PER_HOUR", "1")]);
    world.mirrored(BOB, |_| {});
    delete(&world, ALICE);
    world.deliver();
    delete(&world, BOB);
    world.deliver();
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_eq!(world.user(BOB, "deleted_at"), Value::Null);
    assert_eq!(world.parked(BOB), "deletion_brake");
    world.advance(3_600_000);
    world.wake(BOB);
    world.deliver();
    assert_ne!(world.user(BOB, "deleted_at"), Value::Null);
    assert_eq!(world.parked(BOB), Value::Null);
}

#[test]
fn nobody_on_either_side_still_fences_older_tickets() {
    let world = World::new();
    world.wake(ALICE);
    world.deliver();
    let mirror = world
        .mgpass("SELECT tombstone, digest FROM logto_mirror")
        .remove(0);
    assert_eq!(json!(mirror), json!({ "tombstone": 1, "digest": "" }));
    assert_eq!(world.events("mirror.reconciled")[0]["outcome"], "absent");
    // And is no hindrance to a user who comes later.
    world.mirrored(ALICE, |_| {});
}

#[test]
fn a_suspension_ends_the_sessions_at_mgpass_once() {
    let world = world_with_alice();
    suspend(&world, true);
    world.deliver();
    assert_eq!(world.user(ALICE, "is_suspended"), 1);
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(0))
    );
    patch(&world, ALICE, r#"{"name":"Again"}"#);
    world.deliver();
    recover(&world);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
}

#[test]
fn a_suspension_undone_at_once_still_ends_the_sessions() {
    let world = world_with_alice();
    suspend(&world, true);
    suspend(&world, false);
    world.deliver();
    assert_eq!(world.user(ALICE, "is_suspended"), 0);
    assert_eq!(world.mgpass.n_revoked(ALICE), 1);
}

#[test]
fn a_crash_at_any_call_of_a_suspension_leaves_neither_state_nor_sessions() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for n in 0.. {
            let world = world_with_alice();
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            let token = world.admin_token();
            let path = format!("/api/users/{ALICE}/is-suspended");
            let request = Request::new("PATCH", &path).token(&token);
            world.start(request.json(r#"{"isSuspended":true}"#));
            world.deliver();
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n > 15, "a suspension makes more calls than {n}");
                break;
            }
            recover(&world);
            assert_equal_at_mgpass(&world, ALICE);
            let is_suspended = world.logto.users.borrow()[ALICE].is_suspended;
            let n_revoked = world.mgpass.n_revoked(ALICE);
            assert!(
                n_revoked >= usize::from(is_suspended),
                "{fault:?} at call {n}"
            );
            assert_eq!(
                (world.n_open(), n_owed(&world)),
                (0, json!(0)),
                "{fault:?} at call {n}"
            );
        }
    }
}

#[test]
fn an_end_of_a_suspension_alone_ends_no_session() {
    let world = World::new();
    world.mirrored(ALICE, |user| user.is_suspended = true);
    suspend(&world, false);
    world.deliver();
    assert_eq!(
        (
            world.user(ALICE, "is_suspended"),
            world.mgpass.n_revoked(ALICE)
        ),
        (json!(0), 0)
    );
}

#[test]
fn what_mgpass_limits_stays_owed_and_the_sweep_pays_it() {
    let world = world_with_alice();
    world.mgpass.revoke_limit.set(0);
    suspend(&world, true);
    world.deliver();
    assert_eq!(world.events("mirror.effect")[0]["outcome"], "rate_limited");
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (0, json!(1))
    );
    assert_eq!(world.n_open(), 0, "the state itself is there");
    world.mgpass.revoke_limit.set(5);
    world.advance(60_000);
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(0))
    );
}

#[test]
fn an_effect_whose_payment_was_not_noted_is_paid_again_and_then_gone() {
    let world = world_with_alice();
    world.faults.once(
        Port::MgpassDatabase,
        "DELETE FROM logto_mirror_effects",
        0,
        Fault::CrashBefore,
    );
    suspend(&world, true);
    world.deliver();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (1, json!(1))
    );
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), n_owed(&world)),
        (2, json!(0))
    );
}

#[test]
fn one_effect_that_mgpass_refuses_does_not_hold_up_the_others() {
    let world = world_with_alice();
    world.mirrored(BOB, |_| {});
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO logto_mirror_effects VALUES ('odd id', 'revoke_all', 1, 1), ('alice0000001', 'revoke_all', 1, 2), ('bob000000001', 'revoke_all', 1, 3)",
    );
    world.mgpass.refused.borrow_mut().insert(ALICE.into(), 409);
    world.sweep();
    assert_eq!(
        (world.mgpass.n_revoked(ALICE), world.mgpass.n_revoked(BOB)),
        (0, 1)
    );
}

#[test]
fn a_backend_that_is_down_pauses_the_relay_and_uses_up_nobodys_attempts() {
    for (port, part, backend) in [
        (Port::Logto, "GET /api/users/", "logto"),
        (Port::Mgpass, "GET /api/users/", "mgpass"),
        (Port::MgpassDatabase, "", "mgpass"),
    ] {
        let world = world_with_alice();
        patch(&world, ALICE, r#"{"name":"New"}"#);
        world.faults.always(port, part, Fault::BeforeEffect);
        world.deliver_for(300_000);
        let row = world
            .proxy("SELECT failures, parked FROM subjects")
            .remove(0);
        assert_eq!(
            json!(row),
            json!({ "failures": 0, "parked": null }),
            "{port:?}"
        );
        assert_eq!(world.events("mirror.paused")[0]["backend"], backend);
        let paused_until = world.counter("paused_until");
        assert!(
            paused_until > world.now_ms() - 10_000,
            "{port:?}: everybody waits"
        );
        let n_tries = world.faults.count(port, part);
        world.faults.clear();
        world.deliver_for(10_000);
        assert_eq!(
            world.user(ALICE, "name"),
            "New",
            "{port:?}: back within seconds"
        );
        assert_eq!(world.n_open(), 0);
        assert!(
            n_tries < 110,
            "{port:?} was asked {n_tries} times in five minutes"
        );
    }
}

#[test]
fn while_the_relay_is_paused_a_wake_up_costs_no_lease() {
    let world = world_with_alice();
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = 1800003600000 WHERE name = 'paused_until'",
    );
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver_for(1_000);
    let now_ms = world.now_ms();
    let sql = format!("SELECT count(*) FROM subjects WHERE lease_until > {now_ms}");
    assert_eq!(world.value(Store::Proxy, &sql), 0);
    assert_eq!(world.user(ALICE, "name"), "alice");
}

#[test]
fn a_credential_or_a_discovery_out_of_order_is_nobodys_own_failure() {
    for part in ["openid-configuration", "oauth/token"] {
        let world = World::new();
        world.put_user(ALICE, |_| {});
        world.mgpass.broken.borrow_mut().push(part.to_owned());
        world.wake(ALICE);
        world.deliver_for(60_000);
        assert_eq!(world.parked(ALICE), Value::Null, "{part}");
        let failures = world.value(Store::Proxy, "SELECT failures FROM subjects");
        assert_eq!(failures, 0, "{part}");
        world.mgpass.broken.borrow_mut().clear();
        world.deliver();
        assert_eq!(world.user(ALICE, "id"), ALICE);
    }
}

#[test]
fn a_refusal_of_the_subjects_own_backs_off_and_is_parked_in_the_end() {
    let world = World::new();
    // Logto's answer for this one user is out of contract.
    let odd = super::support::logto::User::new("somebodyelse", 1);
    world.logto.users.borrow_mut().insert(ALICE.into(), odd);
    let began_ms = world.now_ms();
    world.wake(ALICE);
    let mut tries = Vec::new();
    while world.n_queued() > 0 {
        let reads = world.logto.n_served("GET /api/users/");
        world.deliver_for(1_000);
        if world.logto.n_served("GET /api/users/") > reads {
            tries.push((world.now_ms() - began_ms) / 1_000);
        }
    }
    assert_eq!(world.parked(ALICE), "too_many_failures");
    assert_eq!(tries.len(), 6, "{tries:?}");
    assert!(tries[5] - tries[4] > tries[2] - tries[1], "{tries:?}");
    let failed = world.events("mirror.failed");
    assert_eq!(failed.last().unwrap()["failures"], 6);
    assert_eq!(failed[0]["code"], "out_of_contract");
    // Somebody else is not held up.
    world.mirrored(BOB, |_| {});
    // Replayed after the cause is gone, it is as if nothing had been.
    world.put_user(ALICE, |_| {});
    world.wake(ALICE);
    world.deliver();
    let row = world
        .proxy("SELECT failures, parked, retry_at FROM subjects WHERE subject = 'alice0000001'")
        .remove(0);
    assert_eq!(
        json!(row),
        json!({ "failures": 0, "parked": null, "retry_at": null })
    );
}

#[test]
fn a_value_moves_from_its_holder_in_one_batch() {
    let world = world_with_alice();
    world.mirrored(BOB, |user| user.email = Some("bob@example.test".into()));
    world.drop_queue();
    world.logto.change(ALICE, |user| {
        user.email = None;
        user.phone = None;
    });
    world.logto.change(BOB, |user| {
        // mgPass compares addresses without case.
        user.email = Some("Alice@Example.test".into());
        user.phone = Some("14155550001".into());
    });
    world.wake(BOB);
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(world.user(BOB, "phone"), "+14155550001");
    assert_eq!(
        world
            .proxy("SELECT * FROM subjects WHERE failures > 0 OR parked IS NOT NULL")
            .len(),
        0
    );
}

#[test]
fn two_users_who_swap_their_values_move_in_one_batch() {
    let world = world_with_alice();
    let google = |id: &str| vec![("google".to_owned(), id.to_owned(), None)];
    world
        .logto
        .change(ALICE, |user| user.identities = google("g-a"));
    world.mirrored(BOB, |user| {
        user.email = Some("bob@example.test".into());
        user.identities = google("g-b");
    });
    world.wake(ALICE);
    world.deliver();
    world.logto.change(ALICE, |user| {
        user.email = Some("bob@example.test".into());
        user.identities = google("g-b");
    });
    world.logto.change(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = google("g-a");
    });
    let batches = world
        .faults
        .count(Port::MgpassDatabase, "INSERT INTO logto_mirror");
    world.wake(ALICE);
    world.deliver();
    for (id, google) in [(ALICE, "g-b"), (BOB, "g-a")] {
        assert_equal_at_mgpass(&world, id);
        let sql = format!("SELECT provider_user_id FROM social_identities WHERE user_id = '{id}'");
        assert_eq!(world.value(Store::Mgpass, &sql), google);
    }
    assert_eq!(
        world
            .faults
            .count(Port::MgpassDatabase, "INSERT INTO logto_mirror"),
        batches + 1
    );
}

#[test]
fn two_relays_that_swap_from_both_ends_come_to_an_end() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.mirrored(ALICE, |user| user.email = Some("alice@example.test".into()));
        world.mirrored(BOB, |user| user.email = Some("bob@example.test".into()));
        world
            .logto
            .change(ALICE, |user| user.email = Some("bob@example.test".into()));
        world
            .logto
            .change(BOB, |user| user.email = Some("alice@example.test".into()));
        world.wake(ALICE);
        world.wake(BOB);
        world.deliver();
        assert_equal_at_mgpass(&world, ALICE);
        assert_equal_at_mgpass(&world, BOB);
        assert_eq!(world.n_queued(), 0, "seed {seed}");
    }
}

#[test]
fn a_value_taken_over_from_a_deleted_user_moves_with_the_deletion() {
    let world = world_with_alice();
    let google = || vec![("google".to_owned(), "g-1".to_owned(), None)];
    world.logto.change(ALICE, |user| user.identities = google());
    world.wake(ALICE);
    world.deliver();
    delete(&world, ALICE);
    world.idle();
    world.drop_queue();
    world.put_user(BOB, |user| {
        user.email = Some("alice@example.test".into());
        user.identities = google();
    });
    world.wake(BOB);
    world.deliver_for(500);
    assert_ne!(world.user(ALICE, "deleted_at"), Value::Null);
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_value_that_mgpass_own_user_holds_parks_the_subject() {
    let world = world_with_alice();
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'own@example.test', 1)",
    );
    let own = world.mgpass("SELECT * FROM users WHERE id = 'usr_own'");
    patch(&world, ALICE, r#"{"primaryEmail":"own@example.test"}"#);
    world.deliver();
    assert_eq!(world.parked(ALICE), "value_taken_at_mgpass");
    assert_eq!(world.user(ALICE, "email"), "alice@example.test");
    assert_eq!(
        world.mgpass("SELECT * FROM users WHERE id = 'usr_own'"),
        own
    );
    assert_eq!(world.n_open(), 1, "the write stays recorded");
}

#[test]
fn an_identity_that_a_user_linked_at_mgpass_itself_parks_who_claims_it_too() {
    let world = world_with_alice();
    world.mirrored(BOB, |_| {});
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO social_identities VALUES ('idn_own', 'bob000000001', 'google', 'g-1', NULL, 1)",
    );
    world.logto.change(ALICE, |user| {
        user.identities = vec![("google".into(), "g-1".into(), None)]
    });
    world.wake(ALICE);
    world.deliver();
    assert_eq!(world.parked(ALICE), "value_taken_at_mgpass");
    assert_eq!(world.n_queued(), 0);
    let row = world
        .mgpass("SELECT id, user_id FROM social_identities")
        .remove(0);
    assert_eq!(json!(row), json!({ "id": "idn_own", "user_id": BOB }));
}

#[test]
fn mgpass_own_user_of_the_same_id_is_never_touched() {
    for is_at_logto in [true, false] {
        let world = World::new();
        if is_at_logto {
            world.put_user(ALICE, |user| user.name = Some("Logto's".into()));
        }
        world.databases.execute(
            Store::Mgpass,
            "INSERT INTO users (id, name, created_at) VALUES ('alice0000001', 'mgPass own', 1)",
        );
        let before = everything(&world);
        world.wake(ALICE);
        world.deliver();
        assert_eq!(world.parked(ALICE), "id_taken_at_mgpass");
        assert_eq!(everything(&world), before);
    }
}

#[test]
fn a_user_deleted_at_mgpass_is_not_brought_back() {
    let world = world_with_alice();
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET deleted_at = 5");
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver();
    assert_eq!(world.parked(ALICE), "deleted_at_mgpass");
    assert_eq!(world.user(ALICE, "deleted_at"), 5);
}

#[test]
fn what_mgpass_keeps_of_its_own_survives_a_reconcile() {
    let world = world_with_alice();
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET password_hash = 'own', last_sign_in_at = 4000000000;
         INSERT INTO social_identities VALUES ('idn_own', 'alice0000001', 'github', 'h-1', NULL, 1);
         INSERT INTO user_roles VALUES ('alice0000001', 'role_admin', 1)",
    );
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver();
    let row = world
        .mgpass("SELECT name, password_hash, last_sign_in_at FROM users")
        .remove(0);
    assert_eq!(
        json!(row),
        json!({ "name": "New", "password_hash": "own", "last_sign_in_at": 4_000_000_000_i64 })
    );
    assert_eq!(world.mgpass("SELECT * FROM social_identities").len(), 1);
    assert_eq!(world.mgpass("SELECT * FROM user_roles").len(), 2);
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
fn nothing_is_discharged_before_mgpass_shows_it() {
    let world = World::new();
    world.mgpass.cache_ms.set(30_000);
    world.mirrored(ALICE, |_| {});
    world.wake(ALICE);
    world.advance(40_000);
    // A reader warms the cache.
    world.deliver_for(0);
    world.deliver_for(500);
    let warmed_ms = world.now_ms();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver_for(5_000);
    assert_eq!(world.user(ALICE, "name"), "New");
    assert_eq!(world.n_open(), 1, "{:?}", world.events.borrow());
    world.deliver_for(60_000);
    assert_eq!(world.n_open(), 0);
    let at = world
        .value(Store::Proxy, "SELECT max(discharged_at) FROM intents")
        .as_i64()
        .unwrap();
    assert!(at - warmed_ms >= 29_000, "{}", at - warmed_ms);
    let row = world
        .proxy("SELECT failures, parked FROM subjects")
        .remove(0);
    assert_eq!(json!(row), json!({ "failures": 0, "parked": null }));
}

#[test]
fn without_authority_the_relay_writes_nothing() {
    for holder in ["draining", "mgpass"] {
        let world = world_with_alice();
        patch(&world, ALICE, r#"{"name":"New"}"#);
        world.idle();
        world.databases.execute(
            Store::Proxy,
            &format!("UPDATE authority SET holder = '{holder}'"),
        );
        let before = everything(&world);
        world.deliver();
        world.sweep();
        world.deliver();
        assert_eq!(everything(&world), before, "{holder}");
        let leased = "SELECT count(*) FROM subjects WHERE lease_until > 0";
        assert_eq!(world.value(Store::Proxy, leased), 0, "{holder}");
        assert_eq!(world.n_open(), 1);
        world
            .databases
            .execute(Store::Proxy, "UPDATE authority SET holder = 'logto'");
        recover(&world);
        assert_eq!(world.user(ALICE, "name"), "New");
    }
}

#[test]
fn in_stage_off_the_relay_writes_nothing_and_loses_nothing() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.idle();
    world.flag("stage", "off");
    let before = everything(&world);
    world.deliver();
    world.sweep();
    world.deliver();
    assert_eq!(everything(&world), before);
    assert_eq!((world.n_open(), world.n_queued()), (1, 0));
    world.flag("stage", "shadow");
    world.sweep();
    world.deliver();
    assert_eq!(
        (world.user(ALICE, "name"), world.n_open()),
        (json!("New"), 0)
    );
}

#[test]
fn a_late_record_is_kept_in_stage_off_too() {
    let world = world_with_alice();
    let node = world.node();
    let intent =
        json!({ "id": "i1", "subject": ALICE, "interaction": null, "operation": "users.patch" });
    let settle = message(json!({ "kind": "settle", "intent": intent, "status": 200 }));
    world.finish(async move {
        relay::handle(&node, &node.context(), Stage::Off, settle).await;
    });
    assert_eq!(world.n_open(), 1);
}

#[test]
fn a_schema_that_differs_is_refused_and_each_difference_named() {
    let world = World::new();
    world.databases.execute(
        Store::Mgpass,
        "ALTER TABLE users DROP COLUMN suspension_reason;
         ALTER TABLE social_identities RENAME COLUMN profile_data TO profile;
         DROP TABLE audit_logs",
    );
    world.put_user(ALICE, |_| {});
    let before = world.mgpass("SELECT * FROM logto_mirror");
    world.wake(ALICE);
    world.deliver_for(10_000);
    assert_eq!(world.mgpass("SELECT * FROM logto_mirror"), before);
    let named: Vec<_> = world
        .events("schema.refused")
        .iter()
        .map(|event| {
            format!("{} {} {}", event["table"], event["column"], event["code"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        named,
        [
            "users suspension_reason column_missing",
            "social_identities profile_data column_missing",
            "audit_logs * table_missing"
        ]
    );
    let row = world
        .proxy("SELECT failures, parked FROM subjects")
        .remove(0);
    assert_eq!(json!(row), json!({ "failures": 0, "parked": null }));
    assert!(world.counter("paused_until") > world.now_ms());
}

#[test]
fn a_sequence_that_is_behind_the_target_catches_up() {
    let world = world_with_alice();
    for _ in 0..10 {
        world.wake(ALICE);
        world.deliver();
    }
    let in_force = ticket(&world, ALICE);
    // The proxy's database was put back to an earlier state: the next ticket is far
    // behind, just behind, or the very same.
    for behind in [in_force, 3, 2, 1] {
        let in_force = ticket(&world, ALICE);
        let value = in_force - behind.min(in_force);
        world.databases.execute(
            Store::Proxy,
            &format!("UPDATE counters SET value = {value} WHERE name = 'sequence'"),
        );
        let username = format!("alice-{behind}");
        patch(
            &world,
            ALICE,
            &json!({ "username": username, "name": "Same" }).to_string(),
        );
        world.deliver();
        assert!(ticket(&world, ALICE) > in_force);
        let residue = world.value(Store::Mgpass, "SELECT residue FROM logto_mirror");
        assert!(
            residue.as_str().unwrap().contains(&username),
            "{behind} behind: {residue}"
        );
        assert_eq!(world.n_open(), 0);
    }
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
