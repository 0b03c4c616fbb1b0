//! The authority's moves, carried out by two at once who may stop anywhere, and the writes
//! of both sides beside them: fences in the insert, in the target, and in the settling.
//!
//! Held in every state: nobody is told of a write by a side that is not the authority; the
//! side that is has every write that somebody was told of, but for those of a user who is
//! held after `--abandon-debt`; and nothing is written at mgPass by a side that has no say.
//!
//! The case: one user, a write of either side (two, if deep), two who move, one who carries to mgPass
//! without a ticket (as the points are), a way back in one step (`back` takes it apart),
//! mgPass's database down at any moment. Which move is due says the Worker's own `due`, as
//! the statements that carry it out ask once more. A deadline passes whenever it likes.

use dual_write_proxy::handover::machine::{Due, Gates, Move, due};
use dual_write_proxy::handover::row::{Announced, Authority, Pending, Source, Wish};
use dual_write_proxy::policy::authority::Holder;
use dual_write_proxy::policy::flags::Stage;

use crate::search::{Model, Next, assert_holds, assert_needed, is_deep};

const WRITES: usize = 2;
const MOVERS: usize = 2;

/// What the proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A write goes to Logto only by an intent that was inserted while Logto had the say.
    InsertAtLogto,
    /// So does a translated one at mgPass.
    InsertAtMgpass,
    /// A batch at mgPass asks for its generation first: of a translated write ...
    GenerationInTranslated,
    /// ... and of whoever carries from Logto.
    GenerationInCarried,
    /// A translated write is settled, and so acknowledged, only under its own generation.
    SettleIsConditional,
    /// mgPass's database is told before the move.
    RaiseFirst,
    /// A move asks for holder and generation once more.
    MoveIsConditional,
    /// It hands over when nothing of Logto's is pending.
    HandOverWaits,
    ComeBackWaits,
    /// A way back without mgPass holds whoever Logto lacks something of.
    AbandonHolds,
    /// What is held for a person nobody carries.
    HeldIsLeft,
}

const RULES: [Rule; 11] = [
    Rule::InsertAtLogto,
    Rule::InsertAtMgpass,
    Rule::GenerationInTranslated,
    Rule::GenerationInCarried,
    Rule::SettleIsConditional,
    Rule::RaiseFirst,
    Rule::MoveIsConditional,
    Rule::HandOverWaits,
    Rule::ComeBackWaits,
    Rule::AbandonHolds,
    Rule::HeldIsLeft,
];

/// The row in the proxy's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    holder: Holder,
    generation: u8,
    is_raise_owed: bool,
    /// The deadline of a move that is under way has passed.
    is_late: bool,
    wish: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Nothing,
    Cutover,
    DualWrite,
}

/// One side's user: the writes that it has, a bit each.
type Has = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mgpass {
    generation: u8,
    has: Has,
    /// A telling that nobody waited for, and that may still land.
    late: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writing {
    Idle,
    /// Recorded, and forwarded to Logto.
    AtLogto,
    CommittedAtLogto,
    /// The client has Logto's answer; the settling is behind it.
    AnsweredByLogto,
    SettledAtLogto,
    /// Recorded; its batch is under way.
    AtMgpass {
        generation: u8,
    },
    AppliedAtMgpass {
        generation: u8,
    },
    SettledAtMgpass,
    /// Applied, and the client was told that nobody knows.
    Unacknowledged,
    Discharged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Carrier {
    Idle,
    /// What was settled by then is covered.
    Leased {
        generation: u8,
        covers: Has,
    },
    HasRead {
        generation: u8,
        covers: Has,
        has: Has,
    },
    Applied {
        covers: Has,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Due(Kind),
    Abandon,
    /// Both databases are to know the same generation again.
    Agree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Drain,
    HandOver,
    Return,
    GoBack,
    ComeBack,
    Stay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mover {
    Idle,
    Read {
        step: Step,
        seen: u8,
    },
    Raised {
        step: Step,
        seen: u8,
        next: u8,
        owes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Row,
    mgpass: Mgpass,
    logto: Has,
    writes: [Writing; WRITES],
    carrier: Carrier,
    movers: [Mover; MOVERS],
    /// Neither side writes the user; since then nothing is claimed of what was owed.
    is_held: bool,
    told: Has,
    /// What a person has decided against, or is to decide on.
    excused: Has,
}

/// By the queries: past its deadline a move has failed.
fn holder(row: Row) -> Holder {
    match (row.holder, row.is_late) {
        (Holder::Draining, true) => Holder::Logto,
        (Holder::Returning, true) => Holder::Mgpass,
        (holder, _) => holder,
    }
}

fn kind(due: Move) -> Option<Kind> {
    Some(match due {
        Move::Announce | Move::Withdraw(_) => return None,
        // Who may write stays the same, and nobody relays: not part of this model.
        Move::Leave | Move::Rejoin => return None,
        Move::Drain => Kind::Drain,
        Move::HandOver => Kind::HandOver,
        Move::Return(_) => Kind::Return,
        Move::GoBack => Kind::GoBack,
        Move::ComeBack => Kind::ComeBack,
        Move::Stay(_) => Kind::Stay,
    })
}

impl Kind {
    fn to(self) -> Holder {
        match self {
            Self::Drain => Holder::Draining,
            Self::HandOver | Self::Stay => Holder::Mgpass,
            Self::Return | Self::ComeBack => Holder::Logto,
            Self::GoBack => Holder::Returning,
        }
    }

    fn needs_raise(self) -> bool {
        !matches!(self, Self::Return | Self::Stay)
    }
}

impl State {
    fn first() -> Self {
        Self {
            row: Row {
                holder: Holder::Logto,
                generation: 1,
                is_raise_owed: false,
                is_late: false,
                wish: Wanted::Nothing,
            },
            mgpass: Mgpass {
                generation: 1,
                has: 0,
                late: 0,
            },
            logto: 0,
            writes: [Writing::Idle; WRITES],
            carrier: Carrier::Idle,
            movers: [Mover::Idle; MOVERS],
            is_held: false,
            told: 0,
            excused: 0,
        }
    }

    fn authority(&self) -> Authority {
        let row = self.row;
        let is_between = matches!(row.holder, Holder::Draining | Holder::Returning);
        let stage = match row.wish {
            Wanted::Nothing => None,
            Wanted::Cutover => Some(Stage::Cutover),
            Wanted::DualWrite => Some(Stage::DualWrite),
        };
        let is_announced = row.holder == Holder::Logto && row.wish == Wanted::Cutover;
        Authority {
            holder: row.holder,
            generation: i64::from(row.generation),
            term: 1,
            since_ms: 0,
            deadline_ms: is_between.then_some(if row.is_late { 0 } else { 2 }),
            is_raise_owed: row.is_raise_owed,
            announced: is_announced.then_some(Announced {
                at_ms: 0,
                until_ms: 0,
            }),
            armed_until_ms: Some(2),
            wish: stage.map(|stage| Wish {
                stage,
                at_ms: 0,
                source: Source::Dwp,
            }),
            kv_stage: None,
            kv_before: None,
            now_ms: 1,
        }
    }

    fn pending(&self) -> Pending {
        let n_of = |is: fn(&Writing) -> bool| match self.is_held {
            true => 0,
            false => self.writes.iter().filter(|write| is(write)).count() as i64,
        };
        Pending {
            n_logto: n_of(|write| {
                matches!(
                    write,
                    Writing::AtLogto
                        | Writing::CommittedAtLogto
                        | Writing::AnsweredByLogto
                        | Writing::SettledAtLogto
                )
            }),
            n_mgpass: n_of(|write| {
                matches!(
                    write,
                    Writing::AtMgpass { .. }
                        | Writing::AppliedAtMgpass { .. }
                        | Writing::SettledAtMgpass
                        | Writing::Unacknowledged
                )
            }),
            ..Pending::default()
        }
    }

    /// Of the side that has the say.
    fn has(&self) -> Has {
        match holder(self.row) {
            Holder::Logto | Holder::Draining => self.logto,
            Holder::Mgpass | Holder::Returning | Holder::Alone => self.mgpass.has,
        }
    }
}

struct Case {
    without: Option<Rule>,
    is_deep: bool,
    n_writes: usize,
    max_generation: u8,
}

impl Case {
    fn new(without: Option<Rule>) -> Self {
        Self {
            without,
            is_deep: is_deep(),
            n_writes: if is_deep() { WRITES } else { 1 },
            max_generation: if is_deep() { 6 } else { 4 },
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn due(&self, state: &State) -> Option<Kind> {
        let mut pending = state.pending();
        if !self.holds(Rule::HandOverWaits) {
            pending.n_logto = 0;
        }
        if !self.holds(Rule::ComeBackWaits) {
            pending.n_mgpass = 0;
        }
        match due(&state.authority(), &pending, Gates::Open) {
            Due::Now(due) => kind(due),
            Due::Wait(_) => None,
        }
    }

    fn operator_moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        match row.holder {
            Holder::Logto | Holder::Draining if row.wish == Wanted::Nothing => {
                push("an operator wishes cutover", &|state| {
                    state.row.wish = Wanted::Cutover;
                });
            }
            Holder::Mgpass | Holder::Returning if row.wish == Wanted::Nothing => {
                push("an operator wishes the way back", &|state| {
                    state.row.wish = Wanted::DualWrite;
                });
            }
            // Taken back, it ends a move as its deadline does.
            _ if self.is_deep => push("the wish is withdrawn", &|state| {
                state.row.wish = Wanted::Nothing;
            }),
            _ => {}
        }
        if matches!(row.holder, Holder::Draining | Holder::Returning) && !row.is_late {
            push("the deadline passes", &|state| state.row.is_late = true);
        }
        if state.mgpass.late > 0 {
            push("a late telling lands", &|state| {
                state.mgpass.generation = state.mgpass.generation.max(state.mgpass.late);
                state.mgpass.late = 0;
            });
        }
        let is_settled = row.holder == Holder::Logto && !row.is_raise_owed;
        if state.is_held && is_settled && state.pending_of_held() == 0 {
            push("a person takes Logto's side of who is held", &|state| {
                state.is_held = false;
                state.excused |= state.told & !state.logto;
                state.mgpass.has = state.logto;
            });
        }
    }

    fn mover_moves(&self, state: &State, index: usize, next: &mut Vec<Next<State>>) {
        let mover = state.movers[index];
        let mut push = |name, change: &dyn Fn(&mut State) -> Mover| {
            let mut after = *state;
            let changed = change(&mut after);
            after.movers[index] = changed;
            // Whoever comes is like any other.
            after.movers.sort_by_key(|mover| match mover {
                Mover::Idle => 0,
                Mover::Read { .. } => 1,
                Mover::Raised { .. } => 2,
            });
            next.push((name, after));
        };
        let row = state.row;
        match mover {
            Mover::Idle if index + 1 < MOVERS && state.movers[index + 1] == Mover::Idle => {}
            Mover::Idle => {
                let seen = row.generation;
                let has_room = seen < self.max_generation;
                if let Some(kind) = self.due(state).filter(|_| has_room) {
                    let step = Step::Due(kind);
                    push("a mover reads", &|_| Mover::Read { step, seen });
                }
                if has_room && matches!(row.holder, Holder::Mgpass | Holder::Returning) {
                    let step = Step::Abandon;
                    push("an operator abandons the debt", &|_| Mover::Read {
                        step,
                        seen,
                    });
                }
                if state.mgpass.generation != row.generation || row.is_raise_owed {
                    let step = Step::Agree;
                    push("somebody is to make both agree", &|_| Mover::Read {
                        step,
                        seen,
                    });
                }
            }
            Mover::Read { step, seen } => {
                let told = match step {
                    Step::Agree => seen,
                    Step::Due(_) | Step::Abandon => seen + 1,
                };
                let raise = self.holds(Rule::RaiseFirst) || step == Step::Agree;
                push("mgPass's database is told", &|state| {
                    if raise {
                        state.mgpass.generation = state.mgpass.generation.max(told);
                    }
                    Mover::Raised {
                        step,
                        seen,
                        next: state.mgpass.generation.max(told),
                        owes: false,
                    }
                });
                let goes_without = match step {
                    Step::Due(kind) => !kind.needs_raise(),
                    Step::Abandon => true,
                    Step::Agree => false,
                };
                if goes_without {
                    push("mgPass's database does not answer", &|state| {
                        state.mgpass.late = state.mgpass.late.max(told);
                        Mover::Raised {
                            step,
                            seen,
                            next: told,
                            owes: true,
                        }
                    });
                }
            }
            Mover::Raised {
                step,
                seen,
                next: to,
                owes,
            } => {
                push("it stops there", &|_| Mover::Idle);
                push("it moves", &|state| {
                    self.carry_out(state, step, seen, to, owes);
                    Mover::Idle
                });
            }
        }
    }

    /// Of two who come at once one moves.
    fn carry_out(&self, state: &mut State, step: Step, seen: u8, to: u8, owes: bool) {
        let is_conditional = self.holds(Rule::MoveIsConditional);
        if is_conditional && state.row.generation != seen {
            return;
        }
        let settled = |state: &mut State, holder: Holder| {
            state.row = Row {
                holder,
                generation: to,
                is_raise_owed: owes,
                is_late: false,
                wish: Wanted::Nothing,
            };
        };
        match step {
            Step::Agree => {
                if to > seen {
                    state.row.generation = to;
                }
                if state.row.generation == to {
                    state.row.is_raise_owed = false;
                }
            }
            Step::Abandon => {
                if !matches!(state.row.holder, Holder::Mgpass | Holder::Returning) {
                    return;
                }
                let lacks = state.pending().n_mgpass > 0;
                state.forget_translated();
                state.is_held |= lacks && self.holds(Rule::AbandonHolds);
                settled(state, Holder::Logto);
            }
            Step::Due(kind) => {
                if is_conditional && self.due(state) != Some(kind) {
                    return;
                }
                match kind {
                    Kind::Drain | Kind::GoBack => {
                        state.row.holder = kind.to();
                        state.row.generation = to;
                        state.row.is_late = false;
                    }
                    Kind::HandOver | Kind::Return | Kind::Stay => settled(state, kind.to()),
                    Kind::ComeBack => {
                        state.forget_translated();
                        settled(state, kind.to());
                    }
                }
            }
        }
        if !self.holds(Rule::RaiseFirst) && !owes {
            state.mgpass.late = state.mgpass.late.max(to);
        }
    }

    fn write_moves(&self, state: &State, index: usize, next: &mut Vec<Next<State>>) {
        let bit: Has = 1 << index;
        let row = state.row;
        let mut push = |name, change: &dyn Fn(&mut State) -> Writing| {
            let mut after = *state;
            after.writes[index] = change(&mut after);
            next.push((name, after));
        };
        match state.writes[index] {
            // Writes are alike: the second begins after the first.
            Writing::Idle if index > 0 && state.writes[index - 1] == Writing::Idle => {}
            Writing::Idle => {
                let by_insert = holder(row);
                if by_insert == Holder::Logto || !self.holds(Rule::InsertAtLogto) {
                    push("a write is recorded and forwarded to Logto", &|_| {
                        Writing::AtLogto
                    });
                }
                let is_open = by_insert == Holder::Mgpass && !row.is_raise_owed;
                if is_open || !self.holds(Rule::InsertAtMgpass) {
                    let generation = row.generation;
                    push("a write is recorded for mgPass", &|_| Writing::AtMgpass {
                        generation,
                    });
                }
            }
            Writing::AtLogto => push("Logto commits it", &|state| {
                state.logto |= bit;
                Writing::CommittedAtLogto
            }),
            Writing::CommittedAtLogto => push("Logto's answer reaches its client", &|state| {
                state.told |= bit;
                Writing::AnsweredByLogto
            }),
            Writing::AnsweredByLogto => push("it is settled", &|_| Writing::SettledAtLogto),
            Writing::AtMgpass { generation } => push("its batch lands at mgPass", &|state| {
                let is_in_generation = state.mgpass.generation == generation;
                if !is_in_generation && self.holds(Rule::GenerationInTranslated) {
                    return Writing::Discharged;
                }
                state.mgpass.has |= bit;
                Writing::AppliedAtMgpass { generation }
            }),
            Writing::AppliedAtMgpass { generation } => push("it is settled at mgPass", &|state| {
                let is_held_by = holder(state.row) == Holder::Mgpass;
                let is_own = state.row.generation == generation;
                if (is_held_by && is_own) || !self.holds(Rule::SettleIsConditional) {
                    state.told |= bit;
                    Writing::SettledAtMgpass
                } else if matches!(state.row.holder, Holder::Mgpass | Holder::Returning) {
                    Writing::Unacknowledged
                } else {
                    // The intent went with the way back.
                    Writing::Discharged
                }
            }),
            Writing::SettledAtLogto
            | Writing::SettledAtMgpass
            | Writing::Unacknowledged
            | Writing::Discharged => {}
        }
    }

    fn carrier_moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State) -> Carrier| {
            let mut after = *state;
            after.carrier = change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        let may_carry = matches!(row.holder, Holder::Logto | Holder::Draining)
            && !row.is_raise_owed
            && (!state.is_held || !self.holds(Rule::HeldIsLeft));
        match state.carrier {
            Carrier::Idle if may_carry => {
                push("somebody is to carry to mgPass", &|state| Carrier::Leased {
                    generation: row.generation,
                    covers: state.settled_at_logto(),
                })
            }
            Carrier::Idle => {}
            Carrier::Leased { generation, covers } => {
                push("it reads Logto", &|state| Carrier::HasRead {
                    generation,
                    covers,
                    has: state.logto,
                })
            }
            Carrier::HasRead {
                generation,
                covers,
                has,
            } => {
                push("its batch lands", &|state| {
                    let is_in_generation = state.mgpass.generation == generation;
                    if !is_in_generation && self.holds(Rule::GenerationInCarried) {
                        return Carrier::Idle;
                    }
                    state.mgpass.has = has;
                    Carrier::Applied { covers }
                });
            }
            Carrier::Applied { covers } => push("it discharges", &|state| {
                for (index, write) in state.writes.iter_mut().enumerate() {
                    if covers & (1 << index) != 0 {
                        *write = Writing::Discharged;
                    }
                }
                Carrier::Idle
            }),
        }
    }

    /// Everything at once, and only while mgPass has the say.
    fn back_moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let row = state.row;
        let may_send = matches!(row.holder, Holder::Mgpass | Holder::Returning)
            && !row.is_raise_owed
            && state.mgpass.generation == row.generation
            && !state.is_held;
        let is_due = state
            .writes
            .iter()
            .any(|write| matches!(write, Writing::SettledAtMgpass | Writing::Unacknowledged));
        if !may_send || !is_due {
            return;
        }
        let mut after = *state;
        after.logto = after.mgpass.has;
        for write in &mut after.writes {
            if matches!(write, Writing::SettledAtMgpass | Writing::Unacknowledged) {
                *write = Writing::Discharged;
            }
        }
        next.push(("Logto is sent what mgPass has", after));
    }
}

impl State {
    fn settled_at_logto(&self) -> Has {
        let bit = |index: usize| match self.writes[index] {
            Writing::SettledAtLogto => 1 << index,
            _ => 0,
        };
        (0..WRITES).map(bit).sum()
    }

    /// Their rows are gone: an answer that is still to come acknowledges nothing.
    fn forget_translated(&mut self) {
        for write in &mut self.writes {
            if matches!(write, Writing::SettledAtMgpass | Writing::Unacknowledged) {
                *write = Writing::Discharged;
            }
        }
    }

    fn pending_of_held(&self) -> usize {
        let is_under_way = |write: &&Writing| {
            !matches!(
                write,
                Writing::Idle | Writing::Discharged | Writing::SettledAtLogto
            )
        };
        self.writes.iter().filter(is_under_way).count()
    }
}

impl Model for Case {
    type State = State;

    /// Before a hand-over, and after one.
    fn first(&self) -> Vec<State> {
        let before = State::first();
        let after = State {
            row: Row {
                holder: Holder::Mgpass,
                ..before.row
            },
            ..before
        };
        vec![before, after]
    }

    fn next(&self, state: &State) -> Vec<Next<State>> {
        let mut next = Vec::new();
        self.operator_moves(state, &mut next);
        for index in 0..MOVERS {
            self.mover_moves(state, index, &mut next);
        }
        for index in 0..self.n_writes {
            self.write_moves(state, index, &mut next);
        }
        self.carrier_moves(state, &mut next);
        self.back_moves(state, &mut next);
        next
    }

    fn fault(&self, before: &State, after: &State) -> Option<String> {
        let now = holder(before.row);
        for (was, is) in before.writes.iter().zip(&after.writes) {
            let is_right = match (was, is) {
                (Writing::CommittedAtLogto, Writing::AnsweredByLogto) => {
                    matches!(now, Holder::Logto | Holder::Draining)
                }
                (Writing::AppliedAtMgpass { .. }, Writing::SettledAtMgpass) => {
                    now == Holder::Mgpass
                }
                // A way back without mgPass cannot be told there.
                (Writing::AtMgpass { .. }, Writing::AppliedAtMgpass { .. }) => {
                    matches!(now, Holder::Mgpass | Holder::Returning) || before.row.is_raise_owed
                }
                _ => true,
            };
            if !is_right {
                return Some(format!("{was:?} became {is:?} under {now:?}"));
            }
        }
        let is_carried = matches!(
            (before.carrier, after.carrier),
            (Carrier::HasRead { .. }, Carrier::Applied { .. })
        );
        if is_carried && before.is_held {
            return Some("who is held was written at mgPass".to_owned());
        }
        if is_carried && matches!(now, Holder::Mgpass | Holder::Returning) {
            return Some(format!("carried to mgPass under {now:?}"));
        }
        let lacks = after.told & !after.excused & !after.has();
        (lacks != 0 && !after.is_held).then(|| {
            format!(
                "{:?} has {:b}, told {:b}",
                after.row.holder,
                after.has(),
                after.told
            )
        })
    }
}

#[test]
fn no_order_of_moves_and_writes_loses_what_somebody_was_told_of() {
    assert_holds(&Case::new(None));
}

#[test]
fn each_rule_is_needed() {
    assert_needed(&RULES, |rule| Case::new(Some(rule)));
}
