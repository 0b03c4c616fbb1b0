//! What Logto's answers look like: a user, with the exact text of each member.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::inbound::request::UserId;
use crate::runtime::members::{Members, ObjectWriter, quote};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user as the contract has it")]
pub struct UnreadableUser;

/// A user as Logto's Management API answers, with the exact text of each member.
#[derive(Clone, Debug)]
pub struct LogtoUser {
    pub members: Members,
    pub id: UserId,
    pub username: Option<String>,
    pub primary_email: Option<String>,
    pub primary_phone: Option<String>,
    pub name: Option<String>,
    pub avatar: Option<String>,
    /// JSON text of an object.
    pub custom_data: String,
    pub identities: Vec<LogtoIdentity>,
    pub created_at_ms: i64,
    pub last_sign_in_at_ms: Option<i64>,
    pub is_suspended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogtoIdentity {
    pub target: String,
    pub user_id: String,
    /// JSON text, absent when Logto has none.
    pub details: Option<String>,
}

impl LogtoUser {
    pub fn parse(json: &str) -> Result<Self, UnreadableUser> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            id: String,
            username: Option<String>,
            primary_email: Option<String>,
            primary_phone: Option<String>,
            name: Option<String>,
            avatar: Option<String>,
            #[serde(borrow)]
            custom_data: &'a RawValue,
            #[serde(borrow)]
            identities: &'a RawValue,
            created_at: serde_json::Number,
            last_sign_in_at: Option<serde_json::Number>,
            is_suspended: bool,
        }
        let wire: Wire<'_> = serde_json::from_str(json).map_err(|_| UnreadableUser)?;
        Ok(Self {
            members: Members::parse(json).ok_or(UnreadableUser)?,
            id: UserId::parse(&wire.id).ok_or(UnreadableUser)?,
            username: wire.username,
            primary_email: wire.primary_email,
            primary_phone: wire.primary_phone,
            name: wire.name,
            avatar: wire.avatar,
            custom_data: wire.custom_data.get().to_owned(),
            identities: LogtoIdentity::parse_all(wire.identities.get()).ok_or(UnreadableUser)?,
            created_at_ms: milliseconds(&wire.created_at).ok_or(UnreadableUser)?,
            last_sign_in_at_ms: match &wire.last_sign_in_at {
                None => None,
                Some(number) => Some(milliseconds(number).ok_or(UnreadableUser)?),
            },
            is_suspended: wire.is_suspended,
        })
    }

    /// The nonce of a translated create, where Logto has the id and nothing else yet.
    pub fn reservation(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mark {
            _dwp: String,
        }
        let mark: Mark = serde_json::from_str(&self.custom_data).ok()?;
        let is_nonce =
            mark._dwp.len() == 32 && mark._dwp.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_nonce.then_some(mark._dwp)
    }
}

impl LogtoIdentity {
    /// As the value of its target.
    pub fn to_json(&self) -> String {
        let mut writer = ObjectWriter::default();
        writer.member("userId", &quote(&self.user_id));
        if let Some(details) = &self.details {
            writer.member("details", details);
        }
        writer.finish()
    }

    pub fn parse_all(json: &str) -> Option<Vec<Self>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            user_id: String,
            #[serde(borrow)]
            details: Option<&'a RawValue>,
        }
        Members::parse(json)?
            .iter()
            .map(|(target, text)| {
                let wire: Wire<'_> = serde_json::from_str(text).ok()?;
                Some(Self {
                    target: target.to_owned(),
                    user_id: wire.user_id,
                    details: wire.details.map(|details| details.get().to_owned()),
                })
            })
            .collect()
    }
}

fn milliseconds(number: &serde_json::Number) -> Option<i64> {
    // PostgreSQL's timestamps reach the API through a float; whole in practice.
    number
        .as_i64()
        .or_else(|| number.as_f64().map(|float| float.floor() as i64))
}

/// Logto's side of the subject, read after the ticket was taken.
#[derive(Clone, Debug)]
pub enum LogtoState {
    Present {
        user: Box<LogtoUser>,
        json: String,
    },
    /// JSON 404 `entity.not_found`: the first witness of a deletion.
    Gone,
}

/// The same, held by somebody else.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    Present { user: &'a LogtoUser, json: &'a str },
    Gone,
}

impl LogtoState {
    pub fn seen(&self) -> Seen<'_> {
        match self {
            Self::Present { user, json } => Seen::Present { user, json },
            Self::Gone => Seen::Gone,
        }
    }
}
