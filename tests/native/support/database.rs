//! The SQLite databases with the real migrations, on virtual time, and with D1's
//! limits. A batch is one transaction, and its errors are told apart as the platform's
//! are.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::Ordering;

use dual_write_proxy::runtime::limits::{MAX_PARAMETERS, MAX_SQL_BYTES, MAX_VALUE_BYTES};
use dual_write_proxy::runtime::ports::{DatabaseFailure, Row, Statement, Store, Value};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};
use serde_json::Value as Json;

use super::executor::SharedTime;

/// What D1 documents, and what its SQLite (workerd's) sets besides.
const D1_LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES as i32),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES as i32),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, MAX_PARAMETERS as i32),
    (Limit::SQLITE_LIMIT_COLUMN, 100),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

pub const PROXY_MIGRATIONS: &[&str] = &["proxy"];
pub const MGPASS_MIGRATIONS: &[&str] = &["mgpass", "mirror"];
pub const METRICS_MIGRATIONS: &[&str] = &["metrics"];
pub const REWARDS_MIGRATIONS: &[&str] = &["rewards"];

pub struct Databases {
    proxy: RefCell<Connection>,
    mgpass: RefCell<Connection>,
    metrics: RefCell<Connection>,
    rewards: RefCell<Connection>,
}

impl Databases {
    pub fn new(time: &SharedTime) -> Self {
        Self {
            proxy: RefCell::new(open(time, PROXY_MIGRATIONS)),
            mgpass: RefCell::new(open(time, MGPASS_MIGRATIONS)),
            metrics: RefCell::new(open(time, METRICS_MIGRATIONS)),
            rewards: RefCell::new(open(time, REWARDS_MIGRATIONS)),
        }
    }

    /// From here to [`Self::roll_back`] nothing lasts: one pair of databases, with
    /// its prepared statements, serves many runs.
    pub fn begin(&self) {
        for store in [Store::Proxy, Store::Mgpass] {
            self.execute(store, "BEGIN");
        }
    }

    pub fn roll_back(&self) {
        for store in [Store::Proxy, Store::Mgpass] {
            self.execute(store, "ROLLBACK");
        }
    }

    fn of(&self, store: Store) -> &RefCell<Connection> {
        match store {
            Store::Proxy => &self.proxy,
            Store::Mgpass => &self.mgpass,
            Store::Metrics => &self.metrics,
            Store::Rewards => &self.rewards,
        }
    }

    pub fn batch(
        &self,
        store: Store,
        statements: &[Statement],
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        let connection = self.of(store).borrow();
        // A single statement is atomic, and reads leave nothing to undo.
        let is_guarded = statements.len() > 1
            && statements
                .iter()
                .any(|statement| !statement.sql.starts_with("SELECT"));
        // Inside the outer transaction of a run that is rolled back, if there is one.
        let guard = |sql: &str| {
            if is_guarded {
                run(&connection, sql, &[]).unwrap();
            }
        };
        guard("SAVEPOINT batch");
        let results = statements
            .iter()
            .map(|statement| run(&connection, statement.sql, &statement.values))
            .collect::<Result<Vec<_>, _>>();
        if results.is_err() {
            guard("ROLLBACK TO batch");
        }
        guard("RELEASE batch");
        results.map_err(|error| classify(&error))
    }

    /// For tests: rows as JSON objects.
    pub fn rows(&self, store: Store, sql: &str) -> Vec<Row> {
        run(&self.of(store).borrow(), sql, &[]).unwrap()
    }

    /// For tests: changes behind the proxy's back.
    pub fn execute(&self, store: Store, sql: &str) {
        self.of(store).borrow().execute_batch(sql).unwrap();
    }

    pub fn prepares(&self, store: Store, sql: &str) -> Result<(), String> {
        let connection = self.of(store).borrow();
        connection
            .prepare(sql)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

/// The migrations of these folders below `schema/`, in order of name.
pub fn migrations(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut all = Vec::new();
    for folder in folders {
        let mut paths: Vec<_> = std::fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        paths.sort();
        all.extend(paths.iter().map(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            let name = format!("{folder}/{name}");
            (name, std::fs::read_to_string(path).unwrap())
        }));
    }
    all
}

pub fn open(time: &SharedTime, folders: &[&str]) -> Connection {
    let connection = empty(time);
    for (name, sql) in migrations(folders) {
        connection
            .execute_batch(&sql)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    connection
}

/// With D1's settings and the virtual clock, without tables.
pub fn empty(time: &SharedTime) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.set_prepared_statement_cache_capacity(256);
    // Else SQLite plans a statement anew for new values, at more cost than running it.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .unwrap();
    connection
        .pragma_update(None, "foreign_keys", true)
        .unwrap();
    for (limit, most) in D1_LIMITS {
        connection.set_limit(*limit, *most).unwrap();
    }
    let seconds = std::sync::Arc::clone(time);
    connection
        .create_scalar_function("unixepoch", 0, FunctionFlags::SQLITE_UTF8, move |_| {
            Ok(seconds.load(Ordering::Relaxed).div_euclid(1_000))
        })
        .unwrap();
    let subsec = std::sync::Arc::clone(time);
    connection
        .create_scalar_function("unixepoch", 1, FunctionFlags::SQLITE_UTF8, move |context| {
            assert_eq!(context.get::<String>(0)?, "subsec");
            Ok(subsec.load(Ordering::Relaxed) as f64 / 1_000.0)
        })
        .unwrap();
    connection
}

fn run(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    // D1 takes neither more nor fewer values than the statement has parameters.
    if statement.parameter_count() != values.len() {
        return Err(rusqlite::Error::InvalidParameterCount(
            values.len(),
            statement.parameter_count(),
        ));
    }
    for (index, value) in values.iter().enumerate() {
        match value {
            Value::Null => statement.raw_bind_parameter(index + 1, rusqlite::types::Null)?,
            // D1 binds every number as a double.
            Value::Integer(number) => statement.raw_bind_parameter(index + 1, *number as f64)?,
            Value::Text(text) => statement.raw_bind_parameter(index + 1, text)?,
        }
    }
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut object = Row::new();
        let statement: &rusqlite::Statement<'_> = row.as_ref();
        for (index, name) in statement.column_names().into_iter().enumerate() {
            let value = match row.get_ref(index)? {
                ValueRef::Null => Json::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
                ValueRef::Blob(_) => Json::from("blob"),
            };
            object.insert(name.to_owned(), value);
        }
        found.push(object);
    }
    Ok(found)
}

fn classify(error: &rusqlite::Error) -> DatabaseFailure {
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.code == ErrorCode::ConstraintViolation =>
        {
            DatabaseFailure::Constraint
        }
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::TooBig => {
            DatabaseFailure::TooLarge
        }
        rusqlite::Error::SqliteFailure(..)
        | rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidParameterCount(..) => DatabaseFailure::Refused,
        other => panic!("{other}"),
    }
}
