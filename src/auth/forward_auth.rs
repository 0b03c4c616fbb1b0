//! What the edge gives to others, open to all: the keys of both issuers
//! (`/_proxy/jwks`), and the judgement of a bearer token for gateways that ask
//! before they let a request through (`/_proxy/verify`: nginx `auth_request`,
//! Envoy `ext_authz`, Traefik `forwardAuth`).
//!
//! `/_proxy/verify` takes the token from `Authorization` and nothing else, with any
//! method. Whom the token must be for is said by the setting `VERIFY_AUDIENCES`;
//! without it the route is closed. On the exact path, with or without a slash at its
//! end, the gateway may narrow that: `?audience=...` to one of those, `?scope=...` to
//! tokens that hold each of these. Below it path and query are the client's own, so
//! nothing in them is looked at; Envoy, which appends the client's path, therefore
//! asks below a segment of its own (`/_proxy/verify/for/orders/1`), or `/` with a query
//! of the client's would be read as a demand.
//!
//! RFC 6750 3; RFC 7517 5.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::auth::authenticate::{Unauthenticated, all_keys, authenticate, policy};
use crate::inbound::classify::Operation;
use crate::inbound::form::Form;
use crate::inbound::request::bearer;
use crate::policy::token::{self, Principal, Refusal};
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Exchange, Platform};

/// Below `/_proxy/`.
const VERIFY: &str = "verify";

/// Resource servers see a rotation within this time, or at once if they refetch on an unknown key.
const JWKS_CACHING: &str = "public, max-age=300";

/// One of these routes.
pub async fn answer<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &E,
) -> OwnAnswer {
    let answer = match (request.inbound.operation, &request.context) {
        (_, None) => Err(ProxyError::Misconfigured),
        (Operation::ProxyJwks, Some(context)) => all_keys(platform, context)
            .await
            .map(|body| jwks_answer(body, "application/jwk-set+json"))
            .ok_or(ProxyError::KeysUnavailable),
        (_, Some(context)) if context.settings.verify_audiences.is_empty() => {
            Err(ProxyError::NoSuchRoute)
        }
        (_, Some(context)) => {
            let below = request.inbound.own_route().strip_prefix(VERIFY);
            let is_exact = below.is_some_and(|rest| rest.bytes().all(|byte| byte == b'/'));
            let query = request.inbound.query().filter(|_| is_exact);
            Ok(verify(platform, context, exchange, query, &request.id).await)
        }
    };
    match answer {
        Ok(answer) => answer.into(),
        Err(error) => request.refuse(error),
    }
}

/// A key set as the proxy serves it: for everybody, and to be kept for a while.
pub fn jwks_answer(body: String, content_type: &str) -> Answer {
    Answer {
        status: 200,
        headers: vec![
            ("content-type", content_type.to_owned()),
            ("cache-control", JWKS_CACHING.to_owned()),
            ("access-control-allow-origin", "*".to_owned()),
        ],
        body,
    }
}

/// What the gateway's own query asks for on top of the settings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Narrowing {
    audience: Option<String>,
    scopes: Vec<String>,
}

impl Narrowing {
    /// `None` for anything unknown or said twice: a misspelt demand would otherwise be none.
    fn parse(query: &str) -> Option<Self> {
        let mut narrowing = Self::default();
        for (name, value) in Form::parse(query)?.0 {
            match name.as_str() {
                "audience" if !value.is_empty() => narrowing.audience = Some(value),
                "scope" if !value.trim().is_empty() => {
                    narrowing.scopes = value.split_whitespace().map(str::to_owned).collect();
                }
                _ => return None,
            }
        }
        Some(narrowing)
    }
}

async fn verify<P: Platform, E: Exchange>(
    platform: &P,
    context: &Context<'_>,
    exchange: &E,
    query: Option<&str>,
    request_id: &str,
) -> Answer {
    let Some(narrowing) = Narrowing::parse(query.unwrap_or_default()) else {
        return challenge(400, "error=\"invalid_request\"");
    };
    let audiences = match &narrowing.audience {
        None => context.settings.verify_audiences.clone(),
        Some(audience) if context.settings.verify_audiences.contains(audience) => {
            vec![audience.clone()]
        }
        Some(_) => return challenge(400, "error=\"invalid_request\""),
    };
    let authorization = exchange.header("authorization");
    let Some(compact) = authorization.as_deref().and_then(bearer) else {
        return challenge(401, "");
    };
    match judge(platform, context, compact, &audiences, &narrowing.scopes).await {
        Ok(principal) => authentic(&principal),
        Err((issuer, failure)) => {
            platform.emit(&Event::TokenRefused {
                request_id,
                issuer,
                code: failure.code(),
            });
            refused(failure, &narrowing.scopes)
        }
    }
}

async fn judge<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    compact: &str,
    audiences: &[String],
    scopes: &[String],
) -> Result<Principal, (&'static str, Unauthenticated)> {
    let token = token::parse(compact)
        .and_then(|parsed| parsed.partition(context.issuers))
        .map_err(|refusal| ("unknown", refusal.into()))?;
    let label = token.issuer().label();
    let policy = policy(context, token.issuer(), audiences);
    let principal = authenticate(platform, context, &token, &policy)
        .await
        .map_err(|failure| (label, failure))?;
    if scopes.iter().all(|scope| principal.scopes.contains(scope)) {
        Ok(principal)
    } else {
        Err((label, Refusal::InsufficientScope.into()))
    }
}

fn refused(failure: Unauthenticated, scopes: &[String]) -> Answer {
    match failure {
        // Neither yes nor no: gateways let nobody through on a 5xx.
        Unauthenticated::KeysUnavailable => Answer {
            status: 503,
            headers: vec![
                ("cache-control", "no-store".to_owned()),
                ("retry-after", "10".to_owned()),
            ],
            body: String::new(),
        },
        Unauthenticated::Refused(Refusal::InsufficientScope) => challenge(
            403,
            &format!(
                "error=\"insufficient_scope\", scope=\"{}\"",
                header_text(&scopes.join(" "))
            ),
        ),
        Unauthenticated::Refused(refusal) => challenge(
            401,
            &format!(
                "error=\"invalid_token\", error_description=\"{}\"",
                refusal.code()
            ),
        ),
    }
}

fn challenge(status: u16, parameters: &str) -> Answer {
    Answer {
        status,
        headers: vec![
            ("cache-control", "no-store".to_owned()),
            (
                "www-authenticate",
                format!("Bearer {parameters}").trim_end().to_owned(),
            ),
        ],
        body: String::new(),
    }
}

/// Everything a gateway may pass on. It must also drop these names from its clients' requests.
fn authentic(principal: &Principal) -> Answer {
    let mut headers = vec![
        ("cache-control", "no-store".to_owned()),
        ("x-auth-subject", header_text(principal.subject.as_str())),
        ("x-auth-issuer", principal.issuer.label().to_owned()),
        (
            "x-auth-audience",
            header_text(&principal.audience.join(" ")),
        ),
        ("x-auth-scope", header_text(&principal.scopes.join(" "))),
        ("x-auth-issued", principal.issued_at.0.to_string()),
        ("x-auth-expires", principal.expires_at.0.to_string()),
    ];
    if let Some(client_id) = &principal.client_id {
        headers.push(("x-auth-client-id", header_text(client_id)));
    }
    if let Some(organization_id) = &principal.organization_id {
        headers.push(("x-auth-organization-id", header_text(organization_id)));
    }
    Answer {
        status: 200,
        headers,
        body: String::new(),
    }
}

/// Header values are visible ASCII: the rest is percent-encoded, and so are `%` and the quotes.
fn header_text(text: &str) -> String {
    const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b'%').add(b'"').add(b'\\');
    utf8_percent_encode(text, NOT_PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Narrowing, header_text};

    fn narrowing(audience: Option<&str>, scopes: &[&str]) -> Option<Narrowing> {
        Some(Narrowing {
            audience: audience.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        })
    }

    #[test]
    fn a_gateway_may_ask_for_more() {
        assert_eq!(Narrowing::parse(""), narrowing(None, &[]));
        assert_eq!(
            Narrowing::parse("audience=https%3A%2F%2Fapi.example&scope=read+write%20all"),
            narrowing(Some("https://api.example"), &["read", "write", "all"])
        );
    }

    #[test]
    fn a_demand_that_is_not_understood_is_refused() {
        for query in [
            "scopes=read",
            "scope",
            "scope=",
            "scope=+",
            "audience=",
            "audience=a&audience=b",
            "scope=a&scope=b",
            "scope=%ff",
            "Scope=a",
        ] {
            assert_eq!(Narrowing::parse(query), None, "{query}");
        }
    }

    #[test]
    fn header_values_are_plain() {
        assert_eq!(header_text("usr_1"), "usr_1");
        assert_eq!(header_text("a b%\"\\"), "a b%25%22%5C");
        assert_eq!(header_text("\u{fc}\r\n"), "%C3%BC%0D%0A");
    }
}
