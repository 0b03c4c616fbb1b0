//! The digest by which texts are told apart.

use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
