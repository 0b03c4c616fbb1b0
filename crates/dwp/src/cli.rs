//! The command line. No secret is an argument: every process of the machine sees those.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dual_write_proxy::population::jobs::commands::MAX_LANES;

use super::cleanup;
use super::debt;
use super::evidence;
use super::handover;
use super::job::{Imported, Kind, Watched};
use super::{app, carry, flag, keys, ramp};

#[derive(Debug, Parser)]
#[command(
    name = "dwp",
    about = "Operates the dual-write proxy: imports people and points, proves that both sides are equal",
    after_help = "The admin token comes from the variable ADMIN_TOKEN, or is asked for on a terminal.\n\
        Exit status: 0 done and equal; 1 something needs a person (differences, parked users, a job that did not end well); \
        2 usage, unreachable, or refused."
)]
pub struct Cli {
    /// Where the proxy answers, such as https://auth.example.com
    #[arg(long, env = "DWP_URL", global = true)]
    pub url: Option<String>,
    /// One JSON document on standard output and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts an import; it goes on in the proxy whatever becomes of this command
    Import(Import),
    /// What is wrong and what to do, then stage, reads, backlog, people, jobs in one screen
    Status,
    /// Applications that can sign in at both sides: list, set, check, forecast
    App {
        #[command(subcommand)]
        command: app::App,
    },
    /// Flags: list, get, set, unset, history
    Flag {
        #[command(subcommand)]
        command: flag::Flag,
    },
    /// The ramp plan: start, status, pause, resume, abort
    Ramp {
        #[command(subcommand)]
        command: ramp::Ramp,
    },
    /// Lets a job rest where it is
    Pause { kind: Kind },
    /// Lets a job go on
    Resume {
        kind: Kind,
        /// From now on at most so many people a minute
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
    },
    /// Ends a job; what it has done stays done
    Stop { kind: Kind },
    /// Shows a job until it ends, or `cutover`: how it goes while mgPass is the authority, and what that speaks for; survives a restarting proxy
    Watch {
        what: Watched,
        /// As it is now; exit status 1 when a person is needed
        #[arg(long)]
        once: bool,
    },
    /// Who waits for a person, and why: parked by the mirror, or by the newest import of a kind
    Parked {
        /// Only users, or only points
        #[arg(long)]
        kind: Option<Imported>,
        /// Only this reason
        #[arg(long)]
        reason: Option<String>,
    },
    /// Who came over with this note, such as mfa_not_carried:Totp; without its value, with any
    Noted {
        note: String,
        #[arg(long, default_value = "users")]
        kind: Imported,
    },
    /// Looks again at users whom the mirror parked
    Replay(Replay),
    /// Everything about one user but their values: intents, differences, who changed what at mgPass, where reads go
    Explain { user: String },
    /// Why this person was asked to sign in: what the help desk may tell them, newest reason first
    Why { user: String },
    /// Whether both sides are equal; what differs and what to do
    Report(Report),
    /// The users who differ, field by field, as the last report found them
    Differences,
    /// How each imported person gets in again without their old password
    Readiness {
        /// A new file for a reset campaign; it holds addresses, so only you may read it
        #[arg(long)]
        csv: Option<PathBuf>,
        /// In the file only people of this road, as `email_reset` for the campaign
        #[arg(long, requires = "csv")]
        only: Option<String>,
    },
    /// Passwords that are carried to mgPass: whether they may be, and what became of them
    Carry {
        #[command(subcommand)]
        command: carry::Carry,
    },
    /// The second witness of a deletion; deletes nobody whom Logto still has
    ConfirmDeletion { user: String },
    /// Logto's values replace what somebody changed at mgPass on purpose (`explain` says who)
    Overrule { user: String },
    /// The six checks before a hand-over: state, age, why, and what to do
    Checklist {
        /// Makes each anew, rather than showing what was found last
        #[arg(long)]
        run: bool,
    },
    /// Webhooks of both sides
    Webhooks {
        #[command(subcommand)]
        command: evidence::Webhooks,
    },
    /// What was found before a hand-over, on one page that shows every edit
    Certificate {
        #[command(subcommand)]
        command: evidence::Certificate,
    },
    /// The end: what is kept before Logto is left alone, what is archived and cleared, what is left
    Cleanup {
        #[command(subcommand)]
        command: cleanup::Cleanup,
    },
    /// The mirror's backlog, parked subjects, walk and findings
    Mirror,
    /// The stage: hands the users over to mgPass (`cutover`), or back (`dual_write`); leaves Logto alone (`cleanup`), or not any more (`cutover`)
    Stage {
        stage: handover::Stage,
        /// Stays until it is reached, or until it is clear that it will not be
        #[arg(long)]
        wait: bool,
        /// On the way back: without mgPass. Whoever Logto lacks something of is held for a person
        #[arg(long)]
        abandon_debt: bool,
    },
    /// What a hand-over waits for, and what it needs from you
    Handover {
        #[command(subcommand)]
        command: handover::Handover,
    },
    /// Users whom neither direction writes
    Hold {
        #[command(subcommand)]
        command: handover::Hold,
    },
    /// What Logto lacks of what mgPass has, while mgPass is the authority; listed by user with `--list` or `--class`
    Debt {
        /// Who, and why
        #[arg(long)]
        list: bool,
        /// Only this class
        #[arg(long)]
        class: Option<String>,
        /// A new file with one line for each user and reason: ids and codes
        #[arg(long)]
        csv: Option<PathBuf>,
    },
    /// Changes at Logto that nobody may have made
    Stray {
        #[command(subcommand)]
        command: debt::Stray,
    },
    /// Logto's signing keys
    Keys {
        #[command(subcommand)]
        command: keys::Keys,
    },
}

#[derive(Debug, Args)]
pub struct Import {
    pub kind: Imported,
    /// Everything but the writes
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many people a minute
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// So many pages at the same time, 16 at most
    #[arg(long, value_parser = lanes())]
    pub lanes: Option<u32>,
    /// Does not ask Logto for each person's second factors and company sign-in: faster, and nobody is named for them
    #[arg(long)]
    pub no_inspect: bool,
    /// Stays and shows the progress
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Replay {
    /// One user, parked or not
    #[arg(long)]
    pub user: Option<String>,
    /// All that are parked for this reason
    #[arg(long)]
    pub reason: Option<String>,
    /// All that are parked
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct Report {
    /// Compares anew, rather than showing the last comparison
    #[arg(long)]
    pub run: bool,
    /// Has the mirror reconcile each user who differs
    #[arg(long, requires = "run")]
    pub repair: bool,
    /// At most so many people a minute
    #[arg(long, requires = "run", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// So many pages at the same time, 16 at most
    #[arg(long, requires = "run", value_parser = lanes())]
    pub lanes: Option<u32>,
    /// Writes the report for people into this file, `-` for standard output
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}

/// As many as the proxy has.
fn lanes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MAX_LANES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("dwp").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_manual_is_understood() {
        for line in [
            "import users",
            "import points --dry-run --rate 5000 --lanes 4 --watch",
            "--url https://auth.example.com --json status",
            "status --json --url https://auth.example.com",
            "pause users",
            "resume equality --rate 100",
            "stop points",
            "watch users",
            "watch cutover",
            "watch cutover --once",
            "parked",
            "parked --kind points --reason earned_at_mgpass",
            "noted mfa_not_carried:Totp",
            "replay --user u1",
            "replay --reason value_taken_at_mgpass",
            "replay --all",
            "explain u1",
            "report",
            "report --run --repair --markdown report.md",
            "differences",
            "readiness --csv campaign.csv",
            "readiness --csv campaign.csv --only email_reset",
            "carry status",
            "carry allow --by anna --reason DPIA-7",
            "carry forbid",
            "carry check",
            "carry check --mailbox-empty --by anna",
            "confirm-deletion u1",
            "overrule u1",
            "mirror",
            "app list",
            "app set applications.json --reason moved --local",
            "app check newsroom --mgpass https://auth.mgpass.net",
            "app forecast",
            "checklist",
            "checklist --run --json",
            "webhooks test",
            "certificate make",
            "certificate make evidence.json",
            "certificate verify evidence.json",
            "flag list",
            "flag get read_percent",
            "flag set read_percent 12.5 --reason lunch --local --persist-to state",
            "flag set read_percent.users.get 5 --remote --actor ama",
            "flag unset guard",
            "flag history --key stage --limit 5",
            "ramp start --steps 1,5,10,25,50,100 --hold 30m --min-reads 1000",
            "ramp status",
            "ramp pause",
            "ramp resume --reason mended",
            "ramp abort",
            "stage cutover --wait",
            "stage cleanup --wait",
            "cleanup plan",
            "cleanup plan --abandon --json",
            "cleanup keep-issuer",
            "cleanup refresh-tokens --until 2027-03-31 --actor anna",
            "cleanup residue --to metadata --actor anna",
            "cleanup residue --to residue.age --through age --actor anna",
            "cleanup route-gone --reason moved --actor anna",
            "cleanup run --archive history.jsonl --actor anna --local",
            "cleanup verify",
            "cleanup abandon --archive history.jsonl --actor anna",
            "stage dual_write --abandon-debt",
            "handover status",
            "handover log --limit 5",
            "handover gates",
            "handover waive checklist console --reason by-hand --actor anna",
            "handover arm --for 4h",
            "handover disarm",
            "handover waive parked u1 --reason by-phone --actor anna",
            "handover waive applications --all --reason stay --actor anna",
            "handover unwaive parked u1",
            "handover let-go",
            "hold list --reason debt",
            "hold release u1",
            "debt",
            "debt --list",
            "debt --class born_at_mgpass --csv debt.csv",
            "stray list --all",
            "stray resolve u1 --towards mgpass",
            "stray resolve --id 7",
            "keys check --token - --introspection https://a.example/i --client-id app_1",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    /// Commands as the documents have them: in fences and as code in a sentence.
    fn documented(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut is_fenced = false;
        for line in text.replace("\\\n", " ").lines() {
            if line.trim_start().starts_with("```") {
                is_fenced = !is_fenced;
            } else if is_fenced {
                let line = line.split(" #").next().unwrap_or_default().trim();
                let command = line.find("dwp ").map(|at| line.split_at(at).1);
                found.extend(
                    command
                        .filter(|_| line.starts_with("dwp ") || line.contains("=... dwp "))
                        .map(str::to_owned),
                );
            } else {
                let spans = line.split('`').skip(1).step_by(2);
                found.extend(
                    spans
                        .filter(|span| span.starts_with("dwp "))
                        .map(str::to_owned),
                );
            }
        }
        found
    }

    /// With a value for each word in capitals, the first of alternatives, all that is optional.
    fn filled_in(command: &str) -> Vec<String> {
        let plain = command.replace("\\|", "|").replace(['[', ']'], "");
        let mut words: Vec<String> = Vec::new();
        for (nth, part) in plain.split('"').enumerate() {
            match nth % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        let of = |word: &String| {
            let word = word.split('|').next().unwrap_or_default();
            match word {
                "KIND" => "users",
                "STAGE" => "cutover",
                "N" => "7",
                "DATE" => "2027-03-31",
                word => word,
            }
            .to_owned()
        };
        words.iter().map(of).collect()
    }

    #[test]
    fn every_command_of_the_documents_is_understood() {
        use clap::error::ErrorKind;
        let documents = [
            include_str!("../../../docs/runbook.md"),
            include_str!("../../../docs/reference.md"),
            include_str!("../../../docs/troubleshooting.md"),
            include_str!("../../../docs/applications.md"),
            include_str!("../../../docs/passwords.md"),
            include_str!("../../../docs/status.md"),
            include_str!("../../../docs/events.md"),
        ];
        let commands: Vec<_> = documents.iter().flat_map(|text| documented(text)).collect();
        assert!(commands.len() > 100, "{}", commands.len());
        let mut not_understood = Vec::new();
        for command in commands {
            let words = filled_in(&command);
            let named = [words.clone(), vec!["--actor".to_owned(), "anna".to_owned()]].concat();
            let Err(error) = Cli::try_parse_from(&words) else {
                continue;
            };
            // Who says so comes from the account.
            if Cli::try_parse_from(&named).is_ok() {
                continue;
            }
            // `dwp stage`, `dwp readiness --csv`: said in a sentence, not to be typed so.
            let is_named_alone = match error.kind() {
                ErrorKind::InvalidValue => words.last().is_some_and(|word| word.starts_with("--")),
                ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelp
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => words.len() <= 4,
                _ => false,
            };
            if !is_named_alone {
                not_understood.push(format!("{command}: {}", error.kind()));
            }
        }
        assert_eq!(not_understood, Vec::<String>::new());
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error_of_status_2() {
        for line in [
            "",
            "import",
            "import equality",
            "import users --rate 0",
            "import users --lanes -1",
            "import users --lanes 999",
            "report --run --lanes 17",
            "flag set read_percent",
            "flag set read_percent 5 --local --remote",
            "ramp start",
            "ramp start --steps 5 --hold soon",
            "import users --rate many",
            "parked --kind equality",
            "replay",
            "replay --user u1 --all",
            "report --repair",
            "report --lanes 3",
            "watch",
            "stage",
            "stage somewhere",
            "cleanup run --actor anna",
            "cleanup refresh-tokens --until soon --actor anna",
            "handover arm",
            "handover arm --for ever",
            "handover log --limit 0",
            "handover waive parked u1 --all --reason r --actor a",
            "handover waive parked --actor a",
            "hold release",
            "stray resolve u1",
            "stray resolve u1 --towards nobody",
            "stray resolve --id 7 --towards logto",
            "status --token secret",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
