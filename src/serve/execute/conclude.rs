//! What becomes of a write once Logto has answered, or has not: one pure function.
//!
//! Logto's answer decides, never what was predicted of it. What Logto acknowledged (2xx,
//! 3xx) is known: recorded under a name, or a gap for all who may be concerned.

use crate::inbound::classify::{Concerns, Operation, SubjectSource};

/// What Logto's answer says about the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No answer: it may have been done, and may still be.
    Unanswered,
    /// 2xx and 3xx.
    Acknowledged,
    /// 2xx and 3xx that changed nobody: staged for a later request, or a page shown.
    Idle,
    /// No handler saw it: the Management API judges its caller before anything else,
    /// and a path that it does not have changes nobody.
    Unseen,
    /// Any other 4xx. A few of Logto's writes are committed before a later step fails.
    Refused,
    /// 5xx, and whatever else.
    Failed,
}

/// An answer of Logto's, as far as it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub location: Option<String>,
    /// A handler's own errors are; a router's are plain text.
    pub is_json: bool,
}

pub fn verdict(operation: Operation, answer: Option<&Answered>) -> Verdict {
    let Some(answer) = answer else {
        return Verdict::Unanswered;
    };
    match (operation, answer.status) {
        // 201 is a user inserted, 204 an existing one identified (contract 4.2).
        (Operation::ExperienceIdentification, 204) => Verdict::Idle,
        // A consent goes on where the interaction resumes. Without a session there is
        // another redirect, and a third party's application gets a page.
        (Operation::ConsentPage, 300..=399) if is_resume(answer) => Verdict::Acknowledged,
        (Operation::ConsentPage, 200..=399) => Verdict::Idle,
        (_, 200..=399) => Verdict::Acknowledged,
        (_, 401 | 403) if is_management(operation) => Verdict::Unseen,
        (_, 404 | 405) if is_management(operation) && !answer.is_json => Verdict::Unseen,
        (_, 400..=499) => Verdict::Refused,
        (_, _) => Verdict::Failed,
    }
}

fn is_management(operation: Operation) -> bool {
    use crate::inbound::classify::Kind::Write;
    let kind = operation.kind();
    kind == Write(SubjectSource::Path) || kind == Write(SubjectSource::Answer)
}

/// Absolute or not: `/oidc/auth/:uid`, and `/oidc/device/:uid` of a device.
fn is_resume(answer: &Answered) -> bool {
    let location = answer.location.as_deref().unwrap_or_default();
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |start| rest.split_at(start).1),
        None => location,
    };
    path.starts_with("/oidc/auth/") || path.starts_with("/oidc/device/")
}

/// What was recorded before the write was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// An intent, in the database or in the Queue.
    Done,
    /// None: Logto was thought to refuse the write, or nobody could be named.
    Omitted,
    /// None: neither database nor Queue took it.
    Failed,
    /// None: stage `off`, or settings with faults.
    Off,
}

/// What is to be done about the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is none.
    Nothing,
    /// Stays open, and is looked at when it expires.
    LeftOpen,
    Settled,
    /// Inserted and settled in one, before the client has the answer.
    RecordedLate,
    /// Nobody was changed: taken back.
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conclusion {
    pub fate: Fate,
    /// The epoch rises: an acknowledged write, or one that may have been carried out
    /// while nothing recorded it, is known by nothing else.
    pub is_gap: bool,
}

pub fn conclude(
    source: SubjectSource,
    recording: Recording,
    is_named: bool,
    verdict: Verdict,
) -> Conclusion {
    let only = |fate| Conclusion {
        fate,
        is_gap: false,
    };
    let gap_and = |fate| Conclusion { fate, is_gap: true };
    match (recording, verdict) {
        (Recording::Done, Verdict::Unanswered) => only(Fate::LeftOpen),
        (Recording::Done, Verdict::Unseen) => only(Fate::Withdrawn),
        // No new user came of it; of a user with a name, a reconcile finds out.
        (Recording::Done, Verdict::Idle | Verdict::Refused) if !is_named => only(Fate::Withdrawn),
        (Recording::Done, Verdict::Acknowledged) if !is_named => match source.concerns() {
            Concerns::New => only(Fate::Settled),
            Concerns::Either | Concerns::Existing => gap_and(Fate::Settled),
        },
        (Recording::Done, _) => only(Fate::Settled),
        (Recording::Omitted, Verdict::Acknowledged) => match (is_named, source.concerns()) {
            (true, _) | (false, Concerns::New) => only(Fate::RecordedLate),
            (false, Concerns::Either) => gap_and(Fate::RecordedLate),
            (false, Concerns::Existing) => gap_and(Fate::Nothing),
        },
        (Recording::Omitted, _) => only(Fate::Nothing),
        (
            Recording::Failed | Recording::Off,
            Verdict::Acknowledged | Verdict::Failed | Verdict::Unanswered,
        ) => gap_and(Fate::Nothing),
        (Recording::Failed | Recording::Off, _) => only(Fate::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::classify::{Kind, OPERATIONS};

    const SOURCES: [SubjectSource; 7] = [
        SubjectSource::Path,
        SubjectSource::Answer,
        SubjectSource::AccessToken,
        SubjectSource::Identified,
        SubjectSource::Identifying,
        SubjectSource::Session,
        SubjectSource::Untold,
    ];
    const VERDICTS: [Verdict; 6] = [
        Verdict::Unanswered,
        Verdict::Acknowledged,
        Verdict::Idle,
        Verdict::Unseen,
        Verdict::Refused,
        Verdict::Failed,
    ];
    const RECORDINGS: [Recording; 4] = [
        Recording::Done,
        Recording::Omitted,
        Recording::Failed,
        Recording::Off,
    ];

    fn check(
        sources: &[SubjectSource],
        recording: Recording,
        is_named: bool,
        expected: [(Fate, bool); 6],
    ) {
        for source in sources {
            for (verdict, (fate, is_gap)) in VERDICTS.into_iter().zip(expected) {
                assert_eq!(
                    conclude(*source, recording, is_named, verdict),
                    Conclusion { fate, is_gap },
                    "{source:?} {recording:?} {is_named} {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn the_whole_table() {
        use Fate::{LeftOpen, Nothing, RecordedLate, Settled, Withdrawn};
        use SubjectSource::{AccessToken, Answer, Identified, Identifying, Path, Session, Untold};
        let (no, gap) = (false, true);
        // Unanswered, acknowledged, idle, unseen, refused, failed.
        #[rustfmt::skip]
        let rows = [
            (&SOURCES[..], Recording::Done, true,
                [(LeftOpen, no), (Settled, no), (Settled, no), (Withdrawn, no), (Settled, no), (Settled, no)]),
            (&[Answer, Identifying], Recording::Done, false,
                [(LeftOpen, no), (Settled, no), (Withdrawn, no), (Withdrawn, no), (Withdrawn, no), (Settled, no)]),
            (&[Path, AccessToken, Identified, Session, Untold], Recording::Done, false,
                [(LeftOpen, no), (Settled, gap), (Withdrawn, no), (Withdrawn, no), (Withdrawn, no), (Settled, no)]),
            (&SOURCES[..], Recording::Omitted, true,
                [(Nothing, no), (RecordedLate, no), (Nothing, no), (Nothing, no), (Nothing, no), (Nothing, no)]),
            (&[Path, AccessToken, Identified, Session], Recording::Omitted, false,
                [(Nothing, no), (Nothing, gap), (Nothing, no), (Nothing, no), (Nothing, no), (Nothing, no)]),
            (&[Answer, Identifying], Recording::Omitted, false,
                [(Nothing, no), (RecordedLate, no), (Nothing, no), (Nothing, no), (Nothing, no), (Nothing, no)]),
            (&[Untold], Recording::Omitted, false,
                [(Nothing, no), (RecordedLate, gap), (Nothing, no), (Nothing, no), (Nothing, no), (Nothing, no)]),
        ];
        for (sources, recording, is_named, expected) in rows {
            check(sources, recording, is_named, expected);
        }
        let unrecorded = [
            (Nothing, gap),
            (Nothing, gap),
            (Nothing, no),
            (Nothing, no),
            (Nothing, no),
            (Nothing, gap),
        ];
        for recording in [Recording::Failed, Recording::Off] {
            for is_named in [true, false] {
                check(&SOURCES, recording, is_named, unrecorded);
            }
        }
    }

    #[test]
    fn an_acknowledged_write_is_known_or_a_gap_whatever_was_predicted() {
        for source in SOURCES {
            for recording in RECORDINGS {
                for is_named in [true, false] {
                    let found = conclude(source, recording, is_named, Verdict::Acknowledged);
                    let is_known = matches!(found.fate, Fate::Settled | Fate::RecordedLate);
                    // A nameless record finds new users only.
                    let finds_all = is_named || source.concerns() == Concerns::New;
                    assert!(
                        found.is_gap || (is_known && finds_all),
                        "{source:?} {recording:?} {is_named}"
                    );
                }
            }
        }
    }

    fn judge(operation: Operation, status: u16, location: Option<&str>) -> Verdict {
        let answer = Answered {
            status,
            location: location.map(str::to_owned),
            is_json: true,
        };
        verdict(operation, Some(&answer))
    }

    #[test]
    fn any_answer_of_2xx_or_3xx_acknowledges_but_for_two_that_contracts_name() {
        for row in OPERATIONS {
            let Kind::Write(_) = row.kind else {
                continue;
            };
            for status in [200, 201, 202, 204, 206, 302, 303, 304] {
                let found = judge(row.operation, status, Some("/oidc/auth/uid1"));
                let is_idle = match row.operation {
                    Operation::ExperienceIdentification => status == 204,
                    Operation::ConsentPage => status < 300,
                    _ => false,
                };
                let expected = if is_idle {
                    Verdict::Idle
                } else {
                    Verdict::Acknowledged
                };
                assert_eq!(found, expected, "{} {status}", row.name);
            }
            for status in [500, 502, 504, 599, 101] {
                assert_eq!(judge(row.operation, status, None), Verdict::Failed);
            }
            assert_eq!(verdict(row.operation, None), Verdict::Unanswered);
        }
    }

    #[test]
    fn what_no_handler_saw_changed_nobody() {
        let of = |operation, status| judge(operation, status, None);
        for status in [401, 403] {
            assert_eq!(of(Operation::UsersPatch, status), Verdict::Unseen);
            assert_eq!(of(Operation::UsersCreate, status), Verdict::Unseen);
            assert_eq!(of(Operation::AccountWrite, status), Verdict::Refused);
            assert_eq!(of(Operation::ExperienceSubmit, status), Verdict::Refused);
        }
        assert_eq!(of(Operation::UsersPatch, 422), Verdict::Refused);
        assert_eq!(of(Operation::UsersPatch, 404), Verdict::Refused);
        let routing = Answered {
            status: 404,
            location: None,
            is_json: false,
        };
        let of = |operation| verdict(operation, Some(&routing));
        assert_eq!(of(Operation::UsersOther), Verdict::Unseen);
        assert_eq!(of(Operation::AccountWrite), Verdict::Refused);
    }

    #[test]
    fn a_consent_is_told_from_other_redirects_of_its_page() {
        let of = |location| judge(Operation::ConsentPage, 302, location);
        for resume in [
            "https://auth.example.com/oidc/auth/uid1",
            "/oidc/auth/uid1",
            "http://127.0.0.1:3001/oidc/device/uid1",
        ] {
            assert_eq!(of(Some(resume)), Verdict::Acknowledged, "{resume}");
        }
        for other in [
            "https://auth.example.com/unknown-session",
            "https://elsewhere.example/?next=/oidc/auth/uid1",
            "/one-time-token?errorMessage=x",
            "https://auth.example.com",
        ] {
            assert_eq!(of(Some(other)), Verdict::Idle, "{other}");
        }
        assert_eq!(of(None), Verdict::Idle);
    }
}
