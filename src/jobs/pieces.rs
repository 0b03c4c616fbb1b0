//! A job's page of Logto's listing, in pieces that can be held.

use super::book::{Outcome, Paged, Recorded};
use super::meter::{Delay, Meter};
use crate::context::Context;
use crate::listing::{self, Listed, Oddity};
use crate::mirror::mapping::map;
use crate::mirror::page::Candidate;
use crate::ports::Platform;
use crate::request::UserId;

pub(super) struct Pieces {
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
    pub(super) fn of(page: i64, page_size: i64) -> Self {
        Self {
            at: (page - 1) * page_size,
            end: page * page_size,
            page_size,
        }
    }

    /// `None`: the page is through.
    pub(super) async fn next<P: Platform>(
        &mut self,
        meter: &mut Meter<'_, P>,
        context: &Context<'_>,
        paged: &mut Paged,
    ) -> Result<Option<Piece>, Delay> {
        if self.at >= self.end || paged.is_last {
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
        for Listed { user, json } in piece.users {
            let is_known = candidates.iter().any(|one| *one.id() == user.id)
                || paged.users.iter().any(|one| one.user == user.id.as_str());
            if !is_known {
                let mapped = map(&user, &context.settings.mapping);
                candidates.push(Candidate {
                    logto: user,
                    json,
                    mapped,
                });
            }
        }
        Ok(Some(Piece {
            candidates,
            too_large,
        }))
    }
}

pub(super) fn parked(user: String, reason: Oddity) -> Recorded {
    Recorded {
        user,
        outcome: Outcome::Parked,
        reason: Some(reason.code().to_owned()),
        notes: Vec::new(),
    }
}
