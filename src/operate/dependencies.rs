//! The ledger of what Logto is still needed for, by client and kind of grant. Written
//! behind the requests with the counts, in the proxy's own database: cutover and cleanup
//! go by it.

use serde_json::{Value, json};

use crate::policy::applications::{Applications, Side};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::text;

const ADD: &str = "INSERT INTO dependencies (application, kind, last_needed_at, n) \
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), \
     json_extract(value, '$[3]') FROM json_each(?1) WHERE true ON CONFLICT (application, kind) \
     DO UPDATE SET last_needed_at = max(last_needed_at, excluded.last_needed_at), n = n + excluded.n";
const SELECT_ALL: &str = "SELECT application AS client_id, kind, last_needed_at, n FROM dependencies \
     ORDER BY last_needed_at DESC LIMIT 1000";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[ADD, SELECT_ALL];

/// Twice is not harmless to the count, which may be a little high; when Logto was last
/// needed stays right.
pub async fn flush<P: Platform>(platform: &P, context: &Context<'_>) {
    let entries = context.isolate.dependencies.borrow_mut().take();
    if entries.is_empty() {
        return;
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|((client_id, kind), need)| json!([client_id, kind, need.last_at_ms, need.count]))
        .collect();
    let add = Statement::new(ADD, vec![json!(rows).to_string().into()]);
    if let Err(failure) = platform.batch(Store::Proxy, vec![add]).await {
        context.isolate.dependencies.borrow_mut().put_back(entries);
        platform.emit(&Event::MetricsDelayed {
            step: "dependencies",
            code: failure.code(),
        });
    }
}

/// The newest first, with the name of the application where it is listed.
///
/// # Errors
/// When the database does not answer.
pub async fn view<P: Platform>(
    platform: &P,
    applications: &Applications,
) -> Result<Value, DatabaseFailure> {
    let results = platform
        .batch(Store::Proxy, vec![Statement::new(SELECT_ALL, vec![])])
        .await?;
    let rows = results.into_iter().next().unwrap_or_default();
    let named: Vec<_> = rows
        .into_iter()
        .map(|row| with_name(row, applications))
        .collect();
    Ok(json!({ "dependencies": named }))
}

fn with_name(mut row: Row, applications: &Applications) -> Row {
    let client_id = text(&row, "client_id").unwrap_or_default();
    let application = applications.of_client(&client_id);
    let name = application
        .filter(|(_, side)| *side == Side::Logto)
        .map(|(application, _)| application.name.as_str());
    row.insert("application".to_owned(), json!(name));
    row
}
