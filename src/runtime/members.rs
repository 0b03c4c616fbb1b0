//! A JSON object as its members in order, each with its own exact text.
//!
//! `serde_json::Value` would reorder keys and rewrite numbers; byte-equal answers
//! need neither to happen.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Clone, Debug)]
pub struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, text)| text)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, text)| (key.as_str(), text.get()))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Writes an object member by member, in the order given.
#[derive(Default)]
pub struct ObjectWriter(String);

impl ObjectWriter {
    /// `text` is JSON already.
    pub fn member(&mut self, name: &str, text: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quote(name));
        self.0.push(':');
        self.0.push_str(text);
    }

    pub fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// A JSON string as `JSON.stringify` writes it.
pub fn quote(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// A JSON string, or `null`.
pub fn quote_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), quote)
}

/// Whether two JSON texts mean the same value: order of members and the spelling
/// of numbers do not count.
pub fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (serde_json::from_str(one), serde_json::from_str(other)) {
        (Ok(one), Ok(other)) => same_value(&one, &other),
        _ => false,
    }
}

/// One text for all that [`same_json`] calls the same; what is no JSON stands for itself.
pub fn canonical_json(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(value) => canonical(value).to_string(),
        Err(_) => json.to_owned(),
    }
}

/// Members are in order of name already.
fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Number(number), Value::from),
        Value::Array(values) => values.into_iter().map(canonical).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, canonical(value)))
            .collect(),
        value => value,
    }
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    other.get(key).is_some_and(|other| same_value(value, other))
                })
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_text() {
        let members = Members::parse(r#"{"b":1.0,"10":[ 1 ],"2":"\u0041"}"#).unwrap();
        let seen: Vec<_> = members.iter().collect();
        assert_eq!(seen, [("b", "1.0"), ("10", "[ 1 ]"), ("2", r#""\u0041""#)]);
        assert!(Members::parse("[1]").is_none());
    }

    #[test]
    fn an_object_is_written_as_told() {
        let mut writer = ObjectWriter::default();
        writer.member("a\"", "1");
        writer.member("b", "{}");
        assert_eq!(writer.finish(), r#"{"a\"":1,"b":{}}"#);
        assert_eq!(ObjectWriter::default().finish(), "{}");
    }

    #[test]
    fn strings_are_quoted_as_javascript_quotes_them() {
        assert_eq!(
            quote("é\u{1}\n\u{2028}/\u{7f}"),
            "\"é\\u0001\\n\u{2028}/\u{7f}\""
        );
    }

    #[test]
    fn json_is_compared_by_meaning() {
        assert!(same_json(r#"{"a":1,"b":[1.0]}"#, r#"{ "b":[1], "a":1e0 }"#));
        assert!(!same_json(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!same_json(r#"{"a":1}"#, r#"{"a":1,"b":null}"#));
        assert!(!same_json(r#"[1,2]"#, r#"[2,1]"#));
    }

    #[test]
    fn the_canonical_text_tells_apart_what_the_comparison_does() {
        let texts = [
            r#"{"a":1,"b":[1.0]}"#,
            r#"{ "b":[1], "a":1e0 }"#,
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":1,"b":null}"#,
            "[1,2]",
            "[2,1]",
            "9007199254740993",
            "9007199254740992",
            "no json",
            r#""\u0041""#,
            r#""A""#,
        ];
        for one in texts {
            for other in texts {
                let is_same = canonical_json(one) == canonical_json(other);
                assert_eq!(is_same, same_json(one, other), "{one} {other}");
            }
        }
    }
}
