//! Two databases, one generation: faults at each call of a move, two actors at once, a
//! crash between telling mgPass's database and moving.

use std::rc::Rc;

use dual_write_proxy::handover::{advance, moves, target};
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;

use crate::support::executor::Handle;
use crate::support::handover::{ANNOUNCEMENT_MS, world};
use crate::support::{Fault, Port, World};

const FAULTS: [Fault; 8] = [
    Fault::BeforeEffect,
    Fault::AfterEffect,
    Fault::Hang,
    Fault::HangAfterEffect,
    Fault::Late(5_000),
    Fault::SlowAnswer(5_000),
    Fault::CrashBefore,
    Fault::CrashAfter,
];

/// Somebody tries, and may come to no end.
fn try_once(world: &Rc<World>) {
    let node = world.node();
    let handle = world.executor.spawn(async move {
        let flags =
            dual_write_proxy::runtime::snapshot::read(&node, &node.deployment.isolate).await;
        let context = node.context();
        let operated = advance::Operated {
            flags: &flags,
            logto_origin: &context.settings.logto_origin,
            context: Some(context),
        };
        advance::operate(&node, &context.settings.handover, operated).await;
    });
    world
        .executor
        .run(world.now_ms() + 10_000, || handle.is_done());
    world.advance(10_000);
}

/// Every move once, in order, with a generation of its own that mgPass's database knows.
fn check_sound(world: &Rc<World>) {
    let log =
        world.proxy("SELECT from_holder, to_holder, generation FROM authority_log ORDER BY id");
    let mut holder = "logto".to_owned();
    let mut generation = 1;
    for row in &log {
        assert_eq!(row["from_holder"], holder, "{log:?}");
        row["to_holder"].as_str().unwrap().clone_into(&mut holder);
        let next = row["generation"].as_i64().unwrap();
        let is_move = row["from_holder"] != row["to_holder"];
        assert!(
            next > generation || (!is_move && next == generation),
            "{log:?}"
        );
        generation = next;
    }
    assert_eq!(
        (world.holder(), world.generation()),
        (holder.as_str(), generation)
    );
}

#[test]
fn a_fault_at_any_call_of_a_move_is_made_up_for_by_whoever_comes_next() {
    let mut n_cases = 0;
    for fault in FAULTS {
        for call in 0.. {
            let world = world();
            world.announced();
            let before = world.faults.n_calls();
            world.faults.at_call(call, fault);
            try_once(&world);
            let is_over = world.faults.n_calls() - before <= call as usize;
            check_sound(&world);
            world.faults.clear();
            world.guard_passes();
            try_once(&world);
            check_sound(&world);
            assert_eq!(
                world.holder(),
                "mgpass",
                "{fault:?} at {call}: {:?}",
                world.moves()
            );
            assert_eq!(world.generation(), world.told_generation());
            let drained = world
                .moves()
                .iter()
                .filter(|one| one.ends_with("drained"))
                .count();
            assert_eq!(drained, 1);
            n_cases += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(n_cases > 60, "{n_cases}");
}

#[test]
fn the_same_on_the_way_back() {
    for fault in FAULTS {
        for call in 0.. {
            let world = world();
            world.handed_over();
            world.wish(Some(Stage::DualWrite));
            let before = world.faults.n_calls();
            world.faults.at_call(call, fault);
            try_once(&world);
            let is_over = world.faults.n_calls() - before <= call as usize;
            check_sound(&world);
            world.faults.clear();
            try_once(&world);
            check_sound(&world);
            assert_eq!(
                world.holder(),
                "logto",
                "{fault:?} at {call}: {:?}",
                world.moves()
            );
            assert_eq!(world.generation(), world.told_generation());
            assert_eq!(world.counter("epoch"), 2, "{fault:?} at {call}");
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn of_many_who_come_at_once_one_moves() {
    for seed in 1..=40 {
        let world = World::with(
            seed,
            &[("HANDOVER_SECRET", crate::support::logto::HANDOVER_SECRET)],
        );
        world.logto.is_closed.set(true);
        *world.logto.secrets.borrow_mut() = vec![crate::support::logto::HANDOVER_SECRET];
        world.announced();
        let tries: Vec<Handle<_>> = (0..4)
            .map(|_| {
                let node = world.node();
                world.executor.spawn(async move {
                    let flags =
                        dual_write_proxy::runtime::snapshot::read(&node, &node.deployment.isolate)
                            .await;
                    let context = node.context();
                    let operated = advance::Operated {
                        flags: &flags,
                        logto_origin: &context.settings.logto_origin,
                        context: Some(context),
                    };
                    advance::operate(&node, &context.settings.handover, operated).await
                })
            })
            .collect();
        world
            .executor
            .run(i64::MAX, || tries.iter().all(Handle::is_done));
        check_sound(&world);
        assert_eq!(world.holder(), "mgpass", "seed {seed}: {:?}", world.moves());
        let n_moves = world
            .moves()
            .iter()
            .filter(|one| !one.ends_with("lifted"))
            .count();
        assert_eq!(n_moves, 3, "seed {seed}: {:?}", world.moves());
        assert_eq!(world.generation(), world.told_generation(), "seed {seed}");
    }
}

#[test]
fn without_mgpass_no_hand_over_begins_or_ends_and_the_way_back_does_not_wait_for_it() {
    let world = world();
    world.announced();
    world.faults.always(Port::MgpassDatabase, "", Fault::Hang);
    let ran = world.nudge();
    assert_eq!((ran.moved.len(), world.holder()), (0, "logto"));
    world.faults.clear();
    world.pending_write("i1", "u1");
    world.operate();
    assert_eq!(world.holder(), "draining");
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.faults.always(Port::MgpassDatabase, "", Fault::Hang);
    assert_eq!(world.nudge().waits, Some("database_unavailable"));
    assert_eq!(world.holder(), "draining");
    world.advance(120_000);
    world.nudge();
    assert_eq!(world.holder(), "logto");
    assert!(world.authority().0.is_raise_owed);
    assert_eq!((world.generation(), world.told_generation()), (3, 2));
}

#[test]
fn while_mgpass_is_not_told_of_a_way_back_no_relay_writes_there() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    world.pending_write("i1", "u1");
    world.operate();
    world.faults.always(
        Port::MgpassDatabase,
        "logto_mirror_authority",
        Fault::BeforeEffect,
    );
    world.advance(120_000);
    world.nudge();
    assert!(world.authority().0.is_raise_owed);
    world
        .logto
        .change("u1", |user| user.name = Some("New".to_owned()));
    world.send_wake("u1");
    world.deliver_for(10_000);
    assert_ne!(world.user("u1", "name"), "New");
    assert_eq!(world.n_open(), 1);
    // It answers again: whoever comes tells it, and goes on.
    world.faults.clear();
    world.deliver_for(20_000);
    assert_eq!(world.user("u1", "name"), "New");
    assert!(!world.authority().0.is_raise_owed);
    assert_eq!(world.generation(), world.told_generation());
}

#[test]
fn a_crash_between_telling_and_moving_stops_relays_only_until_one_of_them_sees_it() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    let told = world.databases.batch(Store::Mgpass, &target::raise(2));
    assert_eq!(target::parse_generation(&told.unwrap()), Some(2));
    assert_eq!(world.generation(), 1);
    world
        .logto
        .change("u1", |user| user.name = Some("New".to_owned()));
    world.pending_write("i1", "u1");
    world.send_wake("u1");
    world.deliver_for(5_000);
    assert_eq!(world.user("u1", "name"), "New");
    assert_eq!((world.holder(), world.generation()), ("logto", 2));
    assert_eq!(world.moves().last().unwrap(), "logto>logto lifted");
    // What was announced goes on as it was.
    world.operate();
    assert_eq!(world.holder(), "mgpass");
    check_sound(&world);
}

#[test]
fn a_decision_on_an_older_row_moves_nothing() {
    let world = world();
    world.announced();
    let step = moves::Step {
        seen: world.generation(),
        next: world.generation() + 1,
        owes_raise: false,
        evidence: None,
        epoch: Some(world.counter("epoch")),
        announcement_ms: ANNOUNCEMENT_MS,
        between_ms: 1_000,
    };
    // Meanwhile the announcement was taken back and made anew.
    world.wish(None);
    world.nudge();
    world.wish(Some(Stage::Cutover));
    world.operate();
    let drain = step.carry_out(dual_write_proxy::handover::machine::Move::Drain);
    let results = world.databases.batch(Store::Proxy, &drain).unwrap();
    assert!(!moves::parse_moved(&results));
    assert_eq!(world.holder(), "logto");
}
