//! What is written to a file before anything is cleared, page by page: who decided what,
//! what was carried and what was not. Ids, codes, counts, digests, operators' reasons; never
//! a value of a user. What is personal (the residue) is not here.

use serde_json::{Value as Json, json};

use crate::runtime::ports::{Row, Statement, Store};

/// One table, in the order of its key.
pub struct Part {
    pub name: &'static str,
    pub store: Store,
    sql: &'static str,
    keys: &'static [&'static str],
    /// Before the first row.
    first: &'static str,
}

/// By an integer key; `n` where the table shows none.
macro_rules! numbered {
    ($name:literal, $store:ident, $key:literal, $columns:literal, $from:literal) => {
        Part {
            name: $name,
            store: Store::$store,
            sql: concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $from,
                " WHERE ",
                $key,
                " > json_extract(?1, '$[0]') ORDER BY ",
                $key,
                " LIMIT ?2"
            ),
            keys: &[$key],
            first: "[0]",
        }
    };
}

/// By one text.
macro_rules! named {
    ($name:literal, $store:ident, $key:literal, $columns:literal, $where:literal) => {
        Part {
            name: $name,
            store: Store::$store,
            sql: concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $name,
                " WHERE ",
                $key,
                " > json_extract(?1, '$[0]')",
                $where,
                " ORDER BY ",
                $key,
                " LIMIT ?2"
            ),
            keys: &[$key],
            first: r#"[""]"#,
        }
    };
}

/// By two texts.
macro_rules! paired {
    ($name:literal, $one:literal, $two:literal, $where:literal) => {
        Part {
            name: $name,
            store: Store::Proxy,
            sql: concat!(
                "SELECT * FROM ",
                $name,
                " WHERE (",
                $one,
                ", ",
                $two,
                ") > (json_extract(?1, '$[0]'), json_extract(?1, '$[1]'))",
                $where,
                " ORDER BY ",
                $one,
                ", ",
                $two,
                " LIMIT ?2"
            ),
            keys: &[$one, $two],
            first: r#"["",""]"#,
        }
    };
}

#[rustfmt::skip]
pub const PARTS: &[Part] = &[
    numbered!("authority_log", Proxy, "id", "*", "authority_log"),
    Part {
        name: "waivers",
        store: Store::Proxy,
        sql: "SELECT * FROM waivers WHERE (term, gate, name) > (json_extract(?1, '$[0]'), json_extract(?1, '$[1]'), json_extract(?1, '$[2]')) ORDER BY term, gate, name LIMIT ?2",
        keys: &["term", "gate", "name"],
        first: r#"[0,"",""]"#,
    },
    named!("evidence", Proxy, "kind", "*", ""),
    named!("certificates", Proxy, "digest", "*", ""),
    named!("check_facts", Proxy, "name", "*", ""),
    numbered!("flag_history", Proxy, "id", "*", "flag_history"),
    numbered!("ramp_plans", Proxy, "id", "*", "ramp_plans"),
    numbered!("ramp_log", Proxy, "id", "*", "ramp_log"),
    numbered!("verdicts", Metrics, "id", "*", "verdicts"),
    numbered!("intents", Proxy, "n", "n, id, subject, operation, opened_at, settled, status, discharged_at, side, generation", "(SELECT rowid AS n, * FROM intents)"),
    named!("subjects", Proxy, "subject", "subject, parked, parked_at, failures, last_outcome, last_at, waits_for", " AND parked IS NOT NULL"),
    named!("held_subjects", Proxy, "subject", "*", ""),
    numbered!("strays", Proxy, "id", "*", "strays"),
    Part {
        name: "debt",
        store: Store::Proxy,
        sql: "SELECT * FROM debt WHERE (subject, class, code) > (json_extract(?1, '$[0]'), json_extract(?1, '$[1]'), json_extract(?1, '$[2]')) ORDER BY subject, class, code LIMIT ?2",
        keys: &["subject", "class", "code"],
        first: r#"["","",""]"#,
    },
    paired!("findings", "user_id", "code", ""),
    numbered!("read_findings", Proxy, "n", "n, subject, operation, path, class, n_seen, first_at, last_at", "(SELECT rowid AS n, * FROM read_findings)"),
    numbered!("jobs", Proxy, "id", "*", "jobs"),
    paired!("job_users", "kind", "user_id", " AND outcome <> 'equal'"),
    paired!("equality_differences", "user_id", "path", ""),
    paired!("dependencies", "application", "kind", ""),
    named!("cleanup_notes", Proxy, "name", "*", ""),
    named!("logto_mirror", Mgpass, "user_id", "user_id, ticket, epoch, tombstone, obstacles, applied_at", ""),
];

/// A page of it.
const PAGE: i64 = 500;

pub fn part(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}

impl Part {
    /// `after`: `next` of the page before.
    pub fn read(&self, after: Option<&str>) -> Statement {
        let after = after.unwrap_or(self.first).to_owned();
        Statement::new(self.sql, vec![after.into(), PAGE.into()])
    }

    /// Rows, and where the next page begins; `None`: this was the last one.
    pub fn page(&self, rows: Vec<Row>) -> Json {
        let is_full = rows.len() as i64 >= PAGE;
        let next = rows.last().filter(|_| is_full).map(|row| {
            let keys: Vec<_> = self.keys.iter().map(|key| row.get(*key)).collect();
            json!(keys).to_string()
        });
        json!({ "part": self.name, "rows": rows, "next": next })
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn sql(&self) -> &'static str {
        self.sql
    }
}
