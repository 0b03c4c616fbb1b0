//! Known causes of differences, as data. An ignored difference is counted under
//! its rule's name, so that a rule that hides too much is seen.

use std::collections::BTreeMap;

use super::difference::{Class, ReadDifference};
use crate::inbound::classify::Operation;
use crate::runtime::isolate::Volatile;

/// Answers or errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Answers,
    Errors,
}

pub struct IgnoreRule {
    pub name: &'static str,
    /// `None`: of every operation.
    pub operation: Option<Operation>,
    pub on: On,
    pub path: &'static str,
    /// Of the differences at this path.
    pub takes: fn(&ReadDifference) -> bool,
}

pub const RULES: &[IgnoreRule] = &[
    // Logto raises it for changes that no mapped field shows: a rehashed password,
    // MFA, consents.
    IgnoreRule {
        name: "updated_at_of_unmapped_change",
        operation: Some(Operation::UsersGet),
        on: On::Answers,
        path: "updatedAt",
        takes: is_value,
    },
    // Whoever signs in at mgPass does it there alone. An older one is a mistake.
    IgnoreRule {
        name: "newer_sign_in_at_mgpass",
        operation: Some(Operation::UsersGet),
        on: On::Answers,
        path: "lastSignInAt",
        takes: is_newer_at_mgpass,
    },
    // The text of an error follows Accept-Language; its code does not.
    IgnoreRule {
        name: "error_language",
        operation: None,
        on: On::Errors,
        path: "message",
        takes: is_value,
    },
];

fn is_value(difference: &ReadDifference) -> bool {
    difference.class == Class::Value
}

/// Of two times, or of one where Logto has none.
fn is_newer_at_mgpass(difference: &ReadDifference) -> bool {
    let time = |text: &Option<String>| text.as_ref()?.parse::<i64>().ok();
    let is_never = difference.control.as_deref() == Some("null");
    match (time(&difference.control), time(&difference.candidate)) {
        (Some(at_logto), Some(at_mgpass)) => at_mgpass > at_logto,
        (None, Some(_)) => is_never,
        (_, None) => false,
    }
}

pub const VOLATILE: &str = "volatile_in_logto";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    pub mismatches: Vec<ReadDifference>,
    /// How many differences each rule took.
    pub ignored: BTreeMap<&'static str, i64>,
}

pub fn sort(
    operation: Operation,
    status: u16,
    differences: Vec<ReadDifference>,
    volatile: &[Volatile],
) -> Sorted {
    let on = if status < 400 {
        On::Answers
    } else {
        On::Errors
    };
    let mut sorted = Sorted::default();
    for difference in differences {
        let rule = RULES.iter().find(|rule| {
            rule.on == on
                && rule.operation.is_none_or(|one| one == operation)
                && rule.path == difference.path
                && (rule.takes)(&difference)
        });
        let is_volatile = volatile.iter().any(|volatile| {
            volatile.operation == operation.name()
                && volatile.path == difference.path
                && volatile.class == difference.class.name()
        });
        match rule {
            Some(rule) => *sorted.ignored.entry(rule.name).or_default() += 1,
            None if is_volatile => *sorted.ignored.entry(VOLATILE).or_default() += 1,
            None => sorted.mismatches.push(difference),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(path: &str, class: Class) -> ReadDifference {
        ReadDifference {
            path: path.to_owned(),
            class,
            control: None,
            candidate: None,
        }
    }

    #[test]
    fn a_rule_takes_its_own_path_and_class_and_is_counted() {
        let found = vec![
            difference("updatedAt", Class::Value),
            difference("updatedAt", Class::Missing),
            difference("name", Class::Value),
        ];
        let sorted = sort(Operation::UsersGet, 200, found, &[]);
        assert_eq!(sorted.mismatches.len(), 2);
        assert_eq!(
            sorted.ignored.get("updated_at_of_unmapped_change"),
            Some(&1)
        );
    }

    #[test]
    fn a_newer_sign_in_at_mgpass_is_ignored_and_nothing_else_at_its_path() {
        for (control, candidate, is_ignored) in [
            (Some("1000"), Some("2000"), true),
            (Some("null"), Some("2000"), true),
            (Some("2000"), Some("1000"), false),
            (Some("2000"), Some("null"), false),
            (Some("null"), Some(r#""2000""#), false),
            (Some(r#""1000""#), Some("2000"), false),
            (None, Some("2000"), false),
            (Some("2000"), None, false),
        ] {
            let one = ReadDifference {
                control: control.map(str::to_owned),
                candidate: candidate.map(str::to_owned),
                ..difference("lastSignInAt", Class::Value)
            };
            let sorted = sort(Operation::UsersGet, 200, vec![one], &[]);
            assert_eq!(
                sorted.mismatches.is_empty(),
                is_ignored,
                "{control:?} {candidate:?}"
            );
        }
    }

    #[test]
    fn the_text_of_an_error_may_differ_and_a_field_of_that_name_may_not() {
        let found = || vec![difference("message", Class::Value)];
        let operation = Operation::UsersGetCustomData;
        assert_eq!(sort(operation, 404, found(), &[]).mismatches, []);
        assert_eq!(sort(operation, 200, found(), &[]).mismatches.len(), 1);
    }

    #[test]
    fn what_differs_in_logto_itself_is_noise() {
        let volatile = [Volatile {
            operation: "users.get".into(),
            path: "customData.now".into(),
            class: Class::Value.name().into(),
        }];
        let found = || vec![difference("customData.now", Class::Value)];
        let sorted = sort(Operation::UsersGet, 200, found(), &volatile);
        assert_eq!(sorted.ignored.get(VOLATILE), Some(&1));
        let elsewhere = sort(Operation::UsersGetCustomData, 200, found(), &volatile);
        assert_eq!(elsewhere.mismatches.len(), 1);
    }
}
