//! The members of header and claims that have a name here, and the codes of their refusals.

/// The claims that anything depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Iss,
    Sub,
    Aud,
    Exp,
    Iat,
    Nbf,
    Scope,
    ClientId,
    Jti,
    OrganizationId,
    OrgId,
}

impl Claim {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iss => "iss",
            Self::Sub => "sub",
            Self::Aud => "aud",
            Self::Exp => "exp",
            Self::Iat => "iat",
            Self::Nbf => "nbf",
            Self::Scope => "scope",
            Self::ClientId => "client_id",
            Self::Jti => "jti",
            Self::OrganizationId => "organization_id",
            Self::OrgId => "org_id",
        }
    }

    pub(super) const fn missing_code(self) -> &'static str {
        match self {
            Self::Iss => "iss_missing",
            Self::Sub => "sub_missing",
            Self::Aud => "aud_missing",
            Self::Exp => "exp_missing",
            Self::Iat => "iat_missing",
            Self::Nbf => "nbf_missing",
            Self::Scope => "scope_missing",
            Self::ClientId => "client_id_missing",
            Self::Jti => "jti_missing",
            Self::OrganizationId => "organization_id_missing",
            Self::OrgId => "org_id_missing",
        }
    }

    pub(super) const fn malformed_code(self) -> &'static str {
        match self {
            Self::Iss => "iss_malformed",
            Self::Sub => "sub_malformed",
            Self::Aud => "aud_malformed",
            Self::Exp => "exp_malformed",
            Self::Iat => "iat_malformed",
            Self::Nbf => "nbf_malformed",
            Self::Scope => "scope_malformed",
            Self::ClientId => "client_id_malformed",
            Self::Jti => "jti_malformed",
            Self::OrganizationId => "organization_id_malformed",
            Self::OrgId => "org_id_malformed",
        }
    }
}

/// Header members that are refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForbiddenMember {
    /// Extensions that must be understood; we understand none.
    Crit,
    /// Would change the bytes that are signed.
    B64,
    /// A token within the token.
    Cty,
    /// Places to fetch a key from.
    Jku,
    X5u,
    /// Keys brought along.
    Jwk,
    X5c,
    /// Other names of keys.
    X5t,
    X5tS256,
    /// Belong to encryption.
    Zip,
    Enc,
}

impl ForbiddenMember {
    pub const ALL: [Self; 11] = [
        Self::Crit,
        Self::B64,
        Self::Cty,
        Self::Jku,
        Self::X5u,
        Self::Jwk,
        Self::X5c,
        Self::X5t,
        Self::X5tS256,
        Self::Zip,
        Self::Enc,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crit => "crit",
            Self::B64 => "b64",
            Self::Cty => "cty",
            Self::Jku => "jku",
            Self::X5u => "x5u",
            Self::Jwk => "jwk",
            Self::X5c => "x5c",
            Self::X5t => "x5t",
            Self::X5tS256 => "x5t#S256",
            Self::Zip => "zip",
            Self::Enc => "enc",
        }
    }

    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Crit => "header_crit",
            Self::B64 => "header_b64",
            Self::Cty => "header_cty",
            Self::Jku => "header_jku",
            Self::X5u => "header_x5u",
            Self::Jwk => "header_jwk",
            Self::X5c => "header_x5c",
            Self::X5t => "header_x5t",
            Self::X5tS256 => "header_x5t_s256",
            Self::Zip => "header_zip",
            Self::Enc => "header_enc",
        }
    }
}
