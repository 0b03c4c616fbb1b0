//! The digest by which texts are told apart.

use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal.
pub fn digest(text: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
