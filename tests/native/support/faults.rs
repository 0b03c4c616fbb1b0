//! Faults at the ports: which call, the how-manieth, and what happens to it.

use std::cell::{Cell, RefCell};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    ProxyDatabase,
    MgpassDatabase,
    MetricsDatabase,
    RewardsDatabase,
    Queue,
    Logto,
    Mgpass,
    Flags,
    Keys,
    Forward,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails, and nothing happened.
    BeforeEffect,
    /// It happened, and then fails.
    AfterEffect,
    /// Nothing happened, and no answer ever comes.
    Hang,
    /// It happens, but no answer ever comes.
    HangAfterEffect,
    /// It happens, and is answered, so much later. Who gave up waiting changes
    /// nothing: it happens all the same.
    Late(i64),
    /// It happens at once, but is answered so much later.
    SlowAnswer(i64),
    /// The calling task ends before the call leaves.
    CrashBefore,
    /// The call leaves and takes effect; the calling task has ended.
    CrashAfter,
}

struct Rule {
    port: Option<Port>,
    /// Part of the call's description; empty matches all.
    part: String,
    skip: Cell<u32>,
    times: Cell<u32>,
    fault: Fault,
}

/// The call's description costs more than most calls, so it is made when asked for.
pub type What<'a> = &'a dyn Fn() -> String;
pub type Script = Box<dyn Fn(Port, What<'_>, u64) -> Option<Fault>>;

/// What a backend does with a request that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glitch {
    /// Answered by this status, nothing done.
    Refuse(u16),
    /// Done, and answered by this status.
    CommitThenFail(u16),
    /// A read is answered as if the entity were not there.
    NotFound,
}

#[derive(Default)]
pub struct Faults {
    /// Asked before the rules: the port, the call's description, its number.
    pub script: RefCell<Option<Script>>,
    n_decided: Cell<u64>,
    rules: RefCell<Vec<Rule>>,
    seen: RefCell<Vec<(Port, String)>>,
}

impl Faults {
    /// Every matching call from now on.
    pub fn always(&self, port: Port, part: &str, fault: Fault) {
        self.add(Some(port), part, 0, u32::MAX, fault);
    }

    /// One matching call, after `skip` others.
    pub fn once(&self, port: Port, part: &str, skip: u32, fault: Fault) {
        self.add(Some(port), part, skip, 1, fault);
    }

    /// The call number `n` from now on, counted over all ports.
    pub fn at_call(&self, n: u32, fault: Fault) {
        self.add(None, "", n, 1, fault);
    }

    fn add(&self, port: Option<Port>, part: &str, skip: u32, times: u32, fault: Fault) {
        self.rules.borrow_mut().push(Rule {
            port,
            part: part.to_owned(),
            skip: Cell::new(skip),
            times: Cell::new(times),
            fault,
        });
    }

    pub fn clear(&self) {
        self.rules.borrow_mut().clear();
    }

    pub fn decide(&self, port: Port, what: What<'_>) -> Option<Fault> {
        let number = self.n_decided.get();
        self.n_decided.set(number + 1);
        if let Some(script) = &*self.script.borrow() {
            // A scripted run makes too many calls to keep a list of them.
            return script(port, what, number);
        }
        let what = what();
        self.seen.borrow_mut().push((port, what.clone()));
        let rules = self.rules.borrow();
        let mut decided = None;
        for rule in rules.iter() {
            let is_match = rule.port.is_none_or(|wanted| wanted == port)
                && what.contains(&rule.part)
                && rule.times.get() > 0;
            if !is_match {
                continue;
            }
            if rule.skip.get() > 0 {
                rule.skip.set(rule.skip.get() - 1);
            } else if decided.is_none() {
                rule.times.set(rule.times.get() - 1);
                decided = Some(rule.fault);
            }
        }
        decided
    }

    /// Calls made so far whose description contains `part`.
    pub fn count(&self, port: Port, part: &str) -> usize {
        let seen = self.seen.borrow();
        seen.iter()
            .filter(|(called, what)| *called == port && what.contains(part))
            .count()
    }

    /// The same, each as often as it contains it: a batch holds many messages.
    pub fn occurrences(&self, port: Port, part: &str) -> usize {
        let seen = self.seen.borrow();
        let calls = seen.iter().filter(|(called, _)| *called == port);
        calls.map(|(_, what)| what.matches(part).count()).sum()
    }

    pub fn n_calls(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Calls so far, scripted or not.
    pub fn n_decided(&self) -> u64 {
        self.n_decided.get()
    }
}
