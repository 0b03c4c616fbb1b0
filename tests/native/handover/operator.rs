//! The operator's routes: what is asked for, what is refused by name with what to do, and
//! that nothing but what they say is done.

use std::rc::Rc;

use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use crate::support::handover::{ANNOUNCEMENT_MS, world};
use crate::support::logto::ORIGIN_SECRET;
use crate::support::{Fault, Port, Request, World};

fn operator(world: &Rc<World>, method: &'static str, path: &str) -> (u16, Value) {
    let path = format!("/_proxy/{path}");
    let answer = world.ask(Request::new(method, &path).token("admin"));
    let body = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
    (answer.status, body)
}

pub(super) fn get(world: &Rc<World>, path: &str) -> Value {
    let (status, body) = operator(world, "GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn post(world: &Rc<World>, path: &str) -> Value {
    let (status, body) = operator(world, "POST", path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn check_refused(world: &Rc<World>, path: &str, status: u16, code: &str) {
    let (found, body) = operator(world, "POST", path);
    let code = format!("proxy.{code}");
    assert_eq!((found, &body["code"]), (status, &json!(code)), "{path}");
    assert!(!body["message"].as_str().unwrap().is_empty(), "{path}");
}

fn gate(view: &Value, name: &str) -> Value {
    let gates = view["gates"].as_array().unwrap();
    let found = gates.iter().find(|gate| gate["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("{view}"))
}

#[test]
fn no_job_is_begun_while_logto_is_not_the_authority() {
    let world = world();
    world.handed_over();
    for path in [
        "import?kind=users",
        "import?kind=users&dry_run=true",
        "equality",
    ] {
        check_refused(&world, path, 409, "logto_not_authority");
    }
}

#[test]
fn without_the_admin_token_there_is_nothing_to_see_and_nothing_to_do() {
    let world = world();
    for (method, path) in [
        ("GET", "authority"),
        ("GET", "handover/log"),
        ("GET", "holds"),
        ("POST", "stage?to=cutover"),
        ("POST", "handover/arm?for_s=14400"),
        ("POST", "handover/waive?gate=equality&reason=r&actor=a"),
        ("POST", "holds/release?user=u1"),
    ] {
        let path = format!("/_proxy/{path}");
        let answer = world.ask(Request::new(method, &path).token("guessed"));
        assert_eq!(answer.status, 401, "{path}");
    }
    assert_eq!(world.proxy("SELECT * FROM waivers").len(), 0);
}

#[test]
fn an_operator_arms_wishes_waits_and_goes_back_by_these_routes_alone() {
    let world = world();
    world.prepare();
    let armed = post(&world, "handover/arm?for_s=14400");
    assert_eq!(armed["probes"]["with_new"], "let");
    let view = post(&world, "stage?to=cutover");
    assert_eq!(view["waits"], "announced");
    assert_eq!(view["authority"]["wish"]["source"], "dwp");
    assert_eq!(
        view["authority"]["announced_until"].as_i64().unwrap()
            - view["authority"]["announced_at"].as_i64().unwrap(),
        ANNOUNCEMENT_MS
    );
    // Said again, it is the same wish.
    let again = post(&world, "stage?to=cutover");
    assert_eq!(again["waits"], "announced");
    world.advance(ANNOUNCEMENT_MS);
    world.guard_passes();
    let view = post(&world, "handover/advance");
    assert_eq!(view["authority"]["holder"], "mgpass");
    assert_eq!(view["authority"]["stage"], "cutover");
    assert_eq!(
        view["moved"],
        json!([{ "to": "draining", "cause": "wish" }, { "to": "mgpass", "cause": "drained" }])
    );
    // What is reached is reached, and the status says it too.
    let again = post(&world, "stage?to=cutover");
    assert_eq!(again["authority"]["holder"], "mgpass");
    assert_eq!(get(&world, "status")["authority"]["holder"], "mgpass");
    for (to, code) in [
        ("off", "mgpass_is_authority"),
        ("shadow", "mgpass_is_authority"),
    ] {
        check_refused(&world, &format!("stage?to={to}"), 409, code);
    }
    // The gates of the next stage are shown, and shut.
    let view = post(&world, "stage?to=cleanup");
    assert_eq!(
        (&view["waits"], &view["authority"]["holder"]),
        (&json!("gates"), &json!("mgpass"))
    );
    assert_eq!(gate(&view, "residue")["state"], "shut");
    assert_eq!(gate(&get(&world, "authority"), "days")["state"], "shut");
    check_refused(
        &world,
        "handover/waive?gate=residue&reason=r&actor=a",
        409,
        "not_waivable",
    );
    post(&world, "handover/waive?gate=days&reason=r&actor=a");
    assert_eq!(gate(&get(&world, "authority"), "days")["state"], "waived");
    let view = post(&world, "stage?to=dual_write");
    assert_eq!(view["authority"]["holder"], "logto");
    let again = post(&world, "stage?to=dual_write");
    assert_eq!(again["authority"]["holder"], "logto");
    let log = get(&world, "handover/log?limit=2")["log"].clone();
    assert_eq!(log.as_array().unwrap().len(), 2);
    assert_eq!(log[0]["to_holder"], "logto");
    assert_eq!(get(&world, "authority")["log"][0], log[0]);
}

#[test]
fn a_stage_that_is_no_step_or_no_stage_is_refused_and_changes_nothing() {
    let world = world();
    world.operate();
    for (path, status, code) in [
        ("stage", 400, "parameter_missing"),
        ("stage?to=somewhere", 400, "parameter_missing"),
        ("stage?to=off", 409, "stage_is_a_flag"),
        ("stage?to=cleanup", 409, "not_one_step"),
        (
            "stage?to=dual_write&abandon_debt=true",
            409,
            "nothing_to_abandon",
        ),
    ] {
        check_refused(&world, path, status, code);
    }
    world.flag("stage", "shadow");
    check_refused(&world, "stage?to=cutover", 409, "not_one_step");
    assert_eq!((world.holder(), world.generation()), ("logto", 1));
    assert_eq!(world.authority().0.wish, None);
    assert_eq!(world.moves(), [""; 0]);
}

#[test]
fn the_later_of_kv_and_dwp_counts_although_nobody_had_noticed_kv() {
    let world = world();
    world.prepare();
    world.arm();
    world.operate();
    world.flag("stage", "cutover");
    // No cron has run since.
    let view = post(&world, "stage?to=dual_write");
    assert_eq!(view["authority"]["wish"], Value::Null);
    world.tick();
    assert_eq!(world.authority().0.wish, None);
    assert_eq!(world.holder(), "logto");
}

#[test]
fn each_gate_says_why_it_is_shut_and_what_opens_it() {
    let world = world();
    let view = get(&world, "authority");
    for gate in view["gates"].as_array().unwrap() {
        let is_shut = gate["state"] == "shut";
        assert_eq!(is_shut, !gate["do"].as_str().unwrap().is_empty(), "{gate}");
        assert!(!gate["why"].as_str().unwrap().is_empty(), "{gate}");
    }
    assert_eq!(gate(&view, "armed")["do"], "`dwp handover arm --for 4h`.");
    assert_eq!(gate(&view, "checklist")["why"], "There is no checklist.");
    // A wish is kept, and waits.
    world.operate();
    let view = post(&world, "stage?to=cutover");
    assert_eq!(view["waits"], "gates");
    assert_eq!(view["authority"]["wish"]["stage"], "cutover");
    assert_eq!(world.moves(), [""; 0]);
}

#[test]
fn arming_asks_the_origin_and_says_what_keeps_it_open() {
    let check = |change: &dyn Fn(&Rc<World>), code: &str| {
        let world = world();
        change(&world);
        check_refused(&world, "handover/arm?for_s=14400", 409, code);
        assert!(!world.authority().0.is_armed(), "{code}");
    };
    check(
        &|world| world.logto.secrets.borrow_mut().push(ORIGIN_SECRET),
        "old_secret_taken",
    );
    check(&|world| world.logto.is_closed.set(false), "no_secret_taken");
    check(
        &|world| world.logto.secrets.borrow_mut().clear(),
        "new_secret_refused",
    );
    check(
        &|world| {
            let hang = Fault::BeforeEffect;
            world.faults.always(Port::Logto, "/api/status", hang);
        },
        "origin_unanswered",
    );
    check(
        &|world| {
            world
                .databases
                .execute(Store::Proxy, "UPDATE authority SET holder = 'mgpass'")
        },
        "not_at_logto",
    );
    let world = World::with(1, &[("ADMIN_TOKEN", "admin")]);
    check_refused(
        &world,
        "handover/arm?for_s=14400",
        409,
        "no_handover_secret",
    );
}

#[test]
fn arming_has_a_length_that_holds_the_hand_over_and_ends_when_said() {
    let world = world();
    for bad in ["", "?for_s=0", "?for_s=-1", "?for_s=4h", "?for_s=86401"] {
        let path = format!("handover/arm{bad}");
        check_refused(&world, &path, 400, "parameter_missing");
    }
    check_refused(&world, "handover/arm?for_s=600", 409, "arming_too_short");
    post(&world, "handover/arm?for_s=14400");
    assert!(world.authority().0.is_armed());
    post(&world, "handover/disarm");
    assert!(!world.authority().0.is_armed());
    // An announcement does not outlive it.
    world.announced();
    post(&world, "handover/disarm");
    let view = post(&world, "handover/advance");
    assert_eq!(world.moves().last().unwrap(), "logto>logto no_longer_armed");
    assert_eq!(view["authority"]["announced_at"], Value::Null);
}

#[test]
fn a_waiver_needs_a_gate_a_reason_and_a_name_where_the_gate_counts_names() {
    let world = world();
    for (query, status, code) in [
        ("gate=equality&actor=anna", 400, "parameter_missing"),
        ("gate=equality&reason=r", 400, "parameter_missing"),
        (
            "gate=equality&reason=%20&actor=anna",
            400,
            "parameter_missing",
        ),
        ("gate=door&reason=r&actor=anna", 404, "no_such_gate"),
        ("gate=armed&reason=r&actor=anna", 409, "not_waivable"),
        ("gate=intents&reason=r&actor=anna", 409, "not_waivable"),
        (
            "gate=intents&name=i1&reason=r&actor=anna",
            409,
            "not_waivable",
        ),
        ("gate=parked&reason=r&actor=anna", 409, "not_waivable"),
        (
            "gate=equality&name=u1&reason=r&actor=anna",
            409,
            "not_waivable",
        ),
        (
            "gate=checklist&all=true&reason=r&actor=anna",
            409,
            "not_waivable",
        ),
        (
            "gate=parked&name=u1&all=true&reason=r&actor=anna",
            400,
            "parameter_missing",
        ),
    ] {
        check_refused(&world, &format!("handover/waive?{query}"), status, code);
    }
    assert_eq!(world.proxy("SELECT * FROM waivers").len(), 0);
}

#[test]
fn waivers_open_a_gate_by_name_are_kept_with_the_move_and_can_be_taken_back() {
    let world = world();
    world.prepare();
    world.arm();
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects VALUES ('u1', 'stray', 0, NULL), ('u2', 'debt', 0, NULL);
         UPDATE evidence SET not_green = '[\"console\"]' WHERE kind = 'checklist'",
    );
    let parked = gate(&get(&world, "authority"), "parked");
    assert_eq!(parked["names"], json!(["u1", "u2"]));
    post(
        &world,
        "handover/waive?gate=parked&name=u1&reason=by+phone&actor=anna",
    );
    let parked = gate(&get(&world, "authority"), "parked");
    assert_eq!(parked["names"], json!(["u2"]));
    post(
        &world,
        "handover/waive?gate=parked&all=true&reason=gone&actor=bob",
    );
    post(
        &world,
        "handover/waive?gate=checklist&name=console&reason=no+page&actor=bob",
    );
    let view = get(&world, "authority");
    assert_eq!(gate(&view, "parked")["state"], "open");
    assert_eq!(gate(&view, "checklist")["state"], "open");
    post(&world, "handover/unwaive?gate=parked&name=u2");
    check_refused(
        &world,
        "handover/unwaive?gate=parked&name=u2",
        404,
        "not_waived",
    );
    assert_eq!(gate(&get(&world, "authority"), "parked")["state"], "shut");
    post(
        &world,
        "handover/waive?gate=parked&name=u2&reason=gone&actor=bob",
    );
    post(&world, "stage?to=cutover");
    let log = get(&world, "handover/log")["log"][0].clone();
    let kept: Vec<_> = log["waivers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|waiver| waiver["gate"] != "applications")
        .map(|waiver| {
            format!("{} {} {}", waiver["gate"], waiver["name"], waiver["reason"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        kept,
        [
            "checklist console no page",
            "parked u1 by phone",
            "parked u2 gone"
        ]
    );
}

#[test]
fn hanging_writes_are_let_go_while_draining_alone() {
    let world = world();
    world.hanging_write("i0", "u9");
    assert_eq!(post(&world, "handover/let-go"), json!({ "writes": 0 }));
    world.databases.execute(Store::Proxy, "DELETE FROM intents");
    world.announced();
    world.pending_write("i1", "u1");
    post(&world, "handover/advance");
    assert_eq!(world.holder(), "draining");
    world.databases.execute(
        Store::Proxy,
        "UPDATE intents SET settled = NULL, status = NULL, expires_at = 0",
    );
    assert_eq!(post(&world, "handover/let-go"), json!({ "writes": 1 }));
    post(&world, "handover/advance");
    assert_eq!(world.holder(), "mgpass");
    assert_eq!(get(&world, "holds")["users"][0]["reason"], "waived_intent");
    assert_eq!(
        get(&world, "authority")["strays"][0]["source"],
        "waived_intent"
    );
}

fn ticket(world: &World) -> i64 {
    let sql = "SELECT ticket FROM logto_mirror WHERE user_id = 'u2'";
    world.value(Store::Mgpass, sql).as_i64().unwrap()
}

#[test]
fn held_users_are_listed_by_pages_and_released_one_by_one() {
    let world = world();
    world.mirrored("u2", |_| {});
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO held_subjects VALUES ('u1', 'stray', 0, 'name'), ('u2', 'debt', 0, NULL), ('u3', 'stray', 0, NULL)",
    );
    let page = get(&world, "holds?limit=2");
    assert_eq!(page["users"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], "u2");
    let rest = get(&world, "holds?limit=2&after=u2");
    assert_eq!(
        (&rest["users"][0]["id"], &rest["next"]),
        (&json!("u3"), &Value::Null)
    );
    let strays = get(&world, "holds?reason=stray");
    assert_eq!(strays["users"].as_array().unwrap().len(), 2);
    check_refused(&world, "holds/release", 400, "parameter_missing");
    check_refused(&world, "holds/release?user=u9", 404, "not_held");
    let before = ticket(&world);
    post(&world, "holds/release?user=u2");
    check_refused(&world, "holds/release?user=u2", 404, "not_held");
    // And the mirror looks at them anew.
    world.deliver_for(60_000);
    assert!(ticket(&world) > before);
}

#[test]
fn with_its_database_down_each_route_says_so_and_nothing_is_half_done() {
    let world = world();
    world.prepare();
    world.operate();
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    for (method, path) in [
        ("GET", "authority"),
        ("GET", "handover/log"),
        ("GET", "holds"),
        ("POST", "stage?to=cutover"),
        ("POST", "stage?to=dual_write&abandon_debt=true"),
        ("POST", "handover/advance"),
        ("POST", "handover/arm?for_s=14400"),
        ("POST", "handover/disarm"),
        ("POST", "handover/waive?gate=equality&reason=r&actor=a"),
        ("POST", "handover/unwaive?gate=equality"),
        ("POST", "handover/let-go"),
        ("POST", "holds/release?user=u1"),
    ] {
        let (status, body) = operator(&world, method, path);
        assert_eq!(
            (status, &body["code"]),
            (503, &json!("proxy.database_unavailable")),
            "{path}"
        );
    }
    world.faults.clear();
    assert_eq!(world.authority().0.wish, None);
    assert!(!world.authority().0.is_armed());
}

#[test]
fn abandoned_debt_is_listed_by_name_once_it_is_held() {
    let world = world();
    world.handed_over();
    world.pending_translated("t1", "u1");
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO debt VALUES ('u2', 'born_at_mgpass', 'id_too_long', 0)",
    );
    world
        .faults
        .always(Port::MgpassDatabase, "", Fault::BeforeEffect);
    let view = post(&world, "stage?to=dual_write&abandon_debt=true");
    assert_eq!(view["authority"]["holder"], "logto");
    assert_eq!(view["authority"]["raise_owed"], true);
    let users = get(&world, "holds?reason=debt_abandoned")["users"].clone();
    let held: Vec<_> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (&user["id"], &user["detail"]))
        .collect();
    assert_eq!(
        held,
        [
            (&json!("u1"), &json!("pending")),
            (&json!("u2"), &json!("born_at_mgpass"))
        ]
    );
    // Nothing leaves Logto again before mgPass's database knows.
    world.wish(Some(Stage::Cutover));
    assert_eq!(post(&world, "handover/advance")["waits"], "raise_owed");
}
