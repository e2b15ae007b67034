//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit_data::store::{Settings, Unopened, sqlite};

pub(super) type Db = sqlx::Sqlite;

/// Without locks, here and below: a write transaction in SQLite is the only writer.
const LOCK_SESSION: &str = "SELECT account_id, create_time, expire_time, revoke_time FROM sessions \
     WHERE session_id = $1";

const HOLD_SESSION: &str = sql::session::IN_FORCE;

const LOCK_ACCOUNT: &str = "SELECT account_id FROM accounts WHERE account_id = $1";

const INSERT_SESSION: &str = "INSERT INTO sessions (session_id, account_id, create_time, last_use_time, expire_time, \
     user_agent, address) SELECT $1, account_id, $4, $4, $5, $6, $7 FROM accounts \
     WHERE account_id = $2 AND password_no = $3 AND state = 'active'";

const TAKE: &str = "UPDATE outbox SET attempt_count = attempt_count + 1, next_attempt_time = $2 WHERE outbox_id = \
     (SELECT outbox_id FROM outbox WHERE next_attempt_time <= $1 ORDER BY next_attempt_time, outbox_id LIMIT 1) \
     RETURNING outbox_id, kind, subject, create_time, attempt_count";

/// Deletes at most `$2` of the due rows.
fn delete_some(table: &str, key: &str, due: &str) -> String {
    format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {due} LIMIT $2)")
}

pub(super) async fn open(path: &Path, settings: &Settings) -> Result<sql::Sql, Unopened> {
    let pools = sqlite::open(path, settings, &sqlx::migrate!("migrations/sqlite")).await?;
    Ok(sql::Sql { read: pools.read, write: pools.write })
}
