//! Back: as wished, by itself, and without mgPass.

use dual_write_proxy::handover::advance;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use crate::support::handover::{DEADLINE_MS, world};
use crate::support::{Fault, Port, Request};

#[test]
fn the_way_back_waits_for_what_is_pending_and_holds_the_rest() {
    let world = world();
    world.handed_over();
    world.pending_translated("t1", "u1");
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO debt VALUES ('u2', 'born_at_mgpass', 'id_too_long', 0), ('u2', 'value_conflict', 'email', 0);
         INSERT INTO strays (subject, found_at, source) VALUES ('u3', 0, 'walk')",
    );
    world.wish(Some(Stage::DualWrite));
    assert_eq!(world.operate().waits, Some("pending"));
    assert_eq!(world.holder(), "returning");
    world.databases.execute(
        Store::Proxy,
        "UPDATE intents SET discharged_at = 1 WHERE id = 't1'",
    );
    world.nudge();
    assert_eq!(world.holder(), "logto");
    let (authority, _) = world.authority();
    assert_eq!((authority.term, authority.wish), (3, None));
    let held = world.proxy("SELECT subject, reason, detail FROM held_subjects ORDER BY subject");
    assert_eq!(
        json!(held),
        json!([
            { "subject": "u2", "reason": "debt", "detail": "born_at_mgpass,value_conflict" },
            { "subject": "u3", "reason": "debt", "detail": "stray" }
        ])
    );
    assert_eq!(world.proxy("SELECT * FROM debt").len(), 0);
    // Nobody is read from mgPass before they are reconciled anew.
    assert_eq!(world.counter("epoch"), 2);
}

/// A call whose answer never came cannot land any more, but nobody has looked whether it did.
#[test]
fn the_way_back_waits_for_the_look_at_what_was_never_answered() {
    let owed = "INSERT INTO debt VALUES ('u1', 'unanswered', 'no_answer', 0)";
    let looked_at = "DELETE FROM debt WHERE class = 'unanswered'";
    let world = world();
    world.handed_over();
    world.databases.execute(Store::Proxy, owed);
    world.wish(Some(Stage::DualWrite));
    assert_eq!(world.operate().waits, Some("unanswered_calls"));
    assert_eq!(world.holder(), "mgpass");
    world.databases.execute(Store::Proxy, looked_at);
    world.pending_translated("t1", "u2");
    world.operate();
    // Found out only now.
    world.databases.execute(Store::Proxy, owed);
    let done = "UPDATE intents SET discharged_at = 1 WHERE id = 't1'";
    world.databases.execute(Store::Proxy, done);
    world.nudge();
    assert_eq!(world.holder(), "returning");
    // Whoever is left to a person already is not waited for.
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects (subject, reason, since, detail) VALUES ('u1', 'debt', 0, '')",
    );
    world.nudge();
    assert_eq!(world.holder(), "logto");
}

#[test]
fn past_its_deadline_mgpass_stays_the_authority() {
    for is_down in [false, true] {
        let world = world();
        world.handed_over();
        world.pending_translated("t1", "u1");
        world.wish(Some(Stage::DualWrite));
        world.operate();
        assert_eq!(world.holder(), "returning");
        if is_down {
            world
                .faults
                .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
        }
        world.advance(DEADLINE_MS);
        world.nudge();
        assert_eq!(world.holder(), "mgpass");
        assert_eq!(
            world.moves().last().unwrap(),
            "returning>mgpass deadline_backlog"
        );
        assert_eq!(world.authority().0.is_raise_owed, is_down);
        assert_eq!(world.authority().0.term, 2);
        assert_eq!(world.n_open(), 1);
        world.faults.clear();
        world.tick();
        assert!(!world.authority().0.is_raise_owed);
        assert_eq!(world.generation(), world.told_generation());
    }
}

#[test]
fn without_mgpass_an_operator_returns_all_the_same_and_its_debtors_are_held() {
    for was_returning in [false, true] {
        let world = world();
        world.mirrored("u4", |_| {});
        world.handed_over();
        world.pending_translated("t1", "u1");
        world.databases.execute(
            Store::Proxy,
            "INSERT INTO debt VALUES ('u2', 'refused_by_logto', 'x', 0)",
        );
        if was_returning {
            world.wish(Some(Stage::DualWrite));
            world.operate();
        }
        world.faults.always(Port::MgpassDatabase, "", Fault::Hang);
        let node = world.node();
        let done = world.finish(async move {
            let settings = &node.context().settings.handover;
            let first = advance::abandon(&node, settings).await.unwrap();
            let again = advance::abandon(&node, settings).await.unwrap();
            (first, again)
        });
        let generation = world.generation();
        assert_eq!(done, Some((Some(generation), None)));
        assert_eq!(world.holder(), "logto");
        let (authority, pending) = world.authority();
        assert!(authority.is_raise_owed);
        assert_eq!((authority.term, pending.n_mgpass), (3, 0));
        let held =
            world.proxy("SELECT subject, reason, detail FROM held_subjects ORDER BY subject");
        assert_eq!(
            json!(held),
            json!([
                { "subject": "u1", "reason": "debt_abandoned", "detail": "pending" },
                { "subject": "u2", "reason": "debt_abandoned", "detail": "refused_by_logto" }
            ])
        );
        assert_eq!(world.counter("epoch"), 2);
        // No forward relay writes before mgPass's database has been told.
        world
            .logto
            .change("u4", |user| user.name = Some("New".to_owned()));
        world.pending_write("i1", "u4");
        world.send_wake("u4");
        world.deliver_for(20_000);
        assert_ne!(world.user("u4", "name"), "New");
        world.faults.clear();
        world.deliver_for(40_000);
        assert_eq!(world.user("u4", "name"), "New");
        assert_eq!(world.generation(), world.told_generation());
    }
}

#[test]
fn who_is_held_is_written_by_no_relay_until_a_person_has_decided() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects VALUES ('u1', 'debt', 0, NULL)",
    );
    world
        .logto
        .change("u1", |user| user.name = Some("New".to_owned()));
    world.pending_write("i1", "u1");
    world.send_wake("u1");
    world.deliver_for(60_000);
    world.tick();
    world.deliver_for(60_000);
    assert_ne!(world.user("u1", "name"), "New");
    assert_eq!(world.n_open(), 1);
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM held_subjects");
    world.tick();
    world.deliver_for(60_000);
    assert_eq!(world.user("u1", "name"), "New");
}

#[test]
fn there_and_back_and_there_again() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.handed_over();
    world.wish(Some(Stage::DualWrite));
    world.operate();
    assert_eq!(world.holder(), "logto");
    // Evidence and waivers are of an earlier term by now, and arming has gone on.
    world.wish(Some(Stage::Cutover));
    let shut: Vec<_> = world
        .operate()
        .gates
        .unwrap()
        .into_iter()
        .filter(|gate| gate.state == dual_write_proxy::handover::gates::State::Shut)
        .map(|gate| gate.name)
        .collect();
    assert_eq!(shut, ["checklist", "certificate", "epoch", "applications"]);
    // The walk reconciles everybody anew: what Logto took meanwhile nobody recorded.
    for _ in 0..5 {
        world.tick();
        world.deliver_for(60_000);
    }
    world.prepare();
    world.operate();
    world.advance(crate::support::handover::ANNOUNCEMENT_MS);
    world.guard_passes();
    world.operate();
    assert_eq!((world.holder(), world.authority().0.term), ("mgpass", 4));
}

/// An isolate died between a settling and its message, or with a message in hand.
#[test]
fn a_lost_wake_up_keeps_nobody_between_two_sides_although_cron_has_stopped() {
    let world = world();
    world.mirrored("alice0000001", |user| user.name = Some("Alice".into()));
    world.announced();
    let write = |name: &str| {
        let request = Request::new("PATCH", "/api/users/alice0000001")
            .token(&world.admin_token())
            .json(&format!(r#"{{"name":"{name}"}}"#));
        let answer = world.ask(request);
        assert_eq!(answer.status, 200, "{}", answer.body);
        world.idle();
        assert_eq!(world.n_queued(), 1);
        world.drop_queue();
    };
    let advanced = || {
        let request = Request::new("POST", "/_proxy/handover/advance").token("admin");
        assert_eq!(world.ask(request).status, 200);
        world.deliver_for(1_000);
    };
    // `dwp stage --wait` comes by every second.
    let until = |side: &str| {
        let began_ms = world.now_ms();
        while world.holder() != side {
            advanced();
            let took_ms = world.now_ms() - began_ms;
            assert!(took_ms < 20_000, "{side}: {:?}", world.moves());
        }
    };
    write("at Logto");
    until("mgpass");
    write("at mgPass");
    world.wish(Some(Stage::DualWrite));
    until("logto");
}
