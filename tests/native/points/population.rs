//! Whole populations, nasty on purpose: totals, repetition, crashes, cost.

use super::*;

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
                .all(|(outcome, _)| *outcome == Carried::Equal),
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

/// What a dry run says of each user is what the import then does, whatever has changed at
/// the source, and wherever a page ends.
#[test]
fn a_dry_run_foresees_what_each_import_does() {
    for seed in 0..6 {
        let world = World::new();
        let random = Random::new(seed);
        populate(&world, &random);
        for change in [
            "SELECT 1",
            "SELECT 1",
            "UPDATE rewards_users SET total_points = total_points + 1 WHERE rowid % 3 = 0",
            "UPDATE rewards_ledger SET status = 'expired' WHERE rowid % 5 = 0",
            "DELETE FROM rewards_ledger WHERE rowid % 7 = 0",
            "UPDATE rewards_users SET tier = 'gold' WHERE rowid % 2 = 0",
            "UPDATE rewards_users SET tier = 'bronze', lifetime_earned = lifetime_earned + 1",
        ] {
            world.databases.execute(Store::Rewards, change);
            let limit = 1 + random.below(9) as i64;
            let before = state(&world);
            let (foreseen, n_foreseen) = pages(&world, limit, true);
            assert_eq!(state(&world), before, "{seed} {change}");
            let (done, n_done) = import(&world, limit);
            let after = state(&world);
            assert_eq!(n_foreseen, n_done, "{seed} {change}");
            for (user, (outcome, notes)) in &foreseen {
                let of = |rows: &[Row]| -> Vec<Row> {
                    let rows = rows.iter().filter(|row| row["user_id"] == user.as_str());
                    rows.cloned().collect()
                };
                let was = (of(&before.0), of(&before.1));
                let is = (of(&after.0), of(&after.1));
                let expected = match (was == is, was.0.is_empty()) {
                    (true, _) => Carried::Equal,
                    (false, true) => Carried::Create,
                    (false, false) => Carried::Update,
                };
                assert_eq!(*outcome, expected, "{seed} {change} {user}");
                let sorted = |notes: &[String]| {
                    let mut notes = notes.to_vec();
                    notes.sort();
                    notes
                };
                assert_eq!(
                    sorted(notes),
                    sorted(&done[user].1),
                    "{seed} {change} {user}"
                );
            }
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
                let (mut from, mut is_cut) = (Place::default(), false);
                while let Some(Ok(done)) = page(&world, &from, 4, false) {
                    match done.next {
                        Some(next) => from = next,
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
        page(&world, &Place::default(), 100, false)
            .unwrap()
            .unwrap();
        world.faults.n_calls()
    };
    assert_eq!(cost(2), cost(100));
    assert!(cost(100) <= 8);
}
