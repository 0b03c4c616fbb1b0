//! The calls to Logto: on record first, as few as it takes, each refusal by field.

use super::{Run, Stopped, at_proxy, refused_as};
use crate::handover::debt::{Class, Owed};
use crate::mirror::base::Base;
use crate::mirror::reverse::decide::{Carry, SUSPENSION, Sent, What};
use crate::mirror::reverse::{password, rows};
use crate::runtime::backend::logto;
use crate::runtime::backend::logto::writes::{self, Change, Changed};
use crate::runtime::backend::{BackendFailure, Unsure};
use crate::runtime::members::ObjectWriter;
use crate::runtime::ports::{Backend, Platform};
use crate::runtime::sql::lease_ms;

/// No call begins later: it ends, with its deadline, while the lease holds.
const SEND_UNTIL_MS: i64 = lease_ms!() - 14_000;

/// What became of what was sent.
pub(super) struct Sending {
    pub(super) base: Base,
    pub(super) owed: Vec<Owed>,
    /// The calls ended here, and nobody knows how, or why not.
    pub(super) stopped: Option<Unsure>,
}

impl<P: Platform> Run<'_, P> {
    /// What is about to be sent, on record.
    pub(super) async fn announce(
        &self,
        carries: &[Carry],
        ends_password: bool,
    ) -> Result<(), Stopped> {
        let mut sent = Sent::default();
        if ends_password {
            let suspended = Base::of_suspension(true);
            sent.0.insert(SUSPENSION.to_owned(), suspended);
        }
        for carry in carries {
            sent.0.insert(carry.key.clone(), carry.digest.clone());
        }
        let lease = self.lease;
        let statement = rows::send(&lease.subject, lease.ticket, &sent, lease.generation);
        let results = at_proxy(self.platform, vec![statement]).await?;
        match results.first().is_some_and(|rows| !rows.is_empty()) {
            true => Ok(()),
            false => Err(Stopped::Moved),
        }
    }

    pub(super) async fn send_all(&self, carries: Vec<Carry>, sending: &mut Sending) {
        let mut members = Vec::new();
        for carry in carries {
            match carry.what {
                What::Member { .. } => members.push(carry),
                _ => {
                    // Values are given up before others are taken, in one PATCH.
                    if matches!(carry.what, What::PutIdentity { .. }) {
                        self.send_members(&mut members, sending).await;
                    }
                    self.send(std::slice::from_ref(&carry), sending).await;
                }
            }
        }
        self.send_members(&mut members, sending).await;
    }

    /// Together; what is refused, one by one, so that the others get there.
    async fn send_members(&self, members: &mut Vec<Carry>, sending: &mut Sending) {
        let members = std::mem::take(members);
        if members.len() > 1 {
            let n_owed = sending.owed.len();
            self.send(&members, sending).await;
            if sending.owed.len() == n_owed {
                return;
            }
            sending.owed.truncate(n_owed);
        }
        for carry in &members {
            self.send(std::slice::from_ref(carry), sending).await;
        }
    }

    /// As one call.
    async fn send(&self, carries: &[Carry], sending: &mut Sending) {
        let Some(change) = as_change(carries) else {
            return;
        };
        if sending.stopped.is_some() {
            return;
        }
        if self.platform.now_ms() - self.began_ms > SEND_UNTIL_MS {
            let late = BackendFailure::Down(Backend::Logto, "too_slow");
            sending.stopped = Some(Unsure::NotDone(late));
            return;
        }
        let subject = &self.lease.subject;
        match writes::change(self.platform, self.context, subject, &change).await {
            Ok(Changed::Done) => {
                for carry in carries {
                    sending.base.set(&carry.key, carry.digest.as_deref());
                }
            }
            Ok(Changed::Refused(code)) => {
                let fields: Vec<_> = carries.iter().map(|carry| carry.key.as_str()).collect();
                sending.owed.push(Owed {
                    class: Class::of_refusal(&code),
                    code: format!("{}:{code}", fields.join("+")),
                });
            }
            Ok(Changed::Gone) => sending.owed.push(refused_as("user_gone")),
            Err(unsure) => sending.stopped = Some(unsure),
        }
    }

    /// A password that nobody knows, and no session that began with the one before.
    pub(super) async fn end_password(&self, stays_suspended: bool, sending: &mut Sending) {
        let (platform, context) = (self.platform, self.context);
        let subject = &self.lease.subject;
        let password = password::random(platform);
        let mut ended = logto::set_password(platform, context, subject, &password).await;
        for is_suspended in [true, false] {
            if ended.is_ok() && !stays_suspended {
                let change = Change::Suspension(is_suspended);
                let changed = writes::change(platform, context, subject, &change).await;
                ended = changed.map(|_| ());
            }
        }
        if let Err(unsure) = ended {
            sending.stopped = Some(unsure);
        }
    }
}

fn as_change(carries: &[Carry]) -> Option<Change> {
    match carries {
        [Carry { what, .. }] if !matches!(what, What::Member { .. }) => Some(match what.clone() {
            What::Suspension(is_suspended) => Change::Suspension(is_suspended),
            What::PutIdentity { target, json } => Change::PutIdentity { target, json },
            What::DropIdentity { target } => Change::DropIdentity { target },
            What::Member { .. } => return None,
        }),
        _ => {
            let mut writer = ObjectWriter::default();
            for carry in carries {
                if let What::Member { name, text } = &carry.what {
                    writer.member(name, text);
                }
            }
            (!carries.is_empty()).then(|| Change::Members(writer.finish()))
        }
    }
}
