//! mgPass's answers about users, in any edition of its documents.
//!
//! Edition E3, and what E1/E2 name differently is read as well: `avatar` for
//! `avatar_url`, `metadata` for `custom_data`, epoch seconds for ISO 8601, a list in
//! an object. What an older edition does not show at all is [`Field::NotShown`]: it is
//! neither compared nor taken for empty.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A member that an older edition may leave out of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field<T> {
    Shown(T),
    NotShown,
}

impl<T> Field<T> {
    /// Whether it is so, or nothing is said against it.
    pub fn admits(&self, is_so: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Shown(value) => is_so(value),
            Self::NotShown => true,
        }
    }
}

/// A user as mgPass's API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUser {
    pub id: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub name: Option<String>,
    pub avatar: Option<String>,
    /// JSON text of an object.
    pub custom_data: Field<String>,
    pub is_suspended: bool,
    pub created_at_s: i64,
    pub last_sign_in_at_s: Field<Option<i64>>,
    pub is_deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiIdentity {
    pub provider: String,
    pub provider_user_id: String,
    /// JSON text of an object.
    pub profile_data: Field<Option<String>>,
}

pub fn parse_user(json: &str) -> Option<ApiUser> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        id: String,
        email: Option<String>,
        phone: Option<String>,
        name: Option<String>,
        #[serde(alias = "avatar")]
        avatar_url: Option<String>,
        #[serde(borrow, default, alias = "metadata", deserialize_with = "present")]
        custom_data: Option<Option<&'a RawValue>>,
        is_suspended: bool,
        created_at: Instant,
        #[serde(default, deserialize_with = "present")]
        last_sign_in_at: Option<Option<Instant>>,
        #[serde(default)]
        deleted_at: Option<Instant>,
    }
    let wire: Wire<'_> = serde_json::from_str(json).ok()?;
    Some(ApiUser {
        id: wire.id,
        email: wire.email,
        phone: wire.phone,
        name: wire.name,
        avatar: wire.avatar_url,
        custom_data: match wire.custom_data {
            None => Field::NotShown,
            Some(data) => Field::Shown(data.map_or("{}", RawValue::get).to_owned()),
        },
        is_suspended: wire.is_suspended,
        created_at_s: wire.created_at.seconds()?,
        last_sign_in_at_s: match wire.last_sign_in_at {
            None => Field::NotShown,
            Some(None) => Field::Shown(None),
            Some(Some(instant)) => Field::Shown(Some(instant.seconds()?)),
        },
        is_deleted: wire.deleted_at.is_some(),
    })
}

pub fn parse_identities(json: &str) -> Option<Vec<ApiIdentity>> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        provider: String,
        provider_user_id: String,
        #[serde(borrow, default, deserialize_with = "present")]
        profile_data: Option<Option<&'a RawValue>>,
    }
    let wire: Vec<Wire<'_>> = serde_json::from_str(list_text(json)?).ok()?;
    let identities = wire.into_iter().map(|identity| ApiIdentity {
        provider: identity.provider,
        provider_user_id: identity.provider_user_id,
        profile_data: match identity.profile_data {
            None => Field::NotShown,
            Some(data) => Field::Shown(data.map(|data| data.get().to_owned())),
        },
    });
    Some(identities.collect())
}

/// Four shapes of lists are documented: a bare array, or one in `results`, `data` or `items`.
fn list_text(json: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, alias = "data", alias = "items")]
        results: &'a RawValue,
    }
    if json.trim_start().starts_with('[') {
        return Some(json);
    }
    let wire: Wire<'_> = serde_json::from_str(json).ok()?;
    Some(wire.results.get())
}

/// Tells a member that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Epoch seconds (E1, E2) or ISO 8601 (E3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Seconds(i64),
    Iso(String),
}

impl Instant {
    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Iso(text) => {
                let format = &time::format_description::well_known::Rfc3339;
                time::OffsetDateTime::parse(text, format)
                    .ok()
                    .map(time::OffsetDateTime::unix_timestamp)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_editions_are_read() {
        let e3 = parse_user(r#"{"id":"u1","email":null,"email_verified":false,"phone":null,"phone_verified":false,"name":"A","avatar_url":"x","custom_data":{"a":1},"is_suspended":false,"suspension_reason":null,"created_at":"2026-09-01T08:00:00.000Z","last_sign_in_at":null,"deleted_at":null,"roles":["mgpass:user"]}"#).unwrap();
        let e2 = parse_user(r#"{"id":"u1","email":null,"name":"A","phone":null,"avatar":"x","metadata":{"a":1},"is_suspended":false,"created_at":1788249600,"updated_at":1788249600}"#).unwrap();
        assert_eq!(e3.last_sign_in_at_s, Field::Shown(None));
        assert_eq!(e2.last_sign_in_at_s, Field::NotShown);
        assert_eq!(e3.custom_data, Field::Shown(r#"{"a":1}"#.to_owned()));
        let e3 = ApiUser {
            last_sign_in_at_s: Field::NotShown,
            ..e3
        };
        assert_eq!(e3, e2);
        let bare = parse_user(r#"{"id":"u1","is_suspended":false,"created_at":1}"#).unwrap();
        assert_eq!(bare.custom_data, Field::NotShown);
        let null = r#"{"id":"u1","is_suspended":false,"created_at":1,"custom_data":null}"#;
        let null = parse_user(null).unwrap();
        assert_eq!(null.custom_data, Field::Shown("{}".to_owned()));
        assert!(parse_user(r#"{"id":"u1"}"#).is_none());
        assert!(parse_user(r#"{"id":"u1","is_suspended":false,"created_at":"soon"}"#).is_none());
    }

    #[test]
    fn identities_keep_their_profile_text() {
        let json = r#"[{"id":"idn_1","user_id":"u1","provider":"google","provider_user_id":"g1","profile_data":{"b":1,"a":2},"created_at":1}]"#;
        let parsed = parse_identities(json).unwrap();
        let kept = Field::Shown(Some(r#"{"b":1,"a":2}"#.to_owned()));
        assert_eq!(parsed[0].profile_data, kept);
        for name in ["results", "data", "items"] {
            let listed = parse_identities(&format!(r#"{{"{name}":{json},"total":1}}"#));
            assert_eq!(listed.unwrap(), parsed);
        }
        let e2 = r#"[{"provider":"google","provider_user_id":"g1","email":null,"name":"N","linked_at":1}]"#;
        let parsed = parse_identities(e2).unwrap();
        assert_eq!(parsed[0].profile_data, Field::NotShown);
        assert!(parse_identities(r#"{"error":"invalid_request"}"#).is_none());
    }
}
