//! mgPass's webhooks at `/_proxy/hooks/mgpass`: at least once, unordered, and silent about
//! changes of a profile; so a help and never the base.
//!
//! While Logto is the authority one that tells of a user's row is a hint to look at that
//! user: the reconcile finds what was changed at mgPass, by its audit log, and decides as
//! ever. It says nothing else that is believed. Signed by HMAC-SHA256 over the raw bytes,
//! with no time in it: one that is replayed is a look more.
//!
//! ASSUMPTION (docs/assumptions.md, 36): which applications receive the events of all users
//! is not documented, nor is any header but the signature.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::inbound::request::UserId;
use crate::mirror::outbox::Intent;
use crate::mirror::triggers::Trigger;
use crate::mirror::webhook::{Received, is_signed};
use crate::mirror::{receipts, relay, wake};
use crate::runtime::context::Request;
use crate::runtime::digest::digest;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Backend, Exchange, Platform, Statement, Store};

pub const PATH: &str = "hooks/mgpass";
/// All guides name the first, mgPass's own specification the second (contract 13.3).
const SIGNATURES: [&str; 2] = ["x-webhook-signature", "x-mgpass-signature"];
/// What is documented of events is far less.
const MAX_BYTES: usize = 256 * 1024;

const IS_MIRRORED: &str = "SELECT 1 AS is_mirrored FROM logto_mirror WHERE user_id = ?1";

/// Every string above that is SQL, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[IS_MIRRORED];

pub async fn receive<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Received {
    let Some(secret) = &request.settings.mgpass_webhook_secret else {
        return Received::Closed;
    };
    if let Err(failure) = exchange.hold_body(MAX_BYTES).await {
        return Received::Unread(failure);
    }
    // Valid UTF-8 is the same bytes again; anything else is not mgPass's.
    let body = exchange.held_text().unwrap_or_default();
    let is_good = |name: &str| {
        let signature = exchange.header(name).unwrap_or_default();
        is_signed(secret, body.as_bytes(), &signature)
    };
    if !SIGNATURES.into_iter().any(is_good) {
        platform.emit(&Event::HookRefused {
            source: Backend::Mgpass.name(),
            code: "signature",
        });
        return Received::BadSignature;
    }
    record(platform, &Told::of(&body)).await
}

async fn record<P: Platform>(platform: &P, told: &Told) -> Received {
    let outcome = recorded(platform, told).await;
    platform.emit(&Event::HookReceived {
        source: Backend::Mgpass.name(),
        outcome,
    });
    match outcome {
        "lost" => Received::NotRecorded,
        _ => Received::Taken,
    }
}

async fn recorded<P: Platform>(platform: &P, told: &Told) -> &'static str {
    let asked = vec![receipts::is_known(&told.event)];
    let is_known = match platform.batch(Store::Proxy, asked).await {
        Ok(results) => receipts::parse_is_known(&results),
        Err(_) => false,
    };
    let concerns = match &told.concerns {
        Some(user) if !is_known && is_mirrored(platform, user).await => Some(user),
        Some(_) | None => None,
    };
    let mut statements = vec![
        receipts::note(Backend::Mgpass, &told.kind),
        receipts::remember(&told.event),
        receipts::forget(),
    ];
    let look = concerns.map(|user| told.look_at(user));
    if let Some((intent, status)) = &look {
        statements.extend(intent.settle(*status));
        statements.extend(concerns.map(|user| wake::all(std::slice::from_ref(user))));
    }
    match platform.batch(Store::Proxy, statements).await {
        Ok(results) => {
            relay::send_wakes(platform, &wake::parse(&results)).await;
            match (is_known, concerns, &told.concerns) {
                (true, ..) => "again",
                (false, Some(_), _) => "recorded",
                (false, None, Some(_)) => "of_own_user",
                (false, None, None) => "of_no_row",
            }
        }
        // mgPass delivers it again, up to four times; the hint does not wait for that.
        Err(_) => match look {
            None => "lost",
            Some((intent, status)) => {
                let intent = (&intent).into();
                match platform.send(&Message::Settle { intent, status }, 0).await {
                    Ok(()) => "queued",
                    Err(_) => "lost",
                }
            }
        },
    }
}

/// mgPass's own users are nothing of ours. Unknown counts as mirrored: a look in vain.
async fn is_mirrored<P: Platform>(platform: &P, user: &UserId) -> bool {
    let asked = Statement::new(IS_MIRRORED, vec![user.as_str().into()]);
    match platform.batch(Store::Mgpass, vec![asked]).await {
        Ok(results) => results.first().is_some_and(|rows| !rows.is_empty()),
        Err(_) => true,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    /// By what a second delivery is known.
    event: String,
    kind: String,
    /// Whose row it may be about.
    concerns: Option<UserId>,
}

impl Told {
    /// Four envelopes are documented; what has an id keeps it on a retry, and of what has
    /// none the whole body does.
    fn of(body: &str) -> Self {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let kind = text("event_type").or(text("type")).unwrap_or_default();
        let id = text("event_id").or(text("id"));
        let user = value.pointer("/data/user_id").and_then(Value::as_str);
        Self {
            // Whatever its form, it takes no more room than a digest.
            event: digest(id.unwrap_or(body)),
            kind: kind.to_owned(),
            concerns: user
                .filter(|_| may_change_row(kind))
                .and_then(UserId::parse),
        }
    }

    /// Of one event one intent, however often it is delivered.
    fn look_at(&self, user: &UserId) -> (Intent, u16) {
        let hash = Sha256::digest(self.event.as_bytes());
        let draw = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
        Trigger::MgpassWebhook.intent(user, draw)
    }
}

/// Signing in and out, tokens, factors, roles and points leave a user's row as it is; an
/// event of a user that nobody documents may not.
fn may_change_row(kind: &str) -> bool {
    let leaves_it = kind.starts_with("user.login.")
        || kind.starts_with("user.sessions.")
        || matches!(kind, "user.sign_out" | "user.impersonated");
    kind.starts_with("user.") && !leaves_it
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> (String, Option<String>) {
        let told = Told::of(body);
        (told.kind, told.concerns.map(|user| user.to_string()))
    }

    #[test]
    fn every_documented_envelope_is_read() {
        for body in [
            r#"{"id":"evt_1","type":"user.suspended","created_at":1790000000,"data":{"user_id":"u1"}}"#,
            r#"{"event_type":"user.suspended","data":{"user_id":"u1"},"timestamp":"2026-09-20T10:00:00.000Z"}"#,
            r#"{"event_id":"whe_1","event_type":"user.suspended","occurred_at":"2026-09-20T10:00:00.000Z","data":{"user_id":"u1"}}"#,
            r#"{"id":"whe_1","type":"user.suspended","created_at":"2026-09-20T10:00:00.000Z","application_id":"app_1","livemode":true,"data":{"user_id":"u1"}}"#,
        ] {
            assert_eq!(
                told(body),
                ("user.suspended".to_owned(), Some("u1".to_owned())),
                "{body}"
            );
        }
        for body in ["", "[]", "{}", "\"x\"", r#"{"event_type":7,"data":null}"#] {
            assert_eq!(told(body), (String::new(), None), "{body}");
        }
    }

    #[test]
    fn the_same_event_is_known_again_by_its_id_or_its_body() {
        let event = |body: &str| Told::of(body).event;
        let retried = r#"{"event_id":"whe_1","event_type":"a","attempt":2}"#;
        assert_eq!(
            event(r#"{"event_id":"whe_1","event_type":"a"}"#),
            event(retried)
        );
        assert_ne!(
            event(r#"{"event_type":"a","timestamp":"1"}"#),
            event(r#"{"event_type":"a","timestamp":"2"}"#)
        );
        let user = UserId::parse("u1").unwrap();
        let id = |body: &str| Told::of(body).look_at(&user).0.id;
        assert_eq!(id(retried), id(r#"{"event_id":"whe_1"}"#));
        assert_ne!(id(retried), id(r#"{"event_id":"whe_2"}"#));
    }

    #[test]
    fn a_hint_is_what_may_have_changed_a_row() {
        for (kind, may) in [
            ("user.register", true),
            ("user.suspended", true),
            ("user.deleted", true),
            ("user.email_changed", true),
            ("user.login.success", false),
            ("user.sessions.revoked_all", false),
            ("user.impersonated", false),
            ("session.created", false),
            ("token.issued", false),
            ("role.assigned", false),
            ("rewards.points_awarded", false),
            ("", false),
        ] {
            assert_eq!(may_change_row(kind), may, "{kind}");
        }
    }
}
