//! A job's page of Logto's listing, in pieces that can be held.

use super::meter::{Delay, Meter, PART_QUERIES};
use super::store::{Paged, Recorded, UserOutcome};
use crate::inbound::request::UserId;
use crate::mirror::listing::{self, Listed, Oddity};
use crate::mirror::mapping::map;
use crate::population::page::Candidate;
use crate::runtime::context::Context;
use crate::runtime::isolate::Heavy;
use crate::runtime::ports::Platform;

pub(super) struct Pieces {
    begin: i64,
    at: i64,
    end: i64,
    page_size: i64,
}

/// Each user once in a page; what could not be read is in the page's outcome already.
pub(super) struct Piece {
    pub(super) candidates: Vec<Candidate>,
    /// Known by id alone.
    pub(super) too_large: Vec<UserId>,
}

impl Pieces {
    /// Behind the rows that are done.
    pub(super) fn of(page: i64, page_size: i64, n_done: i64) -> Self {
        let begin = (page - 1) * page_size;
        Self {
            begin,
            at: begin + n_done,
            end: begin + page_size,
            page_size,
        }
    }

    /// The page ends before this one, whom the next invocation begins with.
    pub(super) fn stop_before(&self, candidate: &Candidate, paged: &mut Paged) {
        paged.is_last = false;
        paged.n_done = Some(candidate.place - 1 - self.begin);
    }

    /// `None`: the page is through, or the invocation may not ask so much more.
    pub(super) async fn next<P: Platform>(
        &mut self,
        meter: &mut Meter<'_, P>,
        context: &Context<'_>,
        paged: &mut Paged,
    ) -> Result<Option<Piece>, Delay> {
        if self.at >= self.end || paged.is_last || paged.n_done.is_some() {
            return Ok(None);
        }
        if !meter.has_room_for(PART_QUERIES, paged) {
            paged.n_done = Some(self.at - self.begin);
            return Ok(None);
        }
        let platform = meter.platform;
        let asked = listing::piece(platform, context, self.at, self.page_size);
        let piece = meter.logto(asked).await?;
        self.at = piece.end;
        paged.total = piece.total.or(paged.total);
        paged.is_last = piece.is_last;
        let mut too_large = Vec::new();
        for odd in piece.odd {
            match (odd.user, odd.reason) {
                (Some(user), Oddity::TooLarge) => too_large.push(user),
                (user, reason) => {
                    let place = || format!("position:{}", odd.place);
                    let named = user.map_or_else(place, |user| user.to_string());
                    paged.users.push(parked(named, reason));
                }
            }
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for Listed { user, json, place } in piece.users {
            let is_known = candidates.iter().any(|one| *one.id() == user.id)
                || paged.users.iter().any(|one| one.user == user.id.as_str());
            if !is_known {
                let mapped = map(&user, &context.settings.mapping);
                candidates.push(Candidate {
                    logto: user,
                    json,
                    mapped,
                    place,
                });
            }
        }
        Ok(Some(Piece {
            candidates,
            too_large,
        }))
    }
}

/// Those in front of the first heavy one; or that one.
pub(super) fn one_heavy_alone(candidates: &[Candidate]) -> &[Candidate] {
    let n_light = candidates.iter().take_while(|one| !one.is_heavy()).count();
    candidates.get(..n_light.max(1)).unwrap_or_default()
}

/// What is to be held while they are worked on.
pub(super) fn enter_if_heavy<'a, P: Platform>(
    meter: &Meter<'_, P>,
    context: &Context<'a>,
    candidates: &[Candidate],
) -> Result<Option<Heavy<'a>>, Delay> {
    if !candidates.iter().any(Candidate::is_heavy) {
        return Ok(None);
    }
    let entered = context.isolate.enter_heavy(meter.platform.now_ms());
    entered.map(Some).ok_or(Delay::NoRoom)
}

pub(super) fn parked(user: String, reason: Oddity) -> Recorded {
    Recorded {
        user,
        outcome: UserOutcome::Parked,
        reason: Some(reason.code().to_owned()),
        notes: Vec::new(),
    }
}
