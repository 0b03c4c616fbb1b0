//! What an administrator sees at mgPass: lists of users and of the audit log, by its
//! documented API. Ids and totals are all that is read of them.

use serde::Deserialize;

use super::{BACKEND, Caller, DEADLINE_MS, read};
use crate::inbound::request::UserId;
use crate::runtime::backend::{BackendFailure, encode};
use crate::runtime::context::Context;
use crate::runtime::ports::{CallAnswer, Platform};

/// One page of the list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersPage {
    pub total: i64,
    pub ids: Vec<String>,
}

#[derive(Deserialize)]
struct Wire {
    /// Edition E3; E1 and E2 say `results`.
    #[serde(alias = "results")]
    data: Vec<Identified>,
    total: i64,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

/// The first page: where the next cursor comes from is not documented (contract 4.4).
///
/// # Errors
/// When mgPass gave no such list.
pub async fn first_users<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    limit: usize,
) -> Result<UsersPage, BackendFailure> {
    let path = format!("/api/users?limit={limit}");
    let answer = read(platform, context, &Caller::Proxy, &path, DEADLINE_MS).await?;
    let wire = parse(&answer)?;
    Ok(UsersPage {
        total: wire.total,
        ids: wire.data.into_iter().map(|user| user.id).collect(),
    })
}

/// Ids of the newest entries about this user in the audit log, 100 at most.
///
/// # Errors
/// When mgPass gave no such list.
pub async fn audit_entries<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    target: &UserId,
) -> Result<Vec<String>, BackendFailure> {
    // Edition E3 knows `target_id`; without it the newest of all come.
    let path = format!("/api/audit?target_id={}&limit=100", encode(target.as_str()));
    let answer = read(platform, context, &Caller::Proxy, &path, DEADLINE_MS).await?;
    let wire = parse(&answer)?;
    Ok(wire.data.into_iter().map(|entry| entry.id).collect())
}

fn parse(answer: &CallAnswer) -> Result<Wire, BackendFailure> {
    if answer.status != 200 {
        return Err(BackendFailure::of_status(BACKEND, answer));
    }
    serde_json::from_str(&answer.body).map_err(|_| BackendFailure::OutOfContract(BACKEND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_edition_is_read() {
        let check = |body: &str, expected: Option<(i64, usize)>| {
            let wire: Option<Wire> = serde_json::from_str(body).ok();
            assert_eq!(
                wire.map(|wire| (wire.total, wire.data.len())),
                expected,
                "{body}"
            );
        };
        check(
            r#"{"data":[{"id":"usr_1","email":null}],"total":1,"page":1,"limit":2,"has_more":false}"#,
            Some((1, 1)),
        );
        check(
            r#"{"results":[{"id":"aud_1"},{"id":"aud_2"}],"total":9,"page":1}"#,
            Some((9, 2)),
        );
        check(r#"{"data":[]}"#, None);
        check(r#"[{"id":"usr_1"}]"#, None);
    }
}
