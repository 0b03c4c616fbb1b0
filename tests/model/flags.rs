//! Flags that reach places late and in any order, stages off and on again, gaps in
//! recording, relays that overtake each other: every interleaving of a small case,
//! with the very `plan` and `judge` of the Worker.
//!
//! Held in every state: while Logto is the source of truth, no read is served by
//! mgPass that lacks a write of that user which was acknowledged and recorded (or
//! whose gap was noted) before the read began, nor one whose mirror row is older
//! than the recording epoch. Each rule that this rests on is then removed alone, and
//! the search must find how it goes wrong.
//!
//! The case: one user, three places that each hold any value ever published, two
//! writes, two reconciles at once without a lease (a lease may expire), reads without
//! end. Stage `shadow` records as `dual_write` does and serves nobody, so that it adds
//! no case of its own; an acknowledgement is taken to come with the commit, which asks
//! for more than a later one would.

use dual_write_proxy::inbound::classify::Operation;
use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::eligibility::judge;
use dual_write_proxy::mirror::outbox::Fence;
use dual_write_proxy::mirror::target::MirrorRow;
use dual_write_proxy::policy::authority::{Holder, View};
use dual_write_proxy::policy::flags::bucket::Bucket;
use dual_write_proxy::policy::flags::{Flags, Share, Stage};
use dual_write_proxy::policy::plan::{Admission, Authenticity, Facts, Origin, Primary, Step, plan};

use crate::search::{Model as Case, Next, assert_holds, assert_needed};

const PLACES: usize = 3;
const WRITES: usize = 2;
const RECONCILES: usize = 2;

/// What the proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// An intent that is not discharged sends the read to Logto.
    Fence,
    /// A mirror row of an older epoch does, too.
    Epoch,
    /// A write that passes in stage `off` raises the epoch.
    OffRaisesEpoch,
    /// So does one that could not be recorded.
    LostIntentRaisesEpoch,
    /// The intent is there before the write is forwarded.
    RecordBeforeForward,
    /// An intent that is not settled is not discharged.
    DischargeSettledOnly,
    /// Nor one that was settled after the reconcile took its ticket.
    DischargeCoveredOnly,
    /// A batch with an older ticket changes nothing.
    TicketInTarget,
    /// The epoch of a reconcile is taken before Logto is read.
    EpochBeforeRead,
}

const RULES: [Rule; 9] = [
    Rule::Fence,
    Rule::Epoch,
    Rule::OffRaisesEpoch,
    Rule::LostIntentRaisesEpoch,
    Rule::RecordBeforeForward,
    Rule::DischargeSettledOnly,
    Rule::DischargeCoveredOnly,
    Rule::TicketInTarget,
    Rule::EpochBeforeRead,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Config {
    Off,
    /// Everybody reads from mgPass.
    DualWrite,
}

const CONFIGS: [Config; 2] = [Config::Off, Config::DualWrite];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Recording {
    /// The intent's row is in the database.
    Row,
    /// The database was too slow; the Queue has it, the settling makes the row.
    Queued,
    /// Neither took it.
    Lost,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Started,
    /// Committed at Logto, and the client has its answer.
    Acknowledged,
    /// What follows the answer was done: settled, or the gap noted.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    phase: Phase,
    recording: Recording,
    /// Place in Logto's history of this user.
    version: u8,
    settled: Option<u8>,
    has_row: bool,
    is_discharged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reconcile {
    Idle,
    Leased { ticket: u8, epoch: u8 },
    HasRead { ticket: u8, epoch: u8, version: u8 },
    Applied { ticket: u8 },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    version: u8,
    epoch: u8,
    ticket: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Read {
    None,
    /// In a place of stage `dual_write`: flags are taken once per request.
    Began {
        must_show: u8,
    },
    /// `plan` has sent it to mgPass, which was not asked yet.
    Sent {
        must_show: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The operator has set the stage to `off` at some time.
    off_was_published: bool,
    /// How many of the places hold `off` now, places being alike.
    places_at_off: usize,
    logto: u8,
    epoch: u8,
    sequence: u8,
    writes: [Write; WRITES],
    reconciles: [Reconcile; RECONCILES],
    row: Row,
    read: Read,
}

impl State {
    fn first() -> Self {
        let write = Write {
            phase: Phase::Idle,
            recording: Recording::Off,
            version: 0,
            settled: None,
            has_row: false,
            is_discharged: false,
        };
        Self {
            off_was_published: false,
            places_at_off: 0,
            logto: 0,
            epoch: 1,
            sequence: 0,
            writes: [write; WRITES],
            reconciles: [Reconcile::Idle; RECONCILES],
            row: Row {
                version: 0,
                epoch: 1,
                ticket: 0,
            },
            read: Read::None,
        }
    }

    /// The newest version that whoever begins to read now was told of.
    fn must_show(&self) -> u8 {
        let is_told = |write: &&Write| match write.recording {
            Recording::Row => matches!(write.phase, Phase::Acknowledged | Phase::Over),
            // Until the settling (or the raised epoch) nobody but the writer knows.
            Recording::Queued | Recording::Lost | Recording::Off => write.phase == Phase::Over,
        };
        let told = self.writes.iter().filter(is_told);
        told.map(|write| write.version).max().unwrap_or(0)
    }
}

struct Model {
    without: Option<Rule>,
    flags: [Flags; 2],
    bucket: Bucket,
}

impl Model {
    fn new(without: Option<Rule>) -> Self {
        let flags = CONFIGS.map(|config| Flags {
            stage: match config {
                Config::Off => Stage::Off,
                Config::DualWrite => Stage::DualWrite,
            },
            read_percent: Share::ALL,
            ..Flags::default()
        });
        let user = UserId::parse("ohr0n387iy4o").expect("an id");
        Self {
            without,
            flags,
            bucket: Bucket::of(&user, ""),
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Not even in order: a place may go back to an older value.
    fn flags_move(&self, state: &State, next: &mut Vec<Next<State>>) {
        if !state.off_was_published {
            let off_was_published = true;
            next.push((
                "the operator sets off",
                State {
                    off_was_published,
                    ..*state
                },
            ));
            return;
        }
        if state.places_at_off < PLACES {
            let places_at_off = state.places_at_off + 1;
            next.push((
                "a place sees off",
                State {
                    places_at_off,
                    ..*state
                },
            ));
        }
        if state.places_at_off > 0 {
            let places_at_off = state.places_at_off - 1;
            next.push((
                "a place sees dual_write",
                State {
                    places_at_off,
                    ..*state
                },
            ));
        }
    }

    fn configs_in_use(&self, state: &State) -> impl Iterator<Item = Config> {
        let at_off = state.places_at_off;
        CONFIGS.into_iter().filter(move |config| match config {
            Config::Off => at_off > 0,
            Config::DualWrite => at_off < PLACES,
        })
    }

    fn write_moves(&self, state: &State, index: usize, next: &mut Vec<Next<State>>) {
        let write = state.writes[index];
        let mut push = |name, change: &dyn Fn(&mut State, &mut Write)| {
            let mut after = *state;
            let mut changed = write;
            change(&mut after, &mut changed);
            after.writes[index] = changed;
            next.push((name, after));
        };
        match write.phase {
            // Writes are alike: the second starts after the first.
            Phase::Idle if index > 0 && state.writes[index - 1].phase == Phase::Idle => {}
            Phase::Idle => {
                for config in self.configs_in_use(state) {
                    let recordings: &[Recording] = match config {
                        Config::Off => &[Recording::Off],
                        Config::DualWrite => &[Recording::Row, Recording::Queued, Recording::Lost],
                    };
                    for recording in recordings {
                        push("a write begins", &|_, write| {
                            write.phase = Phase::Started;
                            write.recording = *recording;
                            write.has_row = *recording == Recording::Row
                                && self.holds(Rule::RecordBeforeForward);
                        });
                    }
                }
            }
            Phase::Started => push("Logto commits and answers", &|state, write| {
                state.logto += 1;
                write.version = state.logto;
                write.phase = Phase::Acknowledged;
            }),
            Phase::Acknowledged => push("what follows the answer", &|state, write| {
                write.phase = Phase::Over;
                let raises = match write.recording {
                    Recording::Row | Recording::Queued => {
                        state.sequence += 1;
                        write.settled = Some(state.sequence);
                        write.has_row = true;
                        // A settling brings back a row that was discharged too early.
                        write.is_discharged = false;
                        false
                    }
                    Recording::Lost => self.holds(Rule::LostIntentRaisesEpoch),
                    Recording::Off => self.holds(Rule::OffRaisesEpoch),
                };
                state.epoch += u8::from(raises);
            }),
            Phase::Over => {}
        }
    }

    fn reconcile_moves(&self, state: &State, index: usize, next: &mut Vec<Next<State>>) {
        let mut after = *state;
        let name = match state.reconciles[index] {
            Reconcile::Idle => {
                if index > 0 && state.reconciles[index - 1] == Reconcile::Idle {
                    return;
                }
                after.sequence += 1;
                after.reconciles[index] = Reconcile::Leased {
                    ticket: after.sequence,
                    epoch: state.epoch,
                };
                "a reconcile takes its ticket"
            }
            Reconcile::Leased { ticket, epoch } => {
                after.reconciles[index] = Reconcile::HasRead {
                    ticket,
                    epoch,
                    version: state.logto,
                };
                "it reads Logto"
            }
            Reconcile::HasRead {
                ticket,
                epoch,
                version,
            } => {
                let epoch = if self.holds(Rule::EpochBeforeRead) {
                    epoch
                } else {
                    state.epoch
                };
                if ticket > state.row.ticket || !self.holds(Rule::TicketInTarget) {
                    after.row = Row {
                        version,
                        epoch,
                        ticket,
                    };
                    after.reconciles[index] = Reconcile::Applied { ticket };
                } else {
                    // Superseded: it discharges nothing.
                    after.reconciles[index] = Reconcile::Over;
                }
                "it writes to mgPass"
            }
            Reconcile::Applied { ticket } => {
                for write in &mut after.writes {
                    let is_covered = match write.settled {
                        Some(settled) => {
                            settled <= ticket || !self.holds(Rule::DischargeCoveredOnly)
                        }
                        None => !self.holds(Rule::DischargeSettledOnly),
                    };
                    write.is_discharged |= write.has_row && is_covered;
                }
                after.reconciles[index] = Reconcile::Over;
                "it discharges"
            }
            Reconcile::Over => return,
        };
        next.push((name, after));
    }

    fn read_moves(&self, state: &State, next: &mut Vec<Next<State>>) {
        match state.read {
            Read::None => {
                for config in self.configs_in_use(state) {
                    if config == Config::Off {
                        assert_eq!(self.plan(state, config), Primary::Logto);
                        continue;
                    }
                    let mut after = *state;
                    after.read = Read::Began {
                        must_show: state.must_show(),
                    };
                    next.push(("a read begins", after));
                }
            }
            Read::Began { must_show } => {
                let mut after = *state;
                after.read = match self.plan(state, Config::DualWrite) {
                    Primary::Mgpass => Read::Sent { must_show },
                    Primary::Logto | Primary::MgpassAsCaller => Read::None,
                };
                next.push(("its eligibility is looked up", after));
            }
            Read::Sent { .. } => {
                let mut after = *state;
                after.read = Read::None;
                next.push(("mgPass answers it", after));
            }
        }
    }

    /// The Worker's own decision on this state of the databases.
    fn plan(&self, state: &State, config: Config) -> Primary {
        let fence = Fence {
            epoch: i64::from(state.epoch),
            is_fenced: self.holds(Rule::Fence)
                && state
                    .writes
                    .iter()
                    .any(|write| write.has_row && !write.is_discharged),
            view: View {
                holder: Holder::Logto,
                generation: 1,
                term: 1,
                announced_until_ms: None,
                deadline_ms: None,
                is_raise_owed: false,
                now_ms: 0,
            },
        };
        let row = MirrorRow {
            ticket: i64::from(state.row.ticket),
            epoch: if self.holds(Rule::Epoch) {
                i64::from(state.row.epoch)
            } else {
                fence.epoch
            },
            is_tombstone: false,
            residue: None,
        };
        let flags = &self.flags[CONFIGS
            .iter()
            .position(|one| *one == config)
            .expect("known")];
        let mut facts = Facts {
            origin: Some(Origin::Logto),
            authenticity: Some(Authenticity::Authentic),
            eligibility: None,
            admission: Some(Admission::Admitted),
        };
        loop {
            match plan(Operation::UsersGet, flags, Some(self.bucket), &facts) {
                Step::Go(plan) => return plan.primary,
                Step::Ask(_) => facts.eligibility = Some(judge(Some(fence), Some(row.clone())).0),
            }
        }
    }
}

impl Case for Model {
    type State = State;

    fn first(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn next(&self, state: &State) -> Vec<Next<State>> {
        let mut next = Vec::new();
        self.flags_move(state, &mut next);
        for index in 0..WRITES {
            self.write_moves(state, index, &mut next);
        }
        for index in 0..RECONCILES {
            self.reconcile_moves(state, index, &mut next);
        }
        self.read_moves(state, &mut next);
        next
    }

    fn fault(&self, state: &State, after: &State) -> Option<String> {
        match (state.read, after.read) {
            (Read::Sent { must_show }, Read::None) if state.row.version < must_show => {
                Some(format!("shows {}, told of {must_show}", state.row.version))
            }
            (Read::Began { .. }, Read::Sent { .. }) if state.row.epoch != state.epoch => Some(
                format!("row of epoch {}, now {}", state.row.epoch, state.epoch),
            ),
            _ => None,
        }
    }
}

#[test]
fn no_order_of_events_serves_an_old_read() {
    assert_holds(&Model::new(None));
}

#[test]
fn each_rule_is_needed() {
    assert_needed(&RULES, |rule| Model::new(Some(rule)));
}
