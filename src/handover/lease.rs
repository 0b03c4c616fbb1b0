//! An isolate's proof that Logto is the authority, where a request has none of its own.
//!
//! A user write that was recorded by the fenced insert is proven by that. What has no
//! such proof (a step of an interaction, a read of a user at Logto) goes by a lease: an
//! answer of the database that said "logto", counted from when it was asked for, and
//! never beyond the end of an announcement. So by the time that draining may begin no
//! lease is left anywhere, and a read that begins later asks for itself.
//!
//! Only a version that has the hand-over secret asks for any of this: the origin refuses
//! all others once a hand-over is armed.

use crate::handover::authority::{Holder, View};

/// What an isolate knows of the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    until_ms: i64,
    half_ms: i64,
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
        let length_ms = match (view.holder, view.announced_until_ms) {
            (Holder::Draining | Holder::Mgpass | Holder::Returning, _) => {
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
            self.until_ms = until_ms;
            self.half_ms = asked_at_ms + length_ms / 2;
        }
    }

    /// Logto is the authority, and stays so until this request has begun.
    pub fn holds(&self, now_ms: i64) -> bool {
        now_ms < self.until_ms
    }

    /// To be renewed behind a request.
    pub fn is_past_half(&self, now_ms: i64) -> bool {
        now_ms >= self.half_ms
    }

    /// The newest view that this isolate has, however old.
    pub fn view(&self) -> Option<View> {
        self.view
    }
}
