//! Logto's listing of all users, piece by piece, each as large as can be held.
//!
//! An answer is held whole and so has a bound, a quarter of a megabyte for many users,
//! two for one: two users with a megabyte of custom data each go beyond it. Such a page is read in smaller ones, in the end one by one,
//! and a single user that is still too large is named and passed over: nobody else
//! waits for one. A piece is worked on before the next one is read, so that a page of
//! large users is never in memory together.
//!
//! Newest first, in an unstable order (contract 6.3): a row that moves is seen twice,
//! or not at all.

use crate::inbound::request::UserId;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto::{self, LogtoUser, UsersPage};
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;

/// Logto's largest page.
pub const PAGE_SIZE: i64 = 100;

/// One user as Logto lists them.
#[derive(Clone, Debug)]
pub struct Listed {
    pub user: LogtoUser,
    pub json: String,
    /// Counted from 1, over the whole listing; 0 where it was not listed.
    pub place: i64,
}

/// A row that is not at hand as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Where the row shows it.
    pub user: Option<UserId>,
    /// Counted from 1, over the whole listing.
    pub place: i64,
    pub reason: Oddity,
    /// The mark of the create that reserved it.
    pub nonce: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    TooLarge,
    /// No user as the contract has one.
    Unreadable,
    /// Only an id, of a user whom mgPass has or nobody has.
    Reserved,
}

impl Oddity {
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::Reserved => "reserved",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub users: Vec<Listed>,
    pub odd: Vec<Odd>,
    /// How many rows, the odd ones included.
    pub n_rows: i64,
    /// Where the next piece begins.
    pub end: i64,
    /// Nothing comes after it.
    pub is_last: bool,
    /// How many users there are in all, as the answer says.
    pub total: Option<i64>,
}

/// From behind the first `from` users on; `page_size` rows, or as many of them as can
/// be held. A piece never reaches over the end of its page.
///
/// # Errors
/// When Logto gave no list.
pub async fn piece<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    from: i64,
    page_size: i64,
) -> Result<Piece, BackendFailure> {
    let mut first = None;
    for size in sizes(from, page_size) {
        let page = from / size + 1;
        match logto::users_page(platform, context, page, size).await? {
            UsersPage::Whole { users, total } => return Ok(parse(users, total, from, size)),
            UsersPage::TooLarge { first: shown } => first = shown.or(first),
        }
    }
    let odd = Odd {
        user: first,
        place: from + 1,
        reason: Oddity::TooLarge,
        nonce: None,
    };
    Ok(Piece {
        odd: vec![odd],
        n_rows: 1,
        end: from + 1,
        ..Piece::default()
    })
}

/// Logto counts in pages, so a piece begins where a page of its size does.
fn sizes(from: i64, page_size: i64) -> impl Iterator<Item = i64> {
    [page_size, 10, 1]
        .into_iter()
        .filter(move |size| *size <= page_size && from % size == 0)
}

fn parse(rows: Vec<String>, total: Option<i64>, from: i64, size: i64) -> Piece {
    let n_rows = rows.len() as i64;
    let mut piece = Piece {
        n_rows,
        end: from + size,
        is_last: n_rows < size,
        total,
        ..Piece::default()
    };
    for (json, place) in rows.into_iter().zip(from + 1..) {
        match LogtoUser::parse(&json) {
            Ok(user) => match user.reservation() {
                None => piece.users.push(Listed { user, json, place }),
                nonce => piece.odd.push(Odd {
                    user: Some(user.id),
                    place,
                    reason: Oddity::Reserved,
                    nonce,
                }),
            },
            Err(_) => piece.odd.push(Odd {
                user: id_in(&json),
                place,
                reason: Oddity::Unreadable,
                nonce: None,
            }),
        }
    }
    piece
}

fn id_in(json: &str) -> Option<UserId> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    UserId::parse(value.get("id")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_begins_where_a_page_of_its_size_does_and_ends_within_its_own() {
        for page_size in [100, 90, 80] {
            for from in 0..720 {
                for size in sizes(from, page_size) {
                    assert_eq!(from % size, 0);
                    assert!(from % page_size + size <= page_size, "{from} {size}");
                }
                assert_eq!(sizes(from, page_size).last(), Some(1));
            }
            assert_eq!(sizes(0, page_size).next(), Some(page_size));
        }
    }

    #[test]
    fn a_row_that_is_no_user_is_named_by_id_or_place() {
        let rows = vec![r#"{"id":"alice0000001"}"#.to_owned(), "[]".to_owned()];
        let piece = parse(rows, Some(2), 100, 100);
        let named: Vec<_> = piece
            .odd
            .iter()
            .map(|odd| (odd.user.is_some(), odd.place))
            .collect();
        assert_eq!(named, [(true, 101), (false, 102)]);
        assert!(piece.is_last && piece.users.is_empty());
    }
}
