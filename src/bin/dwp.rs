//! The operator's command: carries Logto's signing keys over.
//!
//!     cargo run --features cli -- keys import --input export.txt --issuer https://auth.example.com/oidc \
//!         --stopped-at not-yet --max-lifetime 3600 --sunset 2027-03-01T00:00:00Z --private-out keys.pem
//!     cargo run --features cli -- keys check --token token.txt --introspection https://auth.mgpass.net/token/introspect
//!
//! A private key goes into one file of mode 600 and nowhere else: not to the
//! terminal, not to a log, not to a child process. Other software is called for
//! what it does best: `curl` for HTTP, `wrangler` for KV.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, Parser, Subcommand};
use dual_write_proxy::key_import::{
    Bounds, ExportFailure, ExportedKey, private_pem, read_export, stored_value,
};
use dual_write_proxy::token::{ImportFailure, ImportedKeys, Issuer, IssuerNames, KeyId, KeySet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A database holds three keys of some kilobytes.
const MAX_INPUT_BYTES: u64 = 1024 * 1024;

/// No issuer has this name: only Logto's keys are read here.
const NO_OTHER_ISSUER: &str = "-";

#[derive(Parser)]
#[command(
    name = "dwp",
    about = "Carries Logto's signing keys over to mgPass and the edge"
)]
struct Cli {
    #[command(subcommand)]
    area: Area,
}

#[derive(Subcommand)]
enum Area {
    /// Logto's signing keys
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
}

#[derive(Subcommand)]
enum Keys {
    /// Reads an export of Logto's keys; writes the public ones for KV, the private ones for mgPass
    Import(Import),
    /// Asks mgPass whether it accepts a fresh token of Logto's; MGPASS_CLIENT_SECRET is the client's secret
    Check(Check),
}

#[derive(Args)]
struct Import {
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

#[derive(Args)]
struct Check {
    /// A file with a fresh access token of Logto's; `-` is standard input
    #[arg(long)]
    token: PathBuf,
    /// mgPass's introspection endpoint
    #[arg(long)]
    introspection: String,
    /// A client of mgPass that has a secret
    #[arg(long)]
    client_id: String,
}

#[derive(Clone, Copy)]
struct Stop(Option<i64>);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} cannot be written: {1}")]
    Write(PathBuf, io::Error),
    #[error("the export: {0}")]
    Export(#[from] ExportFailure),
    #[error("the edge would not take it: {0}")]
    Value(#[from] ImportFailure),
    #[error("{0} cannot be run: {1}")]
    NotRun(&'static str, io::Error),
    #[error("{0} failed")]
    Failed(&'static str),
    #[error("{0} is no http or https address")]
    NotAnAddress(String),
    #[error("Logto's key set at {0} cannot be read: {1}")]
    Jwks(String, &'static str),
    #[error("Logto publishes {0}, which the export does not hold")]
    NotExported(String),
    #[error("the issuer has no name")]
    NoIssuer,
    #[error("MGPASS_CLIENT_SECRET is not set")]
    NoSecret,
    #[error("mgPass does not accept the token")]
    NotAccepted,
}

fn main() -> ExitCode {
    let Area::Keys { command } = Cli::parse().area;
    let outcome = match command {
        Keys::Import(import) => import.run(),
        Keys::Check(check) => check.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("keys: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Import {
    fn run(&self) -> Result<(), Failure> {
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
        for key in &keys {
            println!("key {}", describe(key));
        }
        for skipped in imported.set().skipped() {
            let kid = skipped.key_id.as_ref().map_or("?", KeyId::as_str);
            println!("key {kid} verifies nothing: {}", skipped.fault);
        }
        match &self.jwks_url {
            Some(url) => compare(&keys, url)?,
            None => println!("not compared with Logto's live key set (--jwks-url)"),
        }
        write_private(&self.private_out, &private_pem(&keys).0)?;
        println!(
            "private keys for mgPass's console: {} (mode 600; delete it afterwards)",
            self.private_out.display()
        );
        fs::write(&self.kv_out, value)
            .map_err(|error| Failure::Write(self.kv_out.clone(), error))?;
        println!("public keys for KV: {}", self.kv_out.display());
        self.put()
    }

    fn put(&self) -> Result<(), Failure> {
        let place = if self.local { "--local" } else { "--remote" };
        let path = self.kv_out.display().to_string();
        let arguments = [
            "wrangler",
            "kv",
            "key",
            "put",
            "--binding",
            "KEYS",
            place,
            "logto",
            "--path",
            &path,
        ];
        if !self.run_wrangler {
            println!("put them there by: npx {}", arguments.join(" "));
            return Ok(());
        }
        let status = Command::new("npx")
            .args(arguments)
            .status()
            .map_err(|error| Failure::NotRun("wrangler", error))?;
        if status.success() {
            Ok(())
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

/// Every key that Logto publishes must be in the export; more may be.
fn compare(keys: &[ExportedKey], url: &str) -> Result<(), Failure> {
    let body = curl(url, "")?;
    let set = KeySet::parse(Issuer::Logto, body.as_bytes())
        .map_err(|failure| Failure::Jwks(url.to_owned(), failure.code()))?;
    for live in set.keys() {
        let kid = live.key_id().map_or("a key without id", KeyId::as_str);
        if !keys.iter().any(|key| key.key.kid() == kid) {
            return Err(Failure::NotExported(kid.to_owned()));
        }
        println!("key {kid} is published by Logto: same id");
    }
    for key in keys {
        let is_live = |kid: &KeyId| kid.as_str() == key.key.kid();
        if !set
            .keys()
            .iter()
            .any(|live| live.key_id().is_some_and(is_live))
        {
            println!("key {} is not published by Logto now", key.key.kid());
        }
    }
    Ok(())
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let token = read(&self.token)?;
        let secret = std::env::var("MGPASS_CLIENT_SECRET").map_err(|_| Failure::NoSecret)?;
        // By its standard input: arguments are seen by every process of the machine.
        let config = format!(
            "user = {}\ndata-urlencode = {}\n",
            quoted(&format!("{}:{secret}", self.client_id)),
            quoted(&format!("token={}", token.trim())),
        );
        let body = curl(&self.introspection, &config)?;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        if answer.get("active") == Some(&serde_json::Value::Bool(true)) {
            println!("mgPass accepts the token");
            Ok(())
        } else {
            Err(Failure::NotAccepted)
        }
    }
}

/// Redirects are not followed: a key set is where it is said to be, or nowhere.
fn curl(url: &str, config: &str) -> Result<String, Failure> {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Failure::NotAnAddress(url.to_owned()));
    }
    let failed = |error| Failure::NotRun("curl", error);
    let mut child = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "15"])
        .args([
            "--max-filesize",
            "65536",
            "--proto",
            "=http,https",
            "--config",
            "-",
            "--url",
            url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(Failure::Failed("curl"));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure::Failed("curl"))
}

/// A value of curl's configuration file.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("\"{escaped}\"")
}

fn read(path: &Path) -> Result<String, Failure> {
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

/// A new file that only its owner may read, from its first moment on.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::Write(path.to_owned(), error);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| "neither seconds since 1970 nor RFC 3339".to_owned())
}

fn parse_stop(text: &str) -> Result<Stop, String> {
    match text {
        "not-yet" => Ok(Stop(None)),
        _ => parse_time(text).map(|seconds| Stop(Some(seconds))),
    }
}
