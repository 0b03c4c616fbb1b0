//! Which move of the authority is due: one pure function of the row, of what is pending
//! and of the gates.
//!
//! ```text
//! logto -> draining -> mgpass -> returning -> logto
//!                      mgpass <-> alone
//! ```
//!
//! `alone` is stage `cleanup`: Logto is not asked any more. Nothing drains on the way there:
//! what Logto lacks by then stays noted, so that the way back finds it.
//!
//! Each move but an operator's own is tried by whoever comes: cron, a relay, a user write
//! that waits, `dwp`. So a stopped cron leaves nobody between two sides. The statements
//! that carry a move out ask for the same conditions once more.

use crate::handover::authority::Holder;
use crate::handover::row::{Authority, Pending};
use crate::policy::flags::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Everybody is told: until its end no draining begins.
    Announce,
    /// The announcement is taken back.
    Withdraw(Cause),
    /// `logto` to `draining`.
    Drain,
    /// `draining` to `mgpass`.
    HandOver,
    /// `draining` back to `logto`, by itself.
    Return(Cause),
    /// `mgpass` to `returning`.
    GoBack,
    /// `returning` to `logto`.
    ComeBack,
    /// `returning` back to `mgpass`, by itself.
    Stay(Cause),
    /// `mgpass` to `alone`.
    Leave,
    /// `alone` back to `mgpass`: Logto is kept equal again.
    Rejoin,
}

/// Why something moved back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    WishWithdrawn,
    NoLongerArmed,
    /// The deadline passed, and what stood in the way was ...
    Backlog,
    UnansweredCalls,
    ExpiredIntents,
    UnnamedIntents,
    ParkedUsers,
}

impl Cause {
    pub fn code(self) -> &'static str {
        match self {
            Self::WishWithdrawn => "wish_withdrawn",
            Self::NoLongerArmed => "no_longer_armed",
            Self::Backlog => "deadline_backlog",
            Self::UnansweredCalls => "deadline_unanswered_calls",
            Self::ExpiredIntents => "deadline_expired_intents",
            Self::UnnamedIntents => "deadline_unnamed_intents",
            Self::ParkedUsers => "deadline_parked_users",
        }
    }
}

impl Move {
    pub fn to(self) -> Holder {
        match self {
            Self::Announce | Self::Withdraw(_) | Self::Return(_) | Self::ComeBack => Holder::Logto,
            Self::Drain => Holder::Draining,
            Self::HandOver | Self::Stay(_) | Self::Rejoin => Holder::Mgpass,
            Self::Leave => Holder::Alone,
            Self::GoBack => Holder::Returning,
        }
    }

    /// As `authority_log` has it.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Announce => "announced",
            Self::Drain | Self::GoBack | Self::Leave | Self::Rejoin => "wish",
            Self::HandOver | Self::ComeBack => "drained",
            Self::Withdraw(cause) | Self::Return(cause) | Self::Stay(cause) => cause.code(),
        }
    }

    /// False: the holder stays, and so does the generation.
    pub fn changes_holder(self) -> bool {
        !matches!(self, Self::Announce | Self::Withdraw(_))
    }

    /// Whether mgPass's database must know of it first. A way back is taken without, and
    /// then nobody relays before it has been told.
    pub fn needs_raise(self) -> bool {
        match self {
            Self::Drain
            | Self::HandOver
            | Self::GoBack
            | Self::ComeBack
            | Self::Leave
            | Self::Rejoin => true,
            Self::Announce | Self::Withdraw(_) | Self::Return(_) | Self::Stay(_) => false,
        }
    }
}

/// What the gates say, where they were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    NotAsked,
    Shut,
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Now(Move),
    Wait(Why),
}

/// Why nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NoWish,
    Gates,
    Announced,
    Pending,
    /// mgPass's database does not know the generation yet.
    RaiseOwed,
    /// What was sent to Logto and not answered may still land there.
    Unanswered,
    /// Cleaning up has begun: what a way back would go by is gone.
    Cleared,
}

impl Why {
    pub fn code(self) -> &'static str {
        match self {
            Self::NoWish => "no_wish",
            Self::Gates => "gates",
            Self::Announced => "announced",
            Self::Pending => "pending",
            Self::RaiseOwed => "raise_owed",
            Self::Unanswered => "unanswered_calls",
            Self::Cleared => "cleared",
        }
    }
}

pub fn due(authority: &Authority, pending: &Pending, gates: Gates) -> Due {
    match authority.holder {
        Holder::Logto => due_at_logto(authority, gates),
        Holder::Draining => match () {
            () if authority.is_past_deadline() => Due::Now(Move::Return(in_the_way(pending))),
            () if !authority.wishes(Stage::Cutover) => Due::Now(Move::Return(Cause::WishWithdrawn)),
            () if pending.n_logto > 0 || pending.n_parked > 0 => Due::Wait(Why::Pending),
            () => Due::Now(Move::HandOver),
        },
        Holder::Mgpass
            if !authority.wishes(Stage::DualWrite) && !authority.wishes(Stage::Cleanup) =>
        {
            Due::Wait(Why::NoWish)
        }
        Holder::Mgpass if authority.is_raise_owed => Due::Wait(Why::RaiseOwed),
        // The way back would only wait for it, with everybody's writes.
        Holder::Mgpass if pending.n_unanswered > 0 => Due::Wait(Why::Unanswered),
        Holder::Mgpass if authority.wishes(Stage::Cleanup) => match gates {
            Gates::NotAsked | Gates::Shut => Due::Wait(Why::Gates),
            Gates::Open => Due::Now(Move::Leave),
        },
        Holder::Mgpass => Due::Now(Move::GoBack),
        Holder::Alone if !authority.wishes(Stage::Cutover) => Due::Wait(Why::NoWish),
        Holder::Alone if authority.is_raise_owed => Due::Wait(Why::RaiseOwed),
        Holder::Alone if pending.is_cleared => Due::Wait(Why::Cleared),
        Holder::Alone => Due::Now(Move::Rejoin),
        Holder::Returning => match () {
            () if authority.is_past_deadline() => Due::Now(Move::Stay(match pending {
                Pending { n_mgpass: 1.., .. } | Pending { n_sent: 0, .. } => Cause::Backlog,
                Pending { .. } => Cause::UnansweredCalls,
            })),
            () if !authority.wishes(Stage::DualWrite) => Due::Now(Move::Stay(Cause::WishWithdrawn)),
            () if pending.n_mgpass > 0 || pending.n_sent > 0 => Due::Wait(Why::Pending),
            () => Due::Now(Move::ComeBack),
        },
    }
}

fn due_at_logto(authority: &Authority, gates: Gates) -> Due {
    let wishes = authority.wishes(Stage::Cutover);
    match authority.announced {
        Some(_) if !wishes => Due::Now(Move::Withdraw(Cause::WishWithdrawn)),
        Some(_) if !authority.is_armed() => Due::Now(Move::Withdraw(Cause::NoLongerArmed)),
        Some(announced) if authority.now_ms < announced.until_ms => Due::Wait(Why::Announced),
        None if !wishes => Due::Wait(Why::NoWish),
        Some(_) | None if authority.is_raise_owed => Due::Wait(Why::RaiseOwed),
        announced => match (gates, announced) {
            (Gates::NotAsked | Gates::Shut, _) => Due::Wait(Why::Gates),
            (Gates::Open, Some(_)) => Due::Now(Move::Drain),
            (Gates::Open, None) => Due::Now(Move::Announce),
        },
    }
}

/// The deadline has passed: what a person would look at first.
fn in_the_way(pending: &Pending) -> Cause {
    match pending {
        Pending { n_expired: 1.., .. } => Cause::ExpiredIntents,
        Pending { n_parked: 1.., .. } => Cause::ParkedUsers,
        Pending { n_unnamed: 1.., .. } => Cause::UnnamedIntents,
        _ => Cause::Backlog,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::row::{Announced, Source, Wish};

    const NOW: i64 = 1_000_000;

    fn authority(holder: Holder, wish: Option<Stage>) -> Authority {
        let is_between = matches!(holder, Holder::Draining | Holder::Returning);
        Authority {
            holder,
            generation: 7,
            term: 2,
            since_ms: NOW - 1,
            deadline_ms: is_between.then_some(NOW + 1),
            is_raise_owed: false,
            announced: None,
            armed_until_ms: Some(NOW + 1),
            wish: wish.map(|stage| Wish {
                stage,
                at_ms: 0,
                source: Source::Dwp,
            }),
            kv_stage: Some(Stage::DualWrite),
            kv_before: None,
            now_ms: NOW,
        }
    }

    fn announced(until_ms: i64) -> Authority {
        Authority {
            announced: Some(Announced {
                at_ms: NOW - 10,
                until_ms,
            }),
            ..authority(Holder::Logto, Some(Stage::Cutover))
        }
    }

    const NOTHING: Pending = Pending {
        n_logto: 0,
        n_expired: 0,
        n_unnamed: 0,
        n_mgpass: 0,
        n_sent: 0,
        n_unanswered: 0,
        n_parked: 0,
        is_cleared: false,
    };

    #[test]
    fn at_logto_a_wish_is_announced_and_then_drained_and_each_asks_the_gates() {
        let plain = authority(Holder::Logto, Some(Stage::Cutover));
        let over = announced(NOW);
        for gates in [Gates::NotAsked, Gates::Shut] {
            for authority in [&plain, &over] {
                assert_eq!(due(authority, &NOTHING, gates), Due::Wait(Why::Gates));
            }
        }
        assert_eq!(due(&plain, &NOTHING, Gates::Open), Due::Now(Move::Announce));
        assert_eq!(
            due(&announced(NOW + 1), &NOTHING, Gates::Open),
            Due::Wait(Why::Announced)
        );
        assert_eq!(due(&over, &NOTHING, Gates::Open), Due::Now(Move::Drain));
    }

    #[test]
    fn without_a_wish_for_it_nothing_begins_and_an_announcement_is_taken_back() {
        for wish in [None, Some(Stage::DualWrite)] {
            let plain = authority(Holder::Logto, wish);
            assert_eq!(due(&plain, &NOTHING, Gates::Open), Due::Wait(Why::NoWish));
            let told = Authority {
                wish: plain.wish,
                ..announced(NOW)
            };
            assert_eq!(
                due(&told, &NOTHING, Gates::Open),
                Due::Now(Move::Withdraw(Cause::WishWithdrawn))
            );
        }
        let disarmed = Authority {
            armed_until_ms: Some(NOW),
            ..announced(NOW + 1)
        };
        assert_eq!(
            due(&disarmed, &NOTHING, Gates::Open),
            Due::Now(Move::Withdraw(Cause::NoLongerArmed))
        );
    }

    #[test]
    fn draining_ends_at_mgpass_when_nothing_is_pending_and_else_at_its_deadline_at_logto() {
        let draining = authority(Holder::Draining, Some(Stage::Cutover));
        let check = |authority: &Authority, pending: &Pending, expected: Due| {
            assert_eq!(due(authority, pending, Gates::NotAsked), expected);
        };
        check(&draining, &NOTHING, Due::Now(Move::HandOver));
        let late = Authority {
            deadline_ms: Some(NOW),
            ..draining.clone()
        };
        for (pending, cause) in [
            (
                Pending {
                    n_logto: 1,
                    ..NOTHING
                },
                Cause::Backlog,
            ),
            (
                Pending {
                    n_logto: 1,
                    n_expired: 1,
                    ..NOTHING
                },
                Cause::ExpiredIntents,
            ),
            (
                Pending {
                    n_logto: 1,
                    n_unnamed: 1,
                    ..NOTHING
                },
                Cause::UnnamedIntents,
            ),
            (
                Pending {
                    n_parked: 1,
                    ..NOTHING
                },
                Cause::ParkedUsers,
            ),
        ] {
            check(&draining, &pending, Due::Wait(Why::Pending));
            check(&late, &pending, Due::Now(Move::Return(cause)));
        }
        // Even if all is done by then: what is inserted from now on is Logto's.
        check(&late, &NOTHING, Due::Now(Move::Return(Cause::Backlog)));
        let unwanted = authority(Holder::Draining, None);
        check(
            &unwanted,
            &NOTHING,
            Due::Now(Move::Return(Cause::WishWithdrawn)),
        );
    }

    #[test]
    fn the_way_back_has_a_deadline_too_and_a_wish_of_its_own() {
        let check = |authority: &Authority, pending: &Pending, expected: Due| {
            assert_eq!(due(authority, pending, Gates::NotAsked), expected);
        };
        for wish in [None, Some(Stage::Cutover)] {
            check(
                &authority(Holder::Mgpass, wish),
                &NOTHING,
                Due::Wait(Why::NoWish),
            );
        }
        let mgpass = authority(Holder::Mgpass, Some(Stage::DualWrite));
        check(&mgpass, &NOTHING, Due::Now(Move::GoBack));
        let owing = Authority {
            is_raise_owed: true,
            ..mgpass
        };
        check(&owing, &NOTHING, Due::Wait(Why::RaiseOwed));
        let returning = authority(Holder::Returning, Some(Stage::DualWrite));
        let pending = Pending {
            n_mgpass: 1,
            ..NOTHING
        };
        check(&returning, &pending, Due::Wait(Why::Pending));
        check(&returning, &NOTHING, Due::Now(Move::ComeBack));
        let late = Authority {
            deadline_ms: Some(NOW),
            ..returning
        };
        check(&late, &NOTHING, Due::Now(Move::Stay(Cause::Backlog)));
        check(
            &authority(Holder::Returning, None),
            &NOTHING,
            Due::Now(Move::Stay(Cause::WishWithdrawn)),
        );
    }

    /// It would land on what Logto's clients write then.
    #[test]
    fn nobody_comes_back_to_logto_while_a_call_of_ours_may_still_land_there() {
        let sent = Pending {
            n_sent: 1,
            ..NOTHING
        };
        let unanswered = Pending {
            n_unanswered: 1,
            ..sent
        };
        let mgpass = authority(Holder::Mgpass, Some(Stage::DualWrite));
        let asked =
            |authority: &Authority, pending: &Pending| due(authority, pending, Gates::NotAsked);
        // Each write has its call for a moment.
        assert_eq!(asked(&mgpass, &sent), Due::Now(Move::GoBack));
        assert_eq!(asked(&mgpass, &unanswered), Due::Wait(Why::Unanswered));
        let returning = authority(Holder::Returning, Some(Stage::DualWrite));
        let late = Authority {
            deadline_ms: Some(NOW),
            ..returning.clone()
        };
        for pending in [sent, unanswered] {
            assert_eq!(asked(&returning, &pending), Due::Wait(Why::Pending));
            let stay = Due::Now(Move::Stay(Cause::UnansweredCalls));
            assert_eq!(asked(&late, &pending), stay);
        }
    }

    #[test]
    fn nothing_leaves_logto_while_mgpass_was_not_told_of_the_last_way_back() {
        for authority in [
            authority(Holder::Logto, Some(Stage::Cutover)),
            announced(NOW),
        ] {
            let owing = Authority {
                is_raise_owed: true,
                ..authority
            };
            assert_eq!(
                due(&owing, &NOTHING, Gates::Open),
                Due::Wait(Why::RaiseOwed)
            );
        }
    }

    #[test]
    fn nobody_leaves_logto_alone_but_through_open_gates_and_comes_back_until_it_is_cleared() {
        let leaving = authority(Holder::Mgpass, Some(Stage::Cleanup));
        for gates in [Gates::NotAsked, Gates::Shut] {
            assert_eq!(due(&leaving, &NOTHING, gates), Due::Wait(Why::Gates));
        }
        assert_eq!(due(&leaving, &NOTHING, Gates::Open), Due::Now(Move::Leave));
        let owing = Authority {
            is_raise_owed: true,
            ..leaving.clone()
        };
        let waits = Due::Wait(Why::RaiseOwed);
        assert_eq!(due(&owing, &NOTHING, Gates::Open), waits);
        let unanswered = Pending {
            n_unanswered: 1,
            ..NOTHING
        };
        let waits = Due::Wait(Why::Unanswered);
        assert_eq!(due(&leaving, &unanswered, Gates::Open), waits);
        for wish in [None, Some(Stage::DualWrite), Some(Stage::Cleanup)] {
            let alone = authority(Holder::Alone, wish);
            assert_eq!(due(&alone, &NOTHING, Gates::Open), Due::Wait(Why::NoWish));
        }
        let alone = authority(Holder::Alone, Some(Stage::Cutover));
        let now = Due::Now(Move::Rejoin);
        assert_eq!(due(&alone, &NOTHING, Gates::NotAsked), now);
        let cleared = Pending {
            is_cleared: true,
            ..NOTHING
        };
        let waits = Due::Wait(Why::Cleared);
        assert_eq!(due(&alone, &cleared, Gates::NotAsked), waits);
    }
}
