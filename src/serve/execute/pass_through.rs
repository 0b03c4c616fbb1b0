//! What no rule claims, without a future: two plain functions, one before Logto is asked
//! and one after. Most of all traffic goes this way.
//!
//! [`super::execute`] does the same where there is a future anyway.

use super::{Executed, to_logto, unanswered};
use crate::inbound::classify::{Kind, Operation};
use crate::inbound::{Addressee, Inbound};
use crate::policy::plan::{Plan, Reason};
use crate::runtime::answer::OwnAnswer;
use crate::runtime::ports::{CallFailure, Forward};
use crate::runtime::settings::Settings;
use crate::serve::authority::{Need, need};

/// `None`: this request takes more than passing it on. What belongs to a client is passed
/// on here where no applications are listed.
pub fn begin<'a>(settings: &'a Settings, inbound: &'a Inbound) -> Option<Forward<'a>> {
    let operation = inbound.operation;
    let is_noticed = operation.is_password_check() && settings.carries_passwords();
    let is_unclaimed = operation.kind() == Kind::PassThrough || operation.is_of_a_client();
    let is_passed_on = is_unclaimed
        && !is_noticed
        && inbound.addressee == Addressee::Logto
        && !settings.logto_origin.is_empty()
        && !(settings.handover.needs_proof() && need(inbound) != Need::Nothing);
    is_passed_on.then(|| to_logto(settings, inbound))
}

/// `path`: of the request, where there is an error to be told.
pub fn end<C>(
    outcome: Result<u16, CallFailure>,
    path: impl FnOnce() -> String,
    request_id: &str,
) -> Executed<C> {
    let plan = Plan::logto(Reason::NotARead);
    match outcome {
        Ok(status) => Executed::forwarded(Operation::PassThrough, plan, status),
        Err(failure) => {
            let own = OwnAnswer::of(unanswered(&failure), &path(), request_id);
            Executed::own(Operation::PassThrough, plan, own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::request::Method;
    use crate::serve::execute::Reply;

    fn settings(origin: &str) -> Settings {
        Settings::read(|name| (name == "LOGTO_ORIGIN").then(|| origin.to_owned()))
    }

    fn passed_on(settings: &Settings, method: Method, path: &str) -> Option<String> {
        let url = format!("https://auth.example.com{path}");
        let inbound = Inbound::read(method, url, |_| None);
        begin(settings, &inbound).map(|forward| forward.url)
    }

    #[test]
    fn only_what_no_rule_claims_is_passed_on() {
        let settings = settings("https://logto.internal");
        for (method, path) in [
            (Method::Get, "/"),
            (Method::Get, "/oidc/me?x=%2F"),
            (Method::Post, "/oidc/token"),
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
        let nowhere = Inbound::read(Method::Get, "no URL".to_owned(), |_| None);
        assert!(begin(&settings, &nowhere).is_none());
    }

    #[test]
    fn without_an_origin_nothing_is_passed_on() {
        let settings = settings("");
        assert!(passed_on(&settings, Method::Get, "/").is_none());
    }

    #[test]
    fn logto_not_answering_is_said_in_words_of_our_own() {
        let failed = end::<()>(
            Err(CallFailure::Unreachable),
            || "/assets/1".to_owned(),
            "r1",
        );
        let Reply::Own(answer) = failed.reply else {
            panic!("no answer of its own");
        };
        assert_eq!((failed.status, answer.status), (502, 502));
        assert!(answer.body.contains("r1"), "{}", answer.body);
        let passed = end::<()>(Ok(404), || panic!("there is no error"), "r1");
        assert_eq!(passed.status, 404);
    }
}
