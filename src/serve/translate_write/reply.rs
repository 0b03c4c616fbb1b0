//! What Logto answers, byte for byte: bodies, the order of their members, and its English texts.
//!
//! No text is made up: codes and messages are Logto's phrases (1.41), the rest are its libraries'
//! words. Its `message` follows `Accept-Language` (clients go by `code`); here it is English
//! whatever the client takes, since the other texts are not at hand without Logto.

use super::schema::{Issue, details, issues_json};
use crate::runtime::answer::Answer;
use crate::runtime::members::{ObjectWriter, quote};

/// Before its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Json(String),
    /// Of Logto's router and of Koa.
    Text(&'static str),
    Nothing,
}

impl Reply {
    /// Also what is left of an error that Logto's error handler takes for answered already, such
    /// as a body above the limit.
    pub const NOT_FOUND_TEXT: Self = Self {
        status: 404,
        content: Content::Text("Not Found"),
    };
    pub const NO_CONTENT: Self = Self {
        status: 204,
        content: Content::Nothing,
    };

    pub fn json(status: u16, json: String) -> Self {
        Self {
            status,
            content: Content::Json(json),
        }
    }

    /// Without a code: what Logto says to an error that is none of its own. `message` is JSON.
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, format!(r#"{{"message":{message}}}"#))
    }

    /// What Logto fails at.
    pub fn internal() -> Self {
        Self::message(500, &quote("Internal server error."))
    }

    pub fn error(error: LogtoError) -> Self {
        error.reply(None)
    }

    pub fn invalid(issues: &[Issue]) -> Self {
        let mut writer = ObjectWriter::default();
        writer.member("code", &quote("guard.invalid_input"));
        writer.member("data", &issues_json(issues));
        writer.member("details", &quote(&details(issues)));
        writer.member("message", &quote("The request body is invalid."));
        Self::json(400, writer.finish())
    }

    /// `allow_origin` is the request's own `Origin`, for the routes that any origin may ask.
    pub fn into_answer(self, request_id: &str, cors: Cors<'_>) -> Answer {
        let mut headers = vec![
            ("vary", "Accept-Encoding, Origin".to_owned()),
            ("logto-core-request-id", request_id.to_owned()),
        ];
        if let Cors::AnyOrigin { origin } = cors {
            headers.push((
                "access-control-allow-origin",
                origin.unwrap_or("*").to_owned(),
            ));
            headers.push(("access-control-expose-headers", "*".to_owned()));
        }
        let body = match self.content {
            Content::Json(json) => {
                headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
                json
            }
            Content::Text(text) => {
                headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
                text.to_owned()
            }
            Content::Nothing => String::new(),
        };
        Answer {
            status: self.status,
            headers,
            body,
        }
    }
}

/// Who may read the answer from another origin.
#[derive(Clone, Copy, Debug)]
pub enum Cors<'a> {
    /// The Management API: nobody but Logto's own consoles, which do not come through here.
    SameOrigin,
    /// The Account API echoes the `Origin`.
    AnyOrigin { origin: Option<&'a str> },
}

/// Logto's errors that a write can end in, with its own status for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogtoError {
    FieldNotEditable,
    /// A scope is missing; most routes of the Account API say so with a 400.
    ScopeMissing,
    ScopeMissingUnauthorized,
    InvalidInput,
    NotFound,
    ValueTooLong,
    UnsupportedEncryptionMethod,
    PasswordRejected,
    InvalidCredentials,
    CannotDeleteSelf,
    EmailInUse,
    IdentityInUse,
    IdentityNotExist,
    InvalidPhone,
    LastSignInMethodRequired,
    PasswordAlgorithmRequired,
    PasswordAndDigest,
    PhoneInUse,
    SamePassword,
    UsernameInUse,
    UsernameLowercase,
    UsernameNumbers,
    UsernameTooLong,
    UsernameTooShort,
    UsernameUnderscore,
    UsernameUppercase,
    ProofDenied,
}

impl LogtoError {
    /// `data` is JSON.
    pub fn reply(self, data: Option<&str>) -> Reply {
        let (status, code, message) = self.parts();
        let mut writer = ObjectWriter::default();
        writer.member("code", &quote(code));
        if let Some(data) = data {
            writer.member("data", data);
        }
        writer.member("message", &quote(message));
        Reply::json(status, writer.finish())
    }

    #[rustfmt::skip]
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::FieldNotEditable => (400, "account_center.field_not_editable", "Field is not editable."),
            Self::ScopeMissing => (400, "auth.unauthorized", "Unauthorized. Please check credentials and its scope."),
            Self::ScopeMissingUnauthorized => (401, "auth.unauthorized", "Unauthorized. Please check credentials and its scope."),
            Self::InvalidInput => (422, "entity.invalid_input", "Invalid input. Value list must not be empty."),
            Self::NotFound => (404, "entity.not_found", "The resource does not exist."),
            Self::ValueTooLong => (422, "entity.value_too_long", "The length of value is too long and exceeds the limit."),
            // The place of the method's name is never filled.
            Self::UnsupportedEncryptionMethod => (400, "password.unsupported_encryption_method", "The encryption method {{name}} is not supported."),
            Self::PasswordRejected => (422, "password.rejected", "Password rejected. Please check if your password meets the requirements."),
            Self::InvalidCredentials => (422, "session.invalid_credentials", "Incorrect account or password. Please check your input."),
            Self::CannotDeleteSelf => (400, "user.cannot_delete_self", "You cannot delete yourself."),
            Self::EmailInUse => (422, "user.email_already_in_use", "This email is associated with an existing account."),
            Self::IdentityInUse => (422, "user.identity_already_in_use", "The social account has been associated with an existing account."),
            Self::IdentityNotExist => (404, "user.identity_not_exist", "The social account has not been registered yet."),
            Self::InvalidPhone => (422, "user.invalid_phone", "Invalid phone number."),
            Self::LastSignInMethodRequired => (400, "user.last_sign_in_method_required", "You need to keep at least one identifier in your account."),
            Self::PasswordAlgorithmRequired => (400, "user.password_algorithm_required", "Password algorithm is required."),
            Self::PasswordAndDigest => (400, "user.password_and_digest", "You cannot set both plain text password and password digest."),
            Self::PhoneInUse => (422, "user.phone_already_in_use", "This phone number is associated with an existing account."),
            Self::SamePassword => (422, "user.same_password", "New password cannot be the same as your old password."),
            Self::UsernameInUse => (422, "user.username_already_in_use", "This username is already in use."),
            Self::UsernameLowercase => (422, "user.username_lowercase_not_allowed", "Username cannot contain lowercase letters."),
            Self::UsernameNumbers => (422, "user.username_numbers_not_allowed", "Username cannot contain numbers."),
            Self::UsernameTooLong => (422, "user.username_too_long", "Username is too long."),
            Self::UsernameTooShort => (422, "user.username_too_short", "Username is too short."),
            Self::UsernameUnderscore => (422, "user.username_underscore_not_allowed", "Username cannot contain underscores."),
            Self::UsernameUppercase => (422, "user.username_uppercase_not_allowed", "Username cannot contain uppercase letters."),
            Self::ProofDenied => (401, "verification_record.permission_denied", "Permission denied, please re-authenticate."),
        }
    }
}
