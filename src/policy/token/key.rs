//! Turns one JWK into a key that can verify, or says why not. The key decides its algorithm: by
//! its `alg` where that agrees with what it is, else by its curve, or RS256 for RSA (Logto's RSA
//! keys have no `alg`; PS256 is taken only from a key that says so).
//!
//! A key also carries its issuer and, when imported, its bounds: neither can be lost on the way.

use super::jwk::{self, KeyFault};
use super::signature::Algorithm;
use super::{Issuer, KeyId, UnixSeconds, json};

/// A public key, its one algorithm, and the one issuer it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    issuer: Issuer,
    key_id: Option<KeyId>,
    algorithm: Algorithm,
    public_jwk: String,
    signature_bytes: usize,
    bounds: Option<KeyBounds>,
}

/// What limits the tokens that an imported key may verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBounds {
    /// When the issuer stopped issuing; `None` while it still does.
    pub issued_before: Option<UnixSeconds>,
    /// The longest `exp - iat` the issuer ever granted.
    pub max_lifetime_s: i64,
    /// From here on the key verifies nothing.
    pub sunset: UnixSeconds,
}

/// Where a key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The issuer's own live key set.
    Published,
    /// Our copy of the issuer's keys.
    Imported,
}

impl VerificationKey {
    /// Reads one JWK; on failure also its `kid`, if it has a usable one, for the report.
    pub(super) fn from_jwk(
        issuer: Issuer,
        bounds: Option<KeyBounds>,
        text: &str,
    ) -> Result<Self, (Option<KeyId>, KeyFault)> {
        let members =
            json::parse_object(text.as_bytes()).map_err(|_| (None, KeyFault::NotAnObject))?;
        let key_id = jwk::read_key_id(&members).map_err(|fault| (None, fault))?;
        match jwk::read_material(&members) {
            Ok(material) => Ok(Self {
                issuer,
                key_id,
                algorithm: material.algorithm,
                public_jwk: material.public_jwk,
                signature_bytes: material.signature_bytes,
                bounds,
            }),
            Err(fault) => Err((key_id, fault)),
        }
    }

    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }

    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The JWK to hand to `SubtleCrypto`: the public members and no other.
    #[must_use]
    pub fn public_jwk(&self) -> &str {
        &self.public_jwk
    }

    /// The text whose SHA-256, in base64url, is the RFC 7638 thumbprint: the required members in
    /// alphabetical order without white space. That is the form `public_jwk` is kept in.
    #[must_use]
    pub fn thumbprint_input(&self) -> &str {
        &self.public_jwk
    }

    /// The only length a signature of this key has.
    #[must_use]
    pub const fn signature_bytes(&self) -> usize {
        self.signature_bytes
    }

    #[must_use]
    pub const fn bounds(&self) -> Option<KeyBounds> {
        self.bounds
    }

    #[must_use]
    pub const fn origin(&self) -> KeyOrigin {
        match self.bounds {
            Some(_) => KeyOrigin::Imported,
            None => KeyOrigin::Published,
        }
    }
}
