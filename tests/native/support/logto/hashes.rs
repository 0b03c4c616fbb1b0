//! The ways in which Logto keeps a password (contract 8): what it hashes itself, and what
//! was imported.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use dual_write_proxy::runtime::digest;
use md5::{Digest, Md5};
use pbkdf2::pbkdf2_hmac;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Argon2i,
    Argon2id,
    Argon2d,
    Sha1,
    Sha256,
    Md5,
    Bcrypt,
    /// `["md5", ["salt", "@"], hex]`
    LegacyDigest,
    /// `["pbkdf2", [salt, iterations, keylen, digest, "@"], hex]`
    LegacyPbkdf2,
}

pub const METHODS: [Method; 9] = [
    Method::Argon2i,
    Method::Argon2id,
    Method::Argon2d,
    Method::Sha1,
    Method::Sha256,
    Method::Md5,
    Method::Bcrypt,
    Method::LegacyDigest,
    Method::LegacyPbkdf2,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub method: Method,
    pub digest: String,
}

impl Stored {
    /// The cheapest that each takes: nobody's real one is among them.
    pub fn of(method: Method, password: &str) -> Self {
        let digest = match method {
            Method::Argon2i => argon(Algorithm::Argon2i, password),
            Method::Argon2id => argon(Algorithm::Argon2id, password),
            Method::Argon2d => argon(Algorithm::Argon2d, password),
            Method::Sha1 => hex::encode(Sha1::digest(password)),
            Method::Sha256 => hex::encode(Sha256::digest(password)),
            Method::Md5 => hex::encode(Md5::digest(password)),
            Method::Bcrypt => bcrypt::hash_with_salt(password, 4, [7; 16])
                .unwrap()
                .to_string(),
            Method::LegacyDigest => {
                let hash = hex::encode(Md5::digest(format!("salt{password}")));
                json!(["md5", ["salt", "@"], hash]).to_string()
            }
            Method::LegacyPbkdf2 => {
                let hash = derived(password, "salt", 2, 32);
                json!(["pbkdf2", ["salt", 2, 32, "sha256", "@"], hash]).to_string()
            }
        };
        Self { method, digest }
    }

    pub fn check(&mut self, given: &str) -> bool {
        let is_right = match self.method {
            Method::Argon2i | Method::Argon2id | Method::Argon2d => {
                let parsed = PasswordHash::new(&self.digest).unwrap();
                Argon2::default()
                    .verify_password(given.as_bytes(), &parsed)
                    .is_ok()
            }
            Method::Sha1 => hex::encode(Sha1::digest(given)) == self.digest,
            Method::Sha256 => hex::encode(Sha256::digest(given)) == self.digest,
            Method::Md5 => hex::encode(Md5::digest(given)) == self.digest,
            // Looks at 72 bytes and no more.
            Method::Bcrypt => bcrypt::verify(given, &self.digest).unwrap_or(false),
            Method::LegacyDigest | Method::LegacyPbkdf2 => self.legacy(given),
        };
        if is_right && self.method != Method::Argon2i {
            *self = Self::of(Method::Argon2i, given);
        }
        is_right
    }

    fn legacy(&self, given: &str) -> bool {
        let legacy: Value = serde_json::from_str(&self.digest).unwrap();
        let args = legacy[1].as_array().unwrap();
        let hash = match legacy[0].as_str() {
            Some("pbkdf2") => {
                let salt = args[0].as_str().unwrap();
                let number = |index: usize| args[index].as_u64().unwrap();
                derived(given, salt, number(1) as u32, number(2) as usize)
            }
            _ => {
                let joined: String = args
                    .iter()
                    .map(|part| match part.as_str().unwrap() {
                        "@" => given,
                        part => part,
                    })
                    .collect();
                hex::encode(Md5::digest(joined))
            }
        };
        legacy[2] == hash
    }
}

fn argon(algorithm: Algorithm, password: &str) -> String {
    let params = Params::new(8, 1, 1, Some(32)).unwrap();
    let salt = SaltString::encode_b64(digest::digest("salt").as_bytes()[..16].into()).unwrap();
    Argon2::new(algorithm, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .unwrap()
        .to_string()
}

fn derived(password: &str, salt: &str, rounds: u32, n_bytes: usize) -> String {
    let mut key = vec![0; n_bytes];
    pbkdf2_hmac::<Sha256>(password.as_bytes(), salt.as_bytes(), rounds, &mut key);
    hex::encode(key)
}
