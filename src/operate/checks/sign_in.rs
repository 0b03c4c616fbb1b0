//! All users can sign in at mgPass: by which way, how many by none, who did of late, and
//! whether a probe account really gets in.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{State, Verdict, count};
use crate::operate::probe::{self, Probed};
use crate::runtime::context::Context;
use crate::runtime::ports::{Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

/// By the first way in that somebody has. Suspended users are kept out on purpose and do
/// not count.
const ROADS: &str = "SELECT CASE WHEN u.password_hash IS NOT NULL AND u.password_hash IS NOT m.void_hash THEN CASE WHEN m.password_carried = 1 THEN 'carried' \
     WHEN EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.password_reset') THEN 'reset' \
     WHEN EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.password_set') THEN 'prompted' ELSE 'password' END \
     WHEN EXISTS (SELECT 1 FROM social_identities s WHERE s.user_id = u.id) THEN 'social' \
     WHEN u.email IS NOT NULL AND u.email_verified = 1 THEN 'email_reset' ELSE 'none' END AS road, count(*) AS n \
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL AND u.is_suspended = 0 GROUP BY 1";
const SIGNED_IN: &str = "SELECT coalesce(json_extract(metadata, '$.method'), 'unknown') AS method, count(*) AS n FROM audit_logs \
     WHERE created_at > unixepoch() - 86400 AND event_type = 'user.login.success' GROUP BY 1 ORDER BY 2 DESC LIMIT 20";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[ROADS, SIGNED_IN];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub failure: Option<String>,
    /// The password of before; one set at mgPass's page, by a reset, or by another way.
    #[serde(default)]
    pub carried: i64,
    #[serde(default)]
    pub prompted: i64,
    #[serde(default)]
    pub reset: i64,
    pub password: i64,
    pub social: i64,
    pub email_reset: i64,
    pub none: i64,
    /// Method and number of the last 24 hours.
    pub signed_in: Vec<(String, i64)>,
    pub probe: Probed,
}

pub fn judge(facts: Option<&(Facts, i64)>, max_without: i64, now_ms: i64) -> Verdict {
    const ROAD: &str = "`dwp readiness --csv FILE` names them; give each a verified address, or raise CHECK_MAX_WITHOUT_ROAD.";
    let Some((facts, at_ms)) = facts else {
        return Verdict::never_run();
    };
    if let Some(code) = &facts.failure {
        return Verdict::unreadable(code);
    }
    let passwords = facts.carried + facts.prompted + facts.reset + facts.password;
    let n = passwords + facts.social + facts.email_reset + facts.none;
    if n == 0 {
        return Verdict::of(
            State::NothingSampled,
            "Nobody is mirrored.",
            "`dwp import users`.",
        );
    }
    if facts.none > max_without {
        let who = count(facts.none, "user has", "users have");
        return Verdict::red(
            format!("{who} no way to sign in at mgPass; {max_without} may be."),
            ROAD,
        );
    }
    match &facts.probe {
        Probed::Absent => Verdict::of(
            State::NotProbed,
            "No probe account is set up.",
            "Set PROBE_USER, PROBE_EMAIL, PROBE_PASSWORD, PROBE_CLIENT_ID and PROBE_REDIRECT_URI.",
        ),
        Probed::Lacks(name) => Verdict::of(
            State::NotProbed,
            format!("The probe account lacks {name}."),
            "Set it, or take the others away.",
        ),
        Probed::KeptOut(code) => Verdict::red(
            format!("The probe account could not sign in at mgPass: {code}."),
            "Sign in with it by hand at mgPass; docs/troubleshooting.md has a line for each code.",
        ),
        Probed::SignedIn => Verdict::green(format!(
            "{} a way in, {} none, and {max_without} may have none; the probe account signed in.",
            count(n - facts.none, "user has", "users have"),
            facts.none,
        ))
        .no_older(*at_ms, now_ms, "`dwp checklist --run`."),
    }
}

pub fn figures(facts: &Facts, max_without: i64) -> Json {
    let methods: serde_json::Map<String, Json> = facts
        .signed_in
        .iter()
        .map(|(method, n)| (method.clone(), json!(n)))
        .collect();
    json!({
        "carried": facts.carried, "prompted": facts.prompted, "reset": facts.reset,
        "password": facts.password, "social": facts.social, "email_reset": facts.email_reset,
        "none": facts.none, "max_none": max_without, "signed_in_24h": methods,
        "probe": match &facts.probe {
            Probed::Absent => "absent",
            Probed::Lacks(_) => "incomplete",
            Probed::SignedIn => "signed_in",
            Probed::KeptOut(code) => code,
        },
    })
}

pub async fn gather<P: Platform>(platform: &P, context: &Context<'_>) -> Facts {
    // First, so that its own sign-in is among those of the last 24 hours.
    let probe = probe::sign_in(platform, context).await;
    let asked = [ROADS, SIGNED_IN].map(|sql| Statement::new(sql, vec![]));
    match platform.batch(Store::Mgpass, asked.into()).await {
        Ok(results) => read(&results, probe),
        Err(failure) => Facts {
            failure: Some(failure.code().to_owned()),
            probe,
            ..Facts::default()
        },
    }
}

fn read(results: &[Vec<Row>], probe: Probed) -> Facts {
    let rows = |index: usize| results.get(index).map(Vec::as_slice).unwrap_or_default();
    let of = |road: &str| {
        let row = rows(0)
            .iter()
            .find(|row| text(row, "road").as_deref() == Some(road));
        row.and_then(|row| integer(row, "n")).unwrap_or(0)
    };
    let method = |row: &Row| Some((plain(text(row, "method")?), integer(row, "n")?));
    Facts {
        failure: None,
        carried: of("carried"),
        prompted: of("prompted"),
        reset: of("reset"),
        password: of("password"),
        social: of("social"),
        email_reset: of("email_reset"),
        none: of("none"),
        signed_in: rows(1).iter().filter_map(method).collect(),
        probe,
    }
}

/// mgPass's word for a method; anything that is no plain word is not repeated.
fn plain(method: String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.' | b'-');
    match method.len() <= 32 && method.bytes().all(is_plain) {
        true => method,
        false => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_not_seen_is_green() {
        let good = Facts {
            social: 7,
            email_reset: 2,
            none: 1,
            probe: Probed::SignedIn,
            ..Facts::default()
        };
        let check = |facts: Facts, expected: State| {
            assert_eq!(judge(Some(&(facts, 1_000)), 1, 2_000).state, expected);
        };
        check(good.clone(), State::Green);
        assert_eq!(judge(None, 1, 0).state, State::NotProbed);
        let old = judge(Some(&(good.clone(), 0)), 1, MAX + 1).state;
        assert_eq!(old, State::Old);
        for (probe, expected) in [
            (Probed::Absent, State::NotProbed),
            (Probed::Lacks("PROBE_EMAIL".to_owned()), State::NotProbed),
            (Probed::KeptOut("refused".to_owned()), State::Red),
        ] {
            check(
                Facts {
                    probe,
                    ..good.clone()
                },
                expected,
            );
        }
        check(
            Facts {
                none: 2,
                ..good.clone()
            },
            State::Red,
        );
        check(
            Facts {
                failure: Some("database_unavailable".to_owned()),
                ..good
            },
            State::Unreadable,
        );
        let nobody = Facts {
            probe: Probed::SignedIn,
            ..Facts::default()
        };
        check(nobody, State::NothingSampled);
    }

    const MAX: i64 = super::super::MAX_AGE_MS;
}
