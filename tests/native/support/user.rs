//! One of Logto's users, with the members and the order of its JSON.

use serde_json::json;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub username: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub name: Option<String>,
    pub avatar: Option<String>,
    /// JSON text.
    pub custom_data: String,
    /// Target -> user id there, and details as JSON text.
    pub identities: Vec<(String, String, Option<String>)>,
    pub last_sign_in_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub profile: String,
    pub application_id: Option<String>,
    pub is_suspended: bool,
    pub has_password: bool,
    /// Kinds of second factors.
    pub factors: Vec<&'static str>,
    /// Connectors of SSO identities.
    pub sso: Vec<&'static str>,
}

impl User {
    pub fn new(id: &str, now_ms: i64) -> Self {
        Self {
            id: id.to_owned(),
            username: None,
            email: None,
            phone: None,
            name: None,
            avatar: None,
            custom_data: "{}".to_owned(),
            identities: Vec::new(),
            last_sign_in_at: None,
            created_at: now_ms,
            updated_at: now_ms,
            profile: "{}".to_owned(),
            application_id: None,
            is_suspended: false,
            has_password: false,
            factors: Vec::new(),
            sso: Vec::new(),
        }
    }

    pub fn json(&self) -> String {
        let text = |value: &Option<String>| json!(value).to_string();
        let identities: Vec<_> = self
            .identities
            .iter()
            .map(|(target, id, details)| {
                let details = details
                    .as_ref()
                    .map_or(String::new(), |details| format!(",\"details\":{details}"));
                format!("{}:{{\"userId\":{}{details}}}", json!(target), json!(id))
            })
            .collect();
        format!(
            "{{\"id\":{},\"username\":{},\"primaryEmail\":{},\"primaryPhone\":{},\"name\":{},\"avatar\":{},\
             \"customData\":{},\"identities\":{{{}}},\"lastSignInAt\":{},\"createdAt\":{},\"updatedAt\":{},\
             \"profile\":{},\"applicationId\":{},\"isSuspended\":{},\"hasPassword\":{}}}",
            json!(self.id),
            text(&self.username),
            text(&self.email),
            text(&self.phone),
            text(&self.name),
            text(&self.avatar),
            self.custom_data,
            identities.join(","),
            json!(self.last_sign_in_at),
            self.created_at,
            self.updated_at,
            self.profile,
            text(&self.application_id),
            self.is_suspended,
            self.has_password,
        )
    }
}
