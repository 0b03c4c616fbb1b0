//! Values near what Logto takes (a body of 1 MiB, names of 128 characters) and the
//! platform holds (2,000,000 bytes a value and a row), and users above that: each value
//! is within its bounds, and the user is not.

use serde_json::{Value, json};

use super::ADMIN;
use crate::support::Request;
use crate::support::executor::Random;

/// From here on a user may be too large for the mirror's rows, or for an answer that is
/// read: in the row beside mgPass's, a text is held as JSON.
pub const MAY_BE_TOO_LARGE_BYTES: usize = 1_500_000;

pub fn requests(user: &str, random: &Random) -> Vec<Request> {
    let patch = |method, rest: &str, body: Value| {
        Request::new(method, &format!("/api/users/{user}{rest}"))
            .token(ADMIN)
            .json(&body.to_string())
    };
    // Each character is two bytes as JSON, and four as JSON within JSON.
    let text = || "\"".repeat(515_000);
    let custom_data = |data: Value| patch("PATCH", "/custom-data", json!({ "customData": data }));
    match random.below(5) {
        0 => vec![custom_data(json!({ "text": text() }))],
        1 => {
            let members = (0..10_000).map(|index| (format!("member {index}"), json!(index)));
            vec![custom_data(
                members.collect::<serde_json::Map<_, _>>().into(),
            )]
        }
        2 => vec![patch(
            "PATCH",
            "",
            json!({ "name": "\u{10ffff}".repeat(128) }),
        )],
        3 => {
            let account = format!("g-{}", "9".repeat(120 + random.below(2)));
            vec![patch(
                "PUT",
                "/identities/google",
                json!({ "userId": account }),
            )]
        }
        // Too large for a while, or for good.
        _ => {
            let mut requests = vec![
                custom_data(json!({ "text": text() })),
                patch("PATCH", "/profile", json!({ "nickname": text() })),
            ];
            if random.below(2) == 0 {
                requests.push(patch("PATCH", "/profile", json!({})));
            }
            requests
        }
    }
}
