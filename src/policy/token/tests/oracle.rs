//! Real signatures, checked by `jsonwebtoken`, and our claims policy beside its own. ES512 is in
//! the data but not in that crate; its tokens are followed up to the signature here.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey, Validation, crypto};
use serde_json::{Value, json};

use super::{
    HOUR, Issuer, LOGTO, NOW, Random, audiences, base64url, claims, compact, data, header, key_set,
    names, policy,
};
use crate::policy::token::{
    Algorithm, IssuerNames, KeySet, Policy, Principal, Refusal, SignatureCheck, Skew, TokenType,
    UnixSeconds, Validity, parse,
};

fn verify(check: &SignatureCheck<'_>) -> Option<Validity> {
    let algorithm = match check.algorithm() {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::Es512 => return None,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
    };
    let jwk: Jwk = serde_json::from_str(check.key().public_jwk()).unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let signature = base64url::encode(check.signature());
    let valid = crypto::verify(&signature, check.signing_input(), &key, algorithm);
    Some(valid.unwrap_or(false).into())
}

/// The whole way, with real crypto where there is one.
fn authenticate(
    token: &str,
    names: &IssuerNames,
    set: &dyn Fn(Issuer) -> KeySet,
    policy: &dyn Fn(Issuer) -> Policy<'static>,
    now: UnixSeconds,
) -> Result<Principal, Refusal> {
    let token = parse(token)?.partition(names)?;
    let issuer = token.issuer();
    let set = set(issuer);
    let check = token.select(&set)?;
    let verdict = verify(&check).unwrap_or(Validity::Valid);
    check.conclude(verdict)?.validate(&policy(issuer), now)
}

fn static_policy(issuer: Issuer) -> Policy<'static> {
    let mut policy = policy(issuer, audiences().leak());
    policy.required_scope = None;
    // As Logto judges its own tokens: no tolerance at all.
    policy.skew = Skew::NONE;
    policy
}

#[track_caller]
fn check_recorded(file: &str, algorithm: Algorithm) {
    let recorded = data(file);
    let issuer: &'static str = recorded["issuer"].as_str().unwrap().to_owned().leak();
    let names = IssuerNames::new(issuer, super::MGPASS).unwrap();
    let body = recorded["key_set"].to_string();
    let set = KeySet::parse(Issuer::Logto, body.as_bytes()).unwrap();
    assert_eq!(set.skipped(), []);
    let compact = recorded["access_token"].as_str().unwrap();

    let token = parse(compact).unwrap().partition(&names).unwrap();
    assert_eq!(token.issuer(), Issuer::Logto);
    let check = token.select(&set).unwrap();
    assert_eq!(check.algorithm(), algorithm);
    assert_eq!(
        check.key().key_id().unwrap().as_str(),
        recorded["header"]["kid"].as_str().unwrap()
    );
    assert_eq!(verify(&check), Some(Validity::Valid));

    let signed = check.conclude(Validity::Valid).unwrap();
    let audiences = [recorded["claims"]["aud"].as_str().unwrap().to_owned()];
    let policy = Policy {
        issuer,
        audiences: &audiences,
        token_type: TokenType::TypedAccessToken,
        required_scope: Some("all"),
        skew: Skew::default(),
        max_lifetime_s: Some(HOUR),
    };
    let iat = recorded["claims"]["iat"].as_i64().unwrap();
    let principal = signed.validate(&policy, UnixSeconds(iat + 5)).unwrap();
    assert_eq!(
        principal.subject.as_str(),
        recorded["claims"]["sub"].as_str().unwrap()
    );
    // Logto's key ids are thumbprints.
    for key in set.keys() {
        let jwk: Jwk = serde_json::from_str(key.thumbprint_input()).unwrap();
        let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
        assert_eq!(thumbprint.unwrap(), key.key_id().unwrap().as_str());
    }
}

#[test]
fn a_recorded_es384_token_of_logto_verifies() {
    check_recorded("logto-es384.json", Algorithm::Es384);
}

#[test]
fn a_recorded_rs256_token_of_logto_verifies() {
    check_recorded("logto-rs256.json", Algorithm::Rs256);
}

#[test]
fn tokens_made_by_other_software_are_accepted_over_all_algorithms() {
    let made = data("jose.json");
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for token in made["tokens"].as_array().unwrap() {
        let jwt = token["jwt"].as_str().unwrap();
        let found = authenticate(jwt, &names(), &key_set, &static_policy, NOW);
        assert!(found.is_ok(), "{}: {found:?}", token["name"]);
        *tried
            .entry(token["alg"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(tried.len(), Algorithm::ALL.len(), "{tried:?}");
}

#[test]
fn signed_attacks_are_refused_for_their_reason() {
    let made = data("jose.json");
    for attack in made["refused"].as_array().unwrap() {
        let jwt = attack["jwt"].as_str().unwrap();
        let found = authenticate(jwt, &names(), &key_set, &static_policy, NOW);
        assert_eq!(
            found.map(drop).map_err(Refusal::code),
            Err(attack["code"].as_str().unwrap()),
            "{}",
            attack["name"]
        );
    }
}

#[test]
fn no_changed_bit_leaves_a_signature_valid() {
    let made = data("jose.json");
    let mut random = Random(0xdead_beef_cafe_f00d);
    let tokens = made["tokens"].as_array().unwrap();
    for token in tokens.iter().filter(|token| token["alg"] != "ES512") {
        let jwt = token["jwt"].as_str().unwrap().as_bytes();
        for _ in 0..4 {
            let mut bytes = jwt.to_vec();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(7);
            let text = String::from_utf8(bytes).unwrap();
            let found = authenticate(&text, &names(), &key_set, &static_policy, NOW);
            assert!(found.is_err(), "{}: byte {at}", token["name"]);
        }
    }
}

/// One value for a claim, as JSON text; the empty text leaves the claim out.
fn random_value(random: &mut Random, name: &str, now: i64) -> String {
    // Further from every boundary than the test takes: the oracle reads a clock.
    let offsets = [-86_400, -3_600, -90, -30, 30, 90, 3_600, 86_400];
    let odd = [
        "", "", "null", "true", "\"1\"", "[]", "{}", "1.5", "-1", "1e30",
    ];
    let audience = "https://api.orders.example";
    match (name, random.below(10)) {
        (_, 0) => (*random.pick(&odd)).to_owned(),
        ("exp" | "nbf" | "iat", _) => (now + random.pick(&offsets)).to_string(),
        ("iss" | "aud", 1) => json!("https://evil.example").to_string(),
        ("iss", 2) => json!([LOGTO]).to_string(),
        ("iss", _) => json!(LOGTO).to_string(),
        ("aud", 2) => json!(["a", audience]).to_string(),
        ("aud", 3) => json!(["a", "b"]).to_string(),
        ("aud", 4) => json!([audience, 1]).to_string(),
        ("aud", _) => json!(audience).to_string(),
        _ => json!("aizic3ag0os9").to_string(),
    }
}

/// The refusals that only we make; all others must be the oracle's too.
const STRICTER: [&str; 12] = [
    "iss_malformed",
    "sub_malformed",
    "aud_malformed",
    "exp_malformed",
    "nbf_malformed",
    "iat_malformed",
    "iat_missing",
    "exp_not_after_iat",
    "issued_in_future",
    "lifetime_too_long",
    "sub_missing",
    "unknown_issuer",
];

/// A key of the oracle's own, which nothing of ours would take.
const ORACLE_SECRET: &[u8] = b"test-only secret of the oracle, never a key of ours";

/// What `jsonwebtoken` says to the same claims under the same policy.
fn oracle(claims: &Value) -> Result<(), String> {
    let algorithm = jsonwebtoken::Algorithm::HS256;
    let mut validation = Validation::new(algorithm);
    validation.validate_nbf = true;
    validation.leeway = 0;
    validation.set_issuer(&[LOGTO]);
    validation.set_audience(&audiences());
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let head = jsonwebtoken::Header::new(algorithm);
    let key = EncodingKey::from_secret(ORACLE_SECRET);
    let token = jsonwebtoken::encode(&head, claims, &key).unwrap();
    let key = DecodingKey::from_secret(ORACLE_SECRET);
    jsonwebtoken::decode::<Value>(&token, &key, &validation)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn real_now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}

#[test]
fn the_claims_policy_agrees_with_the_oracle_but_for_named_refusals() {
    let now = real_now();
    let logto = header(Issuer::Logto);
    let set = key_set(Issuer::Logto);
    let policy = static_policy(Issuer::Logto);
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut n_accepted = 0;
    let mut n_stricter = 0;
    for case in 0..20_000 {
        let mut members = vec![r#""client_id":"a","scope":"read""#.to_owned()];
        for name in ["iss", "sub", "aud", "exp", "iat", "nbf"] {
            let value = random_value(&mut random, name, now);
            // Mostly without `nbf`, so that enough is accepted.
            if !value.is_empty() && (name != "nbf" || random.below(2) == 0) {
                members.push(format!("{name:?}:{value}"));
            }
        }
        let text = format!("{{{}}}", members.join(","));
        let claims: Value = serde_json::from_str(&text).unwrap();
        let ours = compact(&logto, &claims);
        let ours = parse(&ours)
            .and_then(|token| token.partition(&names()))
            .and_then(|token| token.select(&set)?.conclude(Validity::Valid))
            .and_then(|signed| signed.validate(&policy, UnixSeconds(now)))
            .map(drop)
            .map_err(Refusal::code);
        match (ours, oracle(&claims)) {
            (Ok(()), Ok(())) => n_accepted += 1,
            (Ok(()), Err(error)) => panic!("case {case}, {text}: we accept, oracle: {error}"),
            (Err(code), Ok(())) => {
                assert!(STRICTER.contains(&code), "case {case}, {text}: {code}");
                n_stricter += 1;
            }
            (Err(_), Err(_)) => {}
        }
    }
    assert!(n_accepted > 500, "only {n_accepted} accepted by both");
    assert!(n_stricter > 100, "only {n_stricter} refused by us alone");
}

#[test]
fn where_the_oracle_is_lenient_we_are_not() {
    let now = real_now();
    let with = |name: &str, value: Value| {
        let mut claims = claims(Issuer::Logto);
        claims["iat"] = json!(now);
        claims["exp"] = json!(now + HOUR);
        claims[name] = value;
        claims
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let fraction = (now + HOUR) as f64 + 0.5;
    for (claims, code) in [
        (with("exp", json!(fraction)), "exp_malformed"),
        (with("iss", json!([LOGTO])), "iss_malformed"),
        (with("iat", json!("yesterday")), "iat_malformed"),
        (with("sub", json!("")), "sub_malformed"),
        (with("scope", json!(["read"])), "scope_malformed"),
    ] {
        let token = compact(&header(Issuer::Logto), &claims);
        assert_eq!(parse(&token).map_err(Refusal::code).err(), Some(code));
        assert_eq!(oracle(&claims), Ok(()), "{code}");
    }
}
