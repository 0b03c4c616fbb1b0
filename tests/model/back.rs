//! What Logto is sent while mgPass is the authority: two relays at once that may stop
//! anywhere, calls that land late or not at all, a write of before the hand-over that Logto
//! commits late, the way back, and the way back without mgPass.
//!
//! Held in every state: no call overwrites what somebody else wrote at Logto; where neither
//! debt nor a stray is told of, Logto has all that mgPass has; whoever comes back to Logto
//! finds there all that they were told of, or is held; and nothing of our own is taken for a
//! stray. One thing is out of it, and nothing closes it: a call that is under way when an
//! operator abandons the debt lands on what a client of Logto's wrote since. The user is held.
//!
//! The case: one user with one field, and the Worker's own `reverse::decide` and `due`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dual_write_proxy::handover::machine::{Due, Gates, Move, due};
use dual_write_proxy::handover::row::{Authority, Pending, Source, Wish};
use dual_write_proxy::mirror::base::Base;
use dual_write_proxy::mirror::reverse::decide::{Decision, Here, Inputs, Sent, Word, decide};
use dual_write_proxy::policy::authority::Holder;
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::backend::logto::LogtoUser;

use crate::search::{Model, Next, assert_holds, assert_needed, is_deep};

const RELAYS: usize = 2;
const CALLS: usize = 2;

/// Values of the field: as it was, two writes at mgPass, ...
const WRITES: u8 = 2;
/// ... what Logto commits late, ...
const LATE: u8 = 3;
/// ... and what a client of Logto's writes after the way back.
const CLIENTS: u8 = 4;
const VALUES: u8 = 5;

/// What the proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What is sent is on record before the call leaves.
    SentIsOnRecord,
    /// Only in the generation of the lease.
    SentInGeneration,
    /// Only while Logto shows what was left there, or what was sent.
    ThreeWays,
    /// A call begins and ends while the lease holds.
    CallsEndInTheLease,
    /// What it found counts only if nobody came after it.
    FoundUnderTheLease,
    /// Not of who is held.
    HeldIsNotSent,
    /// A base is left only by the newest.
    TicketAtTheBase,
    /// A ticket covers what was settled before it was taken.
    CoversWhatWasSettled,
    /// A sending without an answer is debt, whoever made it.
    UnansweredIsDebt,
    /// The way back waits for what is pending ...
    ComeBackWaits,
    /// ... and for every sending without an answer.
    ComeBackWaitsForAnswers,
    /// Once nothing can come any more it is looked at again ...
    LooksAgain,
    /// ... and until then it is known for ours.
    KeptUntilLookedAt,
    /// A way back without mgPass holds whoever Logto lacks something of.
    AbandonHolds,
}

const RULES: [Rule; 14] = [
    Rule::SentIsOnRecord,
    Rule::SentInGeneration,
    Rule::ThreeWays,
    Rule::CallsEndInTheLease,
    Rule::FoundUnderTheLease,
    Rule::HeldIsNotSent,
    Rule::TicketAtTheBase,
    Rule::CoversWhatWasSettled,
    Rule::UnansweredIsDebt,
    Rule::ComeBackWaits,
    Rule::ComeBackWaitsForAnswers,
    Rule::LooksAgain,
    Rule::KeptUntilLookedAt,
    Rule::AbandonHolds,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    holder: Holder,
    generation: u8,
    is_raise_owed: bool,
    is_late: bool,
    wishes_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mgpass {
    generation: u8,
    value: u8,
    base: u8,
    ticket: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Relay {
    Idle,
    Leased {
        ticket: u8,
        generation: u8,
    },
    HasRead {
        ticket: u8,
        generation: u8,
        here: u8,
        base: u8,
        sent: u8,
    },
    /// To be sent, once it is on record.
    Decided {
        ticket: u8,
        generation: u8,
        value: u8,
    },
    /// A call is under way.
    Waits {
        ticket: u8,
        generation: u8,
        value: u8,
    },
    /// Logto has answered, or needed nothing.
    Leaves {
        ticket: u8,
        generation: u8,
        value: u8,
        is_stray: bool,
    },
    Ends {
        ticket: u8,
        is_stray: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    None,
    /// May land now, or much later.
    UnderWay {
        value: u8,
        ticket: u8,
    },
    Landed {
        ticket: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sending {
    None,
    MayLand {
        ticket: u8,
        value: u8,
    },
    /// Answered, or sent a quarter of an hour ago: it has landed, or never will.
    Old {
        ticket: u8,
        value: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Row,
    mgpass: Mgpass,
    logto: u8,
    /// What somebody was told of last.
    told: u8,
    n_writes: u8,
    n_walks: u8,
    sequence: u8,
    /// The newest intent of mgPass's side, and the newest that is covered.
    settled: u8,
    covered: u8,
    /// Whose lease is the newest.
    newest: u8,
    relays: [Relay; RELAYS],
    calls: [Call; CALLS],
    /// Of `sent_back`: what was sent and left no base.
    sent: [Sending; CALLS],
    is_stray: bool,
    is_held: bool,
    /// Logto will commit a write of before.
    is_hanging: bool,
    is_abandoned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nothing,
    Send,
    Stray,
}

/// The Worker's own decision on each combination of a user at mgPass, at Logto, of the base
/// and of what was sent (a bit each).
static DECIDED: LazyLock<Vec<What>> = LazyLock::new(|| {
    let users: Vec<_> = (0..VALUES)
        .map(|value| {
            let json = format!(
                r#"{{"id":"alice0000001","username":null,"primaryEmail":null,"primaryPhone":null,"name":"v{value}","avatar":null,"customData":{{}},"identities":{{}},"lastSignInAt":null,"createdAt":1700000000000,"updatedAt":1700000000000,"profile":{{}},"applicationId":null,"isSuspended":false,"hasPassword":true}}"#
            );
            LogtoUser::parse(&json).unwrap()
        })
        .collect();
    let bases: Vec<_> = users.iter().map(Base::of_logto).collect();
    let sendings: Vec<_> = bases
        .iter()
        .map(|base| {
            let digest = base.get("name").map(str::to_owned);
            Sent(BTreeMap::from([("name".to_owned(), digest)]))
        })
        .collect();
    let mut decided = Vec::new();
    for here in &users {
        for there in &users {
            for base in &bases {
                for sent in 0..1_u8 << VALUES {
                    let is_sent = |index: &usize| sent & (1 << index) != 0;
                    let sent: Vec<_> = (0..users.len())
                        .filter(is_sent)
                        .map(|index| sendings[index].clone())
                        .collect();
                    let decision = decide(&Inputs {
                        here: Here::Present(here),
                        logto: Some(there),
                        base: Some(base),
                        sent: &sent,
                        word: Word::None,
                        is_deletion_witnessed: false,
                        n_deletions: 0,
                        deletions_per_hour: 1,
                    });
                    let Decision::Carry(carriage) = decision else {
                        panic!("{decision:?}");
                    };
                    decided.push(
                        match (carriage.strays.is_empty(), carriage.carries.is_empty()) {
                            (false, _) => What::Stray,
                            (true, false) => What::Send,
                            (true, true) => What::Nothing,
                        },
                    );
                }
            }
        }
    }
    decided
});

fn decided(here: u8, there: u8, base: u8, sent: u8) -> What {
    let values = usize::from(VALUES);
    let [here, there, base, sent] = [here, there, base, sent].map(usize::from);
    DECIDED[((here * values + there) * values + base) * (1 << values) + sent]
}

fn holder(row: Row) -> Holder {
    match (row.holder, row.is_late) {
        (Holder::Returning, true) => Holder::Mgpass,
        (holder, _) => holder,
    }
}

impl State {
    fn is_at_mgpass(&self) -> bool {
        matches!(self.row.holder, Holder::Mgpass | Holder::Returning)
    }

    fn is_pending(&self) -> bool {
        self.settled > self.covered
    }

    fn is_unanswered(&self) -> bool {
        let mut sent = self.sent.iter();
        sent.any(|sent| matches!(sent, Sending::MayLand { .. }))
    }

    /// A bit each.
    fn sent_values(&self) -> u8 {
        let bit = |sent: &Sending| match sent {
            Sending::None => 0,
            Sending::MayLand { value, .. } | Sending::Old { value, .. } => 1 << value,
        };
        self.sent.iter().map(bit).fold(0, |all, bit: u8| all | bit)
    }

    /// Each call was answered, and no base was left.
    fn answer(&mut self, ticket: u8) {
        for sent in &mut self.sent {
            match *sent {
                Sending::MayLand { ticket: of, value } if of == ticket => {
                    *sent = Sending::Old { ticket, value };
                }
                _ => {}
            }
        }
        self.sent.sort_unstable();
    }

    fn forget(&mut self, ticket: u8) {
        for sent in &mut self.sent {
            match sent {
                Sending::MayLand { ticket: of, .. } | Sending::Old { ticket: of, .. }
                    if *of == ticket =>
                {
                    *sent = Sending::None;
                }
                _ => {}
            }
        }
        self.sent.sort_unstable();
    }

    fn look(&mut self) {
        self.sequence += 1;
        self.settled = self.sequence;
    }
}

struct Case {
    without: Option<Rule>,
    max_sequence: u8,
    max_generation: u8,
    max_walks: u8,
}

impl Case {
    fn new(without: Option<Rule>) -> Self {
        let (max_sequence, max_generation, max_walks) =
            if is_deep() { (6, 4, 1) } else { (5, 3, 0) };
        Self {
            without,
            max_sequence,
            max_generation,
            max_walks,
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// As the sum of debt has it, and fallback reads.
    fn is_debt_told(&self, state: &State) -> bool {
        let is_unanswered = state.is_unanswered() && self.holds(Rule::UnansweredIsDebt);
        state.is_pending() || is_unanswered || state.is_stray || state.is_held
    }

    fn writes(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        let is_open = holder(row) == Holder::Mgpass
            && !row.is_raise_owed
            && state.mgpass.generation == row.generation;
        let has_room = state.sequence < self.max_sequence;
        if is_open && state.n_writes < WRITES && has_room {
            push("a write at mgPass", &|state| {
                state.n_writes += 1;
                state.mgpass.value = state.n_writes;
                state.told = state.n_writes;
                state.look();
            });
        }
        if row.holder == Holder::Logto && state.told != CLIENTS {
            push("a client's write at Logto", &|state| {
                (state.logto, state.told) = (CLIENTS, CLIENTS);
            });
        }
        if state.is_hanging && state.is_at_mgpass() {
            push("Logto commits what hung", &|state| {
                (state.logto, state.is_hanging) = (LATE, false);
            });
        }
        let is_different = state.logto != state.mgpass.value;
        if state.is_at_mgpass() && is_different && state.n_walks < self.max_walks && has_room {
            push("the walk leaves an intent", &|state| {
                state.n_walks += 1;
                state.look();
            });
        }
    }

    fn calls(&self, state: &State, next: &mut Vec<Next<State>>) {
        for (index, call) in state.calls.iter().enumerate() {
            if let Call::UnderWay { value, ticket } = *call {
                let mut after = *state;
                after.logto = value;
                let is_waited_for = state
                    .relays
                    .iter()
                    .any(|relay| matches!(relay, Relay::Waits { ticket: of, .. } if *of == ticket));
                after.calls[index] = match is_waited_for {
                    true => Call::Landed { ticket },
                    false => Call::None,
                };
                next.push(("a call lands at Logto", after));
            }
        }
        let is_waited_for = state.relays.iter().any(|relay| {
            !matches!(
                relay,
                Relay::Idle | Relay::Leased { .. } | Relay::HasRead { .. }
            )
        });
        let is_left = state.is_unanswered() || state.calls != [Call::None; CALLS];
        if is_left && !is_waited_for && state.sequence < self.max_sequence {
            // Nothing that was sent can come any more.
            let mut after = *state;
            after.calls = [Call::None; CALLS];
            for sent in &mut after.sent {
                if let Sending::MayLand { ticket, value } = *sent {
                    *sent = Sending::Old { ticket, value };
                }
            }
            after.sent.sort_unstable();
            if state.is_at_mgpass() && state.is_unanswered() && self.holds(Rule::LooksAgain) {
                after.look();
            }
            next.push(("a quarter of an hour passes", after));
        }
        let is_old = |sent: &Sending| matches!(sent, Sending::Old { .. });
        let is_looked_at = !state.is_pending() || !self.holds(Rule::KeptUntilLookedAt);
        if state.sent.iter().any(is_old) && is_looked_at && !is_waited_for {
            let mut after = *state;
            for sent in &mut after.sent {
                if is_old(sent) {
                    *sent = Sending::None;
                }
            }
            after.sent.sort_unstable();
            next.push(("old sendings are forgotten", after));
        }
    }

    /// The leases of before: what is under way has no answer within its deadline.
    fn run_out(&self, state: &mut State) {
        for relay in &mut state.relays {
            let is_cut_off = matches!(relay, Relay::Waits { .. } | Relay::Decided { .. });
            if is_cut_off && self.holds(Rule::CallsEndInTheLease) {
                *relay = Relay::Idle;
            }
        }
        for call in &mut state.calls {
            if matches!(call, Call::Landed { .. }) && self.holds(Rule::CallsEndInTheLease) {
                *call = Call::None;
            }
        }
    }

    fn relay(&self, state: &State, index: usize, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State) -> Relay| {
            let mut after = *state;
            after.relays[index] = change(&mut after);
            next.push((name, after));
        };
        let relay = state.relays[index];
        let row = state.row;
        if !matches!(relay, Relay::Idle) {
            push("a relay stops there", &|_| Relay::Idle);
        }
        match relay {
            Relay::Idle if index > 0 && state.relays[index - 1] == Relay::Idle => {}
            Relay::Idle => {
                let may_begin = state.is_at_mgpass()
                    && !row.is_raise_owed
                    && state.is_pending()
                    && state.sequence < self.max_sequence;
                if may_begin {
                    push("a relay takes its ticket", &|state| {
                        state.sequence += 1;
                        state.newest = state.sequence;
                        self.run_out(state);
                        Relay::Leased {
                            ticket: state.sequence,
                            generation: row.generation,
                        }
                    });
                }
            }
            Relay::Leased { ticket, generation } => push("it reads mgPass", &|state| {
                let is_own = state.mgpass.generation == generation;
                if !is_own || state.mgpass.ticket >= ticket {
                    return Relay::Idle;
                }
                Relay::HasRead {
                    ticket,
                    generation,
                    here: state.mgpass.value,
                    base: state.mgpass.base,
                    sent: state.sent_values(),
                }
            }),
            Relay::HasRead {
                ticket,
                generation,
                here,
                base,
                sent,
            } => push("it reads Logto and decides", &|state| {
                let leaves = |value, is_stray| Relay::Leaves {
                    ticket,
                    generation,
                    value,
                    is_stray,
                };
                let what = match decided(here, state.logto, base, sent) {
                    What::Stray if !self.holds(Rule::ThreeWays) => What::Send,
                    what => what,
                };
                match what {
                    What::Nothing => leaves(state.logto, false),
                    What::Stray => leaves(base, true),
                    // Looked at, and left.
                    What::Send if state.is_held && self.holds(Rule::HeldIsNotSent) => Relay::Ends {
                        ticket,
                        is_stray: false,
                    },
                    What::Send => Relay::Decided {
                        ticket,
                        generation,
                        value: here,
                    },
                }
            }),
            Relay::Decided {
                ticket,
                generation,
                value,
            } => {
                let is_own =
                    state.is_at_mgpass() && !row.is_raise_owed && row.generation == generation;
                let place = state.calls.iter().position(|call| *call == Call::None);
                let has_room = state.sent[0] == Sending::None;
                let has_lease = state.newest == ticket || !self.holds(Rule::CallsEndInTheLease);
                if let (Some(place), true, true) = (place, has_room, has_lease) {
                    push("a call leaves for Logto", &|state| {
                        if !is_own && self.holds(Rule::SentInGeneration) {
                            return Relay::Idle;
                        }
                        if self.holds(Rule::SentIsOnRecord) {
                            state.sent[0] = Sending::MayLand { ticket, value };
                            state.sent.sort_unstable();
                        }
                        state.calls[place] = Call::UnderWay { value, ticket };
                        Relay::Waits {
                            ticket,
                            generation,
                            value,
                        }
                    });
                }
            }
            Relay::Waits {
                ticket,
                generation,
                value,
            } => {
                let place = state
                    .calls
                    .iter()
                    .position(|call| *call == Call::Landed { ticket });
                if let Some(place) = place {
                    push("Logto answers it", &|state| {
                        state.calls[place] = Call::None;
                        Relay::Leaves {
                            ticket,
                            generation,
                            value,
                            is_stray: false,
                        }
                    });
                }
            }
            Relay::Leaves {
                ticket,
                generation,
                value,
                is_stray,
            } => push("it leaves the base", &|state| {
                let is_newest = state.mgpass.ticket < ticket || !self.holds(Rule::TicketAtTheBase);
                if !is_newest || state.mgpass.generation != generation {
                    state.answer(ticket);
                    return Relay::Idle;
                }
                (state.mgpass.base, state.mgpass.ticket) = (value, ticket);
                Relay::Ends { ticket, is_stray }
            }),
            Relay::Ends { ticket, is_stray } => push("it discharges", &|state| {
                state.forget(ticket);
                if state.newest == ticket || !self.holds(Rule::FoundUnderTheLease) {
                    state.is_stray = is_stray && state.is_at_mgpass();
                }
                state.covered = match self.holds(Rule::CoversWhatWasSettled) {
                    true => state.covered.max(ticket),
                    false => state.sequence,
                };
                Relay::Idle
            }),
        }
    }

    fn due(&self, state: &State) -> Option<Move> {
        let row = state.row;
        let waits = |rule, is: bool| i64::from(is && !state.is_held && self.holds(rule));
        let n_pending = waits(Rule::ComeBackWaits, state.is_pending());
        let n_unanswered =
            i64::from(state.is_unanswered() && self.holds(Rule::ComeBackWaitsForAnswers));
        let pending = Pending {
            n_mgpass: n_pending,
            n_sent: n_unanswered,
            ..Pending::default()
        };
        let authority = Authority {
            holder: row.holder,
            generation: i64::from(row.generation),
            term: 1,
            since_ms: 0,
            deadline_ms: (row.holder == Holder::Returning).then_some(if row.is_late {
                0
            } else {
                2
            }),
            is_raise_owed: row.is_raise_owed,
            announced: None,
            armed_until_ms: None,
            wish: row.wishes_back.then_some(Wish {
                stage: Stage::DualWrite,
                at_ms: 0,
                source: Source::Dwp,
            }),
            kv_stage: None,
            kv_before: None,
            now_ms: 1,
        };
        match due(&authority, &pending, Gates::NotAsked) {
            Due::Now(due) => Some(due),
            Due::Wait(_) => None,
        }
    }

    fn moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        if row.is_raise_owed {
            push("what is owed is told", &|state| {
                state.mgpass.generation = row.generation;
                state.row.is_raise_owed = false;
            });
        }
        if !state.is_at_mgpass() || row.generation == self.max_generation {
            return;
        }
        if !row.wishes_back {
            push("an operator wishes the way back", &|state| {
                state.row.wishes_back = true;
            });
        }
        if row.holder == Holder::Returning && !row.is_late {
            push("the deadline passes", &|state| state.row.is_late = true);
        }
        let to = |state: &mut State, holder, is_told: bool| {
            let generation = row.generation + 1;
            if is_told {
                state.mgpass.generation = generation;
            }
            state.row = Row {
                holder,
                generation,
                is_raise_owed: !is_told,
                is_late: false,
                wishes_back: holder == Holder::Returning,
            };
        };
        match self.due(state) {
            Some(Move::GoBack) => push("the way back begins", &|state| {
                to(state, Holder::Returning, true);
            }),
            Some(Move::Stay(_)) => push("it ends at mgPass", &|state| {
                to(state, Holder::Mgpass, false);
            }),
            Some(Move::ComeBack) => push("Logto has the say again", &|state| {
                state.is_held |= state.is_stray;
                state.is_stray = false;
                state.covered = state.settled;
                to(state, Holder::Logto, true);
            }),
            Some(_) | None => {}
        }
        for is_told in [true, false] {
            push("an operator abandons the debt", &|state| {
                state.is_held |= self.is_debt_told(state) && self.holds(Rule::AbandonHolds);
                state.is_stray = false;
                state.covered = state.settled;
                state.is_abandoned = true;
                to(state, Holder::Logto, is_told);
            });
        }
    }
}

impl Model for Case {
    type State = State;

    /// With a write that hangs at Logto, whose user was let go into a hold; and without.
    fn first(&self) -> Vec<State> {
        let calm = State {
            row: Row {
                holder: Holder::Mgpass,
                generation: 1,
                is_raise_owed: false,
                is_late: false,
                wishes_back: false,
            },
            mgpass: Mgpass {
                generation: 1,
                value: 0,
                base: 0,
                ticket: 0,
            },
            logto: 0,
            told: 0,
            n_writes: 0,
            n_walks: 0,
            sequence: 0,
            settled: 0,
            covered: 0,
            newest: 0,
            relays: [Relay::Idle; RELAYS],
            calls: [Call::None; CALLS],
            sent: [Sending::None; CALLS],
            is_stray: false,
            is_held: false,
            is_hanging: false,
            is_abandoned: false,
        };
        let hanging = State {
            is_hanging: true,
            is_held: true,
            ..calm
        };
        // It was found, and nobody has looked since.
        let stray = State {
            logto: LATE,
            ..calm
        };
        vec![calm, hanging, stray]
    }

    fn next(&self, state: &State) -> Vec<Next<State>> {
        let mut next = Vec::new();
        self.writes(state, &mut next);
        self.calls(state, &mut next);
        for index in 0..RELAYS {
            self.relay(state, index, &mut next);
        }
        self.moves(state, &mut next);
        next
    }

    fn fault(&self, before: &State, after: &State) -> Option<String> {
        let n_calls = |state: &State| {
            let is_free = |call: &&Call| **call == Call::None;
            CALLS - state.calls.iter().filter(is_free).count()
        };
        if n_calls(after) > n_calls(before) && !before.is_at_mgpass() {
            return Some("a call leaves for Logto, which has the say".to_owned());
        }
        let is_others = |value| matches!(value, LATE | CLIENTS);
        let has_landed = after.logto != before.logto && !is_others(after.logto);
        let is_excused = after.is_abandoned && after.is_held;
        if has_landed && is_others(before.logto) && !is_excused {
            return Some(format!(
                "{} was overwritten by {}",
                before.logto, after.logto
            ));
        }
        if after.is_stray && !before.is_stray && !is_others(after.logto) && !is_others(before.logto)
        {
            return Some(format!("our own {} is taken for a stray", after.logto));
        }
        // A stray of before is there until somebody looks.
        let is_equal = after.logto == after.mgpass.value || is_others(after.logto);
        if after.is_at_mgpass() && !is_equal && !self.is_debt_told(after) {
            return Some(format!(
                "mgPass has {}, Logto {}, and no debt",
                after.mgpass.value, after.logto
            ));
        }
        let is_at_logto = after.row.holder == Holder::Logto;
        let has_told = after.logto == after.told || is_others(after.logto);
        (is_at_logto && !has_told && !after.is_held)
            .then(|| format!("Logto has {}, told {}", after.logto, after.told))
    }
}

#[test]
fn no_order_of_relays_and_late_calls_overwrites_or_hides_anything() {
    assert_holds(&Case::new(None));
}

#[test]
fn each_rule_is_needed() {
    assert_needed(&RULES, |rule| Case::new(Some(rule)));
}
