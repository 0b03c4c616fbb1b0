//! Forward: wish, gates, announcement, draining, the hand-over itself.

use std::rc::Rc;

use dual_write_proxy::handover::gates::State;
use dual_write_proxy::handover::hung::{let_go, parse_let_go};
use dual_write_proxy::handover::machine::Move;
use dual_write_proxy::handover::moves::{Step, parse_moved};
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use crate::support::handover::{ANNOUNCEMENT_MS, DEADLINE_MS, world};
use crate::support::logto::{HANDOVER_SECRET, ORIGIN_SECRET};
use crate::support::{Fault, Port, World};

#[test]
fn a_hand_over_is_announced_drained_and_done_each_move_in_the_log_and_in_both_databases() {
    let world = world();
    world.prepare();
    world.arm();
    world.wish(Some(Stage::Cutover));
    let ran = world.operate();
    assert_eq!(ran.waits, Some("announced"));
    assert_eq!(
        (world.holder(), world.generation(), world.told_generation()),
        ("logto", 1, 1)
    );
    world.advance(ANNOUNCEMENT_MS - 1_000);
    world.guard_passes();
    assert_eq!(world.operate().moved, []);
    world.advance(1_000);
    world.operate();
    assert_eq!(world.holder(), "mgpass");
    assert_eq!((world.generation(), world.told_generation()), (3, 3));
    assert_eq!(
        world.moves(),
        [
            "logto>logto announced",
            "logto>draining wish",
            "draining>mgpass drained"
        ]
    );
    let log = world.proxy(
        "SELECT generation, term, wish, evidence, waivers, held_ms FROM authority_log ORDER BY id",
    );
    assert_eq!(
        log.iter()
            .map(|row| (row["generation"].clone(), row["term"].clone()))
            .collect::<Vec<_>>(),
        [
            (json!(1), json!(1)),
            (json!(2), json!(1)),
            (json!(3), json!(2))
        ]
    );
    assert!(log.iter().all(|row| row["wish"] == "cutover"));
    assert_eq!(log[1]["evidence"].as_str().unwrap().len(), 64);
    assert!(
        log[1]["waivers"]
            .as_str()
            .unwrap()
            .contains("they stay at Logto")
    );
    assert!(log[2]["held_ms"].as_i64().unwrap() < 1_000, "{:?}", log[2]);
    let (authority, _) = world.authority();
    assert_eq!((authority.wish, authority.announced), (None, None));
    // Nothing more is wished, and nothing more happens.
    world.tick();
    assert_eq!(world.generation(), 3);
}

#[test]
fn each_gate_alone_keeps_the_hand_over_from_being_announced_and_says_so() {
    let check = |gate: &str, shut: &dyn Fn(&Rc<World>)| {
        let world = world();
        world.prepare();
        world.arm();
        world.wish(Some(Stage::Cutover));
        shut(&world);
        let ran = world.operate();
        assert_eq!(ran.waits, Some("gates"), "{gate}");
        let gates = ran.gates.unwrap();
        let named: Vec<_> = gates
            .iter()
            .filter(|gate| gate.state == State::Shut)
            .map(|gate| gate.name)
            .collect();
        assert_eq!(named, [gate]);
        assert_eq!(world.moves(), [""; 0]);
    };
    let proxy =
        |sql: &'static str| move |world: &Rc<World>| world.databases.execute(Store::Proxy, sql);
    check("armed", &proxy("UPDATE authority SET armed_until = 0"));
    check("armed", &|world| {
        world.logto.secrets.borrow_mut().push(ORIGIN_SECRET);
    });
    check("armed", &|world| world.logto.is_closed.set(false));
    check("armed", &|world| world.logto.secrets.borrow_mut().clear());
    check("armed", &|world| {
        world
            .faults
            .always(Port::Logto, "/api/status", Fault::BeforeEffect);
    });
    check(
        "checklist",
        &proxy("DELETE FROM evidence WHERE kind = 'checklist'"),
    );
    check(
        "checklist",
        &proxy("UPDATE evidence SET not_green = '[\"points\"]' WHERE kind = 'checklist'"),
    );
    check(
        "certificate",
        &proxy("UPDATE evidence SET term = 0 WHERE kind = 'certificate'"),
    );
    check("equality", &proxy("DELETE FROM jobs"));
    check("equality", &|world| {
        world.databases.execute(
            Store::Proxy,
            "INSERT INTO job_users (kind, user_id, job, pass, outcome, reason) SELECT 'equality', 'u1', id, 1, 'differs', 'unexplained' FROM jobs",
        );
    });
    check(
        "parked",
        &proxy(
            "INSERT INTO subjects (subject, lease_holder, lease_until, parked) VALUES ('u1', '', 0, 'too_large')",
        ),
    );
    check(
        "parked",
        &proxy("INSERT INTO held_subjects VALUES ('u1', 'stray', 0, NULL)"),
    );
    check("intents", &|world| {
        world.pending_write("i1", "u1");
        let sql = "UPDATE intents SET subject = NULL";
        world.databases.execute(Store::Proxy, sql);
    });
    check("intents", &|world| {
        world.hanging_write("i1", "u1");
        let sql = "UPDATE intents SET expires_at = 0";
        world.databases.execute(Store::Proxy, sql);
    });
    check("epoch", &|world| {
        world.mirrored("u1", |_| {});
        let sql = "UPDATE counters SET value = value + 1 WHERE name = 'epoch'";
        world.databases.execute(Store::Proxy, sql);
    });
    check("reads", &|world| world.flag("read_percent", "99.99"));
    check("reads", &|world| world.flag("read_percent.users.get", "50"));
    check("reads", &|world| world.flag("kill_switch", "on"));
    check("reads", &|world| {
        world
            .databases
            .execute(Store::Metrics, "DELETE FROM verdicts WHERE id = 1");
    });
    check("unique", &|world| {
        world
            .databases
            .execute(Store::Mgpass, "DROP TRIGGER logto_mirror_unique_changed");
    });
    check("unique", &|world| {
        world.mirrored("u1", |user| user.username = Some("ann".to_owned()));
        world
            .databases
            .execute(Store::Mgpass, "DELETE FROM logto_mirror_unique");
    });
    check("applications", &proxy("DELETE FROM waivers"));
    check("applications", &proxy("DELETE FROM dependencies"));
}

#[test]
fn parked_users_who_are_waived_by_name_are_held_from_the_hand_over_on() {
    let world = world();
    world.prepare();
    world.mirrored("u1", |_| {});
    world.pending_write("i1", "u1");
    world.databases.execute(
        Store::Proxy,
        "UPDATE subjects SET parked = 'too_large', parked_at = 1 WHERE subject = 'u1';
         INSERT INTO waivers VALUES (1, 'parked', 'u1', 'by phone', 'anna', 0)",
    );
    world.arm();
    world.wish(Some(Stage::Cutover));
    world.operate();
    world.advance(ANNOUNCEMENT_MS);
    world.guard_passes();
    world.operate();
    assert_eq!(world.holder(), "mgpass");
    let held = world.proxy("SELECT subject, reason, detail FROM held_subjects");
    assert_eq!(
        json!(held),
        json!([{ "subject": "u1", "reason": "parked", "detail": "too_large" }])
    );
    assert_eq!(world.n_open(), 0);
}

#[test]
fn the_relay_that_ends_the_backlog_hands_over_without_cron() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    world
        .logto
        .change("u1", |user| user.name = Some("New".to_owned()));
    world.pending_write("i1", "u1");
    world.operate();
    assert_eq!(world.holder(), "draining");
    world.send_wake("u1");
    world.deliver_for(5_000);
    assert_eq!(world.user("u1", "name"), "New");
    assert_eq!(world.holder(), "mgpass");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn draining_that_comes_to_no_end_goes_back_by_itself_and_says_what_was_in_the_way() {
    let check = |cause: &str, block: &dyn Fn(&Rc<World>)| {
        let world = world();
        world.announced();
        block(&world);
        world.operate();
        assert_eq!(world.holder(), "draining");
        world.advance(DEADLINE_MS - 1_000);
        world.operate();
        assert_eq!(world.holder(), "draining");
        world.advance(1_000);
        // Nobody but a waiting write comes by.
        world.nudge();
        assert_eq!(world.holder(), "logto");
        assert_eq!(
            world.moves().last().unwrap(),
            &format!("draining>logto {cause}")
        );
        assert_eq!((world.generation(), world.told_generation()), (3, 3));
        let (authority, _) = world.authority();
        // Spent: it is not tried again before somebody says so.
        assert_eq!((authority.wish, authority.term), (None, 1));
        world.tick();
        assert_eq!(world.holder(), "logto");
        let returned = world.events("authority.returned");
        assert_eq!(returned[0]["level"], "error");
    };
    check("deadline_backlog", &|world| {
        world.pending_write("i1", "u1");
        world.drop_queue();
    });
    check("deadline_expired_intents", &|world| {
        world.hanging_write("i1", "u1");
    });
    check("deadline_parked_users", &|world| {
        world.pending_write("i1", "u1");
        // Parked while it drains.
        world.operate();
        world.databases.execute(
            Store::Proxy,
            "INSERT INTO subjects (subject, lease_holder, lease_until, parked) VALUES ('u1', '', 0, 'too_large')",
        );
    });
}

#[test]
fn a_hanging_write_is_let_go_by_an_operator_then_and_there_and_watched() {
    let world = world();
    world.announced();
    world.hanging_write("i1", "u1");
    world.operate();
    assert_eq!(world.holder(), "draining");
    let go = || {
        let results = world.databases.batch(Store::Proxy, &let_go());
        parse_let_go(&results.unwrap())
    };
    // It may be answered yet.
    assert_eq!(go(), 0);
    world.advance(60_000);
    assert_eq!(go(), 1);
    assert_eq!(go(), 0);
    world.nudge();
    assert_eq!(world.holder(), "mgpass");
    let strays = world.proxy(
        "SELECT subject, operation, source, state, watch_until - (SELECT opened_at FROM intents) AS watched FROM strays",
    );
    assert_eq!(
        json!(strays),
        json!([{ "subject": "u1", "operation": "users.patch", "source": "waived_intent", "state": "open", "watched": 900_000 }])
    );
    let held = world.proxy("SELECT subject, reason FROM held_subjects");
    assert_eq!(
        json!(held),
        json!([{ "subject": "u1", "reason": "waived_intent" }])
    );
}

#[test]
fn nothing_is_let_go_while_nobody_drains() {
    let world = world();
    world.hanging_write("i1", "u1");
    world.advance(60_000);
    let results = world.databases.batch(Store::Proxy, &let_go());
    assert_eq!(parse_let_go(&results.unwrap()), 0);
    assert_eq!(world.n_open(), 1);
}

#[test]
fn a_wish_that_ends_takes_the_announcement_back_and_draining_too() {
    let world = world();
    world.announced();
    world.wish(None);
    world.nudge();
    assert_eq!(world.moves().last().unwrap(), "logto>logto wish_withdrawn");
    assert_eq!(world.authority().0.announced, None);
    // Wished again, it is announced anew.
    world.wish(Some(Stage::Cutover));
    assert_eq!(world.operate().waits, Some("announced"));
    world.advance(ANNOUNCEMENT_MS);
    world.guard_passes();
    world.pending_write("i1", "u1");
    world.operate();
    assert_eq!(world.holder(), "draining");
    world.wish(None);
    world.nudge();
    assert_eq!(
        world.moves().last().unwrap(),
        "draining>logto wish_withdrawn"
    );
}

#[test]
fn what_is_no_longer_armed_is_no_longer_announced() {
    let world = world();
    world.announced();
    world.advance(4 * 3_600_000);
    world.nudge();
    assert_eq!(world.moves().last().unwrap(), "logto>logto no_longer_armed");
}

#[test]
fn kv_is_a_wish_by_its_change_alone_and_after_the_hand_over_only_one_step_back_is() {
    let world = world();
    world.prepare();
    world.arm();
    world.operate();
    world.flag("stage", "cutover");
    world.operate();
    assert_eq!(world.moves(), ["logto>logto announced"]);
    // A place that is late sees the value before for a while.
    world.flag("stage", "dual_write");
    world.operate();
    assert_eq!(world.moves(), ["logto>logto announced"]);
    // Later than any place can be, somebody has taken it back.
    world.advance(120_000);
    world.operate();
    assert_eq!(world.moves().last().unwrap(), "logto>logto wish_withdrawn");
    world.advance(120_000);
    world.flag("stage", "cutover");
    world.operate();
    world.advance(ANNOUNCEMENT_MS);
    world.prepare();
    world.operate();
    assert_eq!(world.holder(), "mgpass");
    let before = world.generation();
    world.flags.borrow_mut().remove("stage");
    world.tick();
    for stage in ["off", "shadow", "nonsense", "cutover"] {
        world.flag("stage", stage);
        world.tick();
    }
    assert_eq!((world.holder(), world.generation()), ("mgpass", before));
    let outcomes: Vec<_> = world
        .events("authority.wished")
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["stage"].as_str().unwrap(),
                event["outcome"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            "cutover wished",
            "dual_write no_longer_wished",
            "cutover wished",
            "off mgpass_is_authority",
            "shadow mgpass_is_authority"
        ]
    );
    world.flag("stage", "dual_write");
    world.tick();
    assert_eq!(world.holder(), "logto");
}

#[test]
fn the_origin_is_asked_with_no_secret_with_the_old_and_with_the_new_one() {
    let world = world();
    world.prepare();
    world.arm();
    world.wish(Some(Stage::Cutover));
    world.operate();
    assert_eq!(world.logto.n_served("GET /api/status"), 3);
    assert_eq!(*world.logto.secrets.borrow(), [HANDOVER_SECRET]);
}

#[test]
fn while_any_other_gate_is_shut_the_origin_is_not_asked() {
    let world = world();
    world.arm();
    world.wish(Some(Stage::Cutover));
    world.operate();
    assert_eq!(world.logto.n_served("GET /api/status"), 0);
}

#[test]
fn a_gap_in_recording_after_the_gates_were_asked_keeps_draining_from_beginning() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    let gap = "UPDATE counters SET value = value + 1 WHERE name = 'epoch'";
    let (authority, _) = world.authority();
    let step = Step {
        seen: authority.generation,
        next: authority.generation + 1,
        owes_raise: false,
        evidence: None,
        epoch: Some(world.counter("epoch")),
        announcement_ms: ANNOUNCEMENT_MS,
        between_ms: DEADLINE_MS,
    };
    world.databases.execute(Store::Proxy, gap);
    let batch = step.carry_out(Move::Drain);
    let results = world.databases.batch(Store::Proxy, &batch).unwrap();
    assert!(!parse_moved(&results));
    assert_eq!(world.moves(), ["logto>logto announced"]);
    let gates = world.operate().gates.unwrap();
    let gate = gates.iter().find(|gate| gate.name == "epoch").unwrap();
    assert_eq!(
        (gate.state, gate.names.as_slice()),
        (State::Shut, &["u1".to_owned()][..])
    );
    // Who is held is a matter of another gate.
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects VALUES ('u1', 'stray', 0, NULL); INSERT INTO waivers SELECT term, 'parked', 'u1', 'r', 'a', 0 FROM authority",
    );
    world.operate();
    assert_eq!(world.holder(), "mgpass");
}
