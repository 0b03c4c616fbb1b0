//! What one application meets at Logto and at mgPass, compared: the metadata of both,
//! what its two start addresses ask for, and, where a test user's refresh tokens are
//! given, what a refresh answers at each side.
//!
//! A refresh uses its token up. The tokens and secrets come from variables, go to the side
//! that made them and are shown nowhere.

use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::compare::{
    Difference, compare_metadata, compare_requests, compare_tokens, judge_start, parameters,
};
use super::{rows, text};
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
            let start = text(application, &format!("/{side}/start"));
            let client_id = text(application, &format!("/{side}/client_id"));
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
