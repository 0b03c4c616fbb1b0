//! Finds the keys in what an operator has: the output of
//! `logto db config get oidc.privateKeys` (coloured on a terminal), the value of
//! that row, or PEM.

use serde::Deserialize;
use serde_json::Value;

use super::private_key::PrivateKey;
use super::{ExportFailure, KeyFault};

const ROW: &str = "oidc.privateKeys=";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// `openssl ecparam` writes it before the key; the key says it again.
const PARAMETERS: &str = "-----BEGIN EC PARAMETERS-----";

#[derive(Debug)]
pub struct ExportedKey {
    pub key: PrivateKey,
    /// Seconds since the epoch, as Logto recorded it.
    pub created_at: Option<i64>,
    /// `Current`, `Next` or `Previous`, from Logto 1.39 on.
    pub status: Option<String>,
}

/// # Errors
/// When a key cannot be read: an import that leaves one out would sign its users out.
pub fn read_export(text: &str) -> Result<Vec<ExportedKey>, ExportFailure> {
    let text = without_colours(text);
    let text = match text.split_once(ROW) {
        Some((_, row)) => row,
        None => &text,
    };
    let keys = match text.trim_start().starts_with('[') {
        true => read_list(text)?,
        false => read_pem(text)?,
    };
    if keys.is_empty() {
        return Err(ExportFailure::NothingFound);
    }
    for (index, key) in keys.iter().enumerate() {
        let is_same = |other: &ExportedKey| other.key.kid() == key.key.kid();
        if let Some(first) = keys.iter().take(index).position(is_same) {
            return Err(ExportFailure::Twice(first + 1, index + 1));
        }
    }
    Ok(keys)
}

/// Without the sequences `ESC [ ... letter` of a terminal.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|letter: char| ('\u{40}'..='\u{7e}').contains(&letter));
        rest = end.and_then(|end| after.get(end + 1..)).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

fn read_list(text: &str) -> Result<Vec<ExportedKey>, ExportFailure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let list = Vec::<Value>::deserialize(&mut deserializer).map_err(|_| ExportFailure::NotJson)?;
    deserializer.end().map_err(|_| ExportFailure::NotJson)?;
    let entries = list.iter().enumerate();
    entries
        .map(|(index, entry)| {
            let number = index + 1;
            // Up to 1.10 an entry was the bare PEM.
            let pem = entry.as_str().or_else(|| entry.get("value")?.as_str());
            let pem = pem.ok_or(ExportFailure::NoValue(number))?;
            let status = entry.get("status").and_then(Value::as_str);
            Ok(ExportedKey {
                key: PrivateKey::from_pem(pem)
                    .map_err(|fault| ExportFailure::Key(number, fault))?,
                created_at: entry.get("createdAt").and_then(Value::as_i64),
                // It is shown on a terminal.
                status: status
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_alphabetic()))
                    .map(str::to_owned),
            })
        })
        .collect()
}

fn read_pem(text: &str) -> Result<Vec<ExportedKey>, ExportFailure> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let block = rest.get(start..).unwrap_or_default();
        let end = block.find(END).ok_or(ExportFailure::Unterminated)?;
        let last_line = block.get(end..).unwrap_or_default();
        let length = last_line.find('\n').unwrap_or(last_line.len());
        let (block, after) = block.split_at(end + length);
        rest = after;
        if block.starts_with(PARAMETERS) {
            continue;
        }
        let key = PrivateKey::from_pem(block)
            .map_err(|fault: KeyFault| ExportFailure::Key(keys.len() + 1, fault))?;
        keys.push(ExportedKey {
            key,
            created_at: None,
            status: None,
        });
    }
    Ok(keys)
}
