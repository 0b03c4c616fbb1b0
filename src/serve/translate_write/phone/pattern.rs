//! The patterns of the numbering plans, matched. They are over digits and have few parts:
//! digits, `\d`, classes, groups, `|`, `{n}`, `{n,m}`, `?` and `$`. All of them and no more
//! is known here: a crate for patterns would be larger than all else that reads a number.
//! Tests compare with one.

/// Where a match ends, and its groups in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'t> {
    pub rest: &'t str,
    pub groups: Vec<Option<&'t str>>,
}

/// At the start of the text. `None` also for a pattern with other parts.
pub fn match_start<'t>(pattern: &str, text: &'t str) -> Option<Match<'t>> {
    let mut reader = Reader {
        rest: pattern.as_bytes(),
        n_groups: 0,
    };
    let branches = reader.branches()?;
    if !reader.rest.is_empty() {
        return None;
    }
    let mut groups = vec![None; reader.n_groups];
    let mut end = None;
    one_of(&branches, text.as_bytes(), 0, &mut groups, &mut |at, _| {
        end = Some(at);
        true
    });
    Some(Match {
        rest: text.get(end?..)?,
        groups: groups
            .into_iter()
            .map(|group| group.and_then(|(start, end)| text.get(start..end)))
            .collect(),
    })
}

/// The whole text.
pub fn matches(pattern: &str, text: &str) -> bool {
    match_start(&format!("(?:{pattern})$"), text).is_some()
}

type Branch = Vec<Piece>;
type Groups = Vec<Option<(usize, usize)>>;

struct Piece {
    part: Part,
    at_least: usize,
    at_most: usize,
}

enum Part {
    /// One bit for each digit.
    Digits(u16),
    End,
    Group {
        captured: Option<usize>,
        branches: Vec<Branch>,
    },
}

struct Reader<'p> {
    rest: &'p [u8],
    n_groups: usize,
}

impl Reader<'_> {
    fn take(&mut self, expected: &[u8]) -> bool {
        let Some(rest) = self.rest.strip_prefix(expected) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn branches(&mut self) -> Option<Vec<Branch>> {
        let mut branches = vec![Branch::new()];
        while let Some(next) = self.rest.first() {
            match next {
                b')' => break,
                b'|' => {
                    self.next();
                    branches.push(Branch::new());
                }
                _ => {
                    let piece = self.piece()?;
                    branches.last_mut()?.push(piece);
                }
            }
        }
        Some(branches)
    }

    fn piece(&mut self) -> Option<Piece> {
        let part = match self.next()? {
            b'(' => {
                let captured = if self.take(b"?:") {
                    None
                } else {
                    self.n_groups += 1;
                    Some(self.n_groups - 1)
                };
                let branches = self.branches()?;
                self.take(b")")
                    .then_some(Part::Group { captured, branches })?
            }
            b'[' => Part::Digits(self.class()?),
            b'$' => Part::End,
            b'\\' => self.take(b"d").then_some(Part::Digits(0x3ff))?,
            digit => Part::Digits(bit(digit)?),
        };
        let (at_least, at_most) = self.repetition()?;
        Some(Piece {
            part,
            at_least,
            at_most,
        })
    }

    fn class(&mut self) -> Option<u16> {
        let mut digits = 0;
        while !self.take(b"]") {
            let first = self.next()?;
            let last = if self.take(b"-") { self.next()? } else { first };
            for digit in first..=last {
                digits |= bit(digit)?;
            }
        }
        Some(digits)
    }

    fn repetition(&mut self) -> Option<(usize, usize)> {
        if self.take(b"?") {
            return Some((0, 1));
        }
        if !self.take(b"{") {
            return Some((1, 1));
        }
        let at_least = self.number();
        let at_most = if self.take(b",") {
            self.number()
        } else {
            at_least
        };
        self.take(b"}").then_some((at_least, at_most))
    }

    fn number(&mut self) -> usize {
        let mut number = 0;
        while let Some(digit) = self.rest.first().filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + usize::from(digit - b'0');
            self.next();
        }
        number
    }
}

fn bit(digit: u8) -> Option<u16> {
    digit.is_ascii_digit().then(|| 1 << (digit - b'0'))
}

/// Goes on with the rest of what is to be matched; false: this way leads nowhere.
type Next<'n> = &'n mut dyn FnMut(usize, &mut Groups) -> bool;

fn one_of(
    branches: &[Branch],
    text: &[u8],
    at: usize,
    groups: &mut Groups,
    next: Next<'_>,
) -> bool {
    branches
        .iter()
        .any(|branch| all_of(branch, text, at, groups, next))
}

fn all_of(pieces: &[Piece], text: &[u8], at: usize, groups: &mut Groups, next: Next<'_>) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return next(at, groups);
    };
    repeated(piece, 0, text, at, groups, &mut |at, groups| {
        all_of(rest, text, at, groups, next)
    })
}

/// As often as can be, then less often.
fn repeated(
    piece: &Piece,
    n_done: usize,
    text: &[u8],
    at: usize,
    groups: &mut Groups,
    next: Next<'_>,
) -> bool {
    let can_go_on = n_done < piece.at_most
        && once(&piece.part, text, at, groups, &mut |end, groups| {
            repeated(piece, n_done + 1, text, end, groups, next)
        });
    can_go_on || (n_done >= piece.at_least && next(at, groups))
}

fn once(part: &Part, text: &[u8], at: usize, groups: &mut Groups, next: Next<'_>) -> bool {
    match part {
        Part::End => at == text.len() && next(at, groups),
        Part::Digits(digits) => {
            let is_one = text
                .get(at)
                .and_then(|digit| bit(*digit))
                .is_some_and(|bit| digits & bit != 0);
            is_one && next(at + 1, groups)
        }
        Part::Group {
            captured: None,
            branches,
        } => one_of(branches, text, at, groups, next),
        Part::Group {
            captured: Some(index),
            branches,
        } => {
            let before = groups.get(*index).copied().flatten();
            let is_matched = one_of(branches, text, at, groups, &mut |end, groups| {
                let held = groups.get(*index).copied().flatten();
                set(groups, *index, Some((at, end)));
                next(end, groups) || {
                    set(groups, *index, held);
                    false
                }
            });
            if !is_matched {
                set(groups, *index, before);
            }
            is_matched
        }
    }
}

fn set(groups: &mut Groups, index: usize, value: Option<(usize, usize)>) {
    if let Some(group) = groups.get_mut(index) {
        *group = value;
    }
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::super::plans::PLANS;
    use super::*;

    /// Digits that look like numbers of all lengths, by a generator of its own.
    fn texts() -> impl Iterator<Item = String> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(move || {
            let mut draw = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let length = draw() % 15;
            (0..length)
                .map(|_| char::from(b'0' + (draw() % 10) as u8))
                .collect()
        })
    }

    #[test]
    fn every_pattern_of_the_plans_matches_as_in_the_crate() {
        let mut n_matched = 0;
        for plan in PLANS {
            let texts: Vec<String> = texts().take(400).collect();
            let whole = Regex::new(&format!("^(?:{})$", plan.pattern)).unwrap();
            for text in &texts {
                let expected = whole.is_match(text);
                n_matched += usize::from(expected);
                assert_eq!(
                    matches(plan.pattern, text),
                    expected,
                    "{} {text}",
                    plan.pattern
                );
            }
            let Some(prefix) = plan.prefix else { continue };
            let start = Regex::new(&format!("^(?:{prefix})")).unwrap();
            for text in &texts {
                let expected = start.captures(text).map(|found| Match {
                    rest: &text[found.get(0).unwrap().end()..],
                    groups: (1..found.len())
                        .map(|index| found.get(index).map(|group| group.as_str()))
                        .collect(),
                });
                n_matched += usize::from(expected.is_some());
                assert_eq!(match_start(prefix, text), expected, "{prefix} {text}");
            }
        }
        assert!(n_matched > 5_000, "{n_matched}");
    }

    #[test]
    fn what_has_other_parts_matches_nothing() {
        for pattern in ["a", "[", "(1", "1)", "\\w", "1{2", "[1-a]"] {
            assert_eq!(match_start(pattern, "1"), None, "{pattern}");
        }
    }
}
