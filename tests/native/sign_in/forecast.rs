//! Whom a move makes sign in anew: the product's own forecast, over real rows.

use dual_write_proxy::runtime::ports::Store;
use serde_json::Value;

use super::{ADMIN, LOGTO_CLIENT, world};
use crate::support::{Request, World};

fn forecast(world: &std::rc::Rc<World>) -> Vec<Value> {
    let request = Request::new("GET", "/_proxy/applications/forecast").token(ADMIN);
    let answer = world.ask(request);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["reasons"].as_array().unwrap().clone()
}

/// Of one application, or of nobody's in particular.
fn people(reasons: &[Value], code: &str, client_id: Option<&str>) -> Value {
    let found = reasons
        .iter()
        .find(|row| row["code"] == code && row["client_id"].as_str() == client_id);
    found.unwrap_or_else(|| panic!("no {code} of {client_id:?}: {reasons:?}"))["people"].clone()
}

#[test]
fn people_are_counted_by_application_and_reason() {
    let world = world();
    let day = 86_400;
    for (id, days) in [("u1", 1), ("u2", 20), ("u3", 400)] {
        world.mirrored(id, |user| {
            user.application_id = Some(LOGTO_CLIENT.to_owned());
            user.email = Some(format!("{id}@example.test"));
        });
        let sql = format!(
            "UPDATE users SET last_sign_in_at = unixepoch() - {} WHERE id = '{id}'",
            days * day
        );
        world.databases.execute(Store::Mgpass, &sql);
    }
    world.databases.execute(
        Store::Mgpass,
        "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
         VALUES ('a1', 'user.login.success', 'user', 'u2', 'user', 'u2', unixepoch())",
    );
    world.databases.execute(
        Store::Proxy,
        "INSERT INTO sign_in_ready (user_id, verdict, judged_at) VALUES ('u1', 'second_factor', 1)",
    );
    let reasons = forecast(&world);
    let news = Some(LOGTO_CLIENT);
    for (code, client_id, n) in [
        ("first_sign_in_at_mgpass", news, Some(1)),
        ("logto_left", news, Some(2)),
        ("back_to_logto", news, Some(1)),
        ("not_ready_no_road", news, Some(3)),
        ("consent_at_mgpass", news, Some(3)),
        ("single_sign_on_split", news, Some(0)),
        ("not_ready_second_factor", None, Some(1)),
        ("not_ready_enterprise_sso", None, Some(0)),
        ("not_ready_unknown", None, Some(2)),
        ("sessions_ended", None, None),
        ("refresh_answer_lost", None, None),
        ("renewal_in_a_frame", None, None),
    ] {
        let found = people(&reasons, code, client_id);
        assert_eq!(found.as_i64(), n, "{code}");
    }
    let named = &reasons[0];
    assert_eq!(named["application"], "news");
    assert!(named["meaning"].as_str().unwrap().len() > 10);
}
