//! JSON read without mercy: one object, no member twice at any depth, bounded nesting, nothing
//! after it. Two parsers that pick different duplicates would see two different tokens.
//!
//! By hand, since no crate refuses duplicates at every depth; serde's tokenizer is used.
//!
//! RFC 8259; RFC 7515 4 and RFC 7519 4 let a parser refuse duplicates, RFC 8725 2.4 says why.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::value::RawValue;

/// Nesting that no issuer comes near; `serde_json` itself would go to 128.
const MAX_DEPTH: u8 = 32;

/// What is wrong with a text that should be a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    #[error("not utf-8")]
    NotUtf8,
    /// Not JSON, or JSON with something before or after it.
    #[error("not json")]
    Syntax,
    /// The same member name twice in one object, after unescaping.
    #[error("a member occurs twice")]
    DuplicateMember,
    /// Nested deeper than anybody needs.
    #[error("nested too deep")]
    TooDeep,
    /// JSON, but not an object.
    #[error("not an object")]
    NotAnObject,
}

/// A JSON value. Only numbers written as integers are told apart: nothing here needs another.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool,
    Integer(i64),
    OtherNumber,
    Text(String),
    List(Vec<Json>),
    Object,
}

/// The members of an object whose values are parsed strictly.
pub(super) type Members = BTreeMap<String, Json>;

/// The members of an object whose values are only known to be JSON.
pub(super) type RawMembers = BTreeMap<String, Box<RawValue>>;

pub(super) fn parse_object(bytes: &[u8]) -> Result<Members, JsonFault> {
    let fault = Cell::new(None);
    parse(bytes, &fault, ObjectSeed { fault: &fault })
}

/// One level only, so that a defect inside one value does not cost the others.
pub(super) fn parse_raw_object(bytes: &[u8]) -> Result<RawMembers, JsonFault> {
    let fault = Cell::new(None);
    parse(bytes, &fault, RawObjectSeed { fault: &fault })
}

fn parse<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    fault: &Cell<Option<JsonFault>>,
    seed: S,
) -> Result<S::Value, JsonFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotUtf8)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed
        .deserialize(&mut deserializer)
        .map_err(|error| fault.get().unwrap_or_else(|| classify(&error)))?;
    deserializer.end().map_err(|_| JsonFault::Syntax)?;
    Ok(value)
}

fn classify(error: &serde_json::Error) -> JsonFault {
    // A value of another type than an object is the only data error the seeds can raise.
    if error.is_data() {
        JsonFault::NotAnObject
    } else {
        JsonFault::Syntax
    }
}

fn fail<E: de::Error>(cell: &Cell<Option<JsonFault>>, fault: JsonFault) -> E {
    cell.set(Some(fault));
    E::custom(fault)
}

fn insert<T, E: de::Error>(
    members: &mut BTreeMap<String, T>,
    name: String,
    value: T,
    cell: &Cell<Option<JsonFault>>,
) -> Result<(), E> {
    match members.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
        Entry::Occupied(_) => Err(fail(cell, JsonFault::DuplicateMember)),
    }
}

struct ObjectSeed<'c> {
    fault: &'c Cell<Option<JsonFault>>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Members;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Members, A::Error> {
        read_members(map, self.fault, MAX_DEPTH)
    }
}

fn read_members<'de, A: MapAccess<'de>>(
    mut map: A,
    fault: &Cell<Option<JsonFault>>,
    depth: u8,
) -> Result<Members, A::Error> {
    let mut members = Members::new();
    while let Some(name) = map.next_key::<String>()? {
        let value = map.next_value_seed(ValueSeed { fault, depth })?;
        insert(&mut members, name, value, fault)?;
    }
    Ok(members)
}

struct RawObjectSeed<'c> {
    fault: &'c Cell<Option<JsonFault>>,
}

impl<'de> DeserializeSeed<'de> for RawObjectSeed<'_> {
    type Value = RawMembers;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawMembers, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RawObjectSeed<'_> {
    type Value = RawMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMembers, A::Error> {
        let mut members = RawMembers::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<Box<RawValue>>()?;
            insert(&mut members, name, value, self.fault)?;
        }
        Ok(members)
    }
}

struct ValueSeed<'c> {
    fault: &'c Cell<Option<JsonFault>>,
    /// Levels still allowed below this value's parent.
    depth: u8,
}

impl ValueSeed<'_> {
    fn one_deeper<E: de::Error>(&self) -> Result<u8, E> {
        match self.depth.checked_sub(1) {
            Some(depth) if depth > 0 => Ok(depth),
            _ => Err(fail(self.fault, JsonFault::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let depth = self.one_deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(ValueSeed {
            fault: self.fault,
            depth,
        })? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json, A::Error> {
        let depth = self.one_deeper()?;
        read_members(map, self.fault, depth).map(|_| Json::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonFault, parse_object, parse_raw_object};

    #[track_caller]
    fn check(text: &[u8], expected: Result<usize, JsonFault>) {
        let found = parse_object(text).map(|members| members.len());
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
    }

    fn nested(levels: usize) -> Vec<u8> {
        let inner = levels - 1;
        format!("{{\"a\":{}1{}}}", "[".repeat(inner), "]".repeat(inner)).into_bytes()
    }

    #[test]
    fn objects_are_read() {
        check(b"{}", Ok(0));
        check(
            b" { \"a\" : [ null , true , 1 , -1.5e3 , \"x\" , {} ] } \n",
            Ok(1),
        );
        check(br#"{"a":1,"A":2}"#, Ok(2));
    }

    #[test]
    fn a_member_may_occur_once_at_every_depth() {
        check(br#"{"a":1,"a":1}"#, Err(JsonFault::DuplicateMember));
        check(
            br#"{"alg":1,"\u0061lg":2}"#,
            Err(JsonFault::DuplicateMember),
        );
        check(br#"{"x":{"a":1,"a":2}}"#, Err(JsonFault::DuplicateMember));
        check(
            br#"{"x":[[{"a":1,"a":2}]]}"#,
            Err(JsonFault::DuplicateMember),
        );
        check(br#"{"":1,"":2}"#, Err(JsonFault::DuplicateMember));
    }

    #[test]
    fn whatever_is_not_exactly_one_object_is_refused() {
        check(b"", Err(JsonFault::Syntax));
        check(b"null", Err(JsonFault::NotAnObject));
        check(b"[]", Err(JsonFault::NotAnObject));
        check(b"\"{}\"", Err(JsonFault::NotAnObject));
        check(b"1", Err(JsonFault::NotAnObject));
        check(b"{}{}", Err(JsonFault::Syntax));
        check(b"{} x", Err(JsonFault::Syntax));
        check(b"{}\0", Err(JsonFault::Syntax));
        check(b"\xef\xbb\xbf{}", Err(JsonFault::Syntax));
        check(b"{\"a\":1,}", Err(JsonFault::Syntax));
        check(b"{'a':1}", Err(JsonFault::Syntax));
        check(b"{a:1}", Err(JsonFault::Syntax));
        check(b"{\"a\":1/**/}", Err(JsonFault::Syntax));
        check(b"{\"a\":01}", Err(JsonFault::Syntax));
        check(b"{\"a\":NaN}", Err(JsonFault::Syntax));
        check(b"{\"a\":1e999}", Err(JsonFault::Syntax));
        check(b"{\"a\":\"\n\"}", Err(JsonFault::Syntax));
        check(br#"{"a":"\ud800"}"#, Err(JsonFault::Syntax));
        check(b"{\"a\":\"\xff\"}", Err(JsonFault::NotUtf8));
        check(b"{\0\"\0a\0\"\0:\x001\0}\0", Err(JsonFault::Syntax));
    }

    #[test]
    fn nesting_is_bounded() {
        check(&nested(32), Ok(1));
        check(&nested(33), Err(JsonFault::TooDeep));
        check(&nested(4_000), Err(JsonFault::TooDeep));
        check(&b"{\"a\":".repeat(1_500), Err(JsonFault::TooDeep));
    }

    #[test]
    fn a_raw_object_keeps_defects_inside_its_values() {
        let members = parse_raw_object(br#"{"keys":[{"a":1,"a":2}]}"#);
        assert!(members.is_ok_and(|members| members.contains_key("keys")));
        assert_eq!(
            parse_raw_object(br#"{"keys":[],"key\u0073":[]}"#).err(),
            Some(JsonFault::DuplicateMember)
        );
        assert_eq!(parse_raw_object(b"[]").err(), Some(JsonFault::NotAnObject));
    }
}
