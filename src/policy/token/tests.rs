//! Tests of the whole way from text to principal, in families: form (the corpus of refused
//! tokens), policy (claims and time), keys (key sets), imported (keys with bounds), live (fetching),
//! oracle (real signatures, and claims compared with `jsonwebtoken`).

mod acceptance;
mod form;
mod imported;
mod keys;
mod live;
mod oracle;

use serde_json::{Value, json};

use super::{
    Issuer, IssuerNames, KeySet, Policy, Principal, Refusal, Skew, UnixSeconds, Validity,
    base64url, parse,
};

const LOGTO: &str = "https://auth.old.example/oidc";
const MGPASS: &str = "https://auth.new.example";
const NOW: UnixSeconds = UnixSeconds(1_790_000_010);
const HOUR: i64 = 3600;

fn data(file: &str) -> Value {
    let path = format!("{}/tests/data/tokens/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn names() -> IssuerNames {
    IssuerNames::new(LOGTO, MGPASS).unwrap()
}

fn key_set(issuer: Issuer) -> KeySet {
    let member = match issuer {
        Issuer::Logto => "logto",
        Issuer::Mgpass => "mgpass",
    };
    let body = data("jose.json")["key_sets"][member].to_string();
    let set = KeySet::parse(issuer, body.as_bytes()).unwrap();
    assert_eq!(set.skipped(), []);
    set
}

/// The name of the issuer's ES256 key.
fn key_id(issuer: Issuer) -> String {
    let set = key_set(issuer);
    let key = set
        .keys()
        .iter()
        .find(|key| key.algorithm().name() == "ES256");
    key.unwrap().key_id().unwrap().as_str().to_owned()
}

fn header(issuer: Issuer) -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": key_id(issuer)})
}

fn claims(issuer: Issuer) -> Value {
    let (iat, exp) = (NOW.0 - 10, NOW.0 - 10 + HOUR);
    match issuer {
        Issuer::Logto => json!({
            "jti": "z-WolEvWPOOiR2o4vIiFV", "sub": "aizic3ag0os9", "iat": iat, "exp": exp,
            "scope": "read write", "client_id": "96vj6wgs7bj7w7zo2ibkt", "iss": LOGTO,
            "aud": "https://api.orders.example",
        }),
        Issuer::Mgpass => json!({
            "jti": "tok_5f1c", "sub": "usr_k3v9d2", "iat": iat, "exp": exp,
            "scope": "openid profile read", "iss": MGPASS, "aud": "app_newsroom",
        }),
    }
}

/// A token whose signature has the right form and nothing more.
fn compact(header: &Value, claims: &Value) -> String {
    compact_text(&header.to_string(), &claims.to_string())
}

fn compact_text(header: &str, claims: &str) -> String {
    format!(
        "{}.{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(claims.as_bytes()),
        base64url::encode(&[1; 64]),
    )
}

fn audiences() -> Vec<String> {
    vec![
        "https://api.orders.example".to_owned(),
        "app_newsroom".to_owned(),
    ]
}

fn policy(issuer: Issuer, audiences: &[String]) -> Policy<'_> {
    Policy {
        issuer: match issuer {
            Issuer::Logto => LOGTO,
            Issuer::Mgpass => MGPASS,
        },
        audiences,
        token_type: issuer.access_token_type(),
        required_scope: Some("read"),
        skew: Skew::default(),
        max_lifetime_s: Some(24 * HOUR),
    }
}

/// The whole way, with the crypto answering `verdict`.
fn authenticate(token: &str, verdict: Validity) -> Result<Principal, Refusal> {
    let token = parse(token)?.partition(&names())?;
    let issuer = token.issuer();
    let set = key_set(issuer);
    let signed = token.select(&set)?.conclude(verdict)?;
    signed.validate(&policy(issuer, &audiences()), NOW)
}

/// Marsaglia's xorshift64, so that a failing case can be had again from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }
}
