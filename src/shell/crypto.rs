//! Signatures by the runtime's SubtleCrypto, with imported keys kept in the isolate.

use std::cell::RefCell;

use js_sys::{JSON, Object};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::CryptoKey;

use crate::policy::token::{Algorithm, SignatureCheck};

/// Two issuers with a handful of keys each; beyond that the oldest goes.
const MAX_KEYS: usize = 64;

thread_local! {
    /// By algorithm and public JWK, so that a key can never stand for another.
    static KEYS: RefCell<Vec<(Algorithm, String, CryptoKey)>> = const { RefCell::new(Vec::new()) };
}

pub async fn verify(check: &SignatureCheck<'_>) -> Result<bool, JsValue> {
    let subtle = js_sys::global()
        .unchecked_into::<web_sys::WorkerGlobalScope>()
        .crypto()?
        .subtle();
    let (import, verify) = parameters(check.algorithm());
    let jwk = check.key().public_jwk();
    let held = KEYS.with_borrow(|keys| {
        let is_it = |(algorithm, held, _): &&(Algorithm, String, CryptoKey)| {
            *algorithm == check.algorithm() && held == jwk
        };
        keys.iter().find(is_it).map(|(_, _, key)| key.clone())
    });
    let key = match held {
        Some(key) => key,
        None => {
            let data: Object = JSON::parse(jwk)?.unchecked_into();
            let algorithm: Object = JSON::parse(import)?.unchecked_into();
            let usages = js_sys::Array::of1(&"verify".into());
            let promise =
                subtle.import_key_with_object("jwk", &data, &algorithm, false, &usages)?;
            let key: CryptoKey = JsFuture::from(promise).await?.unchecked_into();
            KEYS.with_borrow_mut(|keys| {
                if keys.len() >= MAX_KEYS {
                    keys.remove(0);
                }
                keys.push((check.algorithm(), jwk.to_owned(), key.clone()));
            });
            key
        }
    };
    let algorithm: Object = JSON::parse(verify)?.unchecked_into();
    let promise = subtle.verify_with_object_and_u8_array_and_u8_array(
        &algorithm,
        &key,
        check.signature(),
        check.signing_input(),
    )?;
    Ok(JsFuture::from(promise).await?.is_truthy())
}

/// For import and for verification (RFC 7518 3, W3C Web Cryptography).
fn parameters(algorithm: Algorithm) -> (&'static str, &'static str) {
    match algorithm {
        Algorithm::Es256 => (
            r#"{"name":"ECDSA","namedCurve":"P-256"}"#,
            r#"{"name":"ECDSA","hash":"SHA-256"}"#,
        ),
        Algorithm::Es384 => (
            r#"{"name":"ECDSA","namedCurve":"P-384"}"#,
            r#"{"name":"ECDSA","hash":"SHA-384"}"#,
        ),
        Algorithm::Es512 => (
            r#"{"name":"ECDSA","namedCurve":"P-521"}"#,
            r#"{"name":"ECDSA","hash":"SHA-512"}"#,
        ),
        Algorithm::Rs256 => (
            r#"{"name":"RSASSA-PKCS1-v1_5","hash":"SHA-256"}"#,
            r#"{"name":"RSASSA-PKCS1-v1_5"}"#,
        ),
        Algorithm::Ps256 => (
            r#"{"name":"RSA-PSS","hash":"SHA-256"}"#,
            r#"{"name":"RSA-PSS","saltLength":32}"#,
        ),
        Algorithm::EdDsa => (r#"{"name":"Ed25519"}"#, r#"{"name":"Ed25519"}"#),
    }
}
