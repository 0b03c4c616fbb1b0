//! Fences: in the insert, in the target, and for what the Queue brings late.

use dual_write_proxy::handover::translated::{self, TranslatedIntent};
use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::outbox::Intent;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use crate::support::handover::{DEADLINE_MS, world};
use crate::support::{Fault, Port};

fn translated_intent(id: &str) -> TranslatedIntent {
    TranslatedIntent {
        id: id.to_owned(),
        subject: UserId::parse("u1"),
        operation: "users.patch",
        nonce: None,
    }
}

#[test]
fn a_translated_write_is_recorded_and_acknowledged_only_while_mgpass_is_the_authority() {
    let world = world();
    let intent = translated_intent("t1");
    let batch = |statements: &[_]| world.databases.batch(Store::Proxy, statements).unwrap();
    let opened = || translated::parse_opened(&batch(&intent.open())).unwrap();
    assert!(!opened().is_open);
    world.handed_over();
    let first = opened();
    assert!(first.is_open);
    assert_eq!(first.view.generation, world.generation());
    // In another generation nothing is settled.
    let settle = |generation| translated::parse_settled(&batch(&intent.settle(200, generation)));
    assert!(!settle(first.view.generation - 1));
    assert!(settle(first.view.generation));
    // Twice changes nothing.
    let before = world.proxy("SELECT settled, status FROM intents");
    assert!(settle(first.view.generation));
    assert_eq!(world.proxy("SELECT settled, status FROM intents"), before);
}

#[test]
fn a_translated_write_that_hangs_across_a_return_is_not_acknowledged() {
    for is_abandoned in [false, true] {
        let world = world();
        world.handed_over();
        let intent = translated_intent("t1");
        let batch = |statements: &[_]| world.databases.batch(Store::Proxy, statements).unwrap();
        let opened = translated::parse_opened(&batch(&intent.open())).unwrap();
        assert!(opened.is_open);
        if is_abandoned {
            let node = world.node();
            world.finish(async move {
                let settings = &node.context().settings.handover;
                dual_write_proxy::handover::advance::abandon(&node, settings).await
            });
        } else {
            world.wish(Some(Stage::DualWrite));
            world.operate();
        }
        let settled = batch(&intent.settle(200, opened.view.generation));
        assert!(!translated::parse_settled(&settled));
    }
}

#[test]
fn past_a_deadline_inserts_go_on_at_the_side_it_began_at_although_nobody_has_moved() {
    let world = world();
    world.announced();
    world.pending_write("i0", "u9");
    world.operate();
    let batch = |statements: &[_]| world.databases.batch(Store::Proxy, statements).unwrap();
    let intent = |id: &str| Intent {
        id: id.to_owned(),
        subject: UserId::parse("u1"),
        interaction: None,
        operation: "users.patch".to_owned(),
    };
    let opened = |id: &str| Intent::parse_opened(&batch(&intent(id).open())).unwrap();
    let held = opened("i1");
    assert!(!held.is_open);
    assert_eq!(held.view.holder.name(), "draining");
    world.advance(DEADLINE_MS);
    let late = opened("i2");
    assert!(late.is_open);
    assert_eq!(
        (late.view.holder.name(), world.holder()),
        ("logto", "draining")
    );
    // And nobody hands over any more, although all else is done.
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM intents WHERE id = 'i0'");
    world.nudge();
    assert_eq!(world.holder(), "logto");
    assert_eq!(world.n_open(), 1);
}

#[test]
fn a_batch_of_an_earlier_generation_changes_nothing_at_mgpass() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    world
        .logto
        .change("u1", |user| user.name = Some("Late".to_owned()));
    world.pending_write("i1", "u1");
    // The relay's batch hangs on its way while the authority moves there and back.
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror ",
        0,
        Fault::Late(200_000),
    );
    world.send_wake("u1");
    world.deliver_for(1_000);
    world.operate();
    assert_eq!(world.holder(), "draining");
    world.advance(DEADLINE_MS);
    world.nudge();
    assert_eq!(world.holder(), "logto");
    assert_eq!(world.generation(), world.told_generation());
    let before = world.mgpass("SELECT ticket FROM logto_mirror WHERE user_id = 'u1'");
    world.advance(100_000);
    let after = world.mgpass("SELECT ticket FROM logto_mirror WHERE user_id = 'u1'");
    assert_eq!(after, before);
    assert_ne!(world.user("u1", "name"), "Late");
}

#[test]
fn a_record_that_the_queue_brings_under_another_holder_is_a_stray() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.handed_over();
    let intent = Intent {
        id: "late".to_owned(),
        subject: UserId::parse("u1"),
        interaction: None,
        operation: "users.patch".to_owned(),
    };
    world.enqueue(
        Message::Open {
            intent: (&intent).into(),
        },
        0,
    );
    world.deliver_for(5_000);
    world.enqueue(
        Message::Settle {
            intent: (&intent).into(),
            status: 200,
        },
        0,
    );
    world.deliver_for(5_000);
    world.tick();
    // Watched: looked at while Logto may commit late.
    world.deliver_for(5_000);
    let strays = world.proxy("SELECT subject, operation, source, state FROM strays");
    assert_eq!(
        json!(strays),
        json!([{ "subject": "u1", "operation": "users.patch", "source": "late_record", "state": "open" }])
    );
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.events("authority.stray")[0]["n_records"], 1);
}

#[test]
fn what_starts_reconciles_of_logtos_users_changes_nobody_while_mgpass_is_the_authority() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.handed_over();
    let before = world.mgpass("SELECT * FROM users");
    world.logto.served.borrow_mut().clear();
    world.wake("u1");
    world.deliver_for(60_000);
    for _ in 0..3 {
        world.tick();
        world.deliver_for(5_000);
    }
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.proxy("SELECT * FROM strays").len(), 0);
    assert_eq!(world.mgpass("SELECT * FROM users"), before);
    let served = world.logto.served.borrow();
    assert!(
        served
            .iter()
            .all(|line| line.starts_with("GET ") || line == "POST /oidc/token"),
        "{served:?}"
    );
}

#[test]
fn in_stage_off_relays_go_on_once_the_authority_is_on_its_way() {
    let world = world();
    world.mirrored("u1", |_| {});
    world.announced();
    world
        .logto
        .change("u1", |user| user.name = Some("New".to_owned()));
    world.pending_write("i1", "u1");
    world.operate();
    assert_eq!(world.holder(), "draining");
    // A place that is late sees an older value.
    world.flag("stage", "off");
    world.send_wake("u1");
    world.deliver_for(5_000);
    assert_eq!(world.user("u1", "name"), "New");
    assert_eq!(world.holder(), "mgpass");
}

#[test]
fn import_pages_and_points_of_an_earlier_generation_write_nothing() {
    let world = world();
    world.put_user("u1", |_| {});
    let start = "INSERT INTO jobs (kind, state, phase, dry_run, repair, inspect, lanes, started_at, moved_at) VALUES ('users', 'running', 'list', 0, 0, 0, 1, 0, 0)";
    world.databases.execute(Store::Proxy, start);
    // mgPass's database knows of a move that the lane, with its claim, does not.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE logto_mirror_authority SET generation = 2",
    );
    world.enqueue(Message::Job { job: 1, lane: 0 }, 0);
    world.deliver_for(5_000);
    assert_eq!(world.mgpass("SELECT id FROM users").len(), 0);
    assert_eq!(world.mgpass("SELECT user_id FROM logto_mirror").len(), 0);
    assert_eq!(world.events("job.delayed")[0]["code"], "authority_moved");
    world.tick();
    world.deliver_for(180_000);
    assert_eq!(world.mgpass("SELECT id FROM users").len(), 1);
}
