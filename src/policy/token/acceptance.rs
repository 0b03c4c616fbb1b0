//! Judges the claims of a token whose signature holds: issuer, kind, audience, time, the bounds of
//! the key that signed it, scope. Nothing is optional by omission: a policy without audiences
//! accepts no token, and the bounds of an imported key come with the key, so no caller can leave
//! them out.
//!
//! RFC 9068 4; RFC 8725 3.8 to 3.12.

use super::claims::Claims;
use super::header::MediaType;
use super::key::{KeyBounds, KeyOrigin, VerificationKey};
use super::refusal::Refusal;
use super::{Issuer, KeyId, Subject, UnixSeconds};

/// How far the issuer's clock may be ahead of ours: so long before its `nbf` or `iat` a token is
/// taken already. It never lengthens a life: at `exp` a token ends, as it ends at its issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew(i64);

impl Skew {
    pub const NONE: Self = Self(0);

    /// Clocks set by NTP lie well within this.
    pub const DEFAULT_SECONDS: u32 = 5;

    /// More than a minute is a broken clock.
    pub const MAX_SECONDS: u32 = 60;

    /// Nothing when it is more than [`Skew::MAX_SECONDS`].
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        (seconds <= Self::MAX_SECONDS).then_some(Self(i64::from(seconds)))
    }
}

impl Default for Skew {
    fn default() -> Self {
        Self(i64::from(Self::DEFAULT_SECONDS))
    }
}

/// How an access token of an issuer is told from its other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// `typ` is `at+jwt`. Logto writes it on every access token and on nothing else.
    TypedAccessToken,
    /// No `typ`, `JWT` or `at+jwt`. mgPass documents none, so the claims must tell: nothing that
    /// only ID tokens have and, where `typ` is silent, a `scope`, which its ID tokens lack.
    UntypedAccessToken,
}

impl Issuer {
    #[must_use]
    pub const fn access_token_type(self) -> TokenType {
        match self {
            Self::Logto => TokenType::TypedAccessToken,
            Self::Mgpass => TokenType::UntypedAccessToken,
        }
    }
}

/// What a route asks of a token.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'p> {
    /// Exactly this `iss`.
    pub issuer: &'p str,
    /// At least one of these in `aud`.
    pub audiences: &'p [String],
    pub token_type: TokenType,
    pub required_scope: Option<&'p str>,
    pub skew: Skew,
    /// The longest `exp - iat` believed, on top of what the key itself allows.
    pub max_lifetime_s: Option<i64>,
}

/// A token whose signature holds. Its claims are its issuer's word; whether they suit us is open.
pub struct SignedToken {
    issuer: Issuer,
    key_id: Option<KeyId>,
    origin: KeyOrigin,
    bounds: Option<KeyBounds>,
    media_type: MediaType,
    claims: Claims,
}

/// Who is asking, authenticated. Made by [`SignedToken::validate`] and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub issuer: Issuer,
    pub subject: Subject,
    pub audience: Vec<String>,
    pub scopes: Vec<String>,
    pub client_id: Option<String>,
    pub organization_id: Option<String>,
    pub token_id: Option<String>,
    pub issued_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    /// The key that signed, to drop what was remembered under it when the key goes.
    pub key_id: Option<KeyId>,
    pub key_origin: KeyOrigin,
    /// Keeps the type from being built elsewhere.
    seal: Seal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seal;

impl SignedToken {
    pub(super) fn new(
        issuer: Issuer,
        key: &VerificationKey,
        media_type: MediaType,
        claims: Claims,
    ) -> Self {
        Self {
            issuer,
            key_id: key.key_id().cloned(),
            origin: key.origin(),
            bounds: key.bounds(),
            media_type,
            claims,
        }
    }

    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }

    /// Whom the issuer means, whether or not the token is accepted as anything.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.claims.subject
    }

    /// Until when the signature may be remembered; whether the token is accepted is another question.
    #[must_use]
    pub const fn expires_at(&self) -> UnixSeconds {
        self.claims.expires_at
    }

    /// # Errors
    /// The first thing that does not suit, scope last: [`Refusal::InsufficientScope`] is said only
    /// to somebody who is authenticated.
    pub fn validate(self, policy: &Policy<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        let claims = &self.claims;
        if claims.issuer != policy.issuer {
            return Err(Refusal::WrongIssuer);
        }
        check_type(self.media_type, claims, policy.token_type)?;
        if !claims
            .audience
            .iter()
            .any(|audience| policy.audiences.contains(audience))
        {
            return Err(Refusal::WrongAudience);
        }
        check_time(claims, policy, now)?;
        if let Some(bounds) = self.bounds {
            check_bounds(claims, bounds, now)?;
        }
        if let Some(scope) = policy.required_scope
            && !claims.scopes.iter().flatten().any(|held| held == scope)
        {
            return Err(Refusal::InsufficientScope);
        }
        Ok(self.into_principal())
    }

    fn into_principal(self) -> Principal {
        let claims = self.claims;
        let organization_id = match self.issuer {
            Issuer::Logto => claims.organization_id,
            Issuer::Mgpass => claims.org_id,
        };
        Principal {
            issuer: self.issuer,
            subject: claims.subject,
            audience: claims.audience,
            scopes: claims.scopes.unwrap_or_default(),
            client_id: claims.client_id,
            organization_id,
            token_id: claims.token_id,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            key_id: self.key_id,
            key_origin: self.origin,
            seal: Seal,
        }
    }
}

fn check_type(
    media_type: MediaType,
    claims: &Claims,
    token_type: TokenType,
) -> Result<(), Refusal> {
    match (token_type, media_type) {
        (TokenType::TypedAccessToken, MediaType::AtJwt) => Ok(()),
        (TokenType::TypedAccessToken, MediaType::Jwt) => Err(Refusal::IdTokenByType),
        (TokenType::TypedAccessToken, MediaType::Absent) => Err(Refusal::TypeMissing),
        (_, MediaType::Other) => Err(Refusal::TypeUnexpected),
        (TokenType::UntypedAccessToken, MediaType::AtJwt) => check_no_id_token(claims),
        (TokenType::UntypedAccessToken, MediaType::Jwt | MediaType::Absent) => {
            check_no_id_token(claims)?;
            match claims.scopes {
                Some(_) => Ok(()),
                None => Err(Refusal::NotShownAccessToken),
            }
        }
    }
}

fn check_no_id_token(claims: &Claims) -> Result<(), Refusal> {
    if claims.looks_like_id_token {
        Err(Refusal::IdTokenByClaims)
    } else {
        Ok(())
    }
}

fn check_time(claims: &Claims, policy: &Policy<'_>, now: UnixSeconds) -> Result<(), Refusal> {
    // "On or after" `exp` is too late (RFC 7519 4.1.4). Logto has no tolerance here, so we have
    // none: the edge may be stricter than the issuer, never laxer.
    if now >= claims.expires_at {
        return Err(Refusal::Expired);
    }
    let latest_begin = now.plus(policy.skew.0);
    if claims.not_before.is_some_and(|begin| begin > latest_begin) {
        return Err(Refusal::NotYetValid);
    }
    if claims.issued_at > latest_begin {
        return Err(Refusal::IssuedInFuture);
    }
    check_lifetime(claims, policy.max_lifetime_s)
}

/// No skew: the bounds are compared with instants we recorded ourselves, or with no clock at all.
fn check_bounds(claims: &Claims, bounds: KeyBounds, now: UnixSeconds) -> Result<(), Refusal> {
    if now >= bounds.sunset {
        return Err(Refusal::AfterSunset);
    }
    if bounds
        .issued_before
        .is_some_and(|stop| claims.issued_at >= stop)
    {
        return Err(Refusal::IssuedAfterStop);
    }
    check_lifetime(claims, Some(bounds.max_lifetime_s))
}

fn check_lifetime(claims: &Claims, longest_s: Option<i64>) -> Result<(), Refusal> {
    let lifetime_s = claims.expires_at.since(claims.issued_at);
    if longest_s.is_some_and(|longest_s| lifetime_s > longest_s) {
        return Err(Refusal::LifetimeTooLong);
    }
    Ok(())
}
