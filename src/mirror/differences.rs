//! Where mgPass differs from what Logto's user maps to: names of fields, no values.

use crate::mirror::mapping::MgpassUser;
use crate::mirror::members::same_json;
use crate::mirror::target::TargetState;

/// Field paths of mgPass's row; `user` alone where there is none.
pub fn paths(wanted: Option<&MgpassUser>, target: &TargetState) -> Vec<String> {
    let held = target.user.as_ref().filter(|user| !user.is_deleted);
    let (wanted, held) = match (wanted, held) {
        (None, None) => return Vec::new(),
        (Some(wanted), Some(held)) => (wanted, held),
        _ => return vec!["user".to_owned()],
    };
    let fields = [
        ("email", wanted.email == held.email),
        ("phone", wanted.phone == held.phone),
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
    let mut paths: Vec<String> = fields
        .iter()
        .filter(|(_, is_equal)| !is_equal)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    for identity in &wanted.identities {
        let is_held = target.identities.iter().any(|row| {
            row.identity.provider == identity.provider
                && row.identity.provider_user_id == identity.provider_user_id
        });
        if !is_held {
            paths.push(format!("identities.{}", identity.provider));
        }
    }
    paths
}
