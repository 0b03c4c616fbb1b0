//! What becomes of each operation once mgPass is the source of truth, with the reason; and the codes
//! with which a write is refused then.
//!
//! Of a user's data nothing is forwarded to Logto any more. What changes no user is.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCutover {
    /// A read is answered from mgPass in Logto's form; of a write is computed what Logto would have
    /// done, and mgPass changed (`translate_write`).
    Translate,
    /// Answered with the refusal's code before Logto sees it.
    Refuse(Refusal),
    /// A step of an interaction that Logto holds: it goes on as long as it ends in a sign-in and in
    /// nothing else, from draining on. One that registers, resets or writes a profile is told to
    /// start again.
    FinishSignIn(Shown),
    /// Goes to Logto as before, for this reason.
    Forward(&'static str),
    /// Answered by the proxy as before.
    Own,
}

/// What shows that a step ends in a sign-in and in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its route: it writes nothing that a later step would not be asked about.
    Always,
    /// The event that this member of its body names.
    Event(&'static str),
    /// What Logto says of the interaction, and its own body.
    Progress,
    /// Of the older API: its body, which begins the interaction anew; so it is kept for the end.
    Beginning,
    /// Of the older API, whose progress nobody can ask for: what was kept of its beginning.
    Kept,
}

/// Why a write is refused: by its route, or by what it asks for. Nothing is changed by a refused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // Of routes.
    /// Second factors, personal access tokens, settings of Logto's own.
    #[error("users are kept by mgPass now, which has no place for this")]
    NotTranslatable,
    /// Sign-ups, resets and changes to a profile in Logto's pages.
    #[error("accounts are created and changed elsewhere now: start again")]
    StartAgain,
    /// Logto's copy of a password must not be a way to try the real one.
    #[error("passwords are no longer checked here")]
    PasswordCheck,
    /// The connector asks the provider who it is, in Logto.
    #[error("an account can no longer be linked by a connector's data: give its user id")]
    NeedsConnector,
    /// What a record says of a new address or account only Logto knows, and no read of it tells.
    #[error("a new address or account can no longer be proven by a verification record")]
    NeedsVerificationRecord,
    // Of what is asked for.
    /// mgPass takes passwords, no hashes.
    #[error("a password digest cannot be set; set the password")]
    PasswordDigest,
    #[error("this identity target cannot be set")]
    IdentityTarget,
    #[error("a form body cannot be read; send JSON")]
    FormBody,
    #[error("an encoded body cannot be read; send it without Content-Encoding")]
    EncodedBody,
    /// JSON may hold half a surrogate pair; no database may.
    #[error("the body holds a lone surrogate")]
    LoneSurrogate,
    #[error("the body is nested too deeply")]
    TooDeep,
    /// More than a row of mgPass's may hold.
    #[error("the user would be larger than can be stored")]
    TooLarge,
    /// Logto stores it and then fails to show the user, for good.
    #[error("a value is longer than can be shown")]
    NotShowable,
    // Of what could not be known.
    #[error("whether the verification record holds could not be asked")]
    ProofUnknown,
    /// An address is shown only where there is one, so that its scope cannot be seen.
    #[error("whether the token may write an address cannot be seen")]
    ScopeUnknown,
    /// The look-up of leaked passwords gave no answer, and the tenant's policy asks for one.
    #[error("whether the password has leaked could not be asked")]
    LeaksUnknown,
    /// mgPass's own rules for passwords; Logto has none for its Management API.
    #[error("this password is not taken")]
    PasswordRefused,
    /// Registered at mgPass's own pages: there is no row that would hold Logto's form.
    #[error("this user is of mgPass's own, which has no place for this value")]
    BornAtMgpass,
    /// A defect: the user could not be made out of the rows.
    #[error("the user could not be read")]
    UnreadableUser,
}

impl Refusal {
    #[cfg(not(target_arch = "wasm32"))]
    pub const ALL: [Self; 19] = [
        Self::NotTranslatable,
        Self::StartAgain,
        Self::PasswordCheck,
        Self::NeedsConnector,
        Self::NeedsVerificationRecord,
        Self::PasswordDigest,
        Self::IdentityTarget,
        Self::FormBody,
        Self::EncodedBody,
        Self::LoneSurrogate,
        Self::TooDeep,
        Self::TooLarge,
        Self::NotShowable,
        Self::ProofUnknown,
        Self::ScopeUnknown,
        Self::LeaksUnknown,
        Self::PasswordRefused,
        Self::BornAtMgpass,
        Self::UnreadableUser,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::NotTranslatable => "proxy.not_translatable",
            Self::StartAgain => "proxy.start_again",
            Self::PasswordCheck => "proxy.password_check_refused",
            Self::NeedsConnector => "proxy.needs_connector",
            Self::NeedsVerificationRecord => "proxy.needs_verification_record",
            Self::PasswordDigest => "proxy.password_digest_not_translatable",
            Self::IdentityTarget => "proxy.identity_target_not_translatable",
            Self::FormBody => "proxy.form_not_translatable",
            Self::EncodedBody => "proxy.encoding_not_translatable",
            Self::LoneSurrogate => "proxy.lone_surrogate_not_translatable",
            Self::TooDeep => "proxy.depth_not_translatable",
            Self::TooLarge => "proxy.user_too_large",
            Self::NotShowable => "proxy.value_not_showable",
            Self::ProofUnknown => "proxy.verification_unknown",
            Self::ScopeUnknown => "proxy.scope_unknown",
            Self::LeaksUnknown => "proxy.password_leaks_unknown",
            Self::PasswordRefused => "proxy.password_refused",
            Self::BornAtMgpass => "proxy.born_at_mgpass",
            Self::UnreadableUser => "proxy.user_unreadable",
        }
    }

    /// A 501 is not tried again by clients; a 503 is.
    pub fn status(self) -> u16 {
        match self {
            Self::NotTranslatable | Self::NeedsConnector | Self::NeedsVerificationRecord => 501,
            Self::StartAgain => 409,
            Self::PasswordCheck => 403,
            Self::PasswordDigest
            | Self::IdentityTarget
            | Self::LoneSurrogate
            | Self::TooDeep
            | Self::NotShowable
            | Self::ScopeUnknown
            | Self::PasswordRefused
            | Self::BornAtMgpass => 422,
            Self::FormBody | Self::EncodedBody => 415,
            Self::TooLarge => 413,
            Self::ProofUnknown | Self::LeaksUnknown => 503,
            Self::UnreadableUser => 500,
        }
    }
}
