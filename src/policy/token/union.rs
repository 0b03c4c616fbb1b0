//! The keys of both issuers as one JWK set, for resource servers that accept both.
//!
//! A merged set has lost which key speaks for whom, so each key says it in `issuer` (the member
//! that other providers of merged sets use): whoever does not compare it with `iss` lets one
//! issuer's key sign in the other's name. The bounds of imported keys cannot be said in a JWK.

use serde_json::{Map, Value};

use super::{IssuerNames, KeySet, VerificationKey};

/// The first of two keys with the same material and issuer is listed; so live sets come first.
#[must_use]
pub fn union(sets: &[&KeySet], issuers: &IssuerNames) -> String {
    let mut listed: Vec<&VerificationKey> = Vec::new();
    for key in sets.iter().flat_map(|set| set.keys()) {
        let is_same = |other: &&VerificationKey| {
            other.issuer() == key.issuer()
                && other.key_id() == key.key_id()
                && other.public_jwk() == key.public_jwk()
        };
        if !listed.iter().any(is_same) {
            listed.push(key);
        }
    }
    let keys: Vec<Value> = listed
        .into_iter()
        .map(|key| jwk(key, issuers.name(key.issuer())))
        .collect();
    serde_json::json!({ "keys": keys }).to_string()
}

fn jwk(key: &VerificationKey, issuer: &str) -> Value {
    let mut members: Map<String, Value> =
        serde_json::from_str(key.public_jwk()).unwrap_or_default();
    if let Some(key_id) = key.key_id() {
        members.insert("kid".to_owned(), key_id.as_str().into());
    }
    members.insert("alg".to_owned(), key.algorithm().name().into());
    members.insert("use".to_owned(), "sig".into());
    members.insert("issuer".to_owned(), issuer.into());
    Value::Object(members)
}
