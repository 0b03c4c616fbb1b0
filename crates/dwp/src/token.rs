//! Whether a token is a good one of Logto's, by the public keys that were imported. Asked
//! before mgPass is, so that its "no" is about the keys and not about a stale token.
//!
//! Signature, algorithm of the key, issuer and expiry; whom the token is for, and what
//! bounds the keys at the edge, is not judged here.

use std::str::FromStr;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the file of keys is not what `dwp keys import` wrote")]
    NoKeys,
    #[error("not a token whose signature can be verified here")]
    Unreadable,
    #[error("signed by a key that was not imported")]
    UnknownKey,
    #[error("the signature is not that of the imported key")]
    BadSignature,
    #[error("of another issuer")]
    OtherIssuer,
    #[error("expired")]
    Expired,
}

/// `stored`: the value for KV, as `dwp keys import` writes it.
///
/// # Errors
/// What is wrong with the token, and nothing of it.
pub fn judge(token: &str, stored: &str) -> Result<(), TokenFault> {
    #[derive(Deserialize)]
    struct Stored {
        issuer: String,
        keys: Vec<Value>,
    }
    let stored: Stored = serde_json::from_str(stored).map_err(|_| TokenFault::NoKeys)?;
    let header = decode_header(token).map_err(|_| TokenFault::Unreadable)?;
    let kid = header.kid.ok_or(TokenFault::UnknownKey)?;
    let key = stored
        .keys
        .into_iter()
        .find(|key| key.get("kid").and_then(Value::as_str) == Some(kid.as_str()))
        .ok_or(TokenFault::UnknownKey)?;
    // The key says which algorithm it is for; the token does not choose.
    let algorithm = key.get("alg").and_then(Value::as_str).unwrap_or_default();
    let algorithm = Algorithm::from_str(algorithm).map_err(|_| TokenFault::Unreadable)?;
    let key: Jwk = serde_json::from_value(key).map_err(|_| TokenFault::NoKeys)?;
    let key = DecodingKey::from_jwk(&key).map_err(|_| TokenFault::NoKeys)?;
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[stored.issuer]);
    validation.set_required_spec_claims(&["exp", "iss"]);
    validation.validate_aud = false;
    match decode::<Value>(token, &key, &validation) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenFault::BadSignature,
            ErrorKind::InvalidIssuer => TokenFault::OtherIssuer,
            ErrorKind::ExpiredSignature => TokenFault::Expired,
            _ => TokenFault::Unreadable,
        }),
    }
}

#[cfg(test)]
mod tests {
    use der::SecretDocument;
    use dwp::key_import::{Bounds, ExportedKey, read_export, stored_value};
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use pkcs8::PrivateKeyInfo;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://auth.old.example/oidc";

    fn exported(name: &str) -> ExportedKey {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/keys/private.json"
        );
        let data: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let keys = data["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["name"] == name).unwrap();
        read_export(key["pem"].as_str().unwrap()).unwrap().remove(0)
    }

    fn stored(keys: &[ExportedKey]) -> String {
        let bounds = Bounds {
            stopped_issuing_at: None,
            max_lifetime_s: 3_600,
            sunset: 1_900_000_000,
        };
        stored_value(ISSUER, bounds, keys)
    }

    fn signed(key: &ExportedKey, algorithm: Algorithm, issuer: &str, expires_in_s: i64) -> String {
        let (_, pkcs8) = SecretDocument::from_pem(&key.key.pem().0).unwrap();
        let signer = match algorithm {
            Algorithm::RS256 => {
                let info = PrivateKeyInfo::try_from(pkcs8.as_bytes()).unwrap();
                EncodingKey::from_rsa_der(info.private_key)
            }
            _ => EncodingKey::from_ec_der(pkcs8.as_bytes()),
        };
        let header = Header {
            kid: Some(key.key.kid().to_owned()),
            ..Header::new(algorithm)
        };
        let exp = get_current_timestamp().cast_signed() + expires_in_s;
        let claims = json!({ "iss": issuer, "sub": "u1", "aud": "a", "exp": exp });
        encode(&header, &claims, &signer).unwrap()
    }

    #[test]
    fn a_fresh_token_of_an_imported_key_is_good() {
        for (name, algorithm) in [
            ("P-384, PKCS #8", Algorithm::ES384),
            ("P-256, SEC1", Algorithm::ES256),
            ("RSA, PKCS #1", Algorithm::RS256),
        ] {
            let key = exported(name);
            let token = signed(&key, algorithm, ISSUER, 600);
            assert_eq!(judge(&token, &stored(&[key])), Ok(()), "{name}");
        }
    }

    #[test]
    fn any_other_is_refused_with_its_reason() {
        let key = exported("P-256, SEC1");
        let sign = |issuer, expires_in_s| signed(&key, Algorithm::ES256, issuer, expires_in_s);
        let good = sign(ISSUER, 600);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let tampered = format!("{input}.{}", sign(ISSUER, 601).rsplit_once('.').unwrap().1);
        assert!(!tampered.ends_with(signature));
        let keys = stored(&[exported("P-256, SEC1")]);
        let others = stored(&[exported("RSA, PKCS #1")]);
        for (token, keys, fault) in [
            (
                sign("https://evil.example", 600),
                &keys,
                TokenFault::OtherIssuer,
            ),
            (sign(ISSUER, -600), &keys, TokenFault::Expired),
            (tampered, &keys, TokenFault::BadSignature),
            (good.clone(), &others, TokenFault::UnknownKey),
            ("opaque".to_owned(), &keys, TokenFault::Unreadable),
            (good, &"{}".to_owned(), TokenFault::NoKeys),
        ] {
            assert_eq!(judge(&token, keys), Err(fault));
        }
    }
}
