//! What becomes of a write once Logto has answered, or has not: one pure function.
//!
//! Logto's answer decides, never what was predicted of it. What Logto acknowledged (2xx,
//! 3xx) is known: recorded under a name, or a gap for all who may be concerned.

use crate::inbound::classify::{Concerns, Operation, SubjectSource};

/// What Logto's answer says about the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
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

impl WriteResult {
    pub fn of(operation: Operation, answer: Option<&Answered>) -> Self {
        let Some(answer) = answer else {
            return Self::Unanswered;
        };
        match (operation, answer.status) {
            // 201 is a user inserted, 204 an existing one identified (contract 4.2).
            (Operation::ExperienceIdentification, 204) => Self::Idle,
            // A consent goes on where the interaction resumes. Without a session there is
            // another redirect, and a third party's application gets a page.
            (Operation::ConsentPage, 300..=399) if is_resume(answer) => Self::Acknowledged,
            (Operation::ConsentPage, 200..=399) => Self::Idle,
            (_, 200..=399) => Self::Acknowledged,
            (_, 401 | 403) if is_management(operation) => Self::Unseen,
            (_, 404 | 405) if is_management(operation) && !answer.is_json => Self::Unseen,
            (_, 400..=499) => Self::Refused,
            (_, _) => Self::Failed,
        }
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
    result: WriteResult,
) -> Conclusion {
    let only = |fate| Conclusion {
        fate,
        is_gap: false,
    };
    let gap_and = |fate| Conclusion { fate, is_gap: true };
    match (recording, result) {
        (Recording::Done, WriteResult::Unanswered) => only(Fate::LeftOpen),
        (Recording::Done, WriteResult::Unseen) => only(Fate::Withdrawn),
        // No new user came of it; of a user with a name, a reconcile finds out.
        (Recording::Done, WriteResult::Idle | WriteResult::Refused) if !is_named => {
            only(Fate::Withdrawn)
        }
        (Recording::Done, WriteResult::Acknowledged) if !is_named => match source.concerns() {
            Concerns::New => only(Fate::Settled),
            Concerns::Either | Concerns::Existing => gap_and(Fate::Settled),
        },
        (Recording::Done, _) => only(Fate::Settled),
        (Recording::Omitted, WriteResult::Acknowledged) => match (is_named, source.concerns()) {
            (true, _) | (false, Concerns::New) => only(Fate::RecordedLate),
            (false, Concerns::Either) => gap_and(Fate::RecordedLate),
            (false, Concerns::Existing) => gap_and(Fate::Nothing),
        },
        (Recording::Omitted, _) => only(Fate::Nothing),
        // What neither took before, one of them may take now: then it is not for the walk alone.
        (Recording::Failed, WriteResult::Acknowledged | WriteResult::Failed) => {
            gap_and(Fate::Settled)
        }
        (Recording::Failed, WriteResult::Unanswered)
        | (
            Recording::Off,
            WriteResult::Acknowledged | WriteResult::Failed | WriteResult::Unanswered,
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
    const RESULTS: [WriteResult; 6] = [
        WriteResult::Unanswered,
        WriteResult::Acknowledged,
        WriteResult::Idle,
        WriteResult::Unseen,
        WriteResult::Refused,
        WriteResult::Failed,
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
            for (result, (fate, is_gap)) in RESULTS.into_iter().zip(expected) {
                assert_eq!(
                    conclude(*source, recording, is_named, result),
                    Conclusion { fate, is_gap },
                    "{source:?} {recording:?} {is_named} {result:?}"
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
        #[rustfmt::skip]
        let unrecorded = [
            (Recording::Failed,
                [(Nothing, gap), (Settled, gap), (Nothing, no), (Nothing, no), (Nothing, no), (Settled, gap)]),
            (Recording::Off,
                [(Nothing, gap), (Nothing, gap), (Nothing, no), (Nothing, no), (Nothing, no), (Nothing, gap)]),
        ];
        for (recording, expected) in unrecorded {
            for is_named in [true, false] {
                check(&SOURCES, recording, is_named, expected);
            }
        }
    }

    #[test]
    fn an_acknowledged_write_is_known_or_a_gap_whatever_was_predicted() {
        for source in SOURCES {
            for recording in RECORDINGS {
                for is_named in [true, false] {
                    let found = conclude(source, recording, is_named, WriteResult::Acknowledged);
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

    fn judge(operation: Operation, status: u16, location: Option<&str>) -> WriteResult {
        let answer = Answered {
            status,
            location: location.map(str::to_owned),
            is_json: true,
        };
        WriteResult::of(operation, Some(&answer))
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
                    WriteResult::Idle
                } else {
                    WriteResult::Acknowledged
                };
                assert_eq!(found, expected, "{} {status}", row.name);
            }
            for status in [500, 502, 504, 599, 101] {
                assert_eq!(judge(row.operation, status, None), WriteResult::Failed);
            }
            assert_eq!(
                WriteResult::of(row.operation, None),
                WriteResult::Unanswered
            );
        }
    }

    #[test]
    fn what_no_handler_saw_changed_nobody() {
        let of = |operation, status| judge(operation, status, None);
        for status in [401, 403] {
            assert_eq!(of(Operation::UsersPatch, status), WriteResult::Unseen);
            assert_eq!(of(Operation::UsersCreate, status), WriteResult::Unseen);
            assert_eq!(of(Operation::AccountWrite, status), WriteResult::Refused);
            assert_eq!(
                of(Operation::ExperienceSubmit, status),
                WriteResult::Refused
            );
        }
        assert_eq!(of(Operation::UsersPatch, 422), WriteResult::Refused);
        assert_eq!(of(Operation::UsersPatch, 404), WriteResult::Refused);
        let routing = Answered {
            status: 404,
            location: None,
            is_json: false,
        };
        let of = |operation| WriteResult::of(operation, Some(&routing));
        assert_eq!(of(Operation::UsersOther), WriteResult::Unseen);
        assert_eq!(of(Operation::AccountWrite), WriteResult::Refused);
    }

    #[test]
    fn a_consent_is_told_from_other_redirects_of_its_page() {
        let of = |location| judge(Operation::ConsentPage, 302, location);
        for resume in [
            "https://auth.example.com/oidc/auth/uid1",
            "/oidc/auth/uid1",
            "http://127.0.0.1:3001/oidc/device/uid1",
        ] {
            assert_eq!(of(Some(resume)), WriteResult::Acknowledged, "{resume}");
        }
        for other in [
            "https://auth.example.com/unknown-session",
            "https://elsewhere.example/?next=/oidc/auth/uid1",
            "/one-time-token?errorMessage=x",
            "https://auth.example.com",
        ] {
            assert_eq!(of(Some(other)), WriteResult::Idle, "{other}");
        }
        assert_eq!(of(None), WriteResult::Idle);
    }
}
