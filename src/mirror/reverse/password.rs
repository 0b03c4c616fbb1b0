//! Whether somebody has another password at mgPass than when that was last looked at.
//!
//! What is kept is a keyed hash of mgPass's own hash, with a mark of the key: under another
//! key nothing is known, and the new mark begins anew. Without a key nothing is looked at.
//!
//! A password that was set before the hand-over ends nothing at Logto: the walk meets it
//! while Logto is the authority (`password_seen`), and only what changes later counts.

use std::collections::BTreeSet;

use serde_json::json;

use crate::inbound::request::Secret;
use crate::runtime::observe::keyed_hash;
use crate::runtime::ports::{Platform, Row, Statement};
use crate::runtime::sql::text;

/// Of the mark of a key.
const KEY_MARK: usize = 8;

const READ: &str = "SELECT m.user_id AS id, m.password_mark AS mark, m.password_seen AS seen, u.password_hash AS hash FROM json_each(?1) w \
     JOIN logto_mirror m ON m.user_id = w.value LEFT JOIN users u ON u.id = m.user_id";
const SEE: &str =
    "UPDATE logto_mirror SET password_seen = w.value FROM json_each(?1) w WHERE user_id = w.key";
/// Every string above, for the test that prepares each one against mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[READ, SEE];

/// One user's, as mgPass's database has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    hash: Option<String>,
    /// As last noted of what the proxy set, or of what was dealt with.
    mark: Option<String>,
    /// As last met before a hand-over.
    seen: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// Nothing to do, nothing to note.
    Same,
    /// Known to be carried, set before the hand-over, or seen for the first time under this key.
    Noted(Option<String>),
    /// Changed at mgPass's own pages: an older one must not live on at Logto.
    Changed(Option<String>),
}

/// `is_ours`: a translated write set it.
pub fn judge(standing: &Standing, key: Option<&Secret<String>>, is_ours: bool) -> Password {
    let Some(of_key) = key_mark(key) else {
        return Password::Same;
    };
    let now = self::mark(standing.hash.as_deref(), key);
    if now == standing.mark {
        return Password::Same;
    }
    let is_of_this_key =
        |mark: &Option<String>| mark.as_ref().is_none_or(|mark| mark.starts_with(&of_key));
    let is_known = is_of_this_key(&standing.mark) && is_of_this_key(&standing.seen);
    let is_from_before = now.is_some() && now == standing.seen;
    match is_ours || !is_known || is_from_before {
        true => Password::Noted(now),
        false => Password::Changed(now),
    }
}

/// Of a page of users.
pub fn read(ids: &[&str]) -> Statement {
    Statement::new(READ, vec![json!(ids).to_string().into()])
}

/// Who is to be looked at, of what [`read`] answered.
pub fn changed(rows: &[Row], key: Option<&Secret<String>>) -> BTreeSet<String> {
    let changed = rows
        .iter()
        .filter(|row| judge(&Standing::parse(row), key, false) != Password::Same);
    changed.filter_map(|row| text(row, "id")).collect()
}

/// Notes what the walk meets before a hand-over and has not met so far; `None`: nothing.
pub fn unseen(rows: &[Row], key: Option<&Secret<String>>) -> Option<Statement> {
    key?;
    let unseen = rows.iter().filter_map(|row| {
        let standing = Standing::parse(row);
        let now = mark(standing.hash.as_deref(), key);
        (now != standing.seen).then_some((text(row, "id")?, json!(now)))
    });
    let unseen: serde_json::Map<_, _> = unseen.collect();
    (!unseen.is_empty()).then(|| {
        let unseen = serde_json::Value::Object(unseen).to_string();
        Statement::new(SEE, vec![unseen.into()])
    })
}

impl Standing {
    pub fn parse(row: &Row) -> Self {
        Self {
            hash: text(row, "hash"),
            mark: text(row, "mark"),
            seen: text(row, "seen"),
        }
    }
}

fn key_mark(key: Option<&Secret<String>>) -> Option<String> {
    Some(keyed_hash("", key)?.get(..KEY_MARK)?.to_owned())
}

/// A password that nobody knows: 256 bits, and of every kind of character that a rule may ask for.
pub fn random<P: Platform>(platform: &P) -> Secret<String> {
    let part = || format!("{:016x}", platform.random_u64());
    Secret(format!("Aa1-{}{}{}{}", part(), part(), part(), part()))
}

/// `None`: without a password, or without a key.
pub fn mark(hash: Option<&str>, key: Option<&Secret<String>>) -> Option<String> {
    let keyed = keyed_hash(hash?, key)?;
    Some(format!("{}.{keyed}", key_mark(key)?))
}

impl Password {
    /// What is noted once it is dealt with; `None`: as it was.
    pub fn mark(&self) -> Option<&Option<String>> {
        match self {
            Self::Same => None,
            Self::Noted(mark) | Self::Changed(mark) => Some(mark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(hash: Option<&str>, mark: Option<&str>, seen: Option<&str>) -> Standing {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Standing {
            hash: owned(hash),
            mark: owned(mark),
            seen: owned(seen),
        }
    }

    #[test]
    fn a_change_is_told_from_a_first_look_our_own_and_another_key() {
        let key = Secret("k1".to_owned());
        let other = Secret("k2".to_owned());
        let judged = |hash, mark: &Option<String>, key, is_ours| {
            judge(&standing(hash, mark.as_deref(), None), Some(key), is_ours)
        };
        let Password::Changed(Some(mark)) = judged(Some("h1"), &None, &key, false) else {
            panic!("a password where there was none");
        };
        assert!(!mark.contains("h1"));
        let mark = Some(mark);
        assert_eq!(judged(Some("h1"), &mark, &key, false), Password::Same);
        assert_eq!(judged(None, &None, &key, false), Password::Same);
        assert!(matches!(
            judged(Some("h2"), &mark, &key, false),
            Password::Changed(Some(_))
        ));
        assert_eq!(judged(None, &mark, &key, false), Password::Changed(None));
        assert!(matches!(
            judged(Some("h2"), &mark, &key, true),
            Password::Noted(Some(_))
        ));
        assert!(matches!(
            judged(Some("h1"), &mark, &other, false),
            Password::Noted(Some(_))
        ));
        let unkeyed = standing(Some("h2"), mark.as_deref(), None);
        assert_eq!(judge(&unkeyed, None, false), Password::Same);
    }

    #[test]
    fn one_that_was_met_before_the_hand_over_ends_nothing_and_a_later_one_does() {
        let key = Secret("k1".to_owned());
        let carried = mark(Some("carried"), Some(&key));
        let seen = mark(Some("h1"), Some(&key));
        for before in [None, carried.as_deref()] {
            let judged = |hash| judge(&standing(hash, before, seen.as_deref()), Some(&key), false);
            assert_eq!(judged(Some("h1")), Password::Noted(seen.clone()));
            assert!(matches!(judged(Some("h2")), Password::Changed(Some(_))));
        }
        // Taken away since.
        let gone = standing(None, carried.as_deref(), seen.as_deref());
        assert_eq!(judge(&gone, Some(&key), false), Password::Changed(None));
    }
}
