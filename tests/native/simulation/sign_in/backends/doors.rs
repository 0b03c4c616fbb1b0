//! What browsers and clients meet of both sides through the proxy: Logto's authorization
//! endpoint and end of session, both token endpoints, userinfo.

use dual_write_proxy::policy::applications::Side;
use form_urlencoded::parse;
use serde_json::{Value, json};

use super::{Backends, LOGTO_MS};
use crate::support::World;
use crate::support::logto::{Interaction, LogtoAnswer, LogtoRequest};
use crate::support::world::Clients;

impl Backends {
    /// `GET /oidc/auth`, and the way back into it behind Logto's pages.
    fn authorize(&self, world: &World, request: &LogtoRequest) -> Option<LogtoAnswer> {
        let now_ms = world.now_ms();
        let path = request.path.strip_prefix("/oidc/auth")?;
        let cookies = request.header("cookie").unwrap_or_default();
        let (session, client) = match path.strip_prefix('?') {
            Some(query) => {
                let mut pairs = parse(query.as_bytes());
                let client_id = pairs.find(|(name, _)| name == "client_id")?.1;
                let (client, side) = self.client_of(&client_id)?;
                if side != Side::Logto {
                    self.seen.borrow_mut().at_the_wrong_side += 1;
                    return Some(refused("invalid_client"));
                }
                let session = logto_session(cookies);
                match session.filter(|session| self.session_lives(side, *session, now_ms)) {
                    Some(session) => (session, client),
                    None => return Some(self.prompt(world, client)),
                }
            }
            None => {
                let uid = path.strip_prefix('/')?;
                let (_, client) = uid.split_once('a')?;
                let client = client.parse().unwrap();
                let user = world
                    .logto
                    .sessions
                    .borrow_mut()
                    .remove(&format!("{uid}-next"))?;
                let user = self.ids.borrow()[&user];
                self.seen.borrow_mut().sign_ins[0] += 1;
                let session = self.new_session(Side::Logto, user, now_ms + LOGTO_MS);
                (session, client)
            }
        };
        let code = self.code(Side::Logto, session, client, now_ms);
        let mut back = answer(303, Value::Null);
        back.location = Some(format!("https://app{client}.example/callback?code={code}"));
        back.cookies = vec![format!("_session=ls{session}; path=/; httponly")];
        Some(back)
    }

    fn prompt(&self, world: &World, client: usize) -> LogtoAnswer {
        self.n_interactions.set(self.n_interactions.get() + 1);
        let uid = format!("{}a{client}", self.n_interactions.get());
        let mut interactions = world.logto.interactions.borrow_mut();
        interactions.insert(uid.clone(), Interaction::default());
        let mut page = answer(303, Value::Null);
        page.location = Some("/sign-in?app_id=x".to_owned());
        page.cookies = vec![format!("_interaction={uid}; path=/; httponly")];
        page
    }
}

impl Clients for Backends {
    fn at_logto(&self, world: &World, request: &LogtoRequest) -> Option<LogtoAnswer> {
        let path = request.path.split('?').next().unwrap_or_default();
        let body = request.body.as_deref().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("POST", "/oidc/token") => Some(self.exchange(Side::Logto, body, world.now_ms())),
            ("GET", "/oidc/me") => {
                Some(self.userinfo(Side::Logto, request.header("authorization")))
            }
            ("GET", "/oidc/session/end") => {
                if request.path.contains("id_token_hint") || request.path.contains("app_") {
                    self.seen.borrow_mut().at_the_wrong_side += 1;
                }
                if let Some(session) = logto_session(request.header("cookie").unwrap_or_default()) {
                    self.end_session(Side::Logto, session, 0);
                }
                Some(answer(200, Value::Null))
            }
            _ if path.starts_with("/oidc/auth") => self.authorize(world, request),
            _ => None,
        }
    }

    fn at_mgpass(
        &self,
        world: &World,
        line: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> LogtoAnswer {
        if headers.iter().any(|(name, _)| name == "cookie") {
            self.seen.borrow_mut().at_the_wrong_side += 1;
        }
        let authorization = headers.iter().find(|(name, _)| name == "authorization");
        match line.ends_with("/oauth/token") {
            true => self.exchange(Side::Mgpass, body, world.now_ms()),
            false => self.userinfo(Side::Mgpass, authorization.map(|(_, value)| value.as_str())),
        }
    }
}

impl Backends {
    fn userinfo(&self, at: Side, authorization: Option<&str>) -> LogtoAnswer {
        let is_logtos = authorization.is_some_and(|value| value.starts_with("Bearer Lat"));
        if is_logtos != (at == Side::Logto) {
            self.seen.borrow_mut().at_the_wrong_side += 1;
            return refused("invalid_token");
        }
        answer(200, json!({ "sub": "x" }))
    }
}

fn logto_session(cookies: &str) -> Option<usize> {
    let found = cookies
        .split("; ")
        .find_map(|pair| pair.strip_prefix("_session=ls"))?;
    found.parse().ok()
}

pub(super) fn answer(status: u16, body: Value) -> LogtoAnswer {
    LogtoAnswer {
        status,
        is_json: !body.is_null(),
        cookies: Vec::new(),
        location: None,
        total: None,
        body: if body.is_null() {
            String::new()
        } else {
            body.to_string()
        },
    }
}

pub(super) fn refused(error: &str) -> LogtoAnswer {
    answer(400, json!({ "error": error }))
}
