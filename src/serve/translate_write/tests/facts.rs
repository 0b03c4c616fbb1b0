//! What the differential cannot see: which questions are asked, and when; and what is refused because
//! it cannot be known.

use super::*;

fn step(method: Method, path: &str, body: &str, facts: &Facts<'_>) -> Step {
    step_of(&Tenant::default(), method, path, body, Proof::Holds, facts)
}

fn step_of(
    tenant: &Tenant,
    method: Method,
    path: &str,
    body: &str,
    proof: Proof,
    facts: &Facts<'_>,
) -> Step {
    let found = find(method, path).unwrap();
    let mapping = mapping();
    let settings = Settings {
        tenant,
        mapping: &mapping,
        now_ms: 2,
    };
    let write = match &found.route {
        Route::Users(route) => Write::Users {
            route,
            user: PathUser::Known {
                id: "u5er0000id01",
                view: FRESH,
            },
            caller: "m2m",
        },
        Route::Account(route) => Write::Account {
            route,
            user: FRESH,
            caller: AccountCaller {
                shown: FRESH,
                proof,
            },
        },
    };
    let body = Body {
        content_type: Some("application/json"),
        content_encoding: None,
        bytes: Some(body.as_bytes()),
    };
    apply(&settings, write, body, facts)
}

fn unique(kind: UniqueKind, value: &str) -> Unique {
    Unique {
        kind,
        value: value.to_owned(),
    }
}

#[test]
fn an_avatar_is_an_address_where_the_runtime_says_so() {
    let path = "/api/users/u5er0000id01";
    let avatar = r#"{"avatar":"https://xn--/a.png"}"#;
    let step_with = |body: &str, is_address| {
        let facts = Facts {
            is_address,
            ..Facts::default()
        };
        step(Method::Patch, path, body, &facts)
    };
    let asked = Step::Ask(Question::IsAddress("https://xn--/a.png".to_owned()));
    assert_eq!(step_with(avatar, None), asked);
    assert!(matches!(step_with(avatar, Some(true)), Step::Apply(_)));
    assert!(matches!(step_with(avatar, Some(false)), Step::Answer(_)));
    // None to read: cleared, of another type, or not a member that the route takes.
    for body in [r#"{"avatar":""}"#, r#"{"avatar":null}"#, r#"{"avatar":1}"#] {
        let step = step_with(body, None);
        assert!(!matches!(step, Step::Ask(_)), "{body}: {step:?}");
    }
    let facts = Facts::default();
    let body = r#"{"customData":{},"avatar":"https://xn--"}"#;
    let other = step(Method::Patch, &format!("{path}/custom-data"), body, &facts);
    assert!(matches!(other, Step::Apply(_)), "{other:?}");
}

#[test]
fn nothing_is_asked_that_the_answer_does_not_depend_on() {
    let facts = Facts::default();
    let path = "/api/users/u5er0000id01";
    // A body with an issue, or without a value that is unique.
    for body in [r#"{"username":"ama","name":5}"#, r#"{"name":"Ama"}"#, "{"] {
        let step = step(Method::Patch, path, body, &facts);
        assert!(!matches!(step, Step::Ask(_)), "{body}: {step:?}");
    }
    let asked = step(
        Method::Patch,
        path,
        r#"{"username":"Kojo","primaryEmail":"A@B.c","primaryPhone":"610412345678"}"#,
        &facts,
    );
    let values = vec![
        unique(UniqueKind::Email, "a@b.c"),
        unique(UniqueKind::Phone, "61412345678"),
        unique(UniqueKind::Phone, "610412345678"),
        unique(UniqueKind::Username, "Kojo"),
    ];
    assert_eq!(asked, Step::Ask(Question::Holders(values)));
    let verify = step(
        Method::Post,
        "/api/users/u5er0000id01/password/verify",
        r#"{"password":"x"}"#,
        &facts,
    );
    let secret = Secret("x".to_owned());
    assert_eq!(verify, Step::Ask(Question::PasswordIsRight(secret)));
}

#[test]
fn an_id_is_reserved_for_nobody_whom_logto_would_refuse() {
    let free = Facts {
        held_by_others: Some(&[]),
        ..Facts::default()
    };
    let create = |body: &str| step(Method::Post, "/api/users", body, &free);
    assert_eq!(create("{}"), Step::Ask(Question::Reservation));
    for body in [
        r#"{"primaryPhone":"0041"}"#.to_owned(),
        format!(r#"{{"name":"{}"}}"#, "n".repeat(129)),
        r#"{"passwordDigest":"x","passwordAlgorithm":"MD5"}"#.to_owned(),
        r#"{"customData":{"a":"\u0000"}}"#.to_owned(),
    ] {
        let step = create(&body);
        assert!(
            matches!(step, Step::Answer(_) | Step::Refuse(_)),
            "{body}: {step:?}"
        );
    }
}

#[test]
fn a_password_leaves_in_a_secret_and_stands_in_no_row() {
    let facts = Facts {
        held_by_others: Some(&[]),
        reserved: Some(FRESH),
        ..Facts::default()
    };
    let body = r#"{"password":"Vorpal-Blade-42","username":"kojo"}"#;
    let step = step(Method::Post, "/api/users", body, &facts);
    let Step::Apply(applied) = step else {
        panic!("{step:?}");
    };
    assert_eq!(
        applied.owed.password,
        Some(Secret("Vorpal-Blade-42".to_owned()))
    );
    assert!(!format!("{applied:?}").contains("Vorpal"));
}

#[test]
fn what_cannot_be_known_of_a_caller_is_refused_and_not_passed() {
    let tenant = tenant();
    let facts = Facts::default();
    let account = |path: &str, method: Method, body: &str, proof: Proof| {
        step_of(&tenant, method, path, body, proof, &facts)
    };
    let path = "/api/my-account";
    let body = r#"{"username":"kojo"}"#;
    let unknown = account(path, Method::Patch, body, Proof::Unknown);
    assert_eq!(unknown, Step::Refuse(Refusal::ProofUnknown));
    let fails = account(path, Method::Patch, body, Proof::Fails);
    assert!(
        matches!(fails, Step::Answer(Reply { status: 401, .. })),
        "{fails:?}"
    );
    let address = r#"{"address":{"country":"GH"}}"#;
    let profile = account(
        "/api/my-account/profile",
        Method::Patch,
        address,
        Proof::Holds,
    );
    assert_eq!(profile, Step::Refuse(Refusal::ScopeUnknown));
    // The last identifier, unless Logto knows of an SSO identity.
    let last = account(path, Method::Patch, r#"{"username":null}"#, Proof::Holds);
    assert_eq!(last, Step::Ask(Question::SsoIdentities));
    let email = r#"{"email":"a@b.c","newIdentifierVerificationRecordId":"r"}"#;
    let set = account(
        "/api/my-account/primary-email",
        Method::Post,
        email,
        Proof::Holds,
    );
    assert_eq!(set, Step::Refuse(Refusal::NeedsVerificationRecord));
}

#[test]
fn a_user_without_a_username_takes_its_name_column_from_it() {
    // mgPass's `name` is Logto's name, else its username: one write, one column more.
    let facts = Facts {
        held_by_others: Some(&[]),
        ..Facts::default()
    };
    let body = r#"{"username":"kojo"}"#;
    let step = step(Method::Patch, "/api/users/u5er0000id01", body, &facts);
    let Step::Apply(applied) = step else {
        panic!("{step:?}");
    };
    let changes = applied.changes;
    let names: Vec<_> = changes
        .columns
        .iter()
        .map(|(column, _)| column.name())
        .collect();
    assert_eq!(names, ["name"]);
    assert_eq!(changes.residue_members, ["username", "updatedAt"]);
    assert_eq!(changes.claimed, [unique(UniqueKind::Username, "kojo")]);
    assert_eq!(changes.released, [unique(UniqueKind::Username, "ama")]);
}

#[test]
fn every_refusal_has_a_code_of_its_own() {
    let codes: std::collections::BTreeSet<_> =
        Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
    assert_eq!(codes.len(), Refusal::ALL.len());
    for refusal in Refusal::ALL {
        assert!(refusal.code().starts_with("proxy."));
        assert!((400..600).contains(&refusal.status()));
    }
}
