//! What helps the mirror beside the writes that pass it: webhooks, which may be late,
//! lost or doubled, an import, and the walk and the catch-up of cron. Only with these
//! is a write judged that went past the proxy, and a change in mgPass's own rows.

use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use futures_util::future::select;
use serde_json::json;

use super::USERS;
use super::actions::Journal;
use crate::support::executor::Random;
use crate::support::logto::{LogtoRequest, OWN_TOKEN};
use crate::support::webhooks::delivery;
use crate::support::{Node, Request, World};

pub const OPERATOR: &str = "operator-s3cret";

/// Sends what Logto has told since, each on its own way.
pub fn send_webhooks(world: &Rc<World>, node: &Node, random: &Random) {
    let told = match &mut *world.logto.told.borrow_mut() {
        Some(told) => std::mem::take(told),
        None => return,
    };
    for told in told {
        let n_times = match random.below(8) {
            0 | 1 => 0,
            2 => 2,
            _ => 1,
        };
        for _ in 0..n_times {
            let delay_ms = [0, 5, 300, 4_000, 50_000][random.below(5)];
            let (node, request) = (node.clone(), delivery(&told));
            world.executor.spawn(async move {
                node.world.executor.sleep(delay_ms).await;
                node.world.start_at(&node, request).await
            });
        }
    }
}

/// An operator starts an import of the users, and another one if the first is through.
pub fn import(world: &Rc<World>, node: &Node, random: &Random) {
    let pauses_ms = [(); 2].map(|()| [20, 400, 5_000, 40_000, 90_000][random.below(5)]);
    let lanes = 1 + random.below(3);
    let node = node.clone();
    world.executor.spawn(async move {
        for pause_ms in pauses_ms {
            node.world.executor.sleep(pause_ms).await;
            let path = format!("/_proxy/import?kind=users&lanes={lanes}");
            let request = Request::new("POST", &path).token(OPERATOR);
            // Refused while one is at work, or lost: both are fine.
            let answered = node.world.start_at(&node, request);
            select(answered, pin!(node.world.executor.sleep(60_000))).await;
        }
    });
}

pub fn has_webhooks(world: &World) -> bool {
    let told = world.logto.told.borrow();
    told.as_ref().is_some_and(|told| !told.is_empty())
}

/// A write that reaches Logto past the proxy: from its console, say. Not a
/// suspension: undone before anybody looks, it would leave sessions that nothing
/// tells of.
pub fn bypass(world: &World, random: &Random) {
    let users: Vec<String> = world.logto.users.borrow().keys().cloned().collect();
    let user = match users.len() {
        0 => USERS[0].to_owned(),
        n => users[random.below(n)].clone(),
    };
    let email = match random.below(4) {
        3 => json!(null),
        index => json!(format!("mail{index}@example.test")),
    };
    let (method, rest, body) = match random.below(8) {
        0 | 1 => ("PATCH", "", json!({ "name": "Console" })),
        2 | 3 => ("PATCH", "", json!({ "primaryEmail": email })),
        4 => (
            "PATCH",
            "/custom-data",
            json!({ "customData": { "by": "console" } }),
        ),
        5 => ("PUT", "/identities/google", json!({ "userId": "g-1" })),
        6 => ("DELETE", "/identities/google", json!(null)),
        _ => ("DELETE", "", json!(null)),
    };
    let request = LogtoRequest {
        method: method.to_owned(),
        path: format!("/api/users/{user}{rest}"),
        headers: vec![("authorization".to_owned(), format!("Bearer {OWN_TOKEN}"))],
        body: Some(body.to_string()),
    };
    world.logto.handle(&request, world.now_ms());
}

/// A change in mgPass's own rows of somebody whom the mirror knows: by nobody that the
/// audit log names, or by mgPass's admin, whose doing must not vanish without trace.
pub fn tamper(world: &World, journal: &Journal, random: &Random) {
    let known = world.mgpass(
        "SELECT u.id AS id FROM users u JOIN logto_mirror m ON m.user_id = u.id \
         WHERE u.deleted_at IS NULL AND m.tombstone = 0 ORDER BY u.id",
    );
    if known.is_empty() {
        return;
    }
    let user = known[random.below(known.len())]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let number = random.next() % 1_000_000;
    let (field, sql) = match random.below(4) {
        0 => (
            "name",
            format!("UPDATE users SET name = 'There {number}' WHERE id = '{user}'"),
        ),
        1 => (
            "metadata",
            format!("UPDATE users SET metadata = '{{\"there\":{number}}}' WHERE id = '{user}'"),
        ),
        2 => (
            "email",
            format!("UPDATE users SET email = NULL WHERE id = '{user}'"),
        ),
        _ => (
            "identities.google",
            format!("DELETE FROM social_identities WHERE user_id = '{user}'"),
        ),
    };
    let is_on_purpose = random.below(2) == 0;
    world.databases.execute(Store::Mgpass, &sql);
    if is_on_purpose {
        let entry = format!(
            "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
             VALUES ('aud_{number}', 'user.updated', 'user', 'usr_admin', 'user', '{user}', unixepoch())"
        );
        world.databases.execute(Store::Mgpass, &entry);
    }
    // That something is gone may come to be Logto's own state, and then is nobody's edit.
    if is_on_purpose && ["name", "metadata"].contains(&field) {
        journal.edits.borrow_mut().push((user, field));
    }
}
