//! One attempt at one subject while mgPass is the authority: read both sides, decide, send
//! Logto what differs, and leave the bases. `mirror::reverse` decides.
//!
//! Logto takes no condition with a write. So what is sent is on record before the first
//! call leaves, only in the generation of the lease, and stays there until every call was
//! answered and the base says so: two relays at once, or a call that lands late, may leave an older value there,
//! and the next look knows it for ours and sends the newer one again.

mod finish;
mod send;

pub(super) use self::finish::finish;
use self::send::Sending;
use super::attempt::Stopped;
use crate::handover::debt::{self, Class, Owed};
use crate::mirror::base::Base;
use crate::mirror::outbox::Lease;
use crate::mirror::preflight;
use crate::mirror::reverse::decide::{Carriage, Decision, Here, Inputs, USER, What, Word, decide};
use crate::mirror::reverse::password::{self, Password};
use crate::mirror::reverse::rows::{self, Leave};
use crate::mirror::triggers::Trigger;
use crate::runtime::backend::Unsure;
use crate::runtime::backend::logto::{self, LogtoState, LogtoUser};
use crate::runtime::context::Context;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};

/// What an attempt came to.
pub(super) struct Ended {
    outcome: &'static str,
    strays: Vec<String>,
    owed: Vec<Owed>,
    has_sent: bool,
    /// Neither side has the user, or mgPass alone ever had.
    forgets_debt: bool,
    born: bool,
}

impl Ended {
    fn of(outcome: &'static str) -> Self {
        Self {
            outcome,
            strays: Vec::new(),
            owed: Vec::new(),
            has_sent: false,
            forgets_debt: false,
            born: false,
        }
    }
}

/// Whether a person has decided that Logto's user takes the place of mgPass's: that is the
/// way of every day, under another authority.
pub(super) fn goes_to_mgpass(lease: &Lease) -> bool {
    covers(lease, Trigger::TowardsLogto)
}

fn covers(lease: &Lease, trigger: Trigger) -> bool {
    let mut covered = lease.covered.iter();
    covered.any(|intent| intent.operation == trigger.name())
}

pub(super) async fn attempt<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
) -> Result<Ended, Stopped> {
    let began_ms = platform.now_ms();
    preflight::require_mirror(platform, context.isolate).await?;
    let results = at_mgpass(platform, rows::read(&lease.subject)).await?;
    let refused = || Stopped::Database(Store::Mgpass, DatabaseFailure::Refused);
    let here = rows::parse_read(&results).ok_or_else(refused)?;
    drop(results);
    if here.target.generation != lease.generation {
        return Err(Stopped::Moved);
    }
    if here.logto_ticket >= lease.ticket {
        return Err(Stopped::Superseded(here.logto_ticket));
    }
    let results = at_proxy(platform, rows::read_sent(&lease.subject)).await?;
    let refused = || Stopped::Database(Store::Proxy, DatabaseFailure::Refused);
    let known = rows::parse_sent(&results).ok_or_else(refused)?;
    if here.target.mirror.is_none() {
        return Ok(of_nobody_mirrored(&here, known.handed_over_ms));
    }
    let state = logto::user(platform, context, &lease.subject)
        .await
        .map_err(|failure| Stopped::of_subject(0, failure))?;
    let there = match &state {
        LogtoState::Present { user, .. } => Some(&**user),
        LogtoState::Gone => None,
    };
    let form = rows::as_logtos(&lease.subject, &here.target, &context.settings.mapping);
    let decision = decide(&Inputs {
        here: form.as_ref().map_or(Here::Gone, Here::Present),
        logto: there,
        base: here.logto_base.as_ref(),
        sent: &known.sent,
        word: match covers(lease, Trigger::TowardsMgpass) {
            true => Word::TowardsMgpass,
            false => Word::None,
        },
        is_deletion_witnessed: is_deletion_witnessed(lease, &here),
        n_deletions: known.n_deletions,
        deletions_per_hour: context.settings.deletions_per_hour,
    });
    let run = Run {
        platform,
        context,
        lease,
        here: &here,
        began_ms,
    };
    match decision {
        Decision::Carry(carriage) => run.carry(carriage, form.as_ref(), there).await,
        Decision::Delete => run.delete().await,
        Decision::Absent => {
            run.leave(None, None, true).await?;
            Ok(Ended {
                forgets_debt: true,
                ..Ended::of("absent")
            })
        }
        Decision::GoneAtLogto => Ok(Ended {
            strays: vec![USER.to_owned()],
            owed: match covers(lease, Trigger::TowardsMgpass) {
                // An id that Logto has given up cannot be had again.
                true => vec![refused_as("user_gone")],
                false => Vec::new(),
            },
            ..Ended::of("stray")
        }),
        Decision::Owed(owed) => {
            use crate::mirror::reverse::decide::Owed as Why;
            Ok(Ended {
                owed: vec![refused_as(owed.code())],
                strays: match owed {
                    Why::ChangedAtLogto(fields) => fields,
                    Why::DeletionUnconfirmed | Why::DeletionBrake => Vec::new(),
                },
                ..Ended::of("owed")
            })
        }
    }
}

fn refused_as(code: &str) -> Owed {
    Owed {
        class: Class::RefusedByLogto,
        code: code.to_owned(),
    }
}

/// Of mgPass's own making: Logto never had them.
fn of_nobody_mirrored(here: &rows::Here, handed_over_ms: i64) -> Ended {
    match here.target.user.as_ref().filter(|user| !user.is_deleted) {
        Some(user) if user.created_at_s >= handed_over_ms / 1_000 - 5 => Ended {
            born: true,
            ..Ended::of("born_at_mgpass")
        },
        // Was there before, and never Logto's to have.
        Some(_) => Ended::of("own_of_mgpass"),
        None => Ended {
            forgets_debt: true,
            ..Ended::of("absent")
        },
    }
}

/// The row says so; so does mgPass's log, a translated deletion, or an operator.
fn is_deletion_witnessed(lease: &Lease, here: &rows::Here) -> bool {
    let is_tombstone = here
        .target
        .mirror
        .as_ref()
        .is_some_and(|row| row.is_tombstone);
    here.is_deletion_logged
        || is_tombstone
        || lease.covered.iter().any(|intent| {
            Trigger::is_deletion_witness(&intent.operation) && intent.status == Some(204)
        })
}

struct Run<'a, P> {
    platform: &'a P,
    context: &'a Context<'a>,
    lease: &'a Lease,
    here: &'a rows::Here,
    began_ms: i64,
}

impl<P: Platform> Run<'_, P> {
    async fn carry(
        &self,
        mut carriage: Carriage,
        form: Option<&LogtoUser>,
        there: Option<&LogtoUser>,
    ) -> Result<Ended, Stopped> {
        let is_held = self.lease.is_held_back;
        if is_held {
            // Who is held is not written, but for a suspension: until a person decides,
            // what they hold at Logto would live. Nothing else of the base changes.
            let carries = &mut carriage.carries;
            carries.retain(|carry| matches!(carry.what, What::Suspension(_)));
            match &self.here.logto_base {
                Some(base) if !carries.is_empty() => carriage.base = base.clone(),
                _ => {
                    return Ok(Ended {
                        strays: carriage.strays,
                        ..Ended::of("held")
                    });
                }
            }
        }
        let password = match is_held {
            true => Password::Same,
            false => self.password(),
        };
        let ends_password = matches!(password, Password::Changed(_));
        let strays = carriage.strays;
        let has_sent = !carriage.carries.is_empty() || ends_password;
        let mut sending = Sending {
            base: carriage.base,
            owed: Vec::new(),
            stopped: None,
        };
        if has_sent {
            self.announce(&carriage.carries, ends_password).await?;
            self.send_all(carriage.carries, &mut sending).await;
            // Suspended at Logto by now, or left as they were.
            let stays_suspended = form.is_some_and(|user| user.is_suspended)
                || there.is_some_and(|user| user.is_suspended) && !strays.is_empty();
            if ends_password && sending.stopped.is_none() {
                self.end_password(stays_suspended, &mut sending).await;
            }
        }
        let Sending {
            base,
            owed,
            stopped,
        } = sending;
        let is_whole = !is_held && strays.is_empty() && owed.is_empty() && stopped.is_none();
        let noted = password.mark().filter(|_| stopped.is_none()).cloned();
        let left = self.leave_rows(Some(base), noted, false, is_whole).await;
        if has_sent && !matches!(stopped, Some(Unsure::Unknown(_))) {
            let is_left = stopped.is_none() && matches!(left, Ok(true));
            let answered = rows::answered(&self.lease.subject, self.lease.ticket, is_left);
            // Not forgotten, it is forgotten by age.
            let _ = at_proxy(self.platform, vec![answered]).await;
        }
        if let Some(unsure) = stopped {
            return Err(self.unanswered(unsure).await);
        }
        if !left? {
            // A newer one was here: what this one sent is looked at once more.
            return Err(Stopped::Superseded(self.lease.ticket));
        }
        let mut owed = owed;
        if ends_password {
            owed.push(Owed {
                class: Class::CredentialAtMgpass,
                code: "password_ended".to_owned(),
            });
        }
        let outcome = match (has_sent, strays.is_empty(), owed.is_empty()) {
            _ if is_held => "held",
            (_, false, _) => "stray",
            (_, true, false) => "owed",
            (true, true, true) => "sent_back",
            (false, true, true) => "unchanged",
        };
        Ok(Ended {
            strays,
            owed,
            has_sent,
            ..Ended::of(outcome)
        })
    }

    fn password(&self) -> Password {
        let is_ours = self.lease.covered.iter().any(|intent| {
            ["users.password", "account.password"].contains(&intent.operation.as_str())
        });
        password::judge(&self.here.password, self.context.subject_key, is_ours)
    }

    /// Logto may carry it out yet, and that is said; then the relay waits for it.
    async fn unanswered(&self, unsure: Unsure) -> Stopped {
        if let Unsure::Unknown(_) = unsure {
            let owed = debt::owe(&self.lease.subject, Class::Unanswered, "no_answer");
            if let Err(stopped) = at_proxy(self.platform, vec![owed]).await {
                return stopped;
            }
        }
        Stopped::of_subject(0, unsure.failure())
    }

    async fn delete(&self) -> Result<Ended, Stopped> {
        if self.lease.is_held_back {
            return Ok(Ended::of("held"));
        }
        let (subject, generation) = (&self.lease.subject, self.lease.generation);
        let per_hour = self.context.settings.deletions_per_hour;
        let begun = rows::begin_deletion(subject, generation, per_hour);
        let results = at_proxy(self.platform, vec![begun]).await?;
        if results.first().is_none_or(Vec::is_empty) {
            // The brake was reached meanwhile, or the authority has moved: seen anew.
            return Err(Stopped::HolderBusy);
        }
        match logto::delete(self.platform, self.context, subject).await {
            Ok(()) => {}
            Err(unsure) => return Err(self.unanswered(unsure).await),
        }
        self.leave(None, None, true).await?;
        Ok(Ended {
            has_sent: true,
            forgets_debt: true,
            ..Ended::of("deleted_back")
        })
    }

    async fn leave(
        &self,
        base: Option<Base>,
        password: Option<Option<String>>,
        is_tombstone: bool,
    ) -> Result<bool, Stopped> {
        self.leave_rows(base, password, is_tombstone, true).await
    }

    async fn leave_rows(
        &self,
        logto_base: Option<Base>,
        password: Option<Option<String>>,
        is_tombstone: bool,
        is_whole: bool,
    ) -> Result<bool, Stopped> {
        let leave = rows::leave(&Leave {
            user: &self.lease.subject,
            ticket: self.lease.ticket,
            generation: self.lease.generation,
            logto_base,
            password,
            is_tombstone,
            of_rows: is_whole.then_some(&self.here.target),
        });
        let results = at_mgpass(self.platform, leave).await?;
        Ok(rows::is_left(&results, self.lease.ticket))
    }
}

async fn at_mgpass<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, Stopped> {
    let asked = platform.batch(Store::Mgpass, statements).await;
    asked.map_err(|failure| Stopped::Database(Store::Mgpass, failure))
}

async fn at_proxy<P: Platform>(
    platform: &P,
    statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, Stopped> {
    let asked = platform.batch(Store::Proxy, statements).await;
    asked.map_err(|failure| Stopped::Database(Store::Proxy, failure))
}
