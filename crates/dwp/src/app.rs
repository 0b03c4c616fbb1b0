//! The applications that can sign in at both sides: shown, set, checked, forecast. The
//! Worker's own parser judges a list before it is written.

mod check;
mod compare;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dual_write_proxy::policy::applications::Applications;
use serde_json::Value;

use super::api::Api;
use super::failure::Failure;
use super::flag::{self, Note};
use super::job::Health;
use super::kv::Where;
use super::words::{columns, number, percent, plural};
use super::{Output, Result};

const KEY: &str = "applications";

#[derive(Debug, Subcommand)]
pub enum App {
    /// Every application with what is ready, the share, and what holds it
    List,
    /// Replaces the whole list by a JSON file, `-` for standard input; refuses what the proxy would not take
    Set(Set),
    /// Compares what one application meets at both sides and names what differs; changes nothing
    Check(check::Check),
    /// How many people will have to sign in anew, by application and reason
    Forecast,
}

#[derive(Debug, Args)]
pub struct Set {
    file: PathBuf,
    #[command(flatten)]
    note: Note,
    #[command(flatten)]
    place: Where,
}

impl App {
    pub fn run(&self, api: &Api, output: Output) -> Result {
        match self {
            Self::List => list(api, output),
            Self::Set(set) => {
                let value = tidy(&read(&set.file)?)?;
                flag::write(api, output, KEY, Some(&value), &set.note, &set.place)
            }
            Self::Check(check) => check.run(api, output),
            Self::Forecast => forecast(api, output),
        }
    }
}

fn read(path: &Path) -> std::result::Result<String, Failure> {
    let unread = |error| Failure::Read(path.to_owned(), error);
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(unread)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(unread)
}

/// On one line, as KV is to hold it.
fn tidy(text: &str) -> std::result::Result<String, Failure> {
    let refused = |code| Failure::FlagRefused(KEY.to_owned(), meaning(code));
    let value: Value = serde_json::from_str(text).map_err(|_| refused("unreadable"))?;
    let value = value.to_string();
    Applications::parse(&value).map_err(refused)?;
    Ok(value)
}

/// What the parser's code asks for.
fn meaning(code: &str) -> &'static str {
    match code {
        "name_malformed" => "names and groups of 1 to 64 of a-z, 0-9, - and _",
        "name_twice" => "each name once",
        "client_id_malformed" => "client ids of 1 to 128 printable characters without quotes",
        "client_id_of_the_other_side" => "an id of Logto's, which does not begin with app_",
        "client_id_twice" => "each client id once, and for one side",
        "start_refused" => {
            "https addresses in lower case without user, fragment or spaces, and not the proxy's own"
        }
        "start_twice" => "two start addresses for each application",
        "too_many" | "too_large" => "200 applications at most, in 64 KiB",
        _ => "a JSON list whose members are as docs/applications.md describes them",
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("-")
}

fn rows<'a>(value: &'a Value, name: &'static str) -> std::result::Result<&'a Vec<Value>, Failure> {
    let found = value.get(name).and_then(Value::as_array);
    found.ok_or(Failure::Unreadable(name))
}

fn list(api: &Api, output: Output) -> Result {
    let found = api.get("applications", &[])?;
    let applications = rows(&found, KEY)?;
    let stop = found.get("stop").and_then(Value::as_str);
    output.show_as(&found, || {
        let mut shown = String::new();
        for application in applications {
            let ready: Vec<_> = application
                .get("ready")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let ready = match ready.is_empty() {
                true => "not ready".to_owned(),
                false => format!("ready: {}", ready.join(", ")),
            };
            let cells = [
                (text(application, "/name"), 20),
                (text(application, "/group"), 12),
                (text(application, "/logto/client_id"), 22),
                (text(application, "/mgpass/client_id"), 22),
                (&*ready, 24),
                (text(application, "/owner"), 0),
            ];
            shown.push_str(&format!("{}\n", columns(&cells)));
        }
        let share = found.get("sign_in_bps").and_then(Value::as_i64);
        shown.push_str(&format!(
            "share of sign-ins: {}\n",
            percent(share.unwrap_or(0))
        ));
        for (is_so, line) in [
            (
                applications.is_empty(),
                "no application is listed: nothing is told apart",
            ),
            (
                found.get("pin_secret") == Some(&Value::Bool(false)),
                "PIN_SECRET is not set: no browser draws mgPass",
            ),
            (
                text(&found, "/mgpass_pages") == "open",
                "mgpass_pages is open: before the cutover nobody moves",
            ),
        ] {
            if is_so {
                shown.push_str(&format!("{line}\n"));
            }
        }
        if let Some(reason) = stop {
            shown.push_str(&format!(
                "stopped: {reason}; deleting the flag sign_in_stop lifts it\n"
            ));
        }
        shown
    })?;
    Ok(Health::clean_if(stop.is_none()))
}

/// Somebody with a session at Logto signs in once more when that has moved; how it goes
/// at mgPass is the reason that is named.
fn reason(readiness: &str) -> &'static str {
    match readiness {
        "carried" => "signs in once at mgPass by the same password",
        "prompted" | "reset" | "password" => "signs in once at mgPass by the password set there",
        "social" => "signs in once at mgPass by the same social account",
        "email_reset" => "needs a new password first, by a reset to a verified address",
        _ => "has no way in yet: neither a social account nor a verified address",
    }
}

/// Over all applications, in the order in which they come. Without a number: nobody can
/// know one beforehand.
fn by_reason(reasons: &[Value]) -> Vec<(&str, Option<u64>, &str)> {
    let mut found: Vec<(&str, Option<u64>, &str)> = Vec::new();
    for row in reasons {
        let n = row.get("people").and_then(Value::as_u64);
        let code = text(row, "/code");
        match found.iter_mut().find(|(known, ..)| *known == code) {
            Some((_, sum, _)) => *sum = sum.zip(n).map(|(sum, n)| sum + n),
            None => found.push((code, n, text(row, "/meaning"))),
        }
    }
    found
}

fn forecast(api: &Api, output: Output) -> Result {
    let found = api.get("applications/forecast", &[])?;
    let people = rows(&found, "people")?;
    let reasons = rows(&found, "reasons")?;
    let without_road = people.iter().any(|row| {
        text(row, "/readiness") == "none" && row.get("live") == Some(&Value::Bool(true))
    });
    output.show_as(&found, || {
        let mut shown = String::new();
        let mut n_live = 0;
        for row in people {
            let n = row.get("n").and_then(Value::as_u64).unwrap_or(0);
            let is_live = row.get("live") == Some(&Value::Bool(true));
            if is_live {
                n_live += n;
            }
            let name = match (text(row, "/application"), text(row, "/client_id")) {
                ("-", "-") => "(no application)",
                ("-", client_id) => client_id,
                (name, _) => name,
            };
            let count = number(n);
            let live = if is_live { "signed in now" } else { "not signed in" };
            let cells = [(name, 22), (&*count, 10), (live, 14), (reason(text(row, "/readiness")), 0)];
            shown.push_str(&format!("{}\n", columns(&cells)));
        }
        shown.push_str(&format!(
            "{} will have to sign in anew: the first time of each browser at mgPass. Who is not signed in would have had to anyway.\n",
            plural(n_live, "person", "people")
        ));
        shown.push_str("\nWhy somebody may have to, and how many people at most:\n");
        for (code, n, meaning) in by_reason(reasons) {
            let count = n.map_or("not known".to_owned(), number);
            let cells = [(code, 26), (&*count, 10), (meaning, 0)];
            shown.push_str(&format!("{}\n", columns(&cells)));
        }
        shown
    })?;
    Ok(Health::clean_if(!without_road))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_summed_over_applications() {
        let row =
            |code: &str, n: Value| serde_json::json!({ "code": code, "people": n, "meaning": "m" });
        let rows = [
            row("a", 3.into()),
            row("b", Value::Null),
            row("a", 4.into()),
        ];
        assert_eq!(by_reason(&rows), [("a", Some(7), "m"), ("b", None, "m")]);
    }

    #[test]
    fn a_list_is_put_on_one_line_and_judged_by_the_proxys_parser() {
        let list = r#"[
          { "name": "news", "group": "main", "owner": "web",
            "logto": { "client_id": "a", "start": "https://a.example/login" },
            "mgpass": { "client_id": "app_a", "start": "https://a.example/login/mgpass" } }
        ]"#;
        let value = tidy(list).unwrap();
        assert!(!value.contains('\n') && value.starts_with('['));
        let refusal = |text: &str| tidy(text).unwrap_err().to_string();
        assert!(refusal("[").contains("docs/applications.md"));
        assert!(
            refusal(&list.replace("https://a.example/login\"", "http://a.example\""))
                .contains("https")
        );
        assert!(refusal(&list.replace("\"app_a\"", "\"a\"")).contains("once"));
    }
}
