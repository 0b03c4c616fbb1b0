//! Introspection at both backends, as far as clients matter: who is one, and by what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Logto's clients: one with a secret, one without, and the proxy's own.
pub const WEB: (&str, &str) = ("webclient000000000000", "web-secret");
pub const SPA: &str = "spaclient000000000000";
/// mgPass's: one with a secret, one without, and the proxy's own.
pub const NEWSROOM: (&str, &str) = ("app_newsroom", "news-secret");
pub const READER: &str = "app_reader";

const INVALID_CLIENT: &str = r#"{"error":"invalid_client"}"#;
const INACTIVE: &str = r#"{"active":false}"#;

pub fn basic((id, secret): (&str, &str)) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn member<'b>(body: &'b str, name: &str) -> Option<&'b str> {
    let value = |pair: &'b str| pair.strip_prefix(name)?.strip_prefix('=');
    body.split('&')
        .find_map(value)
        .filter(|value| !value.is_empty())
}

fn client_of(authorization: Option<&str>, body: &str) -> Option<(String, Option<String>)> {
    if let Some(encoded) = authorization.and_then(|value| value.strip_prefix("Basic ")) {
        let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        return Some((id.to_owned(), Some(secret.to_owned())));
    }
    let owned = |name| member(body, name).map(str::to_owned);
    Some((owned("client_id")?, owned("client_secret")))
}

/// As oidc-provider: a client without a secret says who it is and no more, and learns
/// nothing of another's token; one with a secret of any token. None is known here.
pub fn logto(authorization: Option<&str>, body: &str) -> (u16, String) {
    let own = ("m2m-client", "m2m-secret");
    let is_client = match client_of(authorization, body) {
        Some((id, None)) => id == SPA,
        Some((id, Some(secret))) => [WEB, own].contains(&(&id, &secret)),
        None => false,
    };
    if is_client {
        (200, INACTIVE.to_owned())
    } else {
        (401, INVALID_CLIENT.to_owned())
    }
}

/// `live`: part of the tokens that are active.
pub fn mgpass(authorization: Option<&str>, body: &str, live: &str) -> (u16, String) {
    let own = ("app_proxy", "app_secret");
    let is_client = matches!(client_of(authorization, body),
        Some((id, Some(secret))) if [NEWSROOM, own].contains(&(&id, &secret)));
    if !is_client {
        return (401, INVALID_CLIENT.to_owned());
    }
    let token = member(body, "token").unwrap_or_default();
    if token.contains(live) {
        (200, json!({ "active": true, "sub": "usr_1" }).to_string())
    } else {
        (200, INACTIVE.to_owned())
    }
}
