//! What one reconcile does to mgPass: a pure decision over both sides' state.
//!
//! It never decides on deletion by one witness, never touches a user whom only
//! mgPass has, and never undoes a deletion. Order does not matter and repeating
//! is harmless, because the decision depends on states alone.

use std::mem;

use crate::inbound::request::UserId;
use crate::mirror::base::Base;
use crate::mirror::differences::Wanted;
use crate::mirror::mapping::{Mapped, MgpassUser, Obstacle, map};
use crate::mirror::merge::{ChangedThere, Merged, Rewrites, Word, changed_there, merge};
use crate::mirror::residue::Residue;
use crate::mirror::target::{Effect, Holder, TargetState};
use crate::mirror::writer::{Raise, Writer};
use crate::runtime::backend::logto::{LogtoUser, Seen};
use crate::runtime::digest::digest;
use crate::runtime::limits::fits_row;
use crate::runtime::ports::Statement;
use crate::runtime::settings::MappingSettings;

/// What the intents that this reconcile covers say, beyond "look at the user".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// A DELETE through the proxy answered 204 (or Logto said so by webhook).
    pub deletion: bool,
    /// A write that is covered found the user there: Logto's 404 contradicts it.
    pub presence: bool,
    /// A suspension was asked for; a suspend undone at once still ended sessions.
    pub suspension: bool,
    /// An operator's word: what somebody changed at mgPass on purpose gives way.
    pub overrule: bool,
}

/// Reasons for which a subject waits for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Park {
    DeletionUnconfirmed,
    DeletionBrake,
    DeletedAtMgpass,
    /// What Logto changed is carried over; what somebody changed there on purpose stays.
    EditedAtMgpass,
    IdTakenAtMgpass,
    ValueTakenAtMgpass,
    ValueTakenInLogto,
    TooManyFailures,
    NotShownByMgpass,
    /// More than mgPass's database takes as one row, or than an answer may be.
    TooLarge,
    /// Created at mgPass while it was the authority: Logto has the id and nothing else.
    ReservedAtLogto,
}

impl Park {
    pub fn code(self) -> &'static str {
        match self {
            Self::DeletionUnconfirmed => "deletion_unconfirmed",
            Self::DeletionBrake => "deletion_brake",
            Self::DeletedAtMgpass => "deleted_at_mgpass",
            Self::EditedAtMgpass => "edited_at_mgpass",
            Self::IdTakenAtMgpass => "id_taken_at_mgpass",
            Self::ValueTakenAtMgpass => "value_taken_at_mgpass",
            Self::ValueTakenInLogto => "value_taken_in_logto",
            Self::TooManyFailures => "too_many_failures",
            Self::NotShownByMgpass => "not_shown_by_mgpass",
            Self::TooLarge => "too_large",
            Self::ReservedAtLogto => "reserved_at_logto",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
    Deleted,
    /// Neither side has the user.
    Absent,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Absent => "absent",
        }
    }
}

/// One subject's part of a batch.
#[derive(Clone, Debug)]
pub struct Change {
    pub outcome: Outcome,
    pub raise: Statement,
    /// Gives up unique values, before anyone in the batch takes new ones.
    pub release: Statement,
    /// The same for identities.
    pub drops: Vec<Statement>,
    pub writes: Vec<Statement>,
    /// Answers the mirror row: applied only if it carries our ticket.
    pub confirm: Statement,
    /// What mgPass's API must show before an intent is discharged; `None`: no user.
    pub expected: Option<MgpassUser>,
    /// Of mgPass's side, what was changed there since the last reconcile.
    pub there: ChangedThere,
    owes_effect: bool,
}

impl Change {
    pub fn n_statements(&self) -> usize {
        1 + self.drops.len() + self.writes.len()
    }

    /// Of the values that its statements take.
    pub fn n_bytes(&self) -> usize {
        let all = self.drops.iter().chain(&self.writes).chain([&self.raise]);
        all.map(Statement::n_bytes).sum()
    }

    /// A call to mgPass is owed, by this change or by an earlier one.
    pub fn owes_effect(&self) -> bool {
        self.owes_effect
    }

    /// Applied, and still not equal: a person decides on the rest.
    pub fn is_held(&self) -> bool {
        !self.there.kept.is_empty()
    }
}

#[derive(Clone, Debug)]
pub enum Decision {
    Apply(Box<Change>),
    /// Mirrored users hold values that this one is about to take.
    Conflict(Vec<UserId>),
    Park(Park),
}

pub struct Inputs<'a> {
    pub user: &'a UserId,
    pub ticket: i64,
    pub epoch: i64,
    /// Of the authority, when the ticket was taken.
    pub generation: i64,
    pub logto: Seen<'a>,
    pub target: &'a TargetState,
    pub witnesses: Witnesses,
    pub mapping: &'a MappingSettings,
    pub deletions_per_hour: i64,
    /// Subjects that move in the same batch: their values are free by then.
    pub companions: &'a [UserId],
}

pub fn decide(inputs: &Inputs<'_>) -> Decision {
    match inputs.logto {
        Seen::Present { user, json } => decide_present(inputs, user, json),
        Seen::Gone => decide_gone(inputs),
    }
}

fn decide_present(inputs: &Inputs<'_>, logto: &LogtoUser, json: &str) -> Decision {
    let target = inputs.target;
    if logto.reservation().is_some() {
        return match &target.user {
            Some(user) if !user.is_deleted => Decision::Park(Park::ReservedAtLogto),
            // Of whom nothing came: an id is no sign of a user.
            Some(_) | None => decide_gone(&Inputs {
                witnesses: Witnesses {
                    presence: false,
                    ..inputs.witnesses
                },
                ..*inputs
            }),
        };
    }
    if target.user.as_ref().is_some_and(|user| user.is_deleted) || is_removed_there(inputs) {
        return Decision::Park(Park::DeletedAtMgpass);
    }
    if target.user.is_some() && target.mirror.is_none() {
        return Decision::Park(Park::IdTakenAtMgpass);
    }
    let Mapped { user, obstacles } = map(logto, inputs.mapping);
    let wanted = Wanted::of(user, target.user.as_ref(), inputs.mapping);
    let word = match inputs.witnesses.overrule {
        true => Word::Overrule,
        false => Word::None,
    };
    let rewrites = match inputs.companions.is_empty() {
        true => Rewrites::No,
        false => Rewrites::Yes,
    };
    let merged = merge(wanted, target, word, rewrites);
    let holders: Vec<_> = target
        .holders
        .iter()
        .filter(|holder| is_in_the_way(holder, &merged.there))
        .collect();
    if holders.iter().any(|holder| !holder.is_mirrored) {
        return Decision::Park(Park::ValueTakenAtMgpass);
    }
    let others: Vec<_> = holders
        .into_iter()
        .filter(|holder| !inputs.companions.contains(&holder.user))
        .map(|holder| holder.user.clone())
        .collect();
    if !others.is_empty() {
        return Decision::Conflict(others);
    }
    let writer = Writer::new(inputs.user, inputs.ticket);
    let drops: Vec<_> = merged
        .drops
        .iter()
        .map(|row_id| writer.drop_identity(row_id))
        .collect();
    let (writes, sessions_end) = write_user(inputs, &writer, &merged);
    let owes_effect = sessions_end || !target.owed.is_empty();
    let outcome = match (&target.user, writes.is_empty() && drops.is_empty()) {
        (None, _) => Outcome::Created,
        (Some(_), true) => Outcome::Unchanged,
        (Some(_), false) => Outcome::Updated,
    };
    let residue = Residue::of(logto);
    if !fits(&merged, &residue) {
        return Decision::Park(Park::TooLarge);
    }
    let left = target.left.as_ref();
    let raise = Raise {
        epoch: inputs.epoch,
        is_tombstone: false,
        digest: digest(json),
        residue: Some(residue),
        obstacles: obstacle_codes(&obstacles),
        seen: seen(target),
        brake: None,
        base: Some(merged.base),
        logto_base: Some(Base::of_logto(logto)),
        // While a change is kept, the edits that tell of it go on counting.
        seen_at: left.map(|left| match merged.there.kept.is_empty() {
            true => left.read_at,
            false => left.seen_at,
        }),
        n_edits: n_edits(target),
        generation: inputs.generation,
    };
    Decision::Apply(Box::new(Change {
        owes_effect,
        drops,
        there: merged.there,
        ..change(&writer, outcome, raise, writes, Some(merged.wanted.user))
    }))
}

/// Whether each row of theirs is one that the database takes.
fn fits(merged: &Merged, residue: &str) -> bool {
    let user = &merged.wanted.user;
    let length = |text: &Option<String>| text.as_deref().map_or(0, str::len);
    let texts = [&user.email, &user.phone, &user.name, &user.avatar].map(length);
    fits_row(texts.into_iter().chain([user.metadata.len()]))
        && fits_row([residue.len(), 2 * merged.base.to_text().len()])
        && user.identities.iter().all(|identity| {
            fits_row([
                identity.provider_user_id.len(),
                length(&identity.profile_data),
            ])
        })
}

/// The row was there, and somebody removed it on purpose.
fn is_removed_there(inputs: &Inputs<'_>) -> bool {
    let target = inputs.target;
    target.user.is_none()
        && target.base().is_some()
        && n_edits(target) > 0
        && !inputs.witnesses.overrule
}

/// Not where mgPass keeps a value of its own: then Logto's is not taken.
fn is_in_the_way(holder: &Holder, there: &ChangedThere) -> bool {
    let keeps = |path: &str| there.kept.iter().any(|kept| kept == path);
    holder.has_email && !keeps("email")
        || holder.has_phone && !keeps("phone")
        || holder.has_identity
}

/// The statements, and whether the user's sessions end with them.
fn write_user(inputs: &Inputs<'_>, writer: &Writer<'_>, merged: &Merged) -> (Vec<Statement>, bool) {
    let before = inputs.target.user.as_ref();
    let user = &merged.wanted.user;
    let mut writes = Vec::new();
    if merged.writes_row {
        writes.push(writer.put_user(&merged.wanted));
    }
    let was_suspended = before.is_some_and(|before| before.is_suspended);
    match before {
        None => {
            writes.push(writer.give_default_roles());
            writes.extend(writer.audit("user.created"));
        }
        Some(_) if merged.changes_anything() => {
            writes.extend(writer.audit_of("user.updated", &merged.there));
        }
        Some(_) => {}
    }
    writes.extend(merged.puts.iter().map(|put| writer.put_identity(put)));
    if user.is_suspended != was_suspended {
        writes.extend(writer.audit(if user.is_suspended {
            "user.suspended"
        } else {
            "user.unsuspended"
        }));
    }
    // Who stays suspended has had no session since it was owed.
    let stays_suspended = user.is_suspended && was_suspended;
    let sessions_end =
        before.is_some() && !stays_suspended && (inputs.witnesses.suspension || user.is_suspended);
    if sessions_end {
        writes.push(writer.owe(Effect::RevokeAll));
    }
    (writes, sessions_end)
}

fn decide_gone(inputs: &Inputs<'_>) -> Decision {
    let target = inputs.target;
    let writer = Writer::new(inputs.user, inputs.ticket);
    let raise = |digest: &str, brake| Raise {
        epoch: inputs.epoch,
        is_tombstone: true,
        digest: digest.to_owned(),
        residue: None,
        obstacles: "[]".to_owned(),
        seen: seen(target),
        brake,
        base: None,
        logto_base: None,
        seen_at: target.left.as_ref().map(|left| left.read_at),
        n_edits: n_edits(target),
        generation: inputs.generation,
    };
    let live = match (&target.user, &target.mirror) {
        // A row without a mirror row is mgPass's own user: a finding, never a repair.
        (Some(_), None) => return Decision::Park(Park::IdTakenAtMgpass),
        (Some(user), Some(_)) => !user.is_deleted,
        (None, _) => false,
    };
    if !live {
        // The ticket rises all the same, so that an older reconcile, which still saw
        // the user at Logto, cannot bring it to life.
        let is_known = target
            .mirror
            .as_ref()
            .is_some_and(|mirror| mirror.is_tombstone)
            && target.user.is_some();
        if !is_known && inputs.witnesses.presence && !inputs.witnesses.deletion {
            // A moment's 404 must not make the mirror forget a user who was just made.
            return Decision::Park(Park::DeletionUnconfirmed);
        }
        let (outcome, digest) = if is_known {
            (Outcome::Unchanged, "deleted")
        } else {
            (Outcome::Absent, "")
        };
        return Decision::Apply(Box::new(change(
            &writer,
            outcome,
            raise(digest, None),
            vec![],
            None,
        )));
    }
    if !inputs.witnesses.deletion {
        return Decision::Park(Park::DeletionUnconfirmed);
    }
    if target.recent_deletions >= inputs.deletions_per_hour {
        return Decision::Park(Park::DeletionBrake);
    }
    let there = changed_there(target);
    let mut writes = vec![writer.tombstone_user(), writer.owe(Effect::RevokeAll)];
    writes.extend(writer.audit_of("user.deleted", &there));
    let raise = raise("deleted", Some(inputs.deletions_per_hour));
    Decision::Apply(Box::new(Change {
        owes_effect: true,
        drops: vec![writer.drop_identities()],
        there,
        ..change(&writer, Outcome::Deleted, raise, writes, None)
    }))
}

fn change(
    writer: &Writer<'_>,
    outcome: Outcome,
    raise: Raise,
    writes: Vec<Statement>,
    expected: Option<MgpassUser>,
) -> Change {
    Change {
        outcome,
        raise: writer.raise(raise),
        release: writer.release(),
        drops: Vec::new(),
        writes,
        confirm: writer.ticket_in_force(),
        expected,
        there: ChangedThere::default(),
        owes_effect: false,
    }
}

fn seen(target: &TargetState) -> i64 {
    target.mirror.as_ref().map_or(0, |mirror| mirror.ticket)
}

fn n_edits(target: &TargetState) -> i64 {
    target.left.as_ref().map_or(0, |left| left.n_edits)
}

pub(crate) fn obstacle_codes(obstacles: &[Obstacle]) -> String {
    let codes: Vec<_> = obstacles.iter().map(Obstacle::code).collect();
    serde_json::json!(codes).to_string()
}

/// All subjects' parts as one batch: every guard, then every release, then the writes.
/// The statements go out of the changes: their values may be large.
pub fn batch(changes: &mut [Change]) -> Vec<Statement> {
    let is_group = changes.len() > 1;
    let (mut guards, mut releases, mut drops, mut writes, mut confirms) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let spent = || Statement::new("", vec![]);
        guards.push(mem::replace(&mut change.raise, spent()));
        if is_group {
            releases.push(mem::replace(&mut change.release, spent()));
        }
        drops.append(&mut change.drops);
        writes.append(&mut change.writes);
        confirms.push(mem::replace(&mut change.confirm, spent()));
    }
    let all = [guards, releases, drops, writes, confirms];
    all.into_iter().flatten().collect()
}
