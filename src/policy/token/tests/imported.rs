//! The imported keys: the stored value, and the bounds on what they verify.

use serde_json::{Value, json};

use super::{
    HOUR, Issuer, LOGTO, MGPASS, NOW, audiences, claims, compact, data, header, key_set, names,
    policy,
};
use crate::policy::token::{
    ImportedKeys, KeyOrigin, MAX_KEY_SET_BYTES, Refusal, UnixSeconds, Validity, parse,
};

fn imported_value() -> Value {
    json!({
        "issuer": LOGTO,
        "stopped_issuing_at": NOW.0,
        "max_lifetime_s": HOUR,
        "sunset": NOW.0 + 2 * HOUR,
        "keys": data("jose.json")["key_sets"]["logto"]["keys"],
    })
}

fn import(value: &Value) -> Result<ImportedKeys, &'static str> {
    ImportedKeys::parse(value.to_string().as_bytes(), &names()).map_err(|failure| failure.code())
}

#[test]
fn a_stored_value_is_whole_or_nothing() {
    let check = |name: &str, value: Value, expected: &str| {
        let mut stored = imported_value();
        if value == "(gone)" {
            stored.as_object_mut().unwrap().remove(name);
        } else {
            stored[name] = value.clone();
        }
        assert_eq!(import(&stored).err(), Some(expected), "{name} {value}");
    };
    assert!(import(&imported_value()).is_ok());
    for name in [
        "issuer",
        "stopped_issuing_at",
        "max_lifetime_s",
        "sunset",
        "keys",
    ] {
        check(name, json!("(gone)"), "imported_keys_member_missing");
    }
    for value in [
        json!("1790000000"),
        json!(1.5),
        json!(true),
        json!([]),
        json!(0),
        json!(-1),
        json!(253_402_300_800_i64),
    ] {
        check(
            "stopped_issuing_at",
            value.clone(),
            "imported_keys_member_malformed",
        );
        check("sunset", value.clone(), "imported_keys_member_malformed");
        check("max_lifetime_s", value, "imported_keys_member_malformed");
    }
    check("sunset", Value::Null, "imported_keys_member_malformed");
    check(
        "max_lifetime_s",
        Value::Null,
        "imported_keys_member_malformed",
    );
    check(
        "max_lifetime_s",
        json!(365 * 24 * HOUR + 1),
        "imported_keys_member_malformed",
    );
    check("issuer", json!(1), "imported_keys_member_malformed");
    check("issuer", json!(MGPASS), "imported_keys_not_logto");
    check(
        "issuer",
        json!("https://evil.example"),
        "imported_keys_not_logto",
    );
    check("sunset", json!(NOW.0), "imported_keys_sunset_before_stop");
    check(
        "stoped_issuing_at",
        json!(1),
        "imported_keys_member_unknown",
    );
    check("keys", json!([]), "key_set_no_usable_key");
    check("keys", json!({}), "key_set_no_keys");
    for text in ["", "null", "{", "{\"issuer\":\"a\",\"issuer\":\"b\"}"] {
        let found = ImportedKeys::parse(text.as_bytes(), &names());
        assert_eq!(
            found.unwrap_err().code(),
            "imported_keys_not_json",
            "{text}"
        );
    }
    let large = " ".repeat(MAX_KEY_SET_BYTES + 1);
    let found = ImportedKeys::parse(large.as_bytes(), &names());
    assert_eq!(found.unwrap_err().code(), "imported_keys_too_large");
}

/// Validates a token of that life under the imported keys at `now`.
fn validate_imported(
    stored: &Value,
    iat: i64,
    exp: i64,
    now: i64,
) -> Result<KeyOrigin, &'static str> {
    let imported = import(stored).unwrap();
    let mut claims = claims(Issuer::Logto);
    claims["iat"] = json!(iat);
    claims["exp"] = json!(exp);
    let token = compact(&header(Issuer::Logto), &claims);
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    let signed = token
        .select(imported.set())
        .unwrap()
        .conclude(Validity::Valid)
        .unwrap();
    signed
        .validate(&policy(Issuer::Logto, &audiences()), UnixSeconds(now))
        .map(|principal| principal.key_origin)
        .map_err(Refusal::code)
}

#[test]
fn imported_keys_verify_only_what_logto_can_have_issued() {
    let stored = imported_value();
    let stop = NOW.0;
    let check = |iat: i64, exp: i64, now: i64, expected| {
        assert_eq!(
            validate_imported(&stored, iat, exp, now),
            expected,
            "{iat} {exp} {now}"
        );
    };
    check(
        stop - 1,
        stop - 1 + HOUR,
        stop + 10,
        Ok(KeyOrigin::Imported),
    );
    check(
        stop - 1,
        stop - 1 + HOUR,
        stop + HOUR - 2,
        Ok(KeyOrigin::Imported),
    );
    check(stop, stop + HOUR, stop + 10, Err("issued_after_stop"));
    check(stop + 1, stop + HOUR, stop + 10, Err("issued_after_stop"));
    check(stop - 1, stop + HOUR, stop + 10, Err("lifetime_too_long"));
    check(
        stop - 2 * HOUR,
        stop + HOUR,
        stop + 10,
        Err("lifetime_too_long"),
    );
}

#[test]
fn imported_keys_verify_nothing_from_their_sunset_on() {
    let mut stored = imported_value();
    stored["stopped_issuing_at"] = Value::Null;
    let sunset = NOW.0 + 2 * HOUR;
    let check = |now: i64, expected| {
        assert_eq!(
            validate_imported(&stored, sunset - 10, sunset + 10, now),
            expected,
            "{now}"
        );
    };
    check(sunset - 1, Ok(KeyOrigin::Imported));
    check(sunset, Err("after_sunset"));
    check(sunset + 1, Err("after_sunset"));
    let imported = import(&stored).unwrap();
    assert!(!imported.is_past_sunset(UnixSeconds(sunset - 1)));
    assert!(imported.is_past_sunset(UnixSeconds(sunset)));
}

#[test]
fn imported_keys_are_logtos_and_no_one_elses() {
    let imported = import(&imported_value()).unwrap();
    let token = compact(&header(Issuer::Mgpass), &claims(Issuer::Mgpass));
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    assert_eq!(
        token.select(imported.set()).err(),
        Some(Refusal::KeySetOfOtherIssuer)
    );
    assert_eq!(
        imported.set().keys().len(),
        key_set(Issuer::Logto).keys().len()
    );
    assert!(
        imported
            .set()
            .keys()
            .iter()
            .all(|key| key.bounds() == Some(imported.bounds()))
    );
}
