//! The applications that can sign in at both sides, as the KV key `applications` lists
//! them; and whose a client id is.
//!
//! Pure and total. A list with one bad entry is refused as a whole: half a list would
//! send some clients' secrets to the wrong side. Start URLs stand here and nowhere else:
//! no redirect is ever taken from a request.

use serde::Deserialize;

/// Which of the two a sign-in, a client or a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Logto,
    Mgpass,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
        }
    }
}

/// What an application has at one side: a client, and where its sign-in begins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    pub client_id: String,
    /// The application's own URL, which makes state, nonce and PKCE and goes on to the side.
    pub start: String,
}

/// What of an application is deployed and was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It can sign in at both sides.
    SignIn,
    /// It can sign out at both: its client at mgPass has `/_proxy/signed-out` registered,
    /// its client at Logto the application's own address.
    SignOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// As in `/_proxy/sign-in/<name>`.
    pub name: String,
    /// Applications between which single sign-on holds.
    pub group: String,
    pub logto: Registered,
    pub mgpass: Registered,
    /// Who answers for it: a person or a team, for people.
    pub owner: String,
    #[serde(default)]
    pub ready: Vec<Part>,
}

impl Application {
    pub fn is_ready(&self, part: Part) -> bool {
        self.ready.contains(&part)
    }

    pub fn at(&self, side: Side) -> &Registered {
        match side {
            Side::Logto => &self.logto,
            Side::Mgpass => &self.mgpass,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applications {
    list: Vec<Application>,
}

const MAX_APPLICATIONS: usize = 200;
/// Each isolate reads it again every few seconds.
const MAX_BYTES: usize = 64 * 1024;
const MAX_URL_BYTES: usize = 2_048;
const MAX_NAME_BYTES: usize = 64;
/// mgPass's application ids begin so in all its documents. ASSUMPTION: Logto's never do
/// (21 random letters and digits).
const MGPASS_PREFIX: &str = "app_";

impl Applications {
    /// # Errors
    /// The code of what is wrong first.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("too_large");
        }
        let list: Vec<Application> = serde_json::from_str(text).map_err(|_| "unreadable")?;
        if list.len() > MAX_APPLICATIONS {
            return Err("too_many");
        }
        for (index, application) in list.iter().enumerate() {
            let before = list.get(..index).unwrap_or_default();
            judge(application, before)?;
        }
        Ok(Self { list })
    }

    pub fn list(&self) -> &[Application] {
        &self.list
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn named(&self, name: &str) -> Option<&Application> {
        self.list
            .iter()
            .find(|application| application.name == name)
    }

    /// The application whose client this is, and at which side.
    pub fn of_client(&self, client_id: &str) -> Option<(&Application, Side)> {
        [Side::Logto, Side::Mgpass].into_iter().find_map(|side| {
            let found = self
                .list
                .iter()
                .find(|application| application.at(side).client_id == client_id)?;
            Some((found, side))
        })
    }

    /// Whose client it is. One that is not listed goes by its form: what looks like
    /// mgPass's must not show its secret to Logto.
    pub fn owner(&self, client_id: &str) -> Side {
        match self.of_client(client_id) {
            Some((_, side)) => side,
            None if client_id.starts_with(MGPASS_PREFIX) => Side::Mgpass,
            None => Side::Logto,
        }
    }

    /// Whether scripts of this origin are an application's own.
    pub fn has_origin(&self, origin: &str) -> bool {
        self.list.iter().any(|application| {
            [Side::Logto, Side::Mgpass]
                .into_iter()
                .any(|side| origin_of(&application.at(side).start) == Some(origin))
        })
    }
}

fn judge(application: &Application, before: &[Application]) -> Result<(), &'static str> {
    if !is_name(&application.name) || !is_name(&application.group) {
        return Err("name_malformed");
    }
    if before.iter().any(|other| other.name == application.name) {
        return Err("name_twice");
    }
    let (logto, mgpass) = (&application.logto, &application.mgpass);
    if !is_client_id(&logto.client_id) || !is_client_id(&mgpass.client_id) {
        return Err("client_id_malformed");
    }
    if logto.client_id.starts_with(MGPASS_PREFIX) {
        return Err("client_id_of_the_other_side");
    }
    let is_taken = |id: &str| {
        before
            .iter()
            .any(|other| other.logto.client_id == id || other.mgpass.client_id == id)
    };
    if logto.client_id == mgpass.client_id
        || is_taken(&logto.client_id)
        || is_taken(&mgpass.client_id)
    {
        return Err("client_id_twice");
    }
    if !is_start(&logto.start) || !is_start(&mgpass.start) {
        return Err("start_refused");
    }
    // The application could not tell at which side to begin.
    if logto.start == mgpass.start {
        return Err("start_twice");
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(is_plain)
}

fn is_client_id(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.len() <= 128 && text.bytes().all(is_fit)
}

/// An absolute URL that a browser takes in one way only: https, but on this machine; no
/// user, no fragment, and none of the proxy's own paths, which would lead in a circle.
fn is_start(url: &str) -> bool {
    let Some(origin) = origin_of(url) else {
        return false;
    };
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    let is_safe = scheme == "https" || matches!(host, "localhost" | "127.0.0.1");
    let rest = url.get(origin.len()..).unwrap_or_default();
    is_safe
        && !host.is_empty()
        && authority.bytes().all(is_host_byte)
        && url.len() <= MAX_URL_BYTES
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && !rest.contains(['\\', '#', '"', '<', '>'])
        && !rest.starts_with("/_proxy/")
}

/// Scheme and authority, as an `Origin` header shows them. Lower case: a browser would
/// write it so.
fn origin_of(url: &str) -> Option<&str> {
    let scheme_end = url.find("://")?;
    if !matches!(url.get(..scheme_end)?, "http" | "https") {
        return None;
    }
    let after = scheme_end + "://".len();
    let rest = url.get(after..)?;
    let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let origin = url.get(..after + length)?;
    (origin == origin.to_ascii_lowercase()).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry(name: &str) -> Value {
        json!({ "name": name, "group": "main", "owner": "team-web", "ready": ["sign_in"],
            "logto": { "client_id": format!("{name}00000000"), "start": format!("https://{name}.example/login") },
            "mgpass": { "client_id": format!("app_{name}"), "start": format!("https://{name}.example/login/mgpass") } })
    }

    fn parse(list: &Value) -> Result<Applications, &'static str> {
        Applications::parse(&list.to_string())
    }

    #[test]
    fn a_list_is_read_and_each_client_has_one_side() {
        let applications = parse(&json!([entry("news"), entry("shop")])).unwrap();
        assert_eq!(applications.list().len(), 2);
        let news = applications.named("news").unwrap();
        assert!(news.is_ready(Part::SignIn) && !news.is_ready(Part::SignOut));
        assert_eq!(news.at(Side::Mgpass).client_id, "app_news");
        for (client_id, side) in [
            ("news00000000", Side::Logto),
            ("app_news", Side::Mgpass),
            ("hh9yqxxm3bfjj1fi3vgg5", Side::Logto),
            ("app_of_nobody", Side::Mgpass),
        ] {
            assert_eq!(applications.owner(client_id), side, "{client_id}");
        }
        let (found, side) = applications.of_client("app_shop").unwrap();
        assert_eq!((found.name.as_str(), side), ("shop", Side::Mgpass));
        assert!(applications.of_client("app_of_nobody").is_none());
        assert!(applications.named("News").is_none());
        assert_eq!(parse(&json!([])), Ok(Applications::default()));
    }

    #[test]
    fn a_listed_client_is_mgpasss_whatever_it_looks_like() {
        let mut odd = entry("news");
        odd["mgpass"]["client_id"] = json!("newsroom");
        let applications = parse(&json!([odd])).unwrap();
        assert_eq!(applications.owner("newsroom"), Side::Mgpass);
    }

    #[test]
    fn one_bad_entry_refuses_the_list() {
        let check = |pointer: &str, value: Value, code: &str| {
            let mut list = json!([entry("news"), entry("shop")]);
            *list.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(parse(&list), Err(code), "{pointer} {value}");
        };
        for name in ["", "News", "a b", "a/b", "a?b", "\u{e9}", &"x".repeat(65)] {
            check("/1/name", json!(name), "name_malformed");
            check("/1/group", json!(name), "name_malformed");
        }
        check("/1/name", json!("news"), "name_twice");
        check("/1/logto/client_id", json!(""), "client_id_malformed");
        check("/1/mgpass/client_id", json!("a b"), "client_id_malformed");
        check(
            "/1/logto/client_id",
            json!("app_x"),
            "client_id_of_the_other_side",
        );
        check(
            "/1/logto/client_id",
            json!("news00000000"),
            "client_id_twice",
        );
        check("/1/mgpass/client_id", json!("app_news"), "client_id_twice");
        check(
            "/1/mgpass/client_id",
            json!("shop00000000"),
            "client_id_twice",
        );
        check(
            "/1/mgpass/start",
            json!("https://shop.example/login"),
            "start_twice",
        );
        check("/1/ready", json!(["signin"]), "unreadable");
        check("/1/logto", json!("x"), "unreadable");
        check("/1", json!({}), "unreadable");
        let mut misspelt = entry("news");
        misspelt["redy"] = json!([]);
        assert_eq!(parse(&json!([misspelt])), Err("unreadable"));
        assert_eq!(parse(&json!({})), Err("unreadable"));
        let many: Vec<_> = (0..201)
            .map(|number| entry(&format!("a{number}")))
            .collect();
        assert!(matches!(parse(&json!(many)), Err("too_many" | "too_large")));
    }

    #[test]
    fn a_start_is_read_by_a_browser_in_one_way() {
        for good in [
            "https://news.example/login?side=mgpass",
            "https://news.example",
            "https://news.example:8443/x",
            "http://127.0.0.1:3000/login",
            "http://localhost/login",
        ] {
            assert!(is_start(good), "{good}");
        }
        for bad in [
            "",
            "/login",
            "//evil.example",
            "http://news.example/login",
            "javascript:alert(1)",
            "https:///x",
            "https://user@news.example/",
            "https://news.example\\@evil.example/",
            "https://news.example/a b",
            "https://news.example/\r\nset-cookie: x",
            "https://news.example/#x",
            "https://NEWS.example/",
            "https://auth.example/_proxy/sign-in/news",
            "http://127.0.0.1.evil.example/",
            "ftp://news.example/",
        ] {
            assert!(!is_start(bad), "{bad}");
        }
    }

    #[test]
    fn scripts_of_an_application_have_its_origin() {
        let applications = parse(&json!([entry("news")])).unwrap();
        assert!(applications.has_origin("https://news.example"));
        for origin in [
            "https://news.example.evil",
            "null",
            "",
            "http://news.example",
        ] {
            assert!(!applications.has_origin(origin), "{origin}");
        }
    }
}
