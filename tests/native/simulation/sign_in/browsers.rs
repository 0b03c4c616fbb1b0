//! A browser: its cookies of the auth host, mgPass's session, what its applications hold, and
//! beside them what they would hold with Logto alone.

use dual_write_proxy::policy::applications::Side;

use super::backends::{Backends, Kind, LOGTO_MS};
use crate::support::client::Answered;

/// What an application's own session in a browser holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) side: Side,
    pub(super) token: String,
    pub(super) access: String,
}

pub(super) struct Used {
    pub(super) client: usize,
    pub(super) held: Option<Held>,
    /// Since its last session, which was not followed by another yet.
    pub(super) lost: Option<Loss>,
    /// What it would be with Logto alone.
    pub(super) alone_until_ms: i64,
    pub(super) alone_since_ms: i64,
}

/// Cookies of the auth host's, and mgPass's session.
#[derive(Default)]
pub(super) struct Jar {
    pub(super) pin: Option<String>,
    pub(super) ready: Option<String>,
    pub(super) sign_out: Option<String>,
    pub(super) logto: Option<usize>,
    pub(super) mgpass: Option<usize>,
    /// By a mark: who last signed in here at Logto has what mgPass cannot take over.
    pub(super) stays: bool,
}

pub struct Browser {
    pub(super) person: usize,
    pub(super) jar: Jar,
    pub(super) used: Vec<Used>,
    pub(super) alone_until_ms: i64,
    /// Logto alone has asked, and nobody has yet: who gave up then, or whose application still
    /// held a younger chain, is asked later. As long as a session lasts that began then.
    pub(super) owes_a_sign_in_until_ms: i64,
    /// The smallest share by which it was drawn.
    pub(super) moved_at_bps: Option<u16>,
}

/// Why an application's session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    AnswerLost,
    LogtoLeft,
    Revoked,
    /// As it would have been anyway.
    ByItself,
}

impl Jar {
    pub(super) fn cookies(&self, path: &str) -> String {
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

    pub(super) fn take(&mut self, answer: &Answered) {
        let own = answer.all("set-cookie");
        for line in own
            .into_iter()
            .chain(answer.cookies.iter().map(String::as_str))
        {
            let pair = line.split(';').next().unwrap_or_default().to_owned();
            let kept = (!line.contains("Max-Age=0")).then(|| pair.clone());
            match pair.split('=').next() {
                Some("__Secure-dwp_pin") => self.pin = kept,
                Some("__Secure-dwp_ready") => {
                    self.stays |= pair.starts_with("__Secure-dwp_ready=0.");
                    self.ready = kept;
                }
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
            owes_a_sign_in_until_ms: 0,
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
    pub(super) fn asks_alone(&mut self, used: usize, kind: Kind, now_ms: i64) -> bool {
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

    pub(super) fn restart_alone(&mut self, used: usize, with_session: bool, now_ms: i64) {
        if with_session {
            self.alone_until_ms = now_ms + LOGTO_MS;
        }
        self.used[used].alone_until_ms = now_ms + LOGTO_MS;
        self.used[used].alone_since_ms = now_ms;
    }
}
