//! What differs between the two sides for one application. Pure: documents and answers in,
//! named differences out; of tokens the claims are compared by name, and nothing is shown.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dual_write_proxy::inbound::form::Form;
use serde_json::{Map, Value};

/// One thing that is not the same, or not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: &'static str,
    pub says: String,
    /// The application does not work at mgPass as it stands.
    pub is_fault: bool,
}

impl Difference {
    pub fn note(what: &'static str, says: String) -> Self {
        Self {
            what,
            says,
            is_fault: false,
        }
    }

    fn fault(what: &'static str, says: String) -> Self {
        Self {
            what,
            says,
            is_fault: true,
        }
    }
}

pub fn parameters(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    Form::parse(query)
        .map(|form| form.0.into_iter().collect())
        .unwrap_or_default()
}

/// The authorization request that the application makes at its start address.
pub fn judge_start(
    side: &str,
    client_id: &str,
    metadata: &Value,
    location: Option<&str>,
) -> Vec<Difference> {
    let fault = |says: String| Difference::fault("start", format!("{side}: {says}"));
    let Some(location) = location else {
        return vec![fault("its start address does not redirect".to_owned())];
    };
    let mut found = Vec::new();
    let endpoint = metadata["authorization_endpoint"]
        .as_str()
        .unwrap_or_default();
    if location.split('?').next() != Some(endpoint) {
        found.push(fault(format!(
            "its start address does not lead to {endpoint}"
        )));
        return found;
    }
    let asked = parameters(location);
    let of = |name: &str| asked.get(name).map(String::as_str);
    if of("client_id") != Some(client_id) {
        found.push(fault(
            "it asks with another client id than the listed one".to_owned(),
        ));
    }
    for name in ["state", "redirect_uri"] {
        if of(name).is_none_or(str::is_empty) {
            found.push(fault(format!("it sends no {name}")));
        }
    }
    if of("code_challenge_method") != Some("S256") || of("code_challenge").is_none() {
        found.push(Difference::note(
            "pkce",
            format!("{side}: without S256; mgPass's public clients must send it"),
        ));
    }
    found
}

/// RFC 8414: what the application's library reads.
pub fn compare_metadata(logto: &Value, mgpass: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("(none)").to_owned();
    found.push(Difference::note(
        "issuer",
        format!(
            "{} and {}: a configuration each",
            text(logto, "issuer"),
            text(mgpass, "issuer")
        ),
    ));
    for (name, what) in [
        ("id_token_signing_alg_values_supported", "algorithm"),
        ("grant_types_supported", "grants"),
        ("scopes_supported", "scopes"),
        ("response_types_supported", "response types"),
        (
            "token_endpoint_auth_methods_supported",
            "client authentication",
        ),
    ] {
        let (old, new) = (words(&logto[name]), words(&mgpass[name]));
        let lost: Vec<_> = old.difference(&new).copied().collect();
        if new.is_empty() && !old.is_empty() {
            found.push(Difference::note(
                what,
                "mgPass's metadata does not say".to_owned(),
            ));
        } else if !lost.is_empty() {
            found.push(Difference::note(
                what,
                format!("not at mgPass: {}", lost.join(", ")),
            ));
        }
    }
    if logto["device_authorization_endpoint"].is_string()
        && !mgpass["device_authorization_endpoint"].is_string()
    {
        found.push(Difference::note("device flow", "Logto's alone".to_owned()));
    }
    let iss = "authorization_response_iss_parameter_supported";
    if logto[iss] != mgpass[iss] {
        found.push(Difference::note(
            "iss in the callback",
            "the sides differ: a configuration of one must not judge the other's callback"
                .to_owned(),
        ));
    }
    for name in [
        "end_session_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
        "userinfo_endpoint",
    ] {
        if logto[name].is_string() && !mgpass[name].is_string() {
            found.push(Difference::note(
                "metadata",
                format!("mgPass names no {name}: the application must know it"),
            ));
        }
    }
    found
}

/// What the two authorization requests ask for.
pub fn compare_requests(
    logto: &BTreeMap<String, String>,
    mgpass: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let scopes = |asked: &BTreeMap<String, String>| -> BTreeSet<String> {
        let text = asked.get("scope").cloned().unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let (old, new) = (scopes(logto), scopes(mgpass));
    if !new.is_empty() && !new.contains("offline_access") {
        found.push(Difference::fault(
            "offline_access",
            "not asked for at mgPass, so it gives no refresh token".to_owned(),
        ));
    }
    let lost: Vec<_> = old.difference(&new).cloned().collect();
    if !lost.is_empty() {
        found.push(Difference::note(
            "scope",
            format!("asked for at Logto only: {}", lost.join(" ")),
        ));
    }
    if logto.get("redirect_uri").is_some()
        && logto.get("redirect_uri") == mgpass.get("redirect_uri")
    {
        found.push(Difference::fault(
            "redirect URIs",
            "one for both sides: answers of the two cannot be told apart (mix-up)".to_owned(),
        ));
    }
    for (name, what) in [
        ("resource", "resource"),
        ("organization_id", "organization tokens"),
    ] {
        if logto.contains_key(name) {
            found.push(Difference::fault(
                what,
                format!("`{name}` is asked for, which Logto alone grants"),
            ));
        }
    }
    found
}

pub fn compare_tokens(logto: &Value, mgpass: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for name in [
        "access_token",
        "id_token",
        "refresh_token",
        "scope",
        "expires_in",
    ] {
        if logto.get(name).is_some() && mgpass.get(name).is_none() {
            found.push(Difference::note(
                "refresh",
                format!("mgPass's answer has no {name}"),
            ));
        }
    }
    let form = |answer: &Value| match claims(&answer["access_token"]) {
        Some(_) => "a JWT",
        None => "opaque",
    };
    if form(logto) != form(mgpass) {
        found.push(Difference::note(
            "access token",
            format!("{} at Logto, {} at mgPass", form(logto), form(mgpass)),
        ));
    }
    for name in ["id_token", "access_token"] {
        let (Some(old), Some(new)) = (claims(&logto[name]), claims(&mgpass[name])) else {
            continue;
        };
        let lost: Vec<_> = old
            .keys()
            .filter(|claim| !new.contains_key(*claim))
            .cloned()
            .collect();
        if !lost.is_empty() {
            found.push(Difference::note(
                "claims",
                format!("not in mgPass's {name}: {}", lost.join(", ")),
            ));
        }
        if old.get("sub") != new.get("sub") {
            found.push(Difference::fault(
                "sub",
                format!("the {name}s are of two different users"),
            ));
        }
    }
    found
}

fn words(value: &Value) -> BTreeSet<&str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

/// The claims of a JWT, unverified: they are compared by name, not believed.
fn claims(token: &Value) -> Option<Map<String, Value>> {
    let part = token.as_str()?.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(found: &[Difference]) -> Vec<(&str, bool)> {
        found
            .iter()
            .map(|found| (found.what, found.is_fault))
            .collect()
    }

    #[test]
    fn a_start_address_asks_with_the_listed_client() {
        let metadata = json!({ "authorization_endpoint": "https://m.example/authorize" });
        let judge = |location: Option<&str>| judge_start("mgpass", "app_a", &metadata, location);
        let good = "https://m.example/authorize?client_id=app_a&state=s&redirect_uri=https%3A%2F%2Fa&code_challenge=c&code_challenge_method=S256";
        assert_eq!(judge(Some(good)), []);
        assert_eq!(names(&judge(None)), [("start", true)]);
        assert_eq!(
            names(&judge(Some(&good.replace("m.example", "l.example")))),
            [("start", true)]
        );
        assert_eq!(
            names(&judge(Some(&good.replace("app_a", "app_b")))),
            [("start", true)]
        );
        assert_eq!(
            names(&judge(Some(&good.replace("state", "x")))),
            [("start", true)]
        );
        assert_eq!(
            names(&judge(Some(&good.replace("S256", "plain")))),
            [("pkce", false)]
        );
    }

    #[test]
    fn what_the_requests_need_is_named() {
        let asked = |text: &str| parameters(&format!("https://x/?{text}"));
        let logto = asked(
            "scope=openid+offline_access+roles&redirect_uri=https%3A%2F%2Fa%2Fl&resource=https%3A%2F%2Fapi",
        );
        let mgpass = asked("scope=openid&redirect_uri=https%3A%2F%2Fa%2Fl");
        assert_eq!(
            names(&compare_requests(&logto, &mgpass)),
            [
                ("offline_access", true),
                ("scope", false),
                ("redirect URIs", true),
                ("resource", true)
            ]
        );
    }

    #[test]
    fn metadata_and_tokens_are_compared_by_name() {
        let logto = json!({ "issuer": "l", "id_token_signing_alg_values_supported": ["ES384"],
            "device_authorization_endpoint": "d", "authorization_response_iss_parameter_supported": true,
            "end_session_endpoint": "e" });
        let mgpass = json!({ "issuer": "m", "id_token_signing_alg_values_supported": ["ES256"] });
        let found = compare_metadata(&logto, &mgpass);
        assert_eq!(
            names(&found)
                .iter()
                .map(|(what, _)| *what)
                .collect::<Vec<_>>(),
            [
                "issuer",
                "algorithm",
                "device flow",
                "iss in the callback",
                "metadata"
            ]
        );
        let jwt = |claims: Value| {
            json!(format!(
                "e30.{}.AQ",
                URL_SAFE_NO_PAD.encode(claims.to_string())
            ))
        };
        let old = json!({ "access_token": "opaque", "id_token": jwt(json!({ "sub": "u1", "username": "a" })), "scope": "openid" });
        let new =
            json!({ "access_token": jwt(json!({})), "id_token": jwt(json!({ "sub": "u2" })) });
        assert_eq!(
            names(&compare_tokens(&old, &new)),
            [
                ("refresh", false),
                ("access token", false),
                ("claims", false),
                ("sub", true)
            ]
        );
    }
}
