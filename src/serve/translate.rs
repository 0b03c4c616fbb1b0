//! mgPass's answers in Logto's form: one file per operation.
//!
//! Where the residue and mgPass agree the bytes are Logto's own; where they do
//! not, mgPass's value is shown.

pub mod users_get;
pub mod users_get_custom_data;
pub mod users_get_identity;

pub use crate::mirror::view;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use self::view::View;
use crate::inbound::classify::Operation;
use crate::runtime::answer::Answer;

/// How one operation is shown in Logto's form.
#[derive(Clone, Copy)]
pub struct Translation {
    pub needs_identities: bool,
    pub show: Show,
}

/// The user, and the last parameter of the path where the route has one.
pub type Show = fn(&View<'_>, Option<&str>) -> Shown;

/// `None`: the operation stays on Logto.
pub fn translation(operation: Operation) -> Option<Translation> {
    let (needs_identities, show): (bool, Show) = match operation {
        Operation::UsersGet => (true, users_get::show),
        Operation::UsersGetCustomData => (false, users_get_custom_data::show),
        Operation::UsersGetIdentity => (true, users_get_identity::show),
        Operation::PassThrough
        | Operation::UsersCreate
        | Operation::UsersPatch
        | Operation::UsersCustomData
        | Operation::UsersProfile
        | Operation::UsersPassword
        | Operation::UsersPasswordCheck
        | Operation::UsersSuspension
        | Operation::UsersUnsuspension
        | Operation::UsersDelete
        | Operation::UsersIdentities
        | Operation::UsersOther
        | Operation::ExperienceIdentification
        | Operation::ExperiencePasswordCheck
        | Operation::ExperienceSubmit
        | Operation::ExperienceStaged
        | Operation::ExperienceOther
        | Operation::InteractionSubmit
        | Operation::InteractionOther
        | Operation::Consent
        | Operation::ConsentPage
        | Operation::AccountPassword
        | Operation::AccountPasswordCheck
        | Operation::AccountWrite
        | Operation::OidcJwks
        | Operation::OidcIntrospection
        | Operation::OidcToken
        | Operation::OidcRevocation
        | Operation::OidcUserinfo
        | Operation::OidcEndSession
        | Operation::ProxyJwks
        | Operation::ProxyVerify
        | Operation::ProxySignIn
        | Operation::ProxySignedOut => return None,
    };
    Some(Translation {
        needs_identities,
        show,
    })
}

/// Logto's answer, before its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Body(String),
    Refusal(LogtoRefusal),
}

impl Shown {
    pub fn into_answer(self, if_none_match: Option<&str>, request_id: &str) -> Answer {
        match self {
            Self::Body(body) => json_answer(body, if_none_match, request_id),
            Self::Refusal(refusal) => refusal_answer(refusal, request_id),
        }
    }
}

/// A refusal as Logto words it. Its text follows `Accept-Language`, so that only a
/// client who takes English can have it from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogtoRefusal {
    Unauthorized,
    Forbidden,
    EntityNotFound,
    IdentityNotExist,
}

impl LogtoRefusal {
    /// What mgPass says to its own token.
    pub fn of_status(status: u16) -> Self {
        match status {
            403 => Self::Forbidden,
            404 => Self::EntityNotFound,
            _ => Self::Unauthorized,
        }
    }

    pub fn status(self) -> u16 {
        self.parts().0
    }

    pub fn body(self) -> String {
        let (_, code, message) = self.parts();
        format!(r#"{{"code":"{code}","message":"{message}"}}"#)
    }

    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Unauthorized => (
                401,
                "auth.unauthorized",
                "Unauthorized. Please check credentials and its scope.",
            ),
            Self::Forbidden => (
                403,
                "auth.forbidden",
                "Forbidden. Please check your user roles and permissions.",
            ),
            Self::EntityNotFound => (404, "entity.not_found", "The resource does not exist."),
            Self::IdentityNotExist => (
                404,
                "user.identity_not_exist",
                "The social account has not been registered yet.",
            ),
        }
    }
}

/// Whether the first choice of an `Accept-Language` is English, or anything goes.
pub fn takes_english(accept_language: Option<&str>) -> bool {
    let first = accept_language
        .and_then(|list| list.split([',', ';']).next())
        .map_or("", str::trim);
    let language = first.split('-').next().unwrap_or_default();
    matches!(language, "" | "*") || language.eq_ignore_ascii_case("en")
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

/// A refusal in Logto's error shape; Logto gives errors no ETag.
pub fn refusal_answer(refusal: LogtoRefusal, request_id: &str) -> Answer {
    Answer {
        status: refusal.status(),
        headers: vec![
            ("vary", "Accept-Encoding, Origin".to_owned()),
            ("logto-core-request-id", request_id.to_owned()),
            ("content-type", "application/json; charset=utf-8".to_owned()),
        ],
        body: refusal.body(),
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
    fn exactly_the_reads_have_a_translation() {
        for row in crate::inbound::classify::OPERATIONS {
            let is_read = row.kind == crate::inbound::classify::Kind::Read;
            assert_eq!(
                translation(row.operation).is_some(),
                is_read,
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn an_error_is_worded_for_those_who_take_english() {
        for list in [None, Some("en-GB,de;q=0.5"), Some("*"), Some("EN")] {
            assert!(takes_english(list), "{list:?}");
        }
        for list in [Some("de"), Some("fr-CH, en;q=0.9"), Some("eng")] {
            assert!(!takes_english(list), "{list:?}");
        }
    }

    #[test]
    fn refusals_are_in_logtos_own_words() {
        // The first two as recorded (contract 4.4, 6), the third as seen on 1.41.0 (13).
        for (refusal, body) in [
            (
                LogtoRefusal::EntityNotFound,
                r#"{"code":"entity.not_found","message":"The resource does not exist."}"#,
            ),
            (
                LogtoRefusal::Unauthorized,
                r#"{"code":"auth.unauthorized","message":"Unauthorized. Please check credentials and its scope."}"#,
            ),
            (
                LogtoRefusal::IdentityNotExist,
                r#"{"code":"user.identity_not_exist","message":"The social account has not been registered yet."}"#,
            ),
        ] {
            assert_eq!(refusal.body(), body);
        }
    }

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
