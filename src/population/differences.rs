//! Where mgPass differs from what Logto's user maps to: names of fields, no values.

use serde_json::json;

use crate::mirror::mapping::Mapped;
use crate::mirror::reconcile::digest;
use crate::mirror::residue::Residue;
use crate::mirror::target::{IDENTITY_PREFIX, TargetState, TargetUser};
use crate::runtime::backend::logto::LogtoUser;
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

/// What mgPass may well have of its own is no difference: a newer sign-in, an address
/// verified there, identities linked there.
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
    let mut found = row_differences(mapped, held, settings);
    found.extend(identity_differences(mapped, target));
    found.extend(residue_differences(logto, target));
    found
}

fn row_differences(
    mapped: &Mapped,
    held: &TargetUser,
    settings: &MappingSettings,
) -> Vec<Difference> {
    let wanted = &mapped.user;
    let is_verified =
        |value: &Option<String>, setting: bool, held: bool| held || value.is_none() || !setting;
    let fields = [
        ("email", wanted.email == held.email),
        (
            "email_verified",
            is_verified(&wanted.email, settings.email_verified, held.email_verified),
        ),
        ("phone", wanted.phone == held.phone),
        (
            "phone_verified",
            is_verified(&wanted.phone, settings.phone_verified, held.phone_verified),
        ),
        ("name", wanted.name == held.name),
        ("avatar", wanted.avatar == held.avatar),
        ("is_suspended", wanted.is_suspended == held.is_suspended),
        ("created_at", wanted.created_at_s == held.created_at_s),
        // mgPass's own sign-ins are newer, and stay.
        (
            "last_sign_in_at",
            wanted.last_sign_in_at_s <= held.last_sign_in_at_s,
        ),
        ("metadata", same_json(&wanted.metadata, &held.metadata)),
    ];
    let differing = fields.iter().filter(|(_, is_equal)| !is_equal);
    differing
        .map(|(name, _)| Difference::new(*name, Class::Value))
        .collect()
}

fn identity_differences(mapped: &Mapped, target: &TargetState) -> Vec<Difference> {
    let path = |provider: &str| format!("identities.{provider}");
    let mut found = Vec::new();
    for wanted in &mapped.user.identities {
        let held = target.identities.iter().find(|row| {
            row.identity.provider == wanted.provider
                && row.identity.provider_user_id == wanted.provider_user_id
        });
        match held.map(|row| &row.identity.profile_data) {
            None => found.push(Difference::new(path(&wanted.provider), Class::Missing)),
            Some(held) if !same_optional(held.as_deref(), wanted.profile_data.as_deref()) => {
                found.push(Difference::new(path(&wanted.provider), Class::Value));
            }
            Some(_) => {}
        }
    }
    let extra = target.identities.iter().filter(|row| {
        row.row_id.starts_with(IDENTITY_PREFIX)
            && !mapped.user.identities.iter().any(|wanted| {
                wanted.provider == row.identity.provider
                    && wanted.provider_user_id == row.identity.provider_user_id
            })
    });
    found.extend(extra.map(|row| Difference::new(path(&row.identity.provider), Class::Extra)));
    found
}

fn same_optional(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same_json(one, other),
        (one, other) => one == other,
    }
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
    let user = target.user.as_ref().map(|user| {
        json!([
            user.email,
            user.email_verified,
            user.phone,
            user.phone_verified,
            user.name,
            user.avatar,
            user.metadata,
            user.is_suspended,
            user.created_at_s,
            user.last_sign_in_at_s,
            user.is_deleted,
        ])
    });
    let mut identities: Vec<_> = target
        .identities
        .iter()
        .map(|row| {
            let identity = &row.identity;
            let is_ours = row.row_id.starts_with(IDENTITY_PREFIX);
            json!([
                identity.provider,
                identity.provider_user_id,
                identity.profile_data,
                is_ours
            ])
            .to_string()
        })
        .collect();
    identities.sort_unstable();
    let mirror = target
        .mirror
        .as_ref()
        .map(|mirror| json!([mirror.is_tombstone, mirror.residue]));
    digest(&json!([user, identities, mirror]).to_string())
}
