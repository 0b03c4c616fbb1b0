//! What is read of a request: method, ids, and what `Authorization` and the cookies say.
//!
//! Decides nothing about routes. Never touches a body.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::inbound::form::first_of;

/// Methods that rules distinguish; anything else passes through untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Method {
    pub fn parse(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// A user's id at Logto, and at mgPass after the import: ids are preserved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

impl UserId {
    /// Longer than any id either backend makes; bounds rows and log lines.
    const MAX_BYTES: usize = 64;

    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && printable).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids as a JSON array, the form in which a statement takes many.
pub fn id_list(ids: &[UserId]) -> String {
    let ids: Vec<_> = ids.iter().map(UserId::as_str).collect();
    serde_json::json!(ids).to_string()
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The uid of one of Logto's interactions (a sign-in or registration in progress).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InteractionUid(String);

impl InteractionUid {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 64;
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        (fits && plain).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that must not reach a log line or an error body.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(pub T);

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// The bearer token of an `Authorization` header (RFC 6750 2.1).
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Whether Logto may see a bearer token in this `Authorization` header: it tests for the
/// word and cuts off one character more, whatever that is.
pub fn may_bear(authorization: &str) -> bool {
    authorization.starts_with("Bearer")
}

/// Whether a cookie-driven call may belong to an interaction at all.
pub fn has_interaction(cookie_header: &str) -> bool {
    interaction_cookie(cookie_header).is_some_and(|value| !value.is_empty())
}

/// Which interaction a cookie-driven call belongs to, chosen as Logto chooses: by the
/// header `Logto-App-Id` unless it is empty, else by the query's `app_id`, else
/// `_legacy`. Up to 1.33 the cookie held the bare uid.
pub fn interaction_uid(
    cookie_header: &str,
    app_id_header: Option<&str>,
    query: Option<&str>,
) -> Option<InteractionUid> {
    let value = interaction_cookie(cookie_header)?;
    // Newer releases percent-encode what 1.41 sends raw.
    let value = percent_decode_str(value).decode_utf8().ok()?;
    let Ok(parsed) = serde_json::from_str::<Value>(&value) else {
        return InteractionUid::parse(&value);
    };
    let app_id = app_id_header
        .filter(|app_id| !app_id.is_empty())
        .map(str::to_owned)
        .or_else(|| first_of(query?, "app_id"));
    let uid = |key: &str| {
        let uid = parsed.get(key).and_then(Value::as_str);
        uid.filter(|uid| !uid.is_empty())
    };
    let uid = app_id.as_deref().and_then(uid).or_else(|| uid("_legacy"))?;
    InteractionUid::parse(uid)
}

/// The first of that name; Logto's cookie library takes quotes off before it checks the
/// signature.
fn interaction_cookie(header: &str) -> Option<&str> {
    let value = header.split(';').find_map(|pair| {
        let (name, value) = pair.trim_start().split_once('=')?;
        (name == "_interaction").then_some(value)
    })?;
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value);
    };
    let mut characters = quoted.chars();
    characters.next_back();
    Some(characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interaction_is_chosen_as_logto_chooses_it() {
        let cookie = r#"_logto={"appId":"a"}; _interaction={"app1":"uid1","app2":"uid2","_legacy":"uid2"}; _interaction.sig=x"#;
        let uid = |header, query| interaction_uid(cookie, header, query).map(|uid| uid.0);
        assert_eq!(uid(Some("app1"), None).as_deref(), Some("uid1"));
        assert_eq!(uid(None, Some("app_id=app1")).as_deref(), Some("uid1"));
        assert_eq!(uid(None, None).as_deref(), Some("uid2"));
        assert_eq!(uid(Some("other"), None).as_deref(), Some("uid2"));
        // Empty is as good as absent, and a query is decoded before it is looked up.
        assert_eq!(
            uid(Some(""), Some("x=1&app_id=%61pp1")).as_deref(),
            Some("uid1")
        );
        assert_eq!(uid(None, Some("%61pp_id=app1")).as_deref(), Some("uid1"));
        assert_eq!(
            uid(Some("app2"), Some("app_id=app1")).as_deref(),
            Some("uid2")
        );
        assert_eq!(uid(None, Some("app_id=")).as_deref(), Some("uid2"));
        let quoted = interaction_uid(r#"a="b"; _interaction="{"_legacy":"uid4"}""#, None, None);
        assert_eq!(quoted.map(|uid| uid.0).as_deref(), Some("uid4"));
        let old = interaction_uid("_interaction=5SX83Dvw5U63rZr6xs5Nk", None, None);
        assert_eq!(
            old.map(|uid| uid.0).as_deref(),
            Some("5SX83Dvw5U63rZr6xs5Nk")
        );
        let newer = interaction_uid("_interaction=%7B%22_legacy%22%3A%22uid3%22%7D", None, None);
        assert_eq!(newer.map(|uid| uid.0).as_deref(), Some("uid3"));
        assert!(interaction_uid("_interaction={broken", None, None).is_none());
        assert!(interaction_uid("_session=x", None, None).is_none());
    }

    #[test]
    fn whatever_logto_may_take_counts_as_given() {
        for loose in ["Bearer x", "Bearer:x", "Bearer\tx", "Bearerxx"] {
            assert!(may_bear(loose), "{loose}");
        }
        for none in ["", "bearer x", "Basic x", " Bearer x"] {
            assert!(!may_bear(none), "{none}");
        }
        for loose in [
            "_interaction=x",
            "a=1;  _interaction=\"x\"",
            "_interaction={broken",
        ] {
            assert!(has_interaction(loose), "{loose}");
        }
        for none in [
            "",
            "_interaction=",
            "_interaction.sig=x",
            "x_interaction=x",
            "_interaction=\"\"",
        ] {
            assert!(!has_interaction(none), "{none}");
        }
    }

    #[test]
    fn only_a_bearer_scheme_gives_a_bearer_token() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
    }
}
