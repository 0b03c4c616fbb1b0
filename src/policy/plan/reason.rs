//! Why a request goes where it goes, as one word each.

/// Stable codes: log lines, metric labels, test assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What no rule claims, and what is about tokens and keys.
    NotARead,
    /// May change a user; its answer is Logto's.
    Write,
    /// A read with a query, which may ask for what only Logto has.
    Query,
    /// The proxy's own route or error: no backend's answer.
    Own,
    /// The settings have faults: the proxy is a pipe.
    Settings,
    StageOff,
    StageShadow,
    NoBearerJwt,
    ForeignIssuer,
    MgpassToken,
    TokenRefused,
    KillSwitch,
    OutsideShare,
    Guard,
    EligibilityUnknown,
    Fence,
    NotReconciled,
    /// mgPass fails in this isolate's eyes: Logto answers in its stead.
    Breaker,
    InShare,
    /// mgPass is the authority: a write is carried out there.
    Translated,
    /// The same: what is asked for has no place there, or is no longer taken.
    Refused,
    /// The same: Logto goes on with what changes no user.
    Kept,
    /// The same: a sign-in that Logto began may end there.
    SignIn,
    /// The same: a read is answered by mgPass's rows.
    Rows,
    /// The same: Logto answers a list or a search, and says how old it is.
    AsOf,
    /// The same: mgPass cannot be read, and Logto has all that was acknowledged.
    Fallback,
    /// mgPass's client, or a token of mgPass's, on a route of Logto's.
    ClientOfMgpass,
}

impl Reason {
    /// Served by Logto for a reason that says nothing against mgPass's answer being
    /// the same: such a read may be compared.
    pub fn is_comparable(self) -> bool {
        match self {
            Self::StageShadow | Self::KillSwitch | Self::OutsideShare | Self::Guard => true,
            Self::NotARead
            | Self::Write
            | Self::Query
            | Self::Own
            | Self::Settings
            | Self::StageOff
            | Self::NoBearerJwt
            | Self::ForeignIssuer
            | Self::MgpassToken
            | Self::TokenRefused
            | Self::EligibilityUnknown
            | Self::Fence
            | Self::NotReconciled
            | Self::Breaker
            | Self::InShare
            | Self::Translated
            | Self::Refused
            | Self::Kept
            | Self::SignIn
            | Self::Rows
            | Self::AsOf
            | Self::Fallback
            | Self::ClientOfMgpass => false,
        }
    }

    pub fn code(self) -> &'static str {
        match self {
            Self::NotARead => "not_a_read",
            Self::Write => "write",
            Self::Query => "query",
            Self::Own => "own",
            Self::Settings => "settings",
            Self::StageOff => "stage_off",
            Self::StageShadow => "stage_shadow",
            Self::NoBearerJwt => "no_bearer_jwt",
            Self::ForeignIssuer => "foreign_issuer",
            Self::MgpassToken => "mgpass_token",
            Self::TokenRefused => "token_refused",
            Self::KillSwitch => "kill_switch",
            Self::OutsideShare => "outside_share",
            Self::Guard => "guard",
            Self::EligibilityUnknown => "eligibility_unknown",
            Self::Fence => "fence",
            Self::NotReconciled => "not_reconciled",
            Self::Breaker => "breaker",
            Self::InShare => "in_share",
            Self::Translated => "translated",
            Self::Refused => "refused",
            Self::Kept => "kept",
            Self::SignIn => "sign_in",
            Self::Rows => "rows",
            Self::AsOf => "as_of",
            Self::Fallback => "fallback",
            Self::ClientOfMgpass => "client_of_mgpass",
        }
    }
}
