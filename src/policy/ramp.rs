//! What a ramp plan does next: a list of shares, each taken only after the one before
//! has passed.
//!
//! Pure: the plan as it is kept and what is seen now in, one move out. The plan is not
//! the master of `read_percent`: whoever changes it by hand, or brakes, pauses the plan.
//! A place may see an older value for a while (KV); that is waited for, not taken for a
//! hand.

use super::flags::Share;
use super::guard::Verdict;

/// A value that KV took is seen everywhere within about a minute.
pub const LATE_MS: i64 = 120_000;
/// A verdict of the guard is of the last run of cron or the one before.
const FRESH_VERDICT_MS: i64 = 150_000;
pub const MAX_STEPS: usize = 50;
pub const MAX_HOLD_MS: i64 = 30 * 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Paused,
    Done,
    Aborted,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Done, Self::Aborted]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A plan as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub state: State,
    pub steps: Vec<Share>,
    pub hold_ms: i64,
    /// Reads served by mgPass in a step, before it can have passed.
    pub min_reads: i64,
    /// The share that the plan knows to be in force, and the one before it.
    pub in_force: Share,
    pub earlier: Share,
    /// What is to be in force next; `is_written`: KV has it.
    pub wanted: Option<Share>,
    pub is_written: bool,
    /// The last share that passed.
    pub good: Share,
    /// When the share or the state last changed.
    pub moved_at: i64,
}

impl Plan {
    pub fn next_step(&self) -> Option<Share> {
        let mut steps = self.steps.iter().copied();
        steps.find(|step| *step > self.in_force)
    }
}

/// What is seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pub now_ms: i64,
    /// `read_percent` in KV; `None`: its value is not taken.
    pub asked: Option<Share>,
    /// Why no read goes to mgPass by a percentage now: a brake, the stage, the authority.
    pub held_by: Option<&'static str>,
    /// The guard's newest verdict, and when it came to it.
    pub verdict: Option<(Verdict, &'static str, i64)>,
    /// The newest `stop`.
    pub stopped: Option<(&'static str, i64)>,
    pub window_ms: i64,
    /// Served by mgPass since the plan moved.
    pub n_reads: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// For this reason.
    Stay(&'static str),
    /// Into KV, once more.
    Write(Share),
    /// What was wanted is in force.
    Seen,
    /// The share in force has passed, or serves nobody: the next.
    Take(Share),
    Pause(&'static str),
    /// Back to the last good share.
    Abort(&'static str),
    Done,
    /// A way back that somebody else has gone.
    Forget,
}

/// Why no read goes to mgPass, whatever the percentage.
pub fn held_by(
    serves: bool,
    kill_switch: bool,
    guard: bool,
    logto_is_authority: bool,
) -> Option<&'static str> {
    match (serves, kill_switch, guard, logto_is_authority) {
        (_, _, true, _) => Some("guard"),
        (_, true, _, _) => Some("kill_switch"),
        (false, _, _, _) => Some("stage"),
        (_, _, _, false) => Some("authority"),
        (true, false, false, true) => None,
    }
}

pub fn next(plan: &Plan, sight: &Sight) -> Move {
    match plan.state {
        State::Running => run(plan, sight),
        State::Aborted => match plan.wanted.filter(|_| !plan.is_written) {
            Some(back) if sight.asked == Some(plan.in_force) => Move::Write(back),
            Some(_) => Move::Forget,
            None => Move::Stay("aborted"),
        },
        State::Paused | State::Done => Move::Stay(plan.state.name()),
    }
}

fn run(plan: &Plan, sight: &Sight) -> Move {
    if let Some((reason, _)) = sight.stopped.filter(|(_, at)| *at >= plan.moved_at) {
        return Move::Abort(reason);
    }
    if let Some(brake) = sight.held_by {
        return Move::Pause(brake);
    }
    let Some(asked) = sight.asked else {
        return Move::Pause("refused");
    };
    let since_ms = sight.now_ms - plan.moved_at;
    let is_late = since_ms < LATE_MS;
    match plan.wanted {
        Some(wanted) if asked == wanted => Move::Seen,
        Some(wanted) if asked == plan.in_force && !plan.is_written => Move::Write(wanted),
        Some(_) if asked == plan.in_force && is_late => Move::Stay("not_seen_yet"),
        None if asked == plan.in_force => judge(plan, sight, since_ms),
        None if asked == plan.earlier && is_late => Move::Stay("not_seen_yet"),
        Some(_) | None => Move::Pause("changed_by_hand"),
    }
}

fn judge(plan: &Plan, sight: &Sight, since_ms: i64) -> Move {
    if plan.in_force == Share::NONE {
        // Nobody is served, so there is nothing to judge.
        return plan.next_step().map_or(Move::Done, Move::Take);
    }
    if since_ms < plan.hold_ms.max(sight.window_ms) {
        return Move::Stay("hold");
    }
    if sight.n_reads < plan.min_reads {
        return Move::Stay("too_few_reads");
    }
    match sight.verdict {
        Some((Verdict::Pass, _, at)) if sight.now_ms - at < FRESH_VERDICT_MS => {
            plan.next_step().map_or(Move::Done, Move::Take)
        }
        Some((Verdict::Hold, reason, at)) if sight.now_ms - at < FRESH_VERDICT_MS => {
            Move::Stay(reason)
        }
        Some(_) | None => Move::Stay("no_verdict"),
    }
}

/// Shares in percent, rising, the first above the one in force.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_steps(text: &str, in_force: Share) -> Result<Vec<Share>, &'static str> {
    let steps: Option<Vec<Share>> = text
        .split(',')
        .map(|step| Share::parse_percent(step.trim()))
        .collect();
    let steps = steps.ok_or("a step is no percentage from 0 to 100")?;
    if steps.len() > MAX_STEPS {
        return Err("there are more than 50 steps");
    }
    if !steps.is_sorted_by(|one, next| one < next) {
        return Err("the steps do not rise");
    }
    if steps.first().is_none_or(|first| *first <= in_force) {
        return Err("the first step is not above the read_percent in force");
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MS: i64 = 1_800_000;
    const WINDOW_MS: i64 = 300_000;
    /// When the plan of the tests last moved.
    const MOVED_MS: i64 = 1_000_000;

    fn share(percent: i64) -> Share {
        Share::from_basis_points(percent * 100).unwrap()
    }

    /// At 10 of 1, 10, 50, for long enough.
    fn plan() -> Plan {
        Plan {
            state: State::Running,
            steps: [1, 10, 50].map(share).into(),
            hold_ms: HOLD_MS,
            min_reads: 100,
            in_force: share(10),
            earlier: share(1),
            wanted: None,
            is_written: false,
            good: share(1),
            moved_at: MOVED_MS,
        }
    }

    fn sight() -> Sight {
        let now_ms = MOVED_MS + HOLD_MS;
        Sight {
            now_ms,
            asked: Some(share(10)),
            held_by: None,
            verdict: Some((Verdict::Pass, "as_good_as_logto", now_ms - 1_000)),
            stopped: None,
            window_ms: WINDOW_MS,
            n_reads: 100,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Plan, &mut Sight), expected: Move) {
        let (mut plan, mut sight) = (plan(), sight());
        change(&mut plan, &mut sight);
        assert_eq!(next(&plan, &sight), expected);
    }

    #[test]
    fn a_step_is_taken_only_after_a_pass_with_enough_samples_and_the_hold() {
        check(|_, _| {}, Move::Take(share(50)));
        check(|_, sight| sight.now_ms -= 1, Move::Stay("hold"));
        check(|_, sight| sight.n_reads = 99, Move::Stay("too_few_reads"));
        check(|_, sight| sight.verdict = None, Move::Stay("no_verdict"));
        check(
            |_, sight| {
                sight.verdict = Some((Verdict::Hold, "too_few_compared", sight.now_ms));
            },
            Move::Stay("too_few_compared"),
        );
        // One that is older says nothing of now.
        check(
            |_, sight| sight.verdict = Some((Verdict::Pass, "", sight.now_ms - 200_000)),
            Move::Stay("no_verdict"),
        );
        // The guard's window reaches back behind a shorter hold.
        check(
            |plan, sight| {
                plan.hold_ms = 1_000;
                sight.now_ms = MOVED_MS + WINDOW_MS - 1;
            },
            Move::Stay("hold"),
        );
    }

    #[test]
    fn the_first_step_serves_nobody_yet_and_the_last_ends_the_plan() {
        check(
            |plan, sight| {
                plan.in_force = Share::NONE;
                sight.asked = Some(Share::NONE);
                sight.now_ms = MOVED_MS;
                sight.verdict = None;
            },
            Move::Take(share(1)),
        );
        check(
            |plan, sight| {
                plan.in_force = share(50);
                sight.asked = Some(share(50));
            },
            Move::Done,
        );
        // Between two steps the next one above counts.
        check(
            |plan, sight| {
                plan.in_force = share(7);
                sight.asked = Some(share(7));
            },
            Move::Take(share(10)),
        );
    }

    #[test]
    fn a_stop_since_the_step_aborts_whatever_else_is_seen() {
        check(
            |_, sight| {
                sight.stopped = Some(("latency", MOVED_MS));
                sight.held_by = Some("guard");
            },
            Move::Abort("latency"),
        );
        // One before it was lifted by somebody.
        check(
            |_, sight| sight.stopped = Some(("latency", MOVED_MS - 1)),
            Move::Take(share(50)),
        );
    }

    #[test]
    fn a_brake_or_a_hand_pauses() {
        for brake in ["guard", "kill_switch", "stage", "authority"] {
            check(|_, sight| sight.held_by = Some(brake), Move::Pause(brake));
        }
        check(|_, sight| sight.asked = None, Move::Pause("refused"));
        check(
            |_, sight| sight.asked = Some(share(30)),
            Move::Pause("changed_by_hand"),
        );
        check(
            |_, sight| sight.asked = Some(share(1)),
            Move::Pause("changed_by_hand"),
        );
    }

    #[test]
    fn a_late_place_is_no_hand() {
        check(
            |_, sight| {
                sight.asked = Some(share(1));
                sight.now_ms = MOVED_MS + LATE_MS - 1;
            },
            Move::Stay("not_seen_yet"),
        );
    }

    #[test]
    fn a_share_is_written_until_kv_has_it_and_then_waited_for() {
        let pending = |is_written, asked, after_ms| {
            move |plan: &mut Plan, sight: &mut Sight| {
                plan.wanted = Some(share(50));
                plan.is_written = is_written;
                sight.asked = Some(share(asked));
                sight.now_ms = MOVED_MS + after_ms;
            }
        };
        check(pending(false, 10, 1), Move::Write(share(50)));
        check(pending(false, 10, LATE_MS), Move::Write(share(50)));
        check(pending(true, 10, 1), Move::Stay("not_seen_yet"));
        check(pending(true, 50, 1), Move::Seen);
        check(pending(true, 10, LATE_MS), Move::Pause("changed_by_hand"));
        check(pending(true, 25, 1), Move::Pause("changed_by_hand"));
    }

    #[test]
    fn an_aborted_plan_goes_back_until_it_is_there_or_somebody_else_went() {
        let aborted = |is_written, asked| {
            move |plan: &mut Plan, sight: &mut Sight| {
                plan.state = State::Aborted;
                plan.wanted = Some(share(1));
                plan.is_written = is_written;
                sight.asked = Some(share(asked));
            }
        };
        check(aborted(false, 10), Move::Write(share(1)));
        check(aborted(false, 30), Move::Forget);
        check(aborted(true, 10), Move::Stay("aborted"));
        for state in [State::Paused, State::Done] {
            check(|plan, _| plan.state = state, Move::Stay(state.name()));
        }
    }

    #[test]
    fn every_way_to_hold_reads_at_logto_has_its_name() {
        assert_eq!(held_by(true, false, false, true), None);
        assert_eq!(held_by(true, true, true, true), Some("guard"));
        assert_eq!(held_by(true, true, false, true), Some("kill_switch"));
        assert_eq!(held_by(false, false, false, true), Some("stage"));
        assert_eq!(held_by(true, false, false, false), Some("authority"));
    }

    #[test]
    fn steps_rise_from_above_what_is_in_force() {
        let steps = parse_steps("1, 5,12.5,100", Share::NONE).unwrap();
        let steps: Vec<_> = steps.into_iter().map(Share::to_percent).collect();
        assert_eq!(steps, ["1", "5", "12.5", "100"]);
        for (text, in_force) in [
            ("", 0),
            ("1,,5", 0),
            ("5,1", 0),
            ("5,5", 0),
            ("0,5", 0),
            ("5,101", 0),
            ("5,10", 5),
            ("one", 0),
        ] {
            assert!(parse_steps(text, share(in_force)).is_err(), "{text}");
        }
        let many = (1..=51).map(|step: i64| step.to_string());
        let many = many.collect::<Vec<_>>().join(",");
        assert!(parse_steps(&many, Share::NONE).is_err());
    }
}
