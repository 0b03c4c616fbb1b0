//! What a translated write changes, as the difference between two rows of Logto's: mgPass's columns
//! by the mapping, the residue for what mgPass has no column for, and the unique values.

use super::row::Row;
use super::unique::Unique;
use super::{Refusal, Settings, Step};
use crate::mirror::mapping::{MgpassIdentity, MgpassUser, Obstacle, map};
use crate::mirror::residue::Residue;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::members::same_json;
use crate::runtime::ports::Value;

/// A mapped column of mgPass's `users`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Email,
    Phone,
    Name,
    Avatar,
    Metadata,
    IsSuspended,
    CreatedAt,
    LastSignInAt,
}

impl Column {
    #[cfg(not(target_arch = "wasm32"))]
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Name => "name",
            Self::Avatar => "avatar",
            Self::Metadata => "metadata",
            Self::IsSuspended => "is_suspended",
            Self::CreatedAt => "created_at",
            Self::LastSignInAt => "last_sign_in_at",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Changed columns only; of a created user all of them.
    pub columns: Vec<(Column, Value)>,
    pub identities_put: Vec<MgpassIdentity>,
    pub identities_dropped: Vec<MgpassIdentity>,
    /// Members of the residue that change; the residue itself follows from `after`.
    pub residue_members: Vec<String>,
    /// What cannot be carried to mgPass and lives on in the residue.
    pub obstacles: Vec<Obstacle>,
    pub claimed: Vec<Unique>,
    pub released: Vec<Unique>,
}

impl Changes {
    /// # Errors
    /// When a row is no user as the mapping reads one.
    pub fn between(
        settings: &Settings<'_>,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> Result<Self, Step> {
        let old = before.map(|row| Side::of(settings, row)).transpose()?;
        let new = after.map(|row| Side::of(settings, row)).transpose()?;
        let mut changes = Self::default();
        let held = |side: &Option<Side>| side.as_ref().map_or(Vec::new(), |side| side.held.clone());
        let (old_held, new_held) = (held(&old), held(&new));
        changes.claimed = without(&new_held, &old_held);
        changes.released = without(&old_held, &new_held);
        if let Some(new) = &new {
            changes.columns = columns(old.as_ref().map(|old| &old.user), &new.user);
            changes.residue_members = residue_members(old.as_ref(), new);
            changes.obstacles.clone_from(&new.obstacles);
        }
        let identities = |side: &Option<Side>| {
            side.as_ref()
                .map_or(Vec::new(), |side| side.user.identities.clone())
        };
        let (old, new) = (identities(&old), identities(&new));
        changes.identities_dropped = old
            .iter()
            .filter(|old| !new.iter().any(|new| is_same_account(old, new)))
            .cloned()
            .collect();
        changes.identities_put = new
            .into_iter()
            .filter(|new| !old.iter().any(|old| is_same_identity(old, new)))
            .collect();
        Ok(changes)
    }
}

struct Side {
    user: MgpassUser,
    obstacles: Vec<Obstacle>,
    residue: String,
    held: Vec<Unique>,
}

impl Side {
    fn of(settings: &Settings<'_>, row: &Row) -> Result<Self, Step> {
        let user =
            LogtoUser::parse(&row.to_json()).map_err(|_| Step::Refuse(Refusal::UnreadableUser))?;
        let mapped = map(&user, settings.mapping);
        Ok(Self {
            residue: Residue::of(&user),
            user: mapped.user,
            obstacles: mapped.obstacles,
            held: Unique::of(settings.tenant, row),
        })
    }
}

fn without(values: &[Unique], others: &[Unique]) -> Vec<Unique> {
    values
        .iter()
        .filter(|value| !others.contains(value))
        .cloned()
        .collect()
}

fn columns(old: Option<&MgpassUser>, new: &MgpassUser) -> Vec<(Column, Value)> {
    let values = |user: &MgpassUser| -> [(Column, Value); 8] {
        [
            (Column::Email, user.email.clone().into()),
            (Column::Phone, user.phone.clone().into()),
            (Column::Name, user.name.clone().into()),
            (Column::Avatar, user.avatar.clone().into()),
            (Column::Metadata, user.metadata.clone().into()),
            (Column::IsSuspended, user.is_suspended.into()),
            (Column::CreatedAt, user.created_at_s.into()),
            (Column::LastSignInAt, user.last_sign_in_at_s.into()),
        ]
    };
    let Some(old) = old else {
        return values(new).into();
    };
    let is_changed =
        |((column, old), (_, new)): &((Column, Value), (Column, Value))| match (column, old, new) {
            (Column::Metadata, Value::Text(old), Value::Text(new)) => !same_json(old, new),
            _ => old != new,
        };
    values(old)
        .into_iter()
        .zip(values(new))
        .filter(is_changed)
        .map(|(_, new)| new)
        .collect()
}

fn residue_members(old: Option<&Side>, new: &Side) -> Vec<String> {
    let old = old.and_then(|old| Residue::parse(&old.residue));
    let Some(new) = Residue::parse(&new.residue) else {
        return Vec::new();
    };
    let is_changed =
        |name: &str, text: &str| old.as_ref().and_then(|old| old.text(name)) != Some(text);
    new.members()
        .iter()
        .filter(|(name, text)| is_changed(name, text))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn is_same_account(one: &MgpassIdentity, other: &MgpassIdentity) -> bool {
    one.provider == other.provider && one.provider_user_id == other.provider_user_id
}

fn is_same_identity(one: &MgpassIdentity, other: &MgpassIdentity) -> bool {
    let is_same_profile = match (&one.profile_data, &other.profile_data) {
        (None, None) => true,
        (Some(one), Some(other)) => same_json(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    };
    is_same_account(one, other) && is_same_profile
}
