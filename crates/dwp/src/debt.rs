//! What Logto lacks while mgPass is the authority, and what somebody changed there: ids of
//! users and codes, never a value.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::api::Api;
use super::failure::Failure;
use super::files;
use super::job::Health;
use super::people::{listed, text, write_row};
use super::words::{plural, printable};
use super::{Output, Result};

/// Nothing is owed, nothing is stray: said as the lists say it of any number.
const NONE: &str = "0 lines";

#[derive(Debug, Subcommand)]
pub enum Stray {
    /// What is open, by user and field
    List {
        /// With those that are resolved
        #[arg(long)]
        all: bool,
        /// Only this user's
        #[arg(long)]
        user: Option<String>,
    },
    /// Decides whose values stay, for all that is open of one user, and lets go of the user
    Resolve {
        #[arg(requires = "towards", required_unless_present = "id")]
        user: Option<String>,
        /// `mgpass`: its values take Logto's place; `logto`: Logto's user takes the place of mgPass's
        #[arg(long, requires = "user")]
        towards: Option<Towards>,
        /// One that is of nobody who is known: looked at, and closed
        #[arg(long, conflicts_with_all = ["user", "towards"])]
        id: Option<i64>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Towards {
    Mgpass,
    Logto,
}

pub fn debt(
    api: &Api,
    output: Output,
    list: bool,
    class: Option<&str>,
    csv: Option<&Path>,
) -> Result {
    let filter: Vec<_> = class.map(|class| ("class", class)).into_iter().collect();
    if let Some(path) = csv {
        files::keep_from_git(path)?;
        let n_written = write_csv(api, path, &filter)?;
        let lines = plural(n_written, "line", "lines");
        eprintln!("{lines} written to {}", path.display());
    }
    if list || (class.is_some() && csv.is_none()) {
        return listed(api, output, "debt", "debt", &filter, NONE, |row| {
            format!(
                "{:<24}{:<24}{}",
                text(row, "subject"),
                text(row, "class"),
                text(row, "code")
            )
        });
    }
    let sum = api.get("debt", &[("count", "true")])?;
    let n_users = sum.get("users").and_then(Value::as_u64).unwrap_or(0);
    output.show_as(&sum, || summary(&sum))?;
    Ok(Health::clean_if(n_users == 0))
}

pub fn stray(api: &Api, output: Output, command: Stray) -> Result {
    match command {
        Stray::List { all, user } => {
            let mut query = Vec::new();
            if all {
                query.push(("all", "true"));
            }
            if let Some(user) = &user {
                query.push(("user", user.as_str()));
            }
            listed(api, output, "strays", "strays", &query, NONE, |row| {
                let what = ["path", "operation"].map(|name| row.get(name).and_then(Value::as_str));
                let what = what.into_iter().flatten().next().unwrap_or("-");
                let id = row.get("id").and_then(Value::as_i64).unwrap_or(0);
                format!(
                    "{id:<8}{:<24}{:<24}{:<16}{}",
                    text(row, "subject"),
                    printable(what),
                    text(row, "source"),
                    text(row, "state")
                )
            })
        }
        Stray::Resolve { user, towards, id } => {
            let id = id.map(|id| id.to_string());
            let towards = towards.map(|towards| match towards {
                Towards::Mgpass => "mgpass",
                Towards::Logto => "logto",
            });
            let all = [
                ("user", user.as_deref()),
                ("towards", towards),
                ("id", id.as_deref()),
            ];
            let query: Vec<_> = all
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            output.show(&api.post("strays/resolve", &query)?)?;
            Ok(Health::Clean)
        }
    }
}

fn summary(sum: &Value) -> String {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    let n_users = number(sum.get("users")).unwrap_or(0);
    let mut lines = vec![format!(
        "Logto lacks something of {}",
        plural(n_users, "user", "users")
    )];
    for class in sum
        .get("classes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let n = number(class.get("users")).unwrap_or(0);
        lines.push(format!("  {:<24}{n}", text(class, "class")));
    }
    for (name, what) in [
        (
            "log_read_seconds_ago",
            "mgPass's audit log was read to its end",
        ),
        (
            "walk_began_seconds_ago",
            "the last walk over everybody began",
        ),
    ] {
        lines.push(match number(sum.get(name)) {
            Some(seconds) => format!("{what} {seconds} s ago"),
            None => format!("{what}: not yet since the hand-over"),
        });
    }
    lines.join("\n") + "\n"
}

/// Whole or not there: nobody must take a part for all of it.
fn write_csv(api: &Api, path: &Path, filter: &[(&str, &str)]) -> std::result::Result<u64, Failure> {
    let file = files::create_private(path)?;
    let mut writer = BufWriter::new(file);
    let written = write_rows(api, &mut writer, path, filter);
    if written.is_err() {
        // What is left of a file that could not be written may not be removable either.
        let _ = fs::remove_file(path);
    }
    written
}

fn write_rows(
    api: &Api,
    writer: &mut impl Write,
    path: &Path,
    filter: &[(&str, &str)],
) -> std::result::Result<u64, Failure> {
    let failed = |error| Failure::Write(path.to_owned(), error);
    write_row(writer, &["user", "class", "code", "since"]).map_err(failed)?;
    let mut n_written = 0;
    api.each_page("debt", "debt", filter, |rows| {
        for row in &rows {
            let field = |name| row.get(name).and_then(Value::as_str).unwrap_or_default();
            let since = row.get("since").map(Value::to_string).unwrap_or_default();
            let fields = [field("subject"), field("class"), field("code"), &since];
            write_row(writer, &fields).map_err(failed)?;
            n_written += 1;
        }
        Ok(())
    })?;
    writer.flush().map_err(failed)?;
    Ok(n_written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sum_says_as_of_when() {
        let sum = json!({ "users": 3, "classes": [{ "class": "born_at_mgpass", "users": 2, "since": 1 },
            { "class": "stray", "users": 1, "since": 1 }], "log_read_seconds_ago": 12, "walk_began_seconds_ago": null });
        let expected = "Logto lacks something of 3 users\n  born_at_mgpass          2\n  stray                   1\n\
             mgPass's audit log was read to its end 12 s ago\nthe last walk over everybody began: not yet since the hand-over\n";
        assert_eq!(summary(&sum), expected);
    }
}
