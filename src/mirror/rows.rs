//! mgPass's rows of a user and of a social account, as the mirror holds them.

use crate::mirror::mapping::MgpassIdentity;
use crate::runtime::ports::Row;
use crate::runtime::sql::{integer, text};

/// Ids of identity rows that the mirror made start so; it removes no others.
pub const IDENTITY_PREFIX: &str = "idn_lm_";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUser {
    pub email: Option<String>,
    pub email_verified: bool,
    pub phone: Option<String>,
    pub phone_verified: bool,
    pub name: Option<String>,
    pub avatar: Option<String>,
    pub metadata: String,
    pub is_suspended: bool,
    pub created_at_s: i64,
    pub last_sign_in_at_s: Option<i64>,
    pub is_deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetIdentity {
    pub row_id: String,
    pub identity: MgpassIdentity,
}

impl TargetIdentity {
    /// Made by the mirror, and so the mirror's to remove.
    pub fn is_ours(&self) -> bool {
        self.row_id.starts_with(IDENTITY_PREFIX)
    }

    /// The same account, whatever its profile.
    pub fn is_of(&self, identity: &MgpassIdentity) -> bool {
        self.identity.provider == identity.provider
            && self.identity.provider_user_id == identity.provider_user_id
    }
}

pub(crate) fn parse_user(row: &Row) -> Option<TargetUser> {
    Some(TargetUser {
        email: text(row, "email"),
        email_verified: integer(row, "email_verified")? == 1,
        phone: text(row, "phone"),
        phone_verified: integer(row, "phone_verified")? == 1,
        name: text(row, "name"),
        avatar: text(row, "avatar"),
        metadata: text(row, "metadata")?,
        is_suspended: integer(row, "is_suspended")? == 1,
        created_at_s: integer(row, "created_at")?,
        last_sign_in_at_s: integer(row, "last_sign_in_at"),
        is_deleted: integer(row, "deleted_at").is_some(),
    })
}

pub(crate) fn parse_identity(row: &Row) -> Option<TargetIdentity> {
    Some(TargetIdentity {
        row_id: text(row, "id")?,
        identity: MgpassIdentity {
            provider: text(row, "provider")?,
            provider_user_id: text(row, "provider_user_id")?,
            profile_data: text(row, "profile_data"),
        },
    })
}
