//! Jobs on SQLite: one worker. A write transaction is the only writer, so that rows need no locks.

#[path = "sql.rs"]
mod sql;

use sqlx::Sqlite as Db;

/// Begins the list of rows to change.
const AMONG: &str = "IN (SELECT job_id FROM";

const LOCK: &str = "";
