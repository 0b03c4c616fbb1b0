//! Validation of bodies with the issues of zod 3, by which Logto validates: which there are, in
//! which order, with which members. Schemas are data (`shapes`); this is what they mean.

use super::json::{Object, Value};
use crate::mirror::members::{ObjectWriter, quote};

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

#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    path: Vec<&'static str>,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq)]
enum Problem {
    WrongType {
        expected: Expected,
        received: &'static str,
    },
    Check(TextCheck),
    NotOneOf {
        options: &'static [&'static str],
        received: Value,
    },
    NotEmptyText {
        received: Value,
    },
    /// The issues of each side of a union.
    Union(Vec<Vec<Issue>>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Type(&'static str),
    OneOf(&'static [&'static str]),
}

/// The body's known members, in the schema's order; or every issue there is.
///
/// # Errors
/// When there is an issue.
pub fn parse(shape: &'static [Field], body: &Value) -> Result<Object, Vec<Issue>> {
    let mut issues = Vec::new();
    let parsed = parse_shape(shape, body, &mut Vec::new(), &mut issues);
    match parsed {
        Some(object) if issues.is_empty() => Ok(object),
        Some(_) | None => Err(issues),
    }
}

type Path = Vec<&'static str>;

fn parse_shape(
    shape: &'static [Field],
    value: &Value,
    path: &mut Path,
    issues: &mut Vec<Issue>,
) -> Option<Object> {
    let Value::Object(object) = value else {
        issues.push(wrong_type(Expected::Type("object"), value.kind(), path));
        return None;
    };
    let mut known = Object::default();
    for field in shape {
        path.push(field.name);
        if let Some(value) = parse_field(field, object.get(field.name), path, issues) {
            known.set(field.name, value);
        }
        path.pop();
    }
    Some(known)
}

fn parse_field(
    field: &Field,
    value: Option<&Value>,
    path: &mut Path,
    issues: &mut Vec<Issue>,
) -> Option<Value> {
    let Some(value) = value else {
        if field.presence == Presence::Required {
            issues.push(wrong_type(field.schema.expected(), "undefined", path));
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
            parse_value(field.schema, value, path, &mut side);
            let received = value.clone();
            let other = issue(Problem::NotEmptyText { received }, path);
            issues.push(issue(Problem::Union(vec![side, vec![other]]), path));
            return None;
        }
        (Empty::Nothing | Empty::Null, _) => {}
    }
    parse_value(field.schema, value, path, issues)
}

fn parse_value(
    schema: Schema,
    value: &Value,
    path: &mut Path,
    issues: &mut Vec<Issue>,
) -> Option<Value> {
    match (schema, value) {
        (Schema::Text(checks), Value::Text(text)) => {
            let failed = checks.iter().filter(|check| !check.holds(text));
            issues.extend(failed.map(|check| issue(Problem::Check(*check), path)));
            Some(value.clone())
        }
        (Schema::Flag, Value::Bool(_)) => Some(value.clone()),
        (Schema::Record, Value::Object(_)) => Some(without_proto(value)),
        (Schema::Shape(shape), _) => parse_shape(shape, value, path, issues).map(Value::Object),
        // An enumeration takes numbers for values, too; just not for its own.
        (Schema::OneOf(options), Value::Text(_) | Value::Number(_)) => {
            if value.as_text().is_some_and(|text| options.contains(&text)) {
                return Some(value.clone());
            }
            let received = value.clone();
            issues.push(issue(Problem::NotOneOf { options, received }, path));
            None
        }
        (Schema::Text(_) | Schema::Flag | Schema::Record | Schema::OneOf(_), _) => {
            issues.push(wrong_type(schema.expected(), value.kind(), path));
            None
        }
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
    fn holds(self, text: &str) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.matches(text),
            Self::Url => url::Url::parse(text).is_ok(),
            Self::AtLeast(n_units) => utf16_len(text) >= n_units,
            Self::AtMost(n_units) => utf16_len(text) <= n_units,
        }
    }
}

fn issue(problem: Problem, path: &[&'static str]) -> Issue {
    Issue {
        path: path.to_vec(),
        problem,
    }
}

fn wrong_type(expected: Expected, received: &'static str, path: &[&'static str]) -> Issue {
    issue(Problem::WrongType { expected, received }, path)
}

/// A `ZodError` as JSON.
pub fn issues_json(issues: &[Issue]) -> String {
    let mut writer = ObjectWriter::default();
    writer.member("issues", &list(issues.iter().map(Issue::to_json)));
    writer.member("name", &quote("ZodError"));
    writer.finish()
}

/// As Logto names the issues for people.
pub fn details(issues: &[Issue]) -> String {
    let lines: Vec<_> = issues
        .iter()
        .map(|issue| {
            let path = issue.path.join(".");
            let text = match &issue.problem {
                Problem::WrongType { expected, received } => {
                    format!("Expected {} but received {received}.", expected.text())
                }
                _ => issue.message(),
            };
            format!("Error in key path \"{path}\": ({}) {text}", issue.code())
        })
        .collect();
    lines.join("\n")
}

impl Expected {
    fn text(self) -> String {
        match self {
            Self::Type(name) => name.to_owned(),
            Self::OneOf(options) => options
                .iter()
                .map(|option| format!("'{option}'"))
                .collect::<Vec<_>>()
                .join(" | "),
        }
    }
}

impl Issue {
    fn code(&self) -> &'static str {
        match &self.problem {
            Problem::WrongType { .. } => "invalid_type",
            Problem::Check(TextCheck::Pattern(_) | TextCheck::Url) => "invalid_string",
            Problem::Check(TextCheck::AtLeast(_)) => "too_small",
            Problem::Check(TextCheck::AtMost(_)) => "too_big",
            Problem::NotOneOf { .. } => "invalid_enum_value",
            Problem::NotEmptyText { .. } => "invalid_literal",
            Problem::Union(_) => "invalid_union",
        }
    }

    fn message(&self) -> String {
        match &self.problem {
            Problem::WrongType {
                received: "undefined",
                ..
            } => "Required".to_owned(),
            Problem::WrongType { expected, received } => {
                format!("Expected {}, received {received}", expected.text())
            }
            Problem::Check(TextCheck::Pattern(_)) => "Invalid".to_owned(),
            Problem::Check(TextCheck::Url) => "Invalid url".to_owned(),
            Problem::Check(TextCheck::AtLeast(n)) => {
                format!("String must contain at least {n} character(s)")
            }
            Problem::Check(TextCheck::AtMost(n)) => {
                format!("String must contain at most {n} character(s)")
            }
            Problem::NotOneOf { options, received } => {
                let received = match received {
                    Value::Text(text) => text.clone(),
                    other => other.to_json(),
                };
                let options = Expected::OneOf(options).text();
                format!("Invalid enum value. Expected {options}, received '{received}'")
            }
            Problem::NotEmptyText { .. } => "Invalid literal value, expected \"\"".to_owned(),
            Problem::Union(_) => "Invalid input".to_owned(),
        }
    }

    /// Members as zod puts them: its own first, then path and message; where a check may bring a
    /// message of its own, the message keeps that place.
    fn to_json(&self) -> String {
        let mut writer = ObjectWriter::default();
        let code = quote(self.code());
        let path = list(self.path.iter().map(|name| quote(name)));
        let message = quote(&self.message());
        match &self.problem {
            Problem::WrongType { expected, received } => {
                let expected_json = quote(&expected.text());
                // An enumeration names them the other way round.
                if let Expected::Type(_) = expected {
                    writer.member("code", &code);
                    writer.member("expected", &expected_json);
                    writer.member("received", &quote(received));
                } else {
                    writer.member("expected", &expected_json);
                    writer.member("received", &quote(received));
                    writer.member("code", &code);
                }
            }
            Problem::Check(check) => {
                match check {
                    TextCheck::Pattern(_) => {
                        writer.member("validation", &quote("regex"));
                        writer.member("code", &code);
                    }
                    TextCheck::Url => {
                        writer.member("validation", &quote("url"));
                        writer.member("code", &code);
                    }
                    TextCheck::AtLeast(n) => write_bound(&mut writer, &code, "minimum", *n),
                    TextCheck::AtMost(n) => write_bound(&mut writer, &code, "maximum", *n),
                }
                writer.member("message", &message);
                writer.member("path", &path);
                return writer.finish();
            }
            Problem::NotOneOf { options, received } => {
                writer.member("received", &received.to_json());
                writer.member("code", &code);
                writer.member("options", &list(options.iter().map(|option| quote(option))));
            }
            Problem::NotEmptyText { received } => {
                writer.member("received", &received.to_json());
                writer.member("code", &code);
                writer.member("expected", &quote(""));
            }
            Problem::Union(sides) => {
                writer.member("code", &code);
                let sides = sides.iter().map(|side| issues_json(side));
                writer.member("unionErrors", &list(sides));
            }
        }
        writer.member("path", &path);
        writer.member("message", &message);
        writer.finish()
    }
}

fn write_bound(writer: &mut ObjectWriter, code: &str, name: &str, bound: usize) {
    writer.member("code", code);
    writer.member(name, &bound.to_string());
    writer.member("type", &quote("string"));
    writer.member("inclusive", "true");
    writer.member("exact", "false");
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
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
