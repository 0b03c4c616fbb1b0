//! The proof of equality, over the real SQL.

use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::jobs::{import, operator, populate, prove, run, world};

#[test]
fn points_that_were_left_out_are_a_known_reason_and_hide_nothing_else() {
    let world = world();
    world.has_rewards.set(true);
    populate(&world, 3);
    import(&world);
    let at = |store, sql: &str| world.databases.execute(store, sql);
    at(
        Store::Rewards,
        "INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('user00000001', 70, 70, 'bronze')",
    );
    at(
        Store::Mgpass,
        "INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('own', 'user00000001', 'purchase', 5, 1)",
    );
    operator(&world, "POST", "/_proxy/import?kind=points");
    assert_eq!(
        run(&world, "points")["parked"],
        json!({ "earned_at_mgpass": 1 })
    );
    let report = prove(&world);
    assert_eq!(
        (&report["differing"], &report["unexplained"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        report["differences"][0]["reason"],
        "parked:earned_at_mgpass"
    );
    at(
        Store::Mgpass,
        "UPDATE users SET name = 'other' WHERE id = 'user00000001'",
    );
    assert_eq!(prove(&world)["unexplained"], 1);
}

#[test]
fn a_balance_that_differs_in_two_ways_is_one() {
    let world = world();
    world.has_rewards.set(true);
    populate(&world, 3);
    import(&world);
    let at = |store, sql: &str| world.databases.execute(store, sql);
    at(
        Store::Rewards,
        "INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('user00000001', 70, 70, 'bronze')",
    );
    operator(&world, "POST", "/_proxy/import?kind=points");
    run(&world, "points");
    assert_eq!(
        prove(&world)["balances"],
        json!({ "compared": 1, "differing": 0 })
    );
    // No longer that of the source, and no longer the sum of its ledger.
    at(
        Store::Mgpass,
        "UPDATE user_rewards SET total_points = 77 WHERE user_id = 'user00000001'",
    );
    let report = prove(&world);
    assert_eq!(
        report["differences"].as_array().unwrap().len(),
        2,
        "{report}"
    );
    assert_eq!(
        report["balances"],
        json!({ "compared": 1, "differing": 1 }),
        "{report}"
    );
}

#[test]
fn a_proof_finds_every_changed_field_and_nothing_else() {
    let world = world();
    populate(&world, 40);
    import(&world);
    assert_eq!(prove(&world)["whole_records_compared"], 40);
    let report = prove(&world);
    assert_eq!(
        (&report["is_equal"], &report["whole_records_compared"]),
        (&json!(true), &json!(0))
    );
    let id = "user00000030";
    let changes = [
        (
            "email",
            "UPDATE users SET email = 'other@example.test' WHERE id = ?",
        ),
        (
            "email_verified",
            "UPDATE users SET email_verified = 0 WHERE id = ?",
        ),
        (
            "phone",
            "UPDATE users SET phone = '+4912345678' WHERE id = ?",
        ),
        (
            "phone_verified",
            "UPDATE users SET phone_verified = 0 WHERE id = ?",
        ),
        ("name", "UPDATE users SET name = NULL WHERE id = ?"),
        ("avatar", "UPDATE users SET avatar = 'x' WHERE id = ?"),
        (
            "metadata",
            "UPDATE users SET metadata = '{\"a\":1}' WHERE id = ?",
        ),
        (
            "is_suspended",
            "UPDATE users SET is_suspended = 1 - is_suspended WHERE id = ?",
        ),
        (
            "created_at",
            "UPDATE users SET created_at = created_at + 1 WHERE id = ?",
        ),
        (
            "last_sign_in_at",
            "UPDATE users SET last_sign_in_at = last_sign_in_at - 1 WHERE id = ?",
        ),
        ("deleted_at", "UPDATE users SET deleted_at = 5 WHERE id = ?"),
        (
            "identities.google",
            "DELETE FROM social_identities WHERE user_id = ?",
        ),
        (
            "identities.google",
            "UPDATE social_identities SET profile_data = '{}' WHERE user_id = ?",
        ),
        (
            "identities.apple",
            "INSERT INTO social_identities (id, user_id, provider, provider_user_id, created_at) VALUES ('idn_lm_x', ?, 'apple', 'x', 1)",
        ),
        (
            "residue.username",
            "UPDATE logto_mirror SET residue = json_replace(residue, '$.username', 'x') WHERE user_id = ?",
        ),
        (
            "residue.profile",
            "UPDATE logto_mirror SET residue = json_remove(residue, '$.profile') WHERE user_id = ?",
        ),
        (
            "mirror",
            "UPDATE logto_mirror SET tombstone = 1 WHERE user_id = ?",
        ),
    ];
    for (path, sql) in changes {
        world.databases.begin();
        world
            .databases
            .execute(Store::Mgpass, &sql.replace('?', &format!("'{id}'")));
        let report = prove(&world);
        let found = report["differences"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{path}: {report}");
        assert_eq!(
            (&found[0]["path"], &found[0]["users"]),
            (&json!(path), &json!(1))
        );
        assert_eq!(
            (&report["unexplained"], &report["is_equal"]),
            (&json!(1), &json!(false))
        );
        world.databases.roll_back();
    }
}

#[test]
fn a_proof_finds_what_changed_at_logto_behind_the_mirror() {
    type Change = fn(&mut super::support::logto::User);
    let world = world();
    populate(&world, 40);
    import(&world);
    prove(&world);
    let changes: [(&str, Change); 11] = [
        ("email", |user| user.email = Some("n@example.test".into())),
        ("phone", |user| user.phone = Some("4912345678".into())),
        ("name", |user| user.name = Some("N".into())),
        ("avatar", |user| user.avatar = Some("n".into())),
        ("metadata", |user| user.custom_data = r#"{"n":1}"#.into()),
        ("is_suspended", |user| {
            user.is_suspended = !user.is_suspended
        }),
        ("identities.google", |user| user.identities.clear()),
        ("last_sign_in_at", |user| {
            user.last_sign_in_at = Some(1_900_000_000_000)
        }),
        ("residue.profile", |user| {
            user.profile = r#"{"nickname":"n"}"#.into()
        }),
        ("residue.applicationId", |user| {
            user.application_id = Some("app".into())
        }),
        ("residue.hasPassword", |user| {
            user.has_password = !user.has_password
        }),
    ];
    for (path, change) in changes {
        let before = world.logto.users.borrow()["user00000030"].clone();
        world.logto.change("user00000030", change);
        let report = prove(&world);
        let found = report["differences"].as_array().unwrap();
        assert!(
            found.iter().any(|found| found["path"] == path),
            "{path}: {report}"
        );
        assert_eq!(report["unexplained"], 1);
        world.logto.put(before);
    }
    assert_eq!(prove(&world)["is_equal"], true);
}

#[test]
fn a_proof_tells_who_is_gone_who_is_missing_and_repairs_on_demand() {
    let world = world();
    populate(&world, 40);
    import(&world);
    world.logto.users.borrow_mut().remove("user00000007");
    world.put_user("missing00001", |_| {});
    world
        .logto
        .change("user00000009", |user| user.name = Some("Behind".into()));
    let report = prove(&world);
    assert_eq!(report["missing_at_mgpass"], 1, "{report}");
    assert_eq!(
        (&report["gone_at_logto"], &report["unexplained"]),
        (&json!(1), &json!(3))
    );
    operator(&world, "POST", "/_proxy/equality?repair=true");
    run(&world, "equality");
    world.deliver();
    let report = prove(&world);
    // A deletion needs a second witness.
    assert_eq!(
        report["differences"][0]["reason"], "parked:deletion_unconfirmed",
        "{report}"
    );
    assert_eq!(
        (&report["explained"], &report["unexplained"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(world.user("user00000009", "name"), "Behind");
    let (_, listed) = operator(&world, "GET", "/_proxy/equality/differences");
    assert_eq!(listed["differences"][0]["id"], "user00000007");
}

#[test]
fn of_ten_thousand_one_walk_finds_every_injected_change() {
    let world = world();
    populate(&world, 10_000);
    import(&world);
    assert_eq!(prove(&world)["is_equal"], true);
    let columns = [
        ("email", "'other@example.test'"),
        ("email_verified", "0"),
        ("phone", "'+4912345678'"),
        ("phone_verified", "0"),
        ("name", "'Other'"),
        ("avatar", "'other'"),
        ("metadata", "'{\"other\":1}'"),
        ("is_suspended", "1 - is_suspended"),
        ("created_at", "created_at + 1"),
        ("last_sign_in_at", "last_sign_in_at - 1"),
        ("deleted_at", "5"),
    ];
    // Users who have every field: 30 and its like.
    let user = |index: usize| format!("user{:08}", 30 + 420 * index);
    for (index, (column, value)) in columns.iter().enumerate() {
        let sql = format!(
            "UPDATE users SET {column} = {value} WHERE id = '{}'",
            user(index)
        );
        world.databases.execute(Store::Mgpass, &sql);
    }
    world
        .logto
        .change(&user(20), |user| user.name = Some("Behind".into()));
    world.logto.change(&user(21), |user| {
        user.profile = r#"{"nickname":"n"}"#.into()
    });
    let report = prove(&world);
    assert_eq!(
        (&report["differing"], &report["equal"]),
        (&json!(13), &json!(9_987)),
        "{report}"
    );
    let found = report["differences"].as_array().unwrap();
    let paths: Vec<_> = found
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    for path in columns
        .iter()
        .map(|(column, _)| *column)
        .chain(["residue.profile"])
    {
        assert!(paths.contains(&path), "{path}: {report}");
    }
    assert_eq!(report["whole_records_compared"], 13);
}
