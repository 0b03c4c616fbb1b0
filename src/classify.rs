//! What a request means: a route table as data, matched as Logto's router does.
//!
//! Mount prefixes (`/api`, `/oidc`) are case-sensitive, the rest is not; one
//! trailing slash is optional; parameters are percent-decoded (seen on real
//! servers: `PATCH /api/Users/ID/` writes, `/API/...` and `//api` are 404).
//! A route that no row names passes through. Any other mutating method below a
//! user's own path is caught by a last row, so that no write goes unrecorded.

use percent_encoding::percent_decode_str;

use crate::request::{InteractionUid, Method, UserId};

/// What one request means. One row of [`ROUTES`] may share an operation with another.
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
    UsersSuspension,
    UsersUnsuspension,
    UsersDelete,
    UsersIdentities,
    UsersOther,
    ExperienceIdentification,
    ExperienceSubmit,
    InteractionSubmit,
    Consent,
    AccountWrite,
    OidcResume,
    OidcJwks,
    OidcIntrospection,
    ProxyJwks,
    ProxyVerify,
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
    /// Hands one interaction on to the next; read for its cookies only.
    Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectSource {
    /// The id in the path.
    Path,
    /// The id in the answer's body.
    Answer,
    /// The interaction in the cookies; the id is learned later.
    Interaction,
    /// The caller's own access token, asked of `/oidc/me` before the forward.
    AccessToken,
}

/// What becomes of the operation once mgPass is the source of truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCutover {
    /// Translated to mgPass's API.
    Translate,
    /// Refused with a clear error: mgPass has no such thing.
    Refuse,
    /// The browser is sent to mgPass's own pages.
    Redirect,
}

/// One row of the operation table.
pub struct OperationRow {
    pub operation: Operation,
    /// Stable name: log lines, KV keys (`read_percent.<name>`), outbox rows.
    pub name: &'static str,
    pub kind: Kind,
    pub after_cutover: AfterCutover,
}

use AfterCutover::{Redirect, Refuse, Translate};
use SubjectSource::{AccessToken, Answer, Interaction, Path};

const PASS_THROUGH: OperationRow = row(
    Operation::PassThrough,
    "pass_through",
    Kind::PassThrough,
    Redirect,
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
    row(Operation::UsersProfile, "users.profile", Kind::Write(Path), Refuse),
    row(Operation::UsersPassword, "users.password", Kind::Write(Path), Translate),
    row(Operation::UsersSuspension, "users.suspension", Kind::Write(Path), Translate),
    // Same route; told apart by the body.
    row(Operation::UsersUnsuspension, "users.unsuspension", Kind::Write(Path), Translate),
    row(Operation::UsersDelete, "users.delete", Kind::Write(Path), Translate),
    row(Operation::UsersIdentities, "users.identities", Kind::Write(Path), Refuse),
    row(Operation::UsersOther, "users.other", Kind::Write(Path), Refuse),
    row(Operation::ExperienceIdentification, "experience.identification", Kind::Write(Interaction), Redirect),
    row(Operation::ExperienceSubmit, "experience.submit", Kind::Write(Interaction), Redirect),
    row(Operation::InteractionSubmit, "interaction.submit", Kind::Write(Interaction), Redirect),
    // Writes `applicationId` on a user's first consent.
    row(Operation::Consent, "consent", Kind::Write(Interaction), Redirect),
    row(Operation::AccountWrite, "account.write", Kind::Write(AccessToken), Refuse),
    row(Operation::OidcResume, "oidc.resume", Kind::Session, Redirect),
    row(Operation::OidcJwks, "oidc.jwks", Kind::Token, Translate),
    row(Operation::OidcIntrospection, "oidc.introspection", Kind::Token, Translate),
    // The proxy's own, below /_proxy/ and with any method: `edge` finds them, not the table.
    row(Operation::ProxyJwks, "proxy.jwks", Kind::Token, Translate),
    row(Operation::ProxyVerify, "proxy.verify", Kind::Token, Translate),
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

    pub fn from_name(name: &str) -> Option<Self> {
        OPERATIONS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.operation)
    }
}

/// How a row of the route table treats the path after its pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    End,
    Anything,
}

struct Route {
    methods: &'static [Method],
    mount: &'static str,
    /// Literals in lower case; `:user`, `:uid` and `:item` are captured.
    pattern: &'static [&'static str],
    tail: Tail,
    operation: Operation,
}

const MUTATING: &[Method] = &[Method::Post, Method::Put, Method::Patch, Method::Delete];

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
    }
}

const fn below(
    methods: &'static [Method],
    mount: &'static str,
    pattern: &'static [&'static str],
    operation: Operation,
) -> Route {
    Route {
        methods,
        mount,
        pattern,
        tail: Tail::Anything,
        operation,
    }
}

/// First match wins.
#[rustfmt::skip]
const ROUTES: &[Route] = &[
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
    // A check: it may rehash an imported password, which no mapped field shows.
    exact(&[Method::Post], "/api", &["users", ":user", "password", "verify"], Operation::PassThrough),
    below(MUTATING, "/api", &["users", ":user"], Operation::UsersOther),
    exact(&[Method::Post], "/api", &["experience", "identification"], Operation::ExperienceIdentification),
    exact(&[Method::Post], "/api", &["experience", "submit"], Operation::ExperienceSubmit),
    exact(&[Method::Post], "/api", &["interaction", "submit"], Operation::InteractionSubmit),
    exact(&[Method::Post], "/api", &["interaction", "consent"], Operation::Consent),
    below(MUTATING, "/api", &["my-account"], Operation::AccountWrite),
    exact(&[Method::Get], "", &["consent"], Operation::Consent),
    exact(&[Method::Get], "/oidc", &["auth", ":uid"], Operation::OidcResume),
    exact(&[Method::Get], "/oidc", &["jwks"], Operation::OidcJwks),
    exact(&[Method::Post], "/oidc", &["token", "introspection"], Operation::OidcIntrospection),
];

/// What the table says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    pub operation: Operation,
    /// The `:user` of the path.
    pub user: Option<UserId>,
    /// The `:uid` of the path.
    pub interaction: Option<InteractionUid>,
    /// The `:item` of the path: what is asked for below the user.
    pub item: Option<String>,
}

impl Classified {
    const PASS_THROUGH: Self = Self {
        operation: Operation::PassThrough,
        user: None,
        interaction: None,
        item: None,
    };
}

pub fn classify(method: Method, path: &str) -> Classified {
    if method == Method::Other {
        return Classified::PASS_THROUGH;
    }
    ROUTES
        .iter()
        .filter(|route| route.methods.contains(&method))
        .find_map(|route| route.matches(path))
        .unwrap_or(Classified::PASS_THROUGH)
}

impl Route {
    fn matches(&self, path: &str) -> Option<Classified> {
        let rest = path.strip_prefix(self.mount)?.strip_prefix('/')?;
        let mut segments = rest.split('/');
        let mut classified = Classified {
            operation: self.operation,
            user: None,
            interaction: None,
            item: None,
        };
        for expected in self.pattern {
            let segment = segments.next()?;
            match *expected {
                ":user" => classified.user = Some(UserId::parse(&decode(segment)?)?),
                ":uid" => classified.interaction = Some(InteractionUid::parse(segment)?),
                ":item" => classified.item = Some(decode(segment)?),
                literal => {
                    if !segment.eq_ignore_ascii_case(literal) {
                        return None;
                    }
                }
            }
        }
        let at_end = match self.tail {
            Tail::Anything => true,
            Tail::End => match segments.next() {
                None => true,
                Some("") => segments.next().is_none(),
                Some(_) => false,
            },
        };
        at_end.then_some(classified)
    }
}

/// A parameter that does not decode to UTF-8 is taken as it stands, as Logto's
/// router takes it; it then names no user.
fn decode(segment: &str) -> Option<String> {
    if segment.is_empty() {
        return None;
    }
    Some(
        percent_decode_str(segment)
            .decode_utf8()
            .map_or_else(|_| segment.to_owned(), String::from),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, operation: Operation, user: Option<&str>) {
        let found = classify(method, path);
        assert_eq!(found.operation, operation, "{path}");
        assert_eq!(found.user.as_ref().map(UserId::as_str), user, "{path}");
    }

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
        for route in ROUTES {
            assert!(
                OPERATIONS
                    .iter()
                    .any(|row| row.operation == route.operation)
            );
        }
    }

    #[test]
    fn the_router_forgives_case_and_one_slash_below_the_mount() {
        check(
            Method::Patch,
            "/api/users/u1",
            Operation::UsersPatch,
            Some("u1"),
        );
        check(
            Method::Patch,
            "/api/Users/u1/",
            Operation::UsersPatch,
            Some("u1"),
        );
        check(
            Method::Patch,
            "/api/users/u1//",
            Operation::UsersOther,
            Some("u1"),
        );
        check(Method::Patch, "/API/users/u1", Operation::PassThrough, None);
        check(
            Method::Patch,
            "//api/users/u1",
            Operation::PassThrough,
            None,
        );
        check(
            Method::Post,
            "/api/Experience/Identification/",
            Operation::ExperienceIdentification,
            None,
        );
        check(Method::Get, "/OIDC/auth/uid", Operation::PassThrough, None);
        check(Method::Get, "/Consent", Operation::Consent, None);
    }

    #[test]
    fn parameters_are_percent_decoded() {
        check(
            Method::Delete,
            "/api/users/%75%31",
            Operation::UsersDelete,
            Some("u1"),
        );
        check(
            Method::Delete,
            "/api/users/%ff",
            Operation::UsersDelete,
            Some("%ff"),
        );
    }

    #[test]
    fn what_is_asked_for_below_a_user_is_captured() {
        check(
            Method::Get,
            "/api/users/u1/Custom-Data/",
            Operation::UsersGetCustomData,
            Some("u1"),
        );
        let found = classify(Method::Get, "/api/users/u1/identities/my%20idp");
        assert_eq!(found.operation, Operation::UsersGetIdentity);
        assert_eq!(found.item.as_deref(), Some("my idp"));
        check(
            Method::Get,
            "/api/users/u1/identities",
            Operation::PassThrough,
            None,
        );
    }

    #[test]
    fn an_id_that_cannot_exist_names_nobody() {
        check(
            Method::Delete,
            "/api/users/a%20b",
            Operation::PassThrough,
            None,
        );
        check(
            Method::Delete,
            &format!("/api/users/{}", "x".repeat(65)),
            Operation::PassThrough,
            None,
        );
    }

    #[test]
    fn any_other_mutation_below_a_user_is_caught() {
        check(
            Method::Post,
            "/api/users/u1/mfa-verifications",
            Operation::UsersOther,
            Some("u1"),
        );
        check(
            Method::Put,
            "/api/users/u1/anything/at/all",
            Operation::UsersOther,
            Some("u1"),
        );
        check(
            Method::Put,
            "/api/users/u1/identities/google",
            Operation::UsersIdentities,
            Some("u1"),
        );
        check(
            Method::Post,
            "/api/users/u1/password/verify",
            Operation::PassThrough,
            Some("u1"),
        );
        check(
            Method::Get,
            "/api/users/u1/roles",
            Operation::PassThrough,
            None,
        );
        check(
            Method::Patch,
            "/api/my-account/profile",
            Operation::AccountWrite,
            None,
        );
    }

    #[test]
    fn methods_without_a_rule_pass_through() {
        check(
            Method::parse("HEAD"),
            "/api/users/u1",
            Operation::PassThrough,
            None,
        );
        check(
            Method::parse("OPTIONS"),
            "/api/users/u1",
            Operation::PassThrough,
            None,
        );
    }
}
