//! When the route can be given to mgPass: pure.

use serde_json::{Value as Json, json};

use super::Standing;
use crate::handover::authority::Holder;
use crate::runtime::settings::Least;

const HOUR_MS: i64 = 3_600_000;

/// Whether the route can be given to mgPass: nobody would miss the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    Now,
    /// Not in this stage.
    NotAlone,
    /// Tokens of Logto's are still valid, at most until then.
    TokensLive {
        until_ms: i64,
    },
    /// Nobody said when Logto's last token ends.
    EndUnknown,
    /// The proxy answered somebody so lately.
    InUse {
        at_ms: i64,
    },
}

impl Leaving {
    pub fn code(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::NotAlone => "not_in_cleanup",
            Self::TokensLive { .. } => "tokens_live",
            Self::EndUnknown => "end_unknown",
            Self::InUse { .. } => "in_use",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Now => {
                "Nobody has asked the proxy for anything that it answers, and no token of Logto's is valid any more: give the route to mgPass."
            }
            Self::NotAlone => "The stage is not `cleanup`.",
            Self::TokensLive { .. } => {
                "Tokens of Logto's are still valid: their keys and the translated API are the proxy's to serve."
            }
            Self::EndUnknown => {
                "Logto's keys are not imported with their end, so nobody knows when its last token ends."
            }
            Self::InUse { .. } => {
                "Somebody still uses what the proxy translates: move them to mgPass's own API first."
            }
        }
    }
}

/// `ends_ms`: when the last token that the imported keys verify has expired.
pub fn leaving(standing: &Standing, ends_ms: Option<i64>, least: Least) -> Leaving {
    let quiet_ms = i64::from(least.quiet_hours) * HOUR_MS;
    let used_at_ms = standing.used_at_ms.unwrap_or(standing.since_ms);
    match (standing.holder, ends_ms) {
        (Holder::Logto | Holder::Draining | Holder::Mgpass | Holder::Returning, _) => {
            Leaving::NotAlone
        }
        (Holder::Alone, None) => Leaving::EndUnknown,
        (Holder::Alone, Some(until_ms)) if standing.now_ms < until_ms => {
            Leaving::TokensLive { until_ms }
        }
        (Holder::Alone, Some(_)) if standing.now_ms - used_at_ms < quiet_ms => {
            Leaving::InUse { at_ms: used_at_ms }
        }
        (Holder::Alone, Some(_)) => Leaving::Now,
    }
}

/// `at`: until when tokens live, or when somebody was last answered.
pub fn leaving_shown(leaving: Leaving) -> Json {
    let at = match leaving {
        Leaving::TokensLive { until_ms } => Some(until_ms),
        Leaving::InUse { at_ms } => Some(at_ms),
        Leaving::Now | Leaving::NotAlone | Leaving::EndUnknown => None,
    };
    json!({ "code": leaving.code(), "why": leaving.words(), "at": at })
}
