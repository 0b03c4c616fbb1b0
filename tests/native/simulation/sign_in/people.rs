//! People with browsers and applications, as well-behaved as docs/applications.md asks: one
//! refresh at a time, the new token kept before it is used, one more try at once where no
//! answer came, and then a sign-in. All they ask of the auth host goes through the proxy.

use std::collections::HashSet;
use std::rc::Rc;

use dual_write_proxy::operate::forecast::Reason;
use dual_write_proxy::policy::applications::Side;
use serde_json::{Value, json};

use super::backends::{Backends, DAY_MS, End, Kind, LOGTO_MS};
use super::judge::Judge;
use super::operator::Now;
use crate::support::client::Answered;
use crate::support::executor::Random;
use crate::support::logto::Interaction;
use crate::support::{Node, Request, World};

/// How somebody gets in at Logto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Password,
    Social,
    /// By a code to a name that mgPass does not know.
    Neither,
    /// A password, and a second factor.
    Factor,
    SocialAndFactor,
    Company,
}

pub struct Person {
    pub id: String,
    pub way: Way,
    /// Through which Logto met them.
    pub first_client: usize,
    pub is_suspended: bool,
    /// Chosen at mgPass.
    pub has_reset: bool,
}

/// What an application's own session in a browser holds.
#[derive(Clone, Debug)]
struct Held {
    side: Side,
    token: String,
    access: String,
}

struct Used {
    client: usize,
    held: Option<Held>,
    /// Since its last session, which was not followed by another yet.
    lost: Option<Loss>,
    /// What it would be with Logto alone.
    alone_until_ms: i64,
    alone_since_ms: i64,
}

/// Cookies of the auth host's, and mgPass's session.
#[derive(Default)]
struct Jar {
    pin: Option<String>,
    ready: Option<String>,
    sign_out: Option<String>,
    logto: Option<usize>,
    mgpass: Option<usize>,
}

pub struct Browser {
    person: usize,
    jar: Jar,
    used: Vec<Used>,
    alone_until_ms: i64,
    /// Who gave up when both would have asked is asked later.
    owes_a_sign_in: bool,
    /// The smallest share by which it was drawn.
    moved_at_bps: Option<u16>,
}

/// Why an application's session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    AnswerLost,
    LogtoLeft,
    Revoked,
    /// As it would have been anyway.
    ByItself,
}

enum Refreshed {
    Kept,
    Later,
    Gone(Loss),
}

pub struct Town {
    pub world: Rc<World>,
    pub node: Node,
    pub backends: Rc<Backends>,
    pub people: Vec<Person>,
    pub browsers: Vec<Browser>,
    pub random: Random,
    pub judge: Judge,
    pub now: Now,
    /// Whose sessions may be ended by a call of the proxy's: the suspended, and whoever has a
    /// new password.
    pub owed: HashSet<u32>,
}

impl Jar {
    fn cookies(&self, path: &str) -> String {
        let mut pairs = Vec::new();
        if path.starts_with("/_proxy/sign-in") {
            pairs.extend(self.pin.iter().chain(&self.ready).cloned());
        }
        if path.starts_with("/_proxy/signed-out") {
            pairs.extend(self.sign_out.clone());
        }
        pairs.extend(self.logto.map(|session| format!("_session=ls{session}")));
        pairs.join("; ")
    }

    fn take(&mut self, answer: &Answered) {
        let own = answer.all("set-cookie");
        for line in own
            .into_iter()
            .chain(answer.cookies.iter().map(String::as_str))
        {
            let pair = line.split(';').next().unwrap_or_default().to_owned();
            let kept = (!line.contains("Max-Age=0")).then(|| pair.clone());
            match pair.split('=').next() {
                Some("__Secure-dwp_pin") => self.pin = kept,
                Some("__Secure-dwp_ready") => self.ready = kept,
                Some("__Secure-dwp_sign_out") => self.sign_out = kept,
                Some("_session") => {
                    self.logto = pair
                        .strip_prefix("_session=ls")
                        .and_then(|n| n.parse().ok());
                }
                _ => {}
            }
        }
    }
}

impl Browser {
    pub fn new(person: usize, clients: &[usize]) -> Self {
        let used = clients.iter().map(|client| Used {
            client: *client,
            held: None,
            lost: None,
            alone_until_ms: 0,
            alone_since_ms: 0,
        });
        Self {
            person,
            jar: Jar::default(),
            used: used.collect(),
            alone_until_ms: 0,
            owes_a_sign_in: false,
            moved_at_bps: None,
        }
    }

    pub fn n_used(&self) -> usize {
        self.used.len()
    }

    /// With a session at Logto that is some days old, and its applications signed in.
    pub fn began(&mut self, backends: &Backends, age_ms: i64, now_ms: i64) {
        let until_ms = now_ms + LOGTO_MS - age_ms;
        let session = backends.new_session(Side::Logto, self.person as u32, until_ms);
        self.jar.logto = Some(session);
        self.alone_until_ms = until_ms;
        for used in &mut self.used {
            let token = backends.grant(Side::Logto, session, used.client, now_ms);
            backends.make_older(&token, age_ms);
            used.alone_until_ms = until_ms;
            used.alone_since_ms = now_ms - age_ms;
            used.held = Some(Held {
                side: Side::Logto,
                token,
                access: String::new(),
            });
        }
    }

    /// Whether Logto alone would have asked for a sign-in.
    fn asks_alone(&mut self, used: usize, kind: Kind, now_ms: i64) -> bool {
        let app = &mut self.used[used];
        if app.alone_until_ms > now_ms {
            let age_ms = now_ms - app.alone_since_ms;
            let rotates = match kind {
                Kind::Spa => false,
                Kind::Native => true,
                Kind::Web => age_ms * 10 > LOGTO_MS * 7,
            };
            if rotates {
                app.alone_until_ms = now_ms + LOGTO_MS;
                app.alone_since_ms = now_ms;
            }
            return false;
        }
        let asks = self.alone_until_ms <= now_ms;
        self.restart_alone(used, asks, now_ms);
        asks
    }

    fn restart_alone(&mut self, used: usize, with_session: bool, now_ms: i64) {
        if with_session {
            self.alone_until_ms = now_ms + LOGTO_MS;
        }
        self.used[used].alone_until_ms = now_ms + LOGTO_MS;
        self.used[used].alone_since_ms = now_ms;
    }
}

impl Town {
    fn ask(&mut self, request: Request) -> Answered {
        let answered = self.world.ask_at(&self.node, request);
        self.settle();
        answered
    }

    /// What the fakes keep of each request is not needed here; what they ended counts.
    pub fn settle(&mut self) {
        let world = Rc::clone(&self.world);
        world.logto.served.borrow_mut().clear();
        world.logto.presented.borrow_mut().clear();
        world.mgpass.served.borrow_mut().clear();
        let now_ms = world.now_ms();
        let ids = self.backends.ids.borrow();
        for (id, _) in world.logto.ended.borrow_mut().drain(..) {
            let user = ids[&id];
            let n = (self.backends).end_all(Side::Logto, user, End::Revoked, now_ms);
            if !self.owed.contains(&user) {
                self.judge.ended(n, || {
                    format!("sessions at Logto of {id}, whom nobody suspended")
                });
            }
        }
        for (id, _) in world.mgpass.revoked.borrow_mut().drain(..) {
            let user = ids[&id];
            let n = self
                .backends
                .end_all(Side::Mgpass, user, End::Revoked, now_ms);
            if !self.owed.contains(&user) {
                self.judge
                    .ended(n, || format!("revoke-all of {id}, whom nobody suspended"));
            }
        }
    }

    fn person_of(&self, browser: usize) -> &Person {
        &self.people[self.browsers[browser].person]
    }

    /// Somebody opens an application in a browser.
    pub fn visit(&mut self, browser: usize, used: usize) {
        let now_ms = self.world.now_ms();
        if self.person_of(browser).is_suspended {
            return;
        }
        self.judge.n_visits += 1;
        let client = self.browsers[browser].used[used].client;
        let kind = self.backends.clients[client].kind;
        let asks_alone = self.browsers[browser].asks_alone(used, kind, now_ms);
        let mut loss = self.browsers[browser].used[used].lost.take();
        if let Some(held) = self.browsers[browser].used[used].held.take() {
            match self.refresh(browser, used, held) {
                Refreshed::Kept | Refreshed::Later => return,
                Refreshed::Gone(why) => loss = Some(why),
            }
        }
        self.sign_in(browser, used, asks_alone, loss);
    }

    fn token_request(&mut self, side: Side, client: usize, name: &str, secret: &str) -> Answered {
        self.backends.sends(secret);
        let client_id = self.backends.client_id(client, side);
        let grant = match name {
            "code" => "authorization_code",
            _ => name,
        };
        let body = format!("grant_type={grant}&client_id={client_id}&{name}={secret}");
        // One application talks to mgPass itself.
        if side == Side::Mgpass && self.backends.clients[client].kind == Kind::Native {
            let now_ms = self.world.now_ms();
            let (status, body) = match self.now.mgpass_is_down {
                true => (502, String::new()),
                false => {
                    let answer = self.backends.exchange(side, &body, now_ms);
                    (answer.status, answer.body)
                }
            };
            return Answered {
                status,
                body,
                cookies: Vec::new(),
                headers: Vec::new(),
                at_ms: now_ms,
                is_own: status == 502,
            };
        }
        let request = Request::new("POST", "/oidc/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .json(&body);
        self.ask(request)
    }

    fn keep(&mut self, browser: usize, used: usize, side: Side, body: &str) {
        let body: Value = serde_json::from_str(body).unwrap();
        let of = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        self.browsers[browser].used[used].held = Some(Held {
            side,
            token: of("refresh_token"),
            access: of("access_token"),
        });
    }

    fn refresh(&mut self, browser: usize, used: usize, held: Held) -> Refreshed {
        let client = self.browsers[browser].used[used].client;
        let lived = self.backends.lives(&held.token, self.world.now_ms());
        let mut answer = self.token_request(held.side, client, "refresh_token", &held.token);
        let is_told_lost = |answer: &Answered| matches!(answer.status, 502 | 504);
        let mut was_lost = false;
        if is_told_lost(&answer) {
            was_lost = true;
            self.judge.n_lost += 1;
            self.world.advance(500);
            answer = self.token_request(held.side, client, "refresh_token", &held.token);
        }
        match answer.status {
            200 => {
                self.keep(browser, used, held.side, &answer.body);
                if self.random.below(12) == 0 {
                    self.look_up(browser, used);
                }
                Refreshed::Kept
            }
            // Nothing was sent: the same again, another time.
            503 => {
                self.browsers[browser].used[used].held = Some(held);
                Refreshed::Later
            }
            410 => {
                if self
                    .now
                    .logto_named_end_ms
                    .is_none_or(|ends_ms| self.world.now_ms() < ends_ms)
                    && lived.is_ok()
                {
                    self.judge.ended(1, || {
                        format!("{} refused before the day that was named", held.token)
                    });
                }
                Refreshed::Gone(Loss::LogtoLeft)
            }
            _ if was_lost => Refreshed::Gone(Loss::AnswerLost),
            status => {
                let loss = match lived {
                    Err(Some(End::Revoked)) => Loss::Revoked,
                    Err(Some(End::Replayed)) => Loss::AnswerLost,
                    Err(_) => Loss::ByItself,
                    Ok(()) => {
                        let was = &held.token;
                        self.judge.ended(1, || {
                            format!("{was} lived, and was answered {status} {}", answer.body)
                        });
                        Loss::ByItself
                    }
                };
                Refreshed::Gone(loss)
            }
        }
    }

    /// Userinfo, by the access token that has just been issued.
    fn look_up(&mut self, browser: usize, used: usize) {
        let Some(held) = self.browsers[browser].used[used].held.clone() else {
            return;
        };
        // With `resource` or by mgPass's own address there is nothing of the proxy's in it.
        if held.access.is_empty() || self.now.mgpass_is_down {
            return;
        }
        let answer = self.ask(Request::new("GET", "/oidc/me").token(&held.access));
        let may_read = held.side == Side::Mgpass || self.now.holder == "logto";
        if may_read && answer.status != 200 {
            self.judge.ended(1, || {
                format!(
                    "userinfo by a live token of {:?}: {}",
                    held.side, answer.status
                )
            });
        }
    }

    /// By the login link, to an application that is signed in.
    fn sign_in(&mut self, browser: usize, used: usize, asks_alone: bool, loss: Option<Loss>) {
        let client = self.browsers[browser].used[used].client;
        let name = super::NAMES[client];
        if self.random.below(25) == 0 {
            self.look_from_a_frame(name);
        }
        let path = format!("/_proxy/sign-in/{name}");
        let cookies = self.browsers[browser].jar.cookies(&path);
        let request = Request::new("GET", &path)
            .header("sec-fetch-dest", "document")
            .header("cookie", &cookies);
        let answer = self.ask(request);
        self.browsers[browser].jar.take(&answer);
        let to = answer.header("location").unwrap_or_default().to_owned();
        let side = match to.ends_with("/mgpass") {
            true => Side::Mgpass,
            false => Side::Logto,
        };
        self.judge_draw(browser, client, side, cookies.contains("dwp_ready"));
        let code = match side {
            Side::Logto => self.at_logto(browser, client),
            Side::Mgpass => self.at_mgpass(browser, client),
        };
        let Some((code, is_asked)) = code else {
            self.browsers[browser].owes_a_sign_in |= asks_alone;
            self.browsers[browser].used[used].lost = loss;
            return;
        };
        if is_asked {
            self.asked(browser, used, side, asks_alone, loss);
        }
        let answer = self.token_request(side, client, "code", &code);
        if answer.status == 200 {
            self.keep(browser, used, side, &answer.body);
            if side == Side::Mgpass {
                self.judge.n_at_mgpass += 1;
            }
        } else if matches!(answer.status, 502..=504) {
            // Another time, by another code.
            self.browsers[browser].used[used].lost = Some(Loss::AnswerLost);
        } else {
            self.judge.ended(1, || {
                format!(
                    "a code of {side:?} was answered {} {}",
                    answer.status, answer.body
                )
            });
        }
    }

    fn look_from_a_frame(&mut self, name: &str) {
        let request = Request::new("GET", &format!("/_proxy/sign-in/{name}"))
            .header("sec-fetch-dest", "iframe");
        let answer = self.ask(request);
        let is_retired = self.now.holder == "alone";
        let leads_away = answer
            .header("location")
            .unwrap_or_default()
            .ends_with("/mgpass");
        if (leads_away && !is_retired) || answer.header("set-cookie").is_some() {
            self.judge.in_a_frame += 1;
        }
    }

    fn judge_draw(&mut self, browser: usize, client: usize, side: Side, had_mark: bool) {
        let now_ms = self.world.now_ms();
        let now = &self.now;
        if now.holder == "alone" {
            return;
        }
        let way = self.person_of(browser).way;
        let jar = &self.browsers[browser].jar;
        let session = jar
            .logto
            .filter(|session| self.backends.session_lives(Side::Logto, *session, now_ms));
        let is_sole = now.holder == "mgpass";
        let moved_at = self.browsers[browser].moved_at_bps;
        let judge = &mut self.judge;
        if side == Side::Mgpass {
            let say =
                |why: &str| format!("{way:?} in browser {browser} at {}: {why}", now.day(now_ms));
            if now.is_braked() {
                judge.braked(say("braked"));
            }
            if !now.pages_are_closed && !is_sole {
                judge.two_writers(say("mgPass's pages are open"));
            }
            let is_ready = matches!(way, Way::Password | Way::Social);
            if !is_sole && (!is_ready || !had_mark) && self.world.holder() != "mgpass" {
                judge.unready(say("not ready"));
            }
            if session.is_some() {
                judge.from_session(say("a session at Logto lives"));
            }
            let bps = moved_at.map_or(now.share_bps, |bps| bps.min(now.share_bps));
            self.browsers[browser].moved_at_bps = Some(bps);
            return;
        }
        let is_moved = moved_at.is_some_and(|bps| bps <= now.share_bps);
        let is_free = !now.is_braked()
            && !now.mgpass_is_down
            && (now.pages_are_closed || is_sole)
            && now.moves(client)
            && jar.logto.is_none()
            && (had_mark || is_sole);
        if is_moved && is_free && now.is_steady(now_ms) {
            judge.moved_back(format!("browser {browser} at {}", now.day(now_ms)));
        }
    }

    /// A code, and whether the person was asked; `None`: gave up.
    fn at_logto(&mut self, browser: usize, client: usize) -> Option<(String, bool)> {
        let client_id = self.backends.client_id(client, Side::Logto);
        let path = format!("/oidc/auth?client_id={client_id}&response_type=code");
        let cookies = self.browsers[browser].jar.cookies(&path);
        let answer = self.ask(Request::new("GET", &path).header("cookie", &cookies));
        self.browsers[browser].jar.take(&answer);
        if let Some(code) = code_of(&answer) {
            return Some((code, false));
        }
        let cookie = answer
            .cookies
            .iter()
            .find(|line| line.starts_with("_interaction="))?;
        let cookie = cookie.split(';').next()?.to_owned();
        let uid = cookie.strip_prefix("_interaction=")?.to_owned();
        let id = self.person_of(browser).id.clone();
        let way = self.person_of(browser).way;
        let step = |path: &str| {
            Request::new("POST", &format!("/api/experience/{path}")).header("cookie", &cookie)
        };
        if matches!(way, Way::Password | Way::Factor) {
            let password = self.world.logto.passwords.borrow()[&id].clone();
            let body = json!({ "identifier": { "type": "email", "value": format!("{id}@example.test") }, "password": password });
            let checked = self.ask(step("verification/password").json(&body.to_string()));
            if checked.status != 200 {
                return None;
            }
        }
        // The other steps in one: they are no matter of the proxy's.
        let interaction = Interaction {
            user: Some(id),
            is_identified: true,
            ..Interaction::default()
        };
        self.world
            .logto
            .interactions
            .borrow_mut()
            .insert(uid.clone(), interaction);
        let submitted = self.ask(step("submit"));
        self.browsers[browser].jar.take(&submitted);
        if submitted.status != 200 {
            self.judge.n_gave_up += 1;
            return None;
        }
        // What is judged and carried behind the answer comes first.
        self.world.advance(200);
        let path = format!("/oidc/auth/{uid}");
        let answer = self.ask(Request::new("GET", &path).header("cookie", &cookies));
        self.browsers[browser].jar.take(&answer);
        Some((code_of(&answer)?, true))
    }

    /// mgPass's own pages, which the proxy takes no part in.
    fn at_mgpass(&mut self, browser: usize, client: usize) -> Option<(String, bool)> {
        if self.now.mgpass_is_down {
            self.judge.n_gave_up += 1;
            return None;
        }
        let now_ms = self.world.now_ms();
        let person = self.browsers[browser].person;
        let user = person as u32;
        let held = self.browsers[browser].jar.mgpass;
        let lives = |session: &usize| self.backends.session_lives(Side::Mgpass, *session, now_ms);
        let session = held.filter(lives);
        let is_asked = session.is_none();
        if is_asked {
            let (id, way) = (self.people[person].id.clone(), self.people[person].way);
            let password = self.world.mgpass.passwords.borrow().get(&id).cloned();
            let is_carried = password == self.world.logto.passwords.borrow().get(&id).cloned();
            let has_way = match way {
                Way::Password | Way::Factor => is_carried || self.people[person].has_reset,
                Way::Social => true,
                Way::SocialAndFactor | Way::Neither | Way::Company => self.people[person].has_reset,
            };
            if !has_way {
                let reason = self.why_reset(&id, way);
                self.forced(person, reason);
                self.people[person].has_reset = true;
                // Whoever chooses a password at mgPass ends what an old one made at Logto.
                self.owed.insert(user);
                self.enter(&id, "user.password_reset", client);
            }
            if way == Way::Password && is_carried && !self.people[person].has_reset {
                self.judge.n_by_carried += 1;
            }
            self.enter(&id, "user.login.success", client);
            self.backends.seen.borrow_mut().sign_ins[1] += 1;
        }
        let session = session.unwrap_or_else(|| {
            self.backends
                .new_session(Side::Mgpass, user, now_ms + 30 * DAY_MS)
        });
        self.browsers[browser].jar.mgpass = Some(session);
        if self.backends.consents(user, client) {
            self.forced(person, Reason::Consent);
        }
        Some((
            self.backends.code(Side::Mgpass, session, client, now_ms),
            is_asked,
        ))
    }

    fn why_reset(&self, id: &str, way: Way) -> Reason {
        let sql = format!("SELECT verdict FROM sign_in_ready WHERE user_id = '{id}'");
        let verdict = self
            .world
            .value(dual_write_proxy::runtime::ports::Store::Proxy, &sql);
        match (way, verdict.as_str()) {
            (Way::SocialAndFactor | Way::Factor | Way::Company, None) => Reason::NotJudged,
            (Way::SocialAndFactor | Way::Factor, _) => Reason::SecondFactor,
            (Way::Company, _) => Reason::EnterpriseSso,
            (Way::Password | Way::Social | Way::Neither, _) => Reason::NoRoad,
        }
    }

    /// As mgPass does: its audit log, the time of the last sign-in, a password's hash.
    fn enter(&self, id: &str, event: &str, client: usize) {
        let n = self.judge.n_entered.get() + 1;
        self.judge.n_entered.set(n);
        let change = match event {
            "user.login.success" => "last_sign_in_at = unixepoch()".to_owned(),
            _ => format!("password_hash = 'digest:chosen-{n}'"),
        };
        let client_id = self.backends.client_id(client, Side::Mgpass);
        self.world.databases.execute(
            dual_write_proxy::runtime::ports::Store::Mgpass,
            &format!(
                "UPDATE users SET {change} WHERE id = '{id}';
                 INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, client_id, created_at)
                 VALUES ('aud_{n}', '{event}', 'user', '{id}', 'user', '{id}', '{client_id}', unixepoch())"
            ),
        );
    }

    /// Somebody has typed what they sign in by.
    fn asked(
        &mut self,
        browser: usize,
        used: usize,
        side: Side,
        asks_alone: bool,
        loss: Option<Loss>,
    ) {
        let now_ms = self.world.now_ms();
        self.judge.n_asked += 1;
        let owed = std::mem::take(&mut self.browsers[browser].owes_a_sign_in);
        if asks_alone || owed {
            return;
        }
        // From here on Logto alone would have been signed in at as well.
        self.browsers[browser].restart_alone(used, true, now_ms);
        let person = self.browsers[browser].person;
        let client = self.browsers[browser].used[used].client;
        let jar = &self.browsers[browser].jar;
        let at_mgpass = jar.mgpass.is_some();
        let reason = match (loss, side) {
            (Some(Loss::AnswerLost), _) => Some(Reason::AnswerLost),
            (Some(Loss::LogtoLeft), _) => Some(Reason::LogtoLeft),
            (Some(Loss::Revoked), _) => Some(Reason::SessionsEnded),
            (_, Side::Mgpass) if self.now.holder == "alone" => Some(Reason::LogtoLeft),
            (_, Side::Mgpass) if self.owed.contains(&(person as u32)) => {
                Some(Reason::SessionsEnded)
            }
            (_, Side::Mgpass) => Some(Reason::FirstAtMgpass),
            (_, Side::Logto) if at_mgpass && !self.now.moves(client) => Some(Reason::SplitGroup),
            (_, Side::Logto) if at_mgpass => Some(Reason::BackToLogto),
            (_, Side::Logto) => None,
        };
        match reason {
            Some(reason) => self.forced(person, reason),
            None => {
                let day = self.now.day(now_ms);
                let way = self.people[person].way;
                self.judge.unnamed(format!(
                    "{way:?} in browser {browser} at {side:?}, {day}, {loss:?}"
                ));
            }
        }
    }

    fn forced(&mut self, person: usize, reason: Reason) {
        let first = self.people[person].first_client;
        let client_id = self.backends.client_id(first, Side::Logto);
        self.judge.forced(reason, client_id, person);
    }

    /// Signed out of one application, and by it of both sides.
    pub fn sign_out(&mut self, browser: usize, used: usize) {
        let client = self.browsers[browser].used[used].client;
        let Some(held) = self.browsers[browser].used[used].held.take() else {
            return;
        };
        let client_id = self.backends.client_id(client, held.side);
        let mut next = format!(
            "/oidc/session/end?client_id={client_id}&post_logout_redirect_uri=https%3A%2F%2Fbye.example&state=s"
        );
        let (had_logto, had_mgpass) = (
            self.browsers[browser].jar.logto,
            self.browsers[browser].jar.mgpass,
        );
        for _ in 0..5 {
            let cookies = self.browsers[browser].jar.cookies(&next);
            let answer = self.ask(Request::new("GET", &next).header("cookie", &cookies));
            self.browsers[browser].jar.take(&answer);
            let Some(to) = answer.header("location") else {
                break;
            };
            if let Some(rest) = to.strip_prefix("https://mgpass.example.test/logout") {
                // The browser goes there itself, with mgPass's own cookie.
                if let Some(session) = self.browsers[browser].jar.mgpass {
                    self.backends.end_session(Side::Mgpass, session, client);
                }
                if !rest.contains("signed-out") {
                    break;
                }
                next = "/_proxy/signed-out".to_owned();
                continue;
            }
            match to.starts_with("/oidc/") {
                true => next = to.to_owned(),
                false => break,
            }
        }
        let now_ms = self.world.now_ms();
        let is_left = |side: Side, session: Option<usize>| {
            session.is_some_and(|session| self.backends.session_lives(side, session, now_ms))
        };
        let is_alone = self.now.holder == "alone";
        let left = [
            is_left(Side::Logto, had_logto) && !is_alone,
            is_left(Side::Mgpass, had_mgpass),
        ];
        if left.contains(&true) && self.now.moves(client) && self.now.signs_out_at_both() {
            let day = self.now.day(now_ms);
            self.judge
                .left_signed_in(format!("browser {browser} at {day}: {left:?}"));
        }
        self.judge.n_signed_out += 1;
        let browser = &mut self.browsers[browser];
        browser.jar.logto = None;
        browser.jar.mgpass = browser.jar.mgpass.filter(|_| left[1]);
        browser.alone_until_ms = 0;
        browser.used[used].alone_until_ms = 0;
    }

    /// By an application that manages users: `PATCH .../is-suspended`.
    pub fn suspend(&mut self, person: usize, is_suspended: bool) {
        let id = self.people[person].id.clone();
        let body = json!({ "isSuspended": is_suspended }).to_string();
        let path = format!("/api/users/{id}/is-suspended");
        let user = person as u32;
        if is_suspended {
            self.owed.insert(user);
        }
        let token = self.world.admin_token();
        let answer = self.ask(Request::new("PATCH", &path).token(&token).json(&body));
        if answer.status != 200 {
            return;
        }
        self.people[person].is_suspended = is_suspended;
        self.judge.n_suspended += u64::from(is_suspended);
        // Logto alone ends them as well.
        let browsers = self.browsers.iter_mut().filter(|one| one.person == person);
        for browser in browsers {
            browser.alone_until_ms = 0;
            for used in &mut browser.used {
                used.alone_until_ms = 0;
            }
        }
    }

    pub fn is_suspended_and_lives(&self, person: usize) -> bool {
        let now_ms = self.world.now_ms();
        self.people[person].is_suspended
            && [Side::Logto, Side::Mgpass]
                .into_iter()
                .any(|side| self.backends.lives_anywhere(side, person as u32, now_ms))
    }

    /// By an application that manages users.
    pub fn set_password(&mut self, person: usize, password: &str) {
        let id = self.people[person].id.clone();
        self.owed.insert(person as u32);
        let token = self.world.admin_token();
        let request = Request::new("PATCH", &format!("/api/users/{id}/password")).token(&token);
        let body = json!({ "password": password }).to_string();
        let answer = self.ask(request.json(&body));
        self.judge.n_passwords += u64::from(answer.status == 200);
    }

    /// Cookies run out in the browser.
    pub fn forget_old_cookies(&mut self, browser: usize) {
        let now_ms = self.world.now_ms();
        let jar = &mut self.browsers[browser].jar;
        let is_kept = |session: &usize| !self.backends.is_over(Side::Logto, *session, now_ms);
        jar.logto = jar.logto.filter(is_kept);
    }
}

fn code_of(answer: &Answered) -> Option<String> {
    let to = answer.header("location")?;
    Some(to.split_once("code=")?.1.to_owned())
}
