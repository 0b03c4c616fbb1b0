//! Logto's user, mgPass's rows and the base between them: what a reconcile writes of
//! which field. Pure.
//!
//! Who changed a field since the base decides. The mirror's own values follow Logto.
//! A change made at mgPass of which its audit log names nobody is undone. One that
//! somebody made there on purpose stays for a person to judge, as long as Logto has
//! not changed the same field since; else Logto wins, since it is the source of truth,
//! and what gave way is named.

use std::collections::BTreeSet;

use crate::mirror::base::{Base, identity_key, path};
use crate::mirror::differences::{Class, Wanted, fields, since_base};
use crate::mirror::mapping::MgpassIdentity;
use crate::mirror::rows::TargetUser;
use crate::mirror::target::{Left, TargetState};

/// What of mgPass's side was changed there since the base, as names of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedThere {
    /// By nobody that mgPass's audit log names: Logto's value takes its place.
    pub altered: Vec<String>,
    /// On purpose, and kept for a person.
    pub kept: Vec<String>,
    /// On purpose, and Logto's value takes its place all the same.
    pub overruled: Vec<String>,
}

impl ChangedThere {
    pub fn is_nothing(&self) -> bool {
        self.altered.is_empty() && self.kept.is_empty() && self.overruled.is_empty()
    }
}

#[derive(Clone, Debug)]
pub struct Merged {
    /// The row, and the identities that mgPass has of Logto's behind the batch.
    pub wanted: Wanted,
    row_differs: bool,
    pub writes_row: bool,
    /// Rows of identities.
    pub drops: Vec<String>,
    pub puts: Vec<MgpassIdentity>,
    pub there: ChangedThere,
    pub base: Base,
}

impl Merged {
    /// More than a row that is written again as it is.
    pub fn changes_anything(&self) -> bool {
        self.row_differs || !self.drops.is_empty() || !self.puts.is_empty()
    }
}

/// An operator's word on what somebody changed at mgPass on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    None,
    /// Logto's values take their place.
    Overrule,
}

/// Whether the row is written although nothing of it differs: its unique values were
/// released for those who move in the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrites {
    No,
    Yes,
}

/// Without a base nothing is known to have been changed at mgPass: Logto's values are written.
pub fn merge(wanted: Wanted, target: &TargetState, word: Word, rewrites: Rewrites) -> Merged {
    let Some(held) = &target.user else {
        let user = &wanted.user;
        return Merged {
            row_differs: true,
            writes_row: true,
            drops: Vec::new(),
            puts: user.identities.clone(),
            there: ChangedThere::default(),
            base: Base::of(Some(&wanted.to_row()), &user.identities),
            wanted,
        };
    };
    let differing = fields(&wanted, held, &target.identities);
    let (there, kept) = judge(&wanted, target, &differing, word);
    let writes = |key: &str, class: Option<Class>| {
        let found = differing.iter().find(|(differing, _)| differing == key);
        found.is_some_and(|(_, found)| class.is_none_or(|class| class == *found))
            && !kept.contains(key)
    };
    let rows = &target.identities;
    let drops = rows
        .iter()
        .filter(|row| row.is_ours() && writes(&identity_key(&row.identity), Some(Class::Extra)));
    let drops: Vec<_> = drops.map(|row| row.row_id.clone()).collect();
    let puts = wanted.user.identities.iter();
    let puts: Vec<_> = puts
        .filter(|identity| writes(&identity_key(identity), None))
        .cloned()
        .collect();
    let is_column = |key: &str| !key.starts_with("identities.");
    let row_differs = differing
        .iter()
        .any(|(key, _)| is_column(key) && !kept.contains(key));
    let writes_row = rewrites == Rewrites::Yes || row_differs;
    let wanted = with_kept(wanted, held, target, &kept);
    let row = match writes_row {
        true => &wanted.to_row(),
        false => held,
    };
    let stays = rows
        .iter()
        .filter(|row| !drops.contains(&row.row_id) && !puts.iter().any(|put| row.is_of(put)))
        .map(|row| &row.identity);
    let mut base = Base::of(Some(row), stays.chain(&puts));
    if let Some(left) = target.base() {
        for key in &kept {
            base.keep(key, left);
        }
    }
    Merged {
        wanted,
        row_differs,
        writes_row,
        drops,
        puts,
        there,
        base,
    }
}

/// Also the keys of what is kept.
fn judge(
    wanted: &Wanted,
    target: &TargetState,
    differing: &[(String, Class)],
    word: Word,
) -> (ChangedThere, BTreeSet<String>) {
    let mut there = ChangedThere::default();
    let mut kept = BTreeSet::new();
    let Some(Left {
        base: Some(base),
        n_edits,
        ..
    }) = &target.left
    else {
        return (there, kept);
    };
    let here = target.to_base();
    let logto = Base::of(Some(&wanted.to_row()), &wanted.user.identities);
    for (key, _) in differing {
        if base.get(key) == here.get(key) {
            continue;
        }
        let path = path(key).to_owned();
        if *n_edits == 0 {
            there.altered.push(path);
        } else if word == Word::Overrule || base.get(key) != logto.get(key) {
            there.overruled.push(path);
        } else {
            kept.insert(key.clone());
            there.kept.push(path);
        }
    }
    (there, kept)
}

/// Of a user who is deleted at Logto: what goes with them.
pub fn changed_there(target: &TargetState) -> ChangedThere {
    // A sign-in there is no change of anybody's.
    let mut paths = since_base(target);
    paths.remove("last_sign_in_at");
    let paths = Vec::from_iter(paths);
    let mut there = ChangedThere::default();
    match target.left.as_ref().map_or(0, |left| left.n_edits) {
        0 => there.altered = paths,
        _ => there.overruled = paths,
    }
    there
}

/// With mgPass's own value in each field that is kept.
fn with_kept(
    mut wanted: Wanted,
    held: &TargetUser,
    target: &TargetState,
    kept: &BTreeSet<String>,
) -> Wanted {
    let keeps = |key: &str| kept.contains(key);
    let user = &mut wanted.user;
    if keeps("email") {
        user.email.clone_from(&held.email);
    }
    // Whether an address is verified goes with the address.
    if keeps("email") || keeps("email_verified") {
        wanted.email_verified = held.email_verified;
    }
    if keeps("phone") {
        user.phone.clone_from(&held.phone);
    }
    if keeps("phone") || keeps("phone_verified") {
        wanted.phone_verified = held.phone_verified;
    }
    if keeps("name") {
        user.name.clone_from(&held.name);
    }
    if keeps("avatar") {
        user.avatar.clone_from(&held.avatar);
    }
    if keeps("metadata") {
        user.metadata.clone_from(&held.metadata);
    }
    if keeps("is_suspended") {
        user.is_suspended = held.is_suspended;
    }
    if keeps("created_at") {
        user.created_at_s = held.created_at_s;
    }
    if keeps("last_sign_in_at") {
        user.last_sign_in_at_s = held.last_sign_in_at_s;
    }
    user.identities = std::mem::take(&mut user.identities)
        .into_iter()
        .filter_map(|identity| {
            if !keeps(&identity_key(&identity)) {
                return Some(identity);
            }
            let row = target.identities.iter().find(|row| row.is_of(&identity));
            row.map(|row| row.identity.clone())
        })
        .collect();
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::mapping::map;
    use crate::mirror::mapping::tests::ALICE;
    use crate::runtime::backend::logto::LogtoUser;
    use crate::runtime::settings::MappingSettings;

    const SETTINGS: MappingSettings = MappingSettings {
        providers: Vec::new(),
        email_verified: true,
        phone_verified: true,
    };

    fn wanted(name: &str) -> Wanted {
        let mut user = map(&LogtoUser::parse(ALICE).unwrap(), &SETTINGS).user;
        user.name = Some(name.to_owned());
        Wanted::of(user, None, &SETTINGS)
    }

    /// The name of one user: as the mirror left it, at mgPass now, at Logto now.
    fn merged(left: &str, here: &str, logto: &str, n_edits: i64, word: Word) -> Merged {
        let target = TargetState {
            user: Some(wanted(here).to_row()),
            left: Some(Left {
                base: Some(Base::of(Some(&wanted(left).to_row()), [])),
                n_edits,
                ..Left::default()
            }),
            ..TargetState::default()
        };
        merge(wanted(logto), &target, word, Rewrites::No)
    }

    #[test]
    fn who_changed_a_field_since_the_base_decides() {
        let name = || vec!["name".to_owned()];
        let nothing = ChangedThere::default;
        let altered = || ChangedThere {
            altered: name(),
            ..nothing()
        };
        let kept = || ChangedThere {
            kept: name(),
            ..nothing()
        };
        let overruled = || ChangedThere {
            overruled: name(),
            ..nothing()
        };
        for (left, here, logto, n_edits, word, written, there) in [
            // Nobody, Logto alone, both to the same.
            ("a", "a", "a", 1, Word::None, "a", nothing()),
            ("a", "a", "b", 1, Word::None, "b", nothing()),
            ("a", "b", "b", 1, Word::None, "b", nothing()),
            // mgPass alone.
            ("a", "x", "a", 0, Word::None, "a", altered()),
            ("a", "x", "a", 1, Word::None, "x", kept()),
            ("a", "x", "a", 1, Word::Overrule, "a", overruled()),
            // Both.
            ("a", "x", "b", 0, Word::None, "b", altered()),
            ("a", "x", "b", 1, Word::None, "b", overruled()),
        ] {
            let merged = merged(left, here, logto, n_edits, word);
            let case = format!("{left} {here} {logto} {n_edits} {word:?}");
            assert_eq!(merged.there, there, "{case}");
            assert_eq!(merged.wanted.user.name.as_deref(), Some(written), "{case}");
            assert_eq!(merged.writes_row, written != here, "{case}");
            // What is kept stays marked as changed since.
            let marked = if there.kept.is_empty() { written } else { left };
            let expected = Base::of(Some(&wanted(marked).to_row()), []);
            assert_eq!(merged.base, expected, "{case}");
        }
    }

    #[test]
    fn without_a_base_logto_is_followed_and_nothing_is_said() {
        let target = TargetState {
            user: Some(wanted("x").to_row()),
            left: Some(Left {
                n_edits: 1,
                ..Left::default()
            }),
            ..TargetState::default()
        };
        let merged = merge(wanted("a"), &target, Word::None, Rewrites::No);
        assert!(merged.there.is_nothing() && merged.writes_row);
    }
}
