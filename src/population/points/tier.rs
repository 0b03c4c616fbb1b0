//! Tiers: the stored one against the one that `lifetime_earned` and mgPass's
//! thresholds in force would give. The stored one is copied, as tiers never go down
//! and a promotion is mgPass's to make, at the next credit; each mismatch is named.

/// mgPass's tiers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers(Vec<(String, i64)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierVerdict {
    /// `None`: mgPass has no tier of the stored name.
    pub wanted: Option<String>,
    pub note: Option<String>,
}

impl Tiers {
    pub fn new(mut tiers: Vec<(String, i64)>) -> Self {
        tiers.sort_by_key(|(_, min_points)| *min_points);
        Self(tiers)
    }

    pub fn lowest(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }

    /// What mgPass holds after an import: a tier never goes down.
    pub fn after(&self, held: Option<&str>, wanted: &str) -> String {
        let points = |name: &str| {
            let found = self.0.iter().find(|(known, _)| known == name);
            found.map(|(_, min_points)| *min_points)
        };
        match held.map(|held| (held, points(held))) {
            Some((held, Some(least))) if points(wanted).is_some_and(|wanted| wanted <= least) => {
                held.to_owned()
            }
            Some(_) | None => wanted.to_owned(),
        }
    }

    fn expected(&self, lifetime_earned: i64) -> Option<&str> {
        let reached = self
            .0
            .iter()
            .rfind(|(_, min_points)| *min_points <= lifetime_earned);
        reached.map(|(name, _)| name.as_str()).or(self.lowest())
    }

    pub fn judge(&self, stored: Option<&str>, lifetime_earned: i64) -> TierVerdict {
        let expected = self.expected(lifetime_earned).unwrap_or_default();
        let Some(stored) = stored.map(str::trim).filter(|stored| !stored.is_empty()) else {
            return TierVerdict {
                wanted: Some(expected.to_owned()),
                note: Some(format!("tier_missing:{expected}")),
            };
        };
        let known = self
            .0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(stored));
        let Some((known, _)) = known else {
            // The name is the source's own text; it stays out of notes.
            return TierVerdict {
                wanted: None,
                note: None,
            };
        };
        TierVerdict {
            wanted: Some(known.clone()),
            note: (known != expected).then(|| format!("tier_mismatch:{known}>{expected}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Tiers {
        let tiers = [("gold", 10_000), ("bronze", 0), ("silver", 2_500)];
        Tiers::new(tiers.map(|(name, min)| (name.to_owned(), min)).to_vec())
    }

    fn check(stored: Option<&str>, lifetime: i64, wanted: Option<&str>, note: Option<&str>) {
        let verdict = tiers().judge(stored, lifetime);
        assert_eq!(
            (verdict.wanted.as_deref(), verdict.note.as_deref()),
            (wanted, note),
            "{stored:?} {lifetime}"
        );
    }

    #[test]
    fn a_tier_is_copied_and_a_mismatch_named_in_both_directions() {
        check(Some("bronze"), 2_499, Some("bronze"), None);
        check(Some("silver"), 2_500, Some("silver"), None);
        check(Some("Gold"), 10_000, Some("gold"), None);
        check(
            Some("gold"),
            2_500,
            Some("gold"),
            Some("tier_mismatch:gold>silver"),
        );
        check(
            Some("bronze"),
            99_999,
            Some("bronze"),
            Some("tier_mismatch:bronze>gold"),
        );
        check(Some("bronze"), -5, Some("bronze"), None);
    }

    #[test]
    fn a_tier_that_is_held_goes_up_and_never_down() {
        for (held, wanted, after) in [
            (None, "silver", "silver"),
            (Some("bronze"), "silver", "silver"),
            (Some("gold"), "silver", "gold"),
            (Some("gold"), "gold", "gold"),
            (Some("of_old"), "bronze", "bronze"),
        ] {
            assert_eq!(tiers().after(held, wanted), after, "{held:?} {wanted}");
        }
    }

    #[test]
    fn a_missing_tier_is_the_expected_one_and_an_unknown_one_is_nobodys() {
        check(None, 3_000, Some("silver"), Some("tier_missing:silver"));
        check(Some("  "), 0, Some("bronze"), Some("tier_missing:bronze"));
        check(Some("diamond"), 3_000, None, None);
    }
}
