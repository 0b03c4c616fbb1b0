//! Where each page of a sign-in leads.

use super::*;
use crate::inbound::request::UserId;

fn probe() -> Probe {
    Probe {
        user: UserId::parse("probe1").unwrap(),
        email: Secret("probe@example.test".to_owned()),
        password: Secret("hunter2&".to_owned()),
        client_id: "app_1".to_owned(),
        client_secret: None,
        redirect_uri: "https://app.example.test/cb".to_owned(),
    }
}

fn page(status: u16, location: Option<&str>, body: &str) -> Visited {
    Visited {
        status,
        location: location.map(str::to_owned),
        cookies: vec![],
        body: body.to_owned(),
    }
}

/// The code, or where it goes next and what it sends there.
fn after(visited: &Visited, has_sent_password: bool) -> Result<String, &'static str> {
    let mut progress = Progress { has_sent_password };
    let url = "https://auth.example.test/authorize?a=1";
    next(url, visited, &probe(), "s1", &mut progress).map(|next| match next {
        Next::Code(code) => format!("code {code}"),
        Next::Step(step) => match step.form {
            Some(body) => format!("POST {} {}", step.url, body.0),
            None => format!("GET {}", step.url),
        },
    })
}

#[test]
fn each_page_leads_on_or_says_why_not() {
    const SIGN_IN: &str = r#"<form method=post><input name=email type=email><input name=pw type=password><button>Go</button></form>"#;
    let check =
        |status: u16, location: Option<&str>, body: &str, expected: Result<&str, &'static str>| {
            let found = after(&page(status, location, body), false);
            assert_eq!(found, expected.map(str::to_owned));
        };
    check(
        200,
        None,
        SIGN_IN,
        Ok("POST https://auth.example.test/authorize?a=1 email=probe%40example.test&pw=hunter2%26"),
    );
    check(
        200,
        None,
        r#"<form method="post" action="/next"><input name="id"></form>"#,
        Ok("POST https://auth.example.test/next id=probe%40example.test"),
    );
    check(
        200,
        None,
        r#"<form method=post><button name=consent value=yes>Go</button></form>"#,
        Ok("POST https://auth.example.test/authorize?a=1 consent=yes"),
    );
    check(200, None, "<p>Soon</p>", Err("no_form"));
    check(404, None, "<p>Gone</p>", Err("refused"));
    check(503, None, SIGN_IN, Err("server_error"));
    check(
        200,
        None,
        &SIGN_IN.replace("method=post", ""),
        Err("form_by_get"),
    );
    check(
        302,
        Some("/more"),
        "",
        Ok("GET https://auth.example.test/more"),
    );
    check(302, None, "", Err("redirect_to_nowhere"));
    let back = "https://app.example.test/cb";
    check(
        302,
        Some(&format!("{back}?code=c1&state=s1")),
        "",
        Ok("code c1"),
    );
    check(
        302,
        Some(&format!("{back}?code=c1&state=s2")),
        "",
        Err("other_state"),
    );
    check(
        302,
        Some(&format!("{back}?error=access_denied&state=s1")),
        "",
        Err("access_denied"),
    );
    check(
        302,
        Some(&format!("{back}?error=login_required&state=s1")),
        "",
        Err("no_code"),
    );
    assert_eq!(after(&page(401, None, SIGN_IN), true), Err("refused"));
}
