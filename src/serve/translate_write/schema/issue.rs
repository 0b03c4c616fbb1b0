//! One issue of zod 3: its members in their order, its message, and how Logto names it for people.

use super::TextCheck;
use crate::runtime::members::{ObjectWriter, quote};
use crate::serve::translate_write::json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    path: Vec<&'static str>,
    problem: Problem,
}

impl Issue {
    pub(super) fn new(problem: Problem, path: &[&'static str]) -> Self {
        Self {
            path: path.to_vec(),
            problem,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Problem {
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
pub(super) enum Expected {
    Type(&'static str),
    OneOf(&'static [&'static str]),
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
