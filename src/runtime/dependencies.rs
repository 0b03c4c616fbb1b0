//! For what Logto was needed, kept in the isolate until it is written down behind the
//! requests: by client and kind of grant, when it last was.
//!
//! Only what Logto granted is counted, so that nobody fills the list with names of
//! clients that do not exist.

use std::collections::BTreeMap;

/// By client id; [`UNNAMED`] where a request does not name one.
pub type Needed = (String, &'static str);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub last_at_ms: i64,
    pub count: i64,
}

/// Stands for the client of a request that shows a token alone.
pub const UNNAMED: &str = "unnamed";

/// More than any deployment has of clients and kinds.
const MAX_ENTRIES: usize = 2_000;

#[derive(Debug, Default)]
pub struct Dependencies {
    entries: BTreeMap<Needed, Need>,
}

impl Dependencies {
    pub fn note(&mut self, client_id: &str, kind: &'static str, now_ms: i64) {
        self.add(
            (client_id.to_owned(), kind),
            Need {
                last_at_ms: now_ms,
                count: 1,
            },
        );
    }

    pub fn take(&mut self) -> BTreeMap<Needed, Need> {
        std::mem::take(&mut self.entries)
    }

    pub fn put_back(&mut self, entries: BTreeMap<Needed, Need>) {
        for (needed, need) in entries {
            self.add(needed, need);
        }
    }

    fn add(&mut self, needed: Needed, need: Need) {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&needed) {
            return;
        }
        let held = self.entries.entry(needed).or_default();
        held.last_at_ms = held.last_at_ms.max(need.last_at_ms);
        held.count += need.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_counts_in_whatever_order_it_comes() {
        let mut dependencies = Dependencies::default();
        dependencies.note("a", "refresh_token", 5);
        let taken = dependencies.take();
        dependencies.note("a", "refresh_token", 9);
        dependencies.put_back(taken);
        let need = Need {
            last_at_ms: 9,
            count: 2,
        };
        let taken = dependencies.take();
        assert_eq!(taken.get(&("a".to_owned(), "refresh_token")), Some(&need));
        assert!(dependencies.take().is_empty());
    }

    #[test]
    fn the_list_has_an_end() {
        let mut dependencies = Dependencies::default();
        for number in 0..MAX_ENTRIES + 10 {
            dependencies.note(&number.to_string(), "refresh_token", 1);
        }
        assert_eq!(dependencies.take().len(), MAX_ENTRIES);
    }
}
