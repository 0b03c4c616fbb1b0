//! What operators see and do: the check, the decision, and who gets in by what.

use super::*;
use crate::support::hosted::kept;

const PROBE: &[(&str, &str)] = &[
    ("PROBE_USER", "probe0000001"),
    ("PROBE_EMAIL", "probe@example.test"),
    ("PROBE_PASSWORD", "probe-password-1"),
    ("PROBE_CLIENT_ID", "app_probe"),
    ("PROBE_REDIRECT_URI", "https://probe.example.test/cb"),
];

fn probed() -> Rc<World> {
    let world = world_with(PROBE);
    world.databases.execute(
        Store::Proxy,
        "UPDATE password_carry SET decided_at = NULL, decided_by = NULL, checked_at = NULL, facts = NULL, passed_at = NULL, passed_by = NULL",
    );
    world.mirrored("probe0000001", |user| {
        user.email = Some("probe@example.test".to_owned());
    });
    world
}

fn operator(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let path = format!("/_proxy/{path}");
    let answer = world.ask(Request::new(method, &path).token("admin-token"));
    world.idle();
    (
        answer.status,
        serde_json::from_str(&answer.body).unwrap_or_default(),
    )
}

#[test]
fn nothing_is_carried_before_a_decision_a_good_check_and_a_look_into_the_mailbox() {
    let world = probed();
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world), None);
    let (status, _) = operator(&world, "POST", "carry/allow?by=Anna");
    assert_eq!(status, 400, "a reason is asked for");
    let (_, shown) = operator(&world, "POST", "carry/allow?by=Anna&reason=DPIA-7");
    assert_eq!(shown["decision"]["by"], "Anna");
    let (status, refused) = operator(&world, "POST", "carry/confirm?by=Anna");
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("proxy.no_good_check"))
    );
    let (_, checked) = operator(&world, "POST", "carry/check");
    assert_eq!(checked["is_good"], true, "{checked}");
    assert_eq!(
        world.user("probe0000001", "password_hash"),
        kept("probe-password-1")
    );
    signs_in(&world, OLD);
    assert_eq!(
        at_mgpass(&world),
        None,
        "nobody has looked into the mailbox"
    );
    let (_, shown) = operator(&world, "POST", "carry/confirm?by=Anna");
    assert_eq!(
        (&shown["may_carry"], &shown["check"]["by"]),
        (&json!(true), &json!("Anna"))
    );
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world).as_deref(), Some(OLD));
    let (_, shown) = operator(&world, "GET", "carry");
    assert_eq!(
        (&shown["carried"], &shown["is_carrying"]),
        (&json!(1), &json!(true))
    );
    operator(&world, "POST", "carry/forbid");
    let (_, shown) = operator(&world, "GET", "carry");
    assert_eq!(
        (&shown["decision"], &shown["is_carrying"]),
        (&Value::Null, &json!(false))
    );
}

#[test]
fn a_check_that_finds_something_is_not_good() {
    type Spoil = fn(&World);
    let cases: [(&str, &str, Spoil); 3] = [
        ("sessions_alive", "refused", |world| {
            world.mgpass.ends_sessions.set(true)
        }),
        ("password_alone", "server_error", |world| {
            let down = ("users/probe0000001".to_owned(), 503);
            world.mgpass.answers.borrow_mut().extend([down]);
        }),
        ("no_mail_logged", "a_mail_was_sent", |world| {
            world.databases.execute(
                Store::Mgpass,
                "INSERT INTO audit_logs (id, event_type, target_id, created_at) VALUES ('m', 'user.email_sent', 'probe0000001', unixepoch() + 60)",
            );
        }),
    ];
    for (question, outcome, spoil) in cases {
        let world = probed();
        operator(&world, "POST", "carry/allow?by=Anna&reason=r");
        spoil(&world);
        let (_, checked) = operator(&world, "POST", "carry/check");
        assert_eq!(checked["facts"][question], outcome, "{checked}");
        let (status, _) = operator(&world, "POST", "carry/confirm?by=Anna");
        assert_eq!(status, 409);
    }
}

#[test]
fn each_road_is_counted_and_a_voided_password_is_none() {
    let world = world();
    let count = || {
        let (_, view) = operator(&world, "GET", "import/readiness?count=true");
        view
    };
    assert_eq!(count()["readiness"]["email_reset"], 1);
    signs_in(&world, OLD);
    assert_eq!(count()["readiness"]["carried"], 1);
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = value + 1 WHERE name IN ('epoch', 'unrecorded')",
    );
    cron(&world);
    assert_eq!(
        (
            count()["readiness"]["carried"].clone(),
            count()["readiness"]["email_reset"].clone()
        ),
        (json!(0), json!(1))
    );
    // A reset at mgPass, as its audit log tells.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET password_hash = 'own'; INSERT INTO audit_logs (id, event_type, actor_id, target_id, created_at) \
         VALUES ('r', 'user.password_reset', 'alice0000001', 'alice0000001', unixepoch())",
    );
    let view = count();
    assert_eq!(
        (&view["readiness"]["reset"], &view["campaign"]),
        (&json!(1), &json!({ "done": 1, "to_go": 0 }))
    );
    let (_, listed) = operator(&world, "GET", "import/readiness?only=email_reset");
    assert_eq!(listed["users"], json!([]));
    let (_, listed) = operator(&world, "GET", "import/readiness?only=reset");
    assert_eq!(listed["users"][0]["username"], "alice");
    assert_eq!(operator(&world, "GET", "import/readiness?only=x").0, 400);
}

#[test]
fn a_carried_password_is_a_road_and_its_void_takes_the_mark_away() {
    let world = world();
    let ready = || {
        world.value(
            Store::Proxy,
            "SELECT verdict FROM sign_in_ready WHERE user_id = 'alice0000001'",
        )
    };
    signs_in(&world, OLD);
    let user = dual_write_proxy::inbound::request::UserId::parse(ALICE).unwrap();
    let node = world.node();
    world.finish(async move {
        dual_write_proxy::serve::ready::judge(&node, &node.context(), &user).await;
    });
    assert_eq!(ready(), "ready");
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = value + 1 WHERE name IN ('epoch', 'unrecorded')",
    );
    cron(&world);
    assert_eq!(ready(), Value::Null);
}

#[test]
fn who_has_a_factor_moves_only_when_named_and_is_not_carried_even_then() {
    let world = world();
    world.logto.change(ALICE, |user| {
        user.factors = vec!["Totp"];
        user.identities = vec![("google".to_owned(), "g-1".to_owned(), None)];
    });
    world.wake(ALICE);
    world.deliver();
    let user = || dual_write_proxy::inbound::request::UserId::parse(ALICE).unwrap();
    let judged = || {
        let (node, user) = (world.node(), user());
        world.finish(async move {
            dual_write_proxy::serve::ready::judge(&node, &node.context(), &user).await;
        });
        world.value(Store::Proxy, "SELECT verdict FROM sign_in_ready")
    };
    assert_eq!(judged(), "second_factor");
    let waiver = format!("handover/waive?gate=factors&name={ALICE}&reason=asked&actor=anna");
    let (status, _) = operator(&world, "POST", &waiver);
    assert_eq!(status, 200);
    assert_eq!(judged(), "ready");
    signs_in(&world, OLD);
    assert_eq!(at_mgpass(&world), None);
    let (_, view) = operator(&world, "GET", "import/readiness?count=true");
    assert_eq!(view["not_moved"], json!({ "waived": 1 }));
}

#[test]
fn a_void_that_is_owed_shuts_the_gate() {
    let world = world();
    signs_in(&world, OLD);
    let gate = || {
        let (_, view) = operator(&world, "GET", "authority");
        let gates = view["gates"].as_array().cloned().unwrap_or_default();
        gates
            .into_iter()
            .find(|gate| gate["name"] == "passwords")
            .unwrap_or_default()
    };
    assert_eq!(gate()["state"], "open", "carried is no obstacle");
    world.databases.execute(
        Store::Proxy,
        "UPDATE passwords SET state = 'void_owed', due_at = 9000000000000",
    );
    assert_eq!(gate()["state"], "shut");
}
