//! What one write costs in rows and calls, as docs/deploy.md says: whoever makes it dearer
//! changes that page, and sees by how much.

use std::rc::Rc;

use dual_write_proxy::runtime::ports::Store;

use super::support::{Port, World};
use super::translated::{ALICE, PATH, hand_over, world};

/// Rows changed in the proxy's database and in mgPass's, batches of each, messages.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    rows: [i64; 2],
    batches: [usize; 2],
    messages: usize,
}

fn changed(world: &World) -> [i64; 2] {
    [Store::Proxy, Store::Mgpass].map(|store| {
        let sql = "SELECT total_changes() AS n";
        world.value(store, sql).as_i64().unwrap()
    })
}

fn asked(world: &World) -> [usize; 3] {
    [Port::ProxyDatabase, Port::MgpassDatabase, Port::Queue]
        .map(|port| world.faults.count(port, ""))
}

fn cost_of(world: &Rc<World>, write: impl FnOnce()) -> Cost {
    let (rows, calls) = (changed(world), asked(world));
    write();
    world.deliver();
    let (rows_after, calls_after) = (changed(world), asked(world));
    Cost {
        rows: [rows_after[0] - rows[0], rows_after[1] - rows[1]],
        batches: [calls_after[0] - calls[0], calls_after[1] - calls[1]],
        messages: calls_after[2] - calls[2],
    }
}

/// The row of the page that begins so: rows and batches of both databases, messages.
fn documented(name: &str) -> Cost {
    let text = include_str!("../../docs/deploy.md");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("| {name} |")));
    let numbers: Vec<i64> = line
        .unwrap_or_else(|| panic!("no row {name:?}"))
        .split('|')
        .skip(2)
        .take(5)
        .map(|cell| cell.trim().parse().unwrap())
        .collect();
    let size = |index: usize| usize::try_from(numbers[index]).unwrap();
    Cost {
        rows: [numbers[0], numbers[1]],
        batches: [size(2), size(3)],
        messages: size(4),
    }
}

fn rename(world: &Rc<World>, name: &str) {
    let written = world.write("PATCH", PATH, &format!(r#"{{"name":"{name}"}}"#));
    assert_eq!(written.status, 200, "{}", written.body);
}

#[test]
fn a_write_costs_what_the_page_says() {
    let world = world();
    hand_over(&world, "logto", 6);
    // Isolates begin anew with each write, so that nothing is left out.
    rename(&world, "Alice One");
    world.deliver();
    let mirrored = cost_of(&world, || rename(&world, "Alice Two"));
    assert_eq!(world.user(ALICE, "name"), "Alice Two");
    assert_eq!(mirrored, documented("a write mirrored to mgPass"));
    hand_over(&world, "mgpass", 7);
    rename(&world, "Alice Three");
    world.deliver();
    let carried = cost_of(&world, || rename(&world, "Alice Four"));
    assert!(world.logto.json_of(ALICE).contains("Alice Four"));
    assert_eq!(carried, documented("a write at mgPass, carried back"));
    let world = super::cleanup::world();
    rename(&world, "Alice Five");
    world.deliver();
    let alone = cost_of(&world, || rename(&world, "Alice Six"));
    assert_eq!(alone, documented("a write in stage cleanup"));
}
