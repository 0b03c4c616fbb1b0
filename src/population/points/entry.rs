//! A ledger entry of the source in the form it takes at mgPass.
//!
//! Everything is copied as it stands, voided and expired entries too, points and
//! all: they are history. mgPass has no place for their status, so it goes into the
//! entry's metadata, and what they no longer count for is in the adjustment.

use serde_json::json;

use super::source::{optional, readable, scalar, whole};
use crate::runtime::limits::fits_row;
use crate::runtime::ports::Row;

/// Whatever has another status no longer counts towards the balance.
const POSTED: &str = "posted";
/// Names of ours in the metadata.
const STATUS: &str = "migration_status";
const ORIGINAL: &str = "source_metadata";
/// Later ones are milliseconds: seconds reach the year 5138 with it.
const MAX_SECONDS: i64 = 99_999_999_999;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub user_id: String,
    /// A JSON array in the order of `target`'s statement.
    pub json: String,
    pub points: i64,
    is_posted: bool,
    is_wrapped: bool,
}

impl Carried {
    pub fn notes(&self) -> impl Iterator<Item = &'static str> {
        let not_posted = (!self.is_posted).then_some("not_posted");
        let wrapped = self.is_wrapped.then_some("metadata_wrapped");
        not_posted.into_iter().chain(wrapped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRefusal {
    /// A value is missing or of another type, or not exact.
    Unreadable,
    TooLarge,
}

impl EntryRefusal {
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable_in_source",
            Self::TooLarge => "entry_too_large",
        }
    }
}

/// # Errors
/// When the entry cannot be carried whole.
pub fn carry(row: &Row) -> Result<Carried, EntryRefusal> {
    let carried = read(row).ok_or(EntryRefusal::Unreadable)?;
    if !fits_row([carried.json.len()]) {
        return Err(EntryRefusal::TooLarge);
    }
    Ok(carried)
}

fn read(row: &Row) -> Option<Carried> {
    let status = optional(row, "status").ok()?;
    let status = status.as_deref().filter(|status| *status != POSTED);
    // NUL is no trouble here: what is no JSON is wrapped and so escaped.
    let original = match row.get("metadata") {
        None | Some(serde_json::Value::Null) => None,
        Some(value) => Some(value.as_str()?),
    };
    let (metadata, is_wrapped) = metadata(original, status);
    let created_at = whole(row, "created_at").filter(|at| (0..=MAX_SECONDS).contains(at))?;
    let user_id = readable(row, "user_id")?;
    let points = whole(row, "points")?;
    let json = json!([
        scalar(row, "id")?,
        user_id,
        readable(row, "event_type")?,
        optional(row, "platform").ok()?,
        points,
        optional(row, "rule_version").ok()?,
        optional(row, "reference_id").ok()?,
        metadata,
        created_at,
    ]);
    Some(Carried {
        user_id,
        json: json.to_string(),
        points,
        is_posted: status.is_none(),
        is_wrapped,
    })
}

/// The text as it is where it is a JSON object and the entry counts; else an object
/// that holds it. The second is whether it had to be wrapped.
fn metadata(original: Option<&str>, status: Option<&str>) -> (Option<String>, bool) {
    let object = original.and_then(members);
    match (original, object, status) {
        (None, _, None) => (None, false),
        (None, _, Some(status)) => (Some(json!({ STATUS: status }).to_string()), false),
        (Some(text), Some(_), None) => (Some(text.to_owned()), false),
        (Some(text), Some(members), Some(status)) if !members.contains_key(STATUS) => {
            (Some(with_status(text, members.is_empty(), status)), false)
        }
        (Some(text), _, None) => (Some(json!({ ORIGINAL: text }).to_string()), true),
        (Some(text), _, Some(status)) => (
            Some(json!({ ORIGINAL: text, STATUS: status }).to_string()),
            true,
        ),
    }
}

fn members(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).ok()
}

/// One member more behind the others, whose text stays as it is.
fn with_status(object: &str, is_empty: bool, status: &str) -> String {
    let open = object.trim_end();
    let open = open.strip_suffix('}').unwrap_or(open);
    let comma = if is_empty { "" } else { "," };
    format!("{open}{comma}{}:{}}}", json!(STATUS), json!(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: Option<&str>, status: Option<&str>, expected: Option<&str>, wrapped: bool) {
        let (metadata, is_wrapped) = metadata(original, status);
        assert_eq!(
            (metadata.as_deref(), is_wrapped),
            (expected, wrapped),
            "{original:?} {status:?}"
        );
        let is_object = metadata
            .as_deref()
            .is_none_or(|text| members(text).is_some());
        assert!(is_object, "{metadata:?}");
    }

    #[test]
    fn posted_metadata_is_copied_byte_for_byte() {
        for text in ["{}", r#"{ "b" : 1.0, "a": "é\u0000" }"#, "{\"a\":1}\n"] {
            check(Some(text), None, Some(text), false);
        }
        check(None, None, None, false);
    }

    #[test]
    fn what_is_no_object_is_wrapped_whole() {
        check(Some(""), None, Some(r#"{"source_metadata":""}"#), true);
        check(
            Some("[1]"),
            None,
            Some(r#"{"source_metadata":"[1]"}"#),
            true,
        );
        check(
            Some("a\0\""),
            None,
            Some(r#"{"source_metadata":"a\u0000\""}"#),
            true,
        );
    }

    #[test]
    fn another_status_is_one_member_more() {
        let voided = Some("voided");
        check(
            None,
            voided,
            Some(r#"{"migration_status":"voided"}"#),
            false,
        );
        check(
            Some("{ }"),
            voided,
            Some(r#"{ "migration_status":"voided"}"#),
            false,
        );
        check(
            Some(r#"{"b": 1.0} "#),
            voided,
            Some(r#"{"b": 1.0,"migration_status":"voided"}"#),
            false,
        );
        check(
            Some("x"),
            voided,
            Some(r#"{"migration_status":"voided","source_metadata":"x"}"#),
            true,
        );
        check(
            Some(r#"{"migration_status":1}"#),
            voided,
            Some(r#"{"migration_status":"voided","source_metadata":"{\"migration_status\":1}"}"#),
            true,
        );
    }
}
