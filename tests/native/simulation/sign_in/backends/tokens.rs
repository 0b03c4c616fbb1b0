//! The token endpoints of both sides: codes once, refresh tokens with rotation, leeway and
//! replay.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dual_write_proxy::policy::applications::Side;
use form_urlencoded::parse;
use serde_json::json;

use super::doors::{answer, refused};
use super::{
    Backends, CODE_MS, End, Kind, LOGTO_LEEWAY_MS, LOGTO_MS, MGPASS_LEEWAY_MS, MGPASS_MS, index,
    number,
};
use crate::support::logto::LogtoAnswer;
use crate::support::tokens::MGPASS_ISSUER;

impl Backends {
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
}
