//! What must be zero, each by its name; and sign-ins that Logto alone would not have asked
//! for, each by its reason, against the product's own forecast of before.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use dual_write_proxy::operate::forecast::Reason;
use serde_json::Value;

/// So many examples are kept of each.
const EXAMPLES: usize = 3;

#[derive(Clone, Debug, Default)]
pub struct Count {
    pub n: u64,
    pub examples: Vec<String>,
}

impl Count {
    fn add(&mut self, n: u64, what: impl FnOnce() -> String) {
        self.n += n;
        if n > 0 && self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }
}

/// Of a forecast: whose application, and how many at most.
type Foreseen = HashMap<(String, Option<String>), Option<u64>>;

#[derive(Default)]
pub struct Judge {
    pub n_visits: u64,
    pub n_asked: u64,
    pub n_at_mgpass: u64,
    pub n_by_carried: u64,
    pub n_gave_up: u64,
    pub n_lost: u64,
    pub n_signed_out: u64,
    pub n_suspended: u64,
    pub n_passwords: u64,
    pub n_entered: Cell<u64>,
    pub n_forecasts: u64,
    pub in_a_frame: u64,
    zero: BTreeMap<&'static str, Count>,
    /// People by reason, over all the time.
    pub reasons: BTreeMap<&'static str, HashSet<usize>>,
    foreseen: Foreseen,
    since: HashMap<(String, Option<String>), HashSet<usize>>,
}

pub const ENDED: &str = "live tokens or sessions ended by the proxy";
pub const TWICE: &str = "presented twice by the proxy";
pub const FAMILIES: &str = "families revoked at mgPass";
pub const WRONG_SIDE: &str = "presented at the wrong side";
pub const BRAKED: &str = "led to mgPass with a brake pulled";
pub const TWO_WRITERS: &str = "led to mgPass with two writers";
pub const UNREADY: &str = "led to mgPass not ready, before the cutover";
pub const AROUND_FACTOR: &str = "led to mgPass, marked as one who stays at Logto";
pub const FROM_SESSION: &str = "led to mgPass from a live session at Logto";
pub const MOVED_BACK: &str = "moved back without a cause";
pub const IN_A_FRAME: &str = "drawn or marked in a frame";
pub const LEFT: &str = "still signed in after signing out";
pub const SUSPENDED: &str = "suspended, and something lives";
pub const UNNAMED: &str = "new sign-ins without a reason";
pub const UNFORESEEN: &str = "new sign-ins beyond the forecast";
pub const STUCK: &str = "moves of the operator's that came to nothing";

pub const ZERO: [&str; 16] = [
    ENDED,
    TWICE,
    FAMILIES,
    WRONG_SIDE,
    BRAKED,
    TWO_WRITERS,
    UNREADY,
    AROUND_FACTOR,
    FROM_SESSION,
    MOVED_BACK,
    IN_A_FRAME,
    LEFT,
    SUSPENDED,
    UNNAMED,
    UNFORESEEN,
    STUCK,
];

impl Judge {
    pub fn add(&mut self, name: &'static str, n: u64, what: impl FnOnce() -> String) {
        self.zero.entry(name).or_default().add(n, what);
    }

    pub fn say(&mut self, name: &'static str, what: String) {
        self.add(name, 1, || what);
    }

    /// Taken before something moves: what comes until the next is held against it.
    pub fn forecast(&mut self, forecast: &Value) {
        self.n_forecasts += 1;
        self.since.clear();
        self.foreseen.clear();
        for row in forecast["reasons"].as_array().into_iter().flatten() {
            let code = row["code"].as_str().unwrap_or_default().to_owned();
            let client_id = row["client_id"].as_str().map(str::to_owned);
            self.foreseen
                .insert((code, client_id), row["people"].as_u64());
        }
    }

    pub fn forced(&mut self, reason: Reason, client_id: &str, person: usize) {
        let code = reason.code();
        self.reasons.entry(code).or_default().insert(person);
        let of_all = (code.to_owned(), None);
        let of_one = (code.to_owned(), Some(client_id.to_owned()));
        let key = match self.foreseen.contains_key(&of_one) {
            true => of_one,
            false => of_all,
        };
        let Some(most) = self.foreseen.get(&key).copied() else {
            return self.say(UNFORESEEN, format!("{code} is in no forecast"));
        };
        let hit = self.since.entry(key).or_default();
        let is_more = hit.insert(person) && most.is_some_and(|most| hit.len() as u64 > most);
        if is_more {
            let n = hit.len();
            let told = format!("{code} of {client_id}: {n} people, foreseen {most:?}");
            self.say(UNFORESEEN, told);
        }
    }

    pub fn counts(&self) -> Vec<(&'static str, Count)> {
        let of = |name: &'static str| (name, self.zero.get(name).cloned().unwrap_or_default());
        ZERO.into_iter().map(of).collect()
    }
}
