//! A search for one user by an exact identifier, answered from mgPass's rows. Every other
//! search, and every list, is Logto's.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::person::{self, Person};
use crate::inbound::request::UserId;
use crate::mirror::mapping::map_phone;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::text;
use crate::serve::translate_write::shown::member;

/// Of one page, at Logto.
const MAX_PAGE_SIZE: u32 = 100;
/// The `LIMIT` below: all who are found stand on one page.
const MAX_FOUND: u32 = 10;

const BY_EMAIL: &str = "SELECT id FROM users WHERE email = ?1 AND deleted_at IS NULL LIMIT 10";
const BY_USERNAME: &str = "SELECT user_id AS id FROM logto_mirror_unique WHERE kind = 'username' AND lower(value) = lower(?1) LIMIT 10";
const BY_PHONE: &str = "SELECT user_id AS id FROM logto_mirror_unique WHERE kind = 'phone' AND value = ?1 \
     UNION SELECT id FROM users WHERE phone = ?2 AND deleted_at IS NULL LIMIT 10";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[BY_EMAIL, BY_USERNAME, BY_PHONE];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Username,
    Email,
    Phone,
}

impl Field {
    fn from_name(name: &str) -> Option<Self> {
        [Self::Id, Self::Username, Self::Email, Self::Phone]
            .into_iter()
            .find(|field| field.name() == name)
    }

    /// As Logto names the member.
    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Username => "username",
            Self::Email => "primaryEmail",
            Self::Phone => "primaryPhone",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    field: Field,
    value: String,
    /// As Logto writes them into its links.
    pairs: Vec<(String, String)>,
}

impl Search {
    /// `None`: not of the one kind that the rows can answer as Logto would.
    pub fn parse(query: &str) -> Option<Self> {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<_>>()?;
        let (mut wanted, mut mode) = (None, None);
        for (name, value) in &pairs {
            let seen = match name.split_once('.') {
                Some(("search", field)) if !value.is_empty() => {
                    wanted.replace((field, value)).is_some()
                }
                Some(("mode", field)) if value == "exact" => mode.replace(field).is_some(),
                None if name == "page" && value == "1" => false,
                None if name == "page_size" && is_page_size(value) => false,
                None if name == "isCaseSensitive" && value == "false" => false,
                Some(_) | None => return None,
            };
            if seen {
                return None;
            }
        }
        let (field, value) = wanted?;
        if mode != Some(field) {
            return None;
        }
        Some(Self {
            field: Field::from_name(field)?,
            value: value.clone(),
            pairs,
        })
    }

    /// Who may be meant; the last statement is for the caller to add.
    pub fn candidates(&self) -> Option<Statement> {
        let value = || self.value.as_str().into();
        Some(match self.field {
            Field::Id => return None,
            Field::Username => Statement::new(BY_USERNAME, vec![value()]),
            Field::Email => Statement::new(BY_EMAIL, vec![value()]),
            Field::Phone => {
                let phone = map_phone(Some(&self.value)).unwrap_or_default();
                Statement::new(BY_PHONE, vec![value(), phone.into()])
            }
        })
    }

    pub fn parse_candidates(&self, rows: &[Row]) -> Vec<UserId> {
        rows.iter()
            .filter_map(|row| UserId::parse(&text(row, "id")?))
            .collect()
    }

    /// Where the value itself is an id.
    pub fn id(&self) -> Option<UserId> {
        match self.field {
            Field::Id => UserId::parse(&self.value),
            Field::Username | Field::Email | Field::Phone => None,
        }
    }

    /// A kept form may be of a value that mgPass has changed since.
    pub fn is_met_by(&self, view: &str) -> bool {
        let shown = member(view, self.field.name());
        shown.is_some_and(|shown| shown.to_lowercase() == self.value.to_lowercase())
    }

    /// Logto writes the links of its pages without the mount.
    pub fn link(&self, origin: &str) -> String {
        let mut pairs = self.pairs.clone();
        if !pairs.iter().any(|(name, _)| name == "page") {
            pairs.push(("page".to_owned(), "1".to_owned()));
        }
        let query: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let url = format!("{origin}/users?{}", query.join("&"));
        format!(r#"<{url}>; rel="first", <{url}>; rel="last""#)
    }
}

/// One batch for all of them.
pub fn read(users: &[UserId]) -> Vec<Statement> {
    users.iter().flat_map(person::read).collect()
}

pub fn parse(results: &[Vec<Row>]) -> Option<Vec<Person>> {
    results
        .chunks(person::N_STATEMENTS)
        .map(Person::parse)
        .collect()
}

fn is_page_size(text: &str) -> bool {
    let size = text.parse::<u32>();
    size.is_ok_and(|size| (MAX_FOUND..=MAX_PAGE_SIZE).contains(&size))
}

fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// As Node's `querystring.stringify` leaves them.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_search_for_one_exact_identifier_is_one() {
        for query in [
            "search.primaryEmail=a@b.test&mode.primaryEmail=exact",
            "mode.username=exact&search.username=alice&page=1&page_size=20",
            "search.id=u1&mode.id=exact&isCaseSensitive=false",
            "search.primaryPhone=14155555357&mode.primaryPhone=exact",
        ] {
            assert!(Search::parse(query).is_some(), "{query}");
        }
        for query in [
            "",
            "page=1",
            "search=%25alice%25",
            "search.primaryEmail=a@b.test",
            "search.primaryEmail=a@b.test&mode.primaryEmail=like",
            "search.primaryEmail=a@b.test&mode.username=exact",
            "search.primaryEmail=a&search.primaryEmail=b&mode.primaryEmail=exact",
            "search.primaryEmail=a&search.username=b&mode.primaryEmail=exact",
            "search.primaryEmail=&mode.primaryEmail=exact",
            "search.name=a&mode.name=exact",
            "search.username=a&mode.username=exact&isCaseSensitive=true",
            "search.username=a&mode.username=exact&page=2",
            "search.username=a&mode.username=exact&page_size=101",
            "search.username=a&mode.username=exact&excludeRoleId=r",
            "search.username=%ff&mode.username=exact",
        ] {
            assert_eq!(Search::parse(query), None, "{query}");
        }
    }

    #[test]
    fn the_links_are_as_recorded() {
        // But for the mode, which is `like` in the recording.
        let query = "search.primaryEmail=alice.1ae441%25&mode.primaryEmail=exact";
        let search = Search::parse(query).unwrap();
        let url = "http://127.0.0.1:3011/users?search.primaryEmail=alice.1ae441%25&mode.primaryEmail=exact&page=1";
        assert_eq!(
            search.link("http://127.0.0.1:3011"),
            format!(r#"<{url}>; rel="first", <{url}>; rel="last""#)
        );
    }
}
