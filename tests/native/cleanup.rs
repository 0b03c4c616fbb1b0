//! Stage `cleanup`: nobody asks Logto anything. What it is reached by, what is answered in
//! it, what is refused by name, and the way back.

use std::rc::Rc;

use dual_write_proxy::handover::cleanup::notes;
use dual_write_proxy::handover::facts;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::isolate::OldIssuer;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::support::client::Answered;
use super::support::tokens::{LOGTO_KEY, MGPASS_KEY, NEXT_LOGTO_KEY, imported};
use super::support::{Fault, Node, Port, Request, World};
use super::translated::{self, ALICE, PATH, body, hand_over};

mod clearing;
mod gates;
mod requests;

const DISCOVERY: &str = r#"{"issuer":"https://auth.example.test/oidc"}"#;
const KEYS: &str = r#"{"keys":[{"kid":"k1"}]}"#;

/// Two users, Logto's documents and keys kept; nobody is told yet that Logto is left.
fn prepared() -> Rc<World> {
    let world = translated::world();
    // What a translated write is judged by is read while Logto answers.
    assert_eq!(
        world.write("PATCH", PATH, r#"{"name":"Alice"}"#).status,
        200
    );
    let now_s = world.now_ms() / 1_000;
    let keys = imported(&LOGTO_KEY, Some(now_s + 3_600), now_s + 86_400);
    *world.imported_keys.borrow_mut() = Some(keys);
    let issuer = OldIssuer {
        discovery: DISCOVERY.to_owned(),
        jwks: KEYS.to_owned(),
    };
    let keep = [notes::keep_issuer(&issuer)];
    world.databases.batch(Store::Proxy, &keep).unwrap();
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.flag("stage", "cleanup");
    world
}

/// And it is left.
pub fn world() -> Rc<World> {
    let world = prepared();
    hand_over(&world, "alone", 6);
    world.logto.served.borrow_mut().clear();
    world.events.borrow_mut().clear();
    world
}

fn at_logto(world: &World) -> Vec<String> {
    world.logto.served.borrow().clone()
}

#[track_caller]
fn nothing_reached_logto(world: &World) {
    assert_eq!(at_logto(world), Vec::<String>::new());
}

fn ask(world: &Rc<World>, node: &Node, method: &'static str, path: &str) -> Answered {
    world.ask_at(node, Request::new(method, path).token(&world.admin_token()))
}

#[track_caller]
fn check_refused(answered: &Answered, status: u16, code: &str) -> Value {
    let body = body(answered);
    assert_eq!(
        (answered.status, &body["code"]),
        (status, &json!(code)),
        "{body}"
    );
    body
}

fn done(world: &World) -> Value {
    world.events("request.done").last().unwrap().clone()
}
