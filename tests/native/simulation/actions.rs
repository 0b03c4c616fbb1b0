//! What clients do: every write route once, or three writers at random. The journal
//! keeps what they were told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};
use serde_json::json;

use super::chaos::Chaos;
use super::help::{bypass, tamper};
use super::reads::{self, Reads};
use super::{ADMIN, Course, Setup, USERS};
use super::{browsers, values};
use crate::support::Node;
use crate::support::executor::Random;
use crate::support::logto::Interaction;
use crate::support::{Request, World};

/// What clients were told.
#[derive(Default)]
pub struct Journal {
    pub n_acknowledged: Cell<u64>,
    /// Users whose deletion was answered by 204.
    pub deleted: RefCell<Vec<String>>,
    /// How often more sessions may be ended for it.
    pub n_undone_suspensions: Cell<u64>,
    /// By user, without an answer yet.
    open_suspensions: RefCell<BTreeMap<String, u64>>,
    /// Who wrote for themselves without a clean answer: where nobody could name them,
    /// nothing is recorded of what nobody was told of.
    pub doubtful: RefCell<BTreeSet<String>>,
    /// Fields that somebody changed at mgPass on purpose.
    pub edits: RefCell<Vec<(String, &'static str)>>,
    /// Suspensions without a clean answer: they may be looked at twice.
    pub n_doubtful_suspensions: Cell<u64>,
    /// Acknowledged writes of users whom nobody could name: each is a gap.
    pub n_unnameable: Cell<u64>,
    pub reads: Reads,
}

impl Journal {
    /// One that undoes has sessions ended once more, and so does each suspension that is
    /// answered only after it: by then its user is not suspended.
    fn begin_suspension(&self, subject: String, undoes: bool) -> (String, bool) {
        let mut open = self.open_suspensions.borrow_mut();
        let n_open = open.entry(subject.clone()).or_default();
        if undoes {
            self.n_undone_suspensions
                .set(self.n_undone_suspensions.get() + 1 + *n_open);
        } else {
            *n_open += 1;
        }
        (subject, undoes)
    }

    fn end_suspension(&self, begun: Option<(String, bool)>) {
        if let Some((subject, false)) = begun
            && let Some(n_open) = self.open_suspensions.borrow_mut().get_mut(&subject)
        {
            *n_open -= 1;
        }
    }
}

type Requests = fn(&Rc<World>) -> Vec<Request>;

pub const ROUTES: &[(&str, Requests)] = &[
    ("PATCH /api/users/:id", |_| {
        vec![admin(
            "PATCH",
            "",
            r#"{"name":"New","primaryPhone":"14155550009"}"#,
        )]
    }),
    ("PATCH custom-data", |_| {
        vec![admin(
            "PATCH",
            "/custom-data",
            r#"{"customData":{"a":[1.50]}}"#,
        )]
    }),
    ("PATCH profile", |_| {
        vec![admin("PATCH", "/profile", r#"{"familyName":"X"}"#)]
    }),
    ("PATCH password", |_| {
        vec![admin("PATCH", "/password", r#"{"password":"x"}"#)]
    }),
    ("PATCH is-suspended, true", |_| {
        vec![admin("PATCH", "/is-suspended", r#"{"isSuspended":true}"#)]
    }),
    ("PATCH is-suspended, true and back", |_| {
        vec![
            admin("PATCH", "/is-suspended", r#"{"isSuspended":true}"#),
            admin("PATCH", "/is-suspended", r#"{"isSuspended":false}"#),
        ]
    }),
    ("DELETE /api/users/:id", |_| vec![admin("DELETE", "", "")]),
    ("PUT identities/:target", |_| {
        vec![admin("PUT", "/identities/google", r#"{"userId":"g-1"}"#)]
    }),
    ("DELETE identities/:target", |_| {
        vec![
            admin("PUT", "/identities/google", r#"{"userId":"g-1"}"#),
            admin("DELETE", "/identities/google", ""),
        ]
    }),
    ("POST /api/users", |_| {
        vec![
            Request::new("POST", "/api/users")
                .token(ADMIN)
                .json(r#"{"username":"made","primaryEmail":"made@example.test"}"#),
        ]
    }),
    ("POST experience, register", |world| {
        interaction(world, "uid1", Some("newbie"), USERS[0])
    }),
    ("POST experience, sign in", |world| {
        interaction(world, "uid1", None, USERS[0])
    }),
    ("POST interaction/submit, sign in", |world| {
        older(world, "uid1", None, USERS[0])
    }),
    ("POST interaction/submit, register", |world| {
        older(world, "uid1", Some("newbie"), USERS[0])
    }),
    ("GET /consent of a returning session", |world| {
        consent_page(world, "uid1", USERS[0])
    }),
    ("POST interaction/consent", |world| {
        let mut requests = interaction(world, "uid1", None, USERS[0]);
        requests.extend([
            Request::new("GET", "/oidc/auth/uid1").header("cookie", "_interaction=uid1"),
            Request::new("POST", "/api/interaction/consent")
                .header("cookie", "_interaction=uid1-next"),
        ]);
        requests
    }),
    ("PATCH /api/my-account", |_| {
        vec![
            Request::new("PATCH", "/api/my-account")
                .token(&format!("opaque-{}", USERS[0]))
                .json(r#"{"name":"Mine"}"#),
        ]
    }),
    (
        "PATCH /api/my-account, loosely and without a grant",
        |world| {
            let ended = &world.logto.ended_grants;
            ended.borrow_mut().insert(USERS[0].to_owned());
            vec![
                Request::new("PATCH", "/api/my-account")
                    .header("authorization", &format!("Bearer:opaque-{}", USERS[0]))
                    .json(r#"{"name":"Mine"}"#),
            ]
        },
    ),
    ("an address taken over from another user", |_| {
        vec![
            Request::new("PATCH", &format!("/api/users/{}", USERS[1]))
                .token(ADMIN)
                .json(r#"{"primaryEmail":null}"#),
            admin("PATCH", "", r#"{"primaryEmail":"mail1@example.test"}"#),
            Request::new("PATCH", &format!("/api/users/{}", USERS[1]))
                .token(ADMIN)
                .json(r#"{"primaryEmail":"mail0@example.test"}"#),
        ]
    }),
];

fn admin(method: &'static str, rest: &str, body: &str) -> Request {
    let request = Request::new(method, &format!("/api/users/{}{rest}", USERS[0])).token(ADMIN);
    if body.is_empty() {
        request
    } else {
        request.json(body)
    }
}

/// By the older API, where nobody can ask whose it is.
fn older(world: &World, uid: &str, register: Option<&str>, user: &str) -> Vec<Request> {
    let interaction = Interaction {
        register: register.map(str::to_owned),
        user: register.is_none().then(|| user.to_owned()),
        is_identified: true,
        is_older: true,
        ..Interaction::default()
    };
    let interactions = &world.logto.interactions;
    interactions
        .borrow_mut()
        .insert(uid.to_owned(), interaction);
    let cookie = format!("_interaction={uid}");
    vec![Request::new("POST", "/api/interaction/submit").header("cookie", &cookie)]
}

fn consent_page(world: &World, uid: &str, user: &str) -> Vec<Request> {
    let sessions = &world.logto.sessions;
    sessions
        .borrow_mut()
        .insert(uid.to_owned(), user.to_owned());
    // Quoted, and by a method that no page has.
    let cookie = format!("_interaction=\"{uid}\"");
    vec![Request::new("POST", "/consent/x").header("cookie", &cookie)]
}

/// Of a route of the Management API.
fn user_in(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/api/users/")?;
    Some(rest.split('/').next()?.to_owned())
}

/// Who writes for themselves by this request, as far as anybody knows before.
fn own_writer(world: &World, request: &Request) -> Option<String> {
    if let Some(header) = request.value_of("authorization") {
        let (_, user) = header.split_once("opaque-")?;
        return Some(user.to_owned());
    }
    let (_, uid) = request.value_of("cookie")?.split_once('=')?;
    let uid = uid.trim_matches('"');
    let of_session = world.logto.sessions.borrow().get(uid).cloned();
    let interactions = world.logto.interactions.borrow();
    of_session.or_else(|| interactions.get(uid)?.user.clone())
}

fn interaction(world: &World, uid: &str, register: Option<&str>, user: &str) -> Vec<Request> {
    let interaction = Interaction {
        register: register.map(str::to_owned),
        user: register.is_none().then(|| user.to_owned()),
        ..Interaction::default()
    };
    world
        .logto
        .interactions
        .borrow_mut()
        .insert(uid.to_owned(), interaction);
    ["identification", "submit"]
        .map(|step| {
            Request::new("POST", &format!("/api/experience/{step}"))
                .header("cookie", &format!("_interaction={uid}"))
        })
        .into()
}

/// Starts the clients; answers when chaos ends.
pub fn start(world: &Rc<World>, setup: &Setup, journal: &Rc<Journal>) -> i64 {
    match setup.course {
        Course::One { route, is_followed } => {
            let requests = ROUTES[route].1(world);
            // Else what the Queue took in the database's place is there before its write.
            world
                .queue_delay_ms
                .set(if is_followed { 2_000 } else { 0 });
            let (node, journal) = (world.node(), Rc::clone(journal));
            world.executor.spawn(async move {
                for request in requests {
                    send(&node, &journal, request).await;
                }
                if is_followed {
                    node.world.executor.sleep(35_000).await;
                    send(&node, &journal, admin("PATCH", "", r#"{"name":"Second"}"#)).await;
                }
            });
            world.now_ms() + 240_000
        }
        Course::Writers => {
            let nodes = [world.node(), world.node()];
            let random = Random::new(setup.seed ^ 0xac71);
            let deliveries = 1 + random.below(2) as u32;
            let is_calm = matches!(setup.chaos, Chaos::None);
            world.deliveries.set(if is_calm { 1 } else { deliveries });
            world
                .queue_delay_ms
                .set([0, 0, 700, 5_000][random.below(4)]);
            if setup.is_reading {
                reads::start(world, &nodes, journal, &random);
            }
            for writer in 0..3_usize {
                let (node, journal) = (nodes[writer % 2].clone(), Rc::clone(journal));
                let random = Random::new(random.next());
                let bypasses = setup.is_helped;
                world.executor.spawn(async move {
                    for step in 0..3 {
                        if bypasses && random.below(3) == 0 {
                            bypass(&node.world, &random);
                        }
                        if bypasses && random.below(4) == 0 {
                            tamper(&node.world, &journal, &random);
                        }
                        act(&node, &journal, &random, writer, step).await;
                        let pause_ms = [20, 400, 3_000, 33_000, 70_000][random.below(5)];
                        node.world.executor.sleep(pause_ms).await;
                    }
                });
            }
            world.now_ms() + 360_000
        }
    }
}

/// One random thing that a client does.
async fn act(node: &Node, journal: &Journal, random: &Random, writer: usize, step: usize) {
    let world = &node.world;
    let users: Vec<String> = world.logto.users.borrow().keys().cloned().collect();
    let user = if users.is_empty() {
        USERS[0].to_owned()
    } else {
        users[random.below(users.len())].clone()
    };
    if random.below(200) == 0 {
        for request in values::requests(&user, random) {
            send(node, journal, request).await;
        }
        return;
    }
    if random.below(24) == 0 {
        let uids = [0, 1].map(|number| format!("uid{writer}{step}{number}"));
        let other = users.first().unwrap_or(&user);
        for (request, user) in browsers::two_in_one(world, &uids, [&user, other], random) {
            send_of(node, journal, request, Some(user)).await;
        }
        return;
    }
    let path = |rest: &str| format!("/api/users/{user}{rest}");
    let mail = |random: &Random| match random.below(4) {
        3 => json!(null),
        index => json!(format!("mail{index}@example.test")),
    };
    let patch = |body: serde_json::Value| {
        Request::new("PATCH", &path(""))
            .token(ADMIN)
            .json(&body.to_string())
    };
    let suspend = |is_suspended: bool| {
        let body = json!({ "isSuspended": is_suspended }).to_string();
        Request::new("PATCH", &path("/is-suspended"))
            .token(ADMIN)
            .json(&body)
    };
    let requests = match random.below(20) {
        0 => vec![patch(json!({ "name": format!("Name {writer}{step}") }))],
        1..=3 => vec![patch(json!({ "primaryEmail": mail(random) }))],
        4 => vec![patch(
            json!({ "primaryPhone": format!("1415555000{}", random.below(2)) }),
        )],
        5 | 6 => {
            let body = json!({ "userId": format!("g-{}", random.below(2)) }).to_string();
            vec![
                Request::new("PUT", &path("/identities/google"))
                    .token(ADMIN)
                    .json(&body),
            ]
        }
        7 => vec![Request::new("DELETE", &path("/identities/google")).token(ADMIN)],
        8 => vec![suspend(true)],
        9 => vec![suspend(true), suspend(false)],
        10 => vec![suspend(false)],
        11 => vec![Request::new("DELETE", &path("")).token(ADMIN)],
        12 => {
            let body =
                json!({ "username": format!("made{writer}{step}"), "primaryEmail": mail(random) });
            vec![
                Request::new("POST", "/api/users")
                    .token(ADMIN)
                    .json(&body.to_string()),
            ]
        }
        13 => interaction(
            world,
            &format!("uid{writer}{step}"),
            Some(&format!("new{writer}{step}")),
            &user,
        ),
        14 => interaction(world, &format!("uid{writer}{step}"), None, &user),
        15 => consent_page(world, &format!("uid{writer}{step}"), &user),
        16 | 17 => {
            let body = json!({ "name": format!("Own {writer}{step}") }).to_string();
            vec![
                Request::new("PATCH", "/api/my-account")
                    .header("authorization", &format!("Bearer\topaque-{user}"))
                    .json(&body),
            ]
        }
        18 if random.below(4) == 0 => older(world, &format!("uid{writer}{step}"), None, &user),
        18 => older(
            world,
            &format!("uid{writer}{step}"),
            Some(&format!("new{writer}{step}")),
            &user,
        ),
        _ => {
            // Two users swap their addresses by way of none.
            let other = users
                .iter()
                .find(|other| **other != user)
                .cloned()
                .unwrap_or_else(|| user.clone());
            let held = |id: &str| {
                world
                    .logto
                    .users
                    .borrow()
                    .get(id)
                    .and_then(|user| user.email.clone())
            };
            let (mine, theirs) = (held(&user), held(&other));
            let patch_other = |body: serde_json::Value| {
                Request::new("PATCH", &format!("/api/users/{other}"))
                    .token(ADMIN)
                    .json(&body.to_string())
            };
            vec![
                patch_other(json!({ "primaryEmail": null })),
                patch(json!({ "primaryEmail": theirs })),
                patch_other(json!({ "primaryEmail": mine })),
            ]
        }
    };
    for request in requests {
        send(node, journal, request).await;
    }
}

async fn send(node: &Node, journal: &Journal, request: Request) {
    let own_writer = own_writer(&node.world, &request);
    send_of(node, journal, request, own_writer).await;
}

/// As a client does: it waits two minutes and a bit, no longer.
async fn send_of(node: &Node, journal: &Journal, request: Request, own_writer: Option<String>) {
    let began_ms = node.world.now_ms();
    let writer = own_writer.clone().or_else(|| user_in(request.path()));
    let is_unnameable = request.path() == "/api/interaction/submit";
    let is_suspension = request.path().ends_with("/is-suspended");
    let suspends = is_suspension.then(|| {
        let subject = user_in(request.path()).unwrap_or_default();
        journal.begin_suspension(subject, request.undoes_suspension())
    });
    let deleted =
        (request.method() == "DELETE" && !request.path().contains("identities")).then(|| {
            request
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
    let answered = node.world.start_at(node, request);
    let status = match select(answered, pin!(node.world.executor.sleep(130_000))).await {
        Either::Left((answer, _)) => answer.status,
        Either::Right(_) => 0,
    };
    journal.end_suspension(suspends);
    if !(200..400).contains(&status) {
        journal.doubtful.borrow_mut().extend(own_writer);
    }
    if (200..400).contains(&status) {
        journal.n_acknowledged.set(journal.n_acknowledged.get() + 1);
        if is_unnameable {
            journal.n_unnameable.set(journal.n_unnameable.get() + 1);
        }
        if let Some(writer) = writer {
            let answered_ms = node.world.now_ms();
            journal.reads.acknowledged(writer, began_ms, answered_ms);
        }
        journal.deleted.borrow_mut().extend(deleted);
    } else if is_suspension {
        journal
            .n_doubtful_suspensions
            .set(journal.n_doubtful_suspensions.get() + 1);
    }
}
