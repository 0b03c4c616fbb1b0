//! Lists of people: the parked, the noted, those who differ, and the file for a
//! reset campaign.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::api::Api;
use super::failure::Failure;
use super::files;
use super::job::Health;
use super::job::Kind;
use super::words::{columns, instant, outline, plural, printable};
use super::{Output, Result};

/// Those of the newest job with this outcome, reason or note.
pub fn list(api: &Api, output: Output, kind: Kind, filter: &[(&str, &str)]) -> Result {
    let mut query = vec![("kind", kind.name())];
    query.extend_from_slice(filter);
    gather(api, output, "import/users", "users", &query, |row| {
        let codes: Vec<_> = row
            .get("notes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        columns(&[(&text(row, "reason"), 24), (&codes.join(" "), 0)])
    })
}

/// Everybody who waits for a person, whoever found that out.
pub fn parked(api: &Api, output: Output, kind: Option<Kind>, reason: Option<&str>) -> Result {
    let mut query = Vec::new();
    query.extend(kind.map(|kind| ("kind", kind.name())));
    query.extend(reason.map(|reason| ("reason", reason)));
    gather(api, output, "parked", "users", &query, |row| {
        let list = match (text(row, "list").as_str(), row.get("dry_run")) {
            ("mirror", _) => "mirror".to_owned(),
            (kind, Some(Value::Bool(true))) => format!("dry run of {kind}"),
            (kind, _) => format!("import of {kind}"),
        };
        let since = row.get("since").and_then(Value::as_i64).map(instant);
        let notes = row.get("notes").and_then(Value::as_array);
        let notes: Vec<_> = notes
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        columns(&[
            (&text(row, "reason"), 24),
            (&list, 17),
            (&since.unwrap_or_default(), 23),
            (&notes.join(" "), 0),
        ])
    })
}

/// A line for each reason; `--json` has what they rest on.
pub fn why(api: &Api, output: Output, user: &str) -> Result {
    let found = api.get("why", &[("user", user)])?;
    let reasons = found.get("reasons").and_then(Value::as_array);
    let reasons = reasons.ok_or(Failure::Unreadable("reasons"))?;
    output.show_as(&found, || {
        let line = |row: &Value| {
            let since = row.get("since").and_then(Value::as_i64).map(instant);
            let cells = [
                (&*since.unwrap_or_default(), 23),
                (&*text(row, "code"), 26),
                (&*text(row, "meaning"), 0),
            ];
            format!("{}\n", columns(&cells))
        };
        reasons.iter().map(line).collect()
    })?;
    Ok(Health::Clean)
}

/// The mirror's view, findings by code and not one by one: `--json` has them all.
pub fn mirror_text(view: &Value) -> String {
    let mut view = view.clone();
    let n_newest = view
        .get("findings")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if let Some(members) = view.as_object_mut()
        && let Some(groups) = members.remove("findings_by_code")
    {
        members.insert("findings".to_owned(), groups);
    }
    let mut shown = outline(&view);
    if n_newest > 0 {
        shown.push_str("`dwp mirror --json` has the newest findings one by one; `dwp explain USER` tells of one user\n");
    }
    shown
}

/// Whom neither direction writes, with the reason.
pub fn held(api: &Api, output: Output, reason: Option<&str>) -> Result {
    let filter: Vec<_> = reason
        .map(|reason| ("reason", reason))
        .into_iter()
        .collect();
    gather(api, output, "holds", "users", &filter, |row| {
        format!("{:<20}{}", text(row, "reason"), text(row, "detail"))
    })
}

pub fn differences(api: &Api, output: Output) -> Result {
    gather(
        api,
        output,
        "equality/differences",
        "differences",
        &[],
        |row| {
            columns(&[
                (&text(row, "path"), 20),
                (&text(row, "class"), 8),
                (&text(row, "reason"), 0),
            ])
        },
    )
}

/// One line each, led by whom it is about.
fn gather(
    api: &Api,
    output: Output,
    route: &str,
    name: &'static str,
    query: &[(&str, &str)],
    line: impl Fn(&Value) -> String,
) -> Result {
    let led = |row: &Value| columns(&[(&text(row, "id"), 14), (&line(row), 0)]);
    listed(api, output, route, name, query, "nobody", led)
}

/// One line each as the pages come, or one document at the end. `none`: what is said when
/// there was none.
pub fn listed(
    api: &Api,
    output: Output,
    route: &str,
    name: &'static str,
    query: &[(&str, &str)],
    none: &str,
    line: impl Fn(&Value) -> String,
) -> Result {
    let mut kept = Vec::new();
    let mut n_rows = 0;
    api.each_page(route, name, query, |rows| {
        n_rows += rows.len() as u64;
        match output {
            Output::Json => kept.extend(rows),
            Output::Text => {
                for row in &rows {
                    output.line(&line(row))?;
                }
            }
        }
        Ok(())
    })?;
    match (output, n_rows) {
        (Output::Json, _) => output.document(&json!({ name: kept }))?,
        (Output::Text, 0) => eprintln!("{none}"),
        (Output::Text, n) => eprintln!("{}", plural(n, "line", "lines")),
    }
    Ok(Health::clean_if(n_rows == 0))
}

pub fn text(row: &Value, name: &str) -> String {
    row.get(name)
        .and_then(Value::as_str)
        .map_or_else(|| "-".to_owned(), printable)
}

/// `only`: the file of one road alone, as of a reset campaign.
pub fn readiness(api: &Api, output: Output, csv: Option<&Path>, only: Option<&str>) -> Result {
    if let Some(path) = csv {
        files::keep_from_git(path)?;
    }
    let counts = api.get("import/readiness", &[("count", "true")])?;
    if let Some(path) = csv {
        let n_written = write_csv(api, path, only)?;
        eprintln!(
            "{} written to {}",
            plural(n_written, "person", "people"),
            path.display()
        );
    }
    output.show(&counts)?;
    Ok(Health::Clean)
}

/// Whole or not there: nobody must take a part of a population for all of it.
fn write_csv(api: &Api, path: &Path, only: Option<&str>) -> std::result::Result<u64, Failure> {
    let file = files::create_private(path)?;
    let mut writer = BufWriter::new(file);
    let written = write_people(api, &mut writer, path, only);
    if written.is_err() {
        // What is left of a file that could not be written may not be removable either.
        let _ = fs::remove_file(path);
    }
    written
}

fn write_people(
    api: &Api,
    writer: &mut impl Write,
    path: &Path,
    only: Option<&str>,
) -> std::result::Result<u64, Failure> {
    let query: Vec<_> = only.map(|only| ("only", only)).into_iter().collect();
    let failed = |error| Failure::Write(path.to_owned(), error);
    write_row(
        writer,
        &[
            "id",
            "username",
            "readiness",
            "had_password",
            "email",
            "phone",
        ],
    )
    .map_err(failed)?;
    let mut n_written = 0;
    api.each_page("import/readiness", "users", &query, |rows| {
        for row in &rows {
            let field = |name| row.get(name).and_then(Value::as_str).unwrap_or_default();
            let had_password = match row.get("had_password").and_then(Value::as_bool) {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            write_row(
                writer,
                &[
                    field("id"),
                    field("username"),
                    field("readiness"),
                    had_password,
                    field("email"),
                    field("phone"),
                ],
            )
            .map_err(failed)?;
            n_written += 1;
        }
        Ok(())
    })?;
    writer.flush().map_err(failed)?;
    Ok(n_written)
}

/// RFC 4180.
pub(super) fn write_row(writer: &mut impl Write, fields: &[&str]) -> io::Result<()> {
    for (index, field) in fields.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        if field.contains([',', '"', '\r', '\n']) {
            write!(writer, "{separator}\"{}\"", field.replace('"', "\"\""))?;
        } else {
            write!(writer, "{separator}{field}")?;
        }
    }
    writer.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let mut bytes = Vec::new();
        write_row(
            &mut bytes,
            &["u1", "", "a,\"b\"@example.test", "line\nbreak"],
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "u1,,\"a,\"\"b\"\"@example.test\",\"line\nbreak\"\r\n"
        );
    }
}
