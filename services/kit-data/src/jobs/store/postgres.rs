//! Jobs on PostgreSQL: any number of workers.

#[path = "sql.rs"]
mod sql;

use sqlx::Postgres as Db;

/// Begins the list of rows to change. The array is evaluated once; a join with the limited subquery could evaluate it
/// again and lock more rows.
const AMONG: &str = "= ANY(ARRAY";

/// Skips rows that another worker is changing.
const LOCK: &str = " FOR UPDATE SKIP LOCKED";
