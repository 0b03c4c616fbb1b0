//! Logto's discovery document and the public halves of its keys, fetched while it answers
//! and kept for whoever checks its last tokens.

use crate::policy::token::{Issuer, KeySet};
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::isolate::OldIssuer;
use crate::runtime::ports::Platform;

/// Why they are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    Silent,
    /// Its `issuer` is not `LOGTO_ISSUER`: it would be refused by whoever reads it.
    OtherIssuer,
    NoKeys,
    /// A key with its private half must never be served.
    PrivateKey,
}

impl Unkept {
    pub fn code(self) -> &'static str {
        match self {
            Self::Silent => "logto_silent",
            Self::OtherIssuer => "other_issuer",
            Self::NoKeys => "no_keys",
            Self::PrivateKey => "private_key",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Silent => "Logto did not hand out its documents: try again.",
            Self::OtherIssuer => {
                "Logto's discovery document names another issuer than LOGTO_ISSUER: look at its ENDPOINT and TRUST_PROXY_HEADER."
            }
            Self::NoKeys => "Logto's key set holds no usable key.",
            Self::PrivateKey => "Logto's key set holds a private key, which must not be served.",
        }
    }
}

/// # Errors
/// When what Logto answers cannot be served in its stead.
pub async fn fetch<P: Platform>(platform: &P, context: &Context<'_>) -> Result<OldIssuer, Unkept> {
    let discovery = logto::discovery(platform, context).await;
    let discovery = discovery.map_err(|_| Unkept::Silent)?.body;
    let jwks = logto::jwks(platform, context).await;
    let jwks = jwks.map_err(|_| Unkept::Silent)?.body;
    judge(&discovery, &jwks, &context.settings.logto_issuer)?;
    Ok(OldIssuer { discovery, jwks })
}

fn judge(discovery: &str, jwks: &str, issuer: &str) -> Result<(), Unkept> {
    let document: serde_json::Value =
        serde_json::from_str(discovery).map_err(|_| Unkept::OtherIssuer)?;
    if document.get("issuer").and_then(|found| found.as_str()) != Some(issuer) {
        return Err(Unkept::OtherIssuer);
    }
    let set: serde_json::Value = serde_json::from_str(jwks).map_err(|_| Unkept::NoKeys)?;
    let keys = set.get("keys").and_then(|keys| keys.as_array());
    let keys = keys.ok_or(Unkept::NoKeys)?;
    // RFC 7518 6.2.2, 6.3.2, 6.4.1.
    let is_private = |key: &serde_json::Value| {
        ["d", "p", "q", "k"]
            .iter()
            .any(|name| key.get(*name).is_some())
    };
    if keys.iter().any(is_private) {
        return Err(Unkept::PrivateKey);
    }
    KeySet::parse(Issuer::Logto, jwks.as_bytes())
        .map(|_| ())
        .map_err(|_| Unkept::NoKeys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://auth.example.com/oidc";
    /// RFC 7517 A.1.
    const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}"#;

    #[test]
    fn only_what_could_be_served_in_logtos_stead_is_kept() {
        let discovery = format!(r#"{{"issuer":"{ISSUER}"}}"#);
        let set = |keys: &str| format!(r#"{{"keys":[{keys}]}}"#);
        let private = KEY.replace(
            r#""kid""#,
            r#""d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","kid""#,
        );
        for (discovery, jwks, expected) in [
            (discovery.as_str(), set(KEY), Ok(())),
            (
                r#"{"issuer":"https://origin.internal/oidc"}"#,
                set(KEY),
                Err(Unkept::OtherIssuer),
            ),
            ("<html>", set(KEY), Err(Unkept::OtherIssuer)),
            (discovery.as_str(), set(""), Err(Unkept::NoKeys)),
            (discovery.as_str(), "<html>".to_owned(), Err(Unkept::NoKeys)),
            (discovery.as_str(), set(&private), Err(Unkept::PrivateKey)),
        ] {
            assert_eq!(judge(discovery, &jwks, ISSUER), expected, "{jwks}");
        }
    }
}
