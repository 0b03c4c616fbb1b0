//! What a read of users asks for, once mgPass is the authority: pure.

use super::search::Search;
use crate::inbound::Inbound;
use crate::inbound::classify::{Kind, Operation};
use crate::inbound::request::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One user, or a part of one; all of it in mgPass's rows.
    User,
    /// One user, and something besides that only Logto has.
    UserAndMore,
    /// Whoever holds this value.
    Search(Search),
    /// The user of a token of Logto's, in the form of the Account API.
    Account,
    /// The same as OpenID Connect has it.
    Userinfo,
    /// Lists, other searches, and what shows users without naming one: Logto's, as of some time.
    List,
    /// What Logto goes on to keep: roles, organizations, sessions, second factors.
    Kept,
}

pub fn asked(inbound: &Inbound) -> Asked {
    let query = inbound.query().unwrap_or_default();
    match (inbound.operation.kind(), inbound.operation) {
        (Kind::Read, _) if query.is_empty() => return Asked::User,
        // It takes no parameter.
        (Kind::Read, Operation::UsersGetCustomData) => return Asked::User,
        (Kind::Read, Operation::UsersGet) => return Asked::UserAndMore,
        (Kind::Read, _) => return Asked::List,
        (Kind::Write(_) | Kind::Token | Kind::PassThrough, _) => {}
    }
    let path = inbound.path().strip_suffix('/').unwrap_or(inbound.path());
    let segments: Vec<String> = path
        .split('/')
        .skip(1)
        .enumerate()
        .map(|(place, segment)| match place {
            // The mount is compared as it stands.
            0 => segment.to_owned(),
            _ => segment.to_ascii_lowercase(),
        })
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (inbound.method, segments.as_slice()) {
        (Method::Get, ["api", "users"]) => Search::parse(query).map_or(Asked::List, Asked::Search),
        (Method::Get, ["api", "my-account"]) => Asked::Account,
        (Method::Get | Method::Post, ["oidc", "me"]) => Asked::Userinfo,
        (
            _,
            [
                "api",
                "users",
                _,
                "roles"
                | "organizations"
                | "sessions"
                | "grants"
                | "mfa-verifications"
                | "sso-identities"
                | "personal-access-tokens"
                | "logto-configs",
                ..,
            ],
        ) => Asked::Kept,
        (_, ["api", "my-account", _, ..]) => Asked::Kept,
        (_, _) => Asked::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_told_by_method_path_and_query() {
        let exact = "search.username=a&mode.username=exact";
        let search = Asked::Search(Search::parse(exact).unwrap());
        for (method, path, expected) in [
            ("GET", "/api/users/u1", Asked::User),
            ("GET", "/api/Users/u1/", Asked::User),
            ("GET", "/api/users/u1?", Asked::User),
            (
                "GET",
                "/api/users/u1?includeSsoIdentities=true",
                Asked::UserAndMore,
            ),
            ("GET", "/api/users/u1/custom-data?x=1", Asked::User),
            (
                "GET",
                "/api/users/u1/identities/google?includeTokenSecret=true",
                Asked::List,
            ),
            ("HEAD", "/api/users/u1", Asked::List),
            ("GET", "/api/users/u1/has-password", Asked::List),
            ("GET", "/api/users", Asked::List),
            ("GET", "/api/users?search=x", Asked::List),
            (
                "GET",
                "/api/Users/?search.username=a&mode.username=exact",
                search,
            ),
            ("GET", "/api/users/u1/roles", Asked::Kept),
            ("GET", "/api/my-account", Asked::Account),
            ("GET", "/api/my-account/mfa-verifications", Asked::Kept),
            ("GET", "/oidc/me", Asked::Userinfo),
            ("POST", "/oidc/ME/", Asked::Userinfo),
        ] {
            let url = format!("https://auth.example.com{path}");
            let inbound = Inbound::read(Method::parse(method), url, |_| None);
            assert_eq!(asked(&inbound), expected, "{method} {path}");
        }
    }
}
