//! Logto's routes that belong to whoever made what is presented: the token endpoint,
//! revocation, userinfo, end of session.
//!
//! The owner of a client is the one side that sees its secret, codes and refresh tokens;
//! an access token goes to its issuer. Nothing is tried at both, nothing is sent twice:
//! where a request was sent and no answer came, the client is told so, and its own
//! retry is passed on as it comes. 503 with `Retry-After` only while nothing was sent.
//!
//! Without listed applications all of this is passed on unseen
//! ([`crate::serve::execute::pass_through`]). With them, at any stage and with faulty
//! settings too: the wrong side must not see a secret.
//!
//! RFC 6749 3.2, 5.2; RFC 7009; OIDC Core 5.3.

mod end_session;

use crate::auth::client::{Owner, Presented};
use crate::inbound::classify::Operation;
use crate::inbound::form::first_of;
use crate::inbound::request::{Method, bearer};
use crate::policy::applications::Side;
use crate::policy::plan::{Plan, Primary, Reason};
use crate::policy::token::{self, Issuer};
use crate::runtime::backend::mgpass;
use crate::runtime::context::Request;
use crate::runtime::dependencies::UNNAMED;
use crate::runtime::error::ProxyError;
use crate::runtime::isolate::MgpassEndpoints;
use crate::runtime::ports::{Backend, BodyFailure, Exchange, Forward, Platform};
use crate::serve::execute::{Executed, Reply, execute, send_to_logto, to_logto, unanswered};

/// As Logto takes, and a little more.
const MAX_FORM_BYTES: usize = 64 * 1024;

pub async fn serve<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Executed<E::Copy> {
    if !request.flags.tells_clients_apart() {
        let mut executed = Executed {
            operation: Operation::PassThrough,
            ..execute(platform, request, exchange).await
        };
        if request.isolate.asks_no_logto() {
            allow_scripts(request, exchange, &mut executed);
        }
        return executed;
    }
    let served = match request.inbound.operation {
        Operation::OidcEndSession => end_session::serve(platform, request, exchange).await,
        Operation::OidcUserinfo => userinfo(platform, request, exchange).await,
        _ => of_client(platform, request, exchange).await,
    };
    let mut executed = served.unwrap_or_else(|error| request.answered(request.refuse(error)));
    allow_scripts(request, exchange, &mut executed);
    executed
}

type Served<C> = Result<Executed<C>, ProxyError>;

async fn of_client<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Served<E::Copy> {
    hold(exchange).await?;
    let authorization = exchange.header("authorization");
    let body = exchange.held_text().unwrap_or_default();
    let presented = Presented::read(authorization.as_deref(), &body);
    match presented.owner(&request.flags.applications) {
        Owner::Both => Err(ProxyError::ClientsOfBothSides),
        Owner::One(Side::Mgpass) => {
            let endpoint = |endpoints: &MgpassEndpoints| match request.inbound.operation {
                Operation::OidcRevocation => endpoints.revocation.clone(),
                _ => endpoints.token.clone(),
            };
            to_mgpass(platform, request, exchange, endpoint).await
        }
        Owner::One(Side::Logto) => {
            let forward = to_logto(request.settings, request.inbound);
            let executed = to_logto_as(request, exchange, forward).await;
            if executed.status == 200 && request.inbound.operation == Operation::OidcToken {
                let context = request.context.as_ref();
                let management =
                    context.map(|context| context.settings.logto_api_audience.as_str());
                let client_id = presented.client_ids.first();
                note(
                    platform,
                    request,
                    client_id.map_or(UNNAMED, String::as_str),
                    presented.kind(management),
                );
            }
            Ok(executed)
        }
    }
}

/// By whoever issued the access token; an opaque one is Logto's.
async fn userinfo<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Served<E::Copy> {
    let authorization = exchange.header("authorization");
    let mut token = authorization.as_deref().and_then(bearer).map(str::to_owned);
    if token.is_none() && request.inbound.method == Method::Post {
        hold(exchange).await?;
        token = exchange
            .held_text()
            .and_then(|body| first_of(&body, "access_token"));
    }
    let issuer = token.as_deref().zip(request.context.as_ref());
    let issuer = issuer.and_then(|(token, context)| {
        let token = token::parse(token).ok()?.partition(context.issuers).ok()?;
        Some(token.issuer())
    });
    if issuer == Some(Issuer::Mgpass) {
        return to_mgpass(platform, request, exchange, |endpoints| {
            endpoints.userinfo.clone()
        })
        .await;
    }
    // It shows a user: while the authority changes hands that takes its proof.
    let executed = execute(platform, request, exchange).await;
    if executed.status == 200 && executed.reply == Reply::Forwarded {
        note(platform, request, UNNAMED, "userinfo");
    }
    Ok(executed)
}

async fn hold<E: Exchange>(exchange: &mut E) -> Result<(), ProxyError> {
    exchange
        .hold_body(MAX_FORM_BYTES)
        .await
        .map_err(|failure| match failure {
            BodyFailure::TooLarge => ProxyError::BodyTooLarge,
            BodyFailure::Incomplete => ProxyError::BodyIncomplete,
        })
}

async fn to_logto_as<E: Exchange>(
    request: &Request<'_>,
    exchange: &mut E,
    forward: Forward<'_>,
) -> Executed<E::Copy> {
    let plan = Plan::logto(Reason::NotARead);
    match send_to_logto(request, exchange, &forward).await {
        Ok(status) => Executed::forwarded(request.inbound.operation, plan, status),
        Err(failure) => Executed::own(
            request.inbound.operation,
            plan,
            request.refuse(unanswered(&failure)),
        ),
    }
}

async fn to_mgpass<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
    endpoint: impl FnOnce(&MgpassEndpoints) -> String,
) -> Served<E::Copy> {
    let context = request.context.as_ref().ok_or(ProxyError::NothingSent)?;
    let endpoints = mgpass::endpoints(platform, context).await;
    let endpoints = endpoints.map_err(|_| ProxyError::NothingSent)?;
    let forward = Forward {
        backend: Backend::Mgpass,
        url: endpoint(&endpoints),
        scheme: request.inbound.scheme(),
        host: request.inbound.host(),
        origin_secret: None,
        // What was begun there is used up: it has all the time it takes.
        deadline_ms: None,
    };
    let plan = Plan {
        primary: Primary::MgpassAsCaller,
        reason: Reason::ClientOfMgpass,
    };
    let operation = request.inbound.operation;
    Ok(match exchange.forward(&forward).await {
        Ok(status) => Executed {
            backend: "mgpass",
            ..Executed::forwarded(operation, plan, status)
        },
        // Sent, for all that is known.
        Err(_) => Executed::own(
            operation,
            plan,
            request.refuse(ProxyError::MgpassUnavailable),
        ),
    })
}

fn note<P: Platform>(platform: &P, request: &Request<'_>, client_id: &str, kind: &'static str) {
    if let Some(context) = &request.context {
        let mut dependencies = context.isolate.dependencies.borrow_mut();
        dependencies.note(client_id, kind, platform.now_ms());
    }
}

/// An answer of the proxy's own can be read by the application's scripts, as a backend's
/// could. Once Logto is not asked any more nobody knows the origins of an application that is
/// not listed: its scripts must read all the same that their chain is over, which tells
/// nobody anything.
fn allow_scripts<E: Exchange>(
    request: &Request<'_>,
    exchange: &E,
    executed: &mut Executed<E::Copy>,
) {
    let Reply::Own(answer) = &mut executed.reply else {
        return;
    };
    let origin = exchange.header("origin");
    let is_alone = request.isolate.asks_no_logto();
    let known = origin.filter(|origin| is_alone || request.flags.applications.has_origin(origin));
    answer.headers.push(("vary", "Origin".to_owned()));
    if let Some(origin) = known {
        answer.headers.extend([
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", "Retry-After".to_owned()),
        ]);
    }
}
