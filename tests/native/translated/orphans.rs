//! Ids that Logto gave for creates of which nothing came, and what nobody may make of
//! them.

use std::rc::Rc;

use dual_write_proxy::handover::advance;
use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::serve::at_mgpass::orphans;
use serde_json::Value;

use super::super::support::faults::Glitch;
use super::super::support::world::Tamper;
use super::super::support::{Fault, Port, Request, World};
use super::{body, hand_over, intents, world};

const CREATE: &str = r#"{"username":"carol"}"#;

/// Logto gave an id, and its answer never came.
fn comes_to_nothing(world: &Rc<World>) {
    world
        .faults
        .once(Port::Logto, "POST /api/users", 0, Fault::HangAfterEffect);
    world.write("POST", "/api/users", CREATE);
    world.idle();
}

fn sweep(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move { orphans::sweep(&node, &node.context()).await });
}

fn abandon(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move {
        let settings = &node.context().settings.handover;
        advance::abandon(&node, settings).await.unwrap();
    });
}

fn n_reserved(world: &World) -> usize {
    let users = world.logto.users.borrow();
    let is_marked = |data: &str| data.contains("_dwp");
    users
        .values()
        .filter(|user| is_marked(&user.custom_data))
        .count()
}

#[test]
fn an_id_that_logto_gave_and_nobody_heard_of_is_deleted_once_nothing_can_come() {
    let world = world();
    world
        .faults
        .once(Port::Logto, "POST /api/users", 0, Fault::HangAfterEffect);
    let answered = world.write("POST", "/api/users", CREATE);
    assert_eq!(body(&answered)["code"], "proxy.logto_timed_out");
    world.idle();
    assert_eq!((n_reserved(&world), intents(&world).len()), (1, 1));
    sweep(&world);
    assert_eq!(
        n_reserved(&world),
        1,
        "a late batch could still make a user of it"
    );
    world.advance(900_000);
    sweep(&world);
    assert_eq!((n_reserved(&world), intents(&world).len()), (0, 0));
}

#[test]
fn a_create_cut_off_before_its_batch_leaves_nobody() {
    let world = world();
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror",
        0,
        Fault::CrashBefore,
    );
    let token = world.admin_token();
    let handle = world.start(
        Request::new("POST", "/api/users")
            .token(&token)
            .json(CREATE),
    );
    world.idle();
    assert!(handle.take().is_none());
    world.advance(900_000);
    sweep(&world);
    assert_eq!((n_reserved(&world), intents(&world).len()), (0, 0));
}

/// At mgPass, and cut off before anybody was told.
fn create_unsettled(world: &Rc<World>) {
    world
        .faults
        .once(Port::ProxyDatabase, "SET settled", 0, Fault::CrashBefore);
    let token = world.admin_token();
    let handle = world.start(
        Request::new("POST", "/api/users")
            .token(&token)
            .json(CREATE),
    );
    world.idle();
    assert!(handle.take().is_none());
}

#[test]
fn a_user_whom_mgpass_has_is_kept() {
    let world = world();
    create_unsettled(&world);
    world.advance(900_000);
    sweep(&world);
    assert_eq!((n_reserved(&world), intents(&world).len()), (1, 1));
}

/// Without a name the relay would never cover it, and the way back would wait for ever.
#[test]
fn a_user_whom_mgpass_has_gets_a_name() {
    let world = world();
    create_unsettled(&world);
    let unnamed = "UPDATE intents SET subject = NULL";
    world.databases.execute(Store::Proxy, unnamed);
    world.advance(900_000);
    sweep(&world);
    let [intent] = intents(&world).try_into().unwrap();
    assert_eq!(intent["subject"], "created00001");
}

/// No relay covers an intent of mgPass's then: the user is looked at from Logto's side.
#[test]
fn a_user_whom_mgpass_has_is_reconciled_from_logto_after_a_way_back_without_mgpass() {
    let world = world();
    create_unsettled(&world);
    abandon(&world);
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM held_subjects");
    world.advance(900_000);
    sweep(&world);
    let [intent] = intents(&world).try_into().unwrap();
    assert_eq!(intent["subject"], "created00001");
    assert_eq!(intent["side"], "logto");
    assert_eq!(intent["operation"], "catch_up");
    world.wake("created00001");
    world.deliver();
    assert_eq!(world.parked("created00001"), "reserved_at_logto");
}

/// Logto without an answer, or without its data for a moment, to reads of one user.
struct Forgetful(Glitch);

impl Tamper for Forgetful {
    fn glitch(&self, port: Port, what: &str) -> Option<Glitch> {
        let is_of_one = port == Port::Logto && what.starts_with("GET /api/users/");
        is_of_one.then_some(self.0)
    }
}

#[test]
fn an_id_is_not_forgotten_because_logto_did_not_show_it_once() {
    for is_named in [true, false] {
        for glitch in [Glitch::NotFound, Glitch::Refuse(503)] {
            let world = world();
            comes_to_nothing(&world);
            if is_named {
                let named = "UPDATE intents SET subject = 'created00001'";
                world.databases.execute(Store::Proxy, named);
            }
            world.advance(900_000);
            *world.tamper.borrow_mut() = Some(Rc::new(Forgetful(glitch)));
            sweep(&world);
            let left = (n_reserved(&world), intents(&world).len());
            assert_eq!(left, (1, 1), "{is_named} {glitch:?}");
            *world.tamper.borrow_mut() = None;
            sweep(&world);
            assert_eq!((n_reserved(&world), intents(&world).len()), (0, 0));
        }
    }
}

#[test]
fn an_id_that_somebody_else_has_deleted_is_done_with() {
    let world = world();
    comes_to_nothing(&world);
    let named = "UPDATE intents SET subject = 'created00001'";
    world.databases.execute(Store::Proxy, named);
    world.logto.users.borrow_mut().remove("created00001");
    world.advance(900_000);
    sweep(&world);
    assert_eq!(intents(&world).len(), 0);
}

#[test]
fn who_was_made_a_user_meanwhile_is_not_deleted() {
    let world = world();
    comes_to_nothing(&world);
    let id = world
        .logto
        .users
        .borrow()
        .keys()
        .find(|id| id.starts_with("created"))
        .cloned();
    let id = id.unwrap();
    world
        .logto
        .change(&id, |user| user.custom_data = r#"{"plan":"pro"}"#.into());
    world.advance(900_000);
    sweep(&world);
    assert!(world.logto.users.borrow().contains_key(&id));
    assert_eq!(intents(&world).len(), 0);
}

#[test]
fn the_forward_mirror_makes_nothing_of_an_id_alone() {
    let world = world();
    let answered = world.write("POST", "/api/users", CREATE);
    let created = body(&answered)["id"].as_str().unwrap().to_owned();
    world
        .faults
        .once(Port::Logto, "POST /api/users", 0, Fault::HangAfterEffect);
    world.write("POST", "/api/users", r#"{"username":"dave"}"#);
    world.idle();
    let orphan = world
        .logto
        .users
        .borrow()
        .keys()
        .find(|id| **id > created && id.starts_with("created"))
        .cloned()
        .unwrap();
    // Logto has the say again, and not everything was carried over.
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    hand_over(&world, "logto", 7);
    for id in [&created, &orphan] {
        world.wake(id);
    }
    world.deliver();
    assert_eq!(world.parked(&created), "reserved_at_logto");
    assert_eq!(world.user(&created, "name"), "carol");
    assert_eq!(world.parked(&orphan), Value::Null);
    assert_eq!(world.user(&orphan, "id"), Value::Null);
}

/// The way back without mgPass forgets what was written there, but not what is left at Logto.
#[test]
fn an_id_without_a_user_is_deleted_after_a_way_back_without_mgpass_too() {
    let world = world();
    comes_to_nothing(&world);
    abandon(&world);
    world.advance(900_000);
    sweep(&world);
    assert_eq!((n_reserved(&world), intents(&world).len()), (0, 0));
}

/// The mirror has seen the id at Logto: that is no sign of a user.
#[test]
fn an_id_without_a_user_is_nobody_to_the_mirror() {
    let world = world();
    hand_over(&world, "logto", 6);
    world.put_user("reserved0001", |user| {
        user.custom_data = r#"{"_dwp":"0123456789abcdef0123456789abcdef"}"#.to_owned();
    });
    world.wake("reserved0001");
    let seen = Trigger::Walk.each(&[UserId::parse("reserved0001").unwrap()]);
    world.databases.batch(Store::Proxy, &seen).unwrap();
    world.deliver();
    assert_eq!(world.parked("reserved0001"), Value::Null);
}
