//! The way into cleanup: by its gates, and by nothing else.

use super::*;
use crate::support::handover::cleanup_note;

const DAY_MS: i64 = 86_400_000;

/// All that the gates ask for, but for the wish.
fn ready() -> Rc<World> {
    let world = prepared();
    world.has_rewards.set(false);
    let (now_ms, proxy) = (world.now_ms(), |sql: &str| {
        world.databases.execute(Store::Proxy, sql);
    });
    proxy(&format!(
        "DELETE FROM dependencies; INSERT INTO authority_log (at, from_holder, to_holder, generation, term, cause)
         VALUES ({}, 'draining', 'mgpass', 5, 1, 'drained')",
        now_ms - 7 * DAY_MS
    ));
    let statements = [
        cleanup_note("residue", 1_000_000),
        cleanup_note("refresh_tokens", now_ms),
        facts::keep_evidence("checklist", "c1", &[], now_ms),
        facts::keep_evidence("certificate", "c2", &[], now_ms),
    ];
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world
}

#[test]
fn cleanup_is_a_wish_that_the_open_gates_carry_out() {
    let world = ready();
    world.tick();
    // KV's value was the first that was seen: no change, so no wish.
    assert_eq!(world.holder(), "mgpass");
    world.wish(Some(Stage::Cleanup));
    let ran = world.operate();
    assert_eq!(world.holder(), "alone", "{:?}", ran.gates);
    assert_eq!(world.moves().last().unwrap(), "mgpass>alone wish");
    assert_eq!(world.told_generation(), world.generation());
    let logged = world.proxy("SELECT evidence, term FROM authority_log ORDER BY id DESC LIMIT 1");
    assert_eq!(logged[0]["evidence"].as_str().unwrap().len(), 64);
    assert_eq!(logged[0]["term"], 1, "no hand-over");
    world.logto.served.borrow_mut().clear();
    world.tick();
    nothing_reached_logto(&world);
}

#[test]
fn a_change_of_the_flag_is_a_wish_as_well() {
    let world = ready();
    world.flag("stage", "cutover");
    world.tick();
    world.flag("stage", "cleanup");
    world.tick();
    assert_eq!(world.holder(), "mgpass", "a place may be late");
    world.advance(120_000);
    world.tick();
    assert_eq!(world.holder(), "alone");
}

#[test]
fn one_shut_gate_keeps_it_where_it_is_and_is_named() {
    let check = |change: &dyn Fn(&World), expected: &str| {
        let world = ready();
        change(&world);
        world.wish(Some(Stage::Cleanup));
        let ran = world.operate();
        assert_eq!(world.holder(), "mgpass", "{expected}");
        assert_eq!(ran.waits, Some("gates"));
        let gates = ran.gates.unwrap();
        let shut: Vec<_> = gates
            .iter()
            .filter(|gate| gate.state == dual_write_proxy::handover::gates::State::Shut)
            .map(|gate| gate.name)
            .collect();
        assert_eq!(shut, [expected]);
    };
    let sql = |sql: &'static str| move |world: &World| world.databases.execute(Store::Proxy, sql);
    check(&|world| world.flag("stage", "cutover"), "flag");
    check(&sql("UPDATE authority_log SET at = at + 1000"), "days");
    check(
        &|world| {
            let recent = world.now_ms() - 3_600_000 * 71;
            world.databases.execute(
                Store::Proxy,
                &format!(
                    "INSERT INTO dependencies VALUES ('news00000000', 'refresh_token', {recent}, 3)"
                ),
            );
        },
        "dependencies",
    );
    check(
        &sql("DELETE FROM cleanup_notes WHERE name = 'residue'"),
        "residue",
    );
    check(
        &|world| {
            world.faults.always(
                Port::MgpassDatabase,
                "FROM logto_mirror WHERE residue",
                Fault::BeforeEffect,
            )
        },
        "residue",
    );
    check(
        &sql("UPDATE evidence SET at = 1 WHERE kind = 'checklist'"),
        "checklist",
    );
    check(&|world| world.has_rewards.set(true), "points");
    check(
        &sql("DELETE FROM cleanup_notes WHERE name = 'refresh_tokens'"),
        "refresh_tokens",
    );
    check(&|world| *world.imported_keys.borrow_mut() = None, "keys");
    check(&sql("DELETE FROM old_issuer"), "issuer");
    check(
        &sql("DELETE FROM evidence WHERE kind = 'certificate'"),
        "certificate",
    );
}

#[test]
fn a_quiet_application_is_no_dependency_and_points_are_compared() {
    let world = ready();
    world.has_rewards.set(true);
    let long_ago = world.now_ms() - 3_600_000 * 73;
    let points = |n: i64| {
        format!("{{\"n_imported\":{n},\"imported_sum\":9,\"n_entries\":{n},\"n_adrift\":0}}")
    };
    world.databases.execute(
        Store::Proxy,
        &format!(
            "INSERT INTO dependencies VALUES ('news00000000', 'refresh_token', {long_ago}, 3);
             UPDATE cutover_watch SET term = 1, points_first = '{}', points_last = '{}'",
            points(5),
            points(5)
        ),
    );
    world.wish(Some(Stage::Cleanup));
    let ran = world.operate();
    assert_eq!(world.holder(), "alone", "{:?}", ran.gates);
}

#[test]
fn nobody_goes_back_once_clearing_has_begun() {
    let world = world();
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO cleanup_steps (step, began_at) VALUES ('effects', 1)",
    );
    world.wish(Some(Stage::Cutover));
    let ran = world.operate();
    assert_eq!(ran.waits, Some("cleared"));
    assert_eq!(world.holder(), "alone");
}

#[test]
fn from_logto_there_is_no_step_to_cleanup() {
    let world = ready();
    hand_over(&world, "logto", 7);
    world.flag("stage", "dual_write");
    world.operate();
    world.flag("stage", "cleanup");
    world.operate();
    assert_eq!(
        world.value(Store::Proxy, "SELECT wish FROM authority"),
        Value::Null
    );
    let wished = world.events("authority.wished");
    assert_eq!(wished.last().unwrap()["outcome"], "not_one_step");
}
