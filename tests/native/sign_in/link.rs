//! The login link: where it leads, and what it leaves in the browser.

use std::rc::Rc;

use dual_write_proxy::auth::pin;
use dual_write_proxy::inbound::request::Secret;
use dual_write_proxy::runtime::ports::Store;

use super::{LOGTO_START, MGPASS_START, PIN_SECRET, list, world, world_with};
use crate::support::client::Answered;
use crate::support::{Fault, Port, Request, World};

const LINK: &str = "/_proxy/sign-in/news";

fn link(path: &str, cookies: &str) -> Request {
    Request::new("GET", path)
        .header("sec-fetch-dest", "document")
        .header("cookie", cookies)
}

fn ready(world: &World) -> String {
    let secret = Secret(PIN_SECRET.to_owned());
    kept(&pin::ready_cookie(&secret, world.now_ms() / 1_000))
}

/// As a browser sends it back.
fn kept(line: &str) -> String {
    line.split(';').next().unwrap().to_owned()
}

#[track_caller]
fn check(world: &Rc<World>, request: Request, location: &str, reason: &str) -> Answered {
    let answer = world.ask(request);
    let drawn = world.events("sign_in.drawn");
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some(location)),
        "{drawn:?}"
    );
    assert_eq!(drawn.last().unwrap()["reason"], reason);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(world.logto.served.borrow().len(), 0, "no backend is asked");
    answer
}

#[test]
fn a_ready_browser_is_sent_to_mgpass_and_a_new_one_gets_its_pin() {
    let world = world();
    let first = check(&world, link(LINK, ""), LOGTO_START, "user_not_ready");
    let pins = first.all("set-cookie");
    assert_eq!(pins.len(), 1);
    assert!(pins[0].starts_with("__Secure-dwp_pin="), "{pins:?}");
    let cookies = format!("{}; {}", kept(pins[0]), ready(&world));
    let second = check(&world, link(LINK, &cookies), MGPASS_START, "in_share");
    assert_eq!(second.header("set-cookie"), None, "it has one");
}

#[test]
fn the_share_moves_browsers_one_way_as_it_rises() {
    let world = world();
    let pin = |world: &Rc<World>| {
        let first = world.ask(link(LINK, ""));
        kept(first.header("set-cookie").unwrap())
    };
    let browsers: Vec<_> = (0..40)
        .map(|_| format!("{}; {}", pin(&world), ready(&world)))
        .collect();
    let mut moved_before = vec![false; browsers.len()];
    for percent in ["0", "20", "60", "100"] {
        world.flag("sign_in_percent", percent);
        let moved: Vec<_> = browsers
            .iter()
            .map(|cookies| {
                let answer = world.ask(link(LINK, cookies));
                answer.header("location") == Some(MGPASS_START)
            })
            .collect();
        let mut both = moved_before.iter().zip(&moved);
        assert!(both.all(|(before, now)| now >= before), "{percent}");
        let n_moved = moved.iter().filter(|moved| **moved).count();
        let expected = browsers.len() * percent.parse::<usize>().unwrap() / 100;
        assert!(n_moved.abs_diff(expected) <= 10, "{percent}: {n_moved}");
        moved_before = moved;
    }
    assert!(moved_before.iter().all(|moved| *moved));
}

#[test]
fn nothing_of_a_request_is_an_address() {
    let world = world();
    for query in [
        "?redirect_uri=https://evil.example",
        "?start=https://evil.example&side=mgpass",
        "?https://evil.example",
    ] {
        let path = format!("{LINK}{query}");
        let answer = world.ask(link(&path, "").header("host", "evil.example"));
        assert_eq!(answer.header("location"), Some(LOGTO_START), "{query}");
    }
    for path in [
        "/_proxy/sign-in",
        "/_proxy/sign-in/",
        "/_proxy/sign-in/news/",
        "/_proxy/sign-in/News",
        "/_proxy/sign-in/%6eews",
        "/_proxy/sign-in/https:%2F%2Fevil.example",
        "/_proxy/sign-in//evil.example",
    ] {
        let answer = world.ask(link(path, ""));
        assert_eq!(
            (answer.status, answer.header("location")),
            (404, None),
            "{path}"
        );
    }
    let posted = world.ask(Request::new("POST", LINK));
    assert_eq!(posted.status, 404);
}

#[test]
fn a_forged_or_foreign_pin_is_replaced_and_moves_nobody() {
    let world = world();
    world.flag("sign_in_percent", "0.01");
    let other = Secret("another".to_owned());
    let now_s = world.now_ms() / 1_000;
    let forged = [
        "__Secure-dwp_pin=0.1800000000.00112233445566778899aabbccddeeff".to_owned(),
        kept(&pin::bucket_cookie(&other, 0, now_s)),
        "__Secure-dwp_pin=0".to_owned(),
    ];
    for pin in forged {
        let cookies = format!("{pin}; {}", ready(&world));
        let answer = world.ask(link(LINK, &cookies));
        assert_eq!(answer.header("location"), Some(LOGTO_START), "{pin}");
        assert!(answer.header("set-cookie").is_some(), "{pin}");
    }
}

#[test]
fn a_frame_draws_no_side_and_gets_no_pin() {
    let world = world();
    for dest in ["iframe", "empty", ""] {
        let request = Request::new("GET", LINK)
            .header("sec-fetch-dest", dest)
            .header("cookie", &ready(&world));
        let answer = check(&world, request, LOGTO_START, "not_top_level");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn a_session_at_logto_stays_with_logto() {
    let world = world();
    let cookies = format!("_session=abc; _session.sig=x; {}", ready(&world));
    check(&world, link(LINK, &cookies), LOGTO_START, "logto_session");
    // The signature's cookie alone is no session.
    let without = format!("_session.sig=x; _session=; {}", ready(&world));
    check(&world, link(LINK, &without), MGPASS_START, "in_share");
}

#[test]
fn brakes_and_doubts_keep_everybody_at_logto() {
    for (key, value, reason) in [
        ("stage", "off", "stage"),
        ("stage", "shadow", "stage"),
        ("kill_switch", "on", "kill_switch"),
        ("sign_in_stop", r#"{"reason":"r"}"#, "stopped"),
        ("sign_in_percent", "0", "no_share"),
        ("mgpass_pages", "open", "two_writers"),
        (
            "applications",
            &list(&["sign_out"]),
            "application_not_ready",
        ),
    ] {
        let world = world();
        world.flag(key, value);
        check(&world, link(LINK, &ready(&world)), LOGTO_START, reason);
    }
}

#[test]
fn without_a_secret_for_the_pin_nobody_moves() {
    let world = world_with(&[("PIN_SECRET", "")]);
    let answer = check(&world, link(LINK, &ready(&world)), LOGTO_START, "no_pin");
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn faulty_settings_leave_the_link_with_logto() {
    let world = world_with(&[("MGPASS_ORIGIN", "nowhere")]);
    check(&world, link(LINK, &ready(&world)), LOGTO_START, "stage");
}

#[test]
fn while_mgpass_does_not_answer_nobody_is_sent_there() {
    let world = world();
    world
        .mgpass
        .answers
        .borrow_mut()
        .insert(".well-known".to_owned(), 503);
    check(
        &world,
        link(LINK, &ready(&world)),
        LOGTO_START,
        "mgpass_down",
    );
    world.mgpass.answers.borrow_mut().clear();
    check(&world, link(LINK, &ready(&world)), MGPASS_START, "in_share");
    // Asked once in ten seconds and isolate, not for each browser.
    let node = world.node();
    let before = world.mgpass.served.borrow().len();
    for _ in 0..5 {
        world.ask_at(&node, link(LINK, &ready(&world)));
    }
    assert_eq!(world.mgpass.served.borrow().len(), before + 1);
}

#[test]
fn a_crowd_asks_mgpass_once_whether_it_answers() {
    let world = world();
    let node = world.node();
    let crowd = || {
        let asked: Vec<_> = (0..50)
            .map(|_| world.start_at(&node.next_invocation(), link(LINK, &ready(&world))))
            .collect();
        world
            .executor
            .run(i64::MAX, || asked.iter().all(|one| one.is_done()));
        let mut answers = asked.into_iter().map(|one| one.take().unwrap());
        assert!(answers.all(|answer| answer.header("location") == Some(MGPASS_START)));
    };
    for rounds in 1..=3 {
        crowd();
        assert_eq!(world.mgpass.served.borrow().len(), rounds, "of an isolate");
        world.advance(11_000);
    }
}

#[test]
fn with_the_database_down_the_declaration_counts_alone() {
    let world = world();
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    check(&world, link(LINK, &ready(&world)), MGPASS_START, "in_share");
    world.flag("mgpass_pages", "open");
    check(
        &world,
        link(LINK, &ready(&world)),
        LOGTO_START,
        "two_writers",
    );
}

#[test]
fn after_the_cutover_neither_declaration_nor_mark_is_asked_for() {
    let world = world();
    world.flag("mgpass_pages", "open");
    world
        .databases
        .execute(Store::Proxy, "UPDATE authority SET holder = 'mgpass'");
    check(&world, link(LINK, ""), MGPASS_START, "in_share");
}

#[test]
fn an_isolate_that_kv_told_nothing_knows_no_application() {
    let world = world();
    world.faults.always(Port::Flags, "", Fault::BeforeEffect);
    let answer = world.ask(link(LINK, ""));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(answer.body.contains("proxy.applications_unknown"));
}

#[test]
fn a_bad_list_keeps_the_last_good_one() {
    let world = world();
    let node = world.node();
    world.ask_at(&node, link(LINK, ""));
    world.flag("applications", "[{}]");
    world.advance(6_000);
    world.ask_at(&node, link(LINK, ""));
    world.idle();
    let answer = world.ask_at(&node, link(LINK, ""));
    assert_eq!(answer.status, 303);
    let refused = world.events("flags.refused");
    assert_eq!(refused[0]["key"], "applications");
    assert_eq!(refused[0]["code"], "unreadable");
}
