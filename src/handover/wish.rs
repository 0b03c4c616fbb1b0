//! What an operator wants: the latest of a noticed change of the KV key `stage` and of
//! `dwp stage`, one step at a time.
//!
//! KV reaches places late, so its value is no order: only its change is, against the
//! last value that the database keeps. And not yet where the value is the one before:
//! a place that is late still sees it. Whoever takes a value back so soon is heard two
//! minutes after they gave it, or at once by `dwp stage`. What is no single step from where the authority
//! stands is ignored by name. While mgPass is the authority that is `off`, `shadow` and
//! a key that is gone: policy follows the authority, never the wish.
//!
//! Harmless twice: a change is noticed by compare-and-set on the value before.

use crate::handover::authority::Holder;
use crate::handover::row::{Authority, Source};
use crate::policy::flags::Stage;
use crate::runtime::ports::Statement;
use crate::runtime::sql::now;

/// A value that KV took is seen everywhere within about a minute, and kept by an isolate
/// for some seconds.
pub(super) const LATE_MS: i64 = 120_000;

/// ?1 the value, ?2 the one before. What is wished stays as it is.
const NOTICE: &str = concat!(
    "UPDATE authority SET kv_before = kv_stage, kv_since = ",
    now!(),
    ", kv_stage = ?1 WHERE kv_stage IS ?2"
);
/// With a wish, or with the end of one: ?3 wish, ?4 source, ?5 generation.
const NOTICE_WISH: &str = concat!(
    "UPDATE authority SET kv_before = kv_stage, kv_since = ",
    now!(),
    ", kv_stage = ?1, wish = ?3, wish_at = CASE WHEN ?3 IS NULL THEN NULL ELSE ",
    now!(),
    " END, wish_source = CASE WHEN ?3 IS NULL THEN NULL ELSE ?4 END WHERE kv_stage IS ?2 AND generation = ?5 RETURNING generation"
);
const WISH: &str = concat!(
    "UPDATE authority SET wish = ?1, wish_at = CASE WHEN ?1 IS NULL THEN NULL ELSE ",
    now!(),
    " END, wish_source = CASE WHEN ?1 IS NULL THEN NULL ELSE ?2 END WHERE generation = ?3 RETURNING generation"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[NOTICE, NOTICE_WISH, WISH];

/// What a stage that somebody asks for means here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To be carried out.
    Wish(Stage),
    /// Whatever was wished is not any more.
    Unwish,
    /// A flag like any other: nothing about the authority.
    Flag,
    Ignored(Ignored),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The way there leads through other stages.
    NotOneStep,
    /// `off`, `shadow`, no key at all: they would end what only a return can end.
    MgpassIsAuthority,
}

impl Ignored {
    pub fn code(self) -> &'static str {
        match self {
            Self::NotOneStep => "not_one_step",
            Self::MgpassIsAuthority => "mgpass_is_authority",
        }
    }
}

/// `from`: the stage that was in force by KV before.
pub fn ask(authority: &Authority, from: Option<Stage>, to: Stage) -> Asked {
    let unwish = || match authority.wish {
        Some(_) => Asked::Unwish,
        None => Asked::Flag,
    };
    match (to, authority.holder) {
        (Stage::Off | Stage::Shadow | Stage::DualWrite, Holder::Logto | Holder::Draining) => {
            unwish()
        }
        // An automatic return leaves `cutover` in KV.
        (Stage::Cutover, Holder::Logto | Holder::Draining) => match from {
            Some(Stage::DualWrite | Stage::Cutover) => Asked::Wish(Stage::Cutover),
            Some(Stage::Off | Stage::Shadow | Stage::Cleanup) | None => {
                Asked::Ignored(Ignored::NotOneStep)
            }
        },
        (Stage::Cleanup, Holder::Logto | Holder::Draining | Holder::Returning) => {
            Asked::Ignored(Ignored::NotOneStep)
        }
        (Stage::Off | Stage::Shadow, Holder::Mgpass | Holder::Returning | Holder::Alone) => {
            Asked::Ignored(Ignored::MgpassIsAuthority)
        }
        (Stage::DualWrite, Holder::Mgpass | Holder::Returning) => Asked::Wish(Stage::DualWrite),
        (Stage::Cutover, Holder::Mgpass | Holder::Returning) => unwish(),
        (Stage::Cleanup, Holder::Mgpass) => Asked::Wish(Stage::Cleanup),
        (Stage::DualWrite, Holder::Alone) => Asked::Ignored(Ignored::NotOneStep),
        (Stage::Cutover, Holder::Alone) => Asked::Wish(Stage::Cutover),
        (Stage::Cleanup, Holder::Alone) => unwish(),
    }
}

/// KV says `stage` now. `None`: that is known, or not to be believed yet. The first value ever seen is no change.
pub fn noticed(authority: &Authority, stage: Stage) -> Option<(Asked, Statement)> {
    let is_late = |(before, since_ms)| before == stage && authority.now_ms - since_ms < LATE_MS;
    if authority.kv_stage == Some(stage) || authority.kv_before.is_some_and(is_late) {
        return None;
    }
    let asked = match authority.kv_stage {
        None => Asked::Flag,
        from => ask(authority, from, stage),
    };
    let mut values = vec![
        stage.name().into(),
        authority.kv_stage.map(Stage::name).into(),
    ];
    let wish = match asked {
        Asked::Flag | Asked::Ignored(_) => return Some((asked, Statement::new(NOTICE, values))),
        Asked::Wish(wish) => Some(wish.name()),
        Asked::Unwish => None,
    };
    values.extend([
        wish.into(),
        Source::Kv.name().into(),
        authority.generation.into(),
    ]);
    Some((asked, Statement::new(NOTICE_WISH, values)))
}

/// `dwp stage`. The answer is empty when the authority has moved meanwhile.
pub fn order(authority: &Authority, wish: Option<Stage>) -> Statement {
    let values = vec![
        wish.map(Stage::name).into(),
        Source::Dwp.name().into(),
        authority.generation.into(),
    ];
    Statement::new(WISH, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::row::Wish;

    fn authority(holder: Holder, kv_stage: Option<Stage>, wish: Option<Stage>) -> Authority {
        Authority {
            holder,
            generation: 3,
            term: 1,
            since_ms: 0,
            deadline_ms: None,
            is_raise_owed: false,
            announced: None,
            armed_until_ms: None,
            wish: wish.map(|stage| Wish {
                stage,
                at_ms: 1,
                source: Source::Kv,
            }),
            kv_stage,
            kv_before: None,
            now_ms: 1_000,
        }
    }

    fn check(holder: Holder, before: Stage, wish: Option<Stage>, now: Stage, expected: Asked) {
        let authority = authority(holder, Some(before), wish);
        let found = noticed(&authority, now).map(|(asked, _)| asked);
        assert_eq!(found, Some(expected), "{holder:?} {before:?} -> {now:?}");
    }

    #[test]
    fn a_change_in_kv_is_a_wish_only_by_one_step() {
        use Stage::{Cleanup, Cutover, DualWrite, Off, Shadow};
        let not_one_step = Asked::Ignored(Ignored::NotOneStep);
        let by_mgpass = Asked::Ignored(Ignored::MgpassIsAuthority);
        for holder in [Holder::Logto, Holder::Draining] {
            check(holder, DualWrite, None, Cutover, Asked::Wish(Cutover));
            check(holder, Off, None, Cutover, not_one_step);
            check(holder, Shadow, None, Cutover, not_one_step);
            check(holder, Off, None, Shadow, Asked::Flag);
            check(holder, DualWrite, None, Off, Asked::Flag);
            check(holder, DualWrite, None, Cleanup, not_one_step);
            for stage in [DualWrite, Shadow, Off] {
                check(holder, Cutover, Some(Cutover), stage, Asked::Unwish);
            }
        }
        for holder in [Holder::Mgpass, Holder::Returning] {
            for stage in [Off, Shadow] {
                for wish in [None, Some(DualWrite)] {
                    check(holder, Cutover, wish, stage, by_mgpass);
                }
            }
            check(holder, Cutover, None, DualWrite, Asked::Wish(DualWrite));
            check(holder, Off, None, DualWrite, Asked::Wish(DualWrite));
            check(holder, DualWrite, Some(DualWrite), Cutover, Asked::Unwish);
            check(holder, Off, None, Cutover, Asked::Flag);
        }
        check(Holder::Mgpass, Cutover, None, Cleanup, Asked::Wish(Cleanup));
        check(
            Holder::Mgpass,
            Cleanup,
            Some(Cleanup),
            Cutover,
            Asked::Unwish,
        );
        check(Holder::Returning, Cutover, None, Cleanup, not_one_step);
        for stage in [Off, Shadow] {
            check(Holder::Alone, Cleanup, None, stage, by_mgpass);
        }
        check(Holder::Alone, Cleanup, None, DualWrite, not_one_step);
        check(Holder::Alone, Cleanup, None, Cutover, Asked::Wish(Cutover));
        check(
            Holder::Alone,
            Cutover,
            Some(Cutover),
            Cleanup,
            Asked::Unwish,
        );
        check(Holder::Alone, Cutover, None, Cleanup, Asked::Flag);
    }

    #[test]
    fn the_same_value_is_no_change_and_the_first_one_is_no_wish() {
        let known = authority(Holder::Logto, Some(Stage::Cutover), None);
        assert_eq!(noticed(&known, Stage::Cutover), None);
        let fresh = authority(Holder::Logto, None, None);
        let (asked, statement) = noticed(&fresh, Stage::Cutover).unwrap();
        assert_eq!((asked, statement.sql), (Asked::Flag, NOTICE));
    }

    #[test]
    fn the_value_before_is_believed_only_once_no_place_can_be_late() {
        let known = |since_ms| Authority {
            kv_before: Some((Stage::DualWrite, since_ms)),
            ..authority(Holder::Logto, Some(Stage::Cutover), Some(Stage::Cutover))
        };
        let asked = |authority: &Authority, stage| noticed(authority, stage).map(|found| found.0);
        let fresh = known(1_001 - LATE_MS);
        assert_eq!(asked(&fresh, Stage::DualWrite), None);
        assert_eq!(asked(&fresh, Stage::Off), Some(Asked::Unwish));
        let settled = known(1_000 - LATE_MS);
        assert_eq!(asked(&settled, Stage::DualWrite), Some(Asked::Unwish));
    }

    #[test]
    fn dwp_may_give_a_spent_wish_again() {
        let spent = authority(Holder::Logto, Some(Stage::Cutover), None);
        assert_eq!(
            ask(&spent, spent.kv_stage, Stage::Cutover),
            Asked::Wish(Stage::Cutover)
        );
    }
}
