//! Claims against a policy: one claim, one bound, one case.

use serde_json::{Value, json};

use super::{
    HOUR, Issuer, MGPASS, NOW, audiences, authenticate, claims, compact, header, key_id, key_set,
    names, policy,
};
use crate::policy::token::{
    KeyOrigin, Policy, Refusal, SignedToken, Skew, TokenType, UnixSeconds, Validity, parse,
};

fn signed(header: &Value, claims: &Value) -> SignedToken {
    let token = compact(header, claims);
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    let set = key_set(token.issuer());
    let check = token.select(&set).unwrap();
    check.conclude(Validity::Valid).unwrap()
}

fn with(issuer: Issuer, name: &str, value: Value) -> Value {
    let mut claims = claims(issuer);
    claims[name] = value;
    claims
}

#[track_caller]
fn check(claims: &Value, policy: &Policy<'_>, now: i64, expected: Result<(), &str>) {
    let found = signed(&header(Issuer::Logto), claims)
        .validate(policy, UnixSeconds(now))
        .map(drop)
        .map_err(Refusal::code);
    assert_eq!(found, expected, "{claims} at {now}");
}

#[test]
fn a_principal_says_what_the_token_said() {
    let mut logto = claims(Issuer::Logto);
    logto["organization_id"] = json!("o1");
    logto["org_id"] = json!("not Logto's word");
    let token = compact(&header(Issuer::Logto), &logto);
    let found = authenticate(&token, Validity::Valid).unwrap();
    assert_eq!(found.issuer, Issuer::Logto);
    assert_eq!(found.subject.as_str(), "aizic3ag0os9");
    assert_eq!(found.audience, ["https://api.orders.example"]);
    assert_eq!(found.scopes, ["read", "write"]);
    assert_eq!(found.client_id.as_deref(), Some("96vj6wgs7bj7w7zo2ibkt"));
    assert_eq!(found.organization_id.as_deref(), Some("o1"));
    assert_eq!(found.token_id.as_deref(), Some("z-WolEvWPOOiR2o4vIiFV"));
    assert_eq!(found.issued_at, UnixSeconds(NOW.0 - 10));
    assert_eq!(found.expires_at, UnixSeconds(NOW.0 - 10 + HOUR));
    assert_eq!(found.key_id.unwrap().as_str(), key_id(Issuer::Logto));
    assert_eq!(found.key_origin, KeyOrigin::Published);

    let mgpass = with(Issuer::Mgpass, "org_id", json!("org_1"));
    let token = compact(&header(Issuer::Mgpass), &mgpass);
    let found = authenticate(&token, Validity::Valid).unwrap();
    assert_eq!(found.organization_id.as_deref(), Some("org_1"));
    assert_eq!(found.client_id, None);
}

#[test]
fn the_skew_forgives_a_late_clock_and_never_lengthens_a_life() {
    let audiences = audiences();
    let mut policy = policy(Issuer::Logto, &audiences);
    let (iat, exp) = (NOW.0 - 10, NOW.0 - 10 + HOUR);
    let good = claims(Issuer::Logto);
    let later = with(Issuer::Logto, "nbf", json!(iat + 600));
    for skew in [0, 1, 5, 60] {
        policy.skew = Skew::from_seconds(u32::try_from(skew).unwrap()).unwrap();
        check(&good, &policy, exp - 1, Ok(()));
        check(&good, &policy, exp, Err("expired"));
        check(&good, &policy, exp + 1, Err("expired"));
        check(&good, &policy, iat - skew, Ok(()));
        check(&good, &policy, iat - skew - 1, Err("issued_in_future"));
        check(&later, &policy, iat + 600 - skew, Ok(()));
        check(&later, &policy, iat + 600 - skew - 1, Err("not_yet_valid"));
    }
}

#[test]
fn a_token_of_mgpass_ends_at_its_second_too() {
    let audiences = audiences();
    let policy = policy(Issuer::Mgpass, &audiences);
    let exp = NOW.0 - 10 + HOUR;
    for (now, expected) in [(exp - 1, None), (exp, Some("expired"))] {
        let found = signed(&header(Issuer::Mgpass), &claims(Issuer::Mgpass))
            .validate(&policy, UnixSeconds(now))
            .err()
            .map(Refusal::code);
        assert_eq!(found, expected, "at {now}");
    }
}

#[test]
fn no_clock_however_wrong_overflows() {
    let audiences = audiences();
    let policy = policy(Issuer::Logto, &audiences);
    let good = claims(Issuer::Logto);
    check(&good, &policy, i64::MAX, Err("expired"));
    check(&good, &policy, i64::MIN, Err("issued_in_future"));
    check(&good, &policy, 0, Err("issued_in_future"));
}

#[test]
fn a_skew_of_more_than_a_minute_cannot_be_had() {
    assert_eq!(
        Skew::from_seconds(Skew::DEFAULT_SECONDS),
        Some(Skew::default())
    );
    assert!(Skew::from_seconds(60).is_some());
    assert_eq!(Skew::from_seconds(61), None);
    assert_eq!(Skew::from_seconds(u32::MAX), None);
}

#[test]
fn a_lifetime_may_be_as_long_as_the_policy_says() {
    let audiences = audiences();
    let mut policy = policy(Issuer::Logto, &audiences);
    policy.max_lifetime_s = Some(HOUR);
    check(&claims(Issuer::Logto), &policy, NOW.0, Ok(()));
    let longer = with(Issuer::Logto, "exp", json!(NOW.0 - 10 + HOUR + 1));
    check(&longer, &policy, NOW.0, Err("lifetime_too_long"));
    policy.max_lifetime_s = None;
    let for_years = with(Issuer::Logto, "exp", json!(253_402_300_799_i64));
    check(&for_years, &policy, NOW.0, Ok(()));
}

#[test]
fn a_policy_without_audiences_accepts_nobody() {
    check(
        &claims(Issuer::Logto),
        &policy(Issuer::Logto, &[]),
        NOW.0,
        Err("wrong_audience"),
    );
}

#[test]
fn a_policy_of_one_issuer_refuses_the_other() {
    let audiences = audiences();
    let mut policy = policy(Issuer::Logto, &audiences);
    policy.issuer = MGPASS;
    check(&claims(Issuer::Logto), &policy, NOW.0, Err("wrong_issuer"));
}

#[test]
fn a_scope_is_held_whole_or_not_at_all() {
    let audiences = audiences();
    let mut policy = policy(Issuer::Logto, &audiences);
    let good = claims(Issuer::Logto);
    for (scope, expected) in [
        (None, Ok(())),
        (Some("read"), Ok(())),
        (Some("write"), Ok(())),
        (Some("rea"), Err("insufficient_scope")),
        (Some("read write"), Err("insufficient_scope")),
        (Some(""), Err("insufficient_scope")),
    ] {
        policy.required_scope = scope;
        check(&good, &policy, NOW.0, expected);
    }
}

#[test]
fn a_scope_is_asked_about_last() {
    let audiences = audiences();
    let mut policy = policy(Issuer::Logto, &audiences);
    policy.required_scope = Some("admin");
    check(
        &claims(Issuer::Logto),
        &policy,
        NOW.0 + 2 * HOUR,
        Err("expired"),
    );
}

/// The issuer's rule, `typ`, a claim taken away, a claim added, what is expected.
type Row = (
    TokenType,
    Option<&'static str>,
    &'static str,
    &'static str,
    Result<(), &'static str>,
);

#[test]
fn each_kind_of_token_is_told_from_an_access_token() {
    let typed = TokenType::TypedAccessToken;
    let untyped = TokenType::UntypedAccessToken;
    let rows: &[Row] = &[
        (typed, Some("at+jwt"), "", "", Ok(())),
        (typed, Some("application/AT+JWT"), "", "", Ok(())),
        (typed, Some("at+jwt"), "scope", "", Ok(())),
        (typed, Some("JWT"), "", "", Err("id_token_by_type")),
        (typed, None, "", "", Err("typ_missing")),
        (typed, Some("logout+jwt"), "", "", Err("typ_unexpected")),
        (untyped, Some("at+jwt"), "", "", Ok(())),
        (untyped, Some("at+jwt"), "scope", "", Ok(())),
        (untyped, Some("JWT"), "", "", Ok(())),
        (untyped, None, "", "", Ok(())),
        (
            untyped,
            Some("JWT"),
            "scope",
            "",
            Err("not_shown_access_token"),
        ),
        (untyped, None, "scope", "", Err("not_shown_access_token")),
        (untyped, Some("logout+jwt"), "", "", Err("typ_unexpected")),
        (untyped, None, "", "nonce", Err("id_token_by_claims")),
        (untyped, None, "", "at_hash", Err("id_token_by_claims")),
        (untyped, None, "", "c_hash", Err("id_token_by_claims")),
        (untyped, None, "", "s_hash", Err("id_token_by_claims")),
        (
            untyped,
            None,
            "",
            "email_verified",
            Err("id_token_by_claims"),
        ),
        (untyped, Some("JWT"), "", "nonce", Err("id_token_by_claims")),
        (
            untyped,
            Some("at+jwt"),
            "",
            "nonce",
            Err("id_token_by_claims"),
        ),
    ];
    let audiences = audiences();
    for (token_type, typ, less, more, expected) in rows {
        let mut header = json!({"alg": "ES256", "kid": key_id(Issuer::Mgpass)});
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let mut claims = claims(Issuer::Mgpass);
        claims.as_object_mut().unwrap().remove(*less);
        if !more.is_empty() {
            claims[*more] = Value::Null;
        }
        let mut policy = policy(Issuer::Mgpass, &audiences);
        policy.token_type = *token_type;
        policy.required_scope = None;
        let found = signed(&header, &claims).validate(&policy, NOW);
        assert_eq!(
            found.map(drop).map_err(Refusal::code),
            *expected,
            "{token_type:?} {typ:?} -{less} +{more}"
        );
    }
}
