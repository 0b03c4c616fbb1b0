//! Points from the rewards database to mgPass, on real SQL: what is carried, who is
//! parked, and that importing again, or after a crash, ends the same.

use std::collections::BTreeMap;
use std::rc::Rc;

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::population::points::balance::{self, Balance};
use dual_write_proxy::population::points::place::Place;
use dual_write_proxy::population::points::{self, Carried, PointsFailure, PointsPage};
use dual_write_proxy::runtime::ports::{DatabaseFailure, Row, Statement, Store, Value};
use serde_json::json;

use super::support::executor::Random;
use super::support::{Fault, Port, World};

mod population;
mod races;
mod refusals;

const USER: &str = "alice0000001";

fn put(world: &World, store: Store, sql: &'static str, values: Vec<Value>) {
    let done = world.databases.batch(store, &[Statement::new(sql, values)]);
    assert_eq!(done.map(drop), Ok(()), "{sql}");
}

fn at_mgpass(world: &World, id: &str) {
    let sql = "INSERT INTO users (id, created_at) VALUES (?1, 1)";
    put(world, Store::Mgpass, sql, vec![id.into()]);
    let sql = "INSERT INTO logto_mirror (user_id, ticket, epoch, digest, applied_at) VALUES (?1, 1, 1, 'd', 0)";
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
    from: &Place,
    limit: i64,
    dry_run: bool,
) -> Option<Result<PointsPage, PointsFailure>> {
    let (node, from) = (world.node(), from.clone());
    world
        .finish(async move { points::page(&node, &node.context(), &from, limit, dry_run, 1).await })
}

/// Page after page to the end.
fn import(world: &Rc<World>, limit: i64) -> (BTreeMap<String, (Carried, Vec<String>)>, i64) {
    pages(world, limit, false)
}

fn pages(
    world: &Rc<World>,
    limit: i64,
    dry_run: bool,
) -> (BTreeMap<String, (Carried, Vec<String>)>, i64) {
    let mut users = BTreeMap::new();
    let (mut from, mut n_added) = (Place::default(), 0);
    loop {
        let page = page(world, &from, limit, dry_run).unwrap().unwrap();
        n_added += page.n_entries_added;
        for user in page.users {
            let seen = users.insert(user.user, (user.outcome, user.notes));
            assert_eq!(seen, None, "a user appears in one page only");
        }
        match page.next {
            Some(next) => from = next,
            None => return (users, n_added),
        }
    }
}

fn outcome_of(world: &Rc<World>, id: &str) -> (Carried, Vec<String>) {
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

fn equal(notes: &[&str]) -> (Carried, Vec<String>) {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    (Carried::Equal, notes)
}

fn parked(reason: &'static str, notes: &[&str]) -> (Carried, Vec<String>) {
    (Carried::Parked(reason), equal(notes).1)
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
    let page = page(&world, &Place::default(), 100, false)
        .unwrap()
        .unwrap();
    assert_eq!((page.n_source, page.n_entries_added), (Some(1), 1));
    assert_eq!(page.next, None);
    assert_eq!(
        (page.users[0].outcome, &page.users[0].notes),
        (Carried::Equal, &vec![])
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
    assert_eq!(outcome_of(&world, USER).0, Carried::Equal);
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
    assert_eq!(outcome_of(&world, USER).0, Carried::Equal);
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
         UPDATE logto_mirror SET tombstone = 1 WHERE user_id = 'tombstone'",
    );
    for id in [nobody, deleted, tombstone, odd] {
        record(&world, id, 10, 10, Some("bronze"));
    }
    for (index, id) in [nobody, unrecorded, deleted, odd, ""].iter().enumerate() {
        entry(&world, &Entry::new(&index.to_string(), id, 10));
    }
    let first = page(&world, &Place::default(), 2, false).unwrap().unwrap();
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
        page(&world, &Place::default(), 9, false),
        Some(Err(PointsFailure::NoTiers))
    );
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
