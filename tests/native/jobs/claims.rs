//! Claims of pages, where Logto takes its time.

use super::*;

/// Four seconds an answer: a page of a hundred people, two calls each, takes longer
/// than a claim lasts. Each is asked for once all the same, and each page counts.
#[test]
fn a_slow_logto_is_asked_for_each_once_and_every_page_counts() {
    let world = world();
    populate(&world, 150);
    world
        .faults
        .always(Port::Logto, "/api/users", Fault::SlowAnswer(4_000));
    operator(&world, "POST", "/_proxy/import?kind=users&lanes=2");
    let began_ms = world.now_ms();
    while world.now_ms() - began_ms < 600_000 {
        world.deliver_for(30_000);
        cron(&world);
    }
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!(view["state"], "done", "{view}");
    assert_eq!(view["outcomes"], json!({ "equal": 150 }));
    assert_eq!(view["users"], 150);
    assert_eq!(world.logto.n_served("mfa-verifications"), 150);
    // Two pages with people; the lanes may look for a third once each.
    assert!(world.logto.n_served("GET /api/users?page") <= 4);
    assert_eq!(world.events("job.delayed").len(), 0);
}

#[test]
fn a_lane_whose_claim_was_taken_over_stops_at_once() {
    let world = world();
    populate(&world, 100);
    world
        .faults
        .always(Port::Logto, "mfa-verifications", Fault::SlowAnswer(7_000));
    operator(&world, "POST", "/_proxy/import?kind=users&lanes=1");
    world.deliver_for(15_000);
    world
        .databases
        .execute(Store::Proxy, "UPDATE job_pages SET holder = 'another'");
    world.deliver_for(15_000);
    let delayed = world.events("job.delayed").pop().unwrap();
    assert_eq!(delayed["code"], "claim_lost");
    let n_served = world.logto.n_served("mfa-verifications");
    assert!(n_served < 40, "{n_served}");
    // Nothing of its page counts twice once the other one is through with it.
    world.faults.clear();
    world
        .databases
        .execute(Store::Proxy, "UPDATE job_pages SET claimed_until = 0");
    let view = run(&world, "users");
    assert_eq!(view["outcomes"], json!({ "equal": 100 }));
}

#[test]
fn a_page_with_a_call_that_is_never_answered_is_taken_over() {
    let world = world();
    populate(&world, 30);
    world.faults.once(
        Port::MgpassDatabase,
        "INSERT INTO logto_mirror",
        0,
        Fault::Hang,
    );
    operator(&world, "POST", "/_proxy/import?kind=users&lanes=1");
    world.deliver_for(90_000);
    cron(&world);
    world.deliver_for(60_000);
    let (_, view) = operator(&world, "GET", "/_proxy/import?kind=users");
    assert_eq!(view["outcomes"], json!({ "equal": 30 }), "{view}");
}
