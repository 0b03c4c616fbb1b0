//! Signing in by the login link, at either side, and signing out: with what is judged of each.

use dual_write_proxy::operate::forecast::Reason;
use dual_write_proxy::policy::applications::Side;
use dual_write_proxy::runtime::ports::Store;
use serde_json::json;

use super::backends::{DAY_MS, LOGTO_MS};
use super::browsers::Loss;
use super::judge::{
    AROUND_FACTOR, BRAKED, ENDED, FROM_SESSION, LEFT, MOVED_BACK, TWO_WRITERS, UNNAMED, UNREADY,
};
use super::people::{Town, Way};
use crate::support::Request;
use crate::support::client::Answered;
use crate::support::logto::Interaction;

impl Town {
    /// By the login link, to an application that is signed in.
    pub(super) fn sign_in(
        &mut self,
        browser: usize,
        used: usize,
        asks_alone: bool,
        loss: Option<Loss>,
    ) {
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
        self.judge_draw(browser, client, side, cookies.contains("dwp_ready=1."));
        let had_logto = self.browsers[browser].jar.logto;
        let code = match side {
            Side::Logto => self.at_logto(browser, client),
            Side::Mgpass => self.at_mgpass(browser, client),
        };
        let Some((code, is_asked)) = code else {
            if asks_alone {
                let until_ms = self.world.now_ms() + LOGTO_MS;
                self.browsers[browser].owes_a_sign_in_until_ms = until_ms;
            }
            self.browsers[browser].used[used].lost = loss;
            return;
        };
        match is_asked {
            true => {
                let is_revoked = |session| self.backends.is_revoked(Side::Logto, session);
                // Its cookie was there, and what it named was not any more.
                let is_ended = side == Side::Logto && had_logto.is_some_and(is_revoked);
                let loss = match is_ended {
                    true => loss
                        .filter(|loss| *loss != Loss::ByItself)
                        .or(Some(Loss::Revoked)),
                    false => loss,
                };
                self.asked(browser, used, side, asks_alone, loss);
            }
            // Without a question, as behind a lost answer: with Logto alone it would be so, too.
            false => {
                let now_ms = self.world.now_ms();
                self.browsers[browser].restart_alone(used, false, now_ms);
            }
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
            self.judge.add(ENDED, 1, || {
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
                judge.say(BRAKED, say("braked"));
            }
            if !now.pages_are_closed && !is_sole {
                judge.say(TWO_WRITERS, say("mgPass's pages are open"));
            }
            let is_ready = matches!(way, Way::Password | Way::Social);
            if !is_sole && (!is_ready || !had_mark) && self.world.holder() != "mgpass" {
                judge.say(UNREADY, say("not ready"));
            }
            if way.stays() && jar.stays {
                judge.say(AROUND_FACTOR, say("and a mark"));
            }
            if session.is_some() {
                judge.say(FROM_SESSION, say("a session at Logto lives"));
            }
            let bps = moved_at.map_or(now.share_bps, |bps| bps.min(now.share_bps));
            self.browsers[browser].moved_at_bps = Some(bps);
            return;
        }
        let is_moved = moved_at.is_some_and(|bps| bps <= now.share_bps);
        // By the mark of a sign-in at Logto: it cannot be of anybody else's.
        let stays = way.stays() && jar.stays;
        let is_free = !now.is_braked()
            && !stays
            && !now.mgpass_is_down
            && (now.pages_are_closed || is_sole)
            && now.moves(client)
            && jar.logto.is_none()
            && (had_mark || is_sole);
        if is_moved && is_free && now.is_steady(now_ms) {
            judge.say(
                MOVED_BACK,
                format!("browser {browser} at {}", now.day(now_ms)),
            );
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
        let verdict = self.world.value(Store::Proxy, &sql);
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
            Store::Mgpass,
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
        let owed_until_ms = std::mem::take(&mut self.browsers[browser].owes_a_sign_in_until_ms);
        if asks_alone || owed_until_ms > now_ms {
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
                self.judge.say(
                    UNNAMED,
                    format!("{way:?} in browser {browser} at {side:?}, {day}, {loss:?}"),
                );
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
                .say(LEFT, format!("browser {browser} at {day}: {left:?}"));
        }
        self.judge.n_signed_out += 1;
        let browser = &mut self.browsers[browser];
        browser.jar.logto = None;
        browser.jar.mgpass = browser.jar.mgpass.filter(|_| left[1]);
        browser.alone_until_ms = 0;
        browser.used[used].alone_until_ms = 0;
    }
}

fn code_of(answer: &Answered) -> Option<String> {
    let to = answer.header("location")?;
    Some(to.split_once("code=")?.1.to_owned())
}
