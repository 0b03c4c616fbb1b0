//! One private key: read from any PEM that Logto can have been given, and turned
//! into its public JWK and into PKCS #8.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::oid::AssociatedOid;
use der::pem::LineEnding;
use der::{Decode, SecretDocument};
use p256::elliptic_curve;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ModulusSize, ToEncodedPoint};
use pkcs8::{EncodePrivateKey, ObjectIdentifier, PrivateKeyInfo};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use sec1::EcParameters;
use serde_json::{Value, json};

use super::thumbprint;
use dual_write_proxy::inbound::request::Secret;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("not PEM")]
    NotPem,
    #[error("a public key or a certificate; the private key is needed")]
    NotPrivate,
    #[error("encrypted; decrypt it first (openssl pkcs8)")]
    Encrypted,
    #[error("not the key its label says")]
    Malformed,
    #[error("neither RSA nor one of the curves P-256, P-384 and P-521")]
    Unsupported,
}

/// Prints its id only.
pub struct PrivateKey {
    kid: String,
    algorithm: &'static str,
    /// The members of the thumbprint.
    public: Value,
    pem: Secret<String>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({} {})", self.algorithm, self.kid)
    }
}

impl PrivateKey {
    /// # Errors
    /// What is wrong with the text, and nothing of it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyFault> {
        let (label, document) =
            SecretDocument::from_pem(pem.trim()).map_err(|_| label_fault(pem))?;
        let der = document.as_bytes();
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(der),
            "RSA PRIVATE KEY" => Self::from_rsa(RsaPrivateKey::from_pkcs1_der(der).ok()),
            "EC PRIVATE KEY" => Self::from_ec(der, None),
            _ => Err(label_fault(pem)),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyFault> {
        let info = PrivateKeyInfo::from_der(der).map_err(|_| KeyFault::Malformed)?;
        if info.algorithm.oid == RSA {
            return Self::from_rsa(RsaPrivateKey::try_from(info).ok());
        }
        let curve = info
            .algorithm
            .parameters_oid()
            .map_err(|_| KeyFault::Unsupported)?;
        Self::from_ec(info.private_key, Some(curve))
    }

    /// Its numbers fit each other, which reading has proved; nothing is done with them here.
    fn from_rsa(key: Option<RsaPrivateKey>) -> Result<Self, KeyFault> {
        let key = key.ok_or(KeyFault::Malformed)?;
        let e = URL_SAFE_NO_PAD.encode(key.e().to_bytes_be());
        let n = URL_SAFE_NO_PAD.encode(key.n().to_bytes_be());
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let document = key.to_pkcs8_der().map_err(|_| KeyFault::Malformed)?;
        Self::new("RS256", &members, &document)
    }

    /// SEC1. Only the secret number in it is believed; its public point is computed.
    fn from_ec(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<Self, KeyFault> {
        let key = sec1::EcPrivateKey::from_der(der).map_err(|_| KeyFault::Malformed)?;
        let own = key.parameters.and_then(EcParameters::named_curve);
        // Without a name the length tells.
        let by_length = match key.private_key.len() {
            32 => Some(P256),
            48 => Some(P384),
            66 => Some(P521),
            _ => None,
        };
        let (algorithm, curve_name, parts) = match curve.or(own).or(by_length) {
            Some(P256) => ("ES256", "P-256", parts::<p256::NistP256>(key.private_key)),
            Some(P384) => ("ES384", "P-384", parts::<p384::NistP384>(key.private_key)),
            Some(P521) => ("ES512", "P-521", parts::<p521::NistP521>(key.private_key)),
            _ => return Err(KeyFault::Unsupported),
        };
        let (point, document) = parts.ok_or(KeyFault::Malformed)?;
        Self::from_point(algorithm, curve_name, &point, &document)
    }

    /// `point` is x and y, each as long as the curve's numbers.
    fn from_point(
        algorithm: &'static str,
        curve: &str,
        point: &[u8],
        document: &SecretDocument,
    ) -> Result<Self, KeyFault> {
        let (x, y) = point.split_at(point.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let members = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self::new(algorithm, &members, document)
    }

    fn new(
        algorithm: &'static str,
        members: &str,
        document: &SecretDocument,
    ) -> Result<Self, KeyFault> {
        let pem = document
            .to_pem("PRIVATE KEY", LineEnding::LF)
            .map_err(|_| KeyFault::Malformed)?;
        Ok(Self {
            kid: thumbprint(members),
            algorithm,
            public: serde_json::from_str(members).map_err(|_| KeyFault::Malformed)?,
            pem: Secret(pem.to_string()),
        })
    }

    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public key as it is stored.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(self.kid));
            members.insert("alg".to_owned(), json!(self.algorithm));
            members.insert("use".to_owned(), json!("sig"));
        }
        jwk
    }

    /// PKCS #8.
    #[must_use]
    pub const fn pem(&self) -> &Secret<String> {
        &self.pem
    }
}

/// x and y of the public point, and the key as PKCS #8.
fn parts<C>(secret: &[u8]) -> Option<(Vec<u8>, SecretDocument)>
where
    C: elliptic_curve::CurveArithmetic + AssociatedOid,
    elliptic_curve::AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
    elliptic_curve::FieldBytesSize<C>: ModulusSize,
{
    let secret = elliptic_curve::SecretKey::<C>::from_slice(secret).ok()?;
    let point = secret.public_key().to_encoded_point(false);
    // After the byte that says "uncompressed".
    let point = point.as_bytes().get(1..)?.to_vec();
    Some((point, secret.to_pkcs8_der().ok()?))
}

/// From the label alone, for what is no private key of ours.
fn label_fault(pem: &str) -> KeyFault {
    let label = pem.trim_start().lines().next().unwrap_or_default();
    if label.contains("ENCRYPTED") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        KeyFault::Encrypted
    } else if label.contains("PUBLIC KEY") || label.contains("CERTIFICATE") {
        KeyFault::NotPrivate
    } else if label.contains("PRIVATE KEY") {
        KeyFault::Malformed
    } else {
        KeyFault::NotPem
    }
}
