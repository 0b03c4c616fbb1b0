//! A subject is woken once until its turn, and a lost wake-up strands nobody.

use super::*;

/// Messages sent so far that wake somebody.
fn n_sent(world: &World) -> usize {
    world
        .faults
        .occurrences(Port::Queue, r#""kind":"reconcile""#)
}

fn n_turns_for_nothing(world: &World) -> usize {
    let waited = world.events("mirror.waited");
    waited
        .iter()
        .filter(|event| event["code"] == "nothing_to_cover")
        .count()
}

fn n_turns(world: &World) -> usize {
    world.events("mirror.reconciled").len()
}

fn minutely_sweeps(world: &Rc<World>, n_minutes: u32) {
    for _ in 0..n_minutes {
        world.deliver_for(60_000);
        world.sweep();
    }
}

#[test]
fn a_burst_of_writes_sends_one_message_and_takes_one_turn() {
    let world = world_with_alice();
    for number in 0..20 {
        let body = json!({ "name": format!("Alice {number}") }).to_string();
        patch(&world, ALICE, &body);
    }
    assert_eq!((n_sent(&world), world.n_queued()), (1, 1));
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.n_open(), 0);
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (1, 0));
}

#[test]
fn a_wake_up_costs_a_write_no_call() {
    let world = world_with_alice();
    let calls = |world: &World| {
        let of = |port| world.faults.count(port, "");
        (of(Port::ProxyDatabase), of(Port::Queue))
    };
    let before = calls(&world);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    let after = calls(&world);
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (2, 1),
        "opened, settled, and one message"
    );
}

#[test]
fn a_turn_with_nothing_to_cover_ends_after_one_query() {
    let world = world_with_alice();
    let before = world.faults.n_calls();
    world.send_wake(ALICE);
    world.deliver_for(1_000);
    assert_eq!(
        world.faults.count(Port::Flags, ""),
        2,
        "the flags, per batch"
    );
    let n_flag_reads = 1;
    assert_eq!(world.faults.n_calls() - before, 1 + n_flag_reads);
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (0, 1));
    assert_eq!(world.n_queued(), 0);
    // Nor does it hold the lease against whoever has something to do.
    let held = "SELECT count(*) FROM subjects WHERE lease_until > 0";
    assert_eq!(world.value(Store::Proxy, held), 0);
}

#[test]
fn an_open_intent_is_nothing_to_cover_until_it_is_due() {
    let world = world_with_alice();
    world.faults.once(Port::Forward, "", 0, Fault::AfterEffect);
    let path = format!("/api/users/{ALICE}");
    world.write("PATCH", &path, r#"{"name":"Done"}"#);
    let turns_after = |wait_ms| {
        world.advance(wait_ms);
        world.send_wake(ALICE);
        world.deliver_for(1_000);
        (n_turns(&world), n_turns_for_nothing(&world))
    };
    assert_eq!(turns_after(0), (0, 1), "Logto may answer yet");
    assert_eq!(turns_after(61_000), (1, 1), "the first look");
    assert_eq!(turns_after(61_000), (1, 2), "looked at already");
    assert_eq!(turns_after(900_000), (2, 2), "the last look");
    assert_eq!(world.n_open(), 0);
}

#[test]
fn however_often_cron_comes_a_waiting_message_is_not_sent_again() {
    let world = world_with_alice();
    world.queue_delay_ms.set(300_000);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    for _ in 0..195 {
        world.deliver_for(1_500);
        world.sweep();
    }
    assert_eq!(n_sent(&world), 1);
    world.deliver_for(900_000);
    assert_eq!(world.user(ALICE, "name"), "New");
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (1, 0));
}

#[test]
fn a_settling_during_a_turn_is_covered_by_a_turn_of_its_own() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"One"}"#);
    let read = format!("GET /api/users/{ALICE}");
    world
        .faults
        .once(Port::Logto, &read, 0, Fault::SlowAnswer(5_000));
    world.deliver_for(1_000);
    patch(&world, ALICE, r#"{"name":"Two"}"#);
    patch(&world, ALICE, r#"{"name":"Three"}"#);
    assert_eq!(n_sent(&world), 2, "one for each turn");
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.n_open(), 0);
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (2, 0));
}

#[test]
fn a_turn_that_is_tried_again_leaves_one_message() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"One"}"#);
    let odd = crate::support::logto::User::new("somebodyelse", 1);
    let whole = world.logto.users.borrow_mut().insert(ALICE.into(), odd);
    let read = format!("GET /api/users/{ALICE}");
    world
        .faults
        .once(Port::Logto, &read, 0, Fault::SlowAnswer(3_000));
    world.deliver_for(1_000);
    world
        .logto
        .users
        .borrow_mut()
        .insert(ALICE.into(), whole.unwrap());
    patch(&world, ALICE, r#"{"name":"Two"}"#);
    world.deliver();
    assert_equal_at_mgpass(&world, ALICE);
    assert_eq!(world.events("mirror.failed").len(), 1);
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (1, 0));
    assert_eq!((world.n_open(), world.n_queued()), (0, 0));
}

#[test]
fn a_message_that_the_queue_lost_is_sent_again_within_three_minutes() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.drop_queue();
    minutely_sweeps(&world, 3);
    world.deliver_for(5_000);
    assert_eq!(
        (world.user(ALICE, "name"), world.n_open()),
        (json!("New"), 0)
    );
    assert_eq!((n_turns(&world), n_turns_for_nothing(&world)), (1, 0));
}

#[test]
fn a_crash_between_the_mark_and_the_message_strands_nobody() {
    for fault in [Fault::CrashBefore, Fault::Hang] {
        let world = world_with_alice();
        world.faults.once(Port::Queue, "reconcile", 0, fault);
        patch(&world, ALICE, r#"{"name":"New"}"#);
        world.faults.clear();
        minutely_sweeps(&world, 3);
        world.deliver_for(5_000);
        assert_eq!(world.user(ALICE, "name"), "New", "{fault:?}");
    }
}

#[test]
fn without_a_marker_a_mark_runs_out_by_itself() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.drop_queue();
    world
        .faults
        .always(Port::Queue, "marker", Fault::BeforeEffect);
    minutely_sweeps(&world, 9);
    assert_eq!(n_sent(&world), 1);
    minutely_sweeps(&world, 2);
    world.deliver_for(5_000);
    assert_eq!(
        (world.user(ALICE, "name"), n_sent(&world)),
        (json!("New"), 2)
    );
}

#[test]
fn what_the_queue_does_not_take_is_unmarked_and_the_next_sweeps() {
    let world = world_with_alice();
    world.faults.once(Port::Queue, "", 0, Fault::BeforeEffect);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    let marks = "SELECT woken_at FROM subjects";
    assert_eq!(world.value(Store::Proxy, marks), 0);
    world.sweep();
    world.deliver_for(1_000);
    assert_eq!(world.user(ALICE, "name"), "New");
}

#[test]
fn a_sweep_that_delivers_by_itself_leaves_no_mark_without_a_message() {
    let world = world_with_alice();
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    patch(&world, ALICE, r#"{"name":"New"}"#);
    let down = Fault::BeforeEffect;
    world.faults.always(Port::Logto, "GET /api/users/", down);
    world.sweep();
    let marks = "SELECT woken_at FROM subjects";
    assert_eq!(world.value(Store::Proxy, marks), 0);
    world.faults.clear();
    world.advance(5_000);
    world.sweep();
    world.deliver_for(1_000);
    assert_eq!(world.user(ALICE, "name"), "New");
}

#[test]
fn two_crons_at_once_wake_each_subject_once() {
    let world = World::new();
    let ids: Vec<String> = (0..40).map(|index| format!("user{index:08}")).collect();
    for id in &ids {
        world.put_user(id, |_| {});
        world.wake(id);
    }
    world.drop_queue();
    let sweeps = [world.node(), world.node()].map(|node| {
        world.executor.spawn(async move {
            relay::sweep(&node, &node.context(), Stage::DualWrite, Vec::new()).await;
        })
    });
    world.idle();
    assert!(
        sweeps
            .iter()
            .all(super::super::support::executor::Handle::is_done)
    );
    assert_eq!(n_sent(&world), ids.len());
    world.deliver();
    assert_eq!(world.n_open(), 0);
    assert_eq!(n_turns_for_nothing(&world), 0);
}

#[test]
fn a_backlog_that_takes_long_is_not_sent_twice() {
    let world = World::new();
    let ids: Vec<String> = (0..300).map(|index| format!("user{index:08}")).collect();
    for id in &ids {
        world.put_user(id, |_| {});
        world.wake(id);
    }
    // The consumers take one message every two seconds: ten minutes for all.
    world.drop_queue();
    let mut n_minutes = 0;
    while world.n_open() > 0 {
        world.sweep();
        for _ in 0..30 {
            world.deliver_one();
            world.advance(2_000);
        }
        n_minutes += 1;
        assert!(n_minutes < 30, "{} left", world.n_open());
    }
    assert!(n_minutes >= 9, "{n_minutes}");
    assert_eq!((n_turns(&world), n_sent(&world)), (300, 300));
}

#[test]
fn while_the_relay_is_paused_a_message_keeps_its_mark() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    let down = Fault::BeforeEffect;
    world.faults.always(Port::Logto, "GET /api/users/", down);
    for _ in 0..150 {
        world.deliver_for(2_000);
        world.sweep();
    }
    assert_eq!(n_sent(&world), 1);
    world.faults.clear();
    world.deliver_for(10_000);
    world.sweep();
    world.deliver_for(10_000);
    assert_eq!(world.user(ALICE, "name"), "New");
    assert_eq!((n_sent(&world), n_turns_for_nothing(&world)), (1, 0));
}

#[test]
fn a_message_that_stage_off_swallowed_leaves_no_mark() {
    let world = world_with_alice();
    patch(&world, ALICE, r#"{"name":"New"}"#);
    world.flag("stage", "off");
    world.deliver();
    world.flag("stage", "dual_write");
    world.sweep();
    world.deliver_for(1_000);
    assert_eq!(world.user(ALICE, "name"), "New");
}

#[test]
fn a_name_that_could_not_be_noted_goes_by_the_queue() {
    let world = World::new();
    let interaction = Interaction {
        register: Some("newbie".into()),
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions.borrow_mut().insert("uid1".into(), interaction);
    let learn = "INSERT INTO interactions";
    world
        .faults
        .once(Port::ProxyDatabase, learn, 0, Fault::BeforeEffect);
    let request = Request::new("POST", "/api/experience/identification")
        .header("cookie", "_interaction=uid1");
    assert_eq!(world.ask(request).status, 201);
    world.deliver();
    assert_equal_at_mgpass(&world, "register0001");
    assert_eq!(world.n_open(), 0);
}
