//! The end of the migration from the command line: what is kept and named before Logto is
//! left alone, what is archived, what is cleared, whether anything is left.
//!
//! Clearing runs in the proxy, in steps; ended at any time, the same command goes on where
//! it was. What belongs to other consoles is printed as commands.

mod archive;
mod residue;
mod shown;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::api::{Api, patiently};
use super::failure::Failure;
use super::job::Health;
use super::kv::Where;
use super::words::{number, printable};
use super::{Output, Result};
use shown::{consoles, plan_text, verify_text};

/// A step that did not answer is asked for again.
const PATIENCE: u32 = 30;

#[derive(Debug, Subcommand)]
pub enum Cleanup {
    /// What is dead and the proof of it, what still stands in the way, and when the route may go
    Plan {
        /// Of a migration that is given up before any cutover, or after a return
        #[arg(long)]
        abandon: bool,
    },
    /// Keeps Logto's discovery document and public keys, which are served in its stead until its last token has expired
    KeepIssuer,
    /// Names the day on which the last of Logto's refresh tokens ends
    RefreshTokens {
        /// Such as 2027-03-31; the end of that day, UTC
        #[arg(long, value_parser = day)]
        until: i64,
        /// Who says so
        #[arg(long, env = "USER")]
        actor: String,
    },
    /// What only Logto had a place for: into mgPass's metadata, or into an encrypted file
    Residue {
        /// `metadata`, or a new file
        #[arg(long)]
        to: String,
        /// The program that encrypts: it gets the lines on its standard input and writes the file, such as "age -r age1..."
        #[arg(long, value_name = "COMMAND")]
        through: Option<String>,
        #[arg(long, env = "USER")]
        actor: String,
    },
    /// The route was given to mgPass although the proxy was used within the quiet hours
    RouteGone {
        #[arg(long)]
        reason: String,
        #[arg(long, env = "USER")]
        actor: String,
    },
    /// Writes the history to a file, then clears mgPass's database of the mirror's tables, the proxy's own of users, and the flags
    Run(Run),
    /// Whether anything is left, and whether mgPass works without the mirror's tables
    Verify,
    /// Gives the migration up: the same as `run`, while Logto is the authority and the stage is off
    Abandon(Run),
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// A new file for the history: ids, codes, digests, reasons
    #[arg(long, value_name = "FILE")]
    pub archive: PathBuf,
    #[arg(long, env = "USER")]
    pub actor: String,
    #[command(flatten)]
    pub place: Where,
}

impl Cleanup {
    pub fn run(&self, api: &Api, output: Output) -> Result {
        match self {
            Self::Plan { abandon } => {
                let view = view(api, *abandon)?;
                output.show_as(&view, || plan_text(&view, *abandon))?;
                let blocked = view.get("blocked");
                Ok(Health::clean_if(blocked.is_none_or(Value::is_null)))
            }
            Self::KeepIssuer => {
                let kept = api.post("cleanup/issuer", &[])?;
                output.show_as(&kept, || {
                    "kept: Logto's discovery document and its public keys\n".to_owned()
                })?;
                Ok(Health::Clean)
            }
            Self::RefreshTokens { until, actor } => {
                let until = until.to_string();
                note(
                    api,
                    output,
                    &[
                        ("name", "refresh_tokens"),
                        ("until", until.as_str()),
                        ("actor", actor.as_str()),
                    ],
                )
            }
            Self::Residue { to, through, actor } => {
                residue::run(api, output, to, through.as_deref(), actor)
            }
            Self::RouteGone { reason, actor } => {
                let now = now_of(&view(api, false)?)?;
                note(
                    api,
                    output,
                    &[
                        ("name", "route"),
                        ("until", now.as_str()),
                        ("how", reason.as_str()),
                        ("actor", actor.as_str()),
                    ],
                )
            }
            Self::Run(run) => clear(api, output, run, false),
            Self::Abandon(run) => clear(api, output, run, true),
            Self::Verify => {
                let found = api.get("cleanup/verify", &[])?;
                output.show_as(&found, || verify_text(&found))?;
                let is_clean = found.get("clean").and_then(Value::as_bool);
                Ok(Health::clean_if(is_clean == Some(true)))
            }
        }
    }
}

/// By the database's clock, in milliseconds.
fn now_of(view: &Value) -> std::result::Result<String, Failure> {
    let now = view.get("now").and_then(Value::as_i64);
    Ok(now.ok_or(Failure::Unreadable("now"))?.to_string())
}

fn view(api: &Api, is_abandoned: bool) -> std::result::Result<Value, Failure> {
    let query: &[(&str, &str)] = match is_abandoned {
        true => &[("abandon", "true")],
        false => &[],
    };
    patiently(PATIENCE, || api.get("cleanup", query))
}

fn note(api: &Api, output: Output, query: &[(&str, &str)]) -> Result {
    let noted = api.post("cleanup/note", query)?;
    output.show_as(&noted, || {
        let name = noted.pointer("/note/name").and_then(Value::as_str);
        format!("noted: {}\n", printable(name.unwrap_or_default()))
    })?;
    Ok(Health::Clean)
}

/// `YYYY-MM-DD`, to its end.
fn day(text: &str) -> std::result::Result<i64, String> {
    let date = || {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next();
        let year: i32 = part()?.parse().ok()?;
        let month: u8 = part()?.parse().ok()?;
        let day: u8 = part()?.parse().ok()?;
        let month = time::Month::try_from(month).ok()?;
        time::Date::from_calendar_date(year, month, day).ok()
    };
    let date = date().ok_or("no day: write it as 2027-03-31")?;
    let next = date.next_day().ok_or("no day of this calendar")?;
    Ok(next.midnight().assume_utc().unix_timestamp() * 1_000)
}

fn clear(api: &Api, output: Output, run: &Run, is_abandoned: bool) -> Result {
    let before = view(api, is_abandoned)?;
    let steps = before.get("steps").and_then(Value::as_array);
    let has_begun = steps.is_some_and(|steps| !steps.is_empty());
    let writer = run
        .place
        .writer(api.origin(), |name| std::env::var(name).ok())?;
    match (has_begun, blocked(&before)) {
        (true, _) => eprintln!("clearing has begun; it goes on where it was"),
        // The one thing that is done here.
        (false, None | Some("proxy.not_archived" | "not_archived")) => {
            archive::write(api, &before, run)?;
        }
        (false, Some(_)) => {
            output.show_as(&before, || plan_text(&before, is_abandoned))?;
            return Ok(Health::NeedsAPerson);
        }
    }
    let query: &[(&str, &str)] = match is_abandoned {
        true => &[("abandon", "true")],
        false => &[],
    };
    let mut n_rows = 0;
    loop {
        let cleared = patiently(PATIENCE, || api.post("cleanup/step", query))?;
        let rows = cleared.get("rows").and_then(Value::as_u64);
        n_rows += rows.ok_or(Failure::Unreadable("rows"))?;
        match cleared.get("step").and_then(Value::as_str) {
            Some(step) => eprintln!("{} rows gone, at {}", number(n_rows), printable(step)),
            None => break,
        }
    }
    // The stage stays: a new isolate goes by it as long as there is one.
    for flag in flags(&before).filter(|flag| *flag != "stage") {
        writer.write(flag, None)?;
        eprintln!("flag {} deleted", printable(flag));
    }
    let found = patiently(PATIENCE, || api.get("cleanup/verify", &[]))?;
    output.show_as(&found, || {
        format!(
            "{} rows cleared\n{}\n{}",
            number(n_rows),
            verify_text(&found),
            consoles(&before, is_abandoned)
        )
    })?;
    Ok(Health::Clean)
}

fn blocked(view: &Value) -> Option<&str> {
    view.pointer("/blocked/code").and_then(Value::as_str)
}

fn flags(view: &Value) -> impl Iterator<Item = &str> {
    let flags = view.get("flags").and_then(Value::as_array);
    flags.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_its_end() {
        assert_eq!(day("1970-01-01"), Ok(86_400_000));
        assert_eq!(day("2027-01-14"), Ok(1_799_971_200_000));
        for bad in [
            "",
            "2027",
            "2027-02-30",
            "2027-13-01",
            "31.03.2027",
            "2027-3",
        ] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }
}
