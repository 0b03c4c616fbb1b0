//! What operators set reaches every read, also where a reading of the flags is lost.

use std::rc::Rc;

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::policy::flags::Share;
use dual_write_proxy::policy::flags::bucket::Bucket;
use dual_write_proxy::runtime::snapshot;
use serde_json::json;

use super::super::support::{Fault, Node, Port, World};
use super::{ALICE, check_mgpass, check_same_from_logto, done, read, world};

/// Who answers a read at this isolate; whatever it leaves behind it is done as well.
fn backend(world: &Rc<World>, node: &Node) -> String {
    let request = read(world);
    world.ask_at(node, request);
    world.executor.run(world.now_ms() + 100, || false);
    done(world)["backend"].as_str().unwrap().to_owned()
}

#[test]
fn the_kill_switch_and_the_guard_send_every_read_to_logto() {
    let world = world();
    world.flag("kill_switch", "on");
    check_same_from_logto(&world, "kill_switch");
    world.flag("kill_switch", "off");
    world.flag("guard", r#"{"cap_percent":"0","reason":"error_rate"}"#);
    check_same_from_logto(&world, "guard");
    world.flags.borrow_mut().remove("guard");
    world.flag("stage", "shadow");
    check_same_from_logto(&world, "stage_shadow");
    world.flag("stage", "off");
    check_same_from_logto(&world, "stage_off");
}

#[test]
fn a_brake_that_cannot_be_read_holds_and_is_reported() {
    let world = world();
    for (key, value) in [("kill_switch", "yes"), ("guard", "{")] {
        world.flag(key, value);
        check_same_from_logto(&world, key);
        let reported = world.events("flags.refused").pop().unwrap();
        assert_eq!(
            (&reported["key"], &reported["code"]),
            (&json!(key), &json!("unreadable_pulled"))
        );
        world.flags.borrow_mut().remove(key);
    }
    check_mgpass(&world);
}

#[test]
fn a_flag_change_reaches_a_running_isolate_within_seconds() {
    let world = world();
    let node = world.node();
    assert_eq!(backend(&world, &node), "mgpass");
    world.flag("kill_switch", "on");
    assert_eq!(backend(&world, &node), "mgpass");
    world.advance(5_000);
    // This one refreshes behind itself, the next one sees it.
    backend(&world, &node);
    assert_eq!(backend(&world, &node), "logto");
}

#[test]
fn a_percentage_takes_the_users_whose_buckets_lie_below_it() {
    let world = world();
    let bucket = Bucket::of(&UserId::parse(ALICE).unwrap(), "").number();
    let percent = |basis_points: u16| format!("{}.{:02}", basis_points / 100, basis_points % 100);
    assert!(Share::parse_percent(&percent(bucket)).is_some());
    world.flag("read_percent", &percent(bucket));
    check_same_from_logto(&world, "outside_share");
    assert_eq!(done(&world)["bucket"], bucket);
    world.flag("read_percent", &percent(bucket + 1));
    check_mgpass(&world);
    world.flag("read_percent.users.get", "0");
    check_same_from_logto(&world, "outside_share");
}

#[test]
fn a_refresh_that_is_lost_does_not_freeze_the_flags() {
    let world = world();
    let node = world.node();
    assert_eq!(backend(&world, &node), "mgpass");
    world.flag("kill_switch", "on");
    world.advance(5_000);
    // Cut off with its request, as the platform may do: nobody hears of it.
    world.faults.once(Port::Flags, "", 0, Fault::CrashBefore);
    backend(&world, &node);
    world.advance(2_000);
    // The lease is over, so this one refreshes behind itself, and the next one sees it.
    backend(&world, &node);
    assert_eq!(backend(&world, &node), "logto");
}

#[test]
fn a_reading_that_comes_late_replaces_nothing_newer() {
    for late in [Fault::SlowAnswer(900), Fault::Hang] {
        let world = world();
        let node = world.node();
        assert_eq!(backend(&world, &node), "mgpass");
        world.advance(5_000);
        // It has read `off`, and is still on its way.
        world.faults.once(Port::Flags, "", 0, late);
        backend(&world, &node);
        world.flag("kill_switch", "on");
        let cron = node.clone();
        world.finish(async move {
            snapshot::read(&cron, &cron.deployment.isolate).await;
        });
        world.advance(1_000);
        assert_eq!(backend(&world, &node), "logto", "{late:?}");
    }
}
