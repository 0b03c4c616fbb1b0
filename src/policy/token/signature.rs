//! The algorithms a key may have, and what a signature must look like before the crypto is asked.
//! Degenerate ECDSA values are refused here, whatever the platform's crypto would say to them
//! (CVE-2022-21449: one that did not mind zero).
//!
//! RFC 7518 3.3 to 3.5; RFC 8037.

use super::refusal::Refusal;

/// What this proxy verifies. A key has exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
    Ps256,
    /// Ed25519 only.
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 6] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Rs256,
        Self::Ps256,
        Self::EdDsa,
    ];

    /// The name as JOSE spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Order of the base point, big-endian, as long as each of `r` and `s` (FIPS 186-5, SEC 2).
const ORDER_P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const ORDER_P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const ORDER_P521: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xfa, 0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09,
    0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38,
    0x64, 0x09,
];

/// `n_bytes` is the only length a signature of this key can have.
pub(super) fn check_form(
    algorithm: Algorithm,
    n_bytes: usize,
    signature: &[u8],
) -> Result<(), Refusal> {
    if signature.len() != n_bytes {
        return Err(Refusal::SignatureLength);
    }
    let in_range = match algorithm {
        Algorithm::Es256 => are_scalars(signature, &ORDER_P256),
        Algorithm::Es384 => are_scalars(signature, &ORDER_P384),
        Algorithm::Es512 => are_scalars(signature, &ORDER_P521),
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::EdDsa => true,
    };
    if in_range {
        Ok(())
    } else {
        Err(Refusal::SignatureOutOfRange)
    }
}

/// Both halves within `1..order`. Big-endian numbers of one length compare as their bytes do.
fn are_scalars(signature: &[u8], order: &[u8]) -> bool {
    let halves = signature.split_at_checked(order.len());
    halves.is_some_and(|(r, s)| is_scalar(r, order) && is_scalar(s, order))
}

fn is_scalar(value: &[u8], order: &[u8]) -> bool {
    value.len() == order.len() && value < order && value.iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, ORDER_P256, ORDER_P384, ORDER_P521, check_form};
    use crate::policy::token::refusal::Refusal;

    #[track_caller]
    fn check(algorithm: Algorithm, signature: &[u8], expected: Result<(), Refusal>) {
        let n_bytes = match algorithm {
            Algorithm::Es256 | Algorithm::EdDsa => 64,
            Algorithm::Es384 => 96,
            Algorithm::Es512 => 132,
            Algorithm::Rs256 | Algorithm::Ps256 => 256,
        };
        assert_eq!(
            check_form(algorithm, n_bytes, signature),
            expected,
            "{algorithm:?}"
        );
    }

    fn minus_one(order: &[u8]) -> Vec<u8> {
        let mut value = order.to_vec();
        if let Some(last) = value.last_mut() {
            *last -= 1; // Orders are odd, so nothing is borrowed.
        }
        value
    }

    #[test]
    fn ecdsa_scalars_lie_between_zero_and_the_order() {
        for (algorithm, order) in [
            (Algorithm::Es256, ORDER_P256.as_slice()),
            (Algorithm::Es384, ORDER_P384.as_slice()),
            (Algorithm::Es512, ORDER_P521.as_slice()),
        ] {
            let zero = vec![0; order.len()];
            let top = minus_one(order);
            let refused = Err(Refusal::SignatureOutOfRange);
            check(algorithm, &[top.clone(), top.clone()].concat(), Ok(()));
            check(algorithm, &[zero.clone(), zero.clone()].concat(), refused);
            check(algorithm, &[zero.clone(), top.clone()].concat(), refused);
            check(algorithm, &[top.clone(), zero.clone()].concat(), refused);
            check(algorithm, &[order.to_vec(), top.clone()].concat(), refused);
            check(algorithm, &[top.clone(), order.to_vec()].concat(), refused);
            check(algorithm, &vec![0xff; 2 * order.len()], refused);
        }
    }

    #[test]
    fn a_signature_has_the_length_of_its_key() {
        for (algorithm, n_bytes) in [
            (Algorithm::Es256, 64),
            (Algorithm::Es384, 96),
            (Algorithm::Es512, 132),
            (Algorithm::Rs256, 256),
            (Algorithm::Ps256, 256),
            (Algorithm::EdDsa, 64),
        ] {
            check(algorithm, &vec![1; n_bytes], Ok(()));
            for other in [1, n_bytes - 1, n_bytes + 1, 2 * n_bytes] {
                check(algorithm, &vec![1; other], Err(Refusal::SignatureLength));
            }
        }
    }
}
