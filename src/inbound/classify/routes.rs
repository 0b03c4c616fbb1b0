//! The route table: which requests mean which operation. First match wins.
//!
//! Of the families of routes that can change a user, no mutating route may fall
//! through. It is recorded, or its row says why it need not be: what it changes is
//! seen in no field that the mirror carries (ARCHITECTURE.md, "Mapping"), or is
//! written by a later request that is recorded. What a family may have besides, in
//! this version of Logto or a later one, is caught by the family's last row.

use crate::inbound::request::Method;

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
const fn unrecorded(pattern: &'static [&'static str], tail: Tail, reason: &'static str) -> Route {
    Route {
        methods: MUTATING,
        mount: "/api",
        pattern,
        tail,
        operation: Operation::PassThrough,
        unrecorded: Some(reason),
    }
}

const STAGED: &str = "kept in the interaction; written by a later request that is recorded";
const REHASHED: &str =
    "a check; at most an imported password is hashed anew, which no mapped field shows";
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
    below(MUTATING, "/api", &["users", ":user", "identities"], Operation::UsersIdentities),
    unrecorded(&["users", ":user", "password", "verify"], Tail::End, REHASHED),
    unrecorded(&["users", ":user", "roles"], Tail::Anything, MEMBERSHIP),
    below(MUTATING, "/api", &["users", ":user"], Operation::UsersOther),

    exact(&[Method::Post], "/api", &["experience", "identification"], Operation::ExperienceIdentification),
    exact(&[Method::Post], "/api", &["experience", "submit"], Operation::ExperienceSubmit),
    unrecorded(&["experience"], Tail::End, STAGED),
    unrecorded(&["experience", "interaction-event"], Tail::End, STAGED),
    unrecorded(&["experience", "profile"], Tail::Anything, STAGED),
    // A password's hash and a used backup code are written here; no mapped field shows either.
    unrecorded(&["experience", "verification"], Tail::Anything, STAGED),
    unrecorded(&["experience", "preflight"], Tail::Anything, STAGED),
    unrecorded(&["experience", "user-assets"], Tail::Anything, "stores a file; its address becomes an avatar by `profile`"),
    below(MUTATING, "/api", &["experience"], Operation::ExperienceOther),

    exact(&[Method::Post], "/api", &["interaction", "submit"], Operation::InteractionSubmit),
    exact(&[Method::Post], "/api", &["interaction", "consent"], Operation::Consent),
    unrecorded(&["interaction"], Tail::End, STAGED),
    unrecorded(&["interaction", "event"], Tail::End, STAGED),
    unrecorded(&["interaction", "identifiers"], Tail::End, STAGED),
    unrecorded(&["interaction", "profile"], Tail::End, STAGED),
    unrecorded(&["interaction", "verification"], Tail::Anything, STAGED),
    unrecorded(&["interaction", "bind-mfa"], Tail::End, STAGED),
    unrecorded(&["interaction", "mfa"], Tail::End, STAGED),
    unrecorded(&["interaction", "mfa-skipped"], Tail::End, STAGED),
    unrecorded(&["interaction", "single-sign-on", ":item", "authorization-url"], Tail::End, STAGED),
    // `single-sign-on` signs in or registers in its other calls, before any submit.
    below(MUTATING, "/api", &["interaction"], Operation::InteractionOther),

    below(MUTATING, "/api", &["my-account"], Operation::AccountWrite),
    unrecorded(&["verifications"], Tail::Anything, "a proof for a later write of the Account API, which is recorded"),

    unrecorded(&["roles"], Tail::Anything, MEMBERSHIP),
    unrecorded(&["organizations"], Tail::Anything, MEMBERSHIP),
    unrecorded(&["one-time-tokens"], Tail::Anything, "a proof for a sign-in, which is recorded"),
    unrecorded(&["subject-tokens"], Tail::Anything, "a token; changes nobody"),
    unrecorded(&["verification-codes"], Tail::Anything, "a message and its check; changes nobody"),

    below(ANY, "/consent", &[], Operation::ConsentPage),
    exact(&[Method::Get], "/oidc", &["jwks"], Operation::OidcJwks),
    exact(&[Method::Post], "/oidc", &["token", "introspection"], Operation::OidcIntrospection),
];
