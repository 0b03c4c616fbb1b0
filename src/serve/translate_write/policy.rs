//! Logto's rules for what users choose for themselves by the Account API: usernames and passwords.
//! The Management API is not bound by them.

use std::collections::BTreeSet;

use super::reply::LogtoError;
use super::row::Row;
use super::schema::is_js_space;
use crate::policy::tenant::{PasswordPolicy, UsernamePolicy};
use crate::runtime::members::{ObjectWriter, quote};

/// The first rule that a well-formed username breaks.
pub fn username_violation(policy: &UsernamePolicy, username: &str) -> Option<LogtoError> {
    let has = |test: fn(&char) -> bool| username.chars().any(|character| test(&character));
    let allowed = &policy.allowed_chars;
    if username.len() < policy.min_length {
        Some(LogtoError::UsernameTooShort)
    } else if username.len() > policy.max_length {
        Some(LogtoError::UsernameTooLong)
    } else if !allowed.uppercase && has(char::is_ascii_uppercase) {
        Some(LogtoError::UsernameUppercase)
    } else if !allowed.lowercase && has(char::is_ascii_lowercase) {
        Some(LogtoError::UsernameLowercase)
    } else if !allowed.numbers && has(char::is_ascii_digit) {
        Some(LogtoError::UsernameNumbers)
    } else if !allowed.underscore && username.contains('_') {
        Some(LogtoError::UsernameUnderscore)
    } else {
        None
    }
}

const SYMBOLS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ";

const SEQUENCES: [&str; 14] = [
    "0123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz",
    "2wsx",
    "3edc",
    "4rfv",
    "5tgb",
    "6yhn",
    "7ujm",
    "8ik",
    "9ol",
];

/// From so many characters on a repetition or a sequence counts.
const SHORTEST: usize = 3;

/// So many characters beside what is restricted make a password good enough.
const TOLERANCE: usize = 3;

/// What is wrong with a password, as JSON; `None`: nothing. `is_pwned` is the outcome of the look-up
/// of leaked passwords, where the policy asks for it.
pub fn password_issues(
    policy: &PasswordPolicy,
    password: &str,
    row: &Row,
    is_pwned: bool,
) -> Option<String> {
    // All of it counts UTF-16 units.
    let units: Vec<u16> = password.encode_utf16().collect();
    let mut issues = Vec::new();
    if units.len() < policy.length.min {
        issues.push(issue("too_short", Some(("min", policy.length.min))));
    } else if units.len() > policy.length.max {
        issues.push(issue("too_long", Some(("max", policy.length.max))));
    }
    match n_kinds(password) {
        None => issues.push(issue("unsupported_characters", None)),
        Some(n_kinds) if n_kinds < policy.character_types.min => {
            let min = policy.character_types.min;
            issues.push(issue("character_types", Some(("min", min))));
        }
        Some(_) => {}
    }
    if policy.rejects.pwned && is_pwned {
        issues.push(issue("pwned", None));
    }
    issues.extend(restricted(policy, &units, row));
    (!issues.is_empty()).then(|| format!("[{}]", issues.join(",")))
}

fn issue(code: &str, bound: Option<(&str, usize)>) -> String {
    let mut writer = ObjectWriter::default();
    writer.member("code", &quote(&format!("password_rejected.{code}")));
    if let Some((name, bound)) = bound {
        writer.member("interpolation", &format!("{{{}:{bound}}}", quote(name)));
    }
    writer.finish()
}

/// `None`: it has a character of no kind.
fn n_kinds(password: &str) -> Option<usize> {
    let kind = |character: char| match character {
        'a'..='z' => Some(0),
        'A'..='Z' => Some(1),
        '0'..='9' => Some(2),
        other => SYMBOLS.contains(other).then_some(3),
    };
    let kinds: Option<BTreeSet<i32>> = password.chars().map(kind).collect();
    kinds.map(|kinds| kinds.len())
}

/// Restricted phrases, when they leave too little of the password; in the order first met.
fn restricted(policy: &PasswordPolicy, units: &[u16], row: &Row) -> Vec<String> {
    let rejects = &policy.rejects;
    let about_user = if rejects.user_info {
        UserWords::of(row)
    } else {
        UserWords::default()
    };
    let mut is_restricted = vec![false; units.len()];
    let mut codes: Vec<&'static str> = Vec::new();
    let mut mark = |start: usize, length: usize, code: &'static str| {
        if length == 0 {
            return;
        }
        let end = (start + length).min(units.len());
        if let Some(part) = is_restricted.get_mut(start..end) {
            part.fill(true);
        }
        if !codes.contains(&code) {
            codes.push(code);
        }
    };
    for start in 0..units.len() {
        let rest = units.get(start..).unwrap_or_default();
        if rejects.repetition_and_sequence {
            mark(start, repetition(rest), "restricted.repetition");
            mark(start, sequence(rest), "restricted.sequence");
        }
        let rest = lowercase(rest);
        let longest = rejects.words.iter().map(|word| starting(&rest, word)).max();
        mark(start, longest.unwrap_or(0), "restricted.words");
        mark(start, about_user.longest(&rest), "restricted.user_info");
    }
    let n_restricted = is_restricted.iter().filter(|marked| **marked).count();
    let is_too_much = n_restricted > units.len().saturating_sub(TOLERANCE).max(1);
    if !is_too_much {
        return Vec::new();
    }
    codes.into_iter().map(|code| issue(code, None)).collect()
}

/// Compared by characters, though the first is one unit: beyond the BMP nothing repeats.
fn repetition(rest: &[u16]) -> usize {
    let Some(first) = rest.first() else {
        return 0;
    };
    let length = rest.iter().take_while(|unit| *unit == first).count();
    let is_surrogate = (0xd800..0xe000).contains(first);
    if length >= SHORTEST && !is_surrogate {
        length
    } else {
        0
    }
}

fn sequence(rest: &[u16]) -> usize {
    let mut found = String::new();
    let mut length = 0;
    for character in char::decode_utf16(rest.iter().copied()) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        let longer = format!("{found}{character}");
        if !found.is_empty() && !is_sequential(&longer) {
            break;
        }
        found = longer;
        length += 1;
    }
    if length >= SHORTEST { length } else { 0 }
}

fn is_sequential(text: &str) -> bool {
    SEQUENCES.iter().any(|sequence| {
        let reversed: String = sequence.chars().rev().collect();
        [sequence.to_ascii_uppercase(), reversed.to_ascii_uppercase()]
            .iter()
            .any(|upper| upper.contains(text))
            || sequence.contains(text)
            || reversed.contains(text)
    })
}

fn lowercase(units: &[u16]) -> Vec<u16> {
    // Half a pair at the start stays what it is: lower-casing does not touch it.
    let (half, rest) = match units.split_first() {
        Some((first, rest)) if (0xdc00..0xe000).contains(first) => (Some(*first), rest),
        Some(_) | None => (None, units),
    };
    let lower = String::from_utf16_lossy(rest).to_lowercase();
    half.into_iter().chain(lower.encode_utf16()).collect()
}

/// How much of `rest` the word takes at its start: the word's own length.
fn starting(rest: &[u16], word: &str) -> usize {
    let lower: Vec<u16> = word.to_lowercase().encode_utf16().collect();
    if rest.starts_with(&lower) {
        word.encode_utf16().count()
    } else {
        0
    }
}

/// What a password must not consist of, since everybody knows it.
#[derive(Default)]
struct UserWords {
    name: Option<String>,
    /// Of the name, where it does not stand as a whole.
    parts: Vec<String>,
    others: Vec<String>,
}

impl UserWords {
    fn of(row: &Row) -> Self {
        let text = |name: &str| row.text(name).filter(|text| !text.is_empty());
        let name = text("name").map(str::to_owned);
        let parts = name.iter().flat_map(|name| {
            let joined = name.replace(is_js_space, "");
            std::iter::once(joined).chain(name.split(' ').map(str::to_owned))
        });
        let mailbox = text("primaryEmail").and_then(|email| email.split('@').next());
        let others = [text("username"), mailbox, text("primaryPhone")];
        Self {
            parts: parts.collect(),
            others: others.into_iter().flatten().map(str::to_owned).collect(),
            name,
        }
    }

    fn longest(&self, rest: &[u16]) -> usize {
        let longest_of = |words: &[String]| words.iter().map(|word| starting(rest, word)).max();
        let name = self.name.as_ref().map_or(0, |name| starting(rest, name));
        let name = if name > 0 {
            name
        } else {
            longest_of(&self.parts).unwrap_or(0)
        };
        name.max(longest_of(&self.others).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Logto's own checker says to each.
    #[rustfmt::skip]
    #[test]
    fn passwords_are_judged_as_logto_judges_them() {
        let row = Row::parse(
            r#"{"name":"Ama Boateng","username":"kojo","primaryEmail":"esi@example.test","primaryPhone":"233200000055"}"#,
        )
        .unwrap();
        let mut policy = PasswordPolicy::default();
        policy.rejects.words = vec!["vorpal".to_owned()];
        for (password, expected) in [
            ("0123456789", "restricted.sequence"),
            ("zyxwvuts", "restricted.sequence"),
            ("QWERTYUIOP", "restricted.sequence"),
            ("lkjhgfdsa", "restricted.sequence"),
            ("zxcvbnmz", "restricted.sequence"),
            ("1qaz1qaz", "restricted.sequence"),
            ("2wsx2wsx", "restricted.sequence"),
            ("3edc3edc", "restricted.sequence"),
            ("4rfv4rfv", "restricted.sequence"),
            ("5tgb5tgb", "restricted.sequence"),
            ("6yhn6yhn", "restricted.sequence"),
            ("7ujm7ujm", "restricted.sequence"),
            ("8ik8ik8ik", "restricted.sequence"),
            ("9ol9ol9ol", "restricted.sequence"),
            ("aaaaaaaa", "restricted.repetition"),
            ("AAAbbb12", "restricted.repetition"),
            ("abc!D9xq", ""),
            ("kojokojo", "restricted.user_info"),
            ("esiesi12", "restricted.user_info"),
            ("Boateng1", "restricted.user_info"),
            ("AmaBoateng", "restricted.user_info"),
            ("ama boateng", "restricted.user_info"),
            ("23320000", ""),
            ("2332000000551", "restricted.user_info restricted.repetition"),
            ("vorpal12", "restricted.words"),
            ("Vorpal-Blade-42", ""),
            ("ééééééééé", "unsupported_characters restricted.repetition"),
            ("Zz9!", "too_short"),
            (&"x".repeat(257), "too_long restricted.repetition"),
            ("qazwsxed", "restricted.sequence"),
        ] {
            let issues = password_issues(&policy, password, &row, false).unwrap_or_default();
            let codes: Vec<_> = issues
                .split("password_rejected.")
                .skip(1)
                .filter_map(|issue| issue.split('"').next())
                .collect();
            assert_eq!(codes.join(" "), expected, "{password}");
        }
    }

    #[test]
    fn an_issue_carries_its_bound() {
        let row = Row::default();
        let policy = PasswordPolicy::default();
        let issues = password_issues(&policy, "x!Z", &row, true);
        assert_eq!(
            issues.as_deref(),
            Some(
                r#"[{"code":"password_rejected.too_short","interpolation":{"min":8}},{"code":"password_rejected.pwned"}]"#
            )
        );
    }
}
