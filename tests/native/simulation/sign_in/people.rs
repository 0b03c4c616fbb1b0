//! People with browsers and applications, as well-behaved as docs/applications.md asks: one
//! refresh at a time, the new token kept before it is used, one more try at once where no
//! answer came, and then a sign-in. All they ask of the auth host goes through the proxy.

use std::collections::HashSet;
use std::rc::Rc;

use dual_write_proxy::policy::applications::Side;
use serde_json::{Value, json};

use super::backends::{Backends, End, Kind, LOGTO_MS};
use super::browsers::{Browser, Held, Loss};
use super::judge::{ENDED, Judge};
use super::operator::Now;
use crate::support::client::Answered;
use crate::support::executor::Random;
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

impl Way {
    /// mgPass cannot take it over.
    pub fn stays(self) -> bool {
        matches!(self, Self::Factor | Self::SocialAndFactor | Self::Company)
    }
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
    /// The proxy has set a password at mgPass: what that left in mgPass's log is told from
    /// others' entries for 15 minutes, in which cron comes by.
    pub owes_cron: bool,
    /// Whose sessions may be ended by a call of the proxy's: the suspended, and whoever has a
    /// new password.
    pub owed: HashSet<u32>,
}

impl Town {
    pub(super) fn ask(&mut self, request: Request) -> Answered {
        let answered = self.world.ask_at(&self.node, request);
        self.settle();
        answered
    }

    /// What the fakes keep of each request is not needed here; what they ended counts.
    pub fn settle(&mut self) {
        let world = Rc::clone(&self.world);
        world.logto.served.borrow_mut().clear();
        world.logto.presented.borrow_mut().clear();
        for (line, _) in world.mgpass.served.borrow_mut().drain(..) {
            self.owes_cron |= line.starts_with("PATCH");
        }
        let now_ms = world.now_ms();
        let ids = self.backends.ids.borrow();
        for (id, _) in world.logto.ended.borrow_mut().drain(..) {
            let user = ids[&id];
            let n = (self.backends).end_all(Side::Logto, user, End::Revoked, now_ms);
            if !self.owed.contains(&user) {
                self.judge.add(ENDED, n, || {
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
                self.judge.add(ENDED, n, || {
                    format!("revoke-all of {id}, whom nobody suspended")
                });
            }
        }
    }

    pub(super) fn person_of(&self, browser: usize) -> &Person {
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
                Refreshed::Kept | Refreshed::Later => {
                    if asks_alone {
                        self.browsers[browser].owes_a_sign_in_until_ms = now_ms + LOGTO_MS;
                    }
                    return;
                }
                Refreshed::Gone(why) => loss = Some(why),
            }
        }
        self.sign_in(browser, used, asks_alone, loss);
    }

    pub(super) fn token_request(
        &mut self,
        side: Side,
        client: usize,
        name: &str,
        secret: &str,
    ) -> Answered {
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

    pub(super) fn keep(&mut self, browser: usize, used: usize, side: Side, body: &str) {
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
                    self.judge.add(ENDED, 1, || {
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
                        self.judge.add(ENDED, 1, || {
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
            self.judge.add(ENDED, 1, || {
                format!(
                    "userinfo by a live token of {:?}: {}",
                    held.side, answer.status
                )
            });
        }
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
