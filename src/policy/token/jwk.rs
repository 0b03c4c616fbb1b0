//! Reads the members of one JWK. Only those of the RFC 7638 thumbprint are kept, so the text handed
//! to `SubtleCrypto` holds no `use`, `key_ops`, `alg` or `ext` that could contradict how the key is
//! imported. Points on the curve are left to the crypto, which refuses any that are not.
//!
//! RFC 7517 4; RFC 7518 6.2 and 6.3; RFC 8037 2.

use super::json::{Json, Members};
use super::signature::Algorithm;
use super::{KeyId, base64url};

/// SP 800-131A's floor, and the largest modulus whose cost per verification is still bounded.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// `SubtleCrypto` takes public exponents of up to 33 bits; nobody uses more than 17.
const MAX_EXPONENT_BYTES: usize = 4;

/// Private members of any key type (RFC 7518 6.2.2, 6.3.2, 6.4.1). A published private key is no
/// longer anybody's proof of anything.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Why a JWK cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not a JSON object with each member once.
    #[error("not a strict JSON object")]
    NotAnObject,
    /// `oct`: a shared secret has no place in a published set.
    #[error("symmetric key")]
    Symmetric,
    /// The private half is there as well.
    #[error("private members present")]
    PrivateMembers,
    /// No `kty`, or one we cannot verify with.
    #[error("unsupported key type")]
    UnsupportedType,
    /// No `crv`, or one we cannot verify with.
    #[error("unsupported curve")]
    UnsupportedCurve,
    /// An `alg` that is not on our list.
    #[error("unsupported algorithm")]
    UnsupportedAlgorithm,
    /// An `alg` that this type or curve does not have.
    #[error("algorithm does not fit the key")]
    AlgorithmMismatch,
    /// `use` or `key_ops` says it is for something else.
    #[error("not for signatures")]
    NotForSignatures,
    /// A coordinate, modulus or exponent is missing, not base64url, or of the wrong length.
    #[error("malformed key material")]
    MalformedMaterial,
    /// The modulus is even, or has too few or too many bits.
    #[error("modulus not acceptable")]
    BadModulus,
    /// The public exponent is even, 1, or too large.
    #[error("exponent not acceptable")]
    BadExponent,
    /// `kid` is not a plain text of bounded length.
    #[error("malformed key id")]
    BadKeyId,
    /// Another key of the set has the same `kid`.
    #[error("key id is not unique")]
    AmbiguousKeyId,
}

impl KeyFault {
    /// Stable name for logs, metrics and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAnObject => "key_not_an_object",
            Self::Symmetric => "key_symmetric",
            Self::PrivateMembers => "key_private_members",
            Self::UnsupportedType => "key_unsupported_type",
            Self::UnsupportedCurve => "key_unsupported_curve",
            Self::UnsupportedAlgorithm => "key_unsupported_alg",
            Self::AlgorithmMismatch => "key_alg_mismatch",
            Self::NotForSignatures => "key_not_for_signatures",
            Self::MalformedMaterial => "key_malformed_material",
            Self::BadModulus => "key_bad_modulus",
            Self::BadExponent => "key_bad_exponent",
            Self::BadKeyId => "key_bad_kid",
            Self::AmbiguousKeyId => "key_ambiguous_kid",
        }
    }
}

/// What a JWK comes to.
pub(super) struct Material {
    pub(super) algorithm: Algorithm,
    /// The thumbprint's members in its order.
    pub(super) public_jwk: String,
    pub(super) signature_bytes: usize,
}

pub(super) fn read_key_id(members: &Members) -> Result<Option<KeyId>, KeyFault> {
    match members.get("kid") {
        None => Ok(None),
        Some(Json::Text(text)) => KeyId::new(text).map(Some).ok_or(KeyFault::BadKeyId),
        Some(_) => Err(KeyFault::BadKeyId),
    }
}

pub(super) fn read_material(members: &Members) -> Result<Material, KeyFault> {
    let kty = text(members, "kty").ok_or(KeyFault::UnsupportedType)?;
    if kty == "oct" {
        return Err(KeyFault::Symmetric);
    }
    if PRIVATE_MEMBERS
        .iter()
        .any(|name| members.contains_key(*name))
    {
        return Err(KeyFault::PrivateMembers);
    }
    check_purpose(members)?;
    match kty {
        "EC" => read_ec(members),
        "RSA" => read_rsa(members),
        "OKP" => read_okp(members),
        _ => Err(KeyFault::UnsupportedType),
    }
}

fn check_purpose(members: &Members) -> Result<(), KeyFault> {
    let for_signatures = match members.get("use") {
        None => true,
        Some(Json::Text(text)) => text == "sig",
        Some(_) => false,
    };
    let may_verify = match members.get("key_ops") {
        None => true,
        Some(Json::List(values)) => values
            .iter()
            .any(|value| matches!(value, Json::Text(text) if text == "verify")),
        Some(_) => false,
    };
    if for_signatures && may_verify {
        Ok(())
    } else {
        Err(KeyFault::NotForSignatures)
    }
}

fn read_ec(members: &Members) -> Result<Material, KeyFault> {
    let (algorithm, curve, n_bytes) = match text(members, "crv") {
        Some("P-256") => (Algorithm::Es256, "P-256", 32),
        Some("P-384") => (Algorithm::Es384, "P-384", 48),
        Some("P-521") => (Algorithm::Es512, "P-521", 66),
        _ => return Err(KeyFault::UnsupportedCurve),
    };
    check_algorithm(members, &[algorithm])?;
    let (x, _) = bytes(members, "x", n_bytes)?;
    let (y, _) = bytes(members, "y", n_bytes)?;
    Ok(Material {
        algorithm,
        public_jwk: format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#),
        signature_bytes: 2 * n_bytes,
    })
}

fn read_okp(members: &Members) -> Result<Material, KeyFault> {
    if text(members, "crv") != Some("Ed25519") {
        return Err(KeyFault::UnsupportedCurve);
    }
    check_algorithm(members, &[Algorithm::EdDsa])?;
    let (x, _) = bytes(members, "x", 32)?;
    Ok(Material {
        algorithm: Algorithm::EdDsa,
        public_jwk: format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        signature_bytes: 64,
    })
}

fn read_rsa(members: &Members) -> Result<Material, KeyFault> {
    let algorithm = check_algorithm(members, &[Algorithm::Rs256, Algorithm::Ps256])?
        .unwrap_or(Algorithm::Rs256);
    let (n, modulus) = integer(members, "n")?;
    let (e, exponent) = integer(members, "e")?;
    if !MODULUS_BITS.contains(&n_bits(&modulus)) || !is_odd(&modulus) {
        return Err(KeyFault::BadModulus);
    }
    if exponent.len() > MAX_EXPONENT_BYTES || !is_odd(&exponent) || exponent == [1] {
        return Err(KeyFault::BadExponent);
    }
    Ok(Material {
        algorithm,
        public_jwk: format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        signature_bytes: modulus.len(),
    })
}

/// The key's own `alg`, if it has one, which must be among those its type allows.
fn check_algorithm(
    members: &Members,
    possible: &[Algorithm],
) -> Result<Option<Algorithm>, KeyFault> {
    match members.get("alg") {
        None => Ok(None),
        Some(Json::Text(name)) => {
            let algorithm = Algorithm::from_name(name).ok_or(KeyFault::UnsupportedAlgorithm)?;
            if possible.contains(&algorithm) {
                Ok(Some(algorithm))
            } else {
                Err(KeyFault::AlgorithmMismatch)
            }
        }
        Some(_) => Err(KeyFault::UnsupportedAlgorithm),
    }
}

fn text<'m>(members: &'m Members, name: &str) -> Option<&'m str> {
    match members.get(name) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

/// A value with its text, which strict base64url makes safe to write into JSON as it is.
fn material<'m>(members: &'m Members, name: &str) -> Result<(&'m str, Vec<u8>), KeyFault> {
    let text = text(members, name).ok_or(KeyFault::MalformedMaterial)?;
    let bytes = base64url::decode(text).ok_or(KeyFault::MalformedMaterial)?;
    Ok((text, bytes))
}

/// A coordinate, which always has its full length (RFC 7518 6.2.1.2).
fn bytes<'m>(
    members: &'m Members,
    name: &str,
    n_bytes: usize,
) -> Result<(&'m str, Vec<u8>), KeyFault> {
    let (text, bytes) = material(members, name)?;
    if bytes.len() == n_bytes {
        Ok((text, bytes))
    } else {
        Err(KeyFault::MalformedMaterial)
    }
}

/// A `Base64urlUInt`, which never starts with a zero byte (RFC 7518 2).
fn integer<'m>(members: &'m Members, name: &str) -> Result<(&'m str, Vec<u8>), KeyFault> {
    let (text, bytes) = material(members, name)?;
    match bytes.first() {
        Some(first) if *first != 0 => Ok((text, bytes)),
        _ => Err(KeyFault::MalformedMaterial),
    }
}

fn n_bits(integer: &[u8]) -> usize {
    let unused = integer.first().map_or(0, |first| first.leading_zeros());
    integer.len() * 8 - unused as usize
}

fn is_odd(integer: &[u8]) -> bool {
    integer.last().is_some_and(|last| last % 2 == 1)
}
