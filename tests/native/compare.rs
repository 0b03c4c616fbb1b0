//! Compared reads: what becomes a finding, and what does not.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;

use super::support::{Fault, Port, Request, World};

const ALICE: &str = "alice0000001";
const PATH: &str = "/api/users/alice0000001";

/// One mirrored user; every read is compared, all are served by Logto.
fn world() -> Rc<World> {
    let world = World::new();
    world.mirrored(ALICE, |user| {
        user.name = Some("Alice".into());
        user.custom_data = r#"{"plan":"free"}"#.into();
    });
    world.advance(10_000);
    world.flag("compare_percent", "100");
    world
}

fn read(world: &Rc<World>) {
    let request = Request::new("GET", PATH).token(&world.admin_token());
    let answer = world.ask(request);
    world.idle();
    assert_eq!(answer.status, 200);
}

/// Path and class of each finding.
fn findings(world: &World) -> Vec<(String, String)> {
    let sql = "SELECT path, class FROM read_findings ORDER BY path";
    let text = |row: &dual_write_proxy::runtime::ports::Row, name: &str| {
        row.get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    world
        .databases
        .rows(Store::Proxy, sql)
        .iter()
        .map(|row| (text(row, "path"), text(row, "class")))
        .collect()
}

fn lie(world: &World) {
    let sql = "UPDATE users SET name = 'Eve', metadata = '{}' WHERE id = 'alice0000001'";
    world.databases.execute(Store::Mgpass, sql);
}

#[test]
fn equal_answers_are_no_finding_whoever_served() {
    let world = world();
    read(&world);
    world.flag("read_percent", "100");
    world.advance(10_000);
    read(&world);
    assert_eq!(findings(&world), []);
}

#[test]
fn each_field_that_differs_is_found_with_path_and_class_and_no_value() {
    for percent in ["0", "100"] {
        let world = world();
        world.flag("read_percent", percent);
        lie(&world);
        read(&world);
        let found = findings(&world);
        let expected = [("customData.plan", "missing"), ("name", "value")];
        assert_eq!(
            found,
            expected.map(|(path, class)| (path.to_owned(), class.to_owned()))
        );
        let rows = world
            .databases
            .rows(Store::Proxy, "SELECT * FROM read_findings");
        let text = format!("{rows:?}");
        assert!(!text.contains("Eve") && !text.contains("Alice"), "{text}");
        assert_eq!(world.events("compare.mismatch").len(), 2);
    }
}

#[test]
fn a_newer_sign_in_at_mgpass_is_no_finding_and_an_older_one_is() {
    let signed_in = |at_s: i64| {
        let world = world();
        world.logto.change(ALICE, |user| {
            user.last_sign_in_at = Some(1_700_000_000_000);
        });
        let sql = format!("UPDATE users SET last_sign_in_at = {at_s} WHERE id = '{ALICE}'");
        world.databases.execute(Store::Mgpass, &sql);
        read(&world);
        findings(&world)
    };
    assert_eq!(signed_in(1_700_000_001), []);
    let found = ("lastSignInAt".to_owned(), "value".to_owned());
    assert_eq!(signed_in(1_699_999_999), [found]);
    // Somebody who has signed in at mgPass only.
    let world = world();
    let sql = format!("UPDATE users SET last_sign_in_at = 5 WHERE id = '{ALICE}'");
    world.databases.execute(Store::Mgpass, &sql);
    read(&world);
    assert_eq!(findings(&world), []);
}

#[test]
fn a_write_on_its_way_makes_the_pair_worthless() {
    let world = world();
    lie(&world);
    let sql = "INSERT INTO intents (id, subject, operation, opened_at, expires_at) \
               VALUES ('i1', 'alice0000001', 'users.patch', 0, 0)";
    world.databases.execute(Store::Proxy, sql);
    read(&world);
    assert_eq!(findings(&world), []);
}

#[test]
fn a_user_of_an_older_epoch_is_not_compared() {
    let world = world();
    lie(&world);
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'epoch'";
    world.databases.execute(Store::Proxy, sql);
    read(&world);
    assert_eq!(findings(&world), []);
}

#[test]
fn a_comparison_that_cannot_be_made_is_nothing_to_the_client() {
    for port in [Port::Mgpass, Port::MgpassDatabase] {
        let world = world();
        lie(&world);
        world.faults.always(port, "", Fault::BeforeEffect);
        read(&world);
        assert_eq!(findings(&world), []);
    }
}

/// Three mirrored users, whose last sign-in shows differently at each read of Logto.
fn restless() -> (Rc<World>, [&'static str; 3]) {
    let world = world();
    let users = [ALICE, "bobby0000001", "carol0000001"];
    for id in users {
        world.mirrored(id, |user| user.last_sign_in_at = Some(1_799_999_999_000));
    }
    world.advance(10_000);
    world.logto.is_restless.set(true);
    (world, users)
}

fn read_of(world: &Rc<World>, id: &str) {
    let request = Request::new("GET", &format!("/api/users/{id}")).token(&world.admin_token());
    assert_eq!(world.ask(request).status, 200);
    world.idle();
}

fn n_learned(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM volatile_fields WHERE path = 'lastSignInAt'";
    world.value(Store::Proxy, sql).as_i64().unwrap()
}

/// Reads these users until so many of them were seen to differ by themselves.
fn read_until_learned(world: &Rc<World>, users: &[&str]) {
    for _ in 0..200 {
        for id in users {
            read_of(world, id);
        }
        if n_learned(world) == i64::try_from(users.len()).unwrap() {
            return;
        }
    }
    panic!("learned of {} users", n_learned(world));
}

#[test]
fn what_differs_between_two_reads_of_logto_is_learned_and_no_finding_any_more() {
    let (world, users) = restless();
    read_until_learned(&world, &users);
    let noise = ("lastSignInAt".to_owned(), "value".to_owned());
    assert!(findings(&world).contains(&noise), "until it was learned");
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM read_findings");
    lie(&world);
    for id in users {
        read_of(&world, id);
    }
    let drift = ("name".to_owned(), "type".to_owned());
    assert_eq!(findings(&world), [drift], "the noise is gone");
}

#[test]
fn what_differs_for_two_users_only_is_not_learned() {
    let (world, users) = restless();
    read_until_learned(&world, &users[..2]);
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM read_findings");
    read_of(&world, ALICE);
    let noise = ("lastSignInAt".to_owned(), "value".to_owned());
    assert_eq!(findings(&world), [noise]);
}

#[test]
fn what_was_learned_is_forgotten_a_day_after_it_was_last_seen() {
    let (world, users) = restless();
    read_until_learned(&world, &users);
    world.advance(86_400_000 + 1_000);
    world.sweep();
    assert_eq!(n_learned(&world), 0);
}

#[test]
fn a_comparison_begins_when_the_client_has_its_answer() {
    let world = world();
    let node = world.node();
    let request = Request::new("GET", PATH).token(&world.admin_token());
    let n_before = world.mgpass.n_served("GET /api/users/");
    assert_eq!(world.ask_at(&node, request).status, 200);
    world.advance(99);
    assert_eq!(world.mgpass.n_served("GET /api/users/"), n_before);
    world.idle();
    assert_eq!(world.mgpass.n_served("GET /api/users/"), n_before + 2);
}

#[test]
fn of_reads_at_once_an_isolate_compares_one() {
    let world = world();
    let node = world.node();
    let n_before = world.mgpass.n_served("GET /api/users/");
    let start = || {
        let request = Request::new("GET", PATH).token(&world.admin_token());
        world.start_at(&node, request)
    };
    let reads: Vec<_> = (0..10).map(|_| start()).collect();
    world.idle();
    assert!(
        reads
            .into_iter()
            .all(|read| read.take().is_some_and(|answer| answer.status == 200))
    );
    // A user is two calls.
    assert_eq!(world.mgpass.n_served("GET /api/users/"), n_before + 2);
    start();
    world.idle();
    assert_eq!(world.mgpass.n_served("GET /api/users/"), n_before + 4);
}
