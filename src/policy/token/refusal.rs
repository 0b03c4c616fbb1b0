//! Why a token was refused: the caller's fault, each time. Nothing here carries a value of the
//! token, so a refusal can be logged and counted as it is.

use super::json::JsonFault;
use super::member::{Claim, ForbiddenMember};

/// A reason to refuse a token. [`Refusal::code`] is stable; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // The form, before any key is known.
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    #[error("token is too large")]
    TooLarge,
    /// An opaque token, an encrypted one, or no token.
    #[error("token has not exactly three parts")]
    NotThreeParts,
    /// The header is not strict base64url.
    #[error("header is not base64url")]
    HeaderEncoding,
    /// The header is not a strict JSON object.
    #[error("header: {0}")]
    HeaderJson(JsonFault),
    /// The claims are not strict base64url.
    #[error("claims are not base64url")]
    ClaimsEncoding,
    /// The claims are not a strict JSON object.
    #[error("claims: {0}")]
    ClaimsJson(JsonFault),
    /// The signature is not strict base64url.
    #[error("signature is not base64url")]
    SignatureEncoding,
    /// The third part is empty.
    #[error("signature is missing")]
    SignatureMissing,

    // The header.
    /// The header has no `alg`.
    #[error("header has no algorithm")]
    AlgorithmMissing,
    /// `alg` is not a text.
    #[error("algorithm is not a text")]
    AlgorithmMalformed,
    /// `none`, in any spelling.
    #[error("token is unsigned")]
    AlgorithmNone,
    /// An HMAC: the public key would be the secret.
    #[error("algorithm is symmetric")]
    AlgorithmSymmetric,
    /// Any other algorithm that is not on our list.
    #[error("algorithm is not supported")]
    AlgorithmUnsupported,
    /// `kid` is not a plain text of bounded length.
    #[error("key id is malformed")]
    KeyIdMalformed,
    /// `typ` is not a text.
    #[error("type is malformed")]
    TypeMalformed,
    /// A member that would bring a key or change what is signed.
    #[error("header member {} is not allowed", .0.name())]
    ForbiddenHeader(ForbiddenMember),

    // The claims, before their values are judged.
    /// A claim every token must have is absent.
    #[error("claim {} is missing", .0.name())]
    ClaimMissing(Claim),
    /// A claim has the wrong type, is null, empty or out of range.
    #[error("claim {} is malformed", .0.name())]
    ClaimMalformed(Claim),
    /// `exp` is not after `iat`.
    #[error("token ends before it begins")]
    ExpiryNotAfterIssue,

    // The key.
    /// `iss` is neither of the two issuers.
    #[error("issuer is unknown")]
    UnknownIssuer,
    /// The key set offered belongs to the other issuer: the calling code is wrong.
    #[error("key set is of another issuer")]
    KeySetOfOtherIssuer,
    /// The issuer's set has no such key. The one refusal that a fresh key set may cure.
    #[error("key id is unknown")]
    UnknownKeyId,
    /// No `kid`, and more than one key to choose from.
    #[error("key id is missing")]
    KeyIdMissing,
    /// The header's algorithm is not the key's.
    #[error("algorithm is not that of the key")]
    AlgorithmNotOfKey,

    // The signature.
    /// Not the length this key's signatures have; DER is caught here.
    #[error("signature has the wrong length")]
    SignatureLength,
    /// `r` or `s` is zero or not below the order of the curve.
    #[error("signature is out of range")]
    SignatureOutOfRange,
    /// The crypto says no.
    #[error("signature is invalid")]
    SignatureInvalid,

    // The policy.
    /// `iss` is not the issuer this route asks for.
    #[error("issuer is not accepted here")]
    WrongIssuer,
    /// `aud` names nobody we answer for.
    #[error("audience is not accepted here")]
    WrongAudience,
    /// `typ: JWT`, which Logto's ID tokens carry up to 1.41.
    #[error("an ID token by its type")]
    IdTokenByType,
    /// No `typ`, as Logto's ID tokens from 1.42.
    #[error("token has no type")]
    TypeMissing,
    /// Some other kind of token.
    #[error("token is of another type")]
    TypeUnexpected,
    /// Has a claim that only ID tokens have.
    #[error("an ID token by its claims")]
    IdTokenByClaims,
    /// Neither typed as an access token nor with a `scope`, which mgPass's ID tokens lack.
    #[error("nothing shows an access token")]
    NotShownAccessToken,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `iat` has not come.
    #[error("token is issued in the future")]
    IssuedInFuture,
    /// `exp - iat` is more than this issuer, or this imported key, ever granted.
    #[error("token lives too long")]
    LifetimeTooLong,
    /// Signed with an imported key when its issuer had already stopped issuing.
    #[error("token is issued after its issuer stopped")]
    IssuedAfterStop,
    /// The imported key is no longer honoured.
    #[error("imported key is past its sunset")]
    AfterSunset,
    /// Authentic, but the scope asked for is not among its scopes: 403, where the rest is 401.
    #[error("scope is insufficient")]
    InsufficientScope,
}

impl Refusal {
    /// Stable name for logs, metrics and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::NotThreeParts => "not_three_parts",
            Self::HeaderEncoding => "header_not_base64url",
            Self::HeaderJson(fault) => match fault {
                JsonFault::NotUtf8 => "header_not_utf8",
                JsonFault::Syntax => "header_not_json",
                JsonFault::DuplicateMember => "header_duplicate_member",
                JsonFault::TooDeep => "header_too_deep",
                JsonFault::NotAnObject => "header_not_an_object",
            },
            Self::ClaimsEncoding => "claims_not_base64url",
            Self::ClaimsJson(fault) => match fault {
                JsonFault::NotUtf8 => "claims_not_utf8",
                JsonFault::Syntax => "claims_not_json",
                JsonFault::DuplicateMember => "claims_duplicate_member",
                JsonFault::TooDeep => "claims_too_deep",
                JsonFault::NotAnObject => "claims_not_an_object",
            },
            Self::SignatureEncoding => "signature_not_base64url",
            Self::SignatureMissing => "signature_missing",
            Self::AlgorithmMissing => "alg_missing",
            Self::AlgorithmMalformed => "alg_malformed",
            Self::AlgorithmNone => "alg_none",
            Self::AlgorithmSymmetric => "alg_symmetric",
            Self::AlgorithmUnsupported => "alg_unsupported",
            Self::KeyIdMalformed => "kid_malformed",
            Self::TypeMalformed => "typ_malformed",
            Self::ForbiddenHeader(member) => member.code(),
            Self::ClaimMissing(claim) => claim.missing_code(),
            Self::ClaimMalformed(claim) => claim.malformed_code(),
            Self::ExpiryNotAfterIssue => "exp_not_after_iat",
            Self::UnknownIssuer => "unknown_issuer",
            Self::KeySetOfOtherIssuer => "key_set_of_other_issuer",
            Self::UnknownKeyId => "unknown_kid",
            Self::KeyIdMissing => "kid_missing",
            Self::AlgorithmNotOfKey => "alg_not_of_key",
            Self::SignatureLength => "signature_length",
            Self::SignatureOutOfRange => "signature_out_of_range",
            Self::SignatureInvalid => "signature_invalid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::IdTokenByType => "id_token_by_type",
            Self::TypeMissing => "typ_missing",
            Self::TypeUnexpected => "typ_unexpected",
            Self::IdTokenByClaims => "id_token_by_claims",
            Self::NotShownAccessToken => "not_shown_access_token",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::IssuedAfterStop => "issued_after_stop",
            Self::AfterSunset => "after_sunset",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}
