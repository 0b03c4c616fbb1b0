//! Compared reads: what becomes a finding, and what does not.

use std::rc::Rc;

use dual_write_proxy::ports::Store;

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
    let text = |row: &dual_write_proxy::ports::Row, name: &str| {
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
