//! Sign-ins that move, over the fakes: the login link, whose a client is, signing out, the
//! stop of the share, the ledger. What reached a side is looked up at that side.

mod clients;
mod ending;
mod forecast;
mod link;
mod mark;
mod watch;
mod why;

use std::rc::Rc;

use serde_json::json;

use super::support::{Request, World};

const PIN_SECRET: &str = "pin-s3cret";
const LOGTO_CLIENT: &str = "news00000000000000000";
const MGPASS_CLIENT: &str = "app_news";
const LOGTO_START: &str = "https://news.example/login";
const MGPASS_START: &str = "https://news.example/login/mgpass";
const ADMIN: &str = "operator-s3cret";

/// One application that is ready for all; everybody's next sign-in is to be at mgPass.
fn world() -> Rc<World> {
    world_with(&[])
}

fn world_with(changes: &[(&str, &str)]) -> Rc<World> {
    let mut all = changes.to_vec();
    all.extend([("PIN_SECRET", PIN_SECRET), ("ADMIN_TOKEN", ADMIN)]);
    let world = World::with(11, &all);
    let_move(&world);
    world
}

/// Nothing holds sign-ins at Logto but the stage.
fn let_move(world: &World) {
    world.flag("applications", &list(&["sign_in", "sign_out"]));
    world.flag("sign_in_percent", "100");
    world.flag("mgpass_pages", "closed");
}

fn list(ready: &[&str]) -> String {
    json!([{ "name": "news", "group": "main", "owner": "team-web", "ready": ready,
        "logto": { "client_id": LOGTO_CLIENT, "start": LOGTO_START },
        "mgpass": { "client_id": MGPASS_CLIENT, "start": MGPASS_START } }])
    .to_string()
}

fn form(path: &str, body: &str) -> Request {
    Request::new("POST", path)
        .header("content-type", "application/x-www-form-urlencoded")
        .json(body)
}

/// Requests of clients at Logto and at mgPass so far.
fn presented(world: &World) -> (usize, usize) {
    (
        world.logto.presented.borrow().len(),
        world.mgpass.presented.borrow().len(),
    )
}

/// Whether a text was shown to either side, in any header or body.
fn is_shown(world: &World, text: &str) -> (bool, bool) {
    let in_headers =
        |headers: &[(String, String)]| headers.iter().any(|(_, value)| value.contains(text));
    let logto = world.logto.presented.borrow().iter().any(|request| {
        request.path.contains(text)
            || in_headers(&request.headers)
            || request.body.as_deref().unwrap_or_default().contains(text)
    });
    let mgpass = world
        .mgpass
        .presented
        .borrow()
        .iter()
        .any(|(line, headers, body)| {
            line.contains(text) || in_headers(headers) || body.contains(text)
        });
    (logto, mgpass)
}
