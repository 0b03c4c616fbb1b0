//! The operator's command, over the proxy's own routes.
//!
//!     DWP_URL=https://auth.example.com ADMIN_TOKEN=... dwp import users --watch
//!     dwp report --run --markdown report.md
//!     dwp keys import --input export.txt ...
//!
//! Whatever becomes of this process, nothing is lost: jobs run in the proxy, and every
//! call may be made again. Results go to standard output, progress and faults to
//! standard error. Exit status: 0 done and equal, 1 something needs a person, 2 usage,
//! unreachable or refused.

mod api;
mod app;
mod carry;
mod cleanup;
mod cli;
mod codes;
mod cutover;
mod debt;
mod evidence;
mod failure;
mod files;
mod flag;
mod handover;
mod job;
mod keys;
mod kv;
mod markdown;
mod people;
mod ramp;
mod report;
mod status;
mod token;
mod watch;
mod words;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use dual_write_proxy::inbound::request::UserId;
use serde_json::{Value, json};

use api::{Api, patiently, read};
use cli::{Cli, Command};
use failure::Failure;
use handover::{Debt, Waits};
use job::{Health, Job, Kind};
use report::Compared;

type Result = std::result::Result<Health, Failure>;

/// The form of the result on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Text,
    Json,
}

impl Output {
    /// A reader who has seen enough is no failure of ours.
    fn write(text: &str) -> std::result::Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(()),
        }
    }

    fn line(self, text: &str) -> std::result::Result<(), Failure> {
        Self::write(&format!("{text}\n"))
    }

    fn document(self, value: &Value) -> std::result::Result<(), Failure> {
        Self::write(&format!("{value:#}\n"))
    }

    /// The document, or the same as an outline.
    fn show(self, value: &Value) -> std::result::Result<(), Failure> {
        self.show_as(value, || words::outline(value))
    }

    fn show_as(
        self,
        value: &Value,
        text: impl FnOnce() -> String,
    ) -> std::result::Result<(), Failure> {
        match self {
            Self::Json => self.document(value),
            Self::Text => Self::write(&text()),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = if cli.json { Output::Json } else { Output::Text };
    let outcome = run(cli, output);
    if let Err(failure) = &outcome {
        eprintln!("dwp: {failure}");
        if let Output::Json = output {
            let error = json!({ "code": failure.code(), "message": failure.to_string() });
            // Standard output may be what failed.
            let _ = output.document(&json!({ "error": error }));
        }
    }
    ExitCode::from(exit_status(&outcome))
}

fn exit_status(outcome: &Result) -> u8 {
    match outcome {
        Ok(Health::Clean) => 0,
        Ok(Health::NeedsAPerson) => 1,
        Err(failure) if failure.needs_a_person() => 1,
        Err(_) => 2,
    }
}

fn run(cli: Cli, output: Output) -> Result {
    let url = cli.url;
    let api = || Api::new(url.as_deref(), std::env::var("ADMIN_TOKEN").ok());
    match cli.command {
        Command::Keys { command } => command.run(output),
        Command::Import(import) => start(&api()?, output, &import),
        Command::Status => status::run(&api()?, output),
        Command::App { command } => command.run(&api()?, output),
        Command::Flag { command } => command.run(&api()?, output),
        Command::Ramp { command } => command.run(&api()?, output),
        Command::Pause { kind } => steer(&api()?, output, "pause", kind, None),
        Command::Resume { kind, rate } => steer(&api()?, output, "resume", kind, rate),
        Command::Stop { kind } => steer(&api()?, output, "stop", kind, None),
        Command::Watch { what, once } => {
            let api = api()?;
            match (what.job(), once) {
                (None, _) => cutover::watch(&api, output, once),
                (Some(kind), true) => ended(output, &watch::view(&api, kind)?),
                (Some(kind), false) => ended(output, &watch::watch(&api, kind, None)?),
            }
        }
        Command::Parked { kind, reason } => {
            people::parked(&api()?, output, kind.map(Kind::from), reason.as_deref())
        }
        Command::Noted { note, kind } => {
            people::list(&api()?, output, kind.into(), &[("note", &note)])
        }
        Command::Replay(replay) => {
            let which = match (&replay.user, &replay.reason) {
                (Some(user), _) => ("user", known(user)?),
                (_, Some(reason)) => ("reason", reason.as_str()),
                (None, None) => ("all", "true"),
            };
            replay_all(&api()?, output, which)
        }
        Command::Explain { user } => {
            output.show(&api()?.get("explain", &[("user", known(&user)?)])?)?;
            Ok(Health::Clean)
        }
        Command::Why { user } => people::why(&api()?, output, known(&user)?),
        Command::Report(asked) => report(&api()?, output, &asked),
        Command::Differences => people::differences(&api()?, output),
        Command::Readiness { csv, only } => {
            people::readiness(&api()?, output, csv.as_deref(), only.as_deref())
        }
        Command::Carry { command } => carry::run(&api()?, output, &command),
        Command::ConfirmDeletion { user } => {
            let done = api()?.post("mirror/confirm-deletion", &[("user", known(&user)?)])?;
            acted(output, &done)
        }
        Command::Overrule { user } => {
            let done = api()?.post("mirror/overrule", &[("user", known(&user)?)])?;
            acted(output, &done)
        }
        Command::Stage {
            stage,
            wait,
            abandon_debt,
        } => {
            let waits = if wait { Waits::Yes } else { Waits::No };
            let debt = match abandon_debt {
                true => Debt::Abandoned,
                false => Debt::Drained,
            };
            handover::stage(&api()?, output, stage, waits, debt)
        }
        Command::Handover { command } => handover::run(&api()?, output, command),
        Command::Hold { command } => handover::hold(&api()?, output, command),
        Command::Debt { list, class, csv } => {
            debt::debt(&api()?, output, list, class.as_deref(), csv.as_deref())
        }
        Command::Stray { command } => debt::stray(&api()?, output, command),
        Command::Checklist { run } => evidence::checklist(&api()?, output, run),
        Command::Webhooks { command } => evidence::webhooks(&api()?, output, &command),
        Command::Certificate { command } => evidence::certificate(&api()?, output, &command),
        Command::Cleanup { command } => command.run(&api()?, output),
        Command::Mirror => {
            let view = api()?.get("mirror", &[])?;
            output.show_as(&view, || people::mirror_text(&view))?;
            Ok(Health::Clean)
        }
    }
}

/// A slip of the pen is told before anybody is asked.
fn known(user: &str) -> std::result::Result<&str, Failure> {
    match UserId::parse(user) {
        Some(_) => Ok(user),
        None => Err(Failure::MalformedUser(user.to_owned())),
    }
}

fn start(api: &Api, output: Output, import: &cli::Import) -> Result {
    let kind = Kind::from(import.kind);
    let [rate, lanes] =
        [import.rate, import.lanes].map(|given| given.map(|given| given.to_string()));
    let mut query = vec![("kind", kind.name())];
    if import.dry_run {
        query.push(("dry_run", "true"));
    }
    if import.no_inspect {
        query.push(("inspect", "false"));
    }
    query.extend(rate.as_deref().map(|rate| ("rate", rate)));
    query.extend(lanes.as_deref().map(|lanes| ("lanes", lanes)));
    let started = api.post("import", &query)?;
    let job: Job = read(&started, "job")?;
    if import.watch {
        eprintln!(
            "job {} runs in the proxy, also without this command",
            job.id
        );
        return ended(output, &watch::watch(api, kind, Some(job.id))?);
    }
    output.show_as(&started, || {
        format!("{}`dwp watch {}` shows it.\n", job.summary(), kind.name())
    })?;
    Ok(Health::Clean)
}

fn ended(output: Output, view: &Value) -> Result {
    let job: Job = read(view, "job")?;
    output.show_as(view, || job.summary())?;
    Ok(job.verdict())
}

fn steer(api: &Api, output: Output, what: &str, kind: Kind, rate: Option<u32>) -> Result {
    let rate = rate.map(|rate| rate.to_string());
    let mut query = vec![("kind", kind.name())];
    query.extend(rate.as_deref().map(|rate| ("rate", rate)));
    let view = api.post(&format!("import/{what}"), &query)?;
    let job: Job = read(&view, "job")?;
    output.show_as(&view, || job.summary())?;
    Ok(Health::Clean)
}

/// Page after page, until nobody remains. Each may be asked again: a user is looked at
/// once more.
fn replay_all(api: &Api, output: Output, which: (&str, &str)) -> Result {
    let (mut n_subjects, mut after) = (0, None::<String>);
    loop {
        let mut query = vec![which];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = patiently(10, || api.post("mirror/replay", &query))?;
        let count = |name: &'static str| {
            let count = page.get(name).and_then(Value::as_u64);
            count.ok_or(Failure::Unreadable(name))
        };
        n_subjects += count("subjects")?;
        match page.get("next").and_then(Value::as_str) {
            Some(next) if after.as_deref() != Some(next) => {
                eprintln!("{n_subjects} so far, {} remain", count("remaining")?);
                after = Some(next.to_owned());
            }
            Some(_) => return Err(Failure::Unreadable("next")),
            None => return acted(output, &json!({ "subjects": n_subjects, "remaining": 0 })),
        }
    }
}

/// How many subjects an order reached.
fn acted(output: Output, done: &Value) -> Result {
    output.show_as(done, || {
        match done.get("subjects").and_then(Value::as_u64).unwrap_or(0) {
            0 => "nobody is parked for that; `dwp parked` lists who is\n".to_owned(),
            count => format!(
                "{}; the mirror looks again within a minute\n",
                words::plural(count, "user", "users")
            ),
        }
    })?;
    Ok(Health::Clean)
}

fn report(api: &Api, output: Output, asked: &cli::Report) -> Result {
    if asked.run {
        let [rate, lanes] =
            [asked.rate, asked.lanes].map(|given| given.map(|given| given.to_string()));
        let mut query = Vec::new();
        if asked.repair {
            query.push(("repair", "true"));
        }
        query.extend(rate.as_deref().map(|rate| ("rate", rate)));
        query.extend(lanes.as_deref().map(|lanes| ("lanes", lanes)));
        let job: Job = read(&api.post("equality", &query)?, "job")?;
        eprintln!(
            "comparison {} runs in the proxy, also without this command",
            job.id
        );
        watch::watch(api, Kind::Equality, Some(job.id))?;
    }
    let mut view = patiently(10, || api.get("equality", &[]))?;
    let newest = [("kind", Kind::Points.name()), ("detail", "true")];
    let points = patiently(10, || api.get_if_any("import", &newest))?;
    let compared = Compared::parse(&view, points.as_ref())?;
    if let Some(members) = view.as_object_mut() {
        members.insert("points".to_owned(), points.unwrap_or(Value::Null));
    }
    let text = markdown::markdown(&compared, api.origin());
    match &asked.markdown {
        Some(path) if path != Path::new("-") => {
            files::write(path, &text)?;
            eprintln!("report: {}", path.display());
            output.show_as(&view, || {
                format!("{}\n", text.lines().nth(2).unwrap_or_default())
            })?;
        }
        _ => output.show_as(&view, || text)?,
    }
    Ok(compared.verdict())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_says_who_has_to_act() {
        assert_eq!(exit_status(&Ok(Health::Clean)), 0);
        assert_eq!(exit_status(&Ok(Health::NeedsAPerson)), 1);
        assert_eq!(exit_status(&Err(Failure::NoUrl)), 2);
        let refused = |code: &str| Failure::Refused {
            status: 404,
            code: code.to_owned(),
            message: String::new(),
        };
        assert_eq!(exit_status(&Err(refused("proxy.no_such_user"))), 1);
        assert_eq!(exit_status(&Err(refused("proxy.user_lives"))), 1);
        assert_eq!(exit_status(&Err(refused("proxy.no_such_job"))), 2);
    }
}
