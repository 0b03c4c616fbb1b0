//! The certificate over the flows: made, recorded, of a term, and for a day.

use dual_write_proxy::operate::certificate::kept::Recorded;
use dual_write_proxy::operate::certificate::verify::{self, digest_of};

use super::*;

fn make(world: &Rc<World>) -> String {
    let (status, body) = ask(world, "POST", "certificate");
    assert_eq!(status, 201, "{body}");
    body["text"].as_str().unwrap().to_owned()
}

/// As `dwp certificate verify` does.
fn verify(world: &Rc<World>, text: &str) -> &'static str {
    let digest = match digest_of(text) {
        Ok(digest) => digest,
        Err(refusal) => return refusal.code(),
    };
    let (_, found) = ask(world, "GET", &format!("certificate?sha256={digest}"));
    let recorded = found["recorded"].as_object().map(|one| Recorded {
        term: one["term"].as_i64().unwrap(),
        made_at_ms: one["made_at"].as_i64().unwrap(),
        valid_until_ms: one["valid_until"].as_i64().unwrap(),
    });
    let (term, now_ms) = (
        found["term"].as_i64().unwrap(),
        found["now"].as_i64().unwrap(),
    );
    let verdict = verify::verify(recorded, term, now_ms);
    verdict.err().map_or("good", |refusal| refusal.code())
}

#[test]
fn it_is_made_of_a_green_checklist_and_known_again() {
    let world = good();
    assert_eq!(ask(&world, "POST", "certificate").0, 409, "nothing was run");
    run(&world);
    let text = make(&world);
    assert_eq!(verify(&world, &text), "good");
    let whole: Value = serde_json::from_str(&text).unwrap();
    let body = &whole["certificate"];
    assert_eq!(
        (&body["term"], &body["population"]["users"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(body["checks"].as_array().unwrap().len(), 6);
    let kept = world.proxy("SELECT digest FROM evidence WHERE kind = 'certificate'");
    assert_eq!(
        kept[0]["digest"], whole["sha256"],
        "the gates rest on this one"
    );
    assert_eq!(world.events("certificate.made").len(), 1);
    assert!(!text.contains(ALICE), "counts and digests, nobody by id");
    // Edited, forged, of another proxy.
    assert_eq!(
        verify(&world, &text.replace("\"users\":3", "\"users\":4")),
        "certificate_edited"
    );
    world
        .databases
        .execute(Store::Proxy, "DELETE FROM certificates");
    assert_eq!(verify(&world, &text), "certificate_not_recorded");
}

#[test]
fn another_term_and_a_day_end_it() {
    let world = good();
    run(&world);
    let text = make(&world);
    world.advance(23 * 3_600_000);
    assert_eq!(verify(&world, &text), "good");
    world
        .databases
        .execute(Store::Proxy, "UPDATE authority SET term = 2");
    assert_eq!(verify(&world, &text), "certificate_of_other_term");
    world
        .databases
        .execute(Store::Proxy, "UPDATE authority SET term = 1");
    world.advance(3_600_001);
    assert_eq!(verify(&world, &text), "certificate_expired");
}

#[test]
fn a_red_check_makes_none_unless_it_is_waived_by_name() {
    let world = good();
    world.mgpass.hidden.borrow_mut().push(ALICE.to_owned());
    run(&world);
    let (status, body) = ask(&world, "POST", "certificate");
    assert_eq!((status, &body["not_green"]), (409, &json!(["console"])));
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO waivers (term, gate, name, reason, actor, at) VALUES (1, 'checklist', 'console', 'hidden on purpose', 'anna', 0)",
    );
    let text = make(&world);
    assert!(text.contains("hidden on purpose") && text.contains("\"state\":\"red\""));
    assert_eq!(verify(&world, &text), "good");
}

#[test]
fn a_comparison_with_something_unexplained_makes_none() {
    let world = good();
    world.deliver();
    world.databases.execute(
        Store::Mgpass,
        &format!("UPDATE users SET avatar = 'https://eve.example.test' WHERE id = '{ALICE}'"),
    );
    let report = jobs::prove(&world);
    assert_eq!(report["unexplained"], 1, "{report:#}");
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO waivers (term, gate, name, reason, actor, at) SELECT 1, 'checklist', value, 'r', 'a', 0 FROM json_each('[\"audit\",\"sign_in\",\"tokens\",\"console\",\"webhooks\",\"points\"]')",
    );
    let (status, body) = ask(&world, "POST", "certificate");
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("proxy.certificate_refused"))
    );
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("nobody knows why"),
        "{body}"
    );
}

#[test]
fn the_digest_of_everybody_is_read_page_by_page_and_tells_one_change() {
    let world = good();
    run(&world);
    let one: Value = serde_json::from_str(&make(&world)).unwrap();
    // More than one step reads at once: 20 pages of a thousand.
    world.databases.execute(
        Store::Proxy,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20500)
         INSERT INTO job_users (kind, user_id, job, pass, outcome) SELECT 'equality', 'x' || i, (SELECT max(id) FROM jobs), 1, 'equal' FROM n;
         DELETE FROM population_digests",
    );
    let (status, body) = ask(&world, "POST", "certificate");
    assert_eq!((status, &body["read"]), (202, &json!(20_000)));
    let other: Value = serde_json::from_str(&make(&world)).unwrap();
    let of = |whole: &Value, name: &str| whole["certificate"]["population"][name].clone();
    assert_eq!(of(&other, "users"), 20_503);
    assert_ne!(of(&other, "logto"), of(&one, "logto"));
    world.databases.execute(
        Store::Proxy,
        &format!("UPDATE equality_marks SET mgpass = 'another' WHERE user_id = '{ALICE}'; DELETE FROM population_digests"),
    );
    ask(&world, "POST", "certificate");
    let changed: Value = serde_json::from_str(&make(&world)).unwrap();
    assert_eq!(of(&changed, "logto"), of(&other, "logto"));
    assert_ne!(of(&changed, "mgpass"), of(&other, "mgpass"));
    world.assert_within_limits();
}
