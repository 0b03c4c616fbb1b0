//! Broken variants of the mirror. Each changes what the core says to a port, so
//! that the core itself has no switch for it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use dual_write_proxy::runtime::ports::{Call, Row, Statement, Store, Value};
use serde_json::json;

use super::Setup;
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
    GapNotTold,
    LateNotRecorded,
    MarkNeverTakenAway,
    MarkNeverRunsOut,
    WokenByEachSettling,
    TurnForNothing,
    OwnCallsUnsigned,
    NobodyNamed,
    AskedOfTheOther,
    FenceNotAsked,
    EpochNotAsked,
    BrakesFailOpen,
    WalkIsIdle,
    EditsNotAsked,
    NoBase,
    EditsNotGuarded,
    OpenNotFenced,
    AuthorityNotAsked,
    HandOverWaitsForNothing,
    ComeBackWaitsForNothing,
    AbandonHoldsNobody,
    LetGoHoldsNobody,
    WalkBackIsIdle,
    SettledUnasked,
    TranslatedAnywhere,
    DeadlineOfOneSide,
    NotThreeWay,
    LeftAndAsked,
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
    Variant::GapNotTold,
    Variant::LateNotRecorded,
    Variant::MarkNeverTakenAway,
    Variant::MarkNeverRunsOut,
    Variant::WokenByEachSettling,
    Variant::TurnForNothing,
    Variant::OwnCallsUnsigned,
    Variant::NobodyNamed,
    Variant::AskedOfTheOther,
    Variant::FenceNotAsked,
    Variant::EpochNotAsked,
    Variant::BrakesFailOpen,
    Variant::WalkIsIdle,
    Variant::EditsNotAsked,
    Variant::NoBase,
    Variant::EditsNotGuarded,
    Variant::OpenNotFenced,
    Variant::AuthorityNotAsked,
    Variant::HandOverWaitsForNothing,
    Variant::ComeBackWaitsForNothing,
    Variant::AbandonHoldsNobody,
    Variant::LetGoHoldsNobody,
    Variant::WalkBackIsIdle,
    Variant::SettledUnasked,
    Variant::TranslatedAnywhere,
    Variant::DeadlineOfOneSide,
    Variant::NotThreeWay,
    Variant::LeftAndAsked,
];

/// Whether the intent was ever to be recorded before its write.
fn was_opened(statement: &Statement, is_open: bool) -> bool {
    thread_local! {
        static OPENED: RefCell<HashSet<String>> = RefCell::default();
    }
    let Some(Value::Text(id)) = statement.values.first() else {
        return false;
    };
    OPENED.with_borrow_mut(|opened| {
        if is_open {
            opened.insert(id.clone());
        }
        opened.contains(id)
    })
}

/// How the guard of a batch ends.
const EDITS: &str = ") = ?12";
const ANY_EDITS: &str = ") >= 0 * ?12";
const IN_GENERATION: &str = "(SELECT generation FROM logto_mirror_authority) = ?";
const IN_TIME: &str = "deadline > CAST(unixepoch('subsec') * 1000 AS INTEGER) AND NOT EXISTS";
const NOTHING: &str = "SELECT NULL AS subject";
const FENCE: &str = "WHERE excluded.ticket > logto_mirror.ticket AND logto_mirror.ticket = ?8";
const NO_FENCE: &str = "WHERE ?8 = ?8";
const TAKEN_AWAY: &str = "woken_at = CASE WHEN ?3 = 1 THEN subjects.woken_at ELSE 0 END";
const RUNS_OUT: &str = "<= max((SELECT value FROM counters WHERE name = 'marker') - 20000, \
     CAST(unixepoch('subsec') * 1000 AS INTEGER) - CASE WHEN EXISTS (SELECT 1 FROM authority WHERE holder IN ('draining', 'returning')) THEN 10000 ELSE 600000 END)";
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
            Self::GapNotTold => "acknowledged without a name, and no gap",
            Self::LateNotRecorded => "acknowledged unrecorded, and not recorded late",
            Self::MarkNeverTakenAway => "wake-up mark never taken away by a turn",
            Self::MarkNeverRunsOut => "wake-up mark without a message never running out",
            Self::WokenByEachSettling => "woken by each settling, marked or not",
            Self::TurnForNothing => "turn that reads both sides with nothing to cover",
            Self::OwnCallsUnsigned => "own calls to a closed origin without its secret",
            Self::NobodyNamed => "nobody asked whose a write is",
            Self::AskedOfTheOther => "asked of another interaction of the browser",
            Self::FenceNotAsked => "reads that no open write fences",
            Self::EpochNotAsked => "reads that no gap moves back",
            Self::BrakesFailOpen => "unreadable brake taken for none",
            Self::WalkIsIdle => "walk that leaves no intents",
            Self::EditsNotAsked => "audit log of mgPass not asked",
            Self::NoBase => "no base beside the rows",
            Self::EditsNotGuarded => "edits before the batch overwritten",
            Self::OpenNotFenced => "recorded at Logto whoever has the say",
            Self::AuthorityNotAsked => "Logto taken for the authority, whatever is said",
            Self::HandOverWaitsForNothing => "handed over with writes pending",
            Self::ComeBackWaitsForNothing => "back at Logto with writes pending",
            Self::AbandonHoldsNobody => "nobody held behind an abandoned debt",
            Self::LetGoHoldsNobody => "nobody held of whom a write hangs",
            Self::WalkBackIsIdle => "walk of mgPass's time that leaves no intents",
            Self::SettledUnasked => "translated write acknowledged unsettled",
            Self::TranslatedAnywhere => "batch at mgPass of any generation",
            Self::DeadlineOfOneSide => "deadline judged by writers, and not by moves",
            Self::LeftAndAsked => "Logto asked although it is left alone",
            Self::NotThreeWay => "sent back over what somebody set at Logto",
        }
    }

    /// Of which it is shown.
    pub fn series(self) -> fn(u64) -> Setup {
        match self {
            Self::WalkIsIdle | Self::EditsNotAsked | Self::NoBase | Self::EditsNotGuarded => {
                Setup::helped
            }
            Self::OpenNotFenced
            | Self::AuthorityNotAsked
            | Self::HandOverWaitsForNothing
            | Self::ComeBackWaitsForNothing
            | Self::AbandonHoldsNobody
            | Self::LetGoHoldsNobody
            | Self::WalkBackIsIdle
            | Self::SettledUnasked
            | Self::TranslatedAnywhere
            | Self::DeadlineOfOneSide
            | Self::NotThreeWay
            | Self::LeftAndAsked => Setup::handing_over,
            Self::FenceNotAsked | Self::EpochNotAsked | Self::BrakesFailOpen => Setup::reading,
            Self::MarkNeverTakenAway | Self::WokenByEachSettling | Self::NobodyNamed => Setup::calm,
            Self::IntentAfterAnswer
            | Self::DischargesLaterSettled
            | Self::SettleIsUpdate
            | Self::NoTicketInTarget
            | Self::NoLease
            | Self::TicketInWrongDatabase
            | Self::OpenNeverExpires
            | Self::ExpiredDischargedAtOnce
            | Self::DeletionOnOneWitness
            | Self::EffectsNotOwed
            | Self::RefusedDischarges
            | Self::GapNotTold
            | Self::LateNotRecorded
            | Self::MarkNeverRunsOut
            | Self::TurnForNothing
            | Self::OwnCallsUnsigned
            | Self::AskedOfTheOther => Setup::random,
        }
    }

    pub fn call(self, mut call: Call) -> Call {
        let asks_whose = [
            "/api/experience/interaction",
            "/api/interaction/consent",
            "/api/my-account",
        ]
        .iter()
        .any(|path| call.url.contains(path));
        match self {
            Self::OwnCallsUnsigned => call.headers.retain(|(name, _)| *name != "x-proxy-secret"),
            Self::NobodyNamed if asks_whose => call.url.push_str("/nobody"),
            Self::AskedOfTheOther if asks_whose => {
                call.headers.retain(|(name, _)| *name != "logto-app-id");
                let end = call.url.find('?').unwrap_or(call.url.len());
                call.url.truncate(end);
            }
            _ => {}
        }
        call
    }

    pub fn flag(self, key: &str, value: Option<String>) -> Option<String> {
        let is_readable = |text: &String| match key {
            "kill_switch" => ["on", "off", ""].contains(&text.as_str()),
            "guard" => text.contains("cap_percent"),
            _ => true,
        };
        value.filter(|text| self != Self::BrakesFailOpen || is_readable(text))
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
            Self::GapNotTold if sql.starts_with("UPDATE counters") && sql.contains("'epoch'") => {
                Statement::new(NOTHING, vec![])
            }
            Self::LateNotRecorded if is_open => {
                was_opened(&statement, true);
                statement
            }
            Self::LateNotRecorded if is_settle && !was_opened(&statement, false) => {
                Statement::new(NOTHING, vec![])
            }
            Self::MarkNeverTakenAway => {
                let kept = "woken_at = subjects.woken_at";
                let statement = self.replace(statement, TAKEN_AWAY, kept);
                self.replace(
                    statement,
                    "ELSE 0 END WHERE subject",
                    "ELSE woken_at END WHERE subject",
                )
            }
            Self::MarkNeverRunsOut => self.replace(statement, RUNS_OUT, "<= 0"),
            Self::WokenByEachSettling => {
                let statement = self.replace(statement, RUNS_OUT, "<= 9e15");
                self.replace(statement, "AND coalesce(s.woken_at, 0) <= 9e15", "")
            }
            Self::TurnForNothing => {
                self.replace(statement, "(?3 = 1 OR EXISTS", "(?3 = ?3 OR EXISTS")
            }
            Self::WalkIsIdle
                if statement.values.get(1) == Some(&Value::Text("walk".to_owned())) =>
            {
                Statement::new(NOTHING, vec![])
            }
            Self::EditsNotAsked | Self::EditsNotGuarded => {
                self.replace(statement, EDITS, ANY_EDITS)
            }
            Self::NoBase => {
                self.replace(statement, "INTEGER), ?10,", "INTEGER), nullif(?10, ?10),")
            }
            Self::OpenNotFenced if is_open => self.replace(
                statement,
                "= 'logto' ON CONFLICT",
                "IS NOT NULL ON CONFLICT",
            ),
            Self::HandOverWaitsForNothing => self.replace(
                statement,
                "i.side = 'logto' AND (i.subject IS NULL OR NOT",
                "1 = 0 AND (i.subject IS NULL OR NOT",
            ),
            Self::ComeBackWaitsForNothing => self.replace(
                statement,
                "i.side = 'mgpass' AND (i.subject IS NULL OR NOT",
                "1 = 0 AND (i.subject IS NULL OR NOT",
            ),
            Self::AbandonHoldsNobody
                if sql.starts_with("INSERT INTO held_subjects") && sql.contains("group_concat") =>
            {
                Statement::new(NOTHING, vec![])
            }
            Self::LetGoHoldsNobody
                if sql.starts_with("INSERT INTO held_subjects")
                    && sql.contains("waived_intent") =>
            {
                Statement::new(NOTHING, vec![])
            }
            Self::WalkBackIsIdle
                if statement.values.get(1) == Some(&Value::Text("walk".to_owned())) =>
            {
                Statement::new(NOTHING, vec![])
            }
            Self::TranslatedAnywhere => {
                for number in ["?5", "?6", "?7", "?13"] {
                    let asked = IN_GENERATION.replace("?", number).leak();
                    let unasked = format!("{number} = {number}").leak();
                    statement = self.replace(statement, asked, unasked);
                }
                statement
            }
            Self::DeadlineOfOneSide => self.replace(statement, IN_TIME, "NOT EXISTS"),
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
        let is_lease = sql.len() >= 4
            && results.len() == sql.len()
            && sql[3].starts_with("SELECT operation, status, settled");
        let covered = match self {
            Self::DeletionOnOneWitness => Some(("users.delete", 204)),
            // A person's word that nobody gave.
            Self::NotThreeWay => Some(("stray.towards_mgpass", 200)),
            _ => None,
        };
        if let Some((operation, status)) = covered.filter(|_| is_lease) {
            let row = json!({ "operation": operation, "status": status, "settled": 1, "opened_at": 0, "expires_at": 0, "expiry_checks": 0 });
            results[3].push(row.as_object().unwrap().clone());
        }
        if self == Self::SettledUnasked {
            for (sql, rows) in sql.iter().zip(&mut results) {
                if sql.starts_with("SELECT settled IS NOT NULL AS is_settled") {
                    let row = json!({ "is_settled": 1, "subject": null });
                    *rows = vec![row.as_object().unwrap().clone()];
                }
            }
        }
        for row in results.iter_mut().flatten() {
            match self {
                Self::AuthorityNotAsked
                    if row.contains_key("announced_until") && !row.contains_key("wish") =>
                {
                    row.insert("holder".to_owned(), "logto".into());
                }
                Self::LeftAndAsked
                    if row.contains_key("announced_until") && row["holder"] == "alone" =>
                {
                    row.insert("holder".to_owned(), "mgpass".into());
                }
                Self::HandOverWaitsForNothing if row.contains_key("n_logto") => {
                    row.insert("n_logto".to_owned(), 0.into());
                }
                Self::ComeBackWaitsForNothing if row.contains_key("n_logto") => {
                    row.insert("n_mgpass".to_owned(), 0.into());
                }
                Self::DeadlineOfOneSide if row.contains_key("wish") => {
                    row.insert("deadline".to_owned(), json!(null));
                }
                Self::FenceNotAsked => {
                    row.entry("fenced").and_modify(|fenced| *fenced = 0.into());
                }
                Self::EpochNotAsked if row.contains_key("fenced") => {
                    row.insert("epoch".to_owned(), 1.into());
                }
                _ => {}
            }
        }
        if self == Self::EditsNotAsked {
            for row in results.iter_mut().flatten() {
                if let Some(n_edits) = row.get_mut("n_edits") {
                    *n_edits = 0.into();
                }
            }
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
