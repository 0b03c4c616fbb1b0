//! After an attempt that was not applied: who waits, for how long, and who is parked.

use super::Disposition;
use super::attempt::Stopped;
use crate::handover::advance;
use crate::handover::authority::Side;
use crate::handover::debt::{self, Class};
use crate::mirror::outbox::{self, Lease};
use crate::mirror::reconcile::Park;
use crate::mirror::{backoff, wake};
use crate::runtime::backend::BackendFailure;
use crate::runtime::context::Context;
use crate::runtime::message::delay_s;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};

/// Until its DELETE is answered, or has expired: a minute at most.
const DELETION_WAIT_MS: i64 = 2_000;

/// As `last_outcome` has it.
const NOT_VISIBLE: &str = "not_visible";

pub(super) async fn reschedule<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    group: &[Lease],
    stopped: Stopped,
) -> Disposition {
    let Some((first, others)) = group.split_first() else {
        return Disposition::Ack;
    };
    let stopped = match stopped {
        // No better next time.
        Stopped::Database(_, DatabaseFailure::TooLarge) => Stopped::Parked(0, Park::TooLarge),
        stopped => stopped,
    };
    let parked_holder = match stopped {
        Stopped::Parked(index, park) if index > 0 => group.get(index).map(|lease| (lease, park)),
        _ => None,
    };
    let waits_for = |lease: &Lease| {
        let (holder, _) = parked_holder?;
        Some(lease.waiting_for(&holder.subject))
    };
    let mut statements: Vec<_> = others
        .iter()
        .filter(|lease| parked_holder.is_none_or(|(holder, _)| holder != *lease))
        .flat_map(Lease::untried)
        .collect();
    let mut wait_ms = 1_000;
    let mut retry = true;
    let waited = |code| {
        platform.emit(&Event::MirrorWaited {
            subject: context.subject_hash(&first.subject).as_deref(),
            code,
        });
    };
    let code = match stopped {
        Stopped::Parked(_, park) if first.source() == Side::Mgpass => {
            statements.extend(left_as_debt(first, park));
            retry = false;
            None
        }
        Stopped::Parked(_, park) => {
            let lease = parked_holder.map_or(first, |(holder, _)| holder);
            statements.extend(lease.parked(park.code()));
            platform.emit(&Event::MirrorParked {
                subject: context.subject_hash(&lease.subject).as_deref(),
                reason: park.code(),
            });
            retry = parked_holder.is_some();
            // Who waits for a parked holder uses up attempts, and is parked in the end.
            parked_holder.map(|_| "holder_parked")
        }
        Stopped::Superseded(ticket) => {
            waited("superseded");
            statements.push(outbox::catch_up(ticket));
            statements.extend(first.untried());
            None
        }
        Stopped::Moved => {
            waited("authority_moved");
            // Not answered, the next one tries.
            let _ = advance::agree(platform, &context.settings.handover).await;
            statements.extend(first.untried());
            None
        }
        Stopped::NotVisible => Some(NOT_VISIBLE),
        Stopped::NoRoom => {
            waited("no_room");
            wait_ms += (platform.random_u64() % 2_000) as i64;
            statements.extend(first.untried());
            None
        }
        Stopped::HolderBusy => {
            waited("holder_busy");
            // Two that wait for each other must not come back together for ever.
            wait_ms += (platform.random_u64() % 4_000) as i64;
            statements.extend(first.waiting(wait_ms));
            None
        }
        Stopped::DeletionUnderWay => {
            waited("deletion_under_way");
            wait_ms = DELETION_WAIT_MS;
            statements.extend(first.waiting(wait_ms));
            None
        }
        Stopped::SchemaRefused => {
            statements.extend(first.untried());
            statements.push(outbox::pause(60_000));
            wait_ms = 60_000;
            None
        }
        Stopped::Backend(failure) => match failure.blames_backend() {
            Some(backend) => {
                wait_ms = match failure {
                    BackendFailure::Limited(_, seconds) => i64::from(seconds) * 1_000,
                    _ => backoff::PAUSE_MS,
                };
                pause(
                    platform,
                    &mut statements,
                    first,
                    backend.name(),
                    failure.code(),
                    wait_ms,
                );
                None
            }
            None => Some(failure.code()),
        },
        Stopped::Database(store, DatabaseFailure::Unavailable) => {
            wait_ms = backoff::PAUSE_MS;
            pause(
                platform,
                &mut statements,
                first,
                store.name(),
                "database_unavailable",
                wait_ms,
            );
            None
        }
        Stopped::Database(_, failure) => Some(failure.code()),
    };
    if let Some(code) = code {
        let is_unseen = code == NOT_VISIBLE;
        // Of the one kind, or of the other: a cache has more patience than a refusal.
        let failures = if first.is_unseen == is_unseen {
            first.failures + 1
        } else {
            1
        };
        let subject = context.subject_hash(&first.subject);
        let max_failures = if is_unseen {
            backoff::MAX_UNSEEN
        } else {
            backoff::MAX_FAILURES
        };
        if failures >= max_failures {
            let reason = match code {
                "constraint_violated" | "holder_parked" => Park::ValueTakenInLogto,
                NOT_VISIBLE => Park::NotShownByMgpass,
                _ => Park::TooManyFailures,
            };
            match first.source() {
                Side::Mgpass => statements.extend(left_as_debt(first, reason)),
                Side::Logto => {
                    statements.extend(first.parked(reason.code()));
                    statements.extend(waits_for(first));
                }
            }
            platform.emit(&Event::MirrorParked {
                subject: subject.as_deref(),
                reason: reason.code(),
            });
            retry = false;
        } else {
            wait_ms = if is_unseen {
                backoff::until_visible(failures)
            } else {
                backoff::after_failures(failures, platform.random_u64())
            };
            statements.extend(first.failed(code, failures, wait_ms));
            statements.extend(waits_for(first));
        }
        platform.emit(&Event::MirrorFailed {
            subject: subject.as_deref(),
            code,
            failures,
        });
    }
    if retry {
        statements.push(wake::comes_again(&first.subject, &first.holder, wait_ms));
    }
    match platform.batch(Store::Proxy, statements).await {
        // Settled meanwhile, and so woken anew: one message is enough.
        Ok(results) if wake::parse(&results).is_empty() => Disposition::Ack,
        Ok(_) => Disposition::Retry {
            delay_s: delay_s(wait_ms),
        },
        Err(failure) => {
            // The lease runs out by itself.
            platform.emit(&Event::OutboxDelayed {
                step: "release",
                code: failure.code(),
            });
            match retry {
                true => Disposition::Retry {
                    delay_s: delay_s(wait_ms),
                },
                false => Disposition::Ack,
            }
        }
    }
}

/// Nobody is parked towards Logto: the walk comes back to what is owed, and the way back
/// holds whoever it is owed of.
fn left_as_debt(lease: &Lease, park: Park) -> Vec<Statement> {
    let mut statements = vec![debt::owe(
        &lease.subject,
        Class::RefusedByLogto,
        park.code(),
    )];
    statements.extend(lease.done("owed"));
    statements
}

fn pause<P: Platform>(
    platform: &P,
    statements: &mut Vec<Statement>,
    lease: &Lease,
    what: &'static str,
    code: &'static str,
    pause_ms: i64,
) {
    statements.extend(lease.untried());
    statements.push(outbox::pause(pause_ms));
    platform.emit(&Event::MirrorPaused {
        backend: what,
        code,
        pause_ms,
    });
}
