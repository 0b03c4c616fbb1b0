//! What no rule claims, without a future: two plain functions, one before Logto is asked
//! and one after. Most of all traffic goes this way.
//!
//! [`super::execute`] does the same where there is a future anyway.

use super::{Executed, forwarded, to_logto};
use crate::inbound::classify::Operation;
use crate::inbound::request::{Own, Target};
use crate::policy::plan::{Plan, Reason};
use crate::runtime::context::Surroundings;
use crate::runtime::ports::{CallFailure, Forward};
use crate::runtime::settings::Settings;

/// `None`: this request takes more than passing it on.
pub fn begin<'a>(
    settings: &'a Settings,
    target: &Target<'a>,
    operation: Operation,
) -> Option<Forward<'a>> {
    let is_passed_on = operation == Operation::PassThrough
        && target.own() == Own::No
        && !settings.logto_origin.is_empty();
    is_passed_on.then(|| to_logto(settings, target, operation))
}

/// `url`: as the client sent it, where there is an error to be told.
pub fn end<C>(
    around: &Surroundings<'_>,
    url: &str,
    outcome: Result<u16, CallFailure>,
) -> Executed<C> {
    let path = Target::parse(url).map_or("/", |target| target.path);
    let plan = Plan::logto(Reason::NotARead);
    forwarded(Operation::PassThrough, plan, path, around, outcome)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inbound::classify::classify;
    use crate::inbound::request::Method;
    use crate::policy::flags::Flags;
    use crate::serve::execute::Reply;

    fn settings(origin: &str) -> Settings {
        Settings::read(|name| (name == "LOGTO_ORIGIN").then(|| origin.to_owned()))
    }

    fn passed_on(settings: &Settings, method: Method, path: &str) -> Option<String> {
        let url = format!("https://auth.example.com{path}");
        let target = Target::parse(&url)?;
        let operation = classify(method, target.path).operation;
        begin(settings, &target, operation).map(|forward| forward.url)
    }

    #[test]
    fn only_what_no_rule_claims_is_passed_on() {
        let settings = settings("https://logto.internal");
        for (method, path) in [
            (Method::Get, "/"),
            (Method::Get, "/oidc/me?x=%2F"),
            (Method::Other, "/api/users/u1"),
            (Method::Post, "/api/applications"),
            (Method::Get, "/_proxyable"),
        ] {
            assert_eq!(
                passed_on(&settings, method, path),
                Some(format!("https://logto.internal{path}"))
            );
        }
        for (method, path) in [
            (Method::Get, "/api/users/u1"),
            (Method::Patch, "/api/Users/u1/"),
            (Method::Post, "/oidc/token/introspection"),
            (Method::Get, "/_proxy/jwks"),
            (Method::Post, "/_proxy/hooks/logto"),
            (Method::Get, "//_proxy/status"),
            (Method::Other, "/_Proxy/status"),
        ] {
            assert_eq!(passed_on(&settings, method, path), None, "{path}");
        }
        assert!(Target::parse("no URL").is_none());
    }

    #[test]
    fn without_an_origin_nothing_is_passed_on() {
        let settings = settings("");
        assert!(passed_on(&settings, Method::Get, "/").is_none());
    }

    #[test]
    fn logto_not_answering_is_said_in_words_of_our_own() {
        let settings = settings("https://logto.internal");
        let around = Surroundings {
            settings: &settings,
            context: None,
            flags: Arc::new(Flags::default()),
            request_id: "r1",
            began_ms: 0,
        };
        let url = "https://auth.example.com/assets/1";
        let failed = end::<()>(&around, url, Err(CallFailure::Unreachable));
        let Reply::Own(answer) = failed.reply else {
            panic!("no answer of its own");
        };
        assert_eq!((failed.status, answer.status), (502, 502));
        assert!(answer.body.contains("r1"), "{}", answer.body);
        assert_eq!(end::<()>(&around, "", Ok(404)).status, 404);
    }
}
