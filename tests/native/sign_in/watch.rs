//! The stop of the share by a second writer, and the ledger of what Logto is needed for.

use std::rc::Rc;

use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::Value;

use super::{ADMIN, LOGTO_CLIENT, MGPASS_CLIENT, PIN_SECRET, form, let_move, world};
use crate::support::handover;
use crate::support::{Fault, Port, Request, World};

fn cron(world: &Rc<World>) {
    let node = world.node();
    world.finish(async move { node.cron().await });
}

fn enter(world: &World, id: &str, event: &str, actor: &str) {
    world.databases.execute(
        Store::Mgpass,
        &format!(
            "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
             VALUES ('{id}', '{event}', 'user', {actor}, 'user', 'u9', unixepoch())"
        ),
    );
}

fn stop(world: &World) -> Option<String> {
    world.flags.borrow().get("sign_in_stop").cloned()
}

#[test]
fn one_foreign_creation_or_update_stops_the_share() {
    for (event, actor, reason) in [
        ("user.created", "'usr_1'", Some("foreign_user_created")),
        ("user.register", "NULL", Some("foreign_user_created")),
        ("user.updated", "'usr_1'", Some("foreign_user_updated")),
        ("user.updated", "'logto_mirror'", None),
        ("user.login.success", "'usr_1'", None),
    ] {
        let world = world();
        enter(&world, "before", "user.created", "'usr_0'");
        cron(&world);
        assert_eq!(stop(&world), None, "it was there before");
        enter(&world, "now", event, actor);
        cron(&world);
        let expected = reason.map(|reason| format!(r#"{{"reason":"{reason}"}}"#));
        assert_eq!(stop(&world), expected, "{event} {actor}");
    }
}

#[test]
fn what_stopped_once_is_not_judged_again_and_what_comes_later_is() {
    let world = world();
    cron(&world);
    enter(&world, "a1", "user.created", "'usr_1'");
    cron(&world);
    assert!(stop(&world).is_some());
    // While it is stopped nothing more is judged.
    enter(&world, "a2", "user.created", "'usr_1'");
    cron(&world);
    world.flags.borrow_mut().remove("sign_in_stop");
    cron(&world);
    assert_eq!(stop(&world), None);
    enter(&world, "a3", "user.updated", "'usr_1'");
    cron(&world);
    assert!(stop(&world).is_some());
    assert_eq!(world.events("sign_in.stopped").len(), 2);
}

#[test]
fn what_was_entered_while_mgpass_was_the_authority_stops_nothing_after_the_way_back() {
    let world = handover::world_with(&[("PIN_SECRET", PIN_SECRET)]);
    let_move(&world);
    cron(&world);
    world.handed_over();
    enter(&world, "a1", "user.created", "'usr_1'");
    world.advance(2_000);
    world.wish(Some(Stage::DualWrite));
    world.operate();
    assert_eq!(world.holder(), "logto");
    cron(&world);
    assert_eq!(stop(&world), None);
    world.advance(2_000);
    enter(&world, "a2", "user.created", "'usr_1'");
    cron(&world);
    assert!(stop(&world).is_some());
}

#[test]
fn a_stop_that_cannot_be_written_is_tried_again() {
    let world = world();
    cron(&world);
    enter(&world, "a1", "user.created", "'usr_1'");
    world
        .faults
        .once(Port::Flags, "put", 0, Fault::BeforeEffect);
    cron(&world);
    assert_eq!(stop(&world), None);
    assert_eq!(world.events("sign_in.stopped")[0]["outcome"], "not_written");
    cron(&world);
    assert!(stop(&world).is_some());
}

#[test]
fn nothing_is_watched_while_nothing_moves() {
    for (key, value) in [
        ("sign_in_percent", "0"),
        ("stage", "shadow"),
        ("applications", "[]"),
    ] {
        let world = world();
        cron(&world);
        world.flag(key, value);
        enter(&world, "a1", "user.created", "'usr_1'");
        cron(&world);
        assert_eq!(stop(&world), None, "{key}");
    }
}

fn ledger(world: &Rc<World>) -> Vec<(String, String, i64)> {
    let sql = "SELECT application, kind, n FROM dependencies ORDER BY application, kind";
    let rows = world.proxy(sql);
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (
                text("application"),
                text("kind"),
                row["n"].as_i64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_logto_granted_is_written_down_behind_the_requests() {
    let world = world();
    let node = world.node();
    let token = |client_id: &str, more: &str| {
        form(
            "/oidc/token",
            &format!("client_id={client_id}&refresh_token=good&{more}"),
        )
    };
    let refresh = "grant_type=refresh_token";
    for _ in 0..3 {
        world.ask_at(&node, token(LOGTO_CLIENT, refresh));
    }
    world.ask_at(
        &node,
        token(LOGTO_CLIENT, &format!("{refresh}&organization_id=o1")),
    );
    world.ask_at(
        &node,
        token(
            "m2mclient000000000000",
            "grant_type=client_credentials&resource=https://default.logto.app/api",
        ),
    );
    // mgPass's, and what Logto refused, is no need of Logto's.
    world.ask_at(&node, token(MGPASS_CLIENT, refresh));
    world.ask_at(
        &node,
        form(
            "/oidc/token",
            "client_id=nobody000000000000000&refresh_token=bad",
        ),
    );
    assert_eq!(ledger(&world), [], "nobody waited for it");
    world.idle();
    let entry = |client: &str, kind: &str, n| (client.to_owned(), kind.to_owned(), n);
    assert_eq!(
        ledger(&world),
        [
            entry("m2mclient000000000000", "management_api", 1),
            entry(LOGTO_CLIENT, "organization_token", 1),
            entry(LOGTO_CLIENT, "refresh_token", 3),
        ]
    );
    let shown = world.ask(Request::new("GET", "/_proxy/dependencies").token(ADMIN));
    let shown: Value = serde_json::from_str(&shown.body).unwrap();
    let of_news = shown["dependencies"].as_array().unwrap();
    assert!(
        of_news
            .iter()
            .any(|row| row["application"] == "news" && row["client_id"] == LOGTO_CLIENT)
    );
}

#[test]
fn the_ledger_outlives_an_outage_of_the_database() {
    let world = world();
    let node = world.node();
    let token = || {
        form(
            "/oidc/token",
            &format!("grant_type=refresh_token&client_id={LOGTO_CLIENT}&refresh_token=good"),
        )
    };
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    world.ask_at(&node, token());
    world.idle();
    world.faults.clear();
    world.ask_at(&node, token());
    world.idle();
    let n: i64 = ledger(&world).iter().map(|(.., n)| n).sum();
    assert_eq!(n, 2);
}

#[test]
fn applications_are_shown_to_operators_alone() {
    let world = world();
    let shown = world.ask(Request::new("GET", "/_proxy/applications").token(ADMIN));
    let shown: Value = serde_json::from_str(&shown.body).unwrap();
    assert_eq!(shown["applications"][0]["name"], "news");
    assert_eq!(shown["sign_in_bps"], 10_000);
    assert_eq!(shown["pin_secret"], true);
    assert_eq!(
        world
            .ask(Request::new("GET", "/_proxy/applications"))
            .status,
        401
    );
}
