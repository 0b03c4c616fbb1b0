//! A phone number as Logto stores it: libphonenumber's reading of the digits in international
//! form, without a trunk prefix that somebody left in (`+61 0412…` is `61412…`).
//!
//! Logto asks libphonenumber-js for no more than the shape: a calling code that exists and 2 to 17
//! digits behind it. Whether the number is a valid one is not looked at.

mod pattern;
mod plans;

use self::pattern::{match_start, matches};
use self::plans::PLANS;

struct Plan {
    calling_code: &'static str,
    /// Of all national numbers.
    pattern: &'static str,
    /// Ascending.
    lengths: &'static [usize],
    /// What may stand before a national number, as a pattern.
    prefix: Option<&'static str>,
    /// What the groups of the prefix become.
    rule: Option<&'static str>,
}

const fn plan(
    calling_code: &'static str,
    pattern: &'static str,
    lengths: &'static [usize],
    prefix: Option<&'static str>,
    rule: Option<&'static str>,
) -> Plan {
    Plan {
        calling_code,
        pattern,
        lengths,
        prefix,
        rule,
    }
}

/// The library takes no longer text, the plus before the digits included.
const MAX_TEXT: usize = 250;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    calling_code: &'static str,
    national: String,
}

impl Phone {
    /// `None`: the library would throw.
    pub fn parse(digits: &str) -> Option<Self> {
        if digits.len() < 3 || digits.len() + 1 > MAX_TEXT {
            return None;
        }
        let plan = PLANS
            .iter()
            .find(|plan| digits.starts_with(plan.calling_code))?;
        let national = plan.without_prefix(digits.strip_prefix(plan.calling_code)?);
        (2..=17).contains(&national.len()).then_some(Self {
            calling_code: plan.calling_code,
            national,
        })
    }

    pub fn international(&self) -> String {
        format!("{}{}", self.calling_code, self.national)
    }

    /// As rows from before numbers were normalised have it.
    pub fn with_leading_zero(&self) -> String {
        format!("{}0{}", self.calling_code, self.national)
    }
}

impl Plan {
    fn without_prefix(&self, number: &str) -> String {
        let stripped = self.strip(number);
        let Some(stripped) = stripped.filter(|stripped| stripped != number) else {
            return number.to_owned();
        };
        // Digits that look like a prefix may be the start of the number itself.
        let belongs = self.matches(number) && !self.matches(&stripped);
        if belongs || !self.is_long_enough(&stripped) {
            return number.to_owned();
        }
        stripped
    }

    fn strip(&self, number: &str) -> Option<String> {
        let found = match_start(self.prefix?, number)?;
        let has_groups = found
            .groups
            .last()
            .is_some_and(|group| group.is_some_and(|text| !text.is_empty()));
        let Some(rule) = self.rule.filter(|_| has_groups) else {
            return Some(found.rest.to_owned());
        };
        let mut national = String::new();
        let mut parts = rule.split('$');
        national.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // "$1" and digits that follow it.
            let (group, more) = part.split_at_checked(1)?;
            let group = found
                .groups
                .get(group.parse::<usize>().ok()?.checked_sub(1)?)?;
            national.push_str(group.unwrap_or_default());
            national.push_str(more);
        }
        national.push_str(found.rest);
        Some(national)
    }

    fn matches(&self, number: &str) -> bool {
        matches(self.pattern, number)
    }

    /// A possible length, or longer than any.
    fn is_long_enough(&self, number: &str) -> bool {
        let longest = self.lengths.last().copied().unwrap_or(0);
        number.len() > longest || self.lengths.contains(&number.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_library_reads_them() {
        let cases = [
            ("14155555357", Some("14155555357")),
            ("610412345678", Some("61412345678")),
            ("233200000055", Some("233200000055")),
            ("2330200000055", Some("233200000055")),
            // 8 is Russia's prefix, and the start of its numbers.
            ("78005553535", Some("78005553535")),
            ("788005553535", Some("78005553535")),
            // Argentina's mobile numbers: a 15 in the middle becomes a 9 in front.
            ("5401115234567891", Some("54911234567891")),
            ("540111523456789", Some("5491123456789")),
            ("0041", None),
            ("999123456", None),
            ("1", None),
            ("14", None),
            ("141", Some("141")),
            ("358", None),
            ("4912345678901234567", Some("4912345678901234567")),
            ("49123456789012345678", None),
        ];
        for (digits, expected) in cases {
            let phone = Phone::parse(digits).map(|phone| phone.international());
            assert_eq!(phone.as_deref(), expected, "{digits}");
        }
    }
}
