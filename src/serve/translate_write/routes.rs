//! Which requests are writes that can be translated, matched as Logto's router matches (`classify`).

use percent_encoding::percent_decode_str;

use crate::inbound::request::{Method, UserId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsersRoute {
    Create,
    Patch,
    CustomData,
    Profile,
    Password,
    /// A check; nothing is written.
    VerifyPassword,
    Suspension,
    Delete,
    PutIdentity {
        target: String,
    },
    /// By what a provider told a connector.
    LinkIdentity,
    DropIdentity {
        target: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRoute {
    Patch,
    Profile,
    Password,
    SetEmail,
    DropEmail,
    SetPhone,
    DropPhone,
    /// By POST, or replacing one by PUT.
    LinkIdentity,
    DropIdentity {
        target: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Users(UsersRoute),
    Account(AccountRoute),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub route: Route,
    /// The user of the path.
    pub user: Option<UserId>,
}

/// `None`: no write that is translated; `classify::after_cutover` says what becomes of it.
pub fn find(method: Method, path: &str) -> Option<Found> {
    let rest = path.strip_prefix("/api/")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let segments: Vec<&str> = rest.split('/').collect();
    let (first, rest) = segments.split_first()?;
    if first.eq_ignore_ascii_case("users") {
        let (user, route) = match rest {
            [] => (None, users_root(method)?),
            [user, below @ ..] => {
                let user = UserId::parse(&decode(user)?)?;
                (Some(user), users(method, below)?)
            }
        };
        let route = Route::Users(route);
        return Some(Found { route, user });
    }
    let route = first
        .eq_ignore_ascii_case("my-account")
        .then(|| account(method, rest))??;
    Some(Found {
        route: Route::Account(route),
        user: None,
    })
}

fn users_root(method: Method) -> Option<UsersRoute> {
    (method == Method::Post).then_some(UsersRoute::Create)
}

fn users(method: Method, below: &[&str]) -> Option<UsersRoute> {
    let is = |segment: &str, literal: &str| segment.eq_ignore_ascii_case(literal);
    match (method, below) {
        (Method::Patch, []) => Some(UsersRoute::Patch),
        (Method::Delete, []) => Some(UsersRoute::Delete),
        (Method::Patch, [one]) if is(one, "custom-data") => Some(UsersRoute::CustomData),
        (Method::Patch, [one]) if is(one, "profile") => Some(UsersRoute::Profile),
        (Method::Patch, [one]) if is(one, "password") => Some(UsersRoute::Password),
        (Method::Patch, [one]) if is(one, "is-suspended") => Some(UsersRoute::Suspension),
        (Method::Post, [one, two]) if is(one, "password") && is(two, "verify") => {
            Some(UsersRoute::VerifyPassword)
        }
        (Method::Post, [one]) if is(one, "identities") => Some(UsersRoute::LinkIdentity),
        (Method::Put, [one, target]) if is(one, "identities") => {
            let target = decode(target)?;
            Some(UsersRoute::PutIdentity { target })
        }
        (Method::Delete, [one, target]) if is(one, "identities") => {
            let target = decode(target)?;
            Some(UsersRoute::DropIdentity { target })
        }
        _ => None,
    }
}

fn account(method: Method, below: &[&str]) -> Option<AccountRoute> {
    let is = |segment: &str, literal: &str| segment.eq_ignore_ascii_case(literal);
    match (method, below) {
        (Method::Patch, []) => Some(AccountRoute::Patch),
        (Method::Patch, [one]) if is(one, "profile") => Some(AccountRoute::Profile),
        (Method::Post, [one]) if is(one, "password") => Some(AccountRoute::Password),
        (Method::Post, [one]) if is(one, "primary-email") => Some(AccountRoute::SetEmail),
        (Method::Delete, [one]) if is(one, "primary-email") => Some(AccountRoute::DropEmail),
        (Method::Post, [one]) if is(one, "primary-phone") => Some(AccountRoute::SetPhone),
        (Method::Delete, [one]) if is(one, "primary-phone") => Some(AccountRoute::DropPhone),
        (Method::Post | Method::Put, [one]) if is(one, "identities") => {
            Some(AccountRoute::LinkIdentity)
        }
        (Method::Delete, [one, target]) if is(one, "identities") => {
            let target = decode(target)?;
            Some(AccountRoute::DropIdentity { target })
        }
        _ => None,
    }
}

/// What does not decode to UTF-8 is taken as it stands, as Logto's router takes it.
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

    #[test]
    fn routes_are_found_in_every_spelling() {
        let found = find(Method::Put, "/api/Users/%75ser1/identities/My%20idp/").unwrap();
        assert_eq!(found.user.unwrap().as_str(), "user1");
        let target = "My idp".to_owned();
        assert_eq!(
            found.route,
            Route::Users(UsersRoute::PutIdentity { target })
        );
        let found = find(Method::Patch, "/api/MY-account").unwrap();
        assert_eq!(found.route, Route::Account(AccountRoute::Patch));
        for (method, path) in [
            (Method::Get, "/api/users/u1"),
            (Method::Patch, "/API/users/u1"),
            (Method::Put, "/api/users/u1/identities"),
            (Method::Patch, "/api/users/u1//"),
            (Method::Post, "/api/my-account/mfa-verifications"),
        ] {
            assert_eq!(find(method, path), None, "{path}");
        }
    }
}
