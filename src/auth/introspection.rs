//! Reads an introspection request: whose client asks, about whose token. Nothing of
//! it is logged, and what it says decides only where the question goes.
//!
//! RFC 7662 2.1; RFC 6749 2.3.1 and 3.2.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::inbound::form::{Form, decode};
use crate::inbound::request::Secret;
use crate::policy::allowance::Mark;
use crate::policy::applications::{Applications, Side};
use crate::policy::token::{self, Issuer, IssuerNames};
use crate::runtime::backend::form;
use crate::runtime::ports::Backend;

/// In place of the token when only the client is in question: no issuer has it.
const NO_TOKEN: &str = "none";

#[derive(Debug)]
pub struct Introspection {
    pub client_of: Backend,
    pub token_of: Backend,
    /// Whether the client shows a secret. Without one it only says who it is, as everybody
    /// may. An assertion counts for nothing: neither backend documents one.
    pub shows_secret: bool,
    authorization: Option<Secret<String>>,
    form: Secret<Form>,
}

impl Introspection {
    /// `None` when it cannot be read in one way only: then Logto judges it as it is.
    pub fn parse(
        authorization: Option<&str>,
        body: &str,
        issuers: &IssuerNames,
        applications: &Applications,
    ) -> Option<Self> {
        let form = Form::parse(body)?;
        let (client_id, shows_secret) = match authorization {
            Some(authorization) => basic_client(authorization)?,
            None => {
                let secret = form.get("client_secret").unwrap_or_default();
                (form.get("client_id")?.to_owned(), !secret.is_empty())
            }
        };
        let client_of = match applications.owner(&client_id) {
            Side::Logto => Backend::Logto,
            Side::Mgpass => Backend::Mgpass,
        };
        let token_of = issuer_of(form.get("token")?, client_of, issuers);
        Some(Self {
            client_of,
            token_of,
            shows_secret,
            authorization: authorization.map(|text| Secret(text.to_owned())),
            form: Secret(form),
        })
    }

    pub fn token(&self) -> &str {
        self.form.0.get("token").unwrap_or_default()
    }

    /// By which the client is known again without its secret being kept.
    pub fn mark(&self) -> Mark {
        let (authorization, body) = self.client_only();
        let authorization = authorization.map_or(String::new(), |secret| secret.0);
        Sha256::new()
            .chain_update(authorization.len().to_be_bytes())
            .chain_update(authorization)
            .chain_update(body.0)
            .finalize()
            .into()
    }

    /// With the client's own credential, as it came.
    pub fn as_client(&self) -> (Option<Secret<String>>, Secret<String>) {
        (self.authorization.clone(), self.body(|_| true, None))
    }

    /// The client's own credential without the token.
    pub fn client_only(&self) -> (Option<Secret<String>>, Secret<String>) {
        let is_kept = |name: &str| name != "token_type_hint";
        (
            self.authorization.clone(),
            self.body(is_kept, Some(NO_TOKEN)),
        )
    }

    /// The token without the client's credential.
    pub fn token_only(&self) -> Secret<String> {
        self.body(|name| matches!(name, "token" | "token_type_hint"), None)
    }

    fn body(&self, is_kept: impl Fn(&str) -> bool, token: Option<&str>) -> Secret<String> {
        let pairs: Vec<(&str, &str)> = self
            .form
            .0
            .0
            .iter()
            .filter(|(name, _)| is_kept(name))
            .map(|(name, value)| match (name.as_str(), token) {
                ("token", Some(token)) => ("token", token),
                (name, _) => (name, value.as_str()),
            })
            .collect();
        Secret(form(&pairs))
    }
}

/// Whose the token says it is, by its unverified `iss`. mgPass's opaque tokens start with
/// `rt_`, which is believed of its own clients only: Logto's are random text.
fn issuer_of(token: &str, client_of: Backend, issuers: &IssuerNames) -> Backend {
    match token::parse(token).and_then(|parsed| parsed.partition(issuers)) {
        Ok(token) => match token.issuer() {
            Issuer::Logto => Backend::Logto,
            Issuer::Mgpass => Backend::Mgpass,
        },
        Err(_) if client_of == Backend::Mgpass && token.starts_with("rt_") => Backend::Mgpass,
        Err(_) => Backend::Logto,
    }
}

/// The client, and whether there is a secret beside it.
fn basic_client(authorization: &str) -> Option<(String, bool)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((decode(id)?, !secret.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> IssuerNames {
        IssuerNames::new("https://old.example/oidc", "https://new.example").unwrap()
    }

    fn token_of(issuer: &str) -> String {
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let claims = format!(
            r#"{{"iss":"{issuer}","sub":"s","aud":"a","iat":1790000000,"exp":1790003600}}"#
        );
        format!("{}.{}.AQ", encode(r#"{"alg":"ES256"}"#), encode(&claims))
    }

    fn check(authorization: Option<&str>, body: &str, expected: Option<(Backend, Backend)>) {
        let found = Introspection::parse(authorization, body, &names(), &Applications::default());
        let found = found.map(|found| (found.client_of, found.token_of));
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn client_and_token_are_attributed_apart() {
        let logto = token_of("https://old.example/oidc");
        let mgpass = token_of("https://new.example");
        let foreign = token_of("https://evil.example");
        let basic = |id: &str| format!("Basic {}", STANDARD.encode(format!("{id}:secret")));
        let old_client = basic("hh9yqxxm3bfjj1fi3vgg5");
        let new_client = basic("app_newsroom");
        for (client, token, expected) in [
            (
                &old_client,
                logto.as_str(),
                (Backend::Logto, Backend::Logto),
            ),
            (&old_client, &mgpass, (Backend::Logto, Backend::Mgpass)),
            (&new_client, &mgpass, (Backend::Mgpass, Backend::Mgpass)),
            (&new_client, &logto, (Backend::Mgpass, Backend::Logto)),
            (&old_client, "opaque", (Backend::Logto, Backend::Logto)),
            (&old_client, "rt_9d", (Backend::Logto, Backend::Logto)),
            (&new_client, "rt_9d", (Backend::Mgpass, Backend::Mgpass)),
            (&new_client, "opaque", (Backend::Mgpass, Backend::Logto)),
            (&old_client, &foreign, (Backend::Logto, Backend::Logto)),
        ] {
            check(Some(client), &format!("token={token}"), Some(expected));
        }
        check(
            None,
            &format!("client_id=app%5Fnewsroom&client_secret=s&token={mgpass}"),
            Some((Backend::Mgpass, Backend::Mgpass)),
        );
    }

    #[test]
    fn a_secret_is_what_only_the_client_has() {
        let shows = |authorization: Option<&str>, body: &str| {
            let found =
                Introspection::parse(authorization, body, &names(), &Applications::default())
                    .unwrap();
            found.shows_secret
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(shows(Some(&basic("a:s")), "token=t"));
        assert!(!shows(Some(&basic("a:")), "token=t"));
        assert!(!shows(Some(&basic("a:")), "token=t&client_secret=s"));
        assert!(shows(None, "client_id=a&client_secret=s&token=t"));
        assert!(!shows(None, "client_id=a&token=t"));
        assert!(!shows(None, "client_id=a&client_secret=&token=t"));
        assert!(!shows(None, "client_id=a&client_assertion=x&token=t"));
    }

    #[test]
    fn a_client_is_known_again_by_its_whole_credential() {
        let mark = |authorization: Option<&str>, body: &str| {
            let found =
                Introspection::parse(authorization, body, &names(), &Applications::default())
                    .unwrap();
            found.mark()
        };
        let form = "client_id=a&client_secret=s";
        let one = mark(None, &format!("{form}&token=t1&token_type_hint=x"));
        assert_eq!(one, mark(None, &format!("{form}&token=t2")));
        assert_ne!(one, mark(None, "client_id=a&client_secret=z&token=t1"));
        let basic = format!("Basic {}", STANDARD.encode("a:s"));
        let other = format!("Basic {}", STANDARD.encode("a:z"));
        let by_header = mark(Some(&basic), "token=t1");
        assert_ne!(by_header, one);
        assert_ne!(by_header, mark(Some(&other), "token=t1"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        check(None, "token=a", None);
        check(Some("Bearer abc"), "token=a", None);
        check(Some("Basic !"), "token=a", None);
        check(None, "client_id=app_x&token=a&token=b", None);
        check(None, "client_id=app_x&client_id=y&token=a", None);
        check(None, "client_id=app_x", None);
        check(None, "client_id=app_x&token=%ff", None);
    }

    #[test]
    fn secret_and_token_are_kept_apart() {
        let body = "token=t1&token_type_hint=access_token&client_id=app_x&client_secret=s%26";
        let found = Introspection::parse(None, body, &names(), &Applications::default()).unwrap();
        assert_eq!(
            found.token_only().0,
            "token=t1&token_type_hint=access_token"
        );
        let (authorization, client) = found.client_only();
        assert!(authorization.is_none());
        assert_eq!(client.0, "token=none&client_id=app_x&client_secret=s%26");
        assert_eq!(found.as_client().1.0, body);
        assert!(!format!("{found:?}").contains("t1"));
    }
}
