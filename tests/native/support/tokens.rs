//! Real signatures with keys that exist only here.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dual_write_proxy::policy::token::{Algorithm, SignatureCheck};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, crypto};
use serde_json::{Value, json};

pub const LOGTO_ISSUER: &str = "https://auth.example.test/oidc";
pub const MGPASS_ISSUER: &str = "https://mgpass.example.test";
pub const LOGTO_AUDIENCE: &str = "https://default.logto.app/api";
pub const MGPASS_AUDIENCE: &str = "app_console";

/// One signing key: PKCS #8 in base64, its public half, and its name.
pub struct SigningKey {
    pub kid: &'static str,
    algorithm: jsonwebtoken::Algorithm,
    curve: &'static str,
    x: &'static str,
    y: &'static str,
    pkcs8: &'static str,
}

pub const LOGTO_KEY: SigningKey = SigningKey {
    kid: "logto-1",
    algorithm: jsonwebtoken::Algorithm::ES384,
    curve: "P-384",
    x: "YW0ZZVyUyZ6yZkURNB_3zwrGruUdLeOdRm8a2v-CJ9EK3VJ2u8kESSess2PRxIb2",
    y: "jklp_LeEBEBypsTzngSRXU-mVGW-UWNTpJDEBHHlDB_djU053V4PwO2TREHgvl_s",
    pkcs8: "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCdN5WQihdMpR1X/CdBLnIYmpu/WFzrRYApaPP4crmy2zZz22WowuBQ3z5qYd8inlqhZANiAARhbRllXJTJnrJmRRE0H/fPCsau5R0t451Gbxra/4In0QrdUna7yQRJJ6yzY9HEhvaOSWn8t4QEQHKmxPOeBJFdT6ZUZb5RY1OkkMQEceUMH92NTTndXg/A7ZNEQeC+X+w=",
};

/// The key Logto rotates to.
pub const NEXT_LOGTO_KEY: SigningKey = SigningKey {
    kid: "logto-2",
    algorithm: jsonwebtoken::Algorithm::ES384,
    curve: "P-384",
    x: "rVrMWSyUZhIcOfs-bSIJgvVaA7WwU587EWheAxdFsJzXO0v7ewQ9YYyKq4asqi6a",
    y: "fztJo19tKDXr0W1LhxubCk0DypJbQ9-Ln7vgMo-5LLOOaIFdl2FgKma-hwPJjgc0",
    pkcs8: "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDD9DyUZEjne9bDa8BieobVLIV0IPyCdXPEhyVsHf3ktIkCwUS6GXrFMvnhJG0PffJKhZANiAAStWsxZLJRmEhw5+z5tIgmC9VoDtbBTnzsRaF4DF0WwnNc7S/t7BD1hjIqrhqyqLpp/O0mjX20oNevRbUuHG5sKTQPKkltD34ufu+Ayj7kss45ogV2XYWAqZr6HA8mOBzQ=",
};

pub const MGPASS_KEY: SigningKey = SigningKey {
    kid: "mgpass-1",
    algorithm: jsonwebtoken::Algorithm::ES256,
    curve: "P-256",
    x: "BeG3pXk3LL1VDr30dwLHr2NyqUjMc77D2E_iOoEgsYg",
    y: "hLnsvjZjRyTIHLrVXZfnLRq-zWeAH8iRgowgC1ONqRA",
    pkcs8: "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQqx8CrsbPMWYEwccwOS027vcgb9aFsqVzm6gQGdvIX2hRANCAAQF4beleTcsvVUOvfR3AsevY3KpSMxzvsPYT+I6gSCxiIS57L42Y0ckyBy61V2X5y0avs1ngB/IkYKMIAtTjakQ",
};

impl SigningKey {
    /// The same key under another name.
    pub fn named(&self, kid: &'static str) -> Self {
        Self { kid, ..*self }
    }

    pub fn jwk(&self) -> Value {
        json!({ "kty": "EC", "use": "sig", "kid": self.kid, "crv": self.curve, "x": self.x, "y": self.y })
    }

    pub fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        static SIGNED: Memory<String> = Memory::new();
        let what = format!("{} {} {typ:?} {claims}", self.kid, self.x);
        SIGNED.recall(what, || self.sign_anew(typ, claims))
    }

    fn sign_anew(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        header.typ = typ.map(str::to_owned);
        let der = STANDARD.decode(self.pkcs8).unwrap();
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&der)).unwrap()
    }

    /// An access token of Logto's Management API.
    pub fn logto_token(&self, now_ms: i64) -> String {
        self.sign(Some("at+jwt"), &logto_claims(now_ms))
    }

    pub fn mgpass_token(&self, now_ms: i64) -> String {
        self.sign(None, &mgpass_claims(now_ms))
    }
}

pub fn logto_claims(now_ms: i64) -> Value {
    let now = now_ms / 1_000;
    json!({ "iss": LOGTO_ISSUER, "sub": "adminclient", "aud": LOGTO_AUDIENCE, "scope": "all",
        "client_id": "adminclient", "jti": "jti-1", "iat": now, "exp": now + 3_600 })
}

pub fn mgpass_claims(now_ms: i64) -> Value {
    let now = now_ms / 1_000;
    json!({ "iss": MGPASS_ISSUER, "sub": "adminuser", "aud": MGPASS_AUDIENCE,
        "scope": "openid mgpass:admin", "iat": now, "exp": now + 3_600 })
}

pub fn key_set(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// What the operator's import writes into the namespace `KEYS`.
pub fn imported(key: &SigningKey, stopped_at_s: Option<i64>, sunset_s: i64) -> String {
    json!({ "issuer": LOGTO_ISSUER, "stopped_issuing_at": stopped_at_s, "max_lifetime_s": 3_600,
        "sunset": sunset_s, "keys": [key.jwk()] })
    .to_string()
}

/// What was computed once in this process: elliptic curves are slow without
/// optimisation, and their signatures are deterministic here (RFC 6979).
struct Memory<T>(Mutex<BTreeMap<String, T>>);

impl<T: Clone> Memory<T> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn recall(&self, what: String, compute: impl FnOnce() -> T) -> T {
        if let Some(known) = self.0.lock().unwrap().get(&what) {
            return known.clone();
        }
        let computed = compute();
        self.0.lock().unwrap().insert(what, computed.clone());
        computed
    }
}

/// As the runtime's SubtleCrypto answers.
pub fn verify(check: &SignatureCheck<'_>) -> bool {
    static VERIFIED: Memory<bool> = Memory::new();
    let input = String::from_utf8_lossy(check.signing_input());
    let signature = URL_SAFE_NO_PAD.encode(check.signature());
    let what = format!("{} {input} {signature}", check.key().public_jwk());
    VERIFIED.recall(what, || verify_anew(check))
}

fn verify_anew(check: &SignatureCheck<'_>) -> bool {
    let algorithm = match check.algorithm() {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es512 => return false,
    };
    let jwk: Jwk = serde_json::from_str(check.key().public_jwk()).unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(check.signature());
    crypto::verify(&signature, check.signing_input(), &key, algorithm).unwrap_or(false)
}
