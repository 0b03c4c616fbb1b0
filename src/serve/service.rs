//! The proxy as its platform calls it: a request, a batch of a Queue, a run of cron. Shell
//! and tests call these, and nothing else decides in which order anything happens.

use std::rc::Rc;

use crate::auth::{authenticate, forward_auth};
use crate::handover::proof;
use crate::inbound::classify::Operation;
use crate::inbound::request::Method;
use crate::inbound::{Addressee, Inbound};
use crate::mirror::relay::Disposition;
use crate::operate::{admin, metrics};
use crate::policy::flags::Flags;
use crate::runtime::answer::Answer;
use crate::runtime::context::Request;
use crate::runtime::deployment::Deployment;
use crate::runtime::error::ProxyError;
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{Background, CallFailure, Exchange, Forward, Platform};
use crate::runtime::snapshot::{self, Refresh};
use crate::serve::execute::{Executed, Reply, execute, pass_through};
use crate::serve::{alone, cron, deliver, follow_up, oidc, ready, sign_in};

/// While the settings have faults nothing is delivered; a mended deployment does it.
const FAULTY_RETRY_S: u32 = 60;

pub async fn handle_request<P, B, E>(
    platform: &P,
    background: &B,
    deployment: &Rc<Deployment>,
    inbound: &Inbound,
    exchange: &mut E,
) -> Reply
where
    P: Platform + Clone + 'static,
    B: Background,
    E: Exchange,
    E::Copy: 'static,
{
    let began_ms = platform.now_ms();
    let isolate = &deployment.isolate;
    let (flags, refresh) = snapshot::current(platform, isolate).await;
    if refresh == Refresh::BehindTheRequest {
        let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
        background.go_on(async move {
            snapshot::read(&platform, &deployment.isolate).await;
        });
    }
    let request = Request {
        inbound,
        settings: &deployment.settings,
        isolate,
        context: deployment.context(),
        flags,
        id: isolate.next_request_id(platform),
        began_ms,
    };
    let handover = &deployment.settings.handover;
    proof::hear(platform, isolate, handover, &request.flags).await;
    let mut executed = answer(platform, &request, exchange).await;
    alone::note_use(platform, &request, &executed);
    let signed_in = ready::mark(platform, &request, exchange, &executed).await;
    let closing = Closing {
        request_id: &request.id,
        flags: &request.flags,
        began_ms,
    };
    closing.close(platform, background, deployment, &executed);
    if let Some(follow_up) = executed.follow_up.take() {
        let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
        background.go_on(async move {
            let context = deployment.context();
            follow_up::carry_out(&platform, &deployment.isolate, context.as_ref(), follow_up).await;
        });
    }
    if let Some(user) = signed_in {
        let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
        background.go_on(async move {
            if let Some(context) = deployment.context() {
                ready::judge(&platform, &context, &user).await;
            }
        });
    }
    if deployment.settings.handover.needs_proof()
        && proof::is_renewal_due(isolate, platform.now_ms())
        && isolate.may_renew_authority(platform.now_ms())
    {
        let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
        background.go_on(async move {
            let settings = &deployment.settings.handover;
            proof::ask(&platform, &deployment.isolate, settings, proof::PROOF_MS).await;
        });
    }
    let owed = isolate.take_owed_key_fetches();
    if !owed.is_empty() {
        let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
        background.go_on(async move {
            if let Some(context) = deployment.context() {
                authenticate::fetch_owed_keys(&platform, &context, owed).await;
            }
        });
    }
    executed.reply
}

async fn answer<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
) -> Executed<E::Copy> {
    if request.settings.logto_origin.is_empty() {
        return request.answered(request.refuse(ProxyError::Misconfigured));
    }
    if request.inbound.addressee == Addressee::Logto
        && request.isolate.doubts_logto.get()
        && !request.isolate.authority.get().is_alone()
    {
        return request.answered(request.refuse(ProxyError::AuthorityUnknown));
    }
    if let Some(kept) = alone::document(platform, request).await {
        return request.answered(kept);
    }
    let own = match (request.inbound.addressee, request.inbound.operation) {
        (Addressee::Logto, operation) if operation.is_of_a_client() => {
            return oidc::serve(platform, request, exchange).await;
        }
        (Addressee::Logto, _) => return execute(platform, request, exchange).await,
        (Addressee::Nobody, _) => request.refuse(ProxyError::MalformedRequest),
        (Addressee::Lookalike, _) => request.refuse(ProxyError::NoSuchRoute),
        (Addressee::Proxy, Operation::ProxyJwks | Operation::ProxyVerify) => {
            forward_auth::answer(platform, request, exchange).await
        }
        (Addressee::Proxy, Operation::ProxySignIn | Operation::ProxySignedOut) => {
            sign_in::answer(platform, request, exchange).await
        }
        (Addressee::Proxy, _) => admin::answer(platform, request, exchange).await,
    };
    request.answered(own)
}

/// What no rule claims, to be sent to Logto without a future. `None`: it takes
/// [`handle_request`].
pub fn begin_pass_through<'a>(
    deployment: &'a Deployment,
    inbound: &'a Inbound,
    now_ms: i64,
) -> Option<Forward<'a>> {
    let isolate = &deployment.isolate;
    // Where Logto is not asked any more, the refusal is for the client's scripts too.
    let has_owner = || {
        inbound.operation.is_of_a_client()
            && (isolate.asks_no_logto() || isolate.last_flags().tells_clients_apart())
    };
    let is_heard = || {
        let flags = isolate.last_flags();
        proof::is_heard(isolate, &deployment.settings.handover, &flags, now_ms)
    };
    match isolate.has_fresh_flags(now_ms) && !has_owner() && is_heard() {
        true => pass_through::begin(&deployment.settings, inbound),
        false => None,
    }
}

/// Once Logto has answered that, or has not. `url` is asked for after a failure only, so
/// that nothing of a request need be kept while Logto answers.
pub fn end_pass_through<P, B>(
    platform: &P,
    background: &B,
    deployment: &Rc<Deployment>,
    began_ms: i64,
    outcome: Result<u16, CallFailure>,
    url: impl FnOnce() -> String,
) -> Option<Answer>
where
    P: Platform + Clone + 'static,
    B: Background,
{
    let request_id = deployment.isolate.next_request_id(platform);
    let path = || {
        let inbound = Inbound::read(Method::Other, url(), |_| None);
        inbound.path().to_owned()
    };
    let executed: Executed<()> = pass_through::end(outcome, path, &request_id);
    let closing = Closing {
        request_id: &request_id,
        flags: &deployment.isolate.last_flags(),
        began_ms,
    };
    closing.close(platform, background, deployment, &executed);
    match executed.reply {
        Reply::Own(answer) => Some(answer),
        Reply::Forwarded => None,
    }
}

struct Closing<'a> {
    request_id: &'a str,
    flags: &'a Flags,
    began_ms: i64,
}

impl Closing<'_> {
    /// The request's line and its share in the metrics, which are flushed behind it when due.
    fn close<P, B, C>(
        &self,
        platform: &P,
        background: &B,
        deployment: &Rc<Deployment>,
        executed: &Executed<C>,
    ) where
        P: Platform + Clone + 'static,
        B: Background,
    {
        let now_ms = platform.now_ms();
        let duration_ms = now_ms - self.began_ms;
        platform.emit(&executed.done(self.request_id, self.flags.stage_name(), duration_ms));
        let is_flushing = {
            let mut metrics = deployment.isolate.metrics.borrow_mut();
            metrics.observe(&executed.observation(duration_ms));
            metrics.schedule_flush(now_ms)
        };
        if is_flushing {
            let (platform, deployment) = (platform.clone(), Rc::clone(deployment));
            background.go_on(async move {
                if let Some(context) = deployment.context() {
                    metrics::flush_later(&platform, &context).await;
                }
            });
        }
    }
}

/// One batch of the Queue of that name; `None` is a message that nobody can read. What
/// becomes of each, in order. Equal messages in a batch are one delivery.
pub async fn handle_queue<P: Platform>(
    platform: &P,
    deployment: &Deployment,
    queue: &str,
    messages: Vec<Option<Message>>,
) -> Vec<Disposition> {
    let is_dead = queue.ends_with("-dead");
    if is_dead {
        platform.emit(&Event::MessageDead {
            n_messages: messages.len(),
        });
    }
    let flags = snapshot::read(platform, &deployment.isolate).await;
    let handover = &deployment.settings.handover;
    proof::hear(platform, &deployment.isolate, handover, &flags).await;
    let Some(context) = deployment.context() else {
        // Nothing is lost: the outbox has it all.
        let retry = Disposition::Retry {
            delay_s: FAULTY_RETRY_S,
        };
        return vec![retry; messages.len()];
    };
    let mut different: Vec<Message> = Vec::new();
    let mut places = Vec::new();
    for message in messages {
        let Some(message) = message else {
            platform.emit(&Event::MessageRefused { code: "unreadable" });
            places.push(None);
            continue;
        };
        let known = different.iter().position(|known| *known == message);
        places.push(Some(known.unwrap_or(different.len())));
        if known.is_none() {
            different.push(message);
        }
    }
    let dispositions = if is_dead {
        deliver::deliver_dead(platform, different).await
    } else {
        deliver::deliver(platform, &context, flags.stage, different).await
    };
    let of = |place: Option<usize>| {
        let disposition = place.and_then(|place| dispositions.get(place).copied());
        disposition.unwrap_or(Disposition::Ack)
    };
    places.into_iter().map(of).collect()
}

/// What happens every minute.
pub async fn handle_cron<P: Platform>(platform: &P, deployment: &Deployment) {
    let flags = snapshot::read(platform, &deployment.isolate).await;
    let handover = &deployment.settings.handover;
    proof::hear(platform, &deployment.isolate, handover, &flags).await;
    if let Some(context) = deployment.context() {
        cron::tick(platform, &context, &flags).await;
    }
}
