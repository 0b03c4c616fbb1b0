//! Logto's user -> mgPass's row, by the table in docs/operations.md.
//!
//! Pure. What cannot be carried is named as an obstacle, never dropped silently;
//! an obstacle concerns one field or identity, not the user.

use crate::inbound::request::UserId;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::settings::MappingSettings;

/// What the mirror writes of one user into mgPass's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MgpassUser {
    pub id: UserId,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub name: Option<String>,
    pub avatar: Option<String>,
    /// JSON text of an object.
    pub metadata: String,
    pub is_suspended: bool,
    pub created_at_s: i64,
    pub last_sign_in_at_s: Option<i64>,
    pub identities: Vec<MgpassIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MgpassIdentity {
    pub provider: String,
    pub provider_user_id: String,
    /// JSON text.
    pub profile_data: Option<String>,
}

/// What could not be carried, as a stable code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The number is not E.164 (ITU-T: up to 15 digits, no leading zero).
    PhoneNotE164,
    /// No provider of mgPass is set for this target.
    UnknownProvider(String),
}

impl Obstacle {
    pub fn code(&self) -> String {
        match self {
            Self::PhoneNotE164 => "phone_not_e164".to_owned(),
            Self::UnknownProvider(target) => format!("unknown_provider:{target}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub user: MgpassUser,
    pub obstacles: Vec<Obstacle>,
}

pub fn map(user: &LogtoUser, settings: &MappingSettings) -> Mapped {
    let mut obstacles = Vec::new();
    let phone = map_phone(user.primary_phone.as_deref());
    if phone.is_none() && user.primary_phone.is_some() {
        obstacles.push(Obstacle::PhoneNotE164);
    }
    let mut identities = Vec::new();
    for identity in &user.identities {
        match settings.provider(&identity.target) {
            Some(provider) => identities.push(MgpassIdentity {
                provider: provider.to_owned(),
                provider_user_id: identity.user_id.clone(),
                profile_data: identity.details.clone(),
            }),
            None => obstacles.push(Obstacle::UnknownProvider(identity.target.clone())),
        }
    }
    let user = MgpassUser {
        id: user.id.clone(),
        email: user.primary_email.clone(),
        phone,
        name: map_name(user.name.as_deref(), user.username.as_deref()),
        avatar: user.avatar.clone(),
        metadata: user.custom_data.clone(),
        is_suspended: user.is_suspended,
        created_at_s: map_time(user.created_at_ms),
        last_sign_in_at_s: user.last_sign_in_at_ms.map(map_time),
        identities,
    };
    Mapped { user, obstacles }
}

/// `name` when set, else `username`.
pub fn map_name(name: Option<&str>, username: Option<&str>) -> Option<String> {
    name.filter(|name| !name.is_empty())
        .or(username)
        .map(str::to_owned)
}

/// Logto keeps digits alone; E.164 has a plus before them. By hand: that a number is in use
/// nowhere is not asked, and a crate that knows brings tables of a megabyte.
pub fn map_phone(digits: Option<&str>) -> Option<String> {
    let digits = digits?;
    let valid = (5..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    valid.then(|| format!("+{digits}"))
}

/// Milliseconds to seconds.
pub fn map_time(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(1_000)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> MappingSettings {
        let same = |name: &str| (name.to_owned(), name.to_owned());
        MappingSettings {
            providers: vec![
                same("google"),
                same("apple"),
                ("fb".to_owned(), "facebook".to_owned()),
            ],
            email_verified: true,
            phone_verified: true,
        }
    }

    pub(crate) const ALICE: &str = r#"{"id":"ohr0n387iy4o","username":"alice_1ae441","primaryEmail":"alice.1ae441@example.test","primaryPhone":"14155555357","name":"Alice B","avatar":"https://cdn.example.test/a.png","customData":{"beta":true,"plan":"free"},"identities":{"google":{"userId":"google-1ae441","details":{"id":"google-1ae441","name":"Alice"}}},"lastSignInAt":1795376189238,"createdAt":1795376188089,"updatedAt":1795376188753,"profile":{"familyName":"Example","givenName":"Alice"},"applicationId":null,"isSuspended":true,"hasPassword":true}"#;

    #[test]
    fn every_row_of_the_table_holds() {
        let mapped = map(&LogtoUser::parse(ALICE).unwrap(), &settings());
        assert_eq!(mapped.obstacles, []);
        assert_eq!(
            mapped.user,
            MgpassUser {
                id: UserId::parse("ohr0n387iy4o").unwrap(),
                email: Some("alice.1ae441@example.test".into()),
                phone: Some("+14155555357".into()),
                name: Some("Alice B".into()),
                avatar: Some("https://cdn.example.test/a.png".into()),
                metadata: r#"{"beta":true,"plan":"free"}"#.into(),
                is_suspended: true,
                created_at_s: 1_795_376_188,
                last_sign_in_at_s: Some(1_795_376_189),
                identities: vec![MgpassIdentity {
                    provider: "google".into(),
                    provider_user_id: "google-1ae441".into(),
                    profile_data: Some(r#"{"id":"google-1ae441","name":"Alice"}"#.into()),
                }],
            }
        );
    }

    #[test]
    fn a_username_stands_in_for_a_missing_name() {
        assert_eq!(map_name(None, Some("bob")).as_deref(), Some("bob"));
        assert_eq!(map_name(Some(""), Some("bob")).as_deref(), Some("bob"));
        assert_eq!(map_name(Some("Bob"), Some("bob")).as_deref(), Some("Bob"));
        assert_eq!(map_name(None, None), None);
    }

    #[test]
    fn only_e164_numbers_are_carried() {
        assert_eq!(
            map_phone(Some("233200000001")).as_deref(),
            Some("+233200000001")
        );
        for bad in [
            "",
            "0123456",
            "1234",
            "1234567890123456",
            "+14155555357",
            "14155 5535",
        ] {
            assert_eq!(map_phone(Some(bad)), None, "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let json = ALICE
            .replace("14155555357", "0041")
            .replace(r#""google":"#, r#""wechat":"#);
        let mapped = map(&LogtoUser::parse(&json).unwrap(), &settings());
        assert_eq!(
            mapped.obstacles,
            [
                Obstacle::PhoneNotE164,
                Obstacle::UnknownProvider("wechat".into())
            ]
        );
        assert_eq!((mapped.user.phone, mapped.user.identities.len()), (None, 0));
    }

    #[test]
    fn an_answer_that_is_no_user_is_refused() {
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"id":"x"}"#,
            &ALICE.replace("1795376188089", "\"soon\""),
        ] {
            assert!(LogtoUser::parse(bad).is_err(), "{bad}");
        }
    }
}
