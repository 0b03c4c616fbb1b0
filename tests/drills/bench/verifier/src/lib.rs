//! Verifies the same tokens over and over, and says how many were accepted.
#![cfg(target_arch = "wasm32")]

use std::cell::RefCell;

use dual_write_proxy::benchmark::crypto;
use dual_write_proxy::benchmark::{
    Issuer, IssuerNames, KeySet, Policy, Refusal, Skew, UnixSeconds, Validity, VerifiedTokens, parse,
};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static VERIFIED: RefCell<VerifiedTokens> = RefCell::default();
}

fn now() -> UnixSeconds {
    UnixSeconds((js_sys::Date::now() / 1_000.0) as i64)
}

/// The proxy's own way; `remembers` as its isolate does.
#[wasm_bindgen]
pub async fn ours(
    key_set: String,
    issuer: String,
    audience: String,
    tokens: Vec<String>,
    n: u32,
    remembers: bool,
) -> u32 {
    let names = IssuerNames::new(&issuer, "-").expect("a name");
    let set = KeySet::parse(Issuer::Logto, key_set.as_bytes()).expect("a key set");
    let audiences = [audience];
    // As an isolate keeps it from request to request.
    let mut verified = VERIFIED.take();
    let mut accepted = 0;
    for token in tokens.iter().cycle().take(n as usize) {
        let remembered = remembers.then_some(&mut verified);
        accepted += u32::from(
            verify(token, &names, &set, &audiences, remembered)
                .await
                .is_ok(),
        );
    }
    VERIFIED.set(verified);
    accepted
}

async fn verify(
    token: &str,
    names: &IssuerNames,
    set: &KeySet,
    audiences: &[String],
    verified: Option<&mut VerifiedTokens>,
) -> Result<(), Refusal> {
    let token = parse(token)?.partition(names)?;
    let check = token.select(set)?;
    let fingerprint = check.fingerprint();
    let is_known = verified
        .as_ref()
        .is_some_and(|verified| verified.holds(&fingerprint, now()));
    let verdict = is_known || crypto::verify(&check).await.unwrap_or(false);
    let signed = check.conclude(Validity::from(verdict))?;
    if let Some(verified) = verified {
        verified.remember(fingerprint, signed.expires_at());
    }
    let policy = Policy {
        issuer: names.name(Issuer::Logto),
        audiences,
        token_type: Issuer::Logto.access_token_type(),
        required_scope: Some("read"),
        skew: Skew::default(),
        max_lifetime_s: None,
    };
    signed.validate(&policy, now()).map(drop)
}

/// jsonwebtoken with its keys made once. It has no ES512.
#[wasm_bindgen]
pub fn theirs(
    key_set: String,
    issuer: String,
    audience: String,
    tokens: Vec<String>,
    n: u32,
) -> u32 {
    let set: JwkSet = serde_json::from_str(&key_set).expect("a key set");
    let keys: Vec<_> = set
        .keys
        .iter()
        .filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)))
        .collect();
    let mut accepted = 0;
    for token in tokens.iter().cycle().take(n as usize) {
        let Ok(header) = decode_header(token) else {
            continue;
        };
        let Some((_, key)) = keys
            .iter()
            .find(|(kid, _)| header.kid.as_ref() == Some(kid))
        else {
            continue;
        };
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        accepted += u32::from(decode::<serde_json::Value>(token, key, &validation).is_ok());
    }
    accepted
}
