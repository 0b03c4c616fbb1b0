//! Answers above what can be held: pages of large users, and a single one.

use super::*;
use crate::jobs::{import, prove};

/// Two of them do not fit into one answer.
const FAT: usize = 1_200_000;
/// This one alone does not.
const TOO_LARGE: usize = 2_200_000;

fn fatten(user: &mut crate::support::logto::User, n_bytes: usize) {
    user.custom_data = format!(r#"{{"blob":"{}"}}"#, "x".repeat(n_bytes));
}

/// 130 users, newest last; numbers 20 and 25 and 90 are fat.
fn populate(world: &Rc<World>) {
    for index in 0..130_i64 {
        world.put_user(&name(index), |user| {
            user.created_at += index * 1_000;
            if [20, 25, 90].contains(&index) {
                fatten(user, FAT);
            }
        });
    }
}

fn name(index: i64) -> String {
    format!("user{index:08}")
}

#[test]
fn a_page_that_is_too_large_stops_neither_walk_nor_catch_up() {
    let world = world();
    populate(&world);
    pass(&world);
    for index in [0, 20, 24, 25, 90, 129] {
        assert_equal_at_mgpass(&world, &name(index));
    }
    world
        .logto
        .change(&name(25), |user| user.name = Some("Behind".into()));
    world
        .logto
        .change(&name(3), |user| user.name = Some("Behind".into()));
    pass(&world);
    assert_equal_at_mgpass(&world, &name(25));
    assert_equal_at_mgpass(&world, &name(3));
    // A registration that nobody could name, older than the fat ones.
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO intents (id, operation, opened_at, expires_at, settled, status)
         SELECT 'unnamed', 'users.create', 1799913610000, 0, value, 200 FROM counters WHERE name = 'sequence'",
    );
    let node = world.node();
    world.finish(async move { walk::catch_up(&node, &node.context()).await });
    let done = world.events("catch_up.done").pop().unwrap();
    assert_eq!(done["outcome"], "resolved");
    assert!(done["n_users"].as_i64() >= Some(120), "{done}");
}

#[test]
fn a_user_above_every_answer_is_parked_by_name_and_pauses_nobody() {
    let world = world();
    world.logto.change(ALICE, |user| fatten(user, TOO_LARGE));
    let token = world.admin_token();
    for id in [ALICE, BOB] {
        let request = Request::new("PATCH", &format!("/api/users/{id}")).token(&token);
        world.ask(request.json(r#"{"name":"Newer"}"#));
    }
    world.deliver();
    assert_equal_at_mgpass(&world, BOB);
    assert_eq!(world.parked(ALICE), "too_large");
    assert_eq!(world.events("mirror.paused").len(), 0);
    assert_eq!(world.events("mirror.parked")[0]["reason"], "too_large");
    assert_eq!(world.counter("paused_until"), 0);
    // The status says so, and nothing of theirs is read from mgPass.
    let status = operator(&world, "GET", "/_proxy/status");
    assert_eq!(status["outbox"]["n_parked"], 1);
    let view = operator(&world, "GET", "/_proxy/mirror");
    assert_eq!(view["parked"][0]["reason"], "too_large");
    let explained = operator(&world, "GET", &format!("/_proxy/explain?user={ALICE}"));
    assert_eq!(explained["reads"]["reason"], "outside_share");
    assert_eq!(world.n_open(), 1);
}

#[test]
fn whom_the_walk_cannot_read_it_leaves_to_the_relay_and_frees_later() {
    let world = world();
    populate(&world);
    pass(&world);
    world
        .logto
        .change(&name(70), |user| fatten(user, TOO_LARGE));
    world
        .logto
        .change(&name(71), |user| user.name = Some("Behind".into()));
    pass(&world);
    assert_eq!(world.parked(&name(70)), "too_large");
    assert_equal_at_mgpass(&world, &name(71));
    assert_eq!(world.events("walk.delayed").len(), 0);
    // Smaller again, and nobody told: the walk sees it.
    world.logto.change(&name(70), |user| fatten(user, 10));
    pass(&world);
    assert_eq!(world.parked(&name(70)), Value::Null);
    assert_equal_at_mgpass(&world, &name(70));
    assert_eq!(world.n_open(), 0);
}

#[test]
fn import_and_proof_name_who_is_too_large_and_carry_all_others() {
    let world = World::with(7, &[("ADMIN_TOKEN", ADMIN)]);
    populate(&world);
    world
        .logto
        .change(&name(70), |user| fatten(user, TOO_LARGE));
    let view = import(&world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": 129, "parked": 1 }),
        "{view}"
    );
    assert_eq!(view["parked"], json!({ "too_large": 1 }));
    assert_eq!(world.parked(&name(70)), "too_large");
    assert_eq!(view["total"], 130);
    let report = prove(&world);
    assert_eq!(report["equal"], 129, "{report}");
    assert_eq!(world.user(&name(70), "id"), Value::Null);
}

/// A row that nobody can name is said aloud, and stops nobody.
#[test]
fn a_row_that_is_no_user_stops_nobody() {
    let world = world();
    let id = "x".repeat(70);
    world.put_user(&id, |user| user.created_at += 5_000);
    world.put_user("older0000001", |user| user.created_at -= 5_000);
    pass(&world);
    assert_equal_at_mgpass(&world, "older0000001");
    let refused = world.events("listing.refused").pop().unwrap();
    assert_eq!(
        (&refused["code"], &refused["place"]),
        (&json!("unreadable"), &json!(1))
    );
    // A user whose own answer is odd is left to the relay.
    world.logto.odd.borrow_mut().insert(BOB.to_owned());
    world
        .databases
        .execute(Store::Proxy, "UPDATE walk SET phase = 'mgpass'");
    pass(&world);
    assert_eq!(
        world.events("walk.stepped").last().unwrap()["outcome"],
        "pass_done"
    );
    assert_eq!(world.events("mirror.failed")[0]["code"], "out_of_contract");
}
