//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit::store::{Unopened, sqlite};
use sqlx::{Pool, Transaction};

pub(super) type Db = sqlx::Sqlite;

/// The transaction is the only writer: there is nothing more to lock.
const LOCK_SESSION: &str = "SELECT s.account_id, s.create_time, s.expire_time, s.revoke_time, a.state FROM sessions s \
     JOIN accounts a ON a.account_id = s.account_id WHERE s.session_id = $1";

pub(super) async fn open(path: &Path) -> Result<sql::Sql, Unopened> {
    let pools = sqlite::open(path, &sqlx::migrate!("migrations/sqlite")).await?;
    Ok(sql::Sql { read: pools.read, write: pools.write })
}

/// IMMEDIATE: a transaction that reads first and writes then would get BUSY at once when another has written.
async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin_with("BEGIN IMMEDIATE").await
}
