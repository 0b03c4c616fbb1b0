//! Reads the claims with the types they must have, and refuses a wrong type even where the claim
//! is optional: to take it for absent switches a check off (CVE-2026-25537 did that with `nbf`).
//! Whether the values are acceptable is for `policy` to say, after the signature.
//!
//! RFC 7519 4.1; RFC 9068 2.2.

use super::json::{self, Json, Members};
use super::member::Claim;
use super::refusal::Refusal;
use super::{Subject, UnixSeconds};

/// OIDC Core 2 bounds `sub` at 255; the other identifiers need no more.
const MAX_ID_BYTES: usize = 255;

/// 9999-12-31T23:59:59Z. Milliseconds given for seconds lie far beyond it.
const MAX_TIME: i64 = 253_402_300_799;

/// Claims that an ID token has and an access token has not. mgPass documents no `typ`, but
/// documents `email_verified` in every ID token and in no access token.
const ID_TOKEN_MARKS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "email_verified"];

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: Subject,
    pub(super) audience: Vec<String>,
    pub(super) expires_at: UnixSeconds,
    pub(super) issued_at: UnixSeconds,
    pub(super) not_before: Option<UnixSeconds>,
    /// `None` when there is no `scope`; empty when it is the empty text.
    pub(super) scopes: Option<Vec<String>>,
    pub(super) client_id: Option<String>,
    pub(super) token_id: Option<String>,
    /// `organization_id` in Logto's tokens, `org_id` in mgPass's.
    pub(super) organization_id: Option<String>,
    pub(super) org_id: Option<String>,
    pub(super) looks_like_id_token: bool,
}

impl Claims {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let members = json::parse_object(bytes).map_err(Refusal::ClaimsJson)?;
        let claims = Self {
            issuer: required(Claim::Iss, text(&members, Claim::Iss)?)?,
            subject: Subject(required(Claim::Sub, id(&members, Claim::Sub)?)?),
            audience: required(Claim::Aud, audience(&members)?)?,
            expires_at: required(Claim::Exp, time(&members, Claim::Exp)?)?,
            issued_at: required(Claim::Iat, time(&members, Claim::Iat)?)?,
            not_before: time(&members, Claim::Nbf)?,
            scopes: scopes(&members)?,
            client_id: id(&members, Claim::ClientId)?,
            token_id: id(&members, Claim::Jti)?,
            organization_id: id(&members, Claim::OrganizationId)?,
            org_id: id(&members, Claim::OrgId)?,
            looks_like_id_token: ID_TOKEN_MARKS
                .iter()
                .any(|mark| members.contains_key(*mark)),
        };
        // A token that ends before it begins is a defect of its issuer, not a token that is late.
        if claims.expires_at <= claims.issued_at {
            return Err(Refusal::ExpiryNotAfterIssue);
        }
        Ok(claims)
    }
}

fn required<T>(claim: Claim, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or(Refusal::ClaimMissing(claim))
}

/// A non-empty text without control characters, which could end a header line or a log line.
fn text(members: &Members, claim: Claim) -> Result<Option<String>, Refusal> {
    match members.get(claim.name()) {
        None => Ok(None),
        Some(Json::Text(text)) if is_plain(text) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::ClaimMalformed(claim)),
    }
}

fn id(members: &Members, claim: Claim) -> Result<Option<String>, Refusal> {
    match text(members, claim)? {
        Some(text) if text.len() > MAX_ID_BYTES => Err(Refusal::ClaimMalformed(claim)),
        id => Ok(id),
    }
}

fn audience(members: &Members) -> Result<Option<Vec<String>>, Refusal> {
    let malformed = Refusal::ClaimMalformed(Claim::Aud);
    match members.get(Claim::Aud.name()) {
        None => Ok(None),
        Some(Json::Text(text)) if is_plain(text) => Ok(Some(vec![text.clone()])),
        Some(Json::List(values)) if !values.is_empty() => values
            .iter()
            .map(|value| match value {
                Json::Text(text) if is_plain(text) => Some(text.clone()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Some)
            .ok_or(malformed),
        Some(_) => Err(malformed),
    }
}

/// RFC 7519 lets a `NumericDate` have a fraction; neither issuer writes one, and each way of
/// rounding it would be another reading of the same token. So an integer, written as one.
fn time(members: &Members, claim: Claim) -> Result<Option<UnixSeconds>, Refusal> {
    match members.get(claim.name()) {
        None => Ok(None),
        Some(Json::Integer(seconds)) if (0..=MAX_TIME).contains(seconds) => {
            Ok(Some(UnixSeconds(*seconds)))
        }
        Some(_) => Err(Refusal::ClaimMalformed(claim)),
    }
}

/// Space separated (RFC 6749 3.3). Logto writes the empty text when nothing was granted.
fn scopes(members: &Members) -> Result<Option<Vec<String>>, Refusal> {
    match members.get(Claim::Scope.name()) {
        None => Ok(None),
        Some(Json::Text(text)) if !text.chars().any(char::is_control) => Ok(Some(
            text.split(' ')
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
        )),
        Some(_) => Err(Refusal::ClaimMalformed(Claim::Scope)),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}
