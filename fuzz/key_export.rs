//! What is fuzzed of the operator's command, as in targets.rs; `cargo test` replays the
//! corpus from the command's own tests.

use dwp::key_import::{ExportedKey, private_pem, read_export};

/// What an operator exports from Logto.
pub fn key_export(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match read_export(text) {
        Ok(keys) => {
            let again = read_export(&private_pem(&keys).0).expect("our own form");
            let kid = |key: &ExportedKey| key.key.kid().to_owned();
            assert!(again.iter().map(kid).eq(keys.iter().map(kid)));
        }
        // No error repeats what it was given, but for numbers and our own words.
        Err(failure) => assert!(failure.to_string().len() < 120),
    }
}
