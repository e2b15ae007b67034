//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::{
    config::Secret,
    store::{Unopened, postgres},
};
use sqlx::{Pool, Transaction};

pub(super) type Db = sqlx::Postgres;

/// Locks the session's row until the transaction ends.
const LOCK_SESSION: &str = "SELECT s.account_id, s.create_time, s.expire_time, s.revoke_time, a.state FROM sessions s \
     JOIN accounts a ON a.account_id = s.account_id WHERE s.session_id = $1 FOR UPDATE OF s";

pub(super) async fn open(url: &Secret, pool_size: u32) -> Result<sql::Sql, Unopened> {
    let pool = postgres::open(url, "auth", pool_size, &sqlx::migrate!("migrations/postgres")).await?;
    Ok(sql::Sql { read: pool.clone(), write: pool })
}

async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin().await
}
