//! Users, ledgers and backlogs at and above the platform's limits, on databases that
//! enforce them: everybody ends equal or parked with a reason, nothing is tried for
//! ever, and no invocation asks for more than it may.

use std::rc::Rc;

use dual_write_proxy::runtime::limits::{MAX_ANSWER_BYTES, MAX_VALUE_BYTES};
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::jobs::{import, operator, prove, run, world};
use super::support::{Fault, Port, World};

/// JSON text of an object of so many bytes; quotes, so that it grows when it is
/// written into JSON once more.
fn custom_data(n_bytes: usize) -> String {
    let text = r#"\""#.repeat((n_bytes - r#"{"q":""}"#.len()) / 2);
    format!(r#"{{"q":"{text}"}}"#)
}

fn put_users(world: &Rc<World>, n_users: usize, n_bytes: usize) {
    for index in 0..n_users {
        world.put_user(&format!("heavy{index:07}"), |user| {
            user.created_at += index as i64;
            user.custom_data = custom_data(n_bytes);
        });
    }
}

fn check_import(n_users: usize, n_bytes: usize) {
    check_import_in(&world(), n_users, n_bytes);
}

fn check_import_in(world: &Rc<World>, n_users: usize, n_bytes: usize) {
    put_users(world, n_users, n_bytes);
    let view = import(world);
    let what = format!("{n_users} users of {n_bytes} bytes");
    assert_eq!(
        view["outcomes"],
        json!({ "equal": n_users }),
        "{what}: {view}"
    );
    assert_eq!(prove(world)["is_equal"], true, "{what}");
    // Each renewed: the epoch rose.
    world.databases.execute(
        Store::Proxy,
        "UPDATE counters SET value = value + 1 WHERE name = 'epoch'",
    );
    let view = import(world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": n_users }),
        "{what}: {view}"
    );
    // Each differing.
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET name = 'else', metadata = '{}'",
    );
    let view = import(world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": n_users }),
        "{what}: {view}"
    );
    assert_eq!(prove(world)["is_equal"], true, "{what}");
    world.assert_within_limits();
}

#[test]
fn a_page_of_one_user_with_a_megabyte_of_custom_data_is_written() {
    check_import(1, 1_000_000);
}

#[test]
fn a_page_of_renewals_that_are_too_much_for_one_value_is_written() {
    check_import(25, 80_000);
}

#[test]
fn pages_of_any_weight_are_written_and_proved() {
    for (n_users, n_bytes) in [(105, 9_000), (24, 40_000), (6, 150_000), (2, 1_900_000)] {
        check_import(n_users, n_bytes);
    }
}

#[test]
fn a_page_that_takes_several_invocations_goes_on_where_it_stopped() {
    let world = world();
    // Room for some users at a time: each of these is a piece of its own.
    world.max_queries.set(280);
    check_import_in(&world, 30, 40_000);
    let n_pages = world.value(Store::Proxy, "SELECT min(n_pages) FROM jobs");
    assert!(n_pages.as_i64() >= Some(4), "{n_pages}");
    let n_left = world.value(Store::Proxy, "SELECT count(*) FROM job_pages");
    assert_eq!(n_left, 0);
}

/// What mgPass holds is not bounded by what Logto lists.
#[test]
fn what_mgpass_holds_of_a_page_may_be_more_than_can_be_read_at_once() {
    let world = world();
    put_users(&world, 12, 200);
    import(&world);
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET metadata = json_object('x', hex(zeroblob(400000)))",
    );
    let report = prove(&world);
    assert_eq!(report["differing"], 12, "{report}");
    let view = import(&world);
    assert_eq!(view["outcomes"], json!({ "equal": 12 }), "{view}");
    assert_eq!(prove(&world)["is_equal"], true);
    world.assert_within_limits();
}

#[test]
fn a_user_above_what_a_row_takes_is_parked_and_holds_nobody_up() {
    let world = world();
    put_users(&world, 3, 100);
    world.put_user("toolarge0001", |user| {
        user.custom_data = custom_data(MAX_VALUE_BYTES + 10_000);
    });
    assert!(world.logto.json_of("toolarge0001").len() < MAX_ANSWER_BYTES);
    let view = import(&world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": 3, "parked": 1 }),
        "{view}"
    );
    assert_eq!(view["parked"], json!({ "too_large": 1 }));
    assert_eq!(world.parked("toolarge0001"), "too_large");
    assert_eq!(world.events("mirror.paused"), Vec::<Value>::new());
    // The same by a live write.
    world.logto.change("heavy0000001", |user| {
        user.custom_data = custom_data(MAX_VALUE_BYTES)
    });
    world.wake("heavy0000001");
    world.wake("heavy0000002");
    world.deliver();
    assert_eq!(world.parked("heavy0000001"), "too_large");
    assert_eq!(world.counter("paused_until"), 0);
    // Smaller again, it is carried as any other.
    world
        .logto
        .change("heavy0000001", |user| user.custom_data = "{}".to_owned());
    world.wake("heavy0000001");
    world.deliver();
    assert_eq!(world.parked("heavy0000001"), Value::Null);
    world.assert_within_limits();
}

#[test]
fn a_user_above_what_an_answer_may_be_is_parked_by_name_of_its_place() {
    let world = world();
    put_users(&world, 30, 100);
    world.put_user("unlisted0001", |user| {
        user.custom_data = custom_data(MAX_ANSWER_BYTES);
    });
    let view = import(&world);
    assert_eq!(
        view["outcomes"],
        json!({ "equal": 30, "parked": 1 }),
        "{view}"
    );
    assert_eq!(view["parked"], json!({ "too_large": 1 }));
    world.assert_within_limits();
}

#[test]
fn heavy_users_of_one_batch_are_worked_on_one_at_a_time() {
    let world = world();
    put_users(&world, 10, 700_000);
    for index in 0..10 {
        world.wake(&format!("heavy{index:07}"));
    }
    world.deliver();
    let n_users = world.value(Store::Mgpass, "SELECT count(*) FROM users");
    assert_eq!(n_users, 10);
    world.assert_within_limits();
}

fn put_points(world: &Rc<World>, n_users: usize, n_entries: usize) {
    for index in 0..n_users {
        world.put_user(&format!("points{index:06}"), |_| {});
    }
    import(world);
    world.databases.execute(
        Store::Rewards,
        &format!(
            "WITH RECURSIVE u(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM u WHERE n < {n_users} - 1) \
             INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) \
             SELECT printf('points%06d', n), {n_entries} - 7, 5, 'bronze' FROM u; \
             WITH RECURSIVE u(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM u WHERE n < {n_users} - 1), \
             e(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM e WHERE k < {n_entries} - 1) \
             INSERT INTO rewards_ledger (id, user_id, event_type, points, status, created_at) \
             SELECT printf('e%06d.%06d', n, k), printf('points%06d', n), 'purchase', 1, 'posted', 1789000000 FROM u, e"
        ),
    );
}

fn check_points(world: &Rc<World>, n_users: usize, n_entries: usize) {
    let (status, view) = operator(world, "POST", "/_proxy/import?kind=points");
    assert_eq!(status, 202, "{view}");
    let view = run(world, "points");
    assert_eq!(view["outcomes"], json!({ "equal": n_users }), "{view}");
    assert_eq!(
        (&view["total"], &view["added"]),
        (&json!(n_users), &json!(n_users * n_entries))
    );
    assert_eq!(view["notes"], json!({ "adjusted": n_users }));
    let drifted = "SELECT count(*) FROM user_rewards r WHERE total_points <> \
         (SELECT sum(points) FROM points_ledger l WHERE l.user_id = r.user_id)";
    assert_eq!(world.value(Store::Mgpass, drifted), 0);
    let n_at_mgpass = world.value(
        Store::Mgpass,
        "SELECT count(*) FROM points_ledger WHERE id LIKE 'pts_lm_e_%'",
    );
    assert_eq!(n_at_mgpass, n_users * n_entries);
    world.assert_within_limits();
}

#[test]
fn the_points_of_a_hundred_users_with_1660_entries_each_take_several_invocations() {
    let world = world();
    put_points(&world, 100, 1_660);
    check_points(&world, 100, 1_660);
}

/// The ledger of one user may be more than an invocation takes.
#[test]
fn one_long_ledger_goes_over_in_parts_and_is_whole_after_each() {
    let world = world();
    put_points(&world, 3, 12_000);
    world.max_queries.set(100);
    check_points(&world, 3, 12_000);
}

#[test]
fn a_page_of_which_half_is_gone_at_logto_is_looked_at_in_parts() {
    let world = world();
    put_users(&world, 300, 100);
    import(&world);
    for index in 0..250 {
        let id = format!("heavy{index:07}");
        world.logto.users.borrow_mut().remove(&id);
    }
    let report = prove(&world);
    assert_eq!(
        (&report["gone_at_logto"], &report["equal"]),
        (&json!(250), &json!(50)),
        "{report}"
    );
    world.assert_within_limits();
}

fn park(world: &Rc<World>, n_subjects: usize) {
    world.databases.execute(
        Store::Proxy,
        &format!(
            "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {n_subjects} - 1) \
             INSERT INTO subjects (subject, lease_holder, lease_until, parked, parked_at, last_ticket) \
             SELECT printf('parked%06d', n), '', 0, CASE WHEN n % 2 = 0 THEN 'deletion_unconfirmed' ELSE 'too_many_failures' END, 0, 1 FROM n"
        ),
    );
}

/// As `dwp replay` asks: until nothing remains.
fn replay(world: &Rc<World>, which: &str) -> (u64, usize) {
    let (mut n_subjects, mut after) = (0, String::new());
    for n_pages in 1.. {
        let path = format!("/_proxy/mirror/replay?{which}&after={after}");
        let (status, answer) = operator(world, "POST", &path);
        assert_eq!(status, 200, "{answer}");
        n_subjects += answer["subjects"].as_u64().unwrap();
        match answer["next"].as_str() {
            Some(next) => {
                assert_ne!(answer["remaining"], 0, "{answer}");
                after = next.to_owned();
            }
            None => {
                assert_eq!(answer["remaining"], 0, "{answer}");
                return (n_subjects, n_pages);
            }
        }
    }
    unreachable!()
}

#[test]
fn a_replay_reaches_everybody_in_pages_and_says_what_remains() {
    let world = world();
    park(&world, 2_300);
    assert_eq!(replay(&world, "all=true"), (2_300, 5));
    assert_eq!(world.n_queued(), 2_300);
    // A few statements and a message for a hundred.
    assert!(world.faults.count(Port::Queue, "") <= 25);
    assert_eq!(world.n_open(), 2_300);
    let (status, answer) = operator(&world, "POST", "/_proxy/mirror/replay?all=true");
    assert_eq!(
        (status, &answer["remaining"]),
        (200, &json!(1_800)),
        "{answer}"
    );
    world.drop_queue();
    assert_eq!(replay(&world, "reason=too_many_failures").0, 1_150);
    assert_eq!(replay(&world, "user=parked000001").0, 1);
    world.assert_within_limits();
}

#[test]
fn a_sweep_without_the_queue_goes_as_far_as_it_may_and_the_next_ones_do_the_rest() {
    let world = world();
    put_users(&world, 200, 100);
    let ids: Vec<_> = (0..200).map(|index| format!("heavy{index:07}")).collect();
    world.databases.execute(
        Store::Proxy,
        &format!(
            "UPDATE counters SET value = value + 1 WHERE name = 'sequence'; \
             INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status) \
             SELECT 'i' || value, value, 'users.patch', 1, 1, 1, 200 FROM json_each('{}')",
            json!(ids)
        ),
    );
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    world.sweep();
    world.idle();
    world.assert_within_limits();
    let after_one = world.n_open();
    assert!((1..=190).contains(&after_one), "{after_one}");
    for _ in 0..15 {
        world.advance(60_000);
        world.sweep();
        world.idle();
    }
    assert_eq!(world.n_open(), 0);
    world.assert_within_limits();
}

/// Six at a time, in a ring: each batch wants what the other holds.
#[test]
fn users_who_exchange_values_do_not_take_more_than_their_batch_has() {
    let world = world();
    for index in 0..60_usize {
        world.mirrored(&format!("swap{index:08}"), |user| {
            user.phone = Some(format!("1415555{index:04}"));
        });
    }
    for index in 0..60_usize {
        let (ring, place) = (index / 6, index % 6);
        let next = ring * 6 + (place + 1) % 6;
        world.logto.change(&format!("swap{index:08}"), |user| {
            user.phone = Some(format!("1415555{next:04}"));
        });
    }
    for index in 0..60 {
        world.wake(&format!("swap{index:08}"));
    }
    world.deliver_for(3_600_000);
    for index in 0..60_usize {
        let (ring, place) = (index / 6, index % 6);
        let next = ring * 6 + (place + 1) % 6;
        let id = format!("swap{index:08}");
        assert_eq!(
            world.user(&id, "phone"),
            format!("+1415555{next:04}"),
            "{}",
            world.parked(&id)
        );
    }
    world.assert_within_limits();
}
