//! Two answers compared field by field: paths and classes, never a boolean.
//!
//! JSON is walked as text, so that the order of members and the spelling of
//! numbers count: the claim is Logto's exact bytes.

use serde_json::value::RawValue;

use crate::runtime::members::Members;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Logto has it, mgPass has not.
    Missing,
    /// mgPass has it, Logto has not.
    Extra,
    Type,
    Value,
    /// The same members, in another order.
    Order,
    Status,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Value => "value",
            Self::Order => "order",
            Self::Status => "status",
        }
    }
}

/// One backend's answer: what a client would see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDifference {
    /// Members joined by dots, array items as `[]`; empty for the whole body.
    pub path: String,
    pub class: Class,
    /// The texts that differ. They go into a keyed hash and nowhere else.
    pub control: Option<String>,
    pub candidate: Option<String>,
}

impl ReadDifference {
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.path == other.path && self.class == other.class
    }
}

/// More differences in one answer say no more.
const MAX_DIFFERENCES: usize = 32;
/// Deeper values are compared as text.
const MAX_DEPTH: usize = 32;

/// `control` is Logto's, `candidate` mgPass's.
pub fn differences(control: &Seen, candidate: &Seen) -> Vec<ReadDifference> {
    let mut walk = Walk {
        path: Vec::new(),
        found: Vec::new(),
    };
    if control.status != candidate.status {
        walk.note(
            Class::Status,
            Some(&control.status.to_string()),
            Some(&candidate.status.to_string()),
        );
        return walk.found;
    }
    walk.compare(&control.body, &candidate.body);
    walk.found
}

struct Walk {
    path: Vec<String>,
    found: Vec<ReadDifference>,
}

impl Walk {
    fn note(&mut self, class: Class, control: Option<&str>, candidate: Option<&str>) {
        if self.found.len() < MAX_DIFFERENCES {
            self.found.push(ReadDifference {
                path: self.path.join("."),
                class,
                control: control.map(str::to_owned),
                candidate: candidate.map(str::to_owned),
            });
        }
    }

    fn compare(&mut self, control: &str, candidate: &str) {
        if control == candidate {
            return;
        }
        let class = match (Shape::of(control), Shape::of(candidate)) {
            (Shape::Object, Shape::Object) if self.path.len() < MAX_DEPTH => {
                match (Members::parse(control), Members::parse(candidate)) {
                    (Some(one), Some(other)) => return self.objects(&one, &other),
                    _ => Class::Value,
                }
            }
            (Shape::Array, Shape::Array) if self.path.len() < MAX_DEPTH => {
                match (items(control), items(candidate)) {
                    (Some(one), Some(other)) => return self.arrays(&one, &other),
                    _ => Class::Value,
                }
            }
            (one, other) if one != other => Class::Type,
            _ => Class::Value,
        };
        self.note(class, Some(control), Some(candidate));
    }

    fn objects(&mut self, control: &Members, candidate: &Members) {
        let found_before = self.found.len();
        for (name, text) in control.iter() {
            self.path.push(segment(name));
            match candidate.get(name) {
                None => self.note(Class::Missing, Some(text), None),
                Some(other) => self.compare(text, other),
            }
            self.path.pop();
        }
        for (name, text) in candidate
            .iter()
            .filter(|(name, _)| control.get(name).is_none())
        {
            self.path.push(segment(name));
            self.note(Class::Extra, None, Some(text));
            self.path.pop();
        }
        if self.found.len() == found_before {
            let names = |members: &Members| {
                let names: Vec<_> = members.iter().map(|(name, _)| name.to_owned()).collect();
                names.join(",")
            };
            if names(control) != names(candidate) {
                self.note(Class::Order, Some(&names(control)), Some(&names(candidate)));
            }
        }
    }

    fn arrays(&mut self, control: &[String], candidate: &[String]) {
        self.path.push("[]".to_owned());
        let sorted = |items: &[String]| {
            let mut items = items.to_vec();
            items.sort();
            items
        };
        if control != candidate && sorted(control) == sorted(candidate) {
            self.note(
                Class::Order,
                Some(&control.join(",")),
                Some(&candidate.join(",")),
            );
        } else {
            for (one, other) in control.iter().zip(candidate) {
                self.compare(one, other);
            }
            for one in control.iter().skip(candidate.len()) {
                self.note(Class::Missing, Some(one), None);
            }
            for other in candidate.iter().skip(control.len()) {
                self.note(Class::Extra, None, Some(other));
            }
        }
        self.path.pop();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
    NotJson,
}

impl Shape {
    fn of(text: &str) -> Self {
        match text.trim_start().bytes().next() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::Text,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::NotJson,
        }
    }
}

fn items(json: &str) -> Option<Vec<String>> {
    let items: Vec<Box<RawValue>> = serde_json::from_str(json).ok()?;
    Some(items.iter().map(|item| item.get().to_owned()).collect())
}

/// A member's name as a path may show it. A name that is no plain word, or has so
/// many digits that it may be a number of somebody's, is data and not shown.
fn segment(name: &str) -> String {
    let is_word = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let n_digits = name.bytes().filter(u8::is_ascii_digit).count();
    if is_word && n_digits < 5 {
        name.to_owned()
    } else {
        "*".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, body: &str) -> Seen {
        Seen {
            status,
            body: body.to_owned(),
        }
    }

    fn check(control: &str, candidate: &str, expected: &[(&str, Class)]) {
        let found = differences(&seen(200, control), &seen(200, candidate));
        let found: Vec<_> = found
            .iter()
            .map(|difference| (difference.path.as_str(), difference.class))
            .collect();
        assert_eq!(found, expected, "{control} {candidate}");
    }

    #[test]
    fn each_difference_has_its_path_and_class() {
        let body = r#"{"a":1,"b":{"c":[1,2],"d":null},"e":"x"}"#;
        check(body, body, &[]);
        check(
            body,
            r#"{"a":2,"b":{"c":[1,2],"d":null},"e":"x"}"#,
            &[("a", Class::Value)],
        );
        check(
            body,
            r#"{"a":1.0,"b":{"c":[1,2],"d":null},"e":"x"}"#,
            &[("a", Class::Value)],
        );
        check(
            body,
            r#"{"a":"1","b":{"c":[1,2],"d":null},"e":"x"}"#,
            &[("a", Class::Type)],
        );
        check(
            body,
            r#"{"a":1,"b":{"c":[1,2],"d":0},"e":"x"}"#,
            &[("b.d", Class::Type)],
        );
        check(
            body,
            r#"{"a":1,"b":{"c":[2,1],"d":null},"e":"x"}"#,
            &[("b.c.[]", Class::Order)],
        );
        check(
            body,
            r#"{"a":1,"b":{"c":[1],"d":null},"e":"x"}"#,
            &[("b.c.[]", Class::Missing)],
        );
        check(
            body,
            r#"{"a":1,"b":{"c":[1,2,3],"d":null},"e":"x"}"#,
            &[("b.c.[]", Class::Extra)],
        );
        check(
            body,
            r#"{"a":1,"b":{"d":null,"c":[1,2]},"e":"x"}"#,
            &[("b", Class::Order)],
        );
        check(
            body,
            r#"{"a":1,"e":"x","f":1}"#,
            &[("b", Class::Missing), ("f", Class::Extra)],
        );
        check("{}", "[]", &[("", Class::Type)]);
        check("not found", "{}", &[("", Class::Type)]);
    }

    #[test]
    fn statuses_are_compared_before_bodies() {
        let found = differences(&seen(200, "{}"), &seen(404, "[]"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, Class::Status);
    }

    #[test]
    fn names_that_may_be_data_are_not_shown() {
        check(
            r#"{"a@example.test":1,"14155555357":{"x":1},"plan":1}"#,
            r#"{"a@example.test":2,"14155555357":{"x":2},"plan":2}"#,
            &[
                ("*", Class::Value),
                ("*.x", Class::Value),
                ("plan", Class::Value),
            ],
        );
    }

    #[test]
    fn there_is_an_end_to_what_one_answer_tells() {
        let body = |value: u32| {
            let members: Vec<_> = (0..100)
                .map(|number| format!(r#""k{number}":{value}"#))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        let found = differences(&seen(200, &body(1)), &seen(200, &body(2)));
        assert_eq!(found.len(), MAX_DIFFERENCES);
    }
}
