//! What a tenant of Logto allows its users: its sign-in experience and its account center, as
//! `GET /api/sign-in-exp` and `GET /api/account-center` give them.

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    pub username: UsernamePolicy,
    pub password: PasswordPolicy,
    /// Of each field of the Account API that is named.
    pub fields: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsernamePolicy {
    /// Off as well when Logto runs with `CASE_SENSITIVE_USERNAME=0`, which no answer tells.
    pub case_sensitive: bool,
    pub min_length: usize,
    pub max_length: usize,
    pub allowed_chars: AllowedCharacters,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AllowedCharacters {
    pub lowercase: bool,
    pub uppercase: bool,
    pub numbers: bool,
    pub underscore: bool,
}

impl Default for UsernamePolicy {
    fn default() -> Self {
        Self {
            case_sensitive: true,
            min_length: 1,
            max_length: 128,
            allowed_chars: AllowedCharacters {
                lowercase: true,
                uppercase: true,
                numbers: true,
                underscore: true,
            },
        }
    }
}

/// Parts that a tenant never set have Logto's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordPolicy {
    pub length: Length,
    pub character_types: CharacterTypes,
    pub rejects: Rejects,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Length {
    pub min: usize,
    pub max: usize,
}

impl Default for Length {
    fn default() -> Self {
        Self { min: 8, max: 256 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CharacterTypes {
    pub min: usize,
}

impl Default for CharacterTypes {
    fn default() -> Self {
        Self { min: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejects {
    pub pwned: bool,
    pub repetition_and_sequence: bool,
    pub user_info: bool,
    pub words: Vec<String>,
}

impl Default for Rejects {
    fn default() -> Self {
        Self {
            pwned: true,
            repetition_and_sequence: true,
            user_info: true,
            words: Vec::new(),
        }
    }
}

/// A field that is not named is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fields {
    pub name: Control,
    pub avatar: Control,
    pub profile: Control,
    pub email: Control,
    pub phone: Control,
    pub password: Control,
    pub username: Control,
    pub social: Control,
    pub custom_data: Control,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Control {
    #[default]
    Off,
    ReadOnly,
    Edit,
}

impl Tenant {
    /// Of Logto's two answers; `None`: they are not as the contract has them.
    pub fn parse(sign_in_experience: &str, account_center: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct SignInExperience {
            // From 1.41 on.
            #[serde(default)]
            username_policy: UsernamePolicy,
            password_policy: PasswordPolicy,
        }
        #[derive(Deserialize)]
        struct AccountCenter {
            fields: Fields,
        }
        let experience: SignInExperience = serde_json::from_str(sign_in_experience).ok()?;
        let center: AccountCenter = serde_json::from_str(account_center).ok()?;
        Some(Self {
            username: experience.username_policy,
            password: experience.password_policy,
            fields: center.fields,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_logtos_defaults() {
        let tenant = Tenant::parse(
            r#"{"color":{},"passwordPolicy":{"length":{"min":6},"rejects":{"pwned":false}}}"#,
            r#"{"enabled":true,"fields":{"name":"Edit","customData":"ReadOnly","mfa":"Edit"}}"#,
        )
        .unwrap();
        assert_eq!(tenant.username, UsernamePolicy::default());
        assert_eq!(
            (tenant.password.length.min, tenant.password.length.max),
            (6, 256)
        );
        assert!(!tenant.password.rejects.pwned && tenant.password.rejects.user_info);
        let fields = &tenant.fields;
        let controls = (fields.name, fields.custom_data, fields.email);
        assert_eq!(controls, (Control::Edit, Control::ReadOnly, Control::Off));
        assert_eq!(Tenant::parse("{}", "{}"), None);
    }
}
