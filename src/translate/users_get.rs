//! `GET /api/users/:id`.

use crate::backend::mgpass::{ApiIdentity, ApiUser};
use crate::mirror::mapping::{LogtoIdentity, MappingSettings, map_name, map_phone, map_time};
use crate::mirror::members::{ObjectWriter, quote, quote_or_null, same_json};
use crate::mirror::residue::Residue;

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

/// Logto's body for mgPass's user. Without a residue (mgPass's own users) what
/// mgPass does not know is `null` or empty.
pub fn body(
    user: &ApiUser,
    identities: &[ApiIdentity],
    residue: Option<&Residue>,
    settings: &MappingSettings,
) -> String {
    let view = View {
        user,
        identities,
        residue,
        settings,
    };
    let mut writer = ObjectWriter::default();
    match residue {
        Some(residue) => {
            for (name, text) in residue.members().iter() {
                writer.member(name, &view.member(name).unwrap_or_else(|| text.to_owned()));
            }
        }
        None => {
            for name in ORDER {
                writer.member(
                    name,
                    &view.member(name).unwrap_or_else(|| "null".to_owned()),
                );
            }
        }
    }
    writer.finish()
}

struct View<'a> {
    user: &'a ApiUser,
    identities: &'a [ApiIdentity],
    residue: Option<&'a Residue>,
    settings: &'a MappingSettings,
}

impl View<'_> {
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
            "lastSignInAt" => self.time("lastSignInAt", user.last_sign_in_at_s),
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
        if raw.is_some_and(|raw| same_json(raw, &self.user.custom_data)) {
            return None;
        }
        Some(self.user.custom_data.clone())
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
            if let Some(details) = shown
                .profile_data
                .as_deref()
                .filter(|details| *details != "{}")
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
                        && same_json(
                            shown.profile_data.as_deref().unwrap_or("{}"),
                            identity.details.as_deref().unwrap_or("{}"),
                        )
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::mapping::tests::{ALICE, settings};
    use crate::mirror::mapping::{LogtoUser, map};

    /// mgPass's API after the mirror ran.
    fn mirrored(json: &str) -> (ApiUser, Vec<ApiIdentity>, Residue) {
        let logto = LogtoUser::parse(json).unwrap();
        let user = map(&logto, &settings()).user;
        let identities = user
            .identities
            .iter()
            .map(|identity| ApiIdentity {
                provider: identity.provider.clone(),
                provider_user_id: identity.provider_user_id.clone(),
                profile_data: identity.profile_data.clone(),
            })
            .collect();
        let shown = ApiUser {
            id: user.id.as_str().to_owned(),
            email: user.email,
            phone: user.phone,
            name: user.name,
            avatar: user.avatar,
            custom_data: user.metadata,
            is_suspended: user.is_suspended,
            created_at_s: user.created_at_s,
            last_sign_in_at_s: user.last_sign_in_at_s,
            is_deleted: false,
        };
        (
            shown,
            identities,
            Residue::parse(&Residue::of(&logto)).unwrap(),
        )
    }

    fn check_equal(json: &str) {
        let (user, identities, residue) = mirrored(json);
        assert_eq!(body(&user, &identities, Some(&residue), &settings()), json);
    }

    #[test]
    fn a_mirrored_user_reads_byte_for_byte_as_logtos() {
        check_equal(ALICE);
        check_equal(&ALICE.replace(r#""Alice B""#, "null"));
        check_equal(&ALICE.replace(r#""14155555357""#, r#""0041""#));
        check_equal(&ALICE.replace("1795376189238", "null"));
        check_equal(&ALICE.replace(r#""google":"#, r#""wechat":"#));
        check_equal(&ALICE.replace(
            r#"{"beta":true,"plan":"free"}"#,
            r#"{"1":[1.50,"\u00e9"],"10":{},"b":null}"#,
        ));
        check_equal(&ALICE.replace(
            r#""hasPassword":true"#,
            r#""hasPassword":true,"cimdClientId":null"#,
        ));
    }

    #[test]
    fn a_change_made_at_mgpass_alone_is_shown() {
        type Change = fn(&mut ApiUser);
        let changes: &[(Change, &str)] = &[
            (|user| user.email = None, r#""primaryEmail":null"#),
            (
                |user| user.phone = Some("+4915112345678".into()),
                r#""primaryPhone":"4915112345678""#,
            ),
            (|user| user.name = Some("Eve".into()), r#""name":"Eve""#),
            (|user| user.avatar = Some("x".into()), r#""avatar":"x""#),
            (
                |user| user.custom_data = r#"{"beta":false}"#.into(),
                r#""customData":{"beta":false}"#,
            ),
            (|user| user.is_suspended = false, r#""isSuspended":false"#),
            (
                |user| user.created_at_s += 1,
                r#""createdAt":1795376189000"#,
            ),
            (
                |user| user.last_sign_in_at_s = None,
                r#""lastSignInAt":null"#,
            ),
        ];
        for (change, expected) in changes {
            let (mut user, identities, residue) = mirrored(ALICE);
            change(&mut user);
            let shown = body(&user, &identities, Some(&residue), &settings());
            assert!(shown.contains(expected), "{expected} not in {shown}");
        }
    }

    #[test]
    fn an_identity_changed_at_mgpass_alone_is_shown() {
        let (user, mut identities, residue) = mirrored(ALICE);
        identities[0].profile_data = None;
        let shown = body(&user, &identities, Some(&residue), &settings());
        assert!(
            shown.contains(r#""identities":{"google":{"userId":"google-1ae441"}}"#),
            "{shown}"
        );
        let shown = body(&user, &[], Some(&residue), &settings());
        assert!(shown.contains(r#""identities":{}"#), "{shown}");
    }

    #[test]
    fn a_user_of_mgpass_alone_has_logtos_shape() {
        let (user, _, _) = mirrored(ALICE);
        let shown: serde_json::Value =
            serde_json::from_str(&body(&user, &[], None, &settings())).unwrap();
        assert_eq!(shown["username"], serde_json::Value::Null);
        assert_eq!(shown["createdAt"], 1_795_376_188_000_i64);
        assert_eq!(shown["profile"], serde_json::json!({}));
    }
}
