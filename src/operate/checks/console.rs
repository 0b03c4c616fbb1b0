//! mgPass's admin console shows everybody, with their data: its API against its rows, and
//! how many Logto has.
//!
//! ASSUMPTION (docs/assumptions.md, 13): where the next cursor of its list comes from is
//! not documented, so beyond the first page totals count, and a sample of users by id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{N_SHOWN, State, Verdict, count};
use crate::inbound::request::UserId;
use crate::runtime::backend::mgpass::{ApiUser, Caller, Field, Found, console, user};
use crate::runtime::backend::{BackendFailure, logto};
use crate::runtime::context::Context;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

/// Asked one after the other; mgPass limits the rate.
const N_SAMPLED: i64 = 20;
const N_LISTED: usize = 50;
const DEADLINE_MS: u32 = 8_000;
/// What mgPass's API shows of a user who was written of late may be from its cache: shown
/// alike it counts, shown otherwise it says nothing.
const FRESH_MS: i64 = 300_000;

const TOTALS: &str = "SELECT (SELECT count(*) FROM users WHERE deleted_at IS NULL) AS n_rows, \
     (SELECT count(*) FROM logto_mirror WHERE tombstone = 0) AS n_mirrored";
/// From a place drawn at random on, and from the beginning where that is too few.
const SAMPLE: &str = "SELECT u.id AS id, u.email AS email, u.phone AS phone, u.name AS name, u.avatar AS avatar, \
     u.is_suspended AS is_suspended, u.created_at AS created_at, u.metadata AS metadata, m.applied_at AS applied_at \
     FROM (SELECT user_id, applied_at FROM (SELECT user_id, applied_at FROM logto_mirror WHERE tombstone = 0 AND user_id >= ?1 ORDER BY user_id LIMIT ?2) \
     UNION SELECT user_id, applied_at FROM (SELECT user_id, applied_at FROM logto_mirror WHERE tombstone = 0 ORDER BY user_id LIMIT ?2)) m \
     JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL ORDER BY u.id < ?1, u.id LIMIT ?2";
const LISTED: &str = "SELECT count(*) AS n FROM json_each(?1) w WHERE NOT EXISTS \
     (SELECT 1 FROM users u WHERE u.id = w.value AND u.deleted_at IS NULL)";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[TOTALS, SAMPLE, LISTED];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub failure: Option<String>,
    /// As mgPass's list says.
    pub n_listed: i64,
    /// mgPass's rows, and those mirrored: before and after the list was asked for.
    pub n_rows: (i64, i64),
    pub n_mirrored: (i64, i64),
    pub n_logto: Option<i64>,
    pub n_sampled: usize,
    /// Of these, whose fields could be compared.
    #[serde(default)]
    pub n_compared: usize,
    /// Listed, and no row.
    pub n_rowless: i64,
    /// Ids that are not shown, and those shown otherwise than their rows are, with fields.
    pub hidden: Vec<String>,
    pub differing: Vec<(String, String)>,
}

pub fn judge(facts: Option<&(Facts, i64)>, now_ms: i64) -> Verdict {
    const CONSOLE: &str =
        "`dwp checklist --json` has ids; look each up in mgPass's console, and tell mgPass.";
    let Some((facts, at_ms)) = facts else {
        return Verdict::never_run();
    };
    if let Some(code) = &facts.failure {
        return Verdict::unreadable(code);
    }
    if facts.n_sampled == 0 {
        return Verdict::of(
            State::NothingSampled,
            "Nobody is mirrored.",
            "`dwp import users`.",
        );
    }
    let is_within =
        |n: i64, (before, after): (i64, i64)| (before.min(after)..=before.max(after)).contains(&n);
    if !facts.hidden.is_empty() {
        let who = count(facts.hidden.len() as i64, "user is", "users are");
        return Verdict::red(
            format!(
                "{who} in mgPass's rows and not shown, of {} looked up.",
                facts.n_sampled
            ),
            CONSOLE,
        );
    }
    if !facts.differing.is_empty() {
        let who = count(facts.differing.len() as i64, "field is", "fields are");
        return Verdict::red(format!("{who} shown otherwise than the row is."), CONSOLE);
    }
    if !is_within(facts.n_listed, facts.n_rows) || facts.n_rowless > 0 {
        return Verdict::red(
            format!(
                "mgPass lists {} of {} users that it has.",
                facts.n_listed, facts.n_rows.1
            ),
            "Find out whom its list leaves out: filters, organisations, an index that is behind.",
        );
    }
    if facts.n_compared == 0 {
        return Verdict::of(
            State::NothingSampled,
            "Whoever was looked up was written a moment ago, and mgPass still shows them as they were.",
            "`dwp checklist --run` in five minutes.",
        );
    }
    match facts.n_logto {
        None => Verdict::unreadable("Logto's list has no total"),
        Some(n_logto) if !is_within(n_logto, facts.n_mirrored) => Verdict::red(
            format!(
                "Logto has {n_logto} users, and {} are mirrored.",
                facts.n_mirrored.1
            ),
            "`dwp report --run` says who is missing and why.",
        ),
        Some(_) => Verdict::green(format!(
            "{} listed, {} looked up by id, {} of them compared field by field.",
            count(facts.n_listed, "user", "users"),
            facts.n_sampled,
            facts.n_compared
        ))
        .no_older(*at_ms, now_ms, "`dwp checklist --run`."),
    }
}

pub fn figures(facts: &Facts) -> Json {
    let differing: Vec<_> = facts
        .differing
        .iter()
        .take(N_SHOWN)
        .map(|(id, path)| json!({ "id": id, "path": path }))
        .collect();
    json!({
        "listed": facts.n_listed, "rows": facts.n_rows.1, "mirrored": facts.n_mirrored.1,
        "logto": facts.n_logto, "sampled": facts.n_sampled, "compared": facts.n_compared, "listed_without_row": facts.n_rowless,
        "hidden": facts.hidden.iter().take(N_SHOWN).collect::<Vec<_>>(), "differing": differing,
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
    let place = place(platform.random_u64());
    let sample = Statement::new(SAMPLE, vec![place.into(), N_SAMPLED.into()]);
    let asked = vec![Statement::new(TOTALS, vec![]), sample];
    let before = ask(platform, asked).await?;
    let listed = console::first_users(platform, context, N_LISTED).await;
    let listed = listed.map_err(BackendFailure::code)?;
    let n_logto = match logto::users_page(platform, context, 1, 1).await {
        Ok(logto::UsersPage::Whole { total, .. }) => total,
        Ok(logto::UsersPage::TooLarge { .. }) => None,
        Err(failure) => return Err(failure.code()),
    };
    let ids = json!(listed.ids).to_string();
    let asked = vec![
        Statement::new(TOTALS, vec![]),
        Statement::new(LISTED, vec![ids.into()]),
    ];
    let after = ask(platform, asked).await?;
    let [totals, rows] = before.as_slice() else {
        return Err("statement_refused");
    };
    let mut facts = Facts {
        n_listed: listed.total,
        n_rows: (total(totals, "n_rows")?, of(&after, 0, "n_rows")?),
        n_mirrored: (total(totals, "n_mirrored")?, of(&after, 0, "n_mirrored")?),
        n_rowless: of(&after, 1, "n")?,
        n_logto,
        ..Facts::default()
    };
    for row in rows {
        look_up(platform, context, row, &mut facts).await?;
    }
    Ok(facts)
}

async fn look_up<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    row: &Row,
    facts: &mut Facts,
) -> Result<(), &'static str> {
    let id = text(row, "id").and_then(|id| UserId::parse(&id));
    let Some(id) = id else {
        return Ok(());
    };
    let shown = user(platform, context, &Caller::Proxy, &id, DEADLINE_MS).await;
    match shown {
        Ok(Found::Yes(shown)) => {
            let is_fresh = integer(row, "applied_at").unwrap_or(0) > platform.now_ms() - FRESH_MS;
            let paths = differences(row, &shown);
            if paths.is_empty() || !is_fresh {
                facts.n_compared += 1;
                let named = |path: &str| (id.to_string(), path.to_owned());
                facts.differing.extend(paths.into_iter().map(named));
            }
        }
        Ok(Found::No | Found::NotAllowed(_)) => facts.hidden.push(id.to_string()),
        Err(BackendFailure::OutOfContract(_)) => {
            facts
                .differing
                .push((id.to_string(), "unreadable".to_owned()));
        }
        Err(failure) => return Err(failure.code()),
    }
    facts.n_sampled += 1;
    Ok(())
}

/// Fields that the API shows otherwise than the row has them.
fn differences(row: &Row, shown: &ApiUser) -> Vec<&'static str> {
    let json = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_default();
    let email = |email: Option<String>| email.map(|email| email.to_lowercase());
    let held = text(row, "metadata").unwrap_or_default();
    let fields: BTreeMap<&str, bool> = [
        // mgPass may spell an address otherwise.
        (
            "email",
            email(text(row, "email")) == email(shown.email.clone()),
        ),
        ("phone", text(row, "phone") == shown.phone),
        ("name", text(row, "name") == shown.name),
        ("avatar", text(row, "avatar") == shown.avatar),
        (
            "is_suspended",
            (integer(row, "is_suspended") == Some(1)) == shown.is_suspended,
        ),
        (
            "created_at",
            integer(row, "created_at") == Some(shown.created_at_s),
        ),
        (
            "custom_data",
            match &shown.custom_data {
                Field::Shown(data) => json(data) == json(&held),
                Field::NotShown => true,
            },
        ),
    ]
    .into();
    let different = fields.into_iter().filter(|(_, is_equal)| !is_equal);
    different.map(|(path, _)| path).collect()
}

async fn ask<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, &'static str> {
    let answer = platform.batch(Store::Mgpass, statements).await;
    answer.map_err(|failure| failure.code())
}

fn total(rows: &[Row], name: &str) -> Result<i64, &'static str> {
    let total = rows.first().and_then(|row| integer(row, name));
    total.ok_or("statement_refused")
}

fn of(results: &[Vec<Row>], index: usize, name: &str) -> Result<i64, &'static str> {
    total(
        results.get(index).map(Vec::as_slice).unwrap_or_default(),
        name,
    )
}

/// Two characters of those that Logto's ids are made of.
fn place(draw: u64) -> String {
    const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let letter = |draw: u64| {
        let index = usize::try_from(draw % LETTERS.len() as u64).unwrap_or_default();
        char::from(LETTERS.get(index).copied().unwrap_or(b'0'))
    };
    [letter(draw), letter(draw / 36)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_shown_makes_it_red() {
        let good = Facts {
            n_listed: 12,
            n_rows: (11, 13),
            n_mirrored: (9, 9),
            n_logto: Some(9),
            n_sampled: 9,
            n_compared: 8,
            ..Facts::default()
        };
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
                n_listed: 10,
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                n_rowless: 1,
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                n_logto: Some(10),
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                n_logto: None,
                ..good.clone()
            },
            State::Unreadable,
        );
        check(
            Facts {
                hidden: vec!["u1".into()],
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                differing: vec![("u1".into(), "name".into())],
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                n_compared: 0,
                ..good.clone()
            },
            State::NothingSampled,
        );
        check(
            Facts {
                n_sampled: 0,
                ..good.clone()
            },
            State::NothingSampled,
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
