//! The signing keys that an isolate knows.

use serde_json::{Value as Json, json};

use crate::auth::authenticate::{imported_keys, now};
use crate::policy::token::{Issuer, KeyId, KeySet};
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;

/// The keys this isolate knows, and the imported ones with their bounds.
pub(super) async fn keys<P: Platform>(platform: &P, context: &Context<'_>) -> Json {
    let now = now(platform);
    let live = |issuer| match context.isolate.held_keys(issuer) {
        None => json!({ "kids": [], "is_failing": context.isolate.keys_are_failing(issuer) }),
        Some((set, at)) => json!({
            "kids": kids(&set),
            "age_s": now.since(at),
            "is_failing": context.isolate.keys_are_failing(issuer),
        }),
    };
    let imported = imported_keys(platform, context).await;
    json!({
        "logto": live(Issuer::Logto),
        "mgpass": live(Issuer::Mgpass),
        "imported": imported.map(|imported| {
            let bounds = imported.bounds();
            json!({
                "kids": kids(imported.set()),
                "stopped_issuing_at": bounds.issued_before.map(|stop| stop.0),
                "max_lifetime_s": bounds.max_lifetime_s,
                "sunset": bounds.sunset.0,
                // Whether they stand in for Logto's own set when that cannot be had.
                "in_force": !imported.is_past_sunset(now),
            })
        }),
    })
}

fn kids(set: &KeySet) -> Vec<Option<&str>> {
    let keys = set.keys().iter();
    keys.map(|key| key.key_id().map(KeyId::as_str)).collect()
}
