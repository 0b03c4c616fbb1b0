//! Logto's webhooks at `/_proxy/hooks/logto`: at most once, unordered and silent
//! about several changes, so a help and never the base.
//!
//! What is believed of one is who it concerns, the interaction it came from, and
//! that a user was deleted; everything else is read from Logto by the reconcile.
//! Signed by HMAC-SHA256 over the raw bytes (contract section 7). There is no time
//! in it: a replayed one is one reconcile more, and a replayed deletion still needs
//! Logto's own 404.

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::inbound::request::{InteractionUid, Secret, UserId};
use crate::mirror::triggers::Trigger;
use crate::mirror::{outbox, relay, wake};
use crate::runtime::context::Request;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{BodyFailure, Exchange, Platform, Store};

pub const PATH: &str = "hooks/logto";
const SIGNATURE: &str = "logto-signature-sha-256";
/// Logto sends whole users, and those take 1 MB at most.
const MAX_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Taken,
    /// No secret is set: there is no such route.
    Closed,
    /// The body was not had whole.
    Unread(BodyFailure),
    BadSignature,
    /// Neither database nor Queue took it.
    NotRecorded,
}

pub async fn receive<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Received {
    let Some(secret) = &request.settings.webhook_secret else {
        return Received::Closed;
    };
    if let Err(failure) = exchange.hold_body(MAX_BYTES).await {
        return Received::Unread(failure);
    }
    // Valid UTF-8 is the same bytes again; anything else is not Logto's.
    let body = exchange.held_text().unwrap_or_default();
    let signature = exchange.header(SIGNATURE).unwrap_or_default();
    if !is_signed(secret, body.as_bytes(), &signature) {
        platform.emit(&Event::HookRefused { code: "signature" });
        return Received::BadSignature;
    }
    let Some(event) = parse(&body) else {
        // Roles, organisations and the like: of no user.
        platform.emit(&Event::HookReceived {
            outcome: "of_no_user",
        });
        return Received::Taken;
    };
    record(platform, &event).await
}

async fn record<P: Platform>(platform: &P, event: &HookEvent) -> Received {
    let trigger = if event.is_deletion {
        Trigger::WebhookDeletion
    } else {
        Trigger::Webhook
    };
    let (intent, status) = trigger.intent(&event.subject, platform.random_u64());
    let subject = std::slice::from_ref(&event.subject);
    let mut statements = trigger.each(subject);
    if let Some(interaction) = &event.interaction {
        statements.extend(outbox::learn(interaction, &event.subject));
    }
    statements.push(wake::all(subject));
    let outcome = match platform.batch(Store::Proxy, statements).await {
        Ok(results) => {
            relay::send_wakes(platform, &wake::parse(&results)).await;
            "recorded"
        }
        Err(_) => {
            let intent = (&intent).into();
            match platform.send(&Message::Settle { intent, status }, 0).await {
                Ok(()) => "queued",
                Err(_) => "lost",
            }
        }
    };
    platform.emit(&Event::HookReceived { outcome });
    match outcome {
        "lost" => Received::NotRecorded,
        _ => Received::Taken,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HookEvent {
    subject: UserId,
    interaction: Option<InteractionUid>,
    is_deletion: bool,
}

fn parse(body: &str) -> Option<HookEvent> {
    let value: Value = serde_json::from_str(body).ok()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let event = text(value.get("event"))?;
    let is_data = event.starts_with("User.");
    if !is_data && !event.starts_with("Post") {
        return None;
    }
    let of_data = || text(value.pointer("/data/id"));
    // `data` is the answer's body: of `/custom-data` and `/profile` it is no user.
    let subject = text(value.get("userId"))
        .or_else(|| text(value.pointer("/params/userId")))
        .or_else(|| if is_data { of_data() } else { None })?;
    Some(HookEvent {
        subject: UserId::parse(&subject)?,
        interaction: text(value.get("sessionId")).and_then(|uid| InteractionUid::parse(&uid)),
        is_deletion: event == "User.Deleted",
    })
}

/// By HMAC-SHA256, in hexadecimal; compared in a time that tells nothing.
fn is_signed(secret: &Secret<String>, body: &[u8], signature: &str) -> bool {
    let (Ok(signature), Ok(mac)) = (
        hex::decode(signature),
        Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()),
    ) else {
        return false;
    };
    mac.chain_update(body).verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2.
        let secret = |text: &str| Secret(text.to_owned());
        let body = b"what do ya want for nothing?";
        let good = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(is_signed(&secret("Jefe"), body, good));
        assert!(!is_signed(&secret("Jefe"), body, &good[..63]));
        assert!(!is_signed(&secret("jefe"), body, good));
        assert!(!is_signed(&secret("Jefe"), b"", good));
        assert!(!is_signed(&secret("Jefe"), body, ""));
        assert!(!is_signed(&secret("Jefe"), body, &good.replace('5', "x")));
    }

    #[test]
    fn each_kind_names_its_user() {
        let subject = |body: &str| parse(body).map(|event| event.subject.to_string());
        let created = r#"{"event":"User.Created","sessionId":"uid1","data":{"id":"u1"}}"#;
        assert_eq!(subject(created).as_deref(), Some("u1"));
        let event = parse(created).unwrap();
        assert_eq!(event.interaction, InteractionUid::parse("uid1"));
        let merged = r#"{"event":"User.Data.Updated","params":{"userId":"u2"},"data":{"id":"x"}}"#;
        assert_eq!(subject(merged).as_deref(), Some("u2"));
        let register =
            r#"{"event":"PostRegister","sessionId":"s","userId":"u3","user":{"id":"u3"}}"#;
        assert_eq!(subject(register).as_deref(), Some("u3"));
        let deleted = r#"{"event":"User.Deleted","params":{"userId":"u4"},"data":null}"#;
        assert!(parse(deleted).unwrap().is_deletion);
        for of_no_user in ["", "[]", r#"{"event":"Role.Created","data":{"id":"r1"}}"#] {
            assert_eq!(subject(of_no_user), None);
        }
    }
}
