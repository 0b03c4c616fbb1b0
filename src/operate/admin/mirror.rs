//! The operator's view of the mirror: what waits, why one user is as they are, and
//! the few things that only a person may decide. Names of fields and codes; never a
//! value of a user's.

use serde_json::{Value, json};

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::differences::{self, Wanted};
use crate::mirror::mapping::{Mapped, map};
use crate::mirror::merge::{Rewrites, Word, merge};
use crate::mirror::triggers::{self, Trigger};
use crate::mirror::{edits, eligibility, findings, outbox, relay, target, wake};
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{Admission, Authenticity, Facts, Origin, Step, plan};
use crate::runtime::backend::logto::{self, LogtoState, LogtoUser};
use crate::runtime::context::{Context, Request};
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};

/// Parked subjects of one call: two statements and a message for a hundred.
const REPLAY_PAGE: i64 = 500;

/// Backlog, what is parked and why, where the walk stands, what it found.
pub(super) async fn view<P: Platform>(platform: &P) -> Value {
    let mut statements = outbox::backlog();
    statements.extend(triggers::overview());
    match platform.batch(Store::Proxy, statements).await {
        Err(failure) => failed(failure),
        Ok(results) => {
            let list = |index: usize| results.get(index).cloned().unwrap_or_default();
            let first = |index: usize| list(index).into_iter().next();
            let found: Vec<_> = list(3).into_iter().map(findings::shown).collect();
            json!({ "outbox": first(0), "parked": list(1), "walk": first(2), "findings": found })
        }
    }
}

/// One user: their intents, the last reconcile, the ticket in force, the fields that
/// differ now, and where their reads go.
pub(super) async fn explain<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    request: &Request<'_>,
    user: &UserId,
) -> Value {
    let mut asked = triggers::explain(user);
    asked.push(findings::of_user(user));
    let ours = platform.batch(Store::Proxy, asked).await;
    let (intents, reconcile, found) = match &ours {
        Err(failure) => (failed(*failure), Value::Null, Value::Null),
        Ok(results) => {
            let rows = |index: usize| results.get(index).cloned().unwrap_or_default();
            let found: Vec<_> = rows(2).into_iter().map(findings::shown).collect();
            (json!(rows(0)), json!(rows(1).first()), json!(found))
        }
    };
    let logto = logto::user(platform, context, user).await;
    let wanted = match &logto {
        Ok(LogtoState::Present { user, .. }) => Some(map(user, &context.settings.mapping)),
        Ok(LogtoState::Gone) | Err(_) => None,
    };
    let in_logto = match &logto {
        Ok(LogtoState::Present { user, .. }) => Some(user.as_ref()).zip(wanted.as_ref()),
        Ok(LogtoState::Gone) | Err(_) => None,
    };
    json!({
        "user": user.as_str(),
        "intents": intents,
        "reconcile": reconcile,
        "findings": found,
        "logto": match &logto {
            Ok(LogtoState::Present { .. }) => "present",
            Ok(LogtoState::Gone) => "gone",
            Err(failure) => failure.code(),
        },
        "not_carried": wanted.as_ref().map(|mapped| {
            mapped.obstacles.iter().map(crate::mirror::mapping::Obstacle::code).collect::<Vec<_>>()
        }),
        "mgpass": mgpass(platform, context, user, in_logto, logto.is_ok()).await,
        "reads": reads(platform, context, request, user).await,
    })
}

async fn mgpass<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
    in_logto: Option<(&LogtoUser, &Mapped)>,
    can_compare: bool,
) -> Value {
    let wanted = in_logto.map(|(_, mapped)| &mapped.user);
    let (mut asked, edits) = (target::read(user, wanted), edits::of_user(user));
    let n_rows = asked.len();
    asked.extend(edits);
    let results = match platform.batch(Store::Mgpass, asked).await {
        Err(failure) => return failed(failure),
        Ok(results) => results,
    };
    let (rows, edits) = results.split_at(n_rows.min(results.len()));
    let Some(state) = target::parse_read(rows) else {
        return failed(DatabaseFailure::Refused);
    };
    let (edited_by, undone) = edits::shown(edits);
    let settings = &context.settings.mapping;
    let there = in_logto
        .filter(|_| state.user.is_some())
        .map(|(_, mapped)| {
            let wanted = Wanted::of(mapped.user.clone(), state.user.as_ref(), settings);
            merge(wanted, &state, Word::None, Rewrites::No).there
        });
    json!({
        "is_there": state.user.is_some(),
        "is_deleted": state.user.as_ref().is_some_and(|user| user.is_deleted),
        "ticket": state.mirror.as_ref().map(|mirror| mirror.ticket),
        "epoch": state.mirror.as_ref().map(|mirror| mirror.epoch),
        "is_tombstone": state.mirror.as_ref().is_some_and(|mirror| mirror.is_tombstone),
        "effects_owed": state.owed.iter().map(|(effect, _)| effect.name()).collect::<Vec<_>>(),
        "values_held_by": state.holders.iter().map(|holder| {
            json!({ "user": holder.user.as_str(), "is_mirrored": holder.is_mirrored })
        }).collect::<Vec<_>>(),
        "differs_in": can_compare.then(|| {
            differences::between(in_logto, &state, &context.settings.mapping)
                .into_iter()
                .map(|difference| difference.path)
                .collect::<Vec<_>>()
        }),
        // Since the last reconcile, and what the next one would make of it.
        "changed_there": there.map(|there| json!({
            "altered": there.altered, "kept": there.kept, "overruled": there.overruled,
        })),
        "edited_by": edited_by,
        "undone": undone,
    })
}

/// As an application with a good Logto token would be served now.
async fn reads<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    request: &Request<'_>,
    user: &UserId,
) -> Value {
    let bucket = Bucket::of(user, &request.flags.salt);
    let (eligibility, _) = eligibility::of(platform, context, user, request.began_ms).await;
    let facts = Facts {
        origin: Some(Origin::Logto),
        authenticity: Some(Authenticity::Authentic),
        eligibility: Some(eligibility),
        // A breaker is each isolate's own.
        admission: Some(Admission::Admitted),
    };
    match plan(Operation::UsersGet, &request.flags, Some(bucket), &facts) {
        Step::Go(plan) => json!({
            "backend": plan.primary.name(), "reason": plan.reason.code(), "bucket": bucket.number(),
        }),
        Step::Ask(_) => Value::Null,
    }
}

/// Whom to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    User(UserId),
    Reason(String),
    AllParked,
}

/// The relay looks again at one user, parked or not; or at a page of those that are
/// parked (a reason, all) whose ids follow `after`. Says where to go on, and how many
/// are left then.
pub(super) async fn replay<P: Platform>(platform: &P, which: &Which, after: &str) -> Value {
    let reason = match which {
        Which::User(user) => return replayed(platform, std::slice::from_ref(user), 0).await,
        Which::Reason(reason) => Some(reason.as_str()),
        Which::AllParked => None,
    };
    let asked = triggers::parked_subjects(reason, after, REPLAY_PAGE);
    match platform.batch(Store::Proxy, asked).await {
        Err(failure) => failed(failure),
        Ok(results) => match triggers::parse_parked_subjects(&results) {
            Some((subjects, n_left)) => {
                let n_later = n_left - subjects.len() as i64;
                replayed(platform, &subjects, n_later).await
            }
            None => failed(DatabaseFailure::Refused),
        },
    }
}

async fn replayed<P: Platform>(platform: &P, subjects: &[UserId], n_later: i64) -> Value {
    let mut statements = triggers::replay(subjects);
    statements.push(wake::all(subjects));
    match platform.batch(Store::Proxy, statements).await {
        Ok(results) => relay::send_wakes(platform, &wake::parse(&results)).await,
        Err(failure) => return failed(failure),
    }
    platform.emit(&Event::OperatorActed {
        action: "replay",
        n_subjects: subjects.len(),
    });
    let next = subjects.last().filter(|_| n_later > 0).map(UserId::as_str);
    json!({ "subjects": subjects.len(), "remaining": n_later, "next": next })
}

/// The second witness, given by a person. It deletes nobody whom Logto still has.
pub(super) async fn confirm_deletion<P: Platform>(platform: &P, user: &UserId) -> Value {
    decided(
        platform,
        Trigger::ConfirmedDeletion,
        user,
        "confirm_deletion",
    )
    .await
}

/// Logto's values replace what somebody changed at mgPass on purpose.
pub(super) async fn overrule<P: Platform>(platform: &P, user: &UserId) -> Value {
    decided(platform, Trigger::Overrule, user, "overrule").await
}

async fn decided<P: Platform>(
    platform: &P,
    trigger: Trigger,
    user: &UserId,
    action: &'static str,
) -> Value {
    let mut statements = trigger.each(std::slice::from_ref(user));
    statements.push(wake::all(std::slice::from_ref(user)));
    match platform.batch(Store::Proxy, statements).await {
        Ok(results) => relay::send_wakes(platform, &wake::parse(&results)).await,
        Err(failure) => return failed(failure),
    }
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: 1,
    });
    json!({ "subjects": 1 })
}

fn failed(failure: DatabaseFailure) -> Value {
    json!({ "failure": failure.code() })
}
