//! The history as one file of JSON lines: what it is of, a line for each row, and at its
//! end how many those were and the SHA-256 of all lines before.

use std::fs;
use std::io::{BufWriter, Write};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::api::{Api, patiently};
use super::super::failure::Failure;
use super::super::files;
use super::super::words::number;
use super::{PATIENCE, Run, now_of};

const KIND: &str = "dual-write-proxy history";
const VERSION: i64 = 1;

/// A part of the file at a time; it has its name only when it is whole.
pub fn write(api: &Api, view: &Value, run: &Run) -> Result<(), Failure> {
    let path = &run.archive;
    files::keep_from_git(path)?;
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(".part");
    let unfinished = std::path::PathBuf::from(unfinished);
    if path.exists() {
        let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Failure::Write(path.clone(), there));
    }
    // Of an attempt before this one.
    let _ = fs::remove_file(&unfinished);
    let failed = |error| Failure::Write(path.clone(), error);
    let mut lines = Lines::new(BufWriter::new(files::create_private(&unfinished)?));
    let made_at = now_of(view)?;
    let head = json!({
        "kind": KIND, "version": VERSION, "of": api.origin(), "made_at": made_at.parse::<i64>().ok(),
        "holder": view.get("holder"), "actor": run.actor,
    });
    lines.add(&head).map_err(failed)?;
    let parts = view.get("parts").and_then(Value::as_array);
    for part in parts.into_iter().flatten().filter_map(Value::as_str) {
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("part", part)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page = patiently(PATIENCE, || api.get("cleanup/history", &query))?;
            let rows = page.get("rows").and_then(Value::as_array);
            for row in rows.ok_or(Failure::Unreadable("rows"))? {
                lines
                    .add(&json!({ "part": part, "row": row }))
                    .map_err(failed)?;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) if after.as_deref() != Some(next) => after = Some(next.to_owned()),
                Some(_) => return Err(Failure::Unreadable("next")),
                None => break,
            }
        }
    }
    let (n_lines, digest) = lines.end().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    let n = n_lines.to_string();
    let query = [
        ("name", "archive"),
        ("until", made_at.as_str()),
        ("digest", digest.as_str()),
        ("n", n.as_str()),
        ("actor", run.actor.as_str()),
    ];
    patiently(PATIENCE, || api.post("cleanup/note", &query))?;
    eprintln!(
        "history: {}, {} lines, SHA-256 {digest}",
        path.display(),
        number(n_lines)
    );
    Ok(())
}

struct Lines<W> {
    to: W,
    digest: Sha256,
    n: u64,
}

impl<W: Write> Lines<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            digest: Sha256::new(),
            n: 0,
        }
    }

    fn add(&mut self, line: &Value) -> std::io::Result<()> {
        let line = format!("{line}\n");
        self.digest.update(line.as_bytes());
        self.n += 1;
        self.to.write_all(line.as_bytes())
    }

    /// How many there were, and their digest.
    fn end(mut self) -> std::io::Result<(u64, String)> {
        let digest = self.digest.finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let last = json!({ "lines": self.n, "sha256": digest });
        writeln!(self.to, "{last}")?;
        self.to.flush()?;
        Ok((self.n, digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_digest_of_all_before_it() {
        let mut kept = Vec::new();
        let mut lines = Lines::new(&mut kept);
        lines.add(&json!({ "a": 1 })).unwrap();
        lines.add(&json!({ "b": [2, "x"] })).unwrap();
        let (n, digest) = lines.end().unwrap();
        let text = String::from_utf8(kept).unwrap();
        let before = "{\"a\":1}\n{\"b\":[2,\"x\"]}\n";
        assert!(text.starts_with(before));
        let expected: String = Sha256::digest(before.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!((n, &digest), (2, &expected));
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["lines"], &last["sha256"]),
            (&json!(2), &json!(digest))
        );
    }
}
