//! A model of both sides towards browsers and clients, as lax and as awkward as the
//! contracts: sessions, codes, refresh tokens with their rotation, leeway and replay, consent,
//! ends of sessions. It counts what it is shown; why something ended is noted where it ends.
//!
//! Logto: a session lasts 14 days; a refresh token 14 days, rotated on every use by public
//! clients and past 70 % of its life by confidential ones, a SPA's keeps its end; a used one
//! is good for 3 s more, then its grant ends. mgPass: a session and a refresh token slide by
//! 30 days; each refresh rotates; a used one is refused for 10 s, and after them all of the
//! user's sessions and refresh tokens end.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dual_write_proxy::policy::applications::Side;
use form_urlencoded::parse;
use serde_json::{Value, json};

use crate::support::World;
use crate::support::logto::{Interaction, LogtoAnswer, LogtoRequest};
use crate::support::tokens::MGPASS_ISSUER;
use crate::support::world::Clients;

pub const DAY_MS: i64 = 86_400_000;
pub const LOGTO_MS: i64 = 14 * DAY_MS;
const MGPASS_MS: i64 = 30 * DAY_MS;
const LOGTO_LEEWAY_MS: i64 = 3_000;
pub const MGPASS_LEEWAY_MS: i64 = 10_000;
const CODE_MS: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a browser: public.
    Spa,
    /// On a device: public.
    Native,
    /// On a server: with a secret.
    Web,
}

/// Why something of a side's ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    SignedOut,
    /// All that a user had there: a suspension, or a call of the proxy's.
    Revoked,
    /// A used refresh token came once more.
    Replayed,
}

#[derive(Clone, Debug)]
struct Session {
    user: u32,
    ends_ms: i64,
    ended: Option<End>,
}

#[derive(Clone, Debug)]
struct Grant {
    side: Side,
    user: u32,
    client: usize,
    session: usize,
    ended: Option<End>,
}

#[derive(Clone, Debug)]
struct Refresh {
    grant: usize,
    issued_ms: i64,
    ends_ms: i64,
    used_ms: Option<i64>,
    /// By the client, and as it came here.
    n_sent: u32,
    n_seen: u32,
}

#[derive(Clone, Debug)]
struct Code {
    side: Side,
    user: u32,
    client: usize,
    session: usize,
    made_ms: i64,
    /// The grant that it became.
    became: Option<usize>,
    n_sent: u32,
    n_seen: u32,
}

/// A client at both sides.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub logto: &'static str,
    pub mgpass: &'static str,
    pub kind: Kind,
}

/// What the backends were shown, and what they did about it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Codes, tokens, sessions, clients of the one at the other.
    pub at_the_wrong_side: u64,
    /// Codes and refresh tokens more often than their client sent them.
    pub twice: u64,
    /// All of a user's sessions at mgPass, for a refresh token that came once more.
    pub families: u64,
    /// Grants of Logto's that ended for the same.
    pub replays_at_logto: u64,
    pub refreshes: [u64; 2],
    pub sign_ins: [u64; 2],
}

#[derive(Default)]
pub struct Backends {
    pub clients: Vec<Client>,
    pub ids: RefCell<HashMap<String, u32>>,
    sessions: RefCell<[Vec<Session>; 2]>,
    grants: RefCell<Vec<Grant>>,
    /// By user, so that all of one end without a search.
    of_user: RefCell<HashMap<u32, Vec<usize>>>,
    refreshes: RefCell<Vec<Refresh>>,
    codes: RefCell<Vec<Code>>,
    consents: RefCell<HashSet<(u32, usize)>>,
    n_interactions: Cell<u64>,
    pub seen: RefCell<Seen>,
}

pub fn index(side: Side) -> usize {
    match side {
        Side::Logto => 0,
        Side::Mgpass => 1,
    }
}

impl Backends {
    pub fn new(clients: Vec<Client>) -> Self {
        Self {
            clients,
            ..Self::default()
        }
    }

    pub fn client_id(&self, client: usize, side: Side) -> &'static str {
        match side {
            Side::Logto => self.clients[client].logto,
            Side::Mgpass => self.clients[client].mgpass,
        }
    }

    fn client_of(&self, id: &str) -> Option<(usize, Side)> {
        [Side::Logto, Side::Mgpass].into_iter().find_map(|side| {
            let mut all = 0..self.clients.len();
            all.find(|client| self.client_id(*client, side) == id)
                .map(|client| (client, side))
        })
    }

    pub fn new_session(&self, side: Side, user: u32, ends_ms: i64) -> usize {
        let sessions = &mut self.sessions.borrow_mut()[index(side)];
        sessions.push(Session {
            user,
            ends_ms,
            ended: None,
        });
        sessions.len() - 1
    }

    pub fn session_lives(&self, side: Side, session: usize, now_ms: i64) -> bool {
        let session = &self.sessions.borrow()[index(side)][session];
        session.ended.is_none() && session.ends_ms > now_ms
    }

    /// Its cookie has run out.
    pub fn is_over(&self, side: Side, session: usize, now_ms: i64) -> bool {
        self.sessions.borrow()[index(side)][session].ends_ms <= now_ms
    }

    /// As a new one of a session: a refresh token, and its text.
    pub fn grant(&self, side: Side, session: usize, client: usize, now_ms: i64) -> String {
        let user = self.sessions.borrow()[index(side)][session].user;
        let mut grants = self.grants.borrow_mut();
        grants.push(Grant {
            side,
            user,
            client,
            session,
            ended: None,
        });
        let grant = grants.len() - 1;
        drop(grants);
        self.of_user
            .borrow_mut()
            .entry(user)
            .or_default()
            .push(grant);
        let lasts_ms = match side {
            Side::Logto => LOGTO_MS,
            Side::Mgpass => MGPASS_MS,
        };
        self.token(grant, now_ms, now_ms + lasts_ms)
    }

    fn token(&self, grant: usize, issued_ms: i64, ends_ms: i64) -> String {
        let mut refreshes = self.refreshes.borrow_mut();
        refreshes.push(Refresh {
            grant,
            issued_ms,
            ends_ms,
            used_ms: None,
            n_sent: 0,
            n_seen: 0,
        });
        let number = refreshes.len() - 1;
        match self.grants.borrow()[grant].side {
            Side::Logto => format!("Lx{number}"),
            Side::Mgpass => format!("rt_{number}"),
        }
    }

    /// It was issued some time ago already.
    pub fn make_older(&self, token: &str, by_ms: i64) {
        let refresh = &mut self.refreshes.borrow_mut()[number(token)];
        refresh.issued_ms -= by_ms;
        refresh.ends_ms -= by_ms;
    }

    pub fn sends(&self, text: &str) {
        match text.strip_prefix("code") {
            Some(code) => self.codes.borrow_mut()[code.parse::<usize>().unwrap()].n_sent += 1,
            None => self.refreshes.borrow_mut()[number(text)].n_sent += 1,
        }
    }

    /// Whether its side would take it now, had nothing been in between; and why not.
    pub fn lives(&self, token: &str, now_ms: i64) -> Result<(), Option<End>> {
        let refresh = self.refreshes.borrow()[number(token)].clone();
        let grant = &self.grants.borrow()[refresh.grant];
        if let Some(end) = grant.ended {
            return Err(Some(end));
        }
        match refresh.ends_ms > now_ms {
            true => Ok(()),
            false => Err(None),
        }
    }

    /// Sessions and refresh tokens of that user's that end now.
    pub fn end_all(&self, side: Side, user: u32, end: End, now_ms: i64) -> u64 {
        let mut n = 0;
        for session in &mut self.sessions.borrow_mut()[index(side)] {
            if session.user == user && session.ended.is_none() && session.ends_ms > now_ms {
                session.ended = Some(end);
                n += 1;
            }
        }
        let of_user = self.of_user.borrow();
        for grant in of_user.get(&user).into_iter().flatten() {
            let grant = &mut self.grants.borrow_mut()[*grant];
            if grant.side == side && grant.ended.is_none() {
                grant.ended = Some(end);
                n += 1;
            }
        }
        n
    }

    pub fn lives_anywhere(&self, side: Side, user: u32, now_ms: i64) -> bool {
        let sessions = self.sessions.borrow();
        let mut sessions = sessions[index(side)].iter();
        let grants = self.grants.borrow();
        let of_user = self.of_user.borrow();
        let mut held = of_user.get(&user).into_iter().flatten();
        sessions.any(|one| one.user == user && one.ended.is_none() && one.ends_ms > now_ms)
            || held.any(|grant| grants[*grant].side == side && grants[*grant].ended.is_none())
    }

    /// Of one browser. Of its refresh tokens mgPass ends the asking application's.
    pub fn end_session(&self, side: Side, session: usize, client: usize) {
        self.sessions.borrow_mut()[index(side)][session].ended = Some(End::SignedOut);
        let user = self.sessions.borrow()[index(side)][session].user;
        if side == Side::Logto {
            return;
        }
        for grant in self.of_user.borrow().get(&user).into_iter().flatten() {
            let grant = &mut self.grants.borrow_mut()[*grant];
            let is_its = grant.side == side && grant.session == session && grant.client == client;
            if is_its && grant.ended.is_none() {
                grant.ended = Some(End::SignedOut);
            }
        }
    }

    /// mgPass's own: asked once for each application.
    pub fn consents(&self, user: u32, client: usize) -> bool {
        self.consents.borrow_mut().insert((user, client))
    }

    pub fn code(&self, side: Side, session: usize, client: usize, now_ms: i64) -> String {
        let user = {
            let session = &mut self.sessions.borrow_mut()[index(side)][session];
            if side == Side::Mgpass {
                session.ends_ms = now_ms + MGPASS_MS;
            }
            session.user
        };
        let mut codes = self.codes.borrow_mut();
        codes.push(Code {
            side,
            user,
            client,
            session,
            made_ms: now_ms,
            became: None,
            n_sent: 0,
            n_seen: 0,
        });
        format!("code{}", codes.len() - 1)
    }

    /// A request of a client at the token endpoint of that side.
    pub fn exchange(&self, at: Side, body: &str, now_ms: i64) -> LogtoAnswer {
        let mut client_id = String::new();
        let mut shown = String::new();
        for (name, value) in parse(body.as_bytes()) {
            match &*name {
                "client_id" => client_id = value.into_owned(),
                "code" | "refresh_token" => shown = value.into_owned(),
                _ => {}
            }
        }
        let Some((client, side)) = self.client_of(&client_id) else {
            return refused("invalid_client");
        };
        if side != at {
            self.seen.borrow_mut().at_the_wrong_side += 1;
            return refused("invalid_client");
        }
        match shown.strip_prefix("code") {
            Some(code) => self.redeem(at, client, code.parse().unwrap(), now_ms),
            None => self.refresh(at, client, number(&shown), now_ms),
        }
    }

    fn redeem(&self, at: Side, client: usize, number: usize, now_ms: i64) -> LogtoAnswer {
        let code = {
            let code = &mut self.codes.borrow_mut()[number];
            code.n_seen += 1;
            if code.n_seen > code.n_sent {
                self.seen.borrow_mut().twice += 1;
            }
            code.clone()
        };
        if code.side != at || code.client != client {
            self.seen.borrow_mut().at_the_wrong_side += 1;
            return refused("invalid_grant");
        }
        if let Some(grant) = code.became {
            self.grants.borrow_mut()[grant].ended = Some(End::Replayed);
            return refused("invalid_grant");
        }
        if now_ms - code.made_ms > CODE_MS {
            return refused("invalid_grant");
        }
        let token = self.grant(at, code.session, client, now_ms);
        self.codes.borrow_mut()[number].became = Some(self.grants.borrow().len() - 1);
        self.given(at, code.user, client, &token, now_ms)
    }

    fn refresh(&self, at: Side, client: usize, number: usize, now_ms: i64) -> LogtoAnswer {
        let refresh = {
            let refresh = &mut self.refreshes.borrow_mut()[number];
            refresh.n_seen += 1;
            if refresh.n_seen > refresh.n_sent {
                self.seen.borrow_mut().twice += 1;
            }
            refresh.clone()
        };
        let grant = self.grants.borrow()[refresh.grant].clone();
        if grant.side != at || grant.client != client {
            self.seen.borrow_mut().at_the_wrong_side += 1;
            return refused("invalid_grant");
        }
        if grant.ended.is_some() || refresh.ends_ms <= now_ms {
            return refused("invalid_grant");
        }
        match (at, refresh.used_ms) {
            (Side::Logto, Some(used_ms)) if now_ms - used_ms > LOGTO_LEEWAY_MS => {
                self.grants.borrow_mut()[refresh.grant].ended = Some(End::Replayed);
                self.seen.borrow_mut().replays_at_logto += 1;
                return refused("invalid_grant");
            }
            (Side::Mgpass, Some(used_ms)) => {
                if now_ms - used_ms > MGPASS_LEEWAY_MS {
                    self.end_all(at, grant.user, End::Replayed, now_ms);
                    self.seen.borrow_mut().families += 1;
                }
                return refused("invalid_grant");
            }
            _ => {}
        }
        self.seen.borrow_mut().refreshes[index(at)] += 1;
        let age_ms = now_ms - refresh.issued_ms;
        let ends_ms = match (at, self.clients[client].kind) {
            (Side::Mgpass, _) => {
                let session = &mut self.sessions.borrow_mut()[index(at)][grant.session];
                session.ends_ms = session.ends_ms.max(now_ms + MGPASS_MS);
                now_ms + MGPASS_MS
            }
            (Side::Logto, Kind::Spa) => refresh.ends_ms,
            (Side::Logto, Kind::Native) => now_ms + LOGTO_MS,
            (Side::Logto, Kind::Web) if age_ms * 10 > LOGTO_MS * 7 => now_ms + LOGTO_MS,
            (Side::Logto, Kind::Web) => {
                let same = format!("Lx{number}");
                return self.given(at, grant.user, client, &same, now_ms);
            }
        };
        self.refreshes.borrow_mut()[number]
            .used_ms
            .get_or_insert(now_ms);
        let token = self.token(refresh.grant, now_ms, ends_ms);
        self.given(at, grant.user, client, &token, now_ms)
    }

    fn given(&self, at: Side, user: u32, client: usize, token: &str, now_ms: i64) -> LogtoAnswer {
        let access = match at {
            Side::Logto => format!("Lat{user}x{client}"),
            Side::Mgpass => {
                let now = now_ms / 1_000;
                let claims = json!({ "iss": MGPASS_ISSUER, "sub": format!("{user}"),
                    "aud": self.clients[client].mgpass, "scope": "openid", "iat": now, "exp": now + 3_600 });
                let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
                format!(
                    "{}.{}.AQ",
                    part(r#"{"alg":"ES256","kid":"mgpass-1"}"#),
                    part(&claims.to_string())
                )
            }
        };
        answer(
            200,
            json!({ "access_token": access, "refresh_token": token, "expires_in": 3_600 }),
        )
    }

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

fn number(token: &str) -> usize {
    let digits = token.trim_start_matches("Lx").trim_start_matches("rt_");
    digits.parse().unwrap()
}

fn answer(status: u16, body: Value) -> LogtoAnswer {
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

fn refused(error: &str) -> LogtoAnswer {
    answer(400, json!({ "error": error }))
}
