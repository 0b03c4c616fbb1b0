//! What is fuzzed: everything that reads bytes of others' making. Each target takes any
//! bytes, must not panic, and checks what has to hold for whatever was accepted. The same
//! functions are replayed over the committed corpus by `cargo test`.
#![allow(dead_code, reason = "each fuzz binary uses one of them")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dual_write_proxy::inbound::request::Method;
use dual_write_proxy::policy::token::{
    ImportedKeys, Issuer, IssuerNames, KeySet, MAX_KEYS, MAX_TOKEN_BYTES, UnixSeconds, parse,
};
use dual_write_proxy::runtime::settings::MappingSettings;
use dual_write_proxy::serve::translate_write::{
    After, Body, Facts, PathUser, Route, Settings, Step, Tenant, Write, apply, find,
};

const LOGTO: &str = "https://auth.old.example/oidc";
const MGPASS: &str = "https://auth.new.example";
const HEADER: &str = r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#;
const CLAIMS: &str =
    r#"{"iss":"https://auth.old.example/oidc","sub":"s","aud":"a","iat":1,"exp":2}"#;

fn names() -> IssuerNames {
    IssuerNames::new(LOGTO, MGPASS).expect("two names")
}

/// A compact token, as it stands in a header line.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = parse(text) {
        assert!(text.len() <= MAX_TOKEN_BYTES);
        assert_eq!(text.split('.').count(), 3);
        // Printing must not show what is in it.
        assert!(!format!("{token:?}").contains(text));
        if let Ok(token) = token.partition(&names()) {
            assert!(matches!(token.issuer(), Issuer::Logto | Issuer::Mgpass));
        }
    }
}

/// The JSON of a header, in a token that is otherwise good.
pub fn header(data: &[u8]) {
    token(format!("{}.{}.AQ", encode(data), encode(CLAIMS.as_bytes())).as_bytes());
}

/// The JSON of the claims, in a token that is otherwise good.
pub fn claims(data: &[u8]) {
    token(format!("{}.{}.AQ", encode(HEADER.as_bytes()), encode(data)).as_bytes());
}

/// The body of a write on a user that is computed, by every route of the Management API.
pub fn write_body(data: &[u8]) {
    let user = r#"{"id":"u5er0000id01","username":null,"primaryEmail":null,"primaryPhone":null,"name":null,"avatar":null,"customData":{},"identities":{},"lastSignInAt":null,"createdAt":1,"updatedAt":1,"profile":{},"applicationId":null,"isSuspended":false,"hasPassword":true}"#;
    let settings = Settings {
        tenant: &Tenant::default(),
        mapping: &MappingSettings {
            providers: Vec::new(),
            email_verified: true,
            phone_verified: true,
        },
        now_ms: 2,
    };
    let facts = Facts {
        held_by_others: Some(&[]),
        password_is_right: Some(true),
        reserved: Some(user),
        is_address: Some(true),
        ..Facts::default()
    };
    let id = "u5er0000id01";
    for (method, path) in [
        (Method::Post, "/api/users"),
        (Method::Patch, "/api/users/u5er0000id01"),
        (Method::Patch, "/api/users/u5er0000id01/custom-data"),
        (Method::Patch, "/api/users/u5er0000id01/profile"),
        (Method::Patch, "/api/users/u5er0000id01/is-suspended"),
        (Method::Post, "/api/users/u5er0000id01/password/verify"),
        (Method::Put, "/api/users/u5er0000id01/identities/google"),
        (Method::Post, "/api/users/u5er0000id01/identities"),
    ] {
        let route = find(method, path).expect("a route").route;
        let Route::Users(route) = &route else {
            continue;
        };
        let write = Write::Users {
            route,
            user: PathUser::Known { id, view: user },
            caller: "m2m",
        };
        let body = Body {
            content_type: Some("application/json"),
            content_encoding: None,
            bytes: Some(data),
        };
        match apply(&settings, write, body, &facts) {
            // Whoever was changed reads as a user of Logto's.
            Step::Apply(applied) => match applied.after {
                After::Created(view) | After::Changed(view) => {
                    assert!(view.starts_with(r#"{"id":"u5er0000id01","#));
                }
                After::Deleted => panic!("deleted by a body"),
            },
            Step::Answer(_) | Step::Refuse(_) => {}
            Step::Ask(question) => panic!("all is answered: {question:?}"),
        }
    }
}

/// The body of a key set's answer.
pub fn key_set(data: &[u8]) {
    let Ok(set) = KeySet::parse(Issuer::Mgpass, data) else {
        return;
    };
    assert!(!set.keys().is_empty() && set.keys().len() <= MAX_KEYS);
    for key in set.keys() {
        assert_eq!(key.issuer(), Issuer::Mgpass);
        assert!(key.bounds().is_none());
        // What is handed to the crypto is a key by itself, and the same one.
        let alone = format!(r#"{{"keys":[{}]}}"#, key.public_jwk());
        let again = KeySet::parse(Issuer::Mgpass, alone.as_bytes()).expect("a usable key");
        assert_eq!(again.keys()[0].public_jwk(), key.public_jwk());
    }
}

/// The value of `logto` in the namespace `KEYS`.
pub fn imported_keys(data: &[u8]) {
    let Ok(imported) = ImportedKeys::parse(data, &names()) else {
        return;
    };
    let bounds = imported.bounds();
    assert!(imported.is_past_sunset(bounds.sunset));
    assert!(!imported.is_past_sunset(UnixSeconds(bounds.sunset.0 - 1)));
    assert!(bounds.max_lifetime_s > 0);
    for key in imported.set().keys() {
        assert_eq!(key.issuer(), Issuer::Logto);
        assert_eq!(key.bounds(), Some(bounds));
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
