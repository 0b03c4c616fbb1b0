//! The operation table: what requests mean, as data. A row names the operation for log
//! lines, settings and the outbox, and says what it does to a user.

/// What one request means. Several routes may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    PassThrough,
    UsersGet,
    UsersGetCustomData,
    UsersGetIdentity,
    UsersCreate,
    UsersPatch,
    UsersCustomData,
    UsersProfile,
    UsersPassword,
    UsersPasswordCheck,
    UsersSuspension,
    UsersUnsuspension,
    UsersDelete,
    UsersIdentities,
    UsersOther,
    ExperienceIdentification,
    ExperiencePasswordCheck,
    ExperienceSubmit,
    ExperienceStaged,
    ExperienceOther,
    InteractionSubmit,
    InteractionOther,
    Consent,
    ConsentPage,
    AccountPassword,
    AccountPasswordCheck,
    AccountWrite,
    OidcJwks,
    OidcIntrospection,
    OidcToken,
    OidcRevocation,
    OidcUserinfo,
    OidcEndSession,
    ProxyJwks,
    ProxyVerify,
    ProxySignIn,
    ProxySignedOut,
}

/// What an operation does to a user, and where its subject is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forwarded as it is; nothing to record.
    PassThrough,
    /// May be answered by mgPass.
    Read,
    /// May change the row of a user.
    Write(SubjectSource),
    /// About tokens and keys of either issuer; changes nobody.
    Token,
}

/// How the proxy learns who is about to change. Where the request itself does not say,
/// Logto is asked with the client's own headers, before the forward if it knows by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectSource {
    /// The id in the path.
    Path,
    /// A new user: the id is in the answer's body.
    Answer,
    /// Whose access token it is, says the Account API.
    AccessToken,
    /// Whom the interaction has identified, says the Experience API.
    Identified,
    /// A new user, whom the interaction knows once Logto has answered.
    Identifying,
    /// Whose session the interaction is in, says the consent API.
    Session,
    /// The older interaction API keeps its progress where nobody can ask for it.
    Untold,
}

/// Whom a write without a name may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// Somebody who may be read: then it is a gap.
    Existing,
    /// Somebody whom nobody has read yet: the listing of the newest finds who.
    New,
    Either,
}

impl SubjectSource {
    pub fn concerns(self) -> Concerns {
        match self {
            Self::Path | Self::AccessToken | Self::Identified | Self::Session => Concerns::Existing,
            Self::Answer | Self::Identifying => Concerns::New,
            Self::Untold => Concerns::Either,
        }
    }
}

/// One row of the operation table.
pub struct OperationRow {
    pub operation: Operation,
    /// Stable name: log lines, KV keys (`read_percent.<name>`), outbox rows.
    pub name: &'static str,
    pub kind: Kind,
    /// A route may have an exception of its own (`routes`).
    pub after_cutover: AfterCutover,
}

use super::after_cutover::AfterCutover::{self, FinishSignIn, Forward, Own, Refuse, Translate};
use super::after_cutover::Refusal::{NotTranslatable, PasswordCheck, StartAgain};
use super::after_cutover::Shown::{Always, Kept, Progress};
use SubjectSource::{AccessToken, Answer, Identified, Identifying, Path, Session, Untold};

const PASS_THROUGH: OperationRow = row(
    Operation::PassThrough,
    "pass_through",
    Kind::PassThrough,
    Forward("changes no user"),
);

#[rustfmt::skip]
pub const OPERATIONS: &[OperationRow] = &[
    PASS_THROUGH,
    row(Operation::UsersGet, "users.get", Kind::Read, Translate),
    row(Operation::UsersGetCustomData, "users.get_custom_data", Kind::Read, Translate),
    row(Operation::UsersGetIdentity, "users.get_identity", Kind::Read, Translate),
    row(Operation::UsersCreate, "users.create", Kind::Write(Answer), Translate),
    row(Operation::UsersPatch, "users.patch", Kind::Write(Path), Translate),
    row(Operation::UsersCustomData, "users.custom_data", Kind::Write(Path), Translate),
    row(Operation::UsersProfile, "users.profile", Kind::Write(Path), Translate),
    row(Operation::UsersPassword, "users.password", Kind::Write(Path), Translate),
    row(Operation::UsersPasswordCheck, "users.password_check", Kind::PassThrough, Translate),
    row(Operation::UsersSuspension, "users.suspension", Kind::Write(Path), Translate),
    // Same route; told apart by the body.
    row(Operation::UsersUnsuspension, "users.unsuspension", Kind::Write(Path), Translate),
    row(Operation::UsersDelete, "users.delete", Kind::Write(Path), Translate),
    row(Operation::UsersIdentities, "users.identities", Kind::Write(Path), Translate),
    row(Operation::UsersOther, "users.other", Kind::Write(Path), Refuse(NotTranslatable)),
    row(Operation::ExperienceIdentification, "experience.identification", Kind::Write(Identifying), FinishSignIn(Progress)),
    row(Operation::ExperiencePasswordCheck, "experience.password_check", Kind::PassThrough, FinishSignIn(Always)),
    row(Operation::ExperienceSubmit, "experience.submit", Kind::Write(Identified), FinishSignIn(Progress)),
    // Same route; told apart by what Logto says is staged: a password or a factor, or nobody knows.
    row(Operation::ExperienceStaged, "experience.staged", Kind::Write(Identified), FinishSignIn(Progress)),
    row(Operation::ExperienceOther, "experience.other", Kind::Write(Identified), Refuse(StartAgain)),
    row(Operation::InteractionSubmit, "interaction.submit", Kind::Write(Untold), FinishSignIn(Kept)),
    row(Operation::InteractionOther, "interaction.other", Kind::Write(Untold), Refuse(StartAgain)),
    // Both write `applicationId` on a user's first consent, no debt after cutover; the page by redirecting onwards.
    row(Operation::Consent, "consent", Kind::Write(Session), FinishSignIn(Always)),
    row(Operation::ConsentPage, "consent.page", Kind::Write(Session), FinishSignIn(Always)),
    row(Operation::AccountPassword, "account.password", Kind::Write(AccessToken), Translate),
    row(Operation::AccountPasswordCheck, "account.password_check", Kind::PassThrough, Refuse(PasswordCheck)),
    row(Operation::AccountWrite, "account.write", Kind::Write(AccessToken), Translate),
    row(Operation::OidcJwks, "oidc.jwks", Kind::Token, Forward("Logto signs until cleanup")),
    row(Operation::OidcIntrospection, "oidc.introspection", Kind::Token, Own),
    // To the side of the client, where applications are listed; else as what no rule claims.
    row(Operation::OidcToken, "oidc.token", Kind::Token, Forward("Logto signs until cleanup")),
    row(Operation::OidcRevocation, "oidc.revocation", Kind::Token, Forward("Logto signs until cleanup")),
    row(Operation::OidcUserinfo, "oidc.userinfo", Kind::Token, Forward("Logto's tokens are Logto's to judge")),
    row(Operation::OidcEndSession, "oidc.end_session", Kind::Token, Forward("Logto's sessions live until cleanup")),
    // The proxy's own, below /_proxy/ and with any method: no route names them.
    row(Operation::ProxyJwks, "proxy.jwks", Kind::Token, Own),
    row(Operation::ProxyVerify, "proxy.verify", Kind::Token, Own),
    row(Operation::ProxySignIn, "proxy.sign_in", Kind::Token, Own),
    row(Operation::ProxySignedOut, "proxy.signed_out", Kind::Token, Own),
];

const fn row(
    operation: Operation,
    name: &'static str,
    kind: Kind,
    after_cutover: AfterCutover,
) -> OperationRow {
    OperationRow {
        operation,
        name,
        kind,
        after_cutover,
    }
}

impl Operation {
    pub fn row(self) -> &'static OperationRow {
        // The table has a row for each variant; a test holds it to that.
        OPERATIONS
            .iter()
            .find(|row| row.operation == self)
            .unwrap_or(&PASS_THROUGH)
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// Belongs to the side of the client or the token that it shows.
    pub fn is_of_a_client(self) -> bool {
        matches!(
            self,
            Self::OidcToken | Self::OidcRevocation | Self::OidcUserinfo | Self::OidcEndSession
        )
    }

    /// Logto says whether a password is right; passed on, and noticed where passwords are
    /// carried.
    pub fn is_password_check(self) -> bool {
        matches!(
            self,
            Self::UsersPasswordCheck | Self::ExperiencePasswordCheck | Self::AccountPasswordCheck
        )
    }

    pub fn from_name(name: &str) -> Option<Self> {
        OPERATIONS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_own_row() {
        for (index, row) in OPERATIONS.iter().enumerate() {
            assert_eq!(row.operation.row().name, row.name);
            assert!(
                OPERATIONS[..index]
                    .iter()
                    .all(|other| other.name != row.name)
            );
            assert_eq!(Operation::from_name(row.name), Some(row.operation));
        }
    }
}
