//! How far an import of points has come: behind a user, or within the ledger of one,
//! which may be longer than an invocation takes.

use serde_json::json;

use super::dry::Would;
use super::source::Cursor;

/// The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub user_id: String,
    /// `None`: this user is done.
    pub within: Option<Within>,
}

/// What is known of a user whose ledger is written in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    pub entry_id: String,
    pub n_read: i64,
    pub sum: i64,
    pub notes: Vec<String>,
    /// Of a dry run.
    pub would: Would,
}

impl Place {
    pub fn behind(user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            within: None,
        }
    }

    pub fn is_beginning(&self) -> bool {
        *self == Self::default()
    }

    pub fn cursor(&self) -> Cursor {
        match &self.within {
            None => Cursor::default(),
            Some(within) => Cursor {
                user_id: self.user_id.clone(),
                id: within.entry_id.clone(),
            },
        }
    }

    /// As a job keeps it.
    pub fn to_text(&self) -> String {
        match &self.within {
            _ if self.is_beginning() => String::new(),
            None => json!([self.user_id]).to_string(),
            Some(within) => json!([
                self.user_id,
                within.entry_id,
                within.n_read,
                within.sum,
                within.notes,
                [
                    within.would.n_new,
                    within.would.n_changed,
                    within.would.n_matched,
                    within.would.matched_points
                ]
            ])
            .to_string(),
        }
    }

    /// `None`: not a text of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        if let Ok((user_id,)) = serde_json::from_str(text) {
            return Some(Self {
                user_id,
                within: None,
            });
        }
        let (user_id, entry_id, n_read, sum, notes, would) = serde_json::from_str(text).ok()?;
        let [n_new, n_changed, n_matched, matched_points] = would;
        Some(Self {
            user_id,
            within: Some(Within {
                entry_id,
                n_read,
                sum,
                notes,
                would: Would {
                    n_new,
                    n_changed,
                    n_matched,
                    matched_points,
                },
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_as_text() {
        let within = Within {
            entry_id: "e\"1".to_owned(),
            n_read: 1_000,
            sum: -5,
            notes: vec!["not_posted".to_owned()],
            would: Would {
                n_new: 1,
                n_changed: 2,
                n_matched: 3,
                matched_points: -4,
            },
        };
        for place in [
            Place::default(),
            Place::behind("u 1\u{e9}"),
            Place {
                user_id: "u1".to_owned(),
                within: Some(within),
            },
        ] {
            assert_eq!(Place::parse(&place.to_text()), Some(place));
        }
        assert_eq!(Place::parse("u1"), None);
    }
}
