//! Why a person was asked to sign in: for the help desk. Of each reason that can be known,
//! whether it holds for this person now and since when; newest first.
//!
//! What mgPass wrote down of its sign-ins and sessions (audit log, by target) and what the
//! proxy found out about who is ready. Which browser it was nobody here knows: a pin is
//! random and stands in the browser alone. Codes and times; never a value of a user's.

use serde_json::{Value, json};

use crate::inbound::request::UserId;
use crate::policy::flags::{Flags, Share, Stage};
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

const VERDICT: &str = "SELECT verdict, judged_at FROM sign_in_ready WHERE user_id = ?1";
const AUTHORITY: &str = "SELECT holder, since FROM authority";
const EVENTS: &str = "SELECT event_type AS event, client_id, created_at * 1000 AS at, \
     json_extract(metadata, '$.reason') AS reason FROM audit_logs WHERE target_id = ?1 AND event_type IN \
     ('user.login.success', 'user.login.failed', 'session.created', 'session.revoked', 'user.sign_out', \
     'user.sessions.revoked_all', 'user.suspended', 'user.unsuspended', 'user.deleted') \
     ORDER BY created_at DESC, rowid DESC LIMIT 20";
const THERE: &str = "SELECT is_suspended, deleted_at IS NOT NULL AS is_deleted, \
     EXISTS (SELECT 1 FROM social_identities s WHERE s.user_id = u.id) AS has_social, \
     (SELECT min(created_at) * 1000 FROM audit_logs WHERE target_id = u.id AND event_type = 'user.login.success') AS first_at \
     FROM users u WHERE u.id = ?1";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[VERDICT, AUTHORITY];
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[EVENTS, THERE];

/// What is known of one person.
#[derive(Debug, Default)]
struct Facts {
    /// Of the last sign-in at Logto that was judged.
    verdict: Option<(String, i64)>,
    is_at_mgpass: bool,
    is_suspended: bool,
    is_deleted: bool,
    /// The first sign-in at mgPass.
    first_at_mgpass: Option<i64>,
    /// Newest first: event, its reason, when.
    events: Vec<(String, Option<String>, i64)>,
    /// Sign-ins go to mgPass by share now.
    is_moving: bool,
}

/// Code, since when.
type Reason = (&'static str, Option<i64>);

fn reasons(facts: &Facts) -> Vec<Reason> {
    let mut found: Vec<Reason> = Vec::new();
    if facts.is_deleted {
        found.push(("deleted", newest(facts, "user.deleted")));
    }
    if facts.is_suspended {
        found.push(("suspended", newest(facts, "user.suspended")));
    }
    for (event, reason, at) in &facts.events {
        let code = match (event.as_str(), reason.as_deref()) {
            ("session.revoked", Some("refresh_token_replayed")) => "refresh_token_used_twice",
            ("session.revoked" | "user.sessions.revoked_all", _) => "sessions_ended",
            ("user.sign_out", _) => "signed_out",
            ("user.login.failed", _) => "sign_in_failed",
            _ => continue,
        };
        // The newest of each kind.
        if !found.iter().any(|(known, _)| *known == code) {
            found.push((code, Some(*at)));
        }
    }
    if let Some(at) = facts.first_at_mgpass {
        found.push(("first_sign_in_at_mgpass", Some(at)));
        if !facts.is_moving {
            found.push(("back_to_logto", None));
        }
    }
    match &facts.verdict {
        Some((verdict, at)) if verdict != "ready" => {
            let code = match verdict.as_str() {
                "second_factor" => "not_ready_second_factor",
                "enterprise_sso" => "not_ready_enterprise_sso",
                _ => "not_ready_no_road",
            };
            found.push((code, Some(*at)));
        }
        Some(_) | None => {}
    }
    if !facts.is_at_mgpass {
        found.push(("not_at_mgpass", None));
    }
    // Stable, so that what has no time stays last and in order.
    found.sort_by_key(|(_, at)| std::cmp::Reverse(at.unwrap_or(i64::MIN)));
    found
}

fn newest(facts: &Facts, event: &str) -> Option<i64> {
    let found = facts.events.iter().find(|(name, _, _)| name == event);
    found.map(|(_, _, at)| *at)
}

/// What each code means, as a help desk may say it.
fn meaning(code: &str) -> &'static str {
    match code {
        "deleted" => "the account is deleted",
        "suspended" => "the account is suspended",
        "refresh_token_used_twice" => {
            "an application sent a refresh token a second time, so mgPass ended all of this person's sessions; tell the application's owner"
        }
        "sessions_ended" => {
            "this person's sessions at mgPass were ended, by a suspension, a new password or an administrator"
        }
        "signed_out" => "the person signed out",
        "sign_in_failed" => "a sign-in at mgPass failed: a wrong password, or none set yet",
        "first_sign_in_at_mgpass" => {
            "the first sign-in at mgPass asks once, in each browser, and for consent once for each application"
        }
        "back_to_logto" => {
            "sign-ins do not go to mgPass now: a browser that has a session there alone signs in at Logto"
        }
        "not_ready_second_factor" => "a second factor or passkey keeps this person at Logto",
        "not_ready_enterprise_sso" => "a company sign-in keeps this person at Logto",
        "not_ready_no_road" => {
            "mgPass has no way in for this person yet: no social account; a reset gives one"
        }
        "not_at_mgpass" => "mgPass does not have this person: `dwp explain USER`",
        _ => {
            "nothing that is known here: a new browser, cleared cookies, or a session that ran out"
        }
    }
}

/// # Errors
/// When a database gives no answer.
pub async fn view<P: Platform>(
    platform: &P,
    flags: &Flags,
    user: &UserId,
) -> Result<Value, DatabaseFailure> {
    let of_user = |sql| Statement::new(sql, vec![user.as_str().into()]);
    let ours = platform
        .batch(
            Store::Proxy,
            vec![of_user(VERDICT), Statement::new(AUTHORITY, vec![])],
        )
        .await?;
    let theirs = platform
        .batch(Store::Mgpass, vec![of_user(EVENTS), of_user(THERE)])
        .await?;
    let rows = |results: &[Vec<Row>], index: usize| results.get(index).cloned().unwrap_or_default();
    let (verdict, authority) = (rows(&ours, 0), rows(&ours, 1));
    let (events, there) = (rows(&theirs, 0), rows(&theirs, 1));
    let there = there.first();
    let is = |name| there.is_some_and(|row| integer(row, name) == Some(1));
    let verdict = verdict.first();
    let facts = Facts {
        verdict: verdict.and_then(|row| Some((text(row, "verdict")?, integer(row, "judged_at")?))),
        is_at_mgpass: there.is_some() && !is("is_deleted"),
        is_suspended: is("is_suspended"),
        is_deleted: is("is_deleted"),
        first_at_mgpass: there.and_then(|row| integer(row, "first_at")),
        events: events
            .iter()
            .filter_map(|row| {
                Some((
                    text(row, "event")?,
                    text(row, "reason"),
                    integer(row, "at")?,
                ))
            })
            .collect(),
        is_moving: is_moving(flags),
    };
    let mut found = reasons(&facts);
    if found.is_empty() {
        found.push(("unknown", None));
    }
    let shown = found
        .iter()
        .map(|(code, since)| json!({ "code": code, "since": since, "meaning": meaning(code) }));
    Ok(json!({
        "user": user.as_str(),
        "reasons": shown.collect::<Vec<_>>(),
        "ready": verdict,
        "has_social_account": is("has_social"),
        "at_mgpass": events,
        "authority": authority.first(),
        "sign_in_bps": flags.sign_in_percent.basis_points(),
        "stopped": flags.sign_in_stop.as_ref().map(|stop| &stop.reason),
    }))
}

fn is_moving(flags: &Flags) -> bool {
    flags.stage >= Stage::DualWrite
        && !flags.kill_switch
        && flags.sign_in_stop.is_none()
        && flags.sign_in_percent > Share::NONE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(facts: &Facts) -> Vec<&'static str> {
        reasons(facts).into_iter().map(|(code, _)| code).collect()
    }

    fn usual() -> Facts {
        Facts {
            verdict: Some(("ready".to_owned(), 5)),
            is_at_mgpass: true,
            is_moving: true,
            ..Facts::default()
        }
    }

    #[test]
    fn each_reason_alone_is_named() {
        let event = |name: &str, reason: Option<&str>| Facts {
            events: vec![(name.to_owned(), reason.map(str::to_owned), 7)],
            ..usual()
        };
        let verdict = |name: &str| Facts {
            verdict: Some((name.to_owned(), 5)),
            ..usual()
        };
        for (facts, expected) in [
            (usual(), vec![]),
            (
                Facts {
                    is_deleted: true,
                    ..usual()
                },
                vec!["deleted"],
            ),
            (
                Facts {
                    is_suspended: true,
                    ..usual()
                },
                vec!["suspended"],
            ),
            (
                Facts {
                    is_at_mgpass: false,
                    ..usual()
                },
                vec!["not_at_mgpass"],
            ),
            (
                Facts {
                    first_at_mgpass: Some(1),
                    ..usual()
                },
                vec!["first_sign_in_at_mgpass"],
            ),
            (
                Facts {
                    first_at_mgpass: Some(1),
                    is_moving: false,
                    ..usual()
                },
                vec!["first_sign_in_at_mgpass", "back_to_logto"],
            ),
            (verdict("second_factor"), vec!["not_ready_second_factor"]),
            (verdict("enterprise_sso"), vec!["not_ready_enterprise_sso"]),
            (verdict("no_road"), vec!["not_ready_no_road"]),
            (
                event("session.revoked", Some("refresh_token_replayed")),
                vec!["refresh_token_used_twice"],
            ),
            (event("session.revoked", None), vec!["sessions_ended"]),
            (
                event("user.sessions.revoked_all", None),
                vec!["sessions_ended"],
            ),
            (event("user.sign_out", None), vec!["signed_out"]),
            (event("user.login.failed", None), vec!["sign_in_failed"]),
            (event("session.created", None), vec![]),
        ] {
            assert_eq!(codes(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn the_newest_comes_first_and_each_kind_once() {
        let event = |name: &str, at| (name.to_owned(), None, at);
        let facts = Facts {
            first_at_mgpass: Some(20),
            verdict: Some(("no_road".to_owned(), 30)),
            events: vec![
                event("session.revoked", 40),
                event("user.login.failed", 25),
                event("user.sessions.revoked_all", 10),
            ],
            ..usual()
        };
        assert_eq!(
            codes(&facts),
            [
                "sessions_ended",
                "not_ready_no_road",
                "sign_in_failed",
                "first_sign_in_at_mgpass"
            ]
        );
        assert_eq!(reasons(&facts)[0].1, Some(40));
    }
}
