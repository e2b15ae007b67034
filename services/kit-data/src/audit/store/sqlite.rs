//! The audit log on SQLite. A write transaction is the only writer, so that rows need no locks.

#[path = "sql.rs"]
mod sql;

use sqlx::Sqlite as Db;

const LOCK: &str = "";

/// A deferred transaction reads the state of its first statement.
const SNAPSHOT: &str = "BEGIN";

/// Whether the text of a column contains the parameter.
fn contains(column: &str, parameter: usize) -> String {
    format!("instr({column}, ${parameter}) > 0")
}
