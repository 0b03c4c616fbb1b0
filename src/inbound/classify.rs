//! What a request means: the route table, matched as Logto's router does.
//!
//! Mount prefixes (`/api`, `/oidc`, `/consent`) are case-sensitive, the rest is not; one
//! trailing slash is optional; parameters are percent-decoded (seen on real
//! servers: `PATCH /api/Users/ID/` writes, `/API/...` and `//api` are 404).
//! A route that no row names passes through.

mod after_cutover;
mod operation;
mod routes;

use percent_encoding::percent_decode_str;

pub use self::after_cutover::{AfterCutover, Refusal, Shown};
pub use self::operation::{Concerns, Kind, OPERATIONS, Operation, SubjectSource};
use self::routes::{ROUTES, Route, Tail};
use crate::inbound::request::{Method, UserId};

/// What the table says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Classified {
    pub operation: Operation,
    /// The `:user` of the path.
    pub user: Option<UserId>,
    /// The `:item` of the path: what is asked for below the user.
    pub item: Option<String>,
}

impl Classified {
    pub(super) fn of(operation: Operation) -> Self {
        Self {
            operation,
            user: None,
            item: None,
        }
    }
}

pub(super) fn classify(method: Method, path: &str) -> Classified {
    let found = find(method, path).map(|(_, classified)| classified);
    found.unwrap_or_else(|| Classified::of(Operation::PassThrough))
}

/// Why a mutating request is not recorded, where the table says so.
pub fn why_unrecorded(method: Method, path: &str) -> Option<&'static str> {
    find(method, path).and_then(|(route, _)| route.unrecorded)
}

/// What becomes of a request once mgPass is the source of truth.
pub fn after_cutover(method: Method, path: &str) -> AfterCutover {
    match find(method, path) {
        Some((route, _)) => route
            .after_cutover
            .unwrap_or(route.operation.row().after_cutover),
        None => Operation::PassThrough.row().after_cutover,
    }
}

fn find(method: Method, path: &str) -> Option<(&'static Route, Classified)> {
    ROUTES
        .iter()
        .filter(|route| route.methods.contains(&method))
        .find_map(|route| Some((route, route.matches(path)?)))
}

impl Route {
    fn matches(&self, path: &str) -> Option<Classified> {
        let rest = path.strip_prefix(self.mount)?;
        let mut segments = match rest.strip_prefix('/') {
            Some(rest) => rest.split('/'),
            // The mount itself, where nothing more is asked for.
            None if rest.is_empty() && self.pattern.is_empty() => rest.split('/'),
            None => return None,
        };
        let mut classified = Classified::of(self.operation);
        for expected in self.pattern {
            let segment = segments.next()?;
            match *expected {
                ":user" => classified.user = Some(UserId::parse(&decode(segment)?)?),
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
        check(Method::Get, "/OIDC/jwks", Operation::PassThrough, None);
    }

    #[test]
    fn the_consent_page_is_a_mount_and_knows_no_method() {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "DELETE"] {
            for path in ["/consent", "/consent/", "/consent/x/y"] {
                check(Method::parse(method), path, Operation::ConsentPage, None);
            }
        }
        for path in ["/Consent", "/consents", "//consent", "/x/consent"] {
            check(Method::Get, path, Operation::PassThrough, None);
        }
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
            Operation::UsersPasswordCheck,
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
