//! Every form a private key comes in, against keys and ids made by other software.

use serde_json::{Value, json};

use super::{Bounds, ExportFailure, KeyFault, private_pem, read_export, stored_value};
use dual_write_proxy::policy::token::{ImportedKeys, IssuerNames};

const ISSUER: &str = "https://auth.old.example/oidc";

fn data() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/keys/private.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn pem(index: usize) -> String {
    data()["keys"][index]["pem"].as_str().unwrap().to_owned()
}

/// As Logto stores it.
fn row(pems: &[String]) -> String {
    let statuses = ["Current", "Next", "Previous"];
    let entries: Vec<Value> = pems
        .iter()
        .zip(statuses)
        .map(|(pem, status)| json!({ "id": "5SX83Dvw5U63rZr6xs5Nk", "value": pem, "createdAt": 1_788_249_600, "status": status }))
        .collect();
    json!(entries).to_string()
}

#[test]
fn each_form_gives_the_same_key_as_other_software() {
    for case in data()["keys"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let keys = read_export(case["pem"].as_str().unwrap()).unwrap();
        assert_eq!(keys.len(), 1, "{name}");
        let key = &keys[0].key;
        assert_eq!(key.kid(), case["kid"].as_str().unwrap(), "{name}");
        for (member, value) in case["jwk"].as_object().unwrap() {
            assert_eq!(&key.jwk()[member], value, "{name}: {member}");
        }
        assert_eq!(key.jwk().as_object().unwrap().get("d"), None);
        // What mgPass is given is one key in one form, whatever form it came in.
        let again = read_export(&private_pem(&keys).0).unwrap();
        assert_eq!(again[0].key.kid(), key.kid(), "{name}");
        assert!(key.pem().0.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }
}

#[test]
fn pkcs8_is_byte_for_byte_what_other_software_writes() {
    for case in data()["keys"].as_array().unwrap() {
        let keys = read_export(case["pem"].as_str().unwrap()).unwrap();
        assert_eq!(
            keys[0].key.pem().0,
            case["pkcs8"].as_str().unwrap(),
            "{}",
            case["name"]
        );
    }
}

#[test]
fn logtos_own_output_is_read_with_and_without_colours() {
    let list = row(&[pem(1), pem(5)]);
    let kids = |text: &str| -> Vec<String> {
        let keys = read_export(text).unwrap();
        keys.iter().map(|key| key.key.kid().to_owned()).collect()
    };
    let expected = kids(&list);
    for text in [
        format!("oidc.privateKeys={list}\n"),
        format!("\u{1b}[35moidc.privateKeys\u{1b}[39m={list}\n"),
        format!("\u{1b}[35moidc.privateKeys=\u{1b}[39m\u{1b}[0;1m{list}\u{1b}[0m\r\n"),
        format!("some warning\noidc.privateKeys={list}"),
        json!([pem(1), pem(5)]).to_string(),
        format!("{}\n\n{}", pem(1), pem(5)),
        format!(
            "Bag Attributes\n{}{}",
            pem(0).replace(&pem(0), &pem(1)),
            pem(5)
        ),
    ] {
        assert_eq!(kids(&text), expected);
    }
    let first = &read_export(&list).unwrap()[0];
    assert_eq!(first.status.as_deref(), Some("Current"));
    assert_eq!(first.created_at, Some(1_788_249_600));
}

#[test]
fn a_key_that_cannot_be_read_fails_the_whole_import_and_is_not_repeated() {
    for case in data()["refused"].as_array().unwrap() {
        let text = case["pem"].as_str().unwrap();
        let failure = read_export(&row(&[pem(1), text.to_owned()])).unwrap_err();
        let expected = case["fault"].as_str().unwrap();
        assert_eq!(
            failure.to_string(),
            format!("key 2: {expected}"),
            "{}",
            case["name"]
        );
    }
    let check = |text: &str, expected: ExportFailure| {
        assert_eq!(read_export(text).unwrap_err(), expected, "{text}");
    };
    check("", ExportFailure::NothingFound);
    check("[]", ExportFailure::NothingFound);
    check("oidc.privateKeys=null", ExportFailure::NothingFound);
    check("[1", ExportFailure::NotJson);
    check("[] []", ExportFailure::NotJson);
    check("[1]", ExportFailure::NoValue(1));
    check(r#"[{"id":"x"}]"#, ExportFailure::NoValue(1));
    check(r#"["secret"]"#, ExportFailure::Key(1, KeyFault::NotPem));
    check(
        "-----BEGIN PRIVATE KEY-----\nAA==",
        ExportFailure::Unterminated,
    );
    check(
        &row(&[
            pem(0).split_off(pem(0).find("-----BEGIN EC PRIVATE").unwrap()),
            pem(0).split_off(pem(0).find("-----BEGIN EC PRIVATE").unwrap()),
        ]),
        ExportFailure::Twice(1, 2),
    );
}

#[test]
fn the_stored_value_is_what_the_edge_reads() {
    let keys = read_export(&row(&[pem(1), pem(5)])).unwrap();
    let bounds = Bounds {
        stopped_issuing_at: Some(1_790_000_000),
        max_lifetime_s: 3_600,
        sunset: 1_800_000_000,
    };
    let names = IssuerNames::new(ISSUER, "https://auth.new.example").unwrap();
    let value = stored_value(ISSUER, bounds, &keys);
    let imported = ImportedKeys::parse(value.as_bytes(), &names).unwrap();
    assert_eq!(imported.set().keys().len(), 2);
    assert_eq!(imported.bounds().max_lifetime_s, 3_600);
    assert!(!value.contains("PRIVATE") && !value.contains("\"d\""));
    let not_yet = Bounds {
        stopped_issuing_at: None,
        ..bounds
    };
    let value = stored_value(ISSUER, not_yet, &keys);
    assert!(ImportedKeys::parse(value.as_bytes(), &names).is_ok());
}

#[test]
fn a_private_key_does_not_print() {
    let keys = read_export(&pem(1)).unwrap();
    let printed = format!("{keys:?} {:?}", private_pem(&keys));
    assert!(!printed.contains("BEGIN"), "{printed}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let good = format!("oidc.privateKeys={}", row(&[pem(1), pem(4)]));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % end as u64).unwrap()
    };
    for _ in 0..2_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = b"{}[]\",:\\-A=\n\x1b"[next(13)],
                _ => bytes.truncate(at.max(8)),
            }
        }
        let _ = read_export(&String::from_utf8_lossy(&bytes));
    }
}
