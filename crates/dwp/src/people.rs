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
use super::words::{plural, printable};
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
        format!("{:<24}{}", text(row, "reason"), codes.join(" "))
    })
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
            format!(
                "{:<20}{:<10}{}",
                text(row, "path"),
                text(row, "class"),
                text(row, "reason")
            )
        },
    )
}

/// One line each as the pages come, or one document at the end.
fn gather(
    api: &Api,
    output: Output,
    route: &str,
    name: &'static str,
    query: &[(&str, &str)],
    line: impl Fn(&Value) -> String,
) -> Result {
    let mut kept = Vec::new();
    let mut n_people = 0;
    api.each_page(route, name, query, |rows| {
        n_people += rows.len() as u64;
        match output {
            Output::Json => kept.extend(rows),
            Output::Text => {
                for row in &rows {
                    output.line(&format!("{:<24}{}", text(row, "id"), line(row)))?;
                }
            }
        }
        Ok(())
    })?;
    if let Output::Json = output {
        output.document(&json!({ name: kept }))?;
    } else {
        eprintln!("{}", plural(n_people, "line", "lines"));
    }
    Ok(Health::clean_if(n_people == 0))
}

fn text(row: &Value, name: &str) -> String {
    row.get(name)
        .and_then(Value::as_str)
        .map_or_else(|| "-".to_owned(), printable)
}

pub fn readiness(api: &Api, output: Output, csv: Option<&Path>) -> Result {
    let counts = api.get("import/readiness", &[("count", "true")])?;
    if let Some(path) = csv {
        let n_written = write_csv(api, path)?;
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
fn write_csv(api: &Api, path: &Path) -> std::result::Result<u64, Failure> {
    let file = files::create_private(path)?;
    let mut writer = BufWriter::new(file);
    let written = write_people(api, &mut writer, path);
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
) -> std::result::Result<u64, Failure> {
    let failed = |error| Failure::Write(path.to_owned(), error);
    write_row(
        writer,
        &["id", "readiness", "had_password", "email", "phone"],
    )
    .map_err(failed)?;
    let mut n_written = 0;
    api.each_page("import/readiness", "users", &[], |rows| {
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
