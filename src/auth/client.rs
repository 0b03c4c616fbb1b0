//! Which clients a request on an OIDC route names, in every way in which either side may
//! read it. What they show decides where the request goes and nothing else; nothing of it
//! is kept but the client ids.
//!
//! RFC 6749 2.3.1; RFC 7523 2.2; Logto takes a JSON body too.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::parse;
use serde_json::Value;

use crate::inbound::form::decode;
use crate::policy::applications::{Applications, Side};

/// What a request on the token endpoint says, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Presented {
    pub client_ids: Vec<String>,
    pub grant: Option<String>,
    pub resource: Option<String>,
    pub names_organization: bool,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    One(Side),
    /// It names clients of both: whoever got it would see the other's secret.
    Both,
}

impl Presented {
    pub fn read(authorization: Option<&str>, body: &str) -> Self {
        let mut presented = Self::default();
        if let Some(pair) = authorization.and_then(basic) {
            let id = pair.split(':').next().unwrap_or_default();
            // Libraries encode it as in a form (RFC 6749 2.3.1), or do not.
            presented.note(decode(id).as_deref().unwrap_or(id));
        }
        match serde_json::from_str::<Value>(body) {
            Ok(Value::Object(members)) => {
                for (name, value) in &members {
                    if let Some(value) = value.as_str() {
                        presented.take(name, value);
                    }
                }
            }
            _ => {
                // Every value of a name: one may be read here and another there.
                for (name, value) in parse(body.as_bytes()) {
                    presented.take(&name, &value);
                }
            }
        }
        presented
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "client_id" => self.note(value),
            "client_assertion" => {
                for id in asserted(value) {
                    self.note(&id);
                }
            }
            "grant_type" => self.grant = Some(value.to_owned()),
            "resource" => self.resource = Some(value.to_owned()),
            "organization_id" => self.names_organization = true,
            _ => {}
        }
    }

    fn note(&mut self, id: &str) {
        if !id.is_empty() && !self.client_ids.iter().any(|known| known == id) {
            self.client_ids.push(id.to_owned());
        }
    }

    /// Logto's where nobody is named: it says what is missing.
    pub fn owner(&self, applications: &Applications) -> Owner {
        let mut sides = self.client_ids.iter().map(|id| applications.owner(id));
        let Some(first) = sides.next() else {
            return Owner::One(Side::Logto);
        };
        match sides.all(|side| side == first) {
            true => Owner::One(first),
            false => Owner::Both,
        }
    }

    /// For the ledger of what Logto is still needed for. The audience of the Management
    /// API is named, since mgPass grants none.
    pub fn kind(&self, management: Option<&str>) -> &'static str {
        if self.names_organization {
            return "organization_token";
        }
        match (self.resource.as_deref(), management) {
            (Some(resource), Some(management)) if resource == management => {
                return "management_api";
            }
            _ => {}
        }
        match self.grant.as_deref() {
            Some("authorization_code") if self.resource.is_some() => "authorization_code_resource",
            Some("authorization_code") => "authorization_code",
            Some("refresh_token") if self.resource.is_some() => "refresh_token_resource",
            Some("refresh_token") => "refresh_token",
            Some("client_credentials") => "client_credentials",
            Some("urn:ietf:params:oauth:grant-type:device_code") => "device_code",
            Some("urn:ietf:params:oauth:grant-type:token-exchange") => "token_exchange",
            Some(_) | None => "other",
        }
    }
}

fn basic(authorization: &str) -> Option<String> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

/// The client of an assertion: both claims name it.
fn asserted(assertion: &str) -> Vec<String> {
    let claims = assertion.split('.').nth(1);
    let claims = claims.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    ["iss", "sub"]
        .iter()
        .filter_map(|name| Some(claims.as_ref()?.get(name)?.as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: Option<&str>, body: &str, owner: Owner) {
        let presented = Presented::read(authorization, body);
        assert_eq!(
            presented.owner(&Applications::default()),
            owner,
            "{authorization:?} {body} {presented:?}"
        );
    }

    const LOGTO: Owner = Owner::One(Side::Logto);
    const MGPASS: Owner = Owner::One(Side::Mgpass);

    #[test]
    fn a_client_is_found_in_every_way_to_show_it() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(Some(&basic("app_news:s")), "grant_type=x", MGPASS);
        check(
            Some(&basic("app%5Fnews:s").replace("Basic", "basic")),
            "",
            MGPASS,
        );
        check(Some(&basic("hh9yqxxm3bfjj1fi3vgg5:s")), "", LOGTO);
        check(None, "client_id=app_news&code=c", MGPASS);
        check(None, "client%5Fid=app%5Fnews", MGPASS);
        check(None, "client_id=hh9yqxxm3bfjj1fi3vgg5", LOGTO);
        check(None, r#"{"client_id":"app_news","code":"c"}"#, MGPASS);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"app_news","sub":"app_news"}"#);
        check(None, &format!("client_assertion=e30.{claims}.AQ"), MGPASS);
        for nobody in [
            "",
            "grant_type=refresh_token",
            "client_id=",
            "[]",
            "\u{fffd}",
        ] {
            check(None, nobody, LOGTO);
        }
        check(Some("Bearer app_news"), "", LOGTO);
        check(Some("Basic !"), "", LOGTO);
    }

    #[test]
    fn clients_of_both_sides_in_one_request_are_told() {
        let basic = format!("Basic {}", STANDARD.encode("app_news:s"));
        let other = "client_id=hh9yqxxm3bfjj1fi3vgg5";
        check(Some(&basic), other, Owner::Both);
        check(None, &format!("client_id=app_news&{other}"), Owner::Both);
        check(
            None,
            r#"{"client_id":"hh9yqxxm3bfjj1fi3vgg5","client_assertion":"e30.eyJpc3MiOiJhcHBfbiJ9.AQ"}"#,
            Owner::Both,
        );
    }

    #[test]
    fn what_logto_is_needed_for_has_a_name() {
        let kind = |body: &str| Presented::read(None, body).kind(Some("https://m/api"));
        for (body, expected) in [
            ("grant_type=authorization_code", "authorization_code"),
            (
                "grant_type=refresh_token&resource=https://a",
                "refresh_token_resource",
            ),
            (
                "grant_type=client_credentials&resource=https://m/api",
                "management_api",
            ),
            (
                "grant_type=refresh_token&organization_id=o1",
                "organization_token",
            ),
            (
                "grant_type=urn:ietf:params:oauth:grant-type:device_code",
                "device_code",
            ),
            (
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
                "token_exchange",
            ),
            ("grant_type=password", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind(body), expected, "{body}");
        }
    }
}
