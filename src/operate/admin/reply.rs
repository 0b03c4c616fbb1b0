//! How the operator's routes of the authority answer.

use serde_json::{Value, json};

use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Platform, Row, Statement, Store};

/// An answer with its status; a refusal is one.
pub(super) type Answered = Result<(u16, Value), ProxyError>;

pub(super) fn refused(status: u16, code: &str, message: &str) -> Answered {
    let code = format!("proxy.{code}");
    Ok((status, json!({ "code": code, "message": message })))
}

pub(super) async fn ask<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, ProxyError> {
    platform
        .batch(Store::Proxy, statements)
        .await
        .map_err(|_| ProxyError::DatabaseUnavailable)
}

pub(super) fn acted<P: Platform>(platform: &P, action: &'static str, n_subjects: usize) {
    platform.emit(&Event::OperatorActed { action, n_subjects });
}
