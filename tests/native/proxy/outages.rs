//! Writes while database, Queue or flags cannot be used: what is recorded elsewhere,
//! and what is a gap.

use super::*;

#[test]
fn an_isolate_that_has_flags_goes_on_with_them_when_they_cannot_be_read() {
    let world = world_with_alice();
    let node = world.node();
    world.ask_at(&node, Request::new("GET", "/oidc/jwks"));
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    world.advance(60_000);
    let token = world.admin_token();
    for _ in 0..2 {
        world.ask_at(
            &node,
            Request::new("PATCH", "/api/users/alice0000001")
                .token(&token)
                .json(PATCH),
        );
        world.idle();
        assert_eq!(last_done(&world)["plan.mirror"], "recorded");
    }
    assert_eq!(world.events("flags.unreachable")[0]["stage"], "dual_write");
}

#[test]
fn a_write_whose_record_neither_database_nor_queue_takes_raises_the_epoch() {
    let world = world_with_alice();
    world.flag("read_percent", "100");
    assert_eq!(world.get("/api/users/alice0000001").status, 200);
    assert_eq!(last_done(&world)["backend"], "mgpass");
    let epoch = world.counter("epoch");
    world.faults.always(
        Port::ProxyDatabase,
        "INSERT INTO intents",
        Fault::BeforeEffect,
    );
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    assert_eq!(patch_alice(&world).status, 200);
    world.idle();
    assert_eq!(world.events("outbox.gap")[0]["code"], "not_recorded");
    assert_eq!(world.counter("epoch"), epoch + 1);
    assert_eq!(world.counter("unrecorded"), 1);
    world.faults.clear();
    let answer = world.get("/api/users/alice0000001");
    assert_eq!(answer.body, world.logto.json_of("alice0000001"));
    assert_eq!(last_done(&world)["plan.reason"], "not_reconciled");
}

#[test]
fn what_neither_took_before_the_write_is_taken_behind_it_if_one_can() {
    let world = world_with_alice();
    let (epoch, token) = (world.counter("epoch"), world.admin_token());
    world.faults.once(
        Port::ProxyDatabase,
        "INSERT INTO intents",
        0,
        Fault::BeforeEffect,
    );
    world.faults.once(Port::Queue, "", 0, Fault::BeforeEffect);
    let delete = Request::new("DELETE", "/api/users/alice0000001").token(&token);
    assert_eq!(world.ask(delete).status, 204);
    world.deliver();
    // A gap all the same: for a moment nothing told of it.
    assert_eq!(world.counter("epoch"), epoch + 1);
    assert_eq!(last_done(&world)["plan.mirror"], "gap");
    // With the deletion's second witness.
    assert_equal_at_mgpass(&world, "alice0000001");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn a_gap_that_could_not_be_noted_is_noted_at_the_next_chance() {
    let world = world_with_alice();
    let node = world.node();
    let epoch = world.counter("epoch");
    let token = world.admin_token();
    let request = Request::new("PATCH", "/api/users/alice0000001")
        .token(&token)
        .json(PATCH);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    world.ask_at(&node, request.clone());
    world.idle();
    assert_eq!(world.counter("epoch"), epoch);
    world.faults.clear();
    world.advance(3_000);
    world.ask_at(&node, request);
    world.idle();
    assert_eq!(world.counter("epoch"), epoch + 1);
}

#[test]
fn while_the_ledger_rests_writes_do_not_each_wait_for_it() {
    let world = world_with_alice();
    let node = world.node();
    let token = world.admin_token();
    let request = Request::new("PATCH", "/api/users/alice0000001")
        .token(&token)
        .json(PATCH);
    world.faults.always(
        Port::ProxyDatabase,
        "SELECT subject FROM intents",
        Fault::Hang,
    );
    let mut waited = Vec::new();
    for _ in 0..3 {
        let began_ms = world.now_ms();
        waited.push(world.ask_at(&node, request.clone()).at_ms - began_ms);
    }
    assert!(waited[0] >= 300, "{waited:?}");
    assert!(waited[1] < 50 && waited[2] < 50, "{waited:?}");
    assert_eq!(world.events("outbox.queued")[1]["code"], "outbox_down");
}

#[test]
fn an_insert_that_lands_late_is_harmless() {
    let world = world_with_alice();
    // After answer, settling, reconcile, discharge and purge.
    world.faults.once(
        Port::ProxyDatabase,
        "INSERT INTO intents",
        0,
        Fault::Late(200_000),
    );
    assert_eq!(patch_alice(&world).status, 200);
    world.deliver_for(10_000);
    assert_equal_at_mgpass(&world, "alice0000001");
    world.advance(100_000);
    world.sweep();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    world.advance(150_000);
    assert_eq!(world.n_open(), 1);
    recover(&world);
    assert_eq!(world.n_open(), 0);
    assert_equal_at_mgpass(&world, "alice0000001");
}

#[test]
fn a_queue_that_hangs_holds_a_client_up_for_a_second_and_no_longer() {
    let world = world_with_alice();
    world
        .faults
        .always(Port::ProxyDatabase, "INSERT INTO intents", Fault::Hang);
    world.faults.always(Port::Queue, "", Fault::Hang);
    let began_ms = world.now_ms();
    let answer = patch_alice(&world);
    assert_eq!(answer.status, 200);
    let waited_ms = answer.at_ms - began_ms;
    assert!((1_300..1_500).contains(&waited_ms), "{waited_ms}");
    world.idle();
    assert_eq!(world.events("outbox.gap")[0]["code"], "not_recorded");
    assert_eq!(world.counter("unrecorded"), 1);
}
