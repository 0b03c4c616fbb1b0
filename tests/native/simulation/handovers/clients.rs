//! Who writes and reads meanwhile: clients through the proxy, mgPass's own pages, and
//! somebody at Logto's database.

use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use super::history::{Edit, History, Write, is_held};
use crate::simulation::{ADMIN, USERS};
use crate::support::executor::Random;
use crate::support::{Node, Request, World};

/// Clients, and mgPass's own pages.
pub(super) fn begin(world: &Rc<World>, history: &Rc<History>, random: &Random) {
    let nodes = [world.node(), world.node(), world.node()];
    for writer in 0..3_usize {
        let (nodes, history) = (nodes.clone(), Rc::clone(history));
        let random = Random::new(random.next());
        world.executor.spawn(async move {
            for number in 0.. {
                let pauses_ms = match history.is_rush(&nodes[0].world) {
                    true => [20, 200, 1_000, 2_500],
                    false => [300, 4_000, 30_000, 90_000],
                };
                let pause_ms = pauses_ms[random.below(4)];
                nodes[0].world.executor.sleep(pause_ms).await;
                if history.ends.get() {
                    return;
                }
                if nodes[0].world.now_ms() < history.quiet_until_ms.get() {
                    continue;
                }
                let node = nodes[random.below(nodes.len())].next_invocation();
                write(&node, &history, &random, &format!("n{writer}-{number}")).await;
            }
        });
    }
    for _ in 0..2 {
        let (nodes, history) = (nodes.clone(), Rc::clone(history));
        let random = Random::new(random.next());
        world.executor.spawn(async move {
            while !history.ends.get() {
                let pause_ms = [500, 5_000, 40_000, 400_000][random.below(4)];
                nodes[0].world.executor.sleep(pause_ms).await;
                let node = nodes[random.below(nodes.len())].next_invocation();
                read(&node, &history, &random).await;
            }
        });
    }
    let (node, edits) = (world.node(), Rc::clone(history));
    let random = Random::new(random.next());
    // What they set is left to a person, and the rest of the user with it.
    let has_bypasses = random.below(3) == 0;
    world.executor.spawn(async move {
        for number in 0.. {
            node.world.executor.sleep(150_000).await;
            let history = &edits;
            if history.ends.get() {
                return;
            }
            edit(&node.world, history, &random, number);
            if has_bypasses {
                bypass(&node.world, history, &random, number);
            }
        }
    });
    let (world, history) = (Rc::clone(world), Rc::clone(history));
    let executor = Rc::clone(&world.executor);
    executor.spawn(async move {
        while !history.ends.get() {
            let pause_ms = match history.is_rush(&world) {
                true => 300,
                false => 5_000,
            };
            world.executor.sleep(pause_ms).await;
            history.look(&world);
        }
    });
}

async fn write(node: &Node, history: &History, random: &Random, name: &str) {
    let world = &node.world;
    let user = USERS[random.below(USERS.len())];
    let path = |rest: &str| format!("/api/users/{user}{rest}");
    let (request, is_name) = match random.below(10) {
        0 => {
            let body = json!({ "isSuspended": random.below(2) == 0 });
            (
                Request::new("PATCH", &path("/is-suspended")).json(&body.to_string()),
                false,
            )
        }
        1 => {
            let body = json!({ "customData": { "by": name } });
            (
                Request::new("PATCH", &path("/custom-data")).json(&body.to_string()),
                false,
            )
        }
        2 if random.below(3) == 0 => {
            let body = json!({ "username": name.replace('-', "_") });
            (
                Request::new("POST", "/api/users").json(&body.to_string()),
                false,
            )
        }
        _ => {
            let body = json!({ "name": name });
            (
                Request::new("PATCH", &path("")).json(&body.to_string()),
                true,
            )
        }
    };
    let began_ms = world.now_ms();
    if is_name {
        let write = Write {
            user: user.to_owned(),
            began_ms,
            answered_ms: None,
            is_void: false,
        };
        history.writes.borrow_mut().insert(name.to_owned(), write);
    }
    let answered = world.start_at(node, request.token(ADMIN));
    let Either::Left((answer, _)) = select(answered, pin!(world.executor.sleep(130_000))).await
    else {
        return;
    };
    if !(200..300).contains(&answer.status) {
        return;
    }
    history.n_acknowledged.set(history.n_acknowledged.get() + 1);
    if answer.is_own {
        history.n_at_mgpass.set(history.n_at_mgpass.get() + 1);
        let shown: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let user = shown["id"].as_str().unwrap_or(user);
        if !history.tamper.witness.is_settled(user, world.now_ms()) {
            history.say(format!("{name} of {user} was acknowledged unsettled"));
        }
    }
    if let Some(write) = history.writes.borrow_mut().get_mut(name) {
        write.answered_ms = Some(world.now_ms());
    }
}

async fn read(node: &Node, history: &History, random: &Random) {
    let world = &node.world;
    let user = USERS[random.below(USERS.len())];
    let began_ms = world.now_ms();
    let token = match random.below(2) {
        0 => ADMIN.to_owned(),
        _ => world.admin_token(),
    };
    let request = Request::new("GET", &format!("/api/users/{user}")).token(&token);
    let answered = world.start_at(node, request);
    let Either::Left((answer, _)) = select(answered, pin!(world.executor.sleep(130_000))).await
    else {
        return;
    };
    let shown: Option<Value> = serde_json::from_str(&answer.body).ok();
    let Some(shown) = shown.filter(|_| answer.status == 200) else {
        return;
    };
    history.n_reads.set(history.n_reads.get() + 1);
    if is_held(world, user) {
        // A person is to decide; nothing is claimed until then.
        return history.void(user, world.now_ms());
    }
    let name = shown["name"].as_str().unwrap_or_default();
    let older = history.is_older(user, name, began_ms);
    let told = older.map(|older| format!("{older}, read at {began_ms} under {}", world.holder()));
    history.stale.borrow_mut().extend(told);
}

/// At mgPass's own pages, while they are anybody's.
fn edit(world: &World, history: &History, random: &Random, number: u32) {
    if !["mgpass", "alone"].contains(&world.holder()) {
        return;
    }
    let user = USERS[random.below(USERS.len())];
    let avatar = format!("https://mgpass.test/{number}.png");
    let sql = format!("UPDATE users SET avatar = '{avatar}' WHERE id = '{user}'");
    world.databases.execute(Store::Mgpass, &sql);
    if random.below(2) == 0 {
        let entry = format!(
            "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
             VALUES ('aud_{number}', 'user.updated', 'user', '{user}', 'user', '{user}', unixepoch())"
        );
        world.databases.execute(Store::Mgpass, &entry);
    }
    history.edits.borrow_mut().push(Edit {
        user,
        avatar,
        at_ms: world.now_ms(),
    });
}

/// At Logto itself, which mgPass has the say over.
fn bypass(world: &World, history: &History, random: &Random, number: u32) {
    if !["mgpass", "alone"].contains(&world.holder()) {
        return;
    }
    let user = USERS[random.below(USERS.len())];
    let phone = format!("1415555{number:04}");
    world
        .logto
        .change(user, |user| user.phone = Some(phone.clone()));
    history.bypasses.borrow_mut().insert(user, phone);
}
