//! Values near what Logto takes (a body of 1 MB, names of 128 characters) and the
//! platform holds (2,000,000 bytes a value).

use serde_json::{Value, json};

use super::ADMIN;
use crate::support::Request;
use crate::support::executor::Random;

pub fn request(user: &str, random: &Random) -> Request {
    let (method, rest, body) = match random.below(4) {
        // Each character is two bytes as JSON, and four as JSON within JSON.
        0 => (
            "PATCH",
            "/custom-data",
            json!({ "customData": { "text": "\"".repeat(490_000) } }),
        ),
        1 => {
            let members = (0..10_000).map(|index| (format!("member {index}"), json!(index)));
            let members: Value = members.collect::<serde_json::Map<_, _>>().into();
            ("PATCH", "/custom-data", json!({ "customData": members }))
        }
        2 => ("PATCH", "", json!({ "name": "\u{10ffff}".repeat(128) })),
        _ => (
            "PUT",
            "/identities/google",
            json!({ "userId": format!("g-{}", "9".repeat(120 + random.below(2))) }),
        ),
    };
    Request::new(method, &format!("/api/users/{user}{rest}"))
        .token(ADMIN)
        .json(&body.to_string())
}
