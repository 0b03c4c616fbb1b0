//! What the platform takes, in one place, and what an invocation has used of it.
//!
//! The local runtime allows more, so nothing but these numbers holds the proxy to
//! them: every page splits by bytes and by statements, and whoever starts something
//! reserves what it may ask. Workers Paid; sources and what happens at each limit:
//! docs/limits.md.

use std::cell::Cell;

/// A text, a blob, a row. <https://developers.cloudflare.com/d1/platform/limits/>
pub const MAX_VALUE_BYTES: usize = 2_000_000;
/// One SQL statement, without its values. Same page.
#[cfg(not(target_arch = "wasm32"))]
pub const MAX_SQL_BYTES: usize = 100_000;
/// Values bound to one statement. Same page.
#[cfg(not(target_arch = "wasm32"))]
pub const MAX_PARAMETERS: usize = 100;
/// Queries of D1 in one invocation. Same page; each statement of a batch is taken for
/// one, since the page does not say otherwise.
pub const MAX_QUERIES: u32 = 1_000;
/// <https://developers.cloudflare.com/workers/platform/limits/#subrequests>
#[cfg(not(target_arch = "wasm32"))]
pub const MAX_SUBREQUESTS: u32 = 10_000;
/// More wait for one to end.
/// <https://developers.cloudflare.com/workers/platform/limits/#simultaneous-open-connections>
pub const MAX_CONNECTIONS: usize = 6;
/// One call of `sendBatch`. <https://developers.cloudflare.com/queues/platform/limits/>
pub const MAX_SENT_MESSAGES: usize = 100;
/// All messages of one call together (1 KB is 1,000 bytes). Same page.
pub const MAX_SENT_BYTES: usize = 256_000;

/// Our own: an answer of a backend is read no further. An isolate has 128 MB for all
/// that it does at the same time.
pub const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Our own: what is held of many users at once, as Logto lists them. It is held some
/// times over while it is worked on, and by several lanes of a job.
pub const LISTED_BYTES: usize = 250_000;
/// Our own: the same of their rows, of each table; and what one value holds of many.
pub const PORTION_BYTES: usize = 500_000;
/// Our own: of users above this an isolate works on one at a time.
pub const HEAVY_BYTES: usize = 100_000;
/// What the table adds to a row's texts: header, numbers, defaults.
const ROW_MARGIN_BYTES: usize = 2_000;

/// Whether texts of these lengths fit into one row.
pub fn fits_row(lengths: impl IntoIterator<Item = usize>) -> bool {
    lengths.into_iter().sum::<usize>() + ROW_MARGIN_BYTES <= MAX_VALUE_BYTES
}

/// Lists of items, in order, none heavier than `max_bytes` unless one item alone is.
pub fn portions<T>(
    items: impl IntoIterator<Item = T>,
    max_bytes: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    let mut portions: Vec<Vec<T>> = Vec::new();
    let mut n_bytes = 0;
    for item in items {
        let more = bytes_of(&item);
        match portions.last_mut() {
            Some(portion) if n_bytes + more <= max_bytes => {
                n_bytes += more;
                portion.push(item);
            }
            _ => {
                n_bytes = more;
                portions.push(vec![item]);
            }
        }
    }
    portions
}

/// Texts of JSON values as JSON arrays, each list heavier than a portion only if one
/// element is.
pub fn json_lists(elements: impl IntoIterator<Item = String>) -> Vec<String> {
    portions(elements, PORTION_BYTES, |text| text.len() + 1)
        .into_iter()
        .map(|list| format!("[{}]", list.join(",")))
        .collect()
}

/// What one invocation has asked of the platform. An invocation is one request with
/// what follows it, one batch of messages, or one run of cron.
#[derive(Debug)]
pub struct Usage {
    max_queries: u32,
    queries: Cell<u32>,
    subrequests: Cell<u32>,
    reserved: Cell<u32>,
}

impl Default for Usage {
    fn default() -> Self {
        Self::of(MAX_QUERIES)
    }
}

impl Usage {
    pub fn of(max_queries: u32) -> Self {
        Self {
            max_queries,
            queries: Cell::new(0),
            subrequests: Cell::new(0),
            reserved: Cell::new(0),
        }
    }

    /// One batch, which is one subrequest too.
    pub fn count_batch(&self, n_statements: usize) {
        let n_queries = u32::try_from(n_statements).unwrap_or(u32::MAX);
        self.queries
            .set(self.queries.get().saturating_add(n_queries));
        self.count_subrequest();
    }

    pub fn count_subrequest(&self) {
        self.subrequests
            .set(self.subrequests.get().saturating_add(1));
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn queries(&self) -> u32 {
        self.queries.get()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn subrequests(&self) -> u32 {
        self.subrequests.get()
    }

    /// Queries that nobody has asked or reserved. No step makes more calls than it
    /// asks queries, by ten times, so that the subrequests last as long.
    pub fn queries_left(&self) -> u32 {
        let taken = self.queries.get().saturating_add(self.reserved.get());
        self.max_queries.saturating_sub(taken)
    }

    /// Whether a step that asks so many queries may begin. What is left to do goes to
    /// the next invocation.
    pub fn has_room_for(&self, n_queries: usize) -> bool {
        u32::try_from(n_queries).is_ok_and(|n_queries| n_queries <= self.queries_left())
    }

    /// Room that others in the same invocation cannot take. While it is held, what is
    /// asked counts besides: too much rather than too little.
    pub fn reserve(&self, n_queries: usize) -> Option<Reserved<'_>> {
        let mut reserved = Reserved {
            usage: self,
            n_queries: 0,
        };
        reserved.grow(n_queries).then_some(reserved)
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Reserved<'a> {
    usage: &'a Usage,
    n_queries: u32,
}

impl Reserved<'_> {
    /// Room for more; false, and nothing changed, when there is none.
    pub fn grow(&mut self, n_queries: usize) -> bool {
        let Ok(more) = u32::try_from(n_queries) else {
            return false;
        };
        let has_room = more <= self.usage.queries_left();
        if has_room {
            self.n_queries += more;
            self.usage.reserved.set(self.usage.reserved.get() + more);
        }
        has_room
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let held = self.usage.reserved.get();
        self.usage.reserved.set(held.saturating_sub(self.n_queries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_nobody_elses() {
        let usage = Usage::of(100);
        let mut one = usage.reserve(60).unwrap();
        assert!(usage.reserve(41).is_none());
        assert!(usage.has_room_for(40) && !usage.has_room_for(41));
        assert!(one.grow(30) && !one.grow(11));
        usage.count_batch(10);
        assert_eq!(usage.queries_left(), 0);
        drop(one);
        assert_eq!((usage.queries_left(), usage.subrequests()), (90, 1));
    }

    #[test]
    fn a_portion_is_heavier_than_it_may_be_only_alone() {
        let check = |lengths: &[usize], expected: &[&[usize]]| {
            let found = portions(lengths.iter().copied(), 10, |length| *length);
            assert_eq!(found, expected, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[4, 6, 1], &[&[4, 6], &[1]]);
        check(&[11], &[&[11]]);
        check(&[3, 11, 3, 7], &[&[3], &[11], &[3, 7]]);
    }

    #[test]
    fn lists_are_json_and_hold_everything_once() {
        let elements: Vec<_> = (0..5)
            .map(|n| format!("\"{n}{}\"", "x".repeat(PORTION_BYTES / 3)))
            .collect();
        let lists = json_lists(elements.iter().cloned());
        assert_eq!(lists.len(), 3);
        let mut all = Vec::new();
        for list in lists {
            assert!(list.len() <= PORTION_BYTES + 2);
            all.extend(serde_json::from_str::<Vec<String>>(&list).unwrap());
        }
        assert_eq!(
            serde_json::json!(all),
            serde_json::from_str::<serde_json::Value>(&format!("[{}]", elements.join(",")))
                .unwrap()
        );
    }

    #[test]
    fn a_row_at_the_limit_does_not_fit() {
        assert!(fits_row([1_000_000, 900_000]));
        assert!(!fits_row([1_000_000, 1_000_000]));
    }
}
