//! Nobody reads less than they were told was written, whoever of the proxy's own is down.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::super::support::{Fault, Node, Port, Request, World};
use super::{ALICE, PATH, check_logto, check_mgpass, check_same_from_logto, done, read, world};

#[test]
fn a_read_never_shows_less_than_its_own_write() {
    let world = world();
    world.write("PATCH", PATH, r#"{"name":"New"}"#);
    check_same_from_logto(&world, "fence");
    world.deliver_for(1_000);
    assert_eq!(world.n_open(), 0);
    // A request that began before the discharge would still be fenced: two seconds
    // stand for the clocks.
    check_same_from_logto(&world, "fence");
    world.advance(2_100);
    check_mgpass(&world);
}

/// One isolate's reads go where they should, and none shows an older state.
#[track_caller]
fn check_at(world: &Rc<World>, node: &Node, backend: &str, reason: &str) {
    let answer = world.ask_at(node, read(world));
    let done = done(world);
    assert_eq!(
        (&done["backend"], &done["plan.reason"]),
        (&json!(backend), &json!(reason))
    );
    assert_eq!(
        (answer.status, answer.body),
        (200, world.logto.json_of(ALICE))
    );
}

#[test]
fn an_isolate_whose_write_only_the_queue_took_doubts_the_outbox_until_it_is_told() {
    let world = world();
    let node = world.node();
    world.queue_delay_ms.set(20_000);
    let down = || {
        world
            .faults
            .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    };
    down();
    let write = Request::new("PATCH", PATH).token(&world.admin_token());
    let answer = world.ask_at(&node, write.json(r#"{"name":"New"}"#));
    assert_eq!(answer.status, 200);
    world.idle();
    world.faults.clear();
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 0);
    check_at(&world, &node, "logto", "eligibility_unknown");
    // Down once more in between: the doubt begins anew.
    world.advance(10_000);
    down();
    check_at(&world, &node, "logto", "eligibility_unknown");
    world.faults.clear();
    for _ in 0..44 {
        check_at(&world, &node, "logto", "eligibility_unknown");
        world.deliver_for(1_000);
    }
    assert_eq!(world.proxy("SELECT * FROM intents").len(), 1);
    world.deliver_for(2_000);
    check_at(&world, &node, "mgpass", "in_share");
}

#[test]
fn a_read_that_finds_the_outbox_down_begins_no_doubt_of_its_own() {
    let world = world();
    let node = world.node();
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    check_at(&world, &node, "logto", "eligibility_unknown");
    world.faults.clear();
    check_at(&world, &node, "mgpass", "in_share");
}

#[test]
fn while_an_isolate_records_by_the_queue_its_reads_stay_at_logto() {
    let world = world();
    world.put_user("bob000000001", |_| {});
    let node = world.node();
    // Bob's insert is slow, and for two seconds nobody's is waited for.
    world.faults.once(
        Port::ProxyDatabase,
        "INSERT INTO intents",
        0,
        Fault::SlowAnswer(1_000),
    );
    let write = Request::new("PATCH", "/api/users/bob000000001").token(&world.admin_token());
    let answer = world.ask_at(&node, write.json(r#"{"name":"New"}"#));
    assert_eq!(answer.status, 200);
    assert_eq!(done(&world)["plan.mirror"], "queued");
    check_at(&world, &node, "logto", "eligibility_unknown");
    world.advance(2_100);
    check_at(&world, &node, "mgpass", "in_share");
}

#[test]
fn a_write_that_was_not_answered_fences_as_well() {
    let world = world();
    world
        .faults
        .once(Port::Forward, "PATCH", 0, Fault::AfterEffect);
    assert_eq!(world.write("PATCH", PATH, r#"{"name":"New"}"#).status, 502);
    check_same_from_logto(&world, "fence");
    world.advance(100_000);
    world.sweep();
    world.deliver();
    check_same_from_logto(&world, "fence");
}

#[test]
fn somebody_elses_write_fences_nobody() {
    let world = world();
    world.put_user("bob000000001", |_| {});
    world.write("PATCH", "/api/users/bob000000001", r#"{"name":"New"}"#);
    check_mgpass(&world);
}

#[test]
fn a_read_during_a_write_is_fenced_from_its_first_moment() {
    let world = world();
    world
        .faults
        .once(Port::Forward, "PATCH", 0, Fault::SlowAnswer(5_000));
    let token = world.admin_token();
    let write = world.start(
        Request::new("PATCH", PATH)
            .token(&token)
            .json(r#"{"name":"New"}"#),
    );
    world.advance(1_000);
    check_same_from_logto(&world, "fence");
    world.idle();
    assert_eq!(write.take().unwrap().status, 200);
}

#[test]
fn after_a_gap_nobody_is_eligible_until_reconciled_anew() {
    let world = world();
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = value + 1 WHERE name = 'epoch'",
    );
    check_same_from_logto(&world, "not_reconciled");
    world.wake(ALICE);
    world.deliver();
    check_mgpass(&world);
}

#[test]
fn who_was_never_mirrored_or_is_deleted_reads_from_logto() {
    let world = world();
    world.put_user("carol0000001", |_| {});
    let token = world.admin_token();
    let request = Request::new("GET", "/api/users/carol0000001").token(&token);
    assert_eq!(check_logto(&world, request, "not_reconciled").status, 200);
    let request = Request::new("GET", "/api/users/nobody000001").token(&token);
    assert_eq!(check_logto(&world, request, "not_reconciled").status, 404);
    world.write("DELETE", PATH, "");
    world.deliver();
    world.advance(10_000);
    assert_eq!(
        check_logto(&world, read(&world), "not_reconciled").status,
        404
    );
}
