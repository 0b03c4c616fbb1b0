//! Flags: shown, set, deleted, and who changed them. The Worker's own parser judges a
//! value before it is written; afterwards the proxy is asked until it has seen it.

use core::time::Duration;
use std::time::Instant;

use clap::{Args, Subcommand};
use dual_write_proxy::policy::flags::form::{self, FlagRefusal};
use dual_write_proxy::policy::flags::keys;
use serde_json::{Value, json};

use super::api::{Api, pace, patiently};
use super::failure::Failure;
use super::job::Health;
use super::kv::{Where, Writer};
use super::words::{aligned, instant, printable};
use super::{Output, Result, status};

/// KV shows a value everywhere within about a minute, and an isolate reads it again
/// after some seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(150);
/// More than what the proxy keeps of a value.
const MAX_ANNOUNCED: usize = 500;
const POLL: Duration = Duration::from_millis(700);

#[derive(Debug, Subcommand)]
pub enum Flag {
    /// Every flag, as KV holds it and as it is in force; those that are not taken first
    List,
    /// One flag
    Get { key: String },
    /// Sets a flag: refuses what the proxy would not take, writes it, waits until it is in force
    Set(Set),
    /// Deletes a flag, also one that the proxy does not read
    Unset(Unset),
    /// Who changed which flag when, and why; the authority's changes too
    History {
        /// Only this one
        #[arg(long)]
        key: Option<String>,
        /// So many, the newest first
        #[arg(long, default_value = "30", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

#[derive(Debug, Args)]
pub struct Set {
    key: String,
    value: String,
    #[command(flatten)]
    note: Note,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub struct Unset {
    key: String,
    #[command(flatten)]
    note: Note,
    #[command(flatten)]
    place: Where,
}

/// What goes into the history with the change.
#[derive(Debug, Args)]
pub struct Note {
    /// Why
    #[arg(long)]
    pub reason: Option<String>,
    /// Who
    #[arg(long, env = "DWP_ACTOR")]
    pub actor: Option<String>,
}

impl Note {
    /// The account's name where nobody is named.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let named = self.actor.clone();
        let actor = named.or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()));
        let actor = actor.map(|actor| ("actor", actor));
        let reason = self.reason.clone().map(|reason| ("reason", reason));
        actor.into_iter().chain(reason).collect()
    }
}

impl Flag {
    pub fn run(&self, api: &Api, output: Output) -> Result {
        match self {
            Self::List => list(api, output),
            Self::Get { key } => get(api, output, key),
            Self::Set(set) => {
                check(&set.key, &set.value)?;
                write(
                    api,
                    output,
                    &set.key,
                    Some(&set.value),
                    &set.note,
                    &set.place,
                )
            }
            Self::Unset(unset) => write(api, output, &unset.key, None, &unset.note, &unset.place),
            Self::History { key, limit } => history(api, output, key.as_deref(), *limit),
        }
    }
}

/// What the proxy would not take is not written.
fn check(key: &str, value: &str) -> std::result::Result<(), Failure> {
    match form::check(key, value) {
        Ok(()) => Ok(()),
        Err(FlagRefusal::UnknownKey) => {
            Err(Failure::UnknownFlag(key.to_owned(), keys().join(", ")))
        }
        Err(FlagRefusal::Refused { expected, .. }) => {
            Err(Failure::FlagRefused(key.to_owned(), expected))
        }
    }
}

fn flags(status: &Value) -> std::result::Result<&Vec<Value>, Failure> {
    let flags = status.get("flags");
    if let Some(code) = flags.and_then(|flags| flags.get("failure")?.as_str()) {
        return Err(Failure::Store(code.to_owned()));
    }
    flags
        .and_then(Value::as_array)
        .ok_or(Failure::Unreadable("flags"))
}

fn text<'a>(flag: &'a Value, name: &str) -> Option<&'a str> {
    flag.get(name).and_then(Value::as_str)
}

fn find<'a>(flags: &'a [Value], key: &str) -> Option<&'a Value> {
    flags.iter().find(|flag| text(flag, "key") == Some(key))
}

fn is_wrong(flag: &Value) -> bool {
    matches!(text(flag, "state"), Some("refused" | "unknown"))
}

fn cells(flag: &Value) -> Vec<String> {
    let key = text(flag, "key").unwrap_or_default();
    let state = text(flag, "state").unwrap_or_default();
    let note = match state {
        "refused" => form::expected(key)
            .map(|expected| format!("not taken: it takes {expected}"))
            .unwrap_or_default(),
        "unknown" => "the proxy does not read it".to_owned(),
        "waiting" => "not in force yet".to_owned(),
        _ => flag
            .get("since")
            .and_then(Value::as_i64)
            .map(|since| format!("since {}", instant(since)))
            .unwrap_or_default(),
    };
    let value = text(flag, "value").unwrap_or("-");
    [state, key, value, &note].map(str::to_owned).to_vec()
}

fn list(api: &Api, output: Output) -> Result {
    let status = api.get("status", &[])?;
    let mut flags = flags(&status)?.clone();
    flags.sort_by_key(|flag| match text(flag, "state") {
        Some("refused" | "unknown") => 0,
        Some("waiting") => 1,
        Some("set") => 2,
        _ => 3,
    });
    output.show_as(&json!({ "flags": &flags }), || {
        aligned(&flags.iter().map(cells).collect::<Vec<_>>())
    })?;
    Ok(Health::clean_if(!flags.iter().any(is_wrong)))
}

fn get(api: &Api, output: Output, key: &str) -> Result {
    let status = api.get("status", &[])?;
    let flag = find(flags(&status)?, key).cloned();
    let flag = flag.ok_or_else(|| Failure::UnknownFlag(key.to_owned(), keys().join(", ")))?;
    output.show_as(&flag, || aligned(&[cells(&flag)]))?;
    Ok(Health::clean_if(!is_wrong(&flag)))
}

/// One step at a time, nothing that would be without effect, and no new deal under people
/// who are being served.
fn is_sensible(status: &Value, key: &str, value: Option<&str>) -> std::result::Result<(), Failure> {
    let reads = status.get("read_bps").and_then(Value::as_i64).unwrap_or(0);
    let holder = status.pointer("/authority/holder").and_then(Value::as_str);
    let is_logto = holder.is_none_or(|holder| holder == "logto");
    match (key, value.map(form::tidy), text(status, "stage")) {
        ("stage", None | Some("off" | "shadow"), _) if !is_logto => Err(Failure::NotNow(
            "mgPass is the source of truth, or a hand-over is under way, and this would change nothing: `dwp stage dual_write` goes back",
        )),
        ("stage", Some("dual_write" | "cutover"), Some("off")) => Err(Failure::NotNow(
            "one step at a time: the stage is off, so set shadow first and see that mirroring works",
        )),
        ("stage", Some("cleanup"), _) if !matches!(holder, Some("mgpass" | "alone")) => {
            Err(Failure::NotNow(
                "one step at a time: cleanup comes after the cutover, and mgPass is not the authority",
            ))
        }
        ("stage", Some("dual_write"), _) if holder == Some("alone") => Err(Failure::NotNow(
            "one step at a time: from cleanup the way back is cutover",
        )),
        ("stage", Some("cutover"), Some("shadow")) => Err(Failure::NotNow(
            "one step at a time: the stage is shadow, so set dual_write first and move the reads",
        )),
        ("salt", _, _) if reads > 0 => Err(Failure::NotNow(
            "another salt deals all users into new buckets: set read_percent to 0 first",
        )),
        _ => Ok(()),
    }
}

/// Announced, written, and waited for until it is in force.
pub fn write(
    api: &Api,
    output: Output,
    key: &str,
    value: Option<&str>,
    note: &Note,
    place: &Where,
) -> Result {
    let before = api.get("status", &[])?;
    is_sensible(&before, key, value)?;
    let was = find(flags(&before)?, key).cloned().unwrap_or(Value::Null);
    let writer = place.writer(api.origin(), |name| std::env::var(name).ok())?;
    if key == "read_percent" && before.pointer("/ramp/state") == Some(&json!("running")) {
        eprintln!("a ramp plan is running: this change by hand pauses it");
    }
    let note = note.query();
    let mut query: Vec<(&str, &str)> = vec![("key", key)];
    // A long one is kept cut, and a query is no place for it.
    let short = value.map(|value| value.chars().take(MAX_ANNOUNCED).collect::<String>());
    query.extend(short.as_deref().map(|value| ("value", value)));
    if short.as_deref() != value {
        query.push(("cut", "true"));
    }
    query.extend(note.iter().map(|(name, text)| (*name, text.as_str())));
    api.post("flags/announce", &query)?;
    writer.write(key, value)?;
    eprintln!("written; waiting until the proxy has seen it");
    let (after, is_seen) = wait(api, key, value, &writer)?;
    // Cron does it within the minute.
    let _ = api.post("flags/notice", &[]);
    let now = find(flags(&after)?, key).cloned().unwrap_or(Value::Null);
    let document = json!({
        "flag": &now, "before": &was, "is_seen": is_seen, "reads": after.get("reads"), "problems": after.get("problems"),
    });
    output.show_as(&document, || shown(key, &was, &now, is_seen, &after))?;
    Ok(Health::clean_if(is_seen && !is_wrong(&now)))
}

/// The status in which the value is seen, or the last one.
fn wait(
    api: &Api,
    key: &str,
    value: Option<&str>,
    writer: &Writer,
) -> std::result::Result<(Value, bool), Failure> {
    let began = Instant::now();
    let within = if writer.is_local() {
        SEEN_WITHIN / 3
    } else {
        SEEN_WITHIN
    };
    let mut n_looks = 0;
    loop {
        let status = patiently(10, || api.get("status", &[]))?;
        if is_seen(find(flags(&status)?, key), value) {
            return Ok((status, true));
        }
        if began.elapsed() > within {
            return Ok((status, false));
        }
        std::thread::sleep(pace(n_looks, POLL));
        n_looks += 1;
    }
}

/// `flag`: as the proxy shows it; none of an unknown key that is gone.
fn is_seen(flag: Option<&Value>, value: Option<&str>) -> bool {
    let Some(flag) = flag else {
        return value.is_none();
    };
    let state = text(flag, "state");
    match value.map(form::tidy) {
        None => state == Some("absent"),
        Some(value) => {
            // A long value is shown cut.
            let shown = text(flag, "value").unwrap_or_default();
            let is_same = match value.chars().count() {
                0..80 => shown == value,
                _ => value.starts_with(shown) && !shown.is_empty(),
            };
            is_same && matches!(state, Some("set" | "refused"))
        }
    }
}

fn shown(key: &str, was: &Value, now: &Value, is_seen: bool, after: &Value) -> String {
    let value = |flag: &Value| match (text(flag, "value"), text(flag, "state")) {
        (Some(value), _) => printable(value),
        (None, Some("unknown")) => "(not read)".to_owned(),
        (None, _) => "absent".to_owned(),
    };
    let end = match (is_seen, is_wrong(now)) {
        (false, _) => {
            "written, but the proxy has not seen it yet; `dwp flag get` shows when it has"
        }
        (true, true) => "written, and this version of the proxy does not take it",
        // A wish that its gates decide about.
        (true, false)
            if key == "stage" && matches!(text(now, "value"), Some("cutover" | "cleanup")) =>
        {
            "wished; `dwp handover status` says what it waits for"
        }
        (true, false) => "in force; everywhere within a minute",
    };
    let mut text = format!("{key}: {} -> {}, {end}\n", value(was), value(now));
    text.push_str(&status::reads_line(after));
    text.push_str(&status::problems_text(after));
    text
}

fn history(api: &Api, output: Output, key: Option<&str>, limit: u32) -> Result {
    let limit = limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(key.map(|key| ("key", key)));
    let found = api.get("flags/history", &query)?;
    let changes = found.get("changes").and_then(Value::as_array);
    let changes = changes.ok_or(Failure::Unreadable("changes"))?;
    output.show_as(&found, || match changes.is_empty() {
        true => "no change was noticed yet\n".to_owned(),
        false => aligned(&changes.iter().map(change_cells).collect::<Vec<_>>()),
    })?;
    Ok(Health::Clean)
}

fn change_cells(change: &Value) -> Vec<String> {
    let at = change.get("noticed_at").and_then(Value::as_i64);
    let side = |value: &str, code: &str| match (text(change, value), text(change, code)) {
        (_, Some(code)) => format!("({code})"),
        (Some(value), None) => value.to_owned(),
        (None, None) => "absent".to_owned(),
    };
    let both = format!(
        "{} -> {}",
        side("before_value", "before_code"),
        side("value", "code")
    );
    let plain = |name: &str| text(change, name).map(str::to_owned);
    vec![
        at.map(instant).unwrap_or_default(),
        plain("key").unwrap_or_default(),
        both,
        plain("actor").unwrap_or_else(|| "-".to_owned()),
        plain("reason").unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_seen_when_the_proxy_shows_it_in_force() {
        let flag =
            |value: Value, state: &str| json!({ "key": "k", "value": value, "state": state });
        for (shown, value, expected) in [
            (Some(flag(json!("5"), "set")), Some("5\n"), true),
            (Some(flag(json!("5"), "waiting")), Some("5"), false),
            (Some(flag(json!("4"), "set")), Some("5"), false),
            (Some(flag(json!("5"), "refused")), Some("5"), true),
            (Some(flag(json!(null), "absent")), None, true),
            (Some(flag(json!(null), "waiting")), None, false),
            (Some(flag(json!("5"), "set")), None, false),
            (None, None, true),
            (None, Some("5"), false),
        ] {
            assert_eq!(
                is_seen(shown.as_ref(), value),
                expected,
                "{shown:?} {value:?}"
            );
        }
        let long = "x".repeat(100);
        let cut = flag(json!("x".repeat(80)), "set");
        assert!(is_seen(Some(&cut), Some(&long)));
    }

    #[test]
    fn what_makes_no_sense_now_is_refused_with_the_way() {
        let status = |stage: &str, read_bps| json!({ "stage": stage, "read_bps": read_bps });
        assert!(is_sensible(&status("off", 0), "stage", Some("dual_write")).is_err());
        assert!(is_sensible(&status("shadow", 0), "stage", Some("dual_write")).is_ok());
        assert!(is_sensible(&status("dual_write", 0), "stage", Some("off")).is_ok());
        for (stage, is_ok) in [("off", false), ("shadow", false), ("dual_write", true)] {
            let wished = is_sensible(&status(stage, 0), "stage", Some("cutover"));
            assert_eq!(wished.is_ok(), is_ok, "{stage}");
        }
        let at = |holder: &str| json!({ "stage": "cutover", "authority": { "holder": holder } });
        for value in [None, Some("off"), Some("shadow")] {
            assert!(is_sensible(&at("mgpass"), "stage", value).is_err());
            assert!(is_sensible(&at("draining"), "stage", value).is_err());
            assert!(is_sensible(&at("logto"), "stage", value).is_ok());
        }
        assert!(is_sensible(&at("mgpass"), "stage", Some("dual_write")).is_ok());
        for (holder, is_ok) in [("logto", false), ("returning", false), ("mgpass", true)] {
            let wished = is_sensible(&at(holder), "stage", Some("cleanup"));
            assert_eq!(wished.is_ok(), is_ok, "{holder}");
        }
        assert!(is_sensible(&at("alone"), "stage", Some("dual_write")).is_err());
        assert!(is_sensible(&at("alone"), "stage", Some("cutover")).is_ok());
        assert!(is_sensible(&status("dual_write", 1), "salt", Some("x")).is_err());
        assert!(is_sensible(&status("dual_write", 0), "salt", None).is_ok());
    }

    #[test]
    fn a_wish_is_not_said_to_be_in_force() {
        let flag = |value: &str| json!({ "key": "stage", "value": value, "state": "set" });
        let said = |value| shown("stage", &flag("dual_write"), &flag(value), true, &json!({}));
        assert!(said("cutover").starts_with("stage: dual_write -> cutover, wished;"));
        assert!(said("shadow").starts_with("stage: dual_write -> shadow, in force;"));
    }

    #[test]
    fn changes_stand_in_columns() {
        let change = json!({
            "noticed_at": 1_800_000_000_000_i64, "key": "read_percent", "before_value": "10", "before_code": null,
            "value": null, "code": "unreadable", "actor": null, "reason": null,
        });
        let longer = json!({
            "noticed_at": 1_800_000_000_000_i64, "key": "compare_percent", "before_value": null, "before_code": null,
            "value": "100", "code": null, "actor": "ama", "reason": "why",
        });
        assert_eq!(
            aligned(&[change_cells(&change), change_cells(&longer)]),
            "2027-01-15 08:00:00 UTC  read_percent     10 -> (unreadable)  -\n\
             2027-01-15 08:00:00 UTC  compare_percent  absent -> 100       ama  why\n"
        );
    }
}
