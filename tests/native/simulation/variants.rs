//! Broken variants of the mirror. Each changes what the core says to a port, so
//! that the core itself has no switch for it.

use std::cell::RefCell;
use std::collections::HashMap;

use dual_write_proxy::runtime::ports::{Row, Statement, Store, Value};
use serde_json::json;

use crate::support::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    IntentAfterAnswer,
    DischargesLaterSettled,
    SettleIsUpdate,
    NoTicketInTarget,
    NoLease,
    TicketInWrongDatabase,
    OpenNeverExpires,
    ExpiredDischargedAtOnce,
    DeletionOnOneWitness,
    EffectsNotOwed,
    RefusedDischarges,
}

pub const VARIANTS: &[Variant] = &[
    Variant::IntentAfterAnswer,
    Variant::DischargesLaterSettled,
    Variant::SettleIsUpdate,
    Variant::NoTicketInTarget,
    Variant::NoLease,
    Variant::TicketInWrongDatabase,
    Variant::OpenNeverExpires,
    Variant::ExpiredDischargedAtOnce,
    Variant::DeletionOnOneWitness,
    Variant::EffectsNotOwed,
    Variant::RefusedDischarges,
];

const NOTHING: &str = "SELECT NULL AS subject";
const FENCE: &str = "WHERE excluded.ticket > logto_mirror.ticket AND logto_mirror.ticket = ?8";
const NO_FENCE: &str = "WHERE ?8 = ?8";
const FREE: &str = "WHERE subjects.lease_until < CAST(unixepoch('subsec') * 1000 AS INTEGER)";

impl Variant {
    pub fn name(self) -> &'static str {
        match self {
            Self::IntentAfterAnswer => "intent after the answer",
            Self::DischargesLaterSettled => "discharge although settled after the read began",
            Self::SettleIsUpdate => "settle as an update",
            Self::NoTicketInTarget => "no ticket in the target",
            Self::NoLease => "no lease",
            Self::TicketInWrongDatabase => "ticket in the wrong database",
            Self::OpenNeverExpires => "open intent never expiring",
            Self::ExpiredDischargedAtOnce => "expired intent discharged at once",
            Self::DeletionOnOneWitness => "deletion on one witness",
            Self::EffectsNotOwed => "effects not owed",
            Self::RefusedDischarges => "refused reconcile discharging",
        }
    }

    pub fn statements(
        self,
        world: &World,
        store: Store,
        statements: Vec<Statement>,
    ) -> Vec<Statement> {
        if self == Self::TicketInWrongDatabase && store == Store::Mgpass {
            return self.checked_elsewhere(world, statements);
        }
        let mut changed: Vec<_> = statements
            .into_iter()
            .map(|statement| self.statement(statement))
            .collect();
        if self == Self::RefusedDischarges
            && let Some(release) = changed.iter().find(|statement| {
                statement
                    .sql
                    .starts_with("UPDATE subjects SET lease_until = 0")
                    && !statement.sql.contains("parked = NULL")
            })
        {
            let subject = release.values[0].clone();
            changed.push(Statement::new(
                "UPDATE intents SET discharged_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE subject = ?1 AND settled IS NOT NULL AND discharged_at IS NULL",
                vec![subject],
            ));
        }
        changed
    }

    fn statement(self, mut statement: Statement) -> Statement {
        let sql = statement.sql;
        let is_open = sql.starts_with("INSERT INTO intents") && sql.contains("DO NOTHING");
        let is_settle = sql.starts_with("INSERT INTO intents") && sql.contains("DO UPDATE");
        match self {
            Self::IntentAfterAnswer if is_open => Statement::new(NOTHING, vec![]),
            Self::DischargesLaterSettled => self.replace(
                statement,
                "AND settled <= ?2",
                "AND settled <= ?2 + 1000000",
            ),
            Self::SettleIsUpdate if is_settle => Statement::new(
                "UPDATE intents SET settled = (SELECT value FROM counters WHERE name = 'sequence'), status = ?5, \
                 subject = coalesce(?2, subject, (SELECT subject FROM interactions WHERE uid = ?3)), operation = ?4, discharged_at = NULL WHERE id = ?1",
                statement.values,
            ),
            Self::NoTicketInTarget => self.replace(statement, FENCE, NO_FENCE),
            Self::NoLease => {
                statement = self.replace(statement, FREE, "WHERE 1 = 1");
                statement
            }
            Self::OpenNeverExpires if is_open => {
                self.replace(statement, "+ 60000", "+ 60000000000")
            }
            Self::OpenNeverExpires => self.replace(
                statement,
                "i.opened_at + 900000 <=",
                "i.opened_at + 60000000000 <=",
            ),
            Self::ExpiredDischargedAtOnce => self.replace(
                statement,
                "CASE WHEN opened_at + 900000 <= ?2",
                "CASE WHEN ?2 = ?2",
            ),
            Self::EffectsNotOwed if sql.starts_with("INSERT INTO logto_mirror_effects") => {
                Statement::new("SELECT NULL AS n", vec![])
            }
            _ => statement,
        }
    }

    pub fn results(
        self,
        _: Store,
        sql: &[&'static str],
        mut results: Vec<Vec<Row>>,
    ) -> Vec<Vec<Row>> {
        let is_lease = sql.len() == 4
            && results.len() == 4
            && sql[3].starts_with("SELECT operation, status, settled");
        if self == Self::DeletionOnOneWitness && is_lease {
            let row = json!({ "operation": "users.delete", "status": 204, "settled": 1, "opened_at": 0, "expires_at": 0, "passes": 0 });
            results[3].push(row.as_object().unwrap().clone());
        }
        results
    }

    /// The ticket is looked at where it stands, when the batch leaves; the batch
    /// itself is guarded by nothing.
    fn checked_elsewhere(self, world: &World, statements: Vec<Statement>) -> Vec<Statement> {
        let is_older = statements.iter().any(|statement| {
            statement.sql.starts_with("INSERT INTO logto_mirror (") && {
                let [Value::Text(user), Value::Integer(ticket), ..] = statement.values.as_slice()
                else {
                    return false;
                };
                let sql = format!("SELECT ticket FROM logto_mirror WHERE user_id = '{user}'");
                world.value(Store::Mgpass, &sql).as_i64() >= Some(*ticket)
            }
        });
        if is_older {
            return statements;
        }
        statements
            .into_iter()
            .map(|statement| self.replace(statement, FENCE, NO_FENCE))
            .collect()
    }

    fn replace(self, statement: Statement, from: &str, to: &str) -> Statement {
        thread_local! {
            static CHANGED: RefCell<HashMap<(Variant, &'static str), &'static str>> = RefCell::default();
        }
        if !statement.sql.contains(from) {
            return statement;
        }
        let sql = CHANGED.with_borrow_mut(|changed| {
            *changed
                .entry((self, statement.sql))
                .or_insert_with(|| Box::leak(statement.sql.replace(from, to).into_boxed_str()))
        });
        Statement::new(sql, statement.values)
    }
}
