//! mgPass's user seen through the residue: each member's text as Logto writes it.
//!
//! A member is shown in the residue's form only while the residue, mapped, equals
//! what mgPass shows; otherwise mgPass's value is shown. Of what an older edition of
//! mgPass does not show, the residue alone tells.

use crate::mirror::mapping::{map_name, map_phone, map_time};
use crate::mirror::residue::Residue;
use crate::runtime::backend::logto::LogtoIdentity;
use crate::runtime::backend::mgpass::{ApiIdentity, ApiUser, Field};
use crate::runtime::members::{ObjectWriter, quote, quote_or_null, same_json};
use crate::runtime::settings::MappingSettings;

pub struct View<'a> {
    pub user: &'a ApiUser,
    pub identities: &'a [ApiIdentity],
    /// Absent for mgPass's own users.
    pub residue: Option<&'a Residue>,
    pub settings: &'a MappingSettings,
}

impl View<'_> {
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
        for shown in self.identities {
            let target = self
                .settings
                .target(&shown.provider)
                .unwrap_or(&shown.provider);
            let mut identity = ObjectWriter::default();
            identity.member("userId", &quote(&shown.provider_user_id));
            if let Field::Shown(Some(details)) = &shown.profile_data
                && details != "{}"
            {
                identity.member("details", details);
            }
            writer.member(target, &identity.finish());
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
                    shown.provider == *provider
                        && shown.provider_user_id == identity.user_id
                        && shown.profile_data.admits(|shown| {
                            same_json(
                                shown.as_deref().unwrap_or("{}"),
                                identity.details.as_deref().unwrap_or("{}"),
                            )
                        })
                })
            })
    }
}
