//! What is refused whatever the signature says, from `tests/data/tokens/refused.json`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Issuer, NOW, Random, authenticate, claims, compact, compact_text, data, header, key_id, names,
};
use crate::policy::token::{KeyId, MAX_TOKEN_BYTES, Refusal, Validity, base64url, parse};

/// The token a case of the corpus describes.
fn build(case: &Value, good: &[String; 3]) -> String {
    let text = |name: &str| {
        case.get(name).map(|text| {
            text.as_str()
                .unwrap()
                .replace("$KID", &key_id(Issuer::Logto))
                .replace("$OTHER_KID", &key_id(Issuer::Mgpass))
                .replace("$H", &good[0])
                .replace("$C", &good[1])
                .replace("$S", &good[2])
        })
    };
    if let Some(compact) = text("compact") {
        return compact;
    }
    let part = |whole: &str, raw: &str, good: &str| {
        text(whole)
            .map(|text| base64url::encode(text.as_bytes()))
            .or_else(|| text(raw))
            .unwrap_or_else(|| good.to_owned())
    };
    let claims_part = match case.get("set") {
        Some(changes) => base64url::encode(changed(changes).as_bytes()),
        None => part("claims", "claims_part", &good[1]),
    };
    format!(
        "{}.{claims_part}.{}",
        part("header", "header_part", &good[0]),
        part("signature", "signature_part", &good[2]),
    )
}

/// The good claims with some replaced by a JSON text, which need not be JSON we could build.
fn changed(changes: &Value) -> String {
    let changes = changes.as_object().unwrap();
    let mut members: Vec<String> = Vec::new();
    for (name, value) in claims(Issuer::Logto).as_object().unwrap() {
        if !changes.contains_key(name) {
            members.push(format!("{name:?}:{value}"));
        }
    }
    for (name, text) in changes {
        match text.as_str().unwrap() {
            "" => {}
            text => members.push(format!("{name:?}:{text}")),
        }
    }
    format!("{{{}}}", members.join(","))
}

fn good_parts() -> [String; 3] {
    let token = compact(&header(Issuer::Logto), &claims(Issuer::Logto));
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

#[test]
fn the_token_that_the_corpus_starts_from_is_accepted() {
    for issuer in [Issuer::Logto, Issuer::Mgpass] {
        let token = compact(&header(issuer), &claims(issuer));
        let principal = authenticate(&token, Validity::Valid).unwrap();
        assert_eq!(principal.issuer, issuer);
        assert_eq!(
            authenticate(&token, Validity::Invalid),
            Err(Refusal::SignatureInvalid)
        );
    }
}

#[test]
fn every_case_of_the_corpus_is_refused_for_its_reason() {
    let good = good_parts();
    let mut codes = BTreeSet::new();
    let mut wrong = Vec::new();
    let corpus = data("refused.json");
    for case in corpus["cases"].as_array().unwrap() {
        let expected = case["code"].as_str().unwrap();
        let found = authenticate(&build(case, &good), Validity::Valid)
            .map_or_else(Refusal::code, |_| "accepted");
        if found != expected {
            wrong.push(format!("{}: {found}, not {expected}", case["name"]));
        }
        codes.insert(expected);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(codes.len() >= 60, "{} codes", codes.len());
}

#[track_caller]
fn check_accepted(header: &str, claims: &str) {
    let header = header.replace("$KID", &key_id(Issuer::Logto));
    let found = authenticate(&compact_text(&header, claims), Validity::Valid);
    assert!(found.is_ok(), "{header} {claims}: {found:?}");
}

#[test]
fn what_is_harmless_is_accepted() {
    let good = claims(Issuer::Logto).to_string();
    let changed = |name: &str, value: Value| {
        let mut claims = claims(Issuer::Logto);
        claims[name] = value;
        claims.to_string()
    };
    let head = r#"{"alg":"ES256","typ":"at+jwt","kid":"$KID"}"#;
    // An unknown member of the header, as RFC 7515 4 has it, and every spelling of the type.
    check_accepted(
        r#"{"alg":"ES256","typ":"at+jwt","kid":"$KID","x":[{}]}"#,
        &good,
    );
    check_accepted(r#"{"alg":"ES256","typ":"AT+JWT","kid":"$KID"}"#, &good);
    check_accepted(
        r#"{"alg":"ES256","typ":"application/at+jwt","kid":"$KID"}"#,
        &good,
    );
    // One escaped member is one member.
    check_accepted(
        r#"{"\u0061lg":"\u0045S256","typ":"at+jwt","kid":"$KID"}"#,
        &good,
    );
    check_accepted(
        "\n{ \"alg\":\"ES256\" ,\"typ\":\"at+jwt\",\"kid\":\"$KID\" }\t",
        &good,
    );
    check_accepted(head, &changed("nbf", json!(NOW.0)));
    check_accepted(head, &changed("sub", json!("a".repeat(255))));
    check_accepted(head, &changed("sub", json!("ümläut 🙂")));
    check_accepted(
        head,
        &changed("aud", json!(["x", "https://api.orders.example"])),
    );
    check_accepted(head, &changed("scope", json!("  write  read ")));
    check_accepted(head, &changed("roles", json!([null, 1.5, true, {"a": []}])));
    check_accepted(head, &changed("email", Value::Null));
    check_accepted(
        head,
        &changed("nonce", json!("custom claim of a typed token")),
    );
}

#[test]
fn a_token_of_the_largest_size_is_still_read() {
    let mut claims = claims(Issuer::Logto);
    claims["filler"] = json!("");
    let short = compact(&header(Issuer::Logto), &claims).len();
    // base64url writes three bytes as four characters.
    claims["filler"] = json!("a".repeat((MAX_TOKEN_BYTES - short) / 4 * 3));
    let token = compact(&header(Issuer::Logto), &claims);
    assert!((MAX_TOKEN_BYTES - 4..=MAX_TOKEN_BYTES).contains(&token.len()));
    assert!(authenticate(&token, Validity::Valid).is_ok());
}

#[test]
fn the_claimed_issuer_picks_the_partition_and_the_key_id_is_kept() {
    let token = compact(&header(Issuer::Mgpass), &claims(Issuer::Mgpass));
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    assert_eq!(token.issuer(), Issuer::Mgpass);
    assert_eq!(
        token.key_id().map(KeyId::as_str),
        Some(key_id(Issuer::Mgpass).as_str())
    );
}

#[test]
fn a_key_set_of_the_other_issuer_is_never_looked_into() {
    let token = compact(&header(Issuer::Mgpass), &claims(Issuer::Mgpass));
    let token = parse(&token).unwrap().partition(&names()).unwrap();
    let wrong = super::key_set(Issuer::Logto);
    assert_eq!(
        token.select(&wrong).err(),
        Some(Refusal::KeySetOfOtherIssuer)
    );
}

#[test]
fn nothing_of_a_token_is_printed() {
    let token = compact(&header(Issuer::Logto), &claims(Issuer::Logto));
    let unverified = parse(&token).unwrap();
    let printed = format!("{unverified:?}");
    let attributed = unverified.partition(&names()).unwrap();
    let set = super::key_set(Issuer::Logto);
    let check = format!("{:?}", attributed.select(&set).unwrap());
    let principal = format!("{:?}", authenticate(&token, Validity::Valid).unwrap());
    for text in [printed, check, principal] {
        assert!(!text.contains("aizic3ag0os9"), "{text}");
        assert!(!text.contains("eyJ"), "{text}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let good = good_parts().join(".");
    let pieces = [
        ".",
        "..",
        "=",
        "-",
        "_",
        "A",
        "é",
        "\0",
        "\u{10ffff}",
        "eyJ",
        "fQ",
        "bnVsbA",
        "\u{feff}",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => drop(text.remove(at)),
                1 => text[at] = char::from(u8::try_from(random.below(128)).unwrap()),
                _ => drop(text.splice(at..at, random.pick(&pieces).chars())),
            }
        }
        let text: String = text.into_iter().collect();
        // The crypto says yes to everything, so whatever is accepted has good claims and form.
        if let Ok(token) = parse(&text) {
            let _ = token.partition(&names());
        }
    }
}

#[test]
fn no_json_makes_the_parser_panic() {
    let header = base64url::encode(header(Issuer::Logto).to_string().as_bytes());
    let good = claims(Issuer::Logto).to_string().into_bytes();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = random.next().to_le_bytes()[0],
                _ => bytes.insert(at, *random.pick(b"{}[]\",:\\u0e-9 nt")),
            }
        }
        let claims = base64url::encode(&bytes);
        let token = format!("{header}.{claims}.{}", base64url::encode(&[1; 64]));
        if let Ok(token) = parse(&token) {
            let _ = token.partition(&names());
        }
    }
}
