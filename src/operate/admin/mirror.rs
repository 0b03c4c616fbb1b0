//! The operator's view of the mirror: what waits, why one user is as they are, and
//! the few things that only a person may decide. Names of fields and codes; never a
//! value of a user's.

use serde_json::{Value, json};

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::mapping::{Mapped, map};
use crate::mirror::triggers::{self, Trigger};
use crate::mirror::{eligibility, outbox, target};
use crate::policy::flags::bucket::Bucket;
use crate::policy::plan::{Admission, Facts, Origin, Step, Verdict, plan};
use crate::population::differences;
use crate::runtime::backend::logto::{self, LogtoState, LogtoUser};
use crate::runtime::context::{Context, Surroundings};
use crate::runtime::message::Message;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Store};
use crate::runtime::sql::text;

/// Backlog, what is parked and why, where the walk stands, what it found.
pub(super) async fn view<P: Platform>(platform: &P) -> Value {
    let mut statements = outbox::backlog();
    statements.extend(triggers::overview());
    match platform.batch(Store::Proxy, statements).await {
        Err(failure) => failed(failure),
        Ok(results) => {
            let list = |index: usize| results.get(index).cloned().unwrap_or_default();
            let first = |index: usize| list(index).into_iter().next();
            json!({ "outbox": first(0), "parked": list(1), "walk": first(2), "findings": list(3) })
        }
    }
}

/// One user: their intents, the last reconcile, the ticket in force, the fields that
/// differ now, and where their reads go.
pub(super) async fn explain<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    around: &Surroundings<'_>,
    user: &UserId,
) -> Value {
    let ours = platform.batch(Store::Proxy, triggers::explain(user)).await;
    let (intents, reconcile) = match &ours {
        Err(failure) => (failed(*failure), Value::Null),
        Ok(results) => {
            let rows = |index: usize| results.get(index).cloned().unwrap_or_default();
            (json!(rows(0)), json!(rows(1).first()))
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
        "logto": match &logto {
            Ok(LogtoState::Present { .. }) => "present",
            Ok(LogtoState::Gone) => "gone",
            Err(failure) => failure.code(),
        },
        "not_carried": wanted.as_ref().map(|mapped| {
            mapped.obstacles.iter().map(crate::mirror::mapping::Obstacle::code).collect::<Vec<_>>()
        }),
        "mgpass": mgpass(platform, context, user, in_logto, logto.is_ok()).await,
        "reads": reads(platform, context, around, user).await,
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
    let state = match platform
        .batch(Store::Mgpass, target::read(user, wanted))
        .await
    {
        Err(failure) => return failed(failure),
        Ok(results) => target::parse_read(&results),
    };
    let Some(state) = state else {
        return failed(DatabaseFailure::Refused);
    };
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
    })
}

/// As an application with a good Logto token would be served now.
async fn reads<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    around: &Surroundings<'_>,
    user: &UserId,
) -> Value {
    let bucket = Bucket::of(user, &around.flags.salt);
    let (standing, _) = eligibility::standing(platform, context, user, around.began_ms).await;
    let facts = Facts {
        origin: Some(Origin::Logto),
        verdict: Some(Verdict::Authentic),
        standing: Some(standing),
        // A breaker is each isolate's own.
        admission: Some(Admission::Admitted),
    };
    match plan(Operation::UsersGet, &around.flags, Some(bucket), &facts) {
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

/// The relay looks again at these, whether or not they were parked (one), or at the
/// parked ones (a reason, all).
pub(super) async fn replay<P: Platform>(platform: &P, which: &Which) -> Value {
    let subjects = match which {
        Which::User(user) => vec![user.clone()],
        Which::Reason(_) | Which::AllParked => {
            let reason = match which {
                Which::Reason(reason) => Some(reason.as_str()),
                Which::User(_) | Which::AllParked => None,
            };
            let asked = platform
                .batch(Store::Proxy, triggers::parked_subjects(reason, None))
                .await;
            match asked {
                Err(failure) => return failed(failure),
                Ok(results) => subjects_of(&results),
            }
        }
    };
    trigger(platform, Trigger::Replay, &subjects, "replay").await
}

/// The second witness, given by a person. It deletes nobody whom Logto still has.
pub(super) async fn confirm_deletion<P: Platform>(platform: &P, user: &UserId) -> Value {
    let subjects = [user.clone()];
    let witness = Trigger::ConfirmedDeletion;
    trigger(platform, witness, &subjects, "confirm_deletion").await
}

async fn trigger<P: Platform>(
    platform: &P,
    trigger: Trigger,
    subjects: &[UserId],
    action: &'static str,
) -> Value {
    for subject in subjects {
        let (intent, status) = trigger.intent(subject, platform.random_u64());
        if let Err(failure) = platform.batch(Store::Proxy, intent.settle(status)).await {
            return failed(failure);
        }
        let message = Message::Reconcile {
            subject: subject.as_str().to_owned(),
        };
        if platform.send(&message, 0).await.is_err() {
            platform.emit(&Event::OutboxDelayed {
                step: "wake",
                code: "queue",
            });
        }
    }
    platform.emit(&Event::OperatorActed {
        action,
        n_subjects: subjects.len(),
    });
    json!({ "subjects": subjects.len() })
}

fn subjects_of(results: &[Vec<Row>]) -> Vec<UserId> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| UserId::parse(&text(row, "subject")?))
        .collect()
}

fn failed(failure: DatabaseFailure) -> Value {
    json!({ "failure": failure.code() })
}
