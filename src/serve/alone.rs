//! What Logto's issuer goes on to say once nobody asks Logto any more: its discovery
//! document and its public keys, as they were kept, for whoever checks its last tokens.
//! When the last of them has expired they are gone (410), and the answer says where to go.
//!
//! Everything else of stage `cleanup` is what it is while mgPass is the authority, without
//! the calls to Logto: each of those fails at one place (`backend::send`, `send_to_logto`)
//! by a name of its own, and the client is told `proxy.logto_retired`.

use std::sync::Arc;

use crate::auth::authenticate::{imported_keys, now};
use crate::handover::cleanup::notes;
use crate::inbound::classify::{Kind, Operation};
use crate::inbound::request::Method;
use crate::inbound::{Addressee, Inbound};
use crate::policy::plan::Reason;
use crate::runtime::answer::{Answer, OwnAnswer};
use crate::runtime::context::{Context, Request};
use crate::runtime::dependencies::UNNAMED;
use crate::runtime::error::ProxyError;
use crate::runtime::isolate::OldIssuer;
use crate::runtime::ports::{Platform, Store};
use crate::serve::execute::Executed;

/// Until the end of the last token at the latest; so long may a cache keep it.
const CACHED_S: i64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Document {
    Discovery,
    Keys,
}

/// Of a path as Logto's router reads it.
fn document_of(inbound: &Inbound) -> Option<Document> {
    if inbound.addressee != Addressee::Logto
        || !matches!(inbound.method, Method::Get | Method::Other)
    {
        return None;
    }
    if inbound.operation == Operation::OidcJwks {
        return Some(Document::Keys);
    }
    let rest = inbound.path().strip_prefix("/oidc/")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.eq_ignore_ascii_case(".well-known/openid-configuration") {
        Some(Document::Discovery)
    } else {
        None
    }
}

/// `None`: Logto is asked, or it is none of these.
pub async fn document<P: Platform>(platform: &P, request: &Request<'_>) -> Option<OwnAnswer> {
    if !request.isolate.authority.get().is_alone() {
        return None;
    }
    let document = document_of(request.inbound)?;
    let Some(context) = &request.context else {
        return Some(request.refuse(ProxyError::SettingsFaulty));
    };
    // Without an import nobody knows an end.
    let ends = imported_keys(platform, context)
        .await
        .map(|imported| imported.last_end());
    let now = now(platform);
    if ends.is_some_and(|ends| now >= ends) {
        return Some(request.refuse(ProxyError::IssuerEnded));
    }
    Some(match kept(platform, context).await {
        Ok(Some(kept)) => answer(document, &kept, ends.map(|ends| ends.since(now))).into(),
        Ok(None) => request.refuse(ProxyError::LogtoRetired),
        Err(error) => request.refuse(error),
    })
}

/// What was still needed, for the ledger: of Logto, before it is left alone; and then of the
/// proxy, which is not taken away while anybody uses what it alone serves.
pub fn note_use<P: Platform, C>(platform: &P, request: &Request<'_>, executed: &Executed<C>) {
    if request.inbound.addressee != Addressee::Logto || executed.status >= 400 {
        return;
    }
    let is_alone = request.isolate.authority.get().is_alone();
    let kind = match (is_alone, executed.plan.reason) {
        (true, Reason::Rows) => "rows",
        (true, Reason::Translated) => "translated",
        (true, Reason::MgpassToken) => "mgpass_token",
        (true, Reason::Own) if executed.error.is_none() => "document",
        (false, Reason::Kept) if request.inbound.operation.kind() != Kind::PassThrough => "kept",
        (false, Reason::AsOf) => "list",
        (false, Reason::SignIn) => "sign_in",
        _ => return,
    };
    let mut dependencies = request.isolate.dependencies.borrow_mut();
    dependencies.note(UNNAMED, kind, platform.now_ms());
}

async fn kept<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Option<Arc<OldIssuer>>, ProxyError> {
    if let Some(kept) = context.isolate.old_issuer() {
        return Ok(Some(kept));
    }
    let results = platform
        .batch(Store::Proxy, vec![notes::issuer()])
        .await
        .map_err(|_| ProxyError::DatabaseUnavailable)?;
    let kept = notes::parse_issuer(&results).map(Arc::new);
    if let Some(kept) = &kept {
        context.isolate.set_old_issuer(Arc::clone(kept));
    }
    Ok(kept)
}

/// Under Logto's content types, readable by scripts of any origin, as Logto has them.
fn answer(document: Document, kept: &OldIssuer, left_s: Option<i64>) -> Answer {
    let (kind, body) = match document {
        Document::Discovery => ("application/json; charset=utf-8", &kept.discovery),
        Document::Keys => ("application/jwk-set+json; charset=utf-8", &kept.jwks),
    };
    let cached_s = left_s.map_or(CACHED_S, |left_s| left_s.min(CACHED_S));
    Answer {
        status: 200,
        headers: vec![
            ("content-type", kind.to_owned()),
            ("access-control-allow-origin", "*".to_owned()),
            ("cache-control", format!("public, max-age={cached_s}")),
        ],
        body: body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_documents_are_known_as_logtos_router_knows_them() {
        use Document::{Discovery, Keys};
        for (method, path, expected) in [
            (
                "GET",
                "/oidc/.well-known/openid-configuration",
                Some(Discovery),
            ),
            (
                "GET",
                "/oidc/.Well-Known/openid-configuration/",
                Some(Discovery),
            ),
            (
                "HEAD",
                "/oidc/.well-known/openid-configuration",
                Some(Discovery),
            ),
            ("GET", "/oidc/jwks", Some(Keys)),
            ("GET", "/oidc/JWKS/", Some(Keys)),
            ("POST", "/oidc/jwks", None),
            ("GET", "/OIDC/jwks", None),
            ("GET", "/oidc/.well-known/openid-configuration/x", None),
            ("GET", "/.well-known/openid-configuration", None),
            ("GET", "/_proxy/jwks", None),
        ] {
            let url = format!("https://auth.example.com{path}");
            let inbound = Inbound::read(Method::parse(method), url, |_| None);
            assert_eq!(document_of(&inbound), expected, "{method} {path}");
        }
    }

    #[test]
    fn no_cache_outlives_the_last_token() {
        let kept = OldIssuer {
            discovery: "{}".to_owned(),
            jwks: r#"{"keys":[]}"#.to_owned(),
        };
        for (left_s, cached) in [(None, 300), (Some(1_000), 300), (Some(7), 7)] {
            let answer = answer(Document::Keys, &kept, left_s);
            let expected = ("cache-control", format!("public, max-age={cached}"));
            assert!(answer.headers.contains(&expected));
        }
    }
}
