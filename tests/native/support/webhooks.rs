//! Logto's webhooks: what it tells of a write, and how it signs that (contract
//! section 7). Identities and sign-in times are changed without a word.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Request;
use super::logto::Logto;

pub const SECRET: &str = "webhook-s3cret";

/// HMAC-SHA256 in lower-case hex.
pub fn sign(body: &str) -> String {
    let block = |pad: u8| {
        let mut block = [pad; 64];
        for (slot, byte) in block.iter_mut().zip(SECRET.bytes()) {
            *slot ^= byte;
        }
        block
    };
    let inner = Sha256::new()
        .chain_update(block(0x36))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Logto sends it to the proxy.
pub fn delivery(told: &Value) -> Request {
    let body = told.to_string();
    Request::new("POST", "/_proxy/hooks/logto")
        .header("logto-signature-sha-256", &sign(&body))
        .json(&body)
}

impl Logto {
    /// From the Management API: `data` is the answer's body, which for a part of a
    /// user has no id.
    pub(super) fn tell(&self, event: &str, id: &str, data: &str) {
        self.note(|| {
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            json!({ "event": event, "params": { "userId": id }, "data": data })
        });
    }

    /// From an interaction.
    pub(super) fn tell_of_interaction(&self, event: &str, id: &str, uid: &str) {
        self.note(|| match event {
            "User.Created" => json!({ "event": event, "sessionId": uid, "data": { "id": id } }),
            _ => json!({ "event": event, "sessionId": uid, "userId": id }),
        });
    }

    fn note(&self, told: impl FnOnce() -> Value) {
        if let Some(list) = &mut *self.told.borrow_mut() {
            list.push(told());
        }
    }
}
