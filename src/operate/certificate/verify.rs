//! Whether a file is a certificate that counts.

use serde_json::Value as Json;

use super::kept::Recorded;
use super::{KIND, canonical};
use crate::runtime::digest::digest;

/// Why a file is no good certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is no certificate of the dual-write proxy")]
    NoCertificate,
    #[error("it was edited: its text is not the one that its digest was made of")]
    Edited,
    #[error("this proxy has not recorded it: it is of another proxy, or its digest was forged")]
    NotRecorded,
    #[error("it is of term {of}, and this is term {now}: make a new one")]
    OtherTerm { of: i64, now: i64 },
    #[error("it has expired: what it rests on is older than 24 hours")]
    Expired,
}

impl Refusal {
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Edited => "certificate_edited",
            Self::NotRecorded => "certificate_not_recorded",
            Self::OtherTerm { .. } => "certificate_of_other_term",
            Self::Expired => "certificate_expired",
        }
    }
}

/// The digest to ask the proxy about.
///
/// # Errors
/// When the file alone shows that it is none, or was edited.
pub fn digest_of(text: &str) -> Result<String, Refusal> {
    let whole: Json = serde_json::from_str(text).map_err(|_| Refusal::NoCertificate)?;
    let body = whole.get("certificate").ok_or(Refusal::NoCertificate)?;
    let given = whole.get("sha256").and_then(Json::as_str);
    let given = given.ok_or(Refusal::NoCertificate)?;
    if body.get("kind").and_then(Json::as_str) != Some(KIND) {
        return Err(Refusal::NoCertificate);
    }
    // To the byte: what is said twice, or in another way, might read otherwise elsewhere.
    let is_canonical = text.trim_end_matches('\n') == canonical(&whole);
    match is_canonical && digest(&canonical(body)) == given {
        true => Ok(given.to_owned()),
        false => Err(Refusal::Edited),
    }
}

/// # Errors
/// When the proxy does not know it, or it does not count any more.
pub fn verify(recorded: Option<Recorded>, term: i64, now_ms: i64) -> Result<Recorded, Refusal> {
    let recorded = recorded.ok_or(Refusal::NotRecorded)?;
    if recorded.term != term {
        return Err(Refusal::OtherTerm {
            of: recorded.term,
            now: term,
        });
    }
    if now_ms > recorded.valid_until_ms {
        return Err(Refusal::Expired);
    }
    Ok(recorded)
}
