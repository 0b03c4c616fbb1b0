//! Logto, as far as the proxy touches it: users with the members and the order of
//! its JSON, the Management API, tokens and keys; interactions and accounts in
//! `logto/experience.rs`. As lax as the real one (contract 13): any character after
//! `Bearer`, quoted cookies, accounts whose grant has ended, consent by any method.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

mod experience;
pub mod hashes;

use super::tokens;
pub use super::user::User;

/// The proxy's own credential, as Logto hands it out.
pub const OWN_TOKEN: &str = "logto-own-token-s3cret";
/// The same for the client of the way back.
const REVERSE_TOKEN: &str = "logto-reverse-token-s3cret";
const REVERSE_CLIENT: &str = "Basic YmFjay1jbGllbnQ6YmFjay1zZWNyZXQ=";
const CLIENT: &str = "Basic bTJtLWNsaWVudDptMm0tc2VjcmV0";
/// Users may see and change everything of themselves.
const ACCOUNT_CENTER: &str = r#"{"enabled":true,"fields":{"name":"Edit","avatar":"Edit","profile":"Edit","email":"Edit","phone":"Edit","password":"Edit","username":"Edit","social":"Edit","customData":"Edit"}}"#;
/// What the gateway before a closed origin asks for.
pub const ORIGIN_SECRET: &str = "origin-s3cret";
/// ... and from a hand-over on.
pub const HANDOVER_SECRET: &str = "handover-s3cret";

#[derive(Clone, Debug)]
pub struct LogtoRequest {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

impl LogtoRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogtoAnswer {
    pub status: u16,
    pub is_json: bool,
    pub cookies: Vec<String>,
    pub location: Option<String>,
    /// `Total-Number` of a listing.
    pub total: Option<i64>,
    pub body: String,
}

impl LogtoAnswer {
    fn json(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            is_json: true,
            cookies: Vec::new(),
            location: None,
            total: None,
            body: body.into(),
        }
    }

    fn text(status: u16, body: &str) -> Self {
        Self {
            is_json: false,
            ..Self::json(status, body)
        }
    }

    pub fn glitch(status: u16) -> Self {
        match status {
            300..=399 => Self::redirect(status, "/oidc/auth/glitch"),
            _ => Self::error(status, "glitch"),
        }
    }

    fn redirect(status: u16, location: &str) -> Self {
        Self {
            location: Some(location.to_owned()),
            ..Self::text(status, "")
        }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::json(status, json!({ "code": code, "message": code }).to_string())
    }
}

#[derive(Clone, Debug, Default)]
pub struct Interaction {
    /// The username to register with; `None`: a sign-in of `user`.
    pub register: Option<String>,
    pub user: Option<String>,
    pub is_identified: bool,
    /// Of the older API: the newer one knows nothing of its progress.
    pub is_older: bool,
    /// Staged for the submit, as the newer API shows it.
    pub profile: BTreeMap<String, String>,
    /// Types of the verification records, as the newer API shows them.
    pub records: Vec<&'static str>,
    pub resets: bool,
}

/// Each state of a user, and since when it holds; empty text: the user is gone.
pub type History = BTreeMap<String, Vec<(i64, String)>>;

pub struct Logto {
    /// Kept when somebody asks for it.
    pub history: RefCell<Option<History>>,
    pub users: RefCell<BTreeMap<String, User>>,
    pub interactions: RefCell<BTreeMap<String, Interaction>>,
    /// Whose session an interaction is in: those that follow a finished one, and those of
    /// a returning browser.
    pub sessions: RefCell<BTreeMap<String, String>>,
    /// Users whose grants have ended: userinfo is closed to them, their account is not.
    pub ended_grants: RefCell<BTreeSet<String>>,
    /// A gateway lets nobody pass who does not know one of its secrets.
    pub is_closed: Cell<bool>,
    pub secrets: RefCell<Vec<&'static str>>,
    /// Bearer tokens of clients that the Management API takes.
    pub accepted: RefCell<BTreeSet<String>>,
    pub key_set: RefCell<String>,
    /// A token of the proxy's own that is a JWT, in place of [`OWN_TOKEN`].
    pub own_jwt: RefCell<Option<String>>,
    /// `METHOD path` of everything served.
    pub served: RefCell<Vec<String>>,
    /// Requests on the OIDC routes that belong to clients, as they came.
    pub presented: RefCell<Vec<LogtoRequest>>,
    /// Of introspections.
    pub bodies: RefCell<Vec<String>>,
    /// Whose sessions Logto ended by a suspension or a deletion, and when.
    pub ended: RefCell<Vec<(String, i64)>>,
    /// Users whose own routes answer what no contract knows; the listing has them.
    pub odd: RefCell<BTreeSet<String>>,
    /// Webhooks that wait to be sent; `None`: nobody has asked for any.
    pub told: RefCell<Option<Vec<Value>>>,
    /// As last set through the Management API.
    pub passwords: RefCell<BTreeMap<String, String>>,
    /// Of users whose password was imported as a hash, until it is set.
    pub hashes: RefCell<BTreeMap<String, hashes::Stored>>,
    /// As from 1.38 on, for whoever asks for it.
    pub shows_digests: Cell<bool>,
    /// Each read of a user shows another time of the last sign-in.
    pub is_restless: Cell<bool>,
    /// Writes of the client of the way back.
    pub n_reverse_writes: Cell<u32>,
    counter: Cell<u32>,
}

impl Logto {
    pub fn new() -> Self {
        Self {
            history: RefCell::default(),
            users: RefCell::default(),
            interactions: RefCell::default(),
            sessions: RefCell::default(),
            ended_grants: RefCell::default(),
            is_closed: Cell::new(false),
            secrets: RefCell::new(vec![ORIGIN_SECRET]),
            accepted: RefCell::default(),
            key_set: RefCell::new(tokens::key_set(&[&tokens::LOGTO_KEY])),
            presented: RefCell::default(),
            own_jwt: RefCell::default(),
            served: RefCell::default(),
            bodies: RefCell::default(),
            ended: RefCell::default(),
            odd: RefCell::default(),
            told: RefCell::default(),
            passwords: RefCell::default(),
            hashes: RefCell::default(),
            shows_digests: Cell::new(true),
            is_restless: Cell::new(false),
            n_reverse_writes: Cell::new(0),
            counter: Cell::new(0),
        }
    }

    pub fn put(&self, user: User) {
        self.users.borrow_mut().insert(user.id.clone(), user);
    }

    pub fn change(&self, id: &str, change: impl FnOnce(&mut User)) {
        change(self.users.borrow_mut().get_mut(id).unwrap());
    }

    pub fn json_of(&self, id: &str) -> String {
        self.users.borrow()[id].json()
    }

    pub fn n_served(&self, part: &str) -> usize {
        let served = self.served.borrow();
        served.iter().filter(|line| line.contains(part)).count()
    }

    pub fn handle(&self, request: &LogtoRequest, now_ms: i64) -> LogtoAnswer {
        let answer = self.answer(request, now_ms);
        if request.method != "GET" || request.path.starts_with("/consent") {
            self.keep_history(now_ms);
        }
        answer
    }

    pub fn keep_history(&self, now_ms: i64) {
        let mut history = self.history.borrow_mut();
        let Some(history) = &mut *history else {
            return;
        };
        let users = self.users.borrow();
        for id in users.keys() {
            history.entry(id.clone()).or_default();
        }
        for (id, states) in history {
            let json = users.get(id).map(User::json).unwrap_or_default();
            if states.last().is_none_or(|(_, last)| *last != json) {
                states.push((now_ms, json));
            }
        }
    }

    fn answer(&self, request: &LogtoRequest, now_ms: i64) -> LogtoAnswer {
        let line = format!("{} {}", request.method, request.path);
        self.served.borrow_mut().push(line);
        let secret = request.header("x-proxy-secret");
        let is_known = secret.is_some_and(|secret| self.secrets.borrow().contains(&secret));
        if self.is_closed.get() && !is_known {
            return LogtoAnswer::text(403, "Forbidden");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let lower = segments.get(1).map(|segment| segment.to_lowercase());
        if segments.first() == Some(&"oidc")
            && matches!(lower.as_deref(), Some("token" | "me" | "session"))
        {
            self.presented.borrow_mut().push(request.clone());
        }
        match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["oidc", "token"]) => match request.header("authorization") {
                Some(client @ (CLIENT | REVERSE_CLIENT)) => {
                    let token = if client == CLIENT {
                        self.own_token()
                    } else {
                        REVERSE_TOKEN.to_owned()
                    };
                    let answer = json!({ "access_token": token, "expires_in": 3_600, "token_type": "Bearer" });
                    LogtoAnswer::json(200, answer.to_string())
                }
                // A grant of one of its clients; what is in it matters to nobody here.
                _ => match request
                    .body
                    .as_deref()
                    .unwrap_or_default()
                    .contains("_token=good")
                {
                    true => LogtoAnswer::json(200, r#"{"access_token":"opaque"}"#),
                    false => LogtoAnswer::json(401, r#"{"error":"invalid_client"}"#),
                },
            },
            ("POST", ["oidc", "token", "revocation"]) => LogtoAnswer::text(200, ""),
            (_, ["oidc", "session", "end"]) => LogtoAnswer::text(200, "a form that submits itself"),
            ("POST", ["oidc", "token", "introspection"]) => {
                let body = request.body.as_deref().unwrap_or_default();
                self.bodies.borrow_mut().push(body.to_owned());
                let (status, body) =
                    super::introspection::logto(request.header("authorization"), body);
                LogtoAnswer::json(status, body)
            }
            ("GET", ["oidc", ".well-known", "openid-configuration"]) => {
                let discovery = json!({ "issuer": super::tokens::LOGTO_ISSUER });
                LogtoAnswer::json(200, discovery.to_string())
            }
            ("GET", ["oidc", "jwks"]) => LogtoAnswer::json(200, self.key_set.borrow().clone()),
            ("GET", ["oidc", "auth", uid]) => {
                let next = format!("{uid}-next");
                let mut answer = LogtoAnswer::redirect(303, "/consent?app_id=spa");
                answer.cookies = vec![
                    "_session=cookie-s3cret; path=/; httponly".to_owned(),
                    format!(
                        "_interaction={{\"spa\":\"{next}\",\"_legacy\":\"{next}\"}}; path=/; httponly"
                    ),
                ];
                answer
            }
            ("GET", ["api", "status"]) => LogtoAnswer::text(204, ""),
            ("GET", ["oidc", "me"]) => self.userinfo(request),
            ("GET", ["api", "sign-in-exp"]) => {
                self.tenant(request, r#"{"passwordPolicy":{"rejects":{"pwned":true}}}"#)
            }
            ("GET", ["api", "account-center"]) => self.tenant(request, ACCOUNT_CENTER),
            (method, ["api", "my-account", rest @ ..]) => {
                self.account(request, method, rest, now_ms)
            }
            ("POST", ["api", "verifications", "password"]) => self.prove(request),
            (_, ["api", "users", ..]) => {
                self.management(request, segments.get(2..).unwrap_or_default(), now_ms)
            }
            (method, ["api", "experience", step @ ..]) => {
                self.experience(request, method, &step.join("/"), now_ms)
            }
            (method, ["api", "interaction", step @ ..]) => {
                self.interaction(request, method, &step.join("/"), now_ms)
            }
            (_, ["consent", ..]) => self.consent_page(request),
            _ => LogtoAnswer::text(404, "Not Found"),
        }
    }

    /// Whom the Management API takes.
    fn is_manager(&self, request: &LogtoRequest) -> bool {
        let is_own = |token: &str| token == self.own_token() || token == REVERSE_TOKEN;
        let is_known = |token: &str| is_own(token) || self.accepted.borrow().contains(token);
        bearer(request).is_some_and(is_known)
    }

    fn tenant(&self, request: &LogtoRequest, body: &str) -> LogtoAnswer {
        match self.is_manager(request) {
            true => LogtoAnswer::json(200, body),
            false => LogtoAnswer::error(401, "auth.unauthorized"),
        }
    }

    fn own_token(&self) -> String {
        let jwt = self.own_jwt.borrow().clone();
        jwt.unwrap_or_else(|| OWN_TOKEN.to_owned())
    }

    fn management(&self, request: &LogtoRequest, rest: &[&str], now_ms: i64) -> LogtoAnswer {
        if !self.is_manager(request) {
            return LogtoAnswer::error(401, "auth.unauthorized");
        }
        if request.method != "GET" && bearer(request) == Some(REVERSE_TOKEN) {
            self.n_reverse_writes.set(self.n_reverse_writes.get() + 1);
        }
        if let ("POST", []) = (request.method.as_str(), rest) {
            return self.create(request, now_ms);
        }
        let (id, rest) = match rest {
            [id, rest @ ..] => ((*id).to_owned(), rest),
            [] => return self.list(request),
        };
        if !self.users.borrow().contains_key(&id) {
            return LogtoAnswer::error(404, "entity.not_found");
        }
        match (request.method.as_str(), rest) {
            ("GET", _) if self.odd.borrow().contains(&id) => LogtoAnswer::json(200, "odd"),
            ("GET", []) if request.path.contains("?includeSsoIdentities=true") => {
                let mut user: Value = serde_json::from_str(&self.json_of(&id)).unwrap();
                let sso = self.users.borrow()[&id].sso.clone();
                let sso: Vec<_> = sso
                    .iter()
                    .map(|id| json!({ "ssoConnectorId": id }))
                    .collect();
                user["ssoIdentities"] = sso.into();
                if self.shows_digests.get() && request.path.contains("includePasswordHash=true") {
                    let password = self.passwords.borrow().get(&id).cloned();
                    user["passwordDigest"] = json!(password.map(|text| format!("$argon2i${text}")));
                }
                LogtoAnswer::json(200, user.to_string())
            }
            ("POST", ["mfa-verifications"]) => {
                self.change(&id, |user| user.factors.push("Totp"));
                LogtoAnswer::json(200, r#"{"type":"Totp"}"#)
            }
            ("GET", ["mfa-verifications"]) => {
                let factors = self.users.borrow()[&id].factors.clone();
                let factors: Vec<_> = factors.iter().map(|kind| json!({ "type": kind })).collect();
                LogtoAnswer::json(200, Value::from(factors).to_string())
            }
            ("GET", []) => {
                if self.is_restless.get() {
                    self.change(&id, |user| {
                        user.last_sign_in_at = user.last_sign_in_at.map(|at_ms| at_ms + 1_000);
                    });
                }
                LogtoAnswer::json(200, self.json_of(&id))
            }
            ("PATCH", []) => self.patch(&id, request, now_ms),
            ("PATCH", ["custom-data"]) => {
                let data = members(request)["customData"].to_string();
                self.change(&id, |user| {
                    user.custom_data.clone_from(&data);
                    user.updated_at = now_ms;
                });
                self.tell("User.Data.Updated", &id, &data);
                LogtoAnswer::json(200, data)
            }
            ("PATCH", ["is-suspended"]) => {
                let is_suspended = members(request)["isSuspended"] == true;
                // Who is suspended already has no session.
                let was_suspended = self.users.borrow()[&id].is_suspended;
                self.change(&id, |user| user.is_suspended = is_suspended);
                if is_suspended && !was_suspended {
                    self.ended.borrow_mut().push((id.clone(), now_ms));
                }
                self.tell("User.SuspensionStatus.Updated", &id, &self.json_of(&id));
                LogtoAnswer::json(200, self.json_of(&id))
            }
            ("PATCH", ["profile"]) => {
                let profile = members(request).to_string();
                self.change(&id, |user| {
                    user.profile.clone_from(&profile);
                    user.updated_at = now_ms;
                });
                self.tell("User.Data.Updated", &id, &profile);
                LogtoAnswer::json(200, profile)
            }
            ("POST", ["password", "verify"]) => {
                let given = members(request)["password"].as_str().map(str::to_owned);
                match given.is_some_and(|given| self.password_is(&id, &given)) {
                    true => LogtoAnswer::text(204, ""),
                    false => LogtoAnswer::error(422, "session.invalid_credentials"),
                }
            }
            ("PATCH", ["password"]) => {
                let password = members(request)["password"].as_str().unwrap().to_owned();
                self.passwords.borrow_mut().insert(id.clone(), password);
                self.change(&id, |user| {
                    user.has_password = true;
                    user.updated_at = now_ms;
                });
                self.tell("User.Data.Updated", &id, &self.json_of(&id));
                LogtoAnswer::json(200, self.json_of(&id))
            }
            ("PUT", ["identities", target]) => {
                let account = members(request)["userId"].as_str().unwrap_or("").to_owned();
                let is_other = |user: &User| {
                    user.id != id
                        && user
                            .identities
                            .iter()
                            .any(|held| held.0 == *target && held.1 == account)
                };
                if self.users.borrow().values().any(is_other) {
                    return LogtoAnswer::error(422, "user.identity_already_in_use");
                }
                let target = (*target).to_owned();
                self.change(&id, |user| {
                    user.identities.retain(|held| held.0 != target);
                    user.identities.push((target, account, None));
                });
                LogtoAnswer::json(201, "{}")
            }
            ("DELETE", ["identities", target]) => {
                self.change(&id, |user| user.identities.retain(|held| held.0 != *target));
                LogtoAnswer::text(204, "")
            }
            ("DELETE", []) => {
                self.users.borrow_mut().remove(&id);
                self.ended.borrow_mut().push((id.clone(), now_ms));
                self.tell("User.Deleted", &id, "null");
                LogtoAnswer::text(204, "")
            }
            _ => LogtoAnswer::text(404, "Not Found"),
        }
    }

    /// By whatever it is kept as. What is not Argon2i is hashed anew by the password that was
    /// found right (contract 8).
    pub fn password_is(&self, id: &str, given: &str) -> bool {
        let mut stored = self.hashes.borrow_mut();
        match stored.get_mut(id) {
            Some(stored) => stored.check(given),
            None => self
                .passwords
                .borrow()
                .get(id)
                .is_some_and(|held| held == given),
        }
    }

    /// Newest first, as bare JSON.
    fn list(&self, request: &LogtoRequest) -> LogtoAnswer {
        let number = |name: &str, absent: usize| {
            let query = request.path.split('?').nth(1).unwrap_or_default();
            let pair = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|text| text.parse().ok()).unwrap_or(absent)
        };
        let (page, size) = (number("page", 1), number("page_size", 20));
        let users = self.users.borrow();
        let query = request.path.split('?').nth(1).unwrap_or_default();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let is_found = |user: &&User| {
            pairs.iter().all(|(name, value)| {
                let held = match name.as_ref() {
                    "search.primaryEmail" => &user.email,
                    "search.primaryPhone" => &user.phone,
                    "search.username" => &user.username,
                    _ => return true,
                };
                held.as_deref() == Some(value.as_ref())
            })
        };
        let mut users: Vec<_> = users.values().filter(is_found).collect();
        users.sort_by_key(|user| std::cmp::Reverse(user.created_at));
        let listed: Vec<_> = users
            .iter()
            .skip((page - 1) * size)
            .take(size)
            .map(|user| user.json())
            .collect();
        LogtoAnswer {
            total: Some(users.len() as i64),
            ..LogtoAnswer::json(200, format!("[{}]", listed.join(",")))
        }
    }

    fn create(&self, request: &LogtoRequest, now_ms: i64) -> LogtoAnswer {
        self.counter.set(self.counter.get() + 1);
        let mut user = User::new(&format!("created{:05}", self.counter.get()), now_ms);
        assign(&mut user, &members(request));
        if self.is_taken(&user) {
            return LogtoAnswer::error(422, "user.identity_already_in_use");
        }
        if let Some(password) = members(request)["password"].as_str() {
            user.has_password = true;
            let mut passwords = self.passwords.borrow_mut();
            passwords.insert(user.id.clone(), password.to_owned());
        }
        let body = user.json();
        self.tell("User.Created", &user.id, &body);
        self.put(user);
        LogtoAnswer::json(200, body)
    }

    fn patch(&self, id: &str, request: &LogtoRequest, now_ms: i64) -> LogtoAnswer {
        let mut user = self.users.borrow()[id].clone();
        assign(&mut user, &members(request));
        if self.is_taken(&user) {
            return LogtoAnswer::error(422, "user.identity_already_in_use");
        }
        user.updated_at = now_ms;
        let body = user.json();
        self.tell("User.Data.Updated", id, &body);
        self.put(user);
        LogtoAnswer::json(200, body)
    }

    fn is_taken(&self, wanted: &User) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        self.users.borrow().values().any(|user| {
            user.id != wanted.id
                && (same(&user.email, &wanted.email)
                    || same(&user.phone, &wanted.phone)
                    || same(&user.username, &wanted.username))
        })
    }
}

/// The word is tested for, and one character more is cut off, whatever it is.
fn bearer(request: &LogtoRequest) -> Option<&str> {
    let header = request.header("authorization")?;
    header.starts_with("Bearer").then(|| header.get(7..))?
}

fn members(request: &LogtoRequest) -> Value {
    serde_json::from_str(request.body.as_deref().unwrap_or("{}")).unwrap_or_default()
}

fn assign(user: &mut User, members: &Value) {
    let text = |field: &mut Option<String>, name: &str| {
        if let Some(value) = members.get(name) {
            *field = value.as_str().map(str::to_owned);
        }
    };
    text(&mut user.username, "username");
    text(&mut user.email, "primaryEmail");
    text(&mut user.phone, "primaryPhone");
    text(&mut user.name, "name");
    text(&mut user.avatar, "avatar");
    if let Some(data) = members.get("customData") {
        user.custom_data = data.to_string();
    }
    if let Some(profile) = members.get("profile") {
        user.profile = profile.to_string();
    }
}
