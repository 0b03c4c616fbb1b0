//! Points from the rewards database to mgPass, on real SQL: what is carried, who is
//! parked, and that importing again, or after a crash, ends the same.

use std::collections::BTreeMap;
use std::rc::Rc;

use dual_write_proxy::points::balance::{self, Balance};
use dual_write_proxy::points::{self, Outcome, PointsFailure, PointsPage};
use dual_write_proxy::ports::{DatabaseFailure, Row, Statement, Store, Value};
use dual_write_proxy::request::UserId;
use serde_json::json;

use super::support::executor::Random;
use super::support::{Fault, Port, World};

const USER: &str = "alice0000001";

fn put(world: &World, store: Store, sql: &'static str, values: Vec<Value>) {
    let done = world.databases.batch(store, &[Statement::new(sql, values)]);
    assert_eq!(done.map(drop), Ok(()), "{sql}");
}

fn at_mgpass(world: &World, id: &str) {
    let sql = "INSERT INTO users (id, created_at) VALUES (?1, 1)";
    put(world, Store::Mgpass, sql, vec![id.into()]);
}

fn record(world: &World, id: &str, total: i64, lifetime: i64, tier: Option<&str>) {
    let sql = "INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES (?1, ?2, ?3, ?4)";
    let values = vec![id.into(), total.into(), lifetime.into(), tier.into()];
    put(world, Store::Rewards, sql, values);
}

#[derive(Clone)]
struct Entry {
    id: String,
    user: String,
    points: i64,
    status: Option<String>,
    reference: Option<String>,
    metadata: Option<String>,
    platform: Option<String>,
}

impl Entry {
    fn new(id: &str, user: &str, points: i64) -> Self {
        Self {
            id: id.to_owned(),
            user: user.to_owned(),
            points,
            status: Some("posted".to_owned()),
            reference: Some(format!("order-{id}")),
            metadata: None,
            platform: Some("newsroom".to_owned()),
        }
    }
}

fn entry(world: &World, entry: &Entry) {
    let sql = "INSERT INTO rewards_ledger (id, user_id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at) \
         VALUES (?1, ?2, 'purchase', ?3, ?4, 'v1', ?5, ?6, ?7, 1789000000)";
    let values = vec![
        entry.id.as_str().into(),
        entry.user.as_str().into(),
        entry.platform.clone().into(),
        entry.points.into(),
        entry.reference.clone().into(),
        entry.metadata.clone().into(),
        entry.status.clone().into(),
    ];
    put(world, Store::Rewards, sql, values);
}

/// `None`: the import crashed.
fn page(
    world: &Rc<World>,
    after: &str,
    limit: i64,
    dry_run: bool,
) -> Option<Result<PointsPage, PointsFailure>> {
    let (node, after) = (world.node(), after.to_owned());
    world.finish(async move { points::page(&node, &node.context(), &after, limit, dry_run).await })
}

/// Page after page to the end.
fn import(world: &Rc<World>, limit: i64) -> (BTreeMap<String, (Outcome, Vec<String>)>, i64) {
    let mut users = BTreeMap::new();
    let (mut after, mut n_added) = (String::new(), 0);
    loop {
        let page = page(world, &after, limit, false).unwrap().unwrap();
        n_added += page.n_entries_added;
        for user in page.users {
            let seen = users.insert(user.user, (user.outcome, user.notes));
            assert_eq!(seen, None, "a user appears in one page only");
        }
        match page.next_after {
            Some(next) => after = next,
            None => return (users, n_added),
        }
    }
}

fn outcome_of(world: &Rc<World>, id: &str) -> (Outcome, Vec<String>) {
    import(world, 100).0.remove(id).unwrap()
}

const BALANCES: &str =
    "SELECT user_id, total_points, lifetime_earned, tier FROM user_rewards ORDER BY user_id";
/// Times of our own making may differ between two ways to the same state.
const LEDGER: &str = "SELECT id, user_id, event_type, platform, points, rule_version, reference_id, metadata, \
     CASE WHEN id LIKE 'pts_lm_a_%' THEN 0 ELSE created_at END AS created_at FROM points_ledger ORDER BY id";

fn state(world: &World) -> (Vec<Row>, Vec<Row>) {
    (world.mgpass(BALANCES), world.mgpass(LEDGER))
}

/// What mgPass's reconcile would change.
fn drifted(world: &World) -> Vec<Row> {
    world.mgpass(
        "SELECT user_id FROM user_rewards r WHERE total_points <> \
         (SELECT coalesce(sum(points), 0) FROM points_ledger l WHERE l.user_id = r.user_id)",
    )
}

fn equal(notes: &[&str]) -> (Outcome, Vec<String>) {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    (Outcome::Equal, notes)
}

fn parked(reason: &'static str, notes: &[&str]) -> (Outcome, Vec<String>) {
    (Outcome::Parked(reason), equal(notes).1)
}

#[test]
fn an_entry_keeps_all_it_has_and_the_balance_is_the_stored_one() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 120, 3_000, Some("silver"));
    let metadata = r#"{ "amount" : 120.0, "näme": "\u0000" }"#;
    entry(
        &world,
        &Entry {
            metadata: Some(metadata.to_owned()),
            ..Entry::new("01A", USER, 120)
        },
    );
    let page = page(&world, "", 100, false).unwrap().unwrap();
    assert_eq!((page.n_source, page.n_entries_added), (Some(1), 1));
    assert_eq!(page.next_after, None);
    assert_eq!(
        (page.users[0].outcome, &page.users[0].notes),
        (Outcome::Equal, &vec![])
    );
    let expected = json!({
        "id": "pts_lm_e_01A", "user_id": USER, "event_type": "purchase", "platform": "newsroom", "points": 120,
        "rule_version": "v1", "reference_id": "order-01A", "metadata": metadata, "created_at": 1_789_000_000,
    });
    assert_eq!(json!(world.mgpass(LEDGER)), json!([expected]));
    assert_eq!(
        json!(world.mgpass(BALANCES)),
        json!([{ "user_id": USER, "total_points": 120, "lifetime_earned": 3_000, "tier": "silver" }])
    );
}

#[test]
fn voided_and_expired_entries_stay_history_and_one_adjustment_makes_up_for_them() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 70, 200, Some("bronze"));
    for (id, points, status) in [
        ("a", 100, "posted"),
        ("b", 50, "expired"),
        ("c", 40, "voided"),
        ("d", -30, "posted"),
    ] {
        let status = Some(status.to_owned());
        entry(
            &world,
            &Entry {
                status,
                ..Entry::new(id, USER, points)
            },
        );
    }
    assert_eq!(outcome_of(&world, USER), equal(&["not_posted", "adjusted"]));
    let adjustment = || {
        let sql = "SELECT id, points, reference_id, event_type, metadata FROM points_ledger WHERE id LIKE 'pts_lm_a_%'";
        json!(world.mgpass(sql))
    };
    assert_eq!(
        adjustment(),
        json!([{
            "id": format!("pts_lm_a_{USER}"), "points": -90, "reference_id": format!("migration:{USER}"),
            "event_type": "migration_adjustment", "metadata": r#"{"stored_total":70,"sum_of_entries":160}"#,
        }])
    );
    let marked = "SELECT id FROM points_ledger WHERE json_extract(metadata, '$.migration_status') = 'expired'";
    assert_eq!(json!(world.mgpass(marked)), json!([{ "id": "pts_lm_e_b" }]));
    assert_eq!(drifted(&world), []);

    // The source goes on: the one adjustment follows, and goes when it is not needed.
    world.databases.execute(Store::Rewards, "UPDATE rewards_users SET total_points = 20; UPDATE rewards_ledger SET status = 'expired' WHERE id = 'a'");
    assert_eq!(outcome_of(&world, USER).0, Outcome::Equal);
    assert_eq!(adjustment()[0]["points"], -140);
    assert_eq!(drifted(&world), []);
    world.databases.execute(
        Store::Rewards,
        "UPDATE rewards_users SET total_points = 160",
    );
    assert_eq!(outcome_of(&world, USER), equal(&["not_posted"]));
    assert_eq!((adjustment(), drifted(&world)), (json!([]), vec![]));
}

#[test]
fn a_balance_without_any_entry_is_one_adjustment() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, -15, 0, None);
    assert_eq!(
        outcome_of(&world, USER),
        equal(&["tier_missing:bronze", "adjusted"])
    );
    assert_eq!(drifted(&world), []);
}

#[test]
fn what_mgpass_wrote_is_never_touched() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 120, 120, Some("bronze"));
    entry(&world, &Entry::new("01A", USER, 120));
    assert_eq!(outcome_of(&world, USER).0, Outcome::Equal);
    world.databases.execute(
        Store::Mgpass,
        &format!(
            "INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('pts_01B', '{USER}', 'purchase', 5, 1); \
             UPDATE user_rewards SET total_points = 125, lifetime_earned = 125"
        ),
    );
    entry(&world, &Entry::new("01C", USER, 7));
    world.databases.execute(
        Store::Rewards,
        "UPDATE rewards_users SET total_points = 127",
    );
    let before = state(&world);
    assert_eq!(outcome_of(&world, USER), parked("earned_at_mgpass", &[]));
    assert_eq!(state(&world), before);
}

/// What mgPass does with `change` between our read and our batch, and how it ends.
fn raced(change: &str) -> (Rc<World>, (Outcome, Vec<String>)) {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 120, 120, Some("bronze"));
    entry(&world, &Entry::new("01A", USER, 110));
    let is_done = std::cell::Cell::new(false);
    let (databases, change) = (Rc::clone(&world.databases), change.to_owned());
    *world.faults.script.borrow_mut() = Some(Box::new(move |port, what, _| {
        let is_write = port == Port::MgpassDatabase && what().contains("INSERT INTO points_ledger");
        if is_write && !is_done.replace(true) {
            databases.execute(Store::Mgpass, &change);
        }
        None
    }));
    let outcome = outcome_of(&world, USER);
    (world, outcome)
}

/// The condition is in the batch itself: whatever lands before it wins.
#[test]
fn a_credit_between_read_and_write_wins() {
    for id in ["pts_01B", "a", "zz", "pts_lm", "pts_lm`", "Pts_lm_e_1", ""] {
        let (world, outcome) = raced(&format!(
            "INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('{id}', '{USER}', 'purchase', 5, 1)"
        ));
        assert_eq!(outcome, parked("earned_at_mgpass", &[]));
        assert_eq!(world.mgpass("SELECT id FROM points_ledger").len(), 1);
        assert_eq!(world.mgpass("SELECT user_id FROM user_rewards"), []);
    }
}

#[test]
fn a_deletion_between_read_and_write_wins() {
    for (change, reason) in [
        (
            format!("UPDATE users SET deleted_at = 1 WHERE id = '{USER}'"),
            "user_deleted",
        ),
        (
            format!(
                "INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, applied_at) VALUES ('{USER}', 1, 1, 1, '', 0)"
            ),
            "user_deleted",
        ),
        (
            format!("DELETE FROM users WHERE id = '{USER}'"),
            "unknown_user",
        ),
    ] {
        let (world, outcome) = raced(&change);
        assert_eq!(outcome, parked(reason, &[]), "{change}");
        assert_eq!(state(&world), (vec![], vec![]), "{change}");
    }
}

#[test]
fn unknown_and_deleted_users_are_named_and_nothing_of_theirs_is_written() {
    let world = World::new();
    let [nobody, unrecorded, deleted, tombstone, odd] =
        ["nobody", "unrecorded", "deleted", "tombstone", "ключ"];
    for id in [unrecorded, deleted, tombstone] {
        at_mgpass(&world, id);
    }
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET deleted_at = 1 WHERE id = 'deleted'; \
         INSERT INTO logto_mirror (user_id, ticket, epoch, tombstone, digest, applied_at) VALUES ('tombstone', 1, 1, 1, '', 0)",
    );
    for id in [nobody, deleted, tombstone, odd] {
        record(&world, id, 10, 10, Some("bronze"));
    }
    for (index, id) in [nobody, unrecorded, deleted, odd, ""].iter().enumerate() {
        entry(&world, &Entry::new(&index.to_string(), id, 10));
    }
    let first = page(&world, "", 2, false).unwrap().unwrap();
    assert_eq!(first.n_source, Some(6));
    let (users, n_added) = import(&world, 2);
    assert_eq!(n_added, 0);
    let expected = [
        ("", parked("unknown_user", &["no_user_id"])),
        (deleted, parked("user_deleted", &[])),
        (nobody, parked("unknown_user", &["not_at_mgpass"])),
        (tombstone, parked("user_deleted", &[])),
        (unrecorded, parked("unknown_user", &["no_source_record"])),
        (odd, parked("unknown_user", &["not_at_mgpass"])),
    ];
    let expected = expected.map(|(id, outcome)| (id.to_owned(), outcome));
    assert_eq!(users, BTreeMap::from(expected));
    assert_eq!(state(&world), (vec![], vec![]));
}

#[test]
fn a_tier_never_goes_down_and_a_mismatch_is_named() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 0, 3_000, Some("gold"));
    assert_eq!(
        outcome_of(&world, USER),
        equal(&["tier_mismatch:gold>silver"])
    );
    world
        .databases
        .execute(Store::Rewards, "UPDATE rewards_users SET tier = 'bronze'");
    assert_eq!(
        outcome_of(&world, USER),
        equal(&["tier_mismatch:bronze>silver", "tier_kept:gold>bronze"])
    );
    world
        .databases
        .execute(Store::Rewards, "UPDATE rewards_users SET tier = 'platinum'");
    assert_eq!(
        outcome_of(&world, USER),
        equal(&["tier_mismatch:platinum>silver"])
    );
    assert_eq!(
        world.value(Store::Mgpass, "SELECT tier FROM user_rewards"),
        "platinum"
    );
    world
        .databases
        .execute(Store::Rewards, "UPDATE rewards_users SET tier = 'diamond'");
    assert_eq!(outcome_of(&world, USER), parked("unknown_tier", &[]));
    world.databases.execute(
        Store::Mgpass,
        "DELETE FROM user_rewards; DELETE FROM reward_tiers",
    );
    assert_eq!(
        page(&world, "", 9, false),
        Some(Err(PointsFailure::NoTiers))
    );
}

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
            "UPDATE rewards_ledger SET metadata = printf('{\"a\":\"%01600000d\"}', 1) WHERE user_id = 'b'",
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
            .filter(|(outcome, _)| *outcome == Outcome::Equal)
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
    let dry = page(&world, "", 100, true).unwrap().unwrap();
    assert_eq!(
        (dry.n_entries_added, dry.users[0].outcome),
        (2, Outcome::Equal)
    );
    assert_eq!(state(&world), (vec![], vec![]));
    let wet = page(&world, "", 100, false).unwrap().unwrap();
    assert_eq!(
        (wet.n_entries_added, wet.users[0].outcome),
        (2, Outcome::Equal)
    );
    let again = page(&world, "", 100, true).unwrap().unwrap();
    assert_eq!(again.n_entries_added, 0);
}

#[test]
fn without_a_source_or_with_other_tables_the_import_is_refused() {
    let world = World::new();
    world.has_rewards.set(false);
    assert_eq!(
        page(&world, "", 9, false),
        Some(Err(PointsFailure::NotBound))
    );
    world.has_rewards.set(true);
    world.databases.execute(
        Store::Rewards,
        "ALTER TABLE rewards_ledger RENAME COLUMN points TO amount",
    );
    assert_eq!(
        page(&world, "", 9, false),
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
    assert_eq!(page(&world, "", 9, false), Some(Err(down)));
}

#[test]
fn balances_of_both_sides_compare_by_path() {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 30, 3_000, Some("Silver"));
    entry(&world, &Entry::new("a", USER, 50));
    import(&world, 100);
    let ids = [
        UserId::parse(USER).unwrap(),
        UserId::parse("nobody").unwrap(),
    ];
    let read = |store, statement| {
        let rows = world.databases.batch(store, &[statement]).unwrap();
        balance::parse_balances(&rows[0]).unwrap()
    };
    let compared = || {
        let source = read(Store::Rewards, balance::source_balances(&ids));
        let target = read(Store::Mgpass, balance::target_balances(&ids));
        assert_eq!((source.len(), target.len()), (1, 1));
        let of = |side: &BTreeMap<String, Option<Balance>>| side[USER].clone().unwrap();
        balance::differences(&of(&source), &of(&target))
    };
    assert_eq!(compared(), [""; 0]);
    for (column, value, paths) in [
        ("total_points", "31", &["total_points", "ledger_sum"][..]),
        ("lifetime_earned", "1", &["lifetime_earned"]),
        ("tier", "'gold'", &["tier"]),
    ] {
        world.databases.execute(
            Store::Mgpass,
            &format!("UPDATE user_rewards SET {column} = {value}"),
        );
        assert_eq!(compared(), paths);
        import(&world, 100);
        if column != "tier" {
            assert_eq!(compared(), [""; 0]);
        }
    }
}

/// Nasty on purpose. Returns what each user's stored balance is.
fn populate(world: &World, random: &Random) -> BTreeMap<String, (i64, i64)> {
    let texts = [
        "",
        " ",
        "é\u{301}🦊",
        "\"'\\",
        "{\"a\":1}",
        "[]",
        "null",
        "order-1",
        "\u{2028}\u{7f}",
        "{\"migration_status\":2}",
        "{ }",
    ];
    let text = || {
        let pick = random.below(texts.len() + 2);
        texts.get(pick).map(|text| (*text).to_owned())
    };
    let n_users = 1 + random.below(14);
    let mut balances = BTreeMap::new();
    for index in 0..n_users {
        let id = format!("user{index:03}");
        // No contact at all, as every user here.
        at_mgpass(world, &id);
        let total = random.below(4_000) as i64 - 1_000;
        let lifetime = random.below(30_000) as i64;
        let tier = [
            None,
            Some("bronze"),
            Some("GOLD"),
            Some(""),
            Some("platinum"),
        ][random.below(5)];
        record(world, &id, total, lifetime, tier);
        balances.insert(id.clone(), (total, lifetime));
        for nth in 0..[0, 1, 3, 30][random.below(4)] {
            let huge = random.below(40) == 0;
            let metadata = if huge {
                Some(format!(
                    "{{\"h\":\"{}\"}}",
                    "\"é".replace('"', "\\\"").repeat(60_000)
                ))
            } else {
                text()
            };
            entry(
                world,
                &Entry {
                    id: format!("{}{nth}-{index}", text().unwrap_or_default()),
                    user: id.clone(),
                    points: random.below(2_000) as i64 - 1_000,
                    status: [
                        None,
                        Some("posted"),
                        Some("voided"),
                        Some("expired"),
                        Some("odd \"status"),
                    ][random.below(5)]
                    .map(str::to_owned),
                    reference: text(),
                    metadata,
                    platform: text(),
                },
            );
        }
    }
    balances
}

#[test]
fn sum_of_ledger_stored_total_and_reconcile_agree_and_five_imports_change_nothing() {
    for seed in 0..25 {
        let world = World::new();
        let random = Random::new(seed);
        let balances = populate(&world, &random);
        let n_entries = world
            .databases
            .rows(Store::Rewards, "SELECT id FROM rewards_ledger")
            .len() as i64;
        let (users, n_added) = import(&world, 1 + random.below(9) as i64);
        assert_eq!(users.len(), balances.len());
        assert!(
            users
                .values()
                .all(|(outcome, _)| *outcome == Outcome::Equal),
            "{seed}: {users:?}"
        );
        assert_eq!(n_added, n_entries, "{seed}");
        assert_eq!(drifted(&world), [], "{seed}");
        for row in world.mgpass(BALANCES) {
            let stored = balances[row["user_id"].as_str().unwrap()];
            assert_eq!(
                (&row["total_points"], &row["lifetime_earned"]),
                (&json!(stored.0), &json!(stored.1))
            );
        }
        // Each entry once, with its own values; what is not posted says so.
        let source = world.databases.rows(
            Store::Rewards,
            "SELECT 'pts_lm_e_' || id AS id, user_id, event_type, platform, points, rule_version, reference_id, created_at FROM rewards_ledger ORDER BY id",
        );
        let target = world.mgpass(
            "SELECT id, user_id, event_type, platform, points, rule_version, reference_id, created_at FROM points_ledger WHERE id LIKE 'pts_lm_e_%' ORDER BY id",
        );
        assert_eq!(source, target, "{seed}");
        let copied = "SELECT metadata FROM rewards_ledger WHERE coalesce(status, 'posted') = 'posted' AND json_valid(metadata) AND json_type(metadata) = 'object' ORDER BY id";
        let copies: Vec<_> = world.databases.rows(Store::Rewards, copied);
        let held = world
            .mgpass("SELECT metadata FROM points_ledger WHERE id LIKE 'pts_lm_e_%' ORDER BY id");
        assert!(copies.iter().all(|row| held.contains(row)), "{seed}");
        let reached = state(&world);
        for _ in 0..4 {
            let (again, n_added) = import(&world, 1 + random.below(9) as i64);
            assert_eq!((again, n_added), (users.clone(), 0));
            assert_eq!(state(&world), reached);
        }
    }
}

/// Every call is cut off once, before and after its effect; the state in between has
/// balances that their ledgers explain, and the next import ends as if nothing had been.
#[test]
fn a_crash_anywhere_leaves_what_the_next_import_ends_right() {
    for seed in [3, 8] {
        let clean = World::new();
        populate(&clean, &Random::new(seed));
        let before = clean.faults.n_calls();
        import(&clean, 4);
        let n_calls = clean.faults.n_calls() - before;
        assert!(n_calls > 8, "{n_calls}");
        assert_eq!(drifted(&clean), []);
        for call in 0..n_calls {
            // One seed cuts the import off, the other the database.
            let faults = match seed {
                3 => [Fault::CrashBefore, Fault::CrashAfter],
                _ => [Fault::BeforeEffect, Fault::AfterEffect],
            };
            for fault in faults {
                let world = World::new();
                populate(&world, &Random::new(seed));
                world.faults.at_call(call as u32, fault);
                let (mut after, mut is_cut) = (String::new(), false);
                while let Some(Ok(done)) = page(&world, &after, 4, false) {
                    match done.next_after {
                        Some(next) => after = next,
                        None => {
                            is_cut = true;
                            break;
                        }
                    }
                }
                assert!(!is_cut, "call {call} was not cut off");
                assert_eq!(drifted(&world), [], "{seed} {call} {fault:?}");
                import(&world, 4);
                assert_eq!(state(&world), state(&clean), "{seed} {call} {fault:?}");
            }
        }
    }
}

#[test]
fn a_page_costs_a_few_statements_whatever_its_users() {
    let cost = |n_users: usize| {
        let world = World::new();
        for index in 0..n_users {
            let id = format!("user{index:04}");
            at_mgpass(&world, &id);
            record(&world, &id, 10, 10, Some("bronze"));
            entry(&world, &Entry::new(&format!("e{index}"), &id, 10));
        }
        page(&world, "", 100, false).unwrap().unwrap();
        world.faults.n_calls()
    };
    assert_eq!(cost(2), cost(100));
    assert!(cost(100) <= 8);
}
