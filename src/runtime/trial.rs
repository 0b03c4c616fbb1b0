//! Whether mgPass answers, as far as one isolate knows, and whose turn it is to find out.
//!
//! Of many requests at once one tries, and the others go by what was known: a crowd that
//! asks mgPass whether it answers would be what it does not answer to.

use std::cell::Cell;

/// A browser is sent to mgPass's pages only while it answers.
const MGPASS_TRIED_EVERY_MS: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    Known(bool),
    /// Nobody knows yet, and another request is finding out.
    UnderWay,
    Yours,
}

#[derive(Debug, Default)]
pub struct Trials {
    /// When it was last tried, and whether it answered.
    tried: Cell<Option<(i64, bool)>>,
    /// Until when one request tries it for all.
    until_ms: Cell<i64>,
}

impl Trials {
    pub fn turn(&self, now_ms: i64, deadline_ms: u32) -> Trial {
        let is_under_way = now_ms < self.until_ms.get();
        let is_fresh = |tried_at_ms| (0..MGPASS_TRIED_EVERY_MS).contains(&(now_ms - tried_at_ms));
        match self.tried.get() {
            Some((tried_at_ms, answers)) if is_under_way || is_fresh(tried_at_ms) => {
                Trial::Known(answers)
            }
            None if is_under_way => Trial::UnderWay,
            Some(_) | None => {
                // A request may be cut off in the middle of it: then another one tries.
                self.until_ms.set(now_ms + i64::from(deadline_ms));
                Trial::Yours
            }
        }
    }

    pub fn done(&self, answers: bool, now_ms: i64) {
        self.tried.set(Some((now_ms, answers)));
        self.until_ms.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_and_the_others_go_by_what_was_known() {
        let trials = Trials::default();
        assert_eq!(trials.turn(0, 1_000), Trial::Yours);
        assert_eq!(trials.turn(999, 1_000), Trial::UnderWay);
        // Whoever had the turn was cut off.
        assert_eq!(trials.turn(1_000, 1_000), Trial::Yours);
        trials.done(true, 1_500);
        assert_eq!(trials.turn(1_500, 1_000), Trial::Known(true));
        let later = 1_500 + MGPASS_TRIED_EVERY_MS;
        assert_eq!(trials.turn(later - 1, 1_000), Trial::Known(true));
        assert_eq!(trials.turn(later, 1_000), Trial::Yours);
        assert_eq!(trials.turn(later + 1, 1_000), Trial::Known(true));
        trials.done(false, later + 2);
        assert_eq!(trials.turn(later + 3, 1_000), Trial::Known(false));
    }
}
