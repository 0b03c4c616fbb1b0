//! The proxy's own errors as the client sees them: a stable code, a request id,
//! no cause. A backend's own error passes unchanged and never comes through here.
//!
//! OAuth endpoints answer with OAuth error objects (RFC 6749 5.2), the rest in
//! the shape that clients of Logto's API already read (`code`, `message`).

use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// No Logto origin: nothing can be served.
    #[error("the proxy is not configured")]
    Misconfigured,
    #[error("the request has a malformed target")]
    MalformedRequest,
    /// Only for writes without a declared length: the body is read before the write is recorded.
    #[error("the request body is larger than a user write may be")]
    BodyTooLarge,
    #[error("the request body ended before its declared length")]
    BodyIncomplete,
    #[error("the authorization server could not be reached")]
    LogtoUnreachable,
    #[error("the authorization server did not answer in time")]
    LogtoTimedOut,
    #[error("the user service could not be reached")]
    MgpassUnavailable,
    /// A write was sent and may have been done.
    #[error("the user service did not answer in time; it is not known whether this was done")]
    MgpassTimedOut,
    /// Others changed the same user each time that it was tried.
    #[error("the user is being changed by others; try again")]
    Busy,
    /// What was done meanwhile is not acknowledged.
    #[error("users are moving to another service; try again")]
    AuthorityMoved,
    /// Not one usable key of an issuer is known now.
    #[error("the keys of an issuer cannot be had")]
    KeysUnavailable,
    /// The client's own credential was refused too often, or others' from the same place.
    #[error("too many attempts by clients that are not known; try again within a minute")]
    TooManyAttempts,
    #[error("the proxy has no such route")]
    NoSuchRoute,
    #[error("a parameter is missing or malformed")]
    ParameterMissing,
    #[error("the signature is not that of the body")]
    SignatureRefused,
    /// Neither database nor Queue took a webhook.
    #[error("the message could not be recorded")]
    NotRecorded,
    #[error("an admin token is needed")]
    AdminTokenNeeded,
    #[error("a job of this kind is running or paused")]
    JobActive,
    #[error("no job of this kind is in a state for that")]
    JobNotActive,
    #[error("no job of this kind was ever started")]
    NoSuchJob,
    /// A real import hands users over to the mirror, which is off.
    #[error("the stage is off: set it to shadow, or start a dry run")]
    StageOff,
    #[error(
        "Logto is not the authority, and jobs read what stands there: `dwp debt` shows what it lacks, `dwp stray list` what was changed at it"
    )]
    LogtoNotAuthority,
    #[error("no rewards database is bound, so there are no points to import")]
    RewardsNotBound,
    /// The proxy's own database, or mgPass's, did not answer an operator.
    #[error("a database did not answer")]
    DatabaseUnavailable,
    #[error("the user id is malformed: it has 1 to 64 printable characters and no space")]
    MalformedUser,
    #[error("neither Logto nor the mirror knows this user")]
    NoSuchUser,
    /// A deletion is confirmed of somebody whom Logto still has.
    #[error("Logto still has this user, so there is no deletion to confirm; nothing was changed")]
    UserLives,
    #[error("the proxy reads no flag of this name")]
    UnknownFlag,
    /// What the key takes.
    #[error("the value would not be taken; the flag takes {0}")]
    FlagRefused(&'static str),
    #[error("the flags cannot be read now: KV does not answer")]
    FlagsUnreachable,
    #[error("a ramp plan is running or paused")]
    RampActive,
    #[error("no ramp plan is in a state for that")]
    RampNotActive,
    /// What holds reads at Logto.
    #[error("no ramp plan can go on: {0}")]
    RampHeld(&'static str),
    #[error("the steps make no plan: {0}")]
    RampSteps(&'static str),
    #[error("more than 16 lanes, or a number that is none")]
    LanesOutOfRange,
    #[error("there is no application of this name; the operator lists them")]
    NoSuchApplication,
    /// KV has told this isolate nothing yet.
    #[error("the applications cannot be read now; try again in a few seconds")]
    ApplicationsUnknown,
    /// Whoever got the request would see the other side's secret. Nothing was sent.
    #[error("the request names clients of two authorization servers; name one")]
    ClientsOfBothSides,
    /// Where mgPass's endpoints are cannot be had: nothing was sent.
    #[error("the authorization server of this client cannot be reached; nothing was sent to it")]
    NothingSent,
    /// A user write, or a read of a user, and no proof of which side is the authority.
    #[error("it cannot be told now which side holds the users; try again")]
    AuthorityUnknown,
    /// A user write waited for the authority to change hands, and no longer.
    #[error("the users are being handed over; try again")]
    AuthorityMoving,
    /// mgPass is the authority and cannot be read, and Logto does not have all of it.
    #[error("users cannot be read now; try again")]
    UsersUnavailable,
    /// mgPass is the authority, and the settings to reach it have faults.
    #[error("the proxy's settings have faults, so the user service cannot be reached")]
    SettingsFaulty,
    /// Stage `cleanup`: what only Logto could answer.
    #[error(
        "this authorization server is not asked any more; its users, sign-ins and tokens are at another one"
    )]
    LogtoRetired,
    /// The last token of Logto's has expired, and with it whatever its documents were for.
    #[error("this issuer has ended: no token of its is valid any more")]
    IssuerEnded,
    #[error("the proxy failed")]
    Defect,
}

impl ProxyError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Misconfigured => "proxy.misconfigured",
            Self::MalformedRequest => "proxy.malformed_request",
            Self::BodyTooLarge => "proxy.body_too_large",
            Self::BodyIncomplete => "proxy.body_incomplete",
            Self::LogtoUnreachable => "proxy.logto_unreachable",
            Self::LogtoTimedOut => "proxy.logto_timed_out",
            Self::MgpassUnavailable => "proxy.mgpass_unavailable",
            Self::MgpassTimedOut => "proxy.mgpass_timed_out",
            Self::Busy => "proxy.busy",
            Self::AuthorityMoved => "proxy.authority_moved",
            Self::KeysUnavailable => "proxy.keys_unavailable",
            Self::TooManyAttempts => "proxy.too_many_attempts",
            Self::NoSuchRoute => "proxy.no_such_route",
            Self::AdminTokenNeeded => "proxy.admin_token_needed",
            Self::ParameterMissing => "proxy.parameter_missing",
            Self::SignatureRefused => "proxy.signature_refused",
            Self::NotRecorded => "proxy.not_recorded",
            Self::JobActive => "proxy.job_active",
            Self::JobNotActive => "proxy.job_not_active",
            Self::NoSuchJob => "proxy.no_such_job",
            Self::StageOff => "proxy.stage_off",
            Self::LogtoNotAuthority => "proxy.logto_not_authority",
            Self::RewardsNotBound => "proxy.rewards_not_bound",
            Self::DatabaseUnavailable => "proxy.database_unavailable",
            Self::MalformedUser => "proxy.malformed_user_id",
            Self::NoSuchUser => "proxy.no_such_user",
            Self::UserLives => "proxy.user_lives",
            Self::UnknownFlag => "proxy.unknown_flag",
            Self::FlagRefused(_) => "proxy.flag_refused",
            Self::FlagsUnreachable => "proxy.flags_unreachable",
            Self::RampActive => "proxy.ramp_active",
            Self::RampNotActive => "proxy.ramp_not_active",
            Self::RampHeld(_) => "proxy.ramp_held",
            Self::RampSteps(_) => "proxy.ramp_steps",
            Self::LanesOutOfRange => "proxy.lanes_out_of_range",
            Self::NoSuchApplication => "proxy.no_such_application",
            Self::ApplicationsUnknown => "proxy.applications_unknown",
            Self::ClientsOfBothSides => "proxy.clients_of_both_sides",
            Self::NothingSent => "proxy.nothing_sent",
            Self::AuthorityUnknown => "proxy.authority_unknown",
            Self::AuthorityMoving => "proxy.authority_moving",
            Self::UsersUnavailable => "proxy.users_unavailable",
            Self::SettingsFaulty => "proxy.settings_faulty",
            Self::LogtoRetired => "proxy.logto_retired",
            Self::IssuerEnded => "proxy.issuer_ended",
            Self::Defect => "proxy.defect",
        }
    }

    pub fn status(self) -> u16 {
        match self {
            Self::MalformedRequest
            | Self::BodyIncomplete
            | Self::ParameterMissing
            | Self::MalformedUser
            | Self::UnknownFlag
            | Self::FlagRefused(_)
            | Self::RampSteps(_)
            | Self::LanesOutOfRange
            | Self::ClientsOfBothSides => 400,
            Self::AdminTokenNeeded | Self::SignatureRefused => 401,
            Self::NoSuchRoute | Self::NoSuchJob | Self::NoSuchUser | Self::NoSuchApplication => 404,
            Self::JobActive
            | Self::JobNotActive
            | Self::StageOff
            | Self::LogtoNotAuthority
            | Self::RewardsNotBound
            | Self::UserLives
            | Self::RampActive
            | Self::RampNotActive
            | Self::RampHeld(_) => 409,
            Self::LogtoRetired | Self::IssuerEnded => 410,
            Self::BodyTooLarge => 413,
            Self::TooManyAttempts => 429,
            Self::Misconfigured | Self::Defect => 500,
            Self::LogtoUnreachable | Self::MgpassUnavailable => 502,
            Self::NotRecorded
            | Self::KeysUnavailable
            | Self::DatabaseUnavailable
            | Self::Busy
            | Self::FlagsUnreachable
            | Self::ApplicationsUnknown
            | Self::NothingSent
            | Self::AuthorityUnknown
            | Self::AuthorityMoving
            | Self::AuthorityMoved
            | Self::UsersUnavailable
            | Self::SettingsFaulty => 503,
            Self::LogtoTimedOut | Self::MgpassTimedOut => 504,
        }
    }

    /// After how many seconds the same may go better, where that is known.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::TooManyAttempts | Self::SettingsFaulty => Some(60),
            Self::Busy | Self::AuthorityMoved => Some(1),
            Self::NotRecorded
            | Self::DatabaseUnavailable
            | Self::AuthorityUnknown
            | Self::AuthorityMoving
            | Self::ApplicationsUnknown
            | Self::NothingSent
            | Self::UsersUnavailable => Some(5),
            _ => None,
        }
    }

    /// The JSON body for a request to `path`.
    pub fn body(self, path: &str, request_id: &str) -> String {
        let message = self.to_string();
        let oauth = match self.status() {
            429 | 500.. => "temporarily_unavailable",
            // Whatever grant was shown, there is nobody to honour it: sign in anew.
            410 => "invalid_grant",
            _ => "invalid_request",
        };
        let body = if path.starts_with("/oidc/") {
            json!({ "error": oauth, "error_description": message, "code": self.code(), "message": message, "request_id": request_id })
        } else {
            json!({ "code": self.code(), "message": message, "request_id": request_id })
        };
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oauth_endpoints_get_oauth_errors() {
        let body: serde_json::Value =
            serde_json::from_str(&ProxyError::LogtoUnreachable.body("/oidc/token", "r1")).unwrap();
        assert_eq!(body["error"], "temporarily_unavailable");
        assert_eq!(body["code"], "proxy.logto_unreachable");
        assert_eq!(body["request_id"], "r1");
        // Clients of Logto's read this beside the OAuth members.
        assert_eq!(body["message"], body["error_description"]);
    }

    #[test]
    fn other_endpoints_get_code_and_message() {
        let body: serde_json::Value =
            serde_json::from_str(&ProxyError::BodyTooLarge.body("/api/users", "r1")).unwrap();
        assert_eq!(body["code"], "proxy.body_too_large");
        assert!(body.get("error").is_none());
    }
}
