//! What an isolate keeps of the two issuers' documents.

/// Documents of Logto's issuer as they were kept, JSON texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldIssuer {
    pub discovery: String,
    pub jwks: String,
}

/// What mgPass's discovery document says of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MgpassEndpoints {
    pub authorization: Option<String>,
    pub token: String,
    pub jwks: String,
    pub introspection: String,
    pub revocation: String,
    pub userinfo: String,
    pub end_session: String,
}
