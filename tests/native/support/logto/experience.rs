//! What users do on their own: sign in and register by either API, consent, and change
//! their account.

use serde_json::{Value, json};

use super::{Interaction, Logto, LogtoAnswer, LogtoRequest, User, bearer, members};

impl Logto {
    pub(super) fn experience(
        &self,
        request: &LogtoRequest,
        method: &str,
        step: &str,
        now_ms: i64,
    ) -> LogtoAnswer {
        let Some((uid, interaction)) = self.interaction_of(request) else {
            return LogtoAnswer::error(400, "session.not_found");
        };
        if interaction.is_older {
            return LogtoAnswer::error(404, "session.interaction_not_found");
        }
        match (method, step) {
            // Of both APIs: it is begun anew, with nothing staged.
            ("PUT", "") => {
                self.progress(&uid, |interaction| interaction.profile.clear());
                LogtoAnswer::text(204, "")
            }
            ("POST", "verification/password")
                if members(request)["identifier"]["type"].is_string() =>
            {
                self.check(&members(request))
            }
            ("POST", "profile" | "verification/password") => LogtoAnswer::text(204, ""),
            ("PUT", "profile/password") => {
                // The hash is staged, as the older text of it is in the real one.
                let password = text(&members(request), "password");
                self.progress(&uid, |interaction| {
                    let profile = &mut interaction.profile;
                    profile.insert("passwordEncrypted".to_owned(), password);
                });
                LogtoAnswer::text(204, "")
            }
            ("GET", "interaction") => {
                let event = match (&interaction.register, interaction.resets) {
                    (Some(_), _) => "Register",
                    (None, true) => "ForgotPassword",
                    (None, false) => "SignIn",
                };
                let types = interaction.records.iter();
                let records: Vec<_> = types.map(|kind| json!({ "type": kind })).collect();
                let mut body = json!({ "interactionEvent": event, "profile": interaction.profile,
                    "verificationRecords": records, "mfa": {} });
                if let (Some(user), true) = (interaction.user, interaction.is_identified) {
                    body["userId"] = json!(user);
                }
                LogtoAnswer::json(200, body.to_string())
            }
            ("POST", "identification") => match interaction.register.clone() {
                None => {
                    self.progress(&uid, |interaction| interaction.is_identified = true);
                    LogtoAnswer::text(204, "")
                }
                Some(username) => match self.register(&uid, username, now_ms) {
                    Ok(_) => LogtoAnswer::text(201, "Created"),
                    Err(refusal) => refusal,
                },
            },
            ("POST", "submit") => match interaction.user.filter(|_| interaction.is_identified) {
                Some(id) => self.submit(&uid, &id, interaction.register.is_some(), now_ms),
                None => LogtoAnswer::error(404, "session.identifier_not_found"),
            },
            _ => LogtoAnswer::text(404, "Not Found"),
        }
    }

    /// The older API: its progress is known to nobody, and it registers at the submit.
    pub(super) fn interaction(
        &self,
        request: &LogtoRequest,
        method: &str,
        step: &str,
        now_ms: i64,
    ) -> LogtoAnswer {
        if step == "consent" {
            return self.consent(request, method);
        }
        let Some((uid, interaction)) = self.interaction_of(request) else {
            return LogtoAnswer::error(400, "session.not_found");
        };
        if !interaction.is_older {
            return LogtoAnswer::error(404, "session.interaction_not_found");
        }
        if (method, step) == ("PUT", "") {
            self.progress(&uid, |interaction| interaction.profile.clear());
            return LogtoAnswer::text(204, "");
        }
        if (method, step) != ("POST", "submit") {
            return LogtoAnswer::text(404, "Not Found");
        }
        let user = match interaction.register.clone() {
            None => interaction
                .user
                .ok_or_else(|| LogtoAnswer::error(404, "session.identifier_not_found")),
            Some(username) => self.register(&uid, username, now_ms),
        };
        match user {
            Ok(id) => self.submit(&uid, &id, interaction.register.is_some(), now_ms),
            Err(refusal) => refusal,
        }
    }

    /// Of an unknown user and of a wrong password it says the same.
    fn check(&self, body: &Value) -> LogtoAnswer {
        let wrong = || LogtoAnswer::error(422, "session.invalid_credentials");
        let value = text(&body["identifier"], "value");
        let users = self.users.borrow();
        let found = users.values().find(|user| {
            let held = match body["identifier"]["type"].as_str() {
                Some("email") => &user.email,
                Some("phone") => &user.phone,
                _ => &user.username,
            };
            held.as_deref() == Some(value.as_str())
        });
        let Some(user) = found else {
            return wrong();
        };
        match self.password_is(&user.id, &text(body, "password")) {
            false => wrong(),
            true if user.is_suspended => LogtoAnswer::error(401, "user.suspended"),
            true => LogtoAnswer::json(200, r#"{"verificationId":"v1"}"#),
        }
    }

    fn register(&self, uid: &str, username: String, now_ms: i64) -> Result<String, LogtoAnswer> {
        self.counter.set(self.counter.get() + 1);
        let is_taken = |user: &User| user.username.as_ref() == Some(&username);
        if self.users.borrow().values().any(is_taken) {
            return Err(LogtoAnswer::error(422, "user.username_already_in_use"));
        }
        let mut user = User::new(&format!("register{:04}", self.counter.get()), now_ms);
        user.username = Some(username);
        let id = user.id.clone();
        self.progress(uid, |interaction| {
            interaction.is_identified = true;
            interaction.user = Some(id.clone());
        });
        self.tell_of_interaction("User.Created", &id, uid);
        self.put(user);
        Ok(id)
    }

    fn submit(&self, uid: &str, id: &str, is_new: bool, now_ms: i64) -> LogtoAnswer {
        if !self.users.borrow().contains_key(id) {
            return LogtoAnswer::error(404, "user.user_not_exist");
        }
        let staged = self.interactions.borrow()[uid].profile.clone();
        self.change(id, |user| {
            user.last_sign_in_at = Some(now_ms);
            if let Some(name) = staged.get("name") {
                user.name = Some(name.clone());
            }
        });
        if let Some(password) = staged.get("passwordEncrypted") {
            let mut passwords = self.passwords.borrow_mut();
            passwords.insert(id.to_owned(), password.clone());
        }
        if self.interactions.borrow()[uid].resets {
            self.tell_of_interaction("PostResetPassword", id, uid);
            self.interactions.borrow_mut().remove(uid);
            return LogtoAnswer::text(204, "");
        }
        let event = if is_new { "PostRegister" } else { "PostSignIn" };
        self.tell_of_interaction(event, id, uid);
        let next = format!("{uid}-next");
        self.sessions.borrow_mut().insert(next, id.to_owned());
        self.interactions.borrow_mut().remove(uid);
        LogtoAnswer::json(200, r#"{"redirectTo":"/oidc/auth/x"}"#)
    }

    fn consent(&self, request: &LogtoRequest, method: &str) -> LogtoAnswer {
        let Some(id) = self.session_of(request) else {
            return LogtoAnswer::error(400, "session.not_found");
        };
        match method {
            "GET" => LogtoAnswer::json(200, json!({ "user": { "id": id } }).to_string()),
            "POST" => {
                self.give_consent(&id);
                LogtoAnswer::json(200, r#"{"redirectTo":"/oidc/auth/y"}"#)
            }
            _ => LogtoAnswer::text(405, "Method Not Allowed"),
        }
    }

    /// Middleware: whatever the method, and whatever the path below.
    pub(super) fn consent_page(&self, request: &LogtoRequest) -> LogtoAnswer {
        match self.session_of(request) {
            Some(id) => {
                self.give_consent(&id);
                LogtoAnswer::redirect(302, "https://auth.example.test/oidc/auth/y")
            }
            None => LogtoAnswer::redirect(302, "https://auth.example.test/unknown-session"),
        }
    }

    fn give_consent(&self, id: &str) {
        self.change(id, |user| {
            user.application_id.get_or_insert_with(|| "app".to_owned());
        });
    }

    pub(super) fn userinfo(&self, request: &LogtoRequest) -> LogtoAnswer {
        let has_grant = |id: &String| !self.ended_grants.borrow().contains(id);
        match self.opaque(request).filter(has_grant) {
            Some(id) => {
                let user = &self.users.borrow()[&id];
                let claims = json!({ "sub": id, "name": user.name, "email": user.email });
                LogtoAnswer::json(200, claims.to_string())
            }
            None => LogtoAnswer::json(401, r#"{"error":"invalid_token"}"#),
        }
    }

    pub(super) fn account(
        &self,
        request: &LogtoRequest,
        method: &str,
        rest: &[&str],
        now_ms: i64,
    ) -> LogtoAnswer {
        let Some(id) = self.opaque(request) else {
            return LogtoAnswer::error(401, "auth.unauthorized");
        };
        match (method, rest) {
            ("GET", []) => {
                let shown = self.json_of(&id);
                let shown = shown.trim_end_matches('}');
                let shown = format!("{shown},\"hasSecurityVerificationMethod\":true}}");
                LogtoAnswer::json(200, shown)
            }
            ("GET", ["sessions"]) => match request.header("logto-verification-id") {
                Some("proven") => LogtoAnswer::json(200, r#"{"sessions":[]}"#),
                _ => LogtoAnswer::error(401, "verification_record.permission_denied"),
            },
            ("PATCH", []) => self.patch(&id, request, now_ms),
            ("POST", ["password"]) => {
                let password = text(&members(request), "password");
                self.passwords.borrow_mut().insert(id, password);
                LogtoAnswer::text(204, "")
            }
            ("DELETE", ["primary-email"]) => {
                self.change(&id, |user| user.email = None);
                LogtoAnswer::text(204, "")
            }
            _ => LogtoAnswer::text(404, "Not Found"),
        }
    }

    /// A proof for a later change, by the password.
    pub(super) fn prove(&self, request: &LogtoRequest) -> LogtoAnswer {
        let Some(id) = self.opaque(request) else {
            return LogtoAnswer::error(401, "auth.unauthorized");
        };
        let given = text(&members(request), "password");
        match self.password_is(&id, &given) {
            true => LogtoAnswer::json(201, r#"{"verificationRecordId":"r1","expiresAt":"x"}"#),
            false => LogtoAnswer::error(422, "session.invalid_credentials"),
        }
    }

    /// `opaque-ID` is the access token of that user.
    fn opaque(&self, request: &LogtoRequest) -> Option<String> {
        let id = bearer(request)?.strip_prefix("opaque-")?;
        self.users.borrow().contains_key(id).then(|| id.to_owned())
    }

    fn progress(&self, uid: &str, change: impl FnOnce(&mut Interaction)) {
        change(self.interactions.borrow_mut().get_mut(uid).unwrap());
    }

    fn interaction_of(&self, request: &LogtoRequest) -> Option<(String, Interaction)> {
        let uid = uid_of(request)?;
        let found = self.interactions.borrow().get(&uid).cloned();
        Some((uid, found?))
    }

    fn session_of(&self, request: &LogtoRequest) -> Option<String> {
        let id = self.sessions.borrow().get(&uid_of(request)?).cloned();
        id.filter(|id| self.users.borrow().contains_key(id))
    }
}

/// As the engine picks it: from the first cookie of that name, quotes taken off; by the
/// header unless it is empty, else by the query, else the latest.
fn uid_of(request: &LogtoRequest) -> Option<String> {
    let cookies = request.header("cookie")?;
    let value = cookies
        .split(';')
        .find_map(|pair| pair.trim_start_matches(' ').strip_prefix("_interaction="))?;
    let value = match value.strip_prefix('"') {
        Some(quoted) => &quoted[..quoted.len().saturating_sub(1)],
        None => value,
    };
    let Ok(map) = serde_json::from_str::<Value>(value) else {
        return Some(value.to_owned());
    };
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let of_query = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("app_id="));
    let decoded = of_query.map(|text| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8_lossy().into_owned()
    });
    let app_id = request.header("logto-app-id").filter(|id| !id.is_empty());
    let app_id = app_id.map(str::to_owned).or(decoded).unwrap_or_default();
    let uid = map.get(&app_id).or_else(|| map.get("_legacy"))?;
    Some(uid.as_str()?.to_owned())
}

fn text(members: &Value, name: &str) -> String {
    members[name].as_str().unwrap_or_default().to_owned()
}
