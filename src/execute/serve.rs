//! A read: planned fact by fact, answered by mgPass or by Logto.

use super::{Executed, MirrorOutcome, Reply, Request};
use crate::authenticate::{authenticate, management_policy};
use crate::backend::mgpass::Caller;
use crate::context::Context;
use crate::error::ProxyError;
use crate::flags::bucket::Bucket;
use crate::mirror::target::MirrorRow;
use crate::observe::Event;
use crate::plan::{Facts, Origin, Plan, Primary, Question, Reason, Step, Verdict, plan};
use crate::ports::{Exchange, Platform};
use crate::read;
use crate::request::{Secret, UserId, bearer};
use crate::token::{self, AttributedToken};

impl Request<'_> {
    pub(super) async fn read<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Executed<E::Copy> {
        let flags = &self.around.flags;
        let user = self.classified.user.as_ref();
        // A query may ask for what only Logto has (`includeSsoIdentities`, password hashes).
        let Some(user) = user.filter(|_| self.target.query.is_none_or(str::is_empty)) else {
            return self.pass(platform, exchange, Reason::NotARead).await;
        };
        let bucket = Bucket::of(user, &flags.salt);
        let authorization = exchange.header("authorization");
        let mut token = None;
        let mut facts = Facts::default();
        let mut mirror = None;
        let plan = loop {
            match plan(self.classified.operation, flags, Some(bucket), &facts) {
                Step::Go(plan) => break plan,
                Step::Ask(Question::Origin) => {
                    let (origin, attributed) = origin(context, authorization.as_deref());
                    token = attributed;
                    facts.origin = Some(origin);
                }
                Step::Ask(Question::Verdict) => {
                    facts.verdict = Some(self.verdict(platform, context, token.as_ref()).await);
                }
                Step::Ask(Question::Standing) => {
                    let (standing, row) =
                        read::standing(platform, user, self.around.began_ms).await;
                    mirror = row;
                    facts.standing = Some(standing);
                }
            }
        };
        let mut executed = match plan.primary {
            Primary::Logto => self.pass(platform, exchange, plan.reason).await,
            Primary::Mgpass => {
                self.serve(
                    platform,
                    context,
                    exchange,
                    plan,
                    Caller::Proxy,
                    user,
                    mirror,
                )
                .await
            }
            Primary::MgpassAsCaller => {
                let own = authorization
                    .as_deref()
                    .and_then(bearer)
                    .unwrap_or_default();
                let caller = Caller::Client(Secret(own.to_owned()));
                let mirror = read::mirror_row_if_any(platform, user).await;
                self.serve(platform, context, exchange, plan, caller, user, mirror)
                    .await
            }
        };
        executed.bucket = Some(bucket);
        executed
    }

    #[expect(clippy::too_many_arguments, reason = "one call, spelled out")]
    async fn serve<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        plan: Plan,
        caller: Caller,
        user: &UserId,
        mirror: Option<MirrorRow>,
    ) -> Executed<E::Copy> {
        let if_none_match = exchange.header("if-none-match");
        let served = read::users_get(
            platform,
            context,
            &caller,
            user,
            mirror,
            if_none_match.as_deref(),
            self.around.request_id,
        )
        .await;
        match (served, caller) {
            (Ok(answer), _) => Executed {
                operation: self.classified.operation,
                plan,
                mirror: MirrorOutcome::None,
                bucket: None,
                backend: "mgpass",
                status: answer.status,
                fallback: None,
                error: None,
                afterwards: None,
                reply: Reply::Own(answer),
            },
            // Once, within the request. Logto judges the token again itself.
            (Err(unserved), Caller::Proxy) => Executed {
                fallback: Some(unserved.code()),
                plan,
                ..self.pass(platform, exchange, plan.reason).await
            },
            // Logto does not know this token: there is nobody to fall back to.
            (Err(unserved), Caller::Client(_)) => Executed {
                fallback: Some(unserved.code()),
                plan,
                ..self.failed(ProxyError::MgpassUnavailable)
            },
        }
    }

    async fn verdict<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        token: Option<&AttributedToken<'_>>,
    ) -> Verdict {
        let Some(token) = token else {
            return Verdict::Refused;
        };
        let policy = management_policy(context, token.issuer());
        match authenticate(platform, context, token, &policy).await {
            Ok(_) => Verdict::Authentic,
            Err(failure) => {
                platform.emit(&Event::TokenRefused {
                    request_id: self.around.request_id,
                    issuer: token.issuer().label(),
                    code: failure.code(),
                });
                Verdict::Refused
            }
        }
    }
}

/// Whose token it claims to be: that chooses the checks, and nothing else.
fn origin<'t>(
    context: &Context<'_>,
    authorization: Option<&'t str>,
) -> (Origin, Option<AttributedToken<'t>>) {
    let Some(compact) = authorization.and_then(bearer) else {
        return (Origin::None, None);
    };
    let Ok(parsed) = token::parse(compact) else {
        return (Origin::None, None);
    };
    match parsed.partition(context.issuers) {
        Err(_) => (Origin::Foreign, None),
        Ok(token) => match token.issuer() {
            token::Issuer::Logto => (Origin::Logto, Some(token)),
            token::Issuer::Mgpass => (Origin::Mgpass, Some(token)),
        },
    }
}
