//! Carries out the move that is due, whoever comes.
//!
//! mgPass's database is told the next generation before the move, so that no writer of
//! the old one is left when the new side begins; then the move is one compare-and-set.
//! A crash between the two leaves mgPass's database ahead: no writer of either
//! generation changes anything there, until whoever meets that next lets the authority's
//! generation go past it (`agree`). A way back does not wait for mgPass: it is taken,
//! and owes the telling.
//!
//! Harmless twice, and by two at once: telling only rises, and of two one moves.

use std::pin::pin;

use futures_util::future::{Either, select};

use crate::handover::arm;
use crate::handover::authority::Holder;
use crate::handover::cleanup;
use crate::handover::facts;
use crate::handover::gates::{self, Facts, Gate};
use crate::handover::machine::{Due, Gates, Move, Why, due};
use crate::handover::moves::{Step, is_raised, parse_moved};
use crate::handover::row::{self, Authority, Pending};
use crate::handover::wish::{self, Asked};
use crate::handover::{strays, target};
use crate::policy::flags::{Flags, Stage};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::settings::{CleanupSettings, HandoverSettings};

/// mgPass's database may hang; a way back does not wait longer for it.
const RAISE_MS: u32 = 2_000;
/// Moves of one run: announced, drained, handed over, and one more.
const MAX_MOVES: usize = 4;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// As last read; `None`: the database did not answer.
    pub authority: Option<Authority>,
    pub pending: Pending,
    pub moved: Vec<Move>,
    /// Why it goes no further.
    pub waits: Option<&'static str>,
    /// Where they were asked.
    pub gates: Option<Vec<Gate>>,
}

/// What the authority's row says, and whoever can read it needs besides.
async fn read<P: Platform>(platform: &P) -> Result<(Authority, Pending), DatabaseFailure> {
    let results = platform.batch(Store::Proxy, row::read()).await?;
    row::parse(&results).ok_or(DatabaseFailure::Refused)
}

/// A relay's, and a waiting write's: a move that needs no gate.
pub async fn nudge<P: Platform>(platform: &P, settings: &HandoverSettings) -> Ran {
    run(platform, settings, None).await
}

/// Where the gates are asked, with what they need.
#[derive(Clone, Copy)]
pub struct Operated<'a> {
    pub flags: &'a Flags,
    pub logto_origin: &'a str,
    /// Absent when the settings have faults.
    pub context: Option<Context<'a>>,
}

/// Cron's and `dwp`'s: notices the wish in KV, asks the gates, carries out what is due.
pub async fn operate<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
    operated: Operated<'_>,
) -> Ran {
    notice(platform, operated.flags).await;
    // Not answered, the next run does it.
    let _ = absorb(platform, Vec::new()).await;
    run(platform, settings, Some(operated)).await
}

async fn run<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
    operated: Option<Operated<'_>>,
) -> Ran {
    let mut ran = Ran::default();
    for _ in 0..MAX_MOVES {
        let (authority, pending) = match read(platform).await {
            Ok(read) => read,
            Err(failure) => {
                ran.waits = Some(failure.code());
                return ran;
            }
        };
        // Not told now, somebody else tries.
        if authority.is_raise_owed && agree(platform, settings).await.is_ok() {
            continue;
        }
        let (mut asked, mut seen) = (Gates::NotAsked, None);
        if let Some(operated) = operated
            && due(&authority, &pending, Gates::NotAsked) == Due::Wait(Why::Gates)
        {
            match look(platform, settings, operated, &authority, pending).await {
                Err(failure) => {
                    ran.authority = Some(authority);
                    ran.waits = Some(failure.code());
                    return ran;
                }
                Ok(looked) => {
                    asked = match gates::are_open(&looked.gates) {
                        true => Gates::Open,
                        false => Gates::Shut,
                    };
                    ran.gates = Some(looked.gates);
                    seen = Some(looked.seen);
                }
            }
        }
        let due = due(&authority, &pending, asked);
        ran.authority = Some(authority.clone());
        ran.pending = pending;
        let due = match due {
            Due::Now(due) => due,
            Due::Wait(why) => {
                ran.waits = Some(why.code());
                return ran;
            }
        };
        match carry_out(platform, settings, &authority, due, seen.as_ref()).await {
            Carried::Out => ran.moved.push(due),
            Carried::ByAnother => {}
            Carried::Not(code) => {
                ran.waits = Some(code);
                return ran;
            }
        }
    }
    ran
}

/// What the gates were judged by, as the log of moves keeps it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub digest: String,
    /// The recording epoch, before a hand-over.
    pub epoch: Option<i64>,
}

/// The gates of the next stage.
#[derive(Clone, Debug)]
pub struct Looked {
    pub gates: Vec<Gate>,
    pub seen: Seen,
}

/// The gates now, whether or not anybody wishes anything: before a hand-over, or while
/// mgPass is the authority those before cleanup.
///
/// # Errors
/// When the proxy's own database does not answer.
pub async fn look<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
    operated: Operated<'_>,
    authority: &Authority,
    pending: Pending,
) -> Result<Looked, DatabaseFailure> {
    match authority.holder {
        Holder::Logto | Holder::Draining => {
            let (facts, gates) =
                look_at_logto(platform, settings, operated, authority, pending).await?;
            let digest = gates::evidence_digest(&facts);
            let epoch = Some(facts.epoch);
            let seen = Seen { digest, epoch };
            Ok(Looked { gates, seen })
        }
        Holder::Mgpass | Holder::Returning | Holder::Alone => {
            look_at_mgpass(platform, operated, authority).await
        }
    }
}

/// Those before cleanup. Asks no backend.
async fn look_at_mgpass<P: Platform>(
    platform: &P,
    operated: Operated<'_>,
    authority: &Authority,
) -> Result<Looked, DatabaseFailure> {
    let least = operated.context.map_or_else(
        || CleanupSettings::default().least,
        |context| context.settings.cleanup.least,
    );
    let results = platform
        .batch(Store::Proxy, cleanup::facts::read(least))
        .await?;
    let mut facts = cleanup::facts::parse(&results, least).ok_or(DatabaseFailure::Refused)?;
    facts.asked_stage = operated.flags.asked_stage();
    facts.has_points = platform.is_bound(Store::Rewards);
    let residue = vec![cleanup::facts::residue_after(&facts)];
    let residue = platform.batch(Store::Mgpass, residue).await.ok();
    facts.residue_after = residue.and_then(|rows| cleanup::facts::parse_residue_after(&rows));
    if let Some(context) = operated.context {
        let stored = platform.imported_keys().await.ok().flatten();
        facts.keys = cleanup::facts::keys(stored.as_deref(), context.issuers);
    }
    Ok(Looked {
        gates: cleanup::judge(authority, &facts),
        seen: Seen {
            digest: cleanup::evidence_digest(&facts),
            epoch: None,
        },
    })
}

/// Those before a hand-over. The origin is asked last, and only if all else is open.
///
/// # Errors
/// When the proxy's own database does not answer.
pub async fn look_at_logto<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
    operated: Operated<'_>,
    authority: &Authority,
    pending: Pending,
) -> Result<(Facts, Vec<Gate>), DatabaseFailure> {
    let results = platform.batch(Store::Proxy, facts::read()).await?;
    let found = facts::parse(&results).ok_or(DatabaseFailure::Refused)?;
    let verdicts = platform
        .batch(Store::Metrics, vec![facts::verdicts()])
        .await;
    let at_mgpass = platform
        .batch(Store::Mgpass, facts::at_mgpass(found.epoch))
        .await
        .ok();
    let behind = match &at_mgpass {
        None => None,
        Some(results) => {
            let waited_for = vec![facts::waited_for(results)];
            facts::parse_behind(&platform.batch(Store::Proxy, waited_for).await?)
        }
    };
    let mut found = Facts {
        n_unnamed: pending.n_unnamed,
        n_expired: pending.n_expired,
        reads: facts::reads(operated.flags, verdicts.ok().as_deref()),
        unique: at_mgpass.as_deref().and_then(facts::parse_unique),
        behind,
        ..found
    };
    if gates::are_open(&gates::judge(authority, &found)) {
        found.probes = arm::probe(platform, operated.logto_origin, settings).await;
    }
    let gates = gates::judge(authority, &found);
    Ok((found, gates))
}

enum Carried {
    Out,
    /// Somebody else moved, or what it rests on holds no more.
    ByAnother,
    Not(&'static str),
}

async fn carry_out<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
    authority: &Authority,
    due: Move,
    seen: Option<&Seen>,
) -> Carried {
    let mut step = Step {
        seen: authority.generation,
        next: authority.generation,
        owes_raise: authority.is_raise_owed,
        evidence: seen.map(|seen| seen.digest.clone()),
        epoch: seen.and_then(|seen| seen.epoch),
        announcement_ms: settings.announcement_ms,
        between_ms: settings.between_ms,
    };
    if due.changes_holder() {
        step.next += 1;
        match raise(platform, step.next).await {
            Ok(told) => {
                step.next = step.next.max(told);
                step.owes_raise = false;
            }
            Err(failure) if due.needs_raise() => {
                delayed(platform, "raise", failure.code());
                return Carried::Not(failure.code());
            }
            Err(failure) => {
                delayed(platform, "raise", failure.code());
                step.owes_raise = true;
            }
        }
    }
    match platform.batch(Store::Proxy, step.carry_out(due)).await {
        Ok(results) if parse_moved(&results) => {
            told(platform, authority, due, &step);
            Carried::Out
        }
        Ok(_) => {
            // What mgPass's database was told may be ahead now.
            let _ = agree(platform, settings).await;
            Carried::ByAnother
        }
        Err(failure) => {
            // It may have been carried out all the same; whoever comes next sees.
            delayed(platform, "move", failure.code());
            Carried::Not(failure.code())
        }
    }
}

/// The way back that does not wait for mgPass: an operator's word. `None`: it was done
/// already, or Logto is the authority.
///
/// # Errors
/// When the proxy's own database does not answer.
pub async fn abandon<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
) -> Result<Option<i64>, DatabaseFailure> {
    let (authority, _) = read(platform).await?;
    let mut step = Step {
        seen: authority.generation,
        next: authority.generation + 1,
        owes_raise: true,
        evidence: None,
        epoch: None,
        announcement_ms: settings.announcement_ms,
        between_ms: settings.between_ms,
    };
    if let Ok(told) = raise(platform, step.next).await {
        step.next = step.next.max(told);
        step.owes_raise = false;
    }
    let results = platform.batch(Store::Proxy, step.abandon()).await?;
    if !parse_moved(&results) {
        let _ = agree(platform, settings).await;
        return Ok(None);
    }
    platform.emit(&Event::AuthorityReturned {
        from: authority.holder.name(),
        to: "logto",
        generation: step.next,
        cause: "debt_abandoned",
        owes_raise: step.owes_raise,
    });
    Ok(Some(step.next))
}

/// Both databases know the same generation again: the one that is behind goes on.
///
/// # Errors
/// When one of them does not answer.
pub async fn agree<P: Platform>(
    platform: &P,
    settings: &HandoverSettings,
) -> Result<(), DatabaseFailure> {
    let (authority, _) = read(platform).await?;
    let ours = authority.generation;
    let told = raise(platform, ours).await?;
    if told > ours {
        let step = Step {
            seen: ours,
            next: told,
            owes_raise: false,
            evidence: None,
            epoch: None,
            announcement_ms: settings.announcement_ms,
            between_ms: settings.between_ms,
        };
        platform.batch(Store::Proxy, step.lift()).await?;
    }
    if authority.is_raise_owed {
        let is_known = is_raised(told.max(ours));
        platform.batch(Store::Proxy, is_known).await?;
    }
    Ok(())
}

/// What mgPass's database knows then.
async fn raise<P: Platform>(platform: &P, generation: i64) -> Result<i64, DatabaseFailure> {
    let raising = pin!(platform.batch(Store::Mgpass, target::raise(generation)));
    let deadline = pin!(platform.sleep(RAISE_MS));
    match select(raising, deadline).await {
        Either::Left((results, _)) => {
            target::parse_generation(&results?).ok_or(DatabaseFailure::Refused)
        }
        Either::Right(_) => Err(DatabaseFailure::Unavailable),
    }
}

fn told<P: Platform>(platform: &P, authority: &Authority, due: Move, step: &Step) {
    let from = authority.holder.name();
    match due {
        Move::Announce => platform.emit(&Event::AuthorityAnnounced {
            until_ms: authority.now_ms + step.announcement_ms,
        }),
        Move::Withdraw(_) | Move::Return(_) | Move::Stay(_) => {
            platform.emit(&Event::AuthorityReturned {
                from,
                to: due.to().name(),
                generation: step.next,
                cause: due.cause(),
                owes_raise: step.owes_raise,
            });
        }
        Move::Drain
        | Move::HandOver
        | Move::GoBack
        | Move::ComeBack
        | Move::Leave
        | Move::Rejoin => {
            platform.emit(&Event::AuthorityMoved {
                from,
                to: due.to().name(),
                generation: step.next,
                duration_ms: authority.now_ms - authority.since_ms,
            });
        }
    }
}

fn delayed<P: Platform>(platform: &P, step: &'static str, code: &'static str) {
    platform.emit(&Event::AuthorityDelayed { step, code });
}

/// A change of the KV key `stage` is a wish, or is ignored by name.
pub async fn notice<P: Platform>(platform: &P, flags: &Flags) {
    let Some(stage) = flags.asked_stage() else {
        return;
    };
    let Ok((authority, _)) = read(platform).await else {
        return;
    };
    let Some((asked, statement)) = wish::noticed(&authority, stage) else {
        return;
    };
    if let Err(failure) = platform.batch(Store::Proxy, vec![statement]).await {
        delayed(platform, "wish", failure.code());
        return;
    }
    tell_wish(platform, stage, row::Source::Kv, asked);
}

pub fn tell_wish<P: Platform>(platform: &P, stage: Stage, source: row::Source, asked: Asked) {
    let outcome = match asked {
        Asked::Flag => return,
        Asked::Wish(_) => "wished",
        Asked::Unwish => "no_longer_wished",
        Asked::Ignored(ignored) => ignored.code(),
    };
    platform.emit(&Event::AuthorityWished {
        stage: stage.name(),
        source: source.name(),
        outcome,
    });
}

/// What lies on Logto's side of the outbox while mgPass is the authority is a stray; with
/// statements that bring such a record in, in one batch.
///
/// # Errors
/// When the proxy's own database does not answer.
pub async fn absorb<P: Platform>(
    platform: &P,
    before: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
    let mut statements = before;
    statements.extend(strays::absorb_late_records());
    let results = platform.batch(Store::Proxy, statements).await?;
    let n_records = strays::n_absorbed(&results);
    if n_records > 0 {
        platform.emit(&Event::AuthorityStray {
            source: "late_record",
            n_records,
        });
    }
    Ok(results)
}
