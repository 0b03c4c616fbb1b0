//! What Logto's tenant allows its users: read of Logto, kept in the proxy's database, so
//! that writes are judged while Logto is down. A change there counts within two minutes.

use std::sync::Arc;

use futures_util::future::join;

use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::ports::{Backend, Platform, Row, Statement, Store};
use crate::runtime::sql::{now, text};
use crate::serve::translate_write::Tenant;

const READ: &str = "SELECT sign_in_experience, account_center FROM tenant";
/// By cron, every minute at most; what is the same is not written.
const DUE: &str = concat!(
    "SELECT NOT EXISTS (SELECT 1 FROM tenant WHERE read_at > ",
    now!(),
    " - 50000) AS due"
);
const KEEP: &str = concat!(
    "INSERT INTO tenant (singleton, sign_in_experience, account_center, read_at) VALUES (1, ?1, ?2, ",
    now!(),
    ") ON CONFLICT (singleton) DO UPDATE SET sign_in_experience = excluded.sign_in_experience, ",
    "account_center = excluded.account_center, read_at = excluded.read_at"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[READ, DUE, KEEP];

/// Of this isolate, of the database, or of Logto.
///
/// # Errors
/// When nobody knows yet, and Logto does not say.
pub async fn current<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Arc<Tenant>, BackendFailure> {
    if let Some(tenant) = context.isolate.tenant(platform.now_ms()) {
        return Ok(tenant);
    }
    let kept = platform
        .batch(Store::Proxy, vec![Statement::new(READ, vec![])])
        .await
        .ok()
        .and_then(|results| parse(results.first()?.first()?));
    let tenant = match kept {
        Some(tenant) => tenant,
        None => refresh(platform, context).await?,
    };
    let tenant = Arc::new(tenant);
    context
        .isolate
        .set_tenant(Arc::clone(&tenant), platform.now_ms());
    Ok(tenant)
}

/// Run by cron while translated writes may come.
pub async fn keep_fresh<P: Platform>(platform: &P, context: &Context<'_>) {
    let due = platform
        .batch(Store::Proxy, vec![Statement::new(DUE, vec![])])
        .await;
    let is_due = due.is_ok_and(|results| {
        let row = results.first().and_then(|rows| rows.first());
        row.and_then(|row| row.get("due")?.as_i64()) == Some(1)
    });
    if is_due {
        // What is known stays; the next minute tries again.
        let _ = refresh(platform, context).await;
    }
}

async fn refresh<P: Platform>(
    platform: &P,
    context: &Context<'_>,
) -> Result<Tenant, BackendFailure> {
    let (experience, center) = join(
        logto::read(platform, context, "/api/sign-in-exp"),
        logto::read(platform, context, "/api/account-center"),
    )
    .await;
    let (experience, center) = (experience?, center?);
    let unread = BackendFailure::OutOfContract(Backend::Logto);
    if !experience.is_success() || !center.is_success() {
        return Err(unread);
    }
    let tenant = Tenant::parse(&experience.body, &center.body).ok_or(unread)?;
    let values = vec![experience.body.into(), center.body.into()];
    // Not kept, it is read again by the next isolate that wants it.
    let _ = platform
        .batch(Store::Proxy, vec![Statement::new(KEEP, values)])
        .await;
    Ok(tenant)
}

fn parse(row: &Row) -> Option<Tenant> {
    Tenant::parse(
        &text(row, "sign_in_experience")?,
        &text(row, "account_center")?,
    )
}
