//! The authority from the command line: the stage, arming, gates and waivers, and users
//! who are held.
//!
//! Nothing here decides: the proxy does, and says why. `--wait` only looks, and asks the
//! proxy to do what is due; ended at any time, it changes nothing.

mod shown;

use core::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::api::{Api, pace, patiently};
use super::failure::Failure;
use super::job::Health;
use super::words::{duration, plural};
use super::{Output, Result, people};
use shown::{at, gate_line, is_shut, move_lines, newest_move, owed, progress, summary, text};

const POLL: Duration = Duration::from_secs(1);
/// A proxy that is down is waited for; the announcement alone takes longer.
const PATIENCE: u32 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Stage {
    Off,
    Shadow,
    DualWrite,
    Cutover,
    Cleanup,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::DualWrite => "dual_write",
            Self::Cutover => "cutover",
            Self::Cleanup => "cleanup",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Handover {
    /// Who is the authority, what a hand-over waits for, what is held, owed and stray
    Status,
    /// Every move so far, the newest first: when, why, what was waived, how long writes were held
    Log {
        /// So many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// What must be in order before a hand-over; of what is not, how to mend it
    Gates,
    /// From now on a hand-over may be announced; asks the origin whether it is closed to all but this version
    Arm {
        /// Such as 4h, 90m or 7200s
        #[arg(long = "for", value_parser = seconds)]
        length_s: i64,
    },
    /// No hand-over may be announced any more; one that is announced is taken back
    Disarm,
    /// Lets a gate, or one of those that it counts, pass in this term; the log of moves keeps it
    Waive {
        gate: String,
        /// A user, an application or a check; without it the gate as a whole
        name: Option<String>,
        /// Each user or application that the gate counts now, by name; for `parked` and `applications`
        #[arg(long, conflicts_with = "name")]
        all: bool,
        #[arg(long)]
        reason: String,
        /// Who says so
        #[arg(long, env = "USER")]
        actor: String,
    },
    /// Takes a waiver back
    Unwaive { gate: String, name: Option<String> },
    /// While draining: user writes that Logto does not answer, or that nobody can name, are waited for no longer; their users are held and watched
    LetGo,
}

#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Users whom neither direction writes until a person has decided
    List {
        /// Only this reason
        #[arg(long)]
        reason: Option<String>,
    },
    /// The mirror writes this user again
    Release { user: String },
}

/// `90`, `90s`, `15m`, `4h`.
fn seconds(text: &str) -> std::result::Result<i64, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.chars().next_back()),
        None => (text, None),
    };
    let factor = match unit {
        Some('h') => 3_600,
        Some('m') => 60,
        _ => 1,
    };
    let number: i64 = digits.parse().map_err(|_| "no duration")?;
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "no duration".to_owned())
}

pub fn stage(api: &Api, output: Output, to: Stage, waits: Waits, debt: Debt) -> Result {
    let mut query = vec![("to", to.name())];
    if debt == Debt::Abandoned {
        query.push(("abandon_debt", "true"));
    }
    let before = api.get("authority", &[])?;
    if to == Stage::DualWrite && text(&before, "/authority/holder") == "mgpass" {
        eprintln!("{}", owed(&before));
    }
    let since = last_move(&before);
    let mut view = api.post("stage", &query)?;
    if waits == Waits::Yes {
        view = wait(api, to, since, view)?;
    }
    let arrived = is_at(&view, to);
    output.show_as(&view, || summary(&view))?;
    Ok(Health::clean_if(arrived || waits == Waits::No))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debt {
    Drained,
    Abandoned,
}

/// Until the stage is reached, until nobody wishes it any more, or until a gate is shut.
fn wait(api: &Api, to: Stage, since: i64, mut view: Value) -> std::result::Result<Value, Failure> {
    let (mut said, mut n_looks) = (String::new(), 0);
    loop {
        let is_over = is_at(&view, to)
            || at(&view, "/authority/wish").is_null()
            // Nothing that anybody waits for: clearing has begun.
            || text(&view, "/waits") == "cleared"
            || (text(&view, "/waits") == "gates"
                && at(&view, "/authority/announced_until").is_null());
        if is_over {
            // With the log: a move back says why.
            let whole = patiently(PATIENCE, || api.get("authority", &[]))?;
            if last_move(&whole) > since {
                eprintln!("{}", newest_move(&whole));
            }
            return Ok(whole);
        }
        let line = progress(&view);
        if line != said {
            eprintln!("{line}");
            said = line;
        }
        std::thread::sleep(pace(n_looks, POLL));
        n_looks += 1;
        view = patiently(PATIENCE, || api.post("handover/advance", &[]))?;
    }
}

pub fn run(api: &Api, output: Output, command: Handover) -> Result {
    match command {
        Handover::Status => {
            let view = api.get("authority", &[])?;
            output.show_as(&view, || summary(&view))?;
            let mut gates = at(&view, "/gates").as_array().into_iter().flatten();
            let wishes = !at(&view, "/authority/wish").is_null();
            Ok(Health::clean_if(!(wishes && gates.any(is_shut))))
        }
        Handover::Log { limit } => {
            let view = api.get("handover/log", &[("limit", &limit.to_string())])?;
            output.show_as(&view, || {
                let moves = at(&view, "/log").as_array().into_iter().flatten();
                moves.map(move_lines).collect()
            })?;
            Ok(Health::Clean)
        }
        Handover::Gates => {
            let view = api.get("authority", &[])?;
            let gates = at(&view, "/gates").clone();
            output.show_as(&gates, || match gates.as_array() {
                None => "between two stages, or in the last one: no gate is asked\n".to_owned(),
                Some(gates) => gates.iter().map(|gate| gate_line(gate) + "\n").collect(),
            })?;
            let gates = gates.as_array().into_iter().flatten();
            Ok(Health::clean_if(!gates.clone().any(is_shut)))
        }
        Handover::Arm { length_s } => {
            let view = api.post("handover/arm", &[("for_s", &length_s.to_string())])?;
            output.show_as(&view, || {
                format!(
                    "armed for {}: the origin takes this version's secret alone\n",
                    duration(length_s * 1_000)
                )
            })?;
            Ok(Health::Clean)
        }
        Handover::Disarm => {
            let view = api.post("handover/disarm", &[])?;
            output.show_as(&view, || {
                "no longer armed; this version still asks for proof as long as it has HANDOVER_SECRET\n"
                    .to_owned()
            })?;
            Ok(Health::Clean)
        }
        Handover::Waive {
            gate,
            name,
            all,
            reason,
            actor,
        } => {
            let mut query = vec![
                ("gate", gate.as_str()),
                ("reason", reason.as_str()),
                ("actor", actor.as_str()),
            ];
            query.extend(name.as_deref().map(|name| ("name", name)));
            if all {
                query.push(("all", "true"));
            }
            output.show(&api.post("handover/waive", &query)?)?;
            Ok(Health::Clean)
        }
        Handover::Unwaive { gate, name } => {
            let mut query = vec![("gate", gate.as_str())];
            query.extend(name.as_deref().map(|name| ("name", name)));
            output.show(&api.post("handover/unwaive", &query)?)?;
            Ok(Health::Clean)
        }
        Handover::LetGo => {
            let done = api.post("handover/let-go", &[])?;
            output.show_as(&done, || {
                let n_writes = done.get("writes").and_then(Value::as_u64).unwrap_or(0);
                format!(
                    "{} let go; their users are held\n",
                    plural(n_writes, "write", "writes")
                )
            })?;
            Ok(Health::Clean)
        }
    }
}

pub fn hold(api: &Api, output: Output, command: Hold) -> Result {
    match command {
        Hold::List { reason } => people::held(api, output, reason.as_deref()),
        Hold::Release { user } => {
            output.show(&api.post("holds/release", &[("user", &user)])?)?;
            Ok(Health::Clean)
        }
    }
}

fn is_at(view: &Value, to: Stage) -> bool {
    let holder = text(view, "/authority/holder");
    match to {
        Stage::Cutover => holder == "mgpass" && at(view, "/authority/wish").is_null(),
        Stage::Cleanup => holder == "alone" && at(view, "/authority/wish").is_null(),
        Stage::Off | Stage::Shadow | Stage::DualWrite => {
            holder == "logto" && at(view, "/authority/wish").is_null()
        }
    }
}

/// Its number in the log; 0 before the first.
fn last_move(view: &Value) -> i64 {
    at(view, "/log/0/id").as_i64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        for (given, expected) in [("4h", 14_400), ("90m", 5_400), ("7200s", 7_200), ("60", 60)] {
            assert_eq!(seconds(given), Ok(expected), "{given}");
        }
        for bad in ["", "h", "0", "-1h", "4d", "1.5h", "99999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stage_is_reached_when_its_side_is_the_authority_and_nothing_more_is_wished() {
        let view =
            |holder: &str, wish: Value| json!({ "authority": { "holder": holder, "wish": wish } });
        let wish = || json!({ "stage": "cutover" });
        assert!(is_at(&view("mgpass", Value::Null), Stage::Cutover));
        assert!(!is_at(&view("draining", wish()), Stage::Cutover));
        assert!(!is_at(&view("mgpass", wish()), Stage::Cutover));
        assert!(is_at(&view("logto", Value::Null), Stage::DualWrite));
        assert!(!is_at(&view("returning", wish()), Stage::DualWrite));
    }
}
