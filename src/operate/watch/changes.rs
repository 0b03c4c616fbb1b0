//! What is new since it was last noticed. Pure: what was kept and what is seen in, the
//! changes out.

use std::collections::BTreeMap;

use crate::policy::flags::form::{refusal, tidy};
use crate::runtime::ports::Row;
use crate::runtime::sql::text;

/// KV may show the value before for so long where it is read from another place.
const LATE_MS: i64 = 120_000;
/// A longer text is cut: the longest of ours is far below.
const MAX_CHARS: usize = 500;

/// What KV holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of every key that the proxy reads.
    pub values: Vec<(String, Option<String>)>,
    /// Keys that it does not read; `None`: the names could not be had.
    pub unknown: Option<Vec<String>>,
}

impl Seen {
    pub fn value(&self, key: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known == key);
        found.and_then(|(_, value)| value.as_deref())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A key of the namespace `FLAGS`.
    Flag,
    Authority,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Authority => "authority",
        }
    }
}

/// How something stands: absent, a value that is taken, or the code of one that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) value: Option<String>,
    pub(super) code: Option<String>,
}

impl Standing {
    pub(super) fn of_row(row: &Row, value: &str, code: &str) -> Self {
        Self {
            value: text(row, value),
            code: text(row, code),
        }
    }

    pub(super) fn of_flag(key: &str, value: Option<&str>) -> Self {
        match refusal(key, value) {
            Some(code) => Self {
                value: None,
                code: Some(code.to_owned()),
            },
            None => Self {
                value: value.map(|value| cut(tidy(value))),
                code: None,
            },
        }
    }

    pub(super) fn of_unknown() -> Self {
        Self {
            value: None,
            code: Some("unknown_key".to_owned()),
        }
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

pub(super) type Name = (Kind, String);

/// What was noticed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) standing: Standing,
    pub(super) before: Standing,
    pub(super) since: i64,
}

/// What somebody said they were about to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) value: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: Name,
    pub(super) before: Standing,
    pub(super) standing: Standing,
    pub(super) by: Option<Announced>,
}

/// What is new. A value that stood until a moment ago is a late copy, unless somebody
/// announced it.
pub(super) fn changes(
    kept: &BTreeMap<Name, Kept>,
    seen: BTreeMap<Name, Standing>,
    announced: &BTreeMap<String, Announced>,
    now_ms: i64,
) -> Vec<Change> {
    let nothing = Kept::default();
    let changed = seen.into_iter().filter_map(|(name, standing)| {
        let before = kept.get(&name).unwrap_or(&nothing);
        if before.standing == standing {
            return None;
        }
        let by = announced
            .get(&name.1)
            .filter(|_| name.0 == Kind::Flag)
            .filter(|announced| announced.value == standing.value && standing.code.is_none());
        let is_old = before.before == standing && now_ms - before.since < LATE_MS;
        if is_old && by.is_none() && name.0 == Kind::Flag {
            return None;
        }
        Some(Change {
            before: before.standing.clone(),
            standing,
            by: by.cloned(),
            name,
        })
    });
    changed.collect()
}

/// One thing each that there is, and each that there was.
pub(super) fn observe(
    kept: &BTreeMap<Name, Kept>,
    seen: &Seen,
    authority: Option<String>,
) -> BTreeMap<Name, Standing> {
    let mut all = BTreeMap::new();
    for (key, value) in &seen.values {
        let standing = Standing::of_flag(key, value.as_deref());
        all.insert((Kind::Flag, key.clone()), standing);
    }
    if let Some(unknown) = &seen.unknown {
        for name in unknown {
            all.insert((Kind::Flag, name.clone()), Standing::of_unknown());
        }
        // What was unknown and is gone.
        for name in kept.keys().filter(|(kind, _)| *kind == Kind::Flag) {
            all.entry(name.clone()).or_default();
        }
    }
    if authority.is_some() {
        let standing = Standing {
            value: authority,
            code: None,
        };
        all.insert((Kind::Authority, "authority".to_owned()), standing);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 10_000_000;

    fn value(value: &str) -> Standing {
        Standing {
            value: Some(value.to_owned()),
            code: None,
        }
    }

    fn name() -> Name {
        (Kind::Flag, "read_percent".to_owned())
    }

    /// `read_percent` was noticed as 10, and before that as 5, `age_ms` ago.
    fn after(seen: Standing, age_ms: i64, announced: Option<&str>) -> Vec<Standing> {
        let kept = Kept {
            standing: value("10"),
            before: value("5"),
            since: NOW_MS - age_ms,
        };
        let announced = announced.map(|text| {
            let announced = Announced {
                value: Some(text.to_owned()),
                actor: Some("ama".to_owned()),
                reason: None,
            };
            ("read_percent".to_owned(), announced)
        });
        let changes = changes(
            &BTreeMap::from([(name(), kept)]),
            BTreeMap::from([(name(), seen)]),
            &announced.into_iter().collect(),
            NOW_MS,
        );
        changes.into_iter().map(|change| change.standing).collect()
    }

    #[test]
    fn a_change_is_noticed_whoever_made_it() {
        assert_eq!(after(value("10"), 1_000, None), []);
        assert_eq!(after(value("25"), 1_000, None), [value("25")]);
        assert_eq!(
            after(Standing::default(), 1_000, None),
            [Standing::default()]
        );
        let refused = Standing::of_flag("read_percent", Some("fifty"));
        assert_eq!(refused.value, None, "it may be anything");
        assert_eq!(after(refused.clone(), 1_000, None), [refused]);
    }

    #[test]
    fn a_late_copy_is_no_change_back_and_a_real_one_is_believed_later() {
        assert_eq!(after(value("5"), LATE_MS - 1, None), []);
        assert_eq!(after(value("5"), LATE_MS, None), [value("5")]);
        // Whoever says so is believed at once.
        assert_eq!(after(value("5"), 1_000, Some("5")), [value("5")]);
    }

    #[test]
    fn only_the_announced_value_has_a_name() {
        let by = |seen: &str, announced: &str| {
            let kept = BTreeMap::new();
            let seen = BTreeMap::from([(name(), value(seen))]);
            let announced = Announced {
                value: Some(announced.to_owned()),
                actor: Some("ama".to_owned()),
                reason: Some("less load".to_owned()),
            };
            let announced = BTreeMap::from([("read_percent".to_owned(), announced)]);
            let changes = changes(&kept, seen, &announced, NOW_MS);
            changes
                .first()
                .and_then(|change| change.by.clone())
                .map(|by| by.actor)
        };
        assert_eq!(by("25", "25"), Some(Some("ama".to_owned())));
        assert_eq!(by("30", "25"), None);
    }

    #[test]
    fn unknown_keys_come_and_go_and_nobody_asks_for_their_values() {
        let seen = |unknown: Option<&[&str]>| Seen {
            values: vec![("stage".to_owned(), Some("shadow\n".to_owned()))],
            unknown: unknown.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        };
        let kept = BTreeMap::new();
        let all = observe(&kept, &seen(Some(&["read_precent"])), Some("logto".into()));
        let of = |key: &str| all[&(Kind::Flag, key.to_owned())].clone();
        assert_eq!(of("stage"), value("shadow"));
        assert_eq!(of("read_precent"), Standing::of_unknown());
        let kept: BTreeMap<_, _> = all
            .into_iter()
            .map(|(name, standing)| {
                let kept = Kept {
                    standing,
                    ..Kept::default()
                };
                (name, kept)
            })
            .collect();
        let gone = observe(&kept, &seen(Some(&[])), None);
        let key = (Kind::Flag, "read_precent".to_owned());
        assert_eq!(gone.get(&key), Some(&Standing::default()));
        // Names that could not be had are not gone.
        assert_eq!(observe(&kept, &seen(None), None).get(&key), None);
    }
}
