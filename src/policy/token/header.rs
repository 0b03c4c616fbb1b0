//! Reads a JOSE header. It says which key to look for and what kind of token this claims to be;
//! it never brings a key, never names a place to get one, and never chooses the algorithm.
//!
//! Members that change what is signed or where a key comes from are refused by name. Members
//! unknown to us are ignored, as RFC 7515 4 demands: nothing reads them, so they can do nothing.
//!
//! RFC 7515 4; RFC 7797 (`b64`); RFC 8725 3.1, 3.10 and 3.11.

use super::KeyId;
use super::json::{self, Json, Members};
use super::member::ForbiddenMember;
use super::refusal::Refusal;
use super::signature::Algorithm;

/// The parts of the header that anything depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<KeyId>,
    pub(super) media_type: MediaType,
}

/// What `typ` says the token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    Absent,
    /// `JWT`: says nothing, and is what ID tokens carry.
    Jwt,
    /// `at+jwt`, RFC 9068.
    AtJwt,
    Other,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let members = json::parse_object(bytes).map_err(Refusal::HeaderJson)?;
        // First, so that the reason names the trick instead of what it hid behind.
        let algorithm = read_algorithm(&members)?;
        if let Some(member) = ForbiddenMember::ALL
            .into_iter()
            .find(|member| members.contains_key(member.name()))
        {
            return Err(Refusal::ForbiddenHeader(member));
        }
        Ok(Self {
            algorithm,
            key_id: read_key_id(&members)?,
            media_type: read_media_type(&members)?,
        })
    }
}

fn read_algorithm(members: &Members) -> Result<Algorithm, Refusal> {
    let name = match members.get("alg") {
        Some(Json::Text(name)) => name,
        Some(_) => return Err(Refusal::AlgorithmMalformed),
        None => return Err(Refusal::AlgorithmMissing),
    };
    // Names are case-sensitive; only the refusals look at other spellings.
    if let Some(algorithm) = Algorithm::from_name(name) {
        return Ok(algorithm);
    }
    let lower = name.trim().to_ascii_lowercase();
    Err(match lower.as_str() {
        "none" => Refusal::AlgorithmNone,
        "hs256" | "hs384" | "hs512" => Refusal::AlgorithmSymmetric,
        _ => Refusal::AlgorithmUnsupported,
    })
}

fn read_key_id(members: &Members) -> Result<Option<KeyId>, Refusal> {
    match members.get("kid") {
        None => Ok(None),
        Some(Json::Text(text)) => KeyId::new(text).map(Some).ok_or(Refusal::KeyIdMalformed),
        Some(_) => Err(Refusal::KeyIdMalformed),
    }
}

/// Media types ignore case, and `application/` may be left out (RFC 7515 4.1.9).
fn read_media_type(members: &Members) -> Result<MediaType, Refusal> {
    match members.get("typ") {
        None => Ok(MediaType::Absent),
        Some(Json::Text(text)) => {
            let lower = text.to_ascii_lowercase();
            Ok(match lower.strip_prefix("application/").unwrap_or(&lower) {
                "at+jwt" => MediaType::AtJwt,
                "jwt" => MediaType::Jwt,
                _ => MediaType::Other,
            })
        }
        Some(_) => Err(Refusal::TypeMalformed),
    }
}
