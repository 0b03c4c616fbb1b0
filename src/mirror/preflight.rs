//! Compares a database with the shape that we rely on, and names each difference.
//! The relay refuses to write while mgPass's users tables differ; the import of
//! points while either side's rewards tables do.
//!
//! A column that we do not know is fine, unless it must be given a value where we
//! write: then our INSERT would fail, or would leave out what mgPass needs.

use crate::runtime::isolate::Isolate;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::runtime::sql::{integer, text};

/// The tables that one flow relies on.
pub struct Shape {
    tables: &'static [Table],
}

struct Table {
    name: &'static str,
    /// Of a table that is only read, nothing but the columns we read matters.
    is_written: bool,
    columns: &'static [&'static str],
    sql: &'static str,
}

macro_rules! table {
    ($name:literal, [$($column:literal),+ $(,)?]) => {
        table!($name, true, [$($column),+])
    };
    (read $name:literal, [$($column:literal),+ $(,)?]) => {
        table!($name, false, [$($column),+])
    };
    ($name:literal, $is_written:literal, [$($column:literal),+]) => {
        Table {
            name: $name,
            is_written: $is_written,
            columns: &[$($column),+],
            sql: concat!("SELECT name, \"notnull\" AS required, dflt_value, pk FROM pragma_table_info('", $name, "')"),
        }
    };
}

/// mgPass's users and the mirror's tables beside them.
pub const MIRROR: Shape = Shape {
    tables: MIRROR_TABLES,
};
/// mgPass's rewards.
pub const REWARDS_TARGET: Shape = Shape {
    tables: REWARDS_TARGET_TABLES,
};
/// Where points come from.
pub const REWARDS_SOURCE: Shape = Shape {
    tables: REWARDS_SOURCE_TABLES,
};

const MIRROR_TABLES: &[Table] = &[
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
            "password_hash",
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
    table!(read "roles", ["id", "type", "is_default"]),
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
            "base",
            "logto_base",
            "logto_ticket",
            "password_mark",
            "password_seen",
            "password_carried",
            "void_hash",
            "own_set_from",
            "own_set_until",
            "seen_at",
            "walked",
            "obstacles",
            "applied_at",
            "told",
            "told_at"
        ]
    ),
    table!(
        "logto_mirror_effects",
        ["user_id", "effect", "ticket", "owed_at"]
    ),
    table!(read "logto_mirror_authority", ["singleton", "generation"]),
    table!(read "logto_mirror_unique", ["kind", "value", "user_id"]),
];

const REWARDS_TARGET_TABLES: &[Table] = &[
    table!(read "reward_tiers", ["name", "min_points"]),
    table!(
        "user_rewards",
        [
            "user_id",
            "total_points",
            "lifetime_earned",
            "tier",
            "updated_at"
        ]
    ),
    table!(
        "points_ledger",
        [
            "id",
            "user_id",
            "event_type",
            "platform",
            "points",
            "rule_version",
            "reference_id",
            "metadata",
            "created_at"
        ]
    ),
];

const REWARDS_SOURCE_TABLES: &[Table] = &[
    table!(read "rewards_users", ["user_id", "total_points", "lifetime_earned", "tier"]),
    table!(
        read "rewards_ledger",
        ["id", "user_id", "event_type", "platform", "points", "rule_version", "reference_id", "metadata", "status", "created_at"]
    ),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDifference {
    pub table: &'static str,
    pub column: String,
    pub code: &'static str,
}

impl Shape {
    /// One statement per table, for one batch.
    pub fn read(&self) -> Vec<Statement> {
        self.tables
            .iter()
            .map(|table| Statement::new(table.sql, vec![]))
            .collect()
    }

    pub fn differences(&self, results: &[Vec<Row>]) -> Vec<SchemaDifference> {
        self.tables
            .iter()
            .zip(results)
            .flat_map(|(table, rows)| table.differences(rows))
            .collect()
    }

    /// Asks, and names each difference in an event.
    ///
    /// # Errors
    /// When there is one, or the database did not answer.
    pub async fn require<P: Platform>(&self, platform: &P, store: Store) -> Result<(), Unfit> {
        let results = platform.batch(store, self.read()).await;
        let differences = self.differences(&results.map_err(Unfit::Database)?);
        for difference in &differences {
            platform.emit(&Event::SchemaRefused {
                table: difference.table,
                column: &difference.column,
                code: difference.code,
            });
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Unfit::Differs),
        }
    }
}

/// Why tables cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    Differs,
    /// Which did not answer.
    Database(DatabaseFailure),
}

/// mgPass's users tables are as the mirror relies on; asked until they are, then no more
/// by this isolate.
///
/// # Errors
/// When they are not, or mgPass's database did not answer.
pub async fn require_mirror<P: Platform>(platform: &P, isolate: &Isolate) -> Result<(), Unfit> {
    if !isolate.preflight_passed.get() {
        MIRROR.require(platform, Store::Mgpass).await?;
        isolate.preflight_passed.set(true);
    }
    Ok(())
}

impl Table {
    fn differences(&self, rows: &[Row]) -> Vec<SchemaDifference> {
        let difference = |column: &str, code| SchemaDifference {
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
            (self.is_written && is_required && is_unknown)
                .then(|| difference(&name, "unknown_column_required"))
        });
        missing.chain(unfilled).collect()
    }
}
