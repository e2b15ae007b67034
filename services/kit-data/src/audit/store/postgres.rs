//! The audit log on PostgreSQL: any number of processes.

#[path = "sql.rs"]
mod sql;

use sqlx::Postgres as Db;

/// Locks the row until the transaction ends.
const LOCK: &str = " FOR UPDATE";

/// Begins a transaction whose statements read the same state.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Whether the text of a column contains the parameter.
fn contains(column: &str, parameter: usize) -> String {
    format!("strpos({column}, ${parameter}) > 0")
}
