//! Faults at each step of a translated write, and writers that meet.
//!
//! Whatever fails: what a client was told is there, in the generation that it began in;
//! what may be there and was not told has an intent that nobody has discharged; and a
//! user whom only the proxy made at Logto is known by a nonce.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::super::support::client::Answered;
use super::super::support::{Fault, Port, Request, World};
use super::{ALICE, PATH, body, hand_over, intents, world, writes_at_logto};

const FAULTS: [Fault; 8] = [
    Fault::BeforeEffect,
    Fault::AfterEffect,
    Fault::Hang,
    Fault::HangAfterEffect,
    Fault::Late(30_000),
    Fault::SlowAnswer(30_000),
    Fault::CrashBefore,
    Fault::CrashAfter,
];

struct Case {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
    is_done: fn(&World) -> bool,
}

const PATCH: Case = Case {
    method: "PATCH",
    path: PATH,
    body: r#"{"name":"Alice Two","username":"alice_2"}"#,
    status: 200,
    is_done: |world| world.user(ALICE, "name") == "Alice Two",
};

const SET_PASSWORD: Case = Case {
    method: "PATCH",
    path: "/api/users/alice0000001/password",
    body: r#"{"password":"Vorpal-Blade-42"}"#,
    status: 200,
    is_done: |world| {
        let password = world.mgpass.passwords.borrow().get(ALICE).cloned();
        password.as_deref() == Some("Vorpal-Blade-42") && is_logto_told(world)
    },
};

const SUSPEND: Case = Case {
    method: "PATCH",
    path: "/api/users/alice0000001/is-suspended",
    body: r#"{"isSuspended":true}"#,
    status: 200,
    is_done: |world| world.user(ALICE, "is_suspended") == 1,
};

const DELETE: Case = Case {
    method: "DELETE",
    path: PATH,
    body: "",
    status: 204,
    is_done: |world| world.user(ALICE, "deleted_at") != Value::Null,
};

const CREATE: Case = Case {
    method: "POST",
    path: "/api/users",
    body: r#"{"username":"carol","primaryEmail":"carol@example.test"}"#,
    status: 200,
    is_done: |world| !carol(world).is_empty(),
};

const CREATE_WITH_PASSWORD: Case = Case {
    method: "POST",
    path: "/api/users",
    body: r#"{"username":"carol","primaryEmail":"carol@example.test","password":"Vorpal-Blade-42"}"#,
    status: 200,
    is_done: |world| {
        let carol = carol(world);
        world.mgpass.passwords.borrow().contains_key(&carol)
    },
};

/// Logto has the new password, or its lack is written down.
fn is_logto_told(world: &World) -> bool {
    let owed = "SELECT count(*) FROM debt WHERE class = 'credential_at_mgpass'";
    world.logto.passwords.borrow().contains_key(ALICE) || world.value(Store::Proxy, owed) == 1
}

fn carol(world: &World) -> String {
    let sql = "SELECT id FROM users WHERE email = 'carol@example.test' AND deleted_at IS NULL";
    let id = world.value(Store::Mgpass, sql);
    id.as_str().unwrap_or_default().to_owned()
}

/// All that a write may change, the intents apart.
fn state(world: &World) -> String {
    let users = "SELECT u.*, m.residue, m.ticket, m.tombstone FROM users u LEFT JOIN logto_mirror m ON m.user_id = u.id ORDER BY u.id";
    let passwords = world.mgpass.passwords.borrow().clone();
    json!([world.mgpass(users), passwords]).to_string()
}

fn n_undischarged(world: &World) -> usize {
    let sql = "SELECT id FROM intents WHERE discharged_at IS NULL AND side = 'mgpass'";
    world.proxy(sql).len()
}

/// Every marked user at Logto has a row at mgPass, or an intent with the nonce.
fn assert_no_orphan_is_unknown(world: &World, what: &str) {
    for user in world.logto.users.borrow().values() {
        let data: Value = serde_json::from_str(&user.custom_data).unwrap();
        let Some(nonce) = data["_dwp"].as_str() else {
            continue;
        };
        let intent = format!(
            "SELECT count(*) FROM intents WHERE nonce = '{nonce}' AND discharged_at IS NULL"
        );
        let is_known = world.value(Store::Proxy, &intent) == 1;
        assert!(
            is_known || world.user(&user.id, "id") == user.id.as_str(),
            "{what}"
        );
    }
}

fn start(world: &Rc<World>, case: &Case) -> Option<Answered> {
    let token = world.admin_token();
    let mut request = Request::new(case.method, case.path).token(&token);
    if !case.body.is_empty() {
        request = request.json(case.body);
    }
    let handle = world.start(request);
    world.idle();
    handle.take()
}

fn check(case: &Case) {
    for fault in FAULTS {
        for n in 0.. {
            let world = world();
            let before = state(&world);
            let calls_before = world.faults.n_calls();
            world.faults.at_call(n, fault);
            let answered = start(&world, case);
            let what = format!(
                "{} {} {fault:?} at {n}: {answered:?}",
                case.method, case.body
            );
            if world.faults.n_calls() - calls_before <= n as usize {
                assert!(n >= 6, "more calls than {n}");
                break;
            }
            world.faults.clear();
            let status = answered.as_ref().map(|answered| answered.status);
            if status == Some(case.status) {
                assert!((case.is_done)(&world), "{what}");
                assert_eq!(n_undischarged(&world), 1, "{what}");
            } else if state(&world) != before {
                assert_eq!(n_undischarged(&world), 1, "{what}");
            }
            let is_expected = |status| status == case.status || status >= 500;
            assert!(status.is_none_or(is_expected), "{what}");
            assert_no_orphan_is_unknown(&world, &what);
            let is_own = |line: &String| {
                line == "POST /api/users"
                    || line.contains("/password")
                    || line.starts_with("DELETE /api/users/created")
            };
            assert!(writes_at_logto(&world).iter().all(is_own), "{what}");
            world.assert_within_limits();
        }
    }
}

/// Whatever fails at whatever step: nothing is acknowledged that is not there, and
/// nothing is there that nobody looks at.
mod at_every_step {
    use super::{CREATE, CREATE_WITH_PASSWORD, DELETE, PATCH, SET_PASSWORD, SUSPEND, check};

    #[test]
    fn of_a_patch() {
        check(&PATCH);
    }

    #[test]
    fn of_a_new_password() {
        check(&SET_PASSWORD);
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
    fn of_a_create() {
        check(&CREATE);
    }

    #[test]
    fn of_a_create_with_a_password() {
        check(&CREATE_WITH_PASSWORD);
    }
}

/// Runs something once, right before the first statement of this kind.
fn meanwhile(world: &Rc<World>, part: &'static str, change: impl Fn(&World) + 'static) {
    use super::super::support::world::Tamper;
    use dual_write_proxy::runtime::ports::Statement;
    use std::cell::Cell;
    struct Meanwhile<F>(&'static str, F, Cell<u32>);
    impl<F: Fn(&World)> Tamper for Meanwhile<F> {
        fn statements(
            &self,
            world: &World,
            _: Store,
            statements: Vec<Statement>,
        ) -> Vec<Statement> {
            let is_it = statements
                .iter()
                .any(|statement| statement.sql.contains(self.0));
            if is_it && self.2.get() == 0 {
                self.2.set(1);
                (self.1)(world);
            }
            statements
        }
    }
    let tamper = Meanwhile(part, change, Cell::new(0));
    *world.tamper.borrow_mut() = Some(Rc::new(tamper));
}

/// In the guard of the batch, and in no other statement.
const GUARD: &str = "json_each(?17)";

#[test]
fn who_edits_the_user_at_mgpass_meanwhile_is_not_overwritten() {
    let world = world();
    meanwhile(&world, GUARD, |world| {
        let edit = "UPDATE users SET name = 'Edited There' WHERE id = 'alice0000001'";
        world.databases.execute(Store::Mgpass, edit);
    });
    let path = format!("{PATH}/custom-data");
    let answered = world.write("PATCH", &path, r#"{"customData":{"beta":1}}"#);
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(world.user(ALICE, "name"), "Edited There");
    assert_eq!(world.user(ALICE, "metadata"), r#"{"beta":1,"plan":"free"}"#);
}

#[test]
fn a_value_that_is_taken_meanwhile_is_logtos_conflict() {
    for claim in [
        "INSERT INTO logto_mirror_unique (kind, value, user_id) VALUES ('username', 'wanted', 'bob000000001')",
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'wanted@example.test', 1)",
    ] {
        let world = world();
        meanwhile(&world, GUARD, move |world| {
            world.databases.execute(Store::Mgpass, claim)
        });
        let sent = r#"{"username":"wanted","primaryEmail":"wanted@example.test"}"#;
        let answered = world.write("PATCH", PATH, sent);
        assert_eq!(answered.status, 422, "{}", answered.body);
        world.idle();
        assert_eq!(intents(&world), Vec::<Value>::new());
    }
}

#[test]
fn a_create_that_loses_its_value_leaves_no_user_at_logto() {
    let world = world();
    meanwhile(&world, "json_each(?7)", |world| {
        let claim = "INSERT INTO logto_mirror_unique (kind, value, user_id) VALUES ('username', 'carol', 'bob000000001')";
        world.databases.execute(Store::Mgpass, claim);
    });
    let n_users = world.logto.users.borrow().len();
    let answered = world.write("POST", "/api/users", r#"{"username":"carol"}"#);
    assert_eq!(body(&answered)["code"], "user.username_already_in_use");
    world.idle();
    assert_eq!(world.logto.users.borrow().len(), n_users);
    assert_eq!(intents(&world), Vec::<Value>::new());
}

#[test]
fn a_create_whose_password_mgpass_does_not_take_is_taken_back() {
    let world = world();
    let n_users = world.logto.users.borrow().len();
    let sent = r#"{"username":"carol","password":"short"}"#;
    let answered = world.write("POST", "/api/users", sent);
    assert_eq!(body(&answered)["code"], "proxy.password_refused");
    world.idle();
    assert_eq!(world.logto.users.borrow().len(), n_users);
    let live = "SELECT count(*) FROM users WHERE deleted_at IS NULL";
    assert_eq!(world.value(Store::Mgpass, live), 2);
    // What it wanted is free.
    let again = world.write(
        "POST",
        "/api/users",
        r#"{"username":"carol","password":"Vorpal-Blade-42"}"#,
    );
    assert_eq!(again.status, 200, "{}", again.body);
}

#[test]
fn an_authority_that_moves_before_the_batch_leaves_nothing() {
    let world = world();
    meanwhile(&world, GUARD, |world| hand_over(world, "returning", 6));
    let before = state(&world);
    let answered = world.write("PATCH", PATH, r#"{"name":"Late"}"#);
    assert_eq!(
        (answered.status, body(&answered)["code"].as_str()),
        (503, Some("proxy.authority_moved"))
    );
    world.idle();
    assert_eq!(state(&world), before);
    assert_eq!(intents(&world), Vec::<Value>::new());
}

#[test]
fn an_authority_that_moves_after_the_batch_is_a_finding_and_no_acknowledgement() {
    let world = world();
    meanwhile(&world, "SET settled", |world| {
        hand_over(world, "returning", 6)
    });
    let answered = world.write("PATCH", PATH, r#"{"name":"Late"}"#);
    assert_eq!(
        (answered.status, body(&answered)["code"].as_str()),
        (503, Some("proxy.authority_moved"))
    );
    world.idle();
    assert_eq!(world.user(ALICE, "name"), "Late");
    let found = world.proxy("SELECT user_id, code FROM findings");
    assert_eq!(
        Value::Object(found[0].clone()),
        json!({ "user_id": ALICE, "code": "translated_but_moved" })
    );
    assert_eq!(world.events("translated.unacknowledged").len(), 1);
    // The way back looks at the user.
    assert_eq!(n_undischarged(&world), 1);
}

#[test]
fn two_writers_on_one_user_lose_nothing_of_each_other() {
    for seed in 0..20 {
        let world = world();
        let node = world.node();
        let token = world.admin_token();
        let path = format!("{PATH}/custom-data");
        let handles: Vec<_> = (0..3)
            .map(|n| {
                let data = format!(r#"{{"customData":{{"k{n}":{seed}}}}}"#);
                let request = Request::new("PATCH", &path).token(&token).json(&data);
                world.start_at(&node.next_invocation(), request)
            })
            .collect();
        world.idle();
        let data: Value =
            serde_json::from_str(world.user(ALICE, "metadata").as_str().unwrap()).unwrap();
        for (n, handle) in handles.into_iter().enumerate() {
            let answered = handle.take().unwrap();
            match answered.status {
                200 => assert_eq!(data[format!("k{n}")], seed, "{data}"),
                status => assert_eq!(status, 503, "{}", answered.body),
            }
        }
        assert_eq!(data["plan"], "free");
    }
}

#[test]
fn what_mgpass_does_not_answer_in_time_is_a_504_and_is_looked_at() {
    let world = world();
    world.faults.always(Port::Mgpass, "PATCH", Fault::Hang);
    let path = format!("{PATH}/password");
    let answered = world.write("PATCH", &path, r#"{"password":"Vorpal-Blade-42"}"#);
    assert_eq!(
        (answered.status, body(&answered)["code"].as_str()),
        (504, Some("proxy.mgpass_timed_out"))
    );
    world.idle();
    assert_eq!(n_undischarged(&world), 1);
    assert!(!world.logto.passwords.borrow().contains_key(ALICE));
}

#[test]
fn with_logto_down_writes_go_on_and_what_needs_it_says_so() {
    let world = world();
    // The tenant is known from the database, and Logto's keys in this isolate.
    let node = world.node();
    let status = |method: &'static str, path: &str, sent: &str| {
        let request = Request::new(method, path).token(&world.admin_token());
        world
            .ask_at(&node.next_invocation(), request.json(sent))
            .status
    };
    let password = format!("{PATH}/password");
    let verify = format!("{password}/verify");
    assert_eq!(status("PATCH", PATH, r#"{"name":"A"}"#), 200);
    world.faults.always(Port::Logto, "", Fault::BeforeEffect);
    assert_eq!(status("PATCH", PATH, r#"{"name":"B"}"#), 200);
    assert_eq!(status("POST", "/api/users", r#"{"username":"carol"}"#), 502);
    assert_eq!(
        status("PATCH", &password, r#"{"password":"Vorpal-Blade-42"}"#),
        200
    );
    let owed = "SELECT code FROM debt WHERE subject = 'alice0000001'";
    assert_eq!(world.value(Store::Proxy, owed), "password_not_carried");
    // Which of two passwords is right nobody can say now.
    assert_eq!(
        status("POST", &verify, r#"{"password":"Vorpal-Blade-42"}"#),
        403
    );
    let account = Request::new("PATCH", "/api/my-account").token("opaque-alice0000001");
    assert_eq!(world.ask(account.json("{}")).status, 502);
    world.faults.clear();
    assert_eq!(
        status("PATCH", &password, r#"{"password":"Vorpal-Blade-43"}"#),
        200
    );
    assert_eq!(world.proxy("SELECT * FROM debt").len(), 0);
}

#[test]
fn without_the_outbox_nothing_is_written() {
    let world = world();
    let node = world.node();
    let patch = |sent: &str| {
        let request = Request::new("PATCH", PATH).token(&world.admin_token());
        world.ask_at(&node.next_invocation(), request.json(sent))
    };
    assert_eq!(patch(r#"{"name":"A"}"#).status, 200);
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    // An isolate that knows of the hand-over, and one that knows nothing.
    let fresh = world.write("PATCH", PATH, r#"{"name":"B"}"#);
    for answered in [patch(r#"{"name":"B"}"#), fresh] {
        assert_eq!(answered.status, 503, "{}", answered.body);
    }
    assert_eq!(world.user(ALICE, "name"), "A");
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
}
