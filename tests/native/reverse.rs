//! The way back to Logto while mgPass is the authority: what was written at mgPass reaches
//! Logto, and nothing that somebody changed there is overwritten.

use std::rc::Rc;

use dual_write_proxy::handover::strays::{self, Source};
use dual_write_proxy::handover::{advance, debt};
use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::serve::at_mgpass::standing;
use serde_json::{Value, json};

use super::support::World;
use super::translated::{ALICE, BOB, PATH, body, hand_over, world, writes_at_logto};

mod faults;
mod found;

/// At Logto.
pub fn at_logto(world: &World, id: &str) -> Value {
    serde_json::from_str(&world.logto.json_of(id)).unwrap()
}

pub fn debts(world: &World) -> Vec<String> {
    let rows = world.proxy(
        "SELECT subject || ' ' || class || ' ' || code AS owed FROM debt ORDER BY subject, class, code",
    );
    let owed = rows.iter().map(|row| row["owed"].as_str().unwrap());
    owed.map(str::to_owned).collect()
}

pub fn open_strays(world: &World) -> Vec<String> {
    let rows = world.proxy(
        "SELECT coalesce(subject, '') || ' ' || coalesce(path, '') || ' ' || source AS stray FROM strays WHERE state = 'open' ORDER BY id",
    );
    let strays = rows.iter().map(|row| row["stray"].as_str().unwrap());
    strays.map(str::to_owned).collect()
}

pub fn edit(world: &World, id: &str, set: &str) {
    let sql = format!("UPDATE users SET {set} WHERE id = '{id}'");
    world.databases.execute(Store::Mgpass, &sql);
}

/// As the walk, the feed or an operator would.
pub fn look(world: &Rc<World>, trigger: Trigger, id: &str) {
    let user = UserId::parse(id).unwrap();
    let statements = trigger.each(&[user]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
    world.send_wake(id);
    world.deliver();
}

#[test]
fn what_is_written_at_mgpass_reaches_logto_and_discharges() {
    let world = world();
    let sent = r#"{"name":"Alice Two","username":"alice_2","primaryPhone":"233200000077","customData":{"a":[1]},"profile":{"nickname":"al"}}"#;
    assert_eq!(world.write("PATCH", PATH, sent).status, 200);
    world.deliver();
    let logto = at_logto(&world, ALICE);
    assert_eq!(logto["name"], "Alice Two");
    assert_eq!(logto["username"], "alice_2");
    assert_eq!(logto["primaryPhone"], "233200000077");
    assert_eq!(logto["customData"], json!({ "a": [1] }));
    assert_eq!(logto["profile"], json!({ "nickname": "al" }));
    // One call for all of it.
    assert_eq!(writes_at_logto(&world), ["PATCH /api/users/alice0000001"]);
    assert_eq!(world.n_open(), 0);
    assert_eq!(world.proxy("SELECT * FROM sent_back").len(), 0);
    assert_eq!((debts(&world), open_strays(&world)), (vec![], vec![]));
    // A second look finds nothing to send.
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(writes_at_logto(&world).len(), 1);
    assert_eq!(world.n_open(), 0);
}

#[test]
fn suspension_identities_and_deletion_are_carried() {
    let world = world();
    let ask = |method: &'static str, path: &str, sent: &str| {
        let answered = world.write(method, &format!("{PATH}{path}"), sent);
        assert!(answered.status < 300, "{method} {path} {}", answered.body);
        world.deliver();
    };
    ask("PATCH", "/is-suspended", r#"{"isSuspended":true}"#);
    assert_eq!(at_logto(&world, ALICE)["isSuspended"], true);
    ask("PATCH", "/is-suspended", r#"{"isSuspended":false}"#);
    assert_eq!(at_logto(&world, ALICE)["isSuspended"], false);
    ask("PUT", "/identities/google", r#"{"userId":"g-1"}"#);
    assert_eq!(
        at_logto(&world, ALICE)["identities"]["google"]["userId"],
        "g-1"
    );
    ask("DELETE", "/identities/google", "");
    assert_eq!(at_logto(&world, ALICE)["identities"], json!({}));
    ask("DELETE", "", "");
    assert!(!world.logto.users.borrow().contains_key(ALICE));
    assert_eq!(world.n_open(), 0);
    assert_eq!((debts(&world), open_strays(&world)), (vec![], vec![]));
}

#[test]
fn a_create_fills_in_the_user_that_logto_reserved() {
    let world = world();
    let sent = r#"{"username":"carol","primaryEmail":"carol@example.test","customData":{"a":1}}"#;
    let created = body(&world.write("POST", "/api/users", sent));
    let id = created["id"].as_str().unwrap().to_owned();
    world.deliver();
    let logto = at_logto(&world, &id);
    assert_eq!(logto["username"], "carol");
    assert_eq!(logto["primaryEmail"], "carol@example.test");
    assert_eq!(logto["customData"], json!({ "a": 1 }));
    assert_eq!(world.n_open(), 0);
    assert_eq!(open_strays(&world), Vec::<String>::new());
}

#[test]
fn a_change_of_mgpasss_own_pages_is_carried_and_noted_as_left() {
    let world = world();
    edit(
        &world,
        ALICE,
        "avatar = 'https://a.test/own.png', email = 'new@example.test'",
    );
    look(&world, Trigger::Feed, ALICE);
    let logto = at_logto(&world, ALICE);
    assert_eq!(logto["avatar"], "https://a.test/own.png");
    assert_eq!(logto["primaryEmail"], "new@example.test");
    let same = "SELECT json_extract(logto_base, '$.avatar') = json_extract(base, '$.avatar') AS same FROM logto_mirror WHERE user_id = 'alice0000001'";
    assert_eq!(world.value(Store::Mgpass, same), 1);
}

#[test]
fn a_stray_is_found_beside_pending_debt_and_not_overwritten() {
    let world = world();
    assert_eq!(
        world
            .write(
                "PATCH",
                PATH,
                r#"{"name":"Ours","avatar":"https://a.test/1.png"}"#
            )
            .status,
        200
    );
    world
        .logto
        .change(ALICE, |user| user.name = Some("Theirs".into()));
    world.deliver();
    let logto = at_logto(&world, ALICE);
    assert_eq!(
        (&logto["name"], &logto["avatar"]),
        (&json!("Theirs"), &json!("https://a.test/1.png"))
    );
    assert_eq!(open_strays(&world), ["alice0000001 name reverse"]);
    assert_eq!(world.events("authority.stray").len(), 1);
    // Looked at again it is the same one.
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(open_strays(&world).len(), 1);
    // Put back, it is none.
    world
        .logto
        .change(ALICE, |user| user.name = Some("Ours".into()));
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(open_strays(&world), Vec::<String>::new());
}

#[test]
fn a_person_resolves_a_stray_towards_either_side() {
    let stray = || {
        let world = world();
        edit(&world, ALICE, "name = 'Ours'");
        world
            .logto
            .change(ALICE, |user| user.name = Some("Theirs".into()));
        look(&world, Trigger::Walk, ALICE);
        assert_eq!(open_strays(&world), ["alice0000001 name walk"]);
        world
    };
    let world = stray();
    look(&world, Trigger::TowardsMgpass, ALICE);
    assert_eq!(at_logto(&world, ALICE)["name"], "Ours");
    assert_eq!(open_strays(&world), Vec::<String>::new());
    let world = stray();
    look(&world, Trigger::TowardsLogto, ALICE);
    assert_eq!(world.user(ALICE, "name"), "Theirs");
    assert_eq!(at_logto(&world, ALICE)["name"], "Theirs");
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(open_strays(&world), Vec::<String>::new());
    assert_eq!(world.n_open(), 0);
}

#[test]
fn who_is_held_is_looked_at_and_written_by_neither_side() {
    let world = world();
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects (subject, reason, since) VALUES ('alice0000001', 'waived_intent', 1)",
    );
    edit(&world, ALICE, "name = 'Ours'");
    world.logto.change(ALICE, |user| {
        user.avatar = Some("https://x.test/x.png".into())
    });
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(writes_at_logto(&world), Vec::<String>::new());
    assert_eq!(world.user(ALICE, "name"), "Ours");
    assert_eq!(open_strays(&world), ["alice0000001 avatar walk"]);
}

#[test]
fn a_suspension_reaches_logto_for_who_is_held_too_and_nothing_else_does() {
    let world = world();
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects (subject, reason, since) VALUES ('alice0000001', 'debt', 1)",
    );
    edit(&world, ALICE, "name = 'Ours'");
    for (text, is_suspended) in [("true", true), ("false", false)] {
        let sent = format!(r#"{{"isSuspended":{text}}}"#);
        let answered = world.write("PATCH", &format!("{PATH}/is-suspended"), &sent);
        assert_eq!(answered.status, 200, "{}", answered.body);
        world.deliver();
        assert_eq!(at_logto(&world, ALICE)["isSuspended"], is_suspended);
    }
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(writes_at_logto(&world).len(), 2);
    assert_ne!(at_logto(&world, ALICE)["name"], "Ours");
    assert_eq!(open_strays(&world), Vec::<String>::new());
    // Released, what is left is carried.
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM held_subjects");
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(at_logto(&world, ALICE)["name"], "Ours");
    assert_eq!(at_logto(&world, ALICE)["isSuspended"], false);
    assert_eq!(open_strays(&world), Vec::<String>::new());
}

#[test]
fn a_deletion_at_mgpass_needs_a_second_witness_and_the_brake_holds() {
    let world = world();
    edit(
        &world,
        ALICE,
        "deleted_at = 1800000000, email = NULL, phone = NULL",
    );
    look(&world, Trigger::Walk, ALICE);
    assert!(world.logto.users.borrow().contains_key(ALICE));
    assert_eq!(
        debts(&world),
        ["alice0000001 refused_by_logto deletion_unconfirmed"]
    );
    look(&world, Trigger::ConfirmedDeletion, ALICE);
    assert!(!world.logto.users.borrow().contains_key(ALICE));
    assert_eq!(debts(&world), Vec::<String>::new());
    // mgPass's audit log is a witness, too; and now the hour's share is used up.
    let others: String = (0..100)
        .map(|n| {
            format!(
                "INSERT INTO deleted_back (subject, at) VALUES ('u{n}', {});",
                world.now_ms()
            )
        })
        .collect();
    world.databases.execute(Store::Proxy, &others);
    edit(&world, BOB, "deleted_at = 1800000000, phone = NULL");
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_id, created_at) VALUES ('a1', 'user.deleted', 'admin', 'adm', 'bob000000001', 1900000000)",
    );
    look(&world, Trigger::Walk, BOB);
    assert_eq!(
        debts(&world),
        ["bob000000001 refused_by_logto deletion_brake"]
    );
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM deleted_back");
    look(&world, Trigger::Walk, BOB);
    assert!(!world.logto.users.borrow().contains_key(BOB));
    assert_eq!(debts(&world), Vec::<String>::new());
}

#[test]
fn the_mirror_comes_to_logto_as_a_client_of_its_own() {
    let world = World::with(
        1,
        &[
            ("HANDOVER_SECRET", super::support::logto::HANDOVER_SECRET),
            ("REVERSE_CLIENT_ID", "back-client"),
            ("REVERSE_CLIENT_SECRET", "back-secret"),
        ],
    );
    world.mirrored(ALICE, |user| user.name = Some("Alice".into()));
    hand_over(&world, "mgpass", 5);
    edit(&world, ALICE, "name = 'Ours'");
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(at_logto(&world, ALICE)["name"], "Ours");
    assert_eq!(world.logto.n_reverse_writes.get(), 1);
}

#[test]
fn a_password_of_mgpasss_own_pages_ends_the_one_at_logto_and_its_sessions() {
    let world = world();
    world
        .logto
        .passwords
        .borrow_mut()
        .insert(ALICE.to_owned(), "stolen".to_owned());
    edit(&world, ALICE, "password_hash = 'hash-1'");
    look(&world, Trigger::Walk, ALICE);
    let kept = world.logto.passwords.borrow()[ALICE].clone();
    assert_ne!(kept, "stolen");
    assert_eq!(world.logto.ended.borrow().len(), 1);
    assert_eq!(at_logto(&world, ALICE)["isSuspended"], false);
    assert_eq!(
        debts(&world),
        ["alice0000001 credential_at_mgpass password_ended"]
    );
    assert_eq!(open_strays(&world), Vec::<String>::new());
    // Once.
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(world.logto.passwords.borrow()[ALICE], kept);
    assert_eq!(world.logto.ended.borrow().len(), 1);
}

#[test]
fn a_password_that_was_set_before_the_hand_over_ends_nothing_at_logto() {
    let world = super::support::handover::world_with(&[("SUBJECT_KEY", "k")]);
    world.mirrored(ALICE, |user| user.name = Some("Alice".into()));
    let mut passwords = world.logto.passwords.borrow_mut();
    passwords.insert(ALICE.to_owned(), "of-before".to_owned());
    drop(passwords);
    edit(&world, ALICE, "password_hash = 'after-a-reset'");
    // Whole passes of the walk.
    for _ in 0..3 {
        world.tick();
        world.advance(60_000);
    }
    hand_over(&world, "mgpass", 5);
    look(&world, Trigger::Walk, ALICE);
    assert_eq!(world.logto.passwords.borrow()[ALICE], "of-before");
    assert_eq!(world.logto.ended.borrow().len(), 0);
    assert_eq!(debts(&world), Vec::<String>::new());
    edit(&world, ALICE, "password_hash = 'of-mgpass-since'");
    look(&world, Trigger::Walk, ALICE);
    assert_ne!(world.logto.passwords.borrow()[ALICE], "of-before");
    assert_eq!(world.logto.ended.borrow().len(), 1);
}

/// A call of one that stopped may still land; nobody waits for it but the record of it.
fn sent_without_an_answer(world: &World, ago_ms: i64) {
    let sql = format!(
        "INSERT INTO sent_back (subject, ticket, sent_at, fields) VALUES ('{ALICE}', 1, {}, '{{\"name\":null}}')",
        world.now_ms() - ago_ms
    );
    world.databases.execute(Store::Proxy, &sql);
}

#[test]
fn a_sending_without_an_answer_is_debt_and_is_looked_at_when_it_can_come_no_more() {
    let world = world();
    sent_without_an_answer(&world, 1_000);
    let summary = world
        .databases
        .batch(Store::Proxy, &debt::summary())
        .unwrap();
    let summary = debt::parse_summary(&summary).unwrap();
    assert_eq!(summary.classes[0].class, "unanswered");
    let standing = world
        .databases
        .batch(Store::Proxy, &[standing::read()])
        .unwrap();
    let (standing, _) = standing::parse(&standing).unwrap();
    assert!(standing.is_in_debt, "Logto must not stand in");
    world.advance(15 * 60_000);
    world.tick();
    let looks = "SELECT id FROM intents WHERE side = 'mgpass' AND subject = 'alice0000001'";
    assert_eq!(world.proxy(looks).len(), 1);
}

#[test]
fn nobody_comes_back_to_logto_while_a_call_of_ours_may_still_land_there() {
    let world = world();
    world.wish(Some(Stage::DualWrite));
    sent_without_an_answer(&world, 60_000);
    assert_eq!(world.nudge().waits, Some("unanswered_calls"));
    // A relay is at work: its call is soon answered, or not.
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM sent_back");
    sent_without_an_answer(&world, 1_000);
    world.nudge();
    assert_eq!(world.holder(), "returning");
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM sent_back");
    world.nudge();
    assert_eq!(world.holder(), "logto");
}

#[test]
fn without_mgpass_whoever_a_call_is_under_way_for_is_held() {
    let world = world();
    sent_without_an_answer(&world, 1_000);
    let node = world.node();
    world.finish(async move {
        advance::abandon(&node, &node.context().settings.handover)
            .await
            .unwrap();
    });
    let held = world.proxy("SELECT subject, detail FROM held_subjects");
    assert_eq!((held.len(), &held[0]["detail"]), (1, &json!("unanswered")));
}

#[test]
fn what_a_relay_finds_after_its_lease_was_taken_is_no_stray() {
    let world = world();
    let user = UserId::parse(ALICE).unwrap();
    let sql = "INSERT INTO subjects (subject, lease_holder, lease_until) VALUES ('alice0000001', 'newer', 1) \
               ON CONFLICT (subject) DO UPDATE SET lease_holder = 'newer'";
    world.databases.execute(Store::Proxy, sql);
    for (lease, expected) in [("older", 0), ("newer", 1)] {
        let fields = ["name".to_owned()];
        let found = strays::settle(&user, &fields, Source::Reverse, Some(lease));
        world.databases.batch(Store::Proxy, &found).unwrap();
        assert_eq!(open_strays(&world).len(), expected, "{lease}");
    }
    // Nor is one taken for gone.
    let none = strays::settle(&user, &[], Source::Reverse, Some("older"));
    world.databases.batch(Store::Proxy, &none).unwrap();
    assert_eq!(open_strays(&world).len(), 1);
}
