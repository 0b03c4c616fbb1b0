//! A test round of the webhooks: something is done at each side that it tells of. Whether
//! it was heard is the check's to say, which looks at what came.
//!
//! At Logto a member of the probe user's custom data changes (`User.Data.Updated`); at
//! mgPass the probe account signs in (`user.login.success`). Both are harmless twice.
//! While mgPass is the authority, nothing is changed at Logto: it would be a stray. Its side
//! is judged by what comes of the reverse mirror's own changes.

use crate::mirror::receipts;
use crate::operate::probe::{self, Probed};
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::ports::{Backend, DatabaseFailure, Platform, Store};
use crate::runtime::settings::ProbeSettings;

/// # Errors
/// When the test could not be written down; then nothing was caused, or only half.
pub async fn cause<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<(), DatabaseFailure> {
    let begun = vec![
        receipts::test(Backend::Logto, "User.Data.Updated"),
        receipts::test(Backend::Mgpass, "user.login.success"),
    ];
    let begun = platform.batch(Store::Proxy, begun).await?;
    let is_logtos = begun.first().is_some_and(|rows| !rows.is_empty());
    let at_logto = match &context.settings.checks.probe {
        _ if !is_logtos => Ok(()),
        ProbeSettings::There(probe) => {
            let touched =
                logto::probe::touch(platform, context, &probe.user, platform.now_ms()).await;
            touched.map_err(|failure| failure.code().to_owned())
        }
        ProbeSettings::Absent | ProbeSettings::Lacks(_) => Err("no_probe".to_owned()),
    };
    let at_mgpass = match probe::sign_in(platform, context).await {
        Probed::SignedIn => Ok(()),
        Probed::KeptOut(code) => Err(code),
        Probed::Absent | Probed::Lacks(_) => Err("no_probe".to_owned()),
    };
    let failed = [(Backend::Logto, at_logto), (Backend::Mgpass, at_mgpass)]
        .into_iter()
        .filter_map(|(side, outcome)| Some(receipts::test_failed(side, &outcome.err()?)))
        .collect::<Vec<_>>();
    if failed.is_empty() {
        return Ok(());
    }
    platform.batch(Store::Proxy, failed).await.map(|_| ())
}
