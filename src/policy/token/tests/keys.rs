//! Key sets and the single keys in them.

use serde_json::{Value, json};

use super::{Issuer, base64url, claims, compact, data, key_id, names};
use crate::policy::token::{
    Algorithm, IssuerNames, IssuerNamesFault, KeyId, KeySet, KeySetFailure, MAX_KEY_SET_BYTES,
    MAX_KEYS, Refusal, parse,
};

fn jwk(algorithm: &str) -> Value {
    let set = &data("jose.json")["key_sets"]["mgpass"]["keys"];
    let jwk = set
        .as_array()
        .unwrap()
        .iter()
        .find(|jwk| jwk["alg"] == algorithm);
    jwk.unwrap().clone()
}

fn parse_set(keys: &[Value]) -> Result<KeySet, KeySetFailure> {
    KeySet::parse(
        Issuer::Mgpass,
        json!({ "keys": keys }).to_string().as_bytes(),
    )
}

/// Parses one key: its algorithm, or the code of its fault.
fn parse_key(jwk: &Value) -> Result<Algorithm, &'static str> {
    match parse_set(std::slice::from_ref(jwk)) {
        Ok(set) => Ok(set.keys()[0].algorithm()),
        Err(KeySetFailure::NoUsableKey { skipped }) => Err(skipped[0].fault.code()),
        Err(failure) => Err(failure.code()),
    }
}

#[track_caller]
fn check(algorithm: &str, changes: &Value, expected: Result<Algorithm, &str>) {
    let mut jwk = jwk(algorithm);
    for (name, value) in changes.as_object().unwrap() {
        if value == "(gone)" {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    assert_eq!(parse_key(&jwk), expected, "{algorithm} with {changes}");
}

#[test]
fn the_key_decides_its_algorithm() {
    let no_alg = json!({"alg": "(gone)"});
    for algorithm in Algorithm::ALL {
        check(algorithm.name(), &json!({}), Ok(algorithm));
    }
    check("ES256", &no_alg, Ok(Algorithm::Es256));
    check("ES384", &no_alg, Ok(Algorithm::Es384));
    check("ES512", &no_alg, Ok(Algorithm::Es512));
    check("EdDSA", &no_alg, Ok(Algorithm::EdDsa));
    check("RS256", &no_alg, Ok(Algorithm::Rs256));
    // The same modulus is a PS256 key only where the JWK says so.
    check("PS256", &no_alg, Ok(Algorithm::Rs256));
    check("RS256", &json!({"alg": "PS256"}), Ok(Algorithm::Ps256));
}

#[test]
fn an_algorithm_that_does_not_fit_the_key_spoils_it() {
    let mismatch = Err("key_alg_mismatch");
    check("ES256", &json!({"alg": "ES384"}), mismatch);
    check("ES384", &json!({"alg": "ES256"}), mismatch);
    check("ES256", &json!({"alg": "RS256"}), mismatch);
    check("RS256", &json!({"alg": "ES256"}), mismatch);
    check("EdDSA", &json!({"alg": "ES256"}), mismatch);
    let unsupported = Err("key_unsupported_alg");
    for alg in ["HS256", "none", "RS512", "RSA-OAEP", "es256", ""] {
        check("RS256", &json!({"alg": alg}), unsupported);
    }
    check("RS256", &json!({"alg": null}), unsupported);
    check("EdDSA", &json!({"alg": "Ed25519"}), unsupported);
}

#[test]
fn a_key_for_another_purpose_is_left_out() {
    let other = Err("key_not_for_signatures");
    check("ES256", &json!({"use": "enc"}), other);
    check("ES256", &json!({"use": ["sig"]}), other);
    check("ES256", &json!({"use": null}), other);
    check("ES256", &json!({"key_ops": ["sign"]}), other);
    check("ES256", &json!({"key_ops": []}), other);
    check("ES256", &json!({"key_ops": "verify"}), other);
    check(
        "ES256",
        &json!({"key_ops": ["verify"]}),
        Ok(Algorithm::Es256),
    );
    check("ES256", &json!({"use": "(gone)"}), Ok(Algorithm::Es256));
    check(
        "ES256",
        &json!({"ext": true, "x5c": ["MIIB"], "x5u": "https://x"}),
        Ok(Algorithm::Es256),
    );
}

#[test]
fn secrets_in_a_key_set_are_left_out() {
    check(
        "RS256",
        &json!({"kty": "oct", "k": "AAAA"}),
        Err("key_symmetric"),
    );
    check("RS256", &json!({"kty": "oct"}), Err("key_symmetric"));
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        check("RS256", &json!({name: "AQ"}), Err("key_private_members"));
        check("ES256", &json!({name: null}), Err("key_private_members"));
    }
}

#[test]
fn unknown_types_and_curves_are_left_out() {
    for kty in [
        json!("(gone)"),
        json!("AKP"),
        json!(""),
        json!("ec"),
        json!(1),
    ] {
        check("ES256", &json!({"kty": kty}), Err("key_unsupported_type"));
    }
    for crv in [
        json!("(gone)"),
        json!("secp256k1"),
        json!("p-256"),
        json!("Ed25519"),
        json!(1),
    ] {
        check("ES256", &json!({"crv": crv}), Err("key_unsupported_curve"));
    }
    for crv in ["(gone)", "Ed448", "X25519", "P-256"] {
        check("EdDSA", &json!({"crv": crv}), Err("key_unsupported_curve"));
    }
}

#[test]
fn coordinates_have_the_length_of_their_curve() {
    let malformed = Err("key_malformed_material");
    let full = jwk("ES256")["x"].as_str().unwrap().to_owned();
    for name in ["x", "y"] {
        for value in [
            json!("(gone)"),
            json!(null),
            json!(""),
            json!(1),
            json!("AQ"),
            json!(format!("{full}=")),
            json!(format!("{full}A")),
            json!(format!("\"{full}")),
            json!(base64url::encode(&[1; 31])),
            json!(base64url::encode(&[1; 33])),
        ] {
            check("ES256", &json!({name: value}), malformed);
        }
    }
    check(
        "EdDSA",
        &json!({"x": base64url::encode(&[1; 31])}),
        malformed,
    );
    check("ES384", &json!({"crv": "P-256", "alg": "ES256"}), malformed);
}

#[test]
fn a_modulus_is_odd_and_between_2048_and_8192_bits() {
    // A modulus of that many bytes with these first and last ones.
    let modulus = |n_bytes: usize, first: u8, last: u8| {
        let mut bytes = vec![0xa5; n_bytes];
        bytes[0] = first;
        bytes[n_bytes - 1] = last;
        json!({"n": base64url::encode(&bytes)})
    };
    check("RS256", &modulus(256, 0x80, 1), Ok(Algorithm::Rs256));
    check("RS256", &modulus(257, 0x01, 1), Ok(Algorithm::Rs256));
    check("RS256", &modulus(1024, 0xff, 1), Ok(Algorithm::Rs256));
    check("RS256", &modulus(256, 0x7f, 1), Err("key_bad_modulus"));
    check("RS256", &modulus(128, 0xff, 1), Err("key_bad_modulus"));
    check("RS256", &modulus(1025, 0x01, 1), Err("key_bad_modulus"));
    check("RS256", &modulus(256, 0xff, 2), Err("key_bad_modulus"));
    check(
        "RS256",
        &modulus(257, 0x00, 1),
        Err("key_malformed_material"),
    );
    check("RS256", &json!({"n": ""}), Err("key_malformed_material"));
    check(
        "RS256",
        &json!({"n": "(gone)"}),
        Err("key_malformed_material"),
    );
}

#[test]
fn an_exponent_is_odd_and_at_least_3() {
    for (e, expected) in [
        ("AQAB", Ok(Algorithm::Rs256)),
        ("Aw", Ok(Algorithm::Rs256)),
        ("AQ", Err("key_bad_exponent")),
        ("Ag", Err("key_bad_exponent")),
        ("AQAA", Err("key_bad_exponent")),
        ("AQAAAAE", Err("key_bad_exponent")),
        ("AAEAAQ", Err("key_malformed_material")),
        ("AA", Err("key_malformed_material")),
        ("", Err("key_malformed_material")),
        ("AQAB=", Err("key_malformed_material")),
        ("(gone)", Err("key_malformed_material")),
    ] {
        check("RS256", &json!({"e": e}), expected);
    }
}

#[test]
fn a_key_id_is_plain_or_absent() {
    check("ES256", &json!({"kid": "(gone)"}), Ok(Algorithm::Es256));
    for kid in [
        json!(null),
        json!(1),
        json!(""),
        json!("a\n"),
        json!("k".repeat(257)),
    ] {
        check("ES256", &json!({"kid": kid}), Err("key_bad_kid"));
    }
}

#[test]
fn only_the_public_members_reach_the_crypto() {
    for algorithm in Algorithm::ALL {
        let mut jwk = jwk(algorithm.name());
        jwk["key_ops"] = json!(["verify"]);
        jwk["ext"] = json!(false);
        let set = parse_set(&[jwk.clone()]).unwrap();
        let kept: Value = serde_json::from_str(set.keys()[0].public_jwk()).unwrap();
        for name in ["use", "key_ops", "alg", "ext", "kid"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(kept, jwk);
    }
}

#[test]
fn the_thumbprint_input_is_canonical() {
    // RFC 7638 3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_\
             BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F\
             DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4v\
             MQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = json!({"kid": "2011-04-29", "alg": "RS256", "n": n, "e": "AQAB", "kty": "RSA"});
    assert_eq!(
        parse_set(&[rsa]).unwrap().keys()[0].thumbprint_input(),
        format!(r#"{{"e":"AQAB","kty":"RSA","n":"{n}"}}"#)
    );
    // RFC 8037 A.3.
    let ed =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(
        parse_set(&[ed]).unwrap().keys()[0].thumbprint_input(),
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    );
}

#[test]
fn a_bad_key_never_costs_the_good_ones() {
    let good = jwk("ES256");
    let bad = [
        json!({"kty": "oct", "k": "AA", "kid": "shared"}),
        json!(null),
        json!("key"),
        json!({}),
    ];
    let mut keys = bad.to_vec();
    keys.push(good);
    let set = parse_set(&keys).unwrap();
    assert_eq!(set.keys().len(), 1);
    let skipped: Vec<_> = set
        .skipped()
        .iter()
        .map(|key| (key.key_id.as_ref().map(KeyId::as_str), key.fault.code()))
        .collect();
    assert_eq!(
        skipped,
        [
            (Some("shared"), "key_symmetric"),
            (None, "key_not_an_object"),
            (None, "key_not_an_object"),
            (None, "key_unsupported_type"),
        ]
    );
}

#[test]
fn a_duplicate_member_costs_one_key_and_not_the_set() {
    let good = jwk("ES256").to_string();
    let body = format!(r#"{{"keys":[{{"kty":"EC","kty":"RSA"}},{good}]}}"#);
    let set = KeySet::parse(Issuer::Mgpass, body.as_bytes()).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (1, 1));
}

#[test]
fn keys_that_share_a_name_are_all_left_out() {
    let named = |algorithm, kid: &str| {
        let mut jwk = jwk(algorithm);
        jwk["kid"] = json!(kid);
        jwk
    };
    let set = parse_set(&[
        named("ES256", "a"),
        named("RS256", "a"),
        named("ES384", "b"),
    ])
    .unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.find(&KeyId::new("a").unwrap()), None);
    assert!(
        set.skipped()
            .iter()
            .all(|key| key.fault.code() == "key_ambiguous_kid")
    );
    assert_eq!(set.skipped().len(), 2);
    // The same key twice is one key; a name shared with an unusable key is not ambiguous.
    let set = parse_set(&[named("ES256", "a"), named("ES256", "a")]).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (1, 0));
    let set = parse_set(&[named("ES256", "a"), json!({"kty": "oct", "kid": "a"})]).unwrap();
    assert!(set.find(&KeyId::new("a").unwrap()).is_some());
}

#[track_caller]
fn check_set(body: &str, expected: &str) {
    let found = KeySet::parse(Issuer::Logto, body.as_bytes());
    assert_eq!(
        found.map_err(|failure| failure.code()).err(),
        Some(expected),
        "{body:.60}"
    );
}

#[test]
fn an_answer_that_is_no_key_set_fails_by_name() {
    check_set("<!doctype html><html></html>", "key_set_markup");
    check_set(" \r\n<?xml version=\"1.0\"?>", "key_set_markup");
    check_set("", "key_set_not_json");
    check_set("Bad gateway", "key_set_not_json");
    check_set("[]", "key_set_not_json");
    check_set("{\"keys\":[]}x", "key_set_not_json");
    check_set("\u{feff}{\"keys\":[]}", "key_set_not_json");
    check_set(
        "{\"keys\":[],\"k\\u0065ys\":[]}",
        "key_set_duplicate_member",
    );
    check_set("{}", "key_set_no_keys");
    check_set("{\"error\":\"server_error\"}", "key_set_no_keys");
    check_set("{\"keys\":{}}", "key_set_no_keys");
    check_set("{\"keys\":null}", "key_set_no_keys");
    check_set("{\"keys\":[]}", "key_set_no_usable_key");
    check_set("{\"keys\":[{}]}", "key_set_no_usable_key");
}

#[test]
fn a_key_set_is_bounded_in_bytes_and_keys() {
    let good = jwk("ES256");
    let mut many = vec![json!({}); MAX_KEYS - 1];
    many.push(good.clone());
    assert!(parse_set(&many).is_ok());
    many.push(good.clone());
    assert_eq!(parse_set(&many), Err(KeySetFailure::TooManyKeys));
    let body = json!({ "keys": [good] }).to_string();
    let padded = |n_bytes: usize| format!("{body}{}", " ".repeat(n_bytes - body.len()));
    assert!(KeySet::parse(Issuer::Mgpass, padded(MAX_KEY_SET_BYTES).as_bytes()).is_ok());
    check_set(&padded(MAX_KEY_SET_BYTES + 1), "key_set_too_large");
}

#[test]
fn a_token_without_key_id_is_taken_only_where_there_is_nothing_to_choose() {
    let token = compact(&json!({"alg": "ES256"}), &claims(Issuer::Mgpass));
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    let select = |keys: &[Value]| token.select(&parse_set(keys).unwrap()).map(drop);
    assert_eq!(select(&[jwk("ES256")]), Ok(()));
    assert_eq!(select(&[jwk("ES256"), json!({"kty": "oct"})]), Ok(()));
    assert_eq!(select(&[jwk("ES384")]), Err(Refusal::AlgorithmNotOfKey));
    assert_eq!(
        select(&[jwk("ES256"), jwk("RS256")]),
        Err(Refusal::KeyIdMissing)
    );
}

#[test]
fn a_named_key_is_never_a_nameless_one() {
    let mut nameless = jwk("ES256");
    nameless.as_object_mut().unwrap().remove("kid");
    let header = json!({"alg": "ES256", "kid": key_id(Issuer::Mgpass)});
    let token = compact(&header, &claims(Issuer::Mgpass));
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    let set = parse_set(&[nameless]).unwrap();
    assert_eq!(token.select(&set).err(), Some(Refusal::UnknownKeyId));
}

#[test]
fn two_issuers_have_two_names() {
    assert_eq!(IssuerNames::new("", "b"), Err(IssuerNamesFault::Empty));
    assert_eq!(IssuerNames::new("a", ""), Err(IssuerNamesFault::Empty));
    assert_eq!(IssuerNames::new("a", "a"), Err(IssuerNamesFault::Same));
    assert!(IssuerNames::new("a", "a/").is_ok());
}
