//! What one application meets at Logto and at mgPass, compared: the metadata of both,
//! what its two start addresses ask for, and, where a test user's refresh tokens are
//! given, what a refresh answers at each side.
//!
//! A refresh uses its token up. The tokens and secrets come from variables, go to the side
//! that made them and are shown nowhere.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use serde_json::{Map, Value, json};

use super::rows;
use crate::api::{self, Api};
use crate::failure::Failure;
use crate::job::Health;
use crate::{Output, Result};

const TIMEOUT: Duration = Duration::from_secs(15);
const DISCOVERY: &str = ".well-known/openid-configuration";
const MAX_BYTES: u64 = 256 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "A test user's refresh tokens are taken from LOGTO_REFRESH_TOKEN and MGPASS_REFRESH_TOKEN and used up; \
    secrets of the two clients from LOGTO_APP_SECRET and MGPASS_APP_SECRET, where they have one."
)]
pub struct Check {
    /// The application's name
    name: String,
    /// mgPass's issuer, such as https://auth.mgpass.net
    #[arg(long, env = "MGPASS_URL")]
    mgpass: String,
}

/// One thing that is not the same, or not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    what: &'static str,
    says: String,
    /// The application does not work at mgPass as it stands.
    is_fault: bool,
}

impl Difference {
    fn note(what: &'static str, says: String) -> Self {
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

impl Check {
    pub fn run(&self, api: &Api, output: Output) -> Result {
        let list = api.get("applications", &[])?;
        let application = rows(&list, "applications")?
            .iter()
            .find(|application| application["name"] == self.name.as_str())
            .ok_or(Failure::NotNow(
                "no application of this name is listed: `dwp app list` shows all",
            ))?;
        let agent = api::agent(TIMEOUT);
        let sides = [
            ("logto", format!("{}/oidc", api.origin())),
            ("mgpass", self.mgpass.trim_end_matches('/').to_owned()),
        ];
        let mut metadata = Vec::new();
        let mut asked = Vec::new();
        let mut refreshed = Vec::new();
        let mut found = Vec::new();
        for (side, issuer) in &sides {
            let document = fetch(&agent, &format!("{issuer}/{DISCOVERY}"))?;
            let start = application[side]["start"].as_str().unwrap_or_default();
            let client_id = application[side]["client_id"].as_str().unwrap_or_default();
            let location = begin(&agent, start)?;
            found.extend(judge_start(side, client_id, &document, location.as_deref()));
            asked.push(
                location
                    .map(|location| parameters(&location))
                    .unwrap_or_default(),
            );
            refreshed.push(refresh(&agent, side, client_id, &document)?);
            metadata.push(document);
        }
        if let [logto, mgpass] = metadata.as_slice() {
            found.extend(compare_metadata(logto, mgpass));
        }
        if let [logto, mgpass] = asked.as_slice() {
            found.extend(compare_requests(logto, mgpass));
        }
        if let [Some(logto), Some(mgpass)] = refreshed.as_slice() {
            found.extend(compare_tokens(logto, mgpass));
        } else {
            found.push(Difference::note(
                "refresh",
                "not tried: LOGTO_REFRESH_TOKEN and MGPASS_REFRESH_TOKEN of a test user are not both given".to_owned(),
            ));
        }
        let is_clean = !found.iter().any(|difference| difference.is_fault);
        let shown: Vec<_> = found
            .iter()
            .map(|found| json!({ "what": found.what, "says": found.says, "is_fault": found.is_fault }))
            .collect();
        output.show_as(
            &json!({ "application": self.name, "differences": shown }),
            || {
                let lines = found.iter().map(|found| {
                    let mark = if found.is_fault { "FAULT" } else { "note " };
                    format!("{mark}  {}: {}\n", found.what, found.says)
                });
                let mut text: String = lines.collect();
                text.push_str(if is_clean {
                    "nothing stands against it\n"
                } else {
                    "not ready: mend each FAULT first\n"
                });
                text
            },
        )?;
        Ok(Health::clean_if(is_clean))
    }
}

fn fetch(agent: &ureq::Agent, url: &str) -> std::result::Result<Value, Failure> {
    let failed = |error: String| Failure::NotFetched(url.to_owned(), error);
    let mut answer = agent
        .get(url)
        .call()
        .map_err(|error| failed(error.to_string()))?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(MAX_BYTES)
        .read_to_string();
    let text = text.map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|_| failed("no JSON".to_owned()))
}

/// Where a start address sends a browser.
fn begin(agent: &ureq::Agent, start: &str) -> std::result::Result<Option<String>, Failure> {
    let answer = agent.get(start).call();
    let answer =
        answer.map_err(|error| Failure::NotFetched(start.to_owned(), error.to_string()))?;
    let location = answer.headers().get("location");
    Ok(location
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned))
}

fn parameters(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    dual_write_proxy::inbound::form::Form::parse(query)
        .map(|form| form.0.into_iter().collect())
        .unwrap_or_default()
}

/// The authorization request that the application makes at its start address.
fn judge_start(
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

fn words(value: &Value) -> BTreeSet<&str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

/// RFC 8414: what the application's library reads.
fn compare_metadata(logto: &Value, mgpass: &Value) -> Vec<Difference> {
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
fn compare_requests(
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

/// `None`: no token is given.
fn refresh(
    agent: &ureq::Agent,
    side: &str,
    client_id: &str,
    metadata: &Value,
) -> std::result::Result<Option<Value>, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let upper = side.to_uppercase();
    let Some(token) = variable(&format!("{upper}_REFRESH_TOKEN")) else {
        return Ok(None);
    };
    let endpoint = metadata["token_endpoint"].as_str().unwrap_or_default();
    let failed = |error: String| Failure::NotFetched(endpoint.to_owned(), error);
    if !endpoint.starts_with("https://") && !api::is_loopback(endpoint) {
        return Err(Failure::PlainHttp(endpoint.to_owned()));
    }
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
    ];
    let mut request = agent.post(endpoint);
    let secret = variable(&format!("{upper}_APP_SECRET"));
    match &secret {
        Some(secret) => {
            let pair = STANDARD.encode(format!("{client_id}:{secret}"));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        None => form.push(("client_id", client_id)),
    }
    let mut answer = request
        .send_form(form)
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let text = answer
        .body_mut()
        .with_config()
        .limit(MAX_BYTES)
        .read_to_string();
    let text = text.map_err(|error| failed(error.to_string()))?;
    match serde_json::from_str(&text) {
        Ok(value) if status == 200 => Ok(Some(value)),
        _ => Err(failed(format!(
            "the refresh was refused with status {status}"
        ))),
    }
}

/// The claims of a JWT, unverified: they are compared by name, not believed.
fn claims(token: &Value) -> Option<Map<String, Value>> {
    let part = token.as_str()?.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn compare_tokens(logto: &Value, mgpass: &Value) -> Vec<Difference> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
