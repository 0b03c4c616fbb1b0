//! Passes: where the walk stands, what a pass covers, what it costs.

use super::*;

#[test]
fn two_ticks_at_the_end_of_a_pass_end_it_once() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.mirrored(ALICE, |_| {});
        // The pass began before this write, which nobody could name, was settled: only
        // a later pass covers it.
        world.databases.execute(
            Store::Proxy,
            "UPDATE walk SET phase = 'mgpass', after_id = 'zzz', pass = 7, began = 0;
             INSERT INTO intents (id, operation, opened_at, expires_at, settled, status)
             SELECT 'unnamed', 'experience.submit', 0, 0, value, 200 FROM counters WHERE name = 'sequence'",
        );
        start_tick(&world);
        start_tick(&world);
        world.idle();
        let walk = &world.proxy("SELECT pass, phase FROM walk")[0];
        assert_eq!(
            (&walk["pass"], &walk["phase"]),
            (&json!(8), &json!("logto"))
        );
        let discharged =
            "SELECT count(*) FROM intents WHERE discharged_at IS NOT NULL AND id = 'unnamed'";
        assert_eq!(world.value(Store::Proxy, discharged), 0, "seed {seed}");
    }
}

/// A tick that took its time while others went through a whole pass: it stands where
/// the walk stands again, and must not move it.
#[test]
fn a_tick_of_an_earlier_pass_moves_nothing() {
    let world = world();
    world.faults.once(
        Port::ProxyDatabase,
        "UPDATE walk SET phase",
        0,
        Fault::Late(3_600_000),
    );
    start_tick(&world);
    world.advance(1_000);
    for _ in 0..3 {
        tick(&world);
    }
    let before = world.proxy("SELECT pass, phase, listed, after_id FROM walk");
    assert_eq!(
        (&before[0]["pass"], &before[0]["listed"]),
        (&json!(4), &json!(0))
    );
    world.advance(3_600_000);
    assert_eq!(
        world.events("walk.stepped").last().unwrap()["outcome"],
        "overtaken"
    );
    assert_eq!(
        world.proxy("SELECT pass, phase, listed, after_id FROM walk"),
        before
    );
}

#[test]
fn a_page_costs_a_few_statements_and_no_call_for_each_user() {
    let world = World::new();
    for index in 0..100 {
        world.put_user(&format!("user{index:08}"), |_| {});
        world.wake(&format!("user{index:08}"));
    }
    world.deliver();
    world.advance(60_000);
    let n_users = world.logto.n_served("GET /api/users/");
    let n_batches =
        || [Port::ProxyDatabase, Port::MgpassDatabase].map(|port| world.faults.count(port, ""));
    let before = n_batches();
    tick(&world);
    let [proxy, mgpass] = n_batches();
    assert_eq!(
        world.events("walk.stepped").last().unwrap()["outcome"],
        "pass_done"
    );
    assert_eq!(world.logto.n_served("GET /api/users/"), n_users);
    assert_eq!(world.logto.n_served("GET /api/users?page"), 2);
    // Two pages of the listing (the second is empty), one of mgPass's users, and what
    // asks for registrations without a name.
    assert!(proxy - before[0] <= 9, "{}", proxy - before[0]);
    assert!(mgpass - before[1] <= 5, "{}", mgpass - before[1]);
}

/// Logto's order is unstable: whom the listing did not show in this pass is asked for
/// alone, and compared just so.
#[test]
fn whom_the_listing_hid_is_compared_all_the_same() {
    let world = world();
    world
        .databases
        .execute(Store::Proxy, "UPDATE walk SET phase = 'mgpass'");
    at_mgpass(
        &world,
        "UPDATE users SET name = 'Other' WHERE id = 'bob000000001'",
    );
    pass(&world);
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(
        findings(&world, BOB),
        json!([["altered_at_mgpass", "repair", ["name"]]])
    );
}

#[test]
fn a_slow_logto_does_not_hold_cron_up_for_minutes() {
    let world = world();
    for index in 0..300 {
        world.put_user(&format!("user{index:08}"), |_| {});
        world.wake(&format!("user{index:08}"));
    }
    world.deliver();
    // Nobody was met in the listing of this pass: each is a read of its own.
    world
        .databases
        .execute(Store::Proxy, "UPDATE walk SET phase = 'mgpass'");
    world
        .faults
        .always(Port::Logto, "", Fault::SlowAnswer(7_000));
    let began_ms = world.now_ms();
    tick(&world);
    assert!(
        world.now_ms() - began_ms < 45_000,
        "{}",
        world.now_ms() - began_ms
    );
    let stepped = world.events("walk.stepped").pop().unwrap();
    assert!(stepped["n_seen"].as_i64() >= Some(4), "{stepped}");
    assert_ne!(world.value(Store::Proxy, "SELECT after_id FROM walk"), "");
}

#[test]
fn a_walk_that_cannot_go_on_says_why() {
    for (port, part, code) in [
        (Port::Logto, "/api/users?page", "unreachable"),
        (Port::MgpassDatabase, "", "database_unavailable"),
        (Port::ProxyDatabase, "UPDATE walk SET phase", "not_recorded"),
    ] {
        let world = world();
        world.faults.always(port, part, Fault::BeforeEffect);
        tick(&world);
        let delayed = world.events("walk.delayed").pop().unwrap();
        assert_eq!(delayed["code"], code);
        world.faults.clear();
        pass(&world);
    }
}
