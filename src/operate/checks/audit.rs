//! mgPass's audit log has what the mirror did within the last hour, and what somebody else
//! did: a log that has the mirror's entries alone may be one that only the mirror writes.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{N_SHOWN, State, Verdict, count};
use crate::inbound::request::UserId;
use crate::mirror::telling::{self, Told};
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::mgpass::console;
use crate::runtime::context::Context;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

/// Users of the last hour whose entries are looked for in the rows ...
const N_USERS: i64 = 500;
/// ... and by the API.
const N_ASKED: usize = 5;

const MISSING: &str = "SELECT w.value AS id FROM json_each(?1) w WHERE NOT EXISTS (SELECT 1 FROM audit_logs a WHERE a.id = w.value)";
const OTHERS: &str = "SELECT count(*) AS n FROM (SELECT 1 FROM audit_logs WHERE created_at > unixepoch() - 86400 \
     AND actor_id IS NOT 'logto_mirror' LIMIT 1000)";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[MISSING, OTHERS];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub failure: Option<String>,
    /// Entries that must be there, of how many users.
    pub n_told: usize,
    pub n_users: i64,
    /// User and event of each that is not in the rows.
    pub missing: Vec<(String, String)>,
    /// Asked for by the API; and not shown there.
    pub n_asked: usize,
    pub not_shown: Vec<(String, String)>,
    /// Entries of other actors within a day, up to a thousand.
    pub n_others: i64,
}

pub fn judge(facts: Option<&(Facts, i64)>, now_ms: i64) -> Verdict {
    let Some((facts, at_ms)) = facts else {
        return Verdict::never_run();
    };
    if let Some(code) = &facts.failure {
        return Verdict::unreadable(code);
    }
    if !facts.missing.is_empty() {
        let n = count(facts.missing.len() as i64, "entry is", "entries are");
        return Verdict::red(
            format!("{n} missing in mgPass's audit log, of {}.", facts.n_told),
            "`dwp checklist --json` names users and events. Somebody deletes from audit_logs, which mgPass calls immutable: ask mgPass.",
        );
    }
    if !facts.not_shown.is_empty() {
        let n = count(facts.not_shown.len() as i64, "entry is", "entries are");
        return Verdict::red(
            format!("{n} in mgPass's rows and not shown by /api/audit."),
            "Look them up in mgPass's console, and tell mgPass.",
        );
    }
    if facts.n_told == 0 {
        return Verdict::of(
            State::NothingSampled,
            "The mirror has changed nobody within an hour.",
            "`dwp webhooks test` changes the probe account's user; then `dwp checklist --run`.",
        );
    }
    if facts.n_others == 0 {
        return Verdict::of(
            State::Idle,
            "Nobody but the mirror has an entry of the last 24 hours.",
            "Sign in at mgPass or change something in its console, then `dwp checklist --run`.",
        );
    }
    Verdict::green(format!(
        "{} of the last hour found, {} asked for by the API.",
        count(facts.n_told as i64, "entry", "entries"),
        facts.n_asked
    ))
    .no_older(*at_ms, now_ms, "`dwp checklist --run`.")
}

pub fn figures(facts: &Facts) -> Json {
    let shown = |list: &[(String, String)]| -> Vec<Json> {
        let some = list.iter().take(N_SHOWN);
        some.map(|(user, event)| json!({ "user": user, "event": event }))
            .collect()
    };
    json!({
        "expected": facts.n_told, "users": facts.n_users, "missing": shown(&facts.missing),
        "asked_by_api": facts.n_asked, "not_shown": shown(&facts.not_shown), "by_others_24h": facts.n_others,
    })
}

pub async fn gather<P: Platform>(platform: &P, context: &Context<'_>) -> Facts {
    match look(platform, context).await {
        Ok(facts) => facts,
        Err(code) => Facts {
            failure: Some(code.to_owned()),
            ..Facts::default()
        },
    }
}

async fn look<P: Platform>(platform: &P, context: &Context<'_>) -> Result<Facts, &'static str> {
    let asked = vec![telling::recent(N_USERS), Statement::new(OTHERS, vec![])];
    let results = ask(platform, asked).await?;
    let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
    let (told, n_users, _) = telling::parse_recent(rows(0)).ok_or("statement_refused")?;
    let others = rows(1).first().and_then(|row| integer(row, "n"));
    let entries: Vec<&str> = told.iter().map(|one| one.entry.as_str()).collect();
    let list = json!(entries).to_string();
    let missing = ask(platform, vec![Statement::new(MISSING, vec![list.into()])]).await?;
    let missing = missing.first().map(Vec::as_slice).unwrap_or_default();
    let missing: Vec<String> = missing.iter().filter_map(|row| text(row, "id")).collect();
    let (gone, there): (Vec<&Told>, Vec<&Told>) =
        told.iter().partition(|one| missing.contains(&one.entry));
    let (n_asked, not_shown) = by_api(platform, context, &there).await?;
    Ok(Facts {
        failure: None,
        n_told: told.len(),
        n_users,
        missing: gone.into_iter().map(named).collect(),
        n_asked,
        not_shown,
        n_others: others.ok_or("statement_refused")?,
    })
}

fn named(told: &Told) -> (String, String) {
    (told.user.clone(), told.event.clone())
}

/// The newest entry of the first few users.
async fn by_api<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    told: &[&Told],
) -> Result<(usize, Vec<(String, String)>), &'static str> {
    let (mut users, mut not_shown) = (Vec::new(), Vec::new());
    for one in told {
        let Some(user) = UserId::parse(&one.user) else {
            continue;
        };
        if users.len() >= N_ASKED || users.contains(&one.user) {
            continue;
        }
        users.push(one.user.clone());
        let shown = console::audit_entries(platform, context, &user).await;
        let shown = shown.map_err(BackendFailure::code)?;
        if !shown.contains(&one.entry) {
            not_shown.push(named(one));
        }
    }
    Ok((users.len(), not_shown))
}

async fn ask<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, &'static str> {
    let answer = platform.batch(Store::Mgpass, statements).await;
    answer.map_err(|failure| failure.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_entry_is_red_and_silence_is_not_green() {
        let good = Facts {
            n_told: 3,
            n_users: 2,
            n_asked: 2,
            n_others: 1,
            ..Facts::default()
        };
        let one = || vec![("u1".to_owned(), "user.updated".to_owned())];
        let check = |facts: Facts, expected: State| {
            assert_eq!(
                judge(Some(&(facts.clone(), 0)), 1).state,
                expected,
                "{facts:?}"
            );
        };
        check(good.clone(), State::Green);
        assert_eq!(judge(None, 1).state, State::NotProbed);
        check(
            Facts {
                missing: one(),
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                not_shown: one(),
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                n_told: 0,
                ..good.clone()
            },
            State::NothingSampled,
        );
        check(
            Facts {
                n_others: 0,
                ..good.clone()
            },
            State::Idle,
        );
        check(
            Facts {
                failure: Some("timed_out".into()),
                ..good
            },
            State::Unreadable,
        );
    }
}
