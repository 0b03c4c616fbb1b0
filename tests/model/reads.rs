//! Reads of a user across the authority's moves: an isolate that goes by what it heard long
//! ago, databases that do not answer, rows and authority asked in either order, Logto in
//! mgPass's stead.
//!
//! Held in every state: no read lacks a write that somebody was told of before it began.
//! One hole is known, and must be the only one: `--abandon-debt` while mgPass's database
//! cannot be told of it, and an isolate that reaches that database and not the proxy's own.
//! Nothing that it could ask tells it that the authority has moved, until the first run of
//! cron that reaches both has paid what is owed.
//!
//! Who is held is out of it: a gate keeps a hand-over from beginning until a person has
//! decided, or has let them go by name.
//!
//! The case: one user, moves whole but for the telling of mgPass's database, three writes
//! at whichever side has the say, the mirror of the day behind them. Where a read goes say
//! the Worker's own `way`, `decide` and `Standing`.

use dual_write_proxy::policy::authority::{Holder, View};
use dual_write_proxy::policy::plan::at_mgpass::{Standing, Way, way};
use dual_write_proxy::serve::authority::{Decision, Flow, Known, Need, decide};

use crate::search::{Model, Next, assert_holds, assert_needed, is_deep, search};

/// What the proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Without the proxy's database, rows prove by the generation beside them.
    GenerationBesideRows,
    /// With it, rows count only in the term that was known before they were asked for.
    RowsOfOneTerm,
    /// Logto stands in only where nothing is pending.
    FallbackAtNoDebt,
    /// A way back tells mgPass's database before anybody writes.
    RaiseFirst,
    /// Users are handed over when nothing is pending.
    HandOverWaits,
    /// Whoever is told "logto" reads there only while it is so.
    ProofAtLogto,
}

const RULES: [Rule; 6] = [
    Rule::GenerationBesideRows,
    Rule::RowsOfOneTerm,
    Rule::FallbackAtNoDebt,
    Rule::RaiseFirst,
    Rule::HandOverWaits,
    Rule::ProofAtLogto,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    holder: Holder,
    generation: u8,
    term: u8,
    is_raise_owed: bool,
}

/// What the proxy's database said, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    NotYet,
    Said(Row),
    CutOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rows {
    NotYet,
    /// `is_owed`: mgPass's database was still to be told that Logto has the say.
    Read {
        version: u8,
        generation: u8,
        is_owed: bool,
    },
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reading {
    None,
    Began {
        must: u8,
    },
    /// By what the isolate heard last, mgPass has the say.
    AtMgpass {
        must: u8,
        last: Row,
        asked: Asked,
        rows: Rows,
        is_again: bool,
    },
    /// To see whether Logto has everything.
    FallsBack {
        must: u8,
    },
    /// It has the proof, and is on its way to Logto.
    ToLogto {
        must: u8,
    },
    Shown {
        must: u8,
        version: u8,
        is_in_the_hole: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Row,
    told_generation: u8,
    logto: u8,
    mgpass: u8,
    n_writes: u8,
    /// The newest write that somebody was told of, of those that count.
    told: u8,
    /// What the isolate heard last.
    last: Option<Row>,
    reading: Reading,
    /// The move that mgPass's database was told of, and that is still to come.
    raised: bool,
    is_held: bool,
}

impl Reading {
    fn claim_no_more_than(&mut self, version: u8) {
        match self {
            Self::None => {}
            Self::Began { must }
            | Self::AtMgpass { must, .. }
            | Self::FallsBack { must }
            | Self::ToLogto { must }
            | Self::Shown { must, .. } => *must = version.min(*must),
        }
    }
}

struct Case {
    without: Option<Rule>,
    /// Without the one hole that is known.
    is_whole: bool,
    max_writes: u8,
    max_generation: u8,
}

fn view(row: Row) -> View {
    View {
        holder: row.holder,
        generation: i64::from(row.generation),
        term: i64::from(row.term),
        announced_until_ms: None,
        deadline_ms: None,
        is_raise_owed: row.is_raise_owed,
        now_ms: 0,
    }
}

impl State {
    fn is_pending(&self) -> bool {
        self.logto != self.mgpass
    }

    fn is_at_logto(&self) -> bool {
        matches!(self.row.holder, Holder::Logto | Holder::Draining)
    }
}

impl Case {
    fn new(without: Option<Rule>) -> Self {
        let (max_writes, max_generation) = if is_deep() { (4, 9) } else { (2, 5) };
        Self {
            without,
            is_whole: false,
            max_writes,
            max_generation,
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        let has_room = row.generation < self.max_generation;
        if has_room && !state.raised && !row.is_raise_owed {
            push("mgPass's database is told of a move", &|state| {
                if self.holds(Rule::RaiseFirst) {
                    state.told_generation = row.generation + 1;
                }
                state.raised = true;
            });
        }
        let waits = state.is_pending() && !state.is_held;
        let to = match row.holder {
            // A gate: who is held is let go by name, and then nothing is claimed.
            Holder::Logto if state.is_held => None,
            Holder::Logto => Some(Holder::Draining),
            Holder::Draining if waits && self.holds(Rule::HandOverWaits) => None,
            Holder::Draining => Some(Holder::Mgpass),
            Holder::Mgpass => Some(Holder::Returning),
            Holder::Returning if waits => None,
            Holder::Returning => Some(Holder::Logto),
            // Not reached here: to a reader it is as mgPass, without a fallback.
            Holder::Alone => None,
        };
        let is_over = |to| {
            matches!(
                (row.holder, to),
                (Holder::Draining, Holder::Mgpass) | (Holder::Returning, Holder::Logto)
            )
        };
        if let Some(to) = to.filter(|_| state.raised) {
            push("the authority moves", &|state| {
                state.row = Row {
                    holder: to,
                    generation: row.generation + 1,
                    term: row.term + u8::from(is_over(to)),
                    is_raise_owed: false,
                };
                state.raised = false;
            });
        }
        let back = match row.holder {
            Holder::Draining => Some(Holder::Logto),
            Holder::Returning => Some(Holder::Mgpass),
            Holder::Logto | Holder::Mgpass | Holder::Alone => None,
        };
        let returned = |state: &mut State, holder, is_new_term: bool| {
            state.row = Row {
                holder,
                generation: row.generation + 1,
                term: row.term + u8::from(is_new_term),
                is_raise_owed: !state.raised,
            };
            state.raised = false;
        };
        if let Some(back) = back.filter(|_| has_room) {
            push("a move goes back where it began", &|state| {
                returned(state, back, false)
            });
        }
        if has_room && matches!(row.holder, Holder::Mgpass | Holder::Returning) {
            push("an operator abandons the debt", &|state| {
                returned(state, Holder::Logto, true);
                state.is_held |= state.is_pending();
                // What Logto lacks is listed, and no longer claimed.
                state.told = state.logto;
                state.reading.claim_no_more_than(state.logto);
            });
        }
        if row.is_raise_owed {
            push("what is owed is told", &|state| {
                state.told_generation = row.generation;
                state.row.is_raise_owed = false;
            });
        }
    }

    fn data(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((name, after));
        };
        let row = state.row;
        if state.n_writes < self.max_writes {
            let number = state.n_writes + 1;
            match row.holder {
                Holder::Logto => push("a write at Logto", &|state| {
                    (state.n_writes, state.logto, state.told) = (number, number, number);
                }),
                Holder::Mgpass if !row.is_raise_owed => push("a write at mgPass", &|state| {
                    (state.n_writes, state.mgpass, state.told) = (number, number, number);
                }),
                Holder::Mgpass | Holder::Draining | Holder::Returning | Holder::Alone => {}
            }
        }
        if state.is_held && row.holder == Holder::Logto && !row.is_raise_owed {
            push("a person takes Logto's side of who is held", &|state| {
                (state.mgpass, state.is_held) = (state.logto, false);
            });
        }
        let may_relay = !row.is_raise_owed
            && !state.is_held
            && (state.told_generation == row.generation || !self.holds(Rule::RaiseFirst));
        if state.is_pending() && may_relay {
            push(
                "the mirror of the day",
                &|state| match state.is_at_logto() {
                    true => state.mgpass = state.logto,
                    false => state.logto = state.mgpass,
                },
            );
        }
    }

    fn reads(&self, state: &State, next: &mut Vec<Next<State>>) {
        let mut push = |name, reading: Reading| {
            next.push((name, State { reading, ..*state }));
        };
        match state.reading {
            Reading::None => push("a read begins", Reading::Began { must: state.told }),
            Reading::Began { must } => self.begin(state, must, next),
            Reading::AtMgpass {
                must,
                last,
                asked,
                rows,
                is_again,
            } => {
                let at = |asked, rows| Reading::AtMgpass {
                    must,
                    last,
                    asked,
                    rows,
                    is_again,
                };
                if asked == Asked::NotYet {
                    let mut after = *state;
                    after.reading = at(Asked::Said(state.row), rows);
                    after.last = Some(state.row);
                    next.push(("the proxy's database says who has the say", after));
                    next.push((
                        "the proxy's database does not answer",
                        State {
                            reading: at(Asked::CutOff, rows),
                            ..*state
                        },
                    ));
                }
                if rows == Rows::NotYet {
                    let read = Rows::Read {
                        version: state.mgpass,
                        generation: state.told_generation,
                        is_owed: state.row.is_raise_owed && state.row.holder == Holder::Logto,
                    };
                    for (name, rows) in [("rows are read", read), ("there are no rows", Rows::Down)]
                    {
                        next.push((
                            name,
                            State {
                                reading: at(asked, rows),
                                ..*state
                            },
                        ));
                    }
                }
                if asked != Asked::NotYet && rows != Rows::NotYet {
                    self.decide(state, next);
                }
            }
            Reading::FallsBack { must } => push("Logto stands in", Reading::ToLogto { must }),
            Reading::ToLogto { must } => push(
                "Logto answers",
                Reading::Shown {
                    must,
                    version: state.logto,
                    is_in_the_hole: false,
                },
            ),
            Reading::Shown { .. } => push("it is over", Reading::None),
        }
    }

    /// Where an isolate last heard of mgPass it asks the rows; else it asks for proof.
    fn begin(&self, state: &State, must: u8, next: &mut Vec<Next<State>>) {
        let at_mgpass = |last, is_again| Reading::AtMgpass {
            must,
            last,
            asked: Asked::NotYet,
            rows: Rows::NotYet,
            is_again,
        };
        match state.last {
            Some(last) if matches!(last.holder, Holder::Mgpass | Holder::Returning) => next.push((
                "it goes to the rows",
                State {
                    reading: at_mgpass(last, false),
                    ..*state
                },
            )),
            Some(_) | None => self.prove(state, must, next),
        }
    }

    fn prove(&self, state: &State, must: u8, next: &mut Vec<Next<State>>) {
        let known = match (self.holds(Rule::ProofAtLogto), state.last) {
            (false, Some(last)) => last,
            (true, _) | (false, None) => state.row,
        };
        let reading = match decide(Need::Read, Flow::Other, Known::View(view(known))) {
            Decision::Forward => Reading::ToLogto { must },
            Decision::AtMgpass(_) => Reading::AtMgpass {
                must,
                last: known,
                asked: Asked::NotYet,
                rows: Rows::NotYet,
                is_again: true,
            },
            other => panic!("{other:?}"),
        };
        next.push((
            "it asks for proof",
            State {
                reading,
                last: Some(known),
                ..*state
            },
        ));
    }

    fn decide(&self, state: &State, next: &mut Vec<Next<State>>) {
        let Reading::AtMgpass {
            must,
            last,
            asked,
            rows,
            is_again,
        } = state.reading
        else {
            return;
        };
        let (version, generation, is_owed) = match rows {
            Rows::Read {
                version,
                generation,
                is_owed,
            } => (version, Some(i64::from(generation)), is_owed),
            Rows::Down | Rows::NotYet => (0, None, false),
        };
        let mut known = view(last);
        let said = match asked {
            Asked::Said(row) => Some(view(row)),
            Asked::CutOff | Asked::NotYet => None,
        };
        if !self.holds(Rule::GenerationBesideRows) {
            known.generation = generation.unwrap_or(known.generation);
        }
        if let (false, Some(said)) = (self.holds(Rule::RowsOfOneTerm), said) {
            known.term = said.term;
        }
        let reading = match way(said, known, generation) {
            Way::Rows => Reading::Shown {
                must,
                version,
                is_in_the_hole: is_owed && asked == Asked::CutOff,
            },
            Way::Fallback => {
                let standing = Standing {
                    pending_since_ms: state.is_pending().then_some(0),
                    is_in_debt: state.is_held,
                    fed_at_ms: 0,
                };
                let is_mgpass = !state.is_at_logto();
                let is_free = standing.may_fall_back(0) || !self.holds(Rule::FallbackAtNoDebt);
                match is_mgpass && is_free {
                    true => Reading::FallsBack { must },
                    // 503, or begun anew.
                    false => Reading::None,
                }
            }
            // The second time it is a 503.
            Way::Moved if is_again => Reading::None,
            Way::Moved => return self.prove(state, must, next),
            Way::Unknown | Way::Nowhere => Reading::None,
        };
        next.push(("it is decided", State { reading, ..*state }));
    }
}

impl Model for Case {
    type State = State;

    fn first(&self) -> Vec<State> {
        let row = Row {
            holder: Holder::Logto,
            generation: 1,
            term: 1,
            is_raise_owed: false,
        };
        let at_logto = State {
            row,
            told_generation: 1,
            logto: 0,
            mgpass: 0,
            n_writes: 0,
            told: 0,
            last: None,
            reading: Reading::None,
            raised: false,
            is_held: false,
        };
        let at_mgpass = State {
            row: Row {
                holder: Holder::Mgpass,
                ..row
            },
            ..at_logto
        };
        vec![at_logto, at_mgpass]
    }

    fn next(&self, state: &State) -> Vec<Next<State>> {
        let mut next = Vec::new();
        self.moves(state, &mut next);
        self.data(state, &mut next);
        self.reads(state, &mut next);
        next
    }

    fn fault(&self, _: &State, after: &State) -> Option<String> {
        let Reading::Shown {
            must,
            version,
            is_in_the_hole,
        } = after.reading
        else {
            return None;
        };
        (version < must && (self.is_whole || !is_in_the_hole))
            .then(|| format!("shows {version}, told of {must}"))
    }
}

#[test]
fn no_order_of_moves_shows_less_than_somebody_was_told_of() {
    assert_holds(&Case::new(None));
}

#[test]
fn each_rule_is_needed() {
    assert_needed(&RULES, |rule| Case::new(Some(rule)));
}

/// Closed by nothing but time; if it ever is, the text above has to go.
#[test]
fn the_known_hole_is_there() {
    let case = Case {
        is_whole: true,
        ..Case::new(None)
    };
    let steps = search(&case).expect_err("the hole is closed");
    println!("{}", steps.join(", "));
    assert!(
        steps
            .iter()
            .any(|step| step == "an operator abandons the debt")
    );
}
