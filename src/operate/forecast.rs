//! Who will have to sign in anew, and why: asked before the share rises, before the authority
//! changes hands or comes back, and before Logto is left.
//!
//! People are counted, by the application through which Logto first met them; browsers
//! nobody here knows. Each count is the most that it can be: how many sessions and chains of
//! refresh tokens live is known to the sides alone. What cannot be counted beforehand is
//! named all the same, without a number. The codes are those of `dwp why` where it has one.

use serde_json::{Value, json};

use crate::policy::applications::{Applications, Part};
use crate::population::readiness;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Store};
use crate::runtime::sql::{integer, text};

/// Why somebody signs in anew whom Logto alone would not have asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    FirstAtMgpass,
    NoRoad,
    SecondFactor,
    EnterpriseSso,
    /// Nobody has looked yet.
    NotJudged,
    Consent,
    SplitGroup,
    BackToLogto,
    LogtoLeft,
    SessionsEnded,
    AnswerLost,
    Frame,
}

impl Reason {
    /// In the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::FirstAtMgpass,
        Self::NoRoad,
        Self::SecondFactor,
        Self::EnterpriseSso,
        Self::NotJudged,
        Self::Consent,
        Self::SplitGroup,
        Self::BackToLogto,
        Self::LogtoLeft,
        Self::SessionsEnded,
        Self::AnswerLost,
        Self::Frame,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::FirstAtMgpass => "first_sign_in_at_mgpass",
            Self::NoRoad => "not_ready_no_road",
            Self::SecondFactor => "not_ready_second_factor",
            Self::EnterpriseSso => "not_ready_enterprise_sso",
            Self::NotJudged => "not_ready_unknown",
            Self::Consent => "consent_at_mgpass",
            Self::SplitGroup => "single_sign_on_split",
            Self::BackToLogto => "back_to_logto",
            Self::LogtoLeft => "logto_left",
            Self::SessionsEnded => "sessions_ended",
            Self::AnswerLost => "refresh_answer_lost",
            Self::Frame => "renewal_in_a_frame",
        }
    }

    /// As it is kept of people whose sign-in at Logto was judged.
    fn verdict(self) -> Option<&'static str> {
        match self {
            Self::SecondFactor => Some("second_factor"),
            Self::EnterpriseSso => Some("enterprise_sso"),
            Self::FirstAtMgpass
            | Self::NoRoad
            | Self::NotJudged
            | Self::Consent
            | Self::SplitGroup
            | Self::BackToLogto
            | Self::LogtoLeft
            | Self::SessionsEnded
            | Self::AnswerLost
            | Self::Frame => None,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::FirstAtMgpass => {
                "the first sign-in at mgPass asks once, in each browser without a session at Logto"
            }
            Self::NoRoad => "no way in at mgPass by what they use at Logto: a reset first",
            Self::SecondFactor => {
                "a second factor or passkey keeps them at Logto; after the cutover they need one at mgPass"
            }
            Self::EnterpriseSso => {
                "a company sign-in keeps them at Logto; after the cutover they need another way in"
            }
            Self::NotJudged => {
                "not signed in at Logto since sign-ins move: a second factor or company sign-in may keep them there"
            }
            Self::Consent => "mgPass asks once for consent, for each application",
            Self::SplitGroup => {
                "an application of the group does not move: who is at mgPass signs in there as well"
            }
            Self::BackToLogto => {
                "with the share or the stage taken back, a browser that has a session at mgPass alone signs in at Logto"
            }
            Self::LogtoLeft => {
                "from cleanup on: whoever still has a session or a refresh token of Logto's then"
            }
            Self::SessionsEnded => {
                "a suspension ends all sessions; a new password those of the other side: one chosen at mgPass those at Logto, one set at Logto those that a carried one made at mgPass"
            }
            Self::AnswerLost => {
                "the answer to a refresh was lost on the way, and the client's own retry came to nothing"
            }
            Self::Frame => "an application that renews in a frame of another site",
        }
    }
}

/// Of one application through which Logto met people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Population {
    client_id: Option<String>,
    n_people: i64,
    /// Signed in within the 14 days that a session of Logto's lasts.
    n_live: i64,
    /// Within the year in which a chain of refresh tokens can be rotated on.
    n_chained: i64,
    n_without_road: i64,
    /// Have signed in at mgPass.
    n_there: i64,
}

impl Population {
    fn of(row: &Row) -> Self {
        let n = |name| integer(row, name).unwrap_or(0);
        Self {
            client_id: text(row, "client_id"),
            n_people: n("n_people"),
            n_live: n("n_live"),
            n_chained: n("n_chained"),
            n_without_road: n("n_without_road"),
            n_there: n("n_there"),
        }
    }

    /// `None`: it is not known of people by application, or not at all.
    fn count(&self, reason: Reason, applications: &Applications) -> Option<i64> {
        match reason {
            Reason::FirstAtMgpass => Some(self.n_live),
            Reason::NoRoad => Some(self.n_without_road),
            Reason::Consent => Some(self.n_people),
            Reason::SplitGroup => Some(if has_split(applications) {
                self.n_people
            } else {
                0
            }),
            Reason::BackToLogto => Some(self.n_there),
            Reason::LogtoLeft => Some(self.n_chained),
            Reason::SecondFactor
            | Reason::EnterpriseSso
            | Reason::NotJudged
            | Reason::SessionsEnded
            | Reason::AnswerLost
            | Reason::Frame => None,
        }
    }
}

/// Whether of some group one application moves and another does not.
fn has_split(applications: &Applications) -> bool {
    let list = applications.list();
    list.iter().any(|one| {
        one.is_ready(Part::SignIn)
            && list
                .iter()
                .any(|other| other.group == one.group && !other.is_ready(Part::SignIn))
    })
}

/// What was found out behind sign-ins at Logto.
struct Judged<'a> {
    /// Verdicts that keep people there, and of how many.
    not_moved: &'a [Row],
    n_judged: i64,
}

impl Judged<'_> {
    fn n(&self, verdict: &str) -> i64 {
        let mut rows = self.not_moved.iter();
        let found = rows.find(|row| text(row, "verdict").as_deref() == Some(verdict));
        found.and_then(|row| integer(row, "n")).unwrap_or(0)
    }
}

/// By application, how people get in at mgPass and whether they have a session at Logto
/// now; and by reason.
///
/// # Errors
/// When a database does not answer.
pub async fn view<P: Platform>(
    platform: &P,
    applications: &Applications,
) -> Result<Value, DatabaseFailure> {
    let asked = vec![readiness::by_application(), readiness::population()];
    let mut results = platform.batch(Store::Mgpass, asked).await?.into_iter();
    let people = results.next().unwrap_or_default();
    let populations: Vec<_> = results
        .next()
        .unwrap_or_default()
        .iter()
        .map(Population::of)
        .collect();
    let asked = vec![readiness::not_moved(), readiness::judged()];
    let mut ours = platform.batch(Store::Proxy, asked).await?.into_iter();
    let not_moved = ours.next().unwrap_or_default();
    let judged = ours.next().unwrap_or_default();
    let n_judged = judged
        .first()
        .and_then(|row| integer(row, "n"))
        .unwrap_or(0);
    let judged = Judged {
        not_moved: &not_moved,
        n_judged,
    };
    let name = |client_id: Option<&str>| {
        let found = applications.of_client(client_id.unwrap_or_default());
        found.map(|(application, _)| application.name.clone())
    };
    let people: Vec<_> = people
        .into_iter()
        .map(|mut row| {
            let client_id = text(&row, "client_id");
            row.insert("application".to_owned(), json!(name(client_id.as_deref())));
            row.insert("live".to_owned(), json!(integer(&row, "live") == Some(1)));
            row
        })
        .collect();
    let reasons: Vec<_> = reasons(&populations, applications, &judged)
        .into_iter()
        .map(|(reason, client_id, n)| {
            json!({ "code": reason.code(), "client_id": client_id, "application": name(client_id.as_deref()),
                "people": n, "meaning": reason.meaning() })
        })
        .collect();
    Ok(json!({ "people": people, "reasons": reasons }))
}

/// Of each application how many at most; without an application where that is not known,
/// and without a number where nobody can know one.
fn reasons(
    populations: &[Population],
    applications: &Applications,
    judged: &Judged<'_>,
) -> Vec<(Reason, Option<String>, Option<i64>)> {
    let mut found = Vec::new();
    for reason in Reason::ALL {
        let counted = populations.iter().filter_map(|population| {
            let n = population.count(reason, applications)?;
            Some((reason, population.client_id.clone(), Some(n)))
        });
        let before = found.len();
        found.extend(counted);
        if let Some(verdict) = reason.verdict() {
            found.push((reason, None, Some(judged.n(verdict))));
        } else if reason == Reason::NotJudged {
            let n_people: i64 = populations.iter().map(|one| one.n_people).sum();
            let n = (n_people - judged.n_judged).max(0);
            found.push((reason, None, Some(n)));
        } else if found.len() == before {
            found.push((reason, None, None));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applications(ready: [&str; 2]) -> Applications {
        let entry = |name: &str, ready: &str| {
            json!({ "name": name, "group": "main", "owner": "web", "ready": if ready.is_empty() { json!([]) } else { json!([ready]) },
                "logto": { "client_id": name, "start": format!("https://{name}.example/l") },
                "mgpass": { "client_id": format!("app_{name}"), "start": format!("https://{name}.example/m") } })
        };
        let list = json!([entry("news", ready[0]), entry("shop", ready[1])]);
        Applications::parse(&list.to_string()).unwrap()
    }

    const NOBODY: Judged<'_> = Judged {
        not_moved: &[],
        n_judged: 0,
    };

    fn population() -> Population {
        Population {
            client_id: Some("news".to_owned()),
            n_people: 90,
            n_live: 50,
            n_chained: 70,
            n_without_road: 20,
            n_there: 10,
        }
    }

    fn of(found: &[(Reason, Option<String>, Option<i64>)], reason: Reason) -> Option<i64> {
        let found: Vec<_> = found.iter().filter(|(one, ..)| *one == reason).collect();
        assert_eq!(found.len(), 1, "{reason:?}");
        found[0].2
    }

    #[test]
    fn each_reason_is_named_and_counted_where_it_can_be() {
        let verdict = json!({ "verdict": "second_factor", "n": 7 });
        let not_moved = [verdict.as_object().unwrap().clone()];
        let judged = Judged {
            not_moved: &not_moved,
            n_judged: 60,
        };
        let applications = applications(["sign_in", "sign_in"]);
        let found = reasons(&[population()], &applications, &judged);
        for (reason, n) in [
            (Reason::FirstAtMgpass, Some(50)),
            (Reason::NoRoad, Some(20)),
            (Reason::SecondFactor, Some(7)),
            (Reason::EnterpriseSso, Some(0)),
            (Reason::NotJudged, Some(30)),
            (Reason::Consent, Some(90)),
            (Reason::SplitGroup, Some(0)),
            (Reason::BackToLogto, Some(10)),
            (Reason::LogtoLeft, Some(70)),
            (Reason::SessionsEnded, None),
            (Reason::AnswerLost, None),
            (Reason::Frame, None),
        ] {
            assert_eq!(of(&found, reason), n, "{reason:?}");
        }
        assert_eq!(found.len(), Reason::ALL.len());
    }

    #[test]
    fn a_group_is_split_while_one_of_it_moves_and_another_does_not() {
        for (ready, n) in [
            (["sign_in", "sign_in"], 0),
            (["sign_in", ""], 90),
            (["", ""], 0),
            (["sign_out", ""], 0),
        ] {
            let found = reasons(&[population()], &applications(ready), &NOBODY);
            assert_eq!(of(&found, Reason::SplitGroup), Some(n), "{ready:?}");
        }
    }

    #[test]
    fn nobody_at_mgpass_yet_still_names_every_reason() {
        let found = reasons(&[], &Applications::default(), &NOBODY);
        for reason in Reason::ALL {
            of(&found, reason);
        }
    }
}
