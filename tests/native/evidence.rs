//! The evidence before a hand-over, over the flows: each check goes red when what it
//! watches is broken; mgPass's webhooks; the certificate.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::jobs;
use super::support::hosted::kept;
use super::support::tokens::{self, LOGTO_KEY, MGPASS_KEY};
use super::support::{Request, World, webhooks};

mod certificate;
mod checks;
mod hooks;

const ADMIN: &str = "operator-s3cret";
const PROBE: &str = "probe0000001";
const ALICE: &str = "alice0000001";
const COSTLY: [&str; 4] = ["sign_in", "tokens", "console", "audit"];

const SETTINGS: &[(&str, &str)] = &[
    ("ADMIN_TOKEN", ADMIN),
    ("WALK", "off"),
    ("LOGTO_WEBHOOK_SECRET", webhooks::SECRET),
    ("MGPASS_WEBHOOK_SECRET", webhooks::SECRET),
    ("PROBE_USER", PROBE),
    ("PROBE_EMAIL", "probe@example.test"),
    ("PROBE_PASSWORD", "hunter2 & more"),
    ("PROBE_CLIENT_ID", "app_probe"),
    ("PROBE_REDIRECT_URI", "https://app.example.test/cb"),
];

fn ask(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let request = Request::new(method, &format!("/_proxy/{path}")).token(ADMIN);
    let answer = world.ask(request);
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Everybody has a way in, points are equal, webhooks of both sides have come, tokens are
/// JWTs, and somebody else was in the audit log.
fn good() -> Rc<World> {
    with(&[])
}

fn with(changes: &[(&str, &str)]) -> Rc<World> {
    let settings: Vec<_> = changes.iter().chain(SETTINGS).copied().collect();
    let world = World::with(23, &settings);
    for id in [ALICE, "bob000000001", PROBE] {
        world.put_user(id, |user| {
            user.name = Some("Somebody".to_owned());
            user.avatar = Some("https://a.example.test/a.png".to_owned());
            user.email = Some(match id {
                PROBE => "probe@example.test".to_owned(),
                id => format!("{id}@example.test"),
            });
        });
    }
    jobs::import(&world);
    let mgpass = |sql: &str| world.databases.execute(Store::Mgpass, sql);
    mgpass(&format!(
        "UPDATE users SET password_hash = '{}' WHERE id = '{PROBE}'",
        kept("hunter2 & more")
    ));
    world.databases.execute(
        Store::Rewards,
        &format!("INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('{ALICE}', 5, 5, 'bronze');
            INSERT INTO rewards_ledger (id, user_id, event_type, points, status, created_at) VALUES ('e1', '{ALICE}', 'x', 5, 'posted', 1789000000)"),
    );
    assert_eq!(
        jobs::operator(&world, "POST", "/_proxy/import?kind=points").0,
        202
    );
    jobs::run(&world, "points");
    jobs::prove(&world);
    fresh_tokens(&world);
    let sunset_s = world.now_ms() / 1_000 + 86_400 * 90;
    *world.imported_keys.borrow_mut() = Some(tokens::imported(&LOGTO_KEY, None, sunset_s));
    let told = json!({ "event": "User.Data.Updated", "params": { "userId": ALICE }, "data": {} });
    // A receiver without a secret takes none.
    world.ask(webhooks::delivery(&told));
    hooks::deliver(&world, &hooks::event("whe_1", "token.issued", None));
    world
}

/// JWTs for the proxy itself, of this moment.
fn fresh_tokens(world: &World) {
    let now_ms = world.now_ms();
    *world.logto.own_jwt.borrow_mut() = Some(LOGTO_KEY.logto_token(now_ms));
    *world.mgpass.own_jwt.borrow_mut() = Some(MGPASS_KEY.mgpass_token(now_ms));
}

/// All of them anew, by name.
fn run(world: &Rc<World>) -> Value {
    for name in COSTLY {
        let (status, body) = ask(world, "POST", &format!("checklist/run?check={name}"));
        assert_eq!((status, &body["ran"]), (200, &json!(name)));
    }
    let (status, body) = ask(world, "POST", "checklist/run?conclude=true");
    assert_eq!(status, 200);
    body
}

fn check<'a>(checklist: &'a Value, name: &str) -> &'a Value {
    let checks = checklist["checks"].as_array().unwrap().iter();
    checks.clone().find(|check| check["name"] == name).unwrap()
}

fn state(checklist: &Value, name: &str) -> String {
    let check = check(checklist, name);
    assert!(!check["why"].as_str().unwrap().is_empty(), "{check}");
    check["state"].as_str().unwrap().to_owned()
}

/// Only this one is not green, and it is so.
#[track_caller]
fn assert_alone(checklist: &Value, name: &str, expected: &str) {
    assert_eq!(checklist["not_green"], json!([name]), "{checklist:#}");
    assert_eq!(state(checklist, name), expected, "{checklist:#}");
    assert_ne!(check(checklist, name)["do"], "", "what to do");
}
