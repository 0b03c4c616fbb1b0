//! JSON with the meaning that JavaScript gives it, since Logto's answers show it: numbers are
//! doubles, the last of two members wins at the place of the first, members that look like array
//! indices come first.
//!
//! `serde_json::Value` would keep neither order nor doubles; `Members` keeps texts, and what
//! Logto stores is not the text that was sent.

pub mod parse;

use std::collections::HashMap;

use crate::runtime::members::quote;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Its type, as zod names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// As `JSON.stringify` writes it.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write(&mut json);
        json
    }

    fn write(&self, json: &mut String) {
        match self {
            Self::Null => json.push_str("null"),
            Self::Bool(flag) => json.push_str(if *flag { "true" } else { "false" }),
            Self::Number(number) if number.is_finite() => {
                write_number(*number, json);
            }
            Self::Number(_) => json.push_str("null"),
            Self::Text(text) => json.push_str(&quote(text)),
            Self::List(items) => {
                json.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    item.write(json);
                }
                json.push(']');
            }
            Self::Object(object) => object.write(json),
        }
    }

    /// Whether any text in it, names of members included, passes `test`.
    pub fn has_text(&self, test: fn(&str) -> bool) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => false,
            Self::Text(text) => test(text),
            Self::List(items) => items.iter().any(|item| item.has_text(test)),
            Self::Object(object) => object
                .iter()
                .any(|(name, value)| test(name) || value.has_text(test)),
        }
    }
}

/// Members in JavaScript's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// Of members as they were written.
    pub fn from_members(members: Vec<(String, Value)>) -> Self {
        let mut kept: Vec<(String, Value)> = Vec::with_capacity(members.len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(members.len());
        for (name, value) in members {
            match places.get(&name).and_then(|place| kept.get_mut(*place)) {
                Some(member) => member.1 = value,
                None => {
                    places.insert(name.clone(), kept.len());
                    kept.push((name, value));
                }
            }
        }
        Self(kept).in_order()
    }

    /// Array indices first, by their number.
    fn in_order(mut self) -> Self {
        self.0
            .sort_by_key(|(name, _)| index(name).unwrap_or(u32::MAX));
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// Where it stands, else at the end.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some(member) => member.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// `{...self, ...over}`.
    pub fn merged(&self, over: &Self) -> Self {
        let members = self.0.iter().chain(&over.0).cloned().collect();
        Self::from_members(members)
    }

    /// As PostgreSQL's `jsonb` gives it back: shorter names first, then by bytes, at any depth.
    pub fn as_jsonb(&self) -> Self {
        let mut members: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| (name.clone(), as_jsonb(value)))
            .collect();
        members.sort_by(|(one, _), (other, _)| {
            (one.len(), one.as_bytes()).cmp(&(other.len(), other.as_bytes()))
        });
        Self(members).in_order()
    }

    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write(&mut json);
        json
    }

    fn write(&self, json: &mut String) {
        json.push('{');
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&quote(name));
            json.push(':');
            value.write(json);
        }
        json.push('}');
    }
}

fn as_jsonb(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(object.as_jsonb()),
        Value::List(items) => Value::List(items.iter().map(as_jsonb).collect()),
        // jsonb has no infinity; JavaScript sends `null` in its stead.
        Value::Number(number) if !number.is_finite() => Value::Null,
        Value::Number(number) if *number == 0.0 => Value::Number(0.0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => value.clone(),
    }
}

/// The shortest digits that read as this number, placed as JavaScript places them
/// (ECMA-262 6.1.6.1.20).
fn write_number(number: f64, json: &mut String) {
    if number == 0.0 {
        json.push('0');
        return;
    }
    let shortest = format!("{:e}", number.abs());
    let n_after_point = shortest.split(['.', 'e']).nth(1).map_or(0, str::len);
    let n_after_point = if shortest.contains('.') {
        n_after_point
    } else {
        0
    };
    // Of two that are equally near the even one, which only this form looks at.
    let scientific = format!("{:.n_after_point$e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number < 0.0 {
        json.push('-');
    }
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    // Digits before the point.
    let n_whole = exponent + 1;
    let n_digits = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or(0));
    match n_whole {
        _ if (n_digits..=21).contains(&n_whole) => {
            json.push_str(&digits);
            json.push_str(&zeros(n_whole - n_digits));
        }
        1..=21 => {
            let (whole, fraction) = split(n_whole);
            json.push_str(&format!("{whole}.{fraction}"));
        }
        -5..=0 => {
            json.push_str(&format!("0.{}{digits}", zeros(-n_whole)));
        }
        _ => {
            let (first, rest) = split(1);
            let point = if rest.is_empty() { "" } else { "." };
            json.push_str(&format!("{first}{point}{rest}e{exponent:+}"));
        }
    }
}

/// An array index (ECMA-262): below 2^32 - 1, no leading zero.
fn index(name: &str) -> Option<u32> {
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    is_plain
        .then(|| name.parse().ok())
        .flatten()
        .filter(|index| *index < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::parse::parse;
    use super::*;

    fn json(text: &str) -> String {
        parse(text).unwrap().value.to_json()
    }

    #[test]
    fn members_stand_as_in_javascript() {
        assert_eq!(
            json(r#"{"b":1,"10":2,"a":3,"9":4,"b":5,"01":6,"4294967295":7,"4294967294":8}"#),
            r#"{"9":4,"10":2,"4294967294":8,"b":5,"a":3,"01":6,"4294967295":7}"#
        );
    }

    #[test]
    fn numbers_are_doubles() {
        assert_eq!(
            json("[1.50,-0,1e21,1e-7,0.000001,123456789012345678901,5e-324,1e999,-1E999]"),
            "[1.5,0,1e+21,1e-7,0.000001,123456789012345680000,5e-324,null,null]"
        );
    }

    #[test]
    fn numbers_are_written_as_a_crate_for_them_writes_them() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..200_000_u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let number = match round % 4 {
                0 => f64::from_bits(state),
                1 => (state >> 20) as f64,
                2 => (state % 100_000) as f64 / 1_000.0,
                _ => (state % 1_000) as f64 * 10_f64.powi((state % 60) as i32 - 30),
            };
            if !number.is_finite() {
                continue;
            }
            let mut written = String::new();
            write_number(number, &mut written);
            assert_eq!(written, ryu_js::Buffer::new().format_finite(number));
        }
    }

    #[test]
    fn jsonb_orders_by_length_then_bytes() {
        let value = parse(r#"{"zz":1,"a":{"b":1,"é":2,"aa":3},"10":"x","9":"y"}"#).unwrap();
        let Value::Object(object) = value.value else {
            panic!("no object");
        };
        assert_eq!(
            object.as_jsonb().to_json(),
            r#"{"9":"y","10":"x","a":{"b":1,"aa":3,"é":2},"zz":1}"#
        );
    }
}
