//! Whether a password is known as leaked, asked as Logto asks it: of the service that
//! Logto asks, by the first five characters of the SHA-1, which is all that leaves.

use std::fmt::Write as _;

use sha1::{Digest, Sha1};

use crate::inbound::request::Secret;
use crate::runtime::context::Context;
use crate::runtime::limits::MAX_ANSWER_BYTES;
use crate::runtime::ports::{Backend, Call, CallFailure, Platform};

const DEADLINE_MS: u32 = 5_000;
const N_PREFIX: usize = 5;

/// # Errors
/// When the service gave no answer.
pub async fn knows<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    password: &Secret<String>,
) -> Result<bool, CallFailure> {
    let mut digest = String::new();
    for byte in Sha1::digest(password.0.as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    let (prefix, suffix) = digest.split_at(N_PREFIX);
    let answer = platform
        .call(Call {
            // In whose stead it is asked.
            backend: Backend::Logto,
            method: "GET",
            url: format!("{}/range/{prefix}", context.settings.leaks_origin),
            headers: vec![],
            body: None,
            deadline_ms: DEADLINE_MS,
            max_bytes: MAX_ANSWER_BYTES,
        })
        .await?;
    if answer.status >= 500 {
        return Err(CallFailure::Unreachable);
    }
    let suffix = suffix.as_bytes();
    Ok(answer.body.lines().any(|line| {
        let head = line.as_bytes().get(..suffix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(suffix))
    }))
}
