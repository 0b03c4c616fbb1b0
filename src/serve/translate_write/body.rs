//! A request's body, taken in as Logto takes it in: which types count as JSON, text or a form,
//! how large each may be, and that a body of any other type is a body without members.
//!
//! Only JSON is read here. What Logto would read and this cannot (forms, compressed bodies) is
//! refused by name.

use super::json::parse::{Parsed, Unparsed, parse};
use super::json::{Object, Value};
use super::reply::Reply;
use super::{Refusal, Step};
use crate::runtime::members::quote;

/// As it arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    /// `None`: the request announced none (neither `Content-Length` nor `Transfer-Encoding`).
    pub bytes: Option<&'a [u8]>,
}

const JSON_LIMIT_BYTES: usize = 1024 * 1024;
const TEXT_LIMIT_BYTES: usize = 56 * 1024;

const JSON_TYPES: [&str; 5] = [
    "application/json",
    "application/json-patch+json",
    "application/vnd.api+json",
    "application/csp-report",
    "application/reports+json",
];

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Form,
    Text,
}

impl Kind {
    /// `None`: of a type that is not read.
    fn of(content_type: &str) -> Option<Self> {
        let media_type = media_type(content_type)?;
        if JSON_TYPES.contains(&media_type.as_str()) {
            Some(Self::Json)
        } else if media_type == "application/x-www-form-urlencoded" {
            Some(Self::Form)
        } else {
            media_type.starts_with("text/").then_some(Self::Text)
        }
    }

    fn limit_bytes(self) -> usize {
        match self {
            Self::Json => JSON_LIMIT_BYTES,
            Self::Form | Self::Text => TEXT_LIMIT_BYTES,
        }
    }
}

/// # Errors
/// When Logto would answer to the body alone, or when it cannot be read here.
pub fn read(body: Body<'_>) -> Result<Value, Step> {
    let none = Value::Object(Object::default());
    let kind = body.content_type.and_then(Kind::of);
    let (Some(kind), Some(bytes)) = (kind, body.bytes) else {
        return Ok(none);
    };
    if body
        .content_encoding
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(Refusal::EncodedBody.into());
    }
    if bytes.len() > kind.limit_bytes() {
        return Err(Reply::NOT_FOUND_TEXT.into());
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match kind {
        Kind::Text => Ok(Value::text(text)),
        Kind::Form | Kind::Json if text.is_empty() => Ok(none),
        Kind::Form => Err(Refusal::FormBody.into()),
        Kind::Json => read_json(text),
    }
}

fn read_json(text: &str) -> Result<Value, Step> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if !start.starts_with(['{', '[']) {
        let message = "invalid JSON, only supports object and array";
        return Err(Reply::message(400, &quote_units(message.encode_utf16())).into());
    }
    match parse(text) {
        Ok(Parsed {
            has_lone_surrogate: true,
            ..
        }) => Err(Refusal::LoneSurrogate.into()),
        Ok(Parsed { value, .. }) => Ok(value),
        Err(Unparsed::TooDeep) => Err(Refusal::TooDeep.into()),
        Err(Unparsed::Message(units)) => Err(Reply::message(400, &quote_units(units)).into()),
    }
}

/// A JSON string; half a surrogate pair is escaped, as `JSON.stringify` does.
fn quote_units(units: impl IntoIterator<Item = u16>) -> String {
    let mut json = String::from("\"");
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => {
                let quoted = quote(character.encode_utf8(&mut [0; 4]));
                json.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
            }
            Err(lone) => json.push_str(&format!("\\u{:04x}", lone.unpaired_surrogate())),
        }
    }
    json.push('"');
    json
}

/// Lower-cased and without its parameters; `None` when malformed, parameters included.
fn media_type(content_type: &str) -> Option<String> {
    let (media_type, parameters) = match content_type.find(';') {
        Some(start) => content_type.split_at_checked(start)?,
        None => (content_type, ""),
    };
    let media_type = media_type.trim_matches(' ').to_ascii_lowercase();
    let (name, subtype) = media_type.split_once('/')?;
    let is_name = |text: &str, more: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.len() <= 127
            && text
                .chars()
                .all(|other| other.is_ascii_alphanumeric() || more.contains(other))
    };
    let is_well_formed =
        is_name(name, "!#$&^_-") && is_name(subtype, "!#$&^_.+-") && are_parameters(parameters);
    is_well_formed.then_some(media_type)
}

/// Any number of `; name = value`, with spaces (no tabs) around each part.
fn are_parameters(mut rest: &str) -> bool {
    while !rest.is_empty() {
        let Some(after) = rest
            .strip_prefix(';')
            .and_then(|rest| skip_token(rest.trim_start_matches(' ')))
            .and_then(|rest| rest.trim_start_matches(' ').strip_prefix('='))
            .and_then(|rest| {
                let rest = rest.trim_start_matches(' ');
                skip_quoted(rest).or_else(|| skip_token(rest))
            })
        else {
            return false;
        };
        rest = after.trim_start_matches(' ');
    }
    true
}

/// What follows a token (RFC 9110 5.6.2).
fn skip_token(text: &str) -> Option<&str> {
    let is_token = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
    };
    let rest = text.trim_start_matches(is_token);
    (rest.len() < text.len()).then_some(rest)
}

fn skip_quoted(text: &str) -> Option<&str> {
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(characters.as_str()),
            '\\' => {
                characters.next().filter(|next| matches!(next, ' '..='~'))?;
            }
            ' '..='~' | '\u{80}'..='\u{ff}' => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(content_type: &str, bytes: &[u8]) -> Result<Value, Step> {
        read(Body {
            content_type: Some(content_type),
            content_encoding: None,
            bytes: Some(bytes),
        })
    }

    #[test]
    fn only_some_types_are_read() {
        let members = Ok(parse(r#"{"a":1}"#).unwrap().value);
        let none = Ok(Value::Object(Object::default()));
        for (content_type, expected) in [
            ("application/json", &members),
            ("application/vnd.api+json;charset=utf-8", &members),
            ("Application/JSON ; a=b; c = \"d\\\"e\" ", &members),
            ("application/problem+json", &none),
            ("application/json; charset", &none),
            ("application/json;;a=b", &none),
            ("application/json, text/plain", &none),
            ("multipart/form-data; boundary=x", &none),
            ("", &none),
        ] {
            assert_eq!(
                &taken(content_type, br#"{"a":1}"#),
                expected,
                "{content_type}"
            );
        }
        assert_eq!(taken("text/plain", b"{}"), Ok(Value::text("{}")));
        assert_eq!(
            taken("application/x-www-form-urlencoded", b"a=1"),
            Err(Refusal::FormBody.into())
        );
    }

    #[test]
    fn limits_are_those_of_the_kind() {
        let too_large = Err(Reply::NOT_FOUND_TEXT.into());
        let json = format!("{{\"a\":\"{}\"}}", "x".repeat(JSON_LIMIT_BYTES - 8));
        assert!(taken("application/json", json.as_bytes()).is_ok());
        assert_eq!(
            taken("application/json", format!("{json} ").as_bytes()),
            too_large
        );
        assert_eq!(
            taken("text/plain", &[b'x'; TEXT_LIMIT_BYTES + 1]),
            too_large
        );
    }

    #[test]
    fn the_text_is_decoded_as_utf8_without_its_mark() {
        let parsed = taken("application/json", b"\xef\xbb\xbf[\"\xff\"]");
        assert_eq!(parsed, Ok(Value::List(vec![Value::text("\u{fffd}")])));
        assert_eq!(
            taken("application/json", b" \xef\xbb\xbf{}"),
            Err(Reply::message(400, "\"invalid JSON, only supports object and array\"").into())
        );
    }
}
