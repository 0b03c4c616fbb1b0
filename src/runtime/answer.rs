//! Answers that the proxy makes itself, in one place.

use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;

/// An answer that the proxy builds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// An answer in place of a backend's; with an error, a request that failed in the proxy.
#[derive(Debug)]
pub struct OwnAnswer {
    pub error: Option<ProxyError>,
    pub answer: Answer,
}

impl From<Answer> for OwnAnswer {
    fn from(answer: Answer) -> Self {
        Self {
            error: None,
            answer,
        }
    }
}

impl OwnAnswer {
    /// `path`: of the request, for the form that its clients read errors in.
    pub fn of(error: ProxyError, path: &str, request_id: &str) -> Self {
        let mut headers = vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        if let Some(seconds) = error.retry_after_s() {
            headers.push(("retry-after", seconds.to_string()));
        }
        Self {
            error: Some(error),
            answer: Answer {
                status: error.status(),
                headers,
                body: error.body(path, request_id),
            },
        }
    }
}

impl Request<'_> {
    pub fn refuse(&self, error: ProxyError) -> OwnAnswer {
        let mut own = OwnAnswer::of(error, self.inbound.path(), &self.id);
        if let (410, Some(migration)) = (own.answer.status, &self.settings.migration) {
            own.answer.body = with_go_to(&own.answer.body, &migration.mgpass_issuer);
        }
        own
    }
}

/// Whose answers are sought is gone: where they are now, as its discovery document tells.
fn with_go_to(body: &str, issuer: &str) -> String {
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        let issuer = issuer.trim_end_matches('/');
        let discovery = format!("{issuer}/.well-known/openid-configuration");
        members.insert("go_to".to_owned(), discovery.into());
    }
    body.to_string()
}
