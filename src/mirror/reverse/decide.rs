//! mgPass's user in Logto's form, Logto's user, and the base between them: what Logto is
//! sent of which field. Pure.
//!
//! A field that differs is sent only while Logto still shows what the last reconcile left
//! there, or what an earlier one of ours sent and heard no answer of. Anything else that
//! Logto shows is somebody else's doing: a stray, which neither side is given until a
//! person has decided. Without a base nothing is known of Logto's, and all that differs is
//! one; a user whom a create has reserved and nobody has filled in is the proxy's own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::mirror::base::{Base, IDENTITIES};
use crate::runtime::backend::logto::LogtoUser;

/// Of the whole user, where not one field is at issue.
pub const USER: &str = "user";

/// mgPass's side.
#[derive(Clone, Copy, Debug)]
pub enum Here<'a> {
    Present(&'a LogtoUser),
    /// Deleted there, or removed.
    Gone,
}

/// An operator's word on what somebody changed at Logto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    None,
    /// mgPass's values take their place.
    TowardsMgpass,
}

/// What an earlier reconcile sent, and does not know the end of: a digest of each value,
/// or none where it took one away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Sent(pub BTreeMap<String, Option<String>>);

pub struct Inputs<'a> {
    pub here: Here<'a>,
    /// `None`: Logto has nobody of that id.
    pub logto: Option<&'a LogtoUser>,
    pub base: Option<&'a Base>,
    pub sent: &'a [Sent],
    pub word: Word,
    /// A second sign of a deletion at mgPass, besides its rows.
    pub is_deletion_witnessed: bool,
    /// Deletions at Logto within the last hour, and how many there may be.
    pub n_deletions: i64,
    pub deletions_per_hour: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// May be nothing at all.
    Carry(Carriage),
    Delete,
    /// Neither side has the user.
    Absent,
    /// Somebody deleted the user at Logto.
    GoneAtLogto,
    /// Not now, as a code: a person is to look.
    Owed(Owed),
}

/// Why Logto is not told of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    DeletionUnconfirmed,
    DeletionBrake,
    /// Somebody changed these fields at Logto since.
    ChangedAtLogto(Vec<String>),
}

impl Owed {
    pub fn code(&self) -> &'static str {
        match self {
            Self::DeletionUnconfirmed => "deletion_unconfirmed",
            Self::DeletionBrake => "deletion_brake",
            Self::ChangedAtLogto(_) => "changed_at_logto",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carriage {
    pub carries: Vec<Carry>,
    /// Fields that somebody changed at Logto.
    pub strays: Vec<String>,
    /// Of Logto's user before anything is sent; each that is carried then takes its place.
    pub base: Base,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    pub key: String,
    /// Of the value; `None`: it is taken away.
    pub digest: Option<String>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A member of the user, as JSON.
    Member {
        name: &'static str,
        text: String,
    },
    Suspension(bool),
    /// What `PUT .../identities/:target` takes.
    PutIdentity {
        target: String,
        json: String,
    },
    DropIdentity {
        target: String,
    },
}

/// Members of one PATCH, which replaces each whole.
const MEMBERS: [(&str, &str); 7] = [
    ("username", "null"),
    ("primaryEmail", "null"),
    ("primaryPhone", "null"),
    ("name", "null"),
    ("avatar", "null"),
    ("customData", "{}"),
    ("profile", "{}"),
];
pub const SUSPENSION: &str = "isSuspended";

pub fn decide(inputs: &Inputs<'_>) -> Decision {
    match (inputs.here, inputs.logto) {
        (Here::Gone, None) => Decision::Absent,
        (Here::Present(_), None) => Decision::GoneAtLogto,
        (Here::Gone, Some(logto)) => decide_deletion(inputs, logto),
        (Here::Present(here), Some(logto)) => Decision::Carry(merge(inputs, here, logto)),
    }
}

fn decide_deletion(inputs: &Inputs<'_>, logto: &LogtoUser) -> Decision {
    let there = Base::of_logto(logto);
    let base = base(inputs, logto, &there);
    let changed: Vec<_> = keys([&there, &base])
        .into_iter()
        .filter(|key| is_strange(key, &there, &base, inputs.sent))
        .collect();
    match () {
        () if !inputs.is_deletion_witnessed => Decision::Owed(Owed::DeletionUnconfirmed),
        () if !changed.is_empty() && inputs.word == Word::None => {
            Decision::Owed(Owed::ChangedAtLogto(changed))
        }
        () if inputs.n_deletions >= inputs.deletions_per_hour => {
            Decision::Owed(Owed::DeletionBrake)
        }
        () => Decision::Delete,
    }
}

fn merge(inputs: &Inputs<'_>, here: &LogtoUser, logto: &LogtoUser) -> Carriage {
    let there = Base::of_logto(logto);
    let left = base(inputs, logto, &there);
    let wanted = Base::of_logto(here);
    let mut carriage = Carriage {
        carries: Vec::new(),
        strays: Vec::new(),
        base: there.clone(),
    };
    for key in keys([&wanted, &there, &left]) {
        if wanted.get(&key) == there.get(&key) {
            continue;
        }
        if inputs.word == Word::None && is_strange(&key, &there, &left, inputs.sent) {
            // It stays one, whatever becomes of the rest.
            carriage.base.keep(&key, &left);
            carriage.strays.push(key);
        } else if let Some(what) = carried(&key, here) {
            carriage.carries.push(Carry {
                digest: wanted.get(&key).map(str::to_owned),
                key,
                what,
            });
        }
    }
    // What ends sessions first; values are given up before others are taken.
    carriage.carries.sort_by_key(|carry| match carry.what {
        What::Suspension(_) => 0,
        What::DropIdentity { .. } => 1,
        What::Member { .. } => 2,
        What::PutIdentity { .. } => 3,
    });
    carriage
}

fn base(inputs: &Inputs<'_>, logto: &LogtoUser, there: &Base) -> Base {
    match inputs.base {
        // An id and a nonce: the proxy's own, and nobody else's yet.
        _ if logto.reservation().is_some() => there.clone(),
        Some(base) => base.clone(),
        None => Base::default(),
    }
}

fn keys<'a>(bases: impl IntoIterator<Item = &'a Base>) -> BTreeSet<String> {
    let keys = bases.into_iter().flat_map(Base::keys);
    keys.map(str::to_owned).collect()
}

/// Logto shows what neither the base nor any sending of ours explains.
fn is_strange(key: &str, there: &Base, base: &Base, sent: &[Sent]) -> bool {
    let shown = there.get(key);
    let is_sent = |sent: &Sent| {
        let value = sent.0.get(key);
        value.is_some_and(|digest| digest.as_deref() == shown)
    };
    shown != base.get(key) && !sent.iter().any(is_sent)
}

/// `None`: no field that Logto could be sent.
fn carried(key: &str, here: &LogtoUser) -> Option<What> {
    if key == SUSPENSION {
        return Some(What::Suspension(here.is_suspended));
    }
    if let Some(target) = key.strip_prefix(IDENTITIES) {
        let target = target.to_owned();
        let held = here.identities.iter().find(|held| held.target == target);
        return Some(match held {
            Some(identity) => What::PutIdentity {
                target,
                json: identity.to_json(),
            },
            None => What::DropIdentity { target },
        });
    }
    let (name, absent) = MEMBERS.into_iter().find(|(name, _)| *name == key)?;
    let text = here.members.get(name).unwrap_or(absent).to_owned();
    Some(What::Member { name, text })
}

#[cfg(test)]
mod tests;
