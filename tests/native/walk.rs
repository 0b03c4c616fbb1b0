//! The walk of the whole population: what it compares, what it does with what it
//! finds, and that nothing stops it silently.

use std::rc::Rc;

use dual_write_proxy::mirror::walk;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::proxy::assert_equal_at_mgpass;
use super::support::{Fault, Port, Request, World};

mod edits;
mod edits_of_more;
mod large;
mod passes;

const ALICE: &str = "alice0000001";
const BOB: &str = "bob000000001";
const ADMIN: &str = "operator-s3cret";

/// Alice with everything that mgPass has a column for, and Bob.
fn world() -> Rc<World> {
    let world = World::with(7, &[("ADMIN_TOKEN", ADMIN)]);
    world.mirrored(ALICE, |user| {
        user.username = Some("alice".into());
        user.name = Some("Alice".into());
        user.email = Some("alice@example.test".into());
        user.phone = Some("14155550001".into());
        user.avatar = Some("https://cdn.example.test/a.png".into());
        user.custom_data = r#"{"plan":"free"}"#.into();
        user.last_sign_in_at = Some(user.created_at + 5_000);
        user.identities = vec![("google".into(), "g-1".into(), Some(r#"{"id":"g"}"#.into()))];
    });
    world.mirrored(BOB, |user| user.name = Some("Bob".into()));
    world.advance(60_000);
    world
}

/// One cron's walk, begun and not waited for.
fn start_tick(world: &Rc<World>) {
    let node = world.node();
    world
        .executor
        .spawn(async move { walk::tick(&node, &node.context(), Stage::DualWrite).await });
}

fn tick(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move { walk::tick(&node, &node.context(), Stage::DualWrite).await });
}

/// A whole pass, and what the relay makes of it.
fn pass(world: &Rc<World>) {
    let n_pass = || world.value(Store::Proxy, "SELECT pass FROM walk").as_i64();
    let began = n_pass();
    for _ in 0..20 {
        tick(world);
        world.sweep();
        world.deliver();
        if n_pass() > began {
            return;
        }
    }
    panic!("no end: {:?}", world.events("walk.stepped"));
}

fn at_mgpass(world: &World, sql: &str) {
    world.databases.execute(Store::Mgpass, sql);
}

fn operator(world: &Rc<World>, method: &'static str, path: &str) -> Value {
    let answer = world.ask(Request::new(method, path).token(ADMIN));
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// Codes and fields of what was found of a user, by code.
fn findings(world: &World, user: &str) -> Value {
    let sql =
        format!("SELECT code, kind, paths FROM findings WHERE user_id = '{user}' ORDER BY code");
    let rows = world.proxy(&sql).into_iter().map(|row| {
        let paths: Value = serde_json::from_str(row["paths"].as_str().unwrap()).unwrap();
        json!([row["code"], row["kind"], paths])
    });
    rows.collect()
}
