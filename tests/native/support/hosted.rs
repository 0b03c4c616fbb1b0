//! mgPass's hosted sign-in page, as a browser meets it: a form, a cookie, a redirect with
//! a code; and what mgPass writes into its audit log of that.

use dual_write_proxy::inbound::request::Secret;
use dual_write_proxy::runtime::digest::digest;
use dual_write_proxy::runtime::ports::{Call, Store, Visited};
use form_urlencoded::parse;

use super::database::Databases;
use super::mgpass::Mgpass;

/// What a user's password is kept as here.
pub fn kept(password: &str) -> String {
    format!("digest:{}", digest(password))
}

const FORM: &str = r#"<!doctype html><title>Sign in</title><form method="post">
<input name="csrf" type="hidden" value="c1"><label>Email <input name="email" type="email"></label>
<label>Password <input name="password" type="password"></label><button>Sign in</button></form>"#;

impl Mgpass {
    pub fn visit(&self, databases: &Databases, call: &Call) -> Visited {
        let path = call.url.splitn(4, '/').nth(3).unwrap_or_default();
        self.served
            .borrow_mut()
            .push((format!("{} /{path}", call.method), None));
        let Some(query) = path.strip_prefix("authorize?") else {
            return page(404, "Not found");
        };
        let of = |text: &str, name: &str| {
            let mut pairs = parse(text.as_bytes());
            let found = pairs.find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let cookie = call.headers.iter().find(|(name, _)| *name == "cookie");
        let cookie = cookie.map_or("", |(_, cookie)| cookie.0.as_str());
        if call.method == "GET" {
            // A session that lives answers without a form.
            if let Some((_, rest)) = cookie.split_once("session=") {
                let user = rest.split(';').next().unwrap_or_default();
                if !self.ended.borrow().contains(user) {
                    return self.done(user, query);
                }
            }
            let mut shown = page(200, FORM);
            shown.cookies = vec![Secret("visit=v1; Path=/; HttpOnly".to_owned())];
            return shown;
        }
        let body = call.body.as_ref().map(|body| body.0.as_str());
        let body = body.unwrap_or_default();
        let has_cookie = cookie.contains("visit=v1");
        if of(body, "csrf") != "c1" || !has_cookie {
            return page(400, "Expired");
        }
        let sql = format!(
            "SELECT id FROM users WHERE deleted_at IS NULL AND is_suspended = 0 AND email = '{}' AND password_hash = '{}'",
            of(body, "email"),
            kept(&of(body, "password")),
        );
        let rows = databases.rows(Store::Mgpass, &sql);
        let Some(user) = rows.first().and_then(|row| row["id"].as_str()) else {
            return page(401, FORM);
        };
        let n = self.served.borrow().len();
        databases.execute(
            Store::Mgpass,
            &format!(
                "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, metadata, created_at) VALUES \
                 ('aud_signin_{n}', 'user.login.success', 'user', '{user}', 'user', '{user}', '{{\"method\":\"password\"}}', unixepoch())"
            ),
        );
        self.done(user, query)
    }

    /// Back to the application, with a code and a session.
    fn done(&self, user: &str, query: &str) -> Visited {
        let of = |name: &str| {
            let mut pairs = parse(query.as_bytes());
            let found = pairs.find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let n = self.served.borrow().len();
        let mut done = page(302, "");
        done.location = Some(format!(
            "{}?code=code-{n}&state={}",
            of("redirect_uri"),
            of("state")
        ));
        done.cookies = vec![Secret(format!("session={user}; Path=/; HttpOnly"))];
        *self.code.borrow_mut() = Some((format!("code-{n}"), user.to_owned(), of("client_id")));
        done
    }
}

fn page(status: u16, body: &str) -> Visited {
    Visited {
        status,
        location: None,
        cookies: vec![],
        body: body.to_owned(),
    }
}
