//! Writes a flag into KV, as an operator would: by wrangler, on local data or the
//! deployed; or by Cloudflare's API, where a token, the account and the namespace are
//! given. The proxy itself has no route that writes flags.

use core::time::Duration;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use super::api::{self, is_loopback};
use super::failure::Failure;

const BINDING: &str = "FLAGS";
const CLOUDFLARE: &str = "https://api.cloudflare.com/client/v4";
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is shown of a tool that failed.
const SHOWN_LINES: usize = 12;

#[derive(Clone, Debug, Default, Args)]
pub struct Where {
    /// The local runtime's data, as `npm run dev` keeps it; the default for an address of this machine
    #[arg(long, conflicts_with = "remote")]
    pub local: bool,
    /// The deployed namespace; the default for any other address
    #[arg(long)]
    pub remote: bool,
    /// Where local data lies, as for `wrangler --persist-to`
    #[arg(long, env = "DWP_PERSIST_TO", value_name = "FOLDER")]
    pub persist_to: Option<PathBuf>,
    /// The namespace's id: with CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID set, Cloudflare's API is used in place of wrangler
    #[arg(long, env = "DWP_FLAGS_NAMESPACE", value_name = "ID")]
    pub namespace: Option<String>,
}

/// How the key is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    Wrangler {
        is_local: bool,
        persist_to: Option<PathBuf>,
    },
    Api {
        base: String,
        account: String,
        namespace: String,
        token: String,
    },
}

impl Where {
    /// `origin` is the proxy's.
    pub fn writer(
        &self,
        origin: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Writer, Failure> {
        let is_local = self.local || (!self.remote && is_loopback(origin));
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (token, account) = (
            given("CLOUDFLARE_API_TOKEN"),
            given("CLOUDFLARE_ACCOUNT_ID"),
        );
        if let (false, Some(token), Some(account), Some(namespace)) =
            (is_local, token, account, self.namespace.clone())
        {
            let base = given("CLOUDFLARE_API_BASE_URL").unwrap_or_else(|| CLOUDFLARE.to_owned());
            // The token goes along.
            if !base.starts_with("https://") && !is_loopback(&base) {
                return Err(Failure::PlainHttp(base));
            }
            return Ok(Writer::Api {
                base,
                account,
                namespace,
                token,
            });
        }
        Ok(Writer::Wrangler {
            is_local,
            persist_to: self.persist_to.clone(),
        })
    }
}

impl Writer {
    /// Is seen sooner on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Wrangler { is_local: true, .. })
    }

    /// `None` deletes the key.
    pub fn write(&self, key: &str, value: Option<&str>) -> Result<(), Failure> {
        match self {
            Self::Wrangler {
                is_local,
                persist_to,
            } => {
                // It would be taken for an option.
                if let Some(text) = [Some(key), value]
                    .into_iter()
                    .flatten()
                    .find(|text| text.starts_with('-'))
                {
                    return Err(Failure::BeginsWithDash(text.to_owned()));
                }
                run(&arguments(key, value, *is_local, persist_to.as_ref()))
            }
            Self::Api {
                base,
                account,
                namespace,
                token,
            } => {
                let url = format!(
                    "{base}/accounts/{account}/storage/kv/namespaces/{namespace}/values/{}",
                    encode(key)
                );
                call(&url, token, value)
            }
        }
    }
}

/// A key is a part of the path.
fn encode(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = key.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn arguments(
    key: &str,
    value: Option<&str>,
    is_local: bool,
    persist_to: Option<&PathBuf>,
) -> Vec<String> {
    let action = if value.is_some() { "put" } else { "delete" };
    let place = if is_local { "--local" } else { "--remote" };
    let mut arguments: Vec<String> = ["wrangler", "kv", "key", action, place, "--binding", BINDING]
        .map(str::to_owned)
        .into();
    if let Some(folder) = persist_to.filter(|_| is_local) {
        arguments.extend(["--persist-to".to_owned(), folder.display().to_string()]);
    }
    arguments.push(key.to_owned());
    arguments.extend(value.map(str::to_owned));
    arguments
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let done = Command::new("npx")
        .arg("--no")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::NotRun("wrangler", error))?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        eprintln!("wrangler: {line}");
    }
    Err(Failure::Failed("wrangler"))
}

fn call(url: &str, token: &str, value: Option<&str>) -> Result<(), Failure> {
    let agent = api::agent(TIMEOUT);
    let bearer = format!("Bearer {token}");
    let sent = match value {
        Some(value) => agent
            .put(url)
            .header("authorization", bearer)
            .header("content-type", "text/plain")
            .send(value),
        None => agent.delete(url).header("authorization", bearer).call(),
    };
    let answer = sent.map_err(|error| Failure::NotWritten(error.to_string()))?;
    match answer.status().as_u16() {
        200..300 => Ok(()),
        status => Err(Failure::NotWritten(format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(place: &Where, origin: &str, variables: &[(&str, &str)]) -> Writer {
        let found = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        place.writer(origin, found).unwrap()
    }

    #[test]
    fn the_address_says_whose_data_unless_the_operator_does() {
        let here = "http://127.0.0.1:8787";
        let there = "https://auth.example.com";
        let forced = |local, remote| Where {
            local,
            remote,
            ..Where::default()
        };
        for (origin, place, is_local) in [
            (here, forced(false, false), true),
            (there, forced(false, false), false),
            (here, forced(false, true), false),
            (there, forced(true, false), true),
        ] {
            assert_eq!(
                writer(&place, origin, &[]).is_local(),
                is_local,
                "{origin} {place:?}"
            );
        }
    }

    #[test]
    fn the_api_is_used_where_all_it_needs_is_given() {
        let place = Where {
            namespace: Some("n1".to_owned()),
            ..Where::default()
        };
        let all = [
            ("CLOUDFLARE_API_TOKEN", "t"),
            ("CLOUDFLARE_ACCOUNT_ID", "a"),
        ];
        let there = "https://auth.example.com";
        assert!(matches!(writer(&place, there, &all), Writer::Api { .. }));
        assert!(matches!(
            writer(&place, there, &all[..1]),
            Writer::Wrangler { .. }
        ));
        assert!(matches!(
            writer(&Where::default(), there, &all),
            Writer::Wrangler { .. }
        ));
        assert!(matches!(
            writer(&place, "http://localhost:8787", &all),
            Writer::Wrangler { is_local: true, .. }
        ));
        let variable = |name: &str| match name {
            "CLOUDFLARE_API_BASE_URL" => Some("http://api.example.com".to_owned()),
            _ => Some("x".to_owned()),
        };
        assert!(place.writer(there, variable).is_err(), "the token in clear");
    }

    #[test]
    fn wrangler_is_told_where_and_what() {
        assert_eq!(
            arguments("read_percent", Some("5"), false, Some(&"state".into())).join(" "),
            "wrangler kv key put --remote --binding FLAGS read_percent 5"
        );
        assert_eq!(
            arguments("salt", Some("x"), true, Some(&"state".into())).join(" "),
            "wrangler kv key put --local --binding FLAGS --persist-to state salt x"
        );
        assert_eq!(
            arguments("guard", None, true, None).join(" "),
            "wrangler kv key delete --local --binding FLAGS guard"
        );
        let wrangler = Writer::Wrangler {
            is_local: true,
            persist_to: None,
        };
        let refused = wrangler.write("salt", Some("--remote")).unwrap_err();
        assert_eq!(refused.code(), "begins_with_dash");
        assert_eq!(encode("a/b ?"), "a%2Fb%20%3F");
    }
}
