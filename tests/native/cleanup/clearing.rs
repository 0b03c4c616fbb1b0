//! Cleaning up by the operator's routes: the history first, then step by step, whatever
//! breaks in between, until nothing is left.

use super::*;

pub fn operator(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let path = format!("/_proxy/cleanup{path}");
    let answer = world.ask(Request::new(method, &path).token("admin"));
    let body = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
    (answer.status, body)
}

#[track_caller]
fn post(world: &Rc<World>, path: &str) -> Value {
    let (status, body) = operator(world, "POST", path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[track_caller]
fn get(world: &Rc<World>, path: &str) -> Value {
    let (status, body) = operator(world, "GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[track_caller]
fn is_blocked(world: &Rc<World>, path: &str, code: &str) {
    let (status, body) = operator(world, "POST", path);
    assert_eq!(
        (status, &body["code"]),
        (409, &json!(format!("proxy.{code}")))
    );
    assert!(!body["message"].as_str().unwrap().is_empty());
}

/// Every page of every part, as `dwp` reads it.
fn history(world: &Rc<World>) -> Vec<Value> {
    let parts = get(world, "")["parts"].clone();
    let mut lines = Vec::new();
    for part in parts.as_array().unwrap() {
        let part = part.as_str().unwrap();
        let mut after = String::new();
        loop {
            let page = get(world, &format!("/history?part={part}{after}"));
            for row in page["rows"].as_array().unwrap() {
                lines.push(json!({ "part": part, "row": row }));
            }
            match page["next"].as_str() {
                Some(next) => {
                    let next = next
                        .replace('[', "%5B")
                        .replace(']', "%5D")
                        .replace('"', "%22");
                    after = format!("&after={next}");
                }
                None => break,
            }
        }
    }
    lines
}

/// Alone since long, nobody came, the last token has expired.
fn over() -> Rc<World> {
    let world = world();
    let now_s = world.now_ms() / 1_000;
    *world.imported_keys.borrow_mut() = Some(imported(&LOGTO_KEY, Some(now_s - 9_000), now_s - 10));
    world.databases.execute(
        Store::Proxy,
        &format!(
            "UPDATE authority SET since = {}",
            world.now_ms() - 90 * 3_600_000
        ),
    );
    world
}

fn clear(world: &Rc<World>, query: &str) -> Value {
    for _ in 0..50 {
        let cleared = post(world, &format!("/step{query}"));
        if cleared["step"].is_null() {
            return cleared;
        }
    }
    panic!("it came to no end");
}

fn tables(world: &World, store: Store) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE name LIKE 'logto%' ORDER BY name";
    let rows = world.databases.rows(store, sql);
    rows.iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_is_cleared_before_each_thing_was_done() {
    let fresh = world();
    is_blocked(&fresh, "/step", "route_in_use");
    let view = get(&fresh, "");
    assert_eq!(view["leaving"]["code"], "tokens_live");
    let world = over();
    assert_eq!(get(&world, "")["leaving"]["code"], "now");
    let status = world.ask(Request::new("GET", "/_proxy/status").token("admin"));
    let status: Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(status["leaving"]["code"], "now");
    let problems = status["problems"].as_array().unwrap();
    assert!(problems.iter().any(|one| one["code"] == "route_may_go"));
    assert_eq!(status["authority"]["stage"], "cleanup");
    is_blocked(&world, "/step", "residue_left");
    // Alice's and Bob's, exported up to now.
    let page = get(&world, "/residue");
    assert_eq!(page["rows"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], Value::Null);
    let until = &page["sequence"];
    post(
        &world,
        &format!("/note?name=residue&until={until}&how=exported&n=2&actor=anna"),
    );
    is_blocked(&world, "/step", "not_archived");
    // Who writes on is asked for again, and the proxy is in use.
    let written = world.write("PATCH", PATH, r#"{"username":"alice_3"}"#);
    assert_eq!(written.status, 410, "its token has ended: {}", written.body);
    world.databases.execute(
        Store::Mgpass,
        "UPDATE logto_mirror SET ticket = ticket + 100 WHERE user_id = 'alice0000001'",
    );
    is_blocked(&world, "/step", "residue_left");
    let again = get(&world, &format!("/residue?since={until}"));
    assert_eq!(again["rows"][0]["id"], ALICE);
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO logto_mirror_effects VALUES ('alice0000001', 'revoke_all', 1, 1)",
    );
    post(
        &world,
        "/note?name=residue&until=9999&how=exported&n=2&actor=anna",
    );
    is_blocked(&world, "/step", "effects_owed");
    assert_eq!(world.proxy("SELECT * FROM cleanup_steps").len(), 0);
    for path in ["/step?abandon=true", "/residue/move"] {
        hand_over(&world, "mgpass", 7);
        is_blocked(&world, path, "not_in_cleanup");
    }
    nothing_reached_logto(&world);
}

#[test]
fn somebody_who_still_uses_the_proxy_keeps_the_route_or_an_operator_says_that_it_is_gone() {
    let world = over();
    let own = MGPASS_KEY.mgpass_token(world.now_ms());
    let tokens = &world.mgpass.client_tokens;
    tokens.borrow_mut().insert(own.clone(), None);
    assert_eq!(world.ask(Request::new("GET", PATH).token(&own)).status, 200);
    world.advance(10_000);
    world.tick();
    assert_eq!(get(&world, "")["leaving"]["code"], "in_use");
    is_blocked(&world, "/step", "route_in_use");
    let now_ms = world.now_ms();
    post(
        &world,
        &format!("/note?name=route&until={now_ms}&actor=anna"),
    );
    is_blocked(&world, "/step", "residue_left");
}

#[test]
fn the_residue_moves_into_metadata_where_it_has_room() {
    let world = over();
    world.databases.execute(
        Store::Mgpass,
        "UPDATE users SET metadata = json_object('x', hex(zeroblob(960000))) WHERE id = 'bob000000001'",
    );
    let moved = post(&world, "/residue/move");
    assert_eq!(
        (&moved["moved"], &moved["left"]),
        (&json!(1), &json!(["bob000000001"]))
    );
    let metadata = world.user(ALICE, "metadata");
    let metadata: Value = serde_json::from_str(metadata.as_str().unwrap()).unwrap();
    assert_eq!(metadata["plan"], "free");
    assert_eq!(metadata["_logto"]["username"], "alice");
    // Twice is once.
    assert_eq!(
        post(&world, "/residue/move")["left"],
        json!(["bob000000001"])
    );
}

#[test]
fn the_history_is_of_ids_and_codes_and_everything_is_in_it_once() {
    let world = over();
    let many: Vec<String> = (0..1_203)
        .map(|n| format!("('u{n:04}', 'parked', 1, NULL)"))
        .collect();
    world.databases.execute(
        Store::Proxy,
        &format!("INSERT INTO held_subjects VALUES {}", many.join(",")),
    );
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO strays (subject, path, found_at, source) VALUES ('alice0000001', 'name', 1, 'walk');
         INSERT INTO waivers VALUES (1, 'days', '', 'we know', 'anna', 1), (1, 'parked', 'u1', 'r', 'anna', 1)",
    );
    let lines = history(&world);
    let of = |part: &str| lines.iter().filter(|line| line["part"] == part).count();
    assert_eq!(of("held_subjects"), 1_203);
    assert_eq!(of("strays"), 1);
    assert_eq!(of("waivers"), 2);
    assert_eq!(of("logto_mirror"), 2);
    let mut seen: Vec<_> = lines.iter().map(Value::to_string).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), lines.len());
    let whole = seen.join("\n");
    for personal in [
        "alice@example.test",
        "Alice",
        "233200000055",
        "\"alice\"",
        "\"bob\"",
    ] {
        assert!(!whole.contains(personal), "{personal}");
    }
}

/// With more of everything than one page takes, and all done that comes before.
fn to_be_cleared() -> Rc<World> {
    let world = over();
    let many: Vec<String> = (0..1_100)
        .map(|n| format!("('m{n:05}', 1, 1, '', '{{\"username\":\"name{n}\"}}', 1)"))
        .collect();
    world.databases.execute(
        Store::Mgpass,
        &format!(
            "INSERT INTO logto_mirror (user_id, ticket, epoch, digest, residue, applied_at) VALUES {}",
            many.join(",")
        ),
    );
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects VALUES ('u1', 'parked', 1, NULL); INSERT INTO interactions VALUES ('i1', 'u1', 1)",
    );
    let now_ms = world.now_ms();
    post(
        &world,
        "/note?name=residue&until=99999&how=exported&actor=anna",
    );
    let archived = format!("/note?name=archive&until={now_ms}&digest=d&actor=anna");
    post(&world, &archived);
    world
}

#[test]
fn clearing_leaves_nothing_and_mgpass_works_without_it() {
    let world = to_be_cleared();
    let users = world.value(Store::Mgpass, "SELECT count(*) FROM users");
    clear(&world, "");
    assert_eq!(tables(&world, Store::Mgpass), Vec::<String>::new());
    assert_eq!(
        world.value(Store::Mgpass, "SELECT count(*) FROM users"),
        users
    );
    for table in ["held_subjects", "interactions", "subjects", "tenant"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(world.value(Store::Proxy, &sql), 0, "{table}");
    }
    let cleared = "SELECT n FROM cleanup_steps WHERE step = 'logto_mirror'";
    assert_eq!(world.value(Store::Proxy, cleared), 1_102);
    // The log of moves stays until the database goes.
    let verified = get(&world, "/verify");
    let left: Vec<_> = verified["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["clean"] == false)
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert_eq!(left, ["KEYS holds no imported keys"], "{verified}");
    *world.imported_keys.borrow_mut() = None;
    assert_eq!(get(&world, "/verify")["clean"], true);
    // Cron has nothing to do, and nobody to ask.
    world.events.borrow_mut().clear();
    world.tick();
    let said = world.events.borrow().join("\n");
    assert_eq!(said, "");
    world.assert_within_limits();
    nothing_reached_logto(&world);
}

#[test]
fn every_table_that_names_a_user_is_cleared() {
    let world = world();
    let named = "SELECT DISTINCT m.name AS name FROM sqlite_schema m, pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND c.name IN ('subject', 'user_id')";
    let steps = dual_write_proxy::operate::cleanup::clear::STEPS;
    let is_cleared = |name: &str| steps.iter().any(|step| step.name == name);
    let rows = world.proxy(named);
    let mut names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.len() > 10);
    names.retain(|name| !is_cleared(name));
    assert_eq!(names, Vec::<&str>::new());
}

const OWED: &str = "INSERT INTO passwords (subject, state, ticket, n_gaps, since, due_at) VALUES ('alice0000001', 'void_owed', 1, 0, 1, 1)";

#[test]
fn a_password_that_is_to_end_at_mgpass_ends_in_cleanup_too() {
    let world = over();
    world.databases.execute(Store::Proxy, OWED);
    world.tick();
    let left = world.proxy("SELECT subject FROM passwords WHERE state <> 'none'");
    assert_eq!(left.len(), 0);
    nothing_reached_logto(&world);
}

#[test]
fn nothing_is_cleared_while_a_password_is_to_end_at_mgpass() {
    let world = to_be_cleared();
    world.databases.execute(Store::Proxy, OWED);
    is_blocked(&world, "/step", "passwords_owed");
}

#[test]
fn clearing_goes_on_wherever_it_was_cut_off() {
    let mut n_cut = 0;
    for fault in [Fault::BeforeEffect, Fault::AfterEffect] {
        for place in 0..30 {
            let world = to_be_cleared();
            world.faults.at_call(place, fault);
            let (status, _) = operator(&world, "POST", "/step");
            n_cut += usize::from(status != 200);
            world.faults.clear();
            clear(&world, "");
            let left = tables(&world, Store::Mgpass);
            assert_eq!(left, Vec::<String>::new(), "{place} {fault:?}");
            let undone = "SELECT count(*) FROM cleanup_steps WHERE done_at IS NULL";
            assert_eq!(world.value(Store::Proxy, undone), 0, "{place} {fault:?}");
        }
    }
    assert!(n_cut > 40, "{n_cut} calls were cut off");
}

#[test]
fn a_leftover_is_named() {
    let world = over();
    let verified = get(&world, "/verify");
    assert_eq!(verified["clean"], false);
    let found = verified["findings"][0]["found"].to_string();
    assert!(found.contains("table logto_mirror"), "{found}");
    world.flag("salt", "x");
    world.advance(10_000);
    let flags = get(&world, "/verify")["findings"][3].clone();
    assert_eq!(
        (&flags["clean"], &flags["found"]),
        (&json!(false), &json!(["salt"]))
    );
}

#[test]
fn a_migration_that_is_given_up_leaves_logto_alone_as_it_was() {
    let world = translated::world();
    hand_over(&world, "logto", 6);
    is_blocked(&world, "/step?abandon=true", "stage_not_off");
    world.flag("stage", "off");
    let now_ms = world.now_ms();
    is_blocked(&world, "/step?abandon=true", "not_archived");
    post(
        &world,
        &format!("/note?name=archive&until={now_ms}&digest=d&actor=anna"),
    );
    is_blocked(&world, "/step", "not_in_cleanup");
    clear(&world, "?abandon=true");
    assert_eq!(tables(&world, Store::Mgpass), Vec::<String>::new());
    // What mgPass has is the operator's to keep, and Logto goes on.
    assert_eq!(world.user(ALICE, "name"), "Alice");
    let read = world.get(PATH);
    assert_eq!(read.status, 200);
    assert_eq!(
        world
            .write("PATCH", PATH, r#"{"name":"Alice Three"}"#)
            .status,
        200
    );
    assert!(world.logto.json_of(ALICE).contains("Alice Three"));
    world.tick();
    world.deliver();
    assert_eq!(world.user(ALICE, "name"), "Alice");
}

#[test]
fn logtos_documents_are_kept_by_a_command_while_it_answers() {
    let world = translated::world();
    let kept = post(&world, "/issuer");
    assert!(kept["jwks_bytes"].as_u64().unwrap() > 0);
    let discovery = world.value(Store::Proxy, "SELECT discovery FROM old_issuer");
    assert!(
        discovery
            .as_str()
            .unwrap()
            .contains("https://auth.example.test/oidc")
    );
    world.faults.always(Port::Logto, "", Fault::BeforeEffect);
    is_blocked(&world, "/issuer", "logto_silent");
    let missing = operator(&world, "POST", "/note?name=other&until=1&actor=a");
    assert_eq!(missing.0, 400);
    let guessed = Request::new("POST", "/_proxy/cleanup/step").token("guessed");
    assert_eq!(world.ask(guessed).status, 401);
}
