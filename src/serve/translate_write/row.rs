//! Logto's row of a user, as its API shows it, and what its database makes of values on their way
//! in: lengths in characters, `""` as null, what it cannot hold, merges one level deep.

use super::json::parse::parse_view;
use super::json::{Object, Value};
use super::phone::Phone;
use super::reply::{LogtoError, Reply};
use super::schema::utf16_len;
use super::shapes::{PROFILE, in_order};
use super::{Refusal, Step};

/// Columns of text with their lengths, in the order of the table: of two values that are too long
/// the database tells of the first.
const VARCHARS: [(&str, usize); 5] = [
    ("username", 128),
    ("primaryEmail", 128),
    ("primaryPhone", 128),
    ("name", 128),
    ("avatar", 2048),
];

/// A row of mgPass's D1 takes 2,000,000 bytes, the residue of a user being one.
const MAX_JSON_BYTES: usize = 1_900_000;

/// What happens to an object that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Merge,
    Replace,
}

/// The members of a user, in Logto's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Object);

impl Row {
    /// Of Logto's own form of a user.
    pub fn parse(json: &str) -> Option<Self> {
        parse_view(json).map(Self)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.text(name)
    }

    pub fn object(&self, name: &str) -> Object {
        self.get(name)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }

    pub fn has_password(&self) -> bool {
        self.get("hasPassword") == Some(&Value::Bool(true))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter()
    }

    pub fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// A member that no client sets.
    pub fn put(&mut self, name: &str, value: Value) {
        self.0.set(name, value);
    }

    /// Every statement on the table sets `updated_at`, whatever it changes.
    pub fn touch(&mut self, now_ms: i64) {
        // Exact up to the year 287,396.
        self.put("updatedAt", Value::Number(now_ms as f64));
    }

    /// Takes members of a body into the row.
    ///
    /// # Errors
    /// With Logto's answer when its database would not take them, or a refusal where it would and
    /// nobody could read the user afterwards.
    pub fn store(&mut self, set: &Object, mode: Mode, now_ms: i64) -> Result<(), Step> {
        let mut set = set.clone();
        normalise_phone(&mut set)?;
        if set.is_empty() {
            return Err(Reply::error(LogtoError::InvalidInput).into());
        }
        let has_nul = |value: &Value| value.has_text(|text| text.contains('\0'));
        if set.iter().any(|(_, value)| has_nul(value)) {
            return Err(Reply::internal().into());
        }
        for (name, max) in VARCHARS {
            if let Some(text) = set.text(name) {
                let value = varchar(text, max)?;
                set.set(name, value);
            }
        }
        for (name, value) in set.iter() {
            let value = match (name, value) {
                ("profile", Value::Object(profile)) => {
                    let profile = self.over(name, profile, mode);
                    Value::Object(in_order(PROFILE, &profile))
                }
                (_, Value::Object(object)) => {
                    Value::Object(self.over(name, object, mode).as_jsonb())
                }
                (_, value) => value.clone(),
            };
            self.0.set(name, value);
        }
        self.touch(now_ms);
        self.assert_holdable()
    }

    fn over(&self, name: &str, object: &Object, mode: Mode) -> Object {
        match mode {
            Mode::Merge => self.object(name).merged(object),
            Mode::Replace => object.clone(),
        }
    }

    /// Logto's limit counts characters, the schema that its answer must pass counts UTF-16 units:
    /// between the two it stores a value and can never show the user again.
    fn assert_holdable(&self) -> Result<(), Step> {
        let is_shown = |(name, max): &(&str, usize)| {
            self.text(name).is_none_or(|text| utf16_len(text) <= *max)
        };
        if !VARCHARS.iter().all(is_shown) {
            return Err(Refusal::NotShowable.into());
        }
        if self.to_json().len() > MAX_JSON_BYTES {
            return Err(Refusal::TooLarge.into());
        }
        Ok(())
    }
}

fn normalise_phone(set: &mut Object) -> Result<(), Step> {
    let Some(digits) = set.text("primaryPhone").filter(|digits| !digits.is_empty()) else {
        return Ok(());
    };
    let Some(phone) = Phone::parse(digits) else {
        let data = r#"{"name":"ParseError"}"#;
        return Err(LogtoError::InvalidPhone.reply(Some(data)).into());
    };
    set.set("primaryPhone", Value::Text(phone.international()));
    Ok(())
}

/// Spaces beyond the end are cut off, anything else is an error.
fn varchar(text: &str, max: usize) -> Result<Value, Step> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let Some((end, _)) = text.char_indices().nth(max) else {
        return Ok(Value::text(text));
    };
    let (kept, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if rest.trim_start_matches(' ').is_empty() {
        return Ok(Value::text(kept));
    }
    let data = format!(r#"{{"message":"value too long for type character varying({max})"}}"#);
    Err(LogtoError::ValueTooLong.reply(Some(&data)).into())
}
