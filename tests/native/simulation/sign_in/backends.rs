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

use dual_write_proxy::policy::applications::Side;

mod doors;
mod tokens;

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

    /// All that its user had at that side was ended.
    pub fn is_revoked(&self, side: Side, session: usize) -> bool {
        self.sessions.borrow()[index(side)][session].ended == Some(End::Revoked)
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
}

fn number(token: &str) -> usize {
    let digits = token.trim_start_matches("Lx").trim_start_matches("rt_");
    digits.parse().unwrap()
}
