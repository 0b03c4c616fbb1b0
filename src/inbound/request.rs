//! The inbound request as the core sees it: method, target, and what it reads of
//! `Authorization` and the cookies.
//!
//! Decides nothing about routes. Never touches a body.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Every route of the proxy's own begins so.
pub const PROXY_PREFIX: &str = "/_proxy/";

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

/// The parts of an absolute request URL, as the runtime normalised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub scheme: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// Path and query, to be appended to a backend's origin byte for byte.
    pub path_and_query: &'a str,
}

impl<'a> Target<'a> {
    pub fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path_and_query) = rest.split_at_checked(start)?;
        let path_and_query = path_and_query.split('#').next().unwrap_or("");
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        Some(Self {
            scheme,
            host,
            path,
            query,
            path_and_query,
        })
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

/// Which interaction a cookie-driven call belongs to, chosen as Logto chooses:
/// header `Logto-App-Id`, else query `app_id`, else `_legacy`. Up to 1.33 the
/// cookie held the bare uid.
pub fn interaction_uid(
    cookie_header: &str,
    app_id_header: Option<&str>,
    query: Option<&str>,
) -> Option<InteractionUid> {
    let value = cookie_value(cookie_header, "_interaction")?;
    let app_id = app_id_header.or_else(|| query.and_then(|query| query_value(query, "app_id")));
    interaction_in_cookie(value, app_id)
}

/// The uid that a `Set-Cookie` line of Logto's hands out, if it is that cookie.
pub fn interaction_in_set_cookie(line: &str) -> Option<InteractionUid> {
    // The value is raw JSON: commas and quotes occur, a semicolon cannot.
    let value = line.strip_prefix("_interaction=")?.split(';').next()?;
    interaction_in_cookie(value, None)
}

fn interaction_in_cookie(value: &str, app_id: Option<&str>) -> Option<InteractionUid> {
    // Newer releases percent-encode what 1.41 sends raw.
    let value = percent_decode_str(value).decode_utf8().ok()?;
    if !value.starts_with('{') {
        return InteractionUid::parse(&value);
    }
    let map: Value = serde_json::from_str(&value).ok()?;
    let uid = app_id
        .and_then(|app_id| map.get(app_id))
        .or_else(|| map.get("_legacy"))?;
    InteractionUid::parse(uid.as_str()?)
}

fn cookie_value<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_keeps_path_and_query_byte_for_byte() {
        let target = Target::parse("https://auth.example.com/api/users/a%20b?x=%2F&x=1").unwrap();
        assert_eq!(target.host, "auth.example.com");
        assert_eq!(target.path, "/api/users/a%20b");
        assert_eq!(target.query, Some("x=%2F&x=1"));
        assert_eq!(target.path_and_query, "/api/users/a%20b?x=%2F&x=1");
        assert_eq!(Target::parse("http://h:1//api?").unwrap().path, "//api");
        assert!(Target::parse("nonsense").is_none());
    }

    #[test]
    fn the_interaction_is_chosen_as_logto_chooses_it() {
        let cookie = r#"_logto={"appId":"a"}; _interaction={"app1":"uid1","app2":"uid2","_legacy":"uid2"}; _interaction.sig=x"#;
        let uid = |header, query| interaction_uid(cookie, header, query).map(|uid| uid.0);
        assert_eq!(uid(Some("app1"), None).as_deref(), Some("uid1"));
        assert_eq!(uid(None, Some("app_id=app1")).as_deref(), Some("uid1"));
        assert_eq!(uid(None, None).as_deref(), Some("uid2"));
        assert_eq!(uid(Some("other"), None).as_deref(), Some("uid2"));
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
    fn a_set_cookie_line_gives_the_new_interaction() {
        let line = r#"_interaction={"96vj":"Bv4W","_legacy":"Bv4W"}; path=/; httponly"#;
        let uid = interaction_in_set_cookie(line);
        assert_eq!(uid.map(|uid| uid.0).as_deref(), Some("Bv4W"));
        assert!(interaction_in_set_cookie("_interaction.sig=abc; path=/").is_none());
        assert!(interaction_in_set_cookie("_interaction_resume=abc; path=/").is_none());
    }

    #[test]
    fn only_a_bearer_scheme_gives_a_bearer_token() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
    }
}
