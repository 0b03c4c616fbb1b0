//! `GET /api/users/:id`.

use super::Shown;
use super::view::View;

/// Logto's members in Logto's order.
pub fn show(view: &View<'_>, _: Option<&str>) -> Shown {
    Shown::Body(view.whole())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::mapping::map;
    use crate::mirror::mapping::tests::{ALICE, settings};
    use crate::mirror::residue::Residue;
    use crate::runtime::backend::logto::LogtoUser;
    use crate::runtime::backend::mgpass::{ApiIdentity, ApiUser, Field};
    use crate::runtime::settings::MappingSettings;

    fn body(
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
        match show(&view, None) {
            Shown::Body(body) => body,
            Shown::Refusal(_) => panic!("refused"),
        }
    }

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
                profile_data: Field::Shown(identity.profile_data.clone()),
            })
            .collect();
        let shown = ApiUser {
            id: user.id.as_str().to_owned(),
            email: user.email,
            phone: user.phone,
            name: user.name,
            avatar: user.avatar,
            custom_data: Field::Shown(user.metadata),
            is_suspended: user.is_suspended,
            created_at_s: user.created_at_s,
            last_sign_in_at_s: Field::Shown(user.last_sign_in_at_s),
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
                |user| user.custom_data = Field::Shown(r#"{"beta":false}"#.into()),
                r#""customData":{"beta":false}"#,
            ),
            (|user| user.is_suspended = false, r#""isSuspended":false"#),
            (
                |user| user.created_at_s += 1,
                r#""createdAt":1795376189000"#,
            ),
            (
                |user| user.last_sign_in_at_s = Field::Shown(None),
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
        identities[0].profile_data = Field::Shown(None);
        let shown = body(&user, &identities, Some(&residue), &settings());
        assert!(
            shown.contains(r#""identities":{"google":{"userId":"google-1ae441"}}"#),
            "{shown}"
        );
        let shown = body(&user, &[], Some(&residue), &settings());
        assert!(shown.contains(r#""identities":{}"#), "{shown}");
    }

    #[test]
    fn what_an_older_edition_does_not_show_is_taken_from_the_residue() {
        let (mut user, mut identities, residue) = mirrored(ALICE);
        user.custom_data = Field::NotShown;
        user.last_sign_in_at_s = Field::NotShown;
        identities[0].profile_data = Field::NotShown;
        assert_eq!(body(&user, &identities, Some(&residue), &settings()), ALICE);
        let alone: serde_json::Value =
            serde_json::from_str(&body(&user, &identities, None, &settings())).unwrap();
        assert_eq!(alone["customData"], serde_json::json!({}));
        assert_eq!(alone["lastSignInAt"], serde_json::Value::Null);
        identities[0].provider_user_id = "another".to_owned();
        let shown = body(&user, &identities, Some(&residue), &settings());
        assert!(
            shown.contains(r#""identities":{"google":{"userId":"another"}}"#),
            "{shown}"
        );
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
