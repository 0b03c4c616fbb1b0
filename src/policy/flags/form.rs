//! What a key takes, in words; whether a text is taken, and whether it is in force.
//!
//! The very parser of the Worker judges, for the operator's command too: what the one
//! takes the other takes.

use super::{Flags, keys, parse};

/// Why a text is not a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagRefusal {
    UnknownKey,
    /// The code of the parser, and what the key takes.
    Refused {
        code: &'static str,
        expected: &'static str,
    },
}

/// What a key takes; `None`: it is none of the keys.
pub fn expected(key: &str) -> Option<&'static str> {
    let percentage = "a percentage from 0 to 100 with at most two decimals, such as 12.5";
    Some(match key {
        "stage" => "one of off, shadow, dual_write, and cutover as a wish",
        "read_percent" | "compare_percent" | "sign_in_percent" => percentage,
        "kill_switch" | "jwks_union" => "on or off",
        "salt" => "a text of at most 256 bytes",
        "guard" => r#"JSON such as {"cap_percent":"0","reason":"by hand"}"#,
        "sign_in_stop" => r#"JSON such as {"reason":"by hand"}"#,
        "mgpass_pages" => "closed or open",
        "applications" => "a JSON list of applications, as docs/applications.md describes it",
        _ if keys().iter().any(|known| known == key) => percentage,
        _ => return None,
    })
}

/// What of the text counts: the parser forgives the line end that `echo` adds.
pub fn tidy(value: &str) -> &str {
    value.trim()
}

/// # Errors
/// When the proxy would not take it.
pub fn check(key: &str, value: &str) -> Result<(), FlagRefusal> {
    let expected = expected(key).ok_or(FlagRefusal::UnknownKey)?;
    match refusal(key, Some(value)) {
        Some(code) => Err(FlagRefusal::Refused { code, expected }),
        // An empty brake is a released one: whoever means that deletes the key.
        None if value.trim().is_empty() && key != "salt" => Err(FlagRefusal::Refused {
            code: "empty",
            expected,
        }),
        None => Ok(()),
    }
}

/// The parser's code for a value of this key that it does not take.
pub fn refusal(key: &str, value: Option<&str>) -> Option<&'static str> {
    let raw = [(key.to_owned(), value.map(str::to_owned))];
    let parsed = parse(&Flags::unknown(), &raw);
    parsed.refused.first().map(|fault| fault.code)
}

/// Whether `flags` would not change by this value.
pub fn is_in_force(flags: &Flags, key: &str, value: Option<&str>) -> bool {
    let raw = [(key.to_owned(), value.map(str::to_owned))];
    let parsed = parse(flags, &raw);
    let is_taken = parsed.refused.is_empty();
    let stays = Flags {
        refused: flags.refused.clone(),
        ..parsed
    };
    is_taken && stays == *flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::flags::Stage;

    #[test]
    fn every_key_says_what_it_takes() {
        for key in keys() {
            assert!(expected(&key).is_some(), "{key}");
        }
        assert_eq!(expected("read_precent"), None);
        assert_eq!(check("read_precent", "5"), Err(FlagRefusal::UnknownKey));
    }

    #[test]
    fn what_the_parser_takes_is_taken_and_nothing_else() {
        for (key, good, bad) in [
            ("stage", "shadow", "Shadow"),
            ("read_percent", "12.5\n", "fifty"),
            ("read_percent.users.get", "0", "101"),
            ("compare_percent", "100", "100%"),
            ("kill_switch", "on", "yes"),
            ("kill_switch", "off", ""),
            ("jwks_union", "off", "1"),
            ("guard", r#"{"cap_percent":"0","reason":"r"}"#, "0"),
            ("sign_in_percent", "0.5", "half"),
            ("sign_in_stop", r#"{"reason":"r"}"#, "on"),
            ("mgpass_pages", "closed", "on"),
            ("applications", "[]", "{}"),
        ] {
            assert_eq!(check(key, good), Ok(()), "{key} {good}");
            assert!(
                matches!(check(key, bad), Err(FlagRefusal::Refused { .. })),
                "{key} {bad}"
            );
        }
        assert_eq!(check("salt", ""), Ok(()));
        assert!(check("salt", &"x".repeat(257)).is_err());
    }

    #[test]
    fn a_value_is_in_force_when_nothing_would_change() {
        let flags = Flags {
            stage: Stage::DualWrite,
            asked: Stage::DualWrite,
            ..Flags::default()
        };
        assert!(is_in_force(&flags, "stage", Some("dual_write\n")));
        assert!(!is_in_force(&flags, "stage", Some("shadow")));
        assert!(is_in_force(&flags, "read_percent", None));
        assert!(is_in_force(&flags, "read_percent", Some("0.0")));
        assert!(!is_in_force(&flags, "read_percent", Some("ten")));
    }
}
