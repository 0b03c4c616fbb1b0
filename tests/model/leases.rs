//! Proof by time: an isolate that goes by an answer of the database for a while, an
//! announcement that outlasts whatever was begun before it, and records that lie in the
//! Queue. Time runs in steps; a question is answered late or never.
//!
//! Held in every state: no lease says "logto" while mgPass is the authority; nothing that was
//! forwarded without a record in the database commits at Logto then; and by the hand-over
//! every record of the Queue's has arrived.
//!
//! The case: one isolate with the Worker's own `Lease`, `decide` and `may_queue`, a write
//! that is not recorded or that only the Queue has, one hand-over or two. A lease lasts two
//! steps, Logto's deadline one, a late commit two more, and the announcement all of them;
//! a draining two.

use dual_write_proxy::policy::authority::{Holder, Lease, View};
use dual_write_proxy::serve::authority::{
    Decision, Flow, Known, Need, NeedsProof, decide, may_queue,
};

use crate::search::{Model, Next, assert_holds, assert_needed, is_deep};

const LEASE: i64 = 2;
const DEADLINE: i64 = 1;
const LATE_COMMIT: i64 = 2;
const DRAINING: i64 = 2;
/// A question is not waited for any longer.
const ANSWER: i64 = 1;

/// What the proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What has no record goes by a lease.
    LeaseAskedFor,
    /// It counts from when the question left.
    CountedFromSending,
    /// It ends with the announcement.
    EndsWithAnnouncement,
    /// The announcement lasts as long as a lease of before ...
    CoversLease,
    /// ... as Logto's deadline ...
    CoversDeadline,
    /// ... and as a late commit.
    CoversLateCommit,
    /// From then on the Queue is no outbox ...
    NoQueue,
    /// ... and what was not recorded before is.
    RecordFirst,
    /// Past its deadline nobody is handed over: others count it as failed by then.
    DeadlineInMove,
    /// The origin refuses versions that ask for no lease.
    OlderVersionsRefused,
}

const RULES: [Rule; 10] = [
    Rule::LeaseAskedFor,
    Rule::CountedFromSending,
    Rule::EndsWithAnnouncement,
    Rule::CoversLease,
    Rule::CoversDeadline,
    Rule::CoversLateCommit,
    Rule::NoQueue,
    Rule::RecordFirst,
    Rule::DeadlineInMove,
    Rule::OlderVersionsRefused,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    None,
    Asked { at: i64 },
    Answered { asked_at: i64, view: View },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    None,
    /// In the Queue, and not in the database yet.
    InQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    None,
    /// Forwarded, and may commit.
    UnderWay {
        since: i64,
        record: Record,
    },
    /// Committed; its record is still to arrive.
    Unarrived {
        since: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    now: i64,
    holder: Holder,
    generation: u8,
    announced_until: Option<i64>,
    deadline: Option<i64>,
    lease: Lease,
    question: Question,
    write: Write,
    n_writes: u8,
}

struct Case {
    without: Option<Rule>,
    last: i64,
    max_writes: u8,
}

impl Case {
    fn new(without: Option<Rule>) -> Self {
        let (last, max_writes) = if is_deep() { (18, 2) } else { (12, 1) };
        Self {
            without,
            last,
            max_writes,
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn announcement(&self) -> i64 {
        let of = |rule, length| if self.holds(rule) { length } else { 0 };
        of(Rule::CoversLease, LEASE)
            + of(Rule::CoversDeadline, DEADLINE)
            + of(Rule::CoversLateCommit, LATE_COMMIT)
    }

    fn view(&self, state: &State) -> View {
        let is_late = state.deadline.is_some_and(|deadline| deadline <= state.now);
        View {
            holder: match (state.holder, is_late) {
                (Holder::Draining, true) => Holder::Logto,
                (holder, _) => holder,
            },
            generation: i64::from(state.generation),
            term: 1,
            announced_until_ms: state
                .announced_until
                .filter(|_| self.holds(Rule::EndsWithAnnouncement)),
            deadline_ms: state.deadline,
            is_raise_owed: false,
            now_ms: state.now,
        }
    }

    fn time(&self, state: &State, next: &mut Vec<Next<State>>) {
        let is_asked_long_ago = match state.question {
            Question::None => false,
            Question::Asked { at } | Question::Answered { asked_at: at, .. } => {
                at + ANSWER <= state.now
            }
        };
        // Logto commits by then, or never; and by then the record is there.
        let is_write_due = match state.write {
            Write::None => false,
            Write::UnderWay { since, .. } | Write::Unarrived { since } => {
                since + DEADLINE + LATE_COMMIT <= state.now
            }
        };
        if state.now < self.last && !is_write_due {
            let mut after = *state;
            after.now += 1;
            if is_asked_long_ago {
                after.question = Question::None;
            }
            next.push(("time passes", after));
        }
    }

    fn moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let now = state.now;
        let is_late = state.deadline.is_some_and(|deadline| deadline <= now);
        let until = now + self.announcement();
        match (state.holder, state.announced_until) {
            (Holder::Logto, None) => push("a hand-over is announced", &|state| {
                state.announced_until = Some(until);
            }),
            (Holder::Logto, Some(until)) if until <= now => push("draining begins", &|state| {
                state.holder = Holder::Draining;
                state.generation += 1;
                state.announced_until = None;
                state.deadline = Some(now + DRAINING);
            }),
            (Holder::Logto, Some(_)) => push("the announcement is taken back", &|state| {
                state.announced_until = None;
            }),
            _ => {}
        }
        if state.holder != Holder::Draining {
            return;
        }
        if is_late {
            push("it goes back to Logto", &|state| {
                state.holder = Holder::Logto;
                state.generation += 1;
                state.deadline = None;
            });
        }
        if !is_late || !self.holds(Rule::DeadlineInMove) {
            push("mgPass has the say", &|state| {
                state.holder = Holder::Mgpass;
                state.generation += 1;
                state.deadline = None;
            });
        }
    }

    fn questions(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut after = *state;
        let name = match state.question {
            Question::None => {
                after.question = Question::Asked { at: state.now };
                "the isolate asks"
            }
            Question::Asked { at } => {
                after.question = Question::Answered {
                    asked_at: at,
                    view: self.view(state),
                };
                "the database answers"
            }
            Question::Answered { asked_at, view } => {
                let from = match self.holds(Rule::CountedFromSending) {
                    true => asked_at,
                    false => state.now,
                };
                after.lease.renew(view, from, LEASE);
                after.question = Question::None;
                "the answer arrives"
            }
        };
        next.push((name, after));
    }

    fn writes(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, write: Write| {
            let is_new = state.write == Write::None;
            let n_writes = state.n_writes + u8::from(is_new);
            next.push((
                name,
                State {
                    write,
                    n_writes,
                    ..*state
                },
            ));
        };
        let since = state.now;
        let forwarded = |record| Write::UnderWay { since, record };
        match state.write {
            Write::None if state.n_writes == self.max_writes => {}
            Write::None => {
                let lease = state.lease;
                let is_proven = lease.holds(state.now) || !self.holds(Rule::LeaseAskedFor);
                let known = match lease.view().filter(|_| is_proven) {
                    Some(view) => Known::View(view),
                    None => Known::Nothing,
                };
                let is_free = match decide(Need::Unrecorded, Flow::Other, known) {
                    Decision::Forward => true,
                    Decision::RecordFirst => !self.holds(Rule::RecordFirst),
                    Decision::Hold | Decision::AtMgpass(_) | Decision::Refuse(_) => false,
                };
                if is_free {
                    push("a write goes to Logto unrecorded", forwarded(Record::None));
                }
                let may_queue = may_queue(NeedsProof::Yes, &lease, state.now)
                    || (!self.holds(Rule::NoQueue) && lease.holds(state.now));
                if may_queue {
                    push(
                        "a write goes to Logto, recorded in the Queue",
                        forwarded(Record::InQueue),
                    );
                }
                let is_before = state.holder == Holder::Logto && state.announced_until.is_none();
                if is_before || !self.holds(Rule::OlderVersionsRefused) {
                    push(
                        "an older version sends a write to Logto",
                        forwarded(Record::None),
                    );
                }
            }
            Write::UnderWay { since, record } => {
                let after = match record {
                    Record::None => Write::None,
                    Record::InQueue => Write::Unarrived { since },
                };
                push("Logto commits it", after);
                push("Logto never does", Write::None);
            }
            Write::Unarrived { .. } => push("its record arrives", Write::None),
        }
    }
}

impl Model for Case {
    type State = State;

    fn first(&self) -> Vec<State> {
        vec![State {
            now: 0,
            holder: Holder::Logto,
            generation: 1,
            announced_until: None,
            deadline: None,
            lease: Lease::default(),
            question: Question::None,
            write: Write::None,
            n_writes: 0,
        }]
    }

    fn next(&self, state: &State) -> Vec<Next<State>> {
        let mut next = Vec::new();
        if state.holder == Holder::Mgpass
            && state.write == Write::None
            && !state.lease.holds(state.now)
        {
            return next;
        }
        self.time(state, &mut next);
        self.moves(state, &mut next);
        self.questions(state, &mut next);
        self.writes(state, &mut next);
        next
    }

    fn fault(&self, before: &State, after: &State) -> Option<String> {
        if after.holder != Holder::Mgpass {
            return None;
        }
        if after.lease.holds(after.now) {
            return Some("a lease says that Logto has the say".to_owned());
        }
        if let Write::Unarrived { .. } = after.write {
            return Some("a record is still in the Queue".to_owned());
        }
        match (before.write, after.write) {
            (Write::UnderWay { .. }, Write::None) if before.holder == Holder::Mgpass => {
                Some("a write that nothing tells of commits at Logto".to_owned())
            }
            (Write::None, Write::UnderWay { .. }) => Some("a write goes to Logto".to_owned()),
            _ => None,
        }
    }
}

#[test]
fn nothing_that_time_alone_proves_outlasts_an_announcement() {
    assert_holds(&Case::new(None));
}

#[test]
fn each_rule_is_needed() {
    assert_needed(&RULES, |rule| Case::new(Some(rule)));
}
