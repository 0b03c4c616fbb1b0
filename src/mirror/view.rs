//! mgPass's user seen through the residue: each member's text as Logto writes it.
//!
//! A member is shown in the residue's form only while the residue, mapped, equals
//! what mgPass shows; otherwise mgPass's value is shown. Of what an older edition of
//! mgPass does not show, the residue alone tells.

use crate::inbound::request::UserId;
use crate::mirror::mapping::{map_name, map_phone, map_time};
use crate::mirror::residue::Residue;
use crate::mirror::rows::{TargetIdentity, TargetUser};
use crate::runtime::backend::logto::LogtoIdentity;
use crate::runtime::backend::mgpass::{ApiIdentity, ApiUser, Field};
use crate::runtime::members::{ObjectWriter, quote, quote_or_null, same_json};
use crate::runtime::settings::MappingSettings;

/// Members of a user that has no residue, in Logto's order (1.41).
const ORDER: [&str; 15] = [
    "id",
    "username",
    "primaryEmail",
    "primaryPhone",
    "name",
    "avatar",
    "customData",
    "identities",
    "lastSignInAt",
    "createdAt",
    "updatedAt",
    "profile",
    "applicationId",
    "isSuspended",
    "hasPassword",
];

pub struct View<'a> {
    pub user: &'a ApiUser,
    pub identities: &'a [ApiIdentity],
    /// Absent for mgPass's own users.
    pub residue: Option<&'a Residue>,
    pub settings: &'a MappingSettings,
}

/// What mgPass's API would show of these rows; `None`: there is nobody, or nobody any more.
pub fn shown_rows(
    id: &UserId,
    user: Option<&TargetUser>,
    identities: &[TargetIdentity],
) -> Option<(ApiUser, Vec<ApiIdentity>)> {
    let user = user.filter(|user| !user.is_deleted)?;
    let api = ApiUser {
        id: id.as_str().to_owned(),
        email: user.email.clone(),
        phone: user.phone.clone(),
        name: user.name.clone(),
        avatar: user.avatar.clone(),
        custom_data: Field::Shown(user.metadata.clone()),
        is_suspended: user.is_suspended,
        created_at_s: user.created_at_s,
        last_sign_in_at_s: Field::Shown(user.last_sign_in_at_s),
        is_deleted: false,
    };
    let identities = identities.iter().map(|row| ApiIdentity {
        provider: row.identity.provider.clone(),
        provider_user_id: row.identity.provider_user_id.clone(),
        profile_data: Field::Shown(row.identity.profile_data.clone()),
    });
    Some((api, identities.collect()))
}

impl View<'_> {
    /// The user as `GET /api/users/:id` shows them. Without a residue, what mgPass does not
    /// know is `null` or empty.
    pub fn whole(&self) -> String {
        let mut writer = ObjectWriter::default();
        let mut write = |name: &str| {
            let text = self.shown(name).unwrap_or_else(|| "null".to_owned());
            writer.member(name, &text);
        };
        match self.residue {
            Some(residue) => residue.members().iter().for_each(|(name, _)| write(name)),
            None => ORDER.iter().for_each(|name| write(name)),
        }
        writer.finish()
    }

    /// The member as Logto would show it; `None`: neither side has it.
    pub fn shown(&self, name: &str) -> Option<String> {
        let kept = || Some(self.residue?.text(name)?.to_owned());
        self.member(name).or_else(kept)
    }

    /// The member's text where mgPass has a say; `None`: only Logto knows it.
    fn member(&self, name: &str) -> Option<String> {
        let user = self.user;
        match name {
            "id" => Some(quote(&user.id)),
            "primaryEmail" => Some(quote_or_null(user.email.as_deref())),
            "avatar" => Some(quote_or_null(user.avatar.as_deref())),
            "isSuspended" => Some(user.is_suspended.to_string()),
            "primaryPhone" => self.phone(),
            "name" => self.name(),
            "customData" => self.custom_data(),
            "createdAt" => self.time("createdAt", Some(user.created_at_s)),
            "lastSignInAt" => match user.last_sign_in_at_s {
                Field::Shown(shown_s) => self.time("lastSignInAt", shown_s),
                Field::NotShown => None,
            },
            "identities" => self.identities(),
            "updatedAt" if self.residue.is_none() => {
                self.time("updatedAt", Some(user.created_at_s))
            }
            "profile" if self.residue.is_none() => Some("{}".to_owned()),
            "hasPassword" if self.residue.is_none() => Some("false".to_owned()),
            _ => None,
        }
    }

    fn phone(&self) -> Option<String> {
        let shown = self.user.phone.as_deref();
        let raw = self
            .residue
            .and_then(|residue| residue.string("primaryPhone"));
        if self.residue.is_some() && map_phone(raw.as_deref()).as_deref() == shown {
            return None;
        }
        Some(quote_or_null(
            shown.map(|phone| phone.trim_start_matches('+')),
        ))
    }

    fn name(&self) -> Option<String> {
        let shown = self.user.name.as_deref();
        if let Some(residue) = self.residue {
            let mapped = map_name(
                residue.string("name").as_deref(),
                residue.string("username").as_deref(),
            );
            if mapped.as_deref() == shown {
                return None;
            }
        }
        Some(quote_or_null(shown))
    }

    fn custom_data(&self) -> Option<String> {
        let raw = self.residue.and_then(|residue| residue.text("customData"));
        match &self.user.custom_data {
            Field::Shown(shown) if raw.is_some_and(|raw| same_json(raw, shown)) => None,
            Field::Shown(shown) => Some(shown.clone()),
            Field::NotShown if raw.is_some() => None,
            Field::NotShown => Some("{}".to_owned()),
        }
    }

    fn time(&self, name: &str, shown_s: Option<i64>) -> Option<String> {
        if let Some(residue) = self.residue
            && residue.integer(name).map(map_time) == shown_s
        {
            return None;
        }
        Some(shown_s.map_or_else(
            || "null".to_owned(),
            |seconds| (seconds * 1_000).to_string(),
        ))
    }

    fn identities(&self) -> Option<String> {
        let raw = self.residue.and_then(|residue| residue.text("identities"));
        let known = raw.and_then(LogtoIdentity::parse_all).unwrap_or_default();
        if self.residue.is_some() && self.is_same_identities(&known) {
            return None;
        }
        let mut writer = ObjectWriter::default();
        let mut targets = Vec::new();
        for identity in &known {
            // Of a target that mgPass has no provider for, the residue alone tells.
            let text = match self.settings.provider(&identity.target) {
                None => Some(identity.to_json()),
                Some(provider) => self
                    .identities
                    .iter()
                    .find(|shown| is_of(shown, provider, identity))
                    .map(|shown| merged_identity(shown, identity)),
            };
            if let Some(text) = text {
                writer.member(&identity.target, &text);
                targets.push(identity.target.as_str());
            }
        }
        for shown in self.identities {
            let target = self.settings.target(&shown.provider);
            let target = target.unwrap_or(&shown.provider);
            // Logto has one account of each target: the one it had, while that is there.
            if !targets.contains(&target) {
                writer.member(target, &identity_of(shown).to_json());
                targets.push(target);
            }
        }
        Some(writer.finish())
    }

    /// What the mirror carries of Logto's identities is exactly what mgPass shows.
    fn is_same_identities(&self, known: &[LogtoIdentity]) -> bool {
        let carried: Vec<_> = known
            .iter()
            .filter_map(|identity| Some((self.settings.provider(&identity.target)?, identity)))
            .collect();
        carried.len() == self.identities.len()
            && carried.iter().all(|(provider, identity)| {
                self.identities.iter().any(|shown| {
                    is_of(shown, provider, identity) && has_details_of(shown, identity)
                })
            })
    }
}

fn is_of(shown: &ApiIdentity, provider: &str, identity: &LogtoIdentity) -> bool {
    shown.provider == provider && shown.provider_user_id == identity.user_id
}

fn has_details_of(shown: &ApiIdentity, identity: &LogtoIdentity) -> bool {
    let known = identity.details.as_deref().unwrap_or("{}");
    shown
        .profile_data
        .admits(|shown| same_json(shown.as_deref().unwrap_or("{}"), known))
}

/// In Logto's own text where it says the same.
fn merged_identity(shown: &ApiIdentity, known: &LogtoIdentity) -> String {
    match has_details_of(shown, known) {
        true => known.to_json(),
        false => identity_of(shown).to_json(),
    }
}

fn identity_of(shown: &ApiIdentity) -> LogtoIdentity {
    let details = match &shown.profile_data {
        Field::Shown(details) => details.clone().filter(|details| details != "{}"),
        Field::NotShown => None,
    };
    LogtoIdentity {
        target: shown.provider.clone(),
        user_id: shown.provider_user_id.clone(),
        details,
    }
}
