//! Who waits, who is parked, and when the relay must not write at all.

use super::*;

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
    let odd = crate::support::logto::User::new("somebodyelse", 1);
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
fn a_sign_in_is_not_discharged_before_mgpass_shows_it_or_a_newer_one() {
    let world = world_with_alice();
    let sign_in = || {
        let interaction = Interaction {
            user: Some(ALICE.into()),
            is_identified: true,
            ..Interaction::default()
        };
        let interactions = &world.logto.interactions;
        interactions.borrow_mut().insert("uid1".into(), interaction);
        let submit = Request::new("POST", "/api/experience/submit");
        let answer = world.ask(submit.header("cookie", "_interaction=uid1"));
        assert_eq!(answer.status, 200);
        let_follow_up_run(&world);
    };
    world.mgpass.cache_ms.set(30_000);
    // The turn of the first one leaves what it was shown in mgPass's cache.
    sign_in();
    world.deliver_for(1_000);
    assert_eq!(world.n_open(), 0, "{:?}", world.events.borrow());
    sign_in();
    world.deliver_for(10_000);
    assert_eq!(world.n_open(), 1, "{:?}", world.events.borrow());
    world.deliver_for(40_000);
    assert_eq!(world.n_open(), 0);
    // Somebody has signed in at mgPass itself since.
    world.mgpass.cache_ms.set(0);
    world.advance(31_000);
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET last_sign_in_at = last_sign_in_at + 86400",
    );
    sign_in();
    world.deliver_for(1_000);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn without_authority_the_relay_writes_nothing() {
    for (holder, deadline) in [("mgpass", "NULL"), ("returning", "2000000000000")] {
        let world = world_with_alice();
        patch(&world, ALICE, r#"{"name":"New"}"#);
        world.idle();
        world.databases.execute(
            Store::Proxy,
            &format!("UPDATE authority SET holder = '{holder}', deadline = {deadline}"),
        );
        let before = everything(&world);
        world.deliver();
        world.sweep();
        world.deliver();
        assert_eq!(everything(&world), before, "{holder}");
        let leased = "SELECT count(*) FROM subjects WHERE lease_until > 0";
        assert_eq!(world.value(Store::Proxy, leased), 0, "{holder}");
        assert_eq!(world.n_open(), 1);
        world.databases.execute(
            Store::Proxy,
            "UPDATE authority SET holder = 'logto', deadline = NULL",
        );
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
    world.flag("stage", "off");
    world.finish(async move {
        let settle = vec![Some(settle)];
        service::handle_queue(&node, &node.deployment, "mirror", settle).await
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
fn what_mgpass_never_shows_is_parked_after_a_long_while_and_costs_a_refusal_nothing() {
    let world = world_with_alice();
    // mgPass's API spells what it holds in another way.
    world.mgpass.shows_lower_case.set(true);
    patch(&world, ALICE, r#"{"primaryEmail":"Alice@Example.Test"}"#);
    let began_ms = world.now_ms();
    while world.parked(ALICE) == Value::Null {
        assert!(world.now_ms() - began_ms < 3_600_000, "never parked");
        world.deliver_for(10_000);
    }
    assert_eq!(world.parked(ALICE), "not_shown_by_mgpass");
    assert!(
        world.now_ms() - began_ms > 600_000,
        "a cache may take as long"
    );
    assert_eq!(world.events("mirror.failed").len(), 40);
    assert_eq!((world.n_open(), world.n_queued()), (1, 0));
    // The next refusal is of another kind, and the first of its kind.
    world.mgpass.shows_lower_case.set(false);
    let odd = crate::support::logto::User::new("somebodyelse", 1);
    let user = world.logto.users.borrow_mut().insert(ALICE.into(), odd);
    world.databases.execute(
        Store::Proxy,
        "UPDATE subjects SET parked = NULL, last_outcome = 'not_visible'",
    );
    world.wake(ALICE);
    world.deliver_for(500);
    assert_eq!(
        world.value(Store::Proxy, "SELECT failures FROM subjects"),
        1
    );
    world
        .logto
        .users
        .borrow_mut()
        .insert(ALICE.into(), user.unwrap());
    recover(&world);
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn more_wake_ups_do_not_bring_a_refused_subject_forward() {
    let world = World::new();
    let odd = crate::support::logto::User::new("somebodyelse", 1);
    world.logto.users.borrow_mut().insert(ALICE.into(), odd);
    world.wake(ALICE);
    for _ in 0..20 {
        world.deliver_for(500);
        world.wake(ALICE);
    }
    // After 0, 2 and 6 s and a bit: not once for each of twenty wake-ups.
    assert_eq!(world.events("mirror.failed").len(), 3);
    assert_eq!(world.parked(ALICE), Value::Null);
}

#[test]
fn a_record_that_outlives_the_queues_patience_is_kept_among_the_dead_letters() {
    let world = world_with_alice();
    let down = Fault::BeforeEffect;
    world.faults.always(Port::ProxyDatabase, "", down);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver_for(3_600_000);
    assert_eq!(
        (world.n_dead(), world.n_queued()),
        (2, 2),
        "open and settled"
    );
    world.deliver_for(20 * 3_600_000);
    assert_eq!((world.n_dead(), world.n_dropped.get()), (2, 0));
    world.faults.clear();
    world.deliver_for(1_000_000);
    assert_eq!((world.n_open(), world.n_queued()), (1, 0));
    recover(&world);
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!((world.n_open(), world.n_dropped.get()), (0, 0));
}

#[test]
fn a_wake_up_that_died_is_made_up_for_by_the_sweep() {
    let world = world_with_alice();
    // Somebody else seems to be at work on the subject for an hour.
    let until_ms = world.now_ms() + 3_600_000;
    let held = format!("UPDATE subjects SET lease_until = {until_ms}");
    world.databases.execute(Store::Proxy, &held);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.deliver_for(600_000);
    assert_eq!((world.n_open(), world.n_queued()), (1, 0), "given up");
    world.advance(3_600_000);
    world.sweep();
    world.deliver_for(1_000);
    assert_eq!(
        (world.user(ALICE, "name"), world.n_open()),
        (json!("New"), 0)
    );
}

#[test]
fn the_world_gives_a_message_as_many_chances_as_the_deployment() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/wrangler.toml");
    let text = std::fs::read_to_string(path).unwrap();
    for queue in ["mirror", "mirror-dead"] {
        let consumer = text
            .split("[[queues.consumers]]")
            .find(|part| part.contains(&format!("queue = \"{queue}\"\nmax_batch")))
            .unwrap();
        let retries = format!("max_retries = {}\n", crate::support::world::MAX_RETRIES);
        assert!(consumer.contains(&retries), "{queue}");
    }
}
