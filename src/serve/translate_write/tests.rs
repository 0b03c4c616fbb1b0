//! The exchanges that were recorded of real servers, computed anew.

mod facts;

use serde_json::Value as Json;

use super::json::parse::parse;
use super::json::{Object, Value};
use super::*;
use crate::inbound::request::Method;
use crate::mirror::mapping::tests::settings as mapping;
use crate::policy::tenant::{Control, Fields};

fn samples(name: &str) -> Vec<Object> {
    let path = format!(
        "{}/tests/harness/backends/logto/samples/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let object = |value: Value| match value {
        Value::Object(object) => object,
        other => panic!("{other:?}"),
    };
    match parse(&text).unwrap().value {
        Value::List(list) => list.into_iter().map(object).collect(),
        Value::Object(sample) => match sample.get("exchanges") {
            Some(Value::List(list)) => list.iter().cloned().map(object).collect(),
            _ => vec![sample],
        },
        other => panic!("{other:?}"),
    }
}

/// One recorded exchange.
struct Exchange {
    method: Method,
    path: String,
    body: Option<String>,
    has_proof: bool,
    status: u16,
    answer: String,
}

impl Exchange {
    fn of(sample: &Object) -> Self {
        let part = |name: &str| sample.get(name).unwrap().as_object().unwrap();
        let (request, response) = (part("request"), part("response"));
        let (_, target) = request.text("url").unwrap().split_once("/api").unwrap();
        let headers = request.get("headers").unwrap().as_object().unwrap();
        let Some(Value::Number(status)) = response.get("status") else {
            panic!("no status");
        };
        Self {
            method: Method::parse(request.text("method").unwrap()),
            path: format!("/api{target}"),
            body: request.get("body").map(Value::to_json),
            has_proof: headers.get("logto-verification-id").is_some(),
            status: *status as u16,
            answer: match response.get("body").unwrap() {
                Value::Text(text) => text.clone(),
                body => body.to_json(),
            },
        }
    }

    fn body(&self) -> Body<'_> {
        Body {
            content_type: self.body.is_some().then_some("application/json"),
            content_encoding: None,
            bytes: self.body.as_deref().map(str::as_bytes),
        }
    }

    /// The moment at which Logto wrote it, where the answer tells.
    fn now_ms(&self) -> i64 {
        let answer: Json = serde_json::from_str(&self.answer).unwrap_or(Json::Null);
        answer["updatedAt"].as_i64().unwrap_or(1)
    }

    fn check(&self, step: Step) -> Option<Applied> {
        let (reply, applied) = match step {
            Step::Apply(applied) => (applied.reply.clone(), Some(*applied)),
            Step::Answer(reply) => (reply, None),
            other => panic!("{}: {other:?}", self.path),
        };
        let answer = reply.into_answer("r", Cors::SameOrigin);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (self.status, self.answer.as_str()),
            "{}",
            self.path
        );
        applied
    }
}

/// Logto's answer to the reservation of the id that the answer names.
fn reserved(answer: &str) -> String {
    let answer = Row::parse(answer).unwrap_or_default();
    let mut row = Row::parse(
        r#"{"id":"","username":null,"primaryEmail":null,"primaryPhone":null,"name":null,"avatar":null,"customData":{"_dwp":"n"},"identities":{},"lastSignInAt":null,"createdAt":0,"updatedAt":0,"profile":{},"applicationId":null,"isSuspended":false,"hasPassword":false}"#,
    )
    .unwrap();
    for name in ["id", "createdAt", "updatedAt"] {
        row.put(name, answer.get(name).unwrap_or(&Value::Null).clone());
    }
    row.to_json()
}

fn all_fields() -> Fields {
    let edit = Control::Edit;
    Fields {
        name: edit,
        avatar: edit,
        profile: edit,
        email: edit,
        phone: edit,
        password: edit,
        username: edit,
        social: edit,
        custom_data: edit,
    }
}

fn tenant() -> Tenant {
    let mut tenant = Tenant {
        fields: all_fields(),
        ..Tenant::default()
    };
    tenant.password.rejects.pwned = false;
    tenant
}

fn settled(
    exchange: &Exchange,
    user: Option<&str>,
    held: &[Unique],
    is_right: bool,
) -> Option<Applied> {
    let found = find(exchange.method, &exchange.path).unwrap();
    let Route::Users(route) = &found.route else {
        panic!("{}", exchange.path);
    };
    let reserved = reserved(&exchange.answer);
    let id = found.user.as_ref().map_or("", |user| user.as_str());
    let (tenant, mapping) = (tenant(), mapping());
    let settings = Settings {
        tenant: &tenant,
        mapping: &mapping,
        now_ms: exchange.now_ms(),
    };
    let write = Write::Users {
        route,
        user: user.map_or(PathUser::Missing { id }, |view| PathUser::Known {
            id,
            view,
        }),
        caller: "m2m",
    };
    let facts = Facts {
        held_by_others: Some(held),
        is_address: Some(true),
        password_is_right: Some(is_right),
        reserved: Some(&reserved),
        ..Facts::default()
    };
    exchange.check(apply(&settings, write, exchange.body(), &facts))
}

fn view_of(applied: Option<Applied>) -> String {
    match applied.unwrap().after {
        After::Created(view) | After::Changed(view) => view,
        After::Deleted => panic!("deleted"),
    }
}

#[test]
fn the_recorded_life_of_a_user_is_computed_to_the_byte() {
    let one = |name: &str| Exchange::of(&samples(name)[0]);
    let mut view = view_of(settled(&one("users-create"), None, &[], true));
    settled(&one("users-create-id-is-ignored"), None, &[], true);
    let held = Unique {
        kind: UniqueKind::Username,
        value: "alice_1ae441".to_owned(),
    };
    let taken = one("error-users-create-duplicate-username");
    settled(&taken, None, &[held], true);
    settled(&one("error-users-create-invalid-body"), None, &[], true);
    view = view_of(settled(&one("users-patch"), Some(&view), &[], true));
    // Between the recordings, and known from their next answers.
    for (path, body) in [
        ("custom-data", r#"{"customData":{"beta":true}}"#),
        ("profile", r#"{"profile":{"nickname":"Al"}}"#),
    ] {
        let exchange = Exchange {
            method: Method::Patch,
            path: format!("/api/users/ohr0n387iy4o/{path}"),
            body: Some(body.to_owned()),
            has_proof: false,
            status: 200,
            answer: if path == "profile" {
                r#"{"familyName":"Example","givenName":"Alice","nickname":"Al","locale":"en"}"#
            } else {
                r#"{"beta":true,"plan":"free"}"#
            }
            .to_owned(),
        };
        view = view_of(settled(&exchange, Some(&view), &[], true));
    }
    view = view_of(settled(
        &one("users-patch-password"),
        Some(&view),
        &[],
        true,
    ));
    settled(&one("users-password-verify-ok"), Some(&view), &[], true);
    settled(
        &one("error-users-password-verify-wrong"),
        Some(&view),
        &[],
        false,
    );
    view = view_of(settled(&one("users-put-identity"), Some(&view), &[], true));
    let suspensions: Vec<_> = samples("users-suspend").iter().map(Exchange::of).collect();
    for (exchange, ends_sessions) in suspensions.iter().zip([true, false]) {
        if exchange.method != Method::Patch {
            continue;
        }
        let applied = settled(exchange, Some(&view), &[], true).unwrap();
        assert_eq!(applied.owed.revoke_all, ends_sessions);
        view = view_of(Some(applied));
    }
    let deletions: Vec<_> = samples("users-delete").iter().map(Exchange::of).collect();
    let applied = settled(&deletions[0], Some(&view), &[], true).unwrap();
    assert_eq!(
        (applied.after, applied.owed.revoke_all),
        (After::Deleted, true)
    );
    settled(&deletions[1], None, &[], true);
}

#[test]
fn the_recorded_account_is_computed_to_the_byte() {
    let exchanges: Vec<_> = samples("account-api").iter().map(Exchange::of).collect();
    let shown = exchanges[0].answer.clone();
    let (tenant, mapping) = (tenant(), mapping());
    let mut view = {
        let mut row = Row::parse(&shown).unwrap().to_json();
        row = row.replace(r#","hasSecurityVerificationMethod":true"#, "");
        row
    };
    let mut n_checked = 0;
    for exchange in &exchanges {
        let Some(found) = find(exchange.method, &exchange.path) else {
            continue;
        };
        let Route::Account(route) = &found.route else {
            panic!("{}", exchange.path);
        };
        let settings = Settings {
            tenant: &tenant,
            mapping: &mapping,
            now_ms: exchange.now_ms(),
        };
        let write = Write::Account {
            route,
            user: &view,
            caller: AccountCaller {
                shown: &shown,
                proof: if exchange.has_proof {
                    Proof::Holds
                } else {
                    Proof::Fails
                },
            },
        };
        let facts = Facts {
            is_address: Some(true),
            password_is_right: Some(false),
            ..Facts::default()
        };
        let applied = exchange.check(apply(&settings, write, exchange.body(), &facts));
        if applied.is_some() {
            view = view_of(applied);
        }
        n_checked += 1;
    }
    assert_eq!(n_checked, 4);
}

const FRESH: &str = r#"{"id":"u5er0000id01","username":"ama","primaryEmail":null,"primaryPhone":null,"name":null,"avatar":null,"customData":{},"identities":{},"lastSignInAt":null,"createdAt":1,"updatedAt":1,"profile":{},"applicationId":null,"isSuspended":false,"hasPassword":true}"#;

#[test]
fn who_holds_deeper_data_than_a_body_may_bring_is_written_all_the_same() {
    let nested = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
    let user = FRESH.replace(r#""customData":{}"#, &format!(r#""customData":{nested}"#));
    let exchange = Exchange {
        method: Method::Patch,
        path: "/api/users/u5er0000id01".to_owned(),
        body: Some(r#"{"name":"Ama"}"#.to_owned()),
        has_proof: false,
        status: 200,
        answer: user.replace(r#""name":null"#, r#""name":"Ama""#),
    };
    let view = view_of(settled(&exchange, Some(&user), &[], true));
    assert!(view.contains(&nested));
}
