//! What only Logto had a place for: user by user into mgPass's metadata, by the proxy; or
//! into a file, through the program that encrypts it. In clear it is written nowhere.

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::api::{Api, patiently};
use super::super::failure::Failure;
use super::super::files;
use super::super::job::Health;
use super::super::words::{number, plural};
use super::super::{Output, Result};
use super::{PATIENCE, view};

pub fn run(api: &Api, output: Output, to: &str, through: Option<&str>, actor: &str) -> Result {
    match (to, through) {
        ("metadata", None) => into_metadata(api, output, actor),
        ("metadata", Some(_)) => Err(Failure::NotNow(
            "mgPass's metadata is not encrypted: --through is for a file",
        )),
        (_, None) => Err(Failure::NotNow(
            "it holds names and phone numbers: say by --through what encrypts it, such as \"age -r age1...\" or \"gpg --encrypt --recipient KEY\"",
        )),
        (file, Some(command)) => into_file(api, output, Path::new(file), command, actor),
    }
}

fn integer(value: &Value, name: &'static str) -> std::result::Result<i64, Failure> {
    let found = value.get(name).and_then(Value::as_i64);
    found.ok_or(Failure::Unreadable(name))
}

/// Page by page; answers how far what was read is right, and how many it was of.
fn each_page(
    since: i64,
    mut call: impl FnMut(&[(&str, &str)]) -> std::result::Result<Value, Failure>,
    mut take: impl FnMut(&Value) -> std::result::Result<u64, Failure>,
) -> std::result::Result<(i64, u64), Failure> {
    let since = since.to_string();
    let (mut until, mut after, mut n) = (None, None::<String>, 0);
    loop {
        let mut query = vec![("since", since.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = call(&query)?;
        // As it was before the first page: whoever changed since has a higher ticket.
        if until.is_none() {
            until = Some(integer(&page, "sequence")?);
        }
        n += take(&page)?;
        match page.get("next").and_then(Value::as_str) {
            Some(next) if after.as_deref() != Some(next) => after = Some(next.to_owned()),
            Some(_) => return Err(Failure::Unreadable("next")),
            None => return Ok((until.unwrap_or_default(), n)),
        }
    }
}

fn keep(
    api: &Api,
    how: &str,
    until: i64,
    n: u64,
    digest: &str,
    actor: &str,
) -> std::result::Result<Value, Failure> {
    let (until, n) = (until.to_string(), n.to_string());
    let query = [
        ("name", "residue"),
        ("until", until.as_str()),
        ("how", how),
        ("n", n.as_str()),
        ("digest", digest),
        ("actor", actor),
    ];
    patiently(PATIENCE, || api.post("cleanup/note", &query))
}

fn into_metadata(api: &Api, output: Output, actor: &str) -> Result {
    let before = view(api, false)?;
    if before.get("holder").and_then(Value::as_str) != Some("alone") {
        // Said now, done once Logto is not asked any more.
        let noted = keep(api, "to be moved to metadata", 0, 0, "", actor)?;
        output.show_as(&noted, || {
            "noted: it is moved once the stage is `cleanup`; say the same again then\n".to_owned()
        })?;
        return Ok(Health::Clean);
    }
    let mut left = Vec::new();
    let (until, n) = each_page(
        0,
        |query| patiently(PATIENCE, || api.post("cleanup/residue/move", query)),
        |page| {
            let without = page.get("left").and_then(Value::as_array);
            left.extend(without.into_iter().flatten().cloned());
            let moved = page.get("moved").and_then(Value::as_u64);
            moved.ok_or(Failure::Unreadable("moved"))
        },
    )?;
    let document = json!({ "moved": n, "left": left });
    if left.is_empty() {
        keep(api, "moved to metadata", until, n, "", actor)?;
    }
    output.show_as(&document, || {
        let mut text = format!(
            "{} moved to the member `_logto` of their metadata\n",
            plural(n, "user was", "users were")
        );
        if !left.is_empty() {
            let n_left = left.len() as u64;
            text.push_str(&format!(
                "{} no room for it there: use a file (`--to FILE --through COMMAND`)\n",
                plural(n_left, "user has", "users have")
            ));
        }
        text
    })?;
    Ok(Health::clean_if(left.is_empty()))
}

fn into_file(api: &Api, output: Output, path: &Path, command: &str, actor: &str) -> Result {
    files::keep_from_git(path)?;
    let file = files::create_private(path)?;
    let (mut child, stdin) = encrypting(command, file)?;
    let mut to = BufWriter::new(stdin);
    let mut first_line = None;
    let written = each_page(
        0,
        |query| patiently(PATIENCE, || api.get("cleanup/residue", query)),
        |page| {
            let rows = page.get("rows").and_then(Value::as_array);
            let rows = rows.ok_or(Failure::Unreadable("rows"))?;
            for row in rows {
                let residue = row.get("residue").and_then(Value::as_str);
                let residue: Value = residue
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_default();
                let line = json!({ "id": row.get("id"), "residue": residue }).to_string();
                writeln!(to, "{line}").map_err(|_| Failure::Failed("what encrypts"))?;
                first_line.get_or_insert(line);
            }
            Ok(rows.len() as u64)
        },
    );
    let flushed = to.flush().map_err(|_| Failure::Failed("what encrypts"));
    drop(to);
    let status = child
        .wait()
        .map_err(|error| Failure::NotRun("what encrypts", error))?;
    let taken_back = |failure| {
        // Half of it, or in clear: nobody is to find it.
        let _ = fs::remove_file(path);
        failure
    };
    let (until, n) = written.map_err(taken_back)?;
    flushed.map_err(taken_back)?;
    if !status.success() {
        return Err(taken_back(Failure::Failed("what encrypts")));
    }
    let digest = sealed(path, first_line.as_deref()).map_err(taken_back)?;
    keep(api, "exported", until, n, &digest, actor)?;
    let document = json!({ "exported": n, "file": path.display().to_string(), "sha256": digest });
    output.show_as(&document, || {
        format!(
            "{} users: {}, SHA-256 {digest}\n",
            number(n),
            path.display()
        )
    })?;
    Ok(Health::Clean)
}

/// Its standard output is the file.
fn encrypting(command: &str, file: fs::File) -> std::result::Result<(Child, ChildStdin), Failure> {
    let mut words = command.split_whitespace();
    let program = words
        .next()
        .ok_or(Failure::NotNow("--through names no program"))?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .map_err(|error| Failure::NotRun("what encrypts", error))?;
    let stdin = child.stdin.take();
    Ok((child, stdin.ok_or(Failure::Failed("what encrypts"))?))
}

/// The digest of the file, once it is seen that what went in does not stand in it.
fn sealed(path: &Path, first_line: Option<&str>) -> std::result::Result<String, Failure> {
    let failed = |error| Failure::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(failed)?;
    let is_in_clear = first_line.is_some_and(|line| {
        bytes
            .windows(line.len())
            .any(|window| window == line.as_bytes())
    });
    if is_in_clear || (first_line.is_some() && bytes.is_empty()) {
        return Err(Failure::NotNow(
            "what --through names does not encrypt: the file held the users in clear, or nothing, and is gone",
        ));
    }
    let digest = Sha256::digest(&bytes);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(command: &str, text: &str) -> std::result::Result<String, Failure> {
        let folder = std::env::temp_dir().join(format!("dwp-residue-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(command.replace([' ', '/'], "_"));
        let _ = fs::remove_file(&path);
        let (mut child, mut stdin) = encrypting(command, files::create_private(&path)?)?;
        writeln!(stdin, "{text}").unwrap();
        drop(stdin);
        child.wait().unwrap();
        let sealed = sealed(&path, Some(text));
        fs::remove_file(&path).unwrap();
        sealed
    }

    #[test]
    fn what_does_not_encrypt_is_found_out() {
        let line = r#"{"id":"u1","residue":{"username":"ama"}}"#;
        assert_eq!(through("cat", line).unwrap_err().code(), "not_now");
        assert_eq!(through("true", line).unwrap_err().code(), "not_now");
        // No encryption either, but not in clear: whom to trust is the operator's to say.
        assert_eq!(through("gzip -c", line).unwrap().len(), 64);
        let missing = through("no-such-program-of-anybodys", line);
        assert_eq!(missing.unwrap_err().code(), "command_failed");
    }

    #[test]
    fn pages_are_read_to_the_last_and_count_from_before_the_first() {
        let pages = [
            json!({ "sequence": 7, "rows": [1, 2], "next": "b" }),
            json!({ "sequence": 9, "rows": [3], "next": null }),
        ];
        let mut asked = Vec::new();
        let mut n_calls = 0;
        let done = each_page(
            4,
            |query| {
                asked.push(format!("{query:?}"));
                n_calls += 1;
                Ok(pages[n_calls - 1].clone())
            },
            |page| Ok(page["rows"].as_array().unwrap().len() as u64),
        );
        assert_eq!(done.unwrap(), (7, 3));
        assert!(asked[0].contains("\"4\"") && asked[1].contains("\"b\""));
    }
}
