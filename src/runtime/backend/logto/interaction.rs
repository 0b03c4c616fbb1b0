//! How far a browser's interaction has come, as the Experience API tells the browser.

use serde_json::Value;

use super::{Browser, get_as, told, user_member};
use crate::inbound::request::UserId;
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::ports::Platform;

/// How far an interaction has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    pub user: Option<UserId>,
    /// Its identification makes a new user.
    pub registers: bool,
    /// Its submit would write that somebody was here, and nothing that they said.
    pub only_signs_in: bool,
    /// Its submit may write a password or a second factor.
    pub stages_credential: bool,
}

/// The Experience API's interaction; `None`: Logto says that there is none.
///
/// # Errors
/// When Logto gave no answer to that question.
pub async fn interaction<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    browser: &Browser,
) -> Result<Option<Interaction>, BackendFailure> {
    let answer = get_as(platform, context, "/api/experience/interaction", browser).await?;
    let told = told(&answer, &[400, 404], "session.")?;
    Ok(told.map(|body| Interaction {
        user: user_member(&body, "userId"),
        registers: body.get("interactionEvent").and_then(Value::as_str) == Some("Register"),
        only_signs_in: only_signs_in(&body),
        stages_credential: stages_credential(&body),
    }))
}

/// What is not known counts as staged.
fn stages_credential(body: &Value) -> bool {
    let members = |name: &str| body.get(name).and_then(Value::as_object);
    let Some(profile) = members("profile") else {
        return true;
    };
    let mut factors = members("mfa").into_iter().flatten();
    let event = body.get("interactionEvent").and_then(Value::as_str);
    !matches!(event, Some("SignIn" | "Register"))
        || profile
            .keys()
            .any(|name| name.to_ascii_lowercase().contains("password"))
        || factors.any(|(name, value)| !(name.ends_with("Skipped") && value.is_boolean()))
}

/// Nothing is staged but what Logto takes over from a provider by itself, as the connector
/// says (contract 4.2; name and avatar are of that provider only where one was asked), and
/// what a person passed over. What is not known counts as staged.
fn only_signs_in(body: &Value) -> bool {
    let members = |name: &str| body.get(name).and_then(Value::as_object);
    let records = body.get("verificationRecords").and_then(Value::as_array);
    let mut kinds = records.into_iter().flatten();
    let has_provider = kinds.any(|record| {
        let kind = record.get("type").and_then(Value::as_str);
        matches!(kind, Some("Social" | "EnterpriseSso"))
    });
    let is_taken_over = |name: &str| match name {
        "name" | "avatar" => has_provider,
        "enterpriseSsoIdentity" | "syncedEnterpriseSsoIdentity" | "jitOrganizationIds" => true,
        _ => false,
    };
    let mut profile = members("profile").into_iter().flatten();
    let mut factors = members("mfa").into_iter().flatten();
    body.get("interactionEvent").and_then(Value::as_str) == Some("SignIn")
        && members("profile").is_some()
        && profile.all(|(name, _)| is_taken_over(name))
        && factors.all(|(name, value)| name.ends_with("Skipped") && value.is_boolean())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_password_or_a_factor_is_known_before_it_is_written() {
        let of = |event: &str, profile: Value, mfa: Value| {
            stages_credential(&json!({ "interactionEvent": event, "profile": profile, "mfa": mfa }))
        };
        assert!(!of("SignIn", json!({}), json!({ "mfaSkipped": true })));
        assert!(!of("SignIn", json!({ "username": "n" }), json!({})));
        assert!(!of("Register", json!({ "username": "n" }), json!({})));
        assert!(of("ForgotPassword", json!({}), json!({})));
        assert!(of("OfALaterVersion", json!({}), json!({})));
        assert!(of("SignIn", json!({ "passwordEncrypted": "h" }), json!({})));
        assert!(of("SignIn", json!({}), json!({ "totp": {} })));
        assert!(stages_credential(&json!({ "interactionEvent": "SignIn" })));
    }

    #[test]
    fn a_sign_in_stages_nothing_of_a_persons_own() {
        let sign_in = |profile: Value, mfa: Value, record: &str| {
            only_signs_in(
                &json!({ "interactionEvent": "SignIn", "userId": "u1", "profile": profile,
                "verificationRecords": [{ "id": "v", "type": record }], "mfa": mfa }),
            )
        };
        for (profile, mfa, record, expected) in [
            (json!({}), json!({}), "Password", true),
            (
                json!({}),
                json!({ "mfaSkipped": true, "passkeySkipped": true }),
                "Password",
                true,
            ),
            (
                json!({ "avatar": "a", "name": "n" }),
                json!({}),
                "Social",
                true,
            ),
            (
                json!({ "avatar": "a", "jitOrganizationIds": ["o"] }),
                json!({}),
                "EnterpriseSso",
                true,
            ),
            (
                json!({ "enterpriseSsoIdentity": {} }),
                json!({}),
                "EnterpriseSso",
                true,
            ),
            (json!({ "name": "n" }), json!({}), "Password", false),
            (json!({ "socialIdentity": {} }), json!({}), "Social", false),
            (json!({ "username": "n" }), json!({}), "Password", false),
            (
                json!({ "passwordEncrypted": "h" }),
                json!({}),
                "Password",
                false,
            ),
            (
                json!({ "of_a_later_version": 1 }),
                json!({}),
                "Social",
                false,
            ),
            (
                json!({}),
                json!({ "totp": { "type": "Totp" } }),
                "Password",
                false,
            ),
            (json!({}), json!({ "mfaEnabled": true }), "Password", false),
            (json!({}), json!({ "mfaSkipped": "x" }), "Password", false),
            (json!("x"), json!({}), "Password", false),
        ] {
            let found = sign_in(profile.clone(), mfa.clone(), record);
            assert_eq!(found, expected, "{profile} {mfa} {record}");
        }
        for event in ["Register", "ForgotPassword", "OfALaterVersion"] {
            assert!(!only_signs_in(
                &json!({ "interactionEvent": event, "profile": {} })
            ));
        }
        assert!(!only_signs_in(&json!({ "interactionEvent": "SignIn" })));
    }
}
