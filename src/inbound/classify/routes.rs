//! The route table: which requests mean which operation. First match wins.
//!
//! Of the families of routes that can change a user, no mutating route may fall
//! through. It is recorded, or its row says why it need not be: what it changes is
//! seen in no field that the mirror carries (docs/operations.md, "Mapping"), or is
//! written by a later request that is recorded. What a family may have besides, in
//! this version of Logto or a later one, is caught by the family's last row.

use crate::inbound::request::Method;

use super::after_cutover::AfterCutover::{self, FinishSignIn, Forward, Refuse, Translate};
use super::after_cutover::Refusal::{NotTranslatable, PasswordCheck, StartAgain};
use super::after_cutover::Shown::{Always, Beginning, Event};
use super::operation::Operation;

/// How a row treats the path after its pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    End,
    Anything,
}

pub(super) struct Route {
    pub(super) methods: &'static [Method],
    pub(super) mount: &'static str,
    /// Literals in lower case; `:user` and `:item` are captured.
    pub(super) pattern: &'static [&'static str],
    pub(super) tail: Tail,
    pub(super) operation: Operation,
    /// Of a mutating route that is not recorded: why not.
    pub(super) unrecorded: Option<&'static str>,
    /// Where it is not what becomes of the operation.
    pub(super) after_cutover: Option<AfterCutover>,
}

impl Route {
    const fn after_cutover(self, after_cutover: AfterCutover) -> Self {
        Self {
            after_cutover: Some(after_cutover),
            ..self
        }
    }
}

const MUTATING: &[Method] = &[Method::Post, Method::Put, Method::Patch, Method::Delete];
/// Middleware of Logto's looks at no method.
const ANY: &[Method] = &[
    Method::Get,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
    Method::Other,
];

const fn exact(
    methods: &'static [Method],
    mount: &'static str,
    pattern: &'static [&'static str],
    operation: Operation,
) -> Route {
    Route {
        methods,
        mount,
        pattern,
        tail: Tail::End,
        operation,
        unrecorded: None,
        after_cutover: None,
    }
}

const fn below(
    methods: &'static [Method],
    mount: &'static str,
    pattern: &'static [&'static str],
    operation: Operation,
) -> Route {
    Route {
        tail: Tail::Anything,
        ..exact(methods, mount, pattern, operation)
    }
}

/// Passes through, with everything below it, for this reason.
const fn unrecorded(
    pattern: &'static [&'static str],
    tail: Tail,
    reason: &'static str,
    after_cutover: AfterCutover,
) -> Route {
    Route {
        methods: MUTATING,
        mount: "/api",
        pattern,
        tail,
        operation: Operation::PassThrough,
        unrecorded: Some(reason),
        after_cutover: Some(after_cutover),
    }
}

/// Passes through; where passwords are carried, the answer is looked at.
const fn checked(
    pattern: &'static [&'static str],
    operation: Operation,
    reason: &'static str,
) -> Route {
    Route {
        unrecorded: Some(reason),
        ..exact(&[Method::Post], "/api", pattern, operation)
    }
}

const STAGED: &str = "kept in the interaction; written by a later request that is recorded";
const REHASHED: &str =
    "a check; at most an imported password is hashed anew, which no mapped field shows";
const SESSIONS: &str = "ends sessions or grants of Logto's; changes no user";
const PROOF: &str = "a proof for a later write of the Account API, which is recorded";
const ONE_TIME: &str = "a proof for a sign-in, which is recorded";
const SUBJECT: &str = "a token; changes nobody";
const CODES: &str = "a message and its check; changes nobody";
const MEMBERSHIP: &str = "roles and organizations are mapped to no field";

#[rustfmt::skip]
pub(super) const ROUTES: &[Route] = &[
    exact(&[Method::Get], "/api", &["users", ":user"], Operation::UsersGet),
    exact(&[Method::Get], "/api", &["users", ":user", "custom-data"], Operation::UsersGetCustomData),
    exact(&[Method::Get], "/api", &["users", ":user", "identities", ":item"], Operation::UsersGetIdentity),
    exact(&[Method::Post], "/api", &["users"], Operation::UsersCreate),
    exact(&[Method::Patch], "/api", &["users", ":user"], Operation::UsersPatch),
    exact(&[Method::Delete], "/api", &["users", ":user"], Operation::UsersDelete),
    exact(&[Method::Patch], "/api", &["users", ":user", "custom-data"], Operation::UsersCustomData),
    exact(&[Method::Patch], "/api", &["users", ":user", "profile"], Operation::UsersProfile),
    exact(&[Method::Patch], "/api", &["users", ":user", "password"], Operation::UsersPassword),
    exact(&[Method::Patch], "/api", &["users", ":user", "is-suspended"], Operation::UsersSuspension),
    exact(&[Method::Put, Method::Delete], "/api", &["users", ":user", "identities", ":item"], Operation::UsersIdentities),
    exact(&[Method::Post], "/api", &["users", ":user", "identities"], Operation::UsersIdentities),
    below(MUTATING, "/api", &["users", ":user", "identities"], Operation::UsersIdentities).after_cutover(Refuse(NotTranslatable)),
    checked(&["users", ":user", "password", "verify"], Operation::UsersPasswordCheck, REHASHED),
    unrecorded(&["users", ":user", "password", "verify"], Tail::End, REHASHED, Translate),
    unrecorded(&["users", ":user", "roles"], Tail::Anything, MEMBERSHIP, Forward(MEMBERSHIP)),
    below(&[Method::Delete], "/api", &["users", ":user", "sessions"], Operation::UsersOther).after_cutover(Forward(SESSIONS)),
    below(&[Method::Delete], "/api", &["users", ":user", "grants"], Operation::UsersOther).after_cutover(Forward(SESSIONS)),
    below(MUTATING, "/api", &["users", ":user"], Operation::UsersOther),

    exact(&[Method::Post], "/api", &["experience", "identification"], Operation::ExperienceIdentification),
    exact(&[Method::Post], "/api", &["experience", "submit"], Operation::ExperienceSubmit),
    unrecorded(&["experience"], Tail::End, STAGED, FinishSignIn(Event("interactionEvent"))),
    unrecorded(&["experience", "interaction-event"], Tail::End, STAGED, FinishSignIn(Event("interactionEvent"))),
    // Who is asked to set up a second factor must be able to pass on, or could not sign in.
    unrecorded(&["experience", "profile", "mfa", "mfa-skipped"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["experience", "profile", "mfa", "mfa-suggestion-skipped"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["experience", "profile", "mfa", "passkey-skipped"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["experience", "profile"], Tail::Anything, STAGED, Refuse(StartAgain)),
    // Steps of a registration, or of taking a factor.
    unrecorded(&["experience", "verification", "new-password-identity"], Tail::Anything, STAGED, Refuse(StartAgain)),
    unrecorded(&["experience", "verification", "totp", "secret"], Tail::Anything, STAGED, Refuse(StartAgain)),
    unrecorded(&["experience", "verification", "web-authn", "registration"], Tail::Anything, STAGED, Refuse(StartAgain)),
    unrecorded(&["experience", "verification", "backup-code", "generate"], Tail::Anything, STAGED, Refuse(StartAgain)),
    unrecorded(&["experience", "verification", "verification-code"], Tail::End, STAGED, FinishSignIn(Event("interactionEvent"))),
    checked(&["experience", "verification", "password"], Operation::ExperiencePasswordCheck, STAGED),
    // A password's hash and a used backup code are written here; no mapped field shows either.
    unrecorded(&["experience", "verification"], Tail::Anything, STAGED, FinishSignIn(Always)),
    unrecorded(&["experience", "preflight"], Tail::Anything, STAGED, FinishSignIn(Always)),
    unrecorded(&["experience", "user-assets"], Tail::Anything, "stores a file; its address becomes an avatar by `profile`", Refuse(StartAgain)),
    below(MUTATING, "/api", &["experience"], Operation::ExperienceOther),

    exact(&[Method::Post], "/api", &["interaction", "submit"], Operation::InteractionSubmit),
    exact(&[Method::Post], "/api", &["interaction", "consent"], Operation::Consent),
    Route { methods: &[Method::Delete], ..unrecorded(&["interaction"], Tail::End, "ends the interaction", FinishSignIn(Always)) },
    unrecorded(&["interaction"], Tail::End, STAGED, FinishSignIn(Beginning)),
    unrecorded(&["interaction", "event"], Tail::End, STAGED, FinishSignIn(Event("event"))),
    unrecorded(&["interaction", "identifiers"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["interaction", "profile"], Tail::End, STAGED, Refuse(StartAgain)),
    unrecorded(&["interaction", "verification"], Tail::Anything, STAGED, FinishSignIn(Always)),
    unrecorded(&["interaction", "bind-mfa"], Tail::End, STAGED, Refuse(StartAgain)),
    unrecorded(&["interaction", "mfa"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["interaction", "mfa-skipped"], Tail::End, STAGED, FinishSignIn(Always)),
    unrecorded(&["interaction", "single-sign-on", ":item", "authorization-url"], Tail::End, STAGED, FinishSignIn(Always)),
    // `single-sign-on` signs in or registers in its other calls, before any submit.
    exact(&[Method::Post], "/api", &["interaction", "single-sign-on", ":item", "authentication"], Operation::InteractionOther)
        .after_cutover(FinishSignIn(Always)),
    below(MUTATING, "/api", &["interaction"], Operation::InteractionOther),

    exact(&[Method::Patch], "/api", &["my-account"], Operation::AccountWrite),
    exact(&[Method::Patch], "/api", &["my-account", "profile"], Operation::AccountWrite),
    exact(&[Method::Post], "/api", &["my-account", "password"], Operation::AccountPassword),
    exact(&[Method::Post, Method::Delete], "/api", &["my-account", "primary-email"], Operation::AccountWrite),
    exact(&[Method::Post, Method::Delete], "/api", &["my-account", "primary-phone"], Operation::AccountWrite),
    exact(&[Method::Post, Method::Put], "/api", &["my-account", "identities"], Operation::AccountWrite),
    exact(&[Method::Delete], "/api", &["my-account", "identities", ":item"], Operation::AccountWrite),
    below(&[Method::Delete], "/api", &["my-account", "sessions"], Operation::AccountWrite).after_cutover(Forward(SESSIONS)),
    below(&[Method::Delete], "/api", &["my-account", "grants"], Operation::AccountWrite).after_cutover(Forward(SESSIONS)),
    below(&[Method::Post], "/api", &["my-account", "user-assets"], Operation::AccountWrite)
        .after_cutover(Forward("stores a file; its address becomes an avatar by PATCH /api/my-account")),
    below(MUTATING, "/api", &["my-account"], Operation::AccountWrite).after_cutover(Refuse(NotTranslatable)),
    checked(&["verifications", "password"], Operation::AccountPasswordCheck, PROOF),
    unrecorded(&["verifications", "password"], Tail::End, PROOF, Refuse(PasswordCheck)),
    unrecorded(&["verifications"], Tail::Anything, PROOF, Forward("a proof that Logto keeps; changes no user")),

    unrecorded(&["roles"], Tail::Anything, MEMBERSHIP, Forward(MEMBERSHIP)),
    unrecorded(&["organizations"], Tail::Anything, MEMBERSHIP, Forward(MEMBERSHIP)),
    unrecorded(&["one-time-tokens"], Tail::Anything, ONE_TIME, Forward(ONE_TIME)),
    unrecorded(&["subject-tokens"], Tail::Anything, SUBJECT, Forward(SUBJECT)),
    unrecorded(&["verification-codes"], Tail::Anything, CODES, Forward(CODES)),

    below(ANY, "/consent", &[], Operation::ConsentPage),
    exact(&[Method::Get], "/oidc", &["jwks"], Operation::OidcJwks),
    exact(&[Method::Post], "/oidc", &["token", "introspection"], Operation::OidcIntrospection),
    exact(&[Method::Post], "/oidc", &["token"], Operation::OidcToken),
    exact(&[Method::Post], "/oidc", &["token", "revocation"], Operation::OidcRevocation),
    exact(&[Method::Get, Method::Post], "/oidc", &["me"], Operation::OidcUserinfo),
    exact(&[Method::Get, Method::Post], "/oidc", &["session", "end"], Operation::OidcEndSession),
];
