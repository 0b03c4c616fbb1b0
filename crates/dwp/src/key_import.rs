//! Logto's private signing keys, from an export to what verifies their tokens
//! later: public keys with bounds for the namespace `KEYS`, and private keys in
//! the one form that mgPass is given. Native only; the Worker never sees one.
//!
//! Nothing here prints, and no error repeats a byte of its input: it may be a key.
//!
//! RFC 5958 (PKCS #8), RFC 8017 (PKCS #1), RFC 5915 (SEC1), RFC 7468 (PEM),
//! RFC 7638 (key ids, as Logto computes them).

mod export;
mod private_key;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use self::export::{ExportedKey, read_export};
pub use self::private_key::{KeyFault, PrivateKey};

use dual_write_proxy::inbound::request::Secret;

/// Why an export cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportFailure {
    #[error("the input holds neither Logto's list of keys nor a PEM key")]
    NothingFound,
    #[error("the list of keys is not the JSON that Logto prints")]
    NotJson,
    #[error("entry {0} of the list has no key in `value`")]
    NoValue(usize),
    #[error("a PEM block has no end")]
    Unterminated,
    #[error("key {0}: {1}")]
    Key(usize, KeyFault),
    #[error("keys {0} and {1} are the same key")]
    Twice(usize, usize),
}

/// What bounds the imported keys; see `token::KeyBounds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub stopped_issuing_at: Option<i64>,
    pub max_lifetime_s: i64,
    pub sunset: i64,
}

/// The value for the namespace `KEYS`, key `logto`, as `token::ImportedKeys` reads it.
pub fn stored_value(issuer: &str, bounds: Bounds, keys: &[ExportedKey]) -> String {
    let jwks: Vec<Value> = keys.iter().map(|key| key.key.jwk()).collect();
    let value = json!({
        "issuer": issuer,
        "stopped_issuing_at": bounds.stopped_issuing_at,
        "max_lifetime_s": bounds.max_lifetime_s,
        "sunset": bounds.sunset,
        "keys": jwks,
    });
    format!("{value:#}\n")
}

/// The private keys as PEM (PKCS #8), each with its id in a line before it.
pub fn private_pem(keys: &[ExportedKey]) -> Secret<String> {
    let blocks: Vec<String> = keys
        .iter()
        .map(|key| format!("kid: {}\n{}", key.key.kid(), key.key.pem().0))
        .collect();
    Secret(blocks.join("\n"))
}

/// RFC 7638: SHA-256 over the required members in alphabetical order.
fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}
