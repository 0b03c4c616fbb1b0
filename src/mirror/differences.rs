//! Where mgPass differs from what Logto's user maps to: names of fields, no values.

use std::collections::BTreeSet;

use serde_json::json;

use crate::mirror::base::{identity_key, path};
use crate::mirror::mapping::{Mapped, MgpassUser};
use crate::mirror::residue::Residue;
use crate::mirror::rows::{TargetIdentity, TargetUser};
use crate::mirror::target::TargetState;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::digest::digest;
use crate::runtime::members::same_json;
use crate::runtime::settings::MappingSettings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of mgPass's row, `identities.<provider>`, or `residue.<member>`; `user` alone
    /// where one side has none.
    pub path: String,
    pub class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// mgPass lacks it.
    Missing,
    /// mgPass has it, Logto does not.
    Extra,
    Value,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Value => "value",
        }
    }
}

impl Difference {
    pub fn new(path: impl Into<String>, class: Class) -> Self {
        Self {
            path: path.into(),
            class,
        }
    }

    /// Of the points, which have an import of their own.
    pub fn is_of_balance(&self) -> bool {
        self.path.starts_with("balance.")
    }
}

/// What mgPass should have of a user, beside what it may well have of its own: a newer
/// sign-in, an address verified there. Identities linked there are left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub user: MgpassUser,
    pub email_verified: bool,
    pub phone_verified: bool,
}

impl Wanted {
    pub fn of(mut user: MgpassUser, held: Option<&TargetUser>, settings: &MappingSettings) -> Self {
        let signed_in = held.and_then(|held| held.last_sign_in_at_s);
        user.last_sign_in_at_s = user.last_sign_in_at_s.max(signed_in);
        Self {
            email_verified: is_verified(
                user.email.as_deref(),
                held.map(|held| (held.email.as_deref(), held.email_verified)),
                settings.email_verified,
            ),
            phone_verified: is_verified(
                user.phone.as_deref(),
                held.map(|held| (held.phone.as_deref(), held.phone_verified)),
                settings.phone_verified,
            ),
            user,
        }
    }

    /// The row as it is once this is written.
    pub fn to_row(&self) -> TargetUser {
        let user = &self.user;
        TargetUser {
            email: user.email.clone(),
            email_verified: self.email_verified,
            phone: user.phone.clone(),
            phone_verified: self.phone_verified,
            name: user.name.clone(),
            avatar: user.avatar.clone(),
            metadata: user.metadata.clone(),
            is_suspended: user.is_suspended,
            created_at_s: user.created_at_s,
            last_sign_in_at_s: user.last_sign_in_at_s,
            is_deleted: false,
        }
    }
}

/// By the setting; but an address that its owner verified at mgPass stays verified.
fn is_verified(value: Option<&str>, held: Option<(Option<&str>, bool)>, setting: bool) -> bool {
    let kept = held.is_some_and(|(held, verified)| held == value && verified);
    value.is_some() && (setting || kept)
}

/// Fields of a live user that differ, by their key in the [`base`](super::base).
pub fn fields(
    wanted: &Wanted,
    held: &TargetUser,
    identities: &[TargetIdentity],
) -> Vec<(String, Class)> {
    let user = &wanted.user;
    let columns = [
        ("email", user.email == held.email),
        (
            "email_verified",
            wanted.email_verified == held.email_verified,
        ),
        ("phone", user.phone == held.phone),
        (
            "phone_verified",
            wanted.phone_verified == held.phone_verified,
        ),
        ("name", user.name == held.name),
        ("avatar", user.avatar == held.avatar),
        ("is_suspended", user.is_suspended == held.is_suspended),
        ("created_at", user.created_at_s == held.created_at_s),
        (
            "last_sign_in_at",
            user.last_sign_in_at_s == held.last_sign_in_at_s,
        ),
        ("metadata", same_json(&user.metadata, &held.metadata)),
    ];
    let mut found: Vec<_> = columns
        .into_iter()
        .filter(|(_, is_equal)| !is_equal)
        .map(|(name, _)| (name.to_owned(), Class::Value))
        .collect();
    for wanted in &user.identities {
        let row = identities.iter().find(|row| row.is_of(wanted));
        match row.map(|row| row.identity.profile_data.as_deref()) {
            None => found.push((identity_key(wanted), Class::Missing)),
            Some(held) if !same_optional(held, wanted.profile_data.as_deref()) => {
                found.push((identity_key(wanted), Class::Value));
            }
            Some(_) => {}
        }
    }
    let extra = identities
        .iter()
        .filter(|row| row.is_ours() && !user.identities.iter().any(|wanted| row.is_of(wanted)));
    found.extend(extra.map(|row| (identity_key(&row.identity), Class::Extra)));
    found
}

pub fn between(
    logto: Option<(&LogtoUser, &Mapped)>,
    target: &TargetState,
    settings: &MappingSettings,
) -> Vec<Difference> {
    let (logto, mapped, held) = match (logto, &target.user) {
        (None, None) => return Vec::new(),
        (None, Some(held)) if held.is_deleted => return Vec::new(),
        (None, Some(_)) => return vec![Difference::new("user", Class::Extra)],
        (Some(_), None) => return vec![Difference::new("user", Class::Missing)],
        (Some((logto, mapped)), Some(held)) => (logto, mapped, held),
    };
    if held.is_deleted {
        return vec![Difference::new("deleted_at", Class::Extra)];
    }
    let wanted = Wanted::of(mapped.user.clone(), Some(held), settings);
    let mut found: Vec<_> = fields(&wanted, held, &target.identities)
        .into_iter()
        .map(|(key, class)| Difference::new(path(&key), class))
        .collect();
    found.extend(residue_differences(logto, target));
    found
}

fn same_optional(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same_json(one, other),
        (one, other) => one == other,
    }
}

/// Fields of mgPass's rows that are not as the mirror left them.
pub fn since_base(target: &TargetState) -> BTreeSet<String> {
    let Some(base) = target.base() else {
        return BTreeSet::new();
    };
    let now = target.to_base();
    now.differing(base)
        .map(|key| path(key).to_owned())
        .collect()
}

/// Logto's own form of what mgPass cannot hold, member by member.
fn residue_differences(logto: &LogtoUser, target: &TargetState) -> Vec<Difference> {
    let Some(mirror) = target.mirror.as_ref().filter(|mirror| !mirror.is_tombstone) else {
        return vec![Difference::new("mirror", Class::Missing)];
    };
    let wanted = Residue::of(logto);
    let held = mirror.residue.as_deref().unwrap_or_default();
    if wanted == held {
        return Vec::new();
    }
    let (Some(wanted), Some(held)) = (Residue::parse(&wanted), Residue::parse(held)) else {
        return vec![Difference::new("residue", Class::Missing)];
    };
    let path = |name: &str| format!("residue.{name}");
    let mut found = Vec::new();
    for (name, text) in wanted.members().iter() {
        match held.text(name) {
            None => found.push(Difference::new(path(name), Class::Missing)),
            Some(held) if held != text => found.push(Difference::new(path(name), Class::Value)),
            Some(_) => {}
        }
    }
    let extra = held
        .members()
        .iter()
        .filter(|(name, _)| wanted.text(name).is_none());
    found.extend(extra.map(|(name, _)| Difference::new(path(name), Class::Extra)));
    if found.is_empty() {
        // The same members in another order: the translated bytes would differ.
        found.push(Difference::new("residue", Class::Value));
    }
    found
}

/// Of all that is compared of mgPass's side, in one form however the rows were stored.
pub fn target_digest(target: &TargetState) -> String {
    let rows = target.to_base();
    let ours: Vec<_> = target
        .identities
        .iter()
        .filter(|row| row.is_ours())
        .map(|row| identity_key(&row.identity))
        .collect();
    let mirror = target
        .mirror
        .as_ref()
        .map(|mirror| json!([mirror.is_tombstone, mirror.residue]));
    digest(&json!([rows.to_text(), BTreeSet::from_iter(ours), mirror]).to_string())
}
