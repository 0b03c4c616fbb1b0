//! Answers that the proxy makes itself, in one place.

use crate::inbound::classify::Operation;
use crate::runtime::context::Surroundings;
use crate::runtime::error::ProxyError;

/// An answer that the proxy builds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// An answer in place of a backend's, and what the request's line tells of it.
#[derive(Debug)]
pub struct OwnAnswer {
    pub operation: Operation,
    pub error: Option<ProxyError>,
    pub answer: Answer,
}

/// An answer of the proxy's own.
pub fn own_answer(operation: Operation, answer: Answer) -> OwnAnswer {
    OwnAnswer {
        operation,
        error: None,
        answer,
    }
}

/// The same for a request that failed in it.
pub fn own_error(
    operation: Operation,
    error: ProxyError,
    path: &str,
    around: &Surroundings<'_>,
) -> OwnAnswer {
    OwnAnswer {
        operation,
        error: Some(error),
        answer: error_reply(error, path, around.request_id),
    }
}

fn error_reply(error: ProxyError, path: &str, request_id: &str) -> Answer {
    let mut headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    if let Some(seconds) = error.retry_after_s() {
        headers.push(("retry-after", seconds.to_string()));
    }
    Answer {
        status: error.status(),
        headers,
        body: error.body(path, request_id),
    }
}
