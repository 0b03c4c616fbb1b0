//! What cannot be carried over holds up nobody but its user, and is named.

use super::*;

/// A real source need not be STRICT.
#[test]
fn what_cannot_be_read_parks_its_user_only() {
    for (change, reason) in [
        (
            "UPDATE rewards_ledger SET points = 1.5 WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET points = 'many' WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET points = 9007199254740993 WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET created_at = 1789000000000 WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET created_at = NULL WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET id = NULL WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET event_type = NULL WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET reference_id = 'a' || char(0) || 'b' WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_ledger SET metadata = printf('{\"a\":\"%01999000d\"}', 1) WHERE user_id = 'b'",
            "entry_too_large",
        ),
        (
            "UPDATE rewards_users SET total_points = NULL WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
        (
            "UPDATE rewards_users SET lifetime_earned = 'x' WHERE user_id = 'b'",
            "unreadable_in_source",
        ),
    ] {
        let world = World::new();
        world.databases.execute(
            Store::Rewards,
            "DROP TABLE rewards_users; DROP TABLE rewards_ledger; \
             CREATE TABLE rewards_users (user_id TEXT PRIMARY KEY, total_points, lifetime_earned, tier); \
             CREATE TABLE rewards_ledger (id TEXT PRIMARY KEY, user_id TEXT, event_type, platform, points, rule_version, reference_id, metadata, status, created_at)",
        );
        for id in ["a", "b", "c"] {
            at_mgpass(&world, id);
            record(&world, id, 10, 10, Some("bronze"));
            entry(&world, &Entry::new(&format!("e{id}"), id, 10));
        }
        world.databases.execute(Store::Rewards, change);
        let (users, n_added) = import(&world, 100);
        assert_eq!(users["b"], parked(reason, &[]), "{change}");
        assert_eq!(
            (&users["a"], &users["c"], n_added),
            (&equal(&[]), &equal(&[]), 2),
            "{change}"
        );
        assert_eq!(
            world.mgpass("SELECT id FROM points_ledger WHERE user_id = 'b'"),
            []
        );
    }
}

/// Ids that count up are common.
#[test]
fn entry_ids_may_be_numbers() {
    let world = World::new();
    world.databases.execute(
        Store::Rewards,
        "DROP TABLE rewards_ledger; CREATE TABLE rewards_ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT, event_type TEXT, platform TEXT, \
         points INTEGER, rule_version TEXT, reference_id TEXT, metadata TEXT, status TEXT, created_at INTEGER); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
         INSERT INTO rewards_ledger (user_id, event_type, points, created_at) SELECT 'alice0000001', 'x', 1, i FROM n",
    );
    at_mgpass(&world, USER);
    record(&world, USER, 2_500, 2_500, Some("silver"));
    let (users, n_added) = import(&world, 100);
    assert_eq!((&users[USER], n_added), (&equal(&[]), 2_500));
    assert_eq!(
        world.faults.count(Port::RewardsDatabase, "row_number"),
        3,
        "in bounded portions"
    );
    assert_eq!(import(&world, 100).1, 0);
}

#[test]
fn one_user_whom_a_constraint_refuses_does_not_hold_up_the_others() {
    let world = World::new();
    world.databases.execute(
        Store::Mgpass,
        "CREATE UNIQUE INDEX once ON points_ledger (user_id, reference_id)",
    );
    for id in ["a", "b", "c", "d", "e"] {
        at_mgpass(&world, id);
        record(&world, id, 10, 10, Some("bronze"));
        entry(&world, &Entry::new(&format!("e{id}"), id, 10));
    }
    let reference = Some("order-ec".to_owned());
    entry(
        &world,
        &Entry {
            reference,
            ..Entry::new("again", "c", 0)
        },
    );
    let (users, n_added) = import(&world, 100);
    assert_eq!(users["c"], parked("refused_by_mgpass", &[]));
    assert_eq!(
        users
            .values()
            .filter(|(outcome, _)| *outcome == Carried::Equal)
            .count(),
        4
    );
    assert_eq!(n_added, 4);
}

#[test]
fn an_entry_that_is_another_users_at_mgpass_does_not_move() {
    let world = World::new();
    for id in ["a", "b"] {
        at_mgpass(&world, id);
        record(&world, id, 10, 10, Some("bronze"));
    }
    entry(&world, &Entry::new("1", "a", 10));
    import(&world, 100);
    let of_a = |world: &World| {
        let rows = world.mgpass(LEDGER).into_iter();
        rows.filter(|row| row["user_id"] == "a").collect::<Vec<_>>()
    };
    let held = of_a(&world);
    world.databases.execute(
        Store::Rewards,
        "UPDATE rewards_ledger SET user_id = 'b', points = 3, metadata = '{}'",
    );
    let (users, _) = import(&world, 100);
    assert_eq!(users["a"], equal(&["gone_in_source"]));
    assert_eq!(users["b"], parked("entry_held_elsewhere", &[]));
    assert_eq!(of_a(&world), held, "as it was");
    assert_eq!(drifted(&world), []);
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 30, 3_000, Some("gold"));
    for id in ["a", "b"] {
        entry(&world, &Entry::new(id, USER, 10));
    }
    let dry = page(&world, &Place::default(), 100, true).unwrap().unwrap();
    assert_eq!(
        (dry.n_entries_added, dry.users[0].outcome),
        (2, Carried::Create)
    );
    assert_eq!(state(&world), (vec![], vec![]));
    let wet = page(&world, &Place::default(), 100, false)
        .unwrap()
        .unwrap();
    assert_eq!(
        (wet.n_entries_added, wet.users[0].outcome),
        (2, Carried::Equal)
    );
    let again = page(&world, &Place::default(), 100, true).unwrap().unwrap();
    assert_eq!(
        (again.n_entries_added, &again.users),
        (0, &wet.users),
        "outcome and notes as the real one says"
    );
    assert_eq!(dry.users[0].notes, wet.users[0].notes);
}

#[test]
fn without_a_source_or_with_other_tables_the_import_is_refused() {
    let world = World::new();
    world.has_rewards.set(false);
    assert_eq!(
        page(&world, &Place::default(), 9, false),
        Some(Err(PointsFailure::NotBound))
    );
    world.has_rewards.set(true);
    world.databases.execute(
        Store::Rewards,
        "ALTER TABLE rewards_ledger RENAME COLUMN points TO amount",
    );
    assert_eq!(
        page(&world, &Place::default(), 9, false),
        Some(Err(PointsFailure::SchemaRefused(Store::Rewards)))
    );
    let refused = world.events("schema.refused");
    assert_eq!(
        (&refused[0]["table"], &refused[0]["column"]),
        (&json!("rewards_ledger"), &json!("points"))
    );
    world
        .faults
        .always(Port::RewardsDatabase, "", Fault::BeforeEffect);
    let down = PointsFailure::Database(Store::Rewards, DatabaseFailure::Unavailable);
    assert_eq!(page(&world, &Place::default(), 9, false), Some(Err(down)));
}

/// A sum that overflows fails its statement, and with it whoever shares the page.
#[test]
fn sums_beyond_what_can_be_told_park_their_user_only() {
    let huge = "9007199254740991";
    for (store, change) in [
        (
            Store::Rewards,
            format!(
                "INSERT INTO rewards_ledger (id, user_id, event_type, points, created_at) \
                 SELECT 'h' || value, 'b', 'x', {huge}, 1 FROM json_each('[1,2,3]')"
            ),
        ),
        (
            Store::Mgpass,
            format!(
                "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 1100) \
                 INSERT INTO points_ledger (id, user_id, event_type, points, created_at) \
                 SELECT 'pts_lm_e_h' || n, 'b', 'x', {huge}, 1 FROM n"
            ),
        ),
    ] {
        let world = World::new();
        for id in ["a", "b", "c"] {
            at_mgpass(&world, id);
            record(&world, id, 10, 10, Some("bronze"));
            entry(&world, &Entry::new(&format!("e{id}"), id, 10));
        }
        world.databases.execute(store, &change);
        let (users, n_added) = import(&world, 100);
        assert_eq!(users["b"], parked("sum_out_of_range", &[]), "{change}");
        assert_eq!(
            (&users["a"], &users["c"], n_added),
            (&equal(&[]), &equal(&[]), 2),
            "{change}"
        );
        let ids = ["a", "b", "c"].map(|id| UserId::parse(id).unwrap());
        let asked = [balance::target_balances(&ids)];
        let rows = world.databases.batch(Store::Mgpass, &asked).unwrap();
        assert!(balance::parse_balances(&rows[0]).is_some());
    }
}

/// mgPass's own user who happens to have this id.
#[test]
fn points_of_a_user_whom_the_mirror_did_not_make_stay_in_the_source() {
    let world = World::new();
    at_mgpass(&world, "a");
    put(
        &world,
        Store::Mgpass,
        "INSERT INTO users (id, created_at) VALUES ('b', 1)",
        vec![],
    );
    for id in ["a", "b"] {
        record(&world, id, 10, 10, Some("bronze"));
        entry(&world, &Entry::new(&format!("e{id}"), id, 10));
    }
    let (users, _) = import(&world, 100);
    assert_eq!(
        (&users["a"], &users["b"]),
        (&equal(&[]), &parked("not_mirrored", &[]))
    );
    let written = "SELECT user_id FROM points_ledger UNION SELECT user_id FROM user_rewards";
    assert_eq!(json!(world.mgpass(written)), json!([{ "user_id": "a" }]));
}
