//! The operator's API of the proxy, as calls. The token goes in a header, never to
//! the command line, and to no other address than the one that was named.

use core::time::Duration;
use std::io::IsTerminal;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// A page of a thousand people is some hundred kilobytes.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
/// The proxy waits for both backends in some answers.
const TIMEOUT: Duration = Duration::from_secs(30);
const PAGE: &str = "1000";

pub struct Api {
    origin: String,
    token: String,
    agent: ureq::Agent,
}

impl Api {
    pub fn new(url: Option<&str>, token: Option<String>) -> Result<Self, Failure> {
        let origin = origin_of(url.ok_or(Failure::NoUrl)?)?;
        let token = match token.filter(|token| !token.is_empty()) {
            Some(token) => token,
            None => prompt()?,
        };
        Ok(Self {
            origin,
            token,
            agent: agent(TIMEOUT),
        })
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn get(&self, route: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = query.iter().fold(
            self.agent.get(format!("{}/_proxy/{route}", self.origin)),
            |request, (name, value)| request.query(name, value),
        );
        let sent = request.header("authorization", format!("Bearer {}", self.token));
        answer(&self.origin, sent.call())
    }

    pub fn post(&self, route: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = query.iter().fold(
            self.agent.post(format!("{}/_proxy/{route}", self.origin)),
            |request, (name, value)| request.query(name, value),
        );
        let sent = request.header("authorization", format!("Bearer {}", self.token));
        answer(&self.origin, sent.send_empty())
    }

    /// `None`: there is none yet.
    pub fn get_if_any(
        &self,
        route: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, Failure> {
        match self.get(route, query) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Refused { status: 404, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All pages of a list, handed over one by one. A listing of a hundred thousand
    /// takes a hundred calls; each is tried again once the proxy is back.
    pub fn each_page(
        &self,
        route: &str,
        list: &'static str,
        query: &[(&str, &str)],
        mut take: impl FnMut(Vec<Value>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let mut page = patiently(10, || self.get(route, &query))?;
            let Some(Value::Array(rows)) = page.get_mut(list).map(Value::take) else {
                return Err(Failure::Unreadable(list));
            };
            take(rows)?;
            match page.get("next") {
                Some(Value::String(next)) if after.as_ref() != Some(next) => {
                    after = Some(next.clone());
                }
                Some(Value::Null) | None => return Ok(()),
                Some(_) => return Err(Failure::Unreadable("next")),
            }
        }
    }
}

/// How long to wait before the next look: what takes moments is seen at once, and what
/// takes long is not asked about more often than `most`.
pub fn pace(n_looks: u32, most: Duration) -> Duration {
    Duration::from_millis(100 << n_looks.min(6)).min(most)
}

/// Again, a second later, for as long as it may pass.
pub fn patiently<T>(
    n_times: u32,
    mut call: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut n_left = n_times;
    loop {
        match call() {
            Err(failure) if failure.is_passing() && n_left > 0 => n_left -= 1,
            done => return done,
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Redirects are not followed: an address is what it is said to be, or nothing.
pub fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into()
}

pub fn read<T: DeserializeOwned>(value: &Value, what: &'static str) -> Result<T, Failure> {
    serde_json::from_value(value.clone()).map_err(|_| Failure::Unreadable(what))
}

fn answer(
    origin: &str,
    outcome: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value, Failure> {
    let unreachable =
        |error: ureq::Error| Failure::Unreachable(origin.to_owned(), error.to_string());
    let mut response = outcome.map_err(unreachable)?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .map_err(unreachable)?;
    judge(origin, status, serde_json::from_str(&text).ok())
}

/// Status and body to a value or a failure. A refusal of the proxy's own has a code of
/// its own; without one somebody else answered, or somebody on the way.
fn judge(origin: &str, status: u16, body: Option<Value>) -> Result<Value, Failure> {
    let stranger = |what: String| Failure::NotTheProxy(origin.to_owned(), what);
    if (200..300).contains(&status) {
        let body = body.ok_or_else(|| stranger("its answer is no JSON".to_owned()))?;
        return match body.get("failure").and_then(Value::as_str) {
            Some(code) => Err(Failure::Store(code.to_owned())),
            None => Ok(body),
        };
    }
    let text = |name: &str| Some(body.as_ref()?.get(name)?.as_str()?.to_owned());
    let code = text("code").filter(|code| code.starts_with("proxy."));
    match code {
        Some(code) if code == "proxy.admin_token_needed" => {
            Err(Failure::TokenRefused(origin.to_owned()))
        }
        Some(code) if status < 500 && status != 429 => Err(Failure::Refused {
            status,
            message: text("message").unwrap_or_else(|| "the proxy refused".to_owned()),
            code,
        }),
        Some(code) => Err(Failure::Unwell(status, code)),
        None if status >= 500 || status == 429 => Err(Failure::Unwell(
            status,
            "no word of the proxy's own".to_owned(),
        )),
        None => Err(stranger(format!("status {status}"))),
    }
}

/// Whether it is this machine.
pub fn is_loopback(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or_default();
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    matches!(host, "127.0.0.1" | "localhost" | "::1")
}

/// Scheme and authority; a path behind them is not part of an origin.
fn origin_of(url: &str) -> Result<String, Failure> {
    let malformed = || Failure::NotAnAddress(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return Err(malformed());
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(url) => {}
        "http" => return Err(Failure::PlainHttp(url.to_owned())),
        _ => return Err(malformed()),
    }
    Ok(format!("{scheme}://{authority}"))
}

fn prompt() -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::NoToken);
    }
    let terminal = console::Term::stderr();
    terminal
        .write_str("admin token: ")
        .map_err(Failure::Output)?;
    let token = terminal.read_secure_line().map_err(Failure::Output)?;
    if token.is_empty() {
        return Err(Failure::NoToken);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn looks_begin_at_once_and_grow_rarer() {
        let paces = [0, 1, 2, 3, 4, 9].map(|n| pace(n, Duration::from_secs(1)).as_millis());
        assert_eq!(paces, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn the_token_travels_in_clear_to_this_machine_only() {
        for good in [
            "https://auth.example.com",
            "https://auth.example.com/",
            "http://127.0.0.1:8787",
            "http://localhost:8787",
            "http://[::1]:8787",
        ] {
            assert!(origin_of(good).is_ok(), "{good}");
        }
        for plain in ["http://auth.example.com", "http://127.0.0.1.example.com"] {
            assert_eq!(
                origin_of(plain).unwrap_err().code(),
                "plain_http",
                "{plain}"
            );
        }
        for bad in [
            "auth.example.com",
            "https://",
            "ftp://auth.example.com",
            "https://auth.example.com/_proxy",
            "https://127.0.0.1@evil.example",
            "http://localhost@evil.example",
        ] {
            assert_eq!(
                origin_of(bad).unwrap_err().code(),
                "not_an_address",
                "{bad}"
            );
        }
    }

    #[test]
    fn an_answer_is_a_value_a_refusal_or_something_that_passes() {
        let judge = |status, body| judge("https://auth.example.com", status, body);
        assert!(judge(200, Some(json!({ "id": 1 }))).is_ok());
        for (status, code, named) in [
            (409, "proxy.job_active", "proxy.job_active"),
            (404, "proxy.no_such_job", "proxy.no_such_job"),
            (401, "proxy.admin_token_needed", "admin_token_refused"),
        ] {
            let refused = judge(status, Some(json!({ "code": code, "message": "busy" })));
            assert_eq!(refused.unwrap_err().code(), named);
        }
        for (status, body) in [
            (200, Some(json!({ "failure": "unreachable" }))),
            (503, Some(json!({ "code": "proxy.store_unavailable" }))),
            (502, None),
            (429, None),
        ] {
            assert!(judge(status, body).unwrap_err().is_passing(), "{status}");
        }
        // Logto, mgPass, a page of somebody's: none is the proxy.
        for (status, body) in [
            (200, None),
            (404, None),
            (302, None),
            (
                401,
                Some(json!({ "code": "auth.unauthorized", "message": "Unauthorized." })),
            ),
            (404, Some(json!({ "error": { "code": "not_found" } }))),
        ] {
            let failure = judge(status, body).unwrap_err();
            assert_eq!(failure.code(), "not_the_proxy", "{status}");
            assert!(
                failure.to_string().contains("auth.example.com"),
                "{failure}"
            );
        }
    }
}
