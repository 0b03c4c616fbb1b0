//! Faults at each step of the way back. Whatever fails: in the end Logto is equal to
//! mgPass, and until it is, something says so.

use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::super::support::faults::{Fault, Port};
use super::*;

const FAULTS: [Fault; 8] = [
    Fault::BeforeEffect,
    Fault::AfterEffect,
    Fault::Hang,
    Fault::HangAfterEffect,
    Fault::Late(40_000),
    Fault::SlowAnswer(40_000),
    Fault::CrashBefore,
    Fault::CrashAfter,
];

struct Case {
    method: &'static str,
    path: &'static str,
    sent: &'static str,
    is_carried: fn(&World) -> bool,
}

const PATCH: Case = Case {
    method: "PATCH",
    path: PATH,
    sent: r#"{"name":"Alice Two","username":"alice_2"}"#,
    is_carried: |world| {
        let logto = at_logto(world, ALICE);
        (&logto["name"], &logto["username"]) == (&json!("Alice Two"), &json!("alice_2"))
    },
};
const SUSPEND: Case = Case {
    method: "PATCH",
    path: "/api/users/alice0000001/is-suspended",
    sent: r#"{"isSuspended":true}"#,
    is_carried: |world| at_logto(world, ALICE)["isSuspended"] == true,
};
const DELETE: Case = Case {
    method: "DELETE",
    path: PATH,
    sent: "",
    is_carried: |world| !world.logto.users.borrow().contains_key(ALICE),
};

/// Something says that Logto lacks it.
fn is_owed(world: &World) -> bool {
    let pending = "SELECT id FROM intents WHERE side = 'mgpass' AND discharged_at IS NULL";
    !world.proxy(pending).is_empty() || !debts(world).is_empty()
}

fn check(case: &Case) {
    for fault in FAULTS {
        for n in 0.. {
            let world = world();
            let answered = world.write(case.method, case.path, case.sent);
            assert!(answered.status < 300, "{}", answered.body);
            world.idle();
            let what = format!("{} {} {fault:?} at {n}", case.method, case.sent);
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            world.deliver_one();
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n >= 6, "more calls than {n}");
                break;
            }
            world.faults.clear();
            assert!((case.is_carried)(&world) || is_owed(&world), "{what}");
            // Time, the Queue and the sweep do the rest.
            for _ in 0..20 {
                world.deliver_for(60_000);
                world.sweep();
            }
            world.deliver();
            assert!((case.is_carried)(&world), "{what}: {:?}", debts(&world));
            assert_eq!(open_strays(&world), Vec::<String>::new(), "{what}");
            let open = "SELECT id FROM intents WHERE discharged_at IS NULL";
            assert_eq!(world.proxy(open).len(), 0, "{what}");
            world.assert_within_limits();
        }
    }
}

#[test]
fn of_a_patch() {
    check(&PATCH);
}

#[test]
fn of_a_suspension() {
    check(&SUSPEND);
}

#[test]
fn of_a_deletion() {
    check(&DELETE);
}

#[test]
fn a_late_write_of_ours_is_sent_again_and_no_stray() {
    let world = world();
    edit(&world, ALICE, "name = 'First'");
    world
        .faults
        .once(Port::Logto, "PATCH", 0, Fault::Late(100_000));
    look(&world, Trigger::Walk, ALICE);
    // Meanwhile another value is carried ...
    edit(&world, ALICE, "name = 'Second'");
    look(&world, Trigger::Walk, ALICE);
    world.advance(200_000);
    world.idle();
    // ... and whoever looks after the late one came, sends it again.
    for _ in 0..20 {
        world.deliver_for(60_000);
        world.tick();
    }
    world.deliver();
    assert_eq!(at_logto(&world, ALICE)["name"], "Second");
    assert_eq!((debts(&world), open_strays(&world)), (vec![], vec![]));
}

/// A relay that Logto keeps waiting for two seconds, at its first call of a method.
fn keeps_waiting(world: &Rc<World>, method: &'static str) {
    edit(world, ALICE, "name = 'Ours'");
    let statements = Trigger::Walk.each(&[UserId::parse(ALICE).unwrap()]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world.send_wake(ALICE);
    world
        .faults
        .once(Port::Logto, method, 0, Fault::SlowAnswer(2_000));
    let node = world.node();
    world.executor.spawn(async move {
        let user = UserId::parse(ALICE).unwrap();
        dual_write_proxy::mirror::relay::reconcile(&node, &node.context(), &user).await
    });
    world.advance(1_000);
}

#[test]
fn nothing_is_sent_once_the_authority_has_moved() {
    let world = world();
    // Between the lease and the record of what is sent.
    keeps_waiting(&world, "GET");
    hand_over(&world, "logto", 6);
    world.idle();
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
    assert_eq!(at_logto(&world, ALICE)["name"], "Alice");
}

#[test]
fn a_call_that_was_answered_in_an_older_generation_does_not_hold_up_the_way_back() {
    let world = world();
    keeps_waiting(&world, "PATCH");
    world.wish(Some(Stage::DualWrite));
    world.nudge();
    assert_eq!(world.holder(), "returning");
    // Answered now; its base is of another generation, and is not left.
    world.idle();
    assert_eq!(at_logto(&world, ALICE)["name"], "Ours");
    world.advance(30_000);
    world.send_wake(ALICE);
    world.deliver();
    world.nudge();
    assert_eq!(world.holder(), "logto");
    assert_eq!((debts(&world), open_strays(&world)), (vec![], vec![]));
}

#[test]
fn what_logto_refuses_is_owed_by_field_and_the_rest_is_carried() {
    let world = world();
    // Somebody at Logto, whom the mirror does not know, holds the address.
    world.put_user("zoe000000001", |user| {
        user.email = Some("taken@example.test".into())
    });
    edit(&world, ALICE, "name = 'Ours', email = 'taken@example.test'");
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(at_logto(&world, ALICE)["name"], "Ours");
    assert_eq!(
        debts(&world),
        ["alice0000001 value_conflict primaryEmail:user.identity_already_in_use"]
    );
    assert_eq!(world.n_open(), 0);
    // Given up there, it is carried by the next look.
    world.logto.change("zoe000000001", |user| user.email = None);
    look(&world, Trigger::Again, ALICE);
    assert_eq!(
        at_logto(&world, ALICE)["primaryEmail"],
        "taken@example.test"
    );
    assert_eq!(debts(&world), Vec::<String>::new());
}

#[test]
fn a_value_that_moves_between_users_gets_there_in_either_order() {
    for first in [ALICE, BOB] {
        let world = world();
        edit(&world, ALICE, "email = NULL");
        edit(&world, BOB, "email = 'alice@example.test'");
        let second = if first == ALICE { BOB } else { ALICE };
        look(&world, Trigger::Walk, first);
        look(&world, Trigger::Walk, second);
        world.deliver();
        assert_eq!(
            at_logto(&world, BOB)["primaryEmail"],
            "alice@example.test",
            "{first}"
        );
        assert_eq!(debts(&world), Vec::<String>::new(), "{first}");
    }
}

#[test]
fn a_create_that_was_cut_off_is_left_to_the_sweep_that_knows_its_nonce() {
    let world = world();
    let nonce = "0123456789abcdef0123456789abcdef";
    world.put_user("carol0000001", |user| {
        user.custom_data = format!(r#"{{"_dwp":"{nonce}"}}"#);
    });
    let opened = world.now_ms() - 3_600_000;
    world.databases.execute(
        Store::Proxy,
        &format!(
            "INSERT INTO intents (id, subject, operation, opened_at, expires_at, side, generation, nonce) VALUES ('i1', 'carol0000001', 'users.create', {opened}, {opened} + 60000, 'mgpass', 5, '{nonce}')"
        ),
    );
    world.send_wake("carol0000001");
    world.deliver_for(5_000);
    assert_eq!(world.n_open(), 1);
    world.tick();
    assert_eq!(world.n_open(), 0);
    assert!(!world.logto.users.borrow().contains_key("carol0000001"));
}
