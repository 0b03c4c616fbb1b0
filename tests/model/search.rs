//! Every state that a small case can come to, breadth first: the first fault that is found
//! is a shortest one.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub type Next<S> = (&'static str, S);

pub trait Model {
    type State: Copy + Eq + Hash;

    fn first(&self) -> Vec<Self::State>;

    /// Whatever may happen next, one thing at a time.
    fn next(&self, state: &Self::State) -> Vec<Next<Self::State>>;

    /// What goes wrong with that step, if anything.
    fn fault(&self, before: &Self::State, after: &Self::State) -> Option<String>;
}

/// How many states there are, all of them right; or the steps to one that is not.
pub fn search<M: Model>(model: &M) -> Result<usize, Vec<String>> {
    let mut seen: HashSet<M::State, BuildHasherDefault<Quick>> = HashSet::default();
    let mut found: Vec<(M::State, usize, &'static str)> = Vec::new();
    for (index, state) in model.first().into_iter().enumerate() {
        seen.insert(state);
        found.push((state, index, "start"));
    }
    let mut at = 0;
    while at < found.len() {
        let state = found[at].0;
        for (name, after) in model.next(&state) {
            if let Some(fault) = model.fault(&state, &after) {
                return Err(trace(&found, at, name, &fault));
            }
            if seen.insert(after) {
                found.push((after, at, name));
            }
        }
        at += 1;
    }
    Ok(found.len())
}

fn trace<S>(
    found: &[(S, usize, &'static str)],
    mut at: usize,
    last: &str,
    fault: &str,
) -> Vec<String> {
    let mut steps = vec![format!("{last}: {fault}")];
    while found[at].1 != at {
        steps.push(found[at].2.to_owned());
        at = found[at].1;
    }
    steps.reverse();
    steps
}

/// Nothing goes wrong.
pub fn assert_holds<M: Model>(model: &M) {
    match search(model) {
        Ok(states) => println!("{states} states, none wrong"),
        Err(steps) => panic!("{}", steps.join("\n")),
    }
}

/// Each of the rules, taken away alone, is missed.
pub fn assert_needed<M: Model, R: Copy + std::fmt::Debug>(rules: &[R], without: impl Fn(R) -> M) {
    let mut needless = Vec::new();
    for rule in rules {
        match search(&without(*rule)) {
            Ok(states) => needless.push(format!("{rule:?} ({states} states)")),
            Err(steps) => println!(
                "without {rule:?}, in {} steps: {}",
                steps.len(),
                steps.join(", ")
            ),
        }
    }
    assert!(
        needless.is_empty(),
        "nothing goes wrong without {needless:?}"
    );
}

/// `MODEL=deep cargo test --profile faults --test model`: more of everything.
pub fn is_deep() -> bool {
    std::env::var("MODEL").is_ok_and(|value| value == "deep")
}

/// States are made of small numbers; the usual hasher takes most of a search's time.
#[derive(Default)]
struct Quick(u64);

impl Quick {
    fn add(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.add(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn finish(&self) -> u64 {
        // The table goes by the upper bits as well as by the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}
