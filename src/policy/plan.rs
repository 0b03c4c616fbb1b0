//! Where one request goes, and why: one pure, total function.
//!
//! `plan` does no I/O. Where it needs a fact that costs something (a signature
//! check, a look into the outbox), it asks, and is called again with the answer;
//! so a request pays only for the facts its own path needs, and no order of
//! answers can reach mgPass without all of them.

mod reason;

pub use self::reason::Reason;
use crate::inbound::classify::{Kind, Operation};
use crate::policy::flags::bucket::Bucket;
use crate::policy::flags::{Flags, Share, Stage};

/// Whose answer the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    Logto,
    /// mgPass, asked with the proxy's own credential.
    Mgpass,
    /// mgPass, asked with the caller's own token.
    MgpassAsCaller,
}

impl Primary {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
            Self::MgpassAsCaller => "mgpass_as_caller",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub primary: Primary,
    pub reason: Reason,
}

impl Plan {
    pub const fn logto(reason: Reason) -> Self {
        Self {
            primary: Primary::Logto,
            reason,
        }
    }
}

/// Whose token the caller brought, judged by the unverified `iss` alone. It may
/// choose which checks follow, never which backend is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No bearer token, or an opaque one.
    None,
    Foreign,
    Logto,
    Mgpass,
}

/// Signature, issuer, audience, expiry and scope, all checked at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticity {
    Authentic,
    Refused,
}

/// How mgPass stands with this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// A database could not say.
    Unknown,
    /// A write of this user was not discharged before the request began.
    Fenced,
    /// Never reconciled, not in this recording epoch, or a tombstone.
    NotReconciled,
    Equal,
}

/// What this isolate's breaker says of one more read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    Refused,
}

/// The facts known so far; `None` has not been asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub origin: Option<Origin>,
    pub authenticity: Option<Authenticity>,
    pub eligibility: Option<Eligibility>,
    pub admission: Option<Admission>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Origin,
    Authenticity,
    Eligibility,
    /// Asked last: the answer may be a probe, which must not be wasted.
    Admission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ask(Fact),
    Go(Plan),
}

pub fn plan(operation: Operation, flags: &Flags, bucket: Option<Bucket>, facts: &Facts) -> Step {
    if operation.kind() != Kind::Read {
        return logto(Reason::NotARead);
    }
    if flags.stage == Stage::Off {
        return logto(Reason::StageOff);
    }
    let Some(origin) = facts.origin else {
        return Step::Ask(Fact::Origin);
    };
    match origin {
        Origin::None => logto(Reason::NoBearerJwt),
        Origin::Foreign => logto(Reason::ForeignIssuer),
        Origin::Mgpass => match facts.authenticity {
            None => Step::Ask(Fact::Authenticity),
            Some(Authenticity::Refused) => logto(Reason::TokenRefused),
            Some(Authenticity::Authentic) => go(Primary::MgpassAsCaller, Reason::MgpassToken),
        },
        Origin::Logto => plan_for_logto_token(operation, flags, bucket, facts),
    }
}

fn plan_for_logto_token(
    operation: Operation,
    flags: &Flags,
    bucket: Option<Bucket>,
    facts: &Facts,
) -> Step {
    if flags.kill_switch {
        return logto(Reason::KillSwitch);
    }
    if flags.stage != Stage::DualWrite {
        return logto(Reason::StageShadow);
    }
    let is_within = |share: Share| bucket.is_some_and(|bucket| bucket.is_within(share));
    if !is_within(flags.read_share(operation)) {
        return logto(Reason::OutsideShare);
    }
    if flags
        .guard
        .as_ref()
        .is_some_and(|guard| !is_within(guard.cap))
    {
        return logto(Reason::Guard);
    }
    match facts.authenticity {
        None => return Step::Ask(Fact::Authenticity),
        Some(Authenticity::Refused) => return logto(Reason::TokenRefused),
        Some(Authenticity::Authentic) => {}
    }
    match facts.eligibility {
        None => return Step::Ask(Fact::Eligibility),
        Some(Eligibility::Unknown) => return logto(Reason::EligibilityUnknown),
        Some(Eligibility::Fenced) => return logto(Reason::Fence),
        Some(Eligibility::NotReconciled) => return logto(Reason::NotReconciled),
        Some(Eligibility::Equal) => {}
    }
    match facts.admission {
        None => Step::Ask(Fact::Admission),
        Some(Admission::Refused) => logto(Reason::Breaker),
        Some(Admission::Admitted) => go(Primary::Mgpass, Reason::InShare),
    }
}

fn logto(reason: Reason) -> Step {
    Step::Go(Plan::logto(reason))
}

fn go(primary: Primary, reason: Reason) -> Step {
    Step::Go(Plan { primary, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::classify::OPERATIONS;
    use crate::inbound::request::UserId;
    use crate::policy::flags::Guard;

    fn ramp(percent: &str) -> Flags {
        Flags {
            stage: Stage::DualWrite,
            read_percent: Share::parse_percent(percent).unwrap(),
            ..Flags::default()
        }
    }

    const EVERYTHING_SPEAKS_FOR_MGPASS: Facts = Facts {
        origin: Some(Origin::Logto),
        authenticity: Some(Authenticity::Authentic),
        eligibility: Some(Eligibility::Equal),
        admission: Some(Admission::Admitted),
    };

    fn bucket() -> Option<Bucket> {
        UserId::parse("ohr0n387iy4o").map(|user| Bucket::of(&user, ""))
    }

    fn check(flags: &Flags, facts: Facts, primary: Primary, reason: Reason) {
        let step = plan(Operation::UsersGet, flags, bucket(), &facts);
        assert_eq!(step, Step::Go(Plan { primary, reason }));
    }

    #[test]
    fn a_user_in_the_share_reads_from_mgpass() {
        check(
            &ramp("100"),
            EVERYTHING_SPEAKS_FOR_MGPASS,
            Primary::Mgpass,
            Reason::InShare,
        );
    }

    #[test]
    fn each_single_objection_sends_the_read_to_logto() {
        let facts = EVERYTHING_SPEAKS_FOR_MGPASS;
        let full = ramp("100");
        check(
            &Flags {
                stage: Stage::Off,
                ..full.clone()
            },
            facts,
            Primary::Logto,
            Reason::StageOff,
        );
        check(
            &Flags {
                stage: Stage::Shadow,
                ..full.clone()
            },
            facts,
            Primary::Logto,
            Reason::StageShadow,
        );
        check(
            &Flags {
                kill_switch: true,
                ..full.clone()
            },
            facts,
            Primary::Logto,
            Reason::KillSwitch,
        );
        let guard = Some(Guard {
            cap: Share::NONE,
            reason: "error_rate".into(),
        });
        check(
            &Flags {
                guard,
                ..full.clone()
            },
            facts,
            Primary::Logto,
            Reason::Guard,
        );
        check(&ramp("0"), facts, Primary::Logto, Reason::OutsideShare);
        check(
            &full,
            Facts {
                origin: Some(Origin::None),
                ..facts
            },
            Primary::Logto,
            Reason::NoBearerJwt,
        );
        check(
            &full,
            Facts {
                origin: Some(Origin::Foreign),
                ..facts
            },
            Primary::Logto,
            Reason::ForeignIssuer,
        );
        check(
            &full,
            Facts {
                authenticity: Some(Authenticity::Refused),
                ..facts
            },
            Primary::Logto,
            Reason::TokenRefused,
        );
        check(
            &full,
            Facts {
                eligibility: Some(Eligibility::Fenced),
                ..facts
            },
            Primary::Logto,
            Reason::Fence,
        );
        check(
            &full,
            Facts {
                eligibility: Some(Eligibility::NotReconciled),
                ..facts
            },
            Primary::Logto,
            Reason::NotReconciled,
        );
        check(
            &full,
            Facts {
                eligibility: Some(Eligibility::Unknown),
                ..facts
            },
            Primary::Logto,
            Reason::EligibilityUnknown,
        );
        check(
            &full,
            Facts {
                admission: Some(Admission::Refused),
                ..facts
            },
            Primary::Logto,
            Reason::Breaker,
        );
    }

    #[test]
    fn a_token_of_mgpass_goes_to_mgpass_whatever_the_percentage() {
        let facts = Facts {
            origin: Some(Origin::Mgpass),
            authenticity: Some(Authenticity::Authentic),
            eligibility: None,
            admission: None,
        };
        check(
            &ramp("0"),
            facts,
            Primary::MgpassAsCaller,
            Reason::MgpassToken,
        );
        check(
            &Flags {
                kill_switch: true,
                ..ramp("0")
            },
            facts,
            Primary::MgpassAsCaller,
            Reason::MgpassToken,
        );
        let refused = Facts {
            authenticity: Some(Authenticity::Refused),
            ..facts
        };
        check(&ramp("100"), refused, Primary::Logto, Reason::TokenRefused);
    }

    /// All combinations of flags and facts: the proxy's own credential is used
    /// only for an authentic Logto token, a user in the share, with no write open.
    #[test]
    fn nothing_unverified_ever_reaches_mgpass() {
        let origins = [
            None,
            Some(Origin::None),
            Some(Origin::Foreign),
            Some(Origin::Logto),
            Some(Origin::Mgpass),
        ];
        let authenticities = [
            None,
            Some(Authenticity::Authentic),
            Some(Authenticity::Refused),
        ];
        let eligibilities = [
            None,
            Some(Eligibility::Unknown),
            Some(Eligibility::Fenced),
            Some(Eligibility::NotReconciled),
            Some(Eligibility::Equal),
        ];
        let stages = [
            Stage::Off,
            Stage::Shadow,
            Stage::DualWrite,
            Stage::Cutover,
            Stage::Cleanup,
        ];
        let admissions = [None, Some(Admission::Admitted), Some(Admission::Refused)];
        let all_facts: Vec<_> = origins
            .into_iter()
            .flat_map(|origin| authenticities.map(|authenticity| (origin, authenticity)))
            .flat_map(|pair| eligibilities.map(|eligibility| (pair, eligibility)))
            .flat_map(|pair| admissions.map(|admission| (pair, admission)))
            .map(|(((origin, authenticity), eligibility), admission)| Facts {
                origin,
                authenticity,
                eligibility,
                admission,
            })
            .collect();
        for row in OPERATIONS {
            for stage in stages {
                for percent in ["0", "100"] {
                    for kill_switch in [false, true] {
                        for facts in &all_facts {
                            let flags = Flags {
                                stage,
                                kill_switch,
                                ..ramp(percent)
                            };
                            let Step::Go(plan) = plan(row.operation, &flags, bucket(), facts)
                            else {
                                continue;
                            };
                            match plan.primary {
                                Primary::Logto => {}
                                Primary::Mgpass => {
                                    assert_eq!(*facts, EVERYTHING_SPEAKS_FOR_MGPASS);
                                    assert_eq!(
                                        (stage, percent, kill_switch),
                                        (Stage::DualWrite, "100", false)
                                    );
                                    assert_eq!(row.kind, Kind::Read);
                                }
                                Primary::MgpassAsCaller => {
                                    assert_eq!(
                                        (facts.origin, facts.authenticity),
                                        (Some(Origin::Mgpass), Some(Authenticity::Authentic))
                                    );
                                    assert_eq!(row.kind, Kind::Read);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
