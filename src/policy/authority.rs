//! Whose data wins, as one answer of the database said, and how long an isolate may go by
//! that.
//!
//! A user write that was recorded by the fenced insert is proven by that. What has no
//! such proof (a step of an interaction, a read of a user at Logto) goes by a lease: an
//! answer of the database that said "logto", counted from when it was asked for, and
//! never beyond the end of an announcement. So by the time that draining may begin no
//! lease is left anywhere, and a read that begins later asks for itself.
//!
//! Only a version that has the hand-over secret asks for any of this: the origin refuses
//! all others once a hand-over is armed.

/// Whose data wins. The two between: user writes wait, reads go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Logto,
    /// From Logto to mgPass.
    Draining,
    Mgpass,
    /// From mgPass back to Logto.
    Returning,
    /// mgPass, and Logto is not asked any more: stage `cleanup`. It is a holder of its own
    /// and no flag beside `Mgpass`, so that each place that decides by the authority says
    /// what it does without Logto, and no late writer of the stage before goes on.
    Alone,
}

impl Holder {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Draining => "draining",
            Self::Mgpass => "mgpass",
            Self::Returning => "returning",
            Self::Alone => "alone",
        }
    }

    /// Whose users relays read as the truth: Logto's until a hand-over is complete,
    /// mgPass's until the way back is. Alone nothing is relayed.
    pub fn source(self) -> Side {
        match self {
            Self::Logto | Self::Draining => Side::Logto,
            Self::Mgpass | Self::Returning | Self::Alone => Side::Mgpass,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Logto,
            Self::Draining,
            Self::Mgpass,
            Self::Returning,
            Self::Alone,
        ]
        .into_iter()
        .find(|holder| holder.name() == name)
    }

    /// mgPass may be written to by a translated write.
    pub fn takes_translated(self) -> bool {
        matches!(self, Self::Mgpass | Self::Alone)
    }
}

/// One of the two backends, as a relay reads from it or an intent was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Logto,
    Mgpass,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
        }
    }
}

/// The authority at the moment of one answer of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// A deadline that has passed is counted as over.
    pub holder: Holder,
    /// As the row says; what a writer at mgPass carries.
    pub generation: i64,
    pub term: i64,
    /// No draining begins before.
    pub announced_until_ms: Option<i64>,
    /// Of draining and returning.
    pub deadline_ms: Option<i64>,
    /// mgPass's database does not know the generation yet.
    pub is_raise_owed: bool,
    /// By the database's clock.
    pub now_ms: i64,
}

/// What an isolate knows of the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lease {
    from_ms: i64,
    until_ms: i64,
    half_ms: i64,
    /// When the question left whose answer is the newest view; and until when that is
    /// young enough to go by where Logto is asked something.
    heard_ms: i64,
    heard_until_ms: i64,
    view: Option<View>,
}

impl Lease {
    /// `asked_at_ms`: by this isolate's clock, before the question left. The database
    /// looked at its clock later than that, so what it leaves of an announcement is, from
    /// then on, no more than there is.
    pub fn renew(&mut self, view: View, asked_at_ms: i64, length_ms: i64) {
        if self
            .view
            .is_some_and(|held| view.generation < held.generation)
        {
            return;
        }
        self.view = Some(view);
        if asked_at_ms + length_ms > self.heard_until_ms {
            self.heard_ms = asked_at_ms;
            self.heard_until_ms = asked_at_ms + length_ms;
        }
        let length_ms = match (view.holder, view.announced_until_ms) {
            (Holder::Draining | Holder::Mgpass | Holder::Returning | Holder::Alone, _) => {
                self.until_ms = i64::MIN;
                return;
            }
            (Holder::Logto, None) => length_ms,
            (Holder::Logto, Some(until_ms)) => length_ms.min(until_ms - view.now_ms),
        };
        let until_ms = asked_at_ms + length_ms.max(0);
        // An answer that was overtaken by a newer one takes nothing away, unless it tells
        // of an announcement.
        if until_ms > self.until_ms || view.announced_until_ms.is_some() {
            self.from_ms = asked_at_ms;
            self.until_ms = until_ms;
            self.half_ms = asked_at_ms + length_ms / 2;
        }
    }

    /// Logto is the authority, and stays so until this request has begun.
    pub fn holds(&self, now_ms: i64) -> bool {
        // A clock set back must not make it last.
        (self.from_ms..self.until_ms).contains(&now_ms)
    }

    /// To be renewed behind a request.
    pub fn is_past_half(&self, now_ms: i64) -> bool {
        now_ms >= self.half_ms
    }

    /// Whoever has the say, the view is so young that Logto may be asked by it, or not.
    pub fn is_heard(&self, now_ms: i64) -> bool {
        (self.heard_ms..self.heard_until_ms).contains(&now_ms)
    }

    /// As far as this isolate was told, Logto is not asked any more.
    pub fn is_alone(&self) -> bool {
        self.view.is_some_and(|view| view.holder == Holder::Alone)
    }

    /// The newest view that this isolate has, however old.
    pub fn view(&self) -> Option<View> {
        self.view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_it_is_written() {
        for holder in [
            Holder::Logto,
            Holder::Draining,
            Holder::Mgpass,
            Holder::Returning,
            Holder::Alone,
        ] {
            assert_eq!(Holder::from_name(holder.name()), Some(holder));
        }
        assert_eq!(Holder::from_name("nobody"), None);
    }

    /// By the database's clock, which has nothing to do with the isolate's.
    const DB_NOW: i64 = 5_000_000_000;
    const LENGTH: i64 = 60_000;

    fn view(holder: Holder, generation: i64) -> View {
        View {
            holder,
            generation,
            term: 1,
            announced_until_ms: None,
            deadline_ms: None,
            is_raise_owed: false,
            now_ms: DB_NOW,
        }
    }

    fn announced(left_ms: i64) -> View {
        View {
            announced_until_ms: Some(DB_NOW + left_ms),
            ..view(Holder::Logto, 1)
        }
    }

    fn lease(view: View, asked_at_ms: i64) -> Lease {
        let mut lease = Lease::default();
        lease.renew(view, asked_at_ms, LENGTH);
        lease
    }

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for() {
        let lease = lease(view(Holder::Logto, 1), 1_000);
        assert!(lease.holds(1_000 + LENGTH - 1));
        assert!(!lease.holds(1_000 + LENGTH));
        assert!(!lease.is_past_half(1_000 + LENGTH / 2 - 1));
        assert!(lease.is_past_half(1_000 + LENGTH / 2));
        assert!(!lease.holds(999));
        assert!(!Lease::default().holds(0));
    }

    #[test]
    fn no_lease_outlasts_an_announcement() {
        for left_ms in [-5, 0, 1, 100, LENGTH - 1] {
            let lease = lease(announced(left_ms), 1_000);
            assert!(!lease.holds(1_000 + left_ms.max(0)), "{left_ms}");
            assert_eq!(lease.holds(1_000 + left_ms - 1), left_ms > 0, "{left_ms}");
        }
        assert!(lease(announced(10 * LENGTH), 1_000).holds(1_000 + LENGTH - 1));
        assert!(!lease(announced(10 * LENGTH), 1_000).holds(1_000 + LENGTH));
    }

    #[test]
    fn an_answer_that_tells_of_an_announcement_shortens_what_was_held() {
        let mut lease = lease(view(Holder::Logto, 1), 1_000);
        lease.renew(announced(100), 1_500, LENGTH);
        assert!(lease.holds(1_599) && !lease.holds(1_600));
    }

    #[test]
    fn who_is_told_of_another_holder_holds_nothing_and_an_older_answer_gives_nothing_back() {
        for holder in [
            Holder::Draining,
            Holder::Mgpass,
            Holder::Returning,
            Holder::Alone,
        ] {
            let mut lease = lease(view(Holder::Logto, 1), 1_000);
            lease.renew(view(holder, 2), 1_100, LENGTH);
            assert!(!lease.holds(1_101));
            lease.renew(view(Holder::Logto, 1), 1_050, LENGTH);
            assert!(!lease.holds(1_101), "{holder:?}");
            assert_eq!(lease.view().map(|view| view.holder), Some(holder));
            lease.renew(view(Holder::Logto, 3), 1_200, LENGTH);
            assert!(lease.holds(1_201));
        }
    }

    #[test]
    fn what_was_heard_is_gone_by_for_a_lease_and_of_a_leaving_for_good() {
        for holder in [Holder::Logto, Holder::Mgpass, Holder::Alone] {
            let lease = lease(view(holder, 1), 1_000);
            assert!(lease.is_heard(1_000) && lease.is_heard(1_000 + LENGTH - 1));
            assert!(!lease.is_heard(999) && !lease.is_heard(1_000 + LENGTH));
            assert_eq!(lease.is_alone(), holder == Holder::Alone);
        }
        assert!(!Lease::default().is_heard(0) && !Lease::default().is_alone());
        // An answer of an earlier generation is not heard.
        let mut alone = lease(view(Holder::Alone, 3), 1_000);
        alone.renew(view(Holder::Mgpass, 2), 5_000, LENGTH);
        assert!(alone.is_alone() && !alone.is_heard(1_000 + LENGTH));
    }

    #[test]
    fn an_answer_that_was_overtaken_takes_nothing_away() {
        let mut lease = lease(view(Holder::Logto, 1), 2_000);
        lease.renew(view(Holder::Logto, 1), 1_000, LENGTH);
        assert!(lease.holds(2_000 + LENGTH - 1));
    }
}
