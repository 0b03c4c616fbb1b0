//! Whether anything is left: in mgPass's database, in the proxy's own, in KV; and whether
//! mgPass answers without the mirror's tables.

use serde_json::{Value as Json, json};

use super::clear::STEPS;
use crate::inbound::request::UserId;
use crate::runtime::backend::mgpass::{self, Caller};
use crate::runtime::context::Context;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::text;

const DEADLINE_MS: u32 = 8_000;
/// Whatever bears the mirror's name, or names it: a view or trigger of somebody else's that
/// would fail from now on.
const LEFT: &str = "SELECT type, name FROM sqlite_schema WHERE name LIKE 'logto\\_mirror%' ESCAPE '\\' OR tbl_name LIKE 'logto\\_mirror%' ESCAPE '\\' OR sql LIKE '%logto\\_mirror%' ESCAPE '\\' ORDER BY name LIMIT 50";
const SOMEBODY: &str = "SELECT id FROM users WHERE deleted_at IS NULL LIMIT 1";

/// Every string above that is about mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[LEFT, SOMEBODY];

/// One thing that should be gone, or should work.
fn finding(what: &str, is_clean: bool, found: Json, remedy: &str) -> Json {
    json!({ "what": what, "clean": is_clean, "found": found, "do": if is_clean { "" } else { remedy } })
}

pub async fn look<P: Platform>(platform: &P, context: &Context<'_>) -> Json {
    let mut findings = vec![
        mirror_tables(platform).await,
        mgpass_works(platform, context).await,
    ];
    findings.push(rows(platform).await);
    findings.push(flags(platform).await);
    findings.push(keys(platform).await);
    let is_clean = findings
        .iter()
        .all(|one| one.get("clean") == Some(&json!(true)));
    json!({ "clean": is_clean, "findings": findings })
}

async fn mirror_tables<P: Platform>(platform: &P) -> Json {
    const WHAT: &str = "mgPass's database holds nothing of the mirror's";
    let asked = vec![Statement::new(LEFT, vec![])];
    match platform.batch(Store::Mgpass, asked).await {
        Err(failure) => finding(WHAT, false, json!(failure.code()), "Try again."),
        Ok(results) => {
            let names: Vec<_> = results
                .iter()
                .flatten()
                .map(|row| format!("{} {}", of(row, "type"), of(row, "name")))
                .collect();
            let remedy = "`dwp cleanup run` goes on where it was; what is not of the mirror names it, and fails from now on.";
            finding(WHAT, names.is_empty(), json!(names), remedy)
        }
    }
}

fn of(row: &Row, name: &str) -> String {
    text(row, name).unwrap_or_default()
}

/// One of its users, through its API.
async fn mgpass_works<P: Platform>(platform: &P, context: &Context<'_>) -> Json {
    const WHAT: &str = "mgPass answers without the mirror's tables";
    const LOOK: &str =
        "Look at mgPass's log; the mirror's tables are in the proxy's folder `schema/mirror`.";
    let asked = vec![Statement::new(SOMEBODY, vec![])];
    let rows = match platform.batch(Store::Mgpass, asked).await {
        Err(failure) => return finding(WHAT, false, json!(failure.code()), LOOK),
        Ok(results) => results,
    };
    let user = rows.iter().flatten().next();
    let Some(user) = user.and_then(|row| UserId::parse(&of(row, "id"))) else {
        return finding(WHAT, true, json!("no users"), LOOK);
    };
    match mgpass::user(platform, context, &Caller::Proxy, &user, DEADLINE_MS).await {
        Ok(_) => finding(WHAT, true, json!("one user read"), LOOK),
        Err(failure) => finding(WHAT, false, json!(failure.code()), LOOK),
    }
}

/// Of the tables that clearing is about.
async fn rows<P: Platform>(platform: &P) -> Json {
    const WHAT: &str = "DB names no user";
    const REMEDY: &str = "`dwp cleanup run`, or delete the database.";
    let of_store = || STEPS.iter().filter(|step| step.store == Store::Proxy);
    let statements = of_store().map(|step| Statement::new(step.is_left(), vec![]));
    match platform.batch(Store::Proxy, statements.collect()).await {
        Err(failure) => finding(WHAT, false, json!(failure.code()), REMEDY),
        Ok(results) => {
            let left: Vec<_> = of_store()
                .zip(&results)
                .filter(|(_, rows)| !rows.is_empty())
                .map(|(step, _)| step.name)
                .collect();
            finding(WHAT, left.is_empty(), json!(left), REMEDY)
        }
    }
}

async fn flags<P: Platform>(platform: &P) -> Json {
    const WHAT: &str = "FLAGS holds no key but the stage";
    const REMEDY: &str = "`dwp flag unset KEY`, or delete the namespace.";
    match platform.flag_names().await {
        Err(_) => finding(WHAT, false, json!("key_value_store"), "Try again."),
        Ok(mut names) => {
            names.retain(|name| name != "stage");
            finding(WHAT, names.is_empty(), json!(names), REMEDY)
        }
    }
}

async fn keys<P: Platform>(platform: &P) -> Json {
    const WHAT: &str = "KEYS holds no imported keys";
    const REMEDY: &str = "npx wrangler kv key delete --remote --binding KEYS logto";
    match platform.imported_keys().await {
        Err(_) => finding(WHAT, false, json!("key_value_store"), "Try again."),
        Ok(stored) => finding(WHAT, stored.is_none(), json!(null), REMEDY),
    }
}
