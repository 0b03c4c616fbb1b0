//! Reads that only Logto can judge (its own opaque tokens, what it alone keeps): its answer,
//! with each member that mgPass has a say in as mgPass has it. Which members there are is
//! Logto's to say: scopes and settings show in it.

use super::account;
use super::json::parse::parse_view;
use super::json::{Object, Value};
use super::row::Row;

/// One member of a user in Logto's form, where it is text.
pub fn member(view: &str, name: &str) -> Option<String> {
    parse_view(view)?.text(name).map(str::to_owned)
}

/// `GET /api/my-account`.
pub fn account(shown: &str, view: &str) -> Option<String> {
    let (shown, row) = (Row::parse(shown)?, Row::parse(view)?);
    Some(account::shown(&shown, &row, &row))
}

/// A user of the Management API with more than mgPass has (`includeSsoIdentities`).
pub fn user(shown: &str, view: &str) -> Option<String> {
    let view = parse_view(view)?;
    replaced(shown, |name| view.get(name).cloned())
}

/// `/oidc/me`.
pub fn userinfo(shown: &str, view: &str) -> Option<String> {
    let view = parse_view(view)?;
    let has = |name: &str| view.text(name).is_some_and(|text| !text.is_empty());
    replaced(shown, |claim| match claim {
        "name" | "username" | "identities" => view.get(claim).cloned(),
        "picture" => view.get("avatar").cloned(),
        "email" => view.get("primaryEmail").cloned(),
        "email_verified" => Some(Value::Bool(has("primaryEmail"))),
        "phone_number" => view.get("primaryPhone").cloned(),
        "phone_number_verified" => Some(Value::Bool(has("primaryPhone"))),
        "custom_data" => view.get("customData").cloned(),
        "created_at" => view.get("createdAt").cloned(),
        "updated_at" => view.get("updatedAt").cloned(),
        // The profile's own, else the username (seen: contract, `oidc-userinfo`).
        "preferred_username" => preferred_username(&view),
        _ => None,
    })
}

fn preferred_username(view: &Object) -> Option<Value> {
    let profile = view.get("profile").and_then(Value::as_object);
    let own = profile.and_then(|profile| profile.get("preferredUsername"));
    own.or_else(|| view.get("username")).cloned()
}

fn replaced(shown: &str, member: impl Fn(&str) -> Option<Value>) -> Option<String> {
    let shown = parse_view(shown)?;
    let members = shown
        .iter()
        .map(|(name, value)| (name.to_owned(), member(name).unwrap_or(value.clone())))
        .collect();
    Some(Object::from_members(members).to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = r#"{"id":"u1","username":"new","primaryEmail":null,"primaryPhone":"1415","name":"New","avatar":null,"customData":{"a":1},"identities":{},"lastSignInAt":null,"createdAt":1,"updatedAt":2,"profile":{"address":{"formatted":"x"},"nickname":"n"},"applicationId":null,"isSuspended":false,"hasPassword":false}"#;

    #[test]
    fn an_account_shows_what_the_token_may_see_as_it_is_now() {
        let shown = r#"{"id":"u1","username":"old","profile":{"nickname":"o"},"hasSecurityVerificationMethod":false}"#;
        let expected = r#"{"id":"u1","username":"new","profile":{"nickname":"n"},"hasSecurityVerificationMethod":true}"#;
        assert_eq!(account(shown, VIEW).as_deref(), Some(expected));
    }

    #[test]
    fn a_user_keeps_what_only_logto_has() {
        let shown = r#"{"id":"u1","username":"old","ssoIdentities":[{"issuer":"x"}]}"#;
        let expected = r#"{"id":"u1","username":"new","ssoIdentities":[{"issuer":"x"}]}"#;
        assert_eq!(user(shown, VIEW).as_deref(), Some(expected));
    }

    #[test]
    fn userinfo_has_the_claims_of_its_scopes_as_they_are_now() {
        let shown = r#"{"sub":"u1","name":"Old","preferred_username":"old","picture":"p","updated_at":1,"username":"old","created_at":1,"email":"o@x.test","email_verified":true,"custom_data":{},"identities":{},"roles":["r"]}"#;
        let expected = r#"{"sub":"u1","name":"New","preferred_username":"new","picture":null,"updated_at":2,"username":"new","created_at":1,"email":null,"email_verified":false,"custom_data":{"a":1},"identities":{},"roles":["r"]}"#;
        assert_eq!(userinfo(shown, VIEW).as_deref(), Some(expected));
        let bare = r#"{"sub":"u1"}"#;
        assert_eq!(userinfo(bare, VIEW).as_deref(), Some(bare));
    }

    #[test]
    fn what_is_no_user_is_nothing() {
        assert_eq!(account("[]", VIEW), None);
        assert_eq!(user("", VIEW), None);
        assert_eq!(userinfo(r#""x""#, VIEW), None);
    }
}
