//! mgPass's answers in Logto's form: one file per operation.
//!
//! Where the residue and mgPass agree the bytes are Logto's own; where they do
//! not, mgPass's value is shown.

pub mod users_get;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// An answer that the proxy builds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// A JSON answer as Logto's API gives it: strong ETag over the body, 304 when the
/// client has it (RFC 9110 13.1.2), and the request id under Logto's name for it.
pub fn json_answer(body: String, if_none_match: Option<&str>, request_id: &str) -> Answer {
    let etag = etag(&body);
    let mut headers = vec![
        ("vary", "Accept-Encoding, Origin".to_owned()),
        ("logto-core-request-id", request_id.to_owned()),
        ("etag", etag.clone()),
    ];
    if if_none_match.is_some_and(|list| names_etag(list, &etag)) {
        return Answer {
            status: 304,
            headers,
            body: String::new(),
        };
    }
    headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
    Answer {
        status: 200,
        headers,
        body,
    }
}

/// A refusal that mgPass gave to its own token, in Logto's error shape.
pub fn error_answer(status: u16, request_id: &str) -> Answer {
    let body = match status {
        403 => {
            r#"{"code":"auth.forbidden","message":"Forbidden. Please check your user roles and permissions."}"#
        }
        404 => r#"{"code":"entity.not_found","message":"The resource does not exist."}"#,
        _ => {
            r#"{"code":"auth.unauthorized","message":"Unauthorized. Please check credentials and its scope."}"#
        }
    };
    let headers = vec![
        ("vary", "Accept-Encoding, Origin".to_owned()),
        ("logto-core-request-id", request_id.to_owned()),
        ("content-type", "application/json; charset=utf-8".to_owned()),
    ];
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

/// Logto's: length in hex, a dash, 27 characters of base64 SHA-1.
fn etag(body: &str) -> String {
    let hash = STANDARD.encode(Sha1::digest(body.as_bytes()));
    format!("\"{:x}-{}\"", body.len(), hash.get(..27).unwrap_or(&hash))
}

/// Weak comparison, as If-None-Match asks for.
fn names_etag(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded of a real server.
    const BODY: &str = r#"{"interactionEvent":"Register","profile":{"username":"bob_1ae441"},"verificationRecords":[],"mfa":{},"signInContext":{"ip":"127.0.0.1","userAgent":"node"},"captcha":{"verified":false,"skipped":false}}"#;
    const ETAG: &str = "\"c8-OfoygZBuH6cvqpiRlytVqM59a3s\"";

    #[test]
    fn the_etag_is_logtos_own() {
        assert_eq!(etag(BODY), ETAG);
    }

    #[test]
    fn a_client_that_has_the_body_gets_304() {
        for list in [
            ETAG.to_owned(),
            format!("W/{ETAG}"),
            format!("\"x\", {ETAG}"),
            "*".to_owned(),
        ] {
            let answer = json_answer(BODY.to_owned(), Some(&list), "r1");
            assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{list}");
        }
        let answer = json_answer(BODY.to_owned(), Some("\"c8-other\""), "r1");
        assert_eq!((answer.status, answer.body.as_str()), (200, BODY));
    }
}
