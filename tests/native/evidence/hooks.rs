//! mgPass's webhooks: signed, at least once, a hint and no more.

use super::super::support::{Fault, Port};
use super::*;

pub fn event(id: &str, kind: &str, user: Option<&str>) -> Value {
    json!({ "event_id": id, "event_type": kind, "occurred_at": "2026-09-20T10:00:00.000Z", "data": { "user_id": user } })
}

fn request(body: &str, header: &str, signature: &str) -> Request {
    Request::new("POST", "/_proxy/hooks/mgpass")
        .header(header, signature)
        .json(body)
}

pub fn deliver(world: &Rc<World>, event: &Value) -> u16 {
    let body = event.to_string();
    let signature = webhooks::sign(&body);
    world
        .ask(request(&body, "x-webhook-signature", &signature))
        .status
}

fn receipts(world: &World) -> Vec<(Value, Value)> {
    let rows =
        world.proxy("SELECT kind, n FROM webhook_receipts WHERE source = 'mgpass' ORDER BY kind");
    rows.iter()
        .map(|row| (row["kind"].clone(), row["n"].clone()))
        .collect()
}

#[test]
fn either_documented_header_and_nothing_else_is_taken() {
    let world = World::with(3, SETTINGS);
    let body = event("whe_9", "user.suspended", None).to_string();
    let good = webhooks::sign(&body);
    for (header, signature, expected) in [
        ("x-webhook-signature", good.as_str(), 204),
        ("x-mgpass-signature", good.as_str(), 204),
        ("x-webhook-signature", "", 401),
        ("x-webhook-signature", &good[..62], 401),
        ("x-webhook-signature", &webhooks::sign("{}"), 401),
        ("x-webhook-signature", &format!("sha256={good}"), 401),
        ("logto-signature-sha-256", good.as_str(), 401),
    ] {
        let answer = world.ask(request(&body, header, signature));
        assert_eq!(answer.status, expected, "{header} {signature}");
    }
    // Over the raw bytes: the same JSON with a space more is another body.
    let spaced = body.replace("{\"data\"", "{ \"data\"");
    assert_ne!(spaced, body);
    assert_eq!(
        world
            .ask(request(&spaced, "x-webhook-signature", &good))
            .status,
        401
    );
    assert_eq!(world.events("hook.refused").len(), 6);
    assert_eq!(receipts(&world), [(json!("user.suspended"), json!(2))]);
    let closed = World::with(3, &[("ADMIN_TOKEN", ADMIN)]);
    assert_eq!(
        closed
            .ask(request(&body, "x-webhook-signature", &good))
            .status,
        404
    );
}

#[test]
fn every_envelope_counts_by_its_kind_and_one_event_once_as_a_hint() {
    let world = good();
    world.deliver();
    let n_before = world.n_open();
    for told in [
        json!({ "id": "evt_1", "type": "user.suspended", "created_at": 1_790_000_000, "data": { "user_id": ALICE } }),
        json!({ "event_type": "rewards.points_awarded", "data": { "user_id": ALICE }, "timestamp": "2026-09-20T10:00:00.000Z" }),
        event("whe_7", "user.unsuspended", Some(ALICE)),
        json!({ "id": "whe_8", "type": "user.deleted", "created_at": "2026-09-20T10:00:00.000Z", "application_id": "app_1", "livemode": true, "data": { "user_id": "usr_own" } }),
        event("whe_7", "user.unsuspended", Some(ALICE)),
        json!({ "event_id": "whe_10", "event_type": "two words", "data": null }),
    ] {
        assert_eq!(deliver(&world, &told), 204, "{told}");
    }
    let kinds: Vec<_> = receipts(&world)
        .into_iter()
        .map(|(kind, n)| format!("{} {n}", kind.as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            "other 1",
            "rewards.points_awarded 1",
            "token.issued 1",
            "user.deleted 1",
            "user.suspended 1",
            "user.unsuspended 2"
        ]
    );
    let outcomes: Vec<_> = world
        .events("hook.received")
        .iter()
        .rev()
        .take(6)
        .map(|event| event["outcome"].clone())
        .collect();
    assert_eq!(
        outcomes,
        [
            "of_no_row",
            "again",
            "of_own_user",
            "recorded",
            "of_no_row",
            "recorded"
        ]
    );
    assert_eq!(
        world.n_open() - n_before,
        2,
        "one intent for each event about a mirrored user"
    );
    world.deliver();
    assert_eq!(world.n_open(), n_before);
}

#[test]
fn with_the_database_down_the_hint_goes_by_the_queue_or_mgpass_tries_again() {
    let world = good();
    world
        .faults
        .always(Port::ProxyDatabase, "", Fault::BeforeEffect);
    assert_eq!(
        deliver(&world, &event("whe_5", "user.suspended", Some(ALICE))),
        204
    );
    assert_eq!(deliver(&world, &event("whe_6", "token.issued", None)), 503);
    world.faults.always(Port::Queue, "", Fault::BeforeEffect);
    assert_eq!(
        deliver(&world, &event("whe_5", "user.suspended", Some(ALICE))),
        503
    );
    world.faults.clear();
    assert_eq!(deliver(&world, &event("whe_6", "token.issued", None)), 204);
    world.deliver();
    assert_eq!(world.n_open(), 0);
}
