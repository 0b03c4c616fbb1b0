//! The guard over the flows: what reads leave in the figures, and what it makes of them.

use std::rc::Rc;

use dual_write_proxy::operate::{guard, metrics};
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::runtime::snapshot;
use serde_json::{Value, json};

use super::support::Node;
use super::support::{Fault, Port, Request, World};

const PATH: &str = "/api/users/alice0000001";
/// More than the guard wants to see before it judges.
const ENOUGH: usize = 60;

/// One mirrored user, read from mgPass by everybody, each read compared.
fn world() -> (Rc<World>, Node) {
    let world = World::new();
    world.mirrored("alice0000001", |user| user.name = Some("Alice".into()));
    world.advance(10_000);
    world.flag("read_percent", "100");
    world.flag("compare_percent", "100");
    let node = world.node();
    (world, node)
}

/// Reads at one isolate; each is answered, whatever mgPass does.
#[track_caller]
fn read(world: &Rc<World>, node: &Node, n_reads: usize) {
    for _ in 0..n_reads {
        let request = Request::new("GET", PATH).token(&world.admin_token());
        assert_eq!(world.ask_at(node, request).status, 200);
        world.advance(500);
    }
}

/// What cron does: the isolate's counts are written down, then judged.
fn judge(world: &Rc<World>, node: &Node) -> (Value, Value) {
    let node = node.clone();
    world.finish(async move {
        let flags = snapshot::read(&node, &node.deployment.isolate).await;
        metrics::flush(&node, &node.context()).await;
        guard::run(&node, &node.context(), &flags).await;
    });
    let judged = world.events("guard.judged").pop().unwrap();
    (judged["verdict"].clone(), judged["reason"].clone())
}

#[track_caller]
fn check(world: &Rc<World>, node: &Node, verdict: &str, reason: &str) {
    assert_eq!(judge(world, node), (json!(verdict), json!(reason)));
    let kept = world.value(
        Store::Metrics,
        "SELECT reason FROM verdicts ORDER BY id DESC LIMIT 1",
    );
    assert_eq!(kept, json!(reason), "kept with its figures");
}

/// The ramp is stopped for this reason, and the next read goes to Logto for that.
#[track_caller]
fn check_stopped(world: &Rc<World>, node: &Node, reason: &str) {
    check(world, node, "stop", reason);
    let written: Value = serde_json::from_str(&world.flags.borrow()["guard"]).unwrap();
    assert_eq!(written, json!({ "cap_percent": "0", "reason": reason }));
    assert_eq!(
        world.flags.borrow()["read_percent"],
        "100",
        "the operator's own value"
    );
    let request = Request::new("GET", PATH).token(&world.admin_token());
    assert_eq!(world.ask(request).status, 200);
    let done = world.events("request.done").pop().unwrap();
    assert_eq!(done["plan.reason"], "guard");
}

#[test]
fn good_reads_pass_and_write_nothing() {
    let (world, node) = world();
    read(&world, &node, ENOUGH);
    check(&world, &node, "pass", "as_good_as_logto");
    let was_shared =
        "SELECT json_extract(figures, '$.all_reads_shared') FROM verdicts ORDER BY id DESC LIMIT 1";
    assert_eq!(world.value(Store::Metrics, was_shared), json!(1));
    world.flag("read_percent.users.get", "50");
    judge(&world, &world.node());
    assert_eq!(world.value(Store::Metrics, was_shared), json!(0));
    assert!(!world.flags.borrow().contains_key("guard"));
}

#[test]
fn few_reads_hold() {
    let (world, node) = world();
    check(&world, &node, "hold", "no_reads");
    read(&world, &node, 5);
    check(&world, &node, "hold", "too_few_reads");
}

#[test]
fn reads_without_comparisons_hold() {
    let (world, node) = world();
    world.flag("compare_percent", "0");
    read(&world, &node, ENOUGH);
    check(&world, &node, "hold", "too_few_compared");
}

#[test]
fn a_failing_mgpass_stops_the_ramp() {
    let (world, node) = world();
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::BeforeEffect);
    // The breaker opens on the way; what it sends to Logto counts as well.
    read(&world, &node, ENOUGH);
    check_stopped(&world, &node, "error_rate");
}

#[test]
fn a_slow_mgpass_stops_the_ramp() {
    let (world, node) = world();
    // Within the deadline, so that it answers each of them.
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::SlowAnswer(1_200));
    read(&world, &node, ENOUGH);
    check_stopped(&world, &node, "latency");
}

#[test]
fn a_lying_mgpass_stops_the_ramp() {
    let (world, node) = world();
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'Eve'");
    read(&world, &node, ENOUGH);
    check_stopped(&world, &node, "mismatches");
}

#[test]
fn a_stop_that_was_lifted_is_not_repeated_for_the_same_reads() {
    let (world, node) = world();
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::BeforeEffect);
    read(&world, &node, ENOUGH);
    check_stopped(&world, &node, "error_rate");
    check(&world, &node, "hold", "stopped");
    world.faults.clear();
    world.advance(20_000);
    world.flags.borrow_mut().remove("guard");
    check(&world, &node, "hold", "no_reads");
    assert!(!world.flags.borrow().contains_key("guard"));
}

#[test]
fn a_stop_that_could_not_be_written_is_written_by_the_next_run() {
    let (world, node) = world();
    world
        .faults
        .always(Port::Mgpass, "/api/users", Fault::BeforeEffect);
    read(&world, &node, ENOUGH);
    world
        .faults
        .once(Port::Flags, "put", 0, Fault::BeforeEffect);
    assert_eq!(judge(&world, &node), (json!("stop"), json!("error_rate")));
    assert!(!world.flags.borrow().contains_key("guard"));
    check_stopped(&world, &node, "error_rate");
}

#[test]
fn without_figures_nothing_passes_and_nothing_stops() {
    let (world, node) = world();
    world
        .databases
        .execute(Store::Mgpass, "UPDATE users SET name = 'Eve'");
    read(&world, &node, ENOUGH);
    world
        .faults
        .always(Port::MetricsDatabase, "", Fault::BeforeEffect);
    assert_eq!(judge(&world, &node), (json!("hold"), json!("no_metrics")));
    assert!(!world.flags.borrow().contains_key("guard"));
    // The counts waited in the isolate.
    world.faults.clear();
    check_stopped(&world, &node, "mismatches");
}

/// A Logto that takes seconds for an answer is when a ramp must be stopped in time.
#[test]
fn cron_judges_before_it_waits_for_anybody() {
    let (world, node) = world();
    let answers = &world.mgpass.answers;
    answers.borrow_mut().insert("api/users".to_owned(), 500);
    read(&world, &node, ENOUGH);
    world
        .faults
        .always(Port::Logto, "", Fault::SlowAnswer(7_500));
    let began_ms = world.now_ms();
    world.finish({
        let node = node.clone();
        async move {
            node.cron().await;
        }
    });
    assert!(world.now_ms() - began_ms > 7_000, "the walk did wait");
    let sql = "SELECT at FROM verdicts WHERE verdict = 'stop'";
    let judged_ms = world.value(Store::Metrics, sql).as_i64().unwrap();
    assert!(judged_ms - began_ms < 100, "{}", judged_ms - began_ms);
}
