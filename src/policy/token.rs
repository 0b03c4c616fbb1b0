//! Decides whether a token proves who is asking, and nothing about what they may then do.
//!
//! The way is one-way and in types: [`parse`] gives an [`UnverifiedToken`]; its unverified `iss`
//! picks a partition ([`AttributedToken`]) and nothing else; the partition's [`KeySet`] gives a
//! [`SignatureCheck`], which the shell's crypto answers; only a valid answer makes a
//! [`SignedToken`], and only [`SignedToken::validate`] makes a [`Principal`]. No claim can be read
//! before that. A key verifies tokens of its own issuer alone, and the key, never the header,
//! fixes the algorithm. Nothing here reads a clock, does I/O or computes a signature.
//!
//! RFC 7515 (JWS compact), RFC 7518 3 (algorithms), RFC 7519 (claims), RFC 8725 (practice),
//! RFC 9068 (access tokens).

mod acceptance;
mod base64url;
mod claims;
mod header;
mod issuer;
mod json;
mod jwk;
mod jwks;
mod key;
mod keyring;
mod live;
mod member;
mod refusal;
mod signature;
mod union;
mod verified;

#[cfg(test)]
mod tests;

use std::fmt;

pub use self::acceptance::{Policy, Principal, SignedToken, Skew};
pub use self::issuer::{Issuer, IssuerNames};
pub use self::jwks::KeySet;
pub use self::key::VerificationKey;
pub use self::keyring::ImportedKeys;
pub use self::live::{LiveKeySet, OnUnknownKeyId, Use};
pub use self::refusal::Refusal;
pub use self::signature::Algorithm;
pub use self::union::union;
pub use self::verified::{Fingerprint, VerifiedTokens};
/// For `dwp` and the tests.
#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    acceptance::TokenType,
    issuer::IssuerNamesFault,
    json::JsonFault,
    jwk::KeyFault,
    jwks::{KeySetFailure, MAX_KEY_SET_BYTES, MAX_KEYS, SkippedKey},
    key::{KeyBounds, KeyOrigin},
    keyring::ImportFailure,
    member::{Claim, ForbiddenMember},
};

use self::claims::Claims;
use self::header::Header;

/// The longest token looked at: the platform takes 16 KiB of header lines in all, and the largest
/// recorded token is under 1.2 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A point in time, in whole seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The time `seconds` later; the ends of the range absorb what lies beyond them.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to here, negative when `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The name of a key within its issuer's key set. From a token it is untrusted input: it is
/// compared with the names in the set and used for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId(String);

impl KeyId {
    /// RFC 7638 thumbprints have 43 bytes; the limit leaves room for other schemes.
    pub const MAX_BYTES: usize = 256;

    /// A non-empty text of bounded length without control characters, or nothing.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `sub` of an authenticated token. Personal data, so it prints redacted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(redacted)")
    }
}

/// A well-formed token that nobody has vouched for yet.
pub struct UnverifiedToken<'t> {
    signing_input: &'t str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

/// Reads a compact JWS. Everything that can be refused without knowing a key is refused here.
///
/// # Errors
/// The first defect found, in the order size, parts, header, claims, signature.
pub fn parse(compact: &str) -> Result<UnverifiedToken<'_>, Refusal> {
    if compact.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLarge);
    }
    let (signing_input, signature) = compact.rsplit_once('.').ok_or(Refusal::NotThreeParts)?;
    let (header, claims) = signing_input
        .split_once('.')
        .ok_or(Refusal::NotThreeParts)?;
    if claims.contains('.') {
        return Err(Refusal::NotThreeParts);
    }
    let header = base64url::decode(header).ok_or(Refusal::HeaderEncoding)?;
    let header = Header::parse(&header)?;
    let claims = base64url::decode(claims).ok_or(Refusal::ClaimsEncoding)?;
    let claims = Claims::parse(&claims)?;
    let signature = base64url::decode(signature).ok_or(Refusal::SignatureEncoding)?;
    if signature.is_empty() {
        return Err(Refusal::SignatureMissing);
    }
    Ok(UnverifiedToken {
        signing_input,
        signature,
        header,
        claims,
    })
}

impl<'t> UnverifiedToken<'t> {
    /// Sorts the token by the issuer it *claims* to come from. That choice picks the key set and
    /// is proved, or not, by the signature.
    ///
    /// # Errors
    /// [`Refusal::UnknownIssuer`] when neither issuer has that exact name.
    pub fn partition(self, issuers: &IssuerNames) -> Result<AttributedToken<'t>, Refusal> {
        let issuer = issuers
            .find(&self.claims.issuer)
            .ok_or(Refusal::UnknownIssuer)?;
        Ok(AttributedToken {
            token: self,
            issuer,
        })
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken")
            .field("algorithm", &self.header.algorithm)
            .finish_non_exhaustive()
    }
}

/// A token with the issuer it claims to come from, still unverified.
#[derive(Debug)]
pub struct AttributedToken<'t> {
    token: UnverifiedToken<'t>,
    issuer: Issuer,
}

impl AttributedToken<'_> {
    /// Whose key set to bring. Unverified: good for routing, never for granting.
    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }

    /// Whom it says it is for. Unverified.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.token.claims.audience
    }

    /// The key the token asks for. Unverified.
    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.token.header.key_id.as_ref()
    }

    /// Finds the one key that could have signed this token and checks the signature's form.
    ///
    /// A token without `kid` is taken only when its issuer has exactly one usable key: there is
    /// then nothing to choose, while with two, trying each would let the token pick its key. Logto
    /// always names the key; mgPass does not document it, and refusing would sign its users out.
    ///
    /// # Errors
    /// [`Refusal::UnknownKeyId`] alone is a reason to fetch the key set again.
    pub fn select<'k>(&'k self, key_set: &'k KeySet) -> Result<SignatureCheck<'k>, Refusal> {
        if key_set.issuer() != self.issuer {
            return Err(Refusal::KeySetOfOtherIssuer);
        }
        let key = match self.key_id() {
            Some(key_id) => key_set.find(key_id).ok_or(Refusal::UnknownKeyId)?,
            None => key_set.only().ok_or(Refusal::KeyIdMissing)?,
        };
        if self.token.header.algorithm != key.algorithm() {
            return Err(Refusal::AlgorithmNotOfKey);
        }
        signature::check_form(
            key.algorithm(),
            key.signature_bytes(),
            &self.token.signature,
        )?;
        Ok(SignatureCheck {
            key,
            token: &self.token,
            issuer: self.issuer,
        })
    }
}

/// What the crypto has to answer: does `signature` sign `signing_input` under `key`?
#[derive(Debug)]
pub struct SignatureCheck<'k> {
    key: &'k VerificationKey,
    token: &'k UnverifiedToken<'k>,
    issuer: Issuer,
}

/// The crypto's answer. A check that could not be carried out is a failure, and neither of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    Invalid,
}

impl From<bool> for Validity {
    fn from(valid: bool) -> Self {
        if valid { Self::Valid } else { Self::Invalid }
    }
}

impl SignatureCheck<'_> {
    #[must_use]
    pub const fn key(&self) -> &VerificationKey {
        self.key
    }

    /// The algorithm to use; the header has been found to agree.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// The exact bytes that were signed.
    #[must_use]
    pub const fn signing_input(&self) -> &[u8] {
        self.token.signing_input.as_bytes()
    }

    /// For ECDSA the raw `r || s`, as `SubtleCrypto` takes it.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.token.signature
    }

    /// Names this check among those that held: the key is in it, so that nothing remembered
    /// under one key can ever answer for another.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([
            self.algorithm().name().as_bytes(),
            self.key.public_jwk().as_bytes(),
            self.signing_input(),
            self.signature(),
        ])
    }

    /// # Errors
    /// [`Refusal::SignatureInvalid`] when the crypto said so.
    pub fn conclude(self, verdict: Validity) -> Result<SignedToken, Refusal> {
        match verdict {
            Validity::Valid => Ok(SignedToken::new(
                self.issuer,
                self.key,
                self.token.header.media_type,
                self.token.claims.clone(),
            )),
            Validity::Invalid => Err(Refusal::SignatureInvalid),
        }
    }
}
