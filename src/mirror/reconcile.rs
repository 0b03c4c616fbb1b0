//! What one reconcile does to mgPass: a pure decision over both sides' state.
//!
//! It never decides on deletion by one witness, never touches a user whom only
//! mgPass has, and never undoes a deletion. Order does not matter and repeating
//! is harmless, because the decision depends on states alone.

use sha2::{Digest, Sha256};

use crate::inbound::request::UserId;
use crate::mirror::mapping::{Mapped, MgpassUser, Obstacle, map};
use crate::mirror::residue::Residue;
use crate::mirror::target::{
    Effect, Holder, IDENTITY_PREFIX, Raise, TargetIdentity, TargetState, TargetUser, Writer,
};
use crate::runtime::backend::logto::{LogtoState, LogtoUser};
use crate::runtime::members::same_json;
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
}

/// Reasons for which a subject waits for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Park {
    DeletionUnconfirmed,
    DeletionBrake,
    DeletedAtMgpass,
    IdTakenAtMgpass,
    ValueTakenAtMgpass,
    ValueTakenInLogto,
    TooManyFailures,
    NotShownByMgpass,
}

impl Park {
    pub fn code(self) -> &'static str {
        match self {
            Self::DeletionUnconfirmed => "deletion_unconfirmed",
            Self::DeletionBrake => "deletion_brake",
            Self::DeletedAtMgpass => "deleted_at_mgpass",
            Self::IdTakenAtMgpass => "id_taken_at_mgpass",
            Self::ValueTakenAtMgpass => "value_taken_at_mgpass",
            Self::ValueTakenInLogto => "value_taken_in_logto",
            Self::TooManyFailures => "too_many_failures",
            Self::NotShownByMgpass => "not_shown_by_mgpass",
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
    owes_effect: bool,
}

impl Change {
    /// A call to mgPass is owed, by this change or by an earlier one.
    pub fn owes_effect(&self) -> bool {
        self.owes_effect
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
    pub logto: &'a LogtoState,
    pub target: &'a TargetState,
    pub witnesses: Witnesses,
    pub mapping: &'a MappingSettings,
    pub deletions_per_hour: i64,
    /// Subjects that move in the same batch: their values are free by then.
    pub companions: &'a [UserId],
}

pub fn decide(inputs: &Inputs<'_>) -> Decision {
    match inputs.logto {
        LogtoState::Present { user, json } => decide_present(inputs, user, json),
        LogtoState::Gone => decide_gone(inputs),
    }
}

fn decide_present(inputs: &Inputs<'_>, logto: &LogtoUser, json: &str) -> Decision {
    let target = inputs.target;
    if target.user.as_ref().is_some_and(|user| user.is_deleted) {
        return Decision::Park(Park::DeletedAtMgpass);
    }
    if target.user.is_some() && target.mirror.is_none() {
        return Decision::Park(Park::IdTakenAtMgpass);
    }
    if target.holders.iter().any(|holder| !holder.is_mirrored) {
        return Decision::Park(Park::ValueTakenAtMgpass);
    }
    let others: Vec<&Holder> = target
        .holders
        .iter()
        .filter(|holder| !inputs.companions.contains(&holder.user))
        .collect();
    if !others.is_empty() {
        return Decision::Conflict(
            others
                .into_iter()
                .map(|holder| holder.user.clone())
                .collect(),
        );
    }
    let Mapped { user, obstacles } = map(logto, inputs.mapping);
    let user = keep_newer_sign_in(user, target.user.as_ref());
    let writer = Writer::new(inputs.user, inputs.ticket);
    let drops = drop_identities(inputs, &writer, &user);
    let (writes, sessions_end) = write_user(inputs, &writer, &user, drops.is_empty());
    let owes_effect = sessions_end || !target.owed.is_empty();
    let outcome = match (&target.user, writes.is_empty() && drops.is_empty()) {
        (None, _) => Outcome::Created,
        (Some(_), true) => Outcome::Unchanged,
        (Some(_), false) => Outcome::Updated,
    };
    let raise = Raise {
        epoch: inputs.epoch,
        is_tombstone: false,
        digest: digest(json),
        residue: Some(Residue::of(logto)),
        obstacles: obstacle_codes(&obstacles),
        seen: seen(target),
        brake: None,
    };
    Decision::Apply(Box::new(Change {
        owes_effect,
        drops,
        ..change(&writer, outcome, raise, writes, Some(user))
    }))
}

/// The statements, and whether the user's sessions end with them.
fn write_user(
    inputs: &Inputs<'_>,
    writer: &Writer<'_>,
    user: &MgpassUser,
    keeps_identities: bool,
) -> (Vec<Statement>, bool) {
    let before = inputs.target.user.as_ref();
    let email_verified = is_verified(
        user.email.as_deref(),
        before.map(|before| (before.email.as_deref(), before.email_verified)),
        inputs.mapping.email_verified,
    );
    let phone_verified = is_verified(
        user.phone.as_deref(),
        before.map(|before| (before.phone.as_deref(), before.phone_verified)),
        inputs.mapping.phone_verified,
    );
    let row_differs = before.is_none_or(|before| {
        differs(user, before)
            || before.email_verified != email_verified
            || before.phone_verified != phone_verified
    });
    let mut writes = Vec::new();
    if row_differs || !inputs.companions.is_empty() {
        writes.push(writer.put_user(user, email_verified, phone_verified));
    }
    let identity_writes = put_identities(inputs, writer, user);
    let was_suspended = before.is_some_and(|before| before.is_suspended);
    match before {
        None => {
            writes.push(writer.give_default_roles());
            writes.push(writer.audit("user.created"));
        }
        Some(_) if row_differs || !keeps_identities || !identity_writes.is_empty() => {
            writes.push(writer.audit("user.updated"))
        }
        Some(_) => {}
    }
    writes.extend(identity_writes);
    if user.is_suspended != was_suspended {
        writes.push(writer.audit(if user.is_suspended {
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

/// Ours that Logto no longer has.
fn drop_identities(inputs: &Inputs<'_>, writer: &Writer<'_>, user: &MgpassUser) -> Vec<Statement> {
    let is_wanted = |row: &TargetIdentity| {
        user.identities
            .iter()
            .any(|wanted| is_same_account(wanted, &row.identity))
    };
    inputs
        .target
        .identities
        .iter()
        .filter(|row| row.row_id.starts_with(IDENTITY_PREFIX) && !is_wanted(row))
        .map(|row| writer.drop_identity(&row.row_id))
        .collect()
}

fn put_identities(inputs: &Inputs<'_>, writer: &Writer<'_>, user: &MgpassUser) -> Vec<Statement> {
    let mut writes = Vec::new();
    let held = &inputs.target.identities;
    for wanted in &user.identities {
        let is_held = held.iter().any(|row| {
            is_same_account(wanted, &row.identity)
                && same_optional_json(
                    wanted.profile_data.as_deref(),
                    row.identity.profile_data.as_deref(),
                )
        });
        if !is_held {
            writes.push(writer.put_identity(wanted));
        }
    }
    writes
}

fn is_same_account(
    one: &crate::mirror::mapping::MgpassIdentity,
    other: &crate::mirror::mapping::MgpassIdentity,
) -> bool {
    one.provider == other.provider && one.provider_user_id == other.provider_user_id
}

fn same_optional_json(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same_json(one, other),
        _ => false,
    }
}

fn differs(user: &MgpassUser, before: &TargetUser) -> bool {
    user.email != before.email
        || user.phone != before.phone
        || user.name != before.name
        || user.avatar != before.avatar
        || user.is_suspended != before.is_suspended
        || user.created_at_s != before.created_at_s
        || user.last_sign_in_at_s != before.last_sign_in_at_s
        || !same_json(&user.metadata, &before.metadata)
}

/// A sign-in at mgPass itself is mgPass's own fact; an older one of Logto's does not erase it.
fn keep_newer_sign_in(mut user: MgpassUser, before: Option<&TargetUser>) -> MgpassUser {
    let held = before.and_then(|before| before.last_sign_in_at_s);
    user.last_sign_in_at_s = user.last_sign_in_at_s.max(held);
    user
}

/// By the setting; but an address that its owner verified at mgPass stays verified.
fn is_verified(value: Option<&str>, before: Option<(Option<&str>, bool)>, setting: bool) -> bool {
    let kept = before.is_some_and(|(held, verified)| held == value && verified);
    value.is_some() && (setting || kept)
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
    let writes = vec![
        writer.tombstone_user(),
        writer.audit("user.deleted"),
        writer.owe(Effect::RevokeAll),
    ];
    let raise = raise("deleted", Some(inputs.deletions_per_hour));
    Decision::Apply(Box::new(Change {
        owes_effect: true,
        drops: vec![writer.drop_identities()],
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
        owes_effect: false,
    }
}

fn seen(target: &TargetState) -> i64 {
    target.mirror.as_ref().map_or(0, |mirror| mirror.ticket)
}

/// Of Logto's answer as it stands.
pub fn digest(json: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(json.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn obstacle_codes(obstacles: &[Obstacle]) -> String {
    let codes: Vec<_> = obstacles.iter().map(Obstacle::code).collect();
    serde_json::json!(codes).to_string()
}

/// All subjects' parts as one batch: every guard, then every release, then the writes.
pub fn batch(changes: &[&Change]) -> Vec<Statement> {
    let mut statements: Vec<_> = changes.iter().map(|change| change.raise.clone()).collect();
    if changes.len() > 1 {
        statements.extend(changes.iter().map(|change| change.release.clone()));
    }
    let all_of = |part: fn(&Change) -> &Vec<Statement>| {
        changes
            .iter()
            .flat_map(move |change| part(change).iter().cloned())
    };
    statements.extend(all_of(|change| &change.drops));
    statements.extend(all_of(|change| &change.writes));
    statements.extend(changes.iter().map(|change| change.confirm.clone()));
    statements
}
