//! Logto's signing keys: read from an export, compared with the live ones, and handed
//! to the edge and to mgPass.
//!
//! A private key goes into one file of mode 600 and nowhere else: not to the
//! terminal, not to a log, not to a child process.

use core::time::Duration;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use dual_write_proxy::policy::token::{ImportedKeys, Issuer, IssuerNames, KeyId, KeySet};
use dwp::key_import::{Bounds, ExportedKey, private_pem, read_export, stored_value};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use super::job::Health;
use super::{Output, Result, api, files, token};

/// A database holds three keys of some kilobytes.
const MAX_INPUT_BYTES: u64 = 1024 * 1024;
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(15);

/// No issuer has this name: only Logto's keys are read here.
const NO_OTHER_ISSUER: &str = "-";

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Reads an export of Logto's keys; writes the public ones for KV, the private ones for mgPass
    Import(Import),
    /// Asks mgPass whether it accepts a fresh token of Logto's; MGPASS_CLIENT_SECRET is the client's secret
    Check(Check),
}

#[derive(Debug, Args)]
pub struct Import {
    /// Output of `logto db config get oidc.privateKeys`, or PEM; `-` is standard input
    #[arg(long)]
    input: PathBuf,
    /// Logto's exact `iss`, such as https://auth.example.com/oidc
    #[arg(long)]
    issuer: String,
    /// When Logto stopped issuing: seconds, RFC 3339, or `not-yet`
    #[arg(long, value_parser = parse_stop)]
    stopped_at: Stop,
    /// The longest `exp - iat` that Logto ever granted, in seconds
    #[arg(long)]
    max_lifetime: i64,
    /// From when on the keys verify nothing: seconds or RFC 3339
    #[arg(long, value_parser = parse_time)]
    sunset: i64,
    /// Logto's live key set, to compare with
    #[arg(long)]
    jwks_url: Option<String>,
    /// A new file for the private keys
    #[arg(long)]
    private_out: PathBuf,
    /// The file for KV's value
    #[arg(long, default_value = "imported-keys.json")]
    kv_out: PathBuf,
    /// Put the value into KV by wrangler
    #[arg(long)]
    run_wrangler: bool,
    /// KV of the local runtime in place of the deployed one
    #[arg(long)]
    local: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// A file with a fresh access token of Logto's; `-` is standard input
    #[arg(long)]
    token: PathBuf,
    /// The value for KV, as `keys import` wrote it: the token must be signed by one of its keys
    #[arg(long, default_value = "imported-keys.json")]
    keys: PathBuf,
    /// mgPass's introspection endpoint
    #[arg(long)]
    introspection: String,
    /// A client of mgPass that has a secret
    #[arg(long)]
    client_id: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Stop(Option<i64>);

impl Keys {
    pub fn run(&self, output: Output) -> Result {
        match self {
            Self::Import(import) => import.run(output),
            Self::Check(check) => check.run(output),
        }
    }
}

impl Import {
    fn run(&self, output: Output) -> Result {
        files::keep_from_git(&self.private_out)?;
        files::keep_from_git(&self.kv_out)?;
        let keys = read_export(&read(&self.input)?)?;
        let bounds = Bounds {
            stopped_issuing_at: self.stopped_at.0,
            max_lifetime_s: self.max_lifetime,
            sunset: self.sunset,
        };
        let value = stored_value(&self.issuer, bounds, &keys);
        // Judged by the very code that will read it at the edge.
        let names =
            IssuerNames::new(&self.issuer, NO_OTHER_ISSUER).map_err(|_| Failure::NoIssuer)?;
        let imported = ImportedKeys::parse(value.as_bytes(), &names)?;
        let say = |line: &str| match output {
            Output::Text => output.line(line),
            Output::Json => Ok(()),
        };
        for key in &keys {
            say(&format!("key {}", describe(key)))?;
        }
        let mut refused = Vec::new();
        for skipped in imported.set().skipped() {
            let kid = skipped.key_id.as_ref().map_or("?", KeyId::as_str);
            say(&format!("key {kid} verifies nothing: {}", skipped.fault))?;
            refused.push(json!({ "kid": kid, "fault": skipped.fault.to_string() }));
        }
        let live = match &self.jwks_url {
            Some(url) => Some(live_kids(&keys, url)?),
            None => None,
        };
        match &live {
            Some(live) => {
                for kid in live {
                    say(&format!("key {kid} is published by Logto: same id"))?;
                }
                for key in keys.iter().filter(|key| !is_in(live, key)) {
                    say(&format!(
                        "key {} is not published by Logto now",
                        key.key.kid()
                    ))?;
                }
            }
            None => say("not compared with Logto's live key set (--jwks-url)")?,
        }
        let failed = |error| Failure::Write(self.private_out.clone(), error);
        files::create_private(&self.private_out)?
            .write_all(private_pem(&keys).0.as_bytes())
            .map_err(failed)?;
        say(&format!(
            "private keys for mgPass's console: {} (mode 600; delete it afterwards)",
            self.private_out.display()
        ))?;
        files::write(&self.kv_out, &value)?;
        say(&format!("public keys for KV: {}", self.kv_out.display()))?;
        let command = self.put(output)?;
        if let Output::Json = output {
            let keys: Vec<Value> = keys
                .iter()
                .map(|key| {
                    json!({
                        "kid": key.key.kid(),
                        "algorithm": key.key.algorithm().to_string(),
                        "is_live": live.as_ref().map(|live| is_in(live, key)),
                    })
                })
                .collect();
            output.document(&json!({
                "keys": keys,
                "verify_nothing": refused,
                "private_out": self.private_out,
                "kv_out": self.kv_out,
                "wrangler": command,
                "is_in_kv": self.run_wrangler,
            }))?;
        }
        Ok(Health::Clean)
    }

    /// Puts the value into KV where asked, else says how; the command line.
    fn put(&self, output: Output) -> std::result::Result<String, Failure> {
        let place = if self.local { "--local" } else { "--remote" };
        let path = self.kv_out.display().to_string();
        let arguments = [
            "wrangler",
            "kv",
            "key",
            "put",
            place,
            "--binding",
            "KEYS",
            "logto",
            "--path",
            &path,
        ];
        let command = format!("npx {}", arguments.join(" "));
        if !self.run_wrangler {
            if let Output::Text = output {
                output.line(&format!("put them there by: {command}"))?;
            }
            return Ok(command);
        }
        let status = Command::new("npx")
            .args(arguments)
            // Standard output is for the result.
            .stdout(Stdio::from(io::stderr()))
            .status()
            .map_err(|error| Failure::NotRun("wrangler", error))?;
        if status.success() {
            Ok(command)
        } else {
            Err(Failure::Failed("wrangler"))
        }
    }
}

fn describe(key: &ExportedKey) -> String {
    let status = key.status.as_deref().unwrap_or("without status");
    let created = key
        .created_at
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(String::new, |time| format!(", created {}", time.date()));
    format!(
        "{} {} ({status}{created})",
        key.key.kid(),
        key.key.algorithm()
    )
}

fn is_in(live: &[String], key: &ExportedKey) -> bool {
    live.iter().any(|kid| kid == key.key.kid())
}

/// Every key that Logto publishes must be in the export; more may be.
fn live_kids(keys: &[ExportedKey], url: &str) -> std::result::Result<Vec<String>, Failure> {
    let body = fetch(url, |agent| agent.get(url).call())?;
    let set = KeySet::parse(Issuer::Logto, body.as_bytes())
        .map_err(|failure| Failure::Jwks(url.to_owned(), failure.code()))?;
    let mut live = Vec::new();
    for key in set.keys() {
        let kid = key.key_id().map_or("a key without id", KeyId::as_str);
        if !keys.iter().any(|exported| exported.key.kid() == kid) {
            return Err(Failure::NotExported(kid.to_owned()));
        }
        live.push(kid.to_owned());
    }
    Ok(live)
}

impl Check {
    fn run(&self, output: Output) -> Result {
        let token = read(&self.token)?;
        token::judge(token.trim(), &read(&self.keys)?)?;
        let secret = std::env::var("MGPASS_CLIENT_SECRET").map_err(|_| Failure::NoSecret)?;
        let basic = STANDARD.encode(format!("{}:{secret}", self.client_id));
        let body = fetch(&self.introspection, |agent| {
            agent
                .post(&self.introspection)
                .header("authorization", format!("Basic {basic}"))
                .send_form([("token", token.trim())])
        })?;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let is_accepted = answer.get("active") == Some(&Value::Bool(true));
        output.show_as(&json!({ "is_accepted": is_accepted }), || {
            let verb = if is_accepted {
                "accepts"
            } else {
                "does not accept"
            };
            format!("mgPass {verb} the token\n")
        })?;
        Ok(Health::clean_if(is_accepted))
    }
}

type Sent = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// A key set is where it is said to be, or nowhere: redirects are not followed.
fn fetch(
    url: &str,
    send: impl FnOnce(ureq::Agent) -> Sent,
) -> std::result::Result<String, Failure> {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Failure::NotAnAddress(url.to_owned()));
    }
    let failed = |reason: String| Failure::NotFetched(url.to_owned(), reason);
    let mut response = send(api::agent(TIMEOUT)).map_err(|error| failed(error.to_string()))?;
    if !response.status().is_success() {
        return Err(failed(format!("status {}", response.status().as_u16())));
    }
    response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .map_err(|error| failed(error.to_string()))
}

fn read(path: &Path) -> std::result::Result<String, Failure> {
    let failed = |error| Failure::Read(path.to_owned(), error);
    let mut text = String::new();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(fs::File::open(path).map_err(failed)?)
    };
    input
        .take(MAX_INPUT_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn parse_time(text: &str) -> std::result::Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| "neither seconds since 1970 nor RFC 3339".to_owned())
}

fn parse_stop(text: &str) -> std::result::Result<Stop, String> {
    match text {
        "not-yet" => Ok(Stop(None)),
        _ => parse_time(text).map(|seconds| Stop(Some(seconds))),
    }
}
