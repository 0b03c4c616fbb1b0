//! mgPass's documented API over the same database that the mirror writes to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use dual_write_proxy::runtime::ports::{Call, CallAnswer, Row, Store};
use serde_json::{Value, json};

use super::database::Databases;
use super::{introspection, tokens};

/// The proxy's own credential, as mgPass hands it out.
pub const OWN_TOKEN: &str = "mgpass-own-token-s3cret";
const CLIENT: &str = "Basic YXBwX3Byb3h5OmFwcF9zZWNyZXQ=";

/// A request of a client of its own: line, headers, body.
pub type Presented = (String, Vec<(String, String)>, String);

pub struct Mgpass {
    /// Addresses are shown in another form than they are held in.
    pub shows_lower_case: Cell<bool>,
    /// How long a read is answered from memory.
    pub cache_ms: Cell<i64>,
    cache: RefCell<BTreeMap<String, (i64, CallAnswer)>>,
    /// Calls of revoke-all allowed within a minute.
    pub revoke_limit: Cell<usize>,
    /// User and time of each revoke-all that was carried out.
    pub revoked: RefCell<Vec<(String, i64)>>,
    /// Clients' own tokens, and the status by which each is refused.
    pub client_tokens: RefCell<BTreeMap<String, Option<u16>>>,
    /// Users whose revoke-all is refused, and the status.
    pub refused: RefCell<BTreeMap<String, u16>>,
    /// Parts of paths, and the status they are answered by.
    pub answers: RefCell<BTreeMap<String, u16>>,
    /// Parts of paths that answer a page nobody asked for.
    pub broken: RefCell<Vec<String>>,
    /// As set through the API. Shorter ones than eight characters are refused.
    pub passwords: RefCell<BTreeMap<String, String>>,
    n_set: Cell<u32>,
    /// Whose session at the hosted page has ended ...
    pub ended: RefCell<BTreeSet<String>>,
    /// ... and that a new password ends them all, which no document says.
    pub ends_sessions: Cell<bool>,
    pub key_set: RefCell<String>,
    pub issuer: RefCell<String>,
    /// The code that the hosted page gave last, whose, and for which application.
    pub code: RefCell<Option<(String, String, String)>>,
    /// A token of the proxy's own that is a JWT, in place of [`OWN_TOKEN`].
    pub own_jwt: RefCell<Option<String>>,
    /// Users whom the console does not show.
    pub hidden: RefCell<Vec<String>>,
    /// What clients of its own presented through the proxy: line, headers, body.
    pub presented: RefCell<Vec<Presented>>,
    /// `METHOD path`, and the bearer token that came with it.
    pub served: RefCell<Vec<(String, Option<String>)>>,
}

impl Mgpass {
    pub fn new() -> Self {
        Self {
            shows_lower_case: Cell::new(false),
            cache_ms: Cell::new(0),
            cache: RefCell::default(),
            revoke_limit: Cell::new(5),
            revoked: RefCell::default(),
            client_tokens: RefCell::default(),
            refused: RefCell::default(),
            answers: RefCell::default(),
            broken: RefCell::default(),
            passwords: RefCell::default(),
            n_set: Cell::new(0),
            ended: RefCell::default(),
            ends_sessions: Cell::new(false),
            key_set: RefCell::new(tokens::key_set(&[&tokens::MGPASS_KEY])),
            issuer: RefCell::new(tokens::MGPASS_ISSUER.to_owned()),
            code: RefCell::default(),
            own_jwt: RefCell::default(),
            hidden: RefCell::default(),
            presented: RefCell::default(),
            served: RefCell::default(),
        }
    }

    pub fn n_served(&self, part: &str) -> usize {
        let served = self.served.borrow();
        served
            .iter()
            .filter(|(line, _)| line.contains(part))
            .count()
    }

    pub fn n_revoked(&self, user: &str) -> usize {
        let revoked = self.revoked.borrow();
        revoked.iter().filter(|(id, _)| id == user).count()
    }

    /// On a route for clients: what comes back matters to nobody here.
    pub fn present(&self, line: &str, headers: Vec<(String, String)>, body: Option<String>) {
        let body = body.unwrap_or_default();
        self.presented
            .borrow_mut()
            .push((line.to_owned(), headers, body));
    }

    pub fn handle(&self, databases: &Databases, call: &Call, now_ms: i64) -> CallAnswer {
        let path = call.url.splitn(4, '/').nth(3).unwrap_or_default();
        let header = |name: &str| {
            let found = call.headers.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.0.as_str())
        };
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.served
            .borrow_mut()
            .push((format!("{} /{path}", call.method), token.map(str::to_owned)));
        if self.broken.borrow().iter().any(|part| path.contains(part)) {
            return text_answer(200, "<html>moved</html>".to_owned());
        }
        for (part, status) in self.answers.borrow().iter() {
            if path.contains(part) {
                return answer(*status, json!({ "error": "refused" }));
            }
        }
        let segments: Vec<&str> = path.split('/').collect();
        match (call.method, segments.as_slice()) {
            ("GET", [".well-known", "openid-configuration"]) => answer(
                200,
                json!({ "issuer": *self.issuer.borrow(),
                    "authorization_endpoint": format!("{}/authorize", tokens::MGPASS_ISSUER),
                    "token_endpoint": format!("{}/oauth/token", tokens::MGPASS_ISSUER),
                    "jwks_uri": format!("{}/jwks", tokens::MGPASS_ISSUER) }),
            ),
            ("GET", ["jwks"]) => text_answer(200, self.key_set.borrow().clone()),
            ("POST", ["oauth", "token"]) => match header("authorization") {
                None => self.exchange(call, now_ms),
                Some(CLIENT) => answer(
                    200,
                    json!({ "access_token": self.own_token(), "expires_in": 900 }),
                ),
                _ => answer(400, json!({ "error": "invalid_client" })),
            },
            ("POST", ["token", "introspect"]) => {
                let body = call
                    .body
                    .as_ref()
                    .map(|body| body.0.as_str())
                    .unwrap_or_default();
                let authorization = header("authorization");
                let (status, body) = introspection::mgpass(authorization, body, ".");
                text_answer(status, body)
            }
            ("GET", ["api", list])
                if list.starts_with("users?") && token == Some(self.own_token().as_str()) =>
            {
                self.list(databases)
            }
            ("GET", ["api", list])
                if list.starts_with("audit?") && token == Some(self.own_token().as_str()) =>
            {
                audit(databases, list)
            }
            (_, ["api", "users", id, rest @ ..]) => {
                match token {
                    Some(token) if token == self.own_token() => {}
                    Some(token) => match self.client_tokens.borrow().get(token) {
                        Some(None) => {}
                        Some(Some(status)) => {
                            return answer(*status, json!({ "error": "refused" }));
                        }
                        None => return answer(401, json!({ "error": "invalid_token" })),
                    },
                    None => return answer(401, json!({ "error": "invalid_token" })),
                }
                match (call.method, rest) {
                    ("GET", []) if self.hidden.borrow().iter().any(|hidden| hidden == id) => {
                        answer(404, json!({ "error": "invalid_request" }))
                    }
                    ("GET", []) => {
                        let spells = self.shows_lower_case.get();
                        self.cached(path, now_ms, || user(databases, id, spells))
                    }
                    ("GET", ["identities"]) => {
                        self.cached(path, now_ms, || identities(databases, id))
                    }
                    ("PATCH", []) => self.set_password(databases, id, call),
                    ("POST", ["sessions", "revoke-all"]) => self.revoke_all(id, now_ms),
                    _ => answer(404, json!({ "error": "invalid_request" })),
                }
            }
            _ => answer(404, json!({ "error": "invalid_request" })),
        }
    }

    fn own_token(&self) -> String {
        let jwt = self.own_jwt.borrow().clone();
        jwt.unwrap_or_else(|| OWN_TOKEN.to_owned())
    }

    /// The code that the hosted page gave, once.
    fn exchange(&self, call: &Call, now_ms: i64) -> CallAnswer {
        let body = call.body.as_ref().map_or("", |body| body.0.as_str());
        match self.code.borrow_mut().take() {
            Some((code, user, client)) if body.contains(&format!("code={code}&")) => {
                let now = now_ms / 1_000;
                let claims = json!({ "iss": tokens::MGPASS_ISSUER, "sub": user, "aud": client,
                    "scope": "openid", "iat": now, "exp": now + 3_600 });
                let token = tokens::MGPASS_KEY.sign(None, &claims);
                answer(200, json!({ "access_token": token, "expires_in": 3_600 }))
            }
            _ => answer(400, json!({ "error": "invalid_grant" })),
        }
    }

    fn list(&self, databases: &Databases) -> CallAnswer {
        let hidden = json!(*self.hidden.borrow()).to_string();
        let sql = format!(
            "SELECT id FROM users WHERE deleted_at IS NULL AND id NOT IN (SELECT value FROM json_each('{hidden}')) ORDER BY created_at DESC, id DESC"
        );
        let rows = databases.rows(Store::Mgpass, &sql);
        let total = rows.len();
        let page: Vec<_> = rows.into_iter().take(50).collect();
        answer(
            200,
            json!({ "data": page, "total": total, "page": 1, "limit": 50, "has_more": total > 50 }),
        )
    }

    fn cached(&self, path: &str, now_ms: i64, read: impl FnOnce() -> CallAnswer) -> CallAnswer {
        if let Some((until_ms, held)) = self.cache.borrow().get(path)
            && now_ms < *until_ms
        {
            return held.clone();
        }
        let fresh = read();
        let entry = (now_ms + self.cache_ms.get(), fresh.clone());
        self.cache.borrow_mut().insert(path.to_owned(), entry);
        fresh
    }

    fn set_password(&self, databases: &Databases, id: &str, call: &Call) -> CallAnswer {
        let body = call.body.as_ref().map_or("{}", |body| body.0.as_str());
        let body: Value = serde_json::from_str(body).unwrap();
        let password = body["password"].as_str().unwrap_or_default();
        if password.len() < 8 {
            return answer(400, json!({ "error": "invalid_request" }));
        }
        let shown = user(databases, id, false);
        if shown.status == 200 {
            let mut passwords = self.passwords.borrow_mut();
            passwords.insert(id.to_owned(), password.to_owned());
            if self.ends_sessions.get() {
                self.ended.borrow_mut().insert(id.to_owned());
            }
            let n = self.n_set.get() + 1;
            self.n_set.set(n);
            let hash = super::hosted::kept(password);
            let entered = format!(
                "UPDATE users SET password_hash = '{hash}' WHERE id = '{id}'; \
                 INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at) \
                 VALUES ('aud_set_{n}', 'user.updated', 'application', 'app_proxy', 'user', '{id}', unixepoch())"
            );
            databases.execute(Store::Mgpass, &entered);
        }
        shown
    }

    fn revoke_all(&self, id: &str, now_ms: i64) -> CallAnswer {
        if let Some(status) = self.refused.borrow().get(id) {
            return answer(*status, json!({ "error": "refused" }));
        }
        let mut revoked = self.revoked.borrow_mut();
        let recent = revoked
            .iter()
            .filter(|(_, at)| *at > now_ms - 60_000)
            .count();
        if recent >= self.revoke_limit.get() {
            let mut refused = answer(429, json!({ "error": "rate_limited" }));
            refused.retry_after_s = Some(60);
            return refused;
        }
        revoked.push((id.to_owned(), now_ms));
        answer(200, json!({ "revoked": 1 }))
    }
}

fn audit(databases: &Databases, query: &str) -> CallAnswer {
    let target = query
        .split(['?', '&'])
        .find_map(|pair| pair.strip_prefix("target_id="));
    let sql = format!(
        "SELECT id, event_type FROM audit_logs WHERE target_id = '{}' ORDER BY created_at DESC, rowid DESC LIMIT 100",
        target.unwrap_or_default()
    );
    let rows = databases.rows(Store::Mgpass, &sql);
    answer(200, json!({ "total": rows.len(), "results": rows }))
}

fn user(databases: &Databases, id: &str, spells: bool) -> CallAnswer {
    let sql = format!(
        "SELECT *, strftime('%Y-%m-%dT%H:%M:%S.000Z', created_at, 'unixepoch') AS created, \
         strftime('%Y-%m-%dT%H:%M:%S.000Z', last_sign_in_at, 'unixepoch') AS signed_in \
         FROM users WHERE deleted_at IS NULL AND id = '{id}'"
    );
    let rows = databases.rows(Store::Mgpass, &sql);
    let Some(row) = rows.first() else {
        return answer(404, json!({ "error": "invalid_request" }));
    };
    let flag = |name: &str| json!(row[name] == 1);
    let mut body = Row::new();
    for name in ["id", "email", "phone", "name", "suspension_reason"] {
        body.insert(name.to_owned(), row[name].clone());
    }
    if let (true, Some(email)) = (spells, row["email"].as_str()) {
        body.insert("email".to_owned(), json!(email.to_lowercase()));
    }
    body.insert("avatar_url".to_owned(), row["avatar"].clone());
    for name in ["email_verified", "phone_verified", "is_suspended"] {
        body.insert(name.to_owned(), flag(name));
    }
    let metadata: Value = serde_json::from_str(row["metadata"].as_str().unwrap()).unwrap();
    body.insert("custom_data".to_owned(), metadata);
    body.insert("created_at".to_owned(), row["created"].clone());
    body.insert("last_sign_in_at".to_owned(), row["signed_in"].clone());
    body.insert("deleted_at".to_owned(), Value::Null);
    answer(200, Value::Object(body))
}

fn identities(databases: &Databases, id: &str) -> CallAnswer {
    let sql = format!(
        "SELECT s.id, provider, provider_user_id, profile_data FROM social_identities s \
         JOIN users u ON u.id = s.user_id WHERE u.deleted_at IS NULL AND s.user_id = '{id}' ORDER BY s.id"
    );
    let list: Vec<_> = databases
        .rows(Store::Mgpass, &sql)
        .into_iter()
        .map(|mut row| {
            let data = row["profile_data"].as_str().unwrap_or("{}").to_owned();
            row.insert(
                "profile_data".to_owned(),
                serde_json::from_str(&data).unwrap(),
            );
            Value::Object(row)
        })
        .collect();
    answer(200, Value::Array(list))
}

fn answer(status: u16, body: Value) -> CallAnswer {
    text_answer(status, body.to_string())
}

fn text_answer(status: u16, body: String) -> CallAnswer {
    CallAnswer {
        status,
        retry_after_s: None,
        max_age_s: None,
        total: None,
        is_json: true,
        body,
    }
}
