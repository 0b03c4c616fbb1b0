//! A read: planned fact by fact, answered by mgPass or by Logto.

use super::{Executed, Reply};
use crate::auth::authenticate::{authenticate, management_policy};
use crate::inbound::request::{Secret, UserId, bearer};
use crate::mirror::eligibility;
use crate::mirror::target::MirrorRow;
use crate::policy::breaker::{CallResult, Permit};
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{
    Admission, Authenticity, Fact, Facts, Origin, Plan, Primary, Reason, Step, plan,
};
use crate::policy::token::{self, AttributedToken};
use crate::runtime::backend::mgpass::Caller;
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::metrics::Fallback;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Exchange, Platform};
use crate::serve::authority::Kept;
use crate::serve::compare::{Comparison, Served};
use crate::serve::follow_up::FollowUp;
use crate::serve::read::{self, Unserved, Wanted};
use crate::serve::translate::{Shown, takes_english};

impl Request<'_> {
    pub(super) async fn read<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
    ) -> Result<Executed<E::Copy>, Kept> {
        let flags = &self.flags;
        let user = self.inbound.user.as_ref();
        // A query may ask for what only Logto has (`includeSsoIdentities`, password hashes).
        let Some(user) = user.filter(|_| self.inbound.query().is_none_or(str::is_empty)) else {
            return self.pass_proven(platform, exchange, Reason::Query).await;
        };
        let bucket = Bucket::of(user, &flags.salt);
        let authorization = exchange.header("authorization");
        let mut token = None;
        let mut facts = Facts::default();
        let mut mirror = None;
        let plan = loop {
            match plan(self.inbound.operation, flags, Some(bucket), &facts) {
                Step::Go(plan) => break plan,
                Step::Ask(Fact::Origin) => {
                    let (origin, attributed) = origin(context, authorization.as_deref());
                    token = attributed;
                    facts.origin = Some(origin);
                }
                Step::Ask(Fact::Authenticity) => {
                    facts.authenticity =
                        Some(self.authenticity(platform, context, token.as_ref()).await);
                }
                Step::Ask(Fact::Eligibility) => {
                    let (eligibility, row) =
                        eligibility::of(platform, context, user, self.began_ms).await;
                    mirror = row;
                    facts.eligibility = Some(eligibility);
                }
                Step::Ask(Fact::Admission) => {
                    facts.admission = Some(admission(platform, context));
                }
            }
        };
        let mut executed = match plan.primary {
            Primary::Logto => {
                self.serve_from_logto(platform, context, exchange, plan.reason, user)
                    .await?
            }
            Primary::Mgpass => {
                self.serve(platform, context, exchange, plan, user, mirror)
                    .await?
            }
            Primary::MgpassAsCaller => {
                let own = authorization
                    .as_deref()
                    .and_then(bearer)
                    .unwrap_or_default();
                let caller = Caller::Client(Secret(own.to_owned()));
                self.serve_as_caller(platform, context, exchange, plan, caller, user)
                    .await
            }
        };
        executed.bucket = Some(bucket);
        Ok(executed)
    }

    async fn serve_from_logto<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        reason: Reason,
        user: &UserId,
    ) -> Result<Executed<E::Copy>, Kept> {
        let mut executed = self.pass_proven(platform, exchange, reason).await?;
        if reason.is_comparable()
            && executed.reply == Reply::Forwarded
            && matches!(executed.status, 200 | 404)
            && self.is_sampled(platform, context)
            && let Some(copy) = exchange.tee_answer()
        {
            let status = executed.status;
            executed.follow_up = Some(self.compare(user, Served::ByLogto { status, copy }));
        }
        Ok(executed)
    }

    /// With the proxy's own credential; on any failure Logto answers, once, within
    /// the request, and judges the token again itself.
    async fn serve<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        plan: Plan,
        user: &UserId,
        mirror: Option<MirrorRow>,
    ) -> Result<Executed<E::Copy>, Kept> {
        let wanted = self.wanted(user);
        let shown = read::shown(platform, context, &Caller::Proxy, wanted, mirror.as_ref()).await;
        tell_breaker(platform, context, shown.as_ref().err());
        let language = exchange.header("accept-language");
        let shown = match shown {
            Ok(Shown::Refusal(_)) if !takes_english(language.as_deref()) => {
                Err(Unserved::NotEnglish)
            }
            shown => shown,
        };
        Ok(match shown {
            Ok(shown) => {
                let compared = self
                    .is_sampled(platform, context)
                    .then(|| shown.clone())
                    .map(|shown| self.compare(user, Served::ByMgpass { shown }));
                Executed {
                    follow_up: compared,
                    ..self.shown(exchange, plan, shown)
                }
            }
            Err(unserved) => Executed {
                fallback: Some(fallback(unserved)),
                plan,
                ..self.pass_proven(platform, exchange, plan.reason).await?
            },
        })
    }

    /// Logto does not know this token: there is nobody to fall back to.
    async fn serve_as_caller<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        plan: Plan,
        caller: Caller,
        user: &UserId,
    ) -> Executed<E::Copy> {
        let mirror = eligibility::mirror_row_if_any(platform, user).await;
        let wanted = self.wanted(user);
        match read::shown(platform, context, &caller, wanted, mirror.as_ref()).await {
            Ok(shown) => self.shown(exchange, plan, shown),
            Err(unserved) => Executed {
                fallback: Some(fallback(unserved)),
                plan,
                ..self.failed(ProxyError::MgpassUnavailable)
            },
        }
    }

    pub(super) fn shown<E: Exchange>(
        &self,
        exchange: &E,
        plan: Plan,
        shown: Shown,
    ) -> Executed<E::Copy> {
        // Logto's server answers in full to whoever will not have a cache between.
        let if_none_match = exchange.header("if-none-match").filter(|_| {
            let cache_control = exchange.header("cache-control").unwrap_or_default();
            !cache_control
                .split(',')
                .any(|part| part.trim() == "no-cache")
        });
        let answer = shown.into_answer(if_none_match.as_deref(), &self.id);
        Executed {
            backend: "mgpass",
            ..Executed::own(self.inbound.operation, plan, answer.into())
        }
    }

    fn wanted<'w>(&'w self, user: &'w UserId) -> Wanted<'w> {
        Wanted {
            operation: self.inbound.operation,
            user,
            item: self.inbound.item.as_deref(),
        }
    }

    /// By a draw per request, not by user: every user's reads are looked at in time.
    fn is_sampled<P: Platform>(&self, platform: &P, context: &Context<'_>) -> bool {
        let share = u64::from(self.flags.compare_share().basis_points());
        // While mgPass fails there is nothing to compare with.
        share > 0
            && context.isolate.breaker.get().is_closed(platform.now_ms())
            && platform.random_u64() % 10_000 < share
            && context
                .isolate
                .takes_comparison(platform.now_ms(), context.settings.comparisons_per_second)
    }

    fn compare<C>(&self, user: &UserId, served: Served<C>) -> FollowUp<C> {
        FollowUp::Compare(Comparison {
            operation: self.inbound.operation,
            user: user.clone(),
            item: self.inbound.item.clone(),
            path: self.inbound.path().to_owned(),
            began_ms: self.began_ms,
            served,
        })
    }

    async fn authenticity<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        token: Option<&AttributedToken<'_>>,
    ) -> Authenticity {
        let Some(token) = token else {
            return Authenticity::Refused;
        };
        let policy = management_policy(context, token.issuer());
        match authenticate(platform, context, token, &policy).await {
            Ok(_) => Authenticity::Authentic,
            Err(failure) => {
                platform.emit(&Event::TokenRefused {
                    request_id: &self.id,
                    issuer: token.issuer().label(),
                    code: failure.code(),
                });
                Authenticity::Refused
            }
        }
    }
}

fn fallback(unserved: Unserved) -> Fallback {
    Fallback {
        code: unserved.code(),
        blames_mgpass: unserved.blames_mgpass(),
    }
}

fn admission<P: Platform>(platform: &P, context: &Context<'_>) -> Admission {
    let cell = &context.isolate.breaker;
    let mut breaker = cell.get();
    let permit = breaker.permit(platform.now_ms());
    cell.set(breaker);
    match permit {
        Permit::Pass | Permit::Probe => Admission::Admitted,
        Permit::Refuse => Admission::Refused,
    }
}

fn tell_breaker<P: Platform>(platform: &P, context: &Context<'_>, failed: Option<&Unserved>) {
    let outcome = match failed {
        Some(unserved) if unserved.blames_mgpass() => CallResult::Failure,
        _ => CallResult::Success,
    };
    let cell = &context.isolate.breaker;
    let before = cell.get();
    let mut breaker = before;
    breaker.record(outcome, platform.now_ms());
    cell.set(breaker);
    if breaker.name() != before.name() {
        platform.emit(&Event::BreakerChanged {
            state: breaker.name(),
        });
    }
}

/// Whose token it claims to be: that chooses the checks, and nothing else.
pub(super) fn origin<'t>(
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
