//! Every mutating route of the stand-in (its list is held to its router by a contract
//! test), and the consent page, with headers as loose as Logto takes them, before a Logto
//! that acknowledges whatever it is sent: acknowledged is recorded or a gap, by the time
//! the client hears of it.

use dual_write_proxy::inbound::classify::why_unrecorded;
use dual_write_proxy::inbound::request::Method;

use super::*;

/// Configuration of the tenant: of no family that holds a user.
const OF_NO_USER: &str = "/api/hooks";

/// `METHOD /path`, with parameters as the stand-in calls them.
fn routes() -> Vec<(&'static str, String)> {
    let text = include_str!("../../harness/backends/logto/routes.json");
    let listed: Vec<String> = serde_json::from_str(text).unwrap();
    let mut routes: Vec<_> = listed
        .iter()
        .map(|line| {
            let (method, path) = line.split_once(' ').unwrap();
            (spelled(method), path.to_owned())
        })
        .filter(|(_, path)| !path.starts_with(OF_NO_USER))
        .collect();
    assert!(routes.len() >= 50, "{}", routes.len());
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        routes.push((method, "/consent".to_owned()));
        routes.push((method, "/consent/x".to_owned()));
    }
    routes
}

fn spelled(method: &str) -> &'static str {
    match method {
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => panic!("{method}"),
    }
}

/// The path with ids in it; and as the router takes it, too.
fn spellings(path: &str) -> Vec<String> {
    let fill = |literal: &dyn Fn(&str) -> String| {
        let parts = path.split('/').map(|part| match part {
            ":userId" => ALICE.to_owned(),
            part if part.starts_with(':') => "x1".to_owned(),
            // Mounts have a case.
            "api" | "consent" => part.to_owned(),
            part => literal(part),
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let plain = fill(&str::to_owned);
    let loud = fill(&str::to_uppercase);
    vec![plain, format!("{loud}/")]
}

/// Headers, and whether Logto could tell from them whose request it is.
fn headers(world: &World) -> Vec<Vec<(&'static str, String)>> {
    let admin = world.admin_token();
    let own = format!("opaque-{ALICE}");
    let mut all: Vec<Vec<(&'static str, String)>> = vec![vec![]];
    for token in [&admin, &own, &"made-up".to_owned()] {
        for separator in [" ", ":", "\t"] {
            all.push(vec![("authorization", format!("Bearer{separator}{token}"))]);
        }
    }
    all.push(vec![("authorization", format!("bearer {admin}"))]);
    for cookie in [
        "_interaction=uid1",
        "_interaction=\"uid1\"",
        r#"_interaction={"spa":"other","_legacy":"uid1"}"#,
        "_interaction=made-up",
        "_interaction={broken",
        "_session=x",
    ] {
        all.push(vec![("cookie", cookie.to_owned())]);
        all.push(vec![
            ("cookie", cookie.to_owned()),
            ("logto-app-id", String::new()),
        ]);
    }
    all
}

/// What Logto says when it is asked whose it is.
const NAMINGS: [Option<Glitch>; 4] = [
    None,
    Some(Glitch::Refuse(403)),
    Some(Glitch::Refuse(404)),
    Some(Glitch::Refuse(500)),
];

#[derive(Default)]
struct Outcomes {
    n_named: u32,
    n_nameless: u32,
    n_gaps: u32,
    n_late: u32,
}

#[test]
fn acknowledged_means_recorded_or_a_gap_on_every_mutating_route() {
    let world = world();
    let headers = headers(&world);
    let mut outcomes = Outcomes::default();
    for (method, route) in routes() {
        for path in spellings(&route) {
            if why_unrecorded(Method::parse(method), &path).is_some() {
                continue;
            }
            for headers in &headers {
                for status in [200, 201, 302] {
                    for naming in NAMINGS {
                        let request = headers.iter().fold(
                            Request::new(method, &path).json("{}"),
                            |request, (name, value)| request.header(name, value),
                        );
                        let case = format!("{method} {path} {headers:?} {status} {naming:?}");
                        check(&world, request, status, naming, &case, &mut outcomes);
                    }
                }
            }
        }
    }
    let Outcomes {
        n_named,
        n_nameless,
        n_gaps,
        n_late,
    } = outcomes;
    // Each way to be known was gone.
    assert!(
        n_named > 1_000 && n_nameless > 100 && n_gaps > 1_000 && n_late > 1_000,
        "{n_named} {n_nameless} {n_gaps} {n_late}"
    );
}

fn check(
    world: &Rc<World>,
    request: Request,
    status: u16,
    naming: Option<Glitch>,
    case: &str,
    outcomes: &mut Outcomes,
) {
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM interactions");
    world.events.borrow_mut().clear();
    world.drop_queue();
    sign_in(world, "uid1", ALICE);
    let sessions = &world.logto.sessions;
    sessions.borrow_mut().insert("uid1".into(), ALICE.into());
    let mut rules = vec![(Port::Forward, "", u32::MAX, Glitch::Refuse(status))];
    rules.extend(naming.map(|glitch| (Port::Logto, "GET ", u32::MAX, glitch)));
    answers(world, &rules);
    let epoch = world.counter("epoch");
    let is_page = request.path().starts_with("/consent");
    let is_creation = ["/api/users", "/api/experience/identification"]
        .iter()
        .any(|path| {
            request
                .path()
                .trim_end_matches('/')
                .eq_ignore_ascii_case(path)
        });

    assert_eq!(world.ask(request).status, status, "{case}");

    let rows = world.proxy("SELECT subject, settled FROM intents");
    let is_of_alice = |row: &serde_json::Map<String, Value>| row["subject"] == ALICE;
    let is_named = rows.iter().any(is_of_alice);
    // The listing of the newest users finds whom these made.
    let is_nameless = is_creation && !rows.is_empty();
    let is_gap = world.counter("epoch") > epoch;
    // No consent page answers so without consenting to nothing.
    let is_idle = is_page && status < 300;
    assert!(
        is_named || is_nameless || is_gap || is_idle,
        "{case}: nothing knows of it"
    );
    assert!(
        rows.iter()
            .all(|row| is_of_alice(row) || row["subject"].is_null()),
        "{case}: {rows:?}"
    );
    let is_late = !world.events("outbox.late").is_empty();
    outcomes.n_named += u32::from(is_named);
    outcomes.n_nameless += u32::from(is_nameless);
    outcomes.n_gaps += u32::from(is_gap);
    outcomes.n_late += u32::from(is_late);
    world.idle();
}
