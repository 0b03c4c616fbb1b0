//! Logto asked in somebody else's name, so that it judges them itself.

use super::get;
use crate::inbound::request::Secret;
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::ports::{CallAnswer, Platform};

/// A harmless read under a caller's own headers: whatever Logto says of them.
///
/// # Errors
/// When Logto gave no answer.
pub async fn read_as<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    path: &str,
    headers: Vec<(&'static str, Secret<String>)>,
) -> Result<CallAnswer, BackendFailure> {
    get(platform, context, path, headers).await
}
