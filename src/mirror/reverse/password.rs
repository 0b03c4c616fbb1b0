//! Whether somebody has another password at mgPass than when that was last looked at.
//!
//! What is kept is a keyed hash of mgPass's own hash, with a mark of the key: under another
//! key nothing is known, and the new mark begins anew. Without a key nothing is looked at.

use crate::inbound::request::Secret;
use crate::runtime::observe::keyed_hash;
use crate::runtime::ports::Platform;

/// Of the mark of a key.
const KEY_MARK: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// Nothing to do, nothing to note.
    Same,
    /// Known to be carried, or seen for the first time under this key.
    Noted(Option<String>),
    /// Changed at mgPass's own pages: an older one must not live on at Logto.
    Changed(Option<String>),
}

/// `hash`: mgPass's; `mark`: as last noted. `is_ours`: a translated write set it.
pub fn judge(
    hash: Option<&str>,
    mark: Option<&str>,
    key: Option<&Secret<String>>,
    is_ours: bool,
) -> Password {
    let Some(of_key) = key_mark(key) else {
        return Password::Same;
    };
    let now = self::mark(hash, key);
    if now.as_deref() == mark {
        return Password::Same;
    }
    let is_of_this_key = mark.is_none_or(|mark| mark.starts_with(&of_key));
    match is_ours || !is_of_this_key {
        true => Password::Noted(now),
        false => Password::Changed(now),
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

    #[test]
    fn a_change_is_told_from_a_first_look_our_own_and_another_key() {
        let key = Secret("k1".to_owned());
        let other = Secret("k2".to_owned());
        let judged = |hash, mark: &Option<String>, key, is_ours| {
            judge(hash, mark.as_deref(), Some(key), is_ours)
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
        assert_eq!(
            judge(Some("h2"), mark.as_deref(), None, false),
            Password::Same
        );
    }
}
