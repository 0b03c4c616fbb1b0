//! Where a read of a user goes while mgPass is the authority: pure, as `plan` is, with the
//! authority as one more fact. Flags of Logto's time (stage, shares, brakes) have no say.
//!
//! mgPass's rows answer. They are asked for together with the authority, after the request
//! began; whoever cannot ask for the authority goes by the generation beside the rows:
//! while it is the one of a hand-over to mgPass, no way back has ended.

use crate::policy::authority::{Holder, View};

/// Fallback goes by what Logto was told of at most so long before mgPass failed.
const MAX_CURSOR_AGE_MS: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Rows,
    /// Logto, if nothing is owed to it.
    Fallback,
    /// mgPass's rows cannot be read, and nobody stands in for them any more.
    Nowhere,
    /// Somebody else is the authority: begin anew.
    Moved,
    /// Nobody can say who is.
    Unknown,
}

/// `asked`: what the proxy's database says now. `last`: what it said before. `rows`: of
/// mgPass's database, the generation beside the rows.
pub fn way(asked: Option<View>, last: View, rows: Option<i64>) -> Way {
    match (asked.map(|view| view.holder), rows) {
        (Some(Holder::Logto | Holder::Draining), _) => Way::Moved,
        // Of the last way back, or of a hand-over since: the rows may have been read before
        // Logto's last write was in them.
        (Some(Holder::Mgpass | Holder::Returning | Holder::Alone), _)
            if asked.is_some_and(|view| view.term != last.term) =>
        {
            Way::Moved
        }
        // Nobody writes at Logto before a way back has ended.
        (Some(Holder::Mgpass | Holder::Returning | Holder::Alone), Some(_)) => Way::Rows,
        (Some(Holder::Mgpass | Holder::Returning), None) => Way::Fallback,
        (Some(Holder::Alone), None) => Way::Nowhere,
        (None, Some(generation))
            if last.holder.takes_translated() && generation == last.generation =>
        {
            Way::Rows
        }
        (None, _) => Way::Unknown,
    }
}

/// How far Logto has what mgPass has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of the oldest write that Logto does not have.
    pub pending_since_ms: Option<i64>,
    /// Besides, there are users whom Logto does not have as mgPass has them.
    pub is_in_debt: bool,
    /// When mgPass's own changes were last read to their end.
    pub fed_at_ms: i64,
}

impl Standing {
    /// Of whoever is in no debt Logto shows what was there at this time.
    pub fn as_of_ms(&self) -> i64 {
        self.pending_since_ms
            .map_or(self.fed_at_ms, |since_ms| since_ms.min(self.fed_at_ms))
    }

    /// `failing_since_ms`: when this isolate first saw mgPass fail.
    pub fn may_fall_back(&self, failing_since_ms: i64) -> bool {
        self.pending_since_ms.is_none()
            && !self.is_in_debt
            && self.fed_at_ms >= failing_since_ms - MAX_CURSOR_AGE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(holder: Holder, generation: i64) -> View {
        View {
            holder,
            generation,
            term: 1,
            announced_until_ms: None,
            deadline_ms: None,
            is_raise_owed: false,
            now_ms: 0,
        }
    }

    #[test]
    fn the_whole_table() {
        use Holder::{Alone, Draining, Logto, Mgpass, Returning};
        for (asked, last, rows, expected) in [
            (Some(Mgpass), Mgpass, Some(5), Way::Rows),
            // mgPass's database is not told of a generation in which nobody wrote yet.
            (Some(Mgpass), Mgpass, Some(4), Way::Rows),
            (Some(Returning), Mgpass, Some(6), Way::Rows),
            (Some(Mgpass), Mgpass, None, Way::Fallback),
            (Some(Returning), Mgpass, None, Way::Fallback),
            (Some(Logto), Mgpass, Some(5), Way::Moved),
            (Some(Draining), Mgpass, None, Way::Moved),
            (None, Mgpass, Some(5), Way::Rows),
            (None, Mgpass, Some(6), Way::Unknown),
            (None, Mgpass, Some(4), Way::Unknown),
            (None, Returning, Some(5), Way::Unknown),
            (None, Mgpass, None, Way::Unknown),
            (Some(Alone), Mgpass, Some(5), Way::Rows),
            (Some(Alone), Alone, None, Way::Nowhere),
            (None, Alone, Some(5), Way::Rows),
            (None, Alone, Some(6), Way::Unknown),
            (None, Alone, None, Way::Unknown),
        ] {
            let way = way(asked.map(|holder| view(holder, 5)), view(last, 5), rows);
            assert_eq!(way, expected, "{asked:?} {last:?} {rows:?}");
        }
    }

    #[test]
    fn rows_of_another_term_than_was_known_are_asked_for_anew() {
        let known = view(Holder::Mgpass, 5);
        for holder in [Holder::Mgpass, Holder::Returning] {
            let asked = View {
                term: 3,
                ..view(holder, 9)
            };
            for rows in [Some(9), None] {
                assert_eq!(
                    way(Some(asked), known, rows),
                    Way::Moved,
                    "{holder:?} {rows:?}"
                );
            }
        }
    }

    const EQUAL: Standing = Standing {
        pending_since_ms: None,
        is_in_debt: false,
        fed_at_ms: 100_000,
    };

    #[test]
    fn logto_stands_in_only_where_it_has_all_that_was_acknowledged() {
        assert!(EQUAL.may_fall_back(100_000));
        assert!(EQUAL.may_fall_back(160_000));
        assert!(!EQUAL.may_fall_back(160_001), "the cursor is too old");
        for standing in [
            Standing {
                pending_since_ms: Some(99_999),
                ..EQUAL
            },
            Standing {
                is_in_debt: true,
                ..EQUAL
            },
        ] {
            assert!(!standing.may_fall_back(100_000), "{standing:?}");
        }
    }

    #[test]
    fn a_list_is_as_old_as_the_oldest_that_logto_lacks() {
        let pending = |since_ms| Standing {
            pending_since_ms: Some(since_ms),
            ..EQUAL
        };
        assert_eq!(EQUAL.as_of_ms(), 100_000);
        assert_eq!(pending(90_000).as_of_ms(), 90_000);
        assert_eq!(pending(110_000).as_of_ms(), 100_000);
    }
}
