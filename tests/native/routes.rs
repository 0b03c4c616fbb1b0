//! No write of Logto's surface goes by unnoticed: each mutating route that was
//! recorded from a real server or stands in Logto's reference, in every spelling that
//! its router takes, is in the outbox's care or has a written reason why not.

use std::collections::BTreeSet;

use dual_write_proxy::inbound::Inbound;
use dual_write_proxy::inbound::classify::{
    AfterCutover, Kind, Operation, Refusal, Shown, after_cutover, why_unrecorded,
};
use dual_write_proxy::inbound::request::Method;
use dual_write_proxy::serve::translate_write;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Care {
    Recorded(&'static str),
    /// With a reason.
    Unrecorded,
    /// A hole: neither a row nor a reason.
    None,
}
use Care::{Recorded, Unrecorded};

fn care(method: &str, path: &str) -> Care {
    let method = Method::parse(method);
    let url = format!("https://auth.example.test{path}");
    let operation = Inbound::read(method, url, |_| None).operation;
    match operation.kind() {
        Kind::Write(_) => Recorded(operation.name()),
        Kind::PassThrough | Kind::Read | Kind::Token => match why_unrecorded(method, path) {
            Some(reason) if !reason.is_empty() => Unrecorded,
            Some(_) | None => Care::None,
        },
    }
}

/// Mutating routes of everything that holds a user or could change one.
const FAMILIES: &[&str] = &[
    "/api/users",
    "/api/experience",
    "/api/interaction",
    "/api/my-account",
    "/api/verifications",
    "/api/roles",
    "/api/organizations",
    "/api/one-time-tokens",
    "/api/subject-tokens",
    "/api/verification-codes",
];

/// The reference, route by route. `:id` stands for an id and keeps its case.
#[rustfmt::skip]
const REFERENCE: &[(&str, &str, Care)] = &[
    // Experience API.
    ("PUT", "/api/experience", Unrecorded),
    ("PUT", "/api/experience/interaction-event", Unrecorded),
    ("POST", "/api/experience/verification/password", Unrecorded),
    ("POST", "/api/experience/verification/verification-code", Unrecorded),
    ("POST", "/api/experience/verification/verification-code/verify", Unrecorded),
    ("POST", "/api/experience/verification/mfa-verification-code", Unrecorded),
    ("POST", "/api/experience/verification/mfa-verification-code/verify", Unrecorded),
    ("POST", "/api/experience/verification/social/:id/authorization-uri", Unrecorded),
    ("POST", "/api/experience/verification/social/:id/verify", Unrecorded),
    ("POST", "/api/experience/verification/sso/:id/authorization-uri", Unrecorded),
    ("POST", "/api/experience/verification/sso/:id/verify", Unrecorded),
    ("POST", "/api/experience/verification/new-password-identity", Unrecorded),
    ("POST", "/api/experience/verification/one-time-token/verify", Unrecorded),
    ("POST", "/api/experience/verification/totp/secret", Unrecorded),
    ("POST", "/api/experience/verification/web-authn/registration/verify", Unrecorded),
    ("POST", "/api/experience/verification/sign-in-passkey/authentication", Unrecorded),
    ("POST", "/api/experience/preflight/sign-in-passkey/authentication", Unrecorded),
    ("POST", "/api/experience/verification/backup-code/verify", Unrecorded),
    ("POST", "/api/experience/profile", Unrecorded),
    ("PUT", "/api/experience/profile/password", Unrecorded),
    ("POST", "/api/experience/profile/mfa/mfa-skipped", Unrecorded),
    ("POST", "/api/experience/user-assets/avatar", Unrecorded),
    ("POST", "/api/experience/identification", Recorded("experience.identification")),
    ("POST", "/api/experience/submit", Recorded("experience.submit")),
    ("POST", "/api/experience/of-a-later-version", Recorded("experience.other")),
    // The older interaction API.
    ("PUT", "/api/interaction", Unrecorded),
    ("DELETE", "/api/interaction", Unrecorded),
    ("PUT", "/api/interaction/event", Unrecorded),
    ("PATCH", "/api/interaction/identifiers", Unrecorded),
    ("PUT", "/api/interaction/profile", Unrecorded),
    ("PATCH", "/api/interaction/profile", Unrecorded),
    ("DELETE", "/api/interaction/profile", Unrecorded),
    ("POST", "/api/interaction/verification/verification-code", Unrecorded),
    ("PUT", "/api/interaction/bind-mfa", Unrecorded),
    ("PUT", "/api/interaction/mfa", Unrecorded),
    ("PUT", "/api/interaction/mfa-skipped", Unrecorded),
    ("POST", "/api/interaction/submit", Recorded("interaction.submit")),
    ("POST", "/api/interaction/consent", Recorded("consent")),
    ("POST", "/api/interaction/single-sign-on/:id/authorization-url", Unrecorded),
    ("POST", "/api/interaction/single-sign-on/:id/authentication", Recorded("interaction.other")),
    ("POST", "/api/interaction/single-sign-on/:id/registration", Recorded("interaction.other")),
    // Account API.
    ("PATCH", "/api/my-account", Recorded("account.write")),
    ("PATCH", "/api/my-account/profile", Recorded("account.write")),
    ("POST", "/api/my-account/password", Recorded("account.password")),
    ("POST", "/api/my-account/primary-email", Recorded("account.write")),
    ("DELETE", "/api/my-account/primary-email", Recorded("account.write")),
    ("POST", "/api/my-account/primary-phone", Recorded("account.write")),
    ("DELETE", "/api/my-account/primary-phone", Recorded("account.write")),
    ("POST", "/api/my-account/identities", Recorded("account.write")),
    ("PUT", "/api/my-account/identities", Recorded("account.write")),
    ("DELETE", "/api/my-account/identities/:id", Recorded("account.write")),
    ("PUT", "/api/my-account/identities/:id/access-token", Recorded("account.write")),
    ("POST", "/api/my-account/mfa-verifications", Recorded("account.write")),
    ("PATCH", "/api/my-account/logto-configs", Recorded("account.write")),
    ("DELETE", "/api/my-account/sessions/:id", Recorded("account.write")),
    ("POST", "/api/verifications/password", Unrecorded),
    ("POST", "/api/verifications/verification-code/verify", Unrecorded),
    // Management API.
    ("POST", "/api/users", Recorded("users.create")),
    ("PATCH", "/api/users/:id", Recorded("users.patch")),
    ("PATCH", "/api/users/:id/custom-data", Recorded("users.custom_data")),
    ("PATCH", "/api/users/:id/profile", Recorded("users.profile")),
    ("PATCH", "/api/users/:id/password", Recorded("users.password")),
    ("POST", "/api/users/:id/password/verify", Unrecorded),
    ("PATCH", "/api/users/:id/password/expiration", Recorded("users.other")),
    ("PATCH", "/api/users/:id/is-suspended", Recorded("users.suspension")),
    ("PATCH", "/api/users/:id/logto-configs", Recorded("users.other")),
    ("DELETE", "/api/users/:id", Recorded("users.delete")),
    ("PUT", "/api/users/:id/identities/google", Recorded("users.identities")),
    ("POST", "/api/users/:id/identities", Recorded("users.identities")),
    ("DELETE", "/api/users/:id/identities/google", Recorded("users.identities")),
    ("POST", "/api/users/:id/mfa-verifications", Recorded("users.other")),
    ("DELETE", "/api/users/:id/mfa-verifications/:id", Recorded("users.other")),
    ("POST", "/api/users/:id/roles", Unrecorded),
    ("PUT", "/api/users/:id/roles", Unrecorded),
    ("DELETE", "/api/users/:id/roles/:id", Unrecorded),
    ("POST", "/api/users/:id/personal-access-tokens", Recorded("users.other")),
    ("DELETE", "/api/users/:id/sessions/:id", Recorded("users.other")),
    ("POST", "/api/roles/:id/users", Unrecorded),
    ("DELETE", "/api/roles/:id/users/:id", Unrecorded),
    ("POST", "/api/organizations/:id/users", Unrecorded),
    ("PUT", "/api/organizations/:id/users/:id/roles", Unrecorded),
    ("DELETE", "/api/organizations/:id/users/:id", Unrecorded),
    ("POST", "/api/one-time-tokens", Unrecorded),
    ("POST", "/api/subject-tokens", Unrecorded),
    ("POST", "/api/verification-codes/verify", Unrecorded),
];

const ID: &str = "u5er0000Id01";

#[test]
fn every_mutating_route_of_the_reference_is_cared_for_in_every_spelling() {
    for (method, route, expected) in REFERENCE {
        for path in spellings(route) {
            assert_eq!(&care(method, &path), expected, "{method} {path}");
        }
    }
}

#[test]
fn every_operation_that_writes_has_a_route_in_the_reference() {
    let reached: BTreeSet<_> = REFERENCE
        .iter()
        .filter_map(|(_, _, care)| match care {
            Recorded(name) => Some(*name),
            Unrecorded | Care::None => None,
        })
        .collect();
    let writes: BTreeSet<_> = dual_write_proxy::inbound::classify::OPERATIONS
        .iter()
        .filter(|row| matches!(row.kind, Kind::Write(_)))
        // The same route as a suspension; told apart by the body.
        .filter(|row| row.operation != Operation::UsersUnsuspension)
        // The same route as a submit; told apart by what is staged.
        .filter(|row| row.operation != Operation::ExperienceStaged)
        // No route of the API.
        .filter(|row| row.operation != Operation::ConsentPage)
        .map(|row| row.name)
        .collect();
    assert_eq!(reached, writes);
}

#[test]
fn every_recorded_mutation_is_cared_for_in_every_spelling() {
    let mut n_checked = 0;
    for (method, path) in recordings() {
        if !is_of_a_family(&path) || !["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str())
        {
            continue;
        }
        n_checked += 1;
        let expected = care(&method, &path);
        for spelling in spellings(&path) {
            let care = care(&method, &spelling);
            assert_ne!(care, Care::None, "{method} {spelling}");
            assert_eq!(care, expected, "{method} {spelling}, as {path}");
        }
    }
    assert!(n_checked >= 40, "{n_checked} recorded mutations");
}

#[test]
fn what_the_table_does_not_know_is_a_hole_and_is_seen_as_one() {
    for (method, path) in [
        ("POST", "/api/applications"),
        ("PATCH", "/api/sign-in-exp"),
        // Logto answers 404: its mounts have a case, and no slash comes twice.
        ("PATCH", "/API/users/u5er0000Id01"),
        ("PATCH", "//api/users/u5er0000Id01"),
    ] {
        assert_eq!(care(method, path), Care::None, "{method} {path}");
    }
}

#[test]
fn the_quiet_writes_are_recorded() {
    // `applicationId` at the first consent; the page does it by itself for first parties.
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for path in ["/consent", "/consent/", "/consent/x"] {
            assert_eq!(care(method, path), Recorded("consent.page"), "{path}");
        }
    }
    // `lastSignInAt` is written by a sign-in's last step.
    assert_eq!(
        care("POST", "/api/experience/submit"),
        Recorded("experience.submit")
    );
}

#[test]
fn after_cutover_exactly_the_routes_that_can_be_computed_are_translated() {
    for (method, route, _) in REFERENCE {
        for path in spellings(route) {
            let method = Method::parse(method);
            let is_computed = translate_write::find(method, &path).is_some();
            let is_translated = after_cutover(method, &path) == AfterCutover::Translate;
            assert_eq!(is_translated, is_computed, "{method:?} {path}");
        }
    }
}

#[test]
fn after_cutover_no_write_of_a_user_goes_to_logto() {
    for (method, route, care) in REFERENCE {
        let Recorded(name) = care else {
            continue;
        };
        let path = &spellings(route)[0];
        match after_cutover(Method::parse(method), path) {
            AfterCutover::Translate | AfterCutover::Refuse(_) => {}
            // The end of a sign-in: its time of day is all that it writes.
            AfterCutover::FinishSignIn(_) => {
                let family = name.split('.').next().unwrap();
                let families = ["experience", "interaction", "consent"];
                assert!(families.contains(&family), "{method} {path}");
            }
            AfterCutover::Forward(reason) => {
                assert!(reason.contains("sessions or grants"), "{method} {path}");
            }
            AfterCutover::Own => panic!("{method} {path}"),
        }
    }
}

#[test]
fn after_cutover_every_route_has_its_reason() {
    let expected = [
        (
            "POST",
            "/api/users/:id/password/verify",
            AfterCutover::Translate,
        ),
        ("POST", "/api/users/:id/identities", AfterCutover::Translate),
        (
            "POST",
            "/api/users/:id/mfa-verifications",
            AfterCutover::Refuse(Refusal::NotTranslatable),
        ),
        (
            "PATCH",
            "/api/users/:id/password/expiration",
            AfterCutover::Refuse(Refusal::NotTranslatable),
        ),
        (
            "POST",
            "/api/my-account/mfa-verifications",
            AfterCutover::Refuse(Refusal::NotTranslatable),
        ),
        (
            "PUT",
            "/api/my-account/identities/:id/access-token",
            AfterCutover::Refuse(Refusal::NotTranslatable),
        ),
        (
            "POST",
            "/api/verifications/password",
            AfterCutover::Refuse(Refusal::PasswordCheck),
        ),
        (
            "POST",
            "/api/experience/profile",
            AfterCutover::Refuse(Refusal::StartAgain),
        ),
        (
            "POST",
            "/api/experience/profile/mfa/mfa-skipped",
            AfterCutover::FinishSignIn(Shown::Always),
        ),
        (
            "POST",
            "/api/experience/of-a-later-version",
            AfterCutover::Refuse(Refusal::StartAgain),
        ),
        (
            "POST",
            "/api/experience/submit",
            AfterCutover::FinishSignIn(Shown::Progress),
        ),
        (
            "PUT",
            "/api/experience",
            AfterCutover::FinishSignIn(Shown::Event("interactionEvent")),
        ),
        (
            "POST",
            "/api/experience/verification/new-password-identity",
            AfterCutover::Refuse(Refusal::StartAgain),
        ),
        (
            "PUT",
            "/api/interaction",
            AfterCutover::FinishSignIn(Shown::Beginning),
        ),
        (
            "DELETE",
            "/api/interaction",
            AfterCutover::FinishSignIn(Shown::Always),
        ),
        (
            "POST",
            "/api/interaction/single-sign-on/:id/registration",
            AfterCutover::Refuse(Refusal::StartAgain),
        ),
        (
            "POST",
            "/api/interaction/submit",
            AfterCutover::FinishSignIn(Shown::Kept),
        ),
    ];
    for (method, route, after) in expected {
        for path in spellings(route) {
            assert_eq!(
                after_cutover(Method::parse(method), &path),
                after,
                "{method} {path}"
            );
        }
    }
    for path in [
        "/api/verifications/verification-code",
        "/api/users/:id/roles",
        "/api/my-account/user-assets/avatar",
        "/api/applications",
        "/oidc/token",
    ] {
        let after = after_cutover(Method::Post, path);
        assert!(matches!(after, AfterCutover::Forward(_)), "{path}");
    }
}

fn is_of_a_family(path: &str) -> bool {
    FAMILIES.iter().any(|family| {
        path.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Method and path of each recorded request.
fn recordings() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/harness/backends/logto/samples");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        if let Ok(samples) = serde_json::from_str::<Value>(&text) {
            requests(&samples, &mut found);
        }
    }
    found
}

/// Objects with a method and a path, or a URL, anywhere in a recording.
fn requests(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            if let (Some(method), Some(target)) = (text("method"), text("path").or(text("url"))) {
                let target = match target.split_once("://") {
                    Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
                    None => target,
                };
                let path = target.split('?').next().unwrap_or_default();
                found.push((method.to_owned(), path.to_owned()));
            }
            members.values().for_each(|member| requests(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| requests(item, found)),
        _ => {}
    }
}

/// As Logto's router takes them: another case of what is no parameter, one slash at
/// the end, parameters percent-encoded, and all of it at once.
fn spellings(route: &str) -> Vec<String> {
    let rest = route.strip_prefix("/api/").unwrap();
    let parts: Vec<&str> = rest.split('/').collect();
    let spelled = |literal: &dyn Fn(&str) -> String, parameter: &dyn Fn(&str) -> String| {
        let parts: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| match *part {
                ":id" => parameter(ID),
                // The id of a recorded request.
                id if index == 1 && parts[0] == "users" => parameter(id),
                part => literal(part),
            })
            .collect();
        format!("/api/{}", parts.join("/"))
    };
    let as_it_is = |part: &str| part.to_owned();
    let upper = |part: &str| part.to_uppercase();
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let all = |id: &str| -> String { id.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let first = |id: &str| format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
    let mut spellings = Vec::new();
    for literal in [&as_it_is as &dyn Fn(&str) -> String, &upper, &capital] {
        for parameter in [&as_it_is as &dyn Fn(&str) -> String, &all, &first] {
            let path = spelled(literal, parameter);
            spellings.push(format!("{path}/"));
            spellings.push(path);
        }
    }
    spellings
}
