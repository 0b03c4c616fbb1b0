//! Compares mgPass's database with the shape that `target` relies on, and names
//! each difference. The relay refuses to write while there is one.
//!
//! A column of mgPass's own that we do not know is fine, unless it must be given
//! a value: then our INSERT would fail, or would leave out what mgPass needs.

use crate::mirror::target::{integer, text};
use crate::ports::{Row, Statement};

struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    sql: &'static str,
}

macro_rules! table {
    ($name:literal, [$($column:literal),+ $(,)?]) => {
        Table {
            name: $name,
            columns: &[$($column),+],
            sql: concat!("SELECT name, \"notnull\" AS required, dflt_value, pk FROM pragma_table_info('", $name, "')"),
        }
    };
}

const TABLES: &[Table] = &[
    table!(
        "users",
        [
            "id",
            "email",
            "email_verified",
            "phone",
            "phone_verified",
            "name",
            "avatar",
            "metadata",
            "is_suspended",
            "suspension_reason",
            "created_at",
            "last_sign_in_at",
            "deleted_at",
        ]
    ),
    table!(
        "social_identities",
        [
            "id",
            "user_id",
            "provider",
            "provider_user_id",
            "profile_data",
            "created_at"
        ]
    ),
    table!("roles", ["id", "type", "is_default"]),
    table!("user_roles", ["user_id", "role_id", "created_at"]),
    table!(
        "audit_logs",
        [
            "id",
            "event_type",
            "actor_type",
            "actor_id",
            "target_type",
            "target_id",
            "metadata",
            "created_at",
        ]
    ),
    table!(
        "logto_mirror",
        [
            "user_id",
            "ticket",
            "epoch",
            "tombstone",
            "digest",
            "residue",
            "obstacles",
            "applied_at"
        ]
    ),
    table!(
        "logto_mirror_effects",
        ["user_id", "effect", "ticket", "owed_at"]
    ),
];

/// Read only: the mirror never writes to it.
const NOT_WRITTEN: &str = "roles";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    pub column: String,
    pub code: &'static str,
}

pub fn read() -> Vec<Statement> {
    TABLES
        .iter()
        .map(|table| Statement::new(table.sql, vec![]))
        .collect()
}

pub fn differences(results: &[Vec<Row>]) -> Vec<Difference> {
    TABLES
        .iter()
        .zip(results)
        .flat_map(|(table, rows)| table.differences(rows))
        .collect()
}

impl Table {
    fn differences(&self, rows: &[Row]) -> Vec<Difference> {
        let difference = |column: &str, code| Difference {
            table: self.name,
            column: column.to_owned(),
            code,
        };
        if rows.is_empty() {
            return vec![difference("*", "table_missing")];
        }
        let names: Vec<_> = rows.iter().filter_map(|row| text(row, "name")).collect();
        let missing = self
            .columns
            .iter()
            .filter(|column| !names.iter().any(|name| name == *column))
            .map(|column| difference(column, "column_missing"));
        let unfilled = rows.iter().filter_map(|row| {
            let name = text(row, "name")?;
            let is_required =
                integer(row, "required") == Some(1) && text(row, "dflt_value").is_none();
            let is_unknown = !self.columns.contains(&name.as_str());
            (self.name != NOT_WRITTEN && is_required && is_unknown)
                .then(|| difference(&name, "unknown_column_required"))
        });
        missing.chain(unfilled).collect()
    }
}
