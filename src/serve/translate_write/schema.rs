//! Validation of bodies with the issues of zod 3, by which Logto validates: which there are, in
//! which order, with which members. Schemas are data (`shapes`); this is what they mean.

mod issue;

use self::issue::{Expected, Problem};
pub use self::issue::{Issue, details, issues_json};
use super::json::{Object, Value};

/// One member of an object.
#[derive(Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub schema: Schema,
    pub presence: Presence,
    pub empty: Empty,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

/// What else than the schema's own values clears a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    Nothing,
    Null,
    /// `null`, or `""`: a union with it, so that a wrong type has the issues of both sides.
    NullOrEmptyText,
}

#[derive(Clone, Copy)]
pub enum Schema {
    Text(&'static [TextCheck]),
    Flag,
    /// Any object.
    Record,
    Shape(&'static [Field]),
    OneOf(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCheck {
    Pattern(Pattern),
    Url,
    /// In UTF-16 units, as all lengths here.
    AtLeast(usize),
    AtMost(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Username,
    Email,
    Digits,
}

impl Pattern {
    /// Whether the text matches `/^[A-Z_a-z]\w*$/`, `/^\S+@\S+\.\S+$/`, `/^\d+$/`.
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::Username => {
                text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            }
            Self::Digits => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Email => is_email(text),
        }
    }
}

/// Something, `@`, something, `.`, something, and no white space at all.
fn is_email(text: &str) -> bool {
    if text.contains(is_js_space) {
        return false;
    }
    let mut characters = text.chars();
    characters.next();
    let Some((_, domain)) = characters.as_str().split_once('@') else {
        return false;
    };
    let mut characters = domain.chars();
    let (_, _) = (characters.next(), characters.next_back());
    characters.as_str().contains('.')
}

/// `\s` of JavaScript's patterns.
pub fn is_js_space(character: char) -> bool {
    matches!(
        character,
        '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'
            | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

pub fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// What the runtime makes of the one address that a body may hold (`new URL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Valid,
    Invalid,
}

/// The body's known members, in the schema's order; or every issue there is.
///
/// # Errors
/// When there is an issue.
pub fn parse(
    shape: &'static [Field],
    body: &Value,
    address: Address,
) -> Result<Object, Vec<Issue>> {
    let mut parser = Parser {
        address,
        path: Vec::new(),
    };
    let mut issues = Vec::new();
    let parsed = parser.shape(shape, body, &mut issues);
    match parsed {
        Some(object) if issues.is_empty() => Ok(object),
        Some(_) | None => Err(issues),
    }
}

struct Parser {
    address: Address,
    path: Vec<&'static str>,
}

impl Parser {
    fn shape(
        &mut self,
        shape: &'static [Field],
        value: &Value,
        issues: &mut Vec<Issue>,
    ) -> Option<Object> {
        let Value::Object(object) = value else {
            issues.push(self.wrong_type(Expected::Type("object"), value.kind()));
            return None;
        };
        let mut known = Object::default();
        for field in shape {
            self.path.push(field.name);
            if let Some(value) = self.field(field, object.get(field.name), issues) {
                known.set(field.name, value);
            }
            self.path.pop();
        }
        Some(known)
    }

    fn field(
        &mut self,
        field: &Field,
        value: Option<&Value>,
        issues: &mut Vec<Issue>,
    ) -> Option<Value> {
        let Some(value) = value else {
            if field.presence == Presence::Required {
                issues.push(self.wrong_type(field.schema.expected(), "undefined"));
            }
            return None;
        };
        match (field.empty, value) {
            (Empty::Null | Empty::NullOrEmptyText, Value::Null) => return Some(Value::Null),
            (Empty::NullOrEmptyText, Value::Text(text)) if text.is_empty() => {
                return Some(value.clone());
            }
            (Empty::NullOrEmptyText, Value::Text(_)) => {}
            (Empty::NullOrEmptyText, _) => {
                let mut side = Vec::new();
                self.value(field.schema, value, &mut side);
                let received = value.clone();
                let other = self.issue(Problem::NotEmptyText { received });
                issues.push(self.issue(Problem::Union(vec![side, vec![other]])));
                return None;
            }
            (Empty::Nothing | Empty::Null, _) => {}
        }
        self.value(field.schema, value, issues)
    }

    fn value(&mut self, schema: Schema, value: &Value, issues: &mut Vec<Issue>) -> Option<Value> {
        match (schema, value) {
            (Schema::Text(checks), Value::Text(text)) => {
                let failed = checks
                    .iter()
                    .filter(|check| !check.holds(text, self.address));
                issues.extend(failed.map(|check| self.issue(Problem::Check(*check))));
                Some(value.clone())
            }
            (Schema::Flag, Value::Bool(_)) => Some(value.clone()),
            (Schema::Record, Value::Object(_)) => Some(without_proto(value)),
            (Schema::Shape(shape), _) => self.shape(shape, value, issues).map(Value::Object),
            // An enumeration takes numbers for values, too; just not for its own.
            (Schema::OneOf(options), Value::Text(_) | Value::Number(_)) => {
                if value.as_text().is_some_and(|text| options.contains(&text)) {
                    return Some(value.clone());
                }
                let received = value.clone();
                issues.push(self.issue(Problem::NotOneOf { options, received }));
                None
            }
            (Schema::Text(_) | Schema::Flag | Schema::Record | Schema::OneOf(_), _) => {
                issues.push(self.wrong_type(schema.expected(), value.kind()));
                None
            }
        }
    }

    fn wrong_type(&self, expected: Expected, received: &'static str) -> Issue {
        self.issue(Problem::WrongType { expected, received })
    }

    fn issue(&self, problem: Problem) -> Issue {
        Issue::new(problem, &self.path)
    }
}

/// zod leaves a member of this name behind, at any depth.
fn without_proto(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object
                .iter()
                .filter(|(name, _)| *name != "__proto__")
                .map(|(name, value)| (name.to_owned(), without_proto(value)));
            Value::Object(Object::from_members(kept.collect()))
        }
        Value::List(items) => Value::List(items.iter().map(without_proto).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => value.clone(),
    }
}

impl Schema {
    fn expected(self) -> Expected {
        match self {
            Self::Text(_) => Expected::Type("string"),
            Self::Flag => Expected::Type("boolean"),
            Self::Record | Self::Shape(_) => Expected::Type("object"),
            Self::OneOf(options) => Expected::OneOf(options),
        }
    }
}

impl TextCheck {
    fn holds(self, text: &str, address: Address) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.matches(text),
            Self::Url => !text.is_empty() && address == Address::Valid,
            Self::AtLeast(n_units) => utf16_len(text) >= n_units,
            Self::AtMost(n_units) => utf16_len(text) <= n_units,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_logtos() {
        let emails = [
            ("a@b.c", true),
            ("@@b.c", true),
            ("a@b..c", true),
            ("é@ü.x", true),
            ("a@b", false),
            ("@b.c", false),
            ("a@.c", false),
            ("a@b.", false),
            ("a b@c.d", false),
            ("a@b.c\u{a0}", false),
            ("a@@.c", true),
            ("a.b@c", false),
        ];
        for (text, expected) in emails {
            assert_eq!(Pattern::Email.matches(text), expected, "{text}");
        }
        for (text, expected) in [("_a1", true), ("1a", false), ("é", false), ("", false)] {
            assert_eq!(Pattern::Username.matches(text), expected, "{text}");
        }
    }
}
