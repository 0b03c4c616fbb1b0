//! What nobody can tell from the rows in the end: in which generation a batch came into
//! force at mgPass, and whether a translated write was settled when it was acknowledged.

use std::cell::RefCell;
use std::collections::HashMap;

use dual_write_proxy::runtime::ports::{Row, Statement, Store, Value};

use crate::support::World;

/// A settled write is answered at once.
const ANSWERED_WITHIN_MS: i64 = 50;
const GENERATION: &str = "FROM logto_mirror_authority) = ?";

#[derive(Default)]
pub struct Witness {
    /// By ticket: the generation that its batch asks for.
    asked: RefCell<HashMap<i64, i64>>,
    /// By user: when the database last said that one was settled.
    settled: RefCell<HashMap<String, i64>>,
}

impl Witness {
    /// mgPass's database notes each ticket as it comes into force.
    pub fn begin(&self, world: &World) {
        for event in ["INSERT", "UPDATE OF ticket"] {
            let name = event.split(' ').next().unwrap();
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS temp.tickets (user_id TEXT, ticket INTEGER, generation INTEGER);
                 CREATE TEMP TRIGGER on_{name} AFTER {event} ON main.logto_mirror BEGIN
                   INSERT INTO tickets VALUES (NEW.user_id, NEW.ticket, (SELECT generation FROM main.logto_mirror_authority));
                 END;"
            );
            world.databases.execute(Store::Mgpass, &sql);
        }
    }

    /// As they leave, before anything is broken.
    pub fn observe_statements(&self, store: Store, statements: &[Statement]) {
        for statement in statements {
            if store != Store::Mgpass || !statement.sql.starts_with("INSERT INTO logto_mirror (") {
                continue;
            }
            let Some((_, rest)) = statement.sql.split_once(GENERATION) else {
                continue;
            };
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let asked = digits.parse::<usize>().unwrap();
            let (Some(Value::Integer(ticket)), Some(Value::Integer(generation))) =
                (statement.values.get(1), statement.values.get(asked - 1))
            else {
                continue;
            };
            self.asked.borrow_mut().insert(*ticket, *generation);
        }
    }

    pub fn observe_results(&self, sql: &[&'static str], results: &[Vec<Row>], now_ms: i64) {
        for (sql, rows) in sql.iter().zip(results) {
            if !sql.starts_with("SELECT settled IS NOT NULL AS is_settled") {
                continue;
            }
            for row in rows.iter().filter(|row| row["is_settled"] == 1) {
                let subject = row["subject"].as_str().unwrap_or_default().to_owned();
                self.settled.borrow_mut().insert(subject, now_ms);
            }
        }
    }

    pub fn is_settled(&self, user: &str, now_ms: i64) -> bool {
        let settled = self.settled.borrow();
        settled
            .get(user)
            .is_some_and(|at_ms| now_ms - at_ms <= ANSWERED_WITHIN_MS)
    }

    pub fn in_force_of_another_generation(&self, world: &World) -> Vec<String> {
        let asked = self.asked.borrow();
        let rows = world.mgpass("SELECT user_id, ticket, generation FROM temp.tickets");
        let strange = rows.iter().filter(|row| {
            let asked = row["ticket"].as_i64().and_then(|ticket| asked.get(&ticket));
            asked.is_some_and(|asked| row["generation"] != *asked)
        });
        strange
            .map(|row| format!("came into force in another generation: {row:?}"))
            .collect()
    }
}
