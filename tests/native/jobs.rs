//! Jobs: the import of users, over the real SQL.

use std::rc::Rc;

use dual_write_proxy::population::jobs;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::support::{Fault, Port, Request, World};

mod claims;

const ADMIN: &str = "operator-s3cret";

pub fn world() -> Rc<World> {
    World::with(11, &[("ADMIN_TOKEN", ADMIN)])
}

pub fn operator(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let answer = world.ask(Request::new(method, path).token(ADMIN));
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Everything that a user may or may not have, by number.
pub fn populate(world: &Rc<World>, n_users: usize) {
    for index in 0..n_users {
        world.put_user(&format!("user{index:08}"), |user| {
            let one_in = |n: usize| index.is_multiple_of(n);
            user.created_at += (index as i64) * 997;
            user.has_password = !one_in(3);
            user.email = (!one_in(4)).then(|| format!("U{index}@example.test"));
            user.phone = one_in(5).then(|| format!("1415{index:07}"));
            user.name = (!one_in(6)).then(|| format!("Ünï {index} 😀"));
            user.username = one_in(2).then(|| format!("user_{index}"));
            user.avatar = one_in(7).then(|| "https://cdn.example.test/a.png".to_owned());
            user.is_suspended = one_in(11);
            user.last_sign_in_at = one_in(3).then_some(user.created_at + 5);
            user.custom_data = match index % 4 {
                0 => "{}".to_owned(),
                1 => format!(r#"{{"10":1.0,"2":"{index}","n":null,"é":[1,{{"a":true}}]}}"#),
                2 => format!(r#"{{"long":"{}"}}"#, "x".repeat(3_000)),
                _ => r#"{"":"","\u0000":"\"quoted\""}"#.to_owned(),
            };
            if one_in(3) {
                let details = one_in(2).then(|| r#"{"id":"g","name":null}"#.to_owned());
                let google = ("google".to_owned(), format!("g-{index}"), details);
                user.identities.push(google);
            }
            if one_in(13) {
                let other = ("wechat".to_owned(), format!("w-{index}"), None);
                user.identities.push(other);
            }
        });
    }
}

/// Lets the Queue and cron work until the job of this kind ends.
pub fn run(world: &Rc<World>, kind: &str) -> Value {
    for _ in 0..60 {
        world.deliver_for(30_000);
        let (status, view) = operator(
            world,
            "GET",
            &format!("/_proxy/import?kind={kind}&detail=true"),
        );
        assert_eq!(status, 200, "{view}");
        if view["state"] == "done" {
            return view;
        }
        cron(world);
    }
    let (_, view) = operator(world, "GET", &format!("/_proxy/import?kind={kind}"));
    panic!("{view} {:?}", world.events("job.delayed").last());
}

fn cron(world: &Rc<World>) {
    world.sweep();
    let node = world.node();
    world.finish(async move { jobs::revive(&node).await });
}

pub fn import(world: &Rc<World>) -> Value {
    let (status, view) = operator(world, "POST", "/_proxy/import?kind=users");
    assert_eq!(status, 202, "{view}");
    run(world, "users")
}

pub fn prove(world: &Rc<World>) -> Value {
    let (status, view) = operator(world, "POST", "/_proxy/equality");
    assert_eq!(status, 202, "{view}");
    run(world, "equality");
    let (_, view) = operator(world, "GET", "/_proxy/equality");
    view["report"].clone()
}

fn n_mgpass(world: &World) -> Value {
    world.value(Store::Mgpass, "SELECT count(*) FROM users")
}

/// All of mgPass's rows that are about users, but for what names a batch.
fn dump(world: &World) -> Vec<Value> {
    [
        "SELECT * FROM users ORDER BY id",
        "SELECT user_id, provider, provider_user_id, profile_data FROM social_identities ORDER BY 1, 2, 3",
        "SELECT user_id, role_id FROM user_roles ORDER BY 1, 2",
        "SELECT event_type, actor_id, target_id FROM audit_logs ORDER BY 3, 1",
        "SELECT user_id, epoch, tombstone, digest, residue, obstacles, base, logto_base FROM logto_mirror ORDER BY 1",
    ]
    .into_iter()
    .map(|sql| json!(world.mgpass(sql)))
    .collect()
}

#[test]
fn a_page_writes_what_the_relay_would_write() {
    let paged = world();
    populate(&paged, 60);
    let view = import(&paged);
    assert_eq!(view["outcomes"], json!({ "equal": 60 }), "{view}");
    let relayed = world();
    populate(&relayed, 60);
    for index in 0..60 {
        relayed.wake(&format!("user{index:08}"));
    }
    relayed.deliver();
    for (one, other) in dump(&paged).into_iter().zip(dump(&relayed)) {
        assert_eq!(one, other);
    }
}

#[test]
fn everybody_is_imported_once_and_importing_again_adds_nothing() {
    let world = world();
    populate(&world, 250);
    let view = import(&world);
    assert_eq!((&view["total"], &view["users"]), (&json!(250), &json!(250)));
    assert_eq!(view["pass"], 1);
    assert_eq!(n_mgpass(&world), 250);
    let before = dump(&world);
    for _ in 0..4 {
        let view = import(&world);
        assert_eq!(view["outcomes"], json!({ "equal": 250 }));
    }
    assert_eq!(dump(&world), before);
    let report = prove(&world);
    assert_eq!(report["is_equal"], true, "{report}");
    assert_eq!(report["equal"], 250);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_it_would_do() {
    let world = world();
    populate(&world, 120);
    let (status, _) = operator(&world, "POST", "/_proxy/import?kind=users&dry_run=true");
    assert_eq!(status, 202);
    let view = run(&world, "users");
    assert_eq!(view["outcomes"], json!({ "create": 120, "equal": 0 }));
    assert_eq!(n_mgpass(&world), 0);
    assert_eq!(world.n_open(), 0);
    assert_eq!(view["notes"]["unknown_provider:wechat"], 10, "{view}");
}

#[test]
fn who_cannot_be_carried_whole_is_named() {
    let world = world();
    world.put_user("totpuser0001", |user| {
        user.factors = vec!["Totp", "BackupCode"]
    });
    world.put_user("ssouser00001", |user| user.sso = vec!["okta"]);
    world.put_user("nameuser0001", |user| {
        user.name = Some("Alice".into());
        user.username = Some("alice".into());
    });
    world.put_user("onlyname0001", |user| user.username = Some("bob".into()));
    world.put_user("badphone0001", |user| user.phone = Some("0123".into()));
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO users (id, email, created_at) VALUES ('usr_own', 'taken@example.test', 1)",
    );
    world.put_user("takenuser001", |user| {
        user.email = Some("Taken@example.test".into())
    });
    let view = import(&world);
    assert_eq!(view["outcomes"], json!({ "equal": 5, "parked": 1 }));
    assert_eq!(view["parked"], json!({ "value_taken_at_mgpass": 1 }));
    assert_eq!(
        view["notes"],
        json!({
            "mfa_not_carried:BackupCode": 1, "mfa_not_carried:Totp": 1, "phone_not_e164": 1,
            "sso_not_carried:okta": 1, "username_as_name": 1, "username_not_carried": 1,
        })
    );
    let (_, listed) = operator(
        &world,
        "GET",
        "/_proxy/import/users?kind=users&note=mfa_not_carried:Totp",
    );
    assert_eq!(listed["users"][0]["id"], "totpuser0001");
    let (_, listed) = operator(
        &world,
        "GET",
        "/_proxy/import/users?kind=users&outcome=parked",
    );
    assert_eq!(listed["users"][0]["id"], "takenuser001");
    assert_eq!(world.parked("takenuser001"), "value_taken_at_mgpass");
    let report = prove(&world);
    assert_eq!(
        (&report["explained"], &report["unexplained"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(report["only_at_mgpass"], 1);
}

#[test]
fn readiness_is_counted_and_listed() {
    let world = world();
    world.put_user("socialuser01", |user| {
        user.identities.push(("google".into(), "g".into(), None));
    });
    world.put_user("emailuser001", |user| {
        user.email = Some("e@example.test".into());
        user.has_password = true;
    });
    world.put_user("nothinguser1", |user| user.username = Some("n".into()));
    import(&world);
    let (_, view) = operator(&world, "GET", "/_proxy/import/readiness?count=true");
    assert_eq!(
        view["readiness"],
        json!({ "carried": 0, "prompted": 0, "reset": 0, "password": 0, "social": 1, "email_reset": 1, "none": 1 })
    );
    let (_, view) = operator(&world, "GET", "/_proxy/import/readiness?limit=1");
    assert_eq!(
        view["users"][0],
        json!({ "id": "emailuser001", "readiness": "email_reset", "had_password": true, "username": null, "email": "e@example.test", "phone": null })
    );
    assert_eq!(view["next"], "emailuser001");
}

#[test]
fn a_live_change_wins_over_an_older_listing() {
    let world = world();
    populate(&world, 30);
    // The page's batch lands long after its listing was read; meanwhile a live change.
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror",
        0,
        Fault::Late(20_000),
    );
    let (status, _) = operator(&world, "POST", "/_proxy/import?kind=users&inspect=false");
    assert_eq!(status, 202);
    world.deliver_for(2_000);
    world
        .logto
        .change("user00000003", |user| user.name = Some("Newer".into()));
    world.wake("user00000003");
    run(&world, "users");
    assert_eq!(world.user("user00000003", "name"), "Newer");
    assert_eq!(prove(&world)["is_equal"], true);
}

#[test]
fn a_failing_backend_holds_a_job_up_and_is_named() {
    let world = world();
    populate(&world, 30);
    world
        .faults
        .always(Port::Logto, "/api/users?page", Fault::BeforeEffect);
    operator(&world, "POST", "/_proxy/import?kind=users");
    world.deliver_for(10_000);
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!(
        (&view["state"], &view["last_failure"]),
        (&json!("running"), &json!("unreachable"))
    );
    world.faults.clear();
    assert_eq!(run(&world, "users")["outcomes"], json!({ "equal": 30 }));
}

#[test]
fn one_user_of_whom_logto_answers_oddly_holds_nobody_up() {
    let world = world();
    populate(&world, 30);
    world
        .logto
        .odd
        .borrow_mut()
        .insert("user00000004".to_owned());
    let view = import(&world);
    assert_eq!(view["outcomes"], json!({ "equal": 30 }));
    assert_eq!(view["notes"]["factors_unknown"], 1);
    // Seen to differ by the listing; the second look has no answer, so the first stands.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET name = 'other' WHERE id = 'user00000004'",
    );
    let report = prove(&world);
    assert_eq!(
        (&report["differing"], &report["unexplained"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(report["differences"][0]["path"], "name");
}

#[test]
fn a_job_is_paused_resumed_stopped_and_never_doubled() {
    let world = world();
    populate(&world, 250);
    let (status, _) = operator(&world, "POST", "/_proxy/import?kind=users&rate=60&lanes=1");
    assert_eq!(status, 202);
    let (status, body) = operator(&world, "POST", "/_proxy/import?kind=users");
    assert_eq!((status, &body["code"]), (409, &json!("proxy.job_active")));
    world.deliver_for(20_000);
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    // 60 a minute: a page of 100 is more than a minute's share.
    assert_eq!(
        (&view["users"], &view["rate_limit"]),
        (&json!(100), &json!(60))
    );
    let (status, view) = operator(&world, "POST", "/_proxy/import/pause?kind=users");
    assert_eq!((status, &view["state"]), (200, &json!("paused")));
    world.deliver_for(600_000);
    cron(&world);
    world.deliver_for(60_000);
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!(view["users"], 100);
    let (status, _) = operator(
        &world,
        "POST",
        "/_proxy/import/resume?kind=users&rate=100000",
    );
    assert_eq!(status, 200);
    assert_eq!(run(&world, "users")["outcomes"], json!({ "equal": 250 }));
    let (status, body) = operator(&world, "POST", "/_proxy/import/stop?kind=users");
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("proxy.job_not_active"))
    );
    operator(&world, "POST", "/_proxy/import?kind=users");
    let (status, view) = operator(&world, "POST", "/_proxy/import/stop?kind=users");
    assert_eq!((status, &view["state"]), (200, &json!("stopped")));
}

/// A crash between a write's answer and its settling leaves an open intent, which is
/// looked at for a quarter of an hour.
#[test]
fn a_write_that_nobody_settled_does_not_hold_a_job_up() {
    let world = world();
    populate(&world, 30);
    import(&world);
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO intents (id, subject, operation, opened_at, expires_at) \
         VALUES ('open', 'user00000003', 'users.patch', unixepoch() * 1000, unixepoch() * 1000 + 60000)",
    );
    // Suspended behind the mirror: that owes an effect, which is the relay's.
    world
        .logto
        .change("user00000003", |user| user.is_suspended = true);
    let began_ms = world.now_ms();
    let view = import(&world);
    assert_eq!(view["outcomes"], json!({ "equal": 30 }), "{view}");
    assert!(world.now_ms() - began_ms < 600_000);
    assert_eq!(world.n_open(), 1);
    assert_eq!(world.user("user00000003", "is_suspended"), 1);
}

#[test]
fn bad_orders_are_refused_by_name() {
    let world = world();
    for path in [
        "/_proxy/import",
        "/_proxy/import?kind=equality",
        "/_proxy/import?kind=users&dry_run=maybe",
        "/_proxy/import?kind=users&rate=0",
    ] {
        let (status, body) = operator(&world, "POST", path);
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("proxy.parameter_missing")),
            "{path}"
        );
    }
    let (status, body) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!((status, &body["code"]), (404, &json!("proxy.no_such_job")));
    world.flag("stage", "off");
    let (status, body) = operator(&world, "POST", "/_proxy/import?kind=users");
    assert_eq!((status, &body["code"]), (409, &json!("proxy.stage_off")));
    let (status, _) = operator(&world, "POST", "/_proxy/import?kind=users&dry_run=true");
    assert_eq!(status, 202);
}

/// A deployment without points has no rewards database, and needs none for users.
#[test]
fn points_are_refused_without_a_source_and_users_are_not() {
    let world = world();
    world.has_rewards.set(false);
    let (status, body) = operator(&world, "POST", "/_proxy/import?kind=points&dry_run=true");
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("proxy.rewards_not_bound"))
    );
    for path in ["/_proxy/import?kind=users", "/_proxy/equality"] {
        let (status, _) = operator(&world, "POST", path);
        assert_eq!(status, 202, "{path}");
    }
    world.has_rewards.set(true);
    let (status, _) = operator(&world, "POST", "/_proxy/import?kind=points");
    assert_eq!(status, 202);
}

#[test]
fn lost_and_doubled_messages_and_crashes_change_nothing() {
    for seed in 0..20_u64 {
        let world = World::with(seed, &[("ADMIN_TOKEN", ADMIN)]);
        populate(&world, 230);
        world.deliveries.set(1 + (seed % 2) as u32);
        operator(&world, "POST", "/_proxy/import?kind=users&lanes=3");
        for crash in 0..6 {
            world.faults.at_call(
                (seed as u32 * 7 + crash * 5) % 40,
                match crash % 3 {
                    0 => Fault::CrashAfter,
                    1 => Fault::CrashBefore,
                    _ => Fault::AfterEffect,
                },
            );
            world.deliver_for(3_000);
            if crash % 2 == 0 {
                world.drop_queue();
            }
            world.advance(70_000);
            cron(&world);
        }
        world.faults.clear();
        let view = run(&world, "users");
        assert_eq!(view["outcomes"], json!({ "equal": 230 }), "seed {seed}");
        assert_eq!(n_mgpass(&world), 230);
        assert_eq!(prove(&world)["is_equal"], true, "seed {seed}");
    }
}

#[test]
fn who_is_deleted_meanwhile_is_counted_so() {
    let world = world();
    populate(&world, 150);
    operator(
        &world,
        "POST",
        "/_proxy/import?kind=users&rate=7000&lanes=1",
    );
    world.deliver_for(500);
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!(view["users"], 100, "{view}");
    // Newest first: the first page holds the last one made.
    world.write("DELETE", "/api/users/user00000149", "");
    let view = run(&world, "users");
    assert_eq!(
        view["outcomes"],
        json!({ "deleted": 1, "equal": 149 }),
        "{view}"
    );
    assert_eq!(view["total"], 149);
}
